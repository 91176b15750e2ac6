"""What does an address in the sample table stand for? Where its file is kept, and which checksum it must have.

Public names: `Remote`, `Checksum`, `is_address`, `read_remote`, `find_remotes`, `read_checksum`, `check_kept`,
`record_of`.

`workflow/rules/common.smk` reads this at parse time: standard library only, and nothing asks the network.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gatescope.errors import InputError

#: Folder of everything that was fetched, within the working directory; a link to a larger disk does as well.
DOWNLOADS = "downloads"
#: How many hexadecimal digits each kind of checksum has.
_DIGITS = {"sha256": 64, "md5": 32}
_LONGEST_NAME = 120  # file systems allow 255, temporary names are longer
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WANTED = "end the address in #sha256= and 64 hexadecimal digits, #md5= and 32, or nothing"


class Checksum(NamedTuple):
    """A published checksum: `kind` is sha256 or md5, `digits` are lower-case hexadecimal."""

    kind: str
    digits: str

    def __str__(self) -> str:
        return f"{self.kind}={self.digits}"


@dataclass(frozen=True)
class Remote:
    """A file behind an address.

    Attributes
    ----------
    url : str
        Without the checksum.
    checksum : Checksum or None
        What the sample table says that the file, or what it holds once unpacked, has to hash to.
    """

    url: str
    checksum: Checksum | None = None

    @property
    def text(self) -> str:
        """What the sample table says."""
        return f"{self.url}#{self.checksum}" if self.checksum else self.url

    @property
    def path(self) -> str:
        """Where the file is kept: one folder per address, so that files of one name do not meet."""
        name = unquote(PurePosixPath(urlsplit(self.url).path).name)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-_LONGEST_NAME:].lstrip(".-") or "file"
        return f"{DOWNLOADS}/{hashlib.sha256(self.url.encode()).hexdigest()[:12]}/{name}"


def is_address(text: str) -> bool:
    """Tell whether a field names a file by its address (https://, s3://, ...), not by its path."""
    return _ADDRESS.match(text) is not None


def read_checksum(text: str, place: object) -> Checksum | None:
    """Read ``sha256=HEX`` or ``md5=HEX``; ``none`` is no checksum.

    Raises
    ------
    InputError
        If it is neither, or has another number of digits.
    """
    if text == "none":
        return None
    kind, _, digits = text.partition("=")
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{_DIGITS.get(kind, 0)}}}", digits) or not digits:
        raise InputError(f"{text!r} is no checksum", where=place, remedy=_WANTED)
    return Checksum(kind, digits.lower())


def read_remote(text: str, place: object) -> Remote:
    """Read an address that may be followed by ``#sha256=HEX`` or ``#md5=HEX``.

    Raises
    ------
    InputError
        If it has no host or name, a password, or what follows # is no checksum.
    """
    url, mark, checksum = text.partition("#")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(f"{url} is no address ({error})", where=place) from error
    if not parts.netloc or not parts.path.strip("/"):
        raise InputError(
            f"{url} names no file", where=place, remedy="give the address of the file itself, with its host"
        )
    if parts.password:
        remedy = "leave it out of the address and put it into ~/.netrc"
        raise InputError("a password would end up in every log", where=place, remedy=remedy)
    return Remote(url, read_checksum(checksum, place) if mark else None)


def find_remotes(fields: Iterable[tuple[str, str]]) -> dict[str, Remote]:
    """Return every address in fields of the sample table by the path at which its file is kept.

    Parameters
    ----------
    fields : iterable of (place, text)
        Text is an address or a path, or several separated by commas, each perhaps ``NAME=`` ahead and ``:zero``
        behind.

    Raises
    ------
    InputError
        As `read_remote`; also if one address is given with two different checksums.
    """
    found: dict[str, Remote] = {}
    for place, text in fields:
        for part in text.split(","):
            match = _ADDRESS.search(part)
            if match is None:
                continue
            remote = read_remote(part[match.start() :].strip().removesuffix(":zero"), place)
            found[remote.path] = _agreeing(found.get(remote.path, remote), remote, place)
    return found


def _agreeing(known: Remote, remote: Remote, place: str) -> Remote:
    """Return what two mentions of one address say together."""
    if known.checksum and remote.checksum and known.checksum != remote.checksum:
        what = f"{remote.url} is given with {remote.checksum} here and with {known.checksum} elsewhere"
        raise InputError(what, where=place, remedy="correct one of them")
    return replace(remote, checksum=remote.checksum or known.checksum)


def record_of(path: str | Path) -> Path:
    """Return the path of the record that `gatescope fetch` leaves beside a file."""
    return Path(f"{path}.fetched.json")


def check_kept(remotes: Iterable[Remote]) -> None:
    """Raise if a file that was fetched before is not what the sample table asks for now.

    Files that are not there yet are left to ``gatescope fetch``. Of the files only the size is looked at.

    Raises
    ------
    InputError
        If its size is not that of the fetched file, or its checksum was another than the one declared.
    """
    for remote in remotes:
        path, record = Path(remote.path), record_of(remote.path)
        if not (path.is_file() and record.is_file()):
            continue
        try:
            fetched = json.loads(record.read_text(encoding="utf-8"))
            wrong = _difference(remote, path, fetched)
        except (ValueError, KeyError, TypeError):
            wrong = f"its record {record} is damaged"
        if wrong:
            remedy = "remove the file and start again: it is then fetched and checked anew"
            raise InputError(wrong, where=path, remedy=remedy)


def _difference(remote: Remote, path: Path, fetched: dict) -> str:
    """Say how a kept file differs from what is wanted; nothing if it does not."""
    if path.stat().st_size != fetched["bytes"]:
        return f"has {path.stat().st_size} bytes, {fetched['bytes']} were fetched: it was changed since"
    if remote.checksum is None:
        return ""
    kind, digits = remote.checksum
    if digits in (fetched[kind], fetched.get(f"{kind}_unpacked")):
        return ""
    return f"the sample table wants {kind} {digits}, the file that was fetched from {remote.url} has {fetched[kind]}"
