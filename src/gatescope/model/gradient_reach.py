"""How far back does the training signal reach? The gradient of one base's prediction, carried back base by base.

A prediction at base p changes the weights through every state before it, as far as dL_p/dh_(p-d) and dL_p/dc_(p-d) are
not zero. Both are measured against the distance d, by the exact backward recursion of the LSTM over gates that are
recomputed from the states of torch's own kernel:

    dL/dc_t = dL/dh_t o_t (1 - tanh(c_t)^2) + f_(t+1) dL/dc_(t+1),   dL/dh_t = U^T dL/dz_(t+1)

`p` is the last base that a direction reads, so that nothing but the window's other end cuts the measurement short.
Divided by the value at d = 0, the size of the loss drops out: what is said holds whatever the labels are. In a layer
below another one, the signal that enters at p is followed alone, not what the layer above sends to the bases before p.

Public names: `measure_gradient_reach`, `write_gradient_reach`.

References
----------
Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013 (vanishing and exploding gradients).
"""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.data.sampler import Batch
from gatescope.files import write_table
from gatescope.model.cells import LSTMCell, cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.reach_alarms import COLUMNS, alarms, reach_words, reaches
from gatescope.model.runtime import exact_arithmetic

log = logging.getLogger(__name__)

_DIRECTIONS = ("fwd", "rev")
#: Distances in the table: every one up to 32 bp, then so many to an octave.
_PER_OCTAVE = 16


class _Signal(NamedTuple):
    """Norms of dL/dh and dL/dc by distance, each (L, B)."""

    hidden: Tensor
    cell: Tensor


class _Steps(NamedTuple):
    """Derivatives of one step of a recurrence at every base in reading order, each (L, B, H) unless said."""

    forget: Tensor  # dc_t / dc_(t-1)
    show: Tensor  # dh_t / dc_t
    by_cell: Tensor  # (L, B, 3, H), dc_t / dz_t for z of i, f, g
    by_output: Tensor  # dh_t / dz_t for z of o


def measure_gradient_reach(
    network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None = None
) -> pd.DataFrame:
    """Measure how much of the gradient of a prediction is left so many bp before it, in float64.

    Parameters
    ----------
    network : AccessibilityNetwork
    one_hot : Tensor, shape (N, 4, L)
        Windows to average over.
    tracks : Tensor, shape (N, K, L), optional

    Returns
    -------
    DataFrame
        `layer` (1 is the one that reads the stem), `direction`, `distance_bp`, and `hidden` and `cell`: norms over the
        units of the gradients by h and by c, divided by that at distance 0, mean over windows and heads; 1 at distance
        0. `nan` where no gradient enters at all. No rows without recurrence.
    """
    exact = copy.deepcopy(network).double().eval()
    with exact_arithmetic():
        inputs = [exact.features(one_hot, tracks)]
        for lstm in exact.lstm_layers:
            inputs.append(lstm(inputs[-1])[0])
    rows = []
    for layer in range(len(exact.lstm_layers)):
        for d, direction in enumerate(_DIRECTIONS):
            entering = _entering(exact, inputs, layer, d)
            with exact_arithmetic():
                signal = _follow(exact, inputs, layer, d, entering)
            rows.append(_table(layer + 1, direction, signal))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(COLUMNS[1:]))


def write_gradient_reach(
    path: Path, run: str, networks: Mapping[str, AccessibilityNetwork], windows: Batch
) -> None:
    """Measure the reach in networks of one configuration, write the table, and say the last one's and all alarms.

    Parameters
    ----------
    path : Path
        Of `gradient_reach.tsv`.
    run : str
        Name of the run, for the messages.
    networks : mapping of str to AccessibilityNetwork
        By the name that the table gives them.
    windows : Batch
        Windows to average over.
    """
    parts = []
    for name, network in networks.items():
        tracks = windows.tracks[:, : len(network.config.tracks)]
        parts.append(measure_gradient_reach(network, windows.one_hot, tracks).assign(network=name))
    table = pd.concat(parts, ignore_index=True).loc[:, list(COLUMNS)]
    write_table(path, table)
    for reach in reaches(table):
        if reach.network == list(networks)[-1]:
            where = f"training signal, layer {reach.layer}, {reach.direction}"
            log.info("%s: %s: %s", run, where, reach_words(reach))
    for sentence in alarms(table, network.config.half_life_bp[0]):
        log.warning("%s: %s", run, sentence)


def _entering(network: AccessibilityNetwork, inputs: list[Tensor], layer: int, d: int) -> Tensor:
    """Return dL_p/dh_p of direction `d` of a layer, (heads, N, H), p the last base that it reads."""
    states = inputs[layer + 1].detach().requires_grad_()
    above, p = states, -1 if d == 0 else 0
    for lstm in network.lstm_layers[layer + 1 :]:
        above, _ = lstm(above)
    gradients = []
    for name in network.heads:
        # the stored weights of a head are those that count, also where strands are tied (`tie`)
        prediction = above[:, p] @ network.get_parameter(f"heads.{name}.weight")[0]
        (gradient,) = torch.autograd.grad(prediction.sum(), states, retain_graph=True)
        gradients.append(gradient[:, p].chunk(2, dim=-1)[d])
    return torch.stack(gradients)


def _follow(
    network: AccessibilityNetwork, inputs: list[Tensor], layer: int, d: int, entering: Tensor
) -> _Signal:
    """Carry the gradient back through one direction of a layer; a row per head and window."""
    cell = cells_of(network.lstm_layers[layer])[d]
    read, states = (values.transpose(0, 1) for values in (inputs[layer], inputs[layer + 1].chunk(2, -1)[d]))
    if d == 1:
        read, states = read.flip(0), states.flip(0)
    return _carry_back(_steps(cell, read, states), cell.weight_hh, entering)


def _steps(cell: LSTMCell, read: Tensor, states: Tensor) -> _Steps:
    """Return the derivatives of every step, from what was read (L, N, C) and the states h (L, N, H)."""
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    logits = cell.logits(read, before)
    (i, f, o), g = torch.sigmoid(logits[..., (0, 1, 3), :]).unbind(-2), torch.tanh(logits[..., 2, :])
    c, earlier = torch.zeros_like(f), torch.zeros_like(f)
    for t in range(len(f)):
        earlier[t] = c[t - 1] if t else 0
        c[t] = f[t] * earlier[t] + i[t] * g[t]
    shown = torch.tanh(c)
    by_cell = torch.stack([g * i * (1 - i), earlier * f * (1 - f), i * (1 - g**2)], dim=-2)
    return _Steps(f, o * (1 - shown**2), by_cell, shown * o * (1 - o))


def _carry_back(steps: _Steps, recurrent: Tensor, entering: Tensor) -> _Signal:
    """Run the recursion from the last base to the first; `entering` is dL/dh there, (heads, N, H)."""
    heads, windows, hidden = entering.shape
    length = len(steps.forget)
    norms = _Signal(*(entering.new_zeros(length, heads * windows) for _ in range(2)))
    by_hidden, by_cell = entering, torch.zeros_like(entering)
    for distance, t in enumerate(range(length - 1, -1, -1)):
        by_cell = by_cell + by_hidden * steps.show[t]
        norms.hidden[distance] = by_hidden.norm(dim=-1).flatten()
        norms.cell[distance] = by_cell.norm(dim=-1).flatten()
        of_cell = by_cell[..., None, :] * steps.by_cell[t]
        of_output = by_hidden * steps.by_output[t]
        by_logits = torch.cat([of_cell, of_output[..., None, :]], dim=-2)  # rows i, f, g, o
        by_hidden = by_logits.view(heads, windows, 4 * hidden) @ recurrent
        by_cell = by_cell * steps.forget[t]
    return norms


def _table(layer: int, direction: str, signal: _Signal) -> pd.DataFrame:
    """Return the rows of one direction of a layer."""
    distances = _thinned(len(signal.cell))
    shares = {name: _share_left(norms)[distances] for name, norms in signal._asdict().items()}
    return pd.DataFrame({"layer": layer, "direction": direction, "distance_bp": distances, **shares})


def _share_left(norms: Tensor) -> NDArray[np.float64]:
    """Return the mean over rows of the norms (L, B), each divided by its first, where that is not 0."""
    enters = norms[0] > 0
    return (norms[:, enters] / norms[0, enters]).mean(1).numpy()


def _thinned(length: int) -> NDArray[np.int64]:
    """Return distances below `length`: each of the first, then evenly many to an octave, and the last."""
    octaves = max(0.0, np.log2(max(length - 1, 1) / 32))
    far = 32 * 2 ** (np.arange(int(octaves * _PER_OCTAVE) + 1) / _PER_OCTAVE)
    every = np.concatenate([np.arange(33), np.rint(far).astype(np.int64), [length - 1]])
    return np.unique(every[every < length])
