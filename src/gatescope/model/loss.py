"""How wrong is a prediction? Poisson loss on cuts at several resolutions, cross-entropy on the state.

Public names: `prediction_loss`, `COUNT_BINS_BP`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gatescope.data.sampler import Batch
from gatescope.data.store import NOT_SCORED
from gatescope.model.network import Outputs

#: Cuts are compared per base and summed over these bins: a base says where, a bin says how much.
COUNT_BINS_BP = (1, 50, 200)


def prediction_loss(
    outputs: Outputs, batch: Batch, count_weight: float, shares: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Return the mean loss over scored bases, a scalar.

    The sum over heads of: `count_weight` times the Poisson negative log-likelihood of the cuts, averaged over
    `COUNT_BINS_BP` and each divided by the square root of its bin (a wider bin holds more cuts); binary
    cross-entropy of the state.
    Bases that are not scored (state 255) take no part. `shares` says what means over windows and over scored bases
    count for where these are not all windows of the batch, see `gatescope.model.team`.
    """
    scored = batch.state != NOT_SCORED
    total = torch.zeros((), device=scored.device)
    if outputs.log_cuts is not None:
        total = total + shares[0] * count_weight * _count_loss(outputs.log_cuts, batch.cuts, scored)
    if outputs.state_logit is not None:
        target = (batch.state == 1).to(outputs.state_logit.dtype)
        loss = F.binary_cross_entropy_with_logits(outputs.state_logit, target, reduction="none")
        total = total + shares[1] * (loss * scored).sum() / scored.sum().clamp(min=1)
    return total


def _count_loss(log_cuts: Tensor, cuts: Tensor, scored: Tensor) -> Tensor:
    rate = log_cuts.clamp(max=8.0).exp() * scored
    loss = torch.zeros((), device=cuts.device)
    for bin_bp in COUNT_BINS_BP:
        expected, observed = _binned(rate, bin_bp), _binned(cuts * scored, bin_bp)
        nll = expected - observed * torch.log(expected + 1e-8)
        loss = loss + nll.mean() / bin_bp**0.5
    return loss / len(COUNT_BINS_BP)


def _binned(values: Tensor, bin_bp: int) -> Tensor:
    """Sum consecutive bins along the last axis; a partial last bin is left out."""
    bins = values.shape[1] // bin_bp
    return values[:, : bins * bin_bp].reshape(len(values), bins, bin_bp).sum(2)
