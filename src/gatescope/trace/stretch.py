"""Which stretch of the genome is meant, and what lies on it? As people type it, or around the tallest peak; genes.

Public names: `Stretch`, `Gene`, `tallest_peak`, `peaks_on`, `read_genes`, `AUTO`, `WIDTH_BP`, `LONGEST_BP`,
`SHORTEST_BP`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint, name_list
from gatescope.genome.textfile import numbered_lines

#: What stands for the tallest peak, and how wide it is shown.
AUTO, WIDTH_BP = "auto", 1000
#: A longer stretch has less than a hair's breadth for each base on paper, a shorter one shows no memory.
LONGEST_BP, SHORTEST_BP = 3000, 50
#: What is to be seen beyond either edge of the tallest peak, as a share of the width.
_ROOM = 0.1
_TYPED = re.compile(r"(.+):([\d,]+)-([\d,]+)")


class Stretch(NamedTuple):
    """A stretch of a contig, 0-based half-open; printed and typed as ``chrIX:52,001-53,200``, 1-based, end included."""

    contig: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.contig}:{self.start + 1:,}-{self.end:,}"

    @classmethod
    def parse(cls, text: str, lengths: Mapping[str, int]) -> "Stretch":
        """Read a stretch as people type it.

        Parameters
        ----------
        text : str
            ``contig:first-last``, counted from 1, commas allowed; the contig may hold colons.
        lengths : mapping of str to int
            Contigs of the genome.

        Raises
        ------
        InputError
            If it cannot be read, lies off the contig, or is too short or too long to be drawn.
        """
        found = _TYPED.fullmatch(text.strip())
        digits = [part.replace(",", "") for part in found.groups()[1:]] if found else [""]
        if found is None or not all(digits):
            raise InputError(
                f"{text!r}; wanted contig:first-last, such as chrIX:52,001-53,200, or {AUTO}",
                where="locus: region",
            )
        place = cls(found[1], int(digits[0]) - 1, int(digits[1]))
        if place.contig not in lengths:
            raise InputError(
                f"no contig {place.contig!r} in what is traced",
                where=f"locus: region {text}",
                cause=contig_hint([place.contig], lengths),
            )
        return place._checked(lengths[place.contig], text)

    def _checked(self, length: int, text: str) -> "Stretch":
        """Return self if it can be drawn."""
        where, n = f"locus: region {text}", self.end - self.start
        if not 0 <= self.start < self.end:
            cause = "first and last exchanged" if self.start >= self.end else "positions counted from 0"
            raise InputError("wanted first >= 1 and last >= first", where=where, cause=cause)
        if self.end > length:
            raise InputError(
                f"ends at {self.end:,}, {self.contig} has {length:,} bp",
                where=where,
                cause="another genome build, or a typing error",
            )
        if not SHORTEST_BP <= n <= LONGEST_BP:
            raise InputError(
                f"{n:,} bp; the figure shows {SHORTEST_BP} to {LONGEST_BP:,}",
                where=where,
                remedy="for longer stretches, open the gate tracks in a genome browser",
            )
        return self


def tallest_peak(store: EncodedStore, contigs: Sequence[str], width_bp: int = WIDTH_BP) -> Stretch:
    """Return `width_bp` around the called peak with most cuts, both edges in view.

    Peaks that leave less than a tenth of the width on either side count only if there are no others, and are then
    shown around their summit. Of equals, the first in the genome.

    Parameters
    ----------
    store : EncodedStore
    contigs : sequence of str
        Where to look: the test contigs of the model.
    width_bp : int
        Cut short at a contig's end only if the contig is shorter.

    Raises
    ------
    InputError
        If no peak is called there, or the width cannot be drawn.
    """
    if not SHORTEST_BP <= width_bp <= LONGEST_BP:
        raise InputError(
            f"{width_bp:,} bp; the figure shows {SHORTEST_BP} to {LONGEST_BP:,}", where="locus: width_bp"
        )
    rows = store.regions.loc[(store.regions.kind == "peak") & store.regions.chrom.isin(list(contigs))]
    peaks = list(zip(rows["chrom"], rows["start"], rows["end"], rows["summit"], strict=True))
    if not peaks:
        raise InputError(
            f"no called peak on the test contigs ({name_list(contigs)})",
            where="locus: region auto",
            remedy="name a region, such as chrIX:52,001-53,200",
        )
    fitting = [peak for peak in peaks if peak[2] - peak[1] <= (1 - 2 * _ROOM) * width_bp]
    contig, start, end, summit = max(fitting or peaks, key=lambda peak: _cuts_in(store, *peak[:3]))
    middle, length = (start + end) // 2 if fitting else summit, store.lengths[contig]
    left = int(max(0, min(middle - width_bp // 2, length - width_bp)))
    return Stretch(contig, left, min(length, left + width_bp))


def _cuts_in(store: EncodedStore, contig: str, start: int, end: int) -> float:
    return float(store.track(contig, "cuts")[start:end].sum(dtype=np.float64))


def peaks_on(place: Stretch, store: EncodedStore) -> list[tuple[int, int]]:
    """Return start and end of the called peaks that overlap a place."""
    rows = store.regions.loc[(store.regions.kind == "peak") & (store.regions.chrom == place.contig)]
    spans = [(int(start), int(end)) for start, end in zip(rows["start"], rows["end"], strict=True)]
    return [(start, end) for start, end in spans if start < place.end and place.start < end]


class Gene(NamedTuple):
    """A gene, 0-based half-open; `strand` is "+", "-" or "."."""

    start: int
    end: int
    name: str
    strand: str


def read_genes(path: Path | str, place: Stretch, lengths: Mapping[str, int]) -> list[Gene]:
    """Read the genes that overlap a place from a BED file of 3 columns or more (name in the 4th, strand in the 6th).

    Raises
    ------
    InputError
        If a line has no start and end, or no line names a contig of the genome.
    """
    genes: list[Gene] = []
    contigs: set[str] = set()
    for number, line in numbered_lines(path):
        fields = [*line.split("\t"), "", "", ""]
        if len(fields) < 6 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise InputError("wanted contig, start and end, tab-separated", where=f"{path} line {number}")
        gene = Gene(int(fields[1]), int(fields[2]), fields[3], fields[5] if fields[5] in ("+", "-") else ".")
        contigs.add(fields[0])
        if fields[0] == place.contig and gene.start < place.end and place.start < gene.end:
            genes.append(gene)
    if not contigs & set(lengths):
        raise InputError(
            "no gene on any contig of the genome", where=path, cause=contig_hint(sorted(contigs), lengths)
        )
    return sorted(genes)
