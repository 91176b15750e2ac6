"""How good is a prediction on held-out contigs? Bins, four metrics, and intervals from resampled blocks.

A *bin* is one of the consecutive, non-overlapping stretches of `bin_bp` bases of a contig; the shorter one
at the contig's end is left out. Only scored bases (state 0 or 1) count, for the observed and the predicted
side alike. A bin is left out if more than half of it is not scored, and accessible (label 1) if at least half
of its scored bases are.

Neighbouring bins are not independent, so intervals come from drawing *blocks* of bins with replacement. All
predictors share the draws of one set of bins: differences between two predictors are paired.

Public names: `METRICS`, `FEWEST_BLOCKS`, `Bins`, `Estimate`, `MISSING`, `cut_bins`, `draw_blocks`,
`score_state`, `score_counts`, `paired_difference`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from gatescope.data.store import NOT_SCORED
from gatescope.resample import interval

METRICS = ("pearson", "spearman", "auroc", "auprc")

#: Resampling fewer blocks than this gives intervals that are far too narrow: better none.
FEWEST_BLOCKS = 10
#: Scores are sorted into this many levels before blocks are resampled: a replicate then costs a histogram.
_LEVELS = 2048
#: Beyond this many bins AUROC and AUPRC themselves come from the levels (about 0.0005 off), not from a sort.
_MOST_SORTED = 20_000_000


@dataclass(frozen=True)
class Bins:
    """Hold what was observed in n scored bins of some contigs, in the order of the contigs.

    Attributes
    ----------
    bin_bp : int
    label : ndarray, shape (n,), bool
        Whether the bin is accessible.
    cuts : ndarray, shape (n,), float64
        Observed cuts on the scored bases of the bin.
    start : ndarray, shape (n,), int64
        First base, 0-based, in the bin's contig.
    block : ndarray, shape (n,), int64
        Which block the bin lies in: 0 to `n_blocks` - 1, none of them empty.
    n_blocks : int
    n_left_out : int
        Bins of which more than half is not scored.
    scored : dict of str to ndarray, bool
        Per contig: which of the bases of its whole bins are scored.
    kept : dict of str to ndarray, bool
        Per contig: which of its whole bins are among the n.
    """

    bin_bp: int
    label: NDArray[np.bool_]
    cuts: NDArray[np.float64]
    start: NDArray[np.int64]
    block: NDArray[np.int64]
    n_blocks: int
    n_left_out: int
    scored: dict[str, NDArray[np.bool_]] = field(repr=False)
    kept: dict[str, NDArray[np.bool_]] = field(repr=False)

    @property
    def contig(self) -> NDArray[np.str_]:
        """Name of each bin's contig, shape (n,)."""
        return np.repeat(list(self.kept), [int(kept.sum()) for kept in self.kept.values()])

    def only(self, contig: str) -> tuple["Bins", slice]:
        """Return the bins of one contig, blocks numbered anew, and where they stand among all."""
        names = list(self.kept)
        ends = np.cumsum([int(kept.sum()) for kept in self.kept.values()])
        place = slice(
            int(ends[names.index(contig)] - self.kept[contig].sum()), int(ends[names.index(contig)])
        )
        occupied, block = np.unique(self.block[place], return_inverse=True)
        part = Bins(
            bin_bp=self.bin_bp,
            label=self.label[place],
            cuts=self.cuts[place],
            start=self.start[place],
            block=block,
            n_blocks=len(occupied),
            n_left_out=int((~self.kept[contig]).sum()),
            scored={contig: self.scored[contig]},
            kept={contig: self.kept[contig]},
        )
        return part, place

    def sum(self, values: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Sum values per base (contig -> shape (L,)) over the scored bases of each bin, shape (n,)."""
        sums = {c: _bin_sums(values[c], scored, self.bin_bp) for c, scored in self.scored.items()}
        return self.pick(sums)

    def mean(self, values: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Average values per base (contig -> shape (L,)) over the scored bases of each bin, shape (n,)."""
        return self.sum(values) / self.sum(self.scored)

    def pick(self, values: Mapping[str, NDArray]) -> NDArray:
        """Take the n scored bins out of values per whole bin (contig -> shape (L // bin_bp,))."""
        return np.concatenate([values[contig][kept] for contig, kept in self.kept.items()])


@dataclass(frozen=True)
class Estimate:
    """Hold a metric and its values over resampled blocks (shape (R,); NaN where a replicate has none)."""

    value: float
    replicates: NDArray[np.float64] = field(repr=False)

    @property
    def interval(self) -> tuple[float, float]:
        """Central 95 % of the replicates; (NaN, NaN) if fewer than half of them have a value."""
        finite = self.replicates[np.isfinite(self.replicates)]
        if finite.size == 0 or 2 * finite.size < self.replicates.size:
            return (np.nan, np.nan)
        low, high = interval(finite)
        return (float(low), float(high))

    def columns(self, name: str) -> dict[str, float]:
        """Return value and interval as `name`, `name`_low, `name`_high."""
        low, high = self.interval
        return {name: self.value, f"{name}_low": low, f"{name}_high": high}

    def entries(self, name: str) -> dict[str, float | None]:
        """Return `columns` with None for NaN, as JSON has none."""
        return {key: None if np.isnan(value) else value for key, value in self.columns(name).items()}

    def through(self, function: Callable[[NDArray], NDArray]) -> "Estimate":
        """Put value and replicates through a function of one number."""
        return Estimate(float(function(np.array(self.value))), function(self.replicates))


#: What a predictor that does not predict the quantity gets.
MISSING = Estimate(np.nan, np.zeros(0))


def cut_bins(
    state: Mapping[str, NDArray[np.uint8]], cuts: Mapping[str, NDArray], bin_bp: int, block_bp: int = 20_000
) -> Bins:
    """Cut contigs into bins and label them.

    Parameters
    ----------
    state : mapping of str to ndarray, shape (L,), uint8
        1 accessible, 0 not, 255 not scored.
    cuts : mapping of str to ndarray, shape (L,), float
        Observed cuts per base of the same contigs.
    bin_bp, block_bp : int
        A bin belongs to the block its first base lies in; blocks do not span contigs.
    """
    scored, kept, labels, counts, starts, blocks = {}, {}, [], [], [], []
    first_block = n_bins = 0
    for contig, states in state.items():
        mask = states[: len(states) // bin_bp * bin_bp] != NOT_SCORED
        n_scored = _bin_sums(mask, mask, bin_bp)
        keep = (2 * n_scored >= bin_bp) & (n_scored > 0)
        scored[contig], kept[contig] = mask, keep
        labels.append((2 * _bin_sums(states == 1, mask, bin_bp) >= n_scored)[keep])
        counts.append(_bin_sums(cuts[contig], mask, bin_bp)[keep])
        starts.append(np.flatnonzero(keep) * bin_bp)
        blocks.append(first_block + starts[-1] // block_bp)
        first_block += len(states) // block_bp + 1
        n_bins += keep.size
    # blocks without a scored bin are no observation
    occupied, block = np.unique(np.concatenate(blocks), return_inverse=True)
    return Bins(
        bin_bp=bin_bp,
        label=np.concatenate(labels),
        cuts=np.concatenate(counts),
        start=np.concatenate(starts),
        block=block,
        n_blocks=len(occupied),
        n_left_out=n_bins - block.size,
        scored=scored,
        kept=kept,
    )


def draw_blocks(n_blocks: int, replicates: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw blocks with replacement: how often each one is taken, shape (replicates, n_blocks).

    With fewer than `FEWEST_BLOCKS` the shape is (0, n_blocks), and intervals are NaN.
    """
    if n_blocks < FEWEST_BLOCKS:
        return np.zeros((0, n_blocks), np.int64)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=replicates)


def score_state(bins: Bins, score: NDArray[np.floating], draws: NDArray[np.int64]) -> dict[str, Estimate]:
    """Return AUROC and AUPRC (average precision) of a score that should be larger in accessible bins.

    Parameters
    ----------
    bins : Bins
    score : ndarray, shape (n,), float
        Only its order matters.
    draws : ndarray, shape (R, n_blocks), int64
        From `draw_blocks`.

    Returns
    -------
    dict
        ``auroc`` and ``auprc``; `MISSING` if the bins are all accessible or none is. The values are exact
        (sorted; beyond 20 million bins from 2,048 levels). Replicates use the levels and are moved by the
        difference between exact value and value from levels.
    """
    _require_finite(score, bins)
    if bins.label.all() or not bins.label.any():
        return {"auroc": MISSING, "auprc": MISSING}
    histogram = _histogram(bins, score)  # (2, n_blocks, K)
    # not of whole numbers: only products of these go through BLAS
    drawn = [draws.astype(np.float64) @ of_class.astype(np.float64) for of_class in histogram]
    replicates = _level_metrics(np.stack(drawn, axis=1))
    coarse = _level_metrics(histogram.sum(axis=1)[None])[0]
    exact = coarse
    if score.size <= _MOST_SORTED:
        exact = np.array([roc_auc_score(bins.label, score), average_precision_score(bins.label, score)])
    # the correction must not push a share out of its range
    replicates = np.clip(replicates + (exact - coarse), 0, 1)
    return {name: Estimate(float(exact[i]), replicates[:, i]) for i, name in enumerate(("auroc", "auprc"))}


def score_counts(bins: Bins, score: NDArray[np.floating], draws: NDArray[np.int64]) -> dict[str, Estimate]:
    """Return Pearson's and Spearman's correlation of a score with ln(1 + observed cuts).

    Parameters
    ----------
    bins : Bins
    score : ndarray, shape (n,), float
        On the same scale as ln(1 + cuts): Pearson's correlation sees its shape.
    draws : ndarray, shape (R, n_blocks), int64
        From `draw_blocks`. Replicates are exact: ranks are formed anew in each.

    Returns
    -------
    dict
        ``pearson`` and ``spearman``; `MISSING` if score or counts are constant.
    """
    _require_finite(score, bins)
    observed = np.log1p(bins.cuts)
    if np.ptp(observed) == 0 or np.ptp(score) == 0:
        return {"pearson": MISSING, "spearman": MISSING}
    score = np.asarray(score, np.float64)
    observed_tie, score_tie = (np.unique(values, return_inverse=True)[1] for values in (observed, score))
    replicates = np.empty((len(draws), 2))
    for row, draw in zip(replicates, draws, strict=True):
        weights = draw[bins.block]
        row[0] = _correlation(observed, score, weights)
        row[1] = _correlation(_ranks(observed_tie, weights), _ranks(score_tie, weights), weights)
    spearman = np.corrcoef(rankdata(observed), rankdata(score))[0, 1]
    return {
        "pearson": Estimate(float(np.corrcoef(observed, score)[0, 1]), replicates[:, 0]),
        "spearman": Estimate(float(spearman), replicates[:, 1]),
    }


def paired_difference(first: Estimate, second: Estimate) -> Estimate:
    """Return `first` minus `second`; both must come from the same bins and the same draws."""
    if first.replicates.shape != second.replicates.shape:
        return Estimate(first.value - second.value, np.zeros(0))
    return Estimate(first.value - second.value, first.replicates - second.replicates)


def _bin_sums(values: NDArray, scored: NDArray[np.bool_], bin_bp: int) -> NDArray[np.float64]:
    """Sum the scored values of each whole bin."""
    if len(values) < len(scored):
        raise ValueError(f"{len(values)} values for {len(scored)} bases")
    # not a product: what stands at a base that is not scored may be NaN
    return np.where(scored, values[: len(scored)], 0).reshape(-1, bin_bp).sum(axis=1, dtype=np.float64)


def _require_finite(score: NDArray, bins: Bins) -> None:
    """Refuse a score that is not one finite number per bin."""
    if score.shape != bins.label.shape or not np.isfinite(score).all():
        raise ValueError(f"scores of shape {score.shape} for {bins.label.size} bins, or not all finite")


def _histogram(bins: Bins, score: NDArray) -> NDArray[np.int64]:
    """Count accessible and other bins per block and level of the score, shape (2, n_blocks, K).

    Half of the level edges are quantiles of either class: AUPRC lives in the tail where few others are.
    """
    edges = np.unique(score) if score.size <= _LEVELS else _edges(bins, score)
    level = np.searchsorted(edges, score, side="right")
    shape = (2, bins.n_blocks, len(edges) + 1)
    index = np.ravel_multi_index((bins.label.astype(np.int64), bins.block, level), shape)
    return np.bincount(index, minlength=int(np.prod(shape))).reshape(shape)


def _edges(bins: Bins, score: NDArray) -> NDArray:
    """Return the quantiles of the score within each class."""
    grid = np.linspace(0, 1, _LEVELS // 2)
    return np.unique(
        [np.quantile(score[bins.label == is_open], grid, method="nearest") for is_open in (False, True)]
    )


def _level_metrics(counts: NDArray) -> NDArray[np.float64]:
    """Return AUROC and AUPRC from bins per class and level, shape (R, 2, K) -> (R, 2); NaN if a class is empty.

    scikit-learn takes one weighted sample at a time, and most of its time to look at it: here all replicates are one
    pass over an array.
    """
    others, opened = counts[:, 0, ::-1], counts[:, 1, ::-1]  # from the highest level down
    others_above, opened_above = others.cumsum(axis=1), opened.cumsum(axis=1)
    n_others, n_opened = others_above[:, -1], opened_above[:, -1]
    above = others_above + opened_above
    precision = np.divide(opened_above, above, out=np.zeros(above.shape), where=above > 0)
    lost = (opened * (others_above - others / 2)).sum(axis=1)  # pairs in the wrong order, ties by half
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = 1 - lost / (n_others * n_opened)
        auprc = (opened * precision).sum(axis=1) / n_opened
    has_both = (n_others > 0) & (n_opened > 0)
    return np.where(has_both[:, None], np.stack([auroc, auprc], axis=1), np.nan)


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    """Return Pearson's correlation of weighted pairs; NaN if one of them is constant."""
    total = weights.sum()
    x, y = x - (weights @ x) / total, y - (weights @ y) / total
    spread_x, spread_y = weights @ (x * x), weights @ (y * y)
    # a constant leaves rounding behind, not zero
    if min(spread_x / total, spread_y / total) <= 1e-24:
        return np.nan
    return float(weights @ (x * y) / np.sqrt(spread_x * spread_y))


def _ranks(tie: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return mid-ranks of values that occur `weights` times; `tie` numbers the distinct values in order."""
    at_value = np.bincount(tie, weights=weights)
    return (np.cumsum(at_value) - at_value / 2)[tie]
