"""How is a hand-weighted cell read as a trained network is? As a contig, streamed base by base, with its state carried.

Public names: `CellContig`, `ContigTrace`, `read_contig`.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.gallery.hand import Experiment
from gatescope.genome.sequence import encode_bases
from gatescope.model.cells import cells_of
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.reading import UnknownBases
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.sinks import Slices
from gatescope.trace.stream import ContigStream, SeamReport, Segments


class CellContig:
    """What a cell reads, as the one contig of a genome (`gatescope.trace.source.Source`).

    Parameters
    ----------
    experiment : Experiment
        Where it has no sequence, every position counts as a known base.
    name : str
        Of the contig.
    """

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._inputs, sequence = experiment.inputs[0], experiment.sequence
        self.lengths = {name: len(self._inputs)}
        self._codes = encode_bases(sequence) if sequence else np.zeros(len(self._inputs), np.uint8)

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """See `Source`."""
        return self._codes

    def features(self, contig: str, places: list[tuple[int, int]]) -> Tensor:
        """See `Source`."""
        return torch.stack([self._inputs[start:end] for start, end in places])


class ContigTrace(NamedTuple):
    """What the stream found on the contig of a cell.

    Attributes
    ----------
    slices : dict of str to array, each of shape (D, H, L)
        As `gatescope.trace.sinks.Slices` writes them: NaN where a base was not read.
    seams : list of SeamReport
        Of each direction of each layer.
    certificate : Certificate
    """

    slices: dict[str, NDArray]
    seams: list[SeamReport]
    certificate: Certificate


def read_contig(
    experiment: Experiment,
    name: str = "cell",
    *,
    segments: Segments | None = None,
    unknown: UnknownBases | None = None,
    sinks: Sequence[Sink] = (),
) -> ContigTrace:
    """Stream what a cell reads as a contig, as `gatescope trace` does, and keep everything of every unit.

    Parameters
    ----------
    experiment : Experiment
    name : str
        Of the contig.
    segments, unknown
        As `gatescope.trace.stream.ContigStream` takes them.
    sinks : sequence of Sink
        Who else takes what is read.

    Raises
    ------
    ReplayError
        If the replay does not reproduce the cell's own hidden states.
    """
    contig, lstm, errors = CellContig(experiment, name), experiment.lstm, _ReplayErrors()
    layers = [cells_of(lstm, layer) for layer in range(lstm.num_layers)]
    stream = ContigStream(layers, contig, segments=segments, unknown=unknown)
    length = contig.lengths[name]
    with TemporaryDirectory(prefix="gatescope-") as folder:
        kept_in = Slices(Path(folder), [(0, length)], lstm.hidden_size, str(experiment.inputs.dtype)[6:])
        seams = stream.read(name, [kept_in, *sinks], lambda layer, source: [errors])
        with np.load(Path(folder) / f"0-{length}.npz") as file:
            kept = {key: file[key] for key in file.files if file[key].ndim == 3}
    certificate = Certificate.of(experiment.inputs, errors.largest, length).checked()
    return ContigTrace({key: values[: len(layers[-1])] for key, values in kept.items()}, seams, certificate)


class _ReplayErrors(Sink):
    """Keep the largest difference between the kernel and its replay, in any layer."""

    largest = 0.0

    def take(self, piece: Piece) -> None:
        self.largest = worst([self.largest, piece.steps.error])
