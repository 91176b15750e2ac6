"""How are all gates of a direction had for less than the price of two forward passes? From the kernel's workspace.

On CPU in float32, torch runs an LSTM with oneDNN. Asked to prepare for a backward pass, that kernel leaves every
gate *after* its activation, and the cell states, in its workspace: nothing has to be computed again. The layout of
the workspace is internal to the kernel. So it is searched for once per shape, by looking for what the replay finds,
and in every call sampled positions are replayed and compared. Wherever the layout is not found or a sample differs,
the replay itself answers: another torch version costs time, never exactness.

Public names: `Tracer`.
"""

import itertools
import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.model.cells import Cell, LSTMCell, State
from gatescope.trace.certificate import worst
from gatescope.trace.replay import Steps, activate, hidden_before, largest, replay, scale_of

log = logging.getLogger(__name__)

_probes = itertools.count()  # of this process: no two probes read the same values
_LSTM = 2  # mode of aten::mkldnn_rnn_layer
#: Replay and kernel sum in different orders: float32 activations that are the same differ by less than this.
_SAME = 5e-6
#: Where the gates come from the workspace, one row of one base in so many is replayed: a prime, so that neither the
#: same rows nor the same bases come up again and again; and in one call in so many, rows of its first base.
_SAMPLED_EVERY, _FIRST_BASE_EVERY, _FIRST_BASE_ROWS = 199, 4, 8


class _Layout(NamedTuple):
    """Where the workspace keeps rows of gates (4, H) and of cell states (H), base by base: offsets and strides."""

    gates: int
    gates_stride: int
    cells: int
    cells_stride: int


class Tracer:
    """Run one direction of one layer over many rows at once, with the state carried by the caller.

    Parameters
    ----------
    cell : Cell
        On any device.
    use_workspace : bool
        False answers by replay alone.
    """

    def __init__(self, cell: Cell, *, use_workspace: bool = True) -> None:
        self.cell = cell
        self._weights = _kernel_weights(cell) if use_workspace else None
        self._layouts: dict[tuple[int, int], _Layout | None] = {}
        self._calls = 0

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
        if self._weights is not None and shape not in self._layouts and will_repeat and shape[0] > 1:
            self._layouts[shape] = self._probe(self._weights, inputs)
        layout = self._layouts.get(shape)
        if self._weights is not None and layout is not None:
            steps, after = self._read_workspace(self._weights, inputs, state, layout)
            if steps.error <= _SAME:
                return steps, after
            log.warning("kernel workspace differs from the replay by %.1e: replaying instead", steps.error)
            self._layouts[shape] = None
        return replay(self.cell, inputs, state)

    def forget_logits(self, inputs: Tensor, state: State, hidden: Tensor) -> Tensor:
        """Return the forget gate before its activation, shape (T, B, H), from the hidden states of these bases.

        A float32 gate near 1 cannot tell a half-life of 10 kb from one of 20 kb; its logit can.
        """
        return self.cell.logits(inputs, hidden_before(hidden, state[0]), "f")[..., 0, :]

    def _read_workspace(
        self, weights: list[Tensor], inputs: Tensor, state: State, layout: _Layout
    ) -> tuple[Steps, State]:
        hidden, after, workspace = _call(weights, inputs, state)
        rows, size = hidden.shape[0] * hidden.shape[1], hidden.shape[2]
        gates = workspace.as_strided((rows, 4, size), (layout.gates_stride, size, 1), layout.gates)
        cells = workspace.as_strided((rows, size), (layout.cells_stride, 1), layout.cells)
        cells[-len(after[1]) :] = after[
            1
        ]  # the kernel hands the last cell states out, and leaves their place free
        error, checked = self._check(inputs, state, hidden, gates, cells)
        i, f, g, o = gates.view(*hidden.shape[:2], 4, size).unbind(2)
        return Steps(i, f, g, o, cells.view(hidden.shape), hidden, error, checked), after

    def _check(
        self, inputs: Tensor, state: State, hidden: Tensor, gates: Tensor, cells: Tensor
    ) -> tuple[float, int]:
        """Replay a sample of rows of a call; return the largest difference and how many they were."""
        self._calls += 1
        batch, shown = hidden.shape[1], hidden.flatten(0, 1)
        if self._calls % _FIRST_BASE_EVERY == 1:
            at = slice(0, batch, -(-batch // _FIRST_BASE_ROWS))
            h_before, c_before = state[0][at], state[1][at]
        else:
            first = self._calls * 37 % min(_SAMPLED_EVERY, len(shown) - batch)
            at, before = slice(batch + first, None, _SAMPLED_EVERY), slice(first, -batch, _SAMPLED_EVERY)
            h_before, c_before = shown[before], cells[before]
        found = activate(self.cell.logits(inputs.flatten(0, 1)[at], h_before))
        i, f, g, o = found.unbind(1)
        memory, own = torch.addcmul(i * g, f, c_before), cells[at]
        apart = torch.stack([self.cell.show(o, memory) - shown[at], (memory - own) / scale_of(own)])
        # what is not a number stays so until the end of its row, sampled or not
        nonsense = 0.0 if math.isfinite(cells[-batch:].sum().item()) else math.inf
        return worst([nonsense, largest(found - gates[at]), largest(apart)]), len(found)

    def _probe(self, weights: list[Tensor], like: Tensor) -> _Layout | None:
        """Look for what the replay finds in the workspace; None if it is not all there.

        The layout depends on shapes alone. What is read to find it is drawn here: of the caller's values an earlier
        call may have left a copy in memory that the kernel does not write.
        """
        draw = torch.Generator().manual_seed(next(_probes))
        inputs = torch.randn(like.shape, generator=draw)
        h, c = torch.randn(2, like.shape[1], weights[1].shape[1], generator=draw).tanh().unbind()
        state = (h, c)
        workspace = _call(weights, inputs, state)[2]
        steps = replay(self.cell, inputs, state)[0]
        gates = torch.stack([steps.input, steps.forget, steps.candidate, steps.output], 2).flatten(0, 1)
        cells = steps.cell[:-1].flatten(0, 1)
        layout = _find_layout(workspace, gates, cells)
        if layout is None:
            log.info("no gates found in the workspace of this torch's LSTM kernel: replaying")
            return None
        found = workspace.as_strided(gates.shape, (layout.gates_stride, gates.shape[2], 1), layout.gates)
        held = workspace.as_strided(cells.shape, (layout.cells_stride, 1), layout.cells)
        wrong = worst([largest(found - gates), largest((held - cells) / scale_of(cells))])
        if wrong > _SAME:
            log.info("what lies in the workspace differs from the replay by %.1e: replaying", wrong)
            return None
        return layout


def _kernel_weights(cell: Cell) -> list[Tensor] | None:
    """Return the weights for the kernel that leaves its gates behind; None where there is none."""
    if not isinstance(cell, LSTMCell) or not torch.backends.mkldnn.is_available():
        return None
    weights = [tensor.detach() for tensor in cell.weights]
    on_cpu = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
    return weights if on_cpu else None


def _call(weights: list[Tensor], inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
    """Return hidden states (T, B, H), the state after them, and the workspace as floats."""
    size = weights[1].shape[1]
    with torch.enable_grad():  # without it the kernel keeps no workspace
        hidden, h, c, workspace = torch.ops.aten.mkldnn_rnn_layer(
            inputs,
            *weights,
            state[0][None],
            state[1][None],
            False,
            [],
            _LSTM,
            size,
            1,
            True,
            False,
            False,
            True,
        )
    return hidden, (h[0], c[0]), workspace.view(torch.float32)


def _find_layout(workspace: Tensor, gates: Tensor, cells: Tensor) -> _Layout | None:
    """Locate rows of gates (T * B, 4, H), and of all cell states but those of the last base, in a workspace."""
    gates_at, cells_at = _find_array(workspace, gates.flatten(1)), _find_array(workspace, cells)
    if gates_at is None or cells_at is None:
        return None
    layout = _Layout(*gates_at, *cells_at)
    gates_end = layout.gates + layout.gates_stride * len(gates)
    cells_end = layout.cells + layout.cells_stride * len(gates)  # with room for those of the last base
    apart = gates_end <= layout.cells or cells_end <= layout.gates
    return layout if apart and max(gates_end, cells_end) <= workspace.numel() else None


def _find_array(workspace: Tensor, array: Tensor) -> tuple[int, int] | None:
    """Return offset and stride of the rows of an array (R, K), from where its first two rows lie."""
    start = _find_row(workspace, array[0], 0)
    if start is None or len(array) == 1:
        return None if start is None else (start, array.shape[1])
    following = _find_row(workspace, array[1], start + array.shape[1])
    return None if following is None else (start, following - start)


def _find_row(workspace: Tensor, row: Tensor, first: int) -> int | None:
    """Return the first place from `first` on where the workspace holds a row."""
    tolerance = _SAME * float(row.abs().max().clamp(min=1))
    last = workspace.numel() - len(row)
    for at in torch.where((workspace[first : last + 1] - row[0]).abs() <= tolerance)[0].tolist():
        if largest(workspace[first + at : first + at + len(row)] - row) <= tolerance:
            return first + at
    return None
