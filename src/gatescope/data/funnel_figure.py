"""What does the choice of training windows look like? One bar per step: what was kept, what was not, and why.

Public names: `draw_funnel`.
"""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.data.funnel import BACKGROUND, PEAKS, Funnel
from gatescope.figures import INK, MUTED, REGION, new_figure, save_figure, tint

_COLOURS = {PEAKS: REGION, BACKGROUND: MUTED}
_TITLES = {
    PEAKS: "Peaks: {first:,} in the file, {last:,} to train on",
    BACKGROUND: "Background: {first:,} windows of the genome tried, {last:,} chosen",
}
_WORDS_WIDTH = 72


def draw_funnel(funnel: Funnel, path: Path | str) -> None:
    """Draw the steps that chose the training windows, peaks above, background below, as SVG or PNG.

    Parameters
    ----------
    funnel : Funnel
        With steps of both.
    path : path
        Written with the same bytes each time.
    """
    groups = [(of, funnel.of(of)) for of in (PEAKS, BACKGROUND)]
    heights = [len(rows) for _, rows in groups]
    figure, axes = new_figure(
        len(groups),
        2,
        width_in=9.4,
        height_in=0.9 + 0.44 * sum(heights),
        sharey="row",
        gridspec_kw={"width_ratios": [1, 1.35], "height_ratios": heights},
    )
    for (bars, words), (of, rows) in zip(axes, groups, strict=True):
        _draw_bars(bars, rows, of)
        _write_reasons(words, rows)
    save_figure(figure, path)


def _draw_bars(axes: Axes, rows: list[dict[str, Any]], of: str) -> None:
    """Draw what each step kept and, lighter, what it dropped."""
    places = np.arange(len(rows))
    kept, dropped = (np.array([row[column] for row in rows]) for column in ("kept", "dropped"))
    axes.barh(places, kept, color=_COLOURS[of], height=0.62, label="kept")
    axes.barh(places, dropped, left=kept, color=tint(_COLOURS[of], 0.7), height=0.62, label="dropped")
    axes.set_yticks(places, [row["step"].removeprefix("background ") for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    title = _TITLES[of].format(first=int(kept[0] + dropped[0]), last=int(kept[-1]))
    axes.set_title(title, color=INK, loc="left", fontweight="bold", fontsize=10)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("kept by the step (dark), dropped by it (light)")


def _write_reasons(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Write the numbers of each step, and why something was dropped."""
    axes.set_axis_off()
    for place, row in enumerate(rows):
        lost = f"{row['dropped']:,} dropped: {row['why']}" if row["dropped"] else "none dropped"
        text = f"{row['kept']:,} kept, {lost}" + (f" ({row['note']})" if row["note"] else "")
        axes.text(0, place, fill(text, _WORDS_WIDTH), va="center", ha="left", fontsize=8, color=INK)
