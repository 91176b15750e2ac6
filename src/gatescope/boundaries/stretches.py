"""Which stretches of a contig are looked at, and which of them count as independent? Draws and blocks.

A contig of more than `LONG_CONTIG_BP` is looked at in `N_STRETCHES` random stretches, so that a genome of
billions of bases costs no more than one of millions. Error bars come from whole blocks of a contig, because
neighbouring boundaries share their sequence and the memory of the network: they are not independent.

Public names: `LONG_CONTIG_BP`, `STRETCH_BP`, `N_STRETCHES`, `BLOCK_BP`, `MIN_BLOCKS`, `Spans`,
`draw_stretches`, `lie_inside`, `BlockSums`, `block_band`.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.resample import interval

LONG_CONTIG_BP = 20_000_000
STRETCH_BP = 2_000_000
N_STRETCHES = 20
#: A block is much longer than a gate remembers, and a contig of 1 Mb still has 50 of them.
BLOCK_BP = 20_000
#: Fewer blocks than this say too little about how much they differ.
MIN_BLOCKS = 10

#: contig -> int64, shape (n, 2): stretches [start, end), 0-based, sorted, without overlap.
Spans = Mapping[str, NDArray[np.int64]]


def draw_stretches(
    lengths: Mapping[str, int],
    rng: np.random.Generator,
    *,
    long_bp: int = LONG_CONTIG_BP,
    n: int = N_STRETCHES,
    stretch_bp: int = STRETCH_BP,
) -> dict[str, NDArray[np.int64]]:
    """Draw random stretches of each long contig, every arrangement without overlap as likely as any other.

    Where `n` of them do not fit, as many are drawn as do.

    Parameters
    ----------
    lengths : mapping of str to int
        Contig lengths in bp.
    rng : numpy.random.Generator
    long_bp : int
        Contigs of at most this length are used whole and are not in the result; at least `stretch_bp`.
    n : int
        Stretches per contig.
    stretch_bp : int
        Length of each.

    Returns
    -------
    stretches : dict of str to int64, shape (<= n, 2)
    """
    drawn = {}
    for contig, length in lengths.items():
        if length > long_bp:
            k = min(n, length // stretch_bp)
            # as if each stretch were one base wide, then widened: a choice without replacement is uniform
            at = np.sort(rng.choice(length - k * (stretch_bp - 1), size=k, replace=False))
            starts = at + np.arange(k) * (stretch_bp - 1)
            drawn[contig] = np.stack([starts, starts + stretch_bp], axis=1)
    return drawn


def lie_inside(positions: NDArray[np.int64], spans: NDArray[np.int64], margin_bp: int) -> NDArray[np.bool_]:
    """Tell which boundaries have `margin_bp` bases of one stretch on either side, shape (n,)."""
    before = np.searchsorted(spans[:, 0], positions, side="right") - 1  # -1: left of the first stretch
    nearest = spans[np.maximum(before, 0)]
    return (positions - nearest[:, 0] >= margin_bp) & (nearest[:, 1] - positions >= margin_bp)


class BlockSums(NamedTuple):
    """Sums over the boundaries of each block that holds one."""

    sums: NDArray[np.float64]  # (B, W)
    counts: NDArray[np.int64]  # (B,) boundaries per block

    @classmethod
    def of(
        cls, pieces: Iterable[tuple[str, NDArray[np.int64], NDArray[np.float64]]], block_bp: int
    ) -> "BlockSums":
        """Add up (contig, sorted boundaries (n,), values (n, W)); a block may be spread over several pieces."""
        sums: dict[tuple[str, int], NDArray[np.float64]] = {}
        counts: dict[tuple[str, int], int] = {}
        for contig, boundaries, values in pieces:
            blocks, first, n = np.unique(boundaries // block_bp, return_index=True, return_counts=True)
            for block, total, count in zip(blocks, np.add.reduceat(values, first), n, strict=True):
                key = contig, int(block)
                sums[key] = sums.get(key, 0) + total
                counts[key] = counts.get(key, 0) + int(count)
        return cls(np.stack(list(sums.values())), np.array(list(counts.values())))


def block_band(blocks: BlockSums, replicates: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the 95 % interval of the mean over boundaries when whole blocks are drawn with replacement.

    Parameters
    ----------
    blocks : BlockSums
    replicates : int
        Number of bootstrap samples.
    rng : numpy.random.Generator

    Returns
    -------
    band : float64, shape (2, W)
        Low and high; nan with fewer than `MIN_BLOCKS` blocks.

    References
    ----------
    Bickel et al. 2010, Annals of Applied Statistics 4:1660 (blocks of a genome as the independent unit).
    """
    n = len(blocks.counts)
    if n < MIN_BLOCKS:
        return np.full((2, blocks.sums.shape[1]), np.nan)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=replicates)  # how often each block is drawn
    return interval((drawn @ blocks.sums) / (drawn @ blocks.counts)[:, None])
