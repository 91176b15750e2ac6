"""What does the report draw? Learning curves and scores as SVG that can stand inside one page.

Public names: `MODEL`, `learning_curve`, `score_chart`, `as_svg`, `inline_svg`.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from gatescope.errors import InputError
from gatescope.figures import INK, MUTED, new_figure, save_figure

#: The network under test, beside what it is compared with.
MODEL = "#6a3d9a"


class Score(NamedTuple):
    """One predictor's score with its 95 % interval; `is_model` marks the network under test."""

    label: str
    value: float
    low: float
    high: float
    is_model: bool


def learning_curve(curve: pd.DataFrame, best_epoch: int, prefix: str) -> str:
    """Draw training and validation loss by epoch, and mark the epoch that was kept.

    Parameters
    ----------
    curve : DataFrame
        ``training.csv``: `epoch, train_loss, valid_loss`.
    best_epoch : int
        Epoch whose weights were kept.
    prefix : str
        Put before every id, so that several figures can share a page.
    """
    figure, axes = new_figure(width_in=6.4, height_in=2.6)
    axis = axes[0, 0]
    axis.plot(
        curve["epoch"], curve["train_loss"], color=MUTED, marker="o", markersize=3, label="training contigs"
    )
    axis.plot(
        curve["epoch"],
        curve["valid_loss"],
        color=INK,
        marker="o",
        markersize=3,
        label="validation contigs",
    )
    axis.axvline(best_epoch, color=MUTED, linewidth=0.8, linestyle="--", label=f"kept: epoch {best_epoch}")
    axis.set(xlabel="epoch (one pass over the drawn windows)", ylabel="loss (lower is better)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=8)
    return as_svg(figure, prefix, "Learning curve: loss by epoch")


def score_chart(scores: Sequence[Score], metric: str, base_rate: float | None, prefix: str) -> str:
    """Draw one metric of every predictor as a dot with its interval, the best at the top.

    Parameters
    ----------
    scores : sequence of Score
    metric : str
        Axis label.
    base_rate : float or None
        Score of a predictor that guesses, drawn as a line.
    prefix : str
        Put before every id.
    """
    ranked = sorted(scores, key=lambda score: score.value)
    figure, axes = new_figure(width_in=6.4, height_in=0.75 + 0.3 * len(ranked))
    axis = axes[0, 0]
    for row, score in enumerate(ranked):
        colour = MODEL if score.is_model else INK
        axis.plot([score.low, score.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        axis.plot([score.value], [row], color=colour, marker="o", markersize=6 if score.is_model else 4.5)
        axis.annotate(
            f"{score.value:.3f}",
            (score.high, row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    if base_rate is not None:
        axis.axvline(base_rate, color=MUTED, linewidth=0.9, linestyle="--")
        axis.annotate(
            f"guessing: {base_rate:.3f}", (base_rate, len(ranked) - 0.5), (4, 0), textcoords="offset points",
            va="center", fontsize=7.5, color="#5c677d",
        )  # fmt: skip
    axis.set_yticks(range(len(ranked)), [score.label for score in ranked])
    axis.set(xlabel=metric, ylim=(-0.6, len(ranked) - 0.2), xlim=_limits(scores))
    return as_svg(figure, prefix, metric)


def _limits(scores: Sequence[Score]) -> tuple[float, float]:
    """Keep 0-1 in view: cut axes make small differences look large. Correlations may be negative."""
    lowest = min(score.low for score in scores)
    return min(0.0, lowest - 0.05), 1.08


def as_svg(figure: Figure, prefix: str, title: str) -> str:
    """Save a figure and return it as an element that can stand in a page (`inline_svg`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        save_figure(figure, path)
        return inline_svg(path, prefix, title)


def inline_svg(path: Path, prefix: str, title: str) -> str:
    """Return an SVG file as an element that can stand in a page beside others.

    Ids get a prefix, the page's width decides the size, and what would reach outside the element is taken
    out: the XML prologue, metadata, and the style sheet that matplotlib writes for ``*``.

    Parameters
    ----------
    path : Path
        Written by `gatescope.figures.save_figure`.
    prefix : str
        Letters, digits, underscores and hyphens.
    title : str
        What a screen reader says.

    Raises
    ------
    InputError
        If the file is missing or is not SVG.
    """
    if not path.is_file():
        raise InputError("figure is missing", where=path, remedy="run the workflow to the end")
    text = path.read_text(encoding="utf-8")
    start = text.find("<svg")
    if start < 0 or "<script" in text.lower():
        raise InputError(
            "not a figure of gatescope", where=path, remedy="delete it and run the workflow again"
        )
    body = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text[start:], flags=re.DOTALL
    )
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    look = 'class="figure" stroke-linejoin="round" stroke-linecap="butt" role="img"'
    return body.replace("<svg ", f'<svg {look} aria-label="{_attribute(title)}" ', 1).strip()


def _attribute(text: str) -> str:
    """Escape text for a double-quoted attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
