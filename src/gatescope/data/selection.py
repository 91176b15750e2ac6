"""Which windows does training start from? Peaks that pass the filters, and background that looks like them.

Public names: `WindowRules`, `Windows`, `choose_windows`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.data.background import Candidates, Match, match_background, tile_background
from gatescope.data.funnel import BACKGROUND, PEAKS, Funnel
from gatescope.data.inputs import TrackSource, read_track
from gatescope.data.landscape import Landscape, usable_peaks, window_starts
from gatescope.data.store import NOT_SCORED, OUTLIER
from gatescope.data.tiles import Tiles
from gatescope.errors import InputError

log = logging.getLogger(__name__)

#: The cuts of an ordinary strong peak: this quantile of all peaks, times `WindowRules.outlier_ratio`.
_OUTLIER_QUANTILE = 0.99
#: Below this many peaks the strongest is no sign of anything, and none is called an outlier.
_LEAST_PEAKS = 100
#: What a sample's tracks column calls the track that background is matched on, beside GC.
MAPPABILITY = "mappability"


@dataclass(frozen=True)
class WindowRules:
    """Say which windows may be trained on.

    Parameters
    ----------
    window_bp : int
        Length of a window.
    background_ratio : float
        Background windows per peak.
    max_unknown_fraction : float
        Largest share of unknown bases in a window.
    outlier_ratio : float
        Windows with more cuts than this many times the 99th percentile of the peaks are not trained on; 0 keeps all.

    Raises
    ------
    InputError
        If a ratio cannot be used.
    """

    window_bp: int
    background_ratio: float
    max_unknown_fraction: float
    outlier_ratio: float

    def __post_init__(self) -> None:
        if not 0 <= self.background_ratio < np.inf:
            what = f"{self.background_ratio} is no ratio"
            raise InputError(what, where="background_ratio", remedy="give a number >= 0")
        if self.outlier_ratio != 0 and not 1 <= self.outlier_ratio < np.inf:
            what = f"{self.outlier_ratio} would call ordinary peaks outliers"
            raise InputError(
                what, where="outlier_ratio", remedy="give a number >= 1, or 0 for no such filter"
            )


@dataclass(frozen=True)
class Windows:
    """Hold the windows that were chosen.

    Attributes
    ----------
    regions : DataFrame
        `chrom, start, end, summit, kind, gc`, in genome order; see `EncodedStore.regions`.
    match : Match
        How well background matches the peaks.
    most_cuts : float or None
        Windows with more cuts are not trained on; None where no such limit was set.
    """

    regions: pd.DataFrame
    match: Match
    most_cuts: float | None


def choose_windows(
    land: Landscape,
    cuts: TrackSource,
    mappability: TrackSource | None,
    rules: WindowRules,
    seed: int,
    where: Path | str,
    funnel: Funnel,
) -> Windows:
    """Choose the peaks that can be trained on and background windows matched to them.

    One contig is held in memory, and 6 bytes for each tile that may become background, of which there are
    eight per `window_bp` of genome: 0.03 bytes per base for windows of 1,500 bp. All else about them waits on disk.

    Parameters
    ----------
    land : Landscape
    cuts : TrackSource
        Cut counts; only those on scored bases count.
    mappability : TrackSource or None
        A share in 0-1 per base; with it background is matched on GC and on mean mappability together.
    rules : WindowRules
    seed : int
        Decides which of the matching background windows are taken.
    where : path
        Peak file, for messages.
    funnel : Funnel
        Records what was dropped.

    Raises
    ------
    InputError
        If no peak is usable, no background window matches, or mappability is no share.
    """
    peaks = usable_peaks(land, rules.window_bp, rules.max_unknown_fraction, where, funnel)
    features = ["gc", MAPPABILITY] if mappability else ["gc"]
    with Tiles() as tiles:
        peaks = _describe(land, peaks, cuts, mappability, rules, tiles, funnel)
        most_cuts = _most_cuts(peaks["cuts"].to_numpy(), rules.outlier_ratio)
        peaks, outliers = _part_outliers(peaks, tiles, most_cuts, rules, funnel)
        background, match = _match(peaks, tiles, features, rules.background_ratio, seed, funnel)
    contigs = np.array(list(land.lengths))
    background = background.assign(
        chrom=contigs[background["contig"]],
        end=background["start"] + rules.window_bp,
        summit=background["start"] + rules.window_bp // 2,
    )
    tables = [
        peaks.assign(kind="peak"),
        outliers.assign(kind=OUTLIER),
        background.assign(kind="background"),
    ]
    columns = ["chrom", "start", "end", "summit", "kind", "gc"]
    return Windows(_in_genome_order(tables, land).loc[:, columns], match, most_cuts)


def _describe(
    land: Landscape,
    peaks: pd.DataFrame,
    cuts: TrackSource,
    mappability: TrackSource | None,
    rules: WindowRules,
    tiles: Tiles,
    funnel: Funnel,
) -> pd.DataFrame:
    """Count cuts and mappability in the peaks' windows, and in all tiles that are clear and known; keep these."""
    starts, rows = window_starts(peaks, land.lengths, rules.window_bp), peaks.groupby("chrom").indices
    of_peaks = {name: np.zeros(len(peaks)) for name in ("cuts", MAPPABILITY)[: 2 if mappability else 1]}
    n_tiles = n_clear = n_known = 0
    for number, contig in enumerate(land.lengths):
        codes = land.genome.codes(contig)
        values = _read_values(land, contig, codes, cuts, mappability)
        for row in rows.get(contig, ()):
            window = slice(starts[row], starts[row] + rules.window_bp)
            for name, array in values.items():
                of_peaks[name][row] = array[window].sum(dtype=np.float64)
        avoid = land.in_peak(contig) | land.in_excluded(contig)
        table = tile_background(codes, avoid, rules.window_bp, values)
        clear = ~table["avoided"].to_numpy(bool)
        known = (table["unknown"] <= rules.max_unknown_fraction).to_numpy() & table["gc"].notna().to_numpy()
        usable = table.loc[clear & known].drop(columns=["avoided", "unknown"])
        small = {name: usable[name].astype(np.float32) for name in values}
        tiles.add(_mean_mappability(usable.assign(contig=np.int32(number), **small), rules))
        n_tiles, n_clear, n_known = n_tiles + len(table), n_clear + int(clear.sum()), n_known + len(usable)
        del codes, values, avoid, table, usable  # before the next contig is read
    why = "they touch a peak or an excluded region"
    funnel.add("background tiles", n_clear, n_tiles - n_clear, why, of=BACKGROUND)
    why = f"more than {rules.max_unknown_fraction:.0%} of the window is unknown bases, or no base is known"
    funnel.add("background unknown bases", n_known, n_clear - n_known, why, of=BACKGROUND)
    return _mean_mappability(peaks.assign(**of_peaks), rules)


def _read_values(
    land: Landscape,
    contig: str,
    codes: NDArray[np.uint8],
    cuts: TrackSource,
    mappability: TrackSource | None,
) -> dict[str, NDArray[np.float32]]:
    """Read what is summed up over windows; cuts on bases that are not scored do not count."""
    scored = land.state(contig, codes) != NOT_SCORED
    values = {"cuts": np.where(scored, read_track(cuts, contig, codes.size, scored)[0], np.float32(0))}
    if mappability:
        values[MAPPABILITY] = share = read_track(mappability, contig, codes.size, scored)[0]
        if share.size and not 0 <= share.min() <= share.max() <= 1:
            raise InputError(
                f"values from {share.min():g} to {share.max():g} on {contig}, wanted shares in 0-1",
                where=f"track {MAPPABILITY} ({mappability.path})",
                remedy="rescale it, or give the track another name: background is matched on the one of this name",
            )
    return values


def _mean_mappability(table: pd.DataFrame, rules: WindowRules) -> pd.DataFrame:
    """Turn sums of mappability, where there are any, into means."""
    if MAPPABILITY not in table:
        return table
    return table.assign(**{MAPPABILITY: table[MAPPABILITY].to_numpy() / rules.window_bp})


def _most_cuts(cuts: NDArray[np.float64], ratio: float) -> float | None:
    """Return how many cuts a window may have; a cut count that some peak has, times `ratio`."""
    if not ratio or cuts.size < _LEAST_PEAKS:
        return None
    return ratio * float(np.quantile(cuts, _OUTLIER_QUANTILE, method="lower"))


def _part_outliers(
    peaks: pd.DataFrame, tiles: Tiles, most_cuts: float | None, rules: WindowRules, funnel: Funnel
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pass over tiles with more than `most_cuts` cuts, and return the peaks that have no more and those that have."""
    n_tiles = len(tiles)
    if most_cuts is None:
        cause = f"fewer than {_LEAST_PEAKS} peaks" if rules.outlier_ratio else "outlier_ratio is 0"
        why, note, keep = "", f"filter not applied: {cause}", np.ones(len(peaks), bool)
    else:
        why = "not trained on, too many cuts: PCR towers, collapsed repeats"
        note = f"limit {most_cuts:,.0f} cuts, {rules.outlier_ratio:g} times the 99th percentile of peaks"
        keep = peaks["cuts"].to_numpy() <= most_cuts
        tiles.most_cuts = most_cuts
    funnel.add("outliers", int(keep.sum()), int((~keep).sum()), why, of=PEAKS, note=note)
    funnel.add("background outliers", len(tiles), n_tiles - len(tiles), why, of=BACKGROUND, note=note)
    return peaks.loc[keep].reset_index(drop=True), peaks.loc[~keep].reset_index(drop=True)


def _match(
    peaks: pd.DataFrame, tiles: Tiles, features: list[str], ratio: float, seed: int, funnel: Funnel
) -> tuple[pd.DataFrame, Match]:
    """Choose the background windows and say how well they match."""

    def candidates() -> Iterator[Candidates]:
        for table in tiles:
            yield Candidates(table[features].to_numpy(), table["shifted"].to_numpy(bool))

    n_tiles = len(tiles)
    match = match_background(peaks[features].to_numpy(), candidates, ratio, np.random.default_rng(seed))
    words = "GC content and mappability" if len(features) > 1 else "GC content"
    if match.wanted and not match.chosen.size:
        raise InputError(
            f"none of {n_tiles} background windows has the {words} of a peak",
            where="background_ratio",
            cause="peaks cover the genome, or window_bp is too large for what lies between them",
            remedy="use a smaller window_bp, or background_ratio 0 for no background",
        )
    named = dict(zip(("GC", MAPPABILITY), match.ks_p, strict=False))
    note = (
        f"{match.wanted:,} wanted, of which {match.second_choices:,} may overlap others and {match.substituted:,} "
        f"are the next best; Kolmogorov-Smirnov p: {', '.join(f'{name} {p:.2g}' for name, p in named.items())}"
    )
    why = f"not needed, or without the {words} of a peak"
    kept = len(match.chosen)
    funnel.add("background matching", kept, n_tiles - kept, why, of=BACKGROUND, note=note)
    for name, p in named.items():
        if p <= 0.05:
            log.warning("%s of peaks and background DIFFER (Kolmogorov-Smirnov p = %.2g)", name, p)
    return tiles.take(match.chosen), match


def _in_genome_order(tables: list[pd.DataFrame], land: Landscape) -> pd.DataFrame:
    """Put tables one below the other, sorted by contig as in the genome, then by start."""
    regions = pd.concat(tables)
    order = {contig: rank for rank, contig in enumerate(land.lengths)}
    rank = np.array([order[chrom] for chrom in regions["chrom"]])
    return regions.assign(rank=rank).sort_values(["rank", "start"], kind="stable", ignore_index=True)
