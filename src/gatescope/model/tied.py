"""Which weights of an LSTM are not free? Those that a coupled gate or the other strand decides.

A coupled LSTM has i = 1 - f: its input gate reads the forget gate's weights with the sign turned, so that the cell
state is an exponential moving average, c_t = f c_(t-1) + (1 - f) g, and never leaves [-1, 1]. Tied strands: `rev` has
the weights of `fwd` with the two halves of what it reads exchanged; where the halves hold the two strands, a reverse
complement swaps the directions and changes nothing else.

Either way the tied weights stand in a plain LSTM: torch's kernels run it, and whatever reads an LSTM reads this one.

Public names: `TiedLSTM`, `swap_halves`.

References
----------
Greff et al. 2017 (coupled input and forget gate). Schiff et al. 2024, Caduceus (reverse-complement equivariance).
"""

import torch
from torch import Tensor, nn

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def swap_halves(values: Tensor) -> Tensor:
    """Exchange the two halves of the last axis."""
    first, second = values.chunk(2, dim=-1)
    return torch.cat([second, first], dim=-1)


class TiedLSTM(nn.LSTM):
    """A bidirectional LSTM layer, batch first, some of whose weights follow from the others.

    Gradients reach the free weights only. The others are stored as well, as `tie` left them: it has to be called
    after every change of the free ones.

    Parameters
    ----------
    width, hidden : int
        Inputs per base, units per direction.
    coupled : bool
        Input gate = 1 - forget gate.
    same_strands : bool
        `rev` follows from `fwd`; `width` must be even.
    """

    def __init__(self, width: int, hidden: int, *, coupled: bool, same_strands: bool) -> None:
        super().__init__(width, hidden, batch_first=True, bidirectional=True)
        self.coupled, self.same_strands = coupled, same_strands
        if same_strands:
            for kind in _KINDS:
                self.get_parameter(f"{kind}_l0_reverse").requires_grad_(False)

    def tied_weights(self) -> list[Tensor]:
        """Return all weights as functions of the free ones, in torch's order."""
        weights = []
        for suffix in ("_l0", "_l0" if self.same_strands else "_l0_reverse"):
            own = [self._coupled(self.get_parameter(kind + suffix)) for kind in _KINDS]
            is_swapped = self.same_strands and bool(weights)
            weights += [swap_halves(own[0]), *own[1:]] if is_swapped else own
        return weights

    def _coupled(self, weight: Tensor) -> Tensor:
        """Let the rows of i be those of f with the sign turned (torch order i, f, g, o)."""
        size = self.hidden_size
        return torch.cat([-weight[size : 2 * size], weight[size:]]) if self.coupled else weight

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the layer on input (N, L, width); states as `nn.LSTM` takes and gives them."""
        if hx is None:
            zeros = input.new_zeros(2, len(input), self.hidden_size)
            hx = zeros, zeros
        output, *states = torch.lstm(input, hx, self.tied_weights(), True, 1, 0.0, self.training, True, True)
        return output, (states[0], states[1])

    @torch.no_grad()
    def tie(self) -> None:
        """Write the weights that follow from the free ones to where they are stored."""
        names = [kind + suffix for suffix in ("_l0", "_l0_reverse") for kind in _KINDS]
        for name, weight in zip(names, self.tied_weights(), strict=True):
            self.get_parameter(name).copy_(weight.clone())

    @property
    def free_parameters(self) -> int:
        """Number of weights that training decides."""
        shares = 3 / 4 if self.coupled else 1
        return round(shares * sum(each.numel() for each in self.parameters() if each.requires_grad))
