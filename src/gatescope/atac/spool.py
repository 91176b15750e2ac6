"""Where do millions of rows wait until their contig's turn comes? On disk, packed, by contig and block.

Public names: `Spool`, `Place`, `Side`, `Copies`, `unpack`.
"""

import errno
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Literal, NamedTuple

import numpy as np

#: Which ends of a row are 5' ends: both of a fragment, the start of a forward or the end of a reverse read.
Side = Literal["both", "+", "-"]
#: Whether rows with the same coordinates are copies of one fragment: surely, perhaps, or not to be judged.
Copies = Literal["surely", "perhaps", "never"]

_BLOCK_BITS = 24
#: Keys that are sorted at once, and bp of the start that are never divided for that.
_RUN, _BIN_BITS = 1 << 19, 8
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

    def runs(self, place: Place) -> Iterator[np.ndarray]:
        """Yield the keys of a place in order, half a million at a time: memory does not grow with their number."""
        for low, high in pairwise(self._edges(place)):
            pieces = [keys[(keys >= low << 32) & (keys < high << 32)] for keys in self.read(place)]
            keys = np.concatenate(pieces)
            del pieces
            if (keys[1:] < keys[:-1]).any():  # what `runs` gave is often kept, and asked for again
                keys.sort()
            if len(keys):
                yield keys

    def _edges(self, place: Place) -> list[int]:
        """Return starts that divide the keys of a place into runs."""
        first, n = place.block << _BLOCK_BITS, sum(n for _, n in self.segments[place])
        if n <= _RUN:
            return [first, first + (1 << _BLOCK_BITS)]
        counts = np.zeros(1 << (_BLOCK_BITS - _BIN_BITS), np.int64)
        for keys in self.read(place):
            counts += np.bincount(((keys >> 32) - first) >> _BIN_BITS, minlength=len(counts))
        inner = np.searchsorted(counts.cumsum(), np.arange(_RUN, n, _RUN)) + 1
        return [first + (int(edge) << _BIN_BITS) for edge in np.unique([0, *inner, len(counts)])]

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
