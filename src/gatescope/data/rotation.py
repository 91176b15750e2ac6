"""What if the targets belonged to other sequence? Cuts and state of each contig, moved along it together.

A network that is trained on such targets has seen the same bases and learned from the same number of cuts and of
accessible stretches, equally long and equally far apart; only what they have to do with the sequence is gone.

Public names: `LEAST_BP`, `draw_rotations`, `RotatedTargets`.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatescope.data.store import EncodedStore
from gatescope.data.windows import Windows
from gatescope.genome.contigs import name_list

log = logging.getLogger(__name__)

#: Targets are moved at least this far, either way around the contig: no regulatory region reaches as far in yeast,
#: and neighbours of a region in a larger genome are as far from it.
LEAST_BP = 10_000
# Sets these random numbers apart from those of the windows, whose key is [seed, index].
_STREAM = 3


def draw_rotations(store: EncodedStore, contigs: Sequence[str], seed: int) -> dict[str, int]:
    """Draw by how many bp the targets of each contig are moved to the right, and say it.

    A contig's rotation is uniform between `LEAST_BP` and its length less `LEAST_BP`, and depends on the seed, its name
    and its length alone. On a contig shorter than two `LEAST_BP` and a window, targets are moved as far as possible, by
    half its length.
    """
    drawn = {contig: _draw(contig, store.lengths[contig], store.window_bp, seed) for contig in contigs}
    near = [contig for contig, rotation in drawn.items() if rotation < LEAST_BP]
    log.info(
        "targets are rotated within each contig by %s bp or more, and half of a short one", f"{LEAST_BP:,}"
    )
    if near:
        log.warning(
            "targets are rotated by less than %s bp on the short contigs %s", f"{LEAST_BP:,}", name_list(near)
        )
    return drawn


def _draw(contig: str, length: int, window_bp: int, seed: int) -> int:
    if length < 2 * LEAST_BP + window_bp:
        return length // 2
    rng = np.random.default_rng([seed, _STREAM, *contig.encode()])
    return int(rng.integers(LEAST_BP, length - LEAST_BP + 1))


class RotatedTargets(Windows):
    """Read windows as `Windows` does, from arrays whose contigs are rotated; meant for the targets.

    The base at p holds what stood at p - rotation before; what is moved beyond the right end of a contig comes in at
    its left end.

    Parameters
    ----------
    store, contigs, starts, window_bp, is_reverse
        As `Windows`.
    rotations : mapping of str to int
        Per contig, as from `draw_rotations`; 0 where one is not named.

    Raises
    ------
    ValueError
        If a window does not lie on its contig.
    """

    def __init__(
        self,
        store: EncodedStore,
        contigs: ArrayLike,
        starts: ArrayLike,
        window_bp: int,
        is_reverse: ArrayLike | None,
        rotations: Mapping[str, int],
    ) -> None:
        super().__init__(store, contigs, starts, window_bp, is_reverse)
        first, length = store.contig_table
        by_rank = np.array([rotations.get(name, 0) for name in store.lengths])
        rank = np.asarray(contigs, np.int64)
        bases = (np.asarray(starts, np.int64) - by_rank[rank])[:, None] + np.arange(window_bp)
        self._bases = first[rank][:, None] + bases % length[rank][:, None]  # (N, L)

    def _rows(self, name: str) -> NDArray:
        """Copy the windows out of an array of the whole genome, (N, L)."""
        return self._turn(self._store.rows(name, 1)[self._bases, 0])
