"""What stands where the recurrence does in a network without gates? Residual dilated convolutions at 1 bp.

The peer that a recurrence has to be compared with: the same stem, heads, loss, windows and optimizer, and a field of
view that grows with every layer in place of a memory.

Public names: `DilatedTrunk`.

References
----------
Avsec et al. 2021, BPNet (residual convolutions whose reach doubles, without pooling).
"""

import math

import torch
from torch import Tensor, nn

_TAPS = 3


class DilatedTrunk(nn.Module):
    """Read (N, L, C), give (N, L, C): each layer adds what its taps, 2, 4, 8, ... bp apart, find.

    Beyond the ends of a window every layer reads zeros.

    Parameters
    ----------
    channels, layers : int
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for layer in range(layers):
            apart = 2 ** (layer + 1)
            self.convolutions.append(nn.Conv1d(channels, channels, _TAPS, padding="same", dilation=apart))
            self.norms.append(nn.BatchNorm1d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Read what the stem says at each base."""
        values = features.transpose(1, 2).contiguous()
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            values = values + torch.relu(norm(convolution(values)))
        return values.transpose(1, 2)

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw the filters: about unit variance out of each."""
        for convolution in self.convolutions:
            for name, parameter in convolution.named_parameters():
                if name == "bias":
                    parameter.zero_()
                else:
                    parameter.normal_(0, 1 / math.sqrt(_TAPS * parameter.shape[1]), generator=generator)
