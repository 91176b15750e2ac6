"""What stands in these windows? Many of them at once, out of the memory-mapped arrays of a store.

Windows of all contigs are rows of one strided view, which NumPy copies without a loop in Python, and a one-hot is four
comparisons: together less than three times a plain copy of the same bytes (``tests/benchmarks/bench_windows.py``).

Public names: `Windows`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from gatescope.data.store import EncodedStore


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
        self._turned = np.flatnonzero([] if is_reverse is None else is_reverse)

    def codes(self) -> NDArray[np.uint8]:
        """Return base codes, (N, L) uint8, 0-3 = ACGT; an unknown base is a number above 3."""
        codes = self._rows("codes")
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
        array = self._store.genome_array(name).view(np.ndarray)  # a memmap looks at itself at every step
        shape = max(array.size - self._window_bp + 1, 0), self._window_bp
        # not sliding_window_view, whose own checks take as long as a small batch
        rows = as_strided(array, shape, array.strides * 2, writeable=False)[self._at]
        if self._turned.size:
            rows[self._turned] = rows[self._turned, ::-1]
        return rows


def _places(
    store: EncodedStore, contigs: NDArray[np.int64], starts: NDArray[np.int64], window_bp: int
) -> NDArray[np.int64]:
    """Return where windows begin in the arrays of the whole genome."""
    first, length = store.contig_table
    if contigs.size and not (0 <= contigs.min() and contigs.max() < first.size):
        raise ValueError(f"contigs {contigs.min()} to {contigs.max()}; the store has {first.size}")
    outside = (starts < 0) | (starts + window_bp > length[contigs])
    if outside.any():
        n = int(np.flatnonzero(outside)[0])
        where = f"contig {contigs[n]} of {length[contigs[n]]} bp"
        raise ValueError(f"window {n}: {window_bp} bp from {starts[n]} on do not lie on {where}")
    return first[contigs] + starts
