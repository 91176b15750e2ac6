"""Which stretches of the genome did the user name? BED and narrowPeak files, merging, overlap.

Public names: `read_regions`, `merge_regions`, `is_overlapping`, `ExclusionLists`, `list_exclusions`,
`read_exclusion_lists`.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from bioframe.core import arrops
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.genome.assemblies import assembly_with_room
from gatescope.genome.contigs import refuse_unknown_contigs
from gatescope.genome.textfile import numbered_lines

log = logging.getLogger(__name__)

ExclusionLists = Path | str | Sequence[Path | str] | None

# the tool `idr` puts ten more behind those of narrowPeak
_NARROW_PEAK_COLUMNS = (10, 20)

#: Numbers that are whole to a person, and who writes them.
_NOTATIONS = {
    r"\d+(\.\d+)?[eE]\+?\d+": "scientific notation, as R writes it: options(scipen = 999) before write.table",
    r"\d+\.\d*": "a decimal point, as pandas writes columns that had gaps: turn them into whole numbers",
    r"\d{1,3}(,\d{3})+": "commas between thousands: take them out",
}


class _Row(NamedTuple):
    """One line of a region file; `signal` is narrowPeak's signalValue, NaN elsewhere."""

    line: int
    chrom: str
    start: int
    end: int
    summit: int
    signal: float


def read_regions(
    path: Path | str,
    lengths: Mapping[str, int] | None = None,
    source: str = "genome",
    exclude_contigs: Iterable[str] = (),
) -> pd.DataFrame:
    """Read and check a BED (3 or more columns) or narrowPeak file, plain or gzipped.

    A file is narrowPeak if its name says so, or if it has ten columns (20 from `idr`) of which 7 to 9 are numbers.
    Of all others, broadPeak, gappedPeak and BED12 among them, the first three columns are used.

    Parameters
    ----------
    path : Path or str
        Tab-separated; ``#``, ``track`` and ``browser`` lines are skipped.
    lengths : mapping of str to int, optional
        Length of each contig of the genome; without it contigs and ends are not checked.
    source : str
        What the genome is called in messages, such as its file name.
    exclude_contigs : iterable of str
        Contigs whose rows are left out; their number is logged and kept in ``.attrs["excluded"]``.

    Returns
    -------
    pandas.DataFrame
        One row per line: ``chrom``; ``start``, ``end`` (0-based half-open); ``summit`` (absolute position of
        one base: the narrowPeak summit, or the midpoint where there is none); ``signal`` (narrowPeak's
        signalValue, or NaN). Sorted by contig (genome order, or order of appearance), start, end, summit.

    Raises
    ------
    InputError
        With file, line and contig: wrong number of columns, no integers, ``start >= end``, a summit outside
        its peak, an unknown contig, an end beyond its contig; also if no row is left.
    """
    excluded = set(exclude_contigs)
    rows = list(_parse(Path(path)))
    table = pd.DataFrame([row for row in rows if row.chrom not in excluded], columns=list(_Row._fields))
    if len(table) == 0:
        raise InputError("no regions in it" + (" outside the excluded contigs" if rows else ""), where=path)
    if len(table) < len(rows):
        log.info("%s: %d of %d regions left out (excluded contigs)", path, len(rows) - len(table), len(rows))
    if lengths is not None:
        _refuse_off_genome(table, lengths, path, source)
    table["rank"] = _ranks(table["chrom"], lengths)
    table = table.sort_values(["rank", "start", "end", "summit"], kind="stable", ignore_index=True)
    table = table.drop(columns=["rank", "line"])
    table.attrs["excluded"] = len(rows) - len(table)
    return table


def _ranks(chroms: Iterable[str], lengths: Mapping[str, int] | None = None) -> np.ndarray:
    """Return the place of each row's contig in the genome, or in the order of first appearance."""
    chroms = list(chroms)
    order = {chrom: rank for rank, chrom in enumerate(lengths or dict.fromkeys(chroms))}
    return np.array([order[chrom] for chrom in chroms], dtype=np.int64)


def _parse(path: Path) -> Iterable[_Row]:
    """Yield the rows of a file, each checked by itself."""
    columns = 0
    is_narrow_peak = False
    for number, line in numbered_lines(path):
        fields = line.split("\t")
        where = f"{path} line {number}"
        if columns == 0:
            columns = len(fields)
            is_narrow_peak = _is_narrow_peak(path, fields, where)
        _check_columns(fields, columns, where)
        yield _parse_row(fields, number, is_narrow_peak, where)


def _is_narrow_peak(path: Path, fields: list[str], where: str) -> bool:
    """Tell narrowPeak from BED by the name, or by the number of columns and numbers in 7 to 9."""
    is_named = path.name.lower().removesuffix(".gz").endswith(".narrowpeak")
    if is_named and len(fields) not in _NARROW_PEAK_COLUMNS:
        raise InputError(
            f"{_count(fields)}, narrowPeak has {_NARROW_PEAK_COLUMNS[0]}", where=where, cause=_space(fields)
        )
    return is_named or (len(fields) in _NARROW_PEAK_COLUMNS and all(map(_is_number, fields[6:9])))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _count(fields: list[str]) -> str:
    return f"{len(fields)} tab-separated column{'s' if len(fields) != 1 else ''}"


def _space(fields: list[str]) -> str:
    """Return the likely cause of missing columns."""
    if len(" ".join(fields).split()) > len(fields):
        return "spaces instead of tabs"
    if re.fullmatch(r".+:[\d,]+(-|\.\.)[\d,]+", fields[0]):
        return "places as browsers print them (contig:first-last), which count from 1"
    return "commas instead of tabs" if fields[0].count(",") > 1 else ""


def _other_format(fields: list[str]) -> str:
    """Guess which table this line is from, whose second and third column are not start and end."""
    if [field.lower() for field in fields[:4]] == ["chr", "start", "end", "length"]:
        return "MACS' table _peaks.xls, which counts from 1: give the .narrowPeak or .broadPeak beside it"
    is_number = [field.isdecimal() for field in fields]
    if len(fields) >= 8 and all(is_number[3:5]) and fields[6] in (".", "+", "-"):
        return "GFF or GTF, which counts from 1: make BED of it"
    if len(fields) >= 4 and all(is_number[2:4]):
        return "the contig in column 2, as HOMER and featureCounts write it: put contig, start and end first"
    if any(field != field.strip() for field in fields[1:3]):
        return "a space beside the number"
    for pattern, cause in _NOTATIONS.items():
        if any(re.fullmatch(pattern, field) for field in fields[1:3]):
            return cause
    return "a header line without '#'" if fields[1].replace("_", "").isalpha() else ""


def _check_columns(fields: list[str], columns: int, where: str) -> None:
    """Raise for fewer than three columns, or another number than in the first line."""
    if len(fields) < 3:
        raise InputError(
            f"{_count(fields)}, wanted at least 3 (contig, start, end)", where=where, cause=_space(fields)
        )
    if len(fields) != columns:
        raise InputError(
            f"{_count(fields)}, the lines before have {columns}", where=where, cause=_space(fields)
        )


def _parse_row(fields: list[str], number: int, is_narrow_peak: bool, where: str) -> _Row:
    """Turn the fields of a line into a row."""
    chrom = fields[0]
    if not chrom or chrom != chrom.strip():
        raise InputError(f"contig name {chrom!r} is empty or has spaces around it", where=where)
    if chrom[0] == chrom[-1] == '"':
        cause = "a table with quotes, as R writes it: write.table(..., quote = FALSE)"
        raise InputError(f"contig name {chrom} stands in quotes", where=where, cause=cause)
    start, end = (_coordinate(fields, column, where) for column in (1, 2))
    if start < 0:
        raise InputError(
            f"start {start} of {chrom} is negative", where=where, cause="1-based or shifted coordinates"
        )
    if start >= end:
        cause = (
            "start and end exchanged"
            if start > end
            else "1-based coordinates, or a point instead of a region"
        )
        raise InputError(f"start {start} is not before end {end} on {chrom}", where=where, cause=cause)
    summit, signal = (start + end) // 2, math.nan
    if is_narrow_peak:
        offset, signal = _peak_values(fields, where)
        if offset >= end - start:
            raise InputError(
                f"summit {offset} lies outside the peak of {end - start} bp ({chrom}:{start}-{end})",
                where=where,
                cause="an absolute summit; column 10 counts from the start of the peak",
            )
        summit = summit if offset == -1 else start + offset
    return _Row(number, chrom, start, end, summit, signal)


def _peak_values(fields: list[str], where: str) -> tuple[int, float]:
    """Return summit offset (-1: none) and signalValue of a narrowPeak line."""
    if not _is_integer(fields[9]):
        raise InputError(f"summit (column 10) {fields[9]!r} is not an integer", where=where)
    offset = int(fields[9])
    if offset < -1:
        raise InputError(f"summit (column 10) {offset} is negative", where=where)
    if not _is_number(fields[6]):
        raise InputError(f"signalValue (column 7) {fields[6]!r} is not a number", where=where)
    return offset, float(fields[6])


def _coordinate(fields: list[str], column: int, where: str) -> int:
    """Read start or end."""
    if not _is_integer(fields[column]):
        what = f"{('start', 'end')[column - 1]} {fields[column]!r} is not an integer"
        raise InputError(what, where=where, cause=_other_format(fields))
    return int(fields[column])


def _is_integer(text: str) -> bool:
    """Tell plain decimal digits."""
    return text.removeprefix("-").isdecimal()


def _refuse_off_genome(
    table: pd.DataFrame, lengths: Mapping[str, int], path: Path | str, source: str
) -> None:
    """Raise for the first row on an unknown contig, or reaching beyond its contig."""
    rows = zip(table["line"], table["chrom"], table["end"], strict=True)
    for line, chrom, end in rows:
        if chrom in lengths and end <= lengths[chrom]:
            continue
        place = f"{path} line {line}"
        refuse_unknown_contigs([chrom], lengths, where=place, file=path, source=source)
        what = f"end {end} exceeds {chrom} length {lengths[chrom]} ({source})"
        cause = assembly_with_room(chrom, end, lengths)
        remedy = "lift the regions over, or give the other genome" if cause else "clip or remove the region"
        raise InputError(what, where=place, cause=cause, remedy=remedy)


def list_exclusions(given: ExclusionLists) -> dict[str, Path]:
    """Return the exclusion lists by role: ``exclusion_list``, or where there are several each with its number."""
    paths = [Path(path) for path in ([given] if isinstance(given, str | Path) else given or [])]
    if len(paths) == 1:
        return {"exclusion_list": paths[0]}
    return {f"exclusion_list {number}": path for number, path in enumerate(paths, start=1)}


def read_exclusion_lists(
    given: ExclusionLists, lengths: Mapping[str, int], source: str, exclude_contigs: Iterable[str] = ()
) -> pd.DataFrame:
    """Read regions that are not to be trusted: the union of the lists.

    Parameters
    ----------
    given : path, sequence of paths, or None
        As `read_regions`; a list may well name excluded contigs only, such as the mitochondrion.
    lengths, source, exclude_contigs
        As in `read_regions`.

    Returns
    -------
    DataFrame
        ``chrom, start, end`` of merged regions; without a row where nothing is excluded.

    Raises
    ------
    InputError
        As `read_regions`.
    """
    excluded = set(exclude_contigs)
    tables = [
        read_regions(path, lengths, source, excluded)
        for path in list_exclusions(given).values()
        if not set(read_regions(path)["chrom"]) <= excluded
    ]
    if not tables:
        types = {"chrom": str, "start": int, "end": int}
        return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in types.items()})
    merged = merge_regions(pd.concat(tables, ignore_index=True)).loc[:, ["chrom", "start", "end"]]
    total = (merged["end"] - merged["start"]).to_numpy().sum()
    log.info("exclusion list: %d regions, %d bp, after merging", len(merged), total)
    return merged


def merge_regions(regions: pd.DataFrame) -> pd.DataFrame:
    """Merge regions that overlap or touch, so that each boundary is a change between inside and outside.

    Bookended regions (one ends where the next starts) are merged, as by ``bedtools merge``: nothing
    changes at the base between them, so there is no boundary.

    Parameters
    ----------
    regions : pandas.DataFrame
        ``chrom, start, end, summit, signal`` as from `read_regions`.

    Returns
    -------
    pandas.DataFrame
        The same columns; contigs in order of first appearance, then by start. ``summit`` and ``signal`` are
        those of the strongest merged row (the first of equals); without signal the summit is the midpoint.
    """
    if len(regions) == 0:
        return regions.copy()
    # contigs one behind the other, with a gap between them: a draft genome has thousands
    offset = pd.factorize(regions["chrom"])[0].astype(np.int64) * (int(regions["end"].to_numpy().max()) + 2)
    clusters, starts, ends = arrops.merge_intervals(
        regions["start"].to_numpy() + offset, regions["end"].to_numpy() + offset, min_dist=0
    )
    ranked = regions.assign(cluster=clusters, offset=offset).sort_values(
        ["cluster", "signal", "start", "summit"], ascending=[True, False, True, True], na_position="last"
    )
    strongest = ranked.drop_duplicates("cluster")
    starts, ends = starts - strongest["offset"].to_numpy(), ends - strongest["offset"].to_numpy()
    signal = strongest["signal"].to_numpy()
    summit = np.where(np.isnan(signal), (starts + ends) // 2, strongest["summit"].to_numpy())
    chroms = strongest["chrom"].to_numpy()
    return pd.DataFrame({"chrom": chroms, "start": starts, "end": ends, "summit": summit, "signal": signal})


def spans_by_contig(regions: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return start and end of the regions of each contig that has any, (n, 2) in their order.

    A draft genome has thousands of contigs: a table is not to be searched once for each.
    """
    spans = regions[["start", "end"]].to_numpy(np.int64)
    return {str(contig): spans[rows] for contig, rows in regions.groupby("chrom").indices.items()}


def cover(
    spans: Mapping[str, NDArray[np.int64]], contig: str, length: int, margin_bp: int = 0
) -> NDArray[np.bool_]:
    """Return True on the bases of a contig's spans, and within a margin of them; (length,)."""
    mask = np.zeros(length, bool)
    for start, end in spans.get(contig, ()):
        mask[max(0, start - margin_bp) : end + margin_bp] = True
    return mask


def is_overlapping(regions: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Tell for each of N regions, in the order given, whether it shares a base with `others`; (N,) bool."""
    result = np.zeros(len(regions), dtype=bool)
    chroms, starts, ends = (regions[column].to_numpy() for column in ("chrom", "start", "end"))
    for chrom, rows in others.groupby("chrom"):
        here = np.flatnonzero(chroms == chrom)
        found, _ = arrops.overlap_intervals(
            starts[here], ends[here], rows["start"].to_numpy(), rows["end"].to_numpy()
        )
        result[here[found]] = True
    return result
