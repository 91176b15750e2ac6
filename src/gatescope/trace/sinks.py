"""What becomes of the gates of a contig as they stream by? A certificate, arrays of single units, slices.

What they keep in memory does not grow with the contig. Tracks and census have modules of their own.

Public names: `ModelCheck`, `UnitLogits`, `UnitWrites`, `HiddenChange`, `SampledUnits`, `Slices`, `Progress`.
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
from gatescope.trace.replay import hidden_before
from gatescope.trace.sample import write_part
from gatescope.trace.scratch import OnDisk, held_logit
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.source import Source
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: What `Slices` keeps of each step.
_KEPT = ("input", "forget", "candidate", "output", "cell", "hidden")


class ModelCheck:
    """Hold the trace of one contig against the network itself, layer by layer, and keep its certificate.

    Two errors are kept. Kernel against replay, of every call. And the traced hidden states against those of the
    network's own forward pass, over the bases next to the end at which each direction starts: of the first layer from
    the bases themselves, of a layer above from what the layer below has left. Where no base of a contig can be
    compared, the second error is unknown, not 0.
    """

    #: Bases that the network itself reads at either end of a contig.
    _CHECKED_BP = 200

    def __init__(self, network: AccessibilityNetwork, genome: Genome, unknown: UnknownBases) -> None:
        self._network, self._genome, self._unknown = network, genome, unknown
        self._local, self._model, self._compared, self._replayed, self._length = 0.0, 0.0, 0, 0, 0

    def of_layer(self, layer: int, source: Source) -> Sink:
        """Return the sink that compares one layer, which reads `source`."""
        self._replayed = 0  # the share that is stated is that of the last layer
        return _LayerCheck(self, layer, source)

    @property
    def certificate(self) -> Certificate:
        """The certificate of the contig."""
        share = min(1.0, self._replayed / (self._length * len(DIRECTIONS)))
        model = self._model if self._compared else None
        return Certificate.of(self._network.like, self._local, self._length, share, model)

    def note(self, piece: Piece, own: torch.Tensor) -> None:
        """Compare a piece with the network's own hidden states, in reading order, as far as there are any."""
        steps = piece.steps
        self._local = worst([self._local, steps.error])
        self._replayed += steps.checked
        for row, start in enumerate(piece.starts):
            expected = own[start : start + len(steps.hidden)]
            if len(expected):
                differences = steps.hidden[: len(expected), row] - expected
                self._model = worst([self._model, float(differences.abs().max())])
                self._compared += len(expected)

    def own_hidden(self, contig: str, length: int, layer: int, source: Source) -> list[torch.Tensor]:
        """Return h of each direction of a layer over the first known bases that it reads, (bases, H)."""
        self._length = length
        codes = np.asarray(self._genome.codes(contig))
        found = []
        for from_right in (False, True):
            start, end = self._first_known(codes[::-1] if from_right else codes)
            place = (length - end, length - start) if from_right else (start, end)
            if start == end:  # not one known base
                found.append(self._network.like.new_empty(0, self._network.config.hidden_units))
                continue
            with exact_arithmetic():
                inputs = (
                    self._inputs(contig, length, place) if layer == 0 else source.features(contig, [place])
                )
                hidden, _ = self._network.lstm_layers[layer](inputs)
            fwd, rev = hidden[0].chunk(2, dim=1)
            found.append(rev.flip(0) if from_right else fwd)
        return found

    def _first_known(self, codes: NDArray[np.uint8]) -> tuple[int, int]:
        """Return the first stretch that is read, from where the reading starts; at most `_CHECKED_BP`."""
        if self._unknown.policy == "learned":
            return 0, min(self._CHECKED_BP, len(codes))
        known = codes != UNKNOWN
        start = int(known.argmax()) if known.any() else len(codes)
        stretch = known[start : start + self._CHECKED_BP]
        return start, start + (len(stretch) if stretch.all() else int(stretch.argmin()))

    def _inputs(self, contig: str, length: int, place: tuple[int, int]) -> torch.Tensor:
        """Return what the first layer reads, (1, bases, C), from the bases and tracks themselves."""
        halo = self._network.config.lookahead_bp
        low, high = max(0, place[0] - halo), min(length, place[1] + halo)
        codes = np.asarray(self._genome.codes(contig)[low:high])
        tracks = [np.asarray(self._genome.track(contig, n)[low:high]) for n in self._network.config.tracks]
        stacked = np.array(tracks, np.float32).reshape(len(tracks), len(codes))
        inputs = [torch.from_numpy(array)[None] for array in (one_hot(codes[None])[0], stacked)]
        device = self._network.like.device
        return self._network.features(*(tensor.to(device) for tensor in inputs))[
            :, place[0] - low : place[1] - low
        ]


class _LayerCheck(Sink):
    """Compare one layer of a contig with the network's own."""

    def __init__(self, check: ModelCheck, layer: int, source: Source) -> None:
        self._check, self._layer, self._source = check, layer, source

    def begin(self, contig: str, length: int) -> None:
        """Let the network itself read both ends of the contig."""
        self._own = self._check.own_hidden(contig, length, self._layer, self._source)

    def take(self, piece: Piece) -> None:
        """Compare what there is to compare."""
        self._check.note(piece, self._own[piece.direction])


class _OnFile(Sink):
    """Keep values of a contig in an array on disk, float32 (D, ..., L), genomic order; (...) is `each`."""

    def __init__(self, path: Path, each: tuple[int, ...]) -> None:
        self._path, self._each = path, each

    def begin(self, contig: str, length: int) -> None:
        """Make the array, of zeros."""
        self._array = OnDisk(self._path, (len(DIRECTIONS), *self._each, length))

    def _keep(self, piece: Piece, values: torch.Tensor) -> None:
        """Write values (T, B, ...) where they belong."""
        for where, row in piece.rows(values.float().cpu().numpy()):
            self._array.write((piece.direction, ..., where), row.T)

    def end(self) -> None:
        """Finish the file."""
        self._array.flush()


class UnitLogits(_OnFile):
    """Keep the forget logits of every unit of a contig, float32 (D, H, L), genomic order."""

    def __init__(self, path: Path, hidden_units: int) -> None:
        super().__init__(path, (hidden_units,))

    def take(self, piece: Piece) -> None:
        """Write the logits where they belong."""
        self._keep(piece, piece.forget_logit)

    def skip(self, direction: int, start: int, end: int, log_retention: float) -> None:
        """Write the retention of each unread base as a logit, no larger than float32 can tell from 1."""
        block = np.full((*self._each, end - start), held_logit(log_retention), np.float32)
        self._array.write((direction, ..., slice(start, end)), block)


class UnitWrites(_OnFile):
    """Keep what every unit writes at each base of a contig, i g with its sign, float32 (D, H, L), genomic order.

    An unread base writes nothing: 0.
    """

    def __init__(self, path: Path, hidden_units: int) -> None:
        super().__init__(path, (hidden_units,))

    def take(self, piece: Piece) -> None:
        """Write i g where it belongs."""
        self._keep(piece, piece.write)


class HiddenChange(_OnFile):
    """Keep how far the hidden states of a direction move at each base, float32 (D, L), genomic order.

    The length of ``h_t - h_(t-1)`` over the units of the direction, in reading order; before the first base h is that
    of the start, 0. At an unread base it is 0; what a run of them lets decay is gone before the next base is read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, ())

    def take(self, piece: Piece) -> None:
        """Write the lengths where they belong."""
        hidden = piece.steps.hidden
        self._keep(piece, (hidden - hidden_before(hidden, piece.before)).norm(dim=-1))


class SampledUnits(Sink):
    """Keep forget logits and writes of every unit at some bases of a contig, as `write_part` of a sample takes them.

    They are held in memory until the contig is read.

    Parameters
    ----------
    path : Path
        Of the ``.npz`` file.
    positions : ndarray, shape (n,), int64
        Bases of the contig, sorted.
    hidden_units : int
        H.
    """

    def __init__(self, path: Path, positions: NDArray[np.int64], hidden_units: int) -> None:
        self._path, self._positions = path, positions
        self._kept = np.full((2, len(DIRECTIONS), hidden_units, len(positions)), np.nan, np.float32)

    def take(self, piece: Piece) -> None:
        """Keep what stands at the bases."""
        for row, first in enumerate(piece.starts):
            for span in piece.reading.spans(first, first + len(piece.steps.hidden)):
                low, high = np.searchsorted(self._positions, [span.start, span.end])
                if low < high:
                    at = self._positions[low:high] - span.start
                    steps = span.first + (span.end - span.start - 1 - at if piece.direction else at)
                    for kept, values in zip(self._kept, (piece.forget_logit, piece.write), strict=True):
                        kept[piece.direction, :, low:high] = values[steps, row].float().cpu().numpy().T

    def end(self) -> None:
        """Write the file."""
        write_part(self._path, self._positions, self._kept)


class Slices(Sink):
    """Keep everything of every unit over regions of a contig: one ``.npz`` per region.

    Keys: `input`, `forget`, `candidate`, `output` (after their activation), `forget_logit`, `cell`, `hidden`, each
    (D, H, n) in genomic order and in the dtype of the trace, NaN where unknown bases were not read; `contig`, `start`,
    `end` (0-based half-open). The regions of a contig are held in memory until it is read.

    Parameters
    ----------
    folder : Path
        Made if a region is given.
    regions : sequence of (start, end)
    hidden_units : int
        H.
    dtype : str
        Of the trace.
    """

    def __init__(
        self, folder: Path, regions: Sequence[tuple[int, int]], hidden_units: int, dtype: str
    ) -> None:
        self._folder, self._regions = folder, sorted(regions)
        self._starts = np.array([start for start, _ in self._regions])
        self._widest = max((end - start for start, end in regions), default=0)
        shapes = [(len(DIRECTIONS), hidden_units, end - start) for start, end in self._regions]
        names = (*_KEPT, "forget_logit")
        self._kept = [{name: np.full(shape, np.nan, dtype) for name in names} for shape in shapes]

    def begin(self, contig: str, length: int) -> None:
        """Remember the name."""
        self._contig = contig

    def take(self, piece: Piece) -> None:
        """Keep what falls into a region."""
        for row, first in enumerate(piece.starts):
            for span in piece.reading.spans(first, first + len(piece.steps.hidden)):
                near = np.searchsorted(self._starts, [span.start - self._widest, span.end])
                for k in range(*near.tolist()):
                    start, end = self._regions[k]
                    if span.start < end and start < span.end:
                        self._keep(self._kept[k], piece, row, slice(start, end))

    def _keep(self, kept: dict[str, NDArray], piece: Piece, row: int, region: slice) -> None:
        arrays = {name: getattr(piece.steps, name) for name in _KEPT} | {"forget_logit": piece.forget_logit}
        for name, array in arrays.items():
            values = array[:, row].detach().cpu().numpy()  # (T, H)
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
        Bases of all contigs to be read, each once per direction and layer.
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
