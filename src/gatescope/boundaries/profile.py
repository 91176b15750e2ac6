"""What does a forget gate do on average around the edges of accessible regions? Profiles, effect sizes.

Directions, crossings and offsets follow ``docs/glossary.md``: offset 0 is the first base that the direction
reads *beyond* the boundary; negative offsets were read before it.

Public names: `ProfileShape`, `Sites`, `find_sites`, `region_of`, `offsets_of`, `gate_positions`,
`windows`, `forget_windows`, `gather`, `MeanProfiles`, `mean_profiles`, `WriteStore`, `mean_writes`, `UnitProfiles`,
`unit_profiles`, `flank_mean`, `drop`, `drop_offset`, `lowest_offset`, `dip`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from gatescope.boundaries.stretches import Spans, lie_inside
from gatescope.genome.crossings import edge_of
from gatescope.settings import check_lengths
from gatescope.trace.units import DIRECTIONS, LogitSource

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
    n_dropped: int  # too near the end of a contig
    n_outside: int = 0  # outside the stretches of a long contig

    @property
    def n(self) -> int:
        """Number of boundaries kept."""
        return sum(len(positions) for positions in self.positions.values())


def find_sites(
    regions: pd.DataFrame,
    lengths: Mapping[str, int],
    direction: int,
    crossing: str,
    profile_bp: int,
    stretches: Spans | None = None,
) -> Sites:
    """Find the boundaries that a direction crosses, leaving out those whose profile would leave the contig.

    Of a long contig also those whose profile would leave its stretches.

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
    stretches : mapping of str to int64 array, shape (n, 2), optional
        What is looked at of long contigs (`gatescope.boundaries.stretches.draw_stretches`); the other
        contigs are used whole.
    """
    edge = edge_of(DIRECTIONS[direction], crossing)
    positions, n_dropped, n_outside = {}, 0, 0
    for contig, length in lengths.items():
        edges = regions.loc[regions["chrom"] == contig, edge].to_numpy(np.int64)
        inside = (edges >= profile_bp) & (edges <= length - profile_bp)
        n_dropped += int((~inside).sum())
        edges = np.sort(edges[inside])
        if stretches and contig in stretches:
            looked_at = lie_inside(edges, stretches[contig], profile_bp)
            n_outside += int((~looked_at).sum())
            edges = edges[looked_at]
        if len(edges):
            positions[contig] = edges
    return Sites(direction, crossing, positions, n_dropped, n_outside)


def region_of(sites: Sites, regions: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the region that each boundary is an edge of, contig -> int64 (n, 2), start and end.

    Parameters
    ----------
    sites : Sites
    regions : DataFrame
        The merged regions that the sites were found in: `chrom, start, end`.

    Raises
    ------
    ValueError
        If a boundary is no edge of these regions.
    """
    edge = edge_of(DIRECTIONS[sites.direction], sites.crossing)
    found = {}
    for contig, boundaries in sites.positions.items():
        table = regions.loc[regions["chrom"] == contig, ["start", "end"]].sort_values("start")
        edges = table[edge].to_numpy(np.int64)
        at = np.searchsorted(edges, boundaries).clip(max=len(edges) - 1)
        if (edges[at] != boundaries).any():
            raise ValueError(f"boundaries of {contig} are no region's {edge}")
        found[contig] = table.to_numpy(np.int64)[at]
    return found


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


def windows(
    read: Callable[[str], NDArray[np.floating]], sites: Sites, offsets: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield what a track does around boundaries, a bounded number of boundaries at a time.

    Parameters
    ----------
    read : callable of contig name to array, shape (L,)
        The track in genomic order; may be memory-mapped.
    sites : Sites
    offsets : int64, shape (W,)

    Yields
    ------
    contig : str
    boundaries : int64, shape (n,)
        Sorted within a contig.
    values : float64, shape (n, W)
        In reading order.
    """
    for contig, boundaries in sites.positions.items():
        track = read(contig)
        for first in range(0, len(boundaries), _CHUNK):
            some = boundaries[first : first + _CHUNK]
            at = gate_positions(some, offsets, sites.direction)
            yield contig, some, np.asarray(track[at], np.float64)


def _logit_windows(
    units: LogitSource, sites: Sites, unit: int, offsets: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the logits of one unit around boundaries, as `windows` does."""
    return windows(lambda contig: units.logits(contig, sites.direction, unit), sites, offsets)


def forget_windows(
    units: LogitSource, sites: Sites, unit: int, profile_bp: int
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the forget gate of one unit around boundaries, as `windows` does, over the whole profile."""
    for contig, boundaries, logits in _logit_windows(units, sites, unit, offsets_of(profile_bp)):
        yield contig, boundaries, expit(logits)


def gather(units: LogitSource, sites: Sites, unit: int, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logits of one unit at every (boundary, offset), shape (n, len(offsets)), float64."""
    return np.concatenate([logits for _, _, logits in _logit_windows(units, sites, unit, offsets)])


class MeanProfiles(NamedTuple):
    """Means over boundaries at each offset, in reading order, each of shape (2 * profile_bp,)."""

    forget: NDArray[np.float64]  # f, in [0, 1]
    logit: NDArray[np.float64]  # z with f = sigmoid(z)
    log_forget: NDArray[np.float64]  # ln f <= 0: the mean of what retention sums up


def mean_profiles(units: LogitSource, sites: Sites, unit: int, profile_bp: int) -> MeanProfiles:
    """Average one unit's forget gate over boundaries.

    Parameters
    ----------
    units : LogitSource
    sites : Sites
        At least one boundary.
    unit : int
        Index of the unit within the direction of `sites`.
    profile_bp : int
        Half-width of the profile.
    """
    sums = np.zeros((3, 2 * profile_bp))
    for _, _, logits in _logit_windows(units, sites, unit, offsets_of(profile_bp)):
        log_forget = log_expit(logits)  # -softplus(-z), exact where f rounds to 1
        sums[0] += np.exp(log_forget).sum(0)  # f
        sums[1] += logits.sum(0)
        sums[2] += log_forget.sum(0)
    return MeanProfiles(*(sums / sites.n))


class WriteStore(Protocol):
    """Whatever reads what units write: `gatescope.trace.units.UnitStore` of a trace that has kept it."""

    def writes(self, contig: str, direction: int, unit: int) -> NDArray[np.float32]:
        """Return i g of one unit at each base, shape (L,), genomic order."""
        ...


def mean_writes(units: WriteStore, sites: Sites, unit: int, profile_bp: int) -> NDArray[np.float64]:
    """Average the size of one unit's writes, |i g|, over boundaries, shape (2 * profile_bp,)."""
    total = np.zeros(2 * profile_bp)
    pieces = windows(
        lambda contig: units.writes(contig, sites.direction, unit), sites, offsets_of(profile_bp)
    )
    for _, _, writes in pieces:
        total += np.abs(writes).sum(0)
    return total / sites.n


class UnitProfiles(NamedTuple):
    """Mean profiles of every unit of a direction, shape (H + 1, 2 * profile_bp); the last row is their mean."""

    forget: NDArray[np.float64]  # f, in [0, 1]
    logit: NDArray[np.float64]  # z with f = sigmoid(z)
    half_life: NDArray[np.float64]  # bp, of the geometric mean of f: ln(1/2) / mean ln f
    write: NDArray[np.float64]  # mean of |i g|; nan throughout where the trace kept no writes


def unit_profiles(
    units: LogitSource, writes: WriteStore | None, sites: Sites, n_units: int, profile_bp: int
) -> UnitProfiles:
    """Average each unit over boundaries; one unit of one contig is read at a time.

    Parameters
    ----------
    units : LogitSource
    writes : WriteStore or None
        None: the trace has not kept what its units write.
    sites : Sites
        At least one boundary.
    n_units : int
        H.
    profile_bp : int
        Half-width of the profile.
    """
    means = [mean_profiles(units, sites, unit, profile_bp) for unit in range(n_units)]
    if writes is None:
        written = [np.full(2 * profile_bp, np.nan)] * n_units
    else:
        written = [mean_writes(writes, sites, unit, profile_bp) for unit in range(n_units)]
    forget, logit, log_forget = (_with_mean(rows) for rows in zip(*means, strict=True))
    with np.errstate(divide="ignore"):  # a gate that never lets go has a half-life without end
        half_life = np.log(2) / np.abs(log_forget)
    return UnitProfiles(forget, logit, half_life, _with_mean(written))


def _with_mean(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack profiles and add their mean as the last row."""
    return np.stack([*rows, np.mean(rows, axis=0)])


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
