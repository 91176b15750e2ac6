"""What does one direction of one recurrent layer compute? Its gate equations, and how it is run.

Whatever keeps a memory by multiplying the old one and adding to it can be traced:

    c_t = f_t c_(t-1) + i_t g_t,   i, f, o = sigmoid(z_i, z_f, z_o),   g = tanh(z_g),   h_t = show(o_t, c_t)

`Cell` is the seam: a cell states the four logits z as functions of what it reads and of h_(t-1) (that of f is its
*retention*, what multiplies the old state), and what it shows. A coupled LSTM has z_i = -z_f. A GRU is one as well:
f = z and i = 1 - z of Cho et al., o = 1, h = c, and its reset gate is part of z_g.

Public names: `Cell`, `LSTMCell`, `State`, `GATE_ORDER`, `cells_of`.

References
----------
Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); torch.nn.LSTM (gate order).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

#: h and c, each (B, H).
State = tuple[Tensor, Tensor]
#: Input, forget, candidate, output: the rows of torch's weights, and of every `Cell.logits`.
GATE_ORDER = "ifgo"


class Cell(Protocol):
    """One direction of one recurrent layer; time first: T bases of B rows."""

    @property
    def zero_state(self) -> State:
        """The state before the first base of a contig, for one row: (1, H) each, in the dtype of the weights."""
        ...

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute h as the network does, (T, B, H), and the state after the last base, from inputs (T, B, C)."""
        ...

    def logits(self, inputs: Tensor, before: Tensor, gates: str = GATE_ORDER) -> Tensor:
        """State the gate equations: logits (..., G, H) at inputs (..., C), where h was `before` (..., H).

        `gates` names the G gates wanted, letters of `GATE_ORDER` in that order.
        """
        ...

    def show(self, output: Tensor, cell: Tensor) -> Tensor:
        """Return h from the open output gate and c, each (..., H)."""
        ...


@dataclass(frozen=True, eq=False)
class LSTMCell:
    """The weights of one direction of one `nn.LSTM` layer, held, not copied; rows in torch's order i, f, g, o."""

    weight_ih: Tensor  # (4H, C)
    weight_hh: Tensor  # (4H, H)
    bias_ih: Tensor  # (4H,)
    bias_hh: Tensor  # (4H,)

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four, as torch's kernels take them."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    @cached_property
    def bias(self) -> Tensor:
        """What the two biases of torch amount to, (4H,), as they were when first asked for."""
        return self.bias_ih + self.bias_hh

    @property
    def zero_state(self) -> State:
        """See `Cell`."""
        zero = self.weight_hh.new_zeros(1, self.weight_hh.shape[1])
        return zero, zero.clone()

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell`; torch's fused kernel."""
        hidden, (h, c) = self._kernel(inputs, (state[0][None], state[1][None]))
        return hidden, (h[0], c[0])

    def logits(self, inputs: Tensor, before: Tensor, gates: str = GATE_ORDER) -> Tensor:
        """See `Cell`."""
        weight_ih, weight_hh, bias = self._rows(gates)
        found = torch.addmm(bias, inputs.flatten(0, -2), weight_ih.T)
        found.addmm_(before.flatten(0, -2), weight_hh.T)
        return found.view(*before.shape[:-1], len(gates), before.shape[-1])

    def show(self, output: Tensor, cell: Tensor) -> Tensor:
        """See `Cell`."""
        return output * torch.tanh(cell)

    def _rows(self, gates: str) -> tuple[Tensor, Tensor, Tensor]:
        tensors = self.weight_ih, self.weight_hh, self.bias
        if gates == GATE_ORDER:
            return tensors
        wanted = [GATE_ORDER.index(gate) for gate in gates]
        weight_ih, weight_hh, bias = (t.unflatten(0, (4, -1))[wanted].flatten(0, 1) for t in tensors)
        return weight_ih, weight_hh, bias

    @cached_property
    def _kernel(self) -> nn.LSTM:
        """A one-layer, one-direction `nn.LSTM` over the same memory."""
        hidden, width = self.weight_hh.shape[1], self.weight_ih.shape[1]
        lstm = nn.LSTM(width, hidden, device="meta")
        for name, tensor in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), self.weights, strict=True):
            lstm._parameters[f"{name}_l0"] = nn.Parameter(tensor.detach(), requires_grad=False)
        lstm._init_flat_weights()
        return lstm.eval()


def cells_of(lstm: nn.LSTM, layer: int = 0) -> list[LSTMCell]:
    """Return the cells of one layer, forward direction first; layers count from 0."""
    if lstm.proj_size:
        raise ValueError(
            "an LSTM with projections (proj_size > 0) has no hidden state of its own size to replay"
        )
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if lstm.bidirectional else 1]
    zero = torch.zeros(4 * lstm.hidden_size)
    cells = []
    for suffix in suffixes:
        weights = [getattr(lstm, f"weight_{kind}{suffix}") for kind in ("ih", "hh")]
        biases = [getattr(lstm, f"bias_{kind}{suffix}", zero.to(weights[0])) for kind in ("ih", "hh")]
        cells.append(LSTMCell(*weights, *biases))
    return cells
