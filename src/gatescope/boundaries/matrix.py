"""How does another program draw the single boundaries? The matrix file of deepTools.

`plotHeatmap`, `plotProfile` and `computeMatrixOperations` of deepTools 3 read it. A row is one boundary: the
region it belongs to, as `computeMatrix reference-point` would write it, then the gate at each offset in reading
direction. The strand column holds the direction: ``+`` for fwd, ``-`` for rev.

Public names: `matrix_file`, `write_matrix`.
"""

import gzip
import json
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path

import pandas as pd

from gatescope.boundaries.profile import Sites, forget_windows, region_of
from gatescope.files import replacing_file
from gatescope.trace.units import DIRECTIONS, UnitStore

_STRAND = {"fwd": "+", "rev": "-"}


def matrix_file(direction: str, crossing: str) -> str:
    """Return the name of the matrix of one direction and crossing."""
    return f"matrix.{direction}.{crossing}.gz"


def write_matrix(
    path: Path | str,
    units: UnitStore,
    sites: Sites,
    regions: pd.DataFrame,
    unit: int,
    profile_bp: int,
) -> None:
    """Write the forget gate of one unit at every boundary, four decimals, boundaries in genomic order.

    Offset 0 is the first column right of the reference point. Rows are written as they are read: memory does not
    grow with their number.

    Parameters
    ----------
    path : Path or str
        A ``.gz`` file.
    units : UnitStore
    sites : Sites
    regions : DataFrame
        The regions that the sites were found in.
    unit : int
        Index of the unit within the direction of `sites`.
    profile_bp : int
        Half-width of the profile: so many columns on either side.

    References
    ----------
    deepTools 3.5.6, ``heatmapper.save_matrix`` and ``read_matrix_file``.
    """
    direction = DIRECTIONS[sites.direction]
    places = (
        (contig, start, end)
        for contig, each in region_of(sites, regions).items()
        for start, end in each.tolist()
    )
    rows = (row for _, _, forget in forget_windows(units, sites, unit, profile_bp) for row in forget)
    # no file name and no time in the gzip header: same gates, same bytes
    with (
        replacing_file(path) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
        TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        text.write(f"@{json.dumps(_header(sites, unit, profile_bp), separators=(',', ':'))}\n")
        for (contig, start, end), row in zip(places, rows, strict=True):
            name = f"{contig}:{start + 1}-{end}"  # as a genome browser prints it
            values = "\t".join(f"{value:.4f}" for value in row)
            text.write(f"{contig}\t{start}\t{end}\t{name}\t.\t{_STRAND[direction]}\t{values}\n")


def _header(sites: Sites, unit: int, profile_bp: int) -> Mapping[str, object]:
    """Return the parameters of `computeMatrix reference-point` that deepTools looks for."""
    direction = DIRECTIONS[sites.direction]
    return {
        "upstream": [profile_bp],
        "downstream": [profile_bp],
        "body": [0],
        "bin size": [1],
        "ref point": [sites.crossing],
        "verbose": False,
        "bin avg type": "mean",
        "missing data as zero": False,
        "min threshold": None,
        "max threshold": None,
        "scale": 1,
        "skip zeros": False,
        "nan after end": False,
        "proc number": 1,
        "sort regions": "keep",
        "sort using": "mean",
        "unscaled 5 prime": [0],
        "unscaled 3 prime": [0],
        "group_labels": [f"{sites.n} boundaries"],
        "group_boundaries": [0, sites.n],
        "sample_labels": [f"forget gate of {direction} unit {unit}"],
        "sample_boundaries": [0, 2 * profile_bp],
    }
