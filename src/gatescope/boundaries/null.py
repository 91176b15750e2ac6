"""What R would the same boundaries give if they lay elsewhere? The circular-shift null.

The whole boundary set of a contig is shifted along it as one body and wrapped around its end: spacing and
clustering of the boundaries, the bases that are left out of their flanks, and the autocorrelation of the gates stay
what they are; only their relation is broken. The circle is that of the contig's *scored* bases, masked ones taken out
(`retention.ScoredBases`). Contigs are shifted independently of each other; all units, directions and crossings see
the same shifts.

R is a linear combination of prefix sums at the end points of windows. A shift moves the end points; nothing is stacked
again. Windows across the seam, where a contig's end meets its start, are left out.

Public names: `draw_contig_shifts`, `ShiftedMeans`, `shift_windows`, `shifted_sums`, `shifted_counts`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.retention import Key, ScoredBases, Windows, log_forget, prefix_sums
from gatescope.resample import draw_shifts
from gatescope.trace.units import LogitSource


def draw_contig_shifts(
    bases: Mapping[str, ScoredBases], replicates: int, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Draw the shifts of each contig, shape (m,) each, uniform on the circle of its scored bases.

    A contig without a scored base, where nothing can lie, is left out.
    """
    lengths = {contig: each.n for contig, each in bases.items() if each.n}
    drawn = draw_shifts(list(lengths.values()), replicates, rng)
    return {contig: drawn[:, column] for column, contig in enumerate(lengths)}


class ShiftedMeans(NamedTuple):
    """Means over shifted boundaries, float64, shape (m, U): m replicates by U units.

    `r` is R; NaN in a replicate whose windows all cross a seam. `forget` is f at the base right of the boundaries.
    """

    r: NDArray[np.float64]
    forget: NDArray[np.float64]


def shift_windows(
    units: LogitSource,
    direction: int,
    which: Sequence[int],
    bases: Mapping[str, ScoredBases],
    windows: Mapping[Key, Mapping[str, Windows]],
    shifts: Mapping[str, NDArray[np.int64]],
    shape: ProfileShape,
    threads: int = 1,
) -> dict[Key, ShiftedMeans]:
    """Compute R of several boundary sets in every replicate; a unit of one contig for each thread is in memory.

    Parameters
    ----------
    units : LogitSource
    direction : int
        Index into `gatescope.trace.units.DIRECTIONS`.
    which : sequence of int
        The U units to read.
    bases : mapping of str to ScoredBases
    windows : mapping
        Key -> contig -> windows of that contig, their places in ascending order.
    shifts : mapping of str to int64, shape (m,)
        Shift of each contig in each replicate, in scored bases to the right, ``0 <= shift < n``.
    shape : ProfileShape
    threads : int
        Units are shared out among so many; the numbers do not depend on it.

    References
    ----------
    regioneR (Gel et al. 2016), ``circularRandomizeRegions``.
    """
    n_shifts = len(next(iter(shifts.values())))
    size = (n_shifts, len(which))
    found = {key: ShiftedMeans(np.zeros(size), np.zeros(size)) for key in windows}

    def add(contig: str, column: int) -> None:
        """Add the sums of one unit of one contig to its column."""
        logs = log_forget(bases[contig].pick(units.logits(contig, direction, which[column])))
        prefix, forget, moved = prefix_sums(logs), np.exp(logs, out=logs), shifts[contig]
        for key, each in windows.items():
            if contig in each:
                found[key].r[:, column] += shifted_sums(each[contig], prefix, moved, shape.flank_bp)
                found[key].forget[:, column] += _shifted_bases(each[contig].places, forget, moved)

    with ThreadPoolExecutor(threads) as pool:
        for contig in dict.fromkeys(contig for each in windows.values() for contig in each):
            list(pool.map(partial(add, contig), range(len(which))))
    to_ratio = 2 * shape.dip_bp / np.log(2)
    for key, each in windows.items():
        counts = np.zeros(n_shifts)
        for contig, cut in each.items():
            counts += shifted_counts(cut, bases[contig].n, shifts[contig], shape.flank_bp)
        counts[counts == 0] = np.nan
        found[key].r[:] *= to_ratio / counts[:, None]
        found[key].forget[:] /= sum(len(cut.places) for cut in each.values())
    return found


def shifted_sums(
    windows: Windows, prefix: NDArray[np.float64], shifts: NDArray[np.int64], reach_bp: int
) -> NDArray[np.float64]:
    """Return the sum over boundaries of near mean minus flank mean, for each shift, shape (m,).

    Parameters
    ----------
    windows : Windows
    prefix : float64, shape (n + 1,)
        `prefix_sums` along the circle of n bases.
    shifts : int64, shape (m,)
    reach_bp : int
        How far windows reach; a boundary closer to the seam is left out.
    """
    n = len(prefix) - 1
    weights, points = windows.near - windows.flank, windows.points
    stop, start = (windows.first[each] for each in _clear_of_seam(windows, n, shifts, reach_bp))
    sums = np.empty(len(shifts))
    for replicate, shift in enumerate(shifts.tolist()):
        ahead, wrapped = stop[replicate], start[replicate]
        sums[replicate] = weights[:ahead] @ prefix.take(points[:ahead] + shift)
        sums[replicate] += weights[wrapped:] @ prefix.take(points[wrapped:] + (shift - n))
    return sums


def shifted_counts(windows: Windows, n: int, shifts: NDArray[np.int64], reach_bp: int) -> NDArray[np.int64]:
    """Return how many windows `shifted_sums` sums up in each replicate, shape (m,)."""
    stop, start = _clear_of_seam(windows, n, shifts, reach_bp)
    return stop + len(windows.places) - start


def _clear_of_seam(
    windows: Windows, n: int, shifts: NDArray[np.int64], reach_bp: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for each shift, where boundaries that stay ahead of the seam end and those beyond it begin."""
    stop = np.searchsorted(windows.places, n - reach_bp - shifts, "right")
    start = np.searchsorted(windows.places, n + reach_bp - shifts, "left")
    return stop, start


def _shifted_bases(
    places: NDArray[np.int64], values: NDArray[np.float64], shifts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum of the values right of the shifted places, for each shift, shape (m,)."""
    n = len(values)
    sums = np.empty(len(shifts))
    wrapped = np.searchsorted(places, n - shifts, "left").tolist()
    for replicate, shift in enumerate(shifts.tolist()):
        at = places + shift
        at[wrapped[replicate] :] -= n
        sums[replicate] = values.take(at).sum()
    return sums
