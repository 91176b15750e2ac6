"""Which data does each sample have? The sample table, with every mistake in one line.

Public names: `Sample`, `read_samples`, `check_shifts`, `check_track_name`, `PLANTED`, `GAPS_ARE_ZERO`,
`BIAS_TRACK`.

`workflow/rules/common.smk` reads this at parse time: standard library only.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatescope.errors import InputError
from gatescope.remote import Remote, find_remotes, is_address, read_remote

#: What a sample table says in place of a path for the planted genome.
PLANTED = "planted"
#: The files that `simulate` writes, by the column they stand for.
PLANTED_FILES = {
    "genome": "genome.fa",
    "atac": "fragments.tsv.gz",
    "peaks": "peaks.narrowPeak",
    "exclusion_list": "exclusion.bed",
}
#: Columns that hold several files, separated by commas.
SEVERAL = ("atac", "exclusion_list")
#: What follows the path of a track in which a missing value means 0.
GAPS_ARE_ZERO = ":zero"
#: The track of Tn5's sequence preference, which `bias` makes of every sample's cuts.
BIAS_TRACK = "tn5_bias"
#: Names that inputs and arrays of the encoded store have already.
_RESERVED = ("sequence", "codes", "state", "cuts")


@dataclass(frozen=True)
class Sample:
    """One row of the sample table.

    Attributes
    ----------
    files : dict of str to str or list of str
        Paths by column; a column that is not filled in is not there. ``atac`` (one path per replicate) and
        ``exclusion_list`` are lists; ``peaks`` is the file that the verb `peaks` writes where the table names none.
    tracks : dict of str to str
        Path of each further track by its name, followed by ``:zero`` where a missing value means 0.
    remotes : dict of str to Remote
        What has to be fetched, by the path at which it is then kept, which is also the one in `files` and `tracks`.
    tn5_shift : list of str
        Its own, or the configuration's, ``auto`` included: one, or one per replicate.
    is_planted : bool
        True if it is the planted genome.
    calls_peaks : bool
        True if the table names no peaks.
    """

    name: str
    files: dict[str, str | list[str]]
    tracks: dict[str, str]
    remotes: dict[str, Remote]
    tn5_shift: list[str]
    is_planted: bool
    calls_peaks: bool

    @property
    def track_files(self) -> list[str]:
        """Paths of the further tracks and of the sidecars that say what their gaps mean."""
        paths = [path.removesuffix(GAPS_ARE_ZERO) for path in self.tracks.values()]
        return [*paths, *(sidecar for path in paths if Path(sidecar := f"{path}.json").is_file())]


def check_track_name(name: str, where: object) -> None:
    """Raise `InputError` unless `name` can name a further track."""
    if name in _RESERVED or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(
            f"{name!r} cannot name a track",
            where=where,
            remedy=f"use letters, digits, _ and -, a letter first, and none of {', '.join(_RESERVED)}",
        )


def read_samples(
    path: str | Path, data_dir: str | Path, tn5_shift: str, check_row: Callable[[dict[str, str], str], None]
) -> dict[str, Sample]:
    """Read the sample table.

    Parameters
    ----------
    path : path
        Tab-separated table with a header, in UTF-8; lines that start with # and empty lines are skipped.
    data_dir : path
        Folder against which relative paths in the table are read; ``~`` is the home folder.
    tn5_shift : str
        Shift of samples that do not state their own.
    check_row : callable
        Called with each row and its place; raises `InputError` and fills in defaults.

    Returns
    -------
    dict of str to Sample
        In file order.

    Raises
    ------
    InputError
        If the table is missing, empty, no table, repeats a sample or a column, or names a file that does not
        exist.
    """
    samples: dict[str, Sample] = {}
    for line, row in _read_rows(Path(path)):
        place = f"{path} line {line}"
        check_row(row, place)
        if row["sample"] in samples:
            raise InputError(
                f"sample {row['sample']!r} appears twice", where=place, remedy="rename one of them"
            )
        samples[row["sample"]] = _read_sample(row, Path(data_dir).expanduser(), tn5_shift, place)
    if not samples:
        raise InputError("no sample in the table", where=path, remedy="add a row; see config/README.md")
    return samples


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs; no row has more fields than the header."""
    lines = enumerate(_read_text(path).splitlines(), 1)
    table = [(n, _split(line, f"{path} line {n}")) for n, line in lines if line.strip() and line[0] != "#"]
    if not table:
        raise InputError("no header in the sample table", where=path, remedy="see config/README.md")
    number, header = table[0]
    for column in header:
        if header.count(column) > 1:
            raise InputError(
                f"column {column!r} appears twice", where=f"{path} line {number}", remedy="remove one"
            )
    for n, fields in table[1:]:
        if len(fields) > len(header):
            raise InputError(
                f"got {len(fields)} fields, wanted at most {len(header)} as in the header",
                where=f"{path} line {n}",
                cause="a stray tab",
            )
    return [(n, dict(zip(header, fields, strict=False))) for n, fields in table[1:]]


def _read_text(path: Path) -> str:
    """Read the table; spreadsheets begin UTF-8 with a mark of their own."""
    if not path.is_file():
        raise InputError(
            "sample table does not exist", where=path, remedy="set `samples` in the configuration"
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not text in UTF-8 (byte {error.start + 1})"
        raise InputError(what, where=path, remedy="save it as tab-separated text in UTF-8") from error


def _split(line: str, place: str) -> list[str]:
    """Return the fields of one line; spreadsheets put some in quotes."""
    try:
        (fields,) = csv.reader([line], delimiter="\t", strict=True)
    except csv.Error as error:
        raise InputError(f"quotes do not match ({error})", where=place, remedy="remove them") from error
    return [field.strip() for field in fields]


def _read_sample(row: Mapping[str, str], data_dir: Path, tn5_shift: str, place: str) -> Sample:
    calls_peaks = not row["peaks"]
    columns = ("genome", "atac") if calls_peaks else ("genome", "atac", "peaks")
    is_planted = {row[column] == PLANTED for column in columns}
    if len(is_planted) > 1:
        raise InputError(
            f"{PLANTED!r} in some of genome, atac and peaks, wanted it in all or none",
            where=place,
            remedy="the planted genome goes with its own fragments and peaks",
        )
    simulated = f"results/{row['sample']}/data/simulated"
    files: dict[str, str | list[str]] = {}
    for column, planted in PLANTED_FILES.items():
        if row[column] == PLANTED:
            files[column] = f"{simulated}/{planted}"
        elif column in SEVERAL and row[column]:
            files[column] = _several(row[column], data_dir, f"{place}: {column}")
        elif column == "peaks" and calls_peaks:
            files[column] = f"results/{row['sample']}/atac/peaks.narrowPeak"
        elif row[column]:
            files[column] = _existing(row[column], data_dir, f"{place}: {column}")
    tracks = {}
    for name, path in (track.split("=", 1) for track in row["tracks"].split(",") if track):
        check_track_name(name, f"{place}: tracks")
        if name == BIAS_TRACK:
            raise InputError(
                f"{name!r} is a track that gatescope makes itself",
                where=f"{place}: tracks",
                remedy="rename it",
            )
        if name in tracks:
            raise InputError(f"track {name!r} appears twice", where=f"{place}: tracks", remedy="rename one")
        zero = GAPS_ARE_ZERO if path.endswith(GAPS_ARE_ZERO) else ""
        tracks[name] = _existing(path.removesuffix(GAPS_ARE_ZERO), data_dir, f"{place}: tracks") + zero
    shifts = [shift.strip() for shift in (row["tn5_shift"] or tn5_shift).split(",")]
    check_shifts(shifts, row["atac"].split(","), f"{place}: tn5_shift")
    remotes = find_remotes((f"{place}: {column}", row[column]) for column in (*PLANTED_FILES, "tracks"))
    return Sample(row["sample"], files, tracks, remotes, shifts, is_planted.pop(), calls_peaks)


def _several(paths: str, data_dir: Path, place: str) -> list[str]:
    """Return the files of a column, each of which exists and stands there once."""
    found = [_existing(path.strip(), data_dir, place) for path in paths.split(",")]
    for path in found:
        if found.count(path) > 1:
            raise InputError(f"{path} appears twice", where=place, remedy="name each file once")
    return found


def check_shifts(shifts: Sequence[str], paths: Sequence[str], place: str) -> None:
    """Raise unless there is one shift, or one per file and all the same that are not left to the data (``auto``)."""
    if len(shifts) not in (1, len(paths)):
        raise InputError(
            f"{len(shifts)} shifts for {len(paths)} files", where=place, remedy="give one, or one per file"
        )
    known = [(path, shift) for path, shift in zip(paths, shifts, strict=False) if shift != "auto"]
    for path, shift in known:
        if shift != known[0][1]:
            raise InputError(
                f"{known[0][0]} is declared as shifted by {known[0][1]}, {path} by {shift}: replicates of one sample "
                "must carry the same shift",
                where=place,
                remedy="make the files alike, or give them as two samples",
            )


def _existing(path: str, data_dir: Path, place: str) -> str:
    """Return the path of a file that exists, or that will once it is fetched."""
    if is_address(path):
        return read_remote(path, place).path
    full = data_dir / Path(path).expanduser()
    if not full.is_file():
        remedy = (
            "relative paths are read against the config key data_dir" if not Path(path).is_absolute() else ""
        )
        raise InputError("file does not exist", where=f"{place}: {full}", remedy=remedy)
    return str(full)
