"""What do forget-gate tracks hold, and how are they read like the units of a trace? bigWig files and their sidecars.

Public names: `GateTrack`, `open_tracks`, `TrackUnits`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from gatescope.atac.bigwig import read_bigwig
from gatescope.errors import InputError
from gatescope.files import read_record
from gatescope.trace.units import DIRECTIONS

#: Half of the step between float32 numbers just below 1.
_FLOAT32_HALF_STEP = 2.0**-25
#: A gate is a float32 above 0.
_LEAST_GATE = 2.0**-149
_SIDECAR: dict[str, type | tuple[type, ...]] = {
    "track": str,
    "aggregation": str,
    "direction": (str, NoneType),
    "hidden_unit": (int, NoneType),
    "decimals": (int, NoneType),
}
#: Of the network: `gatescope trace` states it, other programs need not.
_OF_NETWORK: dict[str, type] = {"run": str, "model_sha256": str, "lookahead_bp": int}


@dataclass(frozen=True)
class GateTrack:
    """Hold what is known of one track of forget gates, from its sidecar ``<path>.json``; None where that is silent.

    Attributes
    ----------
    path : Path
    direction : {"fwd", "rev"}
    hidden_unit : int or None
        Which unit it shows.
    is_mean : bool
        Whether it is the mean over units.
    decimals : int or None
        Decimals kept; None is full float32.
    run, model_sha256, lookahead_bp
        The network that made it.
    """

    path: Path
    direction: str
    hidden_unit: int | None = None
    is_mean: bool = False
    decimals: int | None = None
    run: str | None = None
    model_sha256: str | None = None
    lookahead_bp: int | None = None

    @property
    def unit(self) -> int | str:
        """Return what tables call it: the index of the unit, "mean", or the name of the file."""
        if self.is_mean:
            return "mean"
        return self.path.name if self.hidden_unit is None else self.hidden_unit

    @property
    def title(self) -> str:
        """Return what sentences and figures call it."""
        if self.is_mean:
            return "the mean over units"
        return self.path.name if self.hidden_unit is None else f"unit {self.hidden_unit}"

    @property
    def resolution(self) -> float:
        """Return how far a value may lie from that of the gate, by rounding."""
        return _FLOAT32_HALF_STEP if self.decimals is None else 0.5 * 10.0**-self.decimals


def open_tracks(named: Sequence[str]) -> dict[str, tuple[GateTrack, ...]]:
    """Read the sidecars of tracks; return the tracks of each direction that has any.

    Parameters
    ----------
    named : sequence of str
        Paths of bigWig files, each with ``fwd=`` or ``rev=`` before it where no sidecar names the direction.

    Raises
    ------
    InputError
        If a direction is unknown, a track shows no forget gate or a unit twice, a mean lies beside units of the same
        direction, or tracks come from different networks.
    """
    tracks = [_open_track(text) for text in named]
    if not tracks:
        raise InputError("no track", where="--forget")
    for entry in _OF_NETWORK:
        if len(stated := {getattr(track, entry) for track in tracks} - {None}) > 1:
            raise InputError(f"tracks of different networks: {entry} {sorted(stated)}", where="--forget")
    found = {name: tuple(each for each in tracks if each.direction == name) for name in DIRECTIONS}
    for direction, each in found.items():
        units = [track.unit for track in each]
        if len(units) > len(set(units)):
            raise InputError(f"a unit of direction {direction} is given twice: {units}", where="--forget")
        if len(units) > 1 and "mean" in units:
            raise InputError(
                f"a mean over units of direction {direction} beside single units",
                where="--forget",
                remedy="give the tracks of the units, or the mean",
            )
    return {direction: each for direction, each in found.items() if each}


def _open_track(text: str) -> GateTrack:
    """Read one ``[fwd=|rev=]path`` and the sidecar beside it."""
    name, _, rest = text.partition("=")
    named, path = (name, Path(rest)) if name in DIRECTIONS and rest else (None, Path(text))
    if not path.is_file():
        raise InputError("file does not exist", where=path)
    sidecar = Path(f"{path}.json")
    stated = _read_sidecar(sidecar) if sidecar.is_file() else {}
    direction = stated.pop("direction", None) or named
    if direction not in DIRECTIONS:
        remedy = f"call it fwd={path} or rev={path}"
        raise InputError("no sidecar names the direction of reading", where=path, remedy=remedy)
    if named not in (None, direction):
        raise InputError(f"direction {direction}, called {named} on the command line", where=sidecar)
    return GateTrack(path, direction, **stated)


def _read_sidecar(path: Path) -> dict:
    """Return the fields of a `GateTrack` that a sidecar states."""
    record = read_record(path, _SIDECAR, "trace again, or move this file away")
    if record["track"] != "forget_gate":
        raise InputError(f"track {record['track']!r}, wanted forget_gate", where=path)
    decimals = record["decimals"]
    if decimals is not None and decimals < 1:
        raise InputError(f"decimals: {decimals}; wanted at least 1", where=path)
    network = {entry: record[entry] for entry, kind in _OF_NETWORK.items() if type(record.get(entry)) is kind}
    stated = {key: record[key] for key in ("direction", "hidden_unit", "decimals")}
    return {**stated, **network, "is_mean": record["aggregation"] != "none"}


class TrackUnits:
    """Read tracks as `gatescope.trace.units.UnitStore` reads a trace: a unit is a track of its direction, in order.

    Nothing is kept: each look reads the contig from the file again. A rounded gate has no logit where it rounds to 0 or
    1, so all are clipped to [resolution, 1 - resolution]: where memory is kept longer than the track can say, less of
    it seems to be kept.

    Parameters
    ----------
    tracks : mapping of str to sequence of GateTrack
        By direction.
    """

    def __init__(self, tracks: Mapping[str, Sequence[GateTrack]]) -> None:
        self.tracks = {name: tuple(each) for name, each in tracks.items()}
        #: Largest rounding of any of the tracks.
        self.resolution = max(track.resolution for track in self.all)

    def logits(self, contig: str, direction: int, unit: int) -> NDArray[np.float32]:
        """Return the logits of clipped gates, shape (L,), genomic order; NaN in a gap of the track.

        Raises
        ------
        InputError
            If a value lies outside [0, 1].
        """
        track = self.tracks[DIRECTIONS[direction]][unit]
        values = read_bigwig(track.path, contig)
        if ((values < 0) | (values > 1)).any():
            raise InputError(
                f"values {np.nanmin(values):g} to {np.nanmax(values):g} on {contig}; gates lie within 0 to 1",
                where=track.path,
            )
        return logit(np.clip(values.astype(np.float64), self.resolution, 1 - self.resolution)).astype(
            np.float32
        )

    @property
    def all(self) -> list[GateTrack]:
        """Return the tracks of all directions."""
        return [track for each in self.tracks.values() for track in each]

    def is_known(self, contig: str) -> NDArray[np.bool_]:
        """Tell at which bases every track has a value, shape (L,)."""
        return np.logical_and.reduce([~np.isnan(read_bigwig(track.path, contig)) for track in self.all])

    def least_log_forget(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ln of the smallest gates that round to what the track says."""
        return np.log(np.maximum(expit(np.asarray(logits, np.float64)) - self.resolution, _LEAST_GATE))

    def most_log_forget(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ln of the largest gates that round to what the track says."""
        return np.log(np.minimum(expit(np.asarray(logits, np.float64)) + self.resolution, 1.0))
