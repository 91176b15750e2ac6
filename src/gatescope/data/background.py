"""Which windows stand for closed chromatin? Tiles outside peaks whose GC content is that of the peaks.

Without matching, a network can tell peaks from the rest of the genome by GC content alone.

Public names: `GcMatch`, `tile_background`, `match_gc`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from gatescope.genome.sequence import UNKNOWN

GC_BINS = 50  # 2 % wide
#: How many bins away a substitute may lie: a missing window does less harm than one of another GC content.
_REACH = 2
#: Each contig is tiled this many times: GC-rich windows are rare, and a tile that a peak clips is lost.
_SHIFTS = 8


@dataclass(frozen=True)
class GcMatch:
    """Say which candidates were chosen, and how well they match.

    Attributes
    ----------
    chosen : ndarray, shape (n,), int64
        Indices of the chosen candidates, ascending.
    wanted : int
        How many were asked for; fewer are chosen where the genome has no more of that GC content.
    second_choices : int
        How many are second choices.
    substituted : int
        How many come from a neighbouring GC bin because their own had run out.
    ks_p : float
        P value of the two-sample Kolmogorov-Smirnov test between the GC of peaks and of the chosen (1 when
        none was wanted).
    """

    chosen: NDArray[np.int64]
    wanted: int
    second_choices: int
    substituted: int
    ks_p: float


def tile_background(codes: NDArray[np.uint8], avoid: NDArray[np.bool_], window_bp: int) -> pd.DataFrame:
    """Cut a contig into consecutive windows, once from its left end and again shifted, and describe each.

    Parameters
    ----------
    codes : ndarray, shape (L,), uint8
        Base codes, 4 = unknown.
    avoid : ndarray, shape (L,), bool
        True on bases that no background window may touch.
    window_bp : int
        Window length; what is left at the contig's right end (shorter than a window) is left out.

    Returns
    -------
    DataFrame
        `start`, `shifted` (bool; False for the tiles from the left end, which do not overlap each other),
        `avoided` (bool), `unknown` (share of bases), `gc` (share of known bases; nan where none). Sorted by
        start.
    """
    shifts = range(0, min(window_bp, codes.size), max(1, window_bp // _SHIFTS))
    tiles = [_tiles_from(shift, codes, avoid, window_bp) for shift in shifts]
    return pd.concat(tiles).sort_values("start", ignore_index=True)


def _tiles_from(
    shift: int, codes: NDArray[np.uint8], avoid: NDArray[np.bool_], window_bp: int
) -> pd.DataFrame:
    """Describe the consecutive windows from base `shift` on."""
    n = (codes.size - shift) // window_bp
    inside = slice(shift, shift + n * window_bp)
    tiles = codes[inside].reshape(n, window_bp)
    known = (tiles != UNKNOWN).sum(1)
    strong = ((tiles == 1) | (tiles == 2)).sum(1)
    return pd.DataFrame(
        {
            "start": shift + np.arange(n) * window_bp,
            "shifted": shift > 0,
            "avoided": avoid[inside].reshape(n, window_bp).any(1),
            "unknown": 1 - known / window_bp,
            "gc": np.divide(strong, known, out=np.full(n, np.nan), where=known > 0),
        }
    )


def match_gc(
    peak_gc: NDArray[np.float64],
    candidate_gc: NDArray[np.float64],
    is_second_choice: NDArray[np.bool_],
    ratio: float,
    rng: np.random.Generator,
) -> GcMatch:
    """Choose candidates whose GC histogram is `ratio` times that of the peaks, without replacement.

    Each 2 %-wide GC bin is filled from its own candidates; what a bin lacks is taken from the nearest bin
    that has some left, at most 4 % GC away, and left out beyond that.

    Parameters
    ----------
    peak_gc, candidate_gc : ndarray, shape (P,) and (C,), float64
        GC shares in 0-1.
    is_second_choice : ndarray, shape (C,), bool
        Candidates to take only where a bin has no others left.
    ratio : float
        Background windows per peak.
    rng : Generator
        Decides which candidates of a bin are taken.

    Returns
    -------
    GcMatch
    """
    peak_bins, candidate_bins = _gc_bin(peak_gc), _gc_bin(candidate_gc)
    wanted = _apportion(np.bincount(peak_bins, minlength=GC_BINS), ratio)
    taken, substituted = _fill_bins(wanted, np.bincount(candidate_bins, minlength=GC_BINS))
    shuffled = rng.permutation(candidate_gc.size)
    shuffled = shuffled[np.argsort(is_second_choice[shuffled], kind="stable")]
    in_bin = candidate_bins[shuffled]
    chosen = np.concatenate([shuffled[in_bin == index][:count] for index, count in enumerate(taken)])
    chosen = np.sort(chosen).astype(np.int64)
    return GcMatch(
        chosen=chosen,
        wanted=int(wanted.sum()),
        second_choices=int(is_second_choice[chosen].sum()),
        substituted=substituted,
        ks_p=_ks_p(peak_gc, candidate_gc[chosen]),
    )


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


def _gc_bin(gc: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the 2 %-wide bin; GC 1.0 belongs to the last."""
    return np.minimum((gc * GC_BINS).astype(np.int64), GC_BINS - 1)


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
    for distance in range(1, _REACH + 1):
        for index in np.flatnonzero(lacking):
            for neighbour in (index - distance, index + distance):
                if 0 <= neighbour < GC_BINS:
                    moved = min(lacking[index], spare[neighbour])
                    taken[neighbour] += moved
                    spare[neighbour] -= moved
                    lacking[index] -= moved
                    substituted += int(moved)
    return taken, substituted
