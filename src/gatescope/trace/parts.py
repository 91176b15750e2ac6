"""What does tracing one contig leave behind? A folder that appears whole or not at all.

A trace is made contig by contig. What is found of one rests in a folder of its own until the trace is put together:
a run that was interrupted goes on after the last finished contig, and several processes can share the contigs of a
genome. A part that was made from anything else (weights, data, options) is made anew.

Public names: `Wanted`, `Part`, `trace_contig`, `finished_part`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.errors import InputError
from gatescope.files import read_json, replacing_folder, write_json
from gatescope.genome.contigs import contig_file_stem
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.trace.census import Census, GateCensus
from gatescope.trace.certificate import Certificate
from gatescope.trace.reading import UnknownBases
from gatescope.trace.sink import Sink
from gatescope.trace.sinks import ModelCheck, Progress, Slices, UnitLogits
from gatescope.trace.stream import ContigStream
from gatescope.trace.tracks import ContigTracks, Units
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

_DESCRIPTION, _CENSUS = "part.json", "census.npz"


@dataclass(frozen=True)
class Wanted:
    """Say what is kept of one contig.

    Parameters
    ----------
    contig : str
    tracks : bool
        What the tracks show.
    units : dict of str to int, optional
        Unit per direction whose gates and memory the tracks show; None is the mean over units.
    logits : bool
        Forget logits of every unit.
    slices : sequence of (start, end)
        Regions of which everything is kept.
    """

    contig: str
    tracks: bool
    units: Units
    logits: bool
    slices: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Part:
    """What is known of one traced contig.

    Attributes
    ----------
    folder : Path
        Holds `tracks.npy` (`ContigTracks`), `units.npy` (`UnitLogits`), `slices`, as far as wanted.
    certificate : Certificate
    seams : list of dict
        Report of each direction of each layer.
    """

    folder: Path
    certificate: Certificate
    seams: list[dict[str, Any]]

    @property
    def census(self) -> list[GateCensus | None]:
        """The census of each direction, values (H,); None where no base was read, or single units were traced."""
        with np.load(self.folder / _CENSUS) as arrays:
            return [_census(arrays, direction) for direction in DIRECTIONS]

    @property
    def tracks(self) -> Path:
        """The array of `ContigTracks`."""
        return self.folder / "tracks.npy"

    @property
    def units(self) -> Path:
        """The array of `UnitLogits`."""
        return self.folder / "units.npy"

    @property
    def slices(self) -> list[Path]:
        """The files of `Slices`."""
        return sorted((self.folder / "slices").glob("*.npz"))


def trace_contig(
    wanted: Wanted,
    folder: Path,
    stream: ContigStream,
    network: AccessibilityNetwork,
    genome: Genome,
    unknown: UnknownBases,
    made_from: Mapping[str, Any],
    progress: Progress,
) -> Part:
    """Read one contig and keep what is wanted in its folder below `folder`.

    Raises
    ------
    ReplayError
        If the replay does not reproduce the network: nothing is kept.
    """
    target = folder / contig_file_stem(wanted.contig)
    with replacing_folder(target, ("*.json", "*.npy", "*.npz", "slices/*.npz")) as partial:
        check, census = ModelCheck(network, genome, unknown), Census()
        sinks: list[Sink] = [census] if wanted.units is None else []
        if wanted.tracks:
            sinks.append(ContigTracks(partial / "tracks.npy", wanted.units))
        if wanted.logits:
            sinks.append(UnitLogits(partial / "units.npy", network.config.hidden_units))
        if wanted.slices:
            size, dtype = network.config.hidden_units, made_from["dtype"]
            sinks.append(Slices(partial / "slices", wanted.slices, size, dtype))
        reports = stream.read(wanted.contig, sinks, lambda *layer: [check.of_layer(*layer), progress])
        certificate = check.certificate.checked()
        found = {
            "made_from": {**made_from, "wanted": asdict(wanted)},
            "certificate": asdict(certificate),
            "seams": [report.as_json() for report in reports],
        }
        np.savez(partial / _CENSUS, allow_pickle=False, **_flat(census.found()))
        write_json(partial / _DESCRIPTION, found)
    return _read(target, found)


def finished_part(wanted: Wanted, folder: Path, made_from: Mapping[str, Any]) -> Part | None:
    """Return what an earlier run left of a contig, if it was made from the same and nothing is missing."""
    target = folder / contig_file_stem(wanted.contig)
    if not all((target / name).is_file() for name in (_DESCRIPTION, _CENSUS)):
        return None
    # through JSON, as the other one has been: tuples become lists
    expected = json.loads(json.dumps({**made_from, "wanted": asdict(wanted)}))
    with suppress(InputError):  # a file that was damaged since
        found = read_json(target / _DESCRIPTION)
        if found.get("made_from") == expected:
            part = _read(target, found)
            whole = (not wanted.tracks or part.tracks.is_file()) and (
                not wanted.logits or part.units.is_file()
            )
            if whole and len(part.slices) == len(wanted.slices):
                return part
    log.info("%s: what an earlier trace left was made from something else: traced again", wanted.contig)
    return None


def _read(folder: Path, found: Mapping[str, Any]) -> Part:
    return Part(folder, Certificate(**found["certificate"]), found["seams"])


def _flat(found: Sequence[GateCensus | None]) -> dict[str, Any]:
    """Return the censuses of all directions as named arrays."""
    return {
        f"{direction}.{field.name}": getattr(census, field.name)
        for direction, census in zip(DIRECTIONS, found, strict=True)
        if census is not None
        for field in fields(census)
    }


def _census(arrays: Mapping[str, Any], direction: str) -> GateCensus | None:
    values = {field.name: arrays.get(f"{direction}.{field.name}") for field in fields(GateCensus)}
    return None if values["count"] is None else GateCensus(**{**values, "count": int(values["count"])})
