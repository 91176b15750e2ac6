"""Nothing is lost: one training per folder, its own checkpoint only, and signals that end it in good order."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatescope.errors import InputError
from gatescope.model.resume import resuming
from tiny_store import make_store

SETTINGS = {"run": "a.f1.1", "training": {"epochs": 8, "sampling": {"peaks": 0.4}}, "network": {"layers": 1}}
HOLD = """
import sys, time
from pathlib import Path
from gatescope.model.resume import resuming
with resuming(Path(sys.argv[1]), {"run": "a"}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_in_a_folder_is_refused_until_the_first_is_gone(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"another training .*process {first.pid} on .*wait for it"):
            with resuming(tmp_path, SETTINGS):
                pass
        assert not list(tmp_path.glob(".resume/*/made_from.json"))[1:]
        first.kill()
        first.wait()
        with resuming(tmp_path, SETTINGS) as own:
            assert own.is_dir()
        assert not own.exists()  # nothing was finished, so nothing is left


def test_a_checkpoint_is_found_again_by_the_same_settings_alone(tmp_path, caplog):
    caplog.set_level("INFO", "gatescope")
    with resuming(tmp_path, SETTINGS) as own:
        (own / "last.ckpt").write_text("epoch 3")
    other = {**SETTINGS, "training": {"epochs": 12, "sampling": {"peaks": 0.5}}}
    assert not caplog.text
    with resuming(tmp_path, other) as changed:
        assert not list(changed.glob("*.ckpt"))
    assert (
        "set aside (training.epochs 8 there, 12 here; training.sampling.peaks 0.4 there, 0.5 here)"
        in caplog.text
    )
    assert own.name in caplog.text
    with resuming(tmp_path, json.loads(json.dumps(SETTINGS))) as again:
        assert (again / "last.ckpt").read_text() == "epoch 3"


def test_many_differences_are_counted(tmp_path, caplog):
    with resuming(tmp_path, {str(n): 0 for n in range(5)}) as own:
        (own / "last.ckpt").touch()
    with resuming(tmp_path, {str(n): 1 for n in range(5)}):
        pass
    assert "2 0 there, 1 here, and 2 more)" in caplog.text


TRAIN = {"epochs": 6, "windows_per_epoch": 48, "batch_size": 4, "patience": 6, "sampling": {"jitter_bp": 50}}
NETWORK = {"stem_channels": 8, "stem_width_bp": 9, "hidden_units": 8, "layers": 2, "dropout": 0.2}


def command(store: Path, output: Path) -> list[str]:
    values = {"store": store, "output": output, "run": "small.f1.1", "fold": "f1", "seed": 1}
    values |= {"network": json.dumps(NETWORK), "training": json.dumps(TRAIN)}
    flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "gatescope.cli", "train", *flags]


def kept_at(output: Path) -> list[int]:
    """When the last epoch was kept."""
    return [path.stat().st_mtime_ns for path in output.glob(".resume/*/last.ckpt")]


def stop_after(n: int, signum: signal.Signals, store: Path, output: Path) -> tuple[int, str]:
    """Send a signal when `n` epochs are kept; return exit status and messages."""
    before = kept_at(output)
    with subprocess.Popen(command(store, output), stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if f"epoch {n} of" in line:
                while process.poll() is None and kept_at(output) == before:
                    time.sleep(0.001)
                time.sleep(0.02)  # somewhere within the next epoch
                os.kill(process.pid, signum)
                break
        lines += list(process.stderr)
    return process.returncode, "".join(lines)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.interrupt
def test_signals_end_a_training_in_good_order_and_nothing_is_lost(tmp_path):
    """Preemption, end of time and a plain kill, one after the other, with dropout: the bytes of one calm training."""
    store = make_store(tmp_path / "store").path
    subprocess.run(command(store, tmp_path / "calm"), check=True, capture_output=True)
    output = tmp_path / "hunted"
    for n, signum in ((1, signal.SIGTERM), (2, signal.SIGUSR1), (3, signal.SIGKILL), (4, signal.SIGTERM)):
        status, text = stop_after(n, signum, store, output)
        if signum == signal.SIGKILL:
            assert status == -signum
        else:
            assert status == 128 + signum
            assert f"stopped by {signum.name}; what is finished is kept: start it again" in text
            assert "Traceback" not in text
        assert n == 1 or f"resuming after epoch {n - 1}" in text
        assert not (output / "model.json").exists()
    subprocess.run(command(store, output), check=True, capture_output=True)
    assert files(output) == files(tmp_path / "calm")
    assert not (output / ".resume").exists()
