"""Where does one contig rest while its segments come in any order? In a file, not in memory.

Public names: `OnDisk`, `held_logit`.
"""

import errno
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: A float32 logit beyond which the gate is 1: a run of unknown bases that holds the state.
_LARGEST_LOGIT = 30.0


class OnDisk:
    """A memory-mapped array (`.npy`) that is read and written all over, in any order, without staying in memory."""

    _MOST_TOUCHED = 64 * 2**20  # bytes; mapped pages count as memory of the process until the map is closed

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        self._path, self._touched = path, 0
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        if (
            shutil.disk_usage(path.parent).free < needed
        ):  # a map on a full disk ends the process without a word
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    def write(self, where: Any, values: NDArray) -> None:
        """Write values, and let go of what was touched once it is much."""
        self._array[where] = values
        self._let_go(values.size)

    def read(self, where: Any) -> NDArray:
        """Return a copy of a part."""
        values = np.array(self._array[where])
        self._let_go(values.size)
        return values

    def flush(self) -> None:
        """Send everything to the file."""
        self._array.flush()
        self._array, self._touched = np.load(self._path, mmap_mode="r+"), 0

    def _let_go(self, values: int) -> None:
        self._touched += values * self._array.itemsize
        if self._touched > self._MOST_TOUCHED:
            self.flush()


def held_logit(log_retention: float) -> float:
    """Return the logit of a forget gate of which the logarithm is given; no larger than float32 can tell from 1."""
    return _LARGEST_LOGIT if log_retention == 0 else log_retention - math.log(-math.expm1(log_retention))
