"""Which weights has one direction of one LSTM layer? Taken out of a module, and run alone.

Public names: `Cell`, `cells_of`, `fused`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Cell(NamedTuple):
    """The weights of one layer and direction, rows in torch's order i, f, g, o."""

    weight_ih: Tensor  # (4H, C)
    weight_hh: Tensor  # (4H, H)
    bias_ih: Tensor  # (4H,)
    bias_hh: Tensor  # (4H,)


def cells_of(lstm: nn.LSTM, layer: int = 0) -> list[Cell]:
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
        cells.append(Cell(*weights, *biases))
    return cells


def fused(cell: Cell, *, batch_first: bool = True) -> nn.LSTM:
    """Return a one-layer, one-direction `nn.LSTM` that holds (does not copy) the weights of `cell`."""
    hidden, width = cell.weight_hh.shape[1], cell.weight_ih.shape[1]
    lstm = nn.LSTM(width, hidden, batch_first=batch_first, device="meta")
    for name, tensor in zip(Cell._fields, cell, strict=True):
        lstm._parameters[f"{name}_l0"] = nn.Parameter(tensor.detach(), requires_grad=False)
    lstm._init_flat_weights()
    return lstm.eval()
