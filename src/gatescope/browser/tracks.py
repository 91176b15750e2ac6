"""Which tracks does a person open, and what does each one say? Names, colours, scales.

Public names: `DIRECTION_WORDS`, `GATE_WORDS`, `Track`, `gate_tracks`, `prediction_tracks`,
`sample_tracks`, `check_track`, `link_from`.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gatescope.atac.bigwig import bigwig_lengths
from gatescope.errors import InputError
from gatescope.figures import GATE_COLOURS, tint
from gatescope.files import read_record

DIRECTION_WORDS = {"fwd": "left to right", "rev": "right to left"}
GATE_WORDS = {
    "forget_gate": "1 = memory kept, 0 = erased",
    "input_gate": "1 = written, 0 = shut",
    "output_gate": "1 = shown, 0 = hidden",
}
#: A mean hides a dip of 100 bp when a person zooms out, so each gate shows the side that matters.
_WINDOW_FUNCTION: dict[str, Literal["mean", "min", "max"]] = {
    "forget_gate": "min",
    "input_gate": "max",
    "output_gate": "mean",
}
_PREDICTED, _ORACLE, _CUTS, _BIAS = "#6a3d9a", "#8c6bb1", "#4a4e69", "#b15928"


@dataclass(frozen=True)
class Track:
    """Describe a bigWig to a person.

    Attributes
    ----------
    path : Path
    label : str
        Name, unique within a run.
    meaning : str
        What it is, in which direction and unit, under 70 characters.
    colour : str
        ``#rrggbb``.
    limits : tuple of float, or None
        Fixed scale; None follows the data.
    window_function : {"mean", "min", "max"}
        How several bases that share a pixel are drawn.
    gate, direction, aggregation : str
        ``forget_gate``, ``fwd`` or ``rev``, ``mean`` or ``boundary_unit``; empty for what is no gate.
    unit : int or None
        Hidden unit of a ``boundary_unit`` track.
    gap : float
        What a base without data means: NaN is no data, 0 is a count of zero.
    """

    path: Path
    label: str
    meaning: str
    colour: str
    limits: tuple[float, float] | None = (0.0, 1.0)
    window_function: Literal["mean", "min", "max"] = "mean"
    gate: str = ""
    direction: str = ""
    aggregation: str = ""
    unit: int | None = None
    gap: float = math.nan

    @property
    def short(self) -> str:
        """The label without what 20 characters have no room for."""
        return self.label.replace(" gate", "").replace(",", "")


def gate_tracks(results: Path, run: str, gate: str, aggregation: str) -> list[Track]:
    """Return the fwd and the rev track of one gate.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    run : str
    gate : {"forget_gate", "input_gate", "output_gate"}
    aggregation : {"mean", "boundary_unit"}
        The mean over all units, or the unit that `boundaries` selected on the validation contigs.

    Raises
    ------
    InputError
        If a track or its sidecar is missing.
    """
    return [
        _gate_track(results / "trace" / run, gate, direction, aggregation) for direction in DIRECTION_WORDS
    ]


def prediction_tracks(results: Path, run: str) -> list[Track]:
    """Return what the network predicts on held-out contigs, one track per target.

    Raises
    ------
    InputError
        If a prediction is missing.
    """
    folder = results / "model" / run
    needed = {"network.targets": list}
    targets = read_record(folder / "model.json", needed, "train again")["network"]["targets"]
    return [_prediction_track(folder, target) for target in targets]


def sample_tracks(results: Path) -> list[Track]:
    """Return the tracks that belong to no run, those of them that were made.

    Tn5 cuts of all files together, then of each replicate where these are kept; Tn5's preference; the oracle's
    prediction for planted data.

    Raises
    ------
    InputError
        If there are no cuts.
    """
    cuts = Track(
        _existing(results / "atac" / "cuts.bw"),
        "ATAC cuts",
        "Tn5 cuts per base, measured (centre of the duplication)",
        _CUTS,
        limits=None,
        window_function="max",
        gap=0.0,
    )
    preference = Track(
        results / "atac" / "tn5_bias.bw",
        "Tn5 preference",
        "Tn5's preference: cuts expected from bases alone (background: 1)",
        _BIAS,
        limits=None,
        window_function="max",
    )
    oracle = Track(
        results / "data" / "simulated" / "truth" / "oracle_state.bw",
        "best possible",
        "P(accessible) by the true parameters of the planted genome",
        _ORACLE,
    )
    made = [track for track in (preference, oracle) if track.path.is_file()]
    return [cuts, *(_replicate_track(path, cuts) for path in _replicates(results)), *made]


def _replicates(results: Path) -> list[Path]:
    """Return the track of each replicate in the order of the files, if they are kept and more than one."""
    found = (results / "atac" / "replicates").glob("*.bw")
    paths = sorted((path for path in found if path.stem.isdecimal()), key=lambda path: int(path.stem))
    return paths if len(paths) > 1 else []


def _replicate_track(path: Path, cuts: Track) -> Track:
    """Describe the cuts of one file."""
    meaning = f"Tn5 cuts per base, replicate {path.stem} alone (centre of the duplication)"
    return replace(cuts, path=path, label=f"replicate {path.stem} cuts", meaning=meaning)


def check_track(track: Track, lengths: Mapping[str, int], genome: Path | str) -> None:
    """Refuse a track whose contigs are not those of the genome.

    Raises
    ------
    InputError
        If a contig is unknown or has another length.
    """
    for chrom, length in bigwig_lengths(track.path).items():
        if lengths.get(chrom) != length:
            raise InputError(
                f"{chrom} has {length} bp here and {lengths.get(chrom, 'no entry')} in {Path(genome).name}",
                where=track.path,
                cause="the genome was exchanged after the track was made",
                remedy="run the workflow again with this genome",
            )


def link_from(folder: Path, path: Path) -> str:
    """Return `path` as a hub or session that lies in `folder` names it."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _gate_track(folder: Path, gate: str, direction: str, aggregation: str) -> Track:
    """Describe one gate track; the unit's number is in the sidecar."""
    path = _existing(folder / f"{gate}.{direction}.{aggregation}.bw")
    unit = _hidden_unit(path) if aggregation == "boundary_unit" else None
    what = "mean" if unit is None else f"unit {unit}"
    word = gate.removesuffix("_gate")
    return Track(
        path,
        f"{word} gate {direction}, {what}",
        f"{word} gate, read {DIRECTION_WORDS[direction]}, {what}; {GATE_WORDS[gate]}",
        GATE_COLOURS[gate] if direction == "fwd" else tint(GATE_COLOURS[gate]),
        window_function=_WINDOW_FUNCTION[gate],
        gate=gate,
        direction=direction,
        aggregation=aggregation,
        unit=unit,
    )


def _hidden_unit(path: Path) -> int:
    """Read which unit a track shows."""
    sidecar = Path(f"{path}.json")
    return read_record(sidecar, {"hidden_unit": int}, "run gatescope trace --units again")["hidden_unit"]


def _prediction_track(folder: Path, target: str) -> Track:
    """Describe the prediction of one target."""
    meaning = {"state": "P(accessible) predicted", "cuts": "Tn5 cuts per base, predicted"}[target]
    return Track(
        _existing(folder / f"predicted_{target}.bw"),
        f"predicted {target}",
        f"{meaning} on contigs it was not trained on",
        _PREDICTED,
        limits=(0.0, 1.0) if target == "state" else None,
    )


def _existing(path: Path) -> Path:
    """Refuse a missing track."""
    if not path.is_file():
        raise InputError("track is missing", where=path, remedy="run the workflow to the end")
    return path
