"""Does the effect depend on who says where a region begins? The chosen units at other definitions of a boundary.

Public names: `collect_definitions`, `measure_definitions`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.definitions import as_called, half_rise, predicted, read_q_values, with_q_value
from gatescope.boundaries.measure import BLOCK_BP, BoundarySettings, GateData, mean_interval
from gatescope.boundaries.profile import find_sites
from gatescope.boundaries.retention import measure_windows, retention_ratio, usable_sites
from gatescope.errors import InputError
from gatescope.resample import label_blocks
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: -log10 of the q-values at which peaks are cut.
_LOG10_Q = (5.0, 10.0)
#: Stream of random numbers, beside those of `measure.py` and `evidence.py`.
_STREAM = 7


def collect_definitions(
    data: GateData, peaks: Path | str | None, predicted_state: Mapping[str, NDArray[np.float32]] | None
) -> dict[str, pd.DataFrame]:
    """Return regions `chrom, start, end` of the test contigs by every definition that there are data for.

    Parameters
    ----------
    data : GateData
    peaks : Path or str, optional
        The sample's narrowPeak file; where it states no q-values these cuts are left out, and the log says so.
    predicted_state : mapping of str to ndarray, shape (L,), optional
        By test contig: what the run predicts, see `gatescope.boundaries.definitions.predicted`.
    """
    regions = data.store.peaks
    found = {"as called": as_called(regions)}
    if peaks is not None:
        try:
            rows = read_q_values(peaks)
        except InputError as error:
            log.info("no cuts at q-values: %s", error)
        else:
            found |= {f"q <= 1e-{least:g}": with_q_value(regions, rows, least) for least in _LOG10_Q}
    found["half-rise of cut density"] = half_rise(
        regions, {contig: data.store.track(contig, "cuts") for contig in data.test}
    )
    if predicted_state is not None:
        found["predicted state"] = predicted(predicted_state)
    return found


def measure_definitions(
    data: GateData,
    chosen: Mapping[str, int],
    definitions: Mapping[str, pd.DataFrame],
    settings: BoundarySettings,
    seed: int,
) -> pd.DataFrame:
    """Return R of the chosen units at their entries, one row per definition and direction.

    Columns `definition, direction, unit, n_boundaries, r, r_low, r_high`; the interval is that of the verdict, and NaN
    where a definition leaves no boundary.
    """
    rows = []
    for name, regions in definitions.items():
        free = data.free_of(regions, settings.shape.dip_bp)
        for index, direction in enumerate(DIRECTIONS):
            shape, unit = settings.shape, chosen[direction]
            sites = find_sites(regions, data.test, index, "entry", shape.profile_bp, data.stretches)
            sites = usable_sites(sites, data.bases, free, shape)
            row = {"definition": name, "direction": direction, "unit": unit, "n_boundaries": sites.n}
            r, low, high = np.nan, np.nan, np.nan
            if sites.n:
                windows = data.cut(data.places_of(sites), shape, free)
                means = measure_windows(data.units, index, [unit], data.bases, {name: windows})[name]
                each = retention_ratio(means, shape)[:, 0]
                blocks = label_blocks(sites.positions, BLOCK_BP)
                rng = np.random.default_rng([seed, _STREAM, index])
                r, (low, high) = float(each.mean()), mean_interval(each, blocks, settings, rng)
            rows.append({**row, "r": r, "r_low": low, "r_high": high})
    return pd.DataFrame(rows)
