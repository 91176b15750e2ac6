"""Read a .2bit file bit by bit, from the format's description, without NumPy and without gatescope.

https://genome.ucsc.edu/FAQ/FAQformat.html#format7
"""

import struct
from pathlib import Path


def read_twobit(path: Path) -> dict[str, str]:
    """Return name -> sequence in the order of the index; N where a block says so, lower case if masked."""
    content = Path(path).read_bytes()
    signature, version, count, reserved = struct.unpack_from("<4I", content, 0)
    assert (signature, version, reserved) == (0x1A412743, 0, 0)
    at, offsets = 16, {}
    for _ in range(count):
        size = content[at]
        name = content[at + 1 : at + 1 + size].decode()
        (offsets[name],) = struct.unpack_from("<I", content, at + 1 + size)
        at += 5 + size
    assert at == min(offsets.values()), "the index ends where the first record begins"
    return {name: _read_record(content, offset) for name, offset in offsets.items()}


def _read_record(content: bytes, at: int) -> str:
    (length,) = struct.unpack_from("<I", content, at)
    unknown, at = _read_blocks(content, at + 4)
    masked, at = _read_blocks(content, at)
    assert struct.unpack_from("<I", content, at) == (0,), "reserved"
    at += 4
    letters = []
    for base in range(length):
        byte = content[at + base // 4]
        bits = bin(byte)[2:].zfill(8)
        pair = bits[2 * (base % 4) : 2 * (base % 4) + 2]
        letters.append({"00": "T", "01": "C", "10": "A", "11": "G"}[pair])
    for start, size in unknown:
        for base in range(start, start + size):
            letters[base] = "N"
    for start, size in masked:
        for base in range(start, start + size):
            letters[base] = letters[base].lower()
    return "".join(letters)


def _read_blocks(content: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    (count,) = struct.unpack_from("<I", content, at)
    starts = struct.unpack_from(f"<{count}I", content, at + 4)
    sizes = struct.unpack_from(f"<{count}I", content, at + 4 + 4 * count)
    return list(zip(starts, sizes, strict=True)), at + 4 + 8 * count
