"""What did one hidden unit do along a whole contig, and what does it hold at one base? A sink that keeps it on disk.

Public names: `Tape`, `UnitTrace`, `Mark`, `Memory`, `recall`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gatescope.trace.certificate import ReplayError
from gatescope.trace.memory import Direction
from gatescope.trace.provenance import Provenance, Sources, provenance, top_sources
from gatescope.trace.scratch import OnDisk, held_logit
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.units import DIRECTIONS

#: Largest |sum of contributions - traced cell state|, relative to a cell state above 1, for memories that are not so
#: long that the cell state itself, rounded at every base, is worse.
_SUM_TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


class UnitTrace(NamedTuple):
    """One unit over a contig of L bases, genomic order: each (L,), in the dtype of the trace, memory-mapped."""

    input: NDArray  # gate, after its activation
    forget_logit: NDArray
    write: NDArray  # input gate times candidate
    output: NDArray  # gate; NaN where unknown bases were not read
    cell: NDArray


class Tape(Sink):
    """Keep gates and cell state of one unit of each direction along one contig, on disk: 80 bytes per bp in float64.

    Where unknown bases are not read, it keeps what the policy did: nothing is written, the forget gate is what is
    left of the state per base (its logit is infinite where the state is held), and the output gate is missing.

    Parameters
    ----------
    path : Path
        File to write (.npy).
    units : mapping of str to int
        Unit by direction.
    dtype : str
        That of the trace.
    """

    def __init__(self, path: Path, units: Mapping[str, int], dtype: str) -> None:
        self._path, self._units, self._dtype = path, dict(units), dtype

    def of(self, direction: str) -> UnitTrace:
        """Return the unit of one direction, once the contig is read."""
        return UnitTrace(*np.load(self._path, mmap_mode="r")[self._row(direction)])

    def begin(self, contig: str, length: int) -> None:
        """Make room for the contig."""
        self._length, self._unread = length, []
        self._kept = OnDisk(self._path, (len(self._units), len(UnitTrace._fields), length), self._dtype)

    def take(self, piece: Piece) -> None:
        """Write the gates of the unit where they belong."""
        direction = DIRECTIONS[piece.direction]
        if direction not in self._units:
            return
        unit, steps = self._units[direction], piece.steps
        written = steps.input * steps.candidate
        kept = (steps.input, piece.forget_logit, written, steps.output, steps.cell)
        values = torch.stack([tensor[:, :, unit] for tensor in kept], 2).cpu().numpy()
        for where, part in piece.rows(values):
            self._kept.write((self._row(direction), slice(None), where), part.T)

    def skip(self, direction: int, start: int, end: int, log_retention: float) -> None:
        """Remember the run: what happened there follows from the state before it."""
        if DIRECTIONS[direction] in self._units:
            self._unread.append((DIRECTIONS[direction], start, end, log_retention))

    def end(self) -> None:
        """Fill in what the policy did over each run that was not read."""
        for direction, start, end, log_retention in self._unread:
            row, bases = self._row(direction), end - start
            before, cell = (start - 1 if direction == "fwd" else end), UnitTrace._fields.index("cell")
            held = float(self._kept.read((row, cell, before))) if 0 <= before < self._length else 0.0
            shrinks = held * np.exp(log_retention * np.arange(1, bases + 1))
            logit = np.inf if log_retention == 0 else held_logit(log_retention)
            nothing, missing = np.zeros(bases), np.full(bases, np.nan)
            cells = shrinks if direction == "fwd" else shrinks[::-1]
            unread = UnitTrace(nothing, np.full(bases, logit), nothing, missing, cells)
            self._kept.write((row, slice(None), slice(start, end)), np.stack(unread))
        self._kept.flush()

    def _row(self, direction: str) -> int:
        return list(self._units).index(direction)


class Mark(NamedTuple):
    """A base whose memory is shown: its letter, contig coordinate, and what is special about it."""

    letter: str
    position: int
    meaning: str


@dataclass(frozen=True)
class Memory:
    """What one unit holds at one mark.

    Parameters
    ----------
    mark : Mark
    found : Provenance
        Of this unit alone, as far back as the memory goes.
    sources : Sources
        The largest of it.
    traced : float
        The cell state as the network has it.
    error : float
        How far what was written is off the traced cell state in sum, relative to a cell state above 1.
    allowed : float
        Most that `error` may be.
    """

    mark: Mark
    found: Provenance
    sources: Sources
    traced: float
    error: float
    allowed: float

    @property
    def shares(self) -> NDArray[np.float64]:
        """Signed share of each source base in the memory, shape (K,); 0 where nothing is held."""
        mass = self.found.mass[0]
        return self.found.contribution[0] / mass if mass > 0 else np.zeros(len(self.found.source))

    @property
    def half_within_bp(self) -> int:
        """The last so many bases read, the mark among them, wrote half of the memory."""
        reached = np.flatnonzero(np.cumsum(np.abs(self.shares)) >= 0.5)
        return int(reached[0]) + 1 if reached.size else len(self.found.source)


def recall(trace: UnitTrace, unit: int, direction: Direction, contig: str, mark: Mark) -> Memory:
    """List what a unit's cell state at a mark is made of, and see that it adds up.

    Raises
    ------
    ReplayError
        If the contributions differ from the traced cell state by more than 1e-12 (float64) or 1e-5 (float32)
        relative to a cell state above 1, and by more than a rounding of the dtype for each base that wrote half.
    """
    # what was written is kept as a product: an input gate that stands open changes nothing about it
    is_open, dtype = np.broadcast_to(np.inf, trace.write.shape), trace.cell.dtype
    found = provenance(
        is_open, trace.forget_logit, trace.write, mark.position, direction=direction, units=[unit]
    )
    traced, held = float(trace.cell[mark.position]), float(found.cell[0])
    error = abs(held - traced) / max(1.0, abs(traced))
    memory = Memory(mark, found, top_sources(found, contig), traced, error, 0.0)
    rounding = float(np.finfo(dtype).eps) * memory.half_within_bp
    memory = replace(memory, allowed=max(_SUM_TOLERANCE[dtype.name], rounding))
    if not error <= memory.allowed:
        raise ReplayError(
            f"what was written adds up to a cell state of {held:.9g}, traced was {traced:.9g} "
            f"(off by {error:.2g}, allowed {memory.allowed:.2g}); nothing is written",
            where=f"locus: unit {unit}, {direction}, position {mark.position + 1:,}",
            cause="memories so long that float32 cannot hold them" if dtype == np.float32 else "a bug",
            remedy="use --dtype float64" if dtype == np.float32 else "please report it",
        )
    return memory
