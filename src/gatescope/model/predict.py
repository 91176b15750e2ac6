"""What does a network predict along a contig? The state carried from end to end, both strands averaged.

`fwd` starts with a zero state at the left end, `rev` at the right end, as in `gatescope.trace`: the network that is
scored is the network whose gates are read, and no prediction depends on where a window was cut.

Public names: `predict_contig`, `ContigPrediction`, `read_features`, `Genome`.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from gatescope.genome.sequence import UNKNOWN, one_hot
from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.runtime import exact_arithmetic

_CHUNK_BP = 8192

_Read = Callable[[int, int], Tensor]  # (start, end) of a strand -> (1, end - start, C)


class Genome(Protocol):
    """What a network can read: an encoded store, or a FASTA for networks that read DNA alone."""

    @property
    def lengths(self) -> dict[str, int]:
        """Contig lengths in bp."""
        ...

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the bases of a contig, 0-3 = ACGT, 4 = unknown."""
        ...

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Return a track of a contig."""
        ...


class ContigPrediction(NamedTuple):
    """Predictions at every base of a contig; None for a head the network lacks."""

    cuts: np.ndarray | None  # (L,) float32, expected Tn5 cuts per bp
    state: np.ndarray | None  # (L,) float32, probability of being accessible


def predict_contig(
    network: AccessibilityNetwork, store: Genome, contig: str, *, both_strands: bool
) -> ContigPrediction:
    """Predict a whole contig in one pass of each direction.

    Where the network has a bias, expected cuts are the count head's times the bias, as in training.
    With `both_strands`, right for a network that was trained on both, the reverse complement is read as well and
    the two predictions (cuts per bp, probabilities) are averaged; where strands are tied they are the same anyway.
    Memory is a few values per base and head; for more than one layer, 2 H float values per bp rest in a temporary file.

    Parameters
    ----------
    network : AccessibilityNetwork
    store : Genome
        Must hold the tracks that the network reads, and that of its bias.
    contig : str
    """
    length = store.lengths[contig]
    scales = {"cuts": np.exp, "state": expit}
    strands = []
    with exact_arithmetic():
        for is_reverse in (False, True) if both_strands and network.config.strands == "free" else (False,):
            outputs = _read_strand(network, _strand_reader(network, store, contig, is_reverse), length)
            strands.append({name: values[::-1] if is_reverse else values for name, values in outputs.items()})
    found = {
        name: np.mean([scales[name](strand[name]) for strand in strands], axis=0).astype(np.float32)
        for name in strands[0]
    }
    for name in network.config.bias_tracks:
        rate = store.track(contig, name)
        found["cuts"] *= np.where(rate > 0, rate, 1)  # 0 stands for no value
    return ContigPrediction(found.get("cuts"), found.get("state"))


def read_features(
    network: AccessibilityNetwork, genome: Genome, contig: str, places: list[tuple[int, int]]
) -> Tensor:
    """Return what the trunk reads at equally long stretches of a contig, shape (N, L, C).

    The same values as if the stem had read the whole contig: it sees the bases beyond a stretch, and nothing beyond
    the contig's ends.
    """
    inputs = _read_inputs(network, genome, contig, places)
    halo = network.config.stem_reach_bp
    return network.features(*inputs)[:, halo : inputs[0].shape[2] - halo]


def _read_inputs(
    network: AccessibilityNetwork, genome: Genome, contig: str, places: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Return one-hot and tracks of stretches, widened by as far as the stem sees on either side."""
    halo, device = network.config.stem_reach_bp, network.like.device
    wide = [(start - halo, end + halo) for start, end in places]
    codes = np.stack([_padded(genome.codes(contig), *place, UNKNOWN) for place in wide])
    tracks = np.empty((len(wide), len(network.config.tracks), codes.shape[1]), np.float32)
    for k, name in enumerate(network.config.tracks):
        tracks[:, k] = [_padded(genome.track(contig, name), *place, 0) for place in wide]
    return torch.from_numpy(one_hot(codes)).to(device), torch.from_numpy(tracks).to(device)


def _padded(values: NDArray, start: int, end: int, beyond: int) -> NDArray:
    """Return ``values[start:end]`` where positions off the contig hold `beyond`, as a convolution pads."""
    inside = values[max(start, 0) : min(end, len(values))]
    return np.pad(inside, (max(0, -start), max(0, end - len(values))), constant_values=beyond)


def _strand_reader(network: AccessibilityNetwork, genome: Genome, contig: str, is_reverse: bool) -> _Read:
    """Return a reader of the stem's features along one strand of a contig."""
    length, halo = genome.lengths[contig], network.config.stem_reach_bp

    def read(start: int, end: int) -> Tensor:
        if not is_reverse:
            return read_features(network, genome, contig, [(start, end)])
        codes, tracks = _read_inputs(network, genome, contig, [(length - end, length - start)])
        features = network.features(codes.flip(1, 2), tracks.flip(2))  # ACGT backwards is its complement
        return features[:, halo : halo + end - start]

    return read


def _read_strand(network: AccessibilityNetwork, read: _Read, length: int) -> dict[str, NDArray]:
    """Return what each head says at every base of a strand, (L,) float64, before its activation."""
    linear = {name: head for name, head in network.heads.items() if isinstance(head, nn.Linear)}
    heads = {name: (head.weight[0], float(head.bias)) for name, head in linear.items()}
    with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        for layer, lstm in enumerate(network.lstm_layers[:-1]):
            path, width = Path(folder) / f"layer{layer}.npy", 2 * lstm.hidden_size
            kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(length, width))
            for columns, start, hidden in _read_layer(lstm, read, length):
                kept[start : start + len(hidden), columns] = hidden.double().cpu().numpy()
            read = _reader_of(kept, network.like)
        sums = {name: np.full(length, bias) for name, (_, bias) in heads.items()}
        for columns, start, features in _read_top(network, read, length):
            for name, (weight, _) in heads.items():
                part = features.double() @ weight[columns].double()
                sums[name][start : start + len(features)] += part.cpu().numpy()
    return sums


def _reader_of(kept: NDArray, like: Tensor) -> _Read:
    return lambda start, end: torch.from_numpy(np.array(kept[start:end]))[None].to(like)


def _read_top(network: AccessibilityNetwork, read: _Read, length: int) -> Iterator[tuple[slice, int, Tensor]]:
    """Yield what the heads read, in parts: (columns of the head's weights, first base, values (L, columns))."""
    if network.lstm_layers:
        yield from _read_layer(network.lstm_layers[-1], read, length)
        return
    beyond = network.config.trunk_reach_bp
    for start in range(0, length, _CHUNK_BP):
        end = min(start + _CHUNK_BP, length)
        # what the trunk sees beyond the part, but nothing off the contig: there it reads zeros
        first = max(0, start - beyond)
        features = network.dilated(read(first, min(end + beyond, length)))
        yield slice(None), start, features[0, start - first : end - first]


def _read_layer(lstm: nn.LSTM, read: _Read, length: int) -> Iterator[tuple[slice, int, Tensor]]:
    """Run a layer along a strand, `fwd` from the left, `rev` from the right; yield hidden states as `_read_top`."""
    size, starts = lstm.hidden_size, range(0, length, _CHUNK_BP)
    for direction, cell in enumerate(cells_of(lstm)):
        state = cell.zero_state
        for start in reversed(starts) if direction else starts:
            inputs = read(start, min(start + _CHUNK_BP, length))[0]
            hidden, state = cell.run((inputs.flip(0) if direction else inputs)[:, None], state)
            hidden = (hidden.flip(0) if direction else hidden)[:, 0]
            yield slice(direction * size, (direction + 1) * size), start, hidden
