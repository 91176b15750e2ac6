"""How much of what could be predicted is predicted, and can the numbers be taken at their word? A figure and tables.

Public names: `limits_chart`, `limits_caption`, `limits_tables`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.browser.charts import MODEL, as_svg
from gatescope.browser.content import Table
from gatescope.browser.evidence import Row, ScoredRun
from gatescope.figures import INK, MUTED, new_figure

#: Short names for a narrow figure; predictors that are not named here are drawn under their own.
_SHORT = {
    "model": "this network",
    "ablated": "without memory",
    "tn5_bias": "Tn5 alone",
    "flat": "even cuts",
    "gc": "GC content",
    "bpnet_lite": "BPNet",
}
_COLOURS = {"model": MODEL, "ablated": INK, "gc": MUTED}
_PROFILE_METRICS = {"nll_per_cut": "likelihood of the cuts", "jsd": "Jensen-Shannon distance"}
#: Marker, and how far beside the middle of the row.
_PROFILE_MARKS = {"nll_per_cut": ("o", 0.12), "jsd": ("D", -0.12)}
_CALIBRATION_AXES = {
    "state": {"xlabel": "predicted probability of being open", "ylabel": "share that is open"},
    "cuts": {"xlabel": "expected cuts per bin", "ylabel": "cuts found"},
}
_WINDOWS = {"peaks": "around peaks", "everywhere": "wherever there are enough cuts"}
_TARGETS = {"state": "open or closed (single bases)", "cuts": "cuts (bins of 200 bp)"}
#: Panels side by side: number of cuts, their place, calibration.
_COLUMNS = 3
#: Draws one panel.
_Draw = Callable[[Axes, ScoredRun], None]
_METRICS = {"pearson": "Pearson r", "spearman": "Spearman r"}


def limits_chart(run: ScoredRun, prefix: str) -> str:
    """Draw, as SVG, correlations under their ceiling, profiles between floor and ceiling, and calibration."""
    panels = [draw for draw, _ in _panels(run)]
    figure, axes = new_figure(columns=_COLUMNS, width_in=9.9, height_in=3.3)
    for axis, draw in zip(axes[0], panels, strict=False):
        draw(axis, run)
    for axis in axes[0, len(panels) :]:  # a panel is as wide alone as beside others
        axis.set_axis_off()
    return as_svg(figure, prefix, "Scores between what is trivial and what is possible, and calibration")


def limits_caption(run: ScoredRun) -> str:
    """Say what each panel shows, and how to read it."""
    return " ".join(words for _, words in _panels(run))


def _panels(run: ScoredRun) -> list[tuple[_Draw, str]]:
    """Return what there is to draw, in order, each with its part of the caption."""
    panels: list[tuple[_Draw, str]] = []
    if _ceiling(run) and any(
        row["predictor"] == "model" and not np.isnan(row["pearson"]) for row in run.scores
    ):
        words = (
            "Number of cuts: Pearson r with the measured cuts (log scale) in bins of three lengths. The dashed line "
            "is the best that anybody could reach: cuts are random, so that even the right expectation misses the "
            "number that falls."
        )
        panels.append((_draw_ceiling, words))
    if _windows(run):
        words = (
            f"Place of the cuts: where within 1,000 bases they fall, whatever their number, "
            f"{_WINDOWS[_shown_windows(run)]}, by two scores. 0 is as good as the profile the network predicts for "
            "some other place, 1 as good as one half of the cuts tells where the other half fell."
        )
        panels.append((_draw_profiles, words))
    words = (
        "Calibration: predictions in groups of equal size, against what was found. On the dashed line they can be "
        "taken at their word; below it the network promises too much."
    )
    return [*panels, (_draw_calibration, words)]


def _ceiling(run: ScoredRun) -> list[Row]:
    return list(run.evaluation["ceiling"]["scores"] or [])


def _windows(run: ScoredRun) -> dict[str, Any]:
    """Return the sets of windows that were scored."""
    found = run.evaluation["profiles"]["windows"]
    return {} if found is None else {name: found[name] for name in found if found[name] is not None}


def _shown_windows(run: ScoredRun) -> str:
    return next(name for name in _WINDOWS if name in _windows(run))


def _draw_ceiling(axis: Axes, run: ScoredRun) -> None:
    """Draw r of the network and of simpler ones by bin size, under the ceiling."""
    best = {row["bin_bp"]: row["ceiling"] for row in _ceiling(run) if row["metric"] == "pearson"}
    sizes = sorted(best)
    axis.plot(
        range(len(sizes)),
        [_number(best[b]) for b in sizes],
        color=MUTED,
        linestyle="--",
        label="best possible",
    )
    for name in ("model", "ablated", "gc"):
        rows = [row for row in run.scores if row["predictor"] == name and row["bin_bp"] in best]
        if rows:
            _draw_line(axis, [(sizes.index(row["bin_bp"]), row) for row in rows], name)
    axis.set_xticks(range(len(sizes)), [f"{bin_bp:,}" for bin_bp in sizes])
    axis.set(
        xlabel="length of a bin (bp)", ylabel="Pearson r of log cuts", ylim=(min(0, axis.get_ylim()[0]), 1.02)
    )
    axis.set_xlim(-0.25, len(sizes) - 0.75)
    _finish(axis, "Number of cuts", columns=2)


def _draw_line(axis: Axes, points: Sequence[tuple[int, Row]], name: str) -> None:
    """Draw r with its intervals."""
    colour, at = _COLOURS[name], [place for place, _ in points]
    axis.plot(
        at, [row["pearson"] for _, row in points], color=colour, marker="o", markersize=4, label=_SHORT[name]
    )
    low, high = ([row[f"pearson_{end}"] for _, row in points] for end in ("low", "high"))
    axis.vlines(at, low, high, color=colour, linewidth=1.6)


def _draw_profiles(axis: Axes, run: ScoredRun) -> None:
    """Draw where predicted profiles stand between floor and ceiling."""
    scores = [row for row in _windows(run)[_shown_windows(run)]["scores"] if row["metric"] in _PROFILE_MARKS]
    names = list(dict.fromkeys(row["predictor"] for row in scores))[::-1]
    for row in scores:
        marker, shift = _PROFILE_MARKS[row["metric"]]
        place, colour = names.index(row["predictor"]) + shift, _COLOURS.get(row["predictor"], MUTED)
        axis.hlines(
            place, _number(row["position_low"]), _number(row["position_high"]), color=colour, linewidth=1.6
        )
        axis.plot(_number(row["position"]), place, color=colour, marker=marker, markersize=4.5)
    for metric, (marker, _) in _PROFILE_MARKS.items():
        label = _PROFILE_METRICS[metric]
        axis.plot([], [], color=INK, marker=marker, markersize=4.5, linestyle="", label=label)
    for edge in (0, 1):
        axis.axvline(edge, color=MUTED, linestyle="--", zorder=0)
    axis.set_yticks(range(len(names)), [_SHORT.get(name, str(name)) for name in names])
    low, high = axis.get_xlim()
    axis.set(xlim=(min(low, -0.12), max(high, 1.12)), ylim=(-0.6, len(names) - 0.4))
    axis.set_xticks([0, 0.5, 1], ["0\nanother place", "0.5", "1\nhalf of the cuts"])
    _finish(axis, "Place of the cuts", columns=1)


def _draw_calibration(axis: Axes, run: ScoredRun) -> None:
    """Draw what was found against what was expected: the state if it is predicted, otherwise cuts."""
    found = {each["target"]: each for each in _calibration(run)}
    target = "state" if "state" in found else "cuts"
    groups = found[target]["groups"]
    expected, observed = ([_number(group[name]) for group in groups] for name in ("expected", "observed"))
    low, high = ([_number(group[f"observed_{end}"]) for group in groups] for end in ("low", "high"))
    axis.plot(
        [0, max(expected)], [0, max(expected)], color=MUTED, linestyle="--", label="as promised", zorder=0
    )
    axis.vlines(expected, low, high, color=MODEL, linewidth=1.6)
    off = f"this network, off by {found[target]['error']:.2g} on average"
    axis.plot(expected, observed, color=MODEL, marker="o", markersize=4, label=off)
    axis.set(**_CALIBRATION_AXES[target])
    _finish(axis, "Calibration", columns=1)


def _finish(axis: Axes, title: str, columns: int) -> None:
    """Put the title at the left and the legend below, where it hides nothing."""
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.legend(
        fontsize=7.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=columns,
        frameon=False,
        handlelength=1.6,
    )


def _calibration(run: ScoredRun) -> list[Row]:
    """Return what is said of this network, by target."""
    return [each for each in run.evaluation["calibration"]["of"] if each["predictor"] == "model"]


def limits_tables(run: ScoredRun) -> list[Table]:
    """Return contigs, ceilings, profiles and calibration in numbers."""
    tables = [_contig_table(run.contigs), _ceiling_table(_ceiling(run))]
    tables += [_profile_table(name, found) for name, found in _windows(run).items()]
    tables += [_calibration_table(each) for each in _calibration(run)]
    return [table for table in tables if table.rows]


def _contig_table(rows: Sequence[Row]) -> Table:
    """Show the network on each test contig."""
    metrics = {"pearson": "Pearson r", "spearman": "Spearman r", "auroc": "AUROC", "auprc": "AUPRC"}
    cells = [
        (
            row["contig"],
            f"{row['n_bins']:,}",
            _cell(row, "base_rate", "{:.1%}"),
            *(_cell(row, metric) for metric in metrics),
        )
        for row in rows
        if row["predictor"] == "model"
    ]
    columns = ("contig", "bins", "open (base rate)", *metrics.values())
    note = "This network, in bins of 200 bp; the longest contigs first."
    return Table(columns, cells, note, "Each held-out contig by itself")


def _ceiling_table(rows: Sequence[Row]) -> Table:
    """Show how high a correlation with counts can be."""
    columns = {
        "halves": "one half of the cuts with the other (r)",
        "again": "two such experiments (2r / (1 + r))",
        "ceiling": "best possible (its square root)",
    }
    cells = [
        (
            f"{row['bin_bp']:,} bp, {_METRICS[row['metric']]}",
            *(_cell(row, name) for name in columns),
            _cell(row, "reached", "{:.0%}"),
        )
        for row in rows
    ]
    note = (
        "Each cut goes to one of two halves by a fair coin. A coin knows of chance in counting alone, not of "
        "differences between cells or libraries: the best possible may be lower, and is not higher."
    )
    title = "The most that a correlation with the number of cuts can be"
    return Table(("bins", *columns.values(), "this network reaches"), cells, note, title)


def _profile_table(name: str, found: Any) -> Table:
    """Show profile scores, floor and ceiling."""
    columns = {
        "value": "score (lower is better)",
        "floor": "floor: profile of another place",
        "ceiling": "ceiling: the other half of the cuts",
        "position": "position (0 floor, 1 ceiling)",
    }
    cells = [
        (
            f"{_SHORT.get(row['predictor'], row['predictor'])}, {_PROFILE_METRICS[row['metric']]}",
            *(_cell(row, key) for key in columns),
        )
        for row in found["scores"]
        if row["metric"] in _PROFILE_METRICS
    ]
    note = (
        f"{found['n_windows']:,} windows of 1,000 bp with {found['n_cuts']:,} cuts. Likelihood: minus the natural "
        "logarithm of the probability of a cut's base, mean over cuts. Distance: 0 the same, 1 no base in common. "
        "Where cuts are few, a network can know more than half of them tell, and pass 1."
    )
    return Table(("predictor, score", *columns.values()), cells, note, f"Place of the cuts, {_WINDOWS[name]}")


def _calibration_table(found: Row) -> Table:
    """Show the groups of one target."""
    cells = [
        (f"{group['n']:,}", f"{group['expected']:.3g}", _cell(group, "observed", "{:.3g}"))
        for group in found["groups"]
    ]
    note = (
        f"Off by {_cell(found, 'error', '{:.3g}')} on average; all that was found over all that was expected: "
        f"{_cell(found, 'ratio', '{:.2f}')}."
    )
    columns = ("in the group", "expected (mean)", "found (mean)")
    return Table(columns, cells, note, f"Calibration: {_TARGETS[found['target']]}")


def _cell(row: Row, name: str, form: str = "{:.3f}") -> str:
    """Write a number, with its interval where there is one."""
    if np.isnan(_number(row.get(name))):
        return "does not apply"
    low, high = _number(row.get(f"{name}_low")), _number(row.get(f"{name}_high"))
    text = form.format(row[name])
    return text if np.isnan(low) else f"{text} ({form.format(low)} to {form.format(high)})"


def _number(value: float | None) -> float:
    """JSON has no NaN."""
    return np.nan if value is None else value
