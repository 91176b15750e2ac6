"""Which bases are accessible, and which peaks can be trained on? Genome, peaks, exclusion list together.

Public names: `Funnel`, `Landscape`, `read_landscape`, `usable_peaks`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.data.store import NOT_SCORED
from gatescope.errors import InputError
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.genome.regions import (
    ExclusionLists,
    is_overlapping,
    merge_regions,
    read_exclusion_lists,
    read_regions,
)
from gatescope.genome.sequence import UNKNOWN, gc_fraction

log = logging.getLogger(__name__)


@dataclass
class Funnel:
    """Collect how many items each step kept and dropped, and why; nothing is dropped in silence.

    Attributes
    ----------
    rows : list of dict
        ``step, kept, dropped, why``, in the order of the steps.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, kept: int, dropped: int, why: str) -> None:
        """Record one step and log it."""
        self.rows.append({"step": step, "kept": int(kept), "dropped": int(dropped), "why": why})
        log.info("%s: %d kept, %s", step, kept, f"{dropped} dropped ({why})" if dropped else "none dropped")


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
        return _mask(self.peaks, contig, self.lengths[contig])

    def in_excluded(self, contig: str) -> NDArray[np.bool_]:
        """Return True on the bases of the exclusion list, shape (L,)."""
        return _mask(self.excluded, contig, self.lengths[contig])


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
    rows = read_regions(peaks, lengths, Path(genome).name, exclude_contigs)
    funnel.add("peaks read", len(rows), rows.attrs["excluded"], "on a contig of exclude_contigs")
    merged = merge_regions(rows)
    funnel.add("overlapping peaks", len(merged), len(rows) - len(merged), "merged into another peak")
    excluded = read_exclusion_lists(exclusion_list, lengths, Path(genome).name, exclude_contigs)
    return Landscape(sequence, lengths, merged, excluded)


def usable_peaks(
    land: Landscape, window_bp: int, max_unknown_fraction: float, where: Path | str, funnel: Funnel
) -> pd.DataFrame:
    """Return the merged peaks whose window can be trained on.

    Parameters
    ----------
    land : Landscape
    window_bp : int
        Length of the window around a peak's summit.
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
    left = peaks["summit"].to_numpy() - window_bp // 2
    lengths = np.array([land.lengths[chrom] for chrom in peaks["chrom"]], dtype=np.int64)
    why = f"the {window_bp}-bp window around the summit runs off the contig"
    peaks = _keep(peaks, (left >= 0) & (left + window_bp <= lengths), "contig ends", why, funnel)
    unknown, gc = _composition(land, peaks, window_bp)
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


def _keep(table: pd.DataFrame, keep: NDArray[np.bool_], step: str, why: str, funnel: Funnel) -> pd.DataFrame:
    """Filter rows and record it."""
    kept = table.iloc[np.flatnonzero(keep)].reset_index(drop=True)
    funnel.add(step, len(kept), len(table) - len(kept), why)
    return kept


def _composition(land: Landscape, peaks: pd.DataFrame, window_bp: int) -> tuple[NDArray, NDArray]:
    """Return the share of unknown bases and the GC content of each peak's window."""
    unknown, gc = np.zeros(len(peaks)), np.zeros(len(peaks))
    chroms, summits = peaks["chrom"].to_numpy(), peaks["summit"].to_numpy()
    for contig in land.lengths:
        codes = land.genome.codes(contig)
        for row in np.flatnonzero(chroms == contig):
            left = summits[row] - window_bp // 2
            window = codes[left : left + window_bp]
            unknown[row], gc[row] = (window == UNKNOWN).mean(), gc_fraction(window)
    return unknown, gc


def _mask(regions: pd.DataFrame, contig: str, length: int) -> NDArray[np.bool_]:
    """Return True on the bases of regions."""
    mask = np.zeros(length, bool)
    for start, end in regions.loc[regions["chrom"] == contig, ["start", "end"]].to_numpy():
        mask[start:end] = True
    return mask
