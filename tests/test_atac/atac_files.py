"""The same fragments in every format, written row by row, and their cuts counted by a loop."""

import gzip
from pathlib import Path

import numpy as np
import pysam

from gatescope.atac.preference import StrandEnds

#: (contig, start, end), raw and 0-based half-open.
Fragment = tuple[str, int, int]
READ_BP = 30
PROPER = 0x1 | 0x2


def write_fasta(path: Path, lengths: dict[str, int], seed: int = 0, letters: str = "ACGT") -> Path:
    rng = np.random.default_rng(seed)
    path.write_text(
        "".join(f">{name}\n{''.join(rng.choice(list(letters), n))}\n" for name, n in lengths.items())
    )
    return path


def draw(lengths: dict[str, int], n: int, seed: int = 0, margin: int = 0) -> list[Fragment]:
    """Draw `n` fragments per contig where there is room for one, the ends at least `margin` within it."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, length in lengths.items():
        if length <= 2 * margin + 60:
            continue
        for start in rng.integers(margin, length - margin - 50, n).tolist():
            rows.append((name, start, min(start + int(rng.integers(20, 200)), length - margin)))
    return rows


def count_cuts(fragments, lengths: dict[str, int], plus: int = 4, minus: int = -5) -> dict[str, np.ndarray]:
    """Count the cuts of raw fragments: start + 4 and end - 5 (the last base is end - 1)."""
    counts = {name: np.zeros(length) for name, length in lengths.items()}
    for name, start, end in fragments:
        for position in (start + plus, end + minus):
            if 0 <= position < lengths[name]:
                counts[name][position] += 1
    return counts


def write_text(path: Path, rows, header: str = "", end: str = "\n") -> Path:
    text = header + "".join("\t".join(map(str, row)) + end for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def tenx_rows(fragments):
    return [(*row, f"CELL{n % 3}-1", n % 7 + 1) for n, row in enumerate(fragments)]


def _length(start: int, end: int, read_bp: int) -> int:
    """Return how long the reads are; a short fragment that was shifted may end before it starts."""
    return max(1, min(read_bp, end - start))


def tagalign_rows(fragments, read_bp: int = READ_BP):
    """One row per read, forward and reverse."""
    for name, start, end in fragments:
        length = _length(start, end, read_bp)
        yield name, start, start + length, "N", 1000, "+"
        yield name, end - length, end, "N", 1000, "-"


def bedpe_rows(fragments, read_bp: int = READ_BP):
    """One row per pair; every other has the reverse read first."""
    for n, (name, start, end) in enumerate(fragments):
        length = _length(start, end, read_bp)
        mates = [(name, start, start + length, "+"), (name, end - length, end, "-")][:: 1 - 2 * (n % 2)]
        yield *mates[0][:3], *mates[1][:3], f"pair{n}", 30, mates[0][3], mates[1][3]


def pair(header, n: int, fragment: Fragment, read_bp: int = READ_BP, flag: int = 0, mapq: int = 40):
    """Return the two reads of a fragment as an aligner writes them; `flag` is added to both."""
    name, start, end = fragment
    length = _length(start, end, read_bp)
    reads = []
    for is_reverse in (False, True):
        read = pysam.AlignedSegment(header)
        read.query_name = f"pair{n}"
        read.flag = PROPER | flag | ((0x10 | 0x80) if is_reverse else (0x20 | 0x40))
        read.reference_name = read.next_reference_name = name
        read.reference_start, read.next_reference_start = (
            (end - length, start) if is_reverse else (start, end - length)
        )
        read.template_length = (start - end) if is_reverse else (end - start)
        read.mapping_quality = mapq
        # soft-clipped at both ends, with a deletion and an insertion where there is room: 5' ends stay
        read.cigarstring = f"3S{length}M2S" if length < 20 else f"2S5M2D{length - 12}M3I5M1S"
        bases = sum(size for operation, size in read.cigartuples or [] if operation in (0, 1, 4))
        read.query_sequence = "A" * bases
        reads.append(read)
    return reads


def write_alignments(
    path: Path,
    lengths: dict[str, int],
    fragments,
    order: str = "coordinate",
    extra=lambda header: [],
    reference: Path | None = None,
    **options,
) -> Path:
    """Write pairs as BAM, CRAM or SAM, by the ending of `path`; `extra(header)` gives further reads."""
    contigs = [{"SN": name, "LN": length} for name, length in lengths.items()]
    header = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6"}, "SQ": contigs})
    reads = [read for n, each in enumerate(fragments) for read in pair(header, n, each, **options)]
    reads += extra(header)
    if order == "coordinate":
        reads.sort(key=lambda read: (read.reference_id % 2**31, read.reference_start))
    mode = {".bam": "wb", ".cram": "wc", ".sam": "wh"}[path.suffix]
    with pysam.AlignmentFile(
        str(path), mode, header=header, reference_filename=reference and str(reference)
    ) as file:
        for read in reads:
            file.write(read)
    return path


def strand_ends(fragments) -> list[tuple[str, StrandEnds]]:
    """Return the 5' ends of both strands by contig."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    for name, start, end in fragments:
        plus, minus = found.setdefault(name, ([], []))
        plus.append(start)
        minus.append(end - 1)
    return [(name, StrandEnds(np.array(plus), np.array(minus))) for name, (plus, minus) in found.items()]
