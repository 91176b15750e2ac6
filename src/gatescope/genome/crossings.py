"""Which edge of a region does a direction cross, and what lies near one? Directions and crossings as in the glossary.

Public names: `CROSSINGS`, `edge_of`, `edges_on`, `count_near`.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CROSSINGS = ("entry", "exit")

_EDGE = {
    ("fwd", "entry"): "start",
    ("fwd", "exit"): "end",
    ("rev", "entry"): "end",
    ("rev", "exit"): "start",
}


def edge_of(direction: str, crossing: str) -> str:
    """Return the edge of a region, `start` or `end`, that a direction crosses as it enters or leaves."""
    return _EDGE[direction, crossing]


def edges_on(regions: pd.DataFrame, contig: str, side: str | None = None) -> NDArray[np.int64]:
    """Return where the regions of a contig begin and end, sorted; with `side` ("start", "end") only these.

    Parameters
    ----------
    regions : DataFrame
        `chrom, start, end`, 0-based half-open, merged.
    """
    rows = regions.loc[regions["chrom"] == contig, ["start", "end"] if side is None else [side]]
    return np.sort(rows.to_numpy(np.int64).ravel())


def count_near(positions: NDArray[np.int64], edges: NDArray[np.int64], within_bp: int) -> NDArray[np.int64]:
    """Return how many edges each base is near to: the bases in [e - within_bp, e + within_bp) are near to the edge e.

    Parameters
    ----------
    positions : int64, any shape
        0-based.
    edges : int64, shape (E,)
        Sorted.
    within_bp : int
    """
    last = np.searchsorted(edges, positions + within_bp, side="right")
    return last - np.searchsorted(edges, positions - within_bp, side="right")
