"""Which tracks does a person look at? Gates as the mean over units; of named units, their memory as well.

Public names: `GATES`, `MEMORY`, `Units`, `ContigTracks`, `track_rows`, `write_tracks`.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.trace.certificate import Certificate
from gatescope.trace.memory import CAP_BP, BackwardHorizons, half_life
from gatescope.trace.scratch import OnDisk, held_logit
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

_WRITE_BP = 2**20
_READS = {"fwd": "reading left to right", "rev": "reading right to left"}


def _of(values: Tensor, unit: int | None) -> Tensor:
    """Return values (T, B, H) of one unit, or their mean over units: (T, B)."""
    return values.mean(2) if unit is None else values[:, :, unit]


@dataclass(frozen=True)
class _Quantity:
    """What a track shows; read off the steps, (T, B), or else made from the forget logits of a contig."""

    unit: str
    range: tuple[float | None, float | None]
    meaning: str
    of_steps: Callable[[Piece, int | None], Tensor] | None = None
    #: What a run of unknown bases that is not read shows, from the retention per base.
    unread: Callable[[float], float] = lambda retention: float("nan")


_GATE = {"unit": "gate value 0-1", "range": (0.0, 1.0)}
_LENGTH = {"unit": "bp", "range": (0.0, float(CAP_BP))}
_QUANTITIES = {
    "forget_gate": _Quantity(
        **_GATE,
        meaning="share of the cell state kept from one base to the next; near 0 erases, near 1 remembers",
        of_steps=lambda piece, unit: _of(piece.steps.forget, unit),
        unread=lambda retention: retention,
    ),
    "input_gate": _Quantity(
        **_GATE,
        meaning="share of the new candidate value that is written into the cell state",
        of_steps=lambda piece, unit: _of(piece.steps.input, unit),
        unread=lambda retention: 0.0,
    ),
    "output_gate": _Quantity(
        **_GATE,
        meaning="share of the cell state that the network shows to its next step and to its output",
        of_steps=lambda piece, unit: _of(piece.steps.output, unit),
    ),
    "write_magnitude": _Quantity(
        unit="cell state 0-1",
        range=(0.0, 1.0),
        meaning="size of what this base writes into the cell state, |input gate x candidate|",
        of_steps=lambda piece, unit: (_of(piece.steps.input, unit) * _of(piece.steps.candidate, unit)).abs(),
        unread=lambda retention: 0.0,
    ),
    "hidden_memory": _Quantity(
        unit="cell state 0-1",
        range=(0.0, 1.0),
        meaning="what the cell holds and the output gate does not show, |tanh c| - |h|",
        of_steps=lambda piece, unit: (
            torch.tanh(_of(piece.steps.cell, unit)).abs() - _of(piece.steps.hidden, unit).abs()
        ),
    ),
    "half_life": _Quantity(
        **_LENGTH,
        meaning="bases after which half of the cell state would be forgotten if the forget gate stayed as it is here",
    ),
    "backward_horizon": _Quantity(
        **_LENGTH,
        meaning="how far back a write has lost half of itself by now; a gap where the contig's end is nearer",
    ),
    "forward_horizon": _Quantity(
        **_LENGTH,
        meaning="how far on what is written here has lost half of itself; a gap where the contig's end is nearer",
    ),
}
#: Shown as the mean over units, and of named units; and what named units show beside them.
GATES = ("forget_gate", "input_gate", "output_gate")
MEMORY = ("half_life", "backward_horizon", "forward_horizon", "write_magnitude", "hidden_memory")
#: What rests on disk of a named unit beside what is read off the steps.
_FROM_LOGITS = ("forget_logit", "backward_horizon", "forward_horizon")
#: Unit per direction; None is the mean over units.
Units = Mapping[str, int] | None


def _shown(units: Units) -> tuple[str, ...]:
    return GATES if units is None else (*GATES, *MEMORY)


def track_rows(units: Units) -> list[str]:
    """Return what rests on disk of a contig, row by row; every shown track can be made from it."""
    read_off = [name for name in _shown(units) if _QUANTITIES[name].of_steps]
    return [*read_off, *(() if units is None else _FROM_LOGITS)]


class ContigTracks(Sink):
    """Keep what the tracks of a contig show, float32 (D, rows, L), genomic order; rows as `track_rows` names them.

    Segments come in any order, and a bigWig is written from left to right: so it rests on disk, 24 bytes per bp (64
    for named units) where there are two directions. Lengths in bp are capped at `gatescope.trace.memory.CAP_BP`.

    Parameters
    ----------
    path : Path
    units : dict of str to int, optional
    directions : int
        D.
    """

    def __init__(self, path: Path, units: Units = None, directions: int = len(DIRECTIONS)) -> None:
        self._path, self._units, self._directions = path, units, directions
        self._rows = track_rows(units)
        self._read_off = [name for name in self._rows if name not in _FROM_LOGITS]

    def begin(self, contig: str, length: int) -> None:
        """Make room for the contig."""
        self._length = length
        self._values = OnDisk(self._path, (self._directions, len(self._rows), length))

    def take(self, piece: Piece) -> None:
        """Reduce each quantity to one value per base."""
        direction = DIRECTIONS[piece.direction]
        if self._units is not None and direction not in self._units:
            return
        unit = None if self._units is None else self._units[direction]
        found = []
        for name in self._read_off:
            of_steps = _QUANTITIES[name].of_steps
            assert of_steps is not None
            found.append(of_steps(piece, unit))
        if unit is not None:
            found.append(piece.forget_logit[:, :, unit])
        for where, row in piece.rows(torch.stack(found, 2).float().cpu().numpy()):
            self._values.write((piece.direction, slice(row.shape[1]), where), row.T)

    def skip(self, direction: int, start: int, end: int, log_retention: float) -> None:
        """Write what the policy did; a gate that was not computed is a gap."""
        column = [_QUANTITIES[name].unread(math.exp(log_retention)) for name in self._read_off]
        if self._units is not None:
            column.append(held_logit(log_retention))
        block = np.repeat(np.array(column, np.float32)[:, None], end - start, axis=1)
        self._values.write((direction, slice(len(column)), slice(start, end)), block)

    def end(self) -> None:
        """Follow the horizons along the contig, and finish the file."""
        if self._units is not None:
            for row in map(DIRECTIONS.index, self._units):
                self._follow(row, "backward_horizon", rightwards=row == 0, shift=0)
                # what is written at a base survives as far as its neighbour, read the other way, remembers
                self._follow(row, "forward_horizon", rightwards=row == 1, shift=1 if row else -1)
        self._values.flush()

    def _follow(self, row: int, name: str, *, rightwards: bool, shift: int) -> None:
        """Stream the horizons along the contig; what is found at a base belongs `shift` bases to the right."""
        stream, column = BackwardHorizons(CAP_BP), self._rows.index(name)
        logit = self._rows.index("forget_logit")
        last = slice(0, 1) if shift > 0 else slice(self._length - 1, self._length)
        if shift:
            self._values.write((row, column, last), np.array([np.nan], np.float32))
        starts = range(0, self._length, _WRITE_BP)
        for start in starts if rightwards else reversed(starts):
            end = min(start + _WRITE_BP, self._length)
            logits = self._values.read((row, logit, slice(start, end)))[:: 1 if rightwards else -1]
            found = stream.take(logits)[:: 1 if rightwards else -1]
            low, high = max(0, start + shift), min(self._length, end + shift)
            values = found[low - start - shift : high - start - shift]
            self._values.write((row, column, slice(low, high)), values)


def write_tracks(
    folder: Path,
    contigs: Iterable[tuple[str, Path]],
    lengths: Mapping[str, int],
    *,
    units: Units = None,
    kind: str = "boundary_unit",
    decimals: int = 3,
    describe: Mapping[str, Any],
    certificate: Certificate,
    directions: int = len(DIRECTIONS),
) -> None:
    """Write bigWigs of each direction with their sidecars: gates as the mean over units, or gates and memory of units.

    Each file is the old one or the new one, whole. A track without a single value (the horizon of a memory longer than
    every contig) is not written, and one of that name removed: no bigWig can hold nothing.

    Parameters
    ----------
    folder : Path
    contigs : iterable of (str, Path)
        Contigs in the order of the genome, each with the array of its `ContigTracks`.
    lengths : mapping of str to int
        All contigs of the genome in order.
    units : dict of str to int, optional
        Unit per direction.
    kind : {"boundary_unit", "unit"}
        How units were chosen, by the boundaries stage or by name; the files are called after it.
    decimals : int
        Decimals kept; lengths in bp keep one.
    describe : dict
        `model_sha256`, `run`, `lookahead_bp` and `layer` for the sidecars.
    certificate : Certificate
    directions : int
        How many directions the arrays hold.
    """
    rows = track_rows(units)
    paths = {
        (name, direction): folder / f"{name}.{direction}.{label}.bw"
        for direction, label in _labels(units, kind, directions).items()
        for name in _shown(units)
    }
    contigs = list(contigs)
    for key in [key for key in paths if not _has_values(*key, contigs, rows)]:
        log.warning("%s: no base has a value, so there is no such track", paths[key].name)
        path = paths.pop(key)
        for old in (path, path.with_name(f"{path.name}.json")):
            old.unlink(missing_ok=True)
    with ExitStack() as stack:
        writers = {
            key: stack.enter_context(BigWigWriter(path, lengths, _kept(key[0], decimals)))
            for key, path in paths.items()
        }
        for contig, array in contigs:
            values = np.load(array, mmap_mode="r")
            for (name, direction), writer in writers.items():
                own = values[DIRECTIONS.index(direction)]
                for start in range(0, own.shape[1], _WRITE_BP):
                    writer.add(contig, start, _row(own[:, start : start + _WRITE_BP], rows, name))
    for (name, direction), path in paths.items():
        unit = None if units is None else units[direction]
        write_sidecar(path, _info(name, direction, unit, kind, decimals, describe, certificate))


def _labels(units: Units, kind: str, directions: int) -> dict[str, str]:
    """Return what the files of each direction are called after."""
    if units is None:
        return dict.fromkeys(DIRECTIONS[:directions], "mean")
    return {direction: f"unit{unit}" if kind == "unit" else kind for direction, unit in units.items()}


def _has_values(name: str, direction: str, contigs: Iterable[tuple[str, Path]], rows: list[str]) -> bool:
    row = DIRECTIONS.index(direction), rows.index(name if name in rows else "forget_logit")
    for _, array in contigs:
        own = np.load(array, mmap_mode="r")[row]
        if any(not np.isnan(own[at : at + _WRITE_BP]).all() for at in range(0, len(own), _WRITE_BP)):
            return True
    return False


def _row(values: NDArray, rows: list[str], name: str) -> NDArray:
    """Return one quantity from the rows that rest on disk."""
    if name == "half_life":
        return half_life(values[rows.index("forget_logit")]).bp
    return np.array(values[rows.index(name)])


def _kept(name: str, decimals: int) -> int:
    return 1 if _QUANTITIES[name].unit == "bp" else decimals


def _info(
    name: str,
    direction: str,
    unit: int | None,
    kind: str,
    decimals: int,
    describe: Mapping[str, Any],
    certificate: Certificate,
) -> TrackInfo:
    whose = "mean over all hidden units" if unit is None else f"hidden unit {unit}"
    if unit is not None and kind == "boundary_unit":
        whose += ", the boundary unit"
    quantity = _QUANTITIES[name]
    cap = f" (at most {CAP_BP:,} bp)" if quantity.unit == "bp" else ""
    return TrackInfo(
        track=name,
        unit=quantity.unit,
        range=quantity.range,
        gaps="missing",
        description=f"{name.replace('_', ' ')} of {whose}, {_READS[direction]}: {quantity.meaning}{cap}",
        direction="fwd" if direction == "fwd" else "rev",
        hidden_unit=unit,
        aggregation="mean over units" if unit is None else "none",
        decimals=_kept(name, decimals),
        model_sha256=describe["model_sha256"],
        certificate=certificate.as_json(),
        details={key: describe[key] for key in ("run", "lookahead_bp", "layer")},
    )
