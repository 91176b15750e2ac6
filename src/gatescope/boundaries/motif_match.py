"""Are two motifs the same word? Column correlation over all offsets and both strands, with a null of shuffled columns.

Public names: `Alignment`, `column_correlation`, `Match`, `match_motif`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.boundaries.motifs import reverse_complement_counts
from gatescope.resample import max_p, tail_p

#: Columns that two motifs have to share, where both are as wide.
_LEAST_OVERLAP = 5
#: Shuffles of a motif's columns.
_SHUFFLES = 999


class Alignment(NamedTuple):
    """How two motifs lie on each other where their columns agree best."""

    r: float  # mean Pearson correlation of the columns that lie on each other
    offset: int  # column of the first motif on which column 0 of the second one lies; may be negative
    strand: str  # "+", or "-" where the second one is reverse-complemented
    overlap: int  # columns that lie on each other
    score: float  # sum of the correlations over the width of the narrower motif


class Match(NamedTuple):
    """One motif of a file beside a found one."""

    target: str
    alignment: Alignment
    p: float  # against shuffles of the found motif's columns
    p_fwer: float  # the same for the best target of the whole file in each shuffle


def column_correlation(found: NDArray, truth: NDArray, least_overlap: int = _LEAST_OVERLAP) -> Alignment:
    """Lay two motifs on each other so that their columns agree best.

    Parameters
    ----------
    found, truth : ndarray, shape (width, 4)
        Counts or shares, ACGT, both 5' to 3'; they may differ in width.
    least_overlap : int
        Columns that have to lie on each other, or all of the narrower motif where it has fewer.

    Returns
    -------
    Alignment
        The one with the largest score: columns that hang over count as 0, so that a few that agree at an edge by
        chance do not win. A column in which all letters are alike correlates with nothing.
    """
    best = []
    for strand, columns in _correlations(found, truth):
        offsets, overlaps, sums = _slide(columns[None], least_overlap)
        at = int(sums[0].argmax())
        score = sums[0, at] / min(columns.shape)
        r = sums[0, at] / overlaps[at]
        best.append(Alignment(float(r), int(offsets[at]), strand, int(overlaps[at]), float(score)))
    return max(best, key=lambda alignment: alignment.score)


def match_motif(found: NDArray, targets: Mapping[str, NDArray], rng: np.random.Generator) -> list[Match]:
    """Compare a motif with those of a file, the best first.

    The null is the same comparison with the columns of the found motif in another order. Motifs that look alike in
    any order (runs of one letter) match nothing by this test.

    Parameters
    ----------
    found : ndarray, shape (width, 4)
        5' to 3'.
    targets : mapping of str to ndarray (width, 4)
    rng : numpy.random.Generator
        Draws 999 orders, the same for all targets.
    """
    orders = rng.permuted(np.tile(np.arange(len(found)), (_SHUFFLES, 1)), axis=1)
    aligned = [column_correlation(found, target) for target in targets.values()]
    observed = np.array([alignment.score for alignment in aligned])
    null = np.stack([_shuffled_scores(found, target, orders) for target in targets.values()], axis=1)
    own, together = tail_p(observed, null), max_p(observed, null)
    matches = map(Match, targets, aligned, own.tolist(), together.tolist())
    return sorted(matches, key=lambda match: (match.p_fwer, match.p, -match.alignment.score, match.target))


def _shuffled_scores(found: NDArray, target: NDArray, orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the best score for each order of the found motif's columns."""
    scores = []
    for _, columns in _correlations(found, target):
        _, _, sums = _slide(columns[orders], _LEAST_OVERLAP)
        scores.append(sums.max(1) / min(columns.shape))
    return np.maximum(*scores)


def _correlations(found: NDArray, truth: NDArray) -> list[tuple[str, NDArray[np.float64]]]:
    """Return strand and correlation of every column with every other, (width of found, width of truth), twice."""
    own = _standardise_columns(found)
    strands = {"+": truth, "-": reverse_complement_counts(truth)}
    return [(strand, own @ _standardise_columns(columns).T) for strand, columns in strands.items()]


def _standardise_columns(counts: NDArray) -> NDArray[np.float64]:
    """Return columns of mean 0 and length 1; zeros where all letters are alike."""
    centred = counts - counts.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros(counts.shape), where=length > 1e-12)


def _slide(
    correlations: NDArray[np.float64], least_overlap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sum the columns that lie on each other at every offset.

    Parameters
    ----------
    correlations : ndarray, shape (n, width of found, width of truth)

    Returns
    -------
    offsets, overlaps : ndarray, shape (offsets,)
    sums : ndarray, shape (n, offsets)
    """
    own, other = correlations.shape[1:]
    least = min(least_overlap, own, other)
    offsets = np.arange(least - other, own - least + 1)
    overlaps = np.minimum(own, offsets + other) - np.maximum(offsets, 0)
    sums = [np.trace(correlations, -offset, 1, 2) for offset in offsets]
    return offsets, overlaps, np.stack(sums, axis=1)
