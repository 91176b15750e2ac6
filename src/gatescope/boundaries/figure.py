"""How does the profile look? One figure per run: directions by crossings.

Public names: `READING`, `CROSSING`, `Panel`, `draw_profiles`, `mark_lookahead`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.boundaries.profile import ProfileShape, offsets_of
from gatescope.figures import GATE_COLOURS, INK, MUTED, REGION, new_figure, save_figure
from gatescope.genome.crossings import CROSSINGS
from gatescope.trace.units import DIRECTIONS

#: Directions and crossings in words.
READING = {"fwd": "Reading forward", "rev": "Reading in reverse"}
CROSSING = {"entry": "into accessible regions", "exit": "out of accessible regions"}


class Panel(NamedTuple):
    """One panel: mean forget gates by offset, of shape (2 * profile_bp,), values 0-1; `band` has two rows."""

    unit: int | str  # a text is said as it is
    n_boundaries: int
    chosen: NDArray[np.float64]
    band: NDArray[np.float64]  # 95 % interval of `chosen`, low and high; nan where there are too few blocks
    null_low: NDArray[np.float64]
    null_high: NDArray[np.float64]
    twin: NDArray[np.float64] | None  # None: there is no twin
    unit_mean: NDArray[np.float64] | None
    who: str = "chosen unit"  # what the legend calls `chosen`


def draw_profiles(
    panels: Mapping[tuple[str, str], Panel],
    shape: ProfileShape,
    lookahead_bp: int,
    run: str,
    path: Path | str,
) -> None:
    """Draw the chosen unit of each direction at entry and exit, over offsets ``[-flank_bp, flank_bp)``.

    Parameters
    ----------
    panels : mapping of (direction, crossing) to Panel
        Both crossings of one direction or two.
    shape : ProfileShape
    lookahead_bp : int
        How far the network's stem sees ahead.
    run : str
        Name of the run, for the title.
    path : Path or str
        SVG or PNG file.
    """
    directions = [name for name in DIRECTIONS if (name, CROSSINGS[0]) in panels]
    height_in = 3.6 + 1.2 * len(directions)
    figure, axes = new_figure(len(directions), 2, width_in=7.6, height_in=height_in, sharex=True, sharey=True)
    for row, direction in enumerate(directions):
        for column, crossing in enumerate(CROSSINGS):
            _draw_panel(axes[row, column], panels[direction, crossing], direction, crossing, shape)
            mark_lookahead(axes[row, column], lookahead_bp)
    figure.supxlabel(
        "offset from boundary in reading direction (bp); 0 = first base read beyond it", fontsize=9
    )
    figure.supylabel("mean forget gate (1 keeps the memory, 0 erases it)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title=f"Does {run} let go of its memory at the edges of accessible regions?",
        title_fontproperties={"weight": "bold", "size": 10.5},
        alignment="left",
        loc="outside upper center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    save_figure(figure, path)


def _near(panel: Panel, shape: ProfileShape) -> Panel:
    """Cut the arrays of a panel to the offsets that are drawn."""
    drawn = slice(shape.profile_bp - shape.flank_bp, shape.profile_bp + shape.flank_bp)
    cut = {
        name: value[..., drawn] for name, value in panel._asdict().items() if isinstance(value, np.ndarray)
    }
    return panel._replace(**cut)


def _draw_panel(axis, panel: Panel, direction: str, crossing: str, shape: ProfileShape) -> None:
    """Draw one direction and crossing."""
    offsets = offsets_of(shape.flank_bp)
    panel = _near(panel, shape)
    inside = (0, shape.flank_bp) if crossing == "entry" else (-shape.flank_bp, 0)
    axis.axvspan(*inside, color=REGION, alpha=0.16, linewidth=0)
    axis.axvline(0, color=INK, linewidth=0.6)
    label = "inside the\naccessible region"
    axis.text(np.mean(inside), 0.03, label, ha="center", va="bottom", fontsize=7.5, color=INK)
    red = GATE_COLOURS["forget_gate"]
    axis.plot(
        offsets, panel.chosen, color=red, linewidth=1.4, zorder=3, label=f"{panel.who}, trained network"
    )
    if not np.isnan(panel.band).any():
        label = "95 % interval of its mean"
        axis.fill_between(offsets, *panel.band, color=red, alpha=0.25, linewidth=0, label=label)
    if panel.twin is not None:
        label = "same unit, untrained network"
        axis.plot(offsets, panel.twin, color=INK, linewidth=0.9, linestyle="--", label=label)
    elsewhere = f"{panel.who}, same boundaries moved elsewhere (95 % of shifts)"
    low, high = panel.null_low, panel.null_high
    axis.fill_between(offsets, low, high, color=MUTED, alpha=0.45, linewidth=0, label=elsewhere)
    if panel.unit_mean is not None:
        label = "mean of all units"
        axis.plot(offsets, panel.unit_mean, color=MUTED, linewidth=1.3, linestyle=":", label=label)
    axis.set(xlim=(-shape.flank_bp, shape.flank_bp), ylim=(0, 1))
    named = f"{READING[direction]}, {CROSSING[crossing]}"
    axis.set_title(named, fontsize=9, fontweight="bold", loc="left", pad=14)
    shown = panel.unit if isinstance(panel.unit, str) else f"unit {panel.unit}"
    counted = f"{shown}, mean of {panel.n_boundaries} boundaries"
    axis.text(0, 1.02, counted, transform=axis.transAxes, fontsize=8, color=INK)


def mark_lookahead(axis, lookahead_bp: int) -> None:
    """Shade the offsets at which a gate has seen bases beyond the boundary without having reached it."""
    if lookahead_bp:
        label = f"look-ahead: {lookahead_bp} bp beyond the boundary are seen already"
        axis.axvspan(-lookahead_bp, 0, color=INK, alpha=0.16, linewidth=0, label=label)
