"""How is a whole contig traced? Many segments side by side, and every seam between two of them certified.

`fwd` starts with a zero state at the left end of the contig, `rev` at the right end; nothing is reset in between, so
a gate value never depends on where a window was cut. A recurrence is sequential: to read several segments as one
batch, each but the first starts from a guess, the state after a burn-in over the bases before it. When all are read,
the state from which a segment started is compared with the state in which the segment before it ended. A segment
whose seam differs by more than the tolerance is read again from that end, until every seam holds.

How long a burn-in has to be is measured: two copies of the network that start from opposite states read the same
bases until they agree. Where they do not (a latch, an excitable network), the contig is read in one piece.

Public names: `Segments`, `Piece`, `Sink`, `SeamReport`, `ContigStream`.

References
----------
Lions, Maday & Turinici 2001 (parareal: guess, compare, repeat); Lambrechts et al. 2023 (multistability).
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import worst
from gatescope.trace.kernel import State, Steps, Tracer
from gatescope.trace.reading import HiddenReader, Reading, StemReader, UnknownBases

log = logging.getLogger(__name__)

#: States that differ by less than this, relative to a cell state above 1, count as the same.
SEAM_TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
#: Bases x rows that one call of the kernel reads: its workspace then stays in the cache.
_CALL_BASES = 3200
_FEWEST_STEPS, _BLOCK_STEPS = 50, 1000
#: A burn-in may take this share of a segment; the bases on which its length is measured, of a contig.
_BURN_IN_SHARE, _PILOT_SHARE, _PILOT_PLACES = 0.1, 0.05, 4

_Read = Callable[[list[int], int], Tensor]  # (starts of rows, steps) -> (steps, rows, C)


@dataclass(frozen=True)
class Segments:
    """Say how a contig is cut.

    Parameters
    ----------
    segment_bp : int, optional
        Length of a segment; by default as many rows as pay share the contig equally.
    rows : int
        Most segments read side by side.
    burn_in_bp : int, optional
        Bases read before a segment; by default measured.
    """

    segment_bp: int | None = None
    rows: int = 32
    burn_in_bp: int | None = None


@dataclass
class SeamReport:
    """Tell how the segments of one direction of one contig fitted together.

    Attributes
    ----------
    direction : int
    segments, segment_bp, rows, burn_in_bp : int
        Segments, their length, how many were read side by side, and the burn-in of each.
    reruns : int
        Segments that were read again because their seam did not hold.
    largest_seam : float
        Largest difference of states at a seam in the end, relative to a cell state above 1.
    tolerance : float
    contraction : float, optional
        What the measured burn-in left of the difference between two opposite starts; above the tolerance the
        network forgets too slowly (or not at all), and the contig was read in one piece. None if not measured.
    """

    direction: int
    segments: int
    segment_bp: int
    rows: int
    burn_in_bp: int
    tolerance: float
    contraction: float | None
    reruns: int = 0
    largest_seam: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the report as it stands in summaries."""
        return asdict(self)


@dataclass
class Piece:
    """What one call read: T bases of B rows, in reading order.

    Attributes
    ----------
    direction : int
        0 fwd, 1 rev.
    segments : list of int
        Which segment of the contig each row belongs to.
    starts : list of int
        Reading position of each row's first base.
    steps : Steps
        Gates and states, each (T, B, H).
    """

    direction: int
    segments: list[int]
    starts: list[int]
    steps: Steps
    reading: Reading
    _logits: Callable[[], Tensor]

    @cached_property
    def forget_logit(self) -> Tensor:
        """The forget gate before its activation, (T, B, H): computed only if somebody asks."""
        return self._logits()

    def rows(self, values: NDArray) -> Iterator[tuple[slice, NDArray]]:
        """Yield (slice of the contig, values in genomic order) for values (T, B, ...)."""
        for row, start in enumerate(self.starts):
            yield from self.reading.place(start, values[:, row])


class Sink(Protocol):
    """Takes what is read of one contig after the other; segments come in any order."""

    def begin(self, contig: str, length: int) -> None:
        """Start a contig."""

    def take(self, piece: Piece) -> None:
        """Take part of some segments."""

    def restart(self, direction: int, segment: int) -> None:
        """Forget what a segment gave: it is read again."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Take a run of unknown bases that was not read; `retention` of the state was left after it."""

    def end(self) -> None:
        """Finish the contig."""


class ContigStream:
    """Read one layer of a network along a contig, in both directions.

    Parameters
    ----------
    network : AccessibilityNetwork
        Its dtype and device are those of the trace.
    genome : Genome
    layer : int
        LSTM layer from 0. For a layer above the first, hidden states of the layer below rest in a temporary file
        (2 H values per bp).
    unknown : UnknownBases
    segments : Segments
    use_workspace : bool
        Whether gates may come from the kernel's workspace (`gatescope.trace.kernel`).
    """

    def __init__(
        self,
        network: AccessibilityNetwork,
        genome: Genome,
        *,
        layer: int = 0,
        unknown: UnknownBases | None = None,
        segments: Segments | None = None,
        use_workspace: bool = True,
    ) -> None:
        self.network, self.genome, self.layer = network, genome, layer
        self.unknown, self.segments = unknown or UnknownBases(), segments or Segments()
        self._tracers = [
            [Tracer(cell, use_workspace=use_workspace) for cell in cells_of(lstm)]
            for lstm in network.lstm_layers[: layer + 1]
        ]

    def read(self, contig: str, sinks: list[Sink]) -> list[SeamReport]:
        """Send all of a contig to the sinks; return the report of each direction of the traced layer."""
        with exact_arithmetic(), tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
            below: NDArray | None = None
            for layer in range(self.layer):
                keeper = _HiddenKeeper(Path(folder) / f"layer{layer}.npy")
                self._read_layer(contig, layer, below, [keeper])
                below = keeper.hidden
            return self._read_layer(contig, self.layer, below, sinks)

    def _read_layer(
        self, contig: str, layer: int, below: NDArray | None, sinks: list[Sink]
    ) -> list[SeamReport]:
        length = self.genome.lengths[contig]
        skipped = self.unknown.skipped(self.genome.codes(contig))
        reports = []
        for sink in sinks:
            sink.begin(contig, length)
        for direction, tracer in enumerate(self._tracers[layer]):
            reading = Reading(length, direction, skipped)
            if below is None:
                read: _Read = StemReader(self.network, self.genome, contig, reading)
            else:
                read = HiddenReader(below, reading, self.network.stem.weight)
            reader = _DirectionReader(tracer, read, reading, self.unknown, self.segments, sinks)
            reports.append(reader.run())
            for start, end in skipped.tolist():
                for sink in sinks:
                    sink.skip(direction, start, end, self.unknown.retention(end - start))
        for sink in sinks:
            sink.end()
        return reports


class _DirectionReader:
    """Read all segments of one direction, and see that their seams hold."""

    def __init__(
        self,
        tracer: Tracer,
        read: _Read,
        reading: Reading,
        unknown: UnknownBases,
        segments: Segments,
        sinks: list[Sink],
    ) -> None:
        self._tracer, self._read, self._reading = tracer, read, reading
        self._unknown, self._segments, self._sinks = unknown, segments, sinks
        self._decays_at = sorted(reading.gaps) if unknown.half_life_bp is not None else []
        self._tolerance = SEAM_TOLERANCE[tracer.cell.weight_hh.dtype]

    def run(self) -> SeamReport:
        """Read the contig; return how the segments fitted together."""
        report = self._plan()
        starts = list(range(0, self._reading.length, report.segment_bp))
        state = self._zeros(1)
        for first in range(0, len(starts), report.rows):
            wave = list(range(first, min(first + report.rows, len(starts))))
            state = self._read_wave(wave, report, state)
        return report

    def _plan(self) -> SeamReport:
        """Choose the burn-in and how many segments pay."""
        length, wanted = max(1, self._reading.length), self._segments
        burn_in, contraction = (
            self._measure_burn_in() if wanted.burn_in_bp is None else (wanted.burn_in_bp, None)
        )
        forgets = contraction is not None and contraction <= self._tolerance
        if wanted.segment_bp is not None:
            segment = min(wanted.segment_bp, length)
        else:
            pays = int(length * _BURN_IN_SHARE / burn_in) if forgets or wanted.burn_in_bp else 1
            segment = _round_up(-(-length // max(1, min(wanted.rows, pays))), _FEWEST_STEPS)
        count = -(-length // segment)
        rows = min(wanted.rows, count)
        return SeamReport(
            self._reading.direction, count, segment, rows, burn_in, self._tolerance, contraction
        )

    def _measure_burn_in(self) -> tuple[int, float | None]:
        """Return after how many bases two opposite starts agree to a tenth of the tolerance, and what is left."""
        limit = int(self._reading.length * _PILOT_SHARE)
        limit -= limit % _FEWEST_STEPS
        if limit < _FEWEST_STEPS or self._segments.rows == 1:
            return 0, None
        last = self._reading.length - limit
        places = [last * k // _PILOT_PLACES for k in range(_PILOT_PLACES)]
        h, c = self._zeros(2 * _PILOT_PLACES)
        h[:_PILOT_PLACES], c[:_PILOT_PLACES] = 0.5, 1.0
        h[_PILOT_PLACES:], c[_PILOT_PLACES:] = -0.5, -1.0
        state, done, left = (h, c), 0, float("inf")
        while done < limit:
            steps = min(_BLOCK_STEPS // 2, limit - done)
            inputs = self._read([place + done for place in places], steps)
            state = self._tracer.advance(torch.cat([inputs, inputs], dim=1), state)
            done += steps
            left = _difference(
                (state[0][:_PILOT_PLACES], state[1][:_PILOT_PLACES]),
                (state[0][_PILOT_PLACES:], state[1][_PILOT_PLACES:]),
            )
            if left <= self._tolerance / 10:
                return done, left
        return done, left

    def _read_wave(self, wave: list[int], report: SeamReport, state: State) -> State:
        """Read some segments side by side, the first from its true state; return the state after the last."""
        starts = [segment * report.segment_bp for segment in wave]
        ends = [min(start + report.segment_bp, self._reading.length) for start in starts]
        begun = _join([state, self._burn_in(starts[1:], report.burn_in_bp)]) if len(wave) > 1 else state
        ended = self._read_rows(wave, starts, ends, begun)
        for row in range(1, len(wave)):
            seam = _difference(_row(begun, row), _row(ended, row - 1))
            if seam > self._tolerance:
                for sink in self._sinks:
                    sink.restart(self._reading.direction, wave[row])
                again = self._read_rows([wave[row]], [starts[row]], [ends[row]], _row(ended, row - 1))
                ended[0][row], ended[1][row] = again[0][0], again[1][0]
                report.reruns += 1
                seam = 0.0
            report.largest_seam = max(report.largest_seam, seam)
        return _row(ended, len(wave) - 1)

    def _burn_in(self, starts: list[int], bases: int) -> State:
        """Return the states of rows after the bases before their starts, from zero."""
        state = self._zeros(len(starts))
        before = [max(0, start - bases) for start in starts]
        lengths = [start - first for start, first in zip(starts, before, strict=True)]
        for at, steps in self._calls(lengths, before, _BLOCK_STEPS):
            active = [row for row, start in enumerate(starts) if before[row] + at < start]
            inputs = self._read([before[row] + at for row in active], steps)
            after = self._tracer.advance(inputs, self._decayed(_rows(state, active), active, before, at))
            state[0][active], state[1][active] = after
        return state

    def _read_rows(self, segments: list[int], starts: list[int], ends: list[int], state: State) -> State:
        """Read rows from `starts` to `ends`, send what they show to the sinks, return their last states."""
        state = (state[0].clone(), state[1].clone())
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        call = max(_FEWEST_STEPS, _CALL_BASES // len(starts))
        for at, block in self._calls(lengths, starts, call * max(1, _BLOCK_STEPS // call)):
            active = [row for row, length in enumerate(lengths) if at < length]
            inputs = self._read([starts[row] + at for row in active], block)
            now = self._decayed(_rows(state, active), active, starts, at)
            for first in range(0, block, call):
                part = inputs[first : first + call]
                now = self._send(part, now, segments, starts, active, at + first, len(part) == call)
            state[0][active], state[1][active] = now
        return state

    def _send(
        self,
        inputs: Tensor,
        state: State,
        segments: list[int],
        starts: list[int],
        active: list[int],
        at: int,
        will_repeat: bool,
    ) -> State:
        """Trace one call, hand it to the sinks, return the state after it."""
        steps, after = self._tracer.trace(inputs, state, will_repeat=will_repeat)
        piece = Piece(
            self._reading.direction,
            [segments[row] for row in active],
            [starts[row] + at for row in active],
            steps,
            self._reading,
            lambda: self._tracer.forget_logits(inputs, state, steps.hidden),
        )
        for sink in self._sinks:
            sink.take(piece)
        return after

    def _calls(self, lengths: list[int], starts: list[int], block: int) -> Iterator[tuple[int, int]]:
        """Yield (bases already read, bases to read) so that no row ends, and no state decays, inside a block."""
        stops = set(lengths)
        for start, length in zip(starts, lengths, strict=True):
            low, high = np.searchsorted(self._decays_at, [start, start + length])
            stops |= {place - start for place in self._decays_at[low:high]}
        at = 0
        for stop in sorted(stops - {0}):
            while at < stop:
                steps = min(block, stop - at)
                yield at, steps
                at += steps

    def _decayed(self, state: State, active: list[int], starts: list[int], at: int) -> State:
        """Shrink the states of rows that have just passed over unknown bases."""
        if not self._decays_at:
            return state
        factors = [self._unknown.retention(self._reading.gaps.get(starts[row] + at, 0)) for row in active]
        left = state[0].new_tensor(factors)[:, None]
        return state[0] * left, state[1] * left

    def _zeros(self, rows: int) -> State:
        h, c = self._tracer.zero_state
        return h.repeat(rows, 1), c.repeat(rows, 1)


class _HiddenKeeper:
    """Keep the hidden states of a layer in a file, (L, 2 H), genomic order, for the layer above."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._array: np.memmap | None = None

    @property
    def hidden(self) -> NDArray:
        """The hidden states of both directions at every base."""
        assert self._array is not None
        return self._array

    def begin(self, contig: str, length: int) -> None:
        """Remember the length; the file is made when the number of units is known."""
        self._length = length

    def take(self, piece: Piece) -> None:
        """Write the hidden states where they belong."""
        values = piece.steps.hidden.cpu().numpy()
        size = values.shape[2]
        if self._array is None:
            shape = (self._length, 2 * size)
            self._array = np.lib.format.open_memmap(self._path, mode="w+", dtype=values.dtype, shape=shape)
        columns = slice(piece.direction * size, (piece.direction + 1) * size)
        for where, row in piece.rows(values):
            self._array[where, columns] = row

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what is read again is written over."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Need nothing: the layer above does not read these bases either."""

    def end(self) -> None:
        """Need nothing."""


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _row(state: State, row: int) -> State:
    return state[0][row : row + 1].clone(), state[1][row : row + 1].clone()


def _rows(state: State, rows: list[int]) -> State:
    return state[0][rows], state[1][rows]


def _join(states: list[State]) -> State:
    return torch.cat([h for h, _ in states]), torch.cat([c for _, c in states])


def _difference(one: State, other: State) -> float:
    """Return the largest difference of two states, relative where a cell state is above 1."""
    h = (one[0] - other[0]).abs().max()
    c = ((one[1] - other[1]) / other[1].abs().clamp(min=1)).abs().max()
    return worst([float(h), float(c)])
