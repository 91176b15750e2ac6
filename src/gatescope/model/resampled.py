"""How do scores vary with the blocks that are drawn? Means of scores, limits of intervals, differences.

Public names: `score_bins`, `mean_estimate`, `limits`, `difference_cells`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatescope.model.binned import BinPrediction
from gatescope.model.metrics import MISSING, Bins, Estimate, score_counts, score_state
from gatescope.resample import interval


def score_bins(bins: Bins, prediction: BinPrediction, draws: NDArray[np.int64]) -> dict[str, Estimate]:
    """Return the metrics that a predictor has, as `gatescope.model.metrics` defines them; per base, of the state alone.

    Where none of the blocks of `bins` is drawn, which may be those of one fold among several, a replicate is NaN.

    Parameters
    ----------
    bins : Bins
    prediction : BinPrediction
        Shape (n,) each.
    draws : ndarray, shape (R, n_blocks), int64
    """
    drawn = draws.sum(axis=1) > 0
    scores = score_state(bins, prediction.state, draws[drawn])
    if prediction.counts is not None and bins.bin_bp > 1:
        scores |= score_counts(bins, prediction.counts, draws[drawn])
    return {name: _widened(estimate, drawn) for name, estimate in scores.items()}


def _widened(estimate: Estimate, drawn: NDArray[np.bool_]) -> Estimate:
    """Put NaN where nothing was drawn; what has no value has no replicates."""
    if np.isnan(estimate.value):
        return MISSING
    replicates = np.full(drawn.size, np.nan)
    replicates[drawn] = estimate.replicates
    return Estimate(estimate.value, replicates)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of values and, replicate by replicate, of paired replicates; `MISSING` if one has no value."""
    value = float(np.mean([each.value for each in estimates]))
    if np.isnan(value):
        return MISSING
    return Estimate(value, np.mean([each.replicates for each in estimates], axis=0))


def limits(estimate: Estimate, level: float) -> tuple[float, float]:
    """Return the central `level` of the replicates; (NaN, NaN) if fewer than half of them have a value."""
    finite = estimate.replicates[np.isfinite(estimate.replicates)]
    if finite.size == 0 or 2 * finite.size < estimate.replicates.size:
        return (np.nan, np.nan)
    low, high = interval(finite, level)
    return (float(low), float(high))


def difference_cells(difference: Estimate) -> dict[str, float]:
    """Return a difference with its 95 % and 90 % intervals, as tables name them."""
    cells = {"difference": difference.value}
    for level in (95, 90):
        cells |= zip((f"low_{level}", f"high_{level}"), limits(difference, level / 100), strict=True)
    return cells
