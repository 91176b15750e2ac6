"""Which windows does training see, in which order? Batches that are pure functions of (seed, index).

Public names: `Sampling`, `TrainingBatches`, `TiledWindows`, `EpochSampler`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data import Sampler as TorchSampler

from gatescope.data.store import EncodedStore
from gatescope.data.unlearned import Copies, hide_copies
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot, reverse_complement

#: Cuts at one base are clipped here before they enter the loss: PCR towers would own the gradient.
MAX_CUTS_PER_BP = 20.0


@dataclass(frozen=True)
class Sampling:
    """Say how windows are drawn.

    Parameters
    ----------
    peaks, background, uniform : float
        Relative shares of windows around peak summits, around GC-matched background windows, and anywhere.
    jitter_bp : int
        Peak and background windows are moved by up to this many bp either way.
    reverse_complement : bool
        Read half of the windows from the other strand.
    """

    peaks: float = 0.4
    background: float = 0.2
    uniform: float = 0.4
    jitter_bp: int = 400
    reverse_complement: bool = True


class Batch(NamedTuple):
    """N windows of L bp; all on the same strand as their one-hot."""

    one_hot: Tensor  # (N, 4, L) uint8
    tracks: Tensor  # (N, K, L) float32, raw values
    cuts: Tensor  # (N, L) float32, clipped at MAX_CUTS_PER_BP
    state: Tensor  # (N, L) uint8: 1 accessible, 0 not, 255 not scored


class _Windows(Dataset):
    """Cut batches out of the memory-mapped store."""

    def __init__(self, store: EncodedStore, tracks: tuple[str, ...], window_bp: int) -> None:
        for name in tracks:
            if name not in store.tracks:
                raise InputError(
                    f"track {name!r} is not in the encoded store; it holds {', '.join(store.tracks)}",
                    where=store.path,
                    remedy="name the track in samples.tsv, or take it out of the model's inputs",
                )
        self.store, self.tracks, self.window_bp = store, tracks, window_bp

    def cut(self, places: list[tuple[str, int, bool]]) -> Batch:
        """Return the windows that start at (contig, start), reverse-complemented where asked."""
        codes, cuts, state, tracks = [], [], [], []
        for contig, start, is_reverse in places:
            part = slice(start, start + self.window_bp)
            step = -1 if is_reverse else 1
            code = self.store.codes(contig)[part]
            codes.append(reverse_complement(code) if is_reverse else code)
            cuts.append(self.store.track(contig, "cuts")[part][::step])
            state.append(self.store.state(contig)[part][::step])
            tracks.append([self.store.track(contig, name)[part][::step] for name in self.tracks])
        stacked = np.array(tracks, np.float32).reshape(len(places), len(self.tracks), self.window_bp)
        return Batch(
            torch.from_numpy(one_hot(np.stack(codes))),
            torch.from_numpy(stacked),
            torch.from_numpy(np.minimum(np.stack(cuts), MAX_CUTS_PER_BP)),
            torch.from_numpy(np.stack(state)),
        )


class TrainingBatches(_Windows):
    """Draw training batches: item `index` depends on (seed, index) alone, in any worker and any order.

    Parameters
    ----------
    store : EncodedStore
    contigs : list of str
        Training contigs; shorter ones than a window are passed over.
    tracks : tuple of str
        Input tracks.
    sampling : Sampling
    batch_size : int
        Windows per batch.
    seed : int
    copies : mapping of str to ndarray, shape (n, 2), optional
        Stretches of contigs that are not learned from, as from `gatescope.data.unlearned.read_copies`.
    """

    def __init__(
        self,
        store: EncodedStore,
        contigs: list[str],
        tracks: tuple[str, ...],
        sampling: Sampling,
        batch_size: int,
        seed: int,
        copies: Copies | None = None,
    ) -> None:
        super().__init__(store, tracks, store.window_bp)
        self.copies = copies or {}
        self.sampling, self.batch_size, self.seed = sampling, batch_size, seed
        self.contigs = [c for c in contigs if store.lengths[c] >= self.window_bp]
        if not self.contigs:
            raise InputError(
                f"no training contig is as long as a window ({self.window_bp} bp)",
                where=store.path,
                remedy="shorten windows: window_bp, or leave fewer contigs to test and validation",
            )
        regions = store.regions[store.regions.chrom.isin(self.contigs)]
        self._centres = {
            kind: list(zip(rows["chrom"], rows["summit"], strict=True))
            for kind, rows in regions.groupby("kind")
        }
        self._shares = self._usable_shares()
        room = np.array([store.lengths[c] - self.window_bp + 1 for c in self.contigs])
        self._ends = room.cumsum()

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index])
        places = [self._draw(rng) for _ in range(self.batch_size)]
        batch = self.cut(places)
        if self.copies:
            hide_copies(batch.state.numpy(), *zip(*places, strict=True), copies=self.copies)
        return batch

    def _usable_shares(self) -> np.ndarray:
        shares = np.array([self.sampling.peaks, self.sampling.background, self.sampling.uniform], float)
        shares[0] *= "peak" in self._centres
        shares[1] *= "background" in self._centres
        if shares.sum() <= 0:
            raise InputError("no window can be drawn: the training contigs hold none of the kinds asked for",
                             where="training: sampling")  # fmt: skip
        return shares / shares.sum()

    def _draw(self, rng: np.random.Generator) -> tuple[str, int, bool]:
        kind = rng.choice(3, p=self._shares)
        if kind == 2:
            at = int(rng.integers(self._ends[-1]))
            rank = int(np.searchsorted(self._ends, at, side="right"))
            contig, start = self.contigs[rank], at - (int(self._ends[rank - 1]) if rank else 0)
        else:
            centres = self._centres[("peak", "background")[kind]]
            contig, centre = centres[int(rng.integers(len(centres)))]
            shift = int(rng.integers(-self.sampling.jitter_bp, self.sampling.jitter_bp + 1))
            last = self.store.lengths[contig] - self.window_bp
            start = min(max(centre - self.window_bp // 2 + shift, 0), last)
        return contig, start, self.sampling.reverse_complement and bool(rng.random() < 0.5)


class TiledWindows(_Windows):
    """Tile contigs with consecutive windows, for validation; the rest at a contig's end is left out."""

    def __init__(
        self, store: EncodedStore, contigs: list[str], tracks: tuple[str, ...], batch_size: int
    ) -> None:
        super().__init__(store, tracks, store.window_bp)
        starts = [
            (contig, start, False)
            for contig in contigs
            for start in range(0, store.lengths[contig] - self.window_bp + 1, self.window_bp)
        ]
        self._batches = [starts[k : k + batch_size] for k in range(0, len(starts), batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        return self.cut(self._batches[index])


class EpochSampler(TorchSampler[int]):
    """Number the batches of all epochs through: epoch e holds the indices from e x batches on."""

    def __init__(self, batches_per_epoch: int) -> None:
        self.batches_per_epoch, self.epoch = batches_per_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls this, after a resume as well."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.batches_per_epoch
        return iter(range(first, first + self.batches_per_epoch))
