"""Is it the boundary, and nothing that goes with it? Boundaries moved a little, and places of like GC content.

Both are measured exactly as boundaries are (`retention.py`), on the same contigs. Twins are other gates at the same
boundaries and need nothing of their own.

Public names: `JITTER_BP`, `jitter_places`, `Matches`, `match_gc`.
"""

from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.retention import ScoredBases, Stretches, is_usable

#: How far boundaries are moved; the effect of a boundary has to fade over these.
JITTER_BP = (25, 100, 500)
#: GC content and GC step are alike if they lie in the same bin of this width, or in one beside it.
_GC_BIN = 0.02
#: More bins than GC content or GC step can fill, to make one number of both.
_BINS = 1000
#: Steps to the bins that are alike, own bin first.
_AROUND = [
    _BINS * dx + dy for dx, dy in sorted(product((0, -1, 1), repeat=2), key=lambda at: sum(map(abs, at)))
]
#: Candidates are this far apart; a GC step is matched no better than that.
_GRID_BP = 5


def jitter_places(
    places: Mapping[str, NDArray[np.int64]],
    bases: Mapping[str, ScoredBases],
    free: Mapping[str, Stretches],
    shape: ProfileShape,
    distance_bp: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Move every boundary by `distance_bp` to a side drawn at random; leave out where R cannot be measured then.

    What is near an edge of a region, the boundary's own among them, stays out of the flanks.

    Parameters
    ----------
    places : mapping of str to int64, shape (n,)
        By contig, in scored bases.
    bases, free : mapping
        By contig.
    shape : ProfileShape
    distance_bp : int
    rng : numpy.random.Generator
    """
    moved = {}
    for contig, at in places.items():
        at = at + distance_bp * (2 * rng.integers(0, 2, len(at)) - 1)
        kept = at[is_usable(at, bases[contig], free[contig], shape)]
        if len(kept):
            moved[contig] = kept
    return moved


class Matches(NamedTuple):
    """Places that are no boundaries, each beside the boundary that it is like, k pairs."""

    real: NDArray[np.int64]  # (k,) index of the boundary, counted over the contigs in their order
    contigs: NDArray[np.int64]  # (k,) index of the contig that the place is on
    places: NDArray[np.int64]  # (k,) in scored bases
    step: NDArray[np.float64]  # (k,) GC right minus left of the place, in genomic order
    real_step: NDArray[np.float64]  # (k,) the same of the boundary


def match_gc(
    boundaries: Mapping[str, NDArray[np.int64]],
    codes: Mapping[str, NDArray[np.uint8]],
    bases: Mapping[str, ScoredBases],
    free: Mapping[str, Stretches],
    shape: ProfileShape,
    rng: np.random.Generator,
) -> Matches:
    """Draw for each boundary a place of like GC content and like GC step, far from every edge, without replacement.

    GC is counted over `flank_bp` scored bases on each side; content is the mean of the sides, step is right minus
    left. Like: in the same bin of 0.02 or in one beside it. Places lie ``flank_bp + dip_bp`` from every edge and
    ``2 dip_bp`` from each other, so that near windows do not overlap. A boundary that finds none has no pair.

    Parameters
    ----------
    boundaries : mapping of str to int64, shape (n,)
        Places of one kind of boundary by contig: an entry of one direction is matched by its own GC step.
    codes : mapping of str to uint8, shape (number of scored bases,)
        Base codes of the scored bases, 0-3 = ACGT.
    bases, free : mapping
        By contig.
    shape : ProfileShape
    rng : numpy.random.Generator
    """
    real, candidates = [], []
    for number, (contig, at) in enumerate(boundaries.items()):
        gc = np.concatenate([[0], np.cumsum((codes[contig] == 1) | (codes[contig] == 2))])
        real.append(_describe(gc, at, number, shape.flank_bp))
        elsewhere = _candidates(bases[contig], free[contig], shape, rng)
        candidates.append(_describe(gc, elsewhere, number, shape.flank_bp))
    real, candidates = np.concatenate(real, axis=1), np.concatenate(candidates, axis=1)
    pairs = _pair(real, candidates, 2 * shape.dip_bp, rng)
    pairs = pairs[np.argsort(pairs[:, 0])]
    chosen = candidates[:, pairs[:, 1]]
    contigs, places = chosen[:2].astype(np.int64)
    return Matches(pairs[:, 0], contigs, places, chosen[2], real[2, pairs[:, 0]])


def _candidates(
    bases: ScoredBases, free: Stretches, shape: ProfileShape, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return places with no edge within reach of their flanks, on a grid that starts at random."""
    first = shape.flank_bp + int(rng.integers(_GRID_BP))
    at = np.arange(first, max(first, bases.n - shape.flank_bp + 1), _GRID_BP)
    # free of edges: all the bases that the flanks and the near window between them span
    clear = free.count_before(at + shape.flank_bp) - free.count_before(at - shape.flank_bp)
    return at[(clear == 2 * shape.flank_bp) & bases.is_unbroken(at, shape.dip_bp)]


def _describe(
    gc: NDArray[np.int64], at: NDArray[np.int64], number: int, flank_bp: int
) -> NDArray[np.float64]:
    """Return contig number, place, GC step and GC content of each place, shape (4, n)."""
    left, right = (gc[at] - gc[at - flank_bp]) / flank_bp, (gc[at + flank_bp] - gc[at]) / flank_bp
    return np.stack([np.full(len(at), number), at, right - left, (left + right) / 2])


def _bins(described: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one number for the bins of GC step and GC content, shape (n,)."""
    step, content = np.floor(described[2:] / _GC_BIN).astype(np.int64)
    return _BINS * step + content


def _pair(
    real: NDArray[np.float64], candidates: NDArray[np.float64], apart_bp: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Give each boundary, in random order, a candidate of its bin or of one beside it, shape (k, 2)."""
    if not candidates.shape[1]:
        return np.zeros((0, 2), np.int64)
    order = rng.permutation(candidates.shape[1])
    bins = _bins(candidates)[order]
    by_bin = np.argsort(bins, kind="stable")
    order, keys, starts = order[by_bin], *np.unique(bins[by_bin], return_index=True)
    left = {
        int(key): iter(each.tolist()) for key, each in zip(keys, np.split(order, starts[1:]), strict=True)
    }
    taken, pairs, wanted = np.zeros(len(order), bool), [], _bins(real).tolist()
    for boundary in rng.permutation(len(wanted)).tolist():
        in_bins = (each for step in _AROUND for each in left.get(wanted[boundary] + step, ()))
        found = next((each for each in in_bins if not taken[each]), None)
        if found is not None:
            pairs.append((boundary, found))
            near = slice(max(0, found - apart_bp // _GRID_BP), found + apart_bp // _GRID_BP + 1)
            same = candidates[0, near] == candidates[0, found]
            taken[near] |= same & (np.abs(candidates[1, near] - candidates[1, found]) < apart_bp)
    return np.array(pairs, np.int64).reshape(-1, 2)
