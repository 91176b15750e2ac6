"""How does a file behind an address get here? Whole and checked, or not at all.

Public names: `fetch`.

Downloads go through Snakemake's storage plugins, called from a job of their own rather than as inputs of a rule:
see docs/adr/0008-addresses-are-fetched-by-a-job.md.
"""

import errno
import gzip
import hashlib
import logging
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import configargparse
from snakemake_interface_storage_plugins.registry import StoragePluginRegistry

from gatescope.errors import InputError
from gatescope.files import read_json, replacing_file, write_json
from gatescope.remote import Checksum, read_checksum, read_remote, record_of
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

_WAITS_S = (5, 30)  # before the second and the third attempt
_STALL_S = 300  # without a single byte
_TICK_S = 1.0
_PROGRESS_S = 30
_CHUNK = 1 << 16  # small: a slow line must be told from a silent one
#: Errors of this machine's disk: trying again is no use, and the message is the system's.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_WORTH_ANOTHER_TRY = (408, 429, 500, 502, 503, 504)
_AGAIN = "start again; nothing was kept of it"

#: What a server says of a file, such as its length; empty where it does not.
Headers = Mapping[str, str]


class _Unsteady(Exception):
    """The server fails, perhaps only now."""


def fetch(url: str, output: Path | str, *, checksum: str = "none") -> None:
    """Download the file behind an address, check it, and record what it was in ``<output>.fetched.json``.

    Nothing is called `output` before it is whole and checked. A transfer that breaks is tried twice more, from the
    start. Without a checksum, a file that differs from the one recorded before is refused: results were made of
    that one.

    Parameters
    ----------
    url : str
        http, https, or what an installed storage plugin of Snakemake reads (s3, gs, ...), set up by its environment
        variables (``SNAKEMAKE_STORAGE_S3_...``); a password for http comes from ``~/.netrc``.
    output : path
        File to write.
    checksum : str
        ``sha256=HEX`` or ``md5=HEX`` of the file as it is served or, of gzip, of what it holds; ``none``.

    Raises
    ------
    InputError
        If no plugin reads the address, the server refuses or stops sending, or the file is not the one wanted.
    """
    remote = read_remote(url, "--url")
    wanted, record = read_checksum(checksum, "--checksum"), record_of(output)
    before = read_json(record) if record.exists() else None
    with replacing_file(output) as partial:
        headers = _download(remote.url, partial)
        found = _describe(remote.url, partial, headers)
        if not (wanted or _says_where_it_ends(headers)):
            log.warning(
                "%s: the server does not say how long the file is: a broken transfer would not show", url
            )
        if wanted is not None:
            found |= _check(url, partial, wanted, found)
        elif before is not None and before.get("sha256") != found["sha256"]:
            _refuse_change(url, before, found, record)
    write_json(record, found)
    log.info("%s: %d bytes, sha256 %s", url, found["bytes"], found["sha256"])
    if wanted is None:
        log.info("to make sure that no other file is ever taken for it, end the address in #sha256=...")


def _download(url: str, target: Path) -> Headers:
    """Download to `target`, trying again where the server or the line fails."""
    for wait in (*_WAITS_S, None):
        try:
            return _watched(_retriever(url, target), url, target)
        except _Unsteady as error:
            if wait is None:
                cause = "the address is wrong, the server is down, or this machine has no way to it"
                raise InputError(
                    f"cannot be downloaded ({error})", where=url, cause=cause, remedy=_AGAIN
                ) from error
            log.warning("%s: %s; next attempt in %g s", url, error, wait)
            time.sleep(wait)
    raise AssertionError


def _watched(retrieve: Callable[[], Headers], url: str, target: Path) -> Headers:
    """Run a download, say how far it is, and give up on a server that has fallen silent.

    It runs in a thread that dies with this process, because plugins set no time-out.
    """
    done: list[Headers | BaseException] = []

    def work() -> None:
        try:
            done.append(retrieve())
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    size, moved = 0, time.monotonic()
    said = moved
    while thread.is_alive():
        thread.join(min(_TICK_S, _STALL_S / 4))
        now, before = time.monotonic(), size
        size = target.stat().st_size if target.exists() else 0
        moved = now if size != before else moved
        if now - moved > _STALL_S:
            raise InputError(f"no data for {_STALL_S:g} s, after {size} bytes", where=url, remedy=_AGAIN)
        if now - said > _PROGRESS_S:
            log.info("%s: %.0f MB so far", url, size / 1e6)
            said = now
    return _result(done[0])


def _result(outcome: Headers | BaseException) -> Headers:
    """Return what a download returned, or raise what it raised; what plugins raise may pass with time."""
    if not isinstance(outcome, BaseException):
        return outcome
    if isinstance(outcome, (InputError, _Unsteady)) or getattr(outcome, "errno", None) in _DISK_ERRORS:
        raise outcome
    raise _Unsteady(f"{type(outcome).__name__}: {outcome}") from outcome


def _retriever(url: str, target: Path) -> Callable[[], Headers]:
    """Return what downloads `url` to `target`, through the storage plugin that reads it."""
    name, plugin = _find_plugin(url, StoragePluginRegistry().plugins)
    settings = configargparse.ArgumentParser()
    plugin.register_cli_args(settings, "storage")

    def retrieve() -> Headers:
        with tempfile.TemporaryDirectory() as prefix:
            provider = plugin.storage_provider(
                local_prefix=Path(prefix),
                logger=log,
                settings=plugin.get_settings(settings.parse_args([])).get_settings(),
            )
            storage_object = provider.object(url)
            storage_object.set_local_path(target)
            if name == "http":
                return _retrieve_http(storage_object, url, target)
            if not storage_object.exists():
                raise InputError("there is no such file", where=url, remedy="correct the address")
            storage_object.retrieve_object()
            return {}

    return retrieve


def _find_plugin(url: str, plugins: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the storage plugin that reads an address; of several, the one of that name."""
    scheme = urlsplit(url).scheme
    fitting = [name for name, plugin in plugins.items() if plugin.storage_provider.is_valid_query(url)]
    fitting.sort(key=lambda name: (name not in (scheme, scheme.removesuffix("s")), name))
    if not fitting:
        known = {"gs": "gcs"}.get(scheme, scheme)
        raise InputError(
            f"no storage plugin of Snakemake that is installed reads {scheme}://",
            where=url,
            remedy=f"pip install snakemake-storage-plugin-{known}, if there is one, or download the file yourself",
        )
    return fitting[0], plugins[fitting[0]]


def _retrieve_http(storage_object: Any, url: str, target: Path) -> Headers:
    """Download over http(s); the plugin's own retrieval would save an error page as if it were the file."""
    with storage_object.httpr(stream=True) as response:
        _refuse_status(response, url)
        _refuse_full_disk(int(response.headers.get("Content-Length", 0)), url, target.parent)
        # a server may pack text for the way; of a file that is gzip itself many say so and mean the file
        is_gzip = urlsplit(url).path.endswith((".gz", ".bgz", ".tgz"))
        response.raw.decode_content = not is_gzip and bool(response.headers.get("Content-Encoding"))
        with target.open("wb") as file:
            shutil.copyfileobj(response.raw, file, _CHUNK)
        return response.headers


def _refuse_status(response: Any, url: str) -> None:
    """Raise unless the server answers with a file."""
    status = f"the server answers {response.status_code} {response.reason}"
    if response.status_code in _WORTH_ANOTHER_TRY:
        raise _Unsteady(status)
    if response.status_code in (401, 403):
        remedy = "put the password into ~/.netrc, or download the file yourself"
        raise InputError(status, where=url, remedy=remedy)
    if response.status_code != 200:
        raise InputError(status, where=url, remedy="open the address in a browser and correct it")


def _refuse_full_disk(size: int, url: str, folder: Path) -> None:
    """Raise if a file would not fit, before hours are spent on it."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"the file has {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free in {folder}",
            where=url,
            remedy="make room, or make `downloads` a link to a folder on a larger disk",
        )


def _says_where_it_ends(headers: Headers) -> bool:
    """Tell whether a transfer that breaks off is noticed; storages other than http look themselves."""
    return not headers or "Content-Length" in headers or headers.get("Transfer-Encoding") == "chunked"


def _describe(url: str, path: Path, headers: Headers) -> dict[str, Any]:
    """Return the record of a downloaded file, after a look whether it can be one."""
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
        if not head:
            raise InputError("the server sends an empty file", where=url)
        if head.startswith((b"<!doctype html", b"<html")):
            remedy = "open the address in a browser: it may ask to log in, or have moved"
            raise InputError("the server sends a web page in place of the file", where=url, remedy=remedy)
        file.seek(0)
        digests = _digests(file)
    return {
        "stage_version": STAGE_VERSIONS["fetch"],
        "url": url,
        "bytes": path.stat().st_size,
        **digests,
        "last_modified": headers.get("Last-Modified", ""),
        "etag": headers.get("ETag", ""),
    }


def _digests(file: IO[bytes], suffix: str = "") -> dict[str, str]:
    """Return SHA-256 and MD5 of the rest of a file, read once."""
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    while chunk := file.read(_CHUNK):
        for digest in digests.values():
            digest.update(chunk)
    return {f"{kind}{suffix}": digest.hexdigest() for kind, digest in digests.items()}


def _check(url: str, path: Path, wanted: Checksum, found: Mapping[str, Any]) -> dict[str, str]:
    """Raise unless the file, or what it holds once unpacked, has the checksum; return what was looked at besides."""
    if found[wanted.kind] == wanted.digits:
        return {}
    unpacked = _unpacked_digests(path)
    if unpacked.get(f"{wanted.kind}_unpacked") == wanted.digits:
        return unpacked
    raise InputError(
        f"wanted {wanted.kind} {wanted.digits}, got {found[wanted.kind]} ({found['bytes']} bytes)",
        where=url,
        cause="another version of the file, or a broken transfer",
        remedy="nothing was kept; start again, or give the checksum that is published for the file",
    )


def _unpacked_digests(path: Path) -> dict[str, str]:
    """Return the digests of what a gzip file holds; none of other files and of damaged ones."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return {}
    try:
        with gzip.open(path, "rb") as file:
            return _digests(file, "_unpacked")  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return {}


def _refuse_change(url: str, before: Mapping[str, Any], found: Mapping[str, Any], record: Path) -> None:
    """Raise because the file behind the address is not the one that was fetched before."""
    raise InputError(
        f"the file has changed: sha256 was {before.get('sha256')}, is {found['sha256']}",
        where=url,
        remedy=f"to go on with the new one, remove {record} and start again: what the old one gave is then redone",
    )
