"""Were the read ends of this file shifted already? Read from the palindrome of the Tn5 preference.

Tn5 joins both strands of DNA at one site, 9 bp apart, and treats them alike: the bases that it likes around a
cut read the same on both strands. Around raw read ends this palindrome is centred 4 bp inside each read; a
shift that was added to the ends moves the centre by as much, on each strand by itself.

Public names: `detect_shift`, `judge_tally`, `ShiftFinding`, `compare_shifts`, `CONVENTIONS`, `CANDIDATES`, `AXES`,
`LAGS`.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatescope.atac.preference import (
    FLANK_BP,
    OFFSETS,
    STRANDS,
    EndTally,
    StrandEnds,
    composition,
    contrast,
    tally_ends,
)
from gatescope.atac.shift import Tn5Shift
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome

log = logging.getLogger(__name__)

_WIDEST = 9
#: Inward shifts of one strand that are tried, bp; the same for the difference between the strands, twice as far.
CANDIDATES = np.arange(-_WIDEST, _WIDEST + 1)
#: Axes between two bases are looked at too: no shift of whole bases puts the centre there.
AXES = np.arange(-2 * _WIDEST, 2 * _WIDEST + 1) / 2
LAGS = np.arange(-2 * _WIDEST, 2 * _WIDEST + 1)
#: Shifts that programs are known to write.
CONVENTIONS = (Tn5Shift(0, 0), Tn5Shift(4, -4), Tn5Shift(4, -5), Tn5Shift(5, -5))

_LEAST_ENDS = 200  # half of this still gives the right shift in yeast
_LEAST_BLOCKS = 5
_LEAST_SCORE = 0.4
_LEAST_SUPPORT = 0.99
# Share of its score by which the best pair leads: 0.42 in yeast; 0.15 where 30 % of the reads are shifted by +4/-4.
_LEAST_LEAD = 0.2
_REPLICATES, _SEED = 500, 0
_NO_ENERGY = 1e-30


@dataclass(frozen=True)
class ShiftFinding:
    """Say which shift the read ends of a file carry, and what speaks for it.

    A *score* is the share of the base preference (its sum of squares) that looks the same after mirroring or moving it:
    1 all, 0 none, as chance gives.

    Attributes
    ----------
    shift : Tn5Shift or None
        What was added to the ends; None where the evidence does not tell.
    reason : str
        Why it does not; empty otherwise.
    best, second : Tn5Shift
        The two pairs with the highest score.
    score, second_score : float
        Mean of the three scores below, for `best` and `second`.
    lead_interval : tuple of float
        Lead of `best` over whatever comes next, 95 % of resampled genomes.
    support : float
        Share of resampled genomes in which `best` comes first.
    ends : tuple of int
        Different + and - ends looked at.
    frequencies : numpy.ndarray
        (2, 101, 4) base frequencies by strand (+, -), `OFFSETS` and base (ACGT), in the read's direction.
    own_scores : numpy.ndarray
        (2, 37) each strand against its own mirror image, for the inward shifts `AXES`.
    lag_scores : numpy.ndarray
        (37,) + against - ends, for the differences `LAGS` of their inward shifts: no palindrome is needed here.
    pair_scores : numpy.ndarray
        (19, 19) mean of the three, by inward shift of + (rows) and - (columns), `CANDIDATES`.
    duplication_bp : int
        Bases that the enzyme copies.
    """

    shift: Tn5Shift | None
    reason: str
    best: Tn5Shift
    second: Tn5Shift
    score: float
    second_score: float
    lead_interval: tuple[float, float]
    support: float
    ends: tuple[int, int]
    frequencies: NDArray[np.float64]
    own_scores: NDArray[np.float64]
    lag_scores: NDArray[np.float64]
    pair_scores: NDArray[np.float64]
    duplication_bp: int

    @property
    def strands_apart_bp(self) -> int:
        """Difference of the inward shifts, + less -, from the comparison of the strands alone."""
        return int(LAGS[self.lag_scores.argmax()])

    @property
    def is_conventional(self) -> bool:
        """True if programs are known that write this shift."""
        return self.shift in CONVENTIONS


def detect_shift(
    ends: Iterable[tuple[str, StrandEnds]],
    genome: Genome,
    lengths: Mapping[str, int] | None = None,
    duplication_bp: int = 9,
) -> ShiftFinding:
    """Find the shift that the read ends of a file carry, per strand.

    Parameters
    ----------
    ends : iterable of (str, StrandEnds)
        Contig by contig, as in the file.
    genome : Genome
    lengths : mapping of str to int, optional
        Contigs in use, bp; all of the genome by default.
    duplication_bp : int
        Bases that the enzyme copies: 9 for Tn5.

    Returns
    -------
    ShiftFinding

    References
    ----------
    Adey et al. 2010, Genome Biology 11:R119 (preference of Tn5, a palindrome over the 9-bp duplication);
    Pampari et al. 2024, bioRxiv, ChromBPNet (shift from the match of position weight matrices).
    """
    return judge_tally(
        tally_ends(ends, genome, genome.lengths if lengths is None else lengths), duplication_bp
    )


def judge_tally(tally: EndTally, duplication_bp: int = 9) -> ShiftFinding:
    """Find the shift from the bases counted around read ends; see `detect_shift`."""
    own, lag, pairs = _score(tally.counts.sum(0)[None], duplication_bp)
    order = np.argsort(-pairs[0].ravel(), kind="stable")
    resampled = _resample(tally.counts, duplication_bp).reshape(_REPLICATES, -1)
    rest = np.delete(resampled, order[0], axis=1).max(1)
    lead = resampled[:, order[0]] - rest
    best, second = (_pair(int(which)) for which in order[:2])
    support = float((lead > 0).mean())
    score, second_score = (float(each) for each in pairs[0].ravel()[order[:2]])
    reason = (
        _too_thin(tally, score)
        or _contradiction(best, AXES[own[0].argmax(1)], int(LAGS[lag[0].argmax()]))
        or _not_ahead(best, second, 1 - second_score / score, support)
    )
    low, high = np.percentile(lead, [2.5, 97.5])
    return ShiftFinding(
        shift=None if reason else best,
        reason=reason,
        best=best,
        second=second,
        score=score,
        second_score=second_score,
        lead_interval=(float(low), float(high)),
        support=support,
        ends=tally.ends,
        frequencies=composition(tally.counts.sum(0)),
        own_scores=own[0],
        lag_scores=lag[0],
        pair_scores=pairs[0],
        duplication_bp=duplication_bp,
    )


def compare_shifts(findings: Mapping[str, ShiftFinding]) -> Tn5Shift | None:
    """Return the shift that all files share, or None if none of them tells.

    Parameters
    ----------
    findings : mapping of str to ShiftFinding
        By name of the file.

    Raises
    ------
    InputError
        If two files that both tell carry different shifts; it names the two.
    """
    known = {name: finding.shift for name, finding in findings.items() if finding.shift is not None}
    for name, shift in known.items():
        first = next(iter(known))
        if shift != known[first]:
            raise InputError(
                f"the read ends are shifted by {known[first]} in {first}, but by {shift} in {name}",
                where="replicates",
                cause="one of them was shifted before, by another program",
                remedy="make both from raw read ends, or give them as two samples, each with its own tn5_shift",
            )
    return next(iter(known.values()), None)


def _pair(which: int) -> Tn5Shift:
    """Return the pair at a place of the flattened table of pairs; inwards is downwards on the - strand."""
    plus, minus = divmod(which, len(CANDIDATES))
    return Tn5Shift(int(CANDIDATES[plus]), -int(CANDIDATES[minus]))


def _score(counts: NDArray[np.integer | np.floating], duplication_bp: int) -> tuple[NDArray[np.float64], ...]:
    """Return scores of axes (n, 2, 37), lags (n, 37) and pairs (n, 19, 19) of counts (n, 2, 101, 4)."""
    preference = contrast(composition(counts))[..., np.abs(OFFSETS) <= FLANK_BP, :]
    energy = np.maximum((preference**2).sum((-1, -2)), _NO_ENERGY)
    # raw ends mirror offset 0 onto the last base of the duplication; each bp of shift takes 2 from this sum
    sums = duplication_bp - 1 - (2 * AXES).astype(int)
    other_strand = preference[..., ::-1, ::-1]
    own = np.stack([_overlap(preference, other_strand, -int(total)) for total in sums], -1)
    own /= energy[..., None]
    across = np.stack([_overlap(preference[:, 0], preference[:, 1], int(lag)) for lag in LAGS], -1)
    across /= np.sqrt(energy.prod(-1))[:, None]
    whole = own[..., ::2]
    difference = CANDIDATES[:, None] - CANDIDATES + 2 * _WIDEST
    pairs = (whole[:, 0, :, None] + whole[:, 1, None, :] + across[:, difference]) / 3
    return own, across, pairs


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64], bp: int) -> NDArray[np.float64]:
    """Return the sum over offsets j and bases of `one` at j times `other` at j + bp; nothing lies beyond."""
    first, last = max(0, -bp), one.shape[-2] - max(0, bp)
    both = (one[..., first:last, :], other[..., first + bp : last + bp, :])
    return np.einsum("...ob,...ob->...", *both)


def _resample(counts: NDArray[np.int64], duplication_bp: int) -> NDArray[np.float64]:
    """Return scores of pairs (replicates, 19, 19) over genomes made of blocks drawn with replacement."""
    blocks = len(counts)
    draws = np.random.default_rng(_SEED).multinomial(blocks, np.full(blocks, 1 / blocks), size=_REPLICATES)
    return _score(np.tensordot(draws.astype(float), counts.astype(float), axes=1), duplication_bp)[2]


def _too_thin(tally: EndTally, score: float) -> str:
    """Say that there is nothing to go by; empty if there is."""
    plus, minus = tally.ends
    if min(plus, minus) < _LEAST_ENDS:
        return f"{plus:,} + and {minus:,} - ends are too few, wanted {_LEAST_ENDS} of each"
    blocks = int(tally.counts.any((1, 2, 3)).sum())
    if blocks < _LEAST_BLOCKS:
        return f"all read ends lie in {blocks} of about a hundred parts of the genome, wanted {_LEAST_BLOCKS}"
    if score < _LEAST_SCORE:
        return (
            f"the bases around the read ends show no palindrome (score {score:.2f}, wanted {_LEAST_SCORE}):"
            " too few ends, or not cut by Tn5"
        )
    return ""


def _contradiction(best: Tn5Shift, axes: NDArray[np.float64], apart: int) -> str:
    """Say where the three comparisons do not give the same shift; empty if they do."""
    for strand, axis in zip(STRANDS, axes, strict=True):
        if axis % 1:
            return (
                f"the palindrome around the {strand} ends is centred between two bases, as where reads with"
                " different shifts are mixed in one file"
            )
    if (*axes, apart) != (best.plus, -best.minus, best.plus + best.minus):
        return (
            f"the strands contradict each other: by themselves they are shifted inwards by {axes[0]:.0f} and"
            f" {axes[1]:.0f} bp, by their comparison {apart} bp apart"
        )
    return ""


def _not_ahead(best: Tn5Shift, second: Tn5Shift, lead: float, support: float) -> str:
    """Say that another pair is about as good; empty if none is."""
    if support < _LEAST_SUPPORT:
        return f"{best} comes first in {support:.0%} of resampled genomes only, wanted {_LEAST_SUPPORT:.0%}"
    if lead < _LEAST_LEAD:
        return f"{second} fits nearly as well as {best}, as where reads with different shifts are mixed in one file"
    return ""
