"""Does a network reset its memory where it reads into an accessible region? The answer of a run, and of all runs.

The rule is in `rule.py`, the sentences in `words.py`.

Public names: `RunFacts`, `judge_run`, `verdict`, `LEAST_SEEDS`, `LEAST_FOLDS`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.boundaries.matching import MATCH_COLUMNS, MatchRule, chosen_agreement, match_runs
from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import (
    HYPOTHESES,
    MODES,
    DirectionEvidence,
    VerdictRule,
    combine,
    judge_direction,
)
from gatescope.boundaries.words import agreement_sentences, caveats, overall_sentence, run_sentence
from gatescope.errors import InputError
from gatescope.files import read_record, write_json, write_table
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.sample import UnitSample, read_sample

log = logging.getLogger(__name__)

#: Trainings from fewer starts, or on fewer splits of the genome, may agree by luck.
LEAST_SEEDS, LEAST_FOLDS = 3, 2


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


def verdict(
    verdicts: Sequence[Path | str],
    output: Path | str,
    *,
    samples: Sequence[Path | str] = (),
    clamps: Sequence[Path | str] = (),
) -> None:
    """Collect the verdicts of several runs; write ``verdict.json`` with one sentence, and ``unit_matches.tsv``.

    Runs that read DNA alone decide where there are any: only they can say something about sequence. The
    overall hypothesis is theirs if they agree, otherwise "inconclusive". It stays provisional as long as a run is, or
    there are fewer than `LEAST_SEEDS` seeds or `LEAST_FOLDS` folds.

    Parameters
    ----------
    verdicts : sequence of Path or str
        ``boundaries/{run}/verdict.json`` of each run; twins have none.
    output : Path or str
        Folder, ``boundaries``.
    samples : sequence of Path or str
        ``trace/{run}/unit_sample.npz`` of each run, in the order of `verdicts`: the units of runs of one model are
        matched, so that the verdict says whether their chosen units are one and the same. None: not matched.
    clamps : sequence of Path or str
        ``effects/{run}/clamp.json``, of runs that have one; their sentences are repeated.

    Raises
    ------
    InputError
        If a file is missing or is not what it should be.
    """
    runs = [_read_verdict(path) for path in verdicts]
    if not runs:
        raise InputError("no verdicts to collect", where="--verdicts")
    if samples and len(samples) != len(runs):
        raise InputError(f"{len(samples)} samples of {len(runs)} runs", where="--samples")
    held = {run: sentences for run, sentences in map(_read_clamp, clamps)}
    matches = _match(dict(zip((run["run"] for run in runs), map(read_sample, samples), strict=False)))
    chosen = {run["run"]: {name: each["unit"] for name, each in run["directions"].items()} for run in runs}
    agreement = chosen_agreement(matches, chosen)
    by_input = {
        mode: [run for run in runs if run["input_mode"] == mode] for mode in ("sequence", "sequence+tracks")
    }
    deciding = by_input["sequence"] or by_input["sequence+tracks"]
    answer = combine([(run["hypothesis"], run["mode"]) for run in deciding], one_is_enough=False)
    folds, seeds = ({run["run"].split(".")[at] for run in deciding} for at in (-2, -1))
    is_provisional = (
        any(run["provisional"] for run in runs) or len(seeds) < LEAST_SEEDS or len(folds) < LEAST_FOLDS
    )
    sentence = " ".join(
        [
            overall_sentence(answer, by_input, is_provisional=is_provisional),
            *agreement_sentences(agreement, len(matches) > 0),
        ]
    )
    log.info("%s", sentence)
    content = {
        "stage_version": STAGE_VERSIONS["verdict"],
        "hypothesis": answer[0],
        "mode": answer[1],
        "provisional": is_provisional,
        "sentence": sentence,
        "n_seeds": len(seeds),
        "n_folds": len(folds),
        "runs": [
            {key: run[key] for key in ("run", "input_mode", "hypothesis", "mode", "sentence")}
            | {"clamp": held.get(run["run"])}
            for run in runs
        ],
        "chosen_units": agreement.astype(object).where(agreement.notna(), None).to_dict("records"),
    }
    write_table(Path(output) / "unit_matches.tsv", matches)
    write_json(Path(output) / "verdict.json", content)


def _match(samples: Mapping[str, UnitSample]) -> pd.DataFrame:
    """Match the units of every two runs of one model; without bases in common a pair is left out, as the log says."""
    tables = [pd.DataFrame(columns=list(MATCH_COLUMNS))]
    for run, other in combinations(samples, 2):
        if run.split(".")[:-2] == other.split(".")[:-2]:
            try:
                tables.append(match_runs({run: samples[run], other: samples[other]}, MatchRule()))
            except InputError as error:
                log.warning("units of %s and %s are not matched: %s", run, other, error)
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _read_clamp(path: Path | str) -> tuple[str, list[str]]:
    """Return the run of a summary of `gatescope clamp`, and what it says."""
    record = read_record(path, {"run": str, "sentences": list}, "run gatescope clamp again")
    return record["run"], record["sentences"]


def _read_verdict(path: Path | str) -> dict[str, Any]:
    """Read the verdict of one run."""
    remedy = "name the verdict of one run, made by gatescope boundaries"
    needed: dict[str, type] = dict.fromkeys(("run", "input_mode", "hypothesis", "mode", "sentence"), str)
    record = read_record(path, {**needed, "provisional": bool, "directions": dict}, remedy)
    for entry, known in (("hypothesis", HYPOTHESES), ("mode", MODES)):
        if record[entry] not in known:
            raise InputError(f"entry {entry} is {record[entry]!r:.60}", where=path, remedy=remedy)
    if record["run"].count(".") < 2:
        raise InputError(f"{record['run']!r} is no name of a run", where=path, remedy=remedy)
    return record
