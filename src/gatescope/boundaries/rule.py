"""When is "the forget gate resets at region boundaries" supported? The rule, as declared before any result was seen.

One unit per direction, *chosen* on the validation contigs (the most negative R at entries among units that hold their
memory in the flanks), is judged on the test contigs at entry boundaries. The first line that holds decides:

==============  ================  ====================================================================================
inconclusive                      fewer than `min_boundaries` test boundaries or `min_blocks` blocks, a stem that looks
                                  further ahead than `max_lookahead_bp`, or a unit with a flank half-life below
                                  `min_half_life_bp`: it has no memory to lose
not supported   overwrite, none   the interval of R lies inside +-`equivalence`; overwrite where memory is rewritten
inconclusive                      R > `dip_below`
inconclusive                      R is not told apart from chance: family-wise p > `max_fwer` under circular shifts
not supported   composition only  places of the same GC content and GC step, without a boundary, dip and give no less:
                                  R there is at most `dip_below`, and the interval of real - pseudo reaches
                                  -`equivalence`
inconclusive                      too few such places, or the interval of real - pseudo reaches 0
inconclusive                      a twin falls as far: the interval of R - R(twin) reaches 0, for the twin's unit of the
                                  same index or for its most falling one
inconclusive                      moved by the longest distance, boundaries keep more than half of R
not supported   overwrite, dip    R > `reset_below`; overwrite where memory is rewritten
inconclusive                      R is that of a reset, real - pseudo is not: a part comes with GC content
inconclusive                      R is that of a reset, and the forget share is not known
supported       reset             the median forget share is above `reset_forget_share`
not supported   overwrite, dip    it is not
==============  ================  ====================================================================================

*Rewritten*: the median forget share is at most `reset_forget_share`, and the memory changes its sign or only gains at
more than half of the boundaries, and at more of them than where the same boundaries are moved elsewhere (97.5 % of
shifts, and a fifth of the boundaries beyond): many units rewrite what they hold all the time. A mode is named where it
is established; otherwise it is "none".

Public names: `VerdictRule`, `ModeEvidence`, `TwinEvidence`, `PseudoEvidence`, `JitterEvidence`, `DirectionEvidence`,
`Judgement`, `judge_direction`, `depth_of`,
`judge_alone`, `combine`, the hypotheses and the modes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gatescope.settings import check_verdict_rule

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
RESET, OVERWRITE, DIP, COMPOSITION, NONE = "reset", "overwrite", "dip", "composition only", "none"
HYPOTHESES = (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE)
#: By how large a share of the boundaries rewriting has to exceed what happens elsewhere.
REWRITTEN_BEYOND = 0.2
#: Of several modes the first is named.
MODES = (RESET, OVERWRITE, DIP, COMPOSITION, NONE)


@dataclass(frozen=True)
class VerdictRule:
    """Hold the declared thresholds; R is in log2 units (`retention.py`).

    Attributes
    ----------
    reset_below, dip_below : float
        Largest R of a reset and of a dip; -3.3 keeps a tenth of what the flank keeps.
    reset_forget_share : float
        Share of the change of memory that has to be forgetting in a reset, 0-1.
    equivalence : float
        R within +- this is none.
    interval_level : float
        Of every interval that decides.
    min_half_life_bp : float
        Least half-life in the flanks of a unit that can lose a memory.
    max_fwer : float
    min_boundaries, min_blocks : int
        Least numbers of test boundaries, and of blocks of 20 kb that they lie in.
    max_lookahead_bp : int
    """

    reset_below: float = -3.3
    dip_below: float = -0.5
    reset_forget_share: float = 0.5
    equivalence: float = 0.5
    interval_level: float = 0.9
    min_half_life_bp: float = 25.0
    max_fwer: float = 0.05
    min_boundaries: int = 20
    min_blocks: int = 10
    max_lookahead_bp: int = 10

    def __post_init__(self) -> None:
        check_verdict_rule(self.reset_below, self.dip_below, self.equivalence, self.interval_level)


@dataclass(frozen=True)
class ModeEvidence:
    """Hold how memory changes at the boundaries of a unit: shares of boundaries (0-1), and the median forget share.

    `rewritten_elsewhere`: of the same boundaries moved elsewhere, the share that is overwritten or only gains reaches
    this in 2.5 % of shifts.
    """

    erase: float
    overwrite: float
    gain_only: float
    none: float
    median_forget_share: float
    rewritten_elsewhere: float

    def is_rewritten(self, share: float) -> bool:
        """Tell whether writing, more than forgetting, changes memory at most boundaries, and more than elsewhere."""
        rewritten = self.overwrite + self.gain_only
        return self.median_forget_share <= share and rewritten > max(
            0.5, self.rewritten_elsewhere + REWRITTEN_BEYOND
        )


@dataclass(frozen=True)
class TwinEvidence:
    """Hold R of one unit of a twin (`twin`: "untrained" or "shuffled") at the same boundaries.

    `difference`, `low` and `high` are R of the run minus R of the twin, boundary by boundary, with interval.
    """

    twin: str
    unit: int
    is_same_index: bool
    r: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class PseudoEvidence:
    """Hold R at places that are no boundaries but have the GC content and GC step of one.

    `n` real boundaries have such a place; `r` is R at the places, and `difference`, `low` and `high` are R of those
    real boundaries minus R there, pair by pair, with interval. `gc_step`, `real_gc_step`: mean GC right minus left.
    """

    n: int
    r: float
    difference: float
    low: float
    high: float
    gc_step: float
    real_gc_step: float


@dataclass(frozen=True)
class JitterEvidence:
    """Hold R with every boundary moved by `distance_bp` to a random side; `n` of them have room for it."""

    distance_bp: int
    n: int
    r: float


@dataclass(frozen=True)
class DirectionEvidence:
    """Hold what one direction's chosen unit does at entry boundaries; all but `r_valid` on test contigs.

    Attributes
    ----------
    unit : int
        The eligible unit with the most negative R on the validation contigs.
    is_eligible : bool
        Whether its flank half-life is long enough on validation and on test contigs.
    half_life_bp : float
        In the flanks.
    r_valid, r : float
        Mean R on either set of contigs.
    r_low, r_high, r_low_95, r_high_95 : float
        Block-bootstrap intervals of `r`, at the declared level and at 95 %.
    kept_near, kept_flank : float
        Share of a memory kept over the near window and over as many flank bases (geometric means over boundaries).
    null_r_low, null_r_high : float
        The central 95 % of R at shifted boundaries.
    z, p, p_fwer : float
        R in standard deviations of the null; two-sided p-values, alone and over `n_tests`.
    n_tests : int
        Units, directions and crossings that `p_fwer` corrects for.
    dip_test, cohens_d : float
        D in f; Cohen's d of near against flank means of the logit.
    drop_test, offset, lowest_offset, flank, forget_min, forget_min_low, forget_min_high : float, int
        Of the mean profile of f: its fall beyond the boundary, where it is lowest beyond it and anywhere near, its mean
        before the boundary and its minimum with a 95 % block-bootstrap interval.
    twins : tuple of TwinEvidence
    pseudo : PseudoEvidence or None
        None if no place could be matched.
    jitter : tuple of JitterEvidence
    modes : ModeEvidence or None
        None if not known.
    n_boundaries, n_boundaries_valid, n_blocks : int
        Entry boundaries used, and the blocks that those of the test contigs lie in.
    """

    unit: int
    is_eligible: bool
    half_life_bp: float
    r_valid: float
    r: float
    r_low: float
    r_high: float
    r_low_95: float
    r_high_95: float
    kept_near: float
    kept_flank: float
    null_r_low: float
    null_r_high: float
    z: float
    p: float
    p_fwer: float
    n_tests: int
    dip_test: float
    cohens_d: float
    drop_test: float
    offset: int
    lowest_offset: int
    flank: float
    forget_min: float
    forget_min_low: float
    forget_min_high: float
    twins: tuple[TwinEvidence, ...]
    pseudo: PseudoEvidence | None
    jitter: tuple[JitterEvidence, ...]
    modes: ModeEvidence | None
    n_boundaries: int
    n_boundaries_valid: int
    n_blocks: int


class Judgement(NamedTuple):
    """An answer, the mode that is established, and the clause that decided, in words."""

    hypothesis: str
    mode: str
    reason: str


def judge_direction(evidence: DirectionEvidence, rule: VerdictRule, lookahead_bp: int) -> Judgement:
    """Apply the declared rule to one direction."""
    if gap := _unfit(evidence, rule, lookahead_bp):
        return Judgement(INCONCLUSIVE, NONE, gap)
    modes = evidence.modes
    is_rewritten = modes is not None and modes.is_rewritten(rule.reset_forget_share)
    if _is_nothing(evidence, rule):
        if is_rewritten:
            return Judgement(NOT_SUPPORTED, OVERWRITE, "memory is written over, the gate stays open")
        return Judgement(NOT_SUPPORTED, NONE, f"no effect: R within +-{rule.equivalence:g}")
    if objection := _objection(evidence, rule):
        return objection
    is_deep = evidence.r <= rule.reset_below
    if is_deep and evidence.pseudo is not None and evidence.pseudo.difference > rule.reset_below:
        return Judgement(INCONCLUSIVE, NONE, "deep, but a part of it comes with the GC content")
    if is_deep and modes is None:
        return Judgement(INCONCLUSIVE, NONE, "as deep as a reset, but the forget share is not known")
    if is_deep and modes is not None and modes.median_forget_share > rule.reset_forget_share:
        return Judgement(SUPPORTED, RESET, "deep, beyond chance, twins and composition, and by forgetting")
    if is_rewritten:
        return Judgement(NOT_SUPPORTED, OVERWRITE, "memory is written over more than forgotten")
    if is_deep:
        return Judgement(NOT_SUPPORTED, DIP, "deep, but most of the change of memory is not forgetting")
    return Judgement(NOT_SUPPORTED, DIP, f"real, but no reset (R above {rule.reset_below:g})")


def depth_of(r: float, rule: VerdictRule) -> str:
    """Name the mode that R alone is deep enough for: it is established only by what else the rule asks for."""
    return RESET if r <= rule.reset_below else DIP if r <= rule.dip_below else NONE


def judge_alone(evidence: DirectionEvidence, rule: VerdictRule, lookahead_bp: int) -> Judgement:
    """Apply what of the rule needs nothing but gates: no twin, no sequence and no writes are known.

    A fall is then told from chance and from its surroundings, but is no mode: an untrained network, the GC content or
    writing may do as much. What is left is "not supported" where there is no effect, and "inconclusive".
    """
    if gap := _unfit(evidence, rule, lookahead_bp):
        return Judgement(INCONCLUSIVE, NONE, gap)
    if _is_nothing(evidence, rule):
        return Judgement(NOT_SUPPORTED, NONE, f"no effect: R within +-{rule.equivalence:g}")
    if objection := _no_fall(evidence, rule) or _not_its_own(evidence):
        return objection
    lacking = "an untrained twin and places of like GC content"
    if depth_of(evidence.r, rule) == RESET:
        reason = (
            f"as deep as a reset, but the forget share is not known, and it is not held against {lacking}"
        )
    else:
        reason = f"as deep as a dip and no reset, but not held against {lacking}"
    return Judgement(INCONCLUSIVE, NONE, reason)


def _is_nothing(evidence: DirectionEvidence, rule: VerdictRule) -> bool:
    """Tell whether the interval of R leaves no room for an effect."""
    return -rule.equivalence < evidence.r_low and evidence.r_high < rule.equivalence


def _unfit(evidence: DirectionEvidence, rule: VerdictRule, lookahead_bp: int) -> str:
    """Say what keeps the direction from being judged at all; empty if nothing does."""
    if evidence.n_boundaries < rule.min_boundaries:
        return f"only {evidence.n_boundaries} boundaries, {rule.min_boundaries} are needed"
    if evidence.n_blocks < rule.min_blocks:
        return f"boundaries in only {evidence.n_blocks} blocks, an interval needs {rule.min_blocks}"
    if lookahead_bp > rule.max_lookahead_bp:
        return f"the network looks {lookahead_bp} bp ahead: gates not interpretable at boundaries"
    if not evidence.is_eligible:
        return f"no unit holds its memory for {rule.min_half_life_bp:g} bp: there is nothing to reset"
    return ""


def _objection(evidence: DirectionEvidence, rule: VerdictRule) -> Judgement | None:
    """Say what speaks against a fall that is real and the boundary's own; None if nothing does."""
    if objection := _no_fall(evidence, rule) or _of_composition(evidence.pseudo, rule):
        return objection
    for twin in evidence.twins:
        if twin.high >= 0:
            return Judgement(INCONCLUSIVE, NONE, f"the {twin.twin} network is not clearly less")
    return _not_its_own(evidence)


def _no_fall(evidence: DirectionEvidence, rule: VerdictRule) -> Judgement | None:
    """Say why it is no fall, or one that chance gives; None if it is one."""
    if evidence.r > 0:
        return Judgement(INCONCLUSIVE, NONE, "the unit forgets less at the boundary, not more")
    if evidence.r > rule.dip_below:
        return Judgement(INCONCLUSIVE, NONE, "neither a dip nor shown to be none")
    if evidence.p_fwer > rule.max_fwer:
        return Judgement(INCONCLUSIVE, NONE, "not told apart from chance")
    return None


def _not_its_own(evidence: DirectionEvidence) -> Judgement | None:
    """Say whether places beside the boundary do as much; None if they do not."""
    if evidence.jitter and evidence.jitter[-1].r <= evidence.r / 2:
        moved = evidence.jitter[-1].distance_bp
        return Judgement(INCONCLUSIVE, NONE, f"boundaries moved by {moved} bp give more than half of it")
    return None


def _of_composition(pseudo: PseudoEvidence | None, rule: VerdictRule) -> Judgement | None:
    """Say whether GC content alone may do it; None if it does not."""
    if pseudo is None or pseudo.n < rule.min_boundaries:
        return Judgement(INCONCLUSIVE, NONE, "too few places match the GC content of the boundaries")
    # places are matched by GC content, not to the base: what dips there dips a little less than at its own step
    if pseudo.r <= rule.dip_below and pseudo.high >= -rule.equivalence:
        return Judgement(NOT_SUPPORTED, COMPOSITION, "places of like GC content give no less")
    if pseudo.high >= 0:
        return Judgement(INCONCLUSIVE, NONE, "not told apart from places of like GC content")
    return None


def combine(judged: Sequence[tuple[str, str]], *, one_is_enough: bool) -> tuple[str, str]:
    """Return hypothesis and mode of several answers, each a (hypothesis, mode).

    "Not supported" needs all of them; so does "supported", unless one is enough (a run, of whose directions one may
    do it); everything else is inconclusive, without a mode.
    """
    answers = {hypothesis for hypothesis, _ in judged}
    if SUPPORTED in answers and (one_is_enough or answers == {SUPPORTED}):
        return SUPPORTED, RESET
    if answers != {NOT_SUPPORTED}:
        return INCONCLUSIVE, NONE
    return NOT_SUPPORTED, min((mode for _, mode in judged), key=MODES.index)
