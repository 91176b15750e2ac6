"""Does a network reset its memory where it reads into an accessible region? The answer of a run, and of all runs.

The rule is in `rule.py`, the sentences in `words.py`.

Public names: `RunFacts`, `judge_run`, `verdict`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import (
    HYPOTHESES,
    MODES,
    DirectionEvidence,
    VerdictRule,
    combine,
    judge_direction,
)
from gatescope.boundaries.words import caveats, overall_sentence, run_sentence
from gatescope.errors import InputError
from gatescope.files import read_record, write_json
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFacts:
    """Hold what a verdict has to name about a run.

    Attributes
    ----------
    run : str
    input_tracks : tuple of str
        Tracks read beside the sequence, empty for DNA alone.
    lookahead_bp : int
    model_sha256 : str
    certificate : dict
        Replay certificate of the gates.
    controls : {"quick", "full"}
        Which controls were run; "quick" makes every verdict provisional.
    """

    run: str
    input_tracks: tuple[str, ...]
    lookahead_bp: int
    model_sha256: str
    certificate: dict[str, Any]
    controls: str = "quick"

    @property
    def input_mode(self) -> str:
        """Return "sequence" or "sequence+tracks"."""
        return "sequence+tracks" if self.input_tracks else "sequence"


def judge_run(
    directions: Mapping[str, DirectionEvidence], facts: RunFacts, rule: VerdictRule, shape: ProfileShape
) -> dict[str, Any]:
    """Judge a run, and say so in words.

    Parameters
    ----------
    directions : mapping of str to DirectionEvidence
        By direction name.
    facts : RunFacts
    rule : VerdictRule
    shape : ProfileShape
        The lengths behind the numbers of `directions`.

    Returns
    -------
    content : dict
        What ``boundaries/{run}/verdict.json`` holds.
    """
    judged = {
        name: judge_direction(evidence, rule, facts.lookahead_bp) for name, evidence in directions.items()
    }
    answer = combine([each[:2] for each in judged.values()], one_is_enough=True)
    is_provisional = facts.controls != "full"
    return {
        "stage_version": STAGE_VERSIONS["boundaries"],
        "run": facts.run,
        "hypothesis": answer[0],
        "mode": answer[1],
        "provisional": is_provisional,
        "sentence": run_sentence(
            answer, judged, directions, facts.input_tracks, shape, rule, is_provisional=is_provisional
        ),
        "input_mode": facts.input_mode,
        "directions": {
            name: {**judged[name]._asdict(), **asdict(evidence)} for name, evidence in directions.items()
        },
        "n_boundaries": sum(evidence.n_boundaries for evidence in directions.values()),
        "thresholds": asdict(rule),
        "shape": asdict(shape),
        "controls": {"scope": facts.controls},
        "lookahead_bp": facts.lookahead_bp,
        "model_sha256": facts.model_sha256,
        "certificate": facts.certificate,
        "caveats": caveats(facts.input_tracks, facts.lookahead_bp, is_provisional=is_provisional),
    }


def verdict(verdicts: Sequence[Path | str], output: Path | str) -> None:
    """Collect the verdicts of several runs into one file with one sentence.

    Runs that read DNA alone decide where there are any: only they can say something about sequence. The
    overall hypothesis is theirs if they agree, otherwise "inconclusive".

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
    by_input = {
        mode: [run for run in runs if run["input_mode"] == mode] for mode in ("sequence", "sequence+tracks")
    }
    deciding = by_input["sequence"] or by_input["sequence+tracks"]
    answer = combine([(run["hypothesis"], run["mode"]) for run in deciding], one_is_enough=False)
    is_provisional = any(run["provisional"] for run in runs)
    sentence = overall_sentence(answer, by_input, is_provisional=is_provisional)
    log.info("%s", sentence)
    content = {
        "stage_version": STAGE_VERSIONS["verdict"],
        "hypothesis": answer[0],
        "mode": answer[1],
        "provisional": is_provisional,
        "sentence": sentence,
        "runs": [
            {key: run[key] for key in ("run", "input_mode", "hypothesis", "mode", "sentence")} for run in runs
        ],
    }
    write_json(output, content)


def _read_verdict(path: Path | str) -> dict[str, Any]:
    """Read the verdict of one run."""
    remedy = "name the verdict of one run, made by gatescope boundaries"
    needed: dict[str, type] = dict.fromkeys(("run", "input_mode", "hypothesis", "mode", "sentence"), str)
    record = read_record(path, {**needed, "provisional": bool}, remedy)
    for entry, known in (("hypothesis", HYPOTHESES), ("mode", MODES)):
        if record[entry] not in known:
            raise InputError(f"entry {entry} is {record[entry]!r:.60}", where=path, remedy=remedy)
    return record
