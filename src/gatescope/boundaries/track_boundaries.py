"""What do gates do where regions begin and end, if nothing is known but tracks of them? From bigWig to a verdict.

R, its null and its intervals are those of `boundaries`. Without the store, the writes and a twin there is no forget
share, no place of like GC content and nothing untrained to hold a fall against: see `rule.judge_alone`.

Public names: `track_boundaries`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gatescope.atac.bigwig import bigwig_lengths, check_bigwig_contigs
from gatescope.boundaries.evidence import chance, choose_unit, jitter_evidence
from gatescope.boundaries.figure import draw_profiles
from gatescope.boundaries.gate_tracks import GateTrack, TrackUnits, open_tracks
from gatescope.boundaries.measure import BoundarySettings, read_settings
from gatescope.boundaries.null import draw_contig_shifts
from gatescope.boundaries.profile_files import Crossed, profile_band, profile_panel, profile_table
from gatescope.boundaries.rule import (
    INCONCLUSIVE,
    NONE,
    DirectionEvidence,
    Judgement,
    combine,
    depth_of,
    judge_alone,
)
from gatescope.boundaries.track_measure import TrackData, TrackMeasured, measure_tracks
from gatescope.boundaries.words import track_caveats, track_sentence
from gatescope.errors import InputError
from gatescope.files import replacing_folder, write_json, write_table
from gatescope.genome.crossings import CROSSINGS
from gatescope.genome.regions import merge_regions, read_regions
from gatescope.resample import interval
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

_WRITTEN = ("verdict.json", "units.tsv", "profile.tsv", "profile.svg")
_OF_A_MEAN = "a mean over units can hide a fall of one unit, or show one that no unit has"
_SAME_CONTIGS = "the unit was chosen on the contigs that it is reported on"
#: Stream of random numbers of the shifts, as in `measure.py`.
_SHIFTS = 0


class _Crossing(NamedTuple):
    """What one direction's tracks did at one crossing, as far as it is shown."""

    measured: TrackMeasured
    chosen: int


def track_boundaries(
    forget: Sequence[str],
    regions: Path | str,
    output: Path | str,
    *,
    settings: Mapping[str, Any],
    valid_contigs: Sequence[str] = (),
    test_contigs: Sequence[str] = (),
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Test what forget gates do at region boundaries from tracks of them alone.

    Writes ``units.tsv``, ``profile.tsv``, ``profile.svg`` and ``verdict.json``. The verdict is at most provisional.
    One contig of one track per thread is in memory at a time.

    Parameters
    ----------
    forget : sequence of str
        bigWig tracks of forget gates, one unit each or a mean over units, see
        `gatescope.boundaries.gate_tracks.open_tracks`.
    regions : Path or str
        Accessible regions, BED or narrowPeak; merged here.
    output : Path or str
        Folder; replaced as a whole, if it holds nothing else.
    settings : mapping
        The `boundaries` section of the config; `controls` is not looked at.
    valid_contigs : sequence of str
        Contigs that a unit is chosen on, not reported on.
    test_contigs : sequence of str
        Contigs to report on; none: all others that have a region.
    seed : int
        Seed of shifts, bootstrap and jitter.
    threads : int
        For the shifts; no number depends on it.

    Raises
    ------
    InputError
        If a setting is wrong, tracks and regions do not fit each other, or there is no boundary to look at.
    """
    options = read_settings(settings)
    tracks = open_tracks(forget)
    data = _open(tracks, regions, valid_contigs, test_contigs, options, seed)
    with replacing_folder(output, _WRITTEN) as partial:
        test = {contig: data.bases[contig] for contig in data.test}
        shifts = draw_contig_shifts(test, options.shifts, np.random.default_rng([seed, _SHIFTS]))
        found = {}
        for name in tracks:
            measured = measure_tracks(data, DIRECTIONS.index(name), options, shifts, seed, threads)
            chosen = _choose(measured["entry"].effects, is_validated=bool(data.valid))
            found |= {(name, crossing): _Crossing(measured[crossing], chosen) for crossing in CROSSINGS}
        found = {(name, crossing): found[name, crossing] for crossing in CROSSINGS for name in tracks}
        _write(partial, data, found, options, seed)


def _open(
    tracks: Mapping[str, Sequence[GateTrack]],
    regions: Path | str,
    valid_contigs: Sequence[str],
    test_contigs: Sequence[str],
    options: BoundarySettings,
    seed: int,
) -> TrackData:
    """Check that tracks and regions are of one genome, and deal out the contigs."""
    paths = [track.path for each in tracks.values() for track in each]
    lengths = bigwig_lengths(paths[0])
    table = merge_regions(read_regions(regions, lengths, source=str(paths[0])))
    rest = [contig for contig in dict.fromkeys(table["chrom"]) if contig not in valid_contigs]
    test = list(dict.fromkeys(test_contigs)) or rest
    for flag, contigs in (("--valid-contigs", valid_contigs), ("--test-contigs", test)):
        if unknown := [contig for contig in contigs if contig not in lengths]:
            raise InputError(f"no contig {', '.join(unknown)} in {paths[0]}", where=flag)
    if both := sorted(set(valid_contigs) & set(test)):
        raise InputError(
            f"{', '.join(both)} also among --test-contigs",
            where="--valid-contigs",
            remedy="a unit is chosen on other contigs than it is reported on",
        )
    used = {contig: lengths[contig] for contig in (*test, *valid_contigs)}
    for path in paths:
        check_bigwig_contigs(path, used, paths[0])
    return TrackData.of(TrackUnits(tracks), table, used, test, options.shape.dip_bp, seed)


def _choose(effects: pd.DataFrame, *, is_validated: bool) -> int:
    """Choose as the stage does; without validation contigs, on those that are reported."""
    if not is_validated:
        effects = effects.assign(r_valid=effects["r"], is_eligible_valid=effects["is_eligible"])
    return choose_unit(effects)


def _write(
    folder: Path,
    data: TrackData,
    found: Mapping[tuple[str, str], _Crossing],
    options: BoundarySettings,
    seed: int,
) -> None:
    """Judge, and write tables, figure and verdict."""
    units = _unit_table(data.units, found)
    evidence = _evidence(data, units, found, options, seed)
    content = _judge(data, evidence, options)
    log.info("%s", content["sentence"])
    write_table(folder / "units.tsv", units)
    run, lookahead_bp = content["run"] or "this network", content["lookahead_bp"] or 0
    tables, panels = [], {}
    for (name, crossing), each in found.items():
        tracks, shown = data.units.tracks[name], _crossed(each)
        _, band = profile_band(data.units, shown, options.shape, options.bootstraps, seed)
        table = profile_table(name, crossing, shown, each.measured.profiles, band, lookahead_bp)
        tables.append(_named(table, tracks, is_seen=content["lookahead_bp"] is not None))
        panel = profile_panel(shown, each.measured.profiles, band)
        own = tracks[each.chosen]
        panel = panel._replace(unit=own.title, unit_mean=panel.unit_mean if len(tracks) > 1 else None)
        panel = panel._replace(who="mean over units") if own.is_mean else panel
        panels[name, crossing] = panel
    write_table(folder / "profile.tsv", pd.concat(tables, ignore_index=True))
    draw_profiles(panels, options.shape, lookahead_bp, run, folder / "profile.svg")
    write_json(folder / "verdict.json", content)


def _crossed(each: _Crossing) -> Crossed:
    """Take what the profiles show; the null is the same at every offset."""
    null = each.measured.null.forget
    low, high = interval(np.concatenate([null, null.mean(1, keepdims=True)], axis=1))
    columns = each.measured.profiles.forget.shape[1]
    wide = [np.repeat(band[:, None], columns, axis=1) for band in (low, high)]
    return Crossed(each.measured.sites, each.chosen, *wide, twin=None)


def _named(table: pd.DataFrame, tracks: Sequence[GateTrack], *, is_seen: bool) -> pd.DataFrame:
    """Call the units of a profile by their names; a mean over units is there once."""
    names = {str(number): str(track.unit) for number, track in enumerate(tracks)} | {"mean": "mean"}
    table = table.assign(unit=table["unit"].replace(names)).drop_duplicates(["unit", "offset"])
    return table if is_seen else table.assign(sees_to=np.nan)


def _unit_table(units: TrackUnits, found: Mapping[tuple[str, str], _Crossing]) -> pd.DataFrame:
    """Return one row per track and crossing; `p_fwer` corrects for all of them together."""
    rows = [
        each.measured.effects.assign(
            direction=name,
            crossing=crossing,
            unit=[track.unit for track in units.tracks[name]],
            track=[track.path.name for track in units.tracks[name]],
            selected=np.arange(len(units.tracks[name])) == each.chosen,
        )
        for (name, crossing), each in found.items()
    ]
    table = pd.concat(rows, ignore_index=True)
    null = np.concatenate([each.measured.null.r for each in found.values()], axis=1)
    table = table.assign(n_tests=len(table), **chance(table["r"].to_numpy(), null))
    first = ["direction", "crossing", "unit", "selected", "track"]
    return table.reindex(columns=[*first, *(name for name in table.columns if name not in first)])


def _evidence(
    data: TrackData,
    units: pd.DataFrame,
    found: Mapping[tuple[str, str], _Crossing],
    options: BoundarySettings,
    seed: int,
) -> dict[str, DirectionEvidence]:
    """Collect what the verdict rests on: the chosen track of each direction at its entries."""
    wanted = {field.name for field in fields(DirectionEvidence)}
    evidence = {}
    for row in units.query("selected and crossing == 'entry'").to_dict("records"):
        name = row["direction"]
        entry, direction = found[name, "entry"], DIRECTIONS.index(name)
        places = data.places_of(entry.measured.sites)
        taken = {str(key): value for key, value in row.items() if key in wanted}
        taken |= {"unit": entry.chosen, "offset": int(row["drop_offset"])}
        jitter = jitter_evidence(
            data.units, direction, entry.chosen, places, data.bases, data.free, options.shape, seed
        )
        evidence[name] = DirectionEvidence(**taken, twins=(), pseudo=None, jitter=jitter, modes=None)
    return evidence


def _judge(
    data: TrackData, evidence: Mapping[str, DirectionEvidence], options: BoundarySettings
) -> dict[str, Any]:
    """Return what ``verdict.json`` holds."""
    units, rule = data.units, options.rule
    stated = {
        entry: next((found for track in units.all if (found := getattr(track, entry)) is not None), None)
        for entry in ("run", "model_sha256", "lookahead_bp")
    }
    judged = {
        name: _judge_direction(units.tracks[name], each, data, options, int(stated["lookahead_bp"] or 0))
        for name, each in evidence.items()
    }
    answer = combine([each[:2] for each in judged.values()], one_is_enough=True)
    chosen = {name: units.tracks[name][each.unit] for name, each in evidence.items()}
    names = {name: track.title for name, track in chosen.items()}
    directions = {
        name: {**judged[name]._asdict(), "depth": depth_of(each.r, rule), **asdict(each)}
        | {"unit": chosen[name].unit, "tracks": [_state(track) for track in units.tracks[name]]}
        for name, each in evidence.items()
    }
    return {
        "stage_version": STAGE_VERSIONS["boundaries"],
        "run": stated["run"],
        "hypothesis": answer[0],
        "mode": answer[1],
        "provisional": True,
        "sentence": track_sentence(answer, judged, evidence, names, options.shape, rule),
        "input_mode": None,
        "directions": {
            name: {key: _finite(value) for key, value in each.items()} for name, each in directions.items()
        },
        "n_boundaries": sum(each.n_boundaries for each in evidence.values()),
        "thresholds": asdict(rule),
        "shape": asdict(options.shape),
        "controls": {"scope": "tracks"},
        "test_contigs": list(data.test),
        "valid_contigs": list(data.valid),
        "resolution": units.resolution,
        "lookahead_bp": stated["lookahead_bp"],
        "model_sha256": stated["model_sha256"],
        "certificate": None,
        "caveats": track_caveats(units.resolution, stated["lookahead_bp"]),
    }


def _judge_direction(
    tracks: Sequence[GateTrack],
    evidence: DirectionEvidence,
    data: TrackData,
    options: BoundarySettings,
    lookahead_bp: int,
) -> Judgement:
    """Judge one direction; a mean over units and a choice on the reported contigs decide nothing."""
    if tracks[evidence.unit].is_mean:
        return Judgement(INCONCLUSIVE, NONE, _OF_A_MEAN)
    judged = judge_alone(evidence, options.rule, lookahead_bp)
    if len(tracks) > 1 and not data.valid:
        return Judgement(INCONCLUSIVE, NONE, f"{judged.reason}; {_SAME_CONTIGS}")
    return judged


def _state(track: GateTrack) -> dict[str, Any]:
    """Say what is known of a track."""
    return {
        "file": track.path.name,
        "unit": track.unit,
        "hidden_unit": track.hidden_unit,
        "aggregation": "mean over units" if track.is_mean else "none",
        "decimals": track.decimals,
    }


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no number becomes null."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
