"""Which tracks does a person look at? Gates as the mean over units; of named units, their memory as well.

Public names: `GATES`, `MEMORY`, `GateTracks`.
"""

import tempfile
from collections.abc import Callable, Mapping
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
from gatescope.trace.stream import Piece
from gatescope.trace.units import DIRECTIONS

_WRITE_BP = 2**20
_READS = {"fwd": "reading left to right", "rev": "reading right to left"}


@dataclass(frozen=True)
class _Quantity:
    """What a track shows; read off the steps, (T, B, H), or else made from the forget logits of a contig."""

    unit: str
    range: tuple[float | None, float | None]
    meaning: str
    of_steps: Callable[[Piece], Tensor] | None = None
    #: What a run of unknown bases that is not read shows, from the retention per base.
    unread: Callable[[float], float] = lambda retention: float("nan")


_GATE = {"unit": "gate value 0-1", "range": (0.0, 1.0)}
_LENGTH = {"unit": "bp", "range": (0.0, float(CAP_BP))}
_QUANTITIES = {
    "forget_gate": _Quantity(
        **_GATE,
        meaning="share of the cell state kept from one base to the next; near 0 erases, near 1 remembers",
        of_steps=lambda piece: piece.steps.forget,
        unread=lambda retention: retention,
    ),
    "input_gate": _Quantity(
        **_GATE,
        meaning="share of the new candidate value that is written into the cell state",
        of_steps=lambda piece: piece.steps.input,
        unread=lambda retention: 0.0,
    ),
    "output_gate": _Quantity(
        **_GATE,
        meaning="share of the cell state that the network shows to its next step and to its output",
        of_steps=lambda piece: piece.steps.output,
    ),
    "write_magnitude": _Quantity(
        unit="cell state 0-1",
        range=(0.0, 1.0),
        meaning="size of what this base writes into the cell state, |input gate x candidate|",
        of_steps=lambda piece: (piece.steps.input * piece.steps.candidate).abs(),
        unread=lambda retention: 0.0,
    ),
    "hidden_memory": _Quantity(
        unit="cell state 0-1",
        range=(0.0, 1.0),
        meaning="what the cell holds and the output gate does not show, |tanh c| - |h|",
        of_steps=lambda piece: torch.tanh(piece.steps.cell).abs() - piece.steps.hidden.abs(),
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
#: Rows of a named unit's scratch beside what is read off the steps.
_FROM_LOGITS = ("forget_logit", "backward_horizon", "forward_horizon")


class GateTracks:
    """Write bigWigs of both directions: gates as the mean over units, or gates and memory of named units.

    A context manager: tracks and sidecars appear when it is left without an error. One contig rests on disk while
    it is read, 24 bytes per bp (64 for named units), because segments come in any order and a bigWig is written
    from left to right. Lengths in bp are capped at `gatescope.trace.memory.CAP_BP`.

    Parameters
    ----------
    folder : Path
    lengths : mapping of str to int
        Contigs of the genome in order.
    decimals : int
        Decimals kept; lengths in bp keep one.
    meta : dict
        `model.json` of the run.
    units : dict of str to int, optional
        Unit per direction; None takes the mean over units.
    """

    #: The certificate of the whole trace, set before the context is left.
    certificate: Certificate

    def __init__(
        self,
        folder: Path,
        lengths: Mapping[str, int],
        decimals: int,
        meta: Mapping[str, Any],
        units: Mapping[str, int] | None = None,
    ) -> None:
        self._folder, self._lengths, self._decimals = folder, lengths, decimals
        self._meta, self._units = meta, units
        self._names = GATES if units is None else (*GATES, *MEMORY)
        self._read_off = [name for name in self._names if _QUANTITIES[name].of_steps]
        self._stack = ExitStack()

    def __enter__(self) -> "GateTracks":
        self._scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatescope-")))
        self._writers = {
            (name, direction): self._stack.enter_context(
                BigWigWriter(self._path(name, direction), self._lengths, self._kept(name))
            )
            for direction in DIRECTIONS
            for name in self._names
        }
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for name, direction in self._writers:
                write_sidecar(self._path(name, direction), self._info(name, direction))

    def begin(self, contig: str, length: int) -> None:
        """Make room for the contig: per direction what is read off the steps, then `_FROM_LOGITS`."""
        self._contig, self._length = contig, length
        self._rows = [*self._read_off, *(() if self._units is None else _FROM_LOGITS)]
        self._values = OnDisk(self._scratch / "contig.npy", (len(DIRECTIONS), len(self._rows), length))

    def take(self, piece: Piece) -> None:
        """Reduce each quantity to one value per base."""
        unit = None if self._units is None else self._units[DIRECTIONS[piece.direction]]
        found = []
        for name in self._read_off:
            of_steps = _QUANTITIES[name].of_steps
            assert of_steps is not None
            values = of_steps(piece)
            found.append(values.mean(2) if unit is None else values[:, :, unit])
        if unit is not None:
            found.append(piece.forget_logit[:, :, unit])
        for where, row in piece.rows(torch.stack(found, 2).float().cpu().numpy()):
            self._values.write((piece.direction, slice(row.shape[1]), where), row.T)

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what is read again is written over."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Write what the policy did; a gate that was not computed is a gap."""
        per_base = retention ** (1 / (end - start))
        column = [_QUANTITIES[name].unread(per_base) for name in self._read_off]
        if self._units is not None:
            column.append(held_logit(retention, end - start))
        block = np.repeat(np.array(column, np.float32)[:, None], end - start, axis=1)
        self._values.write((direction, slice(len(column)), slice(start, end)), block)

    def end(self) -> None:
        """Write the contig from left to right."""
        if self._units is not None:
            for row in range(len(DIRECTIONS)):
                self._follow(row, "backward_horizon", rightwards=row == 0, shift=0)
                # what is written at a base survives as far as its neighbour, read the other way, remembers
                self._follow(row, "forward_horizon", rightwards=row == 1, shift=1 if row else -1)
        for (name, direction), writer in self._writers.items():
            row = DIRECTIONS.index(direction)
            for start in range(0, self._length, _WRITE_BP):
                part = slice(start, start + _WRITE_BP)
                writer.add(self._contig, start, self._read(row, name, part))

    def _read(self, row: int, name: str, part: slice) -> NDArray:
        """Return one quantity of a direction over part of the contig."""
        if name == "half_life":
            return half_life(self._read(row, "forget_logit", part)).bp
        return np.array(self._values.read((row, self._rows.index(name), part)))

    def _follow(self, row: int, name: str, *, rightwards: bool, shift: int) -> None:
        """Stream the horizons along the contig; what is found at a base belongs `shift` bases to the right."""
        stream, column = BackwardHorizons(CAP_BP), self._rows.index(name)
        last = slice(0, 1) if shift > 0 else slice(self._length - 1, self._length)
        if shift:
            self._values.write((row, column, last), np.array([np.nan], np.float32))
        starts = range(0, self._length, _WRITE_BP)
        for start in starts if rightwards else reversed(starts):
            end = min(start + _WRITE_BP, self._length)
            logits = self._read(row, "forget_logit", slice(start, end))[:: 1 if rightwards else -1]
            found = stream.take(logits)[:: 1 if rightwards else -1]
            low, high = max(0, start + shift), min(self._length, end + shift)
            values = found[low - start - shift : high - start - shift]
            self._values.write((row, column, slice(low, high)), values)

    def _kept(self, name: str) -> int:
        return 1 if _QUANTITIES[name].unit == "bp" else self._decimals

    def _path(self, name: str, direction: str) -> Path:
        kind = "mean" if self._units is None else "boundary_unit"
        return self._folder / f"{name}.{direction}.{kind}.bw"

    def _info(self, name: str, direction: str) -> TrackInfo:
        unit = None if self._units is None else self._units[direction]
        whose = "mean over all hidden units" if unit is None else f"hidden unit {unit}, the boundary unit"
        quantity = _QUANTITIES[name]
        return TrackInfo(
            track=name,
            unit=quantity.unit,
            range=quantity.range,
            gaps="missing",
            description=f"{name.replace('_', ' ')} of {whose}, {_READS[direction]}: {quantity.meaning}",
            direction="fwd" if direction == "fwd" else "rev",
            hidden_unit=unit,
            aggregation="mean over units" if unit is None else "none",
            decimals=self._kept(name),
            model_sha256=self._meta["sha256"],
            certificate=self.certificate.as_json(),
            details={"run": self._meta["run"], "lookahead_bp": self._meta["lookahead_bp"], "layer": 1},
        )
