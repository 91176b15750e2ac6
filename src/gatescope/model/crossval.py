"""Which model predicts best, over all folds and seeds? Held-out bins pooled, scored once, and compared in pairs.

Public names: `compare`, `POOLED`, `MEAN`, `ENSEMBLE`, `NONE`, `NOT_WORSE`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.files import write_json, write_table
from gatescope.model.binned import BinPrediction
from gatescope.model.comparison import METRIC_WORDS
from gatescope.model.metrics import (
    FEWEST_BLOCKS,
    METRICS,
    MISSING,
    Bins,
    Estimate,
    draw_blocks,
    paired_difference,
)
from gatescope.model.pooled import NO_SEED, Pooled, average, pool_runs, read_run
from gatescope.model.resampled import difference_cells, limits, mean_estimate, score_bins
from gatescope.model.scorecard import RESERVED
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: Values of the columns `fold` and `seed` that are no name of a fold and no seed: neither can hold a parenthesis.
POOLED, MEAN, ENSEMBLE, NONE = "(pooled)", "(mean)", "(ensemble)", "(none)"
#: A model whose lower 90 % bound of the difference lies above minus this is not worse than the other.
NOT_WORSE = 0.01

_REPLICATES, _MANY_BINS, _REPLICATES_OF_MANY = 1000, 1_000_000, 200
_DECIDE = ("pearson", "auprc")
_COMPARED = ("first", "first_seed", "second", "second_seed", "fold", "metric", "first_score", "second_score")
_ROWS = {
    f"fold = {POOLED}": "one score from the test bins of all folds together. Networks of different folds may predict "
    "on levels that differ a little, which lowers this score; folds whose contigs differ, some richer in cuts than "
    "others, can raise it",
    f"fold = {MEAN}": "the mean of the folds' own scores, each fold counting once: free of shifts between folds",
    f"seed = {ENSEMBLE}": "the averaged prediction of all seeds (mean expected cuts, mean probability)",
    f"seed = {MEAN}": "the mean of the scores of single seeds: what one network may be expected to reach",
    f"seed = {NONE}": "a predictor that is the same beside all seeds",
}

#: Metric -> estimate, by predictor and seed, then by fold.
_Scores = dict[tuple[str, str], dict[str, dict[str, Estimate]]]


class _Part(NamedTuple):
    """Bins that are scored together: those of a fold, or all."""

    name: str
    place: slice
    bins: Bins
    draws: NDArray[np.int64]


def compare(models: Sequence[Path | str], output: Path | str, *, seed: int = 0) -> pd.DataFrame:
    """Score all predictors of several runs on the test bins of all folds, and compare them in pairs.

    Writes `scores.tsv`, `differences.tsv` and `comparison.json` (`docs/formats.md`). All scores are in 200-bp bins and
    share the draws of 20-kb blocks, which are drawn from the blocks of all folds together.

    Parameters
    ----------
    models : sequence of path
        Folders of evaluated runs: every combination of some models, folds and seeds. The order of the models decides
        which of two is subtracted from the other.
    output : path
        Folder to write into.
    seed : int
        Decides the blocks that are drawn.

    Returns
    -------
    DataFrame
        The rows of `scores.tsv`.

    Raises
    ------
    InputError
        A combination is missing; folds share a test contig; runs of a fold were evaluated on different data; a file is
        missing or damaged.
    """
    pooled, folder = pool_runs([read_run(each) for each in models]), Path(output)
    bins = pooled.bins
    replicates = _REPLICATES if bins.label.size <= _MANY_BINS else _REPLICATES_OF_MANY
    draws = draw_blocks(bins.n_blocks, replicates, np.random.default_rng(seed))
    parts = _cut_parts(pooled, draws)
    scores = _score_all(pooled, parts)
    table, differences = _tabulate(scores, parts, pooled), _compare_pairs(scores, pooled)
    write_table(folder / "scores.tsv", table)
    write_table(folder / "differences.tsv", differences)
    summary = _summarise(pooled, parts, differences, len(draws))
    write_json(folder / "comparison.json", summary)
    log.info("%s bins of %s", f"{bins.label.size:,}", ", ".join(pooled.folds))
    for sentence in summary["in_words"]:
        log.info("%s", sentence)
    return table


# scores


def _cut_parts(pooled: Pooled, draws: NDArray[np.int64]) -> list[_Part]:
    """Return all bins together and, where there are several folds, those of each fold."""
    everything = _Part(POOLED, slice(None), pooled.bins, draws)
    if len(pooled.folds) == 1:
        return [everything]
    return [everything, *(_cut_fold(pooled, k, draws) for k in range(len(pooled.folds)))]


def _cut_fold(pooled: Pooled, number: int, draws: NDArray[np.int64]) -> _Part:
    """Take one fold out of the bins, with what was drawn of its blocks."""
    bins, (first, last) = pooled.bins, np.searchsorted(pooled.fold, (number, number + 1))
    place = slice(int(first), int(last))
    blocks, block = np.unique(bins.block[place], return_inverse=True)
    own = replace(
        bins, label=bins.label[place], cuts=bins.cuts[place], start=bins.start[place],
        block=block, n_blocks=len(blocks),
    )  # fmt: skip
    return _Part(pooled.folds[number], place, own, draws[:, blocks])


def _score_all(pooled: Pooled, parts: Sequence[_Part]) -> _Scores:
    """Score every predictor: single seeds, their mean and their ensemble."""
    scores: _Scores = {}
    for name, seeds in pooled.predictors.items():
        predictions = [pooled.predictions[name, seed] for seed in seeds]
        if seeds == (NO_SEED,):
            scores[name, NONE] = _score_parts(predictions[0], parts)
            continue
        single = [_score_parts(each, parts) for each in predictions]
        scores[name, MEAN] = {
            fold: {metric: mean_estimate([_get(each[fold], metric) for each in single]) for metric in METRICS}
            for fold in single[0]
        }
        if len(seeds) > 1:
            scores[name, ENSEMBLE] = _score_parts(average(predictions), parts)
            scores |= {(name, str(seed)): each for seed, each in zip(seeds, single, strict=True)}
    return scores


def _score_parts(prediction: BinPrediction, parts: Sequence[_Part]) -> dict[str, dict[str, Estimate]]:
    """Score all bins and each fold, and take the mean over folds."""
    found = {part.name: score_bins(part.bins, prediction.within(part.place), part.draws) for part in parts}
    own = [found[part.name] for part in parts[1:]]
    if own:
        found[MEAN] = {metric: mean_estimate([_get(each, metric) for each in own]) for metric in METRICS}
    return found


def _get(scores: dict[str, Estimate], metric: str) -> Estimate:
    return scores.get(metric, MISSING)


# tables


def _tabulate(scores: _Scores, parts: Sequence[_Part], pooled: Pooled) -> pd.DataFrame:
    """Make one row per predictor, seed and fold, the spread beside what is a mean."""
    sizes = {part.name: part for part in parts} | {MEAN: parts[0]}
    rows = []
    for (name, seed), by_fold in scores.items():
        seeds = pooled.predictors[name]
        for fold, estimates in by_fold.items():
            part = sizes[fold]
            row: dict[str, Any] = {"predictor": name, "fold": fold, "seed": seed}
            row |= {"n_folds": len(pooled.folds) if fold in (POOLED, MEAN) else 1}
            row |= {"n_seeds": 0 if seed == NONE else len(seeds) if seed in (MEAN, ENSEMBLE) else 1}
            row |= {
                "n_bins": part.bins.label.size,
                "n_blocks": part.bins.n_blocks,
                "base_rate": part.bins.label.mean(),
            }
            over_seeds = [scores[name, str(each)][fold] for each in seeds if (name, str(each)) in scores]
            over_folds = [by_fold[each.name] for each in parts[1:]]
            for metric in METRICS:
                row |= _score_cells(metric, _get(estimates, metric), part.bins.n_blocks)
                row[f"{metric}_sd_seeds"] = _spread(over_seeds if seed == MEAN else [], metric)
                row[f"{metric}_sd_folds"] = _spread(over_folds if fold == MEAN else [], metric)
            rows.append(row)
    return pd.DataFrame(rows)


def _score_cells(metric: str, estimate: Estimate, n_blocks: int) -> dict[str, float]:
    """Return value and 95 % interval; a fold of few blocks has none."""
    low, high = limits(estimate, 0.95) if n_blocks >= FEWEST_BLOCKS else (np.nan, np.nan)
    return {metric: estimate.value, f"{metric}_low": low, f"{metric}_high": high}


def _spread(scores: Sequence[dict[str, Estimate]], metric: str) -> float:
    """Return the standard deviation (n - 1) of a metric; NaN for fewer than two values."""
    values = [_get(each, metric).value for each in scores]
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _compare_pairs(scores: _Scores, pooled: Pooled) -> pd.DataFrame:
    """Make one row per pair of predictors, way of taking folds together, and metric that both have."""
    folds = (POOLED, MEAN) if len(pooled.folds) > 1 else (POOLED,)
    rows = []
    for one, other in _pairs(scores, pooled):
        for fold in folds:
            for metric in METRICS:
                pair = [_get(scores[each][fold], metric) for each in (one, other)]
                difference = paired_difference(*pair)
                if not np.isnan(difference.value):
                    both = (pair[0].value, pair[1].value)
                    rows.append((*one, *other, fold, metric, *both, *difference_cells(difference).values()))
    return pd.DataFrame(rows, columns=[*_COMPARED, *difference_cells(MISSING)])


def _pairs(scores: _Scores, pooled: Pooled) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield what is compared: each model with those after it, its twin, the other predictors, and its own seeds."""
    known = {*pooled.models, *(f"{model}.ablated" for model in pooled.models)}
    others = [name for name in pooled.predictors if name not in known]
    for number, model in enumerate(pooled.models):
        for name in (*pooled.models[number + 1 :], f"{model}.ablated", *others):
            for seed in (ENSEMBLE, MEAN):
                second = (name, NONE if (name, NONE) in scores else seed)
                if (model, seed) in scores and second in scores:
                    yield (model, seed), second
        if (model, ENSEMBLE) in scores:
            for seed in (MEAN, *map(str, pooled.predictors[model])):
                yield (model, ENSEMBLE), (model, seed)


# words


def _summarise(
    pooled: Pooled, parts: Sequence[_Part], differences: pd.DataFrame, replicates: int
) -> dict[str, Any]:
    """Say what was compared, how, and what it means."""
    return {
        "stage_version": STAGE_VERSIONS["compare"],
        "models": list(pooled.models),
        "folds": {fold: list(contigs) for fold, contigs in pooled.contigs.items()},
        "seeds": list(pooled.seeds),
        "predictors": {name: "no seed" if seeds == (NO_SEED,) else f"{len(seeds)} per fold"
                       for name, seeds in pooled.predictors.items()},
        "bin_bp": pooled.bins.bin_bp,
        "n_bins": {part.name: part.bins.label.size for part in parts},
        "n_blocks": {part.name: part.bins.n_blocks for part in parts},
        "rows": _ROWS,
        "intervals": f"{replicates} replicates draw 20-kb blocks of the test contigs of all folds together, with "
        "replacement; all predictors share the draws, so differences are paired. low_95 and high_95 bound their "
        "central 95 %, low_90 and high_90 the central 90 %: low_90 is the lower 90 % bound. They hold chance in the "
        "test data, not chance in training: that is the spread over seeds.",
        "not_worse": f"a model counts as not worse than another if the lower 90 % bound of the difference in r and in "
        f"AUPRC, pooled over folds, lies above -{NOT_WORSE}",
        "in_words": [*_sentences(differences, pooled)],
    }  # fmt: skip


def _sentences(differences: pd.DataFrame, pooled: Pooled) -> Iterator[str]:
    """Say how models compare with each other, and ensembles with single networks."""
    best = ENSEMBLE if len(pooled.seeds) > 1 else MEAN
    whose = f"ensembles of {len(pooled.seeds)} seeds" if best == ENSEMBLE else "one seed each"
    over = f"{len(pooled.folds)} folds" if len(pooled.folds) > 1 else "one fold"
    pairs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in cast(list[dict[str, Any]], differences.to_dict("records")):
        if row["fold"] == POOLED and row["metric"] in _DECIDE:
            pairs.setdefault(tuple(row[name] for name in _COMPARED[:4]), []).append(row)
    for (first, one, second, other), rows in pairs.items():
        told = "; ".join(map(_in_words, rows))
        is_rival = first != second and second not in RESERVED and not second.endswith(".ablated")
        if is_rival and one == best and other in (best, NONE):
            yield f"{first} against {second} ({over}, {whose}): {told}. So {first} is {_verdict(rows, second)}."
        if first == second and other == MEAN:
            n = len(pooled.seeds)
            yield f"An ensemble of {n} {first} networks against the mean of the {n} single ones ({over}): {told}."


def _in_words(row: Mapping[str, Any]) -> str:
    known = f"90 % interval {row['low_90']:+.3f} to {row['high_90']:+.3f}"
    if np.isnan(row["low_90"]):
        known = f"no interval: fewer than {FEWEST_BLOCKS} blocks"
    scores = f"{row['first_score']:.3f} against {row['second_score']:.3f}"
    return f"{METRIC_WORDS[row['metric']]} {scores}, a difference of {row['difference']:+.3f} ({known})"


def _verdict(rows: Sequence[Mapping[str, Any]], second: str) -> str:
    """Name the metrics in which the lower 90 % bound does not rule out a loss that counts."""
    if any(np.isnan(row["low_90"]) for row in rows):
        return "not told apart from it: there are too few blocks"
    worse = [METRIC_WORDS[row["metric"]] for row in rows if row["low_90"] <= -NOT_WORSE]
    if worse:
        return f"possibly worse than {second} by {NOT_WORSE} or more in {' and '.join(worse)}"
    return f"not worse than {second} by {NOT_WORSE} or more"
