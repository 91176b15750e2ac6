"""Which bases are accessible, and which peaks can be trained on? Genome, peaks, exclusion list together.

Public names: `Landscape`, `read_landscape`, `usable_peaks`, `window_starts`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.data.funnel import Funnel
from gatescope.data.store import NOT_SCORED
from gatescope.errors import InputError, Problems
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.genome.regions import (
    ExclusionLists,
    cover,
    is_overlapping,
    merge_regions,
    read_exclusion_lists,
    read_regions,
    spans_by_contig,
)
from gatescope.genome.sequence import UNKNOWN, gc_fraction

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landscape:
    """Hold what the user's files say about each contig, before any array is made.

    Attributes
    ----------
    genome : Genome
    lengths : dict of str to int
        Kept contigs, in genome order.
    peaks : DataFrame
        Merged peaks in genome order, `chrom, start, end, summit`: the accessible regions.
    excluded : DataFrame
        Union of the exclusion lists, `chrom, start, end`.
    """

    genome: Genome
    lengths: dict[str, int]
    peaks: pd.DataFrame
    excluded: pd.DataFrame

    def state(self, contig: str, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return 1 in a merged peak, 0 elsewhere, `NOT_SCORED` where excluded or unknown; (L,) uint8."""
        state = self.in_peak(contig).astype(np.uint8)
        state[self.in_excluded(contig) | (codes == UNKNOWN)] = NOT_SCORED
        return state

    def in_peak(self, contig: str) -> NDArray[np.bool_]:
        """Return True on the bases of merged peaks, shape (L,)."""
        return cover(self._peak_spans, contig, self.lengths[contig])

    def in_excluded(self, contig: str) -> NDArray[np.bool_]:
        """Return True on the bases of the exclusion list, shape (L,)."""
        return cover(self._excluded_spans, contig, self.lengths[contig])

    @cached_property
    def _peak_spans(self) -> dict[str, NDArray[np.int64]]:
        return spans_by_contig(self.peaks)

    @cached_property
    def _excluded_spans(self) -> dict[str, NDArray[np.int64]]:
        return spans_by_contig(self.excluded)


def read_landscape(
    genome: Path | str,
    peaks: Path | str,
    exclusion_list: ExclusionLists,
    exclude_contigs: Sequence[str],
    funnel: Funnel,
) -> Landscape:
    """Read peaks and exclusion list against the genome; merge overlapping and repeated peaks.

    Parameters
    ----------
    genome, peaks, exclusion_list : path
        FASTA or .2bit; BED3+ or narrowPeak; BED3+, several, or None.
    exclude_contigs : sequence of str
        Contigs left out of everything.
    funnel : Funnel
        Records what was dropped.

    Raises
    ------
    InputError
        If a row does not lie on the genome, or no peak is left.
    """
    sequence = Genome(genome)
    lengths = kept_lengths(sequence.lengths, exclude_contigs)
    problems, merged, excluded = Problems(), pd.DataFrame(), pd.DataFrame()
    with problems.noted():
        rows = read_regions(peaks, lengths, Path(genome).name, exclude_contigs)
        funnel.add("peaks read", len(rows), rows.attrs["excluded"], "on a contig of exclude_contigs")
        merged = merge_regions(rows)
        funnel.add("overlapping peaks", len(merged), len(rows) - len(merged), "merged into another peak")
    with problems.noted():
        excluded = read_exclusion_lists(exclusion_list, lengths, Path(genome).name, exclude_contigs)
    problems.raise_found()
    return Landscape(sequence, lengths, merged, excluded)


def usable_peaks(
    land: Landscape, window_bp: int, max_unknown_fraction: float, where: Path | str, funnel: Funnel
) -> pd.DataFrame:
    """Return the merged peaks whose window can be trained on.

    Parameters
    ----------
    land : Landscape
    window_bp : int
        Length of the window around a peak's summit; one that would run off its contig is moved inwards.
    max_unknown_fraction : float
        Largest share of unknown bases in a window; one that is all unknown is never usable.
    where : path
        Peak file, for the message.
    funnel : Funnel
        Records what was dropped.

    Returns
    -------
    DataFrame
        `chrom, start, end, summit` of the merged peak and `gc` of its window (share of known bases).

    Raises
    ------
    InputError
        If none is left, `window_bp` is no length, or `max_unknown_fraction` no share.
    """
    if window_bp < 1:
        raise InputError(f"{window_bp} bp is no length", where="window_bp", remedy="give a number >= 1")
    if not 0 <= max_unknown_fraction <= 1:
        remedy = "give a number between 0 and 1"
        raise InputError(f"{max_unknown_fraction} is no share", where="max_unknown_fraction", remedy=remedy)
    is_clear = ~is_overlapping(land.peaks, land.excluded)
    peaks = _keep(land.peaks, is_clear, "exclusion list", "they touch an excluded region", funnel)
    starts = window_starts(peaks, land.lengths, window_bp)
    peaks, starts = _keep_fitting(peaks, starts, window_bp, funnel), starts[starts >= 0]
    unknown, gc = _composition(land, peaks, starts, window_bp)
    # a window without any known base has no GC content to match
    is_known = (unknown <= max_unknown_fraction) & np.isfinite(gc)
    why = f"more than {max_unknown_fraction:.0%} of the window is unknown bases, or no base is known"
    peaks = _keep(peaks.assign(gc=gc), is_known, "unknown bases", why, funnel)
    if peaks.empty:
        lost = "; ".join(
            f"{row['dropped']} because {row['why']}" for row in funnel.rows[-3:] if row["dropped"]
        )
        raise InputError(
            f"none of {len(land.peaks)} merged peaks is usable: {lost}",
            where=where,
            remedy="use a smaller window_bp, or check the exclusion list",
        )
    return peaks.loc[:, ["chrom", "start", "end", "summit", "gc"]]


def window_starts(regions: pd.DataFrame, lengths: Mapping[str, int], window_bp: int) -> NDArray[np.int64]:
    """Return where the window of each region starts: around its summit, moved inwards at the ends of a contig.

    Parameters
    ----------
    regions : DataFrame
        `chrom` and `summit` of N regions.
    lengths : mapping of str to int
        Length of each contig.
    window_bp : int

    Returns
    -------
    ndarray, shape (N,), int64
        A start for which ``[start, start + window_bp)`` lies on the contig and holds the summit; -1 where the
        contig is shorter than the window.
    """
    room = np.array([lengths[chrom] - window_bp for chrom in regions["chrom"]], dtype=np.int64)
    centred = regions["summit"].to_numpy(np.int64) - window_bp // 2
    return np.where(room < 0, -1, np.clip(centred, 0, np.maximum(room, 0)))


def _keep_fitting(
    peaks: pd.DataFrame, starts: NDArray[np.int64], window_bp: int, funnel: Funnel
) -> pd.DataFrame:
    """Drop peaks on contigs shorter than a window, and say how many windows were moved."""
    fits = starts >= 0
    moved = int((starts != peaks["summit"].to_numpy() - window_bp // 2)[fits].sum())
    why = f"the contig is shorter than the {window_bp}-bp window"
    note = f"{moved} windows moved inwards from a contig end" if moved else ""
    return _keep(peaks, fits, "contig ends", why, funnel, note)


def _keep(
    table: pd.DataFrame, keep: NDArray[np.bool_], step: str, why: str, funnel: Funnel, note: str = ""
) -> pd.DataFrame:
    """Filter rows and record it."""
    kept = table.iloc[np.flatnonzero(keep)].reset_index(drop=True)
    funnel.add(step, len(kept), len(table) - len(kept), why, note=note)
    return kept


def _composition(
    land: Landscape, peaks: pd.DataFrame, starts: NDArray[np.int64], window_bp: int
) -> tuple[NDArray, NDArray]:
    """Return the share of unknown bases and the GC content of each window."""
    unknown, gc = np.zeros(len(starts)), np.zeros(len(starts))
    for contig, rows in peaks.groupby("chrom").indices.items():
        codes = land.genome.codes(str(contig))
        for row in rows:
            window = codes[starts[row] : starts[row] + window_bp]
            unknown[row], gc[row] = (window == UNKNOWN).mean(), gc_fraction(window)
    return unknown, gc
