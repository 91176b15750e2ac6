"""How does a process end with the one that started it? By waiting for its end, however that comes.

Public names: `end_with_parent`.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Let this process, which `multiprocessing` started, end as soon as its parent is gone, even by kill -9.

    A worker that lives on after its parent keeps what it inherited: memory, and the lock on a run's folder, so that
    the training could not be started again. A signal that asks the whole job to end is the parent's to answer; the
    parent then ends its workers.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("this process was not started by multiprocessing")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's handler
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    """Wait for the parent's end; nothing that is open here is worth closing in order."""
    wait([sentinel])
    os._exit(1)
