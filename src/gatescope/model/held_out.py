"""What is scored? The test contigs of a fold, cut into bins of several sizes, and the blocks drawn for each.

Public names: `BIN_SIZES`, `HeldOut`, `cut_held_out`.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.genome.folds import Fold
from gatescope.model.comparison import BIN_BP
from gatescope.model.metrics import FEWEST_BLOCKS, Bins, cut_bins, draw_blocks

log = logging.getLogger(__name__)

#: A base; about what one factor covers; a nucleosome with its linker; a regulatory region.
BIN_SIZES = (1, 50, BIN_BP, 1000)
#: Without these there is nothing to compare; test contigs may be too short for the others.
_NEEDED = (1, BIN_BP)


@dataclass(frozen=True)
class HeldOut:
    """Hold the test contigs, in the order of the store.

    Attributes
    ----------
    contigs : tuple of str
    bins : dict of int to Bins
        By length in bp.
    draws : dict of int to ndarray, shape (R, n_blocks), int64
        By length in bp: how often each block is drawn.
    """

    contigs: tuple[str, ...]
    bins: dict[int, Bins]
    draws: dict[int, NDArray[np.int64]]


def cut_held_out(data: EncodedStore, fold: Fold, *, block_bp: int, replicates: int, seed: int) -> HeldOut:
    """Cut the test contigs into bins of `BIN_SIZES`, and draw blocks.

    Parameters
    ----------
    data : EncodedStore
    fold : Fold
    block_bp, replicates : int
        Length of a block, and how many times blocks are drawn.
    seed : int

    Raises
    ------
    InputError
        If no base or no 200-bp bin is scored.
    """
    contigs = tuple(contig for contig in data.lengths if fold.split(contig) == "test")
    states = {contig: data.state(contig) for contig in contigs}
    cuts = {contig: data.track(contig, "cuts") for contig in contigs}
    bins = {bin_bp: cut_bins(states, cuts, bin_bp, block_bp) for bin_bp in BIN_SIZES}
    kept = {bin_bp: cut for bin_bp, cut in bins.items() if _is_usable(cut, contigs, fold)}
    draws = {
        bin_bp: draw_blocks(cut.n_blocks, replicates, np.random.default_rng(seed))
        for bin_bp, cut in kept.items()
    }
    return HeldOut(contigs, kept, draws)


def _is_usable(cut: Bins, contigs: tuple[str, ...], fold: Fold) -> bool:
    """Say what there is of one size, and refuse to go on without the sizes that are needed."""
    n, bin_bp = cut.label.size, cut.bin_bp
    log.info("test contigs, %d bp: %s bins in %d blocks; %s left out (not scored)",
             bin_bp, f"{n:,}", cut.n_blocks, f"{cut.n_left_out:,}")  # fmt: skip
    if n == 0 and bin_bp in _NEEDED:
        raise InputError(
            f"no {bin_bp}-bp bin of the test contigs {', '.join(contigs)} is scored",
            where=f"folds: {fold.name}",
            cause="the exclusion list covers them, or they are too short",
        )
    if n == 0:
        log.warning("test contigs, %d bp: no bin is scored; no scores of this size", bin_bp)
        return False
    if cut.label.all() or not cut.label.any():
        log.warning("test contigs, %d bp: all bins are of one kind; no AUROC, no AUPRC", bin_bp)
    if cut.n_blocks < FEWEST_BLOCKS:
        log.warning("test contigs, %d bp: fewer than %d blocks; no intervals", bin_bp, FEWEST_BLOCKS)
    return True
