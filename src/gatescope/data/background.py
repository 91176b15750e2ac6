"""Which windows stand for closed chromatin? Tiles outside peaks that look like peaks in what is no grammar.

Without matching, a network can tell peaks from the rest of the genome by GC content alone, or by how many reads
can be mapped there.

Public names: `Match`, `Candidates`, `tile_background`, `match_background`.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from gatescope.genome.sequence import UNKNOWN

GC_BINS = 50  # 2 % wide
#: Where bins of mean mappability begin, after the one at 0: most windows lie near 1, and there bins are narrow.
MAPPABILITY_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
_BINS = (GC_BINS, len(MAPPABILITY_EDGES) + 1)
#: How many bins away a substitute may lie: a missing window does less harm than one of another GC content.
_REACH = 2
#: Candidates that are sorted at once.
_AT_ONCE = 1 << 18
#: Each contig is tiled this many times: GC-rich windows are rare, and a tile that a peak clips is lost.
_SHIFTS = 8


@dataclass(frozen=True)
class Match:
    """Say which candidates were chosen, and how well they match.

    Attributes
    ----------
    chosen : ndarray, shape (n,), int64
        Indices of the chosen candidates, ascending.
    wanted : int
        How many were asked for; fewer are chosen where the genome has no more that match.
    second_choices : int
        How many are second choices.
    substituted : int
        How many come from a neighbouring bin because their own had run out.
    ks_p : tuple of float
        For each feature, P value of the two-sample Kolmogorov-Smirnov test between peaks and the chosen (1 when
        none was wanted).
    """

    chosen: NDArray[np.int64]
    wanted: int
    second_choices: int
    substituted: int
    ks_p: tuple[float, ...]


def tile_background(
    codes: NDArray[np.uint8],
    avoid: NDArray[np.bool_],
    window_bp: int,
    values: Mapping[str, NDArray[np.float32]] | None = None,
) -> pd.DataFrame:
    """Cut a contig into consecutive windows, once from its left end and again shifted, and describe each.

    Parameters
    ----------
    codes : ndarray, shape (L,), uint8
        Base codes, 4 = unknown.
    avoid : ndarray, shape (L,), bool
        True on bases that no background window may touch.
    window_bp : int
        Window length; what is left at the contig's right end (shorter than a window) is left out.
    values : mapping of str to ndarray, shape (L,), float32, optional
        What is summed up over each window, by name.

    Returns
    -------
    DataFrame
        `start`, `shifted` (bool; False for the tiles from the left end, which do not overlap each other),
        `avoided` (bool), `unknown` (share of bases), `gc` (share of known bases; nan where none), and the sum of
        each of `values`. Sorted by start.
    """
    shifts = range(0, min(window_bp, codes.size), max(1, window_bp // _SHIFTS))
    tiles = [_tiles_from(shift, codes, avoid, window_bp, values or {}) for shift in shifts]
    columns = {name: np.concatenate([part[name] for part in tiles]) for name in tiles[0]}
    order = np.argsort(columns["start"])
    return pd.DataFrame({name: column[order] for name, column in columns.items()})


def _tiles_from(
    shift: int,
    codes: NDArray[np.uint8],
    avoid: NDArray[np.bool_],
    window_bp: int,
    values: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray]:
    """Describe the consecutive windows from base `shift` on."""
    n = (codes.size - shift) // window_bp
    inside = slice(shift, shift + n * window_bp)
    tiles = codes[inside].reshape(n, window_bp)
    known = (tiles != UNKNOWN).sum(1)
    strong = ((tiles == 1) | (tiles == 2)).sum(1)
    return {
        "start": shift + np.arange(n) * window_bp,
        "shifted": np.full(n, shift > 0),
        "avoided": np.any(avoid[inside].reshape(n, window_bp), axis=1),
        "unknown": 1 - known / window_bp,
        "gc": np.divide(strong, known, out=np.full(n, np.nan), where=known > 0),
        **{
            name: each[inside].reshape(n, window_bp).sum(1, dtype=np.float64) for name, each in values.items()
        },
    }


class Candidates(NamedTuple):
    """Hold some of the windows that may become background, those of one contig say.

    Attributes
    ----------
    features : ndarray, shape (C, F), float64
        F = 1 or 2 features in 0-1: GC content, mean mappability.
    is_second_choice : ndarray, shape (C,), bool
        Candidates to take only where a bin has no others left.
    """

    features: NDArray[np.float64]
    is_second_choice: NDArray[np.bool_]


def match_background(
    peaks: NDArray[np.float64],
    candidates: Callable[[], Iterator[Candidates]],
    ratio: float,
    rng: np.random.Generator,
) -> Match:
    """Choose candidates whose histogram is `ratio` times that of the peaks, without replacement.

    Of all candidates, 6 bytes each are held; the choice does not depend on how they come.

    A bin is 2 % of GC wide; with mappability the histogram is one of both together, divided as well where
    `MAPPABILITY_EDGES` say. Each bin is filled from its own candidates; what a bin lacks is taken from the
    nearest bin that has some left, at most two bins away in either feature, and left out beyond that.

    Parameters
    ----------
    peaks : ndarray, shape (P, F), float64
        Features as those of `Candidates`.
    candidates : callable
        Returns all candidates, block by block, and the same ones each time.
    ratio : float
        Background windows per peak.
    rng : Generator
        Decides which candidates of a bin are taken.

    Returns
    -------
    Match
    """
    bins = _BINS[: peaks.shape[1]]
    n_bins = int(np.prod(bins))
    wanted = _apportion(np.bincount(_bin(peaks, bins), minlength=n_bins), ratio)
    classes = _classes(candidates, bins)
    available = np.bincount(classes, minlength=2 * n_bins).reshape(n_bins, 2)
    taken, substituted = _fill_bins(wanted.reshape(bins), available.sum(1).reshape(bins))
    first_choices = np.minimum(taken.ravel(), available[:, 0])
    counts = np.stack([first_choices, taken.ravel() - first_choices], axis=1)
    chosen = _first_of_each_class(classes, counts.ravel(), rng)
    features = _features(candidates, chosen, len(bins))
    return Match(
        chosen=chosen,
        wanted=int(wanted.sum()),
        second_choices=int(counts[:, 1].sum()),
        substituted=substituted,
        ks_p=tuple(_ks_p(peaks[:, k], features[:, k]) for k in range(len(bins))),
    )


def _classes(candidates: Callable[[], Iterator[Candidates]], bins: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return twice the number of each candidate's bin, and one more for second choices."""
    found = [
        (2 * _bin(block.features, bins) + block.is_second_choice).astype(np.uint16) for block in candidates()
    ]
    return np.concatenate(found) if found else np.zeros(0, np.uint16)


def _first_of_each_class(
    classes: NDArray[np.uint16], counts: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Shuffle the candidates, and return the first `counts` of each class, ascending."""
    shuffled = np.arange(classes.size, dtype=np.uint32 if classes.size < 1 << 32 else np.uint64)
    rng.shuffle(shuffled)
    left, chosen = counts.copy(), [np.zeros(0, np.int64)]
    for first in range(0, classes.size, _AT_ONCE):  # sorting all of them takes eight times as much memory
        piece = shuffled[first : first + _AT_ONCE].astype(np.int64)
        piece = piece[np.argsort(classes[piece], kind="stable")]
        of = classes[piece]
        rank = np.arange(of.size) - np.searchsorted(of, of)
        chosen.append(piece[rank < left[of]])
        left -= np.bincount(classes[chosen[-1]], minlength=left.size)
    return np.sort(np.concatenate(chosen))


def _features(
    candidates: Callable[[], Iterator[Candidates]], chosen: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    """Return the features of some candidates, (n, F); `chosen` is ascending."""
    found, first = [np.zeros((0, n_features))], 0
    for block in candidates():
        low, high = np.searchsorted(chosen, (first, first + len(block.features)))
        found.append(block.features[chosen[low:high] - first])
        first += len(block.features)
    return np.concatenate(found)


def _ks_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the two-sample Kolmogorov-Smirnov P value; 1 if there is nothing to compare."""
    if not first.size or not second.size:
        return 1.0
    # the asymptotic formula fails on a handful of values, the exact one is slow on many
    method = "exact" if first.size * second.size <= 10_000 else "asymp"
    with warnings.catch_warnings():
        # among many ties scipy cannot count exactly, says so, and takes the asymptotic formula by itself
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        _, p = ks_2samp(first, second, method=method)
    return float(np.asarray(p))


def _bin(features: NDArray[np.float64], bins: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the number of each row's bin; 1.0 belongs to the last bin of a feature."""
    places = [np.minimum((features[:, 0] * GC_BINS).astype(np.int64), GC_BINS - 1)]
    if len(bins) > 1:
        places.append(np.searchsorted(MAPPABILITY_EDGES, features[:, 1], side="right"))
    return np.ravel_multi_index(tuple(places), bins)


def _apportion(counts: NDArray[np.int64], ratio: float) -> NDArray[np.int64]:
    """Return whole numbers near counts * ratio with the sum nearest to theirs (largest remainders)."""
    exact = counts * ratio
    shares = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:missing]] += 1
    return shares


def _fill_bins(wanted: NDArray[np.int64], available: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return how many to take from each bin, and how many of these stand in for another bin."""
    taken = np.minimum(wanted, available)
    lacking, spare = wanted - taken, available - taken
    substituted = 0
    for steps in _nearest_first(wanted.ndim):
        here = tuple(
            slice(max(0, -step), n - max(0, step)) for step, n in zip(steps, wanted.shape, strict=True)
        )
        there = tuple(
            slice(max(0, step), n - max(0, -step)) for step, n in zip(steps, wanted.shape, strict=True)
        )
        moved = np.minimum(lacking[here], spare[there])
        lacking[here] -= moved
        spare[there] -= moved
        taken[there] += moved
        substituted += int(moved.sum())
    return taken, substituted


def _nearest_first(n_features: int) -> list[tuple[int, ...]]:
    """Return the ways to bins that may stand in, nearest first; of equals, the nearer in GC content."""
    ways = [way for way in product(range(-_REACH, _REACH + 1), repeat=n_features) if any(way)]
    return sorted(ways, key=lambda way: (sum(step * step for step in way), abs(way[0]), way))
