"""Which words do the windows around events share, and where do they end? Motifs, found one after the other.

A search takes the word of six letters that is most enriched at one place of the windows, extends it to all columns
that say something, lets each window slide by a few bases, and goes on among the windows that do not hold this motif. So
the motifs of a mixture come apart, and events that fall a base earlier or later are aligned again.

A word counts as enriched only if it is more frequent at its place than in background windows *and* than at other
places of the same windows: what is only composition is alike everywhere. The larger of the two P values is multiplied
by the number of words, places and searches (Bonferroni).

Public names: `SearchRule`, `Motif`, `find_motifs`, `column_bits`, `forward_strand`, `reverse_complement_counts`,
`consensus`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from Bio import motifs as bio
from numpy.typing import NDArray
from scipy.special import expit, logsumexp
from scipy.stats import binom

from gatescope.genome.sequence import ALPHABET
from gatescope.trace.units import DIRECTIONS

#: Length of a seed.
_WORD = 6
#: Fewer copies of a word at one place are not looked at.
_LEAST_COPIES = 5
#: Observations added to each column, shared out as the background's letters are.
_PSEUDOCOUNT = 1.0
#: A column of less information does not pay for making the core longer.
_COLUMN_BITS = 0.5
_ROUNDS, _SETTLED = 60, 1e-4


@dataclass(frozen=True)
class SearchRule:
    """Hold what a motif is.

    Attributes
    ----------
    half_width_bp : int
        Windows reach this far from the event in both directions.
    jitter_bp : int
        How many bases a window may slide.
    max_motifs : int
        How many motifs one search gives at most.
    min_bits : float
        Least information content of the core.
    max_fwer : float
        Largest P value, after the correction for all words, places and searches.
    """

    half_width_bp: int = 20
    jitter_bp: int = 3
    max_motifs: int = 4
    min_bits: float = 7.0
    max_fwer: float = 0.05

    @property
    def reach_bp(self) -> int:
        """Half-width of the windows that a search needs."""
        return self.half_width_bp + self.jitter_bp


@dataclass(frozen=True, eq=False)
class Motif:
    """Hold one motif in reading direction: letters of the forward strand in the order in which they were read.

    Attributes
    ----------
    counts : ndarray, shape (2 * half_width_bp + 1, 4), int64
        Letters ACGT in each column over the sites.
    first_offset : int
        Offset of the first column from the event.
    core : tuple of int
        The columns that make up the motif, half-open.
    base_shares : ndarray, shape (4,)
        Letters of the background.
    sites : ndarray, shape (n,), int64
        Windows that hold it, as indices into what was searched.
    slides : ndarray, shape (n,), int64
        How much later than in the middle one of them the motif ends, in bp of reading.
    seed : str
        The enriched word, as read.
    p_fwer : float
        P value of the seed, corrected.
    background_share : float
        Share of the background windows that hold the motif at the same place.
    """

    counts: NDArray[np.int64]
    first_offset: int
    core: tuple[int, int]
    base_shares: NDArray[np.float64]
    sites: NDArray[np.int64]
    slides: NDArray[np.int64]
    seed: str
    p_fwer: float
    background_share: float

    @property
    def core_counts(self) -> NDArray[np.int64]:
        """Counts of the core alone, shape (width, 4), as read."""
        return self.counts[slice(*self.core)]

    @property
    def core_offsets(self) -> tuple[int, int]:
        """Offsets of the core from the event, half-open."""
        return self.first_offset + self.core[0], self.first_offset + self.core[1]

    @property
    def lag_bp(self) -> int:
        """How many bases after the motif's last base the event lies: 0 = on it, 1 = on the next one read."""
        return 1 - self.core_offsets[1]

    @property
    def bits(self) -> float:
        """Information content of the core."""
        return float(column_bits(self.core_counts, self.base_shares).sum())


def find_motifs(
    windows: NDArray[np.uint8], background: NDArray[np.uint8], rule: SearchRule, searches: int = 1
) -> list[Motif]:
    """Find the motifs that windows share, the most significant one first.

    Parameters
    ----------
    windows : ndarray, shape (n, 2 * rule.reach_bp + 1), uint8
        Letters around events in reading direction, codes 0-3.
    background : ndarray, shape (m, the same), uint8
        Letters around positions without an event.
    rule : SearchRule
    searches : int
        How many searches are made in all; each has to be the more certain.

    Returns
    -------
    list of Motif
        At most ``rule.max_motifs``; none where there are no windows.
    """
    found, left = [], np.arange(len(windows))
    if not len(background):
        return found
    shares = (np.bincount(background.ravel(), minlength=4) + 1) / (background.size + 4)
    for _ in range(rule.max_motifs):
        seed = _find_seed(windows[left], background, rule, searches)
        if seed is None:
            break
        motif = _grow(windows[left], background, shares, seed, rule)
        if motif.bits >= rule.min_bits and motif.sites.size >= _LEAST_COPIES:
            found.append(_renumber(motif, left))
        without = np.ones(left.size, bool)
        without[motif.sites] = False
        without &= ~_holds(windows[left], seed, rule)  # or the same seed would be found again
        left = left[without]
    return found


def column_bits(
    counts: NDArray, base_shares: NDArray[np.float64], pseudocount: float = _PSEUDOCOUNT
) -> NDArray[np.float64]:
    """Return the information content of each column: its relative entropy to the background, in bits; (width,).

    Parameters
    ----------
    counts : ndarray, shape (width, 4)
    base_shares : ndarray, shape (4,)
    pseudocount : float
        Observations added to a column, shared out as the background's letters are.
    """
    shares = _smooth(counts, base_shares, pseudocount)
    return (shares * np.log2(shares / base_shares)).sum(1)


def forward_strand(counts: NDArray, direction: int) -> NDArray:
    """Turn columns as read into columns along the forward strand, 5' to 3'; shape (width, 4) kept.

    `fwd` reads them so; what `rev` has read is turned round, letters kept.
    """
    return counts if DIRECTIONS[direction] == "fwd" else counts[::-1]


def reverse_complement_counts(counts: NDArray) -> NDArray:
    """Return the same motif along the other strand, 5' to 3'; columns ACGT become TGCA and turn round."""
    return counts[::-1, ::-1]


def consensus(counts: NDArray) -> str:
    """Return the IUPAC letters of a motif, by Cavener's rule as Biopython applies it.

    One letter where it makes up more than half and more than twice the next one; else the two that make up more than
    three quarters together; else N.
    """
    return str(
        bio.Motif(ALPHABET, counts=dict(zip(ALPHABET, counts.T.tolist(), strict=True))).degenerate_consensus
    )


def _smooth(counts: NDArray, base_shares: NDArray[np.float64], pseudocount: float) -> NDArray[np.float64]:
    """Return the letter shares of each column with pseudocounts."""
    return (counts + pseudocount * base_shares) / (counts.sum(1, keepdims=True) + pseudocount)


class _Seed(NamedTuple):
    """A word and the column of the widest windows in which it starts."""

    word: NDArray[np.uint8]  # (_WORD,)
    column: int
    p_fwer: float


def _find_seed(
    windows: NDArray[np.uint8], background: NDArray[np.uint8], rule: SearchRule, searches: int
) -> _Seed | None:
    """Return the word that is most enriched at one place, or None if none is so by the rule."""
    words, elsewhere = _word_numbers(windows), _word_numbers(background)
    columns = np.arange(rule.jitter_bp, words.shape[1] - rule.jitter_bp)
    copies = np.stack([np.bincount(column, minlength=4**_WORD) for column in words.T])  # (all columns, words)
    close = abs(np.subtract.outer(np.arange(len(copies)), columns)) <= rule.jitter_bp
    here = copies[columns]
    farther = copies.sum(0) - close.T.astype(np.int64) @ copies
    at, word = np.nonzero(here >= _LEAST_COPIES)
    if not at.size:
        return None
    n, counts = len(windows), here[at, word]
    p_background = _excess(
        counts, n, np.bincount(elsewhere.ravel(), minlength=4**_WORD)[word], elsewhere.size
    )
    p_farther = _excess(counts, n, farther[at, word], n * (len(copies) - close.sum(0))[at])
    p = np.maximum(p_background, p_farther)
    best = np.lexsort((word, at, -counts, p))[0]
    p_fwer = float(np.clip(p[best] * 4**_WORD * columns.size * searches, 1e-300, 1.0))
    if p_fwer > rule.max_fwer:
        return None
    letters = word[best] // 4 ** np.arange(_WORD - 1, -1, -1) % 4
    near = columns[abs(columns - columns[at[best]]) <= 2 * rule.jitter_bp]
    starts = near[np.nonzero(words[:, near] == word[best])[1]]
    return _Seed(letters.astype(np.uint8), _median(starts), p_fwer)


def _word_numbers(windows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of the word that starts in each column, shape (n, columns - _WORD + 1)."""
    columns = windows.shape[1] - _WORD + 1
    numbers = np.zeros((len(windows), columns), np.int64)
    for shift in range(_WORD):
        numbers = 4 * numbers + windows[:, shift : shift + columns]
    return numbers


def _excess(here: NDArray, places_here: NDArray | int, there: NDArray, places_there: NDArray | int):
    """Return P(as many copies or more here) given how many there are here and there: exact at equal rates."""
    share = places_here / (places_here + np.asarray(places_there, float))
    return binom.sf(here - 1, here + there, share)


def _slides(rule: SearchRule) -> list[int]:
    """Return by how much a window may slide, the smallest first."""
    return sorted(range(-rule.jitter_bp, rule.jitter_bp + 1), key=lambda slide: (abs(slide), slide))


def _views(windows: NDArray[np.uint8], rule: SearchRule) -> NDArray[np.uint8]:
    """Return each window at each slide, shape (n, slides, 2 * half_width_bp + 1)."""
    width = 2 * rule.half_width_bp + 1
    firsts = [rule.jitter_bp + slide for slide in _slides(rule)]
    return np.stack([windows[:, first : first + width] for first in firsts], axis=1)


def _holds(windows: NDArray[np.uint8], seed: _Seed, rule: SearchRule) -> NDArray[np.bool_]:
    """Tell which windows hold the seed within the jitter of its place."""
    return _seed_places(windows, seed, rule).sum(1) > 0


def _seed_places(windows: NDArray[np.uint8], seed: _Seed, rule: SearchRule) -> NDArray[np.bool_]:
    """Tell at which slides windows hold the seed, shape (n, slides)."""
    starts = [seed.column + slide for slide in _slides(rule)]
    return np.stack([(windows[:, at : at + _WORD] == seed.word).all(1) for at in starts], axis=1)


def _grow(
    windows: NDArray[np.uint8],
    background: NDArray[np.uint8],
    shares: NDArray[np.float64],
    seed: _Seed,
    rule: SearchRule,
) -> Motif:
    """Extend a seed to a motif: expectation maximisation over which windows hold it, and at which slide.

    A window holds the motif once or not at all; the core is chosen anew in each round.
    """
    views, slides = _views(windows, rule), np.array(_slides(rule))
    places = _seed_places(windows, seed, rule)
    weights = np.eye(slides.size)[places.argmax(1)] * places.any(1, keepdims=True)
    for _ in range(_ROUNDS):
        model = _Model(_count(views, weights), _slide_shares(weights), shares)
        updated = model.weigh(views)
        moved = abs(updated - weights).max()
        weights = updated
        if moved < _SETTLED:
            break
    model = _Model(_count(views, weights), _slide_shares(weights), shares)
    sites, chosen = model.assign(views)
    held = model.assign(_views(background, rule))[0].size / len(background)
    counts = _count(views[sites], np.eye(slides.size)[chosen]).round().astype(np.int64)
    usual = _median(slides[chosen])
    return Motif(
        counts=counts,
        first_offset=usual - rule.half_width_bp,
        core=_core(column_bits(counts, shares)),
        base_shares=shares,
        sites=sites,
        slides=slides[chosen] - usual,
        seed="".join(ALPHABET[code] for code in seed.word),
        p_fwer=seed.p_fwer,
        background_share=held,
    )


class _Model:
    """Weigh windows by a motif's columns against the letters of the background."""

    def __init__(
        self,
        counts: NDArray[np.float64],
        slide_shares: NDArray[np.float64],
        base_shares: NDArray[np.float64],
    ) -> None:
        first, last = _core(column_bits(counts, base_shares))
        self.core = np.arange(first, last)
        self.scores = np.log(_smooth(counts, base_shares, _PSEUDOCOUNT) / base_shares)[self.core]
        self.prior = np.log(slide_shares / (1 - slide_shares.sum()))

    def weigh(self, views: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return how likely each window holds the motif at each slide, shape (n, slides)."""
        scores = self.prior + self.scores[np.arange(self.core.size), views[:, :, self.core]].sum(2)
        total = logsumexp(scores, axis=1, keepdims=True)
        return np.exp(scores - total) * expit(total)

    def assign(self, views: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the windows that rather hold the motif than not, and the likeliest slide of each, as an index."""
        weights = self.weigh(views)
        sites = np.flatnonzero(weights.sum(1) > 0.5)
        return sites, weights[sites].argmax(1)


def _slide_shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of windows that hold the motif at each slide, with one more that does and one that does not."""
    n, slides = weights.shape
    return (weights.sum(0) + 1 / slides) / (n + 2)


def _count(views: NDArray[np.uint8], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted letters of each column, shape (columns, 4)."""
    return np.stack([np.einsum("ns,nsc->c", weights, views == code) for code in range(4)], axis=1)


def _core(bits: NDArray[np.float64]) -> tuple[int, int]:
    """Return the stretch of columns, half-open, whose information exceeds `_COLUMN_BITS` a column by most."""
    sums = np.concatenate([[0.0], np.cumsum(bits - _COLUMN_BITS)])
    gain = np.triu(sums[None, :] - sums[:, None], 1)
    gain[np.tril_indices(len(sums))] = -np.inf
    first, last = np.unravel_index(gain.argmax(), gain.shape)
    return int(first), int(last)


def _median(values: NDArray[np.int64]) -> int:
    """Return the middle value, of two the larger one; 0 of none."""
    return int(np.sort(values)[values.size // 2]) if values.size else 0


def _renumber(motif: Motif, rows: NDArray[np.int64]) -> Motif:
    """Return the motif with its sites as indices into what the whole search was given."""
    return Motif(**{**vars(motif), "sites": rows[motif.sites]})
