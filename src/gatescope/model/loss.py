"""How wrong is a prediction? Two losses on cuts at several resolutions, cross-entropy on the state.

Public names: `prediction_loss`, `LossWeights`, `COUNT_BINS_BP`, `LOG_COUNT_BINS_BP`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gatescope.data.sampler import Batch
from gatescope.data.store import NOT_SCORED
from gatescope.model.network import Outputs

#: Cuts are compared per base and summed over these bins: a base says where, a bin says how much.
COUNT_BINS_BP = (1, 50, 200)
#: Their logarithms are compared where a bin holds cuts to speak of.
LOG_COUNT_BINS_BP = (50, 200)


class LossWeights(NamedTuple):
    """Say what the losses on cuts count for beside that on the state, which counts 1."""

    count: float
    log_count: float = 0.0


def prediction_loss(
    outputs: Outputs, batch: Batch, weights: LossWeights, shares: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Return the mean loss over scored bases, a scalar.

    The sum over heads of: `weights.count` times the Poisson negative log-likelihood of the cuts, averaged over
    `COUNT_BINS_BP` and each divided by the square root of its bin (a wider bin holds more cuts); `weights.log_count`
    times the squared difference of ln(1 + cuts), expected and observed, averaged over `LOG_COUNT_BINS_BP`; binary
    cross-entropy of the state.
    Bases that are not scored (state 255) take no part. `shares` says what means over windows and over scored bases
    count for where these are not all windows of the batch, see `gatescope.model.team`.

    References
    ----------
    Avsec et al. 2021 (BPNet): squared error of log counts. Cuts vary more than a Poisson variable does, and a few very
    deep bins own its likelihood; on a logarithmic scale every bin has a say.
    """
    scored = batch.state != NOT_SCORED
    total = torch.zeros((), device=scored.device)
    if outputs.log_cuts is not None:
        rate, cuts = outputs.log_cuts.clamp(max=8.0).exp() * scored, batch.cuts * scored
        total = total + shares[0] * weights.count * _count_loss(rate, cuts)
        if weights.log_count:
            total = total + shares[0] * weights.log_count * _log_count_loss(rate, cuts)
    if outputs.state_logit is not None:
        target = (batch.state == 1).to(outputs.state_logit.dtype)
        loss = F.binary_cross_entropy_with_logits(outputs.state_logit, target, reduction="none")
        total = total + shares[1] * (loss * scored).sum() / scored.sum().clamp(min=1)
    return total


def _count_loss(rate: Tensor, cuts: Tensor) -> Tensor:
    loss = torch.zeros((), device=cuts.device)
    for bin_bp in COUNT_BINS_BP:
        expected, observed = _binned(rate, bin_bp), _binned(cuts, bin_bp)
        nll = expected - observed * torch.log(expected + 1e-8)
        loss = loss + nll.mean() / bin_bp**0.5
    return loss / len(COUNT_BINS_BP)


def _log_count_loss(rate: Tensor, cuts: Tensor) -> Tensor:
    pairs = [(_binned(rate, bin_bp), _binned(cuts, bin_bp)) for bin_bp in LOG_COUNT_BINS_BP]
    losses = [F.mse_loss(torch.log1p(expected), torch.log1p(observed)) for expected, observed in pairs]
    return torch.stack(losses).mean()


def _binned(values: Tensor, bin_bp: int) -> Tensor:
    """Sum consecutive bins along the last axis; a partial last bin is left out."""
    bins = values.shape[1] // bin_bp
    return values[:, : bins * bin_bp].reshape(len(values), bins, bin_bp).sum(2)
