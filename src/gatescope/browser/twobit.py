"""How does a genome that UCSC does not host get there? As a .2bit file, four bases to the byte.

Public names: `write_twobit`.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import replacing_file
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import UNKNOWN

_SIGNATURE = 0x1A412743
#: .2bit code of A, C, G, T and of an unknown base, which the block list marks as N.
_TWOBIT_CODE = np.array([2, 1, 3, 0, 0], np.uint8)


def write_twobit(path: Path | str, genome: Genome) -> None:
    """Write the contigs of `genome`, in its order, as a .2bit file (version 0, no soft mask).

    Every unknown base becomes N; lower case is not kept. One contig is held in memory.

    Raises
    ------
    InputError
        If a contig's name is longer than 255 bytes, or the file would pass 4 GiB.

    References
    ----------
    UCSC, https://genome.ucsc.edu/FAQ/FAQformat.html#format7
    """
    names = {chrom: _encode_name(chrom) for chrom in genome.lengths}
    with replacing_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<4I", _SIGNATURE, 0, len(names), 0))
        # the place of a record depends on the N blocks of those before it: written at the end
        index_at = file.tell()
        file.write(bytes(sum(5 + len(name) for name in names.values())))
        offsets = {chrom: _write_record(file, genome.codes(chrom)) for chrom in names}
        file.seek(index_at)
        for chrom, name in names.items():
            file.write(struct.pack("<B", len(name)) + name + struct.pack("<I", offsets[chrom]))


def _encode_name(chrom: str) -> bytes:
    """Return the bytes of a contig's name."""
    name = chrom.encode()
    if len(name) > 255:
        raise InputError(f"contig name of {len(name)} bytes; .2bit allows 255", where=chrom[:40])
    return name


def _write_record(file: BinaryIO, codes: NDArray[np.uint8]) -> int:
    """Append one contig; return where it begins."""
    offset = file.tell()
    if offset + codes.size // 4 >= 2**32:
        raise InputError(
            "genome larger than a .2bit file can hold (4 GiB)",
            remedy="set ucsc_genome if UCSC hosts this assembly",
        )
    starts, sizes = _unknown_blocks(codes)
    file.write(struct.pack("<2I", codes.size, starts.size))
    file.write(starts.astype("<u4").tobytes() + sizes.astype("<u4").tobytes())
    file.write(struct.pack("<2I", 0, 0))  # no soft mask; reserved
    file.write(_pack(codes).tobytes())
    return offset


def _unknown_blocks(codes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and length of each run of unknown bases."""
    edges = np.flatnonzero(np.diff(np.r_[False, codes == UNKNOWN, False].astype(np.int8)))
    return edges[::2], edges[1::2] - edges[::2]


def _pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack four bases to the byte, the first in the highest bits."""
    padded = np.zeros(-(-codes.size // 4) * 4, np.uint8)
    padded[: codes.size] = _TWOBIT_CODE[codes]
    shifted = padded.reshape(-1, 4) << np.array([6, 4, 2, 0], np.uint8)
    return np.bitwise_or.reduce(shifted, axis=1)
