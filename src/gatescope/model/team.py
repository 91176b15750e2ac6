"""How do several processes train one network? Each takes a share of every batch, and the batch stays one batch.

Which windows a batch holds does not depend on how many processes there are: process r of n takes its rows r, r + n,
r + 2n, ... What couples the rows of a batch is shared among the processes: the number of scored bases by which a loss
is divided, the statistics of a batch normalisation, the dropout masks. So n processes do what one does, to rounding.

Public names: `Team`, `ALONE`, `Masks`, `uniform`, `share_statistics`.

References
----------
Li et al. 2020 (torch's DistributedDataParallel: gradients are averaged over processes). Ioffe & Szegedy 2015 (batch
normalisation).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn

from gatescope.data.sampler import Batch
from gatescope.data.store import NOT_SCORED


@dataclass(frozen=True)
class Team:
    """Say which of how many processes this is.

    Parameters
    ----------
    rank, size : int
        Process `rank` of `size`, counted from 0.
    """

    rank: int = 0
    size: int = 1

    def rows(self, windows: int) -> Tensor:
        """Return which rows of so many are this process's; every process has as many, the last one twice if need be."""
        each = -(-windows // self.size)
        return (self.rank + self.size * torch.arange(each)).clamp(max=windows - 1)

    def share(self, batch: Batch) -> Batch:
        """Return this process's rows of a batch."""
        if self.size == 1:
            return batch
        rows = self.rows(len(batch.state)).to(batch.state.device)
        return Batch(*(values[rows] for values in batch))

    def training_share(self, batch: Batch) -> tuple[Batch, tuple[float, float]]:
        """Return this process's rows, none of them twice, and what losses over windows and over bases count for.

        The mean over processes of a mean over rows, times the first, is the mean over the rows of the batch; the
        second does the same for means over scored bases.
        """
        if self.size == 1:
            return batch, (1.0, 1.0)
        mine = Batch(*(values[self.rank :: self.size] for values in batch))
        scored, all_scored = (int((each.state != NOT_SCORED).sum()) for each in (mine, batch))
        share = self.size * len(mine.state) / len(batch.state)
        return mine, (share, self.size * scored / max(1, all_scored))

    def gather(self, values: Tensor | None, windows: int) -> Tensor | None:
        """Put the rows of all processes, each as `rows` says, together in order."""
        if values is None or self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        torch.distributed.all_gather(parts, values.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)[:windows]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over processes."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.size

    def masks(self, seed: int, windows: int) -> "torch.Generator | Masks":
        """Return the source of the dropout masks of a batch of so many windows."""
        generator = torch.Generator().manual_seed(seed)
        return generator if self.size == 1 else Masks(generator, self, windows)


ALONE = Team()


class Masks(NamedTuple):
    """A source of random numbers for some rows of a batch: drawn for all of them."""

    generator: torch.Generator
    team: Team
    windows: int


def uniform(source: "torch.Generator | Masks", windows: int, width: int) -> Tensor:
    """Draw numbers between 0 and 1 for the windows at hand, (windows, width); on the CPU, so that devices agree."""
    if isinstance(source, torch.Generator):
        return torch.rand(windows, width, generator=source)
    drawn = torch.rand(source.windows, width, generator=source.generator)
    return drawn[source.team.rank :: source.team.size]


def share_statistics(module: nn.Module) -> None:
    """Have every batch normalisation in a module take mean and variance over the batches of all processes.

    torch's `SyncBatchNorm` does that on GPUs only.
    """
    for child in list(module.modules()):
        if type(child) is nn.BatchNorm1d:
            child.__class__ = _SharedBatchNorm


class _SharedBatchNorm(nn.BatchNorm1d):
    """Normalise (N, C) or (N, C, L) by the statistics of all processes while training; as ever otherwise."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        over = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        values = input.to(self.weight.dtype)  # sums of bfloat16 would be off
        count = _total(values.new_tensor([float(values.numel() // values.shape[1])]))
        mean = _total(values.sum(over)) / count
        centred = values - mean.view(shape)
        variance = _total(centred.square().sum(over)) / count
        self._keep(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (scaled * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, which validation uses."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)


class _Total(torch.autograd.Function):
    """Sum over processes; so is the gradient, since each process's loss depends on the values of all."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def _total(values: Tensor) -> Tensor:
    result = _Total.apply(values)
    assert isinstance(result, Tensor)
    return result
