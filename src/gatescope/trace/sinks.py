"""What becomes of the gates as they stream by? A certificate, a census, arrays of forget logits.

What they keep in memory does not grow with the contig. Tracks have a module of their own.

Public names: `ModelCheck`, `Census`, `UnitLogits`, `Slices`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gatescope.data.store import contig_file_stem
from gatescope.genome.sequence import UNKNOWN, one_hot
from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.memory import GateCensus, half_life
from gatescope.trace.reading import UnknownBases
from gatescope.trace.scratch import OnDisk, held_logit
from gatescope.trace.stream import Piece
from gatescope.trace.units import DIRECTIONS, unit_file

#: What `Slices` keeps of each step.
_KEPT = ("input", "forget", "candidate", "output", "cell", "hidden")


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


class UnitLogits:
    """Keep the forget logits of every unit on chosen contigs, float32 (D, H, L), one file per contig."""

    def __init__(self, folder: Path, contigs: set[str], hidden_units: int) -> None:
        self._folder, self._contigs, self._hidden = folder, contigs, hidden_units
        self._array: OnDisk | None = None

    def begin(self, contig: str, length: int) -> None:
        """Make the array of a chosen contig."""
        if contig in self._contigs:
            path = self._folder / unit_file(contig)
            self._array = OnDisk(path, (len(DIRECTIONS), self._hidden, length))

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
            block = np.full((self._hidden, end - start), held_logit(retention, end - start), np.float32)
            self._array.write((direction, slice(None), slice(start, end)), block)

    def end(self) -> None:
        """Finish the contig's file."""
        if self._array is not None:
            self._array.flush()
            self._array = None


class Slices:
    """Keep everything of every unit over chosen regions: one ``.npz`` per region.

    Keys: `input`, `forget`, `candidate`, `output` (after their activation), `forget_logit`, `cell`, `hidden`, each
    (D, H, n) in genomic order and in the dtype of the trace; `contig`, `start`, `end` (0-based half-open).

    Parameters
    ----------
    folder : Path
    regions : DataFrame
        Columns `chrom`, `start`, `end`.
    """

    def __init__(self, folder: Path, regions: pd.DataFrame) -> None:
        self._folder, self._regions = folder, regions

    def begin(self, contig: str, length: int) -> None:
        """Find the contig's regions."""
        mine = self._regions[self._regions.chrom == contig]
        self._contig = contig
        self._wanted = [(int(start), int(end)) for start, end in zip(mine.start, mine.end, strict=True)]
        self._kept: list[dict[str, NDArray]] = [{} for _ in self._wanted]

    def take(self, piece: Piece) -> None:
        """Keep what falls into a region."""
        for row, first in enumerate(piece.starts):
            for span in piece.reading.spans(first, first + len(piece.steps.hidden)):
                for (start, end), kept in zip(self._wanted, self._kept, strict=True):
                    if span.start < end and start < span.end:
                        self._keep(kept, piece, row, slice(start, end))

    def _keep(self, kept: dict[str, NDArray], piece: Piece, row: int, region: slice) -> None:
        arrays = {name: getattr(piece.steps, name) for name in _KEPT} | {"forget_logit": piece.forget_logit}
        for name, array in arrays.items():
            values = array[:, row : row + 1].detach().cpu().numpy()  # (T, 1, H)
            if name not in kept:
                shape = (len(DIRECTIONS), values.shape[2], region.stop - region.start)
                kept[name] = np.full(shape, np.nan, values.dtype)
            for where, part in piece.reading.place(piece.starts[row], values[:, 0]):
                low, high = max(where.start, region.start), min(where.stop, region.stop)
                if low < high:
                    to = slice(low - region.start, high - region.start)
                    kept[name][piece.direction, :, to] = part[low - where.start : high - where.start].T

    def restart(self, direction: int, segment: int) -> None:
        """Need nothing: what is read again is written over."""

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Leave a gap: nothing was computed there."""

    def end(self) -> None:
        """Write the contig's regions."""
        for (start, end), kept in zip(self._wanted, self._kept, strict=True):
            path = self._folder / f"{contig_file_stem(self._contig)}.{start}-{end}.npz"
            np.savez(path, allow_pickle=False, contig=self._contig, start=start, end=end, **kept)
