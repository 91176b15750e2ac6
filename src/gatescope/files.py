"""How does a file come to exist: whole, or not at all.

Public names: `replacing_file`, `replacing_folder`, `file_hash`, `fingerprint`, `read_json`, `read_record`,
`write_json`, `write_table`, `NOT_AN_ARRAY`.
"""

import glob
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import pandas as pd

from gatescope.errors import InputError

#: What `numpy.load` raises at a damaged file: its header is Python.
NOT_AN_ARRAY = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError)
_OLD = ".old"
#: Snakemake leaves it in every folder that is a rule's output.
_SNAKEMAKE_TIMESTAMP = ".snakemake_timestamp"
#: What another host has not touched for so long was left by a job that died: few clusters let one run longer.
_ABANDONED_S = 14 * 24 * 3600


@contextmanager
def replacing_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, remove it on failure.

    Parent folders are made. A reader sees the old file or the new one, never half of one. Where `path` is a
    link, the file that it points to is replaced.

    Raises
    ------
    InputError
        If `path` is a folder, or one of its parents is a file.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError("is a folder, wanted a file to write", where=path, remedy="name a file in it")
    partial = _partial_name(target)
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str, written: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` on success.

    The folder of this name is the old one or the new one, whole, or for a moment none. Where `path` is a link,
    the folder that it points to is replaced. Enter this before long work, so that a refusal comes first.

    Parameters
    ----------
    path : Path or str
    written : sequence of str
        What the caller writes there: patterns of paths within the folder, where ``*`` stands for anything.
        An older folder is replaced only if it holds nothing else, and the first of these.

    Raises
    ------
    InputError
        If `path` is a file, holds what the caller did not write, or is a folder that this process is in.
    """
    target = Path(path).resolve()
    _refuse_strangers(path, target, written)
    partial = _partial_name(target)
    old = partial.with_name(partial.name + _OLD)
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_strangers(path: Path | str, target: Path, written: Sequence[str]) -> None:
    """Raise if replacing a folder would take away what somebody else put there."""
    if target.exists() and not target.is_dir():
        raise InputError("is a file, wanted a folder to write", where=path)
    if Path.cwd().is_relative_to(target):
        remedy = "name a folder of its own for this output"
        raise InputError("is the working directory, or around it", where=path, remedy=remedy)
    ours = [set(target.glob(pattern)) for pattern in (*written, _SNAKEMAKE_TIMESTAMP)]
    known = set.union(*ours) if ours[0] else ours[-1]
    for each in target.rglob("*"):
        if each not in known and not _is_real_folder(each):
            raise InputError(
                f"holds {each.relative_to(target)}, which this command did not write",
                where=path,
                remedy="nothing was changed; name another folder, or remove this one",
            )


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _partial_name(path: Path) -> Path:
    """Return this process's temporary name for `path`, with what dead processes left under theirs removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        parent = next(each for each in path.parents if each.exists())
        raise InputError(f"is a file, so {path.name} cannot lie in it", where=parent) from error
    prefix = f".{path.name}.partial-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        if _is_abandoned(left, left.name.removeprefix(prefix).removesuffix(_OLD)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f"{prefix}{socket.gethostname()}-{os.getpid()}")


def _is_abandoned(left: Path, owner: str) -> bool:
    """Tell whether nobody will finish a temporary file: its process is dead, or on a host we cannot ask, old."""
    host, _, pid = owner.rpartition("-")
    if host == socket.gethostname() and pid.isdecimal():
        return int(pid) == os.getpid() or not _is_alive(int(pid))
    try:
        return time.time() - left.lstat().st_mtime > _ABANDONED_S
    except FileNotFoundError:  # finished meanwhile
        return False


def _is_alive(pid: int) -> bool:
    """Tell whether a process of this host runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def file_hash(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("file does not exist", where=path) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, no JSON, or numbers and nesting without end
        raise InputError(f"not JSON ({error})", where=path) from error


def read_record(
    path: Path | str, entries: Mapping[str, type | tuple[type, ...]], remedy: str
) -> dict[str, Any]:
    """Read a JSON object that has to have certain entries.

    Parameters
    ----------
    path : Path or str
        The file.
    entries : mapping of str to type
        Entries, those of inner objects with a dot (``network.targets``), and what each has to be; further ones are
        allowed.
    remedy : str
        What to do if the file is something else.

    Raises
    ------
    InputError
        If the file is missing, is no JSON object, lacks an entry, or one is of another type.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError("not a JSON object", where=path, remedy=remedy)
    found = {entry: _entry(record, entry) for entry in entries}
    if missing := [entry for entry, values in found.items() if not values]:
        raise InputError(f"no entry {', '.join(missing)}", where=path, remedy=remedy)
    for entry, kind in entries.items():
        (value,) = found[entry]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"entry {entry} is {value!r:.60}", where=path, remedy=remedy)
    return record


def _entry(record: Any, entry: str) -> list[Any]:
    """Return the value of an entry in a list, which is empty if there is none."""
    for name in entry.split("."):
        if not isinstance(record, dict) or name not in record:
            return []
        record = record[name]
    return [record]


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hexadecimal) of settings as JSON holds them, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_json(path: Path | str, content: Any) -> None:
    """Write `content` as indented JSON, keys in the order given, NaN refused."""
    with replacing_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_table(path: Path | str, table: pd.DataFrame, digits: int = 6, separator: str = "\t") -> None:
    """Write a table with a header, floats with `digits` significant digits, no index, missing as `nan`."""
    with replacing_file(path) as partial:
        table.to_csv(partial, sep=separator, index=False, float_format=f"%.{digits}g", na_rep="nan")
