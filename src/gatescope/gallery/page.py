"""What does a gate do? One page of small panels: what a cell reads, its gates, its memory, and the formula's dots.

Public names: `draw_page`.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gatescope.figures import GATE_COLOURS, INK, MUTED, REGION, new_figure, save_figure
from gatescope.gallery.cells import Outcome
from gatescope.gallery.hand import Line

_COLUMNS, _WIDTH_IN, _MARGIN_IN = 3, 11.6, 0.5
#: Heights of a panel's parts: words (the axis label of the panel above is in their upper end), input, gates, memory.
_HEIGHTS_IN = (1.3, 0.36, 0.48, 0.85)
_PARTS = len(_HEIGHTS_IN)
#: Letters of a line of a lesson; points and dots of a curve; bases that can be spelled in a panel.
_LINE_LETTERS, _DRAWN_POINTS, _DOTS, _SPELLED_BP = 56, 201, 36, 60

_SIGNS = {"forget_gate": "f", "input_gate": "i", "output_gate": "o", "cell": "c", "hidden": "h"}
#: Where the names of gates and states stand, left of the numbers, in widths of a panel.
_SIGN_PLACE = -0.085
#: Colour, width of a stem and place of the name of the first and second input of a panel.
_CHANNEL_STYLES = ((INK, 1.3, 0.0), (MUTED, 3.5, 0.55))
#: Colour, width and dash of the first, second and third state of a panel.
_STATE_STYLES = ((INK, 1.4, "-"), (MUTED, 1.4, "-"), (INK, 1.0, "--"))
#: The forget gate is drawn widest, so that a gate of the same value on top of it leaves it visible.
_GATE_WIDTHS = {"forget_gate": 2.6, "input_gate": 1.2, "output_gate": 1.2}

_KEY = (
    ("–", GATE_COLOURS["forget_gate"], "f  forget gate: 1 keeps what is there, 0 erases it"),
    ("–", GATE_COLOURS["input_gate"], "i  input gate: 1 writes the candidate g, 0 ignores it"),
    ("–", GATE_COLOURS["output_gate"], "o  output gate: 1 shows the memory, 0 hides it"),
    ("–", INK, "c  cell state, the memory: cₜ = f · cₜ₋₁ + i · g"),
    ("–", MUTED, "h  what is shown of it: hₜ = o · tanh cₜ"),
    ("●", REGION, "what the formula says, computed without the network"),
)


def draw_page(outcomes: Sequence[Outcome], path: Path | str) -> None:
    """Draw the key and one panel per cell, row by row, into an SVG or PNG file."""
    bands = -(-(len(outcomes) + 1) // _COLUMNS)
    height_in = bands * sum(_HEIGHTS_IN) + _MARGIN_IN
    left, bottom = _MARGIN_IN / _WIDTH_IN, _MARGIN_IN / height_in
    places = {"left": left, "right": 1 - left / 2, "bottom": bottom, "top": 1, "hspace": 0.12, "wspace": 0.19}
    figure, axes = new_figure(
        bands * _PARTS,
        _COLUMNS,
        width_in=_WIDTH_IN,
        height_in=height_in,
        gridspec_kw={"height_ratios": _HEIGHTS_IN * bands, **places},
    )
    figure.set_layout_engine("none")  # every place is known in inches
    panels = axes.reshape(bands, _PARTS, _COLUMNS).swapaxes(1, 2).reshape(-1, _PARTS)
    for axis in (*panels[:, 0], *panels[0], *panels[len(outcomes) + 1 :].flat):
        axis.set_axis_off()
    _draw_key(panels[0, 0], len(outcomes))
    for panel, outcome in zip(panels[1:], outcomes, strict=False):
        _draw_panel(panel, outcome)
    save_figure(figure, path)


def _write(axis: Axes, down_pt: float, text: str, right_pt: float = 0, **style) -> None:
    """Write text at a distance from the upper left corner of an axis."""
    axis.annotate(text, (0, 1), (right_pt, -down_pt), "axes fraction", "offset points", va="top", **style)


def _draw_key(axis: Axes, n_cells: int) -> None:
    _write(axis, 34, "What a gate does", right_pt=-10, fontsize=17, fontweight="bold", color=INK)
    subtitle = f"{n_cells} memories made by hand, with answers that are known:\nwhat each reads, its gates, its memory"
    _write(axis, 60, subtitle, right_pt=-10, fontsize=9, color=INK)
    for row, (mark, colour, text) in enumerate(_KEY):
        style = {"fontsize": 11, "fontweight": "bold"} if mark == "–" else {"fontsize": 8}
        _write(axis, 96 + 17 * row - (2 if mark == "–" else 0), mark, right_pt=-10, color=colour, **style)
        _write(axis, 96 + 17 * row, text, right_pt=4, fontsize=8.5, color=INK)


def _draw_panel(panel: Sequence[Axes], outcome: Outcome) -> None:
    words, read, gates, memory = panel
    _write(words, 34, outcome.cell.name, fontsize=10, fontweight="bold", color=INK)
    lesson = textwrap.fill(outcome.cell.lesson, _LINE_LETTERS)
    _write(words, 49, lesson, fontsize=8, color=INK, linespacing=1.25)
    _write(words, 76, "●", fontsize=6, color=REGION)
    _write(words, 75, outcome.cell.formula, right_pt=9, fontsize=8, color=INK)
    if outcome.experiment.sequence:
        _draw_sequence(read, outcome)
    else:
        _draw_channels(read, outcome)
    for line in outcome.cell.plotted.gates:
        colour, width = GATE_COLOURS[line.quantity], _GATE_WIDTHS[line.quantity]
        dash = "--" if line.direction else "-"
        _draw_line(gates, outcome, line, color=colour, linewidth=width, linestyle=dash)
    for line, (colour, width, dash) in zip(outcome.cell.plotted.states, _STATE_STYLES, strict=False):
        _draw_line(memory, outcome, line, color=colour, linewidth=width, linestyle=dash)
    _dress(panel, outcome)


def _dress(panel: Sequence[Axes], outcome: Outcome) -> None:
    """Set limits, ticks and names of the axes."""
    _, read, gates, memory = panel
    length, plotted = outcome.experiment.inputs.shape[1], outcome.cell.plotted
    margin = max(0.7, length / 100)
    for axis in (read, gates, memory):
        axis.set_xlim(-margin, length - 1 + margin)
        axis.tick_params(labelsize=7, color=INK, labelcolor=INK, length=2)
    read.set_axis_off()
    gates.set(ylim=(-0.12, 1.12), yticks=(0, 1), xticks=())
    for row, gate in enumerate(dict.fromkeys(line.quantity for line in plotted.gates)):
        _name(gates, 0.75 - 0.5 * row, _SIGNS[gate], GATE_COLOURS[gate])
    low, high = memory.get_ylim()
    room = 0.25 if plotted.states[0].label else 0.06
    memory.set_ylim(low - room / 2 * (high - low), high + room * (high - low))
    memory.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    memory.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    memory.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    memory.set_xlabel(plotted.axis, fontsize=7.5, labelpad=1)
    _name(memory, 0.5, ", ".join(dict.fromkeys(_SIGNS[line.quantity] for line in plotted.states)), INK)


def _name(axis: Axes, height: float, sign: str, colour: str) -> None:
    """Write the sign of a gate or state left of the numbers of its axis."""
    text = axis.text(
        _SIGN_PLACE, height, sign, color=colour, transform=axis.transAxes, ha="right", va="center"
    )
    text.set(fontsize=9, fontweight="bold")


def _draw_sequence(axis: Axes, outcome: Outcome) -> None:
    """Spell the sequence, bases that do something in bold."""
    sequence, view = outcome.experiment.sequence, outcome.cell.plotted
    if len(sequence) > _SPELLED_BP:
        text = f"{sequence[0]}, then {len(sequence) - 1:,} × {sequence[1]}"
        axis.text(0, 0.2, text, fontsize=7, fontweight="bold", color=INK)
        return
    is_active = np.array([base in view.letters for base in sequence])
    for word in view.words:
        for start in range(len(sequence)):
            if sequence.startswith(word, start):
                is_active[start : start + len(word)] = True
    for position, (base, active) in enumerate(zip(sequence, is_active, strict=True)):
        text = axis.text(position, 0.2, base, ha="center", fontsize=6.2)
        text.set(color=INK if active else MUTED, fontweight="bold" if active else "normal")


def _draw_channels(axis: Axes, outcome: Outcome) -> None:
    """Draw input channels: stems where most steps are silent, curves else; room above them for their names."""
    signals = outcome.experiment.inputs[0].numpy()
    names = outcome.cell.plotted.channels
    steps = np.arange(len(signals))
    for (channel, name), (colour, width, left) in zip(names.items(), _CHANNEL_STYLES, strict=False):
        signal = signals[:, channel]
        speaks = signal != 0
        if speaks.mean() < 0.2:
            axis.vlines(steps[speaks], 0, signal[speaks], colors=colour, linewidth=width, zorder=3 - left)
            axis.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
        else:
            axis.plot(steps, signal, color=colour, linewidth=1, drawstyle="steps-mid")
        axis.text(left, 1, name, color=colour, transform=axis.transAxes, va="top", fontsize=7)
    low, high = signals[:, list(names)].min(), signals[:, list(names)].max()
    axis.set_ylim(low - 0.1 * (high - low), high + 0.7 * (high - low))


def _draw_line(axis: Axes, outcome: Outcome, line: Line, **style) -> None:
    """Draw a traced curve with the formula's values as dots over it, and its name beside it."""
    traced = outcome.traced[line.quantity]
    values = traced[line.direction, line.unit]
    drawn = _spread(len(values), _DRAWN_POINTS)
    axis.plot(drawn, values[drawn], drawstyle="steps-mid", zorder=2, **style)
    if line.quantity in outcome.experiment.answers:
        answer = np.broadcast_to(outcome.experiment.answers[line.quantity], traced.shape)
        dots = _spread(len(values), _DOTS)
        formula = answer[line.direction, line.unit][dots]
        axis.plot(dots, formula, "o", color=REGION, markersize=2.7, markeredgewidth=0, zorder=3)
    if line.label:
        value = values[line.at]
        place, anchor = ((0, 2), "bottom") if value >= 0 else ((0, -3), "top")
        text = axis.annotate(line.label, (line.at, value), place, textcoords="offset points", va=anchor)
        text.set(fontsize=7, color=style["color"], ha="center", zorder=4)


def _spread(length: int, most: int) -> np.ndarray:
    """Return at most so many positions, evenly spread, first and last included."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int))
