"""Where does a region begin and end? Other answers than the peak caller's, so that a result can be held against each.

- *as called*: the edges in the store;
- *q-value*: only regions with a peak of at least so small a q-value;
- *half-rise*: each edge moved to where the density of cuts crosses the middle between its levels inside and outside;
- *predicted*: where the network itself says that a region is.

Each is a table of regions `chrom, start, end`, 0-based half-open, sorted along each contig and apart from each other,
to which every statistic of this folder applies.

Public names: `as_called`, `read_q_values`, `with_q_value`, `HalfRise`, `half_rise`, `Hysteresis`, `predicted`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.genome.regions import cover, is_overlapping, spans_by_contig
from gatescope.genome.textfile import numbered_lines

_COLUMNS = ["chrom", "start", "end"]


def as_called(regions: pd.DataFrame) -> pd.DataFrame:
    """Return regions with the edges they have, `chrom, start, end`."""
    return regions.loc[:, _COLUMNS].reset_index(drop=True)


def read_q_values(path: Path | str) -> pd.DataFrame:
    """Read -log10 of the q-value of each row of a narrowPeak file: `chrom, start, end, log10_q`.

    Raises
    ------
    InputError
        If a row has not the ten columns of narrowPeak, or no q-value in the ninth (-1).
    """
    rows = []
    for number, line in numbered_lines(path):
        fields, where = line.split("\t"), f"{path} line {number}"
        try:
            row = (fields[0], int(fields[1]), int(fields[2]), float(fields[8]), int(fields[9]))
        except (IndexError, ValueError) as error:
            raise InputError(
                "wanted the columns of narrowPeak",
                where=where,
                remedy="give the peak caller's narrowPeak file",
            ) from error
        if not 0 <= row[3] < np.inf:
            raise InputError(f"{fields[8]} in column 9 is no -log10 of a q-value", where=where)
        rows.append(row[:4])
    return pd.DataFrame(rows, columns=[*_COLUMNS, "log10_q"])


def with_q_value(regions: pd.DataFrame, peaks: pd.DataFrame, least_log10_q: float) -> pd.DataFrame:
    """Return the regions that share a base with a peak of this q-value or a smaller one, edges as called.

    Parameters
    ----------
    regions : DataFrame
        `chrom, start, end`, merged.
    peaks : DataFrame
        As from `read_q_values`: the rows that `regions` were merged from.
    least_log10_q : float
        -log10 of the largest q-value.
    """
    return as_called(regions.loc[is_overlapping(regions, peaks.loc[peaks["log10_q"] >= least_log10_q])])


@dataclass(frozen=True)
class HalfRise:
    """Say how a half-rise is looked for.

    Parameters
    ----------
    reach_bp : int
        How far from the called edge at most, either way; also how long a stretch outside is averaged.
    most_cuts : float
        Cuts counted at one base at most: towers of copies would pull an edge towards them.
    """

    reach_bp: int = 150
    most_cuts: float = 5.0

    def __post_init__(self) -> None:
        if self.reach_bp < 1 or not self.most_cuts > 0:
            raise InputError(f"reach_bp {self.reach_bp}, most_cuts {self.most_cuts}; wanted more than 0")


def half_rise(
    regions: pd.DataFrame, cuts: Mapping[str, NDArray[np.floating]], rule: HalfRise | None = None
) -> pd.DataFrame:
    """Move each edge to where the density of cuts rises through the middle between outside and inside.

    A region has a few dozen cuts, too few to read a crossing off a smoothed density. So the step is fitted: of all
    places within `reach_bp`, the one with the least squared distance of the cuts to two levels, that of the outside
    before it and that of the inside behind it. For a density that rises steadily, this is where it crosses the middle
    of the two. The inside is the middle half of the region; the outside lies `reach_bp` to 2 `reach_bp` beyond the
    called edge, without the bases of other regions, or is all outside of the contig if none of it is left. No edge goes
    beyond the middle of its region, or of the gap to the next. A region that has no more cuts inside than out at
    either edge is left out.

    Single edges are uncertain by tens of bp, and lie where Tn5 likes to cut rather than beside it. On the yeast data
    the median edge of fragment peaks moves 3 bp inwards, that of peaks of cuts widened to 150 bp moves 53 bp; the mean
    profiles of the two rise 4 bp outside and 60 bp inside the called edges.

    Parameters
    ----------
    regions : DataFrame
        `chrom, start, end`, merged.
    cuts : mapping of str to float array, shape (L,)
        Cuts at each base of each contig on which regions are to be returned.
    rule : HalfRise, optional
    """
    rule, rows = rule or HalfRise(), []
    spans = spans_by_contig(regions)
    for contig, counts in cuts.items():
        if contig not in spans:
            continue
        mine = spans[contig][np.argsort(spans[contig][:, 0])]
        capped = np.minimum(counts, rule.most_cuts, dtype=np.float64)
        inside = cover(spans, contig, capped.size)
        # an end is a start in a mirror
        starts = _rises(capped, inside, mine, rule)
        ends = capped.size - _rises(capped[::-1], inside[::-1], capped.size - mine[::-1, ::-1], rule)[::-1]
        rows += [
            (contig, int(start), int(end))
            for start, end in zip(starts, ends, strict=True)
            if 0 <= start < end <= capped.size
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


_NO_RISE = np.iinfo(np.int64).max


def _rises(
    cuts: NDArray[np.float64], inside: NDArray[np.bool_], spans: NDArray[np.int64], rule: HalfRise
) -> NDArray[np.int64]:
    """Return where each region begins, `_NO_RISE` where it has no more cuts than what lies before it."""
    everywhere = float(cuts[~inside].mean()) if not inside.all() else 0.0
    # where the region before ends; a contig's end is no reason to stop half way
    before = np.append(-spans[0, 0], spans[:-1, 1])
    found = np.full(len(spans), _NO_RISE)
    for n, (start, end) in enumerate(spans.tolist()):
        middle, quarter = (start + end) // 2, (end - start) // 4
        beyond = slice(max(0, start - 2 * rule.reach_bp), max(0, start - rule.reach_bp))
        free = cuts[beyond][~inside[beyond]]
        low = float(free.mean()) if free.size else everywhere
        high = float(cuts[start + quarter : end - quarter].mean())
        if not high > low * (1 + 1e-9):  # means of the same number need not be equal
            continue
        first = max(start - rule.reach_bp, (before[n] + start) // 2)
        last = min(start + rule.reach_bp, middle)
        # least squares over the place p: the sum of (cuts - half) from p on is largest
        gain = np.append(np.cumsum((cuts[first:last] - (low + high) / 2)[::-1])[::-1], 0.0)
        found[n] = first + int(np.argmax(gain))
    return found


class Hysteresis(NamedTuple):
    """Say when a predicted probability is a region.

    Parameters
    ----------
    threshold : float
        A region begins and ends where the probability crosses this.
    margin : float
        It counts if the probability exceeds the threshold by this much somewhere in it; two are one where the
        probability between them nowhere falls as far below the threshold.
    least_bp : int
        Shorter ones do not count.
    """

    threshold: float = 0.5
    margin: float = 0.1
    least_bp: int = 50


def predicted(
    probability: Mapping[str, NDArray[np.floating]], rule: Hysteresis | None = None
) -> pd.DataFrame:
    """Return the regions that a network predicts.

    Parameters
    ----------
    probability : mapping of str to float array, shape (L,)
        Of being accessible, at each base of each contig (``predicted_state.bw``); NaN at unknown bases, which belong
        to no region.
    rule : Hysteresis, optional
    """
    rule, rows = rule or Hysteresis(), []
    for contig, values in probability.items():
        known = np.nan_to_num(np.asarray(values, np.float64), nan=-np.inf)
        joined: list[list[int]] = []
        for start, end in _runs(known >= rule.threshold):
            if joined and known[joined[-1][1] : start].min() > rule.threshold - rule.margin:
                joined[-1][1] = end
            else:
                joined.append([start, end])
        rows += [
            (contig, start, end)
            for start, end in joined
            if end - start >= rule.least_bp and known[start:end].max() >= rule.threshold + rule.margin
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and end of each run of True."""
    steps = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True))
