"""What processes of a team do in the tests; functions of a module, so that a process that starts finds them."""

import os
import signal
import time

from gatescope.errors import InputError
from gatescope.model import train


def fit_in_float64(team, *settings):
    """Train as `gatescope train` does, in double precision."""
    right = train._untrained
    train._untrained = lambda *arguments: right(*arguments).double()
    try:
        train._fit(team, *settings)
    finally:
        train._untrained = right


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
