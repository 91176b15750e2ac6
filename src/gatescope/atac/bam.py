"""What does each record of a BAM say about its place? Read in bulk: htslib unpacks, numpy takes the fields out.

Public names: `bam_tables`, `COLUMNS`.

One Python object per read, as pysam makes, costs most of the time of counting cuts.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pysam
from numpy.lib.stride_tricks import sliding_window_view

#: Columns of a table of reads; `end` is -1 without a CIGAR. Contigs are counted in the header's order, -1 is none.
COLUMNS = ("flag", "contig", "start", "end", "mapq", "mate_start", "template_length")

# SAM specification 4.2, little-endian
_HEAD = np.dtype(
    [
        *(("block_size", "<i4"), ("contig", "<i4"), ("start", "<i4"), ("name_length", "u1"), ("mapq", "u1")),
        *(("bin", "<u2"), ("n_cigar", "<u2"), ("flag", "<u2"), ("n_bases", "<i4"), ("mate_contig", "<i4")),
        *(("mate_start", "<i4"), ("template_length", "<i4")),
    ]
)
_SIZE = struct.Struct("<i")
_LEAST_SIZE = _HEAD.itemsize - 4
_ON_REFERENCE = np.isin(np.arange(16), [0, 2, 3, 7, 8])  # M, D, N, =, X
_ON_READ = np.isin(np.arange(16), [0, 1, 4, 7, 8])  # M, I, S, =, X
_UNMAPPED = 0x4
_BYTES_AT_ONCE = 1 << 22


def bam_tables(path: Path | str) -> Iterator[np.ndarray]:
    """Read the records of a BAM from front to back.

    Parameters
    ----------
    path : Path or str
        A BAM whose header was read before, and whose end is there.

    Yields
    ------
    ndarray, (n, 7) int64
        `COLUMNS` of the next reads; positions are 0-based, `end` is exclusive.

    Raises
    ------
    OSError
        If the file is damaged.

    References
    ----------
    SAM/BAM Format Specification, section 4.2.
    """
    with pysam.BGZFile(str(path), "r", None) as file:
        n_contigs = _skip_header(file)
        rest = b""
        while block := file.read(_BYTES_AT_ONCE):
            data = rest + block
            starts, end = _record_starts(data)
            rest = data[end:]
            if starts:
                yield _table(np.frombuffer(data, np.uint8), np.array(starts), n_contigs)
        if rest:
            raise OSError("the last record is cut off")


def _skip_header(file: pysam.BGZFile) -> int:
    """Read up to the first record; return the number of contigs."""
    if _take(file, 4) != b"BAM\x01":
        raise OSError("no BAM")
    _take(file, _integer(file))
    n_contigs = _integer(file)
    for _ in range(n_contigs):
        _take(file, _integer(file) + 4)
    return n_contigs


def _integer(file: pysam.BGZFile) -> int:
    return _SIZE.unpack(_take(file, 4))[0]


def _take(file: pysam.BGZFile, n: int) -> bytes:
    found = file.read(n) if n > 0 else b""
    if len(found) != n:
        raise OSError("the header is cut off")
    return found


def _record_starts(data: bytes) -> tuple[list[int], int]:
    """Return where each whole record begins, and where the last one ends."""
    starts, at, end = [], 0, len(data)
    size_at, add = _SIZE.unpack_from, starts.append
    while at <= end - 4:  # once per read: nothing else in here
        (size,) = size_at(data, at)
        if size < _LEAST_SIZE:
            raise OSError(f"a record of {size} bytes")
        add(at)
        at += size + 4
    if at > end:
        at = starts.pop()
    return starts, at


def _table(data: np.ndarray, starts: np.ndarray, n_contigs: int) -> np.ndarray:
    """Take the fields out of the records."""
    head = sliding_window_view(data, _HEAD.itemsize)[starts].view(_HEAD)[:, 0]
    start, n_cigar = head["start"].astype(np.int64), head["n_cigar"]
    cigar = starts + _HEAD.itemsize + head["name_length"]
    n_bases = head["n_bases"].astype(np.int64)
    after = cigar + 4 * n_cigar.astype(np.int64) + (n_bases + 1) // 2 + n_bases
    if (after > starts + 4 + head["block_size"]).any() or (n_bases < 0).any():
        raise OSError("a CIGAR or a sequence longer than its record")
    if (head["name_length"] == 0).any() or (data[cigar - 1] != 0).any():
        raise OSError("a name without an end")
    for contig in (head["contig"], head["mate_contig"]):
        if ((contig < -1) | (contig >= n_contigs)).any():
            raise OSError("a contig that the header does not list")
    reference_bp, read_bp = _covered_bp(data, cigar, n_cigar)
    has_both = (n_cigar > 0) & (n_bases > 0) & ((head["flag"] & _UNMAPPED) == 0)
    if (has_both & (read_bp != n_bases)).any():
        raise OSError("a CIGAR that does not fit its sequence")
    # a read that covers no base of the reference is taken to cover one, as htslib does
    end = np.where(n_cigar > 0, start + np.maximum(reference_bp, 1), -1)
    fields = {"end": end, **{name: head[name] for name in COLUMNS if name != "end"}}
    return np.stack([fields[name].astype(np.int64) for name in COLUMNS], axis=1)


def _covered_bp(data: np.ndarray, cigar: np.ndarray, n_cigar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the bases of the reference, and those of the read, that each CIGAR covers."""
    on_reference, on_read = np.zeros(len(cigar), np.int64), np.zeros(len(cigar), np.int64)
    rows, number = np.flatnonzero(n_cigar), 0
    while rows.size:
        at = cigar[rows] + 4 * number
        operations = sliding_window_view(data, 4)[at].view("<u4")[:, 0]
        for covered, counts in ((on_reference, _ON_REFERENCE), (on_read, _ON_READ)):
            covered[rows] += np.where(counts[operations & 15], operations >> 4, 0)
        number += 1
        rows = rows[n_cigar[rows] > number]
    return on_reference, on_read
