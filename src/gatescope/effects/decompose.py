"""What drives a gate? Split its logit exactly into biases, sequence, each input track, and the recurrence.

    z_t = W x_t + U h_(t-1) + b_ih + b_hh

W x_t has to be split further, and x is not linear in what the network reads: the stem is made of convolutions, batch
normalisation (affine once trained) and ReLUs. It is piecewise linear, though: as long as no ReLU changes sides, x is a
sum over input channels. With one convolution, and m = 1 where the sum is positive, else 0,

    x = m * (seq + track_1 + ... + track_K + const)

So the terms always sum to the logit, and a term is the gradient of W x times that input. What the rule does not claim:

- m depends on all inputs together. Removing an input can open or close channels: the logit then changes by
  the term alone only if no channel changes sides.
- Terms are relative to an input of zero: an unknown base, a track without signal. The same amount added to
  all four bases of a filter tap and taken from the bias leaves the network as it is on known bases, but moves
  it from `stem bias` to `sequence`.
- In a layer above the first the inputs are the hidden states of both directions below; they are not traced
  further down.

Public names: `Decomposition`, `decompose_logit`, `variance_shares`.

References
----------
Shrikumar et al. 2016 (gradient times input); Ancona et al. 2018 (what it has in common with its relatives);
Majdandzic, Rajesh & Koo 2022 (freedom off the one-hot simplex).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from gatescope.effects.clamp import GATES, require_gate
from gatescope.errors import InputError
from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork, Stem
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import TOLERANCE, Certificate, ReplayError
from gatescope.trace.replay import trace_lstm
from gatescope.trace.units import DIRECTIONS


class Decomposition(NamedTuple):
    """Terms of the logit of one gate for some units of one direction and layer, genomic order.

    Parameters
    ----------
    names : tuple of str
        Of the terms. Layer 0: `bias`, `stem bias`, `sequence`, `track:{name}` for each input track,
        `recurrent`. Above: `bias`, `below:fwd`, `below:rev`, `recurrent`.
    terms : Tensor, shape (M, N, U, L)
    logit : Tensor, shape (N, U, L)
        Computed without the split; for the candidate it is what tanh is taken of.
    units : tuple of int
        Along U.
    residual : float
        Largest |sum of the terms - logit|.
    certificate : Certificate
        Of the hidden states that the recurrent term rests on.
    """

    names: tuple[str, ...]
    terms: Tensor
    logit: Tensor
    units: tuple[int, ...]
    residual: float
    certificate: Certificate


@exact_arithmetic()
def decompose_logit(
    network: AccessibilityNetwork,
    one_hot: Tensor,
    tracks: Tensor | None = None,
    *,
    gate: str,
    units: Sequence[int],
    direction: str,
    layer: int = 0,
) -> Decomposition:
    """Split a gate's logit at every base of every window by the rule of this module.

    Parameters
    ----------
    network : AccessibilityNetwork
        In evaluation mode; its dtype is that of the terms.
    one_hot : Tensor, shape (N, 4, L)
    tracks : Tensor, shape (N, K, L), optional
        Raw values, as the network takes them.
    gate : {"input_gate", "forget_gate", "candidate", "output_gate"}
    units : sequence of int
    direction : {"fwd", "rev"}
    layer : int
        LSTM layer, from 0.

    Raises
    ------
    InputError
        If the network has no such gate.
    ReplayError
        If the states cannot be replayed, or the terms do not sum to the logit: above the tolerance of the
        dtype, relative to the largest term where that exceeds 1.
    """
    require_gate(network, gate, units, direction, layer)
    inputs, pieces = _split_inputs(network, one_hot, tracks, layer)
    trace = trace_lstm(network.lstm_layers[layer], inputs)
    side = DIRECTIONS.index(direction)
    arriving = _hidden_before(trace.hidden[:, side].transpose(1, 2), side)  # (N, L, H)
    cell = cells_of(network.lstm_layers[layer])[side]
    rows = GATES.index(gate) * arriving.shape[2] + torch.as_tensor(list(units)).to(inputs.device)
    weight_ih, weight_hh, bias = (
        cell.weight_ih[rows],
        cell.weight_hh[rows],
        cell.bias[rows],
    )
    logit = inputs @ weight_ih.T + arriving @ weight_hh.T + bias  # (N, L, U)
    terms = {
        "bias": bias.expand_as(logit),
        **{name: piece @ weight_ih.T for name, piece in pieces.items()},
        "recurrent": arriving @ weight_hh.T,
    }
    stacked = torch.stack(list(terms.values()))
    residual = _require_sum(stacked, logit, trace.certificate)
    turned = stacked.transpose(2, 3), logit.transpose(1, 2)
    return Decomposition(tuple(terms), *turned, tuple(units), residual, trace.certificate)


def variance_shares(
    decomposition: Decomposition, positions: Tensor | np.ndarray | None = None
) -> pd.DataFrame:
    """Return which share of a logit's variance each term brings: cov(term, logit) / var(logit).

    The shares of a unit sum to 1. A share can be negative or above 1: terms that work against each other.

    Parameters
    ----------
    decomposition : Decomposition
    positions : bool array of shape (N, L), optional
        Bases to count, all by default; for example those near boundaries.

    Returns
    -------
    pandas.DataFrame
        One row per unit and term: `unit`, `term`, `mean`, `sd` (of the term), `share` (NaN where the logit
        does not vary).

    Raises
    ------
    InputError
        If `positions` has another shape, or is True nowhere.
    """
    terms, logit = decomposition.terms.transpose(2, 3), decomposition.logit.transpose(1, 2)
    wanted = torch.ones(logit.shape[:2], dtype=torch.bool)
    if positions is not None:
        wanted = torch.as_tensor(positions).cpu()
        if wanted.shape != logit.shape[:2] or wanted.dtype != torch.bool or not wanted.any():
            got = f"{wanted.dtype} of shape {tuple(wanted.shape)}"
            raise InputError(
                f"wanted a mask of shape {tuple(logit.shape[:2])} that is True somewhere, got {got}"
            )
    values = terms[:, wanted.to(terms.device)].double()  # (M, positions, U)
    total = logit[wanted.to(logit.device)].double()
    centred, total = values - values.mean(1, keepdim=True), total - total.mean(0)
    share = (centred * total).mean(1) / total.square().mean(0)
    share[:, total.abs().amax(0) <= _rounding(logit.abs().max(), decomposition.certificate)] = torch.nan
    unit = np.repeat(decomposition.units, len(decomposition.names))
    columns = {"mean": values.mean(1), "sd": centred.square().mean(1).sqrt(), "share": share}
    table = {name: column.T.flatten().cpu().numpy() for name, column in columns.items()}
    return pd.DataFrame(
        {"unit": unit, "term": np.tile(decomposition.names, len(decomposition.units)), **table}
    )


def _split_inputs(
    network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None, layer: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a layer reads, (N, L, C), and its named pieces of the same shape, which sum to it."""
    inputs = network.features(one_hot, tracks)
    if layer == 0:
        return inputs, _split_stem(network, one_hot, tracks)
    for lstm in network.lstm_layers[:layer]:
        hidden = trace_lstm(lstm, inputs).hidden
        inputs = hidden.flatten(1, 2).transpose(1, 2)
    fwd, rev = inputs.chunk(2, dim=2)
    halves = (fwd, torch.zeros_like(rev)), (torch.zeros_like(fwd), rev)
    return inputs, {
        f"below:{name}": torch.cat(half, 2) for name, half in zip(DIRECTIONS, halves, strict=True)
    }


def _split_stem(network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None) -> dict[str, Tensor]:
    """Return the stem's features as a sum over what enters it, each piece (N, L, C), behind the same ReLUs."""
    if network.stem.training:
        raise ValueError("wanted a network in evaluation mode: batch normalisation in training mixes windows")
    signal = network.signal(one_hot, tracks)
    channels = {"sequence": slice(4)}
    channels |= {f"track:{name}": slice(4 + k, 5 + k) for k, name in enumerate(network.config.tracks)}
    parts = torch.zeros(1 + len(channels), *signal.shape).to(signal)
    for part, own in zip(parts[1:], channels.values(), strict=True):
        part[:, own] = signal[:, own]
    read = _through_stem(network.stem, parts)
    if network.config.strands == "tied":
        turned = torch.cat([parts[:, :, :4].flip(2), parts[:, :, 4:]], dim=2).flip(3)
        read = torch.cat([read, _through_stem(network.stem, turned).flip(3)], dim=2)
    return dict(zip(["stem bias", *channels], read.transpose(2, 3), strict=True))


def _through_stem(stem: Stem, parts: Tensor) -> Tensor:
    """Send parts (M, N, 4 + K, L) of a signal through the stem's convolutions; its own offsets join the first."""
    beyond = stem.config.dilated_reach_bp
    values = pad(parts, (beyond, beyond))
    for layer, (convolution, norm) in enumerate(stem.layers):
        assert convolution.bias is not None and norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        read = conv1d(values.flatten(0, 1), convolution.weight, padding="same", dilation=convolution.dilation)
        read = read.unflatten(0, values.shape[:2]) * scale[:, None]
        read[0] += (scale * (convolution.bias - norm.running_mean) + norm.bias)[:, None]
        read = read * (read.sum(0) > 0)
        values = values + read if layer else read
    return values[..., beyond : beyond + parts.shape[3]]


def _hidden_before(hidden: Tensor, side: int) -> Tensor:
    """Return the h (N, L, H) with which the recurrence arrives at each base; zero where it starts."""
    zero = torch.zeros_like(hidden[:, :1])
    return torch.cat([hidden[:, 1:], zero], dim=1) if side else torch.cat([zero, hidden[:, :-1]], dim=1)


def _rounding(largest: Tensor, certificate: Certificate) -> float:
    """Return what counts as rounding beside a number of this size."""
    return TOLERANCE[certificate.dtype] * max(1.0, float(largest))


def _require_sum(terms: Tensor, logit: Tensor, certificate: Certificate) -> float:
    """Return the largest |sum of the terms - logit|, or fail closed."""
    residual = float((terms.sum(0) - logit).abs().max())
    if not residual <= _rounding(terms.abs().max(), certificate):
        raise ReplayError(
            f"the terms of a logit miss it by {residual:.3g} ({certificate.dtype}); nothing is exported",
            where="effects",
            cause="numbers that are not finite, or a bug",
        )
    return residual
