"""A process that was started for another ends with it, also when that one is killed."""

import os
import signal
import subprocess
import sys

import pytest

from gatescope.data.orphans import end_with_parent

PARENT = """
import multiprocessing, os, sys, time
from gatescope.data.orphans import end_with_parent

def work(method):
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(3600)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=work, args=sys.argv[1:]).start()
    time.sleep(3600)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_does_not_outlive_its_parent(tmp_path, method):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, method], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        os.kill(worker, signal.SIGUSR1)  # the parent's to answer
        parent.kill()
        assert parent.stdout.read() == ""  # returns when the last process that could write has ended


def test_only_a_process_with_a_parent_can_wait_for_its_end():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="not started by multiprocessing"):
        end_with_parent()
    assert signal.getsignal(signal.SIGTERM) == before
