"""What is the best that anybody could predict? The posterior of the planted state given the sequence.

Forward-backward over the five phases of `gatescope.data.planted.PlantedModel`, with the true parameters and
the true background composition, in units of the background likelihood (a background base has ratio 1, so
only motif-like stretches carry evidence). No predictor that reads the sequence alone can rank bases better.

Public names: `posterior_open`, `posterior_called`.
"""

import numpy as np
from scipy.ndimage import convolve1d
from scipy.stats import norm

from gatescope.data.planted import N_PHASES, OPEN_PHASES, PlantedModel
from gatescope.genome.sequence import UNKNOWN

_RESCALE_EVERY = 64  # positions; a motif multiplies the likelihood by at most 2^28, float64 holds 2^1023


def _log_base_ratio(motif: np.ndarray, codes: np.ndarray, gc: np.ndarray) -> np.ndarray:
    """Return ln P(motif | bases from t) / P(background), shape (L,); unknown and absent bases say nothing."""
    background = np.stack([(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2], axis=1)  # (L, 4)
    known = codes != UNKNOWN
    index = np.where(known, codes, 0)[:, None]
    log_background = np.log(np.take_along_axis(background, index, 1)[:, 0])
    total, length = np.zeros(len(codes)), len(codes)
    for column, probabilities in enumerate(motif):
        term = np.where(known, np.log(probabilities[index[:, 0]]) - log_background, 0.0)
        total[: length - column] += term[column:]
    return total


def posterior_open(model: PlantedModel, codes: np.ndarray, gc: np.ndarray) -> np.ndarray:
    """Return P(open) at every base of contigs of one common length.

    Parameters
    ----------
    model : PlantedModel
        The true parameters.
    codes : uint8, shape (C, L)
        Base codes of C contigs, 4 where unknown.
    gc : float64, shape (C, L)
        GC level of the background.

    Returns
    -------
    float64, shape (C, L), in [0, 1].

    References
    ----------
    Rabiner 1989 (forward-backward); Guedon 2003 (explicit durations).
    """
    rates = np.stack(list(model.block_rates().values()))  # (M, 5, 5)
    ratios = [
        np.stack([np.exp(_log_base_ratio(motif, *pair)) for motif in model.motifs.values()], axis=1)
        for pair in zip(codes, gc, strict=True)
    ]
    evidence = np.stack(ratios, axis=1)  # (L, C, M): weight of a block that starts here
    base, width = model.base_rates(), model.motif_width
    forward = _sweep(base, rates, evidence, width, start=np.eye(N_PHASES)[0])
    # Read right to left, a jump from p to q is a jump from q to p that starts where the block ended.
    turned = np.zeros_like(evidence)
    turned[: len(evidence) - width + 1] = evidence[: len(evidence) - width + 1][::-1]
    a, log_a = _sweep(base.T, rates.swapaxes(1, 2), turned, width, start=np.ones(N_PHASES))
    return _combine(base, rates, evidence, width, forward, (a[::-1], log_a[::-1])).T


def posterior_called(posterior: np.ndarray, jitter_bp: float) -> np.ndarray:
    """Return the probability that a base lies in a *called* peak, whose edges are off by rounded normal steps.

    Networks learn from called peaks and are scored on them. An edge at s that moves by d covers base t if
    t >= s + d: the posterior of the true state, convolved with the distribution of d.

    Parameters
    ----------
    posterior : float64, shape (..., L)
    jitter_bp : float
        Standard deviation of an edge, in bp.
    """
    if jitter_bp == 0:
        return posterior
    reach = int(np.ceil(5 * jitter_bp))
    steps = np.arange(-reach, reach + 1)
    weights = norm.cdf((steps + 0.5) / jitter_bp) - norm.cdf((steps - 0.5) / jitter_bp)
    return convolve1d(posterior, weights / weights.sum(), axis=-1, mode="nearest")


def _sweep(base: np.ndarray, rates: np.ndarray, evidence: np.ndarray, width: int, start: np.ndarray):
    """Run a[t+1] = a[t] base + sum_m evidence[t', m] a[t'] rates[m], t' = t + 1 - width.

    Returns a, shape (L + 1, C, 5), up to a factor whose logarithm is the second result, shape (L + 1, C).
    """
    length, contigs, motifs = evidence.shape
    a, log_scale = np.zeros((length + 1, contigs, N_PHASES)), np.zeros((length + 1, contigs))
    a[0] = start
    flat_rates = rates.reshape(motifs * N_PHASES, N_PHASES)
    for t in range(length):
        a[t + 1] = a[t] @ base
        if (begin := t + 1 - width) >= 0:
            weighted = evidence[begin, :, :, None] * a[begin, :, None, :]  # (C, M, 5)
            a[t + 1] += weighted.reshape(contigs, -1) @ flat_rates
        log_scale[t + 1] = log_scale[t]
        if t % _RESCALE_EVERY == 0:
            size = a[t + 1].sum(1)
            recent = slice(max(0, t + 2 - width), t + 2)
            a[recent] /= size[:, None]
            log_scale[recent] += np.log(size)
    return a, log_scale


def _combine(base, rates, evidence, width, forward, backward) -> np.ndarray:
    """Add up, per base, the share of background bases and of blocks that make it open; shape (L, C)."""
    (a, log_a), (b, log_b) = forward, backward
    length = len(evidence)
    is_open = np.isin(np.arange(N_PHASES), OPEN_PHASES)
    touches_open = is_open[:, None] | is_open[None, :]
    log_total = log_a[-1] + np.log(a[-1].sum(1))  # every ending is allowed

    def share(matrix: np.ndarray, steps: int) -> np.ndarray:
        last = length - steps + 1
        mass = ((a[:last] @ matrix) * b[steps:]).sum(2)
        return mass * np.exp(log_a[:last] + log_b[steps:] - log_total)

    posterior = share(base * is_open[:, None], 1)
    started = length - width + 1
    inside = sum(evidence[:started, :, m] * share(rate * touches_open, width) for m, rate in enumerate(rates))
    covered = np.zeros((length + 1, evidence.shape[1]))
    covered[:started] += inside
    covered[width:] -= inside
    return np.clip(posterior + covered.cumsum(0)[:length], 0.0, 1.0)
