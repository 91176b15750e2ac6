"""Where do the training windows of a batch begin? Pure functions of (seed, index), for three ways of sampling.

`balanced` mixes windows around peaks, around background and from anywhere in fixed shares. `curriculum` begins
with the easiest question, the strongest peaks against background, and moves to that mixture. `whole_genome` passes
over the training contigs again and again, window beside window.

Public names: `SCHEMES`, `Sampling`, `Places`, `MixedDraws`, `TiledDraws`, `plan_draws`, `locate_tiles`, `permute`.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError

SCHEMES = ("balanced", "whole_genome", "curriculum")
_KINDS = ("peak", "background")
#: Where a curriculum begins: shares of peaks, background and anywhere.
_EASIEST = [0.5, 0.5, 0.0]
# Four rounds do for long halves; where a genome has a few windows, all orders come up equally often from ten on.
_ROUNDS = 12
# Set streams of random numbers of one seed apart; that of a batch is [seed, index].
_PHASE, _ORDER = 1, 2


@dataclass(frozen=True)
class Sampling:
    """Say how windows are drawn.

    Parameters
    ----------
    scheme : {"balanced", "whole_genome", "curriculum"}
        See the module's docstring.
    peaks, background, uniform : float
        Relative shares of windows around peak summits, around GC-matched background windows, and anywhere.
        `whole_genome` does not look at them.
    jitter_bp : int
        Peak and background windows are moved by up to this many bp either way.
    reverse_complement : bool
        Read half of the windows from the other strand.
    ramp : float
        Share of the planned training in which a curriculum moves from its first windows to its last mixture.
    strongest_peaks : float
        Share of the peaks, those with most cuts per bp, with which a curriculum begins.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    scheme: str = "balanced"
    peaks: float = 0.4
    background: float = 0.2
    uniform: float = 0.4
    jitter_bp: int = 400
    reverse_complement: bool = True
    ramp: float = 0.5
    strongest_peaks: float = 0.25

    def __post_init__(self) -> None:
        where = "training: sampling"
        if self.scheme not in SCHEMES:
            raise InputError(f"{self.scheme!r}; wanted one of {', '.join(SCHEMES)}", where=f"{where}: scheme")
        for name in ("peaks", "background", "uniform", "jitter_bp"):
            if getattr(self, name) < 0:
                raise InputError(f"{getattr(self, name)}; wanted 0 or more", where=f"{where}: {name}")
        if not 0 <= self.ramp <= 1:
            raise InputError(f"{self.ramp}; wanted 0 to 1", where=f"{where}: ramp")
        if not 0 < self.strongest_peaks <= 1:
            raise InputError(
                f"{self.strongest_peaks}; wanted more than 0, at most 1", where=f"{where}: strongest_peaks"
            )


class Places(NamedTuple):
    """Say where N windows lie, and how each is read."""

    contigs: NDArray[np.int64]  # (N,) place of the contig in the store's `lengths`
    starts: NDArray[np.int64]  # (N,) first base, 0-based
    is_reverse: NDArray[np.bool_]  # (N,) read from the other strand


class MixedDraws:
    """Draw windows around peaks, around background and from anywhere, in shares: `balanced` and `curriculum`.

    A curriculum is a sequence of ever wider distributions that ends in the one aimed at [1]_. Here it begins with
    windows around the strongest peaks and as many around background, and moves in equal steps, batch by batch, to
    all peaks and to the shares asked for; those then stay.

    References
    ----------
    .. [1] Bengio, Louradour, Collobert & Weston 2009, Curriculum learning (ICML), section 3.
    """

    def __init__(
        self,
        store: EncodedStore,
        contigs: list[str],
        sampling: Sampling,
        batch_size: int,
        seed: int,
        planned_batches: int,
    ) -> None:
        self._sampling, self._batch_size, self._seed = sampling, batch_size, seed
        self._window_bp, self._lengths = store.window_bp, list(store.lengths.values())
        rank = {contig: n for n, contig in enumerate(store.lengths)}
        self._contigs = [rank[contig] for contig in contigs]
        self._room_ends = np.cumsum([self._lengths[n] - self._window_bp + 1 for n in self._contigs]).tolist()
        regions = store.regions.loc[store.regions.chrom.isin(contigs), :]
        is_curriculum = sampling.scheme == "curriculum"
        if is_curriculum:
            regions = _strongest_first(store, regions)
        self._centres = {
            kind: list(zip(rows.chrom.map(rank), rows.summit, strict=True))
            for kind, rows in regions.groupby("kind")
        }
        self._shares = self._usable([sampling.peaks, sampling.background, sampling.uniform])
        self._easiest = self._usable(_EASIEST) if is_curriculum else self._shares
        self._ramp_batches = sampling.ramp * planned_batches if is_curriculum else 0

    @property
    def summary(self) -> str:
        """Say in words what is drawn."""
        shares = "{:.0%} around peaks, {:.0%} around background, {:.0%} from anywhere".format(*self._shares)
        if not self._ramp_batches:
            return f"windows: {shares}"
        _, first = self._mixture(0)
        return (
            f"windows: at first around the {first:,} strongest of {len(self._centres['peak']):,} peaks and "
            f"background; after {self._ramp_batches:,.0f} batches {shares}"
        )

    def draw(self, index: int) -> Places:
        """Return the windows of batch `index`."""
        rng = np.random.default_rng([self._seed, index])
        cumulative, usable_peaks = self._mixture(index)
        drawn = [self._draw_one(rng, cumulative, usable_peaks) for _ in range(self._batch_size)]
        contigs, starts, is_reverse = zip(*drawn, strict=True)
        return Places(np.array(contigs), np.array(starts), np.array(is_reverse))

    def _mixture(self, index: int) -> tuple[list[float], int]:
        """Return the cumulative shares of peaks, background and anywhere, and from how many peaks is drawn."""
        peaks, shares = len(self._centres.get("peak", ())), self._shares
        if index < self._ramp_batches:
            done, strongest = index / self._ramp_batches, self._sampling.strongest_peaks
            peaks = max(1, round((strongest + done * (1 - strongest)) * peaks))
            shares = (1 - done) * self._easiest + done * shares
        cumulative = shares.cumsum()
        return (cumulative / cumulative[-1]).tolist(), peaks

    def _draw_one(
        self, rng: np.random.Generator, cumulative: list[float], usable_peaks: int
    ) -> tuple[int, int, bool]:
        """Return contig, start and strand of a window. The order of the draws decides every trained network."""
        kind = bisect_right(cumulative, rng.random())
        if kind == len(_KINDS):
            at = int(rng.integers(self._room_ends[-1]))
            place = bisect_right(self._room_ends, at)
            contig, start = self._contigs[place], at - (self._room_ends[place - 1] if place else 0)
        else:
            centres = self._centres[_KINDS[kind]]
            contig, centre = centres[int(rng.integers(len(centres) if kind else usable_peaks))]
            jitter = self._sampling.jitter_bp
            start = centre - self._window_bp // 2 + int(rng.integers(-jitter, jitter + 1))
            start = min(max(start, 0), self._lengths[contig] - self._window_bp)
        return contig, start, self._sampling.reverse_complement and rng.random() < 0.5

    def _usable(self, shares: list[float]) -> NDArray[np.float64]:
        """Return shares that add up to 1, none for a kind that the training contigs lack."""
        usable = np.array(shares, float) * [*(kind in self._centres for kind in _KINDS), True]
        if not usable.any():
            raise InputError("no window can be drawn: the training contigs hold none of the kinds asked for",
                             where="training: sampling")  # fmt: skip
        return usable / usable.sum()


class TiledDraws:
    """Pass over the training contigs, window beside window, as often as the training lasts: `whole_genome`.

    In each pass the contigs, end to end, are tiled from a random phase on, and the tiles are read in a random order.
    A tile that crosses the end of a contig is moved onto the contig that its middle lies on. So each base is read
    once a pass, but for the bases nearer to an end of a contig than a window, which are read up to twice, once in
    the mean over them; and for one overlap of less than a window where the last tile meets the first.

    Nothing is remembered and no order is kept in memory: the order is a keyed permutation (`permute`), so a window is
    found from its number alone.
    """

    def __init__(
        self,
        store: EncodedStore,
        contigs: list[str],
        sampling: Sampling,
        batch_size: int,
        seed: int,
        planned_batches: int,
    ) -> None:
        self._batch_size, self._seed = batch_size, seed
        self._reverse_complement, self._window_bp = sampling.reverse_complement, store.window_bp
        rank = {contig: n for n, contig in enumerate(store.lengths)}
        self._contigs = np.array([rank[contig] for contig in contigs])
        self._lengths = np.array([store.lengths[contig] for contig in contigs])
        self._planned = planned_batches * batch_size

    @property
    def windows_per_pass(self) -> int:
        """Number of windows that read every contig once."""
        return -(-int(self._lengths.sum()) // self._window_bp)

    @property
    def summary(self) -> str:
        """Say in words what is drawn."""
        passes = self._planned / self.windows_per_pass
        return (
            f"windows: the training contigs from end to end, {self.windows_per_pass:,} windows a pass; "
            f"{self._planned:,} windows are planned, {passes:.3g} passes"
        )

    def draw(self, index: int) -> Places:
        """Return the windows of batch `index`; windows are numbered through, over all passes."""
        numbers = np.arange(index * self._batch_size, (index + 1) * self._batch_size)
        passes = numbers // self.windows_per_pass
        parts = [self._place(numbers[passes == one], int(one)) for one in np.unique(passes)]
        contigs, starts = (np.concatenate(values) for values in zip(*parts, strict=True))
        turned = np.random.default_rng([self._seed, index]).random(self._batch_size) < 0.5
        return Places(contigs, starts, turned & self._reverse_complement)

    def _place(self, numbers: NDArray[np.int64], which: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return contigs and starts of windows of one pass."""
        size = self.windows_per_pass
        tiles = permute(numbers - which * size, size, (self._seed, which, _ORDER))
        phase = np.random.default_rng([self._seed, which, _PHASE]).integers(self._lengths.sum())
        place, starts = locate_tiles(tiles, int(phase), self._lengths, self._window_bp)
        return self._contigs[place], starts


def plan_draws(
    store: EncodedStore,
    contigs: list[str],
    sampling: Sampling,
    batch_size: int,
    seed: int,
    planned_batches: int,
) -> MixedDraws | TiledDraws:
    """Return what draws the training windows.

    Parameters
    ----------
    store : EncodedStore
    contigs : list of str
        Training contigs; those shorter than a window are passed over.
    sampling : Sampling
    batch_size : int
        Windows per batch.
    seed : int
    planned_batches : int
        Batches of the whole training; a curriculum has its pace from them.

    Raises
    ------
    InputError
        If no contig is as long as a window, or none holds a kind of window that is asked for.
    """
    usable = [contig for contig in contigs if store.lengths[contig] >= store.window_bp]
    if not usable:
        raise InputError(
            f"no training contig is as long as a window ({store.window_bp} bp)",
            where=store.path,
            remedy="shorten windows: window_bp, or leave fewer contigs to test and validation",
        )
    kind = TiledDraws if sampling.scheme == "whole_genome" else MixedDraws
    return kind(store, usable, sampling, batch_size, seed, planned_batches)


def _strongest_first(store: EncodedStore, regions: pd.DataFrame) -> pd.DataFrame:
    """Return regions with the peaks in front, by falling number of cuts per bp, ties in genome order."""
    is_peak = regions.kind == "peak"
    if not is_peak.any():
        raise InputError(
            "a curriculum begins with peaks, and the training contigs hold none",
            where="training: sampling: scheme",
            remedy="use balanced or whole_genome",
        )
    peaks = regions.loc[is_peak, :]
    cuts = [
        float(store.track(chrom, "cuts")[start:end].mean(dtype=np.float64))
        for chrom, start, end in zip(peaks.chrom, peaks.start, peaks.end, strict=True)
    ]
    return pd.concat([peaks.iloc[np.argsort(np.negative(cuts), kind="stable")], regions.loc[~is_peak, :]])


def locate_tiles(
    tiles: NDArray[np.int64], phase: int, lengths: NDArray[np.int64], window_bp: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which contig each tile lies on, and its first base there.

    Parameters
    ----------
    tiles : ndarray of int, shape (N,)
        Numbers of tiles; tile 0 begins at base `phase` of the contigs put end to end, and after the last base
        comes the first.
    phase : int
    lengths : ndarray of int, shape (C,)
        Lengths of the contigs, none below `window_bp`.
    window_bp : int

    Returns
    -------
    tuple of ndarray of int, shape (N,)
        Contig (index of `lengths`) and start; a tile that crosses an end is moved onto the contig its middle is on.
    """
    ends, half = lengths.cumsum(), window_bp // 2
    middles = (phase + tiles * window_bp + half) % ends[-1]
    place = np.searchsorted(ends, middles, side="right")
    starts = middles - half - (ends - lengths)[place]
    return place, starts.clip(0, lengths[place] - window_bp)


def permute(numbers: NDArray[np.int64], size: int, key: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the images of `numbers`, each below `size`, under the permutation of 0 ... size - 1 that `key` picks.

    References
    ----------
    Black & Rogaway 2002, Ciphers with arbitrary finite domains (CT-RSA), methods 2 and 3: a Feistel network over pairs
    of numbers, as many pairs as `size` or a few more; what falls on one of these few goes through it again.
    """
    width = math.isqrt(size - 1) + 1
    sides = np.uint64(width), np.uint64(-(-size // width))
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    images = _encrypt(numbers.astype(np.uint64), sides, keys)
    while (outside := images >= size).any():
        images[outside] = _encrypt(images[outside], sides, keys)
    return images.astype(np.int64)


def _encrypt(
    numbers: NDArray[np.uint64], sides: tuple[np.uint64, np.uint64], keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Permute the numbers below the product of the sides: each half in turn is moved by a hash of the other."""
    halves = [numbers % sides[0], numbers // sides[0]]
    for n, key in enumerate(keys):
        moved, other = n % 2, 1 - n % 2
        halves[moved] = (halves[moved] + _scramble(halves[other] + key) % sides[moved]) % sides[moved]
    return halves[0] + halves[1] * sides[0]


def _scramble(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of each number: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
