"""Where does one contig rest while its segments come in any order? In a file, not in memory.

Public names: `OnDisk`, `held_logit`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A float32 logit beyond which the gate is 1: a run of unknown bases that holds the state.
_LARGEST_LOGIT = 30.0


class OnDisk:
    """A memory-mapped float32 array that is written all over, in any order, without staying in memory."""

    _MOST_WRITTEN = 64 * 2**20  # bytes; mapped pages count as memory of the process until the map is closed

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._written = path, 0
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)

    def write(self, where: Any, values: NDArray) -> None:
        """Write values, and let go of what was written once it is much."""
        self._array[where] = values
        self._written += values.size * 4
        if self._written > self._MOST_WRITTEN:
            self.flush()

    def flush(self) -> None:
        """Send everything to the file."""
        self._array.flush()
        self._array, self._written = np.load(self._path, mmap_mode="r+"), 0

    def read(self, where: Any) -> NDArray[np.float32]:
        """Return a part, still on disk."""
        return self._array[where]


def held_logit(retention: float, bases: int) -> float:
    """Return the logit of a forget gate that leaves `retention` of the state after so many bases."""
    per_base = retention ** (1 / bases)
    return _LARGEST_LOGIT if per_base == 1 else math.log(per_base) - math.log1p(-per_base)
