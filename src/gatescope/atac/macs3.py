"""Where is MACS3, and what did it say? A program in an environment of its own, asked for peaks.

Public names: `Macs3`, `find_macs3`.
"""

import logging
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatescope.errors import InputError

log = logging.getLogger(__name__)

#: Where `make peaks-env` puts it, beside the checkout that runs, or beside the environment that runs.
_OWN = Path(".venv-peaks/bin/macs3")
_PLACES = (Path(__file__).parents[3], Path(sys.prefix).parent)
_REMEDY = "run `make peaks-env` in the gatescope folder, or give a peak file in the sample table"
_STAMP = re.compile(r"^[A-Z]+ +@ [^\[]*?\d\d:\d\d:\d\d: (\[\d+ MB\] )?")
_LAST_LINES = 4


@dataclass(frozen=True)
class Macs3:
    """Run MACS3.

    Parameters
    ----------
    path : Path
        The program.
    version : str
        Such as ``3.0.4``.
    """

    path: Path
    version: str

    def call_peaks(self, arguments: Sequence[str], folder: Path) -> Path:
        """Run ``macs3 callpeak`` in `folder`, all its files within it, its messages in the log.

        Parameters
        ----------
        arguments : sequence of str
            What says which fragments, and how; not the names of the files to write.
        folder : Path
            An empty or temporary folder.

        Returns
        -------
        Path
            The narrowPeak that it wrote, which is empty where it found no peak.

        Raises
        ------
        InputError
            If it fails, with the last that it said.
        """
        here = ("--name", "macs3", "--outdir", ".", "--tempdir", ".")
        command = [str(self.path), "callpeak", *arguments, *here]
        last: deque[str] = deque(maxlen=_LAST_LINES)
        with self._start(command, folder) as process:
            try:
                for line in _lines(process):
                    log.info("MACS3: %s", line)
                    last.append(line)
            except BaseException:  # an interrupt as well: it must not go on without us
                process.kill()
                raise
        found = folder / "macs3_peaks.narrowPeak"
        if process.returncode or not found.is_file():
            said = " | ".join(last) or "it said nothing"
            is_killed = process.returncode in (-9, 137)
            raise InputError(
                f"MACS3 {self.version} failed (exit status {process.returncode}): {said}",
                where=self.path,
                cause="too little memory: raise mem_mb of rule peaks" if is_killed else "",
                remedy="the log holds all that it said",
            )
        return found

    def _start(self, command: list[str], folder: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )


def find_macs3() -> Macs3:
    """Find MACS3: on PATH (so in a conda environment), else where ``make peaks-env`` has put it.

    Raises
    ------
    InputError
        If it is in neither place, or does not start.
    """
    on_path = shutil.which("macs3")
    beside = [str(place / _OWN) for place in _PLACES if (place / _OWN).is_file()]
    found = [on_path, *beside] if on_path else beside
    if not found:
        raise InputError(
            "MACS3, which calls the peaks that the sample table does not name, is not installed",
            where="macs3",
            remedy=_REMEDY,
        )
    path = Path(found[0])
    return Macs3(path, _ask_version(path))


def _ask_version(path: Path) -> str:
    """Return the version, and learn on the way that the program starts."""
    try:
        told = subprocess.run(
            [str(path), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise _broken(path, str(error.strerror)) from error
    if told.returncode:
        raise _broken(path, (told.stdout.strip().splitlines() or ["it says nothing"])[-1])
    return told.stdout.strip().removeprefix("macs3").strip()


def _broken(path: Path, why: str) -> InputError:
    return InputError(
        f"MACS3 does not start ({why})",
        where=path,
        cause="an environment that was moved, or whose Python is gone",
        remedy=f"remove it and {_REMEDY}",
    )


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield what a process says, without time stamps and empty lines."""
    assert process.stdout is not None
    for raw in process.stdout:
        line = _STAMP.sub("", raw).strip()
        if line:
            yield line
