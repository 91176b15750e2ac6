"""How does the evidence for a shift look? The bases around the ends of both strands, and the score of each shift.

Public names: `draw_shifts`, `Block`, `draw_letters`.
"""

import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from gatescope.atac.detect import AXES, CANDIDATES, ShiftFinding
from gatescope.atac.preference import FLANK_BP, OFFSETS
from gatescope.atac.shift import Tn5Shift
from gatescope.figures import INK, MUTED, REGION, new_figure, save_figure
from gatescope.genome.sequence import ALPHABET

_BASE_COLOURS = dict(zip(ALPHABET, ("#1b7837", "#2166ac", "#e08214", "#b2182b"), strict=True))
_STRAND_COLOURS = ("#2166ac", "#b2182b")
_SHOWN_BP = (-16, 20)
_AXIS = "offset from the read's first base, in the direction of the read (bp)"
_HINT = (
    "Tn5 treats both strands alike: around the dashed centre, letters mirror each other, A as T and C as G"
)
_TITLE = {"fontsize": 9.5, "fontweight": "bold", "loc": "left"}
#: Heights of the rows of a block: what it says, + ends, - ends, scores.
_BLOCK_IN = (0.9, 2.3, 2.3, 2.9)
_LEAST_HEIGHT = 0.5  # log2; noise is not blown up
_FONT = FontProperties(family="DejaVu Sans", weight="bold")


class Block(NamedTuple):
    """Say what is drawn of one file.

    Attributes
    ----------
    source : str
        Name of the file, for the title.
    declared : Tn5Shift or None
        Marked beside the one found.
    finding : ShiftFinding or None
    sentence : str
        Takes the place of the drawing where there is no finding.
    """

    source: str
    declared: Tn5Shift | None
    finding: ShiftFinding | None
    sentence: str


def draw_shifts(blocks: Sequence[Block], path: Path | str) -> None:
    """Draw for each file the preference around + and - ends, the score of each shift of a strand, and of each pair.

    Parameters
    ----------
    blocks : sequence of Block
        One file each, drawn below each other.
    path : Path or str
        SVG or PNG file.
    """
    if len(blocks) == 1:
        _draw_one(blocks[0], path)
        return
    heights = [_BLOCK_IN if block.finding else _BLOCK_IN[:1] for block in blocks]
    rows = [row_in for height in heights for row_in in height]
    figure, axes = new_figure(len(rows), 2, width_in=7.6, height_in=sum(rows), height_ratios=rows)
    for block, height in zip(blocks, heights, strict=True):
        _write_title(axes[0], block)
        if block.finding:
            _draw_finding(axes[1 : len(height)], block.finding, block.declared)
        axes = axes[len(height) :]
    _freeze_layout(figure)
    save_figure(figure, path)


def _freeze_layout(figure: Figure) -> None:
    """Round the places of axes: with so many, the solver's last digits differ between runs, and so would the bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set_position(Bbox(axis.get_position(original=True).get_points().round(6)))


def _draw_one(block: Block, path: Path | str) -> None:
    """Draw the figure of a sample of one file."""
    if block.finding is None:
        figure, axes = new_figure(height_in=1.2)
        axes[0, 0].axis("off")
        axes[0, 0].text(0, 0.5, "\n".join(textwrap.wrap(block.sentence, 90)), va="center", color=INK)
    else:
        figure, axes = new_figure(3, 2, width_in=7.6, height_in=8.4, height_ratios=[1, 1, 1.25])
        _draw_finding(axes, block.finding, block.declared)
        title = _title(block.finding, block.declared, block.source)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    save_figure(figure, path)


def _write_title(axes, block: Block) -> None:
    """Write over a row what the block below says, or why there is none."""
    axis, neighbour = axes
    neighbour.remove()
    axis.set_subplotspec(axis.get_gridspec()[axis.get_subplotspec().rowspan.start, :])
    axis.axis("off")
    if block.finding is None:
        text = "\n".join([f"{block.source}:", *textwrap.wrap(block.sentence, 105)])
    else:
        text = _title(block.finding, block.declared, block.source)
    axis.text(0, 0, text, transform=axis.transAxes, va="bottom", fontsize=10, color=INK)


def _draw_finding(axes, finding: ShiftFinding, declared: Tn5Shift | None) -> None:
    """Draw a finding on (3, 2) axes."""
    enrichment = _enrichment(finding.frequencies)
    highest = max(_LEAST_HEIGHT, float(np.abs(_stacks(enrichment)).max()))
    for strand, (axis, neighbour) in enumerate(axes[:2]):
        neighbour.remove()
        axis.set_subplotspec(axis.get_gridspec()[axis.get_subplotspec().rowspan.start, :])
        draw_letters(axis, OFFSETS[_is_shown()], enrichment[strand])
        axis.set(xlim=(_SHOWN_BP[0] - 0.5, _SHOWN_BP[1] + 0.5), ylim=(-1.15 * highest, 1.15 * highest))
        _draw_ends(axis, finding, strand)
        if finding.shift is not None:
            _draw_palindrome(axis, finding, strand)
    axes[1, 0].set_xlabel(_AXIS if finding.shift is None else f"{_AXIS}\n{_HINT}")
    _draw_own_scores(axes[2, 0], finding)
    _draw_pairs(axes[2, 1], finding, declared)


def _title(finding: ShiftFinding, declared: Tn5Shift | None, source: str) -> str:
    """Return question and answer."""
    lines = [f"Were the read ends of {source} shifted before?"]
    if finding.shift is None:
        lines += textwrap.wrap(f"Cannot tell: {finding.reason}.", 105)
    else:
        told = "raw, " if finding.shift == Tn5Shift(0, 0) else "shifted by "
        lines.append(
            f"They are {told}{finding.shift}; it comes first in {finding.support:.1%} of resampled genomes."
        )
    if declared is None:
        lines.append("Nothing is declared (auto).")
    elif finding.shift not in (None, declared):
        lines.append(f"This contradicts the {declared} that is declared and used.")
    else:
        lines.append(f"Declared and used: {declared}.")
    return "\n".join(lines)


def _enrichment(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log2 of the frequency of each base over that in the flanks, at the offsets shown."""
    background = frequencies[:, np.abs(OFFSETS) > FLANK_BP].mean(1, keepdims=True)
    return np.log2(frequencies / background)[:, _is_shown()]


def _is_shown() -> NDArray[np.bool_]:
    return (OFFSETS >= _SHOWN_BP[0]) & (OFFSETS <= _SHOWN_BP[1])


def _stacks(enrichment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the height of each stack of enriched and of depleted letters."""
    return np.stack(
        [np.where(enrichment > 0, enrichment, 0).sum(-1), np.where(enrichment < 0, enrichment, 0).sum(-1)]
    )


def draw_letters(axis, offsets: NDArray[np.integer], enrichment: NDArray[np.float64]) -> None:
    """Draw a preference as letters: enriched ones stand up, depleted ones hang down.

    The limits of the axes are not changed: the caller sets them.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
    offsets : numpy.ndarray
        (n,) place of each stack of letters.
    enrichment : numpy.ndarray
        (n, 4) height of each letter, ACGT; negative ones hang down.
    """
    for offset, column in zip(offsets, enrichment, strict=True):
        for sign in (1, -1):
            base = 0.0
            for n in np.argsort(sign * column):
                if sign * column[n] > 0:
                    _draw_letter(axis, ALPHABET[n], offset, base, column[n])
                    base += column[n]
    axis.axhline(0, color=INK, linewidth=0.6)


def _draw_ends(axis, finding: ShiftFinding, strand: int) -> None:
    """Say what the letters are, and where the read begins."""
    axis.set_title(f"Around {finding.ends[strand]:,} {'+-'[strand]} read ends", **_TITLE)
    axis.set_ylabel("log2 (here / 31-50 bp away)")
    axis.axvline(-0.5, color=MUTED, linewidth=1.4)
    before = ("before the read", "before the read (reverse complement)")[strand]
    foot = axis.get_ylim()[0] * 0.97
    axis.text(_SHOWN_BP[0] - 0.3, foot, before, ha="left", fontsize=8, color=INK)
    axis.text(_SHOWN_BP[1] + 0.3, foot, "in the read", ha="right", fontsize=8, color=INK)


def _draw_palindrome(axis, finding: ShiftFinding, strand: int) -> None:
    """Shade the bases that Tn5 copied, and mark the centre around which the letters mirror each other."""
    shift = (finding.best.plus, finding.best.minus)[strand]
    first = -0.5 - (-shift if strand else shift)
    centre = first + finding.duplication_bp / 2
    axis.axvspan(first, first + finding.duplication_bp, color=REGION, alpha=0.2, linewidth=0, zorder=0)
    axis.axvline(centre, color=INK, linewidth=0.9, linestyle="--")
    label = f"shaded: the {finding.duplication_bp} bases that Tn5 copied; shift {shift:+d}"
    axis.set_title(label, loc="right", fontsize=8, color=INK)


def _draw_letter(axis, letter: str, offset: int, base: float, height: float) -> None:
    """Draw a letter that fills one base in width, from `base` up or down."""
    outline, box = _outline(letter)
    scale = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, abs(height) / box.height)
    placed = scale.translate(offset - 0.45, base if height > 0 else base + height)
    axis.add_artist(  # not add_patch: the axes have their limits already, and need not be told of each curve
        PathPatch(placed.transform_path(outline), facecolor=_BASE_COLOURS[letter], linewidth=0, clip_on=True)
    )


@cache
def _outline(letter: str) -> tuple[TextPath, Bbox]:
    """Return the outline of a letter and its extent; hundreds of each of the four are drawn."""
    outline = TextPath((0, 0), letter, size=1, prop=_FONT)
    return outline, outline.get_extents()


def _draw_own_scores(axis, finding: ShiftFinding) -> None:
    """Draw how well each strand mirrors itself, by the shift that this would mean."""
    for k, (strand, colour) in enumerate(zip("+-", _STRAND_COLOURS, strict=True)):
        axis.plot(
            AXES,
            finding.own_scores[k],
            color=colour,
            linewidth=1.2,
            linestyle=("-", "--")[k],
            marker="o",
            markevery=2,
            markersize=3,
            label=f"{strand} ends",
        )
    axis.axhline(0, color=MUTED, linewidth=0.6)
    axis.set(xlabel="shift inwards (bp)", ylabel="share of the preference mirrored", ylim=(-0.6, 1.05))
    axis.set_xticks(CANDIDATES[::3])
    axis.set_title("Each strand by itself", **_TITLE)
    axis.legend(loc="lower left", fontsize=8, ncols=2, frameon=False)


def _draw_pairs(axis, finding: ShiftFinding, declared: Tn5Shift | None) -> None:
    """Draw the score of every pair of shifts, with the best and the declared one marked."""
    image = axis.pcolormesh(CANDIDATES, CANDIDATES, finding.pair_scores.T, vmin=-1, vmax=1, cmap="RdBu_r")
    best, told = finding.best, "best guess" if finding.shift is None else "found"
    axis.plot(best.plus, -best.minus, "o", color=INK, markersize=9, fillstyle="none", label=f"{told}: {best}")
    if declared is not None:
        axis.plot(declared.plus, -declared.minus, "x", color=INK, markersize=6, label=f"declared: {declared}")
    axis.set(xlabel="shift of + ends inwards (bp)", ylabel="shift of - ends inwards (bp)")
    axis.set_xticks(CANDIDATES[::3])
    axis.set_yticks(CANDIDATES[::3])
    axis.set_title("Both strands together", **_TITLE)
    axis.legend(loc="upper left", fontsize=8, labelcolor=INK, framealpha=0.8, frameon=True, edgecolor="none")
    axis.figure.colorbar(image, ax=axis, label="score (1: a perfect match)")
