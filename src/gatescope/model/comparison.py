"""Does the network earn its keep? Paired gains over simpler predictors, and the verdict on its recurrence.

Public names: `METRIC_WORDS`, `Scores`, `BIN_BP`, `LITTLE_GAIN`, `gain_over`, `gains_of_model`, `judge_recurrence`,
`compare_in_words`, `bias_in_words`, `share_reached`, `limits_in_words`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gatescope.model.calibration import Calibration
from gatescope.model.metrics import FEWEST_BLOCKS, METRICS, MISSING, Estimate, paired_difference
from gatescope.samples import BIAS_TRACK

#: Bins that predictors are compared in.
BIN_BP = 200
#: A gain below this, in the metric that decides, means that the recurrence carries little.
LITTLE_GAIN = 0.02

#: Metric -> estimate, by (predictor, bin_bp); within one bin size all from the same bins and draws.
Scores = dict[tuple[str, int], dict[str, Estimate]]

#: What metrics are called in sentences.
METRIC_WORDS = {"pearson": "r", "spearman": "Spearman's rho", "auroc": "AUROC", "auprc": "AUPRC"}


def gain_over(other: str, metric: str, scores: Scores, bin_bp: int = BIN_BP) -> Estimate:
    """Return the metric of "model" minus that of `other`, paired by blocks; NaN if one of them has none."""
    ours, theirs = (scores.get((name, bin_bp), {}).get(metric, MISSING) for name in ("model", other))
    return paired_difference(ours, theirs)


def gains_of_model(scores: Scores) -> list[dict[str, Any]]:
    """Compare "model" with every other predictor, in all metrics that both have; rows fit for JSON."""
    gains = [
        (other, bin_bp, metric, gain_over(other, metric, scores, bin_bp))
        for other, bin_bp in scores
        for metric in METRICS
        if other != "model"
    ]
    return [
        {"over": other, "bin_bp": bin_bp, "metric": metric, **gain.entries("gain")}
        for other, bin_bp, metric, gain in gains
        if not np.isnan(gain.value)
    ]


def judge_recurrence(scores: Scores, metric: str) -> dict[str, Any]:
    """Say what the recurrence adds over "ablated", the same network without it.

    Parameters
    ----------
    scores : Scores
    metric : str
        Decides the verdict: ``pearson``, or ``auprc`` for a network that predicts no counts.

    Returns
    -------
    dict
        ``metric, bin_bp``; ``gain_pearson, gain_auprc``, each with ``_low, _high`` (null if there is none);
        ``verdict``: "the recurrence carries little" below `LITTLE_GAIN`, else whether the interval reaches 0.
    """
    result: dict[str, Any] = {"metric": metric, "bin_bp": BIN_BP}
    for name in ("pearson", "auprc"):
        result |= gain_over("ablated", name, scores).entries(f"gain_{name}")
    return {**result, "verdict": _verdict(gain_over("ablated", metric, scores))}


def compare_in_words(scores: Scores, metric: str, run: str, *, has_recurrence: bool = True) -> str:
    """Say in two sentences whether the run beats the k-mer baseline, and what its recurrence, if any, adds."""
    recurrence = gain_over("ablated", metric, scores)
    added = "What the recurrence adds was not tested" if has_recurrence else "It has no recurrence"
    if not np.isnan(recurrence.value):
        added = f"The recurrence adds {_in_words(recurrence, metric)}: {_verdict(recurrence)}"
    return f"{run} {_beside_kmer(scores, metric)}. {added}."


def bias_in_words(scores: Scores) -> str:
    """Say how far Tn5's sequence preference alone gets; nothing where it was not scored."""
    found = scores.get((BIAS_TRACK, BIN_BP))
    if found is None:
        return ""
    r, auroc = (found.get(metric, MISSING).value for metric in ("pearson", "auroc"))
    counts = "" if np.isnan(r) else f" r = {r:.3f} with the cuts"
    state = "" if np.isnan(auroc) else f" AUROC {auroc:.3f} for the state (0.5 is guessing)"
    told = " and".join(filter(None, (counts, state))) or " nothing that can be scored"
    return f"What Tn5 likes to cut gives, alone and in {BIN_BP}-bp bins,{told}."


def share_reached(model: Estimate, ceiling: Mapping[str, Estimate]) -> Estimate:
    """Divide the network's correlation by the ceiling, paired by blocks."""
    top = ceiling["ceiling"]
    if model.replicates.shape != top.replicates.shape or not top.value > 0:
        return Estimate(model.value / top.value if top.value > 0 else np.nan, np.zeros(0))
    return Estimate(
        model.value / top.value, model.replicates / np.where(top.replicates > 0, top.replicates, np.nan)
    )


def limits_in_words(
    scores: Scores,
    ceiling: Mapping[int, Mapping[str, Mapping[str, Estimate]]],
    calibration: Mapping[tuple[str, str], Calibration],
) -> str:
    """Say how high a correlation could be at all, and whether probabilities can be taken at their word."""
    words = []
    ours, top = (
        scores.get(("model", BIN_BP), {}).get("pearson", MISSING),
        ceiling.get(BIN_BP, {}).get("pearson", {}),
    )
    if top and not np.isnan(ours.value) and top["ceiling"].value > 0:
        share = share_reached(ours, top).value
        words.append(
            f"Counts are random: in {BIN_BP}-bp bins, a predictor that knew every expected count would score "
            f"r = {top['ceiling'].value:.3f} at most; this network reaches {share:.0%} of that."
        )
    if ("model", "state") in calibration:
        found = calibration["model", "state"]
        side = "too high" if found.ratio.value < 1 else "too low"
        words.append(
            f"Its probabilities are off by {found.error.value:.3f} on average and {side} in sum: open bases are "
            f"{found.ratio.value:.2f} times as many as it expects."
        )
    return " ".join(words)


def _verdict(gain: Estimate) -> str:
    if np.isnan(gain.value):
        return "not tested"
    if gain.value < LITTLE_GAIN:
        return "the recurrence carries little"
    if np.isnan(gain.interval[0]):
        return "the recurrence may carry something, but the test contigs are too short for an interval"
    if gain.interval[0] <= 0:
        return "the recurrence may carry something, but the interval reaches zero"
    return "the recurrence carries part of the prediction"


def _beside_kmer(scores: Scores, metric: str) -> str:
    """Say whether the model beats gradient boosting on k-mer counts."""
    gain = gain_over("kmer", metric, scores)
    if np.isnan(gain.value):
        return f"could not be compared with the k-mer baseline (no {METRIC_WORDS[metric]})"
    ours, theirs = (scores[name, BIN_BP][metric].value for name in ("model", "kmer"))
    return (
        f"{_verb(gain)} the k-mer baseline on held-out contigs: {METRIC_WORDS[metric]} {ours:.3f} against {theirs:.3f} "
        f"in {BIN_BP}-bp bins, a difference of {_in_words(gain, metric)}"
    )


def _verb(gain: Estimate) -> str:
    """Say which one is better; without an interval only that one scores higher."""
    low, high = gain.interval
    if np.isnan(low):
        return f"scores {'higher' if gain.value > 0 else 'lower' if gain.value < 0 else 'no higher'} than"
    return "beats" if low > 0 else "falls short of" if high < 0 else "is not told apart from"


def _in_words(gain: Estimate, metric: str) -> str:
    low, high = gain.interval
    known = f"95 % interval {low:+.3f} to {high:+.3f}"
    if np.isnan(low):
        known = f"too few blocks for an interval, under {FEWEST_BLOCKS}"
    return f"{gain.value:+.3f} in {METRIC_WORDS[metric]} ({known})"
