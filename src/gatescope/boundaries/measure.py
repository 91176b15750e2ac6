"""How far does each unit fall at one kind of crossing, and how far by chance? The numbers.

Public names: `BoundarySettings`, `read_settings`, `GateData`, `Measured`, `measure`, `draw_contig_shifts`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.boundaries.null import CircularShiftNull
from gatescope.boundaries.profile import (
    CROSSINGS,
    MeanProfiles,
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
from gatescope.boundaries.verdict import VerdictRule
from gatescope.config import check_values
from gatescope.errors import InputError
from gatescope.resample import bootstrap_means, draw_shifts, interval
from gatescope.trace.units import DIRECTIONS, UnitStore

log = logging.getLogger(__name__)

#: Streams of random numbers: what one of them draws must not depend on how much another has drawn.
_SHIFTS, _BOOTSTRAP = 0, 1


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
        Replicates of the region bootstrap.
    controls : {"quick", "full"}
        Which controls the workflow makes.
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
    """Everything that is read: gates of the run and of its twin, regions, and the contigs of either split."""

    units: UnitStore
    twin: UnitStore
    n_units: int
    regions: pd.DataFrame
    test: dict[str, int]  # contig -> length in bp
    valid: dict[str, int]


class Measured(NamedTuple):
    """What one direction's units do at one crossing; the last row of a profile is the mean of all units."""

    sites: Sites  # of the test contigs
    forget: NDArray[np.float64]  # (H + 1, 2 * profile_bp)
    twin: NDArray[np.float64]  # (H + 1, 2 * profile_bp)
    null_low: NDArray[np.float64]  # (H + 1, 2 * profile_bp), 2.5th percentile at each offset
    null_high: NDArray[np.float64]  # (H + 1, 2 * profile_bp), 97.5th
    null_drop: NDArray[np.float64]  # (m, H)
    null_dip: NDArray[np.float64]  # (m, H)
    effects: pd.DataFrame  # one row per unit


def draw_contig_shifts(test: Mapping[str, int], replicates: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Draw the shifts of each test contig, shape (m,); all units, directions and crossings share them."""
    drawn = draw_shifts(list(test.values()), replicates, np.random.default_rng([seed, _SHIFTS]))
    return {contig: drawn[:, column] for column, contig in enumerate(test)}


def measure(
    data: GateData,
    direction: int,
    crossing: str,
    settings: BoundarySettings,
    shifts: dict[str, NDArray[np.int64]],
    seed: int,
) -> Measured:
    """Measure every unit of one direction at one crossing on the test contigs.

    Only `drop_valid` is measured on the validation contigs.

    Raises
    ------
    InputError
        If either split has no boundary to look at.
    """
    shape = settings.shape
    test, valid = (_find(data, split, direction, crossing, shape) for split in ("test", "valid"))
    null = CircularShiftNull(test, data.test, shifts, shape.profile_bp)
    rng = np.random.default_rng([seed, _BOOTSTRAP, direction, CROSSINGS.index(crossing)])
    observed = [_observe(data, test, valid, unit, shape) for unit in range(data.n_units)]
    intervals = _forget_interval(
        np.stack([each.at_minimum for each in observed], axis=1), settings.bootstraps, rng
    )
    return Measured(
        test,
        _with_mean([each.forget for each in observed]),
        _with_mean([each.twin for each in observed]),
        *_simulate(data, null, settings),
        pd.DataFrame([each.effects for each in observed]).assign(**intervals),
    )


class _Observed(NamedTuple):
    """What one unit does at the boundaries as they are."""

    forget: NDArray[np.float64]  # (2 * profile_bp,)
    twin: NDArray[np.float64]  # (2 * profile_bp,)
    effects: dict[str, float]
    at_minimum: NDArray[np.float64]  # (n,) logit at each boundary, at the offset of the minimum


def _observe(data: GateData, test: Sites, valid: Sites, unit: int, shape: ProfileShape) -> _Observed:
    """Average one unit's gate over the boundaries of run and twin."""
    profiles = mean_profiles(data.units, test, unit, shape.profile_bp)
    twin = mean_profiles(data.twin, test, unit, shape.profile_bp).forget
    on_valid = mean_profiles(data.units, valid, unit, shape.profile_bp).forget
    effects = {
        "n_boundaries": test.n,
        "n_boundaries_valid": valid.n,
        "drop_valid": float(drop(on_valid, shape)),
        **_effects(profiles, shape),
        "twin_drop": float(drop(twin, shape)),
    }
    at_minimum = gather(data.units, test, unit, np.array([effects["drop_offset"]]))[:, 0]
    return _Observed(profiles.forget, twin, effects, at_minimum)


def _simulate(
    data: GateData, null: CircularShiftNull, settings: BoundarySettings
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return null_low, null_high (H + 1, 2 * profile_bp), null_drop and null_dip (m, H)."""
    shape, n_units = settings.shape, data.n_units
    low, high = (np.zeros((n_units + 1, 2 * shape.profile_bp)) for _ in range(2))
    null_drop, null_dip = (np.zeros((settings.shifts, n_units)) for _ in range(2))
    mean = np.zeros((settings.shifts, 2 * shape.profile_bp))
    for unit in range(n_units):
        replicates = null.profiles(data.units, unit)
        null_drop[:, unit], null_dip[:, unit] = drop(replicates, shape), dip(replicates, shape)
        low[unit], high[unit] = interval(replicates)
        mean += replicates / n_units
    low[-1], high[-1] = interval(mean)
    return low, high, null_drop, null_dip


def _with_mean(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Stack profiles and add their mean as the last row."""
    return np.stack([*rows, np.mean(rows, axis=0)])


def _find(data: GateData, split: str, direction: int, crossing: str, shape: ProfileShape) -> Sites:
    """Find the boundaries of one split, say how many, and refuse none."""
    lengths = data.test if split == "test" else data.valid
    sites = find_sites(data.regions, lengths, direction, crossing, shape.profile_bp)
    named = f"{DIRECTIONS[direction]} {crossing}, {split} contigs"
    log.info("%s: %d boundaries, %d left out: profile leaves the contig", named, sites.n, sites.n_dropped)
    if sites.n == 0:
        raise InputError(
            f"no region boundary in {split} contigs {', '.join(lengths)} lies {shape.profile_bp} bp inside",
            where="config: folds",
            cause="contigs without peaks, or shorter than the profile",
            remedy="choose contigs with more peaks, or a smaller boundaries: profile_bp",
        )
    return sites


def _effects(profiles: MeanProfiles, shape: ProfileShape) -> dict[str, float]:
    """Return the effect sizes of one unit's mean profiles."""
    offset = int(drop_offset(profiles.forget, shape))
    at = shape.profile_bp + offset
    return {
        "drop_test": float(drop(profiles.forget, shape)),
        "drop_offset": offset,
        "lowest_offset": int(lowest_offset(profiles.forget, shape)),
        "flank": float(flank_mean(profiles.forget, shape)),
        "forget_min": float(profiles.forget[at]),
        "dip_test": float(dip(profiles.forget, shape)),
        "dip_logit_test": float(dip(profiles.logit, shape)),
        # half-life = ln(1/2) / ln f: the ratio of half-lives is the inverse ratio of ln f
        "log2_half_life_ratio": float(
            np.log2(flank_mean(profiles.log_forget, shape) / profiles.log_forget[at])
        ),
    }


def _forget_interval(
    logits: NDArray[np.float64], replicates: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return 95 % intervals of the mean over regions at each unit's minimum; `logits` is (n, H).

    The offset is held: a minimum searched anew in each resample would lie too low.
    """
    low, high = interval(bootstrap_means(expit(logits), replicates, rng))
    return {"forget_min_low": low, "forget_min_high": high}
