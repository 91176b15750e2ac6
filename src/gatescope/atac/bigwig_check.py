"""Is this bigWig whole? Followed from its header to its last block before a library reads it.

Public names: `refuse_damaged_bigwig`.

pybigtools panics on a damaged block, takes the process down where a damaged length asks for all memory, and where the
index is damaged gives no values for what the index no longer leads to.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from gatescope.errors import InputError

# Kent et al. 2010, supplementary tables 5 to 15
_MAGIC = 0x888FFC26
_TREE_MAGIC, _INDEX_MAGIC = 0x78CA8C91, 0x2468ACE0
_HEADER = "IHHQQQHHQQIQ"
_BED_GRAPH, _VARIABLE_STEP, _FIXED_STEP = 1, 2, 3
_ITEM_BYTES = {_BED_GRAPH: 12, _VARIABLE_STEP: 8, _FIXED_STEP: 4}
_SECTION_BYTES = 24
_LARGEST_BLOCK = 1 << 28

#: Contig and position, as the index compares them.
_Place = tuple[int, int]


class _Block(NamedTuple):
    """Say where a block of data lies in the file, and which stretch of the genome it holds."""

    start: _Place
    end: _Place
    offset: int
    size: int


class _File:
    """Read numbers from a file, none of them beyond its end."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content = path, content
        self.order = "<" if int.from_bytes(content[:4], "little") == _MAGIC else ">"

    def fields(self, layout: str, offset: int) -> tuple[int, ...]:
        """Return the numbers at an offset."""
        layout = self.order + layout
        return struct.unpack(layout, self.bytes_at(offset, struct.calcsize(layout)))

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Return bytes, all of which have to be there."""
        if offset + size > len(self._content):
            self.refuse(f"something {offset + size - len(self._content):,} bytes behind its end")
        return self._content[offset : offset + size]

    def refuse(self, what: str) -> NoReturn:
        """Say that the file is damaged."""
        raise InputError(
            f"cannot be read as bigWig: it is damaged ({what})",
            where=self._path,
            cause="an interrupted download or copy",
            remedy="fetch or make it again",
        )


def refuse_damaged_bigwig(path: Path | str) -> None:
    """Raise unless every block of a bigWig can be reached, unpacked, and holds what the index says.

    A file that is no bigWig is left to its reader. The values of a file without compression have no checksum.

    Parameters
    ----------
    path : Path or str
        The file; looked at again only if it changed.

    Raises
    ------
    InputError
        If the file is cut off or damaged, or holds fewer bases with data than its own summary says.

    References
    ----------
    Kent et al., Bioinformatics 26:2204 (2010), supplementary tables 5 to 15.
    """
    path = Path(path)
    if path.is_file():
        seen = path.stat()
        _check(path, seen.st_mtime_ns, seen.st_size, seen.st_ino)


@lru_cache(maxsize=64)
def _check(path: Path, _modified: int, size: int, _inode: int) -> None:
    """Check one state of a file."""
    if size < 64:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if _MAGIC not in (int.from_bytes(content[:4], order) for order in ("little", "big")):
            return
        _follow(_File(path, content))


def _follow(file: _File) -> None:
    """Follow header, contigs, index and blocks."""
    _, _, n_zooms, tree, _, index, _, _, _, summary, unpacked_bytes, _ = file.fields(_HEADER, 0)
    for number in range(n_zooms):
        zoom_index = file.fields("IIQQ", 64 + 24 * number)[3]
        if file.fields("I", zoom_index)[0] != _INDEX_MAGIC:
            file.refuse(f"no index of zoom level {number + 1}")
    lengths = _contigs(file, tree)
    blocks = _blocks(file, index) if index else ()  # pyBigWig writes no index where there are no data
    covered = sum(_covered_by(file, block, lengths, is_packed=unpacked_bytes > 0) for block in blocks)
    if summary and covered < (promised := file.fields("Q", summary)[0]):
        file.refuse(f"{covered:,} bases with data, its summary says {promised:,}")


def _contigs(file: _File, offset: int) -> dict[int, int]:
    """Return the length of each contig by its number, from the B+ tree of names."""
    magic, _, key_bytes, value_bytes, n_contigs, _ = file.fields("IIIIQQ", offset)
    if magic != _TREE_MAGIC or value_bytes != 8:
        file.refuse("no list of contigs")
    lengths: dict[int, int] = {}
    waiting, seen = [offset + 32], set()
    while waiting:
        at = waiting.pop()
        if at in seen:
            file.refuse("a list of contigs that leads back to itself")
        seen.add(at)
        is_leaf, _, n = file.fields("BBH", at)
        if is_leaf > 1:
            file.refuse("a broken list of contigs")
        for item in range(at + 4, at + 4 + n * (key_bytes + 8), key_bytes + 8):
            if not is_leaf:
                waiting += file.fields("Q", item + key_bytes)
                continue
            _refuse_bad_name(file, file.bytes_at(item, key_bytes))
            number, length = file.fields("II", item + key_bytes)
            if number in lengths:
                file.refuse(f"contig number {number} twice")
            lengths[number] = length
    if len(lengths) != n_contigs:
        file.refuse(f"{len(lengths)} contigs, its header says {n_contigs}")
    return lengths


def _refuse_bad_name(file: _File, key: bytes) -> None:
    """Raise unless a contig's name is text, filled up with zeros."""
    name = key.rstrip(b"\0")
    if not name or b"\0" in name or not name.decode("utf-8", errors="replace").isprintable():
        file.refuse(f"a contig called {name!r}")


def _blocks(file: _File, offset: int) -> Iterator[_Block]:
    """Yield all blocks that the R tree leads to; what lies below an entry has to lie within its bounds."""
    if file.fields("I", offset)[0] != _INDEX_MAGIC:
        file.refuse("no index")
    everywhere = (0, 0), (1 << 32, 1 << 32)
    waiting, seen = [(offset + 48, *everywhere)], set()
    while waiting:
        at, first, last = waiting.pop()
        if at in seen:
            file.refuse("an index that leads back to itself")
        seen.add(at)
        is_leaf, _, n = file.fields("BBH", at)
        if is_leaf > 1:
            file.refuse("a broken index")
        size = 32 if is_leaf else 24
        for item in range(at + 4, at + 4 + n * size, size):
            start_contig, start, end_contig, end = file.fields("IIII", item)
            bounds = (start_contig, start), (end_contig, end)
            if not first <= bounds[0] <= bounds[1] <= last:
                file.refuse("an index whose parts lie outside each other")
            if is_leaf:
                yield _Block(*bounds, *file.fields("QQ", item + 16))
            else:
                waiting.append((file.fields("Q", item + 16)[0], *bounds))


def _covered_by(file: _File, block: _Block, lengths: dict[int, int], *, is_packed: bool) -> int:
    """Unpack a block, and return how many bases it has data for."""
    if block.size > _LARGEST_BLOCK:
        file.refuse(f"a block of {block.size:,} bytes")
    data = file.bytes_at(block.offset, block.size)
    if is_packed:
        data = _unpacked(file, data)
    if len(data) < _SECTION_BYTES:
        file.refuse("a block that is cut off")
    contig, start, _, step, span, kind, _, n = struct.unpack(file.order + "IIIIIBBH", data[:_SECTION_BYTES])
    if n == 0:  # pyBigWig writes such blocks where the kind of items changes
        return 0
    if kind not in _ITEM_BYTES or contig not in lengths:
        file.refuse("a block of unknown content")
    items = data[_SECTION_BYTES : _SECTION_BYTES + n * _ITEM_BYTES[kind]]
    if len(items) < n * _ITEM_BYTES[kind]:
        file.refuse("a block that is cut off")
    starts, ends = _spans(file, items, kind, start, step, span)
    is_in_order = (starts < ends).all() and (starts[1:] >= ends[:-1]).all()
    if not is_in_order or ends[-1] > lengths[contig]:
        file.refuse("values that overlap, or lie behind the end of their contig")
    if (contig, int(starts[0])) < block.start or (contig, int(ends[-1])) > block.end:
        file.refuse("values outside the stretch that the index gives")
    return int((ends - starts).sum())


def _unpacked(file: _File, data: bytes) -> bytes:
    """Unpack a block; its checksum has to be right."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, _LARGEST_BLOCK)
    except zlib.error as error:
        file.refuse(f"a block that cannot be unpacked: {error}")
    if not unpacker.eof:
        file.refuse("a block that is cut off")
    return unpacked


def _spans(
    file: _File, items: bytes, kind: int, start: int, step: int, span: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends, (n,) int64, of the items of a block."""
    words = np.frombuffer(items, dtype=f"{file.order}u4").astype(np.int64)
    if kind == _BED_GRAPH:
        return words[::3], words[1::3]
    starts = words[::2] if kind == _VARIABLE_STEP else start + step * np.arange(len(words), dtype=np.int64)
    return starts, starts + span
