"""How does a file come to exist: whole, or not at all.

Public names: `replacing_file`, `replacing_folder`, `file_hash`, `read_json`, `write_json`, `write_table`.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.errors import InputError


@contextmanager
def replacing_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, remove it on failure.

    Parent folders are made. A reader sees the old file or the new one, never half of one.
    """
    partial = _partial_name(Path(path))
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` on success."""
    path = Path(path)
    partial = _partial_name(path)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial_name(path: Path) -> Path:
    """Return this process's temporary name for `path`, with what killed processes left under theirs removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.partial-{os.getpid()}")


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
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise InputError("file does not exist", where=path) from error
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error})", where=path) from error


def write_json(path: Path | str, content: Any) -> None:
    """Write `content` as indented JSON, keys in the order given, NaN refused."""
    with replacing_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_table(path: Path | str, table: pd.DataFrame, digits: int = 6, separator: str = "\t") -> None:
    """Write a table with a header, floats with `digits` significant digits, no index, missing as `nan`."""
    with replacing_file(path) as partial:
        table.to_csv(partial, sep=separator, index=False, float_format=f"%.{digits}g", na_rep="nan")
