"""What does each gate track do at boundaries, and what would chance give? `measure.py` for tracks alone.

Public names: `TrackData`, `TrackMeasured`, `measure_tracks`.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.gate_tracks import TrackUnits
from gatescope.boundaries.measure import BoundarySettings, minimum_interval, only_inside, profile_effects
from gatescope.boundaries.null import ShiftedMeans, shift_windows
from gatescope.boundaries.profile import ProfileShape, Sites, UnitProfiles, find_sites, unit_profiles
from gatescope.boundaries.retention import (
    ScoredBases,
    Stretches,
    WindowMeans,
    Windows,
    as_is,
    cohens_d,
    cut_windows,
    find_free,
    half_life_bp,
    log_forget,
    measure_windows,
    retention_ratio,
    usable_sites,
)
from gatescope.boundaries.stretches import BLOCK_BP, draw_stretches
from gatescope.data.store import NOT_SCORED
from gatescope.errors import InputError
from gatescope.genome.crossings import CROSSINGS
from gatescope.resample import bootstrap_means, interval, label_blocks
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: Streams of random numbers, as in `measure.py`.
_BOOTSTRAP, _STRETCHES = 1, 11


class TrackData(NamedTuple):
    """Everything that is read: tracks, regions, and the contigs of either split."""

    units: TrackUnits
    regions: pd.DataFrame  # merged
    test: dict[str, int]  # contig -> length in bp
    valid: dict[str, int]
    bases: dict[str, ScoredBases]  # of both; a base without a value in any track is masked
    free: dict[str, Stretches]  # where flanks may lie
    stretches: dict[str, NDArray[np.int64]]  # what is looked at of long contigs

    @classmethod
    def of(
        cls,
        units: TrackUnits,
        regions: pd.DataFrame,
        lengths: Mapping[str, int],
        test: Sequence[str],
        dip_bp: int,
        seed: int,
    ) -> "TrackData":
        """Find what is scored of contigs; those of `lengths` that are not in `test` are for validation."""
        stretches = draw_stretches(lengths, np.random.default_rng([seed, _STRETCHES]))
        bases, free = {}, {}
        for contig in lengths:
            state = np.where(units.is_known(contig), 0, NOT_SCORED).astype(np.uint8)
            bases[contig] = each = ScoredBases(only_inside(state, stretches.get(contig)))
            edges = regions.loc[regions["chrom"] == contig, ["start", "end"]].to_numpy(np.int64).ravel()
            free[contig] = find_free(each.places(edges), each.n, dip_bp)
        valid = {contig: length for contig, length in lengths.items() if contig not in test}
        return cls(units, regions, {c: lengths[c] for c in test}, valid, bases, free, stretches)

    def places_of(self, sites: Sites) -> dict[str, NDArray[np.int64]]:
        """Return the places of boundaries by contig, in scored bases."""
        return {contig: self.bases[contig].places(at) for contig, at in sites.positions.items()}

    def cut(self, sites: Sites, shape: ProfileShape) -> dict[str, Windows]:
        """Cut the windows of boundaries by contig."""
        return {
            contig: cut_windows(at, self.free[contig], self.bases[contig].n, shape)
            for contig, at in self.places_of(sites).items()
        }


class TrackMeasured(NamedTuple):
    """What the tracks of one direction do at one crossing of the test contigs."""

    sites: Sites
    profiles: UnitProfiles
    null: ShiftedMeans  # (m, U) each
    effects: pd.DataFrame  # one row per track


class _Means(NamedTuple):
    """Window means of ln f, of the least and the most that it can have been before rounding, and of logits."""

    logs: WindowMeans
    least: WindowMeans
    most: WindowMeans
    logits: WindowMeans


def measure_tracks(
    data: TrackData,
    direction: int,
    settings: BoundarySettings,
    shifts: Mapping[str, NDArray[np.int64]],
    seed: int,
    threads: int = 1,
) -> dict[str, TrackMeasured]:
    """Measure every track of one direction at each crossing; `r_valid` is NaN without validation contigs.

    Raises
    ------
    InputError
        If there is no boundary to look at.
    """
    shape, units = settings.shape, data.units
    which = range(len(units.tracks[DIRECTIONS[direction]]))
    test = {crossing: _find(data, data.test, direction, crossing, shape) for crossing in CROSSINGS}
    windows = {crossing: data.cut(sites, shape) for crossing, sites in test.items()}
    means_of = partial(measure_windows, units, direction, which, data.bases)
    kinds = (log_forget, units.least_log_forget, units.most_log_forget, as_is)
    means = [means_of(windows, of) for of in kinds]
    null = shift_windows(units, direction, which, data.bases, windows, shifts, shape, threads)
    valid = {
        crossing: _find(data, data.valid, direction, crossing, shape) for crossing in CROSSINGS if data.valid
    }
    on_valid = means_of({crossing: data.cut(sites, shape) for crossing, sites in valid.items()})
    found = {}
    for number, crossing in enumerate(CROSSINGS):
        rng = np.random.default_rng([seed, _BOOTSTRAP, direction, number])
        each = _Means(*(kind[crossing] for kind in means))
        sites = test[crossing]
        profiles = unit_profiles(units, None, sites, len(which), shape.profile_bp)
        effects = _effects(data, sites, each, on_valid.get(crossing), profiles, settings, rng)
        n_valid = valid[crossing].n if valid else 0
        effects = effects.assign(n_boundaries_valid=n_valid)
        found[crossing] = TrackMeasured(sites, profiles, null[crossing], effects)
    return found


def _effects(
    data: TrackData,
    sites: Sites,
    means: _Means,
    valid: WindowMeans | None,
    profiles: UnitProfiles,
    settings: BoundarySettings,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return one row per track; intervals leave room for what rounding may have done to R."""
    shape, rule = settings.shape, settings.rule
    blocks = label_blocks(sites.positions, BLOCK_BP)
    r = retention_ratio(means.logs, shape)
    least = retention_ratio(WindowMeans(means.least.near, means.most.flank), shape)
    most = retention_ratio(WindowMeans(means.most.near, means.least.flank), shape)
    draws = bootstrap_means(np.stack([least, most]).swapaxes(0, 1), settings.bootstraps, rng, blocks)
    (low, high), (low_95, high_95) = (_outer(draws, level) for level in (rule.interval_level, 0.95))
    half_life = half_life_bp(means.logs)
    is_held = half_life >= rule.min_half_life_bp
    nothing = np.full(len(half_life), np.nan)
    held_valid = is_held if valid is None else half_life_bp(valid) >= rule.min_half_life_bp
    of_profiles = pd.DataFrame([profile_effects(forget, shape) for forget in profiles.forget[:-1]])
    offsets = of_profiles["drop_offset"].tolist()
    near_bp = 2 * shape.dip_bp
    return pd.DataFrame(
        {
            "r_valid": nothing if valid is None else retention_ratio(valid, shape).mean(0),
            "is_eligible_valid": held_valid,
            "r": r.mean(0),
            "half_life_bp": half_life,
            "is_eligible": is_held & held_valid,
            "kept_near": np.exp(near_bp * means.logs.near.mean(0)),
            "kept_flank": np.exp(near_bp * means.logs.flank.mean(0)),
            "cohens_d": cohens_d(means.logits),
            "n_boundaries": sites.n,
            "n_blocks": int(blocks.max()) + 1,
            "r_low": low,
            "r_high": high,
            "r_low_95": low_95,
            "r_high_95": high_95,
            "r_least": least.mean(0),
            "r_most": most.mean(0),
            **of_profiles.to_dict("series"),
            **minimum_interval(data.units, sites, offsets, blocks, settings, rng),
        }
    )


def _outer(draws: NDArray[np.float64], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower end of the interval of the least and the upper end of that of the most, from (m, 2, U)."""
    low, high = interval(draws, level)
    return low[0], high[1]


def _find(
    data: TrackData, lengths: Mapping[str, int], direction: int, crossing: str, shape: ProfileShape
) -> Sites:
    """Find the boundaries whose whole profile is known, say how many, and refuse none."""
    sites = find_sites(data.regions, lengths, direction, crossing, shape.profile_bp, data.stretches)
    sites = _without_gaps(usable_sites(sites, data.bases, data.free, shape), data.bases, shape.profile_bp)
    log.info(
        "%s %s on %s: %d boundaries, %d left out: too near the end of a contig, gaps or other boundaries",
        *(DIRECTIONS[direction], crossing, ", ".join(lengths), sites.n, sites.n_dropped),
    )
    if sites.n == 0:
        raise InputError(
            f"no region boundary on {', '.join(lengths)} lies {shape.profile_bp} bp inside the tracks",
            where="--regions",
            cause="contigs without regions, shorter than the profile, or tracks with gaps where the regions are",
            remedy="name contigs with more regions, or set a smaller profile_bp",
        )
    return sites


def _without_gaps(sites: Sites, bases: Mapping[str, ScoredBases], profile_bp: int) -> Sites:
    """Leave out boundaries with a gap in their profile."""
    positions = {}
    for contig, at in sites.positions.items():
        whole = at[bases[contig].is_unbroken(bases[contig].places(at), profile_bp)]
        if len(whole):
            positions[contig] = whole
    fewer = sites._replace(positions=positions)
    return fewer._replace(n_dropped=sites.n_dropped + sites.n - fewer.n)
