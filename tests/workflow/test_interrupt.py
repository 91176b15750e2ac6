"""A workflow that is killed and started again ends with the bytes of one that was left alone."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_workflow import Workflow, clean_env, make_small

pytestmark = [pytest.mark.workflow, pytest.mark.interrupt]

PATTERNS = [
    line
    for line in Path(__file__).with_name("deterministic.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
#: Kill as soon as something matches: encode is writing; a network has one epoch behind it; gates are written.
MOMENTS = {
    "encode": "results/planted/data/.encoded.partial*",
    "training": "results/planted/model/dna.f1.1/.resume/*/last.ckpt",
    "trace": "results/planted/trace/dna.f1.1/.*.partial*",
}
_PATIENCE_S = 300


def fingerprint(workflow: Workflow) -> dict[str, str]:
    """Return the hash of every file that has to be the same."""
    results = workflow.folder / "results"
    files = {path for pattern in PATTERNS for path in results.glob(pattern) if path.is_file()}
    files = {path for path in files if path.name != ".snakemake_timestamp"}
    return {str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kill_at(workflow: Workflow, moment: str, log: Path) -> None:
    """Start the workflow in a session of its own and kill all of it (-9) once `moment` matches a file."""
    with log.open("w") as output:
        process = subprocess.Popen(
            workflow.command(), stdout=output, stderr=output, env=clean_env(), start_new_session=True
        )
        deadline = time.monotonic() + _PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            if any(workflow.folder.glob(moment)):
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        process.wait()
    assert process.returncode == -signal.SIGKILL, log.read_text()[-4000:]


def test_killed_three_times_ends_with_the_same_bytes(tmp_path):
    one_run = tmp_path / "one_run.yaml"
    one_run.write_text("runs:\n  models: [dna]\n")
    calm, hunted = make_small(tmp_path / "calm", one_run), make_small(tmp_path / "hunted", one_run)
    done = calm.run()
    assert done.returncode == 0, done.stdout[-4000:]

    for name, moment in MOMENTS.items():
        kill_at(hunted, moment, tmp_path / f"{name}.txt")
        assert hunted.run("--unlock").returncode == 0
    done = hunted.run()
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Nothing to be done" in hunted.run().stdout

    expected, found = fingerprint(calm), fingerprint(hunted)
    assert len(expected) > 80
    assert set(found) == set(expected)
    assert [name for name in sorted(expected) if found[name] != expected[name]] == []
