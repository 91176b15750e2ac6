"""At which bases do reads begin? 5' ends by contig and strand, sorted out on disk, copies taken out.

Public names: `Batch`, `Piece`, `ReadFilter`, `FileCounts`, `Ends`, `gather_ends`, `refuse_empty_contigs`,
`NEVER_NARROW`.

A reader of any format yields `Piece`; what becomes of them is the same for all.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gatescope.atac.formats import Format
from gatescope.atac.preference import StrandEnds
from gatescope.atac.spool import Copies, Place, Side, Spool, unpack
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
#: Wider than any fragment.
NEVER_NARROW = 1 << 40


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


class Batch(NamedTuple):
    """Hold rows of one kind.

    Attributes
    ----------
    codes : ndarray, (n,) int
        Index of the contig in the genome.
    starts, ends : ndarray, (n,) int
        0-based half-open. Of a read on one side only, the other coordinate is its mate's, or its own 3' end:
        it tells copies apart and nothing else.
    side : {"both", "+", "-"}
        Which 5' ends these are: start and end of fragments, or single reads of one strand.
    copies : {"surely", "perhaps", "never"}
        Whether rows with the same coordinates are copies.
    """

    codes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    side: Side
    copies: Copies


class Piece(NamedTuple):
    """Hold what a reader read at once: ``rows`` = rows in `batches` + those left out, by reason.

    ``narrowest_bp`` is the smallest ``end - start`` that was let pass, of reads and of fragments: under a declared
    shift that narrows fragments by less, this row would have been read otherwise.
    """

    rows: int
    left_out: Mapping[str, int]
    batches: list[Batch]
    narrowest_bp: int = NEVER_NARROW


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


@dataclass
class Ends:
    """Hold the 5' ends of one file; a context manager, because they lie in a temporary file.

    Parameters
    ----------
    counts : FileCounts
        What was read and left out.
    narrowest_bp : int
        As in `Piece`, of the whole file.
    """

    counts: FileCounts
    narrowest_bp: int
    _spool: Spool
    _places: dict[str, list[Place]] = field(default_factory=dict)

    def pieces(self, chrom: str) -> Iterator[tuple[Side, np.ndarray]]:
        """Yield the 5' ends on a contig piece by piece, in no order.

        Yields
        ------
        side : {"+", "-"}
            Strand of the reads.
        positions : ndarray, (n,) int64
            0-based bases as in the file (its shift not undone): the first base read, on either strand.
        """
        for place in self._places.get(chrom, []):
            for keys in self._spool.read(place):
                starts, ends = unpack(keys)
                if place.side != "-":
                    yield "+", starts
                if place.side != "+":
                    yield "-", ends - 1

    def fragments(self, chrom: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (n,) int64 starts and ends of fragments on a contig; of a pair, the reverse read speaks for both."""
        for place in self._places.get(chrom, []):
            if _is_fragment(place):
                yield from map(unpack, self._spool.read(place))

    @property
    def fragment_share(self) -> float:
        """Share of the 5' ends that are an end of a fragment."""
        places = [place for each in self._places.values() for place in each if _is_fragment(place)]
        return 2 * _number(self._spool, places) / (self.counts.used * self.counts.ends_per_row)

    def strands(self, chrom: str, most: int) -> StrandEnds:
        """Return the 5' ends on a contig by strand, thinned evenly to less than twice `most` of each.

        They are the same for any order of the rows in the file.
        """
        places = self._places.get(chrom, [])
        kept: dict[str, list[np.ndarray]] = {"+": [], "-": []}
        number = {
            strand: _number(self._spool, [place for place in places if place.side in ("both", strand)])
            for strand in kept
        }
        seen = dict.fromkeys(kept, 0)
        for place in places:
            for starts, ends in map(unpack, self._spool.runs(place)):
                for strand, positions in (("+", starts), ("-", ends - 1)):
                    if place.side in ("both", strand):
                        step = max(1, number[strand] // most)
                        kept[strand].append(positions[-seen[strand] % step :: step].copy())
                        seen[strand] += len(positions)
        plus, minus = (np.concatenate([np.empty(0, np.int64), *kept[strand]]) for strand in "+-")
        return StrandEnds(plus, minus)

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()


def gather_ends(
    pieces: Iterable[Piece],
    lengths: Mapping[str, int],
    *,
    path: Path | str,
    format: Format,
    keep: ReadFilter,
    tn5_shift: str = "+0/-0",
    exclude_contigs: Iterable[str] = (),
) -> Ends:
    """Sort the rows of a file by contig and take out copies; at most one block of a contig is in memory.

    Parameters
    ----------
    pieces : iterable of Piece
        From a reader.
    lengths : mapping of str to int
        Contigs of the genome, in the order that `Batch.codes` means.
    path, format, tn5_shift
        What to call the file in messages and in `FileCounts`.
    keep : ReadFilter
    exclude_contigs : iterable of str
        Contigs that need not have reads.

    Raises
    ------
    InputError
        If no row can be used, or a contig has none where some were expected.
    """
    names, excluded = list(lengths), set(exclude_contigs)
    raw, used = Spool(), Spool()
    try:
        rows, left_out, narrowest_bp = _fill(raw, pieces)
        is_marked = left_out.get("duplicates_marked", 0) > 0
        places, distinct = _settle(raw, used, names, keep, is_marked, left_out)
        counts = FileCounts(
            file=Path(path).name,
            format=format,
            tn5_shift=tn5_shift,
            rows=rows,
            left_out=dict(left_out),
            used=rows - sum(left_out.values()),
            distinct=distinct,
            ends_per_row=1 if format in ("BAM", "CRAM", "SAM", "tagAlign") else 2,
        )
        _refuse_nothing(counts, path, keep)
        on_contig = {name: _number(used, places.get(name, [])) for name in names if name not in excluded}
        what = "reads" if counts.ends_per_row == 1 else "fragments"
        refuse_empty_contigs(on_contig, lengths, path, what)
    except BaseException:
        used.close()
        raise
    finally:
        raw.close()
    return Ends(counts, narrowest_bp, used, places)


def _fill(spool: Spool, pieces: Iterable[Piece]) -> tuple[int, Counter[str], int]:
    """Write what a reader yields; return the number of rows, of those left out, and the narrowest."""
    rows, left_out, narrowest_bp = 0, Counter[str](), NEVER_NARROW
    for piece in pieces:
        rows += piece.rows
        narrowest_bp = min(narrowest_bp, piece.narrowest_bp)
        for reason, n in piece.left_out.items():
            left_out[reason] += n
        for batch in piece.batches:
            if len(batch.codes):
                spool.add(*batch)
    return rows, left_out, narrowest_bp


def _settle(
    raw: Spool,
    used: Spool,
    names: list[str],
    keep: ReadFilter,
    is_marked: bool,
    left_out: Counter[str],
) -> tuple[dict[str, list[Place]], int]:
    """Copy what counts from one spool to the other; return places by contig and the number of distinct rows."""
    places: dict[str, list[Place]] = defaultdict(list)
    distinct = 0
    for place in sorted(raw.segments):
        rows = sum(n for _, n in raw.segments[place])
        is_removing, different = _is_removing(keep.duplicates, place.copies, is_marked), 0
        for run in raw.runs(place):
            keys = run[np.diff(run, prepend=-1) != 0]
            different += len(keys)
            if is_removing:
                used.write(place, keys)
        distinct += different
        if is_removing:
            left_out["duplicates_by_position"] += rows - different
        else:
            for piece in raw.read(place):
                used.write(place, piece)
        places[names[place.code]].append(place)
    return dict(places), distinct


def _is_removing(duplicates: Duplicates, copies: Copies, is_marked: bool) -> bool:
    if duplicates == "auto":
        return copies == "surely" and not is_marked
    return duplicates == "remove" and copies != "never"


def _is_fragment(place: Place) -> bool:
    """Tell whether rows here hold both 5' ends of a fragment; a forward read's TLEN is not to be relied on."""
    return place.side == "both" or (place.side == "-" and place.copies == "surely")


def _number(spool: Spool, places: list[Place]) -> int:
    return sum(n for place in places for _, n in spool.segments[place])


def _refuse_nothing(counts: FileCounts, path: Path | str, keep: ReadFilter) -> None:
    """Raise if no row counts, with the reason that took most."""
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
