"""How high can a correlation with counts be? What two halves of the cuts have in common.

Cuts are counted, and few: even a predictor that knows how many to expect everywhere is not told how many there are.
Every cut goes to one of two halves by a fair coin. Where the cuts of a base are Poisson, the halves are independent
given what is expected, so the correlation r between them is the *reliability* of half an experiment. What follows,
and is written beside it:

- ``again``, 2 r / (1 + r) (Spearman-Brown): the correlation between two whole experiments of this depth;
- ``ceiling``, the square root of that: the correlation of a whole experiment with what is expected of it.

Both take noise to be added and not to depend on the signal, which the logarithm of small counts is not: simulated, with
2 cuts per bin, they come out up to 0.05 and 0.03 too high, with 20 up to 0.02 and 0.01, with 100 not. A coin knows
nothing of cells, animals or libraries either: true replicates correlate less. So read the ceiling as an upper bound.

Public names: `split_cuts`, `reachable`.

References
----------
Spearman 1910, Brown 1910 (the formula); Spearman 1904 (attenuation: the square root).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatescope.model.metrics import Bins, Estimate, score_counts


def split_cuts(cuts: Mapping[str, NDArray], seed: int) -> dict[str, NDArray[np.float32]] | None:
    """Give each cut to one half by a fair coin.

    Parameters
    ----------
    cuts : mapping of str to ndarray, shape (L,)
        Cuts per base of each contig.
    seed : int
        Each contig has a stream of its own, by its place in the mapping.

    Returns
    -------
    dict of str to ndarray, shape (L,), float32, or None
        One half; the other is the rest. None if a value is not a whole number: a scaled track cannot be split.
    """
    halves = {}
    for number, (contig, values) in enumerate(cuts.items()):
        at = np.flatnonzero(values)
        there = values[at]
        if (there != np.round(there)).any():
            return None
        halves[contig] = np.zeros(len(values), np.float32)
        halves[contig][at] = np.random.default_rng([seed, number]).binomial(there.astype(np.int64), 0.5)
    return halves


def reachable(
    bins: Bins, half: Mapping[str, NDArray[np.float32]], draws: NDArray[np.int64]
) -> dict[str, dict[str, Estimate]]:
    """Return how well counts can be predicted in these bins, as correlations of ln(1 + cuts).

    Parameters
    ----------
    bins : Bins
    half : mapping of str to ndarray, shape (L,)
        From `split_cuts`.
    draws : ndarray, shape (R, n_blocks), int64

    Returns
    -------
    dict
        ``pearson`` and ``spearman`` -> ``halves``, ``again`` and ``ceiling``, as the module says. Halves that
        correlate negatively have nothing in common: the other two are then 0.
    """
    first = bins.sum(half)
    between = score_counts(replace(bins, cuts=first), np.log1p(bins.cuts - first), draws)
    return {metric: _stepped_up(r) for metric, r in between.items()}


def _stepped_up(halves: Estimate) -> dict[str, Estimate]:
    again = halves.through(lambda r: 2 * np.maximum(r, 0) / (1 + np.maximum(r, 0)))
    return {"halves": halves, "again": again, "ceiling": again.through(np.sqrt)}
