"""What processes of a team do in the tests; functions of a module, so that a process that starts finds them."""

import os
import signal
import time

from gatescope.errors import InputError
from gatescope.model import train
from gatescope.model.runtime import prepare_torch


def fit(team, net, *settings):
    """Train a network as `gatescope train` does, alone or as one of a team."""
    if team.size > 1:
        train._join_in(team, 1, net, *settings)
    else:
        train._fit(team, prepare_torch(1, "cpu", directions=True), net, *settings)


def second_fails(team, how):
    """The second of a team ends badly; the first would wait a minute for it."""
    if team.rank == 0:
        time.sleep(60)
        raise InputError("it waited to the end")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise (
        InputError("no such thing", where="here") if how == "mistake" else ZeroDivisionError("two by nought")
    )
