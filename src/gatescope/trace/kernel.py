"""How are all gates of a direction had for less than the price of two forward passes? From the kernel's workspace.

On CPU in float32, torch runs an LSTM with oneDNN. Asked to prepare for a backward pass, that kernel leaves every
gate *after* its activation, and the cell states, in its workspace: nothing has to be computed again. The layout of
the workspace is internal to the kernel. So it is searched for once per shape, by looking for what the replay finds,
and in every call sampled positions are replayed and compared. Wherever the layout is not found or a sample differs,
the replay itself answers: another torch version costs time, never exactness.

Public names: `Steps`, `Tracer`.
"""

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.model.cells import Cell, fused
from gatescope.trace.certificate import worst
from gatescope.trace.replay import ANCHOR_BP

log = logging.getLogger(__name__)

State = tuple[Tensor, Tensor]  # h and c, each (B, H)
_LSTM = 2  # mode of aten::mkldnn_rnn_layer
#: Replay and kernel sum in different orders: float32 activations that are the same differ by less than this.
_SAME = 5e-6
#: One position in so many is replayed where the gates come from the workspace.
_SAMPLE_BP = 50


class Steps(NamedTuple):
    """T bases of B rows in reading order: each (T, B, H), gates after their activation.

    `error` is the largest difference found between kernel and replay, over `checked` positions of all units.
    """

    input: Tensor
    forget: Tensor
    candidate: Tensor
    output: Tensor
    cell: Tensor
    hidden: Tensor
    error: float
    checked: int


class _Layout(NamedTuple):
    """Where the workspace keeps gates (T, B, 4, H) and cells (T - 1, B, H): offset and strides in floats."""

    gates: int
    gate_strides: tuple[int, int, int, int]
    cells: int
    cell_strides: tuple[int, int, int]


class Tracer:
    """Run one direction of one LSTM layer over many rows at once, with the state carried by the caller.

    Parameters
    ----------
    cell : Cell
        Weights in float32 or float64, on any device.
    use_workspace : bool
        False answers by replay alone.
    """

    def __init__(self, cell: Cell, *, use_workspace: bool = True) -> None:
        self.cell = cell
        self._lstm = fused(cell, batch_first=False)
        on_cpu = cell.weight_hh.device.type == "cpu" and cell.weight_hh.dtype == torch.float32
        self._use_workspace = use_workspace and on_cpu and torch.backends.mkldnn.is_available()
        self._layouts: dict[tuple[int, int], _Layout | None] = {}
        self._calls = 0

    @property
    def zero_state(self) -> State:
        """The state before the first base of a contig, for one row."""
        zero = self.cell.weight_hh.new_zeros(1, self.cell.weight_hh.shape[1])
        return zero, zero.clone()

    def advance(self, inputs: Tensor, state: State) -> State:
        """Read T bases of B rows, inputs (T, B, C), and keep nothing but the state after them."""
        _, (h, c) = self._lstm(inputs, (state[0][None], state[1][None]))
        return h[0], c[0]

    def trace(self, inputs: Tensor, state: State, *, will_repeat: bool = True) -> tuple[Steps, State]:
        """Read T bases of B rows and return every gate.

        Parameters
        ----------
        inputs : Tensor, shape (T, B, C)
        state : (Tensor, Tensor), each of shape (B, H)
            h and c before the first base.
        will_repeat : bool
            Whether more calls of this shape follow, so that it pays to search the workspace for its layout.
        """
        shape = (inputs.shape[0], inputs.shape[1])
        if self._use_workspace and shape not in self._layouts and will_repeat and shape[0] > 1:
            self._layouts[shape] = self._probe(inputs, state)
        layout = self._layouts.get(shape)
        if layout is not None:
            steps, after = self._read_workspace(inputs, state, layout)
            if steps.error <= _SAME:
                return steps, after
            log.warning("kernel workspace differs from the replay by %.1e: replaying instead", steps.error)
            self._layouts[shape] = None
        return self._replay(inputs, state)

    def forget_logits(self, inputs: Tensor, state: State, hidden: Tensor) -> Tensor:
        """Return the forget gate before its activation, shape (T, B, H), from the kernel's hidden states.

        A float32 gate near 1 cannot tell a half-life of 10 kb from one of 20 kb; its logit can.
        """
        size = hidden.shape[2]
        rows = slice(size, 2 * size)  # torch order i, f, g, o
        before = torch.cat([state[0][None], hidden[:-1]])
        bias = (self.cell.bias_ih + self.cell.bias_hh)[rows]
        return inputs @ self.cell.weight_ih[rows].T + before @ self.cell.weight_hh[rows].T + bias

    def _replay(self, inputs: Tensor, state: State) -> tuple[Steps, State]:
        """Recompute gates and cell states, with the kernel's own c taken up every `ANCHOR_BP`."""
        pieces = []
        for part in inputs.split(ANCHOR_BP):
            steps, state = self._replay_part(part, state)
            pieces.append(steps)
        return _join(pieces), state

    def _replay_part(self, inputs: Tensor, state: State) -> tuple[Steps, State]:
        """Recompute gates and cell states from the hidden states that the kernel returned."""
        hidden, (h, c) = self._lstm(inputs, (state[0][None], state[1][None]))
        gates = self._gates(inputs, torch.cat([state[0][None], hidden[:-1]]))  # (T, B, 4, H)
        i, f, g, o = gates.unbind(2)
        write, before = i * g, state[1]
        cell = torch.empty_like(write)
        for t in range(len(cell)):
            before = torch.addcmul(write[t], f[t], before, out=cell[t])
        error = _largest(torch.tanh(cell).mul_(o).sub_(hidden))
        return Steps(i, f, g, o, cell, hidden, error, hidden.shape[0] * hidden.shape[1]), (h[0], c[0])

    def _gates(self, inputs: Tensor, before: Tensor) -> Tensor:
        """Return the activated gates, shape (..., 4, H)."""
        cell = self.cell
        logits = inputs @ cell.weight_ih.T
        logits = logits.add_(before @ cell.weight_hh.T).add_(cell.bias_ih + cell.bias_hh)
        gates = logits.unflatten(-1, (4, before.shape[-1]))
        gates[..., :2, :].sigmoid_()
        gates[..., 2, :].tanh_()
        gates[..., 3, :].sigmoid_()
        return gates

    def _call(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        """Return hidden states (T, B, H), the state after them, and the workspace as floats."""
        weights = [tensor.detach() for tensor in self.cell]
        with torch.enable_grad():  # without it the kernel keeps no workspace
            hidden, h, c, workspace = torch.ops.aten.mkldnn_rnn_layer(
                inputs, *weights, state[0][None], state[1][None], False, [], _LSTM, self.cell.weight_hh.shape[1],
                1, True, False, False, True,
            )  # fmt: skip
        return hidden, (h[0], c[0]), workspace.view(torch.float32)

    def _read_workspace(self, inputs: Tensor, state: State, layout: _Layout) -> tuple[Steps, State]:
        hidden, after, workspace = self._call(inputs, state)
        steps, batch, size = hidden.shape
        shape = (steps, batch, 4, size)
        i, f, g, o = workspace.as_strided(shape, layout.gate_strides, layout.gates).unbind(2)
        cells = workspace.as_strided((steps - 1, batch, size), layout.cell_strides, layout.cells)
        cell = torch.cat([cells, after[1][None]])
        self._calls += 1
        at = torch.arange(self._calls * 7 % min(steps, _SAMPLE_BP), steps, _SAMPLE_BP)
        h_before, c_before = _states_before(at, hidden, state[0]), _states_before(at, cell, state[1])
        gates = self._gates(inputs[at], h_before)  # (K, B, 4, H)
        replayed = gates[:, :, 1] * c_before + gates[:, :, 0] * gates[:, :, 2]
        error = worst(
            [
                _largest(gates - torch.stack([i[at], f[at], g[at], o[at]], 2)),
                _largest(gates[:, :, 3] * torch.tanh(replayed) - hidden[at]),
                _largest((replayed - cell[at]) / replayed.abs().clamp(min=1)),
            ]
        )
        return Steps(i, f, g, o, cell, hidden, error, batch * len(at)), after

    def _probe(self, inputs: Tensor, state: State) -> _Layout | None:
        """Look for what the replay finds in the workspace; None if it is not all there."""
        workspace = self._call(inputs, state)[2]
        steps = self._replay(inputs, state)[0]
        gates = torch.stack([steps.input, steps.forget, steps.candidate, steps.output], 2)
        layout = _find_layout(workspace, gates, steps.cell[:-1])
        if layout is None:
            log.info("no gates found in the workspace of this torch's LSTM kernel: replaying")
            return None
        found = workspace.as_strided(gates.shape, layout.gate_strides, layout.gates)
        cells = workspace.as_strided(steps.cell[:-1].shape, layout.cell_strides, layout.cells)
        scale = steps.cell[:-1].abs().clamp(min=1)
        wrong = max(_largest(found - gates), _largest((cells - steps.cell[:-1]) / scale))
        if wrong > _SAME:
            log.info("what lies in the workspace differs from the replay by %.1e: replaying", wrong)
            return None
        return layout


def _states_before(at: Tensor, states: Tensor, first: Tensor) -> Tensor:
    """Return the states (K, B, H) before positions `at`; before position 0 it is `first`."""
    before = states[at - 1]
    if at[0] == 0:
        before[0] = first
    return before


def _join(pieces: list[Steps]) -> Steps:
    """Put consecutive steps together."""
    if len(pieces) == 1:
        return pieces[0]
    fields = [torch.cat(field) for field in list(zip(*pieces, strict=True))[:6]]
    return Steps._make([*fields, worst(p.error for p in pieces), sum(p.checked for p in pieces)])


def _largest(differences: Tensor) -> float:
    """Return the largest absolute value; not-a-number counts as infinite."""
    return worst([float(differences.abs().max())]) if differences.numel() else 0.0


def _find_layout(workspace: Tensor, gates: Tensor, cells: Tensor) -> _Layout | None:
    """Locate gates (T, B, 4, H) and cells (T - 1, B, H) in a flat workspace by their first rows."""
    gates_at, cells_at = _find_array(workspace, gates.flatten(2)), _find_array(workspace, cells)
    if gates_at is None or cells_at is None:
        return None
    gate_strides = (gates_at[1], gates_at[2], gates.shape[3], 1)
    return _Layout(gates_at[0], gate_strides, cells_at[0], (cells_at[1], cells_at[2], 1))


def _find_array(workspace: Tensor, array: Tensor) -> tuple[int, int, int] | None:
    """Return offset and strides along T and B of an array (T, B, K) whose rows of K floats lie whole."""
    steps, batch, width = array.shape
    start = _find_row(workspace, array[0, 0], 0)
    if start is None:
        return None
    next_row = _find_row(workspace, array[0, 1], start + width) if batch > 1 else start + width
    next_step = _find_row(workspace, array[1, 0], start + width) if steps > 1 else start + width
    if next_row is None or next_step is None:
        return None
    end = start + (steps - 1) * (next_step - start) + (batch - 1) * (next_row - start) + width
    return (start, next_step - start, next_row - start) if end <= workspace.numel() else None


def _find_row(workspace: Tensor, row: Tensor, first: int) -> int | None:
    """Return the first place from `first` on where the workspace holds a row."""
    tolerance = _SAME * float(row.abs().max().clamp(min=1))
    last = workspace.numel() - len(row)
    for at in torch.where((workspace[first : last + 1] - row[0]).abs() <= tolerance)[0].tolist():
        if _largest(workspace[first + at : first + at + len(row)] - row) <= tolerance:
            return first + at
    return None
