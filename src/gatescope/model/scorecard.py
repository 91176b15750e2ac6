"""What is written down of an evaluation? Tables of scores, and the file that says what was measured and what it means.

Public names: `RESERVED`, `Limits`, `tabulate`, `tabulate_contigs`, `summarise`, `readable`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.files import read_record
from gatescope.model.baselines import FLANK_BP, KMER
from gatescope.model.calibration import CUT_GROUPS, STATE_GROUPS, Calibration
from gatescope.model.comparison import (
    BIN_BP,
    Scores,
    bias_in_words,
    compare_in_words,
    gains_of_model,
    judge_recurrence,
    limits_in_words,
    share_reached,
)
from gatescope.model.held_out import HeldOut
from gatescope.model.metrics import FEWEST_BLOCKS, METRICS, MISSING, Bins, Estimate
from gatescope.model.network_config import SEQUENCE
from gatescope.model.profiles import FEWEST_CUTS, WINDOW_BP
from gatescope.samples import BIAS_TRACK
from gatescope.stages import STAGE_VERSIONS

#: Predictors that are always there, or may be; a user's own must have another name.
RESERVED = {
    "model": "this run",
    "ablated": "the same network without its recurrence, stem and heads trained anew",
    "gc": f"GC share of the bin and {FLANK_BP} bp on either side",
    "kmer": f"gradient boosting on {KMER}-mer counts of the bin alone and with {FLANK_BP} bp on either side, "
    f"fitted on the training contigs, in bins of {BIN_BP} bp only: each further size would need a fit of its own, "
    "a third of the time of an evaluation",
    BIAS_TRACK: "Tn5's sequence preference alone: its mean over the bin for the state, its sum for the cuts",
    "flat": "the same number of cuts expected at every base; has a profile, and nothing else to score",
}
_BINS = (
    "Consecutive, non-overlapping bins of the test contigs; the shorter bin at a contig's end is left out. "
    "Only scored bases count. A bin is left out if more than half of it is not scored (exclusion list, "
    "unknown base), and is accessible if at least half of its scored bases lie in a peak. A bin's state "
    "score is the mean over its bases; its count score is ln(1 + sum of expected cuts), compared with "
    "ln(1 + observed cuts)."
)
_CEILING = (
    "Every cut of the test contigs goes to one of two halves by a fair coin. halves: correlation r of ln(1 + cuts) "
    "between them. again: 2 r / (1 + r) (Spearman-Brown), between two whole experiments of this depth. ceiling: the "
    "square root of that, between a whole experiment and what is expected of it: what a predictor that knew every "
    "expected count would score. Chance in counting is all that a coin knows of; replicates differ by more."
)
_PROFILES = (
    f"{WINDOW_BP:,}-bp windows of the test contigs with at least {FEWEST_CUTS} cuts, more than half of them scored: "
    "peaks, around the summits of peaks; everywhere, one after the other. nll_per_cut: -ln of the probability of "
    "the base of a cut, mean over cuts. jsd: Jensen-Shannon distance (base 2) between profile and each half of the "
    "cuts, mean over both and over windows; jsd_of_all_cuts, between profile and all cuts. floor: the run's profile "
    "of another window. ceiling: what one half of the cuts says about the other, as a mixture of a flat profile, the "
    "half itself, and the half smoothed by several widths, fitted to these windows. position: 0 at the floor, 1 at the "
    "ceiling, which is half an experiment and can be passed where cuts are few."
)
_CALIBRATION = (
    f"state: the bases of the test contigs in {STATE_GROUPS} groups of equal size by predicted probability; observed "
    f"is the share that is accessible. cuts: {BIN_BP}-bp bins in {CUT_GROUPS} groups by expected cuts; observed is the "
    "mean of the cuts. "
    "error: mean distance between expected and observed, weighted by size. ratio: all observed over all expected."
)


@dataclass(frozen=True)
class Limits:
    """Hold what is said beside the scores, ready to be written; None for what does not apply.

    Attributes
    ----------
    ceiling : dict of int to dict, or None
        By bin size: metric -> ``halves``, ``again``, ``ceiling``.
    profiles : dict of str to dict, or None
        By set of windows: what `gatescope.model.profiles.score_profiles` returns.
    calibration : dict of (str, str) to Calibration
        By predictor and by ``state`` or ``cuts``.
    """

    ceiling: dict[int, dict[str, dict[str, Estimate]]] | None
    profiles: dict[str, dict[str, Any] | None] | None
    calibration: dict[tuple[str, str], Calibration]


def tabulate(scores: Scores, held_out: HeldOut) -> pd.DataFrame:
    """Make one row per predictor and bin size."""
    rows = [
        {"predictor": name, "bin_bp": bin_bp, **_row(estimates, held_out.bins[bin_bp])}
        for (name, bin_bp), estimates in scores.items()
    ]
    return pd.DataFrame(rows)


def tabulate_contigs(scores: Mapping[str, Mapping[str, tuple[dict[str, Estimate], Bins]]]) -> pd.DataFrame:
    """Make one row per contig and predictor, of bins of 200 bp.

    Parameters
    ----------
    scores : mapping
        Contig -> predictor -> (metric -> estimate, bins of that contig).
    """
    rows = [
        {"contig": contig, "predictor": name, "bin_bp": bins.bin_bp, **_row(estimates, bins)}
        for contig, by_name in scores.items()
        for name, (estimates, bins) in by_name.items()
    ]
    return pd.DataFrame(rows)


def _row(estimates: Mapping[str, Estimate], bins: Bins) -> dict[str, float]:
    """Return size, base rate and all metrics with their intervals."""
    row = {"n_bins": bins.label.size, "base_rate": bins.label.mean() if bins.label.size else np.nan}
    for metric in METRICS:
        row |= estimates.get(metric, MISSING).columns(metric)
    return row


def summarise(
    scores: Scores,
    held_out: HeldOut,
    limits: Limits,
    meta: Mapping[str, Any],
    extra: Mapping[str, Path],
    *,
    block_bp: int,
    replicates: int,
) -> dict[str, Any]:
    """Say what was scored, how, and what it means; fit for JSON.

    Parameters
    ----------
    scores : Scores
    held_out : HeldOut
    limits : Limits
    meta : mapping
        Content of the run's ``model.json``.
    extra : mapping of str to Path
        bigWigs of further predictors.
    block_bp, replicates : int
        Of the intervals.
    """
    inputs, targets = list(meta["network"]["inputs"]), list(meta["network"]["targets"])
    names = dict.fromkeys(name for name, _ in scores)
    if limits.profiles is not None:
        names["flat"] = None
    # counts decide where the network predicts them
    metric = "pearson" if "cuts" in targets else "auprc"
    has_recurrence = meta["network"].get("trunk", "recurrent") == "recurrent"
    words = (
        compare_in_words(scores, metric, meta["run"], has_recurrence=has_recurrence),
        limits_in_words(scores, limits.ceiling or {}, limits.calibration),
        bias_in_words(scores),
    )
    return {
        "run": meta["run"],
        "stage_version": STAGE_VERSIONS["evaluate"],
        "input_mode": "sequence" if inputs == [SEQUENCE] else f"{SEQUENCE}+tracks",
        "inputs": inputs,
        "targets": targets,
        "both_strands": meta["training"]["sampling"]["reverse_complement"],
        "fold": meta["fold"]["name"],
        "test_contigs": list(held_out.contigs),
        "model_sha256": meta["sha256"],
        "store": meta["store"],
        "predictors": {n: RESERVED.get(n) or _describe(extra[n]) for n in names},
        "bins": _BINS,
        "n_bins": {
            str(bin_bp): {"scored": bins.label.size, "not_scored": bins.n_left_out, "blocks": bins.n_blocks}
            for bin_bp, bins in held_out.bins.items()
        },
        "intervals": (
            f"Central 95 % of {replicates} replicates that draw {block_bp:,}-bp blocks of the test contigs with "
            "replacement; all predictors share the draws, so differences are paired. None (nan) if there are fewer "
            f"than {FEWEST_BLOCKS} blocks."
        ),
        "differences": gains_of_model(scores),
        "recurrence": judge_recurrence(scores, metric),
        "ceiling": {"how": _CEILING, "scores": _ceiling_rows(scores, limits.ceiling)},
        "profiles": {"how": _PROFILES, "windows": limits.profiles},
        "calibration": {"how": _CALIBRATION, "of": _calibration_rows(limits.calibration)},
        "in_words": " ".join(filter(None, words)),
    }


def _describe(track: Path) -> str:
    """Say what a predictor is: in the words of its sidecar, if it has one."""
    sidecar = Path(f"{track}.json")
    told = read_record(sidecar, {}, "").get("description") if sidecar.is_file() else None
    return told or f"state score per base, {track.name}"


def _ceiling_rows(
    scores: Scores, ceiling: Mapping[int, Mapping[str, Mapping[str, Estimate]]] | None
) -> list[dict[str, Any]] | None:
    """Return a row per bin size and metric, with the share of the ceiling that the network reaches."""
    if ceiling is None:
        return None
    rows = []
    for bin_bp, by_metric in ceiling.items():
        for metric, estimates in by_metric.items():
            row: dict[str, Any] = {"bin_bp": bin_bp, "metric": metric}
            for name, estimate in estimates.items():
                row |= estimate.entries(name)
            reached = share_reached(scores.get(("model", bin_bp), {}).get(metric, MISSING), estimates)
            rows.append(row | reached.entries("reached"))
    return rows


def _calibration_rows(calibration: Mapping[tuple[str, str], Calibration]) -> list[dict[str, Any]]:
    return [
        {
            "predictor": name,
            "target": target,
            **found.error.entries("error"),
            **found.ratio.entries("ratio"),
            "groups": found.rows(),
        }
        for (name, target), found in calibration.items()
    ]


def readable(table: pd.DataFrame) -> str:
    """Format a table of scores for a terminal: a value and its interval per cell."""
    shown = table[["predictor", "bin_bp", "n_bins"]].copy()
    shown["base rate"] = table.base_rate.map("{:.3f}".format)
    for metric in METRICS:
        cells = zip(table[metric], table[f"{metric}_low"], table[f"{metric}_high"], strict=True)
        shown[metric] = ["-" if np.isnan(v) else f"{v:.3f} ({low:.3f}-{high:.3f})" for v, low, high in cells]
    return shown.to_string(index=False)
