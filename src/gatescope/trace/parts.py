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
from gatescope.trace.sample import sampled_bases
from gatescope.trace.sink import Sink
from gatescope.trace.sinks import (
    HiddenChange,
    ModelCheck,
    Progress,
    SampledUnits,
    Slices,
    UnitLogits,
    UnitWrites,
)
from gatescope.trace.stream import ContigStream
from gatescope.trace.tracks import ContigTracks, Units
from gatescope.trace.units import DIRECTIONS, UNIT_ARRAYS

log = logging.getLogger(__name__)

_DESCRIPTION, _CENSUS, _TRACKS, _SAMPLE = "part.json", "census.npz", "tracks.npy", "sample.npz"


@dataclass(frozen=True)
class Wanted:
    """Say what is kept of one contig.

    Parameters
    ----------
    contig : str
    tracks : bool
        What the tracks show.
    units : dict of str to int, optional
        Unit per direction whose gates and memory the tracks show; None is the mean over units, and then census and
        sample of all units are kept as well.
    every_unit : bool
        Forget logits and writes of every unit, and the change of the hidden states, at every base.
    slices : sequence of (start, end)
        Regions of which everything is kept.
    """

    contig: str
    tracks: bool
    units: Units
    every_unit: bool
    slices: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Part:
    """What is known of one traced contig.

    Attributes
    ----------
    folder : Path
        Holds `tracks.npy` (`ContigTracks`), `sample.npz` (`SampledUnits`), `logits.npy`, `writes.npy`, `change.npy`
        (`UNIT_ARRAYS`), `slices`, as far as wanted.
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
        return self.folder / _TRACKS

    @property
    def sample(self) -> Path:
        """The file of `SampledUnits`."""
        return self.folder / _SAMPLE

    @property
    def units(self) -> dict[str, Path]:
        """The arrays of every unit at every base, by their names in `UNIT_ARRAYS`."""
        return {name: self.folder / f"{name}.npy" for name in UNIT_ARRAYS}

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
        sinks = _sinks(wanted, partial, network.config.hidden_units, genome, made_from["dtype"])
        sinks += [census] if wanted.units is None else []
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


def _sinks(wanted: Wanted, folder: Path, hidden_units: int, genome: Genome, dtype: str) -> list[Sink]:
    """Return who keeps what is wanted of a contig, but for the census."""
    sinks: list[Sink] = []
    if wanted.tracks:
        sinks.append(ContigTracks(folder / _TRACKS, wanted.units))
    if wanted.units is None:
        places = sampled_bases(genome.lengths, wanted.contig, genome.codes(wanted.contig))
        sinks.append(SampledUnits(folder / _SAMPLE, places, hidden_units))
    if wanted.every_unit:
        logits, writes, change = (folder / f"{name}.npy" for name in UNIT_ARRAYS)
        sinks += [UnitLogits(logits, hidden_units), UnitWrites(writes, hidden_units), HiddenChange(change)]
    if wanted.slices:
        sinks.append(Slices(folder / "slices", wanted.slices, hidden_units, dtype))
    return sinks


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
            arrays = [part.tracks] if wanted.tracks else []
            arrays += [part.sample] if wanted.units is None else []
            arrays += part.units.values() if wanted.every_unit else []
            if all(path.is_file() for path in arrays) and len(part.slices) == len(wanted.slices):
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
