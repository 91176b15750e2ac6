"""How are the processes of a team started and ended? From this one, which trains nothing itself and watches them.

Lightning's own launcher runs the command line again for every further process: each would take the lock, open the log
and answer to Snakemake. Here the command forks its team off a clean process (a fork server: torch is imported once, and
no thread or GPU is inherited), hands on their messages, and ends them all as soon as one of them ends badly, so that
none waits for ever for another.

Public names: `run_team`.
"""

import logging
import logging.handlers
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from gatescope.data.orphans import end_with_parent
from gatescope.errors import InputError
from gatescope.model.team import Team

_SERVER_PRELOADS = ["gatescope.model.train", "sklearn.metrics"]
#: What the others get to say why, once one has ended badly.
_LAST_WORDS_S = 2.0


def run_team(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(Team, *arguments)` in so many processes of this machine, and return when all are done.

    Parameters
    ----------
    size : int
    work : callable
        A function of a module; its arguments must be picklable. torch.distributed finds the others through environment
        variables.

    Raises
    ------
    InputError
        What one of them raised; or if one was killed.
    RuntimeError
        If one failed otherwise; with its traceback.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SERVER_PRELOADS)
    messages, failures = context.Queue(), context.SimpleQueue()
    listener = logging.handlers.QueueListener(messages, _HandOn())
    port, level = _free_port(), logging.getLogger("gatescope").getEffectiveLevel()
    team = [
        context.Process(
            target=_member, args=(Team(rank, size), port, messages, level, failures, work, arguments)
        )
        for rank in range(size)
    ]
    listener.start()
    try:
        for process in team:
            process.start()
        is_well = _watch(team)
    finally:
        statuses = [process.exitcode for process in team]
        for process in team:
            if process.pid is not None:
                process.kill()
                process.join()
        listener.stop()
    if not is_well:
        _raise_what_happened([status for status in statuses if status], failures)


class _HandOn(logging.Handler):
    """Let this process's own handlers have the messages of the team."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _watch(team: list[Any]) -> bool:
    """Wait until all have ended well, or one badly and the others have had a moment to say why."""
    waiting = list(team)
    while waiting:
        wait([process.sentinel for process in waiting])
        if any(process.exitcode for process in waiting):
            until = time.monotonic() + _LAST_WORDS_S
            for process in team:
                process.join(max(0.0, until - time.monotonic()))
            return False
        waiting = [process for process in waiting if process.exitcode is None]
    return True


def _raise_what_happened(statuses: list[int], failures: Any) -> None:
    """Raise the user's mistake if there is one, else say who was killed, else the first traceback."""
    told = []
    while not failures.empty():
        told.append(failures.get())
    for is_mistake, text in told:
        if is_mistake:
            raise InputError(text)
    killed = [-status for status in statuses if status < 0]
    if killed:
        raise InputError(
            f"a process of the training was killed ({signal.Signals(killed[0]).name})",
            where="training: devices",
            cause="the job ran out of memory",
            remedy="start again; training goes on after its last whole epoch",
        )
    raise RuntimeError(told[0][1] if told else f"processes of the training ended with status {statuses}")


def _member(
    team: Team, port: int, messages: Any, level: int, failures: Any, work: Callable[..., None], arguments: Any
) -> None:
    """Work as one of a team, and say so where that fails."""
    end_with_parent()
    for signum in (signal.SIGTERM, signal.SIGINT):  # the parent answers them, and ends this process
        signal.signal(signum, signal.SIG_IGN)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"LOCAL_RANK": str(team.rank), "NODE_RANK": "0", "WORLD_SIZE": str(team.size)}
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host's own name need not lead to it
    _hand_messages_to(messages, level if team.rank == 0 else logging.ERROR)
    try:
        work(team, *arguments)
    except InputError as error:
        failures.put((True, str(error)))
        os._exit(2)
    except Exception:
        failures.put((False, traceback.format_exc()))
        os._exit(1)
    messages.close()
    messages.join_thread()
    os._exit(0)  # a process group has nothing to say to processes that are gone


def _hand_messages_to(messages: Any, level: int) -> None:
    root = logging.getLogger()
    root.handlers = [logging.handlers.QueueHandler(messages)]
    logging.getLogger("gatescope").setLevel(level)
    logging.captureWarnings(True)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
