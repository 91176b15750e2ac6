"""Whose effects are measured, and where? A trained run on its test contigs, in windows around boundaries.

A window is `context_bp` on either side of a boundary and is read from a zero state at both ends, as in training. The
bases between its ends and the flank are a burn-in.

Public names: `Shape`, `Subject`, `Sites`, `open_subject`, `describe`, `find_boundaries`, `sites_at`, `read_windows`,
`batches`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatescope.data.store import EncodedStore
from gatescope.data.windows import Windows
from gatescope.errors import InputError
from gatescope.genome.crossings import count_near, edges_on
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS

#: Values of one state that are held at once: 16 MB in float32, and a replay holds about 15 of that size.
_STATES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Shape:
    """Hold the lengths, in bp, that an effect at a boundary is measured with.

    Parameters
    ----------
    dip_bp : int
        What lies at the boundary: offsets ``[-dip_bp, dip_bp)``.
    flank_bp : int
        How far the flank reaches: offsets ``[-flank_bp, -dip_bp)`` and ``[dip_bp, flank_bp)``, without bases that lie
        as near to any other boundary.
    context_bp : int
        Half of a window.

    Raises
    ------
    InputError
        If they do not lie inside each other.
    """

    dip_bp: int = 25
    flank_bp: int = 250
    context_bp: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.dip_bp < self.flank_bp <= self.context_bp:
            got = ", ".join(f"{name} {value}" for name, value in asdict(self).items())
            raise InputError(f"{got}; wanted 0 < dip_bp < flank_bp <= context_bp", where="--context-bp")

    @property
    def dip(self) -> slice:
        """Positions of a window that lie at the boundary; the same in both directions."""
        return slice(self.context_bp - self.dip_bp, self.context_bp + self.dip_bp)

    def beyond(self, direction: str) -> slice:
        """Return the positions of a window at the offsets ``[0, flank_bp)`` of a direction."""
        middle = self.context_bp
        return (
            slice(middle, middle + self.flank_bp)
            if direction == "fwd"
            else slice(middle - self.flank_bp, middle)
        )


class Subject(NamedTuple):
    """A trained network, its ``model.json``, the store it was trained on, and its test contigs."""

    network: AccessibilityNetwork
    meta: dict[str, Any]
    store: EncodedStore
    contigs: tuple[str, ...]


def open_subject(store: Path | str, model: Path | str, dtype: str, threads: int) -> Subject:
    """Open a run with gates and the store it was trained on.

    Raises
    ------
    InputError
        If the network has no recurrence, or was trained on another store.
    """
    network, meta = load_model(model)
    if not network.lstm_layers:
        raise InputError("the network has no recurrence, so it has no gate", where=model)
    data = EncodedStore(store)
    require_store(data, meta, model)
    device = prepare_torch(threads, "cpu" if meta["training"]["device"] == "cpu" else "auto")
    contigs = tuple(contig for contig in data.lengths if contig in meta["fold"]["test"])
    return Subject(network.to(device, getattr(torch, dtype)), meta, data, contigs)


def describe(subject: Subject, verb: str, shape: Shape, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary of a verb says of what was measured, and how."""
    return {
        "stage_version": STAGE_VERSIONS[verb],
        "run": subject.meta["run"],
        "model_sha256": subject.meta["sha256"],
        "store": subject.store.content_hash,
        "input_mode": "sequence+tracks" if subject.network.config.tracks else "sequence",
        "contigs": list(subject.contigs),
        "shape": asdict(shape),
        "settings": dict(settings),
    }


class Sites(NamedTuple):
    """N places between two bases, and what lies around them, on contigs of a store."""

    ranks: NDArray[np.int64]  # (N,) place of the contig in the store's `lengths`
    positions: NDArray[np.int64]  # (N,) the place at p lies between the bases p - 1 and p
    flanks: NDArray[np.bool_]  # (N, 2 context_bp) which bases of the window belong to the flank
    n_left_out: int  # too near to a contig's end, unknown bases, or no base of flank left

    def at(self, chosen: NDArray[np.int64] | slice) -> "Sites":
        """Return some of them."""
        return Sites(self.ranks[chosen], self.positions[chosen], self.flanks[chosen], self.n_left_out)


def find_boundaries(subject: Subject, side: str, shape: Shape, most: int, rng: np.random.Generator) -> Sites:
    """Find the boundaries of one side ("start", "end") on the test contigs; of more than `most`, draw so many.

    Raises
    ------
    InputError
        If there is none.
    """
    store, names = subject.store, list(subject.store.lengths)
    found = [edges_on(store.peaks, contig, side) for contig in subject.contigs]
    ranks = np.repeat([names.index(contig) for contig in subject.contigs], [len(edges) for edges in found])
    sites = sites_at(subject, ranks, np.concatenate(found), shape)
    if not len(sites.ranks):
        raise InputError(
            f"no {side} of a region on the test contigs {', '.join(subject.contigs)} has "
            f"{shape.context_bp} bp on either side",
            where="folds",
            cause="contigs without peaks, or too short",
        )
    if len(sites.ranks) > most:
        sites = sites.at(np.sort(rng.choice(len(sites.ranks), most, replace=False)))
    return sites


def sites_at(subject: Subject, ranks: NDArray[np.int64], positions: NDArray[np.int64], shape: Shape) -> Sites:
    """Return the places around which a window can be read and a flank is left."""
    store, around = subject.store, np.arange(-shape.context_bp, shape.context_bp)
    far = np.abs(around + 0.5)  # of a base from the place, to its middle
    is_flank = (far > shape.dip_bp) & (far < shape.flank_bp)
    flanks, usable = np.zeros((len(ranks), around.size), bool), np.zeros(len(ranks), bool)
    for rank in np.unique(ranks):
        contig = list(store.lengths)[rank]
        fits = (positions >= shape.context_bp) & (positions <= store.lengths[contig] - shape.context_bp)
        rows = np.flatnonzero((ranks == rank) & fits)
        bases = positions[rows, None] + around
        is_free = count_near(bases, edges_on(store.peaks, contig), shape.dip_bp) == 0
        flanks[rows] = is_flank & is_free
        is_known = (store.codes(contig)[bases[:, far < shape.flank_bp]] != UNKNOWN).all(1)
        usable[rows] = is_known & flanks[rows].any(1)
    return Sites(ranks[usable], positions[usable], flanks[usable], int((~usable).sum()))


def read_windows(subject: Subject, sites: Sites, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return one-hot (N, 4, 2 context_bp) and input tracks (N, K, 2 context_bp) around some places."""
    starts = sites.positions - shape.context_bp
    windows = Windows(subject.store, sites.ranks, starts, 2 * shape.context_bp)
    device, tracks = subject.network.like.device, windows.tracks(subject.network.config.tracks)
    return torch.from_numpy(windows.one_hot()).to(device), torch.from_numpy(tracks).to(device)


def batches(subject: Subject, n: int, shape: Shape) -> Iterator[slice]:
    """Yield slices of n windows, as many at once as memory allows."""
    per_window = 4 * shape.context_bp * subject.network.config.hidden_units
    size = max(1, _STATES_AT_ONCE // per_window)
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))
