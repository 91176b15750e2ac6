"""What does each unit do at boundaries, and what would chance give? The numbers of both crossings of a direction.

Public names: `BoundarySettings`, `read_settings`, `GateData`, `Measured`, `measure`, `draw_shifts_of`, `mean_interval`,
`profile_effects`, `minimum_interval`, `only_inside`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.boundaries.null import ShiftedMeans, draw_contig_shifts, shift_windows
from gatescope.boundaries.profile import (
    ProfileShape,
    Sites,
    dip,
    drop,
    drop_offset,
    find_sites,
    flank_mean,
    gather,
    lowest_offset,
    mean_profiles,
)
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
    measure_windows,
    retention_ratio,
    usable_sites,
)
from gatescope.boundaries.rule import VerdictRule
from gatescope.boundaries.stretches import BLOCK_BP, draw_stretches
from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.errors import InputError
from gatescope.genome.crossings import CROSSINGS
from gatescope.resample import bootstrap_means, interval, label_blocks
from gatescope.settings import check_values
from gatescope.trace.units import DIRECTIONS, LogitSource, UnitStore

log = logging.getLogger(__name__)

#: Streams of random numbers: what one of them draws must not depend on how much another has drawn.
_SHIFTS, _BOOTSTRAP, _STRETCHES = 0, 1, 11


@dataclass(frozen=True)
class BoundarySettings:
    """Hold the settings of the stage.

    Attributes
    ----------
    shape : ProfileShape
        Lengths in bp.
    rule : VerdictRule
        Declared thresholds.
    shifts : int
        Replicates of the circular-shift null.
    bootstraps : int
        Replicates of the block bootstrap.
    controls : {"quick", "full"}
        "full" needs the twin trained on rotated targets; with "quick" a verdict is at most provisional.
    """

    shape: ProfileShape
    rule: VerdictRule
    shifts: int = 999
    bootstraps: int = 1000
    controls: str = "quick"

    def __post_init__(self) -> None:
        if min(self.shifts, self.bootstraps) < 1:
            raise InputError(
                f"shifts {self.shifts}, bootstraps {self.bootstraps}; wanted at least 1 each",
                where="config: boundaries",
            )
        if self.controls not in ("quick", "full"):
            raise InputError(f"controls {self.controls!r}; wanted quick or full", where="config: boundaries")


def read_settings(settings: Mapping[str, Any]) -> BoundarySettings:
    """Sort a flat mapping, the `boundaries` section of the config, into `BoundarySettings`.

    Raises
    ------
    InputError
        If a key is unknown, a value is of another type, or the values do not fit each other.
    """
    shape, rule = get_type_hints(ProfileShape), get_type_hints(VerdictRule)
    own = {"shifts": int, "bootstraps": int, "controls": str}
    values = check_values(settings, {**shape, **rule, **own}, "config: boundaries")
    picked = [{key: value for key, value in values.items() if key in names} for names in (shape, rule, own)]
    return BoundarySettings(ProfileShape(**picked[0]), VerdictRule(**picked[1]), **picked[2])


class GateData(NamedTuple):
    """Everything that is read: gates of the run and of its twins, the store, and the contigs of either split."""

    units: UnitStore
    twins: dict[str, UnitStore]  # "untrained", and "shuffled" where it was traced
    n_units: int
    store: EncodedStore
    test: dict[str, int]  # contig -> length in bp
    valid: dict[str, int]
    bases: dict[str, ScoredBases]  # of both splits
    free: dict[str, Stretches]  # where flanks may lie
    stretches: dict[str, NDArray[np.int64]]  # what is looked at of long contigs

    @classmethod
    def of(
        cls,
        units: UnitStore,
        twins: dict[str, UnitStore],
        store: EncodedStore,
        fold: Mapping[str, Any],
        dip_bp: int,
        seed: int,
    ) -> "GateData":
        """Open what is needed of a fold; of long contigs what lies outside their stretches counts as masked."""
        test, valid = (
            {contig: store.lengths[contig] for contig in fold[split]} for split in ("test", "valid")
        )
        stretches = draw_stretches({**test, **valid}, np.random.default_rng([seed, _STRETCHES]))
        bases = {c: ScoredBases(only_inside(store.state(c), stretches.get(c))) for c in (*test, *valid)}
        opened = cls(units, twins, units.n_units(fold["test"][0]), store, test, valid, bases, {}, stretches)
        return opened._replace(free=opened.free_of(store.peaks, dip_bp))

    def free_of(self, regions: pd.DataFrame, dip_bp: int) -> dict[str, Stretches]:
        """Return where flanks may lie, by contig, if these are the regions."""
        free = {}
        for contig, each in self.bases.items():
            edges = regions.loc[regions["chrom"] == contig, ["start", "end"]].to_numpy(np.int64).ravel()
            free[contig] = find_free(each.places(edges), each.n, dip_bp)
        return free

    def cut(
        self,
        places: Mapping[str, NDArray[np.int64]],
        shape: ProfileShape,
        free: Mapping[str, Stretches] | None = None,
    ) -> dict[str, Windows]:
        """Cut the windows of places by contig; `free` says where flanks may lie, if not beside the called regions."""
        free = free or self.free
        return {
            contig: cut_windows(at, free[contig], self.bases[contig].n, shape)
            for contig, at in places.items()
        }

    def places_of(self, sites: Sites) -> dict[str, NDArray[np.int64]]:
        """Return the places of boundaries by contig, in scored bases."""
        return {contig: self.bases[contig].places(at) for contig, at in sites.positions.items()}


def only_inside(state: NDArray[np.uint8], spans: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Return the state of a contig with all that lies outside its stretches masked."""
    if spans is None:
        return state
    masked = np.full_like(state, NOT_SCORED)
    for start, end in spans.tolist():
        masked[start:end] = state[start:end]
    return masked


class Measured(NamedTuple):
    """What one direction's units do at one crossing; the last row of a profile is the mean of all units."""

    sites: Sites  # of the test contigs
    blocks: NDArray[np.int64]  # (n,) block of each boundary
    forget: NDArray[np.float64]  # (H + 1, 2 * profile_bp)
    twin: NDArray[np.float64]  # (H + 1, 2 * profile_bp), untrained
    null_low: NDArray[np.float64]  # (H + 1,), 2.5th percentile of the mean forget gate at shifted boundaries
    null_high: NDArray[np.float64]  # (H + 1,), 97.5th
    r: NDArray[np.float64]  # (n, H) R of each boundary
    twin_r: dict[str, NDArray[np.float64]]  # twin -> (n, H)
    twin_eligible: dict[str, NDArray[np.bool_]]  # twin -> (H,)
    null_r: NDArray[np.float64]  # (m, H); NaN where every window crossed a seam
    effects: pd.DataFrame  # one row per unit


def draw_shifts_of(data: GateData, replicates: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Draw the shifts of each test contig, shape (m,); all units, directions and crossings share them."""
    test = {contig: data.bases[contig] for contig in data.test}
    return draw_contig_shifts(test, replicates, np.random.default_rng([seed, _SHIFTS]))


def measure(
    data: GateData,
    direction: int,
    settings: BoundarySettings,
    shifts: Mapping[str, NDArray[np.int64]],
    seed: int,
    threads: int = 1,
) -> dict[str, Measured]:
    """Measure every unit of one direction on the test contigs, at each crossing.

    Only `r_valid` and `is_eligible_valid` are measured on the validation contigs.

    Raises
    ------
    InputError
        If either split has no boundary to look at.
    """
    shape, which = settings.shape, range(data.n_units)
    test, valid = (
        {crossing: _find(data, split, direction, crossing, shape) for crossing in CROSSINGS}
        for split in ("test", "valid")
    )
    windows = {crossing: data.cut(data.places_of(sites), shape) for crossing, sites in test.items()}
    on_valid = {crossing: data.cut(data.places_of(sites), shape) for crossing, sites in valid.items()}
    logs = measure_windows(data.units, direction, which, data.bases, windows)
    logits = measure_windows(data.units, direction, which, data.bases, windows, as_is)
    valid_logs = measure_windows(data.units, direction, which, data.bases, on_valid)
    twins = {
        name: measure_windows(twin, direction, which, data.bases, windows)
        for name, twin in data.twins.items()
    }
    null = shift_windows(data.units, direction, which, data.bases, windows, shifts, shape, threads)
    found = {}
    for number, crossing in enumerate(CROSSINGS):
        rng = np.random.default_rng([seed, _BOOTSTRAP, direction, number])
        at = {name: each[crossing] for name, each in twins.items()}
        effects = _retention_effects(logs[crossing], valid_logs[crossing], settings).assign(
            cohens_d=cohens_d(logits[crossing]), n_boundaries_valid=valid[crossing].n
        )
        found[crossing] = _assemble(
            data, test[crossing], logs[crossing], at, null[crossing], effects, settings, rng
        )
    return found


def _assemble(
    data: GateData,
    sites: Sites,
    logs: WindowMeans,
    twins: Mapping[str, WindowMeans],
    null: ShiftedMeans,
    effects: pd.DataFrame,
    settings: BoundarySettings,
    rng: np.random.Generator,
) -> Measured:
    """Add profiles, intervals and null bands of one crossing."""
    shape, level = settings.shape, settings.rule.interval_level
    blocks = label_blocks(sites.positions, BLOCK_BP)
    r = retention_ratio(logs, shape)
    r_draws = bootstrap_means(r, settings.bootstraps, rng, blocks)
    (r_low, r_high), (r_low_95, r_high_95) = interval(r_draws, level), interval(r_draws)
    own = [mean_profiles(data.units, sites, unit, shape.profile_bp) for unit in range(data.n_units)]
    untrained = [
        mean_profiles(data.twins["untrained"], sites, unit, shape.profile_bp).forget
        for unit in range(data.n_units)
    ]
    of_profiles = pd.DataFrame([profile_effects(each.forget, shape) for each in own])
    minima = minimum_interval(data.units, sites, of_profiles["drop_offset"].tolist(), blocks, settings, rng)
    with_mean = np.concatenate([null.forget, null.forget.mean(1, keepdims=True)], axis=1)
    effects = effects.assign(
        n_boundaries=sites.n,
        n_blocks=int(blocks.max()) + 1,
        r_low=r_low,
        r_high=r_high,
        r_low_95=r_low_95,
        r_high_95=r_high_95,
        **of_profiles.to_dict("series"),
        **minima,
    )
    null_low, null_high = interval(with_mean)
    least = settings.rule.min_half_life_bp
    return Measured(
        sites=sites,
        blocks=blocks,
        forget=_with_mean([each.forget for each in own]),
        twin=_with_mean(untrained),
        null_low=null_low,
        null_high=null_high,
        r=r,
        twin_r={name: retention_ratio(each, shape) for name, each in twins.items()},
        twin_eligible={name: half_life_bp(each) >= least for name, each in twins.items()},
        null_r=null.r,
        effects=effects,
    )


def mean_interval(
    values: NDArray[np.float64],
    blocks: NDArray[np.int64],
    settings: BoundarySettings,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the block-bootstrap interval of a mean over boundaries, at the declared level; shapes (n,)."""
    low, high = interval(
        bootstrap_means(values, settings.bootstraps, rng, blocks), settings.rule.interval_level
    )
    return float(low), float(high)


def _retention_effects(logs: WindowMeans, valid: WindowMeans, settings: BoundarySettings) -> pd.DataFrame:
    """Return R and what goes with it, one row per unit."""
    near_bp, least = 2 * settings.shape.dip_bp, settings.rule.min_half_life_bp
    half_life, half_life_valid = half_life_bp(logs), half_life_bp(valid)
    return pd.DataFrame(
        {
            "r_valid": retention_ratio(valid, settings.shape).mean(0),
            "is_eligible_valid": half_life_valid >= least,
            "r": retention_ratio(logs, settings.shape).mean(0),
            "half_life_bp": half_life,
            "is_eligible": (half_life >= least) & (half_life_valid >= least),
            "kept_near": np.exp(near_bp * logs.near.mean(0)),
            "kept_flank": np.exp(near_bp * logs.flank.mean(0)),
        }
    )


def _with_mean(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack profiles and add their mean as the last row."""
    return np.stack([*rows, np.mean(rows, axis=0)])


def _find(data: GateData, split: str, direction: int, crossing: str, shape: ProfileShape) -> Sites:
    """Find the boundaries of one split, say how many, and refuse none."""
    lengths = data.test if split == "test" else data.valid
    sites = find_sites(data.store.peaks, lengths, direction, crossing, shape.profile_bp, data.stretches)
    sites = usable_sites(sites, data.bases, data.free, shape)
    log.info(
        "%s %s, %s contigs: %d boundaries, %d left out: too near the end of a contig, masked bases or other boundaries",
        DIRECTIONS[direction],
        crossing,
        split,
        sites.n,
        sites.n_dropped,
    )
    if sites.n == 0:
        raise InputError(
            f"no region boundary in {split} contigs {', '.join(lengths)} lies {shape.profile_bp} bp inside",
            where="config: folds",
            cause="contigs without peaks, shorter than the profile, or masked where the peaks are",
            remedy="choose contigs with more peaks, or a smaller boundaries: profile_bp",
        )
    return sites


def profile_effects(forget: NDArray[np.float64], shape: ProfileShape) -> dict[str, float]:
    """Return what stands beside R: effect sizes of one unit's mean profile, shape (2 * profile_bp,)."""
    offset = int(drop_offset(forget, shape))
    return {
        "dip_test": float(dip(forget, shape)),
        "drop_test": float(drop(forget, shape)),
        "drop_offset": offset,
        "lowest_offset": int(lowest_offset(forget, shape)),
        "flank": float(flank_mean(forget, shape)),
        "forget_min": float(forget[shape.profile_bp + offset]),
    }


def minimum_interval(
    units: LogitSource,
    sites: Sites,
    offsets: list[int],
    blocks: NDArray[np.int64],
    settings: BoundarySettings,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """Return 95 % intervals of the mean forget gate at each unit's minimum.

    The offset is held: a minimum searched anew in each resample would lie too low.
    """
    logits = [gather(units, sites, unit, np.array([offset]))[:, 0] for unit, offset in enumerate(offsets)]
    means = bootstrap_means(expit(np.stack(logits, axis=1)), settings.bootstraps, rng, blocks)
    low, high = interval(means)
    return {"forget_min_low": low, "forget_min_high": high}
