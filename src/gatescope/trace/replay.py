"""What did every gate do? Recompute the gates exactly from the hidden states that the network returned.

`torch.nn.LSTM` returns h_t for every t but no gate and no c_t. With h known, every gate of every position is two
matrix products (`Cell.logits`), and the cell state follows base by base:

    c_t = f_t c_(t-1) + i_t g_t

h computed from that c must equal the h of the network, and c must be the network's own wherever it returns it: the
largest difference is the error of the replay. c is never recovered from h, which is ill-conditioned where tanh
saturates.

Public names: `Steps`, `replay`, `hidden_before`, `activate`, `largest`, `scale_of`, `Trace`, `trace_lstm`,
`trace_cells`, `trace_windows`.

References
----------
Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); torch.nn.LSTM (gate order).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatescope.model.cells import Cell, State, cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst

#: Bases between two cell states that the network itself returns. Without such anchors, float32 rounding of a long
#: memory adds up over thousands of bases to more than the certificate allows, in the network as in the replay.
ANCHOR_BP = 64


class Steps(NamedTuple):
    """T bases of B rows in reading order: each (T, B, H), gates after their activation.

    `error` is the largest difference found between network and replay, over `checked` positions of all units.
    """

    input: Tensor
    forget: Tensor
    candidate: Tensor
    output: Tensor
    cell: Tensor
    hidden: Tensor
    error: float
    checked: int


class Trace(NamedTuple):
    """Gates and states of one layer in genomic order; each (N, D, H, L), D = fwd[, rev]."""

    input_logit: Tensor
    forget_logit: Tensor
    candidate: Tensor  # tanh(g), in (-1, 1)
    output_logit: Tensor
    cell: Tensor
    hidden: Tensor
    certificate: Certificate


def replay(cell: Cell, inputs: Tensor, state: State) -> tuple[Steps, State]:
    """Run a cell over T bases of B rows and recompute its gates from the hidden states that it returned.

    Parameters
    ----------
    cell : Cell
    inputs : Tensor, shape (T, B, C)
        In reading order.
    state : (Tensor, Tensor), each of shape (B, H)
        h and c before the first base.

    Returns
    -------
    Steps, and h and c after the last base as the cell itself left them.
    """
    anchors, parts = [state], []
    for piece in inputs.split(ANCHOR_BP):
        part, after = cell.run(piece, anchors[-1])
        anchors.append(after)
        parts.append(part)
    hidden = torch.cat(parts)
    gates = activate(cell.logits(inputs, hidden_before(hidden, state[0])))
    i, f, g, o = gates.unbind(-2)
    memory = _accumulate(f, i * g, [c for _, c in anchors[:-1]])
    ends = torch.stack([c for _, c in anchors[1:]])
    reached = torch.cat([memory[ANCHOR_BP - 1 : -1 : ANCHOR_BP], memory[-1:]])
    error = worst([largest(cell.show(o, memory) - hidden), largest((reached - ends) / scale_of(ends))])
    return Steps(i, f, g, o, memory, hidden, error, hidden.shape[0] * hidden.shape[1]), anchors[-1]


def hidden_before(hidden: Tensor, first: Tensor) -> Tensor:
    """Return the h (T, B, H) with which the recurrence arrived at each base; `first` (B, H) at the first."""
    return torch.cat([first[None], hidden[:-1]])


def activate(logits: Tensor) -> Tensor:
    """Turn the logits (..., 4, H) of all gates, order i, f, g, o, into gates, in place."""
    logits[..., :2, :].sigmoid_()
    logits[..., 2, :].tanh_()
    logits[..., 3, :].sigmoid_()
    return logits


def largest(differences: Tensor) -> float:
    """Return the largest absolute value; not-a-number counts as infinite."""
    return worst([differences.abs().max().item()]) if differences.numel() else 0.0


def scale_of(cell: Tensor) -> Tensor:
    """Return what errors of a cell state are relative to: itself, where it is above 1."""
    return cell.abs().clamp(min=1)


def _accumulate(forget: Tensor, write: Tensor, anchors: list[Tensor]) -> Tensor:
    """Return c (T, B, H); each piece of `ANCHOR_BP` bases starts from its anchor, and all pieces go abreast."""
    memory, whole = torch.empty_like(write), len(write) // ANCHOR_BP
    for begin, pieces in ((0, whole), (whole, len(anchors) - whole)):
        if pieces:
            part = slice(begin * ANCHOR_BP, begin * ANCHOR_BP + pieces * ANCHOR_BP)
            f, w, c = (t[part].unflatten(0, (pieces, -1)) for t in (forget, write, memory))
            before = torch.stack(anchors[begin : begin + pieces])
            for k in range(f.shape[1]):
                before = c[:, k].copy_(torch.addcmul(w[:, k], f[:, k], before))
    return memory


def trace_lstm(
    lstm: nn.LSTM, inputs: Tensor, layer: int = -1, *, lengths: Sequence[int] | None = None
) -> Trace:
    """Trace one layer of a batch-first `nn.LSTM` over whole sequences from zero states.

    Parameters
    ----------
    lstm : nn.LSTM
        Any number of layers, one or two directions, no projections. Dropout between layers is not applied.
    inputs : Tensor, shape (N, L, C)
    layer : int
        Which layer, from 0; -1 is the last.
    lengths : sequence of int, optional
        Bases of each sequence, 1 to L, where they differ; the reverse direction starts at its true end, as with
        `torch.nn.utils.rnn.pack_padded_sequence`. What lies beyond is not read, and NaN in the trace.

    Raises
    ------
    ReplayError
        If the replayed states differ from the network's by more than the tolerance of their dtype.
    """
    if not lstm.batch_first:
        raise ValueError("wanted an LSTM with batch_first=True")
    layers = [cells_of(lstm, k) for k in range(range(lstm.num_layers)[layer] + 1)]
    return trace_cells(layers, inputs, lengths=lengths)


def trace_cells(
    layers: Sequence[Sequence[Cell]], inputs: Tensor, *, lengths: Sequence[int] | None = None
) -> Trace:
    """Trace the last of some stacked layers over whole sequences, as `trace_lstm` does, whatever their cells.

    Parameters
    ----------
    layers : sequence of sequence of Cell
        Per layer its directions, fwd first; from the second layer on each reads the directions below side by side.
    inputs, lengths
        As `trace_lstm`.
    """
    order = _Order.of(inputs, lengths)
    read = order.blank(inputs.transpose(0, 1), 0.0)
    with exact_arithmetic():
        for cells in layers[:-1]:
            read = torch.cat([direction[-1] for direction in _each_direction(cells, read, order)[0]], dim=2)
        found, errors = _each_direction(layers[-1], read, order)
    certificate = Certificate.of(inputs, worst(errors), int(order.lengths.sum()))
    stacked = [
        torch.stack([order.blank(t, torch.nan) for t in field], 1).permute(2, 1, 3, 0)
        for field in zip(*found, strict=True)
    ]
    return Trace._make([*stacked, certificate.checked()])


class _Order(NamedTuple):
    """Which bases the rows of a batch have, and in which order `rev` reads them."""

    lengths: Tensor  # (N,)
    backwards: Tensor  # (L, N): position on the sequence of the t-th base that rev reads

    @classmethod
    def of(cls, inputs: Tensor, lengths: Sequence[int] | None) -> "_Order":
        rows, longest, _ = inputs.shape
        counted = torch.as_tensor([longest] * rows if lengths is None else list(lengths))
        if counted.shape != (rows,) or not ((counted >= 1) & (counted <= longest)).all():
            raise ValueError(f"lengths {lengths} of {rows} sequences of 1 to {longest} bases")
        position = torch.arange(longest)[:, None]
        backwards = torch.where(position < counted, counted - 1 - position, position)
        return cls(counted.to(inputs.device), backwards.to(inputs.device))

    def turned(self, values: Tensor) -> Tensor:
        """Turn values (L, N, ...) from genomic into the reading order of `rev`, or back."""
        rows = torch.arange(values.shape[1], device=values.device)
        return values[self.backwards, rows]

    def blank(self, values: Tensor, beyond: float) -> Tensor:
        """Return values (L, N, ...) with `beyond` where a sequence has ended."""
        position = torch.arange(len(values), device=values.device)[:, None, None]
        return values.masked_fill(position >= self.lengths[:, None], beyond)


def _each_direction(
    cells: Sequence[Cell], inputs: Tensor, order: _Order
) -> tuple[list[tuple[Tensor, ...]], list[float]]:
    """Replay the directions of a layer; return what a `Trace` holds, genomic order, (L, N, H), and the errors."""
    found, errors = [], []
    for direction, cell in enumerate(cells):
        read = order.turned(inputs) if direction else inputs
        h, c = (state.repeat(read.shape[1], 1) for state in cell.zero_state)
        steps, _ = replay(cell, read, (h, c))
        i, f, o = cell.logits(read, hidden_before(steps.hidden, h), "ifo").unbind(-2)
        fields = i, f, steps.candidate, o, steps.cell, steps.hidden
        found.append(tuple(order.turned(t) for t in fields) if direction else fields)
        errors.append(steps.error)
    return found, errors


def trace_windows(
    network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None = None, layer: int = 0
) -> Trace:
    """Trace one LSTM layer of a network over windows, each from zero states at both ends.

    Parameters
    ----------
    network : AccessibilityNetwork
        In any dtype; the trace has the same.
    one_hot : Tensor, shape (N, 4, L)
    tracks : Tensor, shape (N, K, L), optional
    layer : int
        LSTM layer from 0. Boundary statements use layer 0: later layers have seen both sides.
    """
    with exact_arithmetic():
        features = network.features(one_hot, tracks)
        for lstm in network.lstm_layers[:layer]:
            features, _ = lstm(features)
    return trace_lstm(network.lstm_layers[layer], features)
