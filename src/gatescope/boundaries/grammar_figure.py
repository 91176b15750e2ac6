"""How do motifs and spacings look? Sequence logos around the event, and histograms beside the background's.

Public names: `Logo`, `Histogram`, `draw_logos`, `draw_spacings`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from gatescope.boundaries.motifs import Motif, column_bits
from gatescope.boundaries.spacing import MEASURES
from gatescope.figures import GATE_COLOURS, INK, MUTED, REGION, new_figure, save_figure, tint
from gatescope.genome.sequence import ALPHABET

_READING = {"fwd": "Reading forward", "rev": "Reading in reverse"}
#: What happens at an event of each kind, and its gate's colour.
_KIND = {"forget": "it forgets", "write": "it writes"}
_KIND_COLOUR = {"forget": GATE_COLOURS["forget_gate"], "write": GATE_COLOURS["input_gate"]}
#: Letters of a logo, told apart by hue and lightness.
_LETTER_COLOUR = {"A": "#1b7837", "C": "#2166ac", "G": "#e08214", "T": "#b2182b"}
_FADED = 0.72
_MOST_BITS = 2.1
_MEASURE = {
    "next": "bp to the next event",
    "entry": "offset from the nearest entry (bp)",
    "exit": "offset from the nearest exit (bp)",
}


class Logo(NamedTuple):
    """One row of the figure of motifs."""

    direction: str
    unit: int
    kind: str  # "forget" or "write"
    n_events: int
    motif: Motif
    forward: str  # the word along the forward strand


class Histogram(NamedTuple):
    """One row of the figure of spacings."""

    direction: str
    unit: int
    kind: str
    table: pd.DataFrame  # as `gatescope.boundaries.spacing.spacing_table` makes it


def draw_logos(logos: Sequence[Logo], run: str, path: Path | str) -> None:
    """Draw each motif as the letters that the unit had read around its events.

    The height of a column is its information in bits, shared out among the letters; columns outside the motif are
    pale. Without a motif the figure says so.

    Parameters
    ----------
    logos : sequence of Logo
    run : str
        Name of the run, for the title.
    path : Path or str
        SVG or PNG file.
    """
    rows = max(len(logos), 1)
    figure, axes = new_figure(rows, 1, width_in=7.6, height_in=0.9 + 1.5 * rows, sharex=True)
    for axis, logo in zip(axes[:, 0], logos, strict=False):
        _draw_logo(axis, logo)
    if not logos:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, "no motif above the threshold", ha="center", va="center", color=INK)
    else:
        axes[-1, 0].set_xlabel("offset from the event in reading direction (bp); 0 = the base of the event")
        figure.supylabel("information (bits)", fontsize=9)
    figure.suptitle(f"Which words make {run} forget and write?", fontsize=10.5, fontweight="bold")
    save_figure(figure, path)


def draw_spacings(histograms: Sequence[Histogram], run: str, path: Path | str) -> None:
    """Draw how far events lie from each other and from boundaries, beside positions without an event.

    Parameters
    ----------
    histograms : sequence of Histogram
        At least one.
    run : str
        Name of the run, for the title.
    path : Path or str
        SVG or PNG file.
    """
    rows = len(histograms)
    figure, axes = new_figure(rows, len(MEASURES), width_in=9.0, height_in=0.9 + 1.7 * rows, sharex="col")
    for row, histogram in enumerate(histograms):
        for axis, measure in zip(axes[row], MEASURES, strict=True):
            _draw_histogram(axis, histogram, measure)
        named = f"{_READING[histogram.direction]}, unit {histogram.unit}: where {_KIND[histogram.kind]}"
        axes[row, 0].set_title(named, fontsize=9, fontweight="bold", loc="left")
        axes[row, 0].set_ylabel("events")
    for axis, measure in zip(axes[-1], MEASURES, strict=True):
        axis.set_xlabel(_MEASURE[measure])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    title = f"How are the events of {run} spaced? (shaded: inside accessible regions)"
    weight = {"weight": "bold", "size": 10.5}
    place: Any = "outside upper center"
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontproperties=weight,
        loc=place,
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    save_figure(figure, path)


def _draw_logo(axis, logo: Logo) -> None:
    """Draw one motif."""
    motif = logo.motif
    counts = motif.counts
    heights = column_bits(counts, motif.base_shares)[:, None] * counts / counts.sum(1, keepdims=True)
    for column, letters in enumerate(heights):
        inside = motif.core[0] <= column < motif.core[1]
        _stack_letters(axis, motif.first_offset + column, letters, inside)
    axis.axvspan(-0.5, 0.5, color=tint(_KIND_COLOUR[logo.kind]), alpha=0.4, linewidth=0, zorder=0)
    axis.text(0, _MOST_BITS, "event", ha="center", va="bottom", fontsize=7, color=INK)
    first = motif.first_offset
    axis.set(xlim=(first - 0.5, first + len(counts) - 0.5), ylim=(0, _MOST_BITS), yticks=(0, 1, 2))
    named = f"{_READING[logo.direction]}, unit {logo.unit}: where {_KIND[logo.kind]}"
    axis.set_title(named, fontsize=9, fontweight="bold", loc="left", pad=16)
    told = (
        f"{motif.sites.size} of {logo.n_events} events, {motif.bits:.1f} bits; forward strand {logo.forward}"
    )
    axis.text(0, 1.03, told, transform=axis.transAxes, fontsize=7.5, color=INK)


def _stack_letters(axis, offset: int, heights: NDArray[np.float64], inside: bool) -> None:
    """Draw the letters of one column, the tallest on top."""
    bottom = 0.0
    for code in np.argsort(heights, kind="stable"):
        letter, height = ALPHABET[code], float(heights[code])
        if height > 0.01:
            colour = _LETTER_COLOUR[letter] if inside else tint(_LETTER_COLOUR[letter], _FADED)
            axis.add_patch(PathPatch(_letter(letter, offset, bottom, height), color=colour, linewidth=0))
            bottom += height


def _letter(letter: str, offset: int, bottom: float, height: float):
    """Return the outline of a letter that fills the box of one column."""
    outline = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    stretch = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, height / box.height)
    return outline.transformed(stretch.translate(offset - 0.45, bottom))


def _draw_histogram(axis, histogram: Histogram, measure: str) -> None:
    """Draw one measure of one unit; bins without end are left out."""
    is_shown = (histogram.table["measure"] == measure) & np.isfinite(
        histogram.table["bp_high"] - histogram.table["bp_low"]
    )
    table = pd.DataFrame(histogram.table[is_shown])
    edges = np.append(table["bp_low"].to_numpy(), table["bp_high"].max())
    if measure != "next":
        inside = (0, edges[-1]) if measure == "entry" else (edges[0], 0)
        axis.axvspan(*inside, color=REGION, alpha=0.16, linewidth=0)
    axis.stairs(
        table["n_background"], edges, color=MUTED, fill=True, alpha=0.5, label="positions beside the events"
    )
    axis.stairs(table["n_events"], edges, color=_KIND_COLOUR[histogram.kind], linewidth=1.2, label="events")
    axis.set(xlim=(edges[0], edges[-1]))
