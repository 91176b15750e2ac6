"""How does Tn5's preference look, and at which resolution does it matter? Letters above, bars below.

Public names: `draw_bias`.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gatescope.atac.explained import Explained
from gatescope.atac.shift_figure import draw_letters
from gatescope.atac.tn5_model import REACH_BP, Tn5Model
from gatescope.figures import INK, MUTED, REGION, new_figure, save_figure

_DUPLICATION_BP = 9
_LEAST_HEIGHT = 0.5  # log2; noise is not blown up
_TITLE = {"fontsize": 9.5, "fontweight": "bold", "loc": "left"}
_COLOURS = {"background": MUTED, "peaks": REGION, "genome": INK}
_LABELS = {"background": "background", "peaks": "in peaks", "genome": "whole genome"}


def draw_bias(
    model: Tn5Model, found: Mapping[str, Sequence[Explained]], source: str, sentence: str, path: Path | str
) -> None:
    """Draw which bases Tn5 likes around its cuts, and how much of the cuts that explains by resolution.

    Parameters
    ----------
    model : Tn5Model
    found : mapping of str to sequence of Explained
        By place: background, peaks, genome.
    source : str
        What the model was counted on.
    sentence : str
        What the figure shows.
    path : Path or str
        SVG or PNG file.
    """
    figure, axes = new_figure(2, 1, width_in=7.0, height_in=5.4, height_ratios=[1.2, 1])
    figure.suptitle("\n".join(textwrap.wrap(sentence, 100)), x=0.01, ha="left", fontsize=9, color=INK)
    _draw_preference(axes[0, 0], model, source)
    _draw_explained(axes[1, 0], found)
    save_figure(figure, path)


def _draw_preference(axis, model: Tn5Model, source: str) -> None:
    """Draw the preference as letters, over the bases that Tn5 copied."""
    enrichment = np.log2(model.base_ratio)
    stacks = np.where(enrichment > 0, enrichment, 0).sum(1), np.where(enrichment < 0, -enrichment, 0).sum(1)
    highest = 1.1 * max(_LEAST_HEIGHT, *map(float, map(np.max, stacks)))
    draw_letters(axis, np.arange(-REACH_BP, REACH_BP + 1), enrichment)
    half = _DUPLICATION_BP / 2
    axis.axvspan(-half, half, color=REGION, alpha=0.2, linewidth=0, zorder=0)
    axis.set(xlim=(-REACH_BP - 0.5, REACH_BP + 0.5), ylim=(-highest, highest))
    axis.set(xlabel="offset from the centre of the cut (bp)", ylabel="log2 (here / nearby)")
    axis.set_title("What Tn5 likes", **_TITLE)
    axis.set_title(f"{source}; shaded: the 9 bases that Tn5 copies", loc="right", fontsize=8, color=INK)


def _draw_explained(axis, found: Mapping[str, Sequence[Explained]]) -> None:
    """Draw the share explained, one group of bars for each resolution."""
    width = 0.8 / len(found)
    for k, (place, rows) in enumerate(found.items()):
        at = np.arange(len(rows)) + (k - (len(found) - 1) / 2) * width
        # less than nothing is nothing; the file has the number
        shares = [100 * max(0.0, row.share or 0.0) for row in rows]
        axis.bar(at, shares, 0.92 * width, color=_COLOURS[place], label=_LABELS[place])
        for x, share in zip(at, shares, strict=True):
            axis.text(x, share, f"{share:.1f}", ha="center", va="bottom", fontsize=7.5, color=INK)
    rows = next(iter(found.values()))
    axis.set_xticks(range(len(rows)))
    axis.set_xticklabels(["single bases", *(f"{row.bin_bp:,}-bp bins" for row in rows[1:])])
    axis.set(ylabel="variation of cuts\nexplained (%)")
    axis.margins(y=0.15)
    axis.set_title(
        "How much of the signal it explains, on contigs that the model was not fitted on", **_TITLE
    )
    axis.legend(fontsize=8, ncols=3, loc="upper right")
