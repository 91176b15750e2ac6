"""What does a layer read along a contig? The stem's features, or the hidden states of the layer below.

Public names: `Sequences`, `open_genome`, `held_out_contigs`, `choose_contigs`, `Source`, `StemFeatures`,
`HiddenStates`, `FeatureReader`.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import file_hash
from gatescope.genome.contigs import contig_hint
from gatescope.genome.fasta import Genome as Fasta
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import require_store
from gatescope.model.predict import Genome, read_features
from gatescope.trace.reading import Reading, Span
from gatescope.trace.scratch import OnDisk
from gatescope.trace.sink import Piece, Sink


def held_out_contigs(meta: dict[str, Any], fasta: Path | str | None) -> set[str]:
    """Return the validation and test contigs of a model's fold; a FASTA has none."""
    return {*meta["fold"]["valid"], *meta["fold"]["test"]} if fasta is None else set()


def choose_contigs(contigs: str, lengths: dict[str, int], held_out: set[str]) -> list[str]:
    """Return the contigs to read, in the order of the genome: "all", "held-out", or names separated by commas.

    Raises
    ------
    InputError
        If a name is not there, or nothing is held out.
    """
    if contigs == "all":
        return list(lengths)
    wanted = held_out if contigs == "held-out" else {name.strip() for name in contigs.split(",")} - {""}
    unknown = sorted(wanted - set(lengths))
    if unknown or not wanted:
        raise InputError(
            f"no contig {', '.join(unknown)} in what is traced"
            if unknown
            else "a FASTA has no held-out contigs"
            if contigs == "held-out"
            else "no contig is named",
            where="--contigs",
            cause=contig_hint(unknown, lengths) if unknown else "",
            remedy="name contigs, separated by commas, or all",
        )
    return [contig for contig in lengths if contig in wanted]


class Source(Protocol):
    """What a layer reads along contigs."""

    @property
    def lengths(self) -> dict[str, int]:
        """Contig lengths in bp."""
        ...

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the bases of a contig, 0-3 = ACGT, 4 = unknown."""
        ...

    def features(self, contig: str, places: list[tuple[int, int]]) -> Tensor:
        """Return what is read at equally long stretches [start, end), genomic order, shape (N, L, C)."""
        ...


class Sequences:
    """A FASTA as a genome without tracks; the contig that is read is held in memory, a byte per base."""

    def __init__(self, path: Path | str) -> None:
        self._genome = Fasta(path)
        self.lengths = self._genome.lengths
        self._held: tuple[str, NDArray[np.uint8]] | None = None

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the bases of a contig; every block of it is asked for anew, the file is read once."""
        if self._held is None or self._held[0] != contig:
            self._held = contig, self._genome.codes(contig)
        return self._held[1]

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Refuse: a FASTA has none."""
        raise ValueError(f"a FASTA has no track {name!r}")


def open_genome(
    store: Path | str | None,
    fasta: Path | str | None,
    network: AccessibilityNetwork,
    meta: dict[str, Any],
    model: Path | str,
) -> tuple[EncodedStore | Sequences, dict[str, str]]:
    """Open what a network is to read, and return what a summary says of it.

    Raises
    ------
    InputError
        If not one of the two is named, the store is not the one that the model was trained on, or the network reads
        tracks, which a FASTA does not hold.
    """
    if (store is None) == (fasta is None):
        raise InputError("wanted an encoded store or a FASTA, one of them", where="--store, --fasta")
    if store is not None:
        data = EncodedStore(store)
        require_store(data, meta, model)
        return data, {"store": data.content_hash}
    assert fasta is not None
    if network.config.tracks:
        raise InputError(
            f"the network reads {', '.join(network.config.tracks)} beside the sequence; a FASTA has no tracks",
            where=model,
            remedy="trace an encoded store, or a model with inputs: [sequence]",
        )
    return Sequences(fasta), {"fasta": str(fasta), "fasta_sha256": file_hash(fasta)}


class StemFeatures:
    """A network's stem: it reads the contig itself, unknown bases included; only the recurrence passes over them."""

    def __init__(self, network: AccessibilityNetwork, genome: Genome) -> None:
        self._network, self._genome = network, genome
        self.lengths, self.codes = genome.lengths, genome.codes

    def features(self, contig: str, places: list[tuple[int, int]]) -> Tensor:
        """See `Source`."""
        return read_features(self._network, self._genome, contig, places)


class HiddenStates(Sink):
    """What a layer leaves for the one above it: a sink, and afterwards a `Source`, of one contig.

    Rests on disk, (L, D H) values in genomic order. Where a run of unknown bases is not read, nothing is there: the
    layer above does not read it either.

    Parameters
    ----------
    below : Source
        What the layer itself reads.
    path : Path
    directions : int
        D.
    """

    def __init__(self, below: Source, path: Path, directions: int) -> None:
        self.lengths, self.codes = below.lengths, below.codes
        self._path, self._directions = path, directions
        self._kept: OnDisk | None = None

    def begin(self, contig: str, length: int) -> None:
        """Remember the length; the file is made when width and dtype are known."""
        self._length = length

    def take(self, piece: Piece) -> None:
        """Write the hidden states where they belong."""
        values = piece.steps.hidden.cpu().numpy()
        size = values.shape[2]
        if self._kept is None:
            self._like = piece.steps.hidden.new_empty(0)
            shape = (self._length, self._directions * size)
            self._kept = OnDisk(self._path, shape, values.dtype)
        columns = slice(piece.direction * size, (piece.direction + 1) * size)
        for where, row in piece.rows(values):
            self._kept.write((where, columns), row)

    def features(self, contig: str, places: list[tuple[int, int]]) -> Tensor:
        """See `Source`."""
        assert self._kept is not None
        return torch.from_numpy(np.stack([self._kept.read(slice(*place)) for place in places])).to(self._like)


class FeatureReader:
    """Read what a source gives of one contig, at reading positions of one direction."""

    def __init__(self, source: Source, contig: str, reading: Reading) -> None:
        self._source, self._contig, self._reading = source, contig, reading

    def __call__(self, starts: list[int], steps: int) -> Tensor:
        """Return the features of rows that begin at `starts`, shape (steps, rows, C)."""
        rows = [self._reading.spans(start, start + steps) for start in starts]
        if all(len(spans) == 1 for spans in rows):
            features = self._features([spans[0] for spans in rows])  # (B, T, C)
        else:
            features = torch.stack(
                [torch.cat([self._features([span]) for span in spans], dim=1)[0] for spans in rows]
            )
        return features.transpose(0, 1).contiguous()

    def _features(self, spans: list[Span]) -> Tensor:
        """Return the features of equally long spans in reading order, shape (B, T, C)."""
        features = self._source.features(self._contig, [(span.start, span.end) for span in spans])
        return features.flip(1) if self._reading.direction else features
