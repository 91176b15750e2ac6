"""What does the verdict of a direction rest on? The chosen unit's numbers, beside twins and controls.

Public names: `choose_unit`, `direction_evidence`, `jitter_evidence`, `chance`.
"""

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from gatescope.boundaries.controls import JITTER_BP, jitter_places, match_gc
from gatescope.boundaries.measure import BoundarySettings, GateData, Measured, mean_interval
from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.retention import (
    ScoredBases,
    Stretches,
    cut_windows,
    measure_windows,
    retention_ratio,
)
from gatescope.boundaries.rule import (
    DirectionEvidence,
    JitterEvidence,
    ModeEvidence,
    PseudoEvidence,
    TwinEvidence,
)
from gatescope.resample import interval, max_p, standardise, two_sided_p
from gatescope.trace.units import DIRECTIONS, LogitSource

log = logging.getLogger(__name__)

#: Streams of random numbers, beside those of `measure.py`.
_TWINS, _JITTER, _PSEUDO = 2, 3, 4


def choose_unit(effects: pd.DataFrame) -> int:
    """Return the unit with the most negative R on the validation contigs, of those that hold a memory there.

    If none does, of all: it is shown, and the verdict says that there is nothing to reset.
    """
    r = effects["r_valid"].where(effects["is_eligible_valid"], np.inf)
    return int((r if np.isfinite(r).any() else effects["r_valid"]).argmin())


def direction_evidence(
    data: GateData,
    measured: Measured,
    row: Mapping[str, Any],
    settings: BoundarySettings,
    seed: int,
    modes: ModeEvidence | None = None,
) -> DirectionEvidence:
    """Collect what one direction's chosen unit does at entries, and run its controls.

    Parameters
    ----------
    data : GateData
    measured : Measured
        Of the entries of the direction.
    row : mapping
        The chosen unit's row of ``units.tsv``, with `n_tests`.
    settings : BoundarySettings
    seed : int
    modes : ModeEvidence, optional
        How the memory of the chosen unit changes at these boundaries.
    """
    unit, direction = int(row["unit"]), measured.sites.direction
    log.info("%s: controls of unit %d", DIRECTIONS[direction], unit)
    names = {field.name for field in fields(DirectionEvidence)}
    taken = {key: value for key, value in row.items() if key in names}
    return DirectionEvidence(
        **taken,
        offset=int(row["drop_offset"]),
        twins=_twins(measured, unit, settings, np.random.default_rng([seed, _TWINS, direction])),
        pseudo=_pseudo(data, measured, unit, settings, np.random.default_rng([seed, _PSEUDO, direction])),
        jitter=jitter_evidence(
            data.units,
            direction,
            unit,
            data.places_of(measured.sites),
            data.bases,
            data.free,
            settings.shape,
            seed,
        ),
        modes=modes,
    )


def _twins(
    measured: Measured, unit: int, settings: BoundarySettings, rng: np.random.Generator
) -> tuple[TwinEvidence, ...]:
    """Compare with the same unit of each twin and with its most falling one, if it is another."""
    found = []
    for name, r in measured.twin_r.items():
        falls = np.where(measured.twin_eligible[name], r.mean(0), np.inf)
        lowest = int(falls.argmin())
        rivals = [unit] if lowest == unit or np.isinf(falls[lowest]) else [unit, lowest]
        for rival in rivals:
            difference = measured.r[:, unit] - r[:, rival]
            low, high = mean_interval(difference, measured.blocks, settings, rng)
            found.append(
                TwinEvidence(
                    twin=name,
                    unit=rival,
                    is_same_index=rival == unit,
                    r=float(r[:, rival].mean()),
                    difference=float(difference.mean()),
                    low=low,
                    high=high,
                )
            )
    return tuple(found)


def jitter_evidence(
    units: LogitSource,
    direction: int,
    unit: int,
    places: Mapping[str, NDArray[np.int64]],
    bases: Mapping[str, ScoredBases],
    free: Mapping[str, Stretches],
    shape: ProfileShape,
    seed: int,
) -> tuple[JitterEvidence, ...]:
    """Measure a unit at boundaries moved a little; `places` by contig, in scored bases (`jitter_places`)."""
    rng = np.random.default_rng([seed, _JITTER, direction])
    moved = {bp: jitter_places(places, bases, free, shape, bp, rng) for bp in JITTER_BP}
    windows = {
        bp: {contig: cut_windows(at, free[contig], bases[contig].n, shape) for contig, at in each.items()}
        for bp, each in moved.items()
        if each
    }
    means = measure_windows(units, direction, [unit], bases, windows)
    return tuple(
        JitterEvidence(bp, len(each.near), float(retention_ratio(each, shape).mean()))
        for bp, each in means.items()
    )


def _pseudo(
    data: GateData, measured: Measured, unit: int, settings: BoundarySettings, rng: np.random.Generator
) -> PseudoEvidence | None:
    """Measure the unit at places of like GC content; None if there is none."""
    at, shape = data.places_of(measured.sites), settings.shape
    codes = {contig: data.bases[contig].pick(data.store.codes(contig)) for contig in at}
    matches = match_gc(at, codes, data.bases, data.free, shape, rng)
    if not len(matches.real):
        return None
    places, order = _by_contig(list(at), matches.contigs, matches.places)
    windows = {"pseudo": data.cut(places, shape)}
    means = measure_windows(data.units, measured.sites.direction, [unit], data.bases, windows)["pseudo"]
    r = np.empty(len(order))
    r[order] = retention_ratio(means, shape)[:, 0]
    difference = measured.r[matches.real, unit] - r
    blocks = np.unique(measured.blocks[matches.real], return_inverse=True)[1]
    low, high = mean_interval(difference, blocks, settings, rng)
    return PseudoEvidence(
        n=len(r),
        r=float(r.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        gc_step=float(matches.step.mean()),
        real_gc_step=float(matches.real_step.mean()),
    )


def _by_contig(
    names: list[str], contigs: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Group places by contig, and return with them which place each of the grouped ones was."""
    order = np.lexsort((places, contigs))
    groups = {name: places[order[contigs[order] == number]] for number, name in enumerate(names)}
    return {name: each for name, each in groups.items() if len(each)}, order


def chance(r: NDArray[np.float64], null: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what circular shifts say of R of K tests, shape (K,) each; `null` has shape (m, K)."""
    # a replicate without a window counts as extreme as what was seen
    null = np.where(np.isnan(null), r, null)
    low, high = interval(null)
    p = two_sided_p(r, null)
    return {
        "null_r_mean": null.mean(0),
        "null_r_low": low,
        "null_r_high": high,
        "z": standardise(r, null)[0],
        "p": p,
        "p_fwer": max_p(r, null),
        "q": false_discovery_control(p),
    }
