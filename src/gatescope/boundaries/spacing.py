"""How far is it from one event to the next, and to a boundary? Histograms beside those of the background.

Public names: `spacing_table`, `next_distances`, `boundary_offsets`, `MEASURES`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.events import Events
from gatescope.boundaries.profile import find_sites
from gatescope.genome.crossings import CROSSINGS
from gatescope.trace.units import DIRECTIONS

#: What is measured: bp to the next event to the right, and offset from the nearest boundary of either crossing.
MEASURES = ("next", *CROSSINGS)
#: Histograms reach this far, in bins of this width; what lies beyond is in a bin without end.
_FAR_BP, _BIN_BP = 500, 10


def spacing_table(
    events: Events,
    background: Events,
    regions: pd.DataFrame,
    lengths: Mapping[str, int],
    direction: int,
) -> pd.DataFrame:
    """Count distances of events and of their background positions.

    Parameters
    ----------
    events, background : Events
    regions : DataFrame
        Accessible regions, `chrom, start, end`.
    lengths : mapping of str to int
    direction : int

    Returns
    -------
    DataFrame
        `measure` (one of `MEASURES`), `bp_low`, `bp_high` (half-open; infinite at the ends), `n_events`,
        `n_background`.
    """
    edges = np.arange(-_FAR_BP, _FAR_BP + 1, _BIN_BP, dtype=float)
    tables = []
    for measure in MEASURES:
        bins = np.concatenate([[-np.inf], edges, [np.inf]]) if measure in CROSSINGS else edges[edges >= 0]
        bins = bins if measure in CROSSINGS else np.append(bins, np.inf)
        counts = [
            np.histogram(_measure(each, measure, regions, lengths, direction), bins)[0]
            for each in (events, background)
        ]
        table = {"measure": measure, "bp_low": bins[:-1], "bp_high": bins[1:]}
        tables.append(pd.DataFrame(table | dict(zip(("n_events", "n_background"), counts, strict=True))))
    return pd.concat(tables, ignore_index=True)


def next_distances(events: Events) -> NDArray[np.int64]:
    """Return how many bp to the right of each event the next one of its contig lies; the last one has none."""
    return np.concatenate([np.diff(events.on(contig)) for contig in events.contigs])


def boundary_offsets(
    events: Events, regions: pd.DataFrame, lengths: Mapping[str, int], direction: int, crossing: str
) -> NDArray[np.int64]:
    """Return the offset of each event from the nearest boundary that is crossed so; contigs without one give none.

    Offsets are those of the glossary: 0 is the first base read beyond the boundary. Of two boundaries as near, the left
    one counts.
    """
    sites = find_sites(regions, {name: lengths[name] for name in events.contigs}, direction, crossing, 0)
    offsets = [np.empty(0, np.int64)]
    for contig, boundaries in sites.positions.items():
        at = events.on(contig)[:, None]
        right = np.searchsorted(boundaries, at[:, 0])
        beside = boundaries[np.clip(np.stack([right - 1, right], axis=1), 0, boundaries.size - 1)]
        all_offsets = at - beside if DIRECTIONS[direction] == "fwd" else beside - 1 - at
        # a boundary lies between two bases: half a base from either
        nearest = np.abs(at - (beside - 0.5)).argmin(1)
        offsets.append(all_offsets[np.arange(len(at)), nearest])
    return np.concatenate(offsets)


def _measure(
    events: Events, measure: str, regions: pd.DataFrame, lengths: Mapping[str, int], direction: int
) -> NDArray[np.int64]:
    """Return the distances of one measure."""
    if measure in CROSSINGS:
        return boundary_offsets(events, regions, lengths, direction, measure)
    return next_distances(events)
