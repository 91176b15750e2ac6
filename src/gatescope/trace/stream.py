"""How is a whole contig traced? Many segments side by side, and every seam between two of them certified.

`fwd` starts with a zero state at the left end of the contig, `rev` at the right end; nothing is reset in between, so
a gate value never depends on where a window was cut. A recurrence is sequential: to read several segments as one
batch, each but the first starts from a guess, the state after a burn-in over the bases before it. When all are read,
the state from which a segment started is compared with the state in which the segment before it ended. A segment
whose seam differs by more than the tolerance is read again from that end, until every seam holds.

How long a burn-in has to be is measured: two copies of the network that start from opposite states read the same
bases until they agree. Where they do not (a latch, an excitable network), the contig is read in one piece.

Public names: `Segments`, `SeamReport`, `ContigStream`.

References
----------
Lions, Maday & Turinici 2001 (parareal: guess, compare, repeat); Lambrechts et al. 2023 (multistability).
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.model.cells import Cell, State, cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import worst
from gatescope.trace.kernel import Tracer
from gatescope.trace.reading import Reading, UnknownBases
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.source import FeatureReader, HiddenStates, Source, StemFeatures

log = logging.getLogger(__name__)

#: States that differ by less than this, relative to a cell state above 1, count as the same.
SEAM_TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
#: Bases x rows that one call of the kernel reads: its workspace then stays in the cache.
_CALL_BASES = 1600
_FEWEST_STEPS, _BLOCK_STEPS = 25, 1000
#: A burn-in may take this share of a segment; contigs shorter than so many bp are read in one piece.
_BURN_IN_SHARE, _LEAST_BP = 0.1, 2_000
#: Its length is measured on so many stretches, of at most this share of a contig; not given up before so many bases.
_PILOT_PLACES, _PILOT_SHARE, _PILOT_BP = 2, 0.05, 10_000


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
    rows: int = 64
    burn_in_bp: int | None = None


@dataclass
class SeamReport:
    """Tell how the segments of one direction of one contig fitted together.

    Attributes
    ----------
    layer, direction : int
        Counted from 0.
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
    layer: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as it stands in summaries."""
        return asdict(self)


class ContigStream:
    """Read the last of some stacked layers along a contig, in each of its directions.

    Parameters
    ----------
    layers : sequence of sequence of Cell
        Per layer its directions, fwd first; their dtype and device are those of the trace. Hidden states of all
        layers but the last rest in a temporary file (D H values per bp).
    source : Source
        What the first layer reads.
    unknown : UnknownBases
    segments : Segments
    use_workspace : bool
        Whether gates may come from the kernel's workspace (`gatescope.trace.kernel`).
    """

    def __init__(
        self,
        layers: Sequence[Sequence[Cell]],
        source: Source,
        *,
        unknown: UnknownBases | None = None,
        segments: Segments | None = None,
        use_workspace: bool = True,
    ) -> None:
        self.source = source
        self._unknown, self._segments = unknown or UnknownBases(), segments or Segments()
        self._layers, self._use_workspace = layers, use_workspace

    @classmethod
    def of(
        cls, network: AccessibilityNetwork, genome: Genome, *, layer: int = 0, **options: Any
    ) -> "ContigStream":
        """Return the stream of one LSTM layer (from 0) of a network along the contigs of a genome."""
        layers = [cells_of(lstm) for lstm in network.lstm_layers[: layer + 1]]
        return cls(layers, StemFeatures(network, genome), **options)

    def read(
        self,
        contig: str,
        sinks: Sequence[Sink],
        watch: Callable[[int, Source], Sequence[Sink]] = lambda layer, source: (),
    ) -> list[SeamReport]:
        """Send all of a contig to the sinks; return the reports of each direction of each layer.

        Parameters
        ----------
        contig : str
        sinks : sequence of Sink
            Of what the last layer does.
        watch : callable
            Gives further sinks for each layer, from 0, and what it reads.
        """
        with exact_arithmetic(), torch.inference_mode(), TemporaryDirectory(prefix="gatescope-") as folder:
            source, reports = self.source, []
            for layer, cells in enumerate(self._layers[:-1]):
                kept = HiddenStates(source, Path(folder) / f"layer{layer}.npy", len(cells))
                reports += self._read_layer(contig, layer, source, [kept, *watch(layer, source)])
                source = kept
            last = len(self._layers) - 1
            return reports + self._read_layer(contig, last, source, [*sinks, *watch(last, source)])

    def _read_layer(self, contig: str, layer: int, source: Source, sinks: Sequence[Sink]) -> list[SeamReport]:
        length = source.lengths[contig]
        skipped = self._unknown.skipped(source.codes(contig))
        reports = []
        for sink in sinks:
            sink.begin(contig, length)
        for direction, cell in enumerate(self._layers[layer]):
            # one for each contig: which positions it samples depends on nothing that was read before
            tracer = Tracer(cell, use_workspace=self._use_workspace)
            reading = Reading(length, direction, skipped)
            read = FeatureReader(source, contig, reading)
            reader = _DirectionReader(tracer, read, reading, self._unknown, self._segments, sinks)
            reports.append(replace(reader.run(), layer=layer))
            for start, end in skipped.tolist():
                for sink in sinks:
                    sink.skip(direction, start, end, self._unknown.log_retention)
        for sink in sinks:
            sink.end()
        return reports


class _DirectionReader:
    """Read all segments of one direction, and see that their seams hold."""

    def __init__(
        self,
        tracer: Tracer,
        read: FeatureReader,
        reading: Reading,
        unknown: UnknownBases,
        segments: Segments,
        sinks: Sequence[Sink],
    ) -> None:
        self._tracer, self._read, self._reading = tracer, read, reading
        self._unknown, self._segments, self._sinks = unknown, segments, sinks
        self._decays_at = sorted(reading.gaps) if unknown.half_life_bp is not None else []
        self._tolerance = SEAM_TOLERANCE[tracer.cell.zero_state[0].dtype]

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
            share = -(-length // max(1, min(wanted.rows, pays)))
            segment = share + -share % _FEWEST_STEPS
        count = -(-length // segment)
        burn_in = burn_in if count > 1 else 0
        rows = min(wanted.rows, count)
        return SeamReport(
            self._reading.direction, count, segment, rows, burn_in, self._tolerance, contraction
        )

    def _measure_burn_in(self) -> tuple[int, float | None]:
        """Return after how many bases two opposite starts agree to a tenth of the tolerance, and what is left.

        Gives up where that takes more bases than pay: quick memories go first, so that the rate at which the
        difference has fallen so far is the best that can be hoped for.
        """
        limit = int(self._reading.length * _PILOT_SHARE)
        limit -= limit % _FEWEST_STEPS
        if self._reading.length < _LEAST_BP or self._segments.rows == 1:
            return 0, None
        last = self._reading.length - limit
        places = [last * k // _PILOT_PLACES for k in range(_PILOT_PLACES)]
        state, done, wanted = self._opposite_starts(_PILOT_PLACES), 0, self._tolerance / 10
        left = _apart(state)
        started = left
        while done < limit:
            steps = min(_BLOCK_STEPS // 2, limit - done)
            inputs = self._read([place + done for place in places], steps)
            state = self._advance(torch.cat([inputs, inputs], dim=1), state)
            done, left = done + steps, _apart(state)
            if left <= wanted or not math.isfinite(left):
                break
            hoped = math.log(started / wanted) / max(math.log(started / left), 1e-9) * done
            if done >= _PILOT_BP and hoped > limit:
                break
        return done, left

    def _opposite_starts(self, places: int) -> State:
        """Return states of twice as many rows, the second half opposite to the first."""
        h, c = self._zeros(2 * places)
        h[:places], c[:places] = 0.5, 1.0
        h[places:], c[places:] = -0.5, -1.0
        return h, c

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
            after = self._advance(inputs, self._decayed(_rows(state, active), active, before, at))
            state[0][active], state[1][active] = after
        return state

    def _advance(self, inputs: Tensor, state: State) -> State:
        """Read on, and keep nothing but the state."""
        for part in inputs.split(_FEWEST_STEPS):
            _, state = self._tracer.cell.run(part, state)
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
            state[0],
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
        h, c = self._tracer.cell.zero_state
        return h.repeat(rows, 1), c.repeat(rows, 1)


def _row(state: State, row: int) -> State:
    return state[0][row : row + 1].clone(), state[1][row : row + 1].clone()


def _rows(state: State, rows: list[int]) -> State:
    return state[0][rows], state[1][rows]


def _join(states: list[State]) -> State:
    return torch.cat([h for h, _ in states]), torch.cat([c for _, c in states])


def _apart(state: State) -> float:
    """Return the largest difference between the first and the second half of the rows."""
    half = len(state[0]) // 2
    return _difference((state[0][:half], state[1][:half]), (state[0][half:], state[1][half:]))


def _difference(one: State, other: State) -> float:
    """Return the largest difference of two states, relative where a cell state is above 1."""
    h = (one[0] - other[0]).abs().max()
    c = ((one[1] - other[1]) / other[1].abs().clamp(min=1)).abs().max()
    return worst([float(h), float(c)])
