"""What do all runs of a sample say together? Scores over folds and seeds, their spread, and models in pairs.

Public names: `TogetherPart`, `together_part`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatescope.browser.content import Table
from gatescope.browser.evidence import Row, read_record, read_rows
from gatescope.browser.runs import METRICS, predictor_words
from gatescope.model.metrics import METRICS as METRIC_NAMES

_POOLED, _MEAN, _ENSEMBLE, _NONE = "(pooled)", "(mean)", "(ensemble)", "(none)"
_SCORES = (
    *("predictor", "fold", "seed", "n_folds", "n_seeds", "n_bins", "base_rate"),
    *(metric + end for metric in METRIC_NAMES for end in ("", "_low", "_high", "_sd_seeds", "_sd_folds")),
)
_DIFFERENCES = (
    "first",
    "first_seed",
    "second",
    "second_seed",
    "fold",
    "metric",
    "difference",
    "low_95",
    "high_95",
)


@dataclass(frozen=True)
class TogetherPart:
    """Hold what the page says about all runs together."""

    scores: Table
    spread: Table
    differences: Table
    sentences: list[str]


def together_part(results: Path, runs: Sequence[str]) -> TogetherPart | None:
    """Read what `compare` wrote, and put it into rows; None where there is one run.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    runs : sequence of str
        Names of all runs.

    Raises
    ------
    InputError
        If a file is missing, or lacks a column or an entry.
    """
    if len(runs) < 2:
        return None
    folder = results / "model" / "comparison"
    summary = read_record(folder / "comparison.json")
    scores = read_rows(folder / "scores.tsv", _SCORES)
    differences = read_rows(folder / "differences.tsv", _DIFFERENCES)
    return TogetherPart(
        scores=_score_table(scores),
        spread=_spread_table([row for row in scores if row["predictor"] in summary["models"]]),
        differences=_difference_table(differences, summary["models"]),
        sentences=list(summary["in_words"]),
    )


def _score_table(scores: Sequence[Row]) -> Table:
    """Show every predictor on the bins of all folds; of a model with seeds, their mean and their ensemble."""
    shown = [row for row in scores if row["fold"] == _POOLED and row["seed"] in (_MEAN, _ENSEMBLE, _NONE)]
    rows = [(_who(row), *(_interval(row, metric) for metric in METRIC_NAMES)) for row in shown]
    first = shown[0]
    folds = f"of {first['n_folds']} folds together" if first["n_folds"] > 1 else "of one fold"
    note = (
        f"{first['n_bins']:,} held-out bins of 200 bp, {folds}; {first['base_rate']:.1%} of them open (base rate). "
        "Brackets hold 95 % intervals. Mean: the average score of single networks. Ensemble: the score of their "
        "averaged prediction."
    )
    return Table(("predictor", *(METRICS[metric] for metric in METRIC_NAMES)), rows, note)


def _spread_table(scores: Sequence[Row]) -> Table:
    """Show how far seeds and folds differ, for each model."""
    fold = _MEAN if any(row["fold"] == _MEAN for row in scores) else _POOLED
    shown = [row for row in scores if row["fold"] == fold and row["seed"] == _MEAN]
    rows = []
    for row in shown:
        networks = row["n_folds"] * row["n_seeds"]
        runs = f"{networks} ({_count(row['n_folds'], 'fold')}, {_count(row['n_seeds'], 'seed')})"
        rows.append((row["predictor"], runs, *(_plus_minus(row, metric) for metric in METRIC_NAMES)))
    note = (
        "Mean over the folds' own scores and over seeds. ± is the standard deviation, first between seeds (training "
        "by chance), then between folds (other chromosomes); none where there is one."
    )
    return Table(("model", "networks", *(METRICS[metric] for metric in METRIC_NAMES)), rows, note)


def _difference_table(differences: Sequence[Row], models: Sequence[str]) -> Table:
    """Show the paired differences in which a model is compared, the best there is of either."""
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in differences:
        if row["fold"] == _POOLED and _is_shown(row, differences):
            title = (_who_of(row, "first"), _who_of(row, "second"))
            pairs.setdefault(title, {})[row["metric"]] = row
    rows = [
        (" minus ".join(title), *(_signed(by_metric.get(metric)) for metric in METRIC_NAMES))
        for title, by_metric in pairs.items()
    ]
    note = (
        "Paired: both are scored on the same resampled 20-kb blocks. Brackets hold 95 % intervals; one that leaves out "
        "0 is more than chance in the test data."
    )
    return Table(("difference", *(METRICS[metric] for metric in METRIC_NAMES)), rows, note)


def _is_shown(row: Row, differences: Sequence[Row]) -> bool:
    """Tell whether a pair is shown: ensembles where there are any, and an ensemble against its mean member."""
    has_ensembles = any(each["first_seed"] == _ENSEMBLE for each in differences)
    if row["first"] == row["second"]:
        return row["second_seed"] == _MEAN
    return row["first_seed"] == (_ENSEMBLE if has_ensembles else _MEAN)


def _who(row: Row) -> str:
    """Name a predictor and, of a model with several seeds, which of its scores this is."""
    what = {_MEAN: f", mean of {row['n_seeds']}", _ENSEMBLE: f", ensemble of {row['n_seeds']}"}
    return _called(row["predictor"]) + (what.get(row["seed"], "") if row["n_seeds"] > 1 else "")


def _who_of(row: Row, side: str) -> str:
    what = {_ENSEMBLE: " (ensemble)", _MEAN: " (mean)"} if row["first_seed"] == _ENSEMBLE else {}
    return _called(row[side]) + what.get(row[f"{side}_seed"], "")


def _called(predictor: str) -> str:
    model, _, twin = predictor.partition(".")
    return f"{model} without memory" if twin == "ablated" else predictor_words(predictor)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("s" if n > 1 else "")


def _interval(row: Row, metric: str) -> str:
    if math.isnan(row[metric]):
        return "does not apply"
    if math.isnan(row[f"{metric}_low"]):
        return f"{row[metric]:.3f} (too little data for an interval)"
    return f"{row[metric]:.3f} ({row[f'{metric}_low']:.3f} to {row[f'{metric}_high']:.3f})"


def _plus_minus(row: Row, metric: str) -> str:
    """Write a mean with its deviations."""
    if math.isnan(row[metric]):
        return "does not apply"
    spread = ((row[f"{metric}_sd_{of}"], of) for of in ("seeds", "folds"))
    told = [f"{of} ± {value:.3f}" for value, of in spread if not math.isnan(value)]
    return f"{row[metric]:.3f}" + (f" ({', '.join(told)})" if told else "")


def _signed(row: Row | None) -> str:
    if row is None:
        return "does not apply"
    if math.isnan(row["low_95"]):
        return f"{row['difference']:+.3f} (too little data for an interval)"
    return f"{row['difference']:+.3f} ({row['low_95']:+.3f} to {row['high_95']:+.3f})"
