"""What stands in these windows? Many of them at once, out of the memory-mapped arrays of a store.

Windows of all contigs are rows of one strided view, which NumPy copies without a loop in Python, and a one-hot is four
comparisons: together less than three times a plain copy of the same bytes (``tests/benchmarks/bench_windows.py``).

Public names: `Windows`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatescope.data.store import EncodedStore

_NONE = np.zeros(0, np.int64)


class Windows:
    """Read N windows of L bp; each method copies what was asked for, and the caller may write to it.

    Parameters
    ----------
    store : EncodedStore
    contigs : array_like of int, shape (N,)
        Contig of each window, as its place in ``list(store.lengths)``.
    starts : array_like of int, shape (N,)
        First base of each window on its contig, 0-based.
    window_bp : int
        Length L of all windows.
    is_reverse : array_like of bool, shape (N,), optional
        Windows to read from the other strand: everything backwards, and the bases complemented.

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
        is_reverse: ArrayLike | None = None,
    ) -> None:
        self._store, self._window_bp = store, window_bp
        self._at = _places(store, np.asarray(contigs, np.int64), np.asarray(starts, np.int64), window_bp)
        self._turned = _NONE if is_reverse is None else np.flatnonzero(is_reverse)

    def codes(self) -> NDArray[np.uint8]:
        """Return base codes, (N, L) uint8, 0-3 = ACGT; an unknown base is a number above 3."""
        codes = self._rows("codes")
        if self._turned.size:
            codes[self._turned] = 3 - codes[self._turned]  # the complement; 4 becomes 255
        return codes

    def one_hot(self) -> NDArray[np.uint8]:
        """Return bases as (N, 4, L) uint8, ACGT; an unknown base is a zero column."""
        codes = self.codes()
        found = np.empty((len(codes), 4, self._window_bp), bool)
        for letter in range(4):  # all at once takes half as long again
            np.equal(codes, letter, out=found[:, letter])
        return found.view(np.uint8)

    def state(self) -> NDArray[np.uint8]:
        """Return 1 where accessible, 0 where not, 255 where not scored; (N, L) uint8."""
        return self._rows("state")

    def track(self, name: str) -> NDArray[np.float32]:
        """Return the raw values of a track, (N, L) float32.

        Raises
        ------
        InputError
            If the store has no such track.
        """
        return self._rows(name)

    def tracks(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return the raw values of K tracks, (N, K, L) float32; as `track`."""
        if len(names) == 1:  # without copying once more
            return self.track(names[0])[:, None]
        rows = [self.track(name) for name in names]
        return np.stack(rows, axis=1) if rows else np.zeros((self._at.size, 0, self._window_bp), np.float32)

    def _rows(self, name: str) -> NDArray:
        """Copy the windows out of an array of the whole genome, (N, L)."""
        return self._turn(self._store.rows(name, self._window_bp)[self._at])

    def _turn(self, rows: NDArray) -> NDArray:
        """Turn the windows that are read from the other strand, in place."""
        if self._turned.size:
            rows[self._turned] = rows[self._turned, ::-1]
        return rows


def _places(
    store: EncodedStore, contigs: NDArray[np.int64], starts: NDArray[np.int64], window_bp: int
) -> NDArray[np.int64]:
    """Return where windows begin in the arrays of the whole genome."""
    first, length = store.contig_table
    try:
        room = length[contigs] - window_bp - starts
    except IndexError as error:
        raise ValueError(f"contig {contigs.max()}; the store has {first.size}, from 0") from error
    amiss = contigs | starts | room  # below 0 where one of the three is
    if amiss.size and amiss.min() < 0:
        n = int(np.flatnonzero(amiss < 0)[0])
        where = f"contig {contigs[n]}, which has {length[contigs[n]]} bp"
        raise ValueError(f"window {n}: {window_bp} bp from {starts[n]} on do not lie on {where}")
    return first[contigs] + starts
