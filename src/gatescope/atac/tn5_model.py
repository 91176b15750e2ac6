"""How much more often does Tn5 cut one sequence than another? A chain of base pairs around the cut's centre.

Neighbouring bases are counted as pairs around the cuts of the background, and within 100 bp of them. Both are Markov
chains of first order, the one around cuts with a table of its own at every offset; the ratio of their probabilities is
what Tn5 prefers. Cuts are counted where the 9-bp duplication has its centre, so the preference is a palindrome around
the base of the cut, and a sequence and its reverse complement get the same value.

Public names: `REACH_BP`, `PIECE_BP`, `MOST_CUTS_PER_BP`, `PairTally`, `Tn5Model`, `tally_pairs`, `fit_model`.

References
----------
Bentsen et al. 2020 (TOBIAS: weights of base pairs within 12 bp of a cut, background counted 100 bp beside the cuts).
``docs/adr/0009`` compares this form with others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from gatescope.genome.sequence import UNKNOWN

#: How far from the centre of a cut a base can matter.
REACH_BP = 12
#: A base speaks with this many cuts at most, as in training: PCR towers and collapsed repeats would own the tables.
MOST_CUTS_PER_BP = 20.0
#: Contigs are worked through in pieces of this size (a multiple of every bin that is compared), to save memory.
PIECE_BP = 1_000_000
#: Cuts are compared with the bases up to this far away: how open a region is must not look like a preference.
_NEIGHBOURHOOD_BP = 100
#: Cuts without any preference that are added to those counted: a table of few cuts tells little.
_PRIOR_CUTS = 100.0
_LARGEST_FOLD = 100.0
_UNKNOWN_PAIR = 16
_PAIRS = np.stack(np.divmod(np.arange(_UNKNOWN_PAIR), 4), axis=1)  # (16, 2) codes
#: Which pair stands on the other strand: AC, read backwards, is GT.
_OTHER_STRAND = 4 * (3 - _PAIRS[:, 1]) + 3 - _PAIRS[:, 0]


@dataclass(frozen=True)
class PairTally:
    """Count pairs of neighbouring bases on one contig, or several.

    Attributes
    ----------
    around : numpy.ndarray
        (24, 16) float64: cuts by offset of the pair's first base (-12 to 11) and pair (AA, AC, ..., TT).
    nearby : numpy.ndarray
        (16,) float64: pairs within 100 bp of the cuts, each counted as often as there are cuts per base around it.
    cuts : float
        Cuts counted.
    bases : int
        Bases of the background.
    """

    around: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2 * REACH_BP, _UNKNOWN_PAIR)))
    nearby: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_UNKNOWN_PAIR))
    cuts: float = 0.0
    bases: int = 0

    def __add__(self, other: "PairTally") -> "PairTally":
        return PairTally(
            self.around + other.around,
            self.nearby + other.nearby,
            self.cuts + other.cuts,
            self.bases + other.bases,
        )

    def __sub__(self, other: "PairTally") -> "PairTally":
        return PairTally(
            self.around - other.around,
            self.nearby - other.nearby,
            self.cuts - other.cuts,
            self.bases - other.bases,
        )


@dataclass(frozen=True)
class Tn5Model:
    """Say how often Tn5 cuts a sequence.

    Attributes
    ----------
    log_ratio : numpy.ndarray
        (24, 16) float64: what a pair adds to the logarithm of the relative cut rate, by offset of its first base
        (-12 to 11). Turned to the other strand, the table is the same.
    base_ratio : numpy.ndarray
        (25, 4) float64: how much more often a base stands at an offset (-12 to 12) from a cut than nearby. For figures.
    """

    log_ratio: NDArray[np.float64]
    base_ratio: NDArray[np.float64]

    def rates(self, codes: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the relative cut rate at each base of a contig, in pieces of `PIECE_BP`.

        Pairs with an unknown base, or beyond the contig's ends, tell nothing, so an unknown base gets a value as
        well. Rates lie between 0.01 and 100.

        Parameters
        ----------
        codes : numpy.ndarray
            (L,) uint8.

        Yields
        ------
        (slice, numpy.ndarray)
            The piece, and its rates, (n,) float32; around 1 over the background that the model was fitted on.
        """
        table = np.hstack([self.log_ratio, np.zeros((len(self.log_ratio), 1))])
        for piece in _pieces(len(codes)):
            pairs = _pairs(codes, piece)
            n = piece.stop - piece.start
            logarithm = sum(terms[pairs[k : k + n]] for k, terms in enumerate(table))
            fold = np.exp(np.clip(logarithm, -np.log(_LARGEST_FOLD), np.log(_LARGEST_FOLD)))
            yield piece, fold.astype(np.float32)


def tally_pairs(
    codes: NDArray[np.uint8], cuts: NDArray[np.floating], is_background: NDArray[np.bool_]
) -> PairTally:
    """Count the pairs of bases around the background cuts of a contig, and those in their neighbourhood.

    Parameters
    ----------
    codes : numpy.ndarray
        (L,) uint8.
    cuts : numpy.ndarray
        (L,) cuts at each base, at the centre of the duplication; at most `MOST_CUTS_PER_BP` of a base count.
    is_background : numpy.ndarray
        (L,) bool; nothing else is looked at, but bases beside it are part of a pair.
    """
    tally = PairTally(bases=int(is_background.sum()))
    for piece in _pieces(len(codes)):
        tally += _tally_piece(codes, cuts, is_background, piece)
    return tally


def _tally_piece(
    codes: NDArray[np.uint8], cuts: NDArray[np.floating], is_background: NDArray[np.bool_], piece: slice
) -> PairTally:
    """Count in one piece of a contig."""
    n, wide = piece.stop - piece.start, _widened(piece, _NEIGHBOURHOOD_BP, len(codes))
    counted = np.where(is_background[wide], np.minimum(cuts[wide], MOST_CUTS_PER_BP), 0.0).astype(np.float64)
    inside = slice(piece.start - wide.start, piece.start - wide.start + n)
    density = _density(counted, is_background[wide])[inside]
    counted, pairs = counted[inside], _pairs(codes, piece)
    at = np.flatnonzero(counted)
    around = [_count(pairs[at + k], counted[at]) for k in range(2 * REACH_BP)]
    # the pairs on either side of each base, so that both strands give the same
    nearby = [_count(pairs[k : k + n], density) for k in (REACH_BP - 1, REACH_BP)]
    return PairTally(np.stack(around), np.sum(nearby, axis=0), float(counted.sum()))


def _density(counted: NDArray[np.float64], is_background: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return cuts per background base in the neighbourhood of each background base, 0 elsewhere; (n,)."""
    size = 2 * _NEIGHBOURHOOD_BP + 1
    cuts = uniform_filter1d(counted, size, mode="constant")
    bases = uniform_filter1d(is_background.astype(np.float64), size, mode="constant")
    return np.divide(cuts, bases, out=np.zeros_like(cuts), where=is_background)


def fit_model(tally: PairTally) -> Tn5Model:
    """Turn counts into what Tn5 prefers; without cuts it prefers nothing.

    Raises
    ------
    ValueError
        If no base of the background was counted.
    """
    if not tally.bases:
        raise ValueError("no background")
    nearby = tally.nearby + tally.nearby[_OTHER_STRAND] + 1e-6  # a tiny genome may lack a pair
    nearby /= nearby.sum()
    around = tally.around + tally.around[::-1, _OTHER_STRAND] + 2 * _PRIOR_CUTS * nearby
    terms = np.log(_second_given_first(around) / _second_given_first(nearby))
    terms[0] += np.log(_first(around[0]) / _first(nearby)).repeat(4)
    # read from the other end the chains are the same, but for the rounding of counts at contig ends
    terms = (terms + terms[::-1, _OTHER_STRAND]) / 2
    bases = _first(around)
    bases = np.vstack([bases, bases[:1, ::-1]])  # the last offset is the first one of the other strand
    return Tn5Model(terms, bases / _first(nearby))


def _second_given_first(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how probable the second base of a pair is after the first; (..., 16) from (..., 16)."""
    pairs = counts.reshape(*counts.shape[:-1], 4, 4)
    return (pairs / pairs.sum(-1, keepdims=True)).reshape(counts.shape)


def _first(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frequencies of the first bases of pairs; (..., 4) from (..., 16)."""
    first = counts.reshape(*counts.shape[:-1], 4, 4).sum(-1)
    return first / first.sum(-1, keepdims=True)


def _count(pairs: NDArray[np.uint8], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(pairs, weights, _UNKNOWN_PAIR + 1)[:_UNKNOWN_PAIR].astype(np.float64)


def _pieces(length: int) -> Iterator[slice]:
    """Yield the pieces of a contig."""
    for start in range(0, length, PIECE_BP):
        yield slice(start, min(start + PIECE_BP, length))


def _widened(piece: slice, by: int, length: int) -> slice:
    return slice(max(0, piece.start - by), min(length, piece.stop + by))


def _pairs(codes: NDArray[np.uint8], piece: slice) -> NDArray[np.uint8]:
    """Return the pairs around the n bases of a piece, (n + 23,): pair k of base c stands at index c + k."""
    wide = _widened(piece, REACH_BP, len(codes))
    before = REACH_BP - (piece.start - wide.start)
    after = REACH_BP - (wide.stop - piece.stop)
    near = np.pad(codes[wide], (before, after), constant_values=UNKNOWN)
    pairs = 4 * near[:-1] + near[1:]
    pairs[(near[:-1] == UNKNOWN) | (near[1:] == UNKNOWN)] = _UNKNOWN_PAIR
    return pairs
