"""What do gates do where accessible regions begin and end? The stage, from files to files.

Units are *chosen* on the validation contigs and *reported* on the test contigs of the run's fold.

Public names: `boundaries`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import read_bigwig
from gatescope.boundaries.detector import DetectorData, DetectorSettings, score_detectors
from gatescope.boundaries.evidence import chance, choose_unit, direction_evidence
from gatescope.boundaries.measure import (
    BoundarySettings,
    GateData,
    Measured,
    draw_shifts_of,
    measure,
    read_settings,
)
from gatescope.boundaries.modes import ModeRule, modes_table, rewritten_elsewhere
from gatescope.boundaries.profile_files import PROFILE_FILES, Crossed, ProfileSource, write_profiles
from gatescope.boundaries.rule import DirectionEvidence, ModeEvidence
from gatescope.boundaries.sensitivity import collect_definitions, measure_definitions
from gatescope.boundaries.stretches import BLOCK_BP
from gatescope.boundaries.verdict import RunFacts, judge_run
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import read_record, replacing_folder, write_json, write_table
from gatescope.genome.crossings import CROSSINGS
from gatescope.resample import draw_shifts
from gatescope.trace.units import DIRECTIONS, UnitStore

log = logging.getLogger(__name__)

#: Shifts over which it is seen how often a unit rewrites its memory anywhere, and their stream of random numbers.
_MODE_SHIFTS, _MODES = 99, 8

#: What every direction did at one crossing: keys are (direction, crossing).
_All = Mapping[tuple[str, str], Measured]
_WRITTEN = (
    "verdict.json",
    "units.tsv",
    "modes.tsv",
    "detector.tsv",
    "definitions.tsv",
    *PROFILE_FILES,
    "grammar/*",
)


def boundaries(
    store: Path | str,
    trace: Path | str,
    twin: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    settings: Mapping[str, Any],
    shuffled: Path | str | None = None,
    shuffled_flanks: Path | str | None = None,
    peaks: Path | str | None = None,
    predicted_state: Path | str | None = None,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Test what the forget gates of one run do at region boundaries; write tables, figure and verdict.

    Writes ``units.tsv``, ``modes.tsv``, ``detector.tsv``, ``definitions.tsv``, ``verdict.json`` and the files of
    `write_profiles`. One unit of one contig per thread is in memory at a time.

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
    shuffled : Path or str, optional
        ``trace/{run}.shuffled``, the twin trained on rotated targets; ``controls: full`` needs it.
    shuffled_flanks : Path or str, optional
        ``effects/{run}/shuffled_flanks.tsv``; the chosen units' rows are repeated under `controls` in the verdict.
    peaks, predicted_state : Path or str, optional
        The sample's narrowPeak file, and ``predicted_state.bw`` of the run: further definitions of a boundary.
    seed : int
        Seed of shifts, bootstrap and controls.
    threads : int
        For the shifts; no number depends on it.

    Raises
    ------
    InputError
        If a setting is wrong, an input is missing or does not fit, or a split has no boundary to look at.
    """
    options = read_settings(settings)
    twins = {"untrained": twin} | ({"shuffled": shuffled} if shuffled else {})
    meta = _read_meta(Path(model) / "model.json")
    if options.controls == "full" and not shuffled:
        raise InputError(
            "controls: full needs the twin trained on rotated targets",
            where="--shuffled",
            remedy=f"name the trace of {meta['run']}.shuffled, or set boundaries: controls: quick",
        )
    facts = _facts(meta, _check_traces(trace, twins, meta), options.controls)
    encoded = EncodedStore(store)
    encoded.require(meta["store"], Path(model) / "model.json")
    data = _open_data(encoded, trace, twins, meta["fold"], options, seed)
    predicted = _read_predictions(data, predicted_state) if predicted_state else None
    definitions = collect_definitions(data, peaks, predicted)
    flanks = _read_flanks(shuffled_flanks) if shuffled_flanks else None
    with replacing_folder(output, _WRITTEN) as partial:
        measured = _measure_all(data, options, seed, threads)
        _write(partial, data, measured, facts, options, seed, definitions, predicted, flanks)


def _measure_all(data: GateData, options: BoundarySettings, seed: int, threads: int) -> _All:
    """Measure both directions at both crossings, on the same shifts."""
    shifts = draw_shifts_of(data, options.shifts, seed)
    found = {
        (name, crossing): each
        for index, name in enumerate(DIRECTIONS)
        for crossing, each in measure(data, index, options, shifts, seed, threads).items()
    }
    return {(name, crossing): found[name, crossing] for crossing in CROSSINGS for name in DIRECTIONS}


def _write(
    folder: Path,
    data: GateData,
    measured: _All,
    facts: RunFacts,
    options: BoundarySettings,
    seed: int,
    definitions: Mapping[str, pd.DataFrame],
    predicted: Mapping[str, NDArray[np.float32]] | None,
    flanks: pd.DataFrame | None,
) -> None:
    """Choose a unit per direction, judge the run, and write tables, figures and verdict."""
    chosen = {name: choose_unit(measured[name, "entry"].effects) for name in DIRECTIONS}
    units = _unit_table(measured, chosen)
    rule = ModeRule(options.shape.dip_bp)
    modes = modes_table(
        data.units,
        data.n_units,
        [each.sites for each in measured.values()],
        rule,
        replicates=options.bootstraps,
        block_bp=BLOCK_BP,
        seed=seed,
    )
    changes = _mode_evidence(data, measured, modes, chosen, rule, seed)
    evidence = _evidence(data, measured, units, options, seed, changes)
    content = judge_run(evidence, facts, options.rule, options.shape)
    log.info("%s", content["sentence"])
    if flanks is not None:
        content["controls"]["shuffled_flanks"] = _rows_of(flanks, chosen)
    write_table(folder / "units.tsv", units)
    write_table(folder / "modes.tsv", modes)
    write_table(folder / "detector.tsv", _score_detectors(data, chosen, predicted, options, seed))
    write_table(folder / "definitions.tsv", measure_definitions(data, chosen, definitions, options, seed))
    content["profiles"] = write_profiles(
        folder,
        ProfileSource(data.units, data.units, data.store.peaks),
        {key: _crossed(each, chosen[key[0]]) for key, each in measured.items()},
        options.shape,
        run=facts.run,
        lookahead_bp=facts.lookahead_bp,
        bootstraps=options.bootstraps,
        seed=seed,
        stretches=data.stretches,
    )
    write_json(folder / "verdict.json", content)


def _read_predictions(data: GateData, path: Path | str) -> dict[str, NDArray[np.float32]]:
    """Read the predicted state of the test contigs."""
    return {contig: read_bigwig(path, contig) for contig in data.test}


def _score_detectors(
    data: GateData,
    chosen: Mapping[str, int],
    predicted: Mapping[str, NDArray[np.float32]] | None,
    options: BoundarySettings,
    seed: int,
) -> pd.DataFrame:
    """Hold 1 - f of the chosen units against composition, predictions and the untrained twin."""

    def prediction(contig: str) -> NDArray[np.float32]:
        assert predicted is not None
        return predicted.get(contig, np.full(data.store.lengths[contig], np.nan, np.float32))

    read = DetectorData(
        data.units,
        data.twins["untrained"],
        data.n_units,
        data.store.codes,
        prediction if predicted is not None else None,
        data.store.peaks,
        data.test,
        data.valid,
    )
    settings = DetectorSettings(
        tolerance_bp=options.shape.dip_bp, block_bp=BLOCK_BP, replicates=options.bootstraps
    )
    tables = [score_detectors(read, k, chosen[name], settings, seed) for k, name in enumerate(DIRECTIONS)]
    return pd.concat(tables, ignore_index=True)


def _mode_evidence(
    data: GateData, measured: _All, modes: pd.DataFrame, chosen: Mapping[str, int], rule: ModeRule, seed: int
) -> dict[str, ModeEvidence]:
    """Take what the verdict needs of the chosen units' entries; nothing where no memory was held."""
    drawn = draw_shifts(list(data.test.values()), _MODE_SHIFTS, np.random.default_rng([seed, _MODES]))
    shifts = {contig: drawn[:, column] for column, contig in enumerate(data.test)}
    found = {}
    for row in modes.query("crossing == 'entry'").to_dict("records"):
        if row["unit"] == chosen[row["direction"]] and row["n_held"]:
            sites = measured[row["direction"], "entry"].sites
            elsewhere = rewritten_elsewhere(data.units, sites, row["unit"], rule, data.test, shifts)
            found[row["direction"]] = ModeEvidence(
                **{name: row[name] for name in ("erase", "overwrite", "gain_only", "none")},
                median_forget_share=row["forget_share"],
                rewritten_elsewhere=float(np.nanpercentile(elsewhere, 97.5)),
            )
    return found


def _read_flanks(path: Path | str) -> pd.DataFrame:
    """Read the table of `gatescope reshuffle`."""
    table = pd.read_csv(path, sep="\t")
    missing = {"direction", "crossing", "unit", "R", "R_shuffled"} - set(table)
    if missing:
        raise InputError(
            f"no column {', '.join(sorted(missing))}", where=path, remedy="run gatescope reshuffle again"
        )
    return table


def _rows_of(table: pd.DataFrame, chosen: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the rows of the chosen units' entries by direction; what is not a number becomes null."""
    entries = table.query("crossing == 'entry'")
    rows = entries[entries["unit"] == entries["direction"].map(chosen.get)].drop(columns=["crossing"])
    objects = pd.DataFrame(rows.astype(object).where(rows.notna(), None))
    return {row["direction"]: row for row in objects.to_dict("records")}


def _crossed(each: Measured, unit: int) -> Crossed:
    """Take what the profiles show; the null is the same at every offset."""
    low, high = (
        np.repeat(band[:, None], each.twin.shape[1], axis=1) for band in (each.null_low, each.null_high)
    )
    return Crossed(each.sites, unit, low, high, each.twin)


def _read_meta(path: Path) -> dict[str, Any]:
    """Read what is needed of model.json."""
    needed: dict[str, type] = {"run": str, "store": str, "sha256": str, "lookahead_bp": int, "network": dict}
    needed |= {"fold": dict, "fold.test": list, "fold.valid": list}
    return read_record(path, needed, "train again with this version")


def _open_data(
    store: EncodedStore,
    trace: Path | str,
    twins: Mapping[str, Path | str],
    fold: Mapping[str, Any],
    options: BoundarySettings,
    seed: int,
) -> GateData:
    """Open what is read, and check that run and twins have the same units."""
    units = UnitStore(trace, store.lengths)
    others = {name: UnitStore(folder, store.lengths) for name, folder in twins.items()}
    data = GateData.of(units, others, store, fold, options.shape.dip_bp, seed)
    for name, other in others.items():
        n_twin = other.n_units(fold["test"][0])
        if n_twin != data.n_units:
            raise InputError(
                f"{n_twin} units, the run has {data.n_units}",
                where=twins[name],
                remedy="trace the run's own twin",
            )
    return data


def _check_traces(
    trace: Path | str, twins: Mapping[str, Path | str], meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Check that the trace is of this network and those of twins of others; return the replay certificate."""
    summary, *others = (
        read_record(Path(folder) / "summary.json", {"model_sha256": str}, "run gatescope trace again")
        for folder in (trace, *twins.values())
    )
    own, traced = meta["sha256"], summary["model_sha256"]
    if traced != own:
        raise InputError(
            f"trace of weights {traced[:12]}..., the model has {own[:12]}...",
            where=Path(trace) / "summary.json",
            cause="the network was trained again after the trace",
            remedy="run gatescope trace again",
        )
    suffix = {"untrained": "random", "shuffled": "shuffled"}
    for (name, folder), other in zip(twins.items(), others, strict=True):
        if other["model_sha256"] == own:
            raise InputError(
                "the twin has the weights of the run itself",
                where=Path(folder) / "summary.json",
                remedy=f"trace the {name} twin {meta['run']}.{suffix[name]}",
            )
    return summary["certificate"]


def _facts(meta: Mapping[str, Any], certificate: dict[str, Any], controls: str) -> RunFacts:
    """Take from model.json what the verdict names."""
    tracks = tuple(name for name in meta["network"]["inputs"] if name != "sequence")
    return RunFacts(meta["run"], tracks, meta["lookahead_bp"], meta["sha256"], certificate, controls)


def _unit_table(measured: _All, chosen: Mapping[str, int]) -> pd.DataFrame:
    """Return one row per unit, direction and crossing; `p_fwer` corrects for all of them together."""
    rows = [
        each.effects.assign(
            direction=direction,
            crossing=crossing,
            unit=range(len(each.effects)),
            twin_r=each.twin_r["untrained"].mean(0),
            twin_lowest_r=_lowest(each),
        )
        for (direction, crossing), each in measured.items()
    ]
    table = pd.concat(rows, ignore_index=True)
    null = np.concatenate([each.null_r for each in measured.values()], axis=1)
    table = table.assign(
        selected=table["unit"] == table["direction"].map(chosen.get),
        n_tests=len(table),
        **chance(table["r"].to_numpy(), null),
    )
    first = ["direction", "crossing", "unit", "selected"]
    return table.reindex(columns=[*first, *(name for name in table.columns if name not in first)])


def _lowest(measured: Measured) -> float:
    """Return R of the untrained twin's most falling eligible unit, NaN if none is eligible."""
    eligible = measured.twin_eligible["untrained"]
    return float(measured.twin_r["untrained"].mean(0)[eligible].min()) if eligible.any() else float("nan")


def _evidence(
    data: GateData,
    measured: _All,
    units: pd.DataFrame,
    options: BoundarySettings,
    seed: int,
    modes: Mapping[str, ModeEvidence],
) -> dict[str, DirectionEvidence]:
    """Collect what the verdict rests on: the chosen units at their entries; `modes` by direction, where known."""
    rows = units.query("selected and crossing == 'entry'").to_dict("records")
    return {
        row["direction"]: direction_evidence(
            data,
            measured[row["direction"], "entry"],
            {str(key): value for key, value in row.items()},
            options,
            seed,
            modes.get(row["direction"]),
        )
        for row in rows
    }
