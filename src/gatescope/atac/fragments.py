"""Which DNA fragments did Tn5 cut out? Fragment files of three or five columns.

Public names: `read_fragments`, `Fragments`, `FragmentCounts`, `refuse_empty_contigs`.
"""

import csv
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from gatescope.errors import InputError
from gatescope.genome.contigs import name_list, refuse_unknown_contigs
from gatescope.genome.textfile import reading

log = logging.getLogger(__name__)

Duplicates = Literal["auto", "keep", "remove"]

_CHUNK_BYTES = 1 << 25
_BED_COLUMNS, _TENX_COLUMNS = 3, 5
_EXPECTED_AT_LEAST = 10


@dataclass(frozen=True)
class FragmentCounts:
    """Count the rows of a fragment file: ``rows = excluded + duplicates_removed + fragments``.

    Parameters
    ----------
    rows : int
        Data lines.
    excluded : int
        Rows on excluded contigs, left out.
    duplicates_removed : int
        Rows with contig, start and end of another row, left out.
    fragments : int
        Rows used.
    distinct : int
        Different (contig, start, end) among the rows that are not excluded.
    """

    rows: int
    excluded: int
    duplicates_removed: int
    fragments: int
    distinct: int


@dataclass(frozen=True)
class Fragments:
    """Hold the fragments of a file.

    Parameters
    ----------
    ends : dict of str to tuple
        For each contig in use, in genome order: starts (n,) and ends (n,), int32, 0-based half-open, sorted
        by start and end.
    counts : FragmentCounts
        What was read and left out.
    """

    ends: dict[str, tuple[np.ndarray, np.ndarray]]
    counts: FragmentCounts


def read_fragments(
    path: Path | str,
    lengths: Mapping[str, int],
    duplicates: Duplicates = "auto",
    exclude_contigs: Iterable[str] = (),
    source: str = "genome",
) -> Fragments:
    """Read paired-end fragments: BED with three columns, or the five columns of 10x Genomics.

    Parameters
    ----------
    path : Path or str
        Tab-separated, plain or gzipped, sorted or not; ``#`` lines at the top are skipped.
    lengths : mapping of str to int
        Contigs of the genome.
    duplicates : {"auto", "keep", "remove"}
        Whether to remove rows that repeat contig, start and end. ``auto``: yes in a 3-column file (PCR
        copies); no in a 5-column file, whose rows are distinct already (copies are counted in column 5; the
        same ends under two barcodes come from two cells).
    exclude_contigs : iterable of str
        Contigs whose rows are left out, counted.
    source : str
        What the genome is called in messages.

    Returns
    -------
    Fragments

    Raises
    ------
    InputError
        With file and line: wrong number of columns, no integers, ``start >= end``, an end beyond its contig,
        an unknown contig; also for a truncated gzip file, no fragments, or a contig without any.

    References
    ----------
    10x Genomics, "Barcoded fragment file" (five columns; ends shifted +4/-5).
    """
    path, excluded = Path(path), set(exclude_contigs)
    if duplicates not in ("auto", "keep", "remove"):
        raise InputError(f"{duplicates!r}, wanted auto, keep or remove", where="duplicates")
    parts: dict[str, list[np.ndarray]] = {chrom: [] for chrom in lengths if chrom not in excluded}
    rows = n_excluded = columns = 0
    for chunk in _chunks(path):
        columns = columns or chunk.count_columns()
        table = chunk.parse(columns)
        _check_rows(table, chunk, lengths, excluded, source)
        rows += len(table)
        for chrom, group in table.groupby("chrom", observed=True, sort=False):
            if chrom in excluded:
                n_excluded += len(group)
            else:
                parts[str(chrom)].append(group[["start", "end"]].to_numpy(dtype=np.int64))
    if rows == n_excluded:
        raise InputError("no fragments in it" + (" outside the excluded contigs" if rows else ""), where=path)
    is_removing = duplicates == "remove" or (duplicates == "auto" and columns == _BED_COLUMNS)
    fragments = _collect(parts, rows, n_excluded, is_removing)
    refuse_empty_contigs(
        {chrom: len(starts) for chrom, (starts, _) in fragments.ends.items()}, lengths, path, "fragments"
    )
    counts = fragments.counts
    log.info(
        "%s: %d rows; %d on excluded contigs and %d duplicates left out; %d fragments used (%d distinct)",
        path,
        counts.rows,
        counts.excluded,
        counts.duplicates_removed,
        counts.fragments,
        counts.distinct,
    )
    return fragments


def _collect(parts: dict[str, list[np.ndarray]], rows: int, n_excluded: int, is_removing: bool) -> Fragments:
    """Sort the rows of each contig and take out duplicates; `parts` is emptied on the way."""
    ends, used, distinct = {}, 0, 0
    for chrom in list(parts):
        # One integer per fragment sorts and compares many times faster than pairs.
        pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *parts.pop(chrom)])
        keys = np.sort((pairs[:, 0] << 32) | pairs[:, 1])
        is_first = np.diff(keys, prepend=-1) != 0
        distinct += int(np.count_nonzero(is_first))
        keys = keys[is_first] if is_removing else keys
        used += len(keys)
        ends[chrom] = ((keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32))
    counts = FragmentCounts(rows, n_excluded, rows - n_excluded - used, used, distinct)
    return Fragments(ends, counts)


def refuse_empty_contigs(
    counts: Mapping[str, int], lengths: Mapping[str, int], where: Path | str, what: str
) -> None:
    """Raise if a contig has none of `what`, though its share of the whole would be at least ten.

    Parameters
    ----------
    counts : mapping of str to int
        Number on each contig in use.
    lengths : mapping of str to int
        Contig lengths, bp.
    where : Path or str
        The file, for the message.
    what : str
        What is counted, such as ``fragments``.

    Raises
    ------
    InputError
        Naming the contigs, so that a missing contig never becomes one without accessible places.
    """
    density = sum(counts.values()) / max(1, sum(lengths[chrom] for chrom in counts))
    empty = [
        chrom for chrom, n in counts.items() if n == 0 and density * lengths[chrom] >= _EXPECTED_AT_LEAST
    ]
    if empty:
        expected = density * lengths[empty[0]]
        raise InputError(
            f"no {what} on contig {name_list(empty)} (about {expected:.0f} expected on {empty[0]})",
            where=where,
            cause="a file of some contigs only, or an incomplete one",
            remedy="give all contigs of the genome, or list these in exclude_contigs",
        )


@dataclass(frozen=True)
class _Chunk:
    """Hold whole lines of a file; `first` is the number of the first, from 1."""

    path: Path
    first: int
    text: bytes

    def place(self, row: int) -> str:
        """Return file and line of a row."""
        return f"{self.path} line {self.first + row}"

    def count_columns(self) -> int:
        """Return the number of columns of the first line, if a fragment file can have it."""
        line = self.text.split(b"\n", 1)[0]
        columns = line.count(b"\t") + 1
        if columns not in (_BED_COLUMNS, _TENX_COLUMNS):
            raise InputError(
                f"{columns} tab-separated column{'s' if columns > 1 else ''},"
                " wanted 3 (contig, start, end) or 5 (10x: and barcode, count)",
                where=self.place(0),
                cause=_format_hint(line, columns),
            )
        return columns

    def parse(self, columns: int) -> pd.DataFrame:
        """Return contig (categorical), start, end and, with five columns, count."""
        self._check_columns(columns)
        names = ["chrom", "start", "end", "barcode", "count"][:columns]
        try:
            return pd.read_csv(
                BytesIO(self.text),
                sep="\t",
                names=names,
                usecols=[name for name in names if name != "barcode"],
                dtype={
                    name: "category" if name == "chrom" else np.int64 for name in names if name != "barcode"
                },
                quoting=csv.QUOTE_NONE,
                na_filter=False,
            )
        except (ValueError, OverflowError) as error:
            raise self._not_integer(names) from error

    def _check_columns(self, columns: int) -> None:
        """Raise for the first line with another number of columns."""
        characters = np.frombuffer(self.text, dtype=np.uint8)
        ends = np.flatnonzero(characters == ord("\n"))
        tabs = np.diff(np.searchsorted(np.flatnonzero(characters == ord("\t")), ends), prepend=0)
        wrong = np.flatnonzero(tabs != columns - 1)
        if wrong.size:
            raise InputError(
                f"{tabs[wrong[0]] + 1} tab-separated columns, the first line has {columns}",
                where=self.place(wrong[0]),
                cause="an incomplete line, or spaces instead of tabs",
            )

    def _not_integer(self, names: list[str]) -> InputError:
        """Find the first field that is no integer."""
        for row, line in enumerate(self.text.decode("utf-8", errors="replace").splitlines()):
            for name, text in zip(names, line.split("\t"), strict=True):
                if name in ("start", "end", "count") and not re.fullmatch(r"-?\d{1,18}", text):
                    cause = "a header line without '#'" if row == 0 and text.isalpha() else ""
                    return InputError(
                        f"{name} {text!r} is not an integer", where=self.place(row), cause=cause
                    )
        return InputError("cannot be read as a table", where=self.path)


def _format_hint(line: bytes, columns: int) -> str:
    """Guess what a file of another shape is."""
    if len(line.split()) > columns:
        return "spaces instead of tabs"
    if columns == 6:
        return "BED6 or tagAlign, whose rows are single reads; fragments need both ends of a pair"
    return "BEDPE; give contig, leftmost start and rightmost end" if columns >= 10 else ""


def _chunks(path: Path) -> Iterator[_Chunk]:
    """Yield a file in pieces of whole lines, without the comments at the top."""
    with reading(path) as file:
        line, number = file.readline(), 1
        if line.startswith((b"BAM\x01", b"CRAM")):
            raise InputError(
                "alignments are not read yet, wanted fragments",
                where=path,
                remedy="make a fragment file first, for example with SnapATAC2 or bedtools bamtobed -bedpe",
            )
        while line.startswith(b"#"):
            line, number = file.readline(), number + 1
        while text := line + file.read(_CHUNK_BYTES) + file.readline():
            lines = text.replace(b"\r\n", b"\n").rstrip(b"\n")
            if lines:
                yield _Chunk(path, number, lines + b"\n")
            line, number = b"", number + text.count(b"\n")


def _check_rows(
    table: pd.DataFrame, chunk: _Chunk, lengths: Mapping[str, int], excluded: set[str], source: str
) -> None:
    """Raise for the first row that is no fragment on a contig of the genome."""
    names = [str(name) for name in table["chrom"].cat.categories]
    codes = table["chrom"].cat.codes.to_numpy()
    limits = np.array(
        [lengths.get(name, np.iinfo(np.int32).max if name in excluded else -1) for name in names]
    )
    limit, start, end = limits[codes], table["start"].to_numpy(), table["end"].to_numpy()
    unknown = np.flatnonzero(limit < 0)
    if unknown.size:
        known = [*lengths, *excluded]
        wrong = [name for name in names if name not in known]
        refuse_unknown_contigs(wrong, lengths, where=chunk.place(unknown[0]), source=source)
    is_wrong = (start < 0) | (start >= end) | (end > limit)
    if "count" in table:
        is_wrong |= table["count"].to_numpy() < 1
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        place = chunk.place(row)
        if "count" in table and table["count"].iloc[row] < 1:
            raise _bad_count(int(table["count"].iloc[row]), place)
        raise _bad_ends(names[codes[row]], int(start[row]), int(end[row]), int(limit[row]), place, source)


def _bad_ends(chrom: str, start: int, end: int, limit: int, where: str, source: str) -> InputError:
    """Say what is wrong with the ends of a fragment."""
    if start < 0:
        return InputError(f"start {start} of {chrom} is negative", where=where, cause="ends shifted outwards")
    if start >= end:
        return InputError(f"start {start} is not before end {end} on {chrom}", where=where)
    return InputError(
        f"end {end} exceeds {chrom} length {limit} ({source})", where=where, cause="another genome build"
    )


def _bad_count(count: int, where: str) -> InputError:
    """Say what is wrong with column 5."""
    return InputError(
        f"count (column 5) is {count}, wanted the reads behind the fragment, 1 or more",
        where=where,
        cause="a five-column BED with a score; the 10x columns are contig, start, end, barcode, count",
    )
