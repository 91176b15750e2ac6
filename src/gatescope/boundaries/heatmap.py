"""Do all boundaries share the mean profile, or do a few of them make it? Single boundaries beside their mean.

Boundaries are sorted by the width of their region, not by what the gate does: sorting noise by its own strength
makes a pattern of it.

Public names: `MAX_ROWS`, `HeatRows`, `heat_rows`, `HeatPanel`, `draw_heatmap`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from gatescope.boundaries.figure import CROSSING, READING, mark_lookahead
from gatescope.boundaries.profile import ProfileShape, Sites, forget_windows, offsets_of, region_of
from gatescope.figures import GATE_COLOURS, INK, new_figure, save_figure, tint
from gatescope.genome.crossings import CROSSINGS
from gatescope.trace.units import DIRECTIONS, UnitStore

#: More boundaries than this are drawn as means of neighbours: a screen has no more lines for them.
MAX_ROWS = 400

_RED = GATE_COLOURS["forget_gate"]
_COLOURS = LinearSegmentedColormap.from_list("forgetting", [_RED, tint(_RED, 0.6), "#ffffff"])
#: Share of the values, in percent, that the colours span; single extremes would pale the rest.
_SPANNED = (1, 99)


class HeatRows(NamedTuple):
    """Rows of a heatmap, narrowest region first; each row is one boundary or the mean of neighbouring ones."""

    forget: NDArray[np.float64]  # (R, 2 * profile_bp)
    counts: NDArray[np.int64]  # (R,) boundaries in each row; they differ by at most 1
    widths: NDArray[np.float64]  # (R,) mean width of their regions, bp


def heat_rows(
    units: UnitStore,
    sites: Sites,
    regions: pd.DataFrame,
    unit: int,
    profile_bp: int,
    max_rows: int = MAX_ROWS,
) -> HeatRows:
    """Sort the boundaries by the width of their region, and average them into at most `max_rows` rows.

    Memory holds the rows and a bounded number of boundaries, however many there are.

    Parameters
    ----------
    units : UnitStore
    sites : Sites
        At least one boundary.
    regions : DataFrame
        The regions that the sites were found in.
    unit : int
        Index of the unit within the direction of `sites`.
    profile_bp : int
        Half-width of the profile.
    max_rows : int
    """
    widths = np.concatenate([np.diff(each)[:, 0] for each in region_of(sites, regions).values()])
    n_rows = min(sites.n, max_rows)
    row_of = np.empty(sites.n, np.int64)
    row_of[np.argsort(widths, kind="stable")] = np.arange(sites.n) * n_rows // sites.n
    sums, done = np.zeros((n_rows, 2 * profile_bp)), 0
    for _, boundaries, forget in forget_windows(units, sites, unit, profile_bp):
        np.add.at(sums, row_of[done : done + len(boundaries)], forget)
        done += len(boundaries)
    counts = np.bincount(row_of, minlength=n_rows)
    return HeatRows(sums / counts[:, None], counts, np.bincount(row_of, widths, n_rows) / counts)


class HeatPanel(NamedTuple):
    """What is drawn of the chosen unit of one direction at one crossing."""

    unit: int
    n_boundaries: int
    rows: HeatRows
    mean: NDArray[np.float64]  # (2 * profile_bp,)
    band: NDArray[np.float64]  # (2, 2 * profile_bp), nan where there are too few blocks


def draw_heatmap(
    panels: Mapping[tuple[str, str], HeatPanel],
    shape: ProfileShape,
    lookahead_bp: int,
    run: str,
    path: Path | str,
) -> None:
    """Draw single boundaries below their mean, for both directions and crossings, over ``[-flank_bp, flank_bp)``.

    Parameters
    ----------
    panels : mapping of (direction, crossing) to HeatPanel
    shape : ProfileShape
    lookahead_bp : int
        How far the network's stem sees ahead.
    run : str
        Name of the run, for the title.
    path : Path or str
        PNG file (an SVG would hold the picture anyway).
    """
    figure, axes = new_figure(4, 2, width_in=8.4, height_in=10.2, sharex=True, height_ratios=[1, 2.1, 1, 2.1])
    for k, direction in enumerate(DIRECTIONS):
        pair = axes[2 * k : 2 * k + 2]
        own = [_near(panels[direction, crossing], shape) for crossing in CROSSINGS]
        colours = _colour_range(np.concatenate([panel.rows.forget.ravel() for panel in own]))
        for column, crossing in enumerate(CROSSINGS):
            _draw_mean(pair[0, column], own[column], direction, crossing, lookahead_bp)
            image = _draw_rows(pair[1, column], own[column], crossing, colours)
        pair[0, 0].set_ylim(_shared_limits(own))
        pair[0, 1].set_ylim(_shared_limits(own))
        pair[0, 0].set_ylabel("mean of f")
        pair[1, 0].set_ylabel("boundaries, narrowest\nregion at the top")
        bar = figure.colorbar(image, ax=pair.ravel().tolist(), extend="both", aspect=40, pad=0.02)
        bar.set_label("f, the forget gate (1 keeps the memory, 0 erases it)", fontsize=8.5)
    figure.supxlabel(
        "offset from boundary in reading direction (bp); 0 = first base read beyond it", fontsize=9
    )
    _add_legend(figure, axes, run)
    save_figure(figure, path)


def _near(panel: HeatPanel, shape: ProfileShape) -> HeatPanel:
    """Cut a panel to the offsets that are drawn."""
    drawn = slice(shape.profile_bp - shape.flank_bp, shape.profile_bp + shape.flank_bp)
    rows = panel.rows._replace(forget=panel.rows.forget[:, drawn])
    return panel._replace(rows=rows, mean=panel.mean[drawn], band=panel.band[:, drawn])


def _add_legend(figure, axes, run: str) -> None:
    """Put title and legend above all panels."""
    found = [axis.get_legend_handles_labels() for axis in axes[:2, 0]]
    handles, labels = (list(each[0]) + list(each[1]) for each in zip(*found, strict=True))
    figure.legend(
        handles,
        labels,
        title=f"Do all boundaries of accessible regions make {run} forget, or a few of them?",
        title_fontproperties={"weight": "bold", "size": 10.5},
        alignment="left",
        loc="outside upper center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )


def _draw_mean(axis, panel: HeatPanel, direction: str, crossing: str, lookahead_bp: int) -> None:
    """Draw the mean over the boundaries of the heatmap below."""
    offsets = offsets_of(len(panel.mean) // 2)
    axis.axvline(0, color=INK, linewidth=0.6)
    axis.plot(offsets, panel.mean, color=_RED, linewidth=1.3, zorder=3, label="mean of all boundaries below")
    if not np.isnan(panel.band).any():
        label = "its 95 % interval (blocks of the contig drawn anew)"
        axis.fill_between(offsets, *panel.band, color=_RED, alpha=0.25, linewidth=0, label=label)
    mark_lookahead(axis, lookahead_bp)
    before, beyond = ("outside", "inside") if crossing == "entry" else ("inside", "outside")
    edges = ((0.49, before, "right"), (0.51, beyond, "left"))
    for x, word, side in edges:
        axis.text(x, 0.03, word, transform=axis.transAxes, ha=side, fontsize=7.5, color=INK)
    named = f"{READING[direction]}, {CROSSING[crossing]}"
    axis.set_title(named, fontsize=9, fontweight="bold", loc="left", pad=14)
    counted = f"unit {panel.unit}, {panel.n_boundaries} boundaries, {_row_words(panel.rows)} per row"
    axis.text(0, 1.03, counted, transform=axis.transAxes, fontsize=8, color=INK)


def _row_words(rows: HeatRows) -> str:
    """Say how many boundaries a row is the mean of."""
    few, many = int(rows.counts.min()), int(rows.counts.max())
    return ("1" if many == 1 else f"mean of {many}") if few == many else f"mean of {few} or {many}"


def _draw_rows(axis, panel: HeatPanel, crossing: str, colours: tuple[float, float]):
    """Draw the boundaries one below the other, and where their regions have the other edge."""
    rows, reach_bp = panel.rows, len(panel.mean) // 2
    image = axis.imshow(
        rows.forget,
        aspect="auto",
        cmap=_COLOURS,
        vmin=colours[0],
        vmax=colours[1],
        # the base at offset k covers [k, k + 1)
        extent=(-reach_bp, reach_bp, panel.n_boundaries, 0),
    )
    axis.axvline(0, color=INK, linewidth=0.4, alpha=0.6)
    other = rows.widths if crossing == "entry" else -rows.widths
    middle = np.cumsum(rows.counts) - rows.counts / 2
    label = "the other edge of the same region"
    axis.plot(other, middle, color=INK, linewidth=0.9, linestyle="--", label=label)
    axis.set(xlim=(-reach_bp, reach_bp), ylim=(panel.n_boundaries, 0))
    return image


def _colour_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the values of f at the ends of the colour scale."""
    low, high = np.percentile(values, _SPANNED)
    room = max(0.0, 1e-3 - (high - low)) / 2  # a constant gate would have a scale without length
    return float(low - room), float(high + room)


def _shared_limits(panels: list[HeatPanel]) -> tuple[float, float]:
    """Return limits of the mean that both crossings of a direction share."""
    values = np.concatenate([np.vstack([panel.mean, panel.band]).ravel() for panel in panels])
    low, high = np.nanmin(values), np.nanmax(values)
    room = 0.12 * max(high - low, 1e-3)
    return float(low - room), float(high + room)
