"""What becomes of the gates as they stream by? A census, arrays of forget logits, tracks; memory does not grow with L.

Public names: `GATES`, `ModelCheck`, `Census`, `UnitLogits`, `GateTracks`.
"""

import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.genome.sequence import UNKNOWN, one_hot
from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.memory import GateCensus, half_life
from gatescope.trace.reading import UnknownBases
from gatescope.trace.stream import Piece
from gatescope.trace.units import DIRECTIONS, unit_file

GATES = ("forget_gate", "input_gate", "output_gate")
_MEANING = {
    "forget_gate": "share of the cell state kept from one base to the next; near 0 erases, near 1 remembers",
    "input_gate": "share of the new candidate value that is written into the cell state",
    "output_gate": "share of the cell state that the network shows to its next step and to its output",
}
#: A float32 logit beyond which the gate is 1: a run of unknown bases that holds the state.
_LARGEST_LOGIT = 30.0
_WRITE_BP = 2**20
_READS = {"fwd": "reading left to right", "rev": "reading right to left"}


class ModelCheck:
    """Hold the trace against the network itself, and keep the certificate of everything read.

    Two errors are kept: kernel against replay, of every call; and the traced hidden states against those of the
    network's own forward pass, over the bases next to the end at which each direction starts.
    """

    #: Bases that the network itself reads at either end of a contig.
    _CHECKED_BP = 200

    def __init__(self, network: AccessibilityNetwork, genome: Genome, unknown: UnknownBases) -> None:
        self._network, self._genome, self._unknown = network, genome, unknown
        self._local, self._model, self._read, self._replayed = 0.0, 0.0, 0, 0

    @property
    def certificate(self) -> Certificate:
        """The certificate of everything read so far."""
        share = min(1.0, self._replayed / max(1, self._read * len(DIRECTIONS)))
        return Certificate.of(self._network.stem.weight, self._local, self._read, share, self._model)

    def begin(self, contig: str, length: int) -> None:
        """Let the network itself read both ends of the contig."""
        self._read += length
        checked = min(self._CHECKED_BP, length)
        reach = min(length, checked + self._network.config.lookahead_bp)
        self._own = [
            self._own_hidden(contig, slice(0, reach))[:checked],
            self._own_hidden(contig, slice(length - reach, length), from_right=True)[:checked],
        ]

    def take(self, piece: Piece) -> None:
        """Compare what there is to compare."""
        steps = piece.steps
        self._local = worst([self._local, steps.error])
        self._replayed += steps.checked
        own = self._own[piece.direction]
        for row, start in enumerate(piece.starts):
            expected = own[start : start + len(steps.hidden)]
            if len(expected):
                differences = steps.hidden[: len(expected), row] - expected
                self._model = worst([self._model, float(differences.abs().max())])

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what was read before replayed as well."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Need nothing."""

    def end(self) -> None:
        """Fail closed as soon as a contig is read."""
        self.certificate.checked()

    def _own_hidden(self, contig: str, part: slice, *, from_right: bool = False) -> torch.Tensor:
        """Return h of the first layer's direction that starts at that end, in reading order, (bases, H)."""
        codes = np.asarray(self._genome.codes(contig)[part])
        tracks = [np.asarray(self._genome.track(contig, n)[part]) for n in self._network.config.tracks]
        stacked = np.array(tracks, np.float32).reshape(len(tracks), len(codes))
        inputs = [torch.from_numpy(array)[None] for array in (one_hot(codes[None])[0], stacked)]
        with exact_arithmetic():
            features = self._network.features(
                *(tensor.to(self._network.stem.weight.device) for tensor in inputs)
            )
            hidden, _ = self._network.lstm_layers[0](features)
        fwd, rev = hidden[0].chunk(2, dim=1)
        if not from_right:
            read, known = fwd, codes
        else:
            read, known = rev.flip(0), codes[::-1]
        unknown = np.flatnonzero(known == UNKNOWN)
        passes_over = self._unknown.policy != "learned" and unknown.size
        return read[: int(unknown[0])] if passes_over else read


class Census:
    """Count, per direction and unit, how the forget gate is spread over all bases read (`GateCensus`)."""

    def __init__(self, network: AccessibilityNetwork) -> None:
        hidden = network.config.hidden_units
        self._bias = [
            (c.bias_ih + c.bias_hh)[hidden : 2 * hidden].detach().double().cpu().numpy()
            for c in cells_of(network.lstm_layers[0])
        ]
        self._total: dict[int, GateCensus] = {}

    def begin(self, contig: str, length: int) -> None:
        """Start with no segment."""
        self._groups: dict[tuple[int, tuple[int, ...]], GateCensus] = {}
        self._dropped: set[tuple[int, tuple[int, ...], int]] = set()

    def take(self, piece: Piece) -> None:
        """Add to the census of the segments that are read side by side."""
        gates = piece.steps.forget.double().cpu().numpy()  # (T, B, H)
        census, group = GateCensus.of(np.moveaxis(gates, 0, 2)), (piece.direction, tuple(piece.segments))
        before = self._groups.get(group)
        self._groups[group] = census if before is None else before.merged(census)

    def restart(self, direction: int, segment: int) -> None:
        """Drop what the segment gave so far."""
        self._dropped |= {(*group, segment) for group in self._groups if group[0] == direction}

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Count nothing: no gate was computed there."""

    def end(self) -> None:
        """Add the segments of the contig to the total."""
        for (direction, segments), census in self._groups.items():
            for row, segment in enumerate(segments):
                if (direction, segments, segment) not in self._dropped:
                    one, before = census.of_row(row), self._total.get(direction)
                    self._total[direction] = one if before is None else before.merged(one)

    def table(self) -> pd.DataFrame:
        """Return one row per direction and unit.

        `bias_half_life_bp` is the half-life if nothing but the bias spoke; `bimodality` is Sarle's coefficient.
        """
        tables = []
        for row, direction in enumerate(DIRECTIONS):
            census = self._total[row]
            columns = {
                "direction": direction,
                "unit": np.arange(len(self._bias[row])),
                "bias_half_life_bp": half_life(self._bias[row]).bp,
                "mean": census.mean,
                "share_below_0.1": census.share_low,
                "share_above_0.9": census.share_high,
                "bimodality": census.bimodality,
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)


class _OnDisk:
    """A memory-mapped array that is written all over, in any order, without staying in memory."""

    _MOST_WRITTEN = 64 * 2**20  # bytes; mapped pages count as memory of the process until the map is closed

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._written = path, 0
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)

    def write(self, where: Any, values: NDArray) -> None:
        """Write values, and let go of what was written once it is much."""
        self._array[where] = values
        self._written += values.size * 4
        if self._written > self._MOST_WRITTEN:
            self.flush()

    def flush(self) -> None:
        """Send everything to the file."""
        self._array.flush()
        self._array, self._written = np.load(self._path, mmap_mode="r+"), 0

    def read(self, where: Any) -> NDArray[np.float32]:
        """Return a copy of a part."""
        return np.array(self._array[where])


class UnitLogits:
    """Keep the forget logits of every unit on chosen contigs, float32 (D, H, L), one file per contig."""

    def __init__(self, folder: Path, contigs: set[str], hidden_units: int) -> None:
        self._folder, self._contigs, self._hidden = folder, contigs, hidden_units
        self._array: _OnDisk | None = None

    def begin(self, contig: str, length: int) -> None:
        """Make the array of a chosen contig."""
        if contig in self._contigs:
            path = self._folder / unit_file(contig)
            self._array = _OnDisk(path, (len(DIRECTIONS), self._hidden, length))

    def take(self, piece: Piece) -> None:
        """Write the logits where they belong."""
        if self._array is None:
            return
        logits = piece.forget_logit.float().cpu().numpy()  # (T, B, H)
        for where, row in piece.rows(logits):
            self._array.write((piece.direction, slice(None), where), row.T)

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what is read again is written over."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Write the retention of each unread base as a logit, no larger than float32 can tell from 1."""
        if self._array is not None:
            per_base = retention ** (1 / (end - start))
            logit = _LARGEST_LOGIT if per_base == 1 else math.log(per_base) - math.log1p(-per_base)
            block = np.full((self._hidden, end - start), logit, np.float32)
            self._array.write((direction, slice(None), slice(start, end)), block)

    def end(self) -> None:
        """Finish the contig's file."""
        if self._array is not None:
            self._array.flush()
            self._array = None


class GateTracks:
    """Write forget, input and output gate of each direction as bigWigs: the mean over units, or named units.

    A context manager: tracks and sidecars appear when it is left without an error. One contig rests on disk while
    it is read, 24 bytes per bp, because segments come in any order and a bigWig is written from left to right.

    Parameters
    ----------
    folder : Path
    lengths : mapping of str to int
        Contigs of the genome in order.
    decimals : int
        Decimals kept.
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
        self._stack = ExitStack()

    def __enter__(self) -> "GateTracks":
        self._scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatescope-")))
        self._writers = {
            (gate, direction): self._stack.enter_context(
                BigWigWriter(self._path(gate, direction), self._lengths, self._decimals)
            )
            for direction in DIRECTIONS
            for gate in GATES
        }
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for gate, direction in self._writers:
                write_sidecar(self._path(gate, direction), self._info(gate, direction))

    def begin(self, contig: str, length: int) -> None:
        """Make room for the contig: both directions, three gates."""
        self._contig, self._length = contig, length
        shape = (len(DIRECTIONS), len(GATES), length)
        self._values = _OnDisk(self._scratch / "contig.npy", shape)

    def take(self, piece: Piece) -> None:
        """Reduce each gate to one value per base."""
        gates = (piece.steps.forget, piece.steps.input, piece.steps.output)
        if self._units is None:
            values = torch.stack([gate.mean(2) for gate in gates], 2)
        else:
            unit = self._units[DIRECTIONS[piece.direction]]
            values = torch.stack([gate[:, :, unit] for gate in gates], 2)
        for where, row in piece.rows(values.float().cpu().numpy()):
            self._values.write((piece.direction, slice(None), where), row.T)

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what is read again is written over."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Write what the policy did: kept the state's share, wrote nothing; an output gate there was none."""
        gates = np.array([retention ** (1 / (end - start)), 0.0, np.nan], np.float32)
        block = np.repeat(gates[:, None], end - start, axis=1)
        self._values.write((direction, slice(None), slice(start, end)), block)

    def end(self) -> None:
        """Write the contig from left to right."""
        for (gate, direction), writer in self._writers.items():
            row = DIRECTIONS.index(direction), GATES.index(gate)
            for start in range(0, self._length, _WRITE_BP):
                end = min(start + _WRITE_BP, self._length)
                writer.add(self._contig, start, self._values.read((*row, slice(start, end))))

    def _path(self, gate: str, direction: str) -> Path:
        kind = "mean" if self._units is None else "boundary_unit"
        return self._folder / f"{gate}.{direction}.{kind}.bw"

    def _info(self, gate: str, direction: str) -> TrackInfo:
        unit = None if self._units is None else self._units[direction]
        whose = "mean over all hidden units" if unit is None else f"hidden unit {unit}, the boundary unit"
        return TrackInfo(
            track=gate,
            unit="gate value 0-1",
            range=(0.0, 1.0),
            gaps="missing",
            description=f"{gate.replace('_', ' ')} of {whose}, {_READS[direction]}: {_MEANING[gate]}",
            direction="fwd" if direction == "fwd" else "rev",
            hidden_unit=unit,
            aggregation="mean over units" if unit is None else "none",
            decimals=self._decimals,
            model_sha256=self._meta["sha256"],
            certificate=self.certificate.as_json(),
            details={"run": self._meta["run"], "lookahead_bp": self._meta["lookahead_bp"], "layer": 1},
        )
