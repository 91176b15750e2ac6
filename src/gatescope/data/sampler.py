"""How do batches reach the training? Datasets over the encoded store, and a loader with or without workers.

A batch is a pure function of (seed, index): it is the same in this process and in any worker, in any order of
reading. Workers map the store's arrays for themselves, after they have started.

Public names: `Batch`, `TrainingBatches`, `TiledWindows`, `EpochSampler`, `Loader`.
"""

import copy
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data import Sampler as TorchSampler

from gatescope.data.draw import Places, Sampling, plan_draws
from gatescope.data.orphans import end_with_parent
from gatescope.data.rotation import RotatedTargets
from gatescope.data.store import EncodedStore
from gatescope.data.unlearned import Copies, hide_copies
from gatescope.data.windows import Windows
from gatescope.errors import InputError

#: Cuts at one base are clipped here before they enter the loss: PCR towers would own the gradient.
MAX_CUTS_PER_BP = 20.0


class Batch(NamedTuple):
    """N windows of L bp; all on the same strand as their one-hot."""

    one_hot: Tensor  # (N, 4, L) uint8
    tracks: Tensor  # (N, K, L) float32, raw values
    cuts: Tensor  # (N, L) float32, clipped at MAX_CUTS_PER_BP
    state: Tensor  # (N, L) uint8: 1 accessible, 0 not, 255 not scored


class _Windows(Dataset):
    """Cut batches out of the memory-mapped store; `rotations` move the targets along their contigs."""

    def __init__(
        self, store: EncodedStore, tracks: tuple[str, ...], rotations: Mapping[str, int] | None = None
    ) -> None:
        for name in tracks:
            if name not in store.tracks:
                raise InputError(
                    f"track {name!r} is not in the encoded store; it holds {', '.join(store.tracks)}",
                    where=store.path,
                    remedy="name the track in samples.tsv, or take it out of the model's inputs",
                )
        self.store, self.tracks, self.window_bp = store, tracks, store.window_bp
        self.rotations = rotations or {}

    def cut(self, places: Places) -> Batch:
        """Return the windows at some places, reverse-complemented where asked."""
        contigs, starts, is_reverse = places
        windows = targets = Windows(self.store, contigs, starts, self.window_bp, is_reverse)
        if self.rotations:
            targets = RotatedTargets(self.store, contigs, starts, self.window_bp, is_reverse, self.rotations)
        cuts = targets.track("cuts")
        return Batch(
            torch.from_numpy(windows.one_hot()),
            torch.from_numpy(windows.tracks(self.tracks)),
            torch.from_numpy(np.minimum(cuts, MAX_CUTS_PER_BP, out=cuts)),
            torch.from_numpy(targets.state()),
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
    planned_batches : int
        Batches of the whole training; a curriculum has its pace from them.
    copies : mapping of str to ndarray, shape (n, 2), optional
        Stretches of contigs that are not learned from, as from `gatescope.data.unlearned.read_copies`.
    rotations : mapping of str to int, optional
        By how many bp the targets of each contig are moved, as from `gatescope.data.rotation.draw_rotations`; windows,
        input tracks and `copies` stay where they are.
    """

    def __init__(
        self,
        store: EncodedStore,
        contigs: list[str],
        tracks: tuple[str, ...],
        sampling: Sampling,
        batch_size: int,
        seed: int,
        planned_batches: int,
        copies: Copies | None = None,
        rotations: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(store, tracks, rotations)
        self.draws = plan_draws(store, contigs, sampling, batch_size, seed, planned_batches)
        self.copies = copies or {}

    def __getitem__(self, index: int) -> Batch:
        places = self.draws.draw(index)
        batch = self.cut(places)
        if self.copies:
            hide_copies(
                batch.state.numpy(), self._contigs(places), places.starts, places.is_reverse, self.copies
            )
        return batch

    def windows_of(self, index: int) -> list[str]:
        """Return where the windows of a batch lie, as people write it: contig:first-last, counted from 1."""
        places = self.draws.draw(index)
        pairs = zip(self._contigs(places), places.starts, strict=True)
        return [f"{contig}:{start + 1:,}-{start + self.window_bp:,}" for contig, start in pairs]

    def _contigs(self, places: Places) -> list[str]:
        names = list(self.store.lengths)
        return [names[rank] for rank in places.contigs]


class TiledWindows(_Windows):
    """Tile contigs with consecutive windows, for validation; the rest at a contig's end is left out."""

    def __init__(
        self,
        store: EncodedStore,
        contigs: list[str],
        tracks: tuple[str, ...],
        batch_size: int,
        rotations: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(store, tracks, rotations)
        rank = {contig: n for n, contig in enumerate(store.lengths)}
        starts = [np.arange(0, store.lengths[c] - self.window_bp + 1, self.window_bp) for c in contigs]
        self._contigs = np.repeat([rank[contig] for contig in contigs], [len(part) for part in starts])
        self._starts = np.concatenate(starts)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._starts) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        starts = self._starts[part]
        return self.cut(Places(self._contigs[part], starts, np.zeros(starts.size, bool)))

    def spread(self, count: int) -> Batch:
        """Return so many windows, or all if there are fewer, evenly spread over the contigs."""
        chosen = np.unique(np.linspace(0, len(self._starts) - 1, count).round().astype(int))
        return self.cut(Places(self._contigs[chosen], self._starts[chosen], np.zeros(chosen.size, bool)))


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


class Loader(DataLoader):
    """Hand on the batches of a dataset, drawn in this process or in workers; the batches are the same.

    Parameters
    ----------
    windows : TrainingBatches or TiledWindows
    sampler : EpochSampler, optional
        Without one, every batch in order.
    workers : int
        Processes that draw batches ahead; 0 draws each one when it is asked for.
    pin_memory : bool
        Put batches where a GPU fetches them without a copy.
    start_method : {"fork", "spawn", "forkserver"}, optional
        How workers start; the platform's own way by default.

    Raises
    ------
    InputError
        What a worker met, as it would have been raised here; or if a worker has died.
    """

    def __init__(
        self,
        windows: _Windows,
        sampler: TorchSampler[int] | None = None,
        *,
        workers: int = 0,
        pin_memory: bool = False,
        start_method: str | None = None,
    ) -> None:
        super().__init__(
            _MistakesAsItems(windows),
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_open_anew,
            multiprocessing_context=start_method if workers else None,
        )

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._start():
                if isinstance(item, InputError):
                    raise item
                yield item
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            raise InputError(
                f"a process that loads batches has died ({error})",
                where="training: workers",
                cause="the job ran out of memory, or of shared memory (/dev/shm)",
                remedy="start again with more memory, or with workers: 0; training goes on after its last whole epoch",
            ) from error

    def _start(self) -> Iterator[Any]:
        """Start or reuse the workers; their death is then found when a batch is asked for."""
        before = signal.getsignal(signal.SIGCHLD)
        batches = super().__iter__()
        if threading.current_thread() is threading.main_thread():
            # torch's handler raises wherever the training is at that moment, in a destructor as well
            signal.signal(signal.SIGCHLD, before)
        return batches

    def close(self) -> None:
        """End the workers now; otherwise they live until the garbage collector finds the loader."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]
            self._iterator = None


class _MistakesAsItems(Dataset):
    """Return an `InputError` in place of the batch: torch would hand on a worker's as a printed traceback."""

    def __init__(self, windows: _Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, index: int) -> Batch | InputError:
        try:
            return self.windows[index]
        except InputError as error:
            return error


def _open_anew(_: int) -> None:
    """Give a worker arrays of its own: what it inherited by a fork belongs to the process that opened it."""
    end_with_parent()
    info = get_worker_info()
    assert info is not None
    windows = info.dataset.windows  # pyright: ignore[reportAttributeAccessIssue]
    windows.store = copy.copy(windows.store)
