"""Where do millions of rows wait until their contig's turn comes? On disk, packed, by contig and block.

Public names: `Spool`, `Place`, `Side`, `Copies`, `distinct_keys`, `unpack`.
"""

import errno
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import IO, Literal, NamedTuple

import numpy as np

#: Which ends of a row are 5' ends: both of a fragment, the start of a forward or the end of a reverse read.
Side = Literal["both", "+", "-"]
#: Whether rows with the same coordinates are copies of one fragment: surely, perhaps, or not to be judged.
Copies = Literal["surely", "perhaps", "never"]

_BLOCK_BITS = 24
_MERGE_AT_LEAST = 1 << 21
_LOW = 0xFFFFFFFF


class Place(NamedTuple):
    """Name where rows belong: index of the contig, block of 2^24 bp of the start, side, copies."""

    code: int
    block: int
    side: Side
    copies: Copies


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends, (n,) int64, of (n,) keys."""
    return keys >> 32, keys & _LOW


class Spool:
    """Keep rows in a temporary file, 8 bytes each: memory does not grow with their number.

    A row is a key, ``start << 32 | end``: one integer sorts and compares many times faster than a pair. The
    file lies in the system's temporary folder (``TMPDIR``) and has no name, so that nothing is ever left.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="gatescope-", buffering=0)
        self.segments: dict[Place, list[tuple[int, int]]] = defaultdict(list)  # offset in bytes, keys
        self._size = 0

    def add(
        self, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, side: Side, copies: Copies
    ) -> None:
        """Write rows, (n,) integers each, under the places they belong to."""
        keys = (starts.astype(np.int64) << 32) | (ends.astype(np.int64) & _LOW)
        places = (codes.astype(np.int64) << 32) | (starts.astype(np.int64) >> _BLOCK_BITS)
        order = np.argsort(places, kind="stable")
        found, first = np.unique(places[order], return_index=True)
        for place, piece in zip(found.tolist(), np.split(keys[order], first[1:]), strict=True):
            self.write(Place(place >> 32, place & _LOW, side, copies), piece)

    def write(self, place: Place, keys: np.ndarray) -> None:
        """Append keys to a place."""
        self._file.seek(self._size)
        left = memoryview(keys.tobytes())
        while left:  # a raw file may take less than it is given
            left = left[self._file.write(left) :]
        self.segments[place].append((self._size, len(keys)))
        self._size += keys.nbytes

    def read(self, place: Place) -> Iterator[np.ndarray]:
        """Yield the keys of a place as they were written, piece by piece."""
        for offset, n in self.segments[place]:
            self._file.seek(offset)
            keys = np.fromfile(self._file, np.int64, n)
            if len(keys) != n:
                raise OSError(errno.EIO, "rows are missing in the temporary file", tempfile.gettempdir())
            yield keys

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


def distinct_keys(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sorted different keys; memory grows with these, not with the rows."""
    keys, waiting, n = np.empty(0, np.int64), [], 0
    for piece in pieces:
        waiting.append(piece)
        n += len(piece)
        if n >= max(_MERGE_AT_LEAST, len(keys)):
            keys, waiting, n = _sorted_set([keys, *waiting]), [], 0
    return _sorted_set([keys, *waiting])


def _sorted_set(arrays: list[np.ndarray]) -> np.ndarray:
    keys = np.sort(np.concatenate(arrays))
    return keys[np.diff(keys, prepend=-1) != 0]
