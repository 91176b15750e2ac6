"""Does a forget gate fall where a network reads into an accessible region? The rule, and the answer in words.

The rule was declared before any result was seen, and a p-value never decides alone: a small one does not
support, a large one leaves open. One unit per direction, *chosen* on the validation contigs, is judged on the
test contigs at entry boundaries, and beside it all units of the untrained network that read in its direction.
The first line that holds decides:

==============  ==========================================================================================
inconclusive    fewer than `min_boundaries` test boundaries, or the stem looks further ahead than
                `max_lookahead_bp` (the gate could fall because of bases beyond the boundary)
not supported   the drop is below `small_drop`, or within `small_drop` of the largest drop of any untrained
                unit of the direction
inconclusive    the drop is not told apart from chance: family-wise p > `max_fwer` under circular shifts
supported       drop >= `min_drop`, and no untrained unit of the direction drops by `twin_max_drop`
inconclusive    everything between
==============  ==========================================================================================

A run is supported if one of its directions is, not supported if both are not, otherwise inconclusive. Every
verdict of this version is *provisional*: the controls listed in `CAVEATS` have not been run.

Public names: `VerdictRule`, `DirectionEvidence`, `RunFacts`, `judge_direction`, `judge_run`, `verdict`.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gatescope.boundaries.profile import ProfileShape
from gatescope.errors import InputError
from gatescope.files import read_record, write_json
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"

#: What a reader must know beside every verdict of this version.
CAVEATS = (
    "Provisional: matched controls (targets rotated within contigs, GC-matched pseudo-boundaries, shuffled "
    "flanks, boundary jitter) and interventions on the gate have not been run.",
    "Boundaries are the edges of called peaks, often uncertain by about 100 bp: a fall that is sharp in each "
    "region looks shallower and wider in the mean.",
    "A unit can also reset by writing over its memory while its forget gate stays open: not seen here.",
    "The gates belong to the first recurrent layer; they explain this network, not chromatin.",
)
_READING = {"fwd": "forward", "rev": "in reverse"}


@dataclass(frozen=True)
class VerdictRule:
    """Hold the declared thresholds; drops are differences of the mean forget gate (0-1)."""

    min_drop: float = 0.4
    small_drop: float = 0.1
    twin_max_drop: float = 0.05
    max_fwer: float = 0.05
    min_boundaries: int = 20
    max_lookahead_bp: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.small_drop <= self.min_drop <= 1:
            raise InputError(
                f"small_drop {self.small_drop}, min_drop {self.min_drop}; wanted 0 <= small <= min <= 1",
                where="config: boundaries",
            )


@dataclass(frozen=True)
class DirectionEvidence:
    """Hold what one direction's chosen unit does at entry boundaries; all but `drop_valid` on test contigs.

    Attributes
    ----------
    unit : int
        The unit with the largest entry drop on the validation contigs.
    drop_valid, drop_test : float
        Drop of the mean forget gate on either set of contigs.
    offset : int
        Offset (bp, reading direction) of the minimum behind `drop_test`.
    lowest_offset : int
        Offset of the minimum when bases before the boundary count as well.
    flank, forget_min, forget_min_low, forget_min_high : float
        Mean forget gate before the boundary and at `offset`, with a 95 % region-bootstrap interval.
    null_drop_high : float
        97.5th percentile of the unit's drop at shifted boundaries.
    p, p_fwer : float
        Circular-shift p-value of the drop, alone and corrected for all `n_units` units of both directions.
    twin_drop, twin_largest_drop : float
        Drop of the unit of the same index in the untrained twin, and of the twin's most falling unit of the
        same direction.
    n_boundaries, n_boundaries_valid : int
        Entry boundaries used.
    n_units : int
        Units that `p_fwer` corrects for.
    """

    unit: int
    drop_valid: float
    drop_test: float
    offset: int
    lowest_offset: int
    flank: float
    forget_min: float
    forget_min_low: float
    forget_min_high: float
    null_drop_high: float
    p: float
    p_fwer: float
    twin_drop: float
    twin_largest_drop: float
    n_boundaries: int
    n_boundaries_valid: int
    n_units: int


@dataclass(frozen=True)
class RunFacts:
    """Hold what a verdict has to name about a run.

    `input_tracks` are the tracks read beside the sequence, empty for DNA alone; `certificate` is the replay
    certificate of the gates.
    """

    run: str
    input_tracks: tuple[str, ...]
    lookahead_bp: int
    model_sha256: str
    certificate: dict[str, Any]

    @property
    def input_mode(self) -> str:
        """Return "sequence" or "sequence+tracks"."""
        return "sequence+tracks" if self.input_tracks else "sequence"


def judge_direction(evidence: DirectionEvidence, rule: VerdictRule, lookahead_bp: int) -> tuple[str, str]:
    """Apply the declared rule to one direction.

    Returns
    -------
    verdict : {"supported", "not supported", "inconclusive"}
    reason : str
        The clause that decided, in words.
    """
    if evidence.n_boundaries < rule.min_boundaries:
        return INCONCLUSIVE, f"only {evidence.n_boundaries} boundaries, {rule.min_boundaries} are needed"
    if lookahead_bp > rule.max_lookahead_bp:
        return (
            INCONCLUSIVE,
            f"the network looks {lookahead_bp} bp ahead: gates not interpretable at boundaries",
        )
    objection = _objection(evidence, rule)
    if objection:
        return NOT_SUPPORTED, objection
    if evidence.p_fwer > rule.max_fwer:
        return INCONCLUSIVE, "the fall is not told apart from chance"
    if evidence.drop_test < rule.min_drop:
        return INCONCLUSIVE, f"the fall is real but partial (below {rule.min_drop:g})"
    if evidence.twin_largest_drop >= rule.twin_max_drop:
        return INCONCLUSIVE, "the untrained network falls as well, though less"
    return SUPPORTED, "deep, beyond chance and absent from the untrained network"


def _objection(evidence: DirectionEvidence, rule: VerdictRule) -> str:
    """Say which effect size speaks against a fall; empty if none does."""
    if evidence.drop_test < 0:
        return "the gate rises"
    if evidence.drop_test < rule.small_drop:
        return f"the fall is small (below {rule.small_drop:g})"
    ahead = evidence.drop_test - evidence.twin_largest_drop
    if ahead < rule.small_drop:
        return f"the untrained network falls {'nearly ' if ahead > 0 else ''}as far"
    return ""


def judge_run(
    directions: dict[str, DirectionEvidence], facts: RunFacts, rule: VerdictRule, shape: ProfileShape
) -> dict[str, Any]:
    """Judge a run, and say so in words.

    Parameters
    ----------
    directions : dict of str to DirectionEvidence
        By direction name.
    facts : RunFacts
    rule : VerdictRule
    shape : ProfileShape
        The lengths behind the drops of `directions`.

    Returns
    -------
    content : dict
        What ``boundaries/{run}/verdict.json`` holds.
    """
    judged = {
        name: judge_direction(evidence, rule, facts.lookahead_bp) for name, evidence in directions.items()
    }
    answer = _combine([answer for answer, _ in judged.values()])
    return {
        "stage_version": STAGE_VERSIONS["boundaries"],
        "run": facts.run,
        "verdict": answer,
        "provisional": True,
        "sentence": _run_sentence(answer, judged, directions, facts),
        "input_mode": facts.input_mode,
        "directions": {
            name: {"verdict": judged[name][0], "reason": judged[name][1], **asdict(evidence)}
            for name, evidence in directions.items()
        },
        "n_boundaries": sum(evidence.n_boundaries for evidence in directions.values()),
        "thresholds": asdict(rule),
        "shape": asdict(shape),
        "lookahead_bp": facts.lookahead_bp,
        "model_sha256": facts.model_sha256,
        "certificate": facts.certificate,
        "caveats": [*_input_caveat(facts), _lookahead_caveat(facts), *CAVEATS],
    }


def _combine(answers: Sequence[str]) -> str:
    """Supported if one is; not supported if all are not; otherwise inconclusive."""
    if SUPPORTED in answers:
        return SUPPORTED
    return NOT_SUPPORTED if set(answers) == {NOT_SUPPORTED} else INCONCLUSIVE


_LEAD = {
    SUPPORTED: "when this network reads into an accessible region, it lets go of its memory",
    NOT_SUPPORTED: "this network does not let go of its memory where it reads into an accessible region",
    INCONCLUSIVE: "it stays open whether this network lets go of its memory where a region begins",
}


def _run_sentence(
    answer: str, judged: dict[str, tuple[str, str]], directions: dict[str, DirectionEvidence], facts: RunFacts
) -> str:
    """Say the verdict of a run in words a biologist can check against the figure."""
    each = [_direction_sentence(name, directions[name], *judged[name]) for name in directions]
    return " ".join([f"{answer.capitalize()} (provisional): {_LEAD[answer]}.", *each, _input_sentence(facts)])


def _direction_sentence(name: str, evidence: DirectionEvidence, answer: str, reason: str) -> str:
    """Describe one direction: effect size, null, twin, and the clause that decided."""
    twin = ""
    if evidence.twin_largest_drop >= 0:
        twin = f" by more than {evidence.twin_largest_drop:.2f}"
    return (
        f"Reading {_READING[name]} ({answer}: {reason}): the forget gate of unit {evidence.unit} (1 keeps "
        f"the memory, 0 erases it) {_moves(evidence.drop_test)}, from {evidence.flank:.2f} before the "
        f"boundary to its lowest, {evidence.forget_min:.2f} at {evidence.offset} bp beyond it, in the mean of "
        f"{evidence.n_boundaries} boundaries of test contigs. The same boundaries moved elsewhere give falls "
        f"under {evidence.null_drop_high:.2f} (97.5 % of shifts; p = {evidence.p_fwer:.3g} corrected for "
        f"{evidence.n_units} units); no unit of the untrained network that reads in this direction "
        f"falls{twin}."
    )


def _moves(drop: float) -> str:
    """Put a drop into words; a gate whose lowest value lies above its flank rises."""
    return f"falls by {drop:.2f}" if drop >= 0 else f"rises by {-drop:.2f}"


def _input_sentence(facts: RunFacts) -> str:
    """Say what the network was given, and what follows from it."""
    if not facts.input_tracks:
        return "The network was given DNA alone."
    if "cuts" in facts.input_tracks:
        return "This gate can see the ATAC signal itself; this says nothing about sequence grammar."
    return (
        f"This gate can see the input tracks ({', '.join(facts.input_tracks)}) beside the sequence; "
        "this says nothing about sequence grammar."
    )


def _input_caveat(facts: RunFacts) -> list[str]:
    return [_input_sentence(facts)] if facts.input_tracks else []


def _lookahead_caveat(facts: RunFacts) -> str:
    return (
        f"The network looks {facts.lookahead_bp} bp ahead of the base it reads: a fall up to that far before "
        "offset 0 is no foresight."
    )


def verdict(verdicts: Sequence[Path | str], output: Path | str) -> None:
    """Collect the verdicts of several runs into one file with one sentence.

    Runs that read DNA alone decide where there are any: only they can say something about sequence. The
    overall verdict is theirs if they agree, otherwise "inconclusive".

    Parameters
    ----------
    verdicts : sequence of Path or str
        ``boundaries/{run}/verdict.json`` of each run; twins have none.
    output : Path or str
        ``boundaries/verdict.json``.

    Raises
    ------
    InputError
        If a file is missing or is not a verdict.
    """
    runs = [_read_verdict(path) for path in verdicts]
    if not runs:
        raise InputError("no verdicts to collect", where="--verdicts")
    modes = {
        mode: [run for run in runs if run["input_mode"] == mode] for mode in ("sequence", "sequence+tracks")
    }
    deciding = modes["sequence"] or modes["sequence+tracks"]
    answers = {run["verdict"] for run in deciding}
    answer = answers.pop() if len(answers) == 1 else INCONCLUSIVE
    sentence = _overall_sentence(answer, modes)
    log.info("%s", sentence)
    content = {
        "stage_version": STAGE_VERSIONS["verdict"],
        "verdict": answer,
        "provisional": True,
        "sentence": sentence,
        "runs": [{key: run[key] for key in ("run", "input_mode", "verdict", "sentence")} for run in runs],
    }
    write_json(output, content)


def _overall_sentence(answer: str, modes: dict[str, list[dict[str, Any]]]) -> str:
    """Say in one sentence what all runs show."""
    shown = {
        "sequence": "DNA alone",
        "sequence+tracks": "DNA beside tracks (which says nothing about sequence grammar)",
    }
    parts = []
    for mode, runs in modes.items():
        counts = Counter(run["verdict"] for run in runs)
        counted = ", ".join(f"{verdict} in {n} of {len(runs)} runs" for verdict, n in sorted(counts.items()))
        if len(runs) == 1:
            counted = f"{runs[0]['verdict']} in the one run"
        if runs:
            parts.append(f"{shown[mode]}: {counted}")
    return (
        f"{answer.capitalize()} (provisional): does a forget gate fall where the network reads into an accessible "
        f"region? With {'; with '.join(parts)}."
    )


def _read_verdict(path: Path | str) -> dict[str, Any]:
    """Read the verdict of one run."""
    needed: dict[str, type] = dict.fromkeys(("run", "input_mode", "verdict", "sentence"), str)
    return read_record(path, needed, "name the verdict of one run, made by gatescope boundaries")
