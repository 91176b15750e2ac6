"""A training is killed, for good and at the worst moments; started again, it ends with the bytes of a calm one."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from survivor import attempt
from tiny_store import make_store, replace_codes

pytestmark = pytest.mark.interrupt

TRAINING = {"epochs": 3, "windows_per_epoch": 8, "batch_size": 4, "patience": 3, "learning_rate": 0.2}
NETWORK = {"stem_channels": 4, "stem_width_bp": 5, "hidden_units": 4, "layers": 2, "dropout": 0.2}
#: Enough batches that a second passes between two epochs.
LONG = {**TRAINING, "epochs": 4, "windows_per_epoch": 120, "patience": 5, "learning_rate": 0.01}
RESULTS = {
    *("model.safetensors", "last.safetensors", "model.json", "model_card.md"),
    *("training.csv", "metrics.tsv", "gradient_reach.tsv"),
}
_PATIENCE_S = 300


def arguments(store: Path, output: Path, training=TRAINING, workers: int = 0) -> list[str]:
    values = {
        "store": store,
        "output": output,
        "run": "small.f1.1",
        "fold": "f1",
        "seed": 1,
        "workers": workers,
    }
    values |= {"network": json.dumps(NETWORK), "training": json.dumps(training)}
    return ["train", *(text for name, value in values.items() for text in (f"--{name}", str(value)))]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store", window_bp=200).path


@pytest.fixture(scope="module")
def calm(store, tmp_path_factory):
    """A training that nobody disturbed: its files, and its changes of the disk in order."""
    output = tmp_path_factory.mktemp("calm") / "run"
    status, told, changes = attempt(arguments(store, output), output)
    assert status == 0, told
    assert set(files(output)) == RESULTS
    return files(output), changes


def finishes_like(calm, store, output) -> str:
    status, told, _ = attempt(arguments(store, output), output)
    assert (status, "Traceback" in told) == (0, False), told
    assert files(output) == calm[0]
    assert not (output / ".resume").exists()
    return told


def test_killed_before_any_change_of_a_file(store, calm, tmp_path):
    """Among them: half of `best` and of `last` written, between the two, before and within the model's folder."""
    _, changes = calm
    for moment in (
        "open .best.ckpt.partial",
        "os.rename .last.ckpt.partial",
        "os.rename .model.json.partial",
    ):
        assert any(change.startswith(moment) for change in changes), changes
    for n, change in enumerate(changes):
        if change.startswith("os.remove .") or (change.startswith("os.mkdir") and change in changes[:n]):
            continue  # nothing is there to be removed any more, or to be made
        output = tmp_path / str(n)
        status, told, _ = attempt(arguments(store, output), output, kill_before=n)
        assert status == -signal.SIGKILL, (change, told)
        told = finishes_like(calm, store, output)
        is_done = any(each.startswith("os.rename ") and "partial" not in each for each in changes[:n])
        if not is_done:  # the folder of the checkpoints was not yet on its way out
            kept = sum(each.startswith("os.rename .best.ckpt") for each in changes[:n])
            assert ("resuming after epoch" in told) == (kept > 0), (change, told)
            assert kept == 0 or f"resuming after epoch {kept}" in told, (change, told)
        shutil.rmtree(output)


@pytest.fixture
def two_epochs(store, calm, tmp_path):
    """A training that was killed when two of its three epochs were kept."""
    output = tmp_path / "run"
    last = [n for n, change in enumerate(calm[1]) if change.startswith("os.rename .last.ckpt")]
    attempt(arguments(store, output), output, kill_before=last[1] + 1)
    return output


def halve(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path):
    path.write_bytes(b"")


def flip(path: Path):
    """One bit, in the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    lengths = struct.unpack_from("<HH", content, largest.header_offset + 26)  # of name and extra field
    content[largest.header_offset + 30 + sum(lengths) + largest.file_size // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [halve, empty, flip])
@pytest.mark.parametrize("names", [["last.ckpt"], ["best.ckpt"], ["last.ckpt", "best.ckpt"]])
def test_a_damaged_checkpoint_is_put_aside(store, calm, two_epochs, damage, names):
    for name in names:
        (path,) = two_epochs.glob(f".resume/*/{name}")
        damage(path)
    told = finishes_like(calm, store, two_epochs)
    for name in names:
        assert f"{name}: damaged checkpoint (" in told
    assert ("resuming after epoch" in told) == (len(names) == 1)


def test_a_missing_best_epoch_that_is_not_the_last_means_to_begin_anew(store, tmp_path):
    """With a learning rate at which validation gets worse."""
    training = {**TRAINING, "learning_rate": 0.1}
    output = tmp_path / "calm"
    status, told, changes = attempt(arguments(store, output, training), output)
    assert status == 0, told
    best = json.loads((output / "model.json").read_text())["best_epoch"]
    assert best < 3
    kept = [n for n, change in enumerate(changes) if change.startswith("os.rename .last.ckpt")]
    again = tmp_path / "again"
    attempt(arguments(store, again, training), again, kill_before=kept[2] + 1)
    for path in again.glob(".resume/*/best.ckpt"):
        halve(path)
    status, told, _ = attempt(arguments(store, again, training), again)
    assert status == 0, told
    assert "the weights of the best epoch are lost: the training begins anew" in told
    assert files(again) == files(output)


@pytest.mark.parametrize("what", ["settings", "data"])
def test_what_was_made_from_something_else_waits_untouched(store, calm, two_epochs, tmp_path, what):
    kept = {path: path.read_bytes() for path in two_epochs.glob(".resume/*/*.ckpt")}
    assert len(kept) == 2
    other, training = store, TRAINING
    if what == "data":
        other = make_store(tmp_path / "other", window_bp=200)
        replace_codes(other, "one", other.codes("one")[::-1])
        other = other.path
    else:
        training = {**TRAINING, "learning_rate": 0.01}
    status, told, _ = attempt(arguments(other, two_epochs, training), two_epochs)
    assert status == 0, told
    difference = {"settings": "training.learning_rate 0.2 there, 0.01 here", "data": "store "}[what]
    assert f"an unfinished training of something else is set aside ({difference}" in told
    assert files(two_epochs)["model.safetensors"] != calm[0]["model.safetensors"]
    assert {path: path.read_bytes() for path in two_epochs.glob(".resume/*/*.ckpt")} == kept
    assert "resuming after epoch 2" in finishes_like(calm, store, two_epochs)


def test_a_loss_that_is_no_number_leaves_the_epochs_before_it(store, calm, tmp_path):
    output = tmp_path / "run"
    status, told, _ = attempt(arguments(store, output), output, nan_at=4)  # two batches an epoch
    assert status == 2
    assert "small.f1.1: training diverged in epoch 2: its training loss at batch 2 is nan (windows " in told
    assert "Traceback" not in told
    assert "resuming after epoch 1" in finishes_like(calm, store, output)


def command(store: Path, output: Path, workers: int, training=LONG) -> list[str]:
    return [sys.executable, "-m", "gatescope.cli", *arguments(store, output, training, workers)]


@contextmanager
def started(store: Path, output: Path, workers: int, training=LONG) -> Iterator[subprocess.Popen]:
    """Start the real command in a session of its own; yield it when it trains."""
    output.parent.mkdir(exist_ok=True)
    with output.with_suffix(".txt").open("w") as told:
        process = subprocess.Popen(
            command(store, output, workers, training), stderr=told, start_new_session=True
        )
    begun = time.monotonic()
    try:
        while " per epoch" not in (text := output.with_suffix(".txt").read_text()) and "resuming" not in text:
            assert process.poll() is None, text
            assert time.monotonic() - begun < _PATIENCE_S, text
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def is_gone(pid: int) -> bool:
    """Ended, if need be without anybody to collect its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


def all_end(processes: list[int]) -> bool:
    """The locks they inherited are in the way of the next training."""
    deadline = time.monotonic() + _PATIENCE_S
    while not all(map(is_gone, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return all(map(is_gone, processes))


@pytest.fixture(scope="module")
def long_calm(store, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("long") / "run"
    subprocess.run(command(store, output, 0), check=True, capture_output=True)
    return files(output)


def test_killed_at_random_moments_nothing_is_left_behind(store, long_calm, tmp_path):
    """The command itself, with workers: kill -9, started again at once, time after time."""
    output, draw = tmp_path / "run", random.Random(1)
    for _ in range(2):
        with started(store, output, workers=2) as process:
            time.sleep(draw.uniform(0.0, 1.0))
            workers = children(process.pid)
            assert len(workers) == 2
            process.kill()
        assert all_end(workers)
    done = subprocess.run(command(store, output, 2), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(output) == long_calm


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_whole_job_ends_it_in_good_order(store, long_calm, tmp_path, signum):
    """As a cluster sends it: to the command and to its workers; a second training was refused before."""
    output = tmp_path / "run"
    with started(store, output, workers=2) as process:
        if signum == signal.SIGTERM:
            os.killpg(process.pid, signal.SIGSTOP)  # so that it cannot be done before the second has begun
            second = subprocess.run(command(store, output, 0), capture_output=True, text=True)
            assert second.returncode == 2
            assert f"another training is at work here (process {process.pid} on " in second.stderr
            assert "Traceback" not in second.stderr
            os.killpg(process.pid, signal.SIGCONT)
        workers = children(process.pid)
        os.killpg(process.pid, signum)
        assert process.wait() == 128 + signum
    told = output.with_suffix(".txt").read_text()
    assert f"stopped by {signum.name}; what is finished is kept: start it again" in told
    assert "Traceback" not in told
    assert all(map(is_gone, workers))
    done = subprocess.run(command(store, output, 0), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(output) == long_calm


TEAM = {**LONG, "devices": 2}


def test_a_team_is_one_training(store, long_calm, tmp_path):
    """Two processes: one killed ends the command with a message, the command killed ends all, and nothing is lost."""
    calm, output = tmp_path / "calm", tmp_path / "run"
    done = subprocess.run(command(store, calm, 0, TEAM), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1 of at most 4") == 1
    table = [line.split(",") for line in files(calm)["training.csv"].decode().splitlines()]
    alone = [line.split(",") for line in long_calm["training.csv"].decode().splitlines()]
    assert len(table) == len(alone) == 5
    for row, other in zip(table[1:], alone[1:], strict=True):  # in float32, after 30 steps an epoch
        assert [float(value) for value in row[:5]] == pytest.approx(
            [float(value) for value in other[:5]], rel=0.01
        )

    with started(store, output, workers=0, training=TEAM) as process:
        everybody = descendants(process.pid)
        members = [pid for child in children(process.pid) for pid in children(child)]
        assert len(members) == 2
        os.kill(members[1], signal.SIGKILL)
        assert process.wait() == 2
    told = output.with_suffix(".txt").read_text()
    assert "training: devices: a process of the training was killed (SIGKILL)" in told
    assert "Traceback" not in told
    assert all_end(everybody)
    with started(store, output, workers=1, training=TEAM) as process:
        time.sleep(0.5)
        everybody = descendants(process.pid)
        process.kill()
    assert all_end(everybody)
    done = subprocess.run(command(store, output, 0, TEAM), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(output) == files(calm)
