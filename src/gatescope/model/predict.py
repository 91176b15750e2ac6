"""What does a network predict along a contig? Overlapping windows, central parts kept, both strands averaged.

Public names: `predict_contig`, `ContigPrediction`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatescope.data.store import EncodedStore
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.runtime import exact_arithmetic

#: Bases kept of each window, and bases read on either side of them.
CORE_BP, CONTEXT_BP = 3000, 500
_BATCH = 8


class ContigPrediction(NamedTuple):
    """Predictions at every base of a contig; None for a head the network lacks."""

    cuts: np.ndarray | None  # (L,) float32, expected Tn5 cuts per bp
    state: np.ndarray | None  # (L,) float32, probability of being accessible


def predict_contig(
    network: AccessibilityNetwork, store: EncodedStore, contig: str, *, both_strands: bool
) -> ContigPrediction:
    """Predict a whole contig of an encoded store.

    Each base is predicted from a window that holds at least `CONTEXT_BP` on both sides of it, or as much as
    the contig has. With `both_strands`, right for a network that was trained on both, the reverse complement is
    read as well and the two predictions (cuts per bp, probabilities) are averaged.

    Parameters
    ----------
    network : AccessibilityNetwork
    store : EncodedStore
        Must hold the tracks that the network reads.
    contig : str
    """
    length = store.lengths[contig]
    read = min(CORE_BP + 2 * CONTEXT_BP, length)
    cores = [(at, min(at + CORE_BP, length)) for at in range(0, length, CORE_BP)]
    starts = [min(max(core - CONTEXT_BP, 0), length - read) for core, _ in cores]
    device = network.stem.weight.device
    found = {target: np.empty(length, np.float32) for target in network.config.targets}
    with exact_arithmetic():
        for k in range(0, len(cores), _BATCH):
            batch = slice(k, k + _BATCH)
            inputs = _read_windows(store, contig, network.config.tracks, starts[batch], read)
            for target, rows in _predict(network, [t.to(device) for t in inputs], both_strands).items():
                for (first, last), start, row in zip(cores[batch], starts[batch], rows, strict=True):
                    found[target][first:last] = row[first - start : last - start]
    return ContigPrediction(found.get("cuts"), found.get("state"))


def _read_windows(
    store: EncodedStore, contig: str, tracks: tuple[str, ...], starts: list[int], read: int
) -> list[Tensor]:
    codes = np.stack([store.codes(contig)[s : s + read] for s in starts])
    values = np.empty((len(starts), len(tracks), read), np.float32)
    for k, name in enumerate(tracks):
        values[:, k] = [store.track(contig, name)[s : s + read] for s in starts]
    return [torch.from_numpy(one_hot(codes)), torch.from_numpy(values)]


def _predict(
    network: AccessibilityNetwork, inputs: list[Tensor], both_strands: bool
) -> dict[str, np.ndarray]:
    """Return per target the values (N, L); the reverse complement is a flip of bases and of positions."""
    one_hot_, tracks = inputs
    strands = [network(one_hot_, tracks)]
    if both_strands:
        strands.append(network(one_hot_.flip(1, 2), tracks.flip(2)))
    scales: dict[str, Callable[[Tensor], Tensor]] = {"cuts": torch.exp, "state": torch.sigmoid}
    found = {}
    for target, scale in scales.items():
        values = [getattr(s, "log_cuts" if target == "cuts" else "state_logit") for s in strands]
        if values[0] is None:
            continue
        own = [scale(value if k == 0 else value.flip(1)) for k, value in enumerate(values)]
        found[target] = torch.stack(own).mean(0).cpu().numpy()
    return found
