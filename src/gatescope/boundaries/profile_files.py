"""What is written about the profiles of one run? A table, two figures and four matrices.

Public names: `PROFILE_FILES`, `ProfileSource`, `Crossed`, `write_profiles`, `profile_table`, `profile_panel`,
`profile_band`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.figure import Panel, draw_profiles
from gatescope.boundaries.heatmap import HeatPanel, draw_heatmap, heat_rows
from gatescope.boundaries.matrix import matrix_file, write_matrix
from gatescope.boundaries.profile import (
    ProfileShape,
    Sites,
    UnitProfiles,
    WriteStore,
    forget_windows,
    offsets_of,
    unit_profiles,
)
from gatescope.boundaries.stretches import BLOCK_BP, BlockSums, Spans, block_band
from gatescope.files import write_table
from gatescope.genome.crossings import CROSSINGS
from gatescope.trace.units import LogitSource, UnitStore

log = logging.getLogger(__name__)

#: What `write_profiles` writes, as patterns.
PROFILE_FILES = ("profile.tsv", "profile.svg", "heatmap.png", "matrix.*.gz")
#: Stream of random numbers of the bands, apart from those of nulls and effect sizes.
_BANDS = 12


class ProfileSource(NamedTuple):
    """What the profiles are read from."""

    units: UnitStore
    writes: WriteStore | None  # None: the trace has not kept what its units write
    regions: pd.DataFrame  # the sites were found in these


class Crossed(NamedTuple):
    """What is known of one direction at one crossing; the last row of each array is the mean of all units."""

    sites: Sites  # of the test contigs, at least one boundary
    unit: int  # the chosen one
    null_low: NDArray[np.float64]  # (H + 1, 2 * profile_bp)
    null_high: NDArray[np.float64]  # (H + 1, 2 * profile_bp)
    twin: (
        NDArray[np.float64] | None
    )  # (H + 1, 2 * profile_bp), forget gates of the untrained twin, if there is one


def write_profiles(
    folder: Path,
    source: ProfileSource,
    crossed: Mapping[tuple[str, str], Crossed],
    shape: ProfileShape,
    *,
    run: str,
    lookahead_bp: int,
    bootstraps: int,
    seed: int,
    stretches: Spans | None = None,
    block_bp: int = BLOCK_BP,
) -> dict[str, Any]:
    """Write ``profile.tsv``, ``profile.svg``, ``heatmap.png`` and ``matrix.{direction}.{crossing}.gz``.

    Parameters
    ----------
    folder : Path
        Where to; exists.
    source : ProfileSource
    crossed : mapping of (direction, crossing) to Crossed
        All four of them.
    shape : ProfileShape
    run : str
        Name of the run, for the titles.
    lookahead_bp : int
        How far the network's stem sees ahead.
    bootstraps : int
        Replicates of the block bootstrap.
    seed : int
    stretches : mapping, optional
        The stretches of long contigs that the sites were found in.
    block_bp : int
        Length of a bootstrap block.

    Returns
    -------
    record : dict
        For ``verdict.json``: `block_bp`; `stretches`, contig -> list of [start, end]; `boundaries`,
        "direction crossing" -> `used`, `blocks`, `left_out_contig_end`, `left_out_stretches`.
    """
    tables, panels, heat, counted = [], {}, {}, {}
    for (direction, crossing), each in crossed.items():
        profiles = unit_profiles(
            source.units, source.writes, each.sites, len(each.null_low) - 1, shape.profile_bp
        )
        blocks, band = profile_band(source.units, each, shape, bootstraps, seed, block_bp)
        rows = heat_rows(source.units, each.sites, source.regions, each.unit, shape.profile_bp)
        tables.append(profile_table(direction, crossing, each, profiles, band, lookahead_bp))
        panels[direction, crossing] = profile_panel(each, profiles, band)
        mean = profiles.forget[each.unit]
        heat[direction, crossing] = HeatPanel(each.unit, each.sites.n, rows, mean, band)
        counted[f"{direction} {crossing}"] = _count(each.sites, blocks)
        path = folder / matrix_file(direction, crossing)
        write_matrix(path, source.units, each.sites, source.regions, each.unit, shape.profile_bp)
    write_table(folder / "profile.tsv", pd.concat(tables, ignore_index=True))
    draw_profiles(panels, shape, lookahead_bp, run, folder / "profile.svg")
    draw_heatmap(heat, shape, lookahead_bp, run, folder / "heatmap.png")
    return {"block_bp": block_bp, "stretches": _state(stretches or {}), "boundaries": counted}


def profile_band(
    units: LogitSource,
    each: Crossed,
    shape: ProfileShape,
    bootstraps: int,
    seed: int,
    block_bp: int = BLOCK_BP,
) -> tuple[BlockSums, NDArray[np.float64]]:
    """Return the blocks of the chosen unit's profile and its 95 % interval, shape (2, 2 * profile_bp)."""
    sites = each.sites
    rng = np.random.default_rng([seed, _BANDS, sites.direction, CROSSINGS.index(sites.crossing)])
    blocks = BlockSums.of(forget_windows(units, sites, each.unit, shape.profile_bp), block_bp)
    return blocks, block_band(blocks, bootstraps, rng)


def profile_table(
    direction: str,
    crossing: str,
    each: Crossed,
    profiles: UnitProfiles,
    band: NDArray[np.float64],
    lookahead_bp: int,
) -> pd.DataFrame:
    """Return one row per unit ("mean" last) and offset: the columns of ``profile.tsv``."""
    rows, columns = profiles.forget.shape
    offsets = np.tile(offsets_of(columns // 2), rows)
    bands = np.full((2, rows, columns), np.nan)
    bands[:, each.unit] = band
    table = {
        "direction": direction,
        "crossing": crossing,
        "unit": np.repeat([*map(str, range(rows - 1)), "mean"], columns),
        "offset": offsets,
        "sees_to": offsets + lookahead_bp,
        "forget": profiles.forget.ravel(),
        "forget_low": bands[0].ravel(),
        "forget_high": bands[1].ravel(),
        "logit": profiles.logit.ravel(),
        "half_life": profiles.half_life.ravel(),
        "write": profiles.write.ravel(),
        "null_low": each.null_low.ravel(),
        "null_high": each.null_high.ravel(),
        "twin": np.nan if each.twin is None else each.twin.ravel(),
    }
    return pd.DataFrame(table)


def profile_panel(each: Crossed, profiles: UnitProfiles, band: NDArray[np.float64]) -> Panel:
    """Take the chosen unit for the figure of the means."""
    unit = each.unit
    return Panel(
        unit=unit,
        n_boundaries=each.sites.n,
        chosen=profiles.forget[unit],
        band=band,
        null_low=each.null_low[unit],
        null_high=each.null_high[unit],
        twin=None if each.twin is None else each.twin[unit],
        unit_mean=profiles.forget[-1],
    )


def _count(sites: Sites, blocks: BlockSums) -> dict[str, int]:
    """Count boundaries and blocks."""
    return {
        "used": sites.n,
        "blocks": len(blocks.counts),
        "left_out_contig_end": sites.n_dropped,
        "left_out_stretches": sites.n_outside,
    }


def _state(stretches: Spans) -> dict[str, list[list[int]]]:
    """Say which stretches of long contigs were looked at."""
    for contig, spans in stretches.items():
        n_bp = int(np.diff(spans).sum())
        log.info("%s: only %d random stretches are looked at, %d bp in all", contig, len(spans), n_bp)
    return {contig: spans.tolist() for contig, spans in stretches.items()}
