"""Do training contigs hold near-copies of held-out windows? A sketch of k-mers says, on both strands.

A network that was trained on a copy of what it is tested on can recite. Whole contigs are held out, but paralogues,
transposons, tandem arrays and both haplotypes of an assembly lie on several contigs.

Public names: `NearDuplicates`, `find_near_duplicates`, `NEAR_COPY`, `KMER_BP`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gatescope.genome.folds import Fold
from gatescope.genome.regions import merge_regions
from gatescope.genome.sequence import UNKNOWN

log = logging.getLogger(__name__)

#: Long enough that two places of any genome share one by descent only (4^21 = 4e12), short enough to survive
#: between mutations.
KMER_BP = 21
#: Share of a window's k-mers from which a place is called its near-copy: the whole window at 97 % identity, for
#: 0.97^21 = 0.53, or half of it without a difference.
NEAR_COPY = 0.5
#: Windows from this share on are listed, to show what comes close.
LISTED = 0.25
_COLUMNS = ["fold", "part", "chrom", "start", "end", "containment", "train_chrom", "train_start", "train_end"]
_CHUNK_BP = 1 << 20
_HASHES_PER_WINDOW = 100
_LEAST_HASHES = 10  # a window with fewer (unknown bases, a microsatellite) says nothing
_MOST_HASHES = 1 << 24
_WORTH_A_WARNING = 0.01


@dataclass(frozen=True)
class NearDuplicates:
    """Say which held-out windows have near-copies in training, fold by fold.

    Attributes
    ----------
    table : DataFrame
        One row per fold and held-out window of which `LISTED` or more lies in one place of a training contig:
        `fold, part` ("test" or "valid"), `chrom, start, end` (the window), `containment` (0-1), and where most
        of it lies: `train_chrom, train_start, train_end`, from the first to the last shared k-mer. 0-based
        half-open.
    checked, found : dict of str to int
        For each fold, held-out windows, and those with a near-copy (`NEAR_COPY`).
    copies : dict of str to DataFrame
        For each fold, the stretches of training contigs that are near-copies: `chrom, start, end`, merged.
    scale : int
        One k-mer in so many was looked at.
    """

    table: pd.DataFrame
    checked: dict[str, int]
    found: dict[str, int]
    copies: dict[str, pd.DataFrame]
    scale: int

    def copied_bp(self, fold: str) -> int:
        """Return how many bases of a fold's training contigs are near-copies."""
        copies = self.copies[fold]
        return int((copies["end"] - copies["start"]).to_numpy().sum())

    @staticmethod
    def empty_table() -> pd.DataFrame:
        """Return `table` without rows."""
        return pd.DataFrame(columns=_COLUMNS)


@dataclass
class _Best:
    """Where most of each held-out window lies on the training contigs of one fold."""

    is_held_out: NDArray[np.bool_]
    containment: NDArray[np.float64]
    places: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    copies: list[tuple[str, int, int]] = field(default_factory=list)


def find_near_duplicates(
    windows: pd.DataFrame,
    codes: Callable[[str], NDArray[np.uint8]],
    lengths: Mapping[str, int],
    folds: Mapping[str, Fold],
) -> NearDuplicates:
    """Look for each held-out window in the training contigs of each fold.

    Containment is the share of a window's distinct canonical 21-mers that a stretch of one and a half window
    lengths on a training contig has as well. Only k-mers whose hash is small take part (FracMinHash): one in
    `scale`, so that a window has about 100, or fewer where the windows together would exceed 16 million.

    Time is linear in the genome, 0.1 to 0.2 s per million bases; memory is one contig of codes, 150 MB, and
    about 50 bytes for each k-mer looked at.

    Parameters
    ----------
    windows : DataFrame
        `chrom, start, end`, all of one length; those on validation and test contigs of a fold are looked for.
    codes : callable
        Returns the base codes of a contig, shape (L,), 4 = unknown.
    lengths : mapping of str to int
        All contigs in use.
    folds : mapping of str to Fold

    References
    ----------
    .. [1] Irber et al. 2022, doi:10.1101/2022.01.11.475838 (FracMinHash).
    .. [2] Rafi et al. 2025, doi:10.1101/2025.01.22.634321 (hashFrag: homology between folds flatters scores).
    """
    window_bp = int((windows["end"].to_numpy() - windows["start"].to_numpy()).max())
    parts = {name: np.array([fold.split(c) for c in windows["chrom"]]) for name, fold in folds.items()}
    held_out = {name: np.isin(part, ["test", "valid"]) for name, part in parts.items()}
    looked_for = np.any(list(held_out.values()), axis=0)
    scale = _scale(window_bp, int(looked_for.sum()))
    known, members, sizes = _sketch_windows(windows, looked_for, codes, scale)
    bests = {
        name: _Best(is_held_out & (sizes >= _LEAST_HASHES), np.zeros(len(windows)))
        for name, is_held_out in held_out.items()
    }
    for contig in lengths:
        trained = [bests[name] for name, fold in folds.items() if fold.split(contig) == "train"]
        if trained and known.size:
            for place in _shared(codes(contig), known, members, window_bp, scale):
                _record(place, contig, sizes, trained)
    return _collect(windows, parts, bests, scale)


def _scale(window_bp: int, n_windows: int) -> int:
    """Return a power of two: one k-mer in so many is looked at."""
    scale = 1
    while window_bp / (2 * scale) >= _HASHES_PER_WINDOW or n_windows * window_bp / scale > _MOST_HASHES:
        scale *= 2
    return scale


def _sketch(codes: NDArray[np.uint8], scale: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return position and hash of the k-mers looked at; a k-mer and its reverse complement are the same."""
    n = codes.size - KMER_BP + 1
    if n < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    letters = codes.astype(np.uint64) & np.uint64(3)
    canonical = np.minimum(_pack(letters, n), _pack(np.uint64(3) - letters, n, from_right=True))
    unknown = np.concatenate([[0], np.cumsum(codes == UNKNOWN, dtype=np.int32)])
    hashes = _mix(canonical)
    # the comparison with the largest hash instead of their number: 2^64 does not fit
    small = hashes <= np.uint64(((1 << 64) - 1) // scale)
    at = np.flatnonzero(small & (unknown[KMER_BP:] == unknown[:-KMER_BP]))
    return at, hashes[at]


def _pack(letters: NDArray[np.uint64], n: int, from_right: bool = False) -> NDArray[np.uint64]:
    """Write 21 letters of 2 bits into one number, at each of `n` places: 16 + 4 + 1, by doubling."""

    def join(first: NDArray, second: NDArray, n_first: int, n_second: int) -> NDArray[np.uint64]:
        """Put `second` behind `first`; read from the right, the later letters are the larger digits."""
        if from_right:
            return first | second << np.uint64(2 * n_first)
        return first << np.uint64(2 * n_second) | second

    parts = {1: letters}
    for length in (1, 2, 4, 8):
        half = parts[length]
        parts[2 * length] = join(half[:-length], half[length:], length, length)
    twenty = join(parts[16][: n + 1], parts[4][16 : 16 + n + 1], 16, 4)
    return join(twenty[:n], letters[20 : 20 + n], 20, 1)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits one to one (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _sketch_windows(
    windows: pd.DataFrame,
    looked_for: NDArray[np.bool_],
    codes: Callable[[str], NDArray[np.uint8]],
    scale: int,
) -> tuple[NDArray[np.uint64], csr_array, NDArray[np.int64]]:
    """Return all hashes sorted, which window has which (hashes x windows), and how many each window has."""
    starts, ends = windows["start"].to_numpy(), windows["end"].to_numpy()
    found: list[NDArray[np.uint64]] = []
    owners: list[NDArray[np.int32]] = []
    for contig, rows in windows.groupby("chrom", sort=False).indices.items():
        if not looked_for[rows].any():
            continue
        bases = codes(str(contig))
        for row in rows[looked_for[rows]]:
            hashes = np.unique(_sketch(bases[starts[row] : ends[row]], scale)[1])
            found.append(hashes)
            owners.append(np.full(hashes.size, row, np.int32))
    if not found:
        return np.zeros(0, np.uint64), csr_array((0, len(windows))), np.zeros(len(windows), np.int64)
    owner = np.concatenate(owners)
    known, number = np.unique(np.concatenate(found), return_inverse=True)
    ones = np.ones(owner.size, np.int32)
    members = csr_array((ones, (number, owner)), shape=(known.size, len(windows)))
    return known, members, np.bincount(owner, minlength=len(windows))


@dataclass(frozen=True)
class _Places:
    """Stretches of a training contig, and how many k-mers each shares with each window (places x windows)."""

    shared: csr_array
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def _shared(
    codes: NDArray[np.uint8], known: NDArray[np.uint64], members: csr_array, window_bp: int, scale: int
) -> Iterator[_Places]:
    """Count shared k-mers in stretches of 1.5 windows, one beginning every half window, chunk by chunk."""
    half = -(-window_bp // 2)
    chunk = half * -(-_CHUNK_BP // half)
    for first in range(0, codes.size, chunk):
        # what begins in this chunk may end in the next
        at, hashes = _sketch(codes[first : first + chunk + 2 * half + KMER_BP - 1], scale)
        number = np.minimum(np.searchsorted(known, hashes), known.size - 1)
        is_hit = known[number] == hashes
        at, number = at[is_hit], number[is_hit]
        if at.size:
            yield _count_shared(at, number, first, half, chunk // half, members, known.size)


def _count_shared(
    at: NDArray[np.int64],
    number: NDArray[np.int64],
    first: int,
    half: int,
    n_places: int,
    members: csr_array,
    n_hashes: int,
) -> _Places:
    """Count what each stretch of three halves shares with each window; every k-mer once."""
    place = (at // half)[:, None] - np.arange(3)
    is_here = (place >= 0) & (place < n_places)
    rows, columns = place[is_here], np.repeat(number[:, None], 3, axis=1)[is_here]
    places, row = np.unique(rows, return_inverse=True)
    has = csr_array((np.ones(row.size, np.int32), (row, columns)), shape=(places.size, n_hashes))
    has.sum_duplicates()
    has.data[:] = 1
    ends = np.zeros(places.size, np.int64)
    starts = np.full(places.size, np.iinfo(np.int64).max)
    where = np.repeat(at[:, None], 3, axis=1)[is_here]
    np.minimum.at(starts, row, where)
    np.maximum.at(ends, row, where + KMER_BP)
    return _Places(csr_array(has @ members), first + starts, first + ends)


def _record(places: _Places, contig: str, sizes: NDArray[np.int64], bests: list[_Best]) -> None:
    """Keep the best place of each held-out window, and every place that is a near-copy of one."""
    counts = places.shared.tocoo()
    place, window = counts.coords
    containment = counts.data / np.maximum(sizes[window], 1)
    for best in bests:
        is_mine = best.is_held_out[window]
        is_copy = is_mine & (containment >= NEAR_COPY)
        for row in np.unique(place[is_copy]):
            best.copies.append((contig, int(places.starts[row]), int(places.ends[row])))
        is_better = np.flatnonzero(is_mine & (containment > best.containment[window]))
        # of several places of a window the best comes first, of equals the leftmost
        order = is_better[np.lexsort((place[is_better], -containment[is_better], window[is_better]))]
        _, leading = np.unique(window[order], return_index=True)
        for entry in order[leading]:
            row, which = place[entry], int(window[entry])
            best.containment[which] = containment[entry]
            best.places[which] = contig, int(places.starts[row]), int(places.ends[row])


def _collect(
    windows: pd.DataFrame, parts: Mapping[str, NDArray[np.str_]], bests: Mapping[str, _Best], scale: int
) -> NearDuplicates:
    """Turn what was recorded into tables."""
    rows = []
    checked, found, copies = {}, {}, {}
    for name, best in bests.items():
        checked[name] = int(best.is_held_out.sum())
        found[name] = int((best.containment >= NEAR_COPY).sum())
        copies[name] = _merge(best.copies)
        for row in np.flatnonzero(best.containment >= LISTED):
            chrom, start, end = windows.iloc[row][["chrom", "start", "end"]]
            rows.append(
                (name, parts[name][row], chrom, start, end, best.containment[row], *best.places[int(row)])
            )
        _log_share(name, checked[name], found[name])
    return NearDuplicates(pd.DataFrame(rows, columns=_COLUMNS), checked, found, copies, scale)


def _merge(stretches: list[tuple[str, int, int]]) -> pd.DataFrame:
    """Join stretches that overlap or touch."""
    table = pd.DataFrame(stretches, columns=["chrom", "start", "end"])
    merged = merge_regions(table.assign(summit=table["start"], signal=np.nan))
    return merged.loc[:, ["chrom", "start", "end"]]


def _log_share(fold: str, checked: int, found: int) -> None:
    """Say how many held-out windows were seen in training, and warn where that may flatter the scores."""
    share = found / max(1, checked)
    text = "fold %s: %d of %d held-out peak windows (%.1f %%) have a near-copy on a training contig"
    log.info(text, fold, found, checked, 100 * share)
    if share > _WORTH_A_WARNING:
        log.warning(
            "fold %s: scores on held-out contigs flatter a network that learns copies by heart; "
            "near_duplicates.tsv lists them, windows.near_duplicates: drop takes them out of training",
            fold,
        )
