"""Which fragments or reads does a text file hold? BED3, 10x, tagAlign and BEDPE.

Public names: `read_rows`.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from gatescope.atac.accounts import ReadFilter
from gatescope.atac.ends import NEVER_NARROW, Batch, Copies, Piece, Side
from gatescope.atac.formats import TEXT_COLUMNS, Format, is_header
from gatescope.errors import InputError
from gatescope.genome.assemblies import assembly_with_room
from gatescope.genome.contigs import refuse_unknown_contigs
from gatescope.genome.textfile import reading

_CHUNK_BYTES = 1 << 24
_NAMES, _INTEGERS = ("chrom", "chrom2", "strand", "strand2"), ("start", "end", "count", "start2", "end2")
#: Whether rows with the same coordinates are copies; those of 10x were taken out (and counted) already.
_COPIES: dict[Format, Copies] = {"BED3": "surely", "10x": "perhaps", "tagAlign": "perhaps", "BEDPE": "surely"}
#: How lines begin that may be no row: headers, and lines of blanks.
_HEADER_WITHIN = (b"\n#", b"\ntrack", b"\nbrowser", b"\n\n", b"\n ", b"\n\t")
_NO_LIMIT = np.iinfo(np.int32).max


@dataclass(frozen=True)
class _Places:
    """Say which contigs a row may name, and how long they are."""

    lengths: Mapping[str, int]
    excluded: frozenset[str]
    source: str
    narrowed_bp: int

    def limits(self, names: list[str]) -> np.ndarray:
        """Return the length of each contig; -1 where the genome has none of this name."""
        other = {name: _NO_LIMIT for name in self.excluded}
        return np.array([self.lengths.get(name, other.get(name, -1)) for name in names], np.int64)


def read_rows(
    path: Path | str,
    format: Format,
    lengths: Mapping[str, int],
    keep: ReadFilter,
    exclude_contigs: Iterable[str] = (),
    source: str = "genome",
    narrowed_bp: int = 0,
) -> Iterator[Piece]:
    """Read the rows of a text file: fragments (BED3, 10x), single reads (tagAlign) or pairs (BEDPE).

    Parameters
    ----------
    path : Path or str
        Tab-separated, plain or gzipped, sorted or not, with any line ends; lines that begin with ``#``,
        ``track`` or ``browser`` are skipped.
    format : {"BED3", "10x", "tagAlign", "BEDPE"}
        As told by `gatescope.atac.formats.tell_format`.
    lengths : mapping of str to int
        Contigs of the genome.
    keep : ReadFilter
        ``improper_pairs`` counts for BEDPE: two contigs, equal strands, or a reverse end before the forward one.
    exclude_contigs : iterable of str
        Contigs whose rows are left out, counted.
    source : str
        What the genome is called in messages.
    narrowed_bp : int
        By how much a shift has narrowed fragments: shorter ones may end before they start.

    Yields
    ------
    Piece

    Raises
    ------
    InputError
        With file and line: wrong number of columns, no integers, no strand, ``start >= end``, an end beyond its
        contig, an unknown contig; also for a damaged or truncated gzip file.

    References
    ----------
    10x Genomics, "Barcoded fragment file" (five columns; ends shifted +4/-5); UCSC, "tagAlign"; bedtools, "BEDPE".
    """
    places = _Places(lengths, frozenset(exclude_contigs), source, narrowed_bp)
    split = _split_pairs if format == "BEDPE" else _split_rows
    columns = 0
    for chunk in _chunks(Path(path)):
        columns = columns or chunk.count_columns()
        table = chunk.parse(format, columns)
        yield split(table, chunk, format, places, keep)


@dataclass(frozen=True)
class _Chunk:
    """Hold whole lines of a file, and the number of each, from 1."""

    path: Path
    numbers: range | list[int]
    text: bytes

    def place(self, row: int) -> str:
        """Return file and line of a row."""
        return f"{self.path} line {self.numbers[row]}"

    def count_columns(self) -> int:
        """Return the number of columns of the first line."""
        return self.text.split(b"\n", 1)[0].count(b"\t") + 1

    def parse(self, format: Format, columns: int) -> pd.DataFrame:
        """Return the columns that count: contigs and strands as categories, positions as integers."""
        self._check_columns(columns)
        names = [*TEXT_COLUMNS[format], *map(str, range(columns))][:columns]
        kinds = {name: "category" if name in _NAMES else np.int64 for name in (*_NAMES, *_INTEGERS)}
        used = [name for name in names if name in kinds]
        try:
            with np.errstate(invalid="ignore"):  # 1e999 is no integer; pandas takes 1e+05, which R writes
                return pd.read_csv(
                    BytesIO(self.text),
                    sep="\t",
                    names=names,
                    usecols=used,
                    dtype={name: kinds[name] for name in used},  # type: ignore[arg-type]
                    quoting=csv.QUOTE_NONE,
                    na_filter=False,
                )
        except (ValueError, OverflowError) as error:
            raise self._not_integer(names) from error

    def _check_columns(self, columns: int) -> None:
        """Raise for the first line with another number of columns, and for what is no text."""
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
        strange = np.flatnonzero((characters == 0) | (characters == ord("\r")))
        if strange.size:
            row = int(np.searchsorted(ends, strange[0]))
            raise InputError(
                f"byte {characters[strange[0]]} within a line", where=self.place(row), cause="a damaged file"
            )

    def _not_integer(self, names: list[str]) -> InputError:
        """Find the first field that is no integer."""
        for row, line in enumerate(self.text.decode("utf-8", errors="replace").split("\n")[:-1]):
            for name, text in zip(names, line.split("\t"), strict=True):
                if name in _INTEGERS and not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
                    cause = "a header line without '#'" if row == 0 and text.isalpha() else ""
                    if name == "count":
                        cause = "a five-column BED with a score; 10x: contig, start, end, barcode, count"
                    return InputError(
                        f"{name} {text!r} is not an integer", where=self.place(row), cause=cause
                    )
        return InputError("cannot be read as a table", where=self.path, cause="not UTF-8, or a damaged file")


def _chunks(path: Path) -> Iterator[_Chunk]:
    """Yield a file in pieces of whole lines, without headers, comments and empty lines."""
    with reading(path) as file:
        line, number = file.readline().removeprefix(b"\xef\xbb\xbf"), 1
        while line and (is_header(line) or not line.strip()):
            line, number = file.readline(), number + 1
        while text := line + file.read(_CHUNK_BYTES) + file.readline():
            lines = text.replace(b"\r\n", b"\n").rstrip(b"\n")
            numbers = range(number, number + lines.count(b"\n") + 1)
            chunk = _without_headers(_Chunk(path, numbers, lines + b"\n"))
            if chunk.text:
                yield chunk
            line, number = b"", number + text.count(b"\n")


def _without_headers(chunk: _Chunk) -> _Chunk:
    """Take out comments and empty lines between the rows, where there are any."""
    text = b"\n" + chunk.text
    if not any(header in text for header in _HEADER_WITHIN):
        return chunk
    lines = zip(chunk.numbers, chunk.text.split(b"\n")[:-1], strict=True)
    kept = [(n, line) for n, line in lines if line.strip() and not is_header(line)]
    text = b"".join(line + b"\n" for _, line in kept)
    return _Chunk(chunk.path, [n for n, _ in kept], text)


def _split_rows(
    table: pd.DataFrame, chunk: _Chunk, format: Format, places: _Places, keep: ReadFilter
) -> Piece:
    """Check fragments or single reads and hand them on."""
    codes, is_excluded = _check_side(table, chunk, places)
    if format == "10x":
        _check_counts(table, chunk)
    starts, ends = table["start"].to_numpy(), table["end"].to_numpy()
    if format == "tagAlign":
        is_forward = _strands(table, "strand", chunk) == "+"
        sides: list[tuple[Side, np.ndarray]] = [
            ("+", is_forward & ~is_excluded),
            ("-", ~is_forward & ~is_excluded),
        ]
    else:
        sides = [("both", ~is_excluded)]
    batches = [Batch(codes[rows], starts[rows], ends[rows], side, _COPIES[format]) for side, rows in sides]
    left_out = {"excluded_contigs": int(is_excluded.sum())}
    return Piece(len(table), left_out, batches, _narrowest(ends - starts))


def _split_pairs(
    table: pd.DataFrame, chunk: _Chunk, format: Format, places: _Places, keep: ReadFilter
) -> Piece:
    """Check pairs and hand proper ones on as fragments, others as two reads if these are kept."""
    is_mapped = (table["chrom"] != ".").to_numpy() & (table["chrom2"] != ".").to_numpy()
    rows, numbers = table.loc[is_mapped], np.asarray(chunk.numbers)[is_mapped].tolist()
    mapped = _Chunk(chunk.path, numbers, chunk.text)
    left, is_out = _check_side(rows, mapped, places)
    right, is_out_too = _check_side(rows, mapped, places, "2")
    is_forward = _strands(rows, "strand", mapped) == "+"
    is_forward2 = _strands(rows, "strand2", mapped) == "+"
    start, end, start2, end2 = (rows[name].to_numpy() for name in ("start", "end", "start2", "end2"))
    plus, minus = np.where(is_forward, start, start2), np.where(is_forward, end2, end)
    is_excluded = is_out | is_out_too
    is_proper = (
        (left == right) & (is_forward != is_forward2) & (plus < minus + places.narrowed_bp) & ~is_excluded
    )
    is_improper = ~is_proper & ~is_excluded
    batches = [Batch(left[is_proper], plus[is_proper], minus[is_proper], "both", _COPIES[format])]
    left_out = {"unmapped": len(table) - len(rows), "excluded_contigs": int(is_excluded.sum())}
    narrowest_bp = min(map(_narrowest, (end - start, end2 - start2, (minus - plus)[is_proper])))
    if keep.improper_pairs == "remove":
        left_out["improper_pairs"] = int(is_improper.sum())
        return Piece(len(table), left_out, batches, narrowest_bp)
    for code, first, last, forward in ((left, start, end, is_forward), (right, start2, end2, is_forward2)):
        plus, minus = is_improper & forward, is_improper & ~forward
        batches.append(Batch(code[plus], first[plus], last[plus], "+", "never"))
        batches.append(Batch(code[minus], first[minus], last[minus], "-", "never"))
    return Piece(len(table), left_out, batches, narrowest_bp)


def _narrowest(bp: np.ndarray) -> int:
    return int(bp.min(initial=NEVER_NARROW))


def _strands(table: pd.DataFrame, column: str, chunk: _Chunk) -> np.ndarray:
    """Return a column of strands, which are + or -."""
    strands = table[column].to_numpy(dtype=object)
    wrong = np.flatnonzero((strands != "+") & (strands != "-"))
    if wrong.size:
        raise InputError(
            f"strand {strands[wrong[0]]!r}, wanted + or -",
            where=chunk.place(wrong[0]),
            cause="where a read begins depends on its strand",
            remedy="write the file with strands",
        )
    return strands


def _check_side(
    table: pd.DataFrame, chunk: _Chunk, places: _Places, which: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Return the contig's index and whether it is excluded; raise for the first row off the genome's contigs."""
    column = table[f"chrom{which}"]
    names = [str(name) for name in column.cat.categories]
    rank = {name: number for number, name in enumerate(places.lengths)}
    codes = column.cat.codes.to_numpy()
    limits = places.limits(names)
    limit = limits[codes] if len(codes) else np.empty(0, np.int64)
    unknown = np.flatnonzero(limit < 0)
    if unknown.size:
        seen = {names[code] for code in np.unique(codes[unknown])}
        wrong = [name for name in names if name in seen]
        refuse_unknown_contigs(
            wrong,
            places.lengths,
            where=chunk.place(unknown[0]),
            file=chunk.path,
            kind="BEDPE" if "chrom2" in table else "text",
            source=places.source,
        )
    start, end = table[f"start{which}"].to_numpy(), table[f"end{which}"].to_numpy()
    wrong = np.flatnonzero((start < 0) | (end < 1) | (start >= end + places.narrowed_bp) | (end > limit))
    if wrong.size:
        row = int(wrong[0])
        place = chunk.place(row)
        raise _bad_ends(names[codes[row]], int(start[row]), int(end[row]), place, places)
    index = np.array([rank.get(name, -1) for name in names], np.int64)
    is_excluded = np.array([name in places.excluded for name in names], bool)
    return (index[codes], is_excluded[codes]) if len(codes) else (limit, limit < 0)


def _bad_ends(chrom: str, start: int, end: int, where: str, places: _Places) -> InputError:
    """Say what is wrong with the ends of a row."""
    if start < 0:
        return InputError(f"start {start} of {chrom} is negative", where=where, cause="ends shifted outwards")
    if start >= end or end < 1:
        return InputError(f"start {start} is not before end {end} on {chrom}", where=where)
    return InputError(
        f"end {end} exceeds {chrom} length {places.limits([chrom])[0]} ({places.source})",
        where=where,
        cause=assembly_with_room(chrom, end, places.lengths) or "another genome build",
        remedy="give the genome that the reads were aligned to, or align them to this one",
    )


def _check_counts(table: pd.DataFrame, chunk: _Chunk) -> None:
    """Raise for the first row without a read behind it."""
    wrong = np.flatnonzero(table["count"].to_numpy() < 1)
    if wrong.size:
        raise InputError(
            f"count (column 5) is {table['count'].iloc[wrong[0]]}, wanted the reads behind the fragment, 1 or more",
            where=chunk.place(wrong[0]),
            cause="a five-column BED with a score; the 10x columns are contig, start, end, barcode, count",
        )
