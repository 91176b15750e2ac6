"""What does the report say about one run? Learning curve, scores, boundaries and designs in words and rows.

Public names: `Chart`, `ScorePart`, `RunPart`, `run_part`, `score_part`, `METRICS`, `predictor_words`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from gatescope.browser.charts import Score, inline_svg, learning_curve, score_chart
from gatescope.browser.content import Table
from gatescope.browser.evidence import Record, Row, RunEvidence, ScoredRun
from gatescope.browser.limits import limits_caption, limits_chart, limits_tables
from gatescope.browser.memory import gradient_chart, memory_chart, memory_table
from gatescope.browser.tracks import DIRECTION_WORDS

#: In the order of the tables; predictors that are not named here follow.
_PREDICTORS = {
    "model": "this network",
    "oracle": "best possible (true parameters)",
    "ablated": "same network without memory",
    "kmer": "counts of short words (k-mers)",
    "gc": "GC content alone",
    "tn5_bias": "what Tn5 likes to cut, alone",
    "flat": "even cuts",
    "bpnet_lite": "BPNet, at this compute",
}
METRICS = {"pearson": "Pearson r", "spearman": "Spearman r", "auroc": "AUROC", "auprc": "AUPRC"}
#: Predictors are compared in single bases and in these bins; other sizes are folded away.
_SHOWN_BP = (1, 200)
_BEST_DESIGNS = 3
_MEMORY_CAPTION = (
    "How long the units remember: share of units whose memory is half gone after fewer bases. Where the purple line "
    "lies right of the grey ones, training has made memories longer than they were."
)
_GRADIENT_CAPTION = (
    "How far back the network could learn. To learn that a base matters for a prediction further on, training sends a "
    "signal (the gradient) back from the predicted base through the memory. Drawn: how much of what sets out is left "
    "so many bases earlier, by the states of the memory cells, mean over validation windows; dotted: 10 % and 1 %. "
    "What lies beyond the point where a line falls away cannot be learned."
)


@dataclass(frozen=True)
class Chart:
    """An SVG element and what it shows."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class ScorePart:
    """Hold what the page says about a run whatever its network."""

    name: str
    curve: Chart
    score_charts: list[Chart]
    score_tables: list[Table]
    limits: Chart
    further_tables: list[Table]
    predictors: Table
    in_words: str


@dataclass(frozen=True)
class RunPart(ScorePart):
    """Hold everything the page says about one run with gates."""

    memory: Chart
    gradient: Chart
    memory_table: Table
    answer: str
    mode: str
    is_provisional: bool
    sentence: str
    profile: Markup
    boundary_table: Table
    caveats: list[str]
    designs: Table


def run_part(run: RunEvidence, number: int) -> RunPart:
    """Put one run into words and figures.

    Parameters
    ----------
    run : RunEvidence
    number : int
        Counts runs on this page; keeps the ids of figures apart.

    Raises
    ------
    InputError
        If a file lacks an entry.
    """
    profile = inline_svg(run.profile, f"profile{number}", f"Forget gate around boundaries, run {run.name}")
    return RunPart(
        **_score_fields(run, number),
        memory=Chart(Markup(memory_chart(run, f"memory{number}")), _MEMORY_CAPTION),
        gradient=Chart(Markup(gradient_chart(run, f"gradient{number}")), _GRADIENT_CAPTION),
        memory_table=memory_table(run),
        answer=run.verdict["hypothesis"],
        mode=run.verdict["mode"],
        is_provisional=run.verdict["provisional"],
        sentence=run.verdict["sentence"],
        profile=Markup(profile),
        boundary_table=_boundary_table(run.verdict["directions"]),
        caveats=list(run.verdict["caveats"]),
        designs=_design_table(run.designs),
    )


def score_part(run: ScoredRun, number: int) -> ScorePart:
    """Put a run without gates into words and figures; as `run_part`."""
    return ScorePart(**_score_fields(run, number))


def _score_fields(run: ScoredRun, number: int) -> dict[str, Any]:
    """Return the fields of `ScorePart`."""
    scores = sorted(run.scores, key=lambda row: (row["bin_bp"], _rank(row["predictor"])))
    bins = [list(rows) for _, rows in groupby(scores, key=lambda row: row["bin_bp"])]
    shown = [rows for rows in bins if rows[0]["bin_bp"] in _SHOWN_BP]
    folded = [rows for rows in bins if rows[0]["bin_bp"] not in _SHOWN_BP]
    described = run.evaluation["predictors"]
    return {
        "name": run.name,
        "curve": _curve_chart(run, number),
        "score_charts": [_score_chart(rows, f"score{number}-{k}") for k, rows in enumerate(shown)],
        "score_tables": [_score_table(rows) for rows in shown],
        "limits": Chart(Markup(limits_chart(run, f"limits{number}")), limits_caption(run)),
        "further_tables": [*map(_score_table, folded), *limits_tables(run)],
        "predictors": Table((), [(predictor_words(name), described[name]) for name in described]),
        "in_words": run.evaluation["in_words"],
    }


def _curve_chart(run: ScoredRun, number: int) -> Chart:
    """Draw the losses, and say which epoch was kept."""
    best = run.model["best_epoch"]
    lowest = run.curve.loc[run.curve["epoch"] == best, "valid_loss"].min()
    svg = learning_curve(run.curve, best, f"curve{number}")
    caption = f"Loss by epoch. Kept: epoch {best} of {len(run.curve)}, validation loss {lowest:.3f}."
    return Chart(Markup(svg), caption)


def _score_table(rows: Sequence[Row]) -> Table:
    """Show one bin size; a metric that nobody has is left out."""
    metrics = [metric for metric in METRICS if any(_has(row, metric) for row in rows)]
    cells = [
        (predictor_words(row["predictor"]), *(_interval(row, metric) for metric in metrics)) for row in rows
    ]
    first = rows[0]
    kind = "bases" if first["bin_bp"] == 1 else "bins"
    note = f"{first['n_bins']:,} held-out {kind}; {first['base_rate']:.1%} of them open (base rate)."
    columns = ("predictor", *(METRICS[metric] for metric in metrics))
    return Table(columns, cells, note, _where(rows).capitalize())


def _score_chart(rows: Sequence[Row], prefix: str) -> Chart:
    """Draw the correlation where there is one, otherwise AUPRC, which a rare class cannot flatter."""
    metric = "pearson" if any(_has(row, "pearson") for row in rows) else "auprc"
    scores = [
        Score(
            label=predictor_words(row["predictor"]),
            value=row[metric],
            low=row[f"{metric}_low"] if _has(row, f"{metric}_low") else row[metric],
            high=row[f"{metric}_high"] if _has(row, f"{metric}_low") else row[metric],
            is_model=row["predictor"] == "model",
        )
        for row in rows
        if _has(row, metric)
    ]
    base_rate = rows[0]["base_rate"] if metric == "auprc" else None
    what = f"{METRICS[metric]}, {_where(rows)}"
    caption = f"{what}, on held-out contigs. Lines are 95 % intervals; purple is this network."
    return Chart(Markup(score_chart(scores, what, base_rate, prefix)), caption)


def _boundary_table(directions: Record) -> Table:
    """Show what each direction's chosen unit does at entry boundaries, a column per direction."""
    found = [directions[name] for name in directions]
    rows = [
        ("verdict", *(f"{each['hypothesis']}: {each['reason']}" for each in found)),
        ("mode", *(each["mode"] for each in found)),
        ("chosen unit", *(each["unit"] for each in found)),
        ("boundaries (test contigs)", *(each["n_boundaries"] for each in found)),
        ("memory kept around the boundary", *(_percent(each["kept_near"]) for each in found)),
        ("memory kept over as many bases of flank", *(_percent(each["kept_flank"]) for each in found)),
        (
            "R (interval)",
            *(f"{each['r']:.2f} ({each['r_low']:.2f} to {each['r_high']:.2f})" for each in found),
        ),
        ("R, validation contigs", *(f"{each['r_valid']:.2f}" for each in found)),
        ("R by chance (95 %)", *(f"{each['null_r_low']:.2f} to {each['null_r_high']:.2f}" for each in found)),
        ("p, corrected for all units", *(f"{each['p_fwer']:.3g}" for each in found)),
        ("R in twins", *(_twins(each["twins"]) for each in found)),
        ("R at places of like GC content", *(_pseudo(each["pseudo"]) for each in found)),
        ("R with boundaries moved", *(_jitter(each["jitter"]) for each in found)),
        ("gate before the boundary", *(f"{each['flank']:.2f}" for each in found)),
        ("lowest just beyond it (95 % interval)", *(_lowest(each) for each in found)),
    ]
    note = (
        "R: log2 of the memory kept around the boundary over that kept in the flank, mean over entry boundaries; "
        "negative where the unit forgets more. By chance: at the same boundaries moved elsewhere together. Twins: the "
        "same unit, and the most falling unit of the same direction that holds its memory."
    )
    return Table(("", *(f"{name} ({DIRECTION_WORDS[name]})" for name in directions)), rows, note)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _twins(twins: Sequence[Row]) -> str:
    return "; ".join(f"{each['r']:.2f} ({each['twin']}, unit {each['unit']})" for each in twins)


def _pseudo(pseudo: Record | None) -> str:
    return "none found" if pseudo is None else f"{pseudo['r']:.2f} ({pseudo['n']} places)"


def _jitter(jitter: Sequence[Row]) -> str:
    return "; ".join(f"{each['r']:.2f} ({each['distance_bp']} bp)" for each in jitter)


def _lowest(found: Record) -> str:
    low, high = found["forget_min_low"], found["forget_min_high"]
    return f"{found['forget_min']:.2f} ({low:.2f} to {high:.2f}), {found['offset']} bp beyond"


def _design_table(designs: Sequence[Row]) -> Table:
    """Show the best words of each direction."""
    columns = (
        "direction",
        "unit",
        "repeated word",
        "half-life (bp)",
        "length (bp)",
        "kept, predicted",
        "kept, measured",
    )
    rows = [
        (
            f"{row['direction']} ({DIRECTION_WORDS[row['direction']]})",
            row["unit"],
            row["word"],
            f"{row['half_life_bp']:,.1f}",
            row["length_bp"],
            f"{row['predicted_retention']:.4g}",
            f"{row['measured_retention']:.4g}",
        )
        for row in designs
        if row["rank"] <= _BEST_DESIGNS
    ]
    words = len({row["word"] for row in designs})
    note = (
        f"The best {_BEST_DESIGNS} of {words} words per direction, for its longest holding unit. Half-life: "
        "bases after which half of the memory is left. Kept: share that is left at the end of the sequence."
    )
    return Table(columns, rows, note)


def _rank(predictor: str) -> int:
    known = list(_PREDICTORS)
    return known.index(predictor) if predictor in known else len(known)


def predictor_words(name: str) -> str:
    """Say what a predictor is; a name that is not known stands for itself."""
    return _PREDICTORS.get(name, name)


def _where(rows: Sequence[Row]) -> str:
    bin_bp = rows[0]["bin_bp"]
    return "per base" if bin_bp == 1 else f"in bins of {bin_bp:,} bp"


def _has(row: Row, metric: str) -> bool:
    return not math.isnan(row[metric])


def _interval(row: Row, metric: str) -> Any:
    """Write a score with its interval; a predictor of the state alone has no correlation with counts."""
    if not _has(row, metric):
        return "does not apply"
    if not _has(row, f"{metric}_low"):
        return f"{row[metric]:.3f} (too little data for an interval)"
    return f"{row[metric]:.3f} ({row[f'{metric}_low']:.3f} to {row[f'{metric}_high']:.3f})"
