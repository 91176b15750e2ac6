"""One attempt at a training in a process of its own, that may kill itself (SIGKILL) at an exact moment.

Python tells of every file that it is about to open, rename or remove (audit events), so a test can kill a training
before each of its changes of the disk in turn, with no change to what runs.
"""

import json
import math
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from gatescope.cli import main

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
_PRELOAD = ["gatescope.cli", "gatescope.model.train", "sklearn.metrics", "survivor"]


def attempt(arguments: list[str], output: Path, *, kill_before: int | None = None, nan_at: int | None = None):
    """Run `gatescope` as a process forked from one that has torch loaded; return status, messages and changes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    told, journal = output.with_suffix(".txt"), output.with_suffix(".json")
    process = context.Process(target=_attempt, args=(arguments, output, told, journal, kill_before, nan_at))
    process.start()
    process.join()
    changes = [] if process.exitcode == -signal.SIGKILL else json.loads(journal.read_text())
    return process.exitcode, told.read_text(), changes


def _attempt(arguments, output, told, journal, kill_before, nan_at):
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    changes = []

    def watch(event, values):
        if _changes_a_file(event, values, str(output)):
            if len(changes) == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            changes.append(f"{event} {Path(os.fsdecode(values[0])).name}")

    if nan_at is not None:
        _spoil_the_loss(nan_at)
    sys.addaudithook(watch)
    try:
        main(arguments)
    finally:
        journal.write_text(json.dumps(changes))


def _changes_a_file(event, values, folder):
    if event == "open":
        path, _, flags = values
        is_change = isinstance(path, str | os.PathLike) and flags & (os.O_WRONLY | os.O_RDWR)
        return is_change and os.fspath(path).startswith(folder + "/")
    # a relative name with the descriptor of its folder: shutil.rmtree
    return event in _CHANGES and (os.fsdecode(values[0]).startswith(folder + "/") or values[-1] >= 0)


def _spoil_the_loss(step):
    from gatescope.model import lightning_module

    right, calls = lightning_module.prediction_loss, []

    def wrong(*arguments):
        loss = right(*arguments)
        calls.append(loss.requires_grad)
        return loss * (math.nan if loss.requires_grad and sum(calls) == step else 1)

    lightning_module.prediction_loss = wrong
