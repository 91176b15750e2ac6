"""How is a memory made by hand? Gate by gate, as sums of named inputs, in a real float64 `nn.LSTM`.

A sigmoid reaches neither 0 nor 1. A logit of `OPEN` gives 1.0 exactly in float64, a logit of `SHUT` gives
4.2e-18: formulas count the first as 1 and the second as 0, which is a 200,000th of the tolerance per position.
Coupled gates (i = 1 - f) are rows of opposite sign: sigmoid(-z) = 1 - sigmoid(z).

Public names: `OPEN`, `SHUT`, `GATE_ROWS`, `SHOWN_ONE`, `Rows`, `Units`, `hand_weighted`, `opposite`, `base_channels`,
`channels_of`, `answers_of`, `Line`, `View`, `Experiment`, `GalleryCell`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gatescope.genome.sequence import encode_bases, one_hot

#: Logits of a gate that is to be 1 and of one that is to be 0.
OPEN, SHUT = 40.0, -40.0
#: What a unit that stores 1 shows through an open output gate.
SHOWN_ONE = math.tanh(1.0)
#: torch's order of the rows.
GATE_ROWS = "ifgo"

#: Per gate (a letter of `GATE_ROWS`) the terms of its logit: "bias", a channel's name, or "h(UNIT)".
Rows = Mapping[str, Mapping[str, float]]
#: The units of one layer and direction by name.
Units = Mapping[str, Rows]


def opposite(terms: Mapping[str, float]) -> dict[str, float]:
    """Return the terms of the coupled gate: sigmoid(-z) = 1 - sigmoid(z)."""
    return {name: -weight for name, weight in terms.items()}


def hand_weighted(channels: Sequence[str], *layers: Sequence[Units]) -> nn.LSTM:
    """Build a batch-first float64 `nn.LSTM` from terms that are written down by name.

    A gate without terms has logit 0; an output gate without terms is open. Layers narrower than the widest are
    filled with idle units, whose states stay 0. Biases are shared out in halves between `bias_ih` and `bias_hh`.

    Parameters
    ----------
    channels : sequence of str
        Names of the input channels, in order.
    *layers : sequence of Units
        One element for fwd, or two for fwd and rev. From the second layer on the channels are
        "fwd UNIT" and "rev UNIT" of the layer below.

    Raises
    ------
    ValueError
        If a term names no channel and no unit.
    """
    width = max(len(units) for layer in layers for units in layer)
    two_ways = len(layers[0]) == 2
    shape = (len(channels), width, len(layers))
    # on "meta" nothing is drawn from torch's global generator
    lstm = nn.LSTM(*shape, batch_first=True, bidirectional=two_ways, dtype=torch.float64, device="meta")
    lstm = lstm.to_empty(device="cpu")
    read = list(channels)
    for number, layer in enumerate(layers):
        padded = [_padded(units, width) for units in layer]
        for units, suffix in zip(padded, ("", "_reverse"), strict=False):
            _write_weights(lstm, f"_l{number}{suffix}", read, units)
        read = [
            f"{side} {unit}" for units, side in zip(padded, ("fwd", "rev"), strict=False) for unit in units
        ]
    return lstm.eval()


def _padded(units: Units, width: int) -> Units:
    return {**units, **{f"idle {k}": {} for k in range(len(units), width)}}


def _write_weights(lstm: nn.LSTM, suffix: str, channels: Sequence[str], units: Units) -> None:
    """Write the named terms of one layer and direction into its four parameters."""
    places = {f"h({unit})": ("weight_hh", k) for k, unit in enumerate(units)}
    places |= {channel: ("weight_ih", k) for k, channel in enumerate(channels)}
    parameters = {kind: getattr(lstm, f"{kind}{suffix}") for kind in ("weight_ih", "weight_hh")}
    biases = [getattr(lstm, f"{kind}{suffix}") for kind in ("bias_ih", "bias_hh")]
    with torch.no_grad():
        for parameter in (*parameters.values(), *biases):
            parameter.zero_()
        for unit, rows in enumerate(units.values()):
            for number, gate in enumerate(GATE_ROWS):
                row = number * len(units) + unit
                for name, weight in rows.get(gate, {"bias": OPEN} if gate == "o" else {}).items():
                    if name == "bias":
                        biases[0][row] = biases[1][row] = weight / 2
                    elif name in places:
                        kind, column = places[name]
                        parameters[kind][row, column] = weight
                    else:
                        raise ValueError(f"{name!r} is none of {', '.join(places)}")


def base_channels(sequence: str) -> Tensor:
    """Return a DNA sequence as a float64 batch of one, shape (1, L, 4), ACGT; N is a zero column."""
    return torch.from_numpy(one_hot(encode_bases(sequence)).T.astype(np.float64))[None].contiguous()


def channels_of(*signals: np.ndarray) -> Tensor:
    """Return signals of shape (L,) as a float64 batch of one, shape (1, L, C)."""
    return torch.from_numpy(np.stack(signals, axis=1).astype(np.float64))[None]


def answers_of(
    cell: ArrayLike, *, forget_gate: ArrayLike, input_gate: ArrayLike, output_gate: ArrayLike = 1.0
) -> dict[str, np.ndarray]:
    """Return the answers of an `Experiment`: those given, and h = o tanh c; each broadcasts to (D, H, L)."""
    found = {"cell": cell, "forget_gate": forget_gate, "input_gate": input_gate, "output_gate": output_gate}
    known = {name: np.asarray(values, np.float64) for name, values in found.items()}
    return {**known, "hidden": known["output_gate"] * np.tanh(known["cell"])}


class Line(NamedTuple):
    """One curve of a panel; its label stands at the position `at`."""

    quantity: str
    unit: int = 0
    direction: int = 0
    label: str = ""
    at: int = 0


class View(NamedTuple):
    """What the panel of a cell shows, beside the formula's values as dots."""

    gates: tuple[Line, ...]
    states: tuple[Line, ...]
    letters: str = ""  # bases of the sequence that do something
    words: tuple[str, ...] = ()  # motifs of the sequence that do something
    channels: Mapping[int, str] = {}  # input channels drawn as curves, with what they are called
    axis: str = "position (bp)"


@dataclass(frozen=True)
class Experiment:
    """A cell, what it reads, and what must come out.

    Attributes
    ----------
    lstm : nn.LSTM
        Hand-weighted, float64. Its last layer is the one that is traced.
    inputs : Tensor, shape (1, L, C)
    answers : mapping of quantity to array
        "cell", "hidden", "forget_gate", "input_gate", "output_gate" (`answers_of`); each broadcasts to (D, H, L),
        genomic order, and comes from a closed form, never from the recurrence.
    sequence : str
        The DNA behind `inputs`, where there is one.
    """

    lstm: nn.LSTM
    inputs: Tensor
    answers: Mapping[str, np.ndarray]
    sequence: str = ""


@dataclass(frozen=True)
class GalleryCell:
    """A memory whose behaviour is known in closed form.

    Attributes
    ----------
    name : str
    lesson : str
        One sentence for a biologist.
    formula : str
        The closed form in words and signs.
    source : str
        Paper or text behind it.
    plotted : View
    build : callable
        Makes the experiment; takes no argument.
    """

    name: str
    lesson: str
    formula: str
    source: str
    plotted: View
    build: Callable[[], Experiment]
