"""How sure is a mean over boundaries? Intervals from stretches of the genome drawn with replacement.

Neighbouring boundaries share bases and states; what is drawn are stretches of 20 kb, not boundaries.

Public names: `BLOCK_BP`, `LEVEL`, `block_interval`.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.model.metrics import FEWEST_BLOCKS
from gatescope.resample import bootstrap_means, interval

BLOCK_BP = 20_000
#: Share of the replicates that an interval holds.
LEVEL = 0.9


def block_interval(
    values: NDArray[np.floating],
    ranks: NDArray[np.int64],
    positions: NDArray[np.int64],
    replicates: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the lower and upper end of the 90 % interval of the mean, shape (2, ...).

    Parameters
    ----------
    values : float, shape (N, ...)
        One row per place.
    ranks, positions : int64, shape (N,)
        Contig and position of each; a block is `BLOCK_BP` of a contig.
    replicates : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        NaN where places lie in fewer than 10 blocks: too few to draw from.
    """
    _, block = np.unique(np.stack([ranks, positions // BLOCK_BP]), axis=1, return_inverse=True)
    sums = np.zeros((block.max() + 1, *values.shape[1:]))
    np.add.at(sums, block, values)
    if len(sums) < FEWEST_BLOCKS:
        return np.full((2, *values.shape[1:]), np.nan)
    counts = np.bincount(block).astype(float)
    counts = counts.reshape(-1, *(1,) * (values.ndim - 1))
    both = np.stack([sums, np.broadcast_to(counts, sums.shape)], axis=1)
    means = bootstrap_means(both, replicates, rng)
    return interval(means[:, 0] / means[:, 1], LEVEL)
