"""At which bases do reads begin? 5' ends by contig and strand, sorted out on disk, copies taken out.

Public names: `Batch`, `Piece`, `Ends`, `gather_ends`, `NEVER_NARROW`.

A reader of any format yields `Piece`; what becomes of them is the same for all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.atac.accounts import Duplicates, FileCounts, ReadFilter, refuse_empty_contigs, refuse_nothing
from gatescope.atac.formats import Format
from gatescope.atac.preference import StrandEnds
from gatescope.atac.spool import Copies, Place, Side, Spool, unpack

#: Wider than any fragment.
NEVER_NARROW = 1 << 40


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
        refuse_nothing(counts, path, keep)
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
