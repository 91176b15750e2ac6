"""How far could chance alone go? Random shifts, p-values with a family-wise correction, bootstrap intervals.

Public names: `draw_shifts`, `tail_p`, `standardise`, `two_sided_p`, `max_p`, `label_blocks`, `bootstrap_means`,
`interval`.

Conventions: replicates are the first axis; every random choice comes from an explicit `numpy.random.Generator`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def draw_shifts(lengths: Sequence[int], replicates: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one circular shift per replicate and contig, uniform on the whole circle.

    The shift 0 is not left out: the shifts of a circle are a group, and only draws from the whole group
    make the p-values of `tail_p` exact.

    Parameters
    ----------
    lengths : sequence of int
        Contig lengths in bp.
    replicates : int
        Number of replicates m.
    rng : numpy.random.Generator

    Returns
    -------
    shifts : int64, shape (m, len(lengths))
        ``0 <= shifts[:, c] < lengths[c]``; contigs are shifted independently.
    """
    return rng.integers(0, np.asarray(lengths, np.int64), size=(replicates, len(lengths)))


def tail_p(observed: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(1 + #{null >= observed}) / (m + 1)``, never 0.

    Parameters
    ----------
    observed : float64, shape (...)
    null : float64, shape (m, ...)

    References
    ----------
    Phipson & Smyth 2010, arXiv 1603.05766.
    """
    return (1 + (null >= observed).sum(0)) / (len(null) + 1)


def standardise(
    observed: NDArray[np.float64], null: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `observed` and `null` in standard deviations from the mean of both together.

    The observed value takes part in mean and deviation, so that under the null hypothesis all m + 1 values
    stay exchangeable. A statistic that never varies becomes 0.

    Parameters
    ----------
    observed : float64, shape (K,)
    null : float64, shape (m, K)
    """
    both = np.concatenate([observed[None], null])
    deviation = both.std(0)
    # rounding alone must not make a constant statistic look variable
    constant = deviation <= 1e-12 * np.maximum(1.0, np.abs(both).max(0))
    scores = np.where(constant, 0.0, (both - both.mean(0)) / np.where(constant, 1.0, deviation))
    return scores[0], scores[1:]


def two_sided_p(observed: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-values of K statistics, each for itself: how often a replicate's |z| reaches the observed one.

    Parameters
    ----------
    observed : float64, shape (K,)
    null : float64, shape (m, K)
    """
    scores, null_scores = standardise(observed, null)
    return tail_p(np.abs(scores), np.abs(null_scores))


def max_p(observed: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return single-step two-sided p-values that control the family-wise error over K statistics.

    The |z| of each statistic (`standardise`) is compared with the largest |z| of all K within each replicate; the
    replicates must be joint (the same shift for all K), which keeps the correlation between units.

    Parameters
    ----------
    observed : float64, shape (K,)
    null : float64, shape (m, K)

    References
    ----------
    Westfall & Young 1993, single-step maxT.
    """
    scores, null_scores = standardise(observed, null)
    return tail_p(np.abs(scores), np.abs(null_scores).max(1)[:, None])


def label_blocks(positions: Mapping[str, NDArray[np.int64]], block_bp: int) -> NDArray[np.int64]:
    """Return which block of its contig each position lies in, numbered over all contigs from 0, none left out.

    Parameters
    ----------
    positions : mapping of str to int64, shape (n,)
        Positions in bp by contig; at least one in all.
    block_bp : int
        Length of a block.
    """
    labels = [
        np.stack([np.full(len(at), number), at // block_bp]) for number, at in enumerate(positions.values())
    ]
    return np.unique(np.concatenate(labels, axis=1), axis=1, return_inverse=True)[1].reshape(-1)


def bootstrap_means(
    values: NDArray[np.floating],
    replicates: int,
    rng: np.random.Generator,
    blocks: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return the mean of `values` over blocks drawn with replacement, `replicates` times.

    A replicate is the mean of all values in its blocks, so that a block counts as much as it holds.

    Parameters
    ----------
    values : float, shape (n, ...)
        One row per boundary or region, never per base.
    blocks : int64, shape (n,), optional
        Block of each row (`label_blocks`). Without: each row is one.

    Returns
    -------
    means : float64, shape (replicates, ...)
    """
    labels = np.arange(len(values)) if blocks is None else blocks
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, labels, values)
    # how often each block is drawn decides the mean; this costs one matrix product, not m gathers
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=replicates)
    drawn = (weights @ counts).reshape(-1, *[1] * (values.ndim - 1))
    return np.tensordot(weights.astype(np.float64), sums, axes=1) / drawn


def interval(replicates: NDArray[np.float64], level: float = 0.95) -> NDArray[np.float64]:
    """Return the lower and upper percentile of the central `level` of the replicates, shape (2, ...)."""
    tail = 50 * (1 - level)
    return np.percentile(replicates, [tail, 100 - tail], axis=0)
