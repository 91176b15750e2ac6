"""How is a whole contig traced? Chunk by chunk with the state carried, each direction from its own end.

`fwd` starts with a zero state at the left end of the contig, `rev` at the right end; nothing is reset in
between, so a gate value never depends on where a window was cut.

Public names: `stream_contig`, `Chunk`.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gatescope.data.store import EncodedStore
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.replay import Replay, cells_of, fused, run_and_replay

CHUNK_BP = 8192

_Read = Callable[[int, int], Tensor]  # (start, end) -> (1, end - start, C), genomic order


class Chunk(NamedTuple):
    """Gates of one direction over ``[start, end)`` of a contig, in genomic order, N = 1."""

    direction: int  # 0 fwd, 1 rev
    start: int
    end: int
    gates: Replay


def stream_contig(
    network: AccessibilityNetwork,
    store: EncodedStore,
    contig: str,
    *,
    layer: int = 0,
    chunk_bp: int = CHUNK_BP,
) -> Iterator[Chunk]:
    """Yield the gates of one LSTM layer along a contig: all of `fwd` from the left, then all of `rev` from the right.

    Memory is that of a chunk. For a layer above the first, the hidden states of the layer below are kept in a
    temporary file (2 H float values per bp).

    Parameters
    ----------
    network : AccessibilityNetwork
        Its dtype is the dtype of the trace.
    store : EncodedStore
    contig : str
    layer : int
        LSTM layer, from 0.
    chunk_bp : int
        Bases per call of the kernel; the result does not depend on it beyond rounding.
    """
    length = store.lengths[contig]
    with exact_arithmetic(), tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        read = _stem_reader(network, store, contig)
        for below in range(layer):
            chunks = _stream_layer(network.lstm_layers[below], read, length, chunk_bp)
            read = _keep_hidden(chunks, Path(folder) / f"layer{below}.npy", length, network.stem.weight)
        yield from _stream_layer(network.lstm_layers[layer], read, length, chunk_bp)


def _stem_reader(network: AccessibilityNetwork, store: EncodedStore, contig: str) -> _Read:
    """Return a reader of the stem's features; it reads as far beyond a chunk as the stem looks."""
    length, halo = store.lengths[contig], network.config.lookahead_bp
    device = network.stem.weight.device

    def read(start: int, end: int) -> Tensor:
        left, right = max(0, start - halo), min(length, end + halo)
        codes = one_hot(np.asarray(store.codes(contig)[left:right]))[None]
        tracks = np.empty((1, len(network.config.tracks), right - left), np.float32)
        for k, name in enumerate(network.config.tracks):
            tracks[0, k] = store.track(contig, name)[left:right]
        features = network.features(torch.from_numpy(codes).to(device), torch.from_numpy(tracks).to(device))
        return features[:, start - left : end - left]

    return read


def _stream_layer(lstm: nn.LSTM, read: _Read, length: int, chunk_bp: int) -> Iterator[Chunk]:
    for direction, cell in enumerate(cells_of(lstm)):
        kernel = fused(cell)
        hidden = cell.weight_hh.new_zeros(1, cell.weight_hh.shape[1])
        state = (hidden, hidden.clone())
        starts = range(0, length, chunk_bp)
        for start in reversed(starts) if direction else starts:
            end = min(start + chunk_bp, length)
            inputs = read(start, end)
            inputs = inputs.flip(1) if direction else inputs
            gates, state = run_and_replay(kernel, cell, inputs, state)
            if direction:
                gates = Replay._make([*(tensor.flip(1) for tensor in gates[:-1]), gates.error])
            yield Chunk(direction, start, end, gates)


def _keep_hidden(chunks: Iterator[Chunk], path: Path, length: int, like: Tensor) -> _Read:
    """Write both directions' hidden states to a file and return its reader."""
    kept: np.memmap | None = None
    for chunk in chunks:
        values = chunk.gates.hidden[0].cpu().numpy()
        size = values.shape[1]
        if kept is None:
            kept = np.lib.format.open_memmap(path, mode="w+", dtype=values.dtype, shape=(length, 2 * size))
        kept[chunk.start : chunk.end, chunk.direction * size : (chunk.direction + 1) * size] = values

    def read(start: int, end: int) -> Tensor:
        assert kept is not None
        return torch.from_numpy(np.array(kept[start:end]))[None].to(like.device)

    return read
