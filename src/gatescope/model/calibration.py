"""Does the network mean what it says? What it expects, held against what is there, group by group.

A ranking can be perfect while every number in it is wrong: windows for training are drawn more often around peaks, and
a network learns how often it saw one. Groups are of equal size, from the lowest expectation to the highest.

Public names: `Calibration`, `calibrate`, `STATE_GROUPS`, `CUT_GROUPS`.

References
----------
Naeini, Cooper & Hauskrecht 2015 (expected calibration error); Niculescu-Mizil & Caruana 2005 (reliability curves).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.model.metrics import Bins, Estimate

#: Groups in which `evaluate` compares probabilities of bases, and expected cuts of bins.
STATE_GROUPS, CUT_GROUPS = 20, 10


class Calibration(NamedTuple):
    """Hold what G groups of bins expect and what they hold, each shape (G,), in order of expectation."""

    n: NDArray[np.int64]  # bins
    expected: NDArray[np.float64]  # mean of what was predicted
    observed: list[Estimate]  # mean of what was there
    error: Estimate  # mean |expected - observed| over groups, weighted by n
    ratio: Estimate  # sum of what was there over sum of what was expected

    def rows(self) -> list[dict[str, float | None]]:
        """Return one row per group: ``n, expected, observed, observed_low, observed_high``, fit for JSON."""
        return [
            {"n": int(n), "expected": float(expected), **observed.entries("observed")}
            for n, expected, observed in zip(self.n, self.expected, self.observed, strict=True)
        ]


def calibrate(
    bins: Bins,
    expected: NDArray[np.floating],
    observed: NDArray,
    draws: NDArray[np.int64],
    groups: int,
) -> Calibration:
    """Group bins by what is expected of them, and compare with what they hold.

    Parameters
    ----------
    bins : Bins
    expected, observed : ndarray, shape (n,)
        In the same unit: probability and label, or cuts and cuts.
    draws : ndarray, shape (R, n_blocks), int64
        From `draw_blocks`; replicates keep the groups.
    groups : int
        At most so many; bins of the same expectation stay together.
    """
    inner = np.quantile(expected, np.arange(1, groups) / groups)
    group = np.searchsorted(inner, expected, side="right")
    is_filled = np.bincount(group, minlength=groups) > 0  # ties can leave a group empty
    n_groups, group = int(is_filled.sum()), (np.cumsum(is_filled) - 1)[group]
    index = bins.block * n_groups + group
    totals = np.stack(
        [
            np.bincount(index, weights=weight, minlength=bins.n_blocks * n_groups)
            for weight in (None, expected, observed)
        ]
    ).reshape(3, bins.n_blocks, n_groups)
    whole = totals.sum(axis=1)  # (3, G): bins, expected, observed
    drawn = np.einsum("rb,kbg->krg", draws, totals)
    means = _share(drawn[2], drawn[0])
    return Calibration(
        n=whole[0].astype(np.int64),
        expected=whole[1] / whole[0],
        observed=[Estimate(float(whole[2, g] / whole[0, g]), means[:, g]) for g in range(n_groups)],
        error=Estimate(float(_error(*whole)), _error(*drawn)),
        ratio=Estimate(
            float(_share(whole[2].sum(), whole[1].sum())), _share(drawn[2].sum(1), drawn[1].sum(1))
        ),
    )


def _error(n: NDArray, expected: NDArray, observed: NDArray) -> NDArray[np.float64]:
    """Weight each group's |mean expected - mean observed| by its bins; groups are the last axis."""
    return np.abs(expected - observed).sum(-1) / n.sum(-1)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
