"""What becomes of the gates of a contig as they stream by? A certificate, arrays of forget logits, slices.

What they keep in memory does not grow with the contig. Tracks and census have modules of their own.

Public names: `ModelCheck`, `UnitLogits`, `Slices`, `Progress`.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gatescope.genome.sequence import UNKNOWN, one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.reading import UnknownBases
from gatescope.trace.scratch import OnDisk, held_logit
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: What `Slices` keeps of each step.
_KEPT = ("input", "forget", "candidate", "output", "cell", "hidden")


class ModelCheck(Sink):
    """Hold the trace of one contig against the network itself, and keep its certificate.

    Two errors are kept: kernel against replay, of every call; and the traced hidden states against those of the
    network's own forward pass, over the bases next to the end at which each direction starts. A layer above the
    first reads the whole contig through the direction that comes the other way: there, the second error is known
    only for contigs that the network can read as a whole.
    """

    #: Bases that the network itself reads at either end of a contig; longest contig that it reads as a whole.
    _CHECKED_BP, _WHOLE_BP = 200, 5_000

    def __init__(
        self, network: AccessibilityNetwork, genome: Genome, unknown: UnknownBases, layer: int = 0
    ) -> None:
        self._network, self._genome, self._unknown, self._layer = network, genome, unknown, layer
        self._local, self._model, self._replayed = 0.0, 0.0, 0

    def begin(self, contig: str, length: int) -> None:
        """Let the network itself read both ends of the contig."""
        self._length, self._own = length, None
        if self._layer:
            if length <= self._WHOLE_BP:
                whole = slice(0, length)
                self._own = [self._own_hidden(contig, whole, from_right=side) for side in (False, True)]
            return
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
        if self._own is None:
            return
        own = self._own[piece.direction]
        for row, start in enumerate(piece.starts):
            expected = own[start : start + len(steps.hidden)]
            if len(expected):
                differences = steps.hidden[: len(expected), row] - expected
                self._model = worst([self._model, float(differences.abs().max())])

    def certificate(self, error_below: float = 0.0) -> Certificate:
        """Return the certificate of the contig, given the replay's error in the layers below."""
        share = min(1.0, self._replayed / (self._length * len(DIRECTIONS)))
        model = None if self._own is None else self._model
        local = worst([self._local, error_below])
        return Certificate.of(self._network.stem.weight, local, self._length, share, model)

    def _own_hidden(self, contig: str, part: slice, *, from_right: bool = False) -> torch.Tensor:
        """Return h of the layer's direction that starts at that end, in reading order, (bases, H)."""
        codes = np.asarray(self._genome.codes(contig)[part])
        tracks = [np.asarray(self._genome.track(contig, n)[part]) for n in self._network.config.tracks]
        stacked = np.array(tracks, np.float32).reshape(len(tracks), len(codes))
        inputs = [torch.from_numpy(array)[None] for array in (one_hot(codes[None])[0], stacked)]
        with exact_arithmetic():
            hidden = self._network.features(
                *(tensor.to(self._network.stem.weight.device) for tensor in inputs)
            )
            for lstm in self._network.lstm_layers[: self._layer + 1]:
                hidden, _ = lstm(hidden)
        fwd, rev = hidden[0].chunk(2, dim=1)
        read, known = (rev.flip(0), codes[::-1]) if from_right else (fwd, codes)
        unknown = np.flatnonzero(known == UNKNOWN)
        if self._unknown.policy == "learned" or not unknown.size:
            return read
        return read[: 0 if self._layer else int(unknown[0])]


class UnitLogits(Sink):
    """Keep the forget logits of every unit of a contig, float32 (D, H, L), genomic order."""

    def __init__(self, path: Path, hidden_units: int) -> None:
        self._path, self._hidden = path, hidden_units

    def begin(self, contig: str, length: int) -> None:
        """Make the array."""
        self._array = OnDisk(self._path, (len(DIRECTIONS), self._hidden, length))

    def take(self, piece: Piece) -> None:
        """Write the logits where they belong."""
        logits = piece.forget_logit.float().cpu().numpy()  # (T, B, H)
        for where, row in piece.rows(logits):
            self._array.write((piece.direction, slice(None), where), row.T)

    def skip(self, direction: int, start: int, end: int, retention: float) -> None:
        """Write the retention of each unread base as a logit, no larger than float32 can tell from 1."""
        block = np.full((self._hidden, end - start), held_logit(retention, end - start), np.float32)
        self._array.write((direction, slice(None), slice(start, end)), block)

    def end(self) -> None:
        """Finish the file."""
        self._array.flush()


class Slices(Sink):
    """Keep everything of every unit over regions of a contig: one ``.npz`` per region.

    Keys: `input`, `forget`, `candidate`, `output` (after their activation), `forget_logit`, `cell`, `hidden`, each
    (D, H, n) in genomic order and in the dtype of the trace; `contig`, `start`, `end` (0-based half-open).

    Parameters
    ----------
    folder : Path
        Made if a region is given.
    regions : sequence of (start, end)
    """

    def __init__(self, folder: Path, regions: Sequence[tuple[int, int]]) -> None:
        self._folder, self._regions = folder, regions
        self._kept: list[dict[str, NDArray]] = [{} for _ in regions]

    def begin(self, contig: str, length: int) -> None:
        """Remember the name."""
        self._contig = contig

    def take(self, piece: Piece) -> None:
        """Keep what falls into a region."""
        for row, first in enumerate(piece.starts):
            for span in piece.reading.spans(first, first + len(piece.steps.hidden)):
                for (start, end), kept in zip(self._regions, self._kept, strict=True):
                    if span.start < end and start < span.end:
                        self._keep(kept, piece, row, slice(start, end))

    def _keep(self, kept: dict[str, NDArray], piece: Piece, row: int, region: slice) -> None:
        arrays = {name: getattr(piece.steps, name) for name in _KEPT} | {"forget_logit": piece.forget_logit}
        for name, array in arrays.items():
            values = array[:, row].detach().cpu().numpy()  # (T, H)
            if name not in kept:
                shape = (len(DIRECTIONS), values.shape[1], region.stop - region.start)
                kept[name] = np.full(shape, np.nan, values.dtype)
            for where, part in piece.reading.place(piece.starts[row], values):
                low, high = max(where.start, region.start), min(where.stop, region.stop)
                if low < high:
                    to = slice(low - region.start, high - region.start)
                    kept[name][piece.direction, :, to] = part[low - where.start : high - where.start].T

    def end(self) -> None:
        """Write the regions."""
        for (start, end), kept in zip(self._regions, self._kept, strict=True):
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{start}-{end}.npz"
            np.savez(path, allow_pickle=False, contig=self._contig, start=start, end=end, **kept)


class Progress(Sink):
    """Say every now and then how far the trace has come, and how long the rest will take.

    Parameters
    ----------
    total : int
        Bases of all contigs to be read, each once per direction.
    """

    _EVERY_S = 30.0

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._begun = self._said = time.monotonic()

    def begin(self, contig: str, length: int) -> None:
        """Remember where it is."""
        self._contig = contig

    def take(self, piece: Piece) -> None:
        """Count, and speak if it is time."""
        self._done += piece.steps.hidden.shape[0] * piece.steps.hidden.shape[1]
        now = time.monotonic()
        if now - self._said >= self._EVERY_S:
            self._said, share = now, min(1.0, self._done / self._total)
            left = (now - self._begun) * (1 / share - 1)
            log.info("%s: %.0f %% of all bases traced, about %.0f s to go", self._contig, 100 * share, left)
