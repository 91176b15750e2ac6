"""What does a forget gate do on average around the edges of accessible regions? Profiles, effect sizes.

Directions, crossings and offsets follow ``docs/glossary.md``: offset 0 is the first base that the direction
reads *beyond* the boundary; negative offsets were read before it.

Public names: `CROSSINGS`, `ProfileShape`, `Sites`, `find_sites`, `offsets_of`,
`gate_positions`, `gather`, `mean_profiles`, `MeanProfiles`, `flank_mean`, `drop`, `drop_offset`,
`lowest_offset`, `dip`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.config import check_lengths
from gatescope.trace.units import DIRECTIONS, UnitStore

CROSSINGS = ("entry", "exit")

#: Which edge of a region a direction crosses when it enters or leaves it.
_EDGE = {
    ("fwd", "entry"): "start",
    ("fwd", "exit"): "end",
    ("rev", "entry"): "end",
    ("rev", "exit"): "start",
}
#: Boundaries whose windows are held in memory at once: 2,000 of 1,000 bp take 16 MB.
_CHUNK = 2000


@dataclass(frozen=True)
class ProfileShape:
    """Hold the three lengths, in bp, that define every profile and effect size.

    Attributes
    ----------
    profile_bp : int
        Profiles span offsets ``[-profile_bp, profile_bp)``.
    flank_bp : int
        How far the flank reaches; at most `profile_bp`.
    dip_bp : int
        How close to the boundary the gate has to fall; less than `flank_bp`.
    """

    profile_bp: int = 500
    flank_bp: int = 250
    dip_bp: int = 25

    def __post_init__(self) -> None:
        check_lengths(self.dip_bp, self.flank_bp, self.profile_bp)


class Sites(NamedTuple):
    """The boundaries that one direction crosses in one way, per contig, and how many were left out."""

    direction: int
    crossing: str
    positions: dict[str, NDArray[np.int64]]  # contig -> boundary positions, 0-based
    n_dropped: int

    @property
    def n(self) -> int:
        """Number of boundaries kept."""
        return sum(len(positions) for positions in self.positions.values())


def find_sites(
    regions: pd.DataFrame, lengths: Mapping[str, int], direction: int, crossing: str, profile_bp: int
) -> Sites:
    """Find the boundaries that a direction crosses, leaving out those whose profile would leave the contig.

    Parameters
    ----------
    regions : DataFrame
        Accessible regions: `chrom, start, end`, 0-based half-open, merged.
    lengths : mapping of str to int
        The contigs to use and their lengths; regions elsewhere are not looked at.
    direction : int
        Index into `DIRECTIONS`.
    crossing : {"entry", "exit"}
    profile_bp : int
        Half-width of the profile.
    """
    edge = _EDGE[DIRECTIONS[direction], crossing]
    positions, n_dropped = {}, 0
    for contig, length in lengths.items():
        edges = regions.loc[regions["chrom"] == contig, edge].to_numpy(np.int64)
        inside = (edges >= profile_bp) & (edges <= length - profile_bp)
        n_dropped += int((~inside).sum())
        if inside.any():
            positions[contig] = np.sort(edges[inside])
    return Sites(direction, crossing, positions, n_dropped)


def offsets_of(profile_bp: int) -> NDArray[np.int64]:
    """Return the offsets of a profile, ``-profile_bp ... profile_bp - 1``, in reading order."""
    return np.arange(-profile_bp, profile_bp)


def gate_positions(
    boundaries: NDArray[np.int64], offsets: NDArray[np.int64], direction: int
) -> NDArray[np.int64]:
    """Return the genomic position of each (boundary, offset), shape (n, len(offsets)).

    A boundary at p lies between the bases p - 1 and p: reading forward the first base beyond it is p,
    reading in reverse it is p - 1.
    """
    if DIRECTIONS[direction] == "fwd":
        return boundaries[:, None] + offsets
    return boundaries[:, None] - 1 - offsets


def gather(units: UnitStore, sites: Sites, unit: int, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logits of one unit at every (boundary, offset), shape (n, len(offsets)), float64."""
    return np.concatenate(list(_windows(units, sites, unit, offsets)))


def _windows(
    units: UnitStore, sites: Sites, unit: int, offsets: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    """Yield the logits around boundaries, a bounded number of boundaries at a time."""
    for contig, boundaries in sites.positions.items():
        logits = units.logits(contig, sites.direction, unit)
        for first in range(0, len(boundaries), _CHUNK):
            at = gate_positions(boundaries[first : first + _CHUNK], offsets, sites.direction)
            yield np.asarray(logits[at], np.float64)


class MeanProfiles(NamedTuple):
    """Means over boundaries at each offset, in reading order, each of shape (2 * profile_bp,)."""

    forget: NDArray[np.float64]  # f, in [0, 1]
    logit: NDArray[np.float64]  # z with f = sigmoid(z)
    log_forget: NDArray[np.float64]  # ln f <= 0: the mean of what retention sums up


def mean_profiles(units: UnitStore, sites: Sites, unit: int, profile_bp: int) -> MeanProfiles:
    """Average one unit's forget gate over boundaries.

    Parameters
    ----------
    units : UnitStore
    sites : Sites
        At least one boundary.
    unit : int
        Index of the unit within the direction of `sites`.
    profile_bp : int
        Half-width of the profile.
    """
    sums = np.zeros((3, 2 * profile_bp))
    for logits in _windows(units, sites, unit, offsets_of(profile_bp)):
        sums[0] += expit(logits).sum(0)
        sums[1] += logits.sum(0)
        sums[2] -= np.logaddexp(0, -logits).sum(0)  # ln f = -softplus(-z), exact where f rounds to 1
    return MeanProfiles(*(sums / sites.n))


def _before(shape: ProfileShape) -> slice:
    """Offsets ``[-flank_bp, -dip_bp)``: read before the boundary, far enough not to feel it."""
    return slice(shape.profile_bp - shape.flank_bp, shape.profile_bp - shape.dip_bp)


def _after(shape: ProfileShape) -> slice:
    """Offsets ``[0, dip_bp)``: read just beyond the boundary."""
    return slice(shape.profile_bp, shape.profile_bp + shape.dip_bp)


def _around(shape: ProfileShape) -> slice:
    """Offsets ``[-dip_bp, dip_bp)``: the bases at most dip_bp from the boundary, as many on either side."""
    return slice(shape.profile_bp - shape.dip_bp, shape.profile_bp + shape.dip_bp)


def flank_mean(profiles: NDArray[np.float64], shape: ProfileShape) -> NDArray[np.float64]:
    """Return the mean over the flank before the boundary, offsets ``[-flank_bp, -dip_bp)``."""
    return profiles[..., _before(shape)].mean(-1)


def drop(profiles: NDArray[np.float64], shape: ProfileShape) -> NDArray[np.float64]:
    """Return how far a mean profile falls just after the boundary; positive = the gate falls.

    The mean over offsets ``[-flank_bp, -dip_bp)`` minus the minimum over offsets ``[0, dip_bp)``.

    A minimum over noise is below the mean, so the drop of an indifferent gate is a little above 0; the
    null distribution and the untrained twin have the same bias.

    Parameters
    ----------
    profiles : float64, shape (..., 2 * profile_bp)
        Mean forget gate by offset in reading direction.

    Returns
    -------
    drop : float64, shape (...), in [-1, 1]
    """
    return flank_mean(profiles, shape) - profiles[..., _after(shape)].min(-1)


def drop_offset(profiles: NDArray[np.float64], shape: ProfileShape) -> NDArray[np.intp]:
    """Return the offset in ``[0, dip_bp)`` at which `drop` finds the minimum (the first one if tied)."""
    return profiles[..., _after(shape)].argmin(-1)


def lowest_offset(profiles: NDArray[np.float64], shape: ProfileShape) -> NDArray[np.intp]:
    """Return the offset of the minimum over ``[-dip_bp, dip_bp)``.

    A gate that has seen only the bases up to its own cannot fall before offset 0, but for look-ahead.
    """
    return profiles[..., _around(shape)].argmin(-1) - shape.dip_bp


def dip(profiles: NDArray[np.float64], shape: ProfileShape) -> NDArray[np.float64]:
    """Return D, the mean near the boundary minus the mean of both flanks; negative = the gate falls.

    Near is offsets ``[-dip_bp, dip_bp)``; the flanks are ``[-flank_bp, -dip_bp)`` and ``[dip_bp, flank_bp)``:
    |t - b| <= w and w < |t - b| <= F with w = dip_bp and F = flank_bp, counted in bases from the edge.

    References
    ----------
    Wang, Chung & Lee, Interspeech 2017, test the mean over units; here each unit and direction has its own.
    """
    first, last = shape.profile_bp - shape.flank_bp, shape.profile_bp + shape.flank_bp
    near, flanks = 2 * shape.dip_bp, 2 * (shape.flank_bp - shape.dip_bp)
    inside = profiles[..., _around(shape)].sum(-1)
    return inside / near - (profiles[..., first:last].sum(-1) - inside) / flanks
