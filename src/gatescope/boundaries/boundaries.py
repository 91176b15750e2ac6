"""What do gates do where accessible regions begin and end? The stage, from files to files.

Units are *chosen* on the validation contigs and *reported* on the test contigs of the run's fold.

Public names: `boundaries`.
"""

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.boundaries.measure import (
    BoundarySettings,
    GateData,
    Measured,
    draw_contig_shifts,
    measure,
    read_settings,
)
from gatescope.boundaries.profile import CROSSINGS
from gatescope.boundaries.profile_files import PROFILE_FILES, Crossed, ProfileSource, write_profiles
from gatescope.boundaries.verdict import DirectionEvidence, RunFacts, judge_run
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import read_record, replacing_folder, write_json, write_table
from gatescope.resample import max_p, tail_p
from gatescope.trace.units import DIRECTIONS, UnitStore

log = logging.getLogger(__name__)

#: What every direction did at one crossing: keys are (direction, crossing).
_All = Mapping[tuple[str, str], Measured]
_WRITTEN = ("verdict.json", "units.tsv", *PROFILE_FILES)


def boundaries(
    store: Path | str,
    trace: Path | str,
    twin: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    settings: Mapping[str, Any],
    seed: int = 0,
) -> None:
    """Test what the forget gates of one run do at region boundaries; write tables, figure and verdict.

    Writes ``units.tsv``, ``verdict.json``, and what `write_profiles` writes. One unit of one contig is in memory
    at a time.

    Parameters
    ----------
    store : Path or str
        Encoded store; its merged peaks are the regions.
    trace, twin : Path or str
        ``trace/{run}`` of the run and of its untrained twin, each with `summary.json` and a `units` folder.
    model : Path or str
        ``model/{run}``; its ``model.json`` names fold, inputs and look-ahead.
    output : Path or str
        ``boundaries/{run}``; replaced as a whole, if it holds nothing else.
    settings : mapping
        The `boundaries` section of the config, see `gatescope.boundaries.measure.read_settings`.
    seed : int
        Seed of shifts and bootstrap.

    Raises
    ------
    InputError
        If a setting is wrong, an input is missing or does not fit, or a split has no boundary to look at.
    """
    options = read_settings(settings)
    meta = _read_meta(Path(model) / "model.json")
    facts = _facts(meta, _check_traces(trace, twin, meta))
    encoded = EncodedStore(store)
    encoded.require(meta["store"], Path(model) / "model.json")
    data = _open_data(encoded, trace, twin, meta["fold"])
    with replacing_folder(output, _WRITTEN) as partial:
        measured = _measure_all(data, options, seed)
        _write(partial, measured, data, facts, options, seed)


def _measure_all(data: GateData, options: BoundarySettings, seed: int) -> _All:
    """Measure both directions at both crossings, on the same shifts."""
    shifts = draw_contig_shifts(data.test, options.shifts, seed)
    return {
        (direction, crossing): measure(data, index, crossing, options, shifts, seed)
        for crossing in CROSSINGS
        for index, direction in enumerate(DIRECTIONS)
    }


def _write(
    folder: Path, measured: _All, data: GateData, facts: RunFacts, options: BoundarySettings, seed: int
) -> None:
    """Choose a unit per direction, judge the run, and write tables, figures and verdict."""
    chosen = {name: int(measured[name, "entry"].effects["drop_valid"].argmax()) for name in DIRECTIONS}
    units = pd.concat([_unit_table(measured, crossing, chosen) for crossing in CROSSINGS], ignore_index=True)
    content = judge_run(_evidence(units, data.n_units), facts, options.rule, options.shape)
    log.info("%s", content["sentence"])
    write_table(folder / "units.tsv", units)
    crossed = {
        key: Crossed(each.sites, chosen[key[0]], each.null_low, each.null_high, each.twin)
        for key, each in measured.items()
    }
    content["profiles"] = write_profiles(
        folder,
        ProfileSource(data.units, None, data.regions),
        crossed,
        options.shape,
        run=facts.run,
        lookahead_bp=facts.lookahead_bp,
        bootstraps=options.bootstraps,
        seed=seed,
    )
    write_json(folder / "verdict.json", content)


def _read_meta(path: Path) -> dict[str, Any]:
    """Read what is needed of model.json."""
    needed: dict[str, type] = {"run": str, "store": str, "sha256": str, "lookahead_bp": int, "network": dict}
    needed |= {"fold": dict, "fold.test": list, "fold.valid": list}
    return read_record(path, needed, "train again with this version")


def _open_data(store: EncodedStore, trace: Path | str, twin: Path | str, fold: Mapping[str, Any]) -> GateData:
    """Open what is read, and check that run and twin have the same units."""
    test, valid = ({contig: store.lengths[contig] for contig in fold[split]} for split in ("test", "valid"))
    units, twin_units = UnitStore(trace, store.lengths), UnitStore(twin, store.lengths)
    n_units, n_twin = (source.n_units(fold["test"][0]) for source in (units, twin_units))
    if n_units != n_twin:
        raise InputError(
            f"{n_twin} units, the run has {n_units}", where=twin, remedy="trace the run's own twin"
        )
    return GateData(units, twin_units, n_units, store.peaks, test, valid)


def _check_traces(trace: Path | str, twin: Path | str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Check that the trace is of this network and the twin's of another; return the replay certificate."""
    summary, twin_summary = (
        read_record(Path(folder) / "summary.json", {"model_sha256": str}, "run gatescope trace again")
        for folder in (trace, twin)
    )
    own, traced = meta["sha256"], summary["model_sha256"]
    if traced != own:
        raise InputError(
            f"trace of weights {traced[:12]}..., the model has {own[:12]}...",
            where=Path(trace) / "summary.json",
            cause="the network was trained again after the trace",
            remedy="run gatescope trace again",
        )
    if twin_summary["model_sha256"] == own:
        raise InputError(
            "the twin has the weights of the run itself",
            where=Path(twin) / "summary.json",
            remedy=f"trace the untrained twin {meta['run']}.random",
        )
    return summary["certificate"]


def _facts(meta: Mapping[str, Any], certificate: dict[str, Any]) -> RunFacts:
    """Take from model.json what the verdict names."""
    tracks = tuple(name for name in meta["network"]["inputs"] if name != "sequence")
    return RunFacts(meta["run"], tracks, meta["lookahead_bp"], meta["sha256"], certificate)


def _unit_table(measured: _All, crossing: str, chosen: Mapping[str, int]) -> pd.DataFrame:
    """Return one row per unit of both directions at one crossing.

    `p_fwer` and `p_dip_fwer` correct for all these units together: the verdict may rest on either direction.
    """
    both = [measured[direction, crossing] for direction in DIRECTIONS]
    rows = [
        each.effects.assign(
            direction=direction,
            crossing=crossing,
            unit=range(len(each.effects)),
            twin_largest_drop=each.effects["twin_drop"].max(),
        )
        for direction, each in zip(DIRECTIONS, both, strict=True)
    ]
    table = pd.concat(rows, ignore_index=True)
    null_drop = np.concatenate([each.null_drop for each in both], axis=1)
    null_dip = np.concatenate([each.null_dip for each in both], axis=1)
    falls, dips = table["drop_test"].to_numpy(), table["dip_test"].to_numpy()
    table = table.assign(
        null_drop_mean=null_drop.mean(0),
        null_drop_high=np.percentile(null_drop, 97.5, axis=0),
        p=tail_p(falls, null_drop),
        p_fwer=max_p(falls, null_drop),
        p_dip=tail_p(-dips, -null_dip),
        p_dip_fwer=max_p(-dips, -null_dip),
        selected=table["unit"] == table["direction"].map(chosen.get),
    )
    first = ["direction", "crossing", "unit", "selected"]
    return table.reindex(columns=[*first, *(name for name in table.columns if name not in first)])


def _evidence(units: pd.DataFrame, n_units: int) -> dict[str, DirectionEvidence]:
    """Take the chosen units' entry rows as what the verdict rests on."""
    rows = units.query("selected and crossing == 'entry'")
    names = {field.name for field in fields(DirectionEvidence)}
    evidence = {}
    for row in rows.rename(columns={"drop_offset": "offset"}).to_dict("records"):
        evidence[row["direction"]] = DirectionEvidence(
            **{str(key): value for key, value in row.items() if key in names},
            n_units=len(DIRECTIONS) * n_units,
        )
    return evidence
