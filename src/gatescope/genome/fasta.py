"""Which contigs does this genome have, and which bases? FASTA, plain or compressed, and .2bit.

Public names: `Genome`.
"""

import gzip
import hashlib
import logging
import os
import shutil
import struct
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from pyfaidx import Faidx, FastaIndexingError

from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint
from gatescope.genome.fasta_faults import explain_fasta
from gatescope.genome.sequence import encode_bases
from gatescope.genome.textfile import refuse_endless_bgzip
from gatescope.genome.twobit import TwoBit, is_twobit

log = logging.getLogger(__name__)

# pyfaidx joins the blocks of a bgzip file one by one: reading 60 Mb at once took 10.7 s, in pieces 0.2 s.
_PIECE_BP = 500_000
# Between the bases of two contigs in an index; deflines of reference genomes have some hundred bytes.
_LONGEST_HEADER = 100_000
_BLOCK_BYTES = 1 << 16
_IUPAC = b"ACGTRYSWKMBDHVNacgtryswkmbdhvn"
# What pyfaidx and Biopython raise on files that are no genome, truncated, or indexed wrongly.
_UNREADABLE = (
    FastaIndexingError,
    RuntimeError,  # of its indexer, for what it did not foresee
    OSError,
    EOFError,
    ValueError,
    IndexError,
    AttributeError,
    RuntimeError,
    MemoryError,
    zlib.error,
    struct.error,
)


class _Reader(Protocol):
    """What a file of either format can do."""

    kind: str
    lengths: dict[str, int]

    def text(self, chrom: str, start: int, end: int) -> bytes:
        """Return the letters of ``[start, end)``."""
        ...


class Genome:
    """Read the bases of a genome by contig and position.

    Parameters
    ----------
    path : Path or str
        FASTA: plain, gzip or bgzip; or .2bit (told apart by content, not by name). A ``.fai`` (and ``.gzi``)
        beside a FASTA that is at least as new as the file and fits it is used; otherwise an index is made in a
        temporary folder. Nothing is ever written beside the file. A gzip file is unpacked there once per process.

    Notes
    -----
    The file is opened at the first access, and again in each process that uses the object (after a fork
    the file position would be shared). Objects can be pickled.

    Raises
    ------
    InputError
        At first access: missing or unreadable file, no ``>`` line, a name twice, a contig without bases,
        letters that are no nucleotide codes.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reader: _Reader | None = None
        self._pid = 0
        self._lengths: dict[str, int] | None = None
        self._md5: dict[str, str] = {}

    def __reduce__(self) -> tuple:
        return Genome, (self.path,)

    @property
    def lengths(self) -> dict[str, int]:
        """Length in bp of every contig, in file order."""
        if self._lengths is None:
            self._open()
        assert self._lengths is not None
        return dict(self._lengths)

    def codes(self, chrom: str, start: int = 0, end: int | None = None) -> np.ndarray:
        """Return the base codes of ``[start, end)``, 0-based half-open; `end` None is the contig's end.

        Returns
        -------
        numpy.ndarray
            (end - start,) uint8 codes as from `gatescope.genome.sequence.encode_bases`.

        Raises
        ------
        InputError
            If the contig is unknown, or a letter there is no IUPAC nucleotide code.
        ValueError
            If the span is not within the contig.
        """
        pieces = [encode_bases(text) for text in self.letters(chrom, start, end)]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint8)

    def md5(self, chrom: str) -> str:
        """Return the MD5 of a contig's upper-case letters, as 32 hexadecimal digits: SAM's tag M5.

        References
        ----------
        SAM/BAM Format Specification, section 1.3.2.
        """
        if chrom not in self._md5:
            digest = hashlib.md5(usedforsecurity=False)
            for text in self.letters(chrom):
                digest.update(text.upper())
            self._md5[chrom] = digest.hexdigest()
        return self._md5[chrom]

    def letters(self, chrom: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the letters of ``[start, end)`` piece by piece, in the case of the file (.2bit: upper case).

        Raises
        ------
        InputError, ValueError
            As `codes`.
        """
        lengths = self.lengths
        if chrom not in lengths:
            raise InputError(f"no contig {chrom!r}", where=self.path, cause=contig_hint([chrom], lengths))
        end = lengths[chrom] if end is None else end
        if not 0 <= start <= end <= lengths[chrom]:
            raise ValueError(f"[{start}, {end}) is not within {chrom} of {lengths[chrom]} bp")
        for first in range(start, end, _PIECE_BP):
            yield self._piece(chrom, first, min(first + _PIECE_BP, end))

    def _piece(self, chrom: str, start: int, end: int) -> bytes:
        """Read and check one piece."""
        if self._pid != os.getpid():
            self._open()
        assert self._reader is not None
        try:
            text = self._reader.text(chrom, start, end)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error
        if len(text) != end - start:
            raise self._unreadable(
                f"{len(text)} bases at {chrom}:{start}-{end}, the index promises {end - start}"
            )
        self._refuse_letters(chrom, start, text)
        return text

    def _refuse_letters(self, chrom: str, start: int, text: bytes) -> None:
        """Raise for the first letter that no nucleotide has."""
        wrong = text.translate(None, delete=_IUPAC)
        if wrong:
            letter, at = chr(wrong[0]), start + text.index(wrong[:1])
            raise InputError(
                f"{letter!r} at {chrom} position {at} (0-based) is not a DNA letter",
                where=self.path,
                cause="RNA" if letter in "uU" else "protein sequences, or an index (.fai) of another file",
                remedy="give the genome's DNA (A, C, G, T, N and IUPAC codes)",
            )

    def _open(self) -> None:
        """Open the file in this process, and check its contigs."""
        if not self.path.is_file():
            raise InputError("genome file does not exist", where=self.path)
        try:
            self._reader = TwoBit(self.path) if is_twobit(self.path) else _Fasta(self.path)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error
        self._pid = os.getpid()
        if self._lengths is None:
            self._check_contigs(self._reader.lengths)
            self._lengths = self._reader.lengths
            first = next(iter(self._lengths))
            self.codes(first, 0, min(1000, self._lengths[first]))

    def _check_contigs(self, lengths: dict[str, int]) -> None:
        """Raise if there is no contig, or one without bases."""
        if not lengths:
            raise self._unreadable("no sequence in it")
        empty = [name for name, length in lengths.items() if length == 0]
        if empty:
            cause, remedy = ("", "") if is_twobit(self.path) else explain_fasta(self.path)
            what = f"contig {empty[0]!r} has no bases"
            raise InputError(what, where=self.path, cause=cause, remedy=remedy or "remove it from the file")

    def _unreadable(self, error: object) -> InputError:
        """Say that the file is no genome, with the reader's reason."""
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith("Duplicate key"):
            name = reason.removeprefix("Duplicate key ").strip('"')
            return InputError(
                f"contig name {name!r} stands twice", where=self.path, remedy="rename or remove one"
            )
        if is_twobit(self.path):
            remedy = "copy it again, or make it again (faToTwoBit), or give FASTA"
            return InputError(f"cannot be read as .2bit ({reason})", where=self.path, remedy=remedy)
        cause, remedy = explain_fasta(self.path)
        if cause:
            return InputError("cannot be read as FASTA", where=self.path, cause=cause, remedy=remedy)
        return InputError(
            f"cannot be read as FASTA ({reason})",
            where=self.path,
            remedy="check that it is complete, begins with a '>' line and has lines of equal length",
        )


class _Fasta:
    """Read the letters of a FASTA file through pyfaidx."""

    kind = "FASTA"

    def __init__(self, path: Path) -> None:
        # The folder may go as soon as the file is open: pyfaidx keeps the index in memory.
        with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
            self._faidx = _open_faidx(path, Path(folder))
        self.lengths = {name: record.rlen for name, record in self._faidx.index.items()}

    def text(self, chrom: str, start: int, end: int) -> bytes:
        """Return the letters of ``[start, end)``, 0-based half-open."""
        return _fetch(self._faidx, chrom, start, end).encode("ascii")


def _fetch(faidx: Faidx, chrom: str, start: int, end: int) -> str:
    """Return the text of ``[start, end)``."""
    try:
        return str(faidx.fetch(chrom, start + 1, end))
    except ValueError:
        # pyfaidx 0.9.2 fails where a span begins exactly at the edge of a full 65,536-byte bgzip block.
        if start == 0:
            raise
        return str(faidx.fetch(chrom, start, end))[1:]


def _open_faidx(path: Path, folder: Path) -> Faidx:
    """Open `path` under a name in `folder` that pyfaidx understands, with its own index if that is fresh."""
    kind, inner = _link(path, folder)
    if kind == "gzip":
        return Faidx(inner, as_raw=True)
    suffixes = [".fai", ".gzi"] if kind == "bgzip" else [".fai"]
    indices = {suffix: path.with_name(path.name + suffix) for suffix in suffixes}
    if all(_is_fresh(index, path) for index in indices.values()):
        faidx = _open_with_index(inner, indices)
        if faidx is not None:
            return faidx
        log.warning(
            "%s does not fit the FASTA beside it: not used; samtools faidx makes it anew", indices[".fai"]
        )
    return Faidx(inner, as_raw=True)


def _link(path: Path, folder: Path) -> tuple[str, Path]:
    """Return the compression of `path`, and a name for it in `folder` that indexers understand."""
    kind = _compression(path)
    if kind == "bgzip":
        refuse_endless_bgzip(path)
    inner = folder / ("genome.fa.gz" if kind == "bgzip" else "genome.fa")
    if kind == "gzip":
        log.info(
            "%s is gzip, not bgzip: unpacking it for this process (recompress with bgzip to avoid this)", path
        )
        with gzip.open(path) as packed, inner.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    else:
        inner.symlink_to(path.resolve())
    return kind, inner


def _open_with_index(inner: Path, indices: dict[str, Path]) -> Faidx | None:
    """Open a file with the index that lies beside it; None if that is the index of another file."""
    try:
        faidx = Faidx(inner, indexname=indices[".fai"], gzi_indexname=indices.get(".gzi"), as_raw=True)
        return faidx if _fits(faidx, is_bgzip=".gzi" in indices) else None
    except _UNREADABLE:
        return None


def _fits(faidx: Faidx, is_bgzip: bool) -> bool:
    """Tell whether a contig's header, and nothing else, lies between its bases and those before in the index.

    Otherwise a contig that the index lacks, or ends too early, would be missing without a word. Bases that the
    index promises behind the end of the file are no reason: a file that was cut off has to be noticed.
    """
    end = 0
    for name, record in faidx.index.items():
        if not end < record.offset <= end + _LONGEST_HEADER:
            return False
        between = _bytes_at(faidx, end, record.offset - end, is_bgzip).splitlines()
        headers = [line for line in between if line.strip() and not line.startswith(b";")]
        if len(headers) != 1 or headers[0][:1] != b">" or headers[0][1:].split()[:1] != [name.encode()]:
            return False
        end = record.bend
    return not _bytes_at(faidx, end, _LONGEST_HEADER, is_bgzip).strip()


def _bytes_at(faidx: Faidx, start: int, size: int, is_bgzip: bool) -> bytes:
    """Read the unpacked file as it is."""
    if is_bgzip:
        blocks = faidx.gzi_index
        block = blocks[bisect_right(blocks, start, key=lambda block: block.ustart) - 1]
        within = start - block.ustart
        if within >= _BLOCK_BYTES:  # behind the end of the file
            return b""
        start = block.cstart << 16 | within  # SAM specification 4.1.1: virtual file offset
    faidx.file.seek(start)
    return faidx.file.read(size)  # type: ignore[return-value]


def _is_fresh(index: Path, path: Path) -> bool:
    """Tell whether an index exists and is no older than its file."""
    return index.is_file() and index.stat().st_mtime >= path.stat().st_mtime


def _compression(path: Path) -> str:
    """Tell plain, gzip and bgzip apart by the first bytes (SAM specification 4.1: extra field "BC")."""
    with path.open("rb") as file:
        head = file.read(14)
    if head[:2] != b"\x1f\x8b":
        return "plain"
    return "bgzip" if len(head) == 14 and head[3] & 4 and head[12:14] == b"BC" else "gzip"
