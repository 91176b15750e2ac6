"""What does a gatescope figure look like? One palette, one way of saving.

Public names: `GATE_COLOURS`, `INK`, `MUTED`, `REGION`, `rgb`, `tint`, `new_figure`, `save_figure`.
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


def rgb(colour: str) -> str:
    """Turn ``#rrggbb`` into ``R,G,B``, as genome browsers write it."""
    return ",".join(map(str, _channels(colour)))


def tint(colour: str, towards_white: float = 0.45) -> str:
    """Return a lighter shade of ``#rrggbb``: same gate, other direction."""
    mixed = (round(value + (255 - value) * towards_white) for value in _channels(colour))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _channels(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


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
