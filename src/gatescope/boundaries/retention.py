"""How much more does a unit forget at a boundary than beside it? R, the primary effect.

R of a boundary is log2 of the share of a memory that is kept over the `2 * dip_bp` bases around it, over the share
that is kept over as many bases of its flanks: ``2 dip_bp (mean of ln f near - mean of ln f in the flanks) / ln 2``.
Near is the offsets ``[-dip_bp, dip_bp)``, the flanks are ``[-flank_bp, -dip_bp)`` and ``[dip_bp, flank_bp)`` without
the bases within `dip_bp` of any region's edge. R of a unit is the mean over boundaries; -1 is one halving more.

Everything is counted in *scored* bases (`ScoredBases`): masked ones are taken out of the contig. Both means are then
fixed linear combinations of prefix sums along it, which is what makes a thousand shifts cheap (`null.py`).

Public names: `Stretches`, `ScoredBases`, `find_free`, `free_flank`, `is_usable`, `usable_sites`,
`Windows`, `cut_windows`, `WindowMeans`, `measure_windows`, `log_forget`, `as_is`, `prefix_sums`, `retention_ratio`,
`half_life_bp`, `cohens_d`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatescope.boundaries.profile import ProfileShape, Sites
from gatescope.data.store import NOT_SCORED
from gatescope.trace.units import LogitSource

Key = TypeVar("Key", bound=Hashable)
#: A half-life beyond this is not told apart from no forgetting at all.
_LEAST_LOSS = 1e-12


class Stretches:
    """Hold stretches of a line that do not touch, in ascending order: int64 `starts` and `ends`, half-open."""

    def __init__(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.starts, self.ends = starts, ends
        self.before = np.concatenate([[0], np.cumsum(ends - starts)])  # bases of the stretches ahead of each

    @property
    def n(self) -> int:
        """Number of bases in them."""
        return int(self.before[-1])

    def count_before(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of their bases lie before each position."""
        if not len(self.starts):
            return np.zeros(len(at), np.int64)
        which = np.searchsorted(self.starts, at, "right") - 1
        inside = np.minimum(at, self.ends[which]) - self.starts[which]
        return np.where(which < 0, 0, self.before[which] + inside)


class ScoredBases:
    """Count a contig in scored bases: those that are neither unknown nor on the exclusion list.

    The *place* of a boundary is the number of scored bases before it.

    Parameters
    ----------
    state : uint8, shape (L,)
        State of the encoded store; `NOT_SCORED` marks masked bases.
    """

    def __init__(self, state: NDArray[np.uint8]) -> None:
        edges = np.diff((np.asarray(state) != NOT_SCORED).astype(np.int8), prepend=0, append=0)
        self._stretches = Stretches(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1))

    @property
    def n(self) -> int:
        """Number of scored bases."""
        return self._stretches.n

    def places(self, boundaries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of boundaries (bp on the contig), shape (n,)."""
        return self._stretches.count_before(boundaries)

    def pick(self, values: NDArray) -> NDArray:
        """Return the values of the scored bases, shape (`n`,), of values of all bases, shape (L,)."""
        pieces = zip(self._stretches.starts.tolist(), self._stretches.ends.tolist(), strict=True)
        parts = [values[start:end] for start, end in pieces]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [values[:0]])

    def is_unbroken(self, places: NDArray[np.int64], reach_bp: int) -> NDArray[np.bool_]:
        """Tell at which places `reach_bp` scored bases on each side exist and follow each other without a gap."""
        before = self._stretches.before
        which = np.searchsorted(before, places - reach_bp, "right") - 1
        end = before[np.clip(which + 1, 0, len(before) - 1)]
        return (which >= 0) & (places + reach_bp <= end)


def find_free(edges: NDArray[np.int64], n: int, dip_bp: int) -> Stretches:
    """Find what lies further than `dip_bp` from every edge of a region: what flanks may be made of.

    Parameters
    ----------
    edges : int64, shape (k,)
        Places of all regions' edges on the contig.
    n : int
        Scored bases of the contig.
    dip_bp : int
    """
    edges = np.sort(edges)
    starts = np.clip(np.concatenate([[0], edges + dip_bp]), 0, n)
    ends = np.clip(np.concatenate([edges - dip_bp, [n]]), 0, n)
    return Stretches(starts[starts < ends], ends[starts < ends])


def free_flank(places: NDArray[np.int64], free: Stretches, n: int, shape: ProfileShape) -> NDArray[np.int64]:
    """Return how many bases of the flanks are `free`, shape (k,); 0 where the flanks leave the n bases."""
    fits = (places >= shape.flank_bp) & (places <= n - shape.flank_bp)
    found = np.zeros(len(places), np.int64)
    for first, last in _flanks(shape):
        found += free.count_before(places + last) - free.count_before(places + first)
    return np.where(fits, found, 0)


def _flanks(shape: ProfileShape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return both flanks as distances from the boundary in genomic order: the same for both directions."""
    return (-shape.flank_bp, -shape.dip_bp), (shape.dip_bp, shape.flank_bp)


@dataclass(frozen=True)
class Windows:
    """Hold, for n boundaries of one contig, how near and flank means come out of prefix sums.

    Attributes
    ----------
    places : int64, shape (n,)
    points : int64, shape (K,)
        Indices into the prefix sums, those of boundary k at ``first[k]`` to ``first[k + 1]``.
    first : int64, shape (n + 1,)
    near, flank : float64, shape (K,)
        The mean of a boundary is the sum of ``weight * prefix[point]``.
    """

    places: NDArray[np.int64]
    points: NDArray[np.int64]
    first: NDArray[np.int64]
    near: NDArray[np.float64]
    flank: NDArray[np.float64]

    def means(self, prefix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the near and the flank mean of each boundary, shape (n,) each, from `prefix_sums`."""
        taken, first = prefix[self.points], self.first[:-1]
        return np.add.reduceat(self.near * taken, first), np.add.reduceat(self.flank * taken, first)


def cut_windows(places: NDArray[np.int64], free: Stretches, n: int, shape: ProfileShape) -> Windows:
    """Find the end points of near windows and of what is free of the flanks.

    Parameters
    ----------
    places : int64, shape (k,)
        At least one, each with some `free_flank`.
    free : Stretches
        From `find_free`: what is near any edge is no flank, near the boundary itself or another.
    n : int
        Scored bases of the contig.
    shape : ProfileShape
    """
    which = np.arange(len(places))
    of_flank = [_clip(which, places + first, places + last, free) for first, last in _flanks(shape)]
    owner, start, end = (np.concatenate(parts) for parts in zip(*of_flank, strict=True))
    share = 1 / np.bincount(owner, weights=end - start, minlength=len(places))[owner]
    each = np.full(len(places), 1 / (2 * shape.dip_bp))
    owners = np.concatenate([which, which, owner, owner])
    points = np.concatenate([places - shape.dip_bp, places + shape.dip_bp, start, end])
    # an end of a flank is mostly an end of the near window too: one look-up for both
    keys, at = np.unique(owners * (n + 1) + points, return_inverse=True)
    nothing = [np.zeros(2 * len(places)), np.zeros(2 * len(owner))]
    near = np.bincount(at, weights=np.concatenate([-each, each, nothing[1]])).astype(np.float64)
    flank = np.bincount(at, weights=np.concatenate([nothing[0], -share, share])).astype(np.float64)
    first = np.searchsorted(keys // (n + 1), np.arange(len(places) + 1))
    return Windows(places, keys % (n + 1), first, near, flank)


def _clip(
    which: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    free: Stretches,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return owner, start and end of every overlap of ``[low, high)`` with free stretches."""
    first, last = np.searchsorted(free.ends, low, "right"), np.searchsorted(free.starts, high, "left")
    counts = np.maximum(last - first, 0)
    owner = np.repeat(which, counts)
    stretch = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[owner]
    return owner, np.maximum(free.starts[stretch], low[owner]), np.minimum(free.ends[stretch], high[owner])


def usable_sites(
    sites: Sites, bases: Mapping[str, ScoredBases], free: Mapping[str, Stretches], shape: ProfileShape
) -> Sites:
    """Leave out boundaries at which R cannot be measured (`is_usable`)."""
    positions: dict[str, NDArray[np.int64]] = {}
    for contig, boundaries in sites.positions.items():
        kept = is_usable(bases[contig].places(boundaries), bases[contig], free[contig], shape)
        if kept.any():
            positions[contig] = boundaries[kept]
    fewer = sites._replace(positions=positions)
    return fewer._replace(n_dropped=sites.n_dropped + sites.n - fewer.n)


def is_usable(
    places: NDArray[np.int64], bases: ScoredBases, free: Stretches, shape: ProfileShape
) -> NDArray[np.bool_]:
    """Tell where R can be measured, shape (k,).

    The near window has to be scored without a gap, and at least as many flank bases as near ones have to be free.
    """
    is_long = free_flank(places, free, bases.n, shape) >= 2 * shape.dip_bp
    return bases.is_unbroken(places, shape.dip_bp) & is_long


class WindowMeans(NamedTuple):
    """Means over near and flank bases, float64, shape (n, U): n boundaries, contig after contig, by U units."""

    near: NDArray[np.float64]
    flank: NDArray[np.float64]


def log_forget(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ln f = -softplus(-z), exact where f rounds to 1."""
    return -np.logaddexp(0.0, -np.asarray(logits, np.float64))


def as_is(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logits themselves."""
    return np.asarray(logits, np.float64)


def prefix_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the first 0, 1, ..., n values, shape (n + 1,)."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def measure_windows(
    units: LogitSource,
    direction: int,
    which: Sequence[int],
    bases: Mapping[str, ScoredBases],
    windows: Mapping[Key, Mapping[str, Windows]],
    of: Callable[[NDArray[np.floating]], NDArray[np.float64]] = log_forget,
) -> dict[Key, WindowMeans]:
    """Measure several sets of boundaries on the same gates; one unit of one contig is in memory at a time.

    Parameters
    ----------
    units : LogitSource
    direction : int
        Index into `gatescope.trace.units.DIRECTIONS`.
    which : sequence of int
        The U units to read.
    bases : mapping of str to ScoredBases
    windows : mapping
        Key -> contig -> windows of that contig.
    of : callable
        What is averaged: `log_forget`, or `as_is` for the logit.
    """
    contigs = list(dict.fromkeys(contig for each in windows.values() for contig in each))
    parts: dict[Key, dict[str, WindowMeans]] = {key: {} for key in windows}
    for key, each in windows.items():
        for contig, cut in each.items():
            shape = (len(cut.places), len(which))
            parts[key][contig] = WindowMeans(np.zeros(shape), np.zeros(shape))
    for contig in contigs:
        for column, unit in enumerate(which):
            prefix = prefix_sums(of(bases[contig].pick(units.logits(contig, direction, unit))))
            for key, each in windows.items():
                if contig in each:
                    found = parts[key][contig]
                    found.near[:, column], found.flank[:, column] = each[contig].means(prefix)
    return {key: _join([parts[key][contig] for contig in each]) for key, each in windows.items()}


def _join(parts: Sequence[WindowMeans]) -> WindowMeans:
    """Put the boundaries of all contigs one after the other."""
    return WindowMeans(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def retention_ratio(means: WindowMeans, shape: ProfileShape) -> NDArray[np.float64]:
    """Return R of each boundary and unit, shape (n, U), from means of ln f; negative = forgets at the boundary."""
    return 2 * shape.dip_bp * (means.near - means.flank) / np.log(2)


def half_life_bp(means: WindowMeans) -> NDArray[np.float64]:
    """Return the half-life in the flanks, ln(1/2) / (mean of ln f), in bp, shape (U,)."""
    return np.log(2) / np.maximum(-means.flank.mean(0), _LEAST_LOSS)


def cohens_d(means: WindowMeans) -> NDArray[np.float64]:
    """Return Cohen's d of near against flank means of boundaries, shape (U,); 0 where neither varies."""
    pooled = np.sqrt((means.near.var(0) + means.flank.var(0)) / 2)
    difference = means.near.mean(0) - means.flank.mean(0)
    return np.divide(difference, pooled, out=np.zeros_like(pooled), where=pooled > 0)
