"""Which verb did the user ask for? One sub-command per workflow rule, and the one error boundary.

Public names: `main`, `build_parser`.

This is the only module that prints, exits and imports inside functions: `gatescope --help` must not
pay for torch, and a verb pays for its own imports only.
"""

import argparse
import errno
import importlib
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from gatescope import __version__
from gatescope.errors import InputError, InputErrors
from gatescope.verbs import LOG_HELP, VERBS

log = logging.getLogger("gatescope")

#: System errors that the user can mend and a traceback would only hide.
_SYSTEM_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR),  # a file where a folder is wanted, or the other way round
}
#: What a cluster sends before it kills: preemption, the end of the time, `sbatch --signal=USR1@60`.
_STOPS = (signal.SIGTERM, signal.SIGUSR1)


class _Stopped(BaseException):
    """A signal asked the process to end: what is half-written is removed on the way out."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, like every other message."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with one sub-command per verb."""
    parser = _Parser(prog="gatescope", description="Read a genome through the gates of a recurrent network.")
    parser.add_argument("--version", action="version", version=f"gatescope {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        sentence = verb.summary[0].upper() + verb.summary[1:] + "."
        command = commands.add_parser(name, help=verb.summary, description=sentence)
        for flag, settings in verb.options:
            command.add_argument(flag, **settings)
        command.add_argument("--log", type=Path, metavar="FILE", help=LOG_HELP)
    return parser


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit: 0 done, 2 the user's mistake, 1 a bug in gatescope, 128 + n stopped by signal n.

    ``GATESCOPE_DEBUG=1`` shows the traceback of a user's mistake as well.
    """
    values = vars(build_parser().parse_args(arguments))
    sys.exit(_run(values.pop("verb"), values.pop("log"), values))


def _run(name: str, log_file: Path | None, values: dict[str, Any]) -> int:
    """Call the verb inside the one error boundary; return the exit status."""
    before = {signum: signal.signal(signum, _stop) for signum in _STOPS}
    try:
        _set_up_logging(name, log_file)
        function = getattr(importlib.import_module(VERBS[name].module), name)
        function(**values)
    except InputErrors as errors:
        columns = shutil.get_terminal_size((100, 24)).columns
        return _report_mistake(name, errors.on_screen(min(max(columns, 60), 120)))
    except InputError as error:
        return _report_mistake(name, str(error).replace("\n", " "))
    except OSError as error:
        if error.errno not in _SYSTEM_ERRORS:
            return _report_bug(name)
        return _report_mistake(name, f"{error.filename or 'system'}: {error.strerror}")
    except KeyboardInterrupt:
        log.error("gatescope %s: interrupted", name)
        return 130
    except _Stopped as stopped:
        signum = signal.Signals(stopped.args[0])
        log.error("gatescope %s: stopped by %s; what is finished is kept: start it again", name, signum.name)
        return 128 + signum
    except Exception:
        return _report_bug(name)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        logging.shutdown()
    return 0


def _stop(signum: int, _: FrameType | None) -> NoReturn:
    for each in _STOPS:  # once is enough
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(signum)


def _report_mistake(name: str, message: str) -> int:
    debug = os.environ.get("GATESCOPE_DEBUG") == "1"
    log.error("gatescope %s: error: %s", name, message, exc_info=debug)
    return 2


def _report_bug(name: str) -> int:
    log.exception("gatescope %s: this is a bug in gatescope, please report it with the lines below", name)
    return 1


def _set_up_logging(name: str, log_file: Path | None) -> None:
    """Send messages to the terminal and to the log file; errors to one of them only.

    Snakemake prints the log file of a failed rule, so with a log file an error on the terminal would
    appear twice.
    """
    terminal = logging.StreamHandler()
    terminal.setFormatter(_TerminalFormatter(name))
    terminal.addFilter(_is_for_the_user)
    logging.basicConfig(handlers=[terminal], force=True)
    log.setLevel(logging.INFO)
    if log_file is not None:
        logging.getLogger().addHandler(_log_handler(log_file))
        terminal.addFilter(lambda record: record.levelno < logging.ERROR)
    for advice_to_programmers in (DeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", advice_to_programmers)  # the tests turn every warning into an error
    logging.captureWarnings(True)


def _log_handler(path: Path) -> logging.Handler:
    """Open the log file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="w")
    except OSError as error:
        raise InputError(f"log cannot be written ({error.strerror})", where=path) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(_is_for_the_user)
    return handler


def _is_for_the_user(record: logging.LogRecord) -> bool:
    return record.name.startswith("gatescope") or record.levelno > logging.INFO


class _TerminalFormatter(logging.Formatter):
    """Name the verb before each line of progress: jobs that run side by side share the terminal."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno >= logging.ERROR else f"gatescope {self._name}: {message}"


if __name__ == "__main__":
    main()
