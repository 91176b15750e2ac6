"""How is a text table opened? Plain or gzipped; a damaged file becomes one message.

Public names: `reading`, `numbered_lines`, `refuse_endless_bgzip`.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gatescope.errors import InputError

#: What is given in place of a table, by its first bytes (after unpacking gzip).
_NO_TABLE = {
    b"\xeb\xf2\x89\x87": "bigBed; make BED text of it with bigBedToBed",
    b"\x87\x89\xf2\xeb": "bigBed; make BED text of it with bigBedToBed",
    b"\x26\xfc\x8f\x88": "a bigWig, wanted regions; give BED text",
    b"\x88\x8f\xfc\x26": "a bigWig, wanted regions; give BED text",
    b"BAM\x01": "BAM: reads, wanted regions; give BED text",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save it as tab-separated text",
    b"BZh": "packed by bzip2; unpack it, or pack it with gzip",
    b"\xfd7zX": "packed by xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it, or pack it with gzip",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"<": "a web page; download the file itself",
}
_HEADERS = ("#", "track ", "track\t", "browser ", "browser\t")
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


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
        if is_packed:
            refuse_endless_bgzip(path)
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


def refuse_endless_bgzip(path: Path | str) -> None:
    """Raise if a bgzip file lacks the empty block that ends it: cut between two blocks it looks whole.

    Raises
    ------
    InputError
        Naming the file. Other files are left alone.

    References
    ----------
    SAM/BAM Format Specification, section 4.1.2 (end-of-file marker).
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(14)
        is_bgzip = len(head) == 14 and head[:2] == b"\x1f\x8b" and bool(head[3] & 4) and head[12:] == b"BC"
        file.seek(-min(len(_BGZIP_END), path.stat().st_size), 2)
        if is_bgzip and file.read() != _BGZIP_END:
            raise InputError(
                "bgzip file without its end: it is truncated",
                where=path,
                cause="an interrupted download or copy",
                remedy="fetch it again; if you know that it is whole, pack it anew (gzip -dc FILE | bgzip > NEW)",
            )


def numbered_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end) for each line that is no comment, header or blank line.

    Lines that begin with ``#``, ``track`` or ``browser`` are headers (UCSC custom tracks).

    Raises
    ------
    InputError
        As `reading`; also if the file is not text, or has the line ends of old Macintosh files.
    """
    with reading(path) as file:
        _refuse_no_table(file.read(4), path)
        file.seek(0)
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    "not a text file", where=f"{path} line {number}", remedy="give BED text, plain or gzipped"
                ) from error
            if "\r" in line:
                raise InputError(
                    "lines end with CR alone, as in files of old Macintosh programs",
                    where=f"{path} line {number}",
                    remedy="convert them: tr '\\r' '\\n' < old.bed > new.bed",
                )
            if line.strip() not in ("", "track", "browser") and not line.startswith(_HEADERS):
                yield number, line


def _refuse_no_table(head: bytes, path: Path | str) -> None:
    """Raise if the first bytes of a file are those of another format."""
    for magic, what in _NO_TABLE.items():
        if head.startswith(magic):
            raise InputError(f"this is {what}", where=path)
