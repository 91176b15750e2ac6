"""Which bases does Tn5 like around its cuts? Base composition around the read ends of each strand.

Both strands are read in the direction of the read: offset 0 is the read's first base, offset 1 the next one
inside the fragment; around - ends the sequence is reverse-complemented.

Public names: `StrandEnds`, `EndTally`, `OFFSETS`, `FLANK_BP`, `STRANDS`, `tally_ends`, `share_of_ends`, `composition`,
`contrast`, `information`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import UNKNOWN

STRANDS = ("+", "-")
_REACH_BP = 50
#: Offsets of the bases counted around each end, shape (101,).
OFFSETS = np.arange(-_REACH_BP, _REACH_BP + 1)
#: Bases farther from the end than this show what the neighbourhood is made of; Tn5 prefers none of them.
FLANK_BP = 30
_BLOCKS, _LEAST_BLOCK_BP = 100, 2_000
# Noise falls with 1 / ends: at this number it is a thousandth of the preference, and counting takes a second.
_MOST_ENDS = 250_000
_CHUNK_ENDS = 20_000
_COMPLEMENT = (3, 2, 1, 0)


class StrandEnds(NamedTuple):
    """Hold the 5' ends of the reads of one contig, as in the file: what was shifted stays shifted.

    Attributes
    ----------
    plus : numpy.ndarray
        (n,) integer positions of the first base of + reads, 0-based: a fragment's ``start``.
    minus : numpy.ndarray
        (m,) integer positions of the first base of - reads, 0-based: a fragment's ``end - 1``.
    """

    plus: NDArray[np.integer]
    minus: NDArray[np.integer]


@dataclass(frozen=True)
class EndTally:
    """Count bases around read ends.

    Attributes
    ----------
    counts : numpy.ndarray
        (blocks, 2, 101, 4) int64: block of the genome, strand (+, -), offset, base (ACGT) in the read's direction.
    ends : tuple of int
        Different + and - ends counted.
    """

    counts: NDArray[np.int64]
    ends: tuple[int, int]


def tally_ends(
    ends: Iterable[tuple[str, StrandEnds]], genome: Genome, lengths: Mapping[str, int]
) -> EndTally:
    """Count the bases around the read ends of every contig, in about a hundred blocks of the genome.

    A position counts once per strand, however many reads begin there: a repeat that holds many reads must
    not speak for the genome. At most 250,000 ends of each strand are looked at, evenly over the contigs.

    Parameters
    ----------
    ends : iterable of (str, StrandEnds)
        Contig by contig; the arrays of one are not needed any more when the next is asked for. Ends beyond
        their contig are left out.
    genome : Genome
    lengths : mapping of str to int
        Contigs in use, bp; each contig of `ends` is one of them.

    Returns
    -------
    EndTally
    """
    total_bp = sum(lengths.values())
    block_bp = max(_LEAST_BLOCK_BP, -(-total_bp // _BLOCKS))
    first_bp = dict(zip(lengths, np.cumsum([0, *lengths.values()]), strict=False))
    counts = np.zeros((-(-total_bp // block_bp), len(STRANDS), len(OFFSETS), UNKNOWN), np.int64)
    used = [0, 0]
    for contig, both in ends:
        most = share_of_ends(lengths[contig], total_bp)
        picked = [_pick(positions, lengths[contig], most) for positions in both]
        if not any(map(len, picked)):
            continue
        codes = np.pad(genome.codes(contig), _REACH_BP, constant_values=UNKNOWN)
        for strand, positions in enumerate(picked):
            blocks = (positions + int(first_bp[contig])) // block_bp
            for at in range(0, len(positions), _CHUNK_ENDS):
                piece = slice(at, at + _CHUNK_ENDS)
                _count(counts, strand, codes, positions[piece], blocks[piece])
            used[strand] += len(positions)
    return EndTally(counts, (used[0], used[1]))


def share_of_ends(length_bp: int, total_bp: int) -> int:
    """Return how many ends of each strand `tally_ends` needs of a contig; it looks at less than twice as many."""
    return -(-_MOST_ENDS * length_bp // total_bp)


def _pick(positions: NDArray[np.integer], length: int, most: int) -> NDArray[np.int64]:
    """Return some of the different positions on the contig, sorted."""
    positions = np.asarray(positions[:: max(1, len(positions) // most)], np.int64)
    return np.unique(positions[(positions >= 0) & (positions < length)])


def _count(
    counts: NDArray[np.int64],
    strand: int,
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    blocks: NDArray[np.int64],
) -> None:
    """Add the bases around some ends of one contig (`codes` is padded by the reach)."""
    around = sliding_window_view(codes, len(OFFSETS))[positions]
    found, first = np.unique(blocks, return_index=True)  # sorted positions: few blocks, not all of the genome
    for block, bases in zip(found, np.split(around, first[1:]), strict=True):
        for code in range(UNKNOWN):
            number = np.count_nonzero(bases == code, axis=0)
            if strand:
                counts[block, strand, :, _COMPLEMENT[code]] += number[::-1]
            else:
                counts[block, strand, :, code] += number


def composition(counts: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Return base frequencies, shape (..., 4), from counts of this shape; one pseudo-count, spread evenly."""
    return (counts + 0.25) / (counts.sum(-1, keepdims=True) + 1.0)


def contrast(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much more or less often each base stands at each offset than farther away.

    Parameters
    ----------
    frequencies : numpy.ndarray
        (..., 101, 4).

    Returns
    -------
    numpy.ndarray
        (..., 101, 4): (frequency - that of the flanks) / sqrt(mean of the flanks' for a base and its
        complement), so that a sum of squares is a chi-square per end; 0 in the flanks.
    """
    background = _background(frequencies)
    weight = np.sqrt((background + background[..., ::-1]) / 2)
    near = (np.abs(OFFSETS) <= FLANK_BP)[:, None]
    return np.where(near, (frequencies - background) / weight, 0.0)


def information(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the information content of each offset against the flanks, bits, shape (..., 101)."""
    return (frequencies * np.log2(frequencies / _background(frequencies))).sum(-1)


def _background(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean composition of the flanks, shape (..., 1, 4)."""
    return frequencies[..., np.abs(OFFSETS) > FLANK_BP, :].mean(-2, keepdims=True)
