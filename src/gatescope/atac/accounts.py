"""Which rows of an ATAC file count, and what became of the others? Filter, account, and what may not be empty.

Public names: `Duplicates`, `ReadFilter`, `FileCounts`, `LEFT_OUT`, `refuse_nothing`, `refuse_empty_contigs`, `no_cut`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gatescope.atac.formats import Format
from gatescope.errors import InputError
from gatescope.genome.contigs import name_list

log = logging.getLogger(__name__)

Duplicates = Literal["auto", "keep", "remove"]

#: Why a row is left out, in words.
LEFT_OUT = {
    "unmapped": "unmapped",
    "secondary": "secondary alignments",
    "supplementary": "supplementary alignments",
    "qc_failed": "failed the sequencer's quality control",
    "excluded_contigs": "on excluded contigs",
    "duplicates_marked": "marked as duplicates",
    "low_mapq": "below the least mapping quality",
    "improper_pairs": "not in a proper pair",
    "without_cigar": "aligned without a CIGAR",
    "duplicates_by_position": "with the ends of another row",
}
# Outside peaks there may be half of the average: 12 expected are none once in 200,000 scaffolds.
_EXPECTED_AT_LEAST = 25
_MOST_NAMED = 5


@dataclass(frozen=True)
class ReadFilter:
    """Say which rows of an ATAC file count.

    Parameters
    ----------
    duplicates : {"auto", "keep", "remove"}
        ``remove``: leave out alignments marked as duplicates, and rows with the coordinates (and strand) of
        another row of the same file. ``keep``: neither. ``auto``: leave out what is marked; where nothing is,
        repeated *fragments* of BAM, BED3 and BEDPE (PCR copies), but neither repeated single reads, whose
        other end is unknown, nor rows of 10x files, which are distinct already.
    min_mapq : int
        Least mapping quality of an alignment; text files have none.
    improper_pairs : {"remove", "keep"}
        What happens to paired reads that the aligner (or BEDPE: contigs and strands) does not call a pair.

    Raises
    ------
    InputError
        For another word or a negative number.
    """

    duplicates: Duplicates = "auto"
    min_mapq: int = 30
    improper_pairs: Literal["remove", "keep"] = "remove"

    def __post_init__(self) -> None:
        if self.duplicates not in ("auto", "keep", "remove"):
            raise InputError(f"{self.duplicates!r}, wanted auto, keep or remove", where="duplicates")
        if self.improper_pairs not in ("remove", "keep"):
            raise InputError(f"{self.improper_pairs!r}, wanted remove or keep", where="improper_pairs")
        if not 0 <= self.min_mapq <= 254:
            raise InputError(f"{self.min_mapq}, wanted 0 to 254", where="min_mapq")


@dataclass(frozen=True)
class FileCounts:
    """Account for every row of a file: ``rows = used + sum(left_out.values())``.

    Parameters
    ----------
    file, format : str
        Name of the file and what it is.
    tn5_shift : str
        Shift that the ends carry: the declared one, or for ``auto`` the one found.
    rows : int
        Fragments, pairs or alignments in the file; bases with cuts in a bigWig.
    left_out : dict of str to int
        Rows that do not count, by reason (`LEFT_OUT`); a row has one reason, the first that applies.
    used : int
        Rows that count.
    distinct : int
        Different (contig, start, end, strand) among the rows used or left out as copies of these.
    ends_per_row : int
        2 for fragments and pairs, 1 for single reads, 0 for counts.
    other_bases_on : tuple of str or None
        Contigs in use whose bases are not those that the reads were aligned to, by the MD5 in the header; None where
        no header states one.
    """

    file: str
    format: Format
    tn5_shift: str
    rows: int
    left_out: dict[str, int]
    used: int
    distinct: int
    ends_per_row: int
    other_bases_on: tuple[str, ...] | None = None

    @property
    def in_words(self) -> str:
        """Say it in one line."""
        what = {2: "fragments", 1: "reads", 0: "bases with cuts"}[self.ends_per_row]
        reasons = [f"{n:,} {LEFT_OUT[reason]}" for reason, n in self.left_out.items() if n]
        text = f"{self.format}, {self.rows:,} rows; left out: {', '.join(reasons) or 'none'}"
        return f"{text}; {self.used:,} {what} used ({self.distinct:,} distinct)"


def refuse_nothing(counts: FileCounts, path: Path | str, keep: ReadFilter) -> None:
    """Raise if no row counts, with the reason that took most.

    Parameters
    ----------
    counts : FileCounts
    path : Path or str
        The file, for the message.
    keep : ReadFilter
        What was asked for, for the remedy.

    Raises
    ------
    InputError
        Naming the file.
    """
    what = "reads" if counts.ends_per_row == 1 else "fragments"
    if counts.rows == 0:
        raise InputError(f"no {what} in it", where=path, cause="an empty file", remedy="make it again")
    if counts.used:
        return
    reasons = {reason: n for reason, n in counts.left_out.items() if n}
    most = max(reasons, key=lambda reason: reasons[reason])
    remedies = {
        "low_mapq": f"lower min_mapq, now {keep.min_mapq}, if the aligner rates otherwise",
        "improper_pairs": "align as pairs, or set improper_pairs to keep to count each read on its own",
        "unmapped": "align the reads first",
        "excluded_contigs": "shorten exclude_contigs",
        "duplicates_marked": "set duplicates to keep if the marks are wrong",
    }
    told = ", ".join(f"{n:,} {LEFT_OUT[reason]}" for reason, n in reasons.items())
    raise InputError(
        f"none of {counts.rows:,} rows can be used: no {what} in it outside the excluded contigs"
        if most == "excluded_contigs"
        else f"none of {counts.rows:,} {what} can be used: {told}",
        where=path,
        remedy=remedies.get(most, ""),
    )


def no_cut(where: Path | str, remedy: str = "check that the file is whole, and tn5_shift") -> InputError:
    """Return the error of a file, or several, without a single cut."""
    return InputError("no cut in it", where=where, remedy=remedy)


def refuse_empty_contigs(
    counts: Mapping[str, int], lengths: Mapping[str, int], where: Path | str, what: str
) -> None:
    """Raise if a contig has none of `what`, though its share of the whole would be at least 25.

    Parameters
    ----------
    counts : mapping of str to int
        Number on each contig in use.
    lengths : mapping of str to int
        Contig lengths, bp.
    where : Path or str
        The file, for the message.
    what : str
        What is counted, such as ``fragments``.

    Raises
    ------
    InputError
        Naming the contigs, so that a missing contig never becomes one without accessible places.
    """
    density = sum(counts.values()) / max(1, sum(lengths[chrom] for chrom in counts))
    empty = [
        chrom for chrom, n in counts.items() if n == 0 and density * lengths[chrom] >= _EXPECTED_AT_LEAST
    ]
    if empty:
        expected = density * lengths[empty[0]]
        if len(empty) > _MOST_NAMED:
            log.warning("%s: no %s on these contigs: %s", where, what, ", ".join(empty))
        raise InputError(
            f"no {what} on contig {name_list(empty, _MOST_NAMED)} (about {expected:.0f} expected on {empty[0]})",
            where=where,
            cause="a file of some contigs only, or an incomplete one",
            remedy="give all contigs of the genome, or list these in exclude_contigs"
            + (" (all are named above)" if len(empty) > _MOST_NAMED else ""),
        )
