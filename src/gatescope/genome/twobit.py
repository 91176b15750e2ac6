"""Which bases does a .2bit file hold? UCSC's packed genomes, read by Biopython, span by span.

Public names: `TwoBit`, `is_twobit`.
"""

import struct
import weakref
from itertools import pairwise
from pathlib import Path

from Bio.SeqIO.TwoBitIO import TwoBitIterator

_SIGNATURE = 0x1A412743


def is_twobit(path: Path | str) -> bool:
    """Tell a .2bit file, of either byte order, by its first four bytes; a file that is not there is none."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    return head in (struct.pack("<I", _SIGNATURE), struct.pack(">I", _SIGNATURE))


class TwoBit:
    """Read the letters of a .2bit file by contig and position.

    Parameters
    ----------
    path : Path
        A .2bit file of version 0, of either byte order.

    Attributes
    ----------
    lengths : dict of str to int
        Length in bp of every contig, in the order of the file's index.

    Raises
    ------
    OSError, ValueError, RuntimeError, MemoryError
        If the file is damaged, truncated or of version 1 (64-bit offsets). `gatescope.genome.fasta.Genome` makes
        one message of them.

    References
    ----------
    UCSC, https://genome.ucsc.edu/FAQ/FAQformat.html#format7
    """

    kind = ".2bit"

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")  # the sequences below read from it
        weakref.finalize(self, self._file.close)
        index = TwoBitIterator(self._file)
        n_promised = self._count(index.byteorder)
        if len(index) != n_promised:
            raise ValueError(f"{len(index)} different contig names, the header promises {n_promised}")
        self._refuse_gaps("<" if index.byteorder == "little" else ">", n_promised)
        # upper: with the mask of lower case, each span would be compared with all its blocks
        self._sequences = {name: index.sequences[name].upper() for name in index.keys()}
        self.lengths = {name: len(sequence) for name, sequence in self._sequences.items()}

    def _count(self, byteorder: str) -> int:
        """Return the number of contigs that the header promises."""
        self._file.seek(8)
        return int.from_bytes(self._file.read(4), "little" if byteorder == "little" else "big")

    def _refuse_gaps(self, order: str, n_contigs: int) -> None:
        """Raise if the records do not follow each other to the file's end: bytes were lost, or came in."""
        number = struct.Struct(f"{order}I")
        self._file.seek(16)
        offsets = []
        for _ in range(n_contigs):
            self._file.seek(self._file.read(1)[0], 1)
            offsets.append(number.unpack(self._file.read(4))[0])
        begins = [*sorted(offsets), self._file.seek(0, 2)]
        for first, after in pairwise(begins):
            self._file.seek(first)
            n_bases, n_unknown = (number.unpack(self._file.read(4))[0] for _ in range(2))
            self._file.seek(8 * n_unknown, 1)
            n_masked = number.unpack(self._file.read(4))[0]
            end = first + 16 + 8 * (n_unknown + n_masked) + -(-n_bases // 4)
            if end != after:
                raise ValueError(f"a sequence ends at byte {end}, the next begins at {after}")

    def text(self, chrom: str, start: int, end: int) -> bytes:
        """Return the upper-case letters, A, C, G, T and N, of ``[start, end)``, 0-based half-open."""
        return bytes(self._sequences[chrom][start:end])
