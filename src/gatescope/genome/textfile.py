"""How is a text table opened? Plain or gzipped; a damaged file becomes one message.

Public names: `reading`, `numbered_lines`.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gatescope.errors import InputError


@contextmanager
def reading(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacked if it is gzip or bgzip (by content, not by name).

    Raises
    ------
    InputError
        If the file is missing, unreadable, or a truncated or damaged gzip file; also when that shows
        only while the caller reads.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_packed else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except FileNotFoundError as error:
        raise InputError("file does not exist", where=path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"gzip file is truncated or damaged ({error})",
            where=path,
            cause="an interrupted download or copy",
            remedy="fetch it again",
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error


def numbered_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end) for each line that is no comment, header or blank line.

    Lines that begin with ``#``, ``track`` or ``browser`` are headers (UCSC custom tracks).

    Raises
    ------
    InputError
        As `reading`; also if the file is not text.
    """
    with reading(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    "not a text file", where=f"{path} line {number}", remedy="give BED text, plain or gzipped"
                ) from error
            if line.strip() and not line.startswith(("#", "track ", "track\t", "browser ")):
                yield number, line
