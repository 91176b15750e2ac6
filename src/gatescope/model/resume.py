"""Who may train here, and from which checkpoint? One training at a time, and only its own checkpoint.

Public names: `resuming`, `discard`.
"""

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatescope.errors import InputError
from gatescope.files import fingerprint, read_json, write_json

log = logging.getLogger(__name__)

_MADE_FROM, _DONE = "made_from.json", ".done"
#: What flock says where a file system cannot lock.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
_MOST_SHOWN = 3


@contextmanager
def resuming(folder: Path, made_from: Mapping[str, Any]) -> Iterator[Path]:
    """Lock a run's `folder` and yield the folder for the checkpoints of this very training.

    A checkpoint of a training with other settings or data is left where it lies, with a message that names what
    differs: should somebody go back to those, it goes on. The lock ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
        Of the run; made if it is not there.
    made_from : mapping
        Everything that decides the weights, as JSON.

    Raises
    ------
    InputError
        If another process trains in the folder.
    """
    rest = folder / ".resume"
    rest.mkdir(parents=True, exist_ok=True)
    with _locked(rest / "lock", folder):
        # as JSON has it, so that tuples and lists are the same
        settings = json.loads(json.dumps(made_from, sort_keys=True))
        for left in rest.glob(f"*{_DONE}"):
            shutil.rmtree(left)
        own = rest / fingerprint(settings)[:16]
        for other in sorted(rest.glob(f"*/{_MADE_FROM}")):
            if other.parent != own:
                _say_set_aside(other, settings)
        own.mkdir(exist_ok=True)
        write_json(own / _MADE_FROM, settings)
        try:
            yield own
        finally:
            _remove_what_is_empty(rest, own)


def discard(own: Path) -> None:
    """Remove the checkpoints of a training whose results are written; those of other settings stay."""
    done = own.with_name(own.name + _DONE)  # half of a folder must not pass for one to go on from
    own.rename(done)
    shutil.rmtree(done)


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(
                f"another training is at work here ({file.read().strip() or 'it does not say which'})",
                where=folder,
                remedy="wait for it, or stop it; both would write the same files",
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning("%s: this file system has no locks; do not train twice in one folder", folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _remove_what_is_empty(rest: Path, own: Path) -> None:
    """Leave nothing behind where no epoch was finished."""
    if own.exists() and not any(own.glob("*.ckpt")):
        shutil.rmtree(own)
    if rest.exists() and not any(path.is_dir() for path in rest.iterdir()):
        shutil.rmtree(rest)


def _say_set_aside(other: Path, settings: Mapping[str, Any]) -> None:
    """Name what an unfinished training was made from and this one is not."""
    try:
        found = read_json(other)
    except InputError:  # a damaged file
        found = {}
    there, here = dict(_flat(found if isinstance(found, Mapping) else {})), dict(_flat(settings))
    names = [name for name in {**here, **there} if there.get(name) != here.get(name)]
    shown = [f"{name} {there.get(name)} there, {here.get(name)} here" for name in names[:_MOST_SHOWN]]
    more = f", and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    log.warning(
        "%s: an unfinished training of something else is set aside (%s%s)",
        other.parent,
        "; ".join(shown),
        more,
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
