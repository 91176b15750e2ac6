"""What did every gate do? Recompute an LSTM's gates exactly from the hidden states that it returned.

`torch.nn.LSTM` returns h_t for every t but no gate and no c_t. With h known, every gate of every position is
two matrix products, and the cell state follows by a scan:

    z_t = W x_t + U h_(t-1) + b_ih + b_hh,   order i, f, g, o
    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(c_t)

The h_t computed this way must equal the h_t of the kernel: their largest difference is the certificate.
c is never recovered from h, which is ill-conditioned where tanh saturates.

Public names: `replay`, `run_and_replay`, `scan`, `Replay`, `Trace`, `trace_lstm`,
`trace_windows`.

References
----------
Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); torch.nn.LSTM (gate order).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatescope.model.cells import Cell, cells_of, fused
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst

#: Bases between two cell states that the kernel itself returns.
ANCHOR_BP = 64


class Replay(NamedTuple):
    """Gates and states of one direction in reading order; each (N, L, H), logits before the sigmoid."""

    input_logit: Tensor
    forget_logit: Tensor
    candidate: Tensor  # tanh(g), in (-1, 1)
    output_logit: Tensor
    cell: Tensor
    hidden: Tensor  # the kernel's
    error: float  # largest |h replayed - h of the kernel|


class Trace(NamedTuple):
    """Gates and states of one layer in genomic order; each (N, D, H, L), D = fwd[, rev]."""

    input_logit: Tensor
    forget_logit: Tensor
    candidate: Tensor
    output_logit: Tensor
    cell: Tensor
    hidden: Tensor
    certificate: Certificate


def scan(retention: Tensor, write: Tensor, start: Tensor) -> Tensor:
    """Solve c_t = retention_t c_(t-1) + write_t along dimension 1, in log2(L) vectorised passes.

    Parameters
    ----------
    retention, write : Tensor, shape (N, L, H)
    start : Tensor, shape (N, H)
        c before the first position.

    References
    ----------
    Hillis & Steele 1986; Martin & Cundy 2018 (the recurrence is associative).
    """
    total = torch.cat([(retention[:, :1] * start[:, None] + write[:, :1]), write[:, 1:]], dim=1)
    product, reach, length = retention, 1, retention.shape[1]
    while reach < length:
        later = total[:, reach:] + product[:, reach:] * total[:, :-reach]
        total = torch.cat([total[:, :reach], later], dim=1)
        product = torch.cat([product[:, :reach], product[:, reach:] * product[:, :-reach]], dim=1)
        reach *= 2
    return total


def replay(cell: Cell, inputs: Tensor, hidden: Tensor, start: tuple[Tensor, Tensor]) -> Replay:
    """Recompute every gate of one direction from the hidden states of the fused kernel.

    Parameters
    ----------
    cell : Cell
    inputs : Tensor, shape (N, L, C)
        What the layer read, in reading order.
    hidden : Tensor, shape (N, L, H)
        What the kernel returned for it.
    start : (Tensor, Tensor), each of shape (N, H)
        h and c before the first position.
    """
    first, cell_before = start
    before = torch.cat([first[:, None], hidden[:, :-1]], dim=1)
    logits = inputs @ cell.weight_ih.T + before @ cell.weight_hh.T + (cell.bias_ih + cell.bias_hh)
    i, f, g, o = logits.chunk(4, dim=2)
    candidate = torch.tanh(g)
    state = scan(torch.sigmoid(f), torch.sigmoid(i) * candidate, cell_before)
    error = float((torch.sigmoid(o) * torch.tanh(state) - hidden).abs().max())
    return Replay(i, f, candidate, o, state, hidden, error)


def run_and_replay(
    kernel: nn.LSTM, cell: Cell, inputs: Tensor, start: tuple[Tensor, Tensor]
) -> tuple[Replay, tuple[Tensor, Tensor]]:
    """Run the fused kernel over one direction and replay it, anchored at the kernel's own c every `ANCHOR_BP`.

    The kernel returns c only where a call ends. Without anchors, float32 rounding of a long memory adds up over
    thousands of bases to more than the certificate allows, in the kernel as much as in the replay.

    Parameters
    ----------
    kernel : nn.LSTM
        `fused` of `cell`.
    cell : Cell
    inputs : Tensor, shape (N, L, C)
        In reading order.
    start : (Tensor, Tensor), each of shape (N, H)

    Returns
    -------
    Replay of shape (N, L, H), and h and c after the last position.
    """
    hidden, starts, state = [], [], start
    for piece in inputs.split(ANCHOR_BP, dim=1):
        starts.append(state)
        output, (h, c) = kernel(piece, (state[0][None], state[1][None]))
        hidden.append(output)
        state = (h[0], c[0])
    whole, length = inputs.shape[1] // ANCHOR_BP, inputs.shape[1]
    parts, begin = [], 0
    for pieces, end in ((whole, whole * ANCHOR_BP), (1, length)):
        if begin < end:
            rows = slice(begin // ANCHOR_BP, begin // ANCHOR_BP + pieces)
            parts.append(_replay_pieces(cell, inputs[:, begin:end], hidden[rows], starts[rows]))
            begin = end
    joined = [torch.cat(field, dim=1) for field in list(zip(*parts, strict=True))[:-1]]
    return Replay._make([*joined, worst(part.error for part in parts)]), state


def _replay_pieces(cell: Cell, inputs: Tensor, hidden: list[Tensor], starts: list) -> Replay:
    """Replay equally long pieces (each (N, A, H)) as one batch and join them again along the positions."""
    batch, pieces = len(inputs), len(hidden)
    stacked = [
        torch.stack(states, dim=1).flatten(0, 1) for states in zip(*starts, strict=True)
    ]  # (N * pieces, H)
    outputs = torch.stack(hidden, dim=1).flatten(0, 1)  # (N * pieces, A, H)
    result = replay(
        cell, inputs.reshape(batch * pieces, -1, inputs.shape[2]), outputs, (stacked[0], stacked[1])
    )
    joined = [tensor.reshape(batch, -1, tensor.shape[2]) for tensor in result[:-1]]
    return Replay._make([*joined, result.error])


def trace_lstm(lstm: nn.LSTM, inputs: Tensor, layer: int = -1) -> Trace:
    """Trace one layer of a batch-first `nn.LSTM` over whole sequences from zero states.

    Parameters
    ----------
    lstm : nn.LSTM
        Any number of layers, one or two directions, no projections. Dropout between layers is not applied.
    inputs : Tensor, shape (N, L, C)
    layer : int
        Which layer, from 0; -1 is the last.

    Raises
    ------
    ReplayError
        If the replayed hidden states differ from the kernel's by more than the tolerance of their dtype.
    """
    if not lstm.batch_first:
        raise ValueError("wanted an LSTM with batch_first=True")
    layer = range(lstm.num_layers)[layer]
    with exact_arithmetic():
        for below in range(layer):
            inputs = torch.cat([r.hidden for r in _both(lstm, below, inputs)], dim=2)
        replays = _both(lstm, layer, inputs)
    certificate = Certificate.of(inputs, worst(r.error for r in replays), inputs.shape[0] * inputs.shape[1])
    stacked = [torch.stack(field, dim=1).transpose(2, 3) for field in list(zip(*replays, strict=True))[:-1]]
    return Trace._make([*stacked, certificate.checked()])


def _both(lstm: nn.LSTM, layer: int, inputs: Tensor) -> list[Replay]:
    """Run and replay each direction of one layer; results in genomic order."""
    replays = []
    for direction, cell in enumerate(cells_of(lstm, layer)):
        read = inputs.flip(1) if direction else inputs
        zero = read.new_zeros(len(read), cell.weight_hh.shape[1])
        result, _ = run_and_replay(fused(cell), cell, read, (zero, zero))
        turned = [t.flip(1) for t in result[:-1]] if direction else result[:-1]
        replays.append(Replay._make([*turned, result.error]))
    return replays


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
