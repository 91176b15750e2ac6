"""What does a gatescope figure look like? One palette, one way of saving.

Public names: `GATE_COLOURS`, `INK`, `MUTED`, `new_figure`, `save_figure`.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from gatescope.files import replacing_file

#: One colour per gate, in every track, session and figure (colour-blind safe against each other).
GATE_COLOURS = {"forget_gate": "#b2182b", "input_gate": "#2166ac", "output_gate": "#1b7837"}
#: Text and axes; secondary lines and null bands; accessible regions.
INK, MUTED, REGION = "#1a1a2e", "#8d99ae", "#f4a259"

_STYLE: Any = {  # matplotlib types its keys more narrowly than a dict literal
    "svg.hashsalt": "gatescope",  # with Date=None below: same figure, same bytes
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def new_figure(
    rows: int = 1, columns: int = 1, width_in: float = 7.0, height_in: float = 3.0, **subplots: Any
):
    """Return ``(figure, axes)`` in the house style; `axes` is always a 2-D array (rows, columns)."""
    with matplotlib.rc_context(_STYLE):
        return plt.subplots(rows, columns, figsize=(width_in, height_in), squeeze=False, **subplots)


def save_figure(figure: Figure, path: Path | str) -> None:
    """Save `figure` as SVG or PNG, by suffix, with the same bytes each time, and close it."""
    path = Path(path)
    with matplotlib.rc_context(_STYLE), replacing_file(path) as partial:
        kind = path.suffix.removeprefix(".")
        figure.savefig(partial, format=kind, metadata={"Date": None} if kind == "svg" else None, dpi=160)
    plt.close(figure)
