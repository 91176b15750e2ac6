"""Which bases of training contigs are not learned from? Near-copies of what a fold holds out.

Public names: `Copies`, `NO_COPIES`, `read_copies`, `hide_copies`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.data.store import NOT_SCORED

#: Contig -> stretches (n, 2), ascending and apart.
Copies = Mapping[str, NDArray[np.int64]]
#: Everything is learned from.
NO_COPIES: Copies = MappingProxyType({})


def read_copies(meta: Mapping[str, Any], fold: str) -> Copies:
    """Return the stretches that a fold does not learn from, as a store's `meta` names them.

    Returns
    -------
    dict of str to ndarray, shape (n, 2), int64
        Start and end, 0-based half-open, of each contig that has any; empty where ``near_duplicates`` was not
        ``drop``.
    """
    near = meta.get("near_duplicates") or {"folds": {}}
    stretches = near["folds"].get(fold, {}).get("copies", [])
    contigs = dict.fromkeys(contig for contig, _, _ in stretches)
    return {
        contig: np.array([stretch for name, *stretch in stretches if name == contig], np.int64)
        for contig in contigs
    }


def hide_copies(
    state: NDArray[np.uint8],
    contigs: Sequence[str],
    starts: NDArray[np.int64],
    is_reverse: NDArray[np.bool_],
    copies: Copies,
) -> None:
    """Mark the bases of windows that are copies as not scored, in place.

    Parameters
    ----------
    state : ndarray, shape (N, L), uint8
        State of N windows, in their order of reading.
    contigs, starts, is_reverse : sequence of str, and ndarrays, N of each
        Contig and first base (0-based) of each window, and whether it is read from the other strand.
    copies : mapping of str to ndarray, shape (n, 2)
        As from `read_copies`.
    """
    length = state.shape[1]
    for row, (contig, start, turned) in enumerate(zip(contigs, starts, is_reverse, strict=True)):
        if contig not in copies:
            continue
        first = np.searchsorted(copies[contig][:, 1], start, side="right")
        last = np.searchsorted(copies[contig][:, 0], start + length, side="left")
        for low, high in np.clip(copies[contig][first:last] - start, 0, length):
            part = slice(length - high, length - low) if turned else slice(low, high)
            state[row, part] = NOT_SCORED
