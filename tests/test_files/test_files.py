"""A file exists whole or not at all, whatever happened to the processes before."""

import os
import socket
import subprocess
import sys
import time

import pytest

from gatescope.errors import InputError
from gatescope.files import file_hash, read_json, replacing_file, replacing_folder, write_json

WRITTEN = ("meta.json", "*.npy")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert (target.read_text(), names(tmp_path)) == ("old", ["a.txt"])
    with replacing_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert (target.read_text(), names(tmp_path)) == ("new", ["a.txt"])


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "f/empty").mkdir(parents=True)
    for content in ("one", "two"):
        with replacing_folder(tmp_path / "f", WRITTEN) as partial:
            (partial / "meta.json").write_text(content)
            (partial / f"{content}.npy").write_text(content)
        (tmp_path / "f/.snakemake_timestamp").touch()
    assert names(tmp_path / "f") == [".snakemake_timestamp", "meta.json", "two.npy"]
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "f", WRITTEN) as partial:
        raise RuntimeError
    assert "two.npy" in names(tmp_path / "f")
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize(
    ("held", "written"),
    [
        (["thesis.txt"], WRITTEN),
        (["meta.json", "thesis.txt"], WRITTEN),
        (["meta.json", "chapters/one.npy"], WRITTEN),
        (["one.npy"], WRITTEN),
        (["one.npy"], ()),
    ],
    ids=["foreign", "foreign among ours", "foreign below", "no marker", "nothing is ours"],
)
def test_a_folder_that_somebody_else_filled_is_refused_and_untouched(tmp_path, held, written):
    for name in held:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("years of work")
    with (
        pytest.raises(InputError, match=f"mine: holds {held[-1]}, which this command did not write"),
        replacing_folder(tmp_path / "mine", written),
    ):
        raise AssertionError("the work has begun")
    assert names(tmp_path) == ["mine"]
    assert all((tmp_path / "mine" / name).read_text() == "years of work" for name in held)


def test_a_link_to_a_strangers_file_is_a_strangers_file(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "f/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds link"), replacing_folder(tmp_path / "f", WRITTEN):
        pass


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "real.txt")
    with replacing_folder(tmp_path / "folder", WRITTEN) as partial:
        (partial / "meta.json").write_text("new")
    with replacing_file(tmp_path / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "folder").is_symlink() and (tmp_path / "file").is_symlink()
    assert (tmp_path / "real/meta.json").read_text() == (tmp_path / "real.txt").read_text() == "new"
    assert names(tmp_path) == ["file", "folder", "real", "real.txt"]


@pytest.mark.parametrize(
    ("writer", "output", "message"),
    [
        (replacing_file, "folder", "folder: is a folder, wanted a file"),
        (replacing_file, ".", "is a folder, wanted a file"),
        (replacing_file, "file/x/y", "file: is a file, so y cannot lie in it"),
        (replacing_folder, "file", "file: is a file, wanted a folder"),
        (replacing_folder, "file/x", "file: is a file, so x cannot lie in it"),
        (replacing_folder, ".", "is the working directory"),
        (replacing_folder, "..", "is the working directory, or around it"),
    ],
)
def test_an_output_of_the_wrong_kind_is_the_users_mistake(tmp_path, monkeypatch, writer, output, message):
    (tmp_path / "in/folder").mkdir(parents=True)
    (tmp_path / "in/file").touch()
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(InputError, match=message), writer(output):
        pass
    assert names(tmp_path / "in") == ["file", "folder"]


def dead_pid() -> int:
    """Return the number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path):
    host, dead, alive = socket.gethostname(), dead_pid(), os.getppid()
    long_ago = time.time() - 15 * 24 * 3600
    left = [
        f".a[1].bw.partial-{host}-{dead}",
        f".a[1].bw.partial-{host}-{os.getpid()}",
        ".a[1].bw.partial-12",
    ]
    kept = [f".a[1].bw.partial-{host}-{alive}", f".b.bw.partial-{host}-{dead}", ".a[1].bw.partial-other-12"]
    for name in left + kept:
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / left[2], (long_ago, long_ago))
    for name in (f".f.partial-{host}-{dead}", f".f.partial-{host}-{dead}.old"):
        (tmp_path / name).mkdir()
    with replacing_file(tmp_path / "a[1].bw") as partial:
        partial.write_text("whole")
    with replacing_folder(tmp_path / "f"):
        pass
    assert names(tmp_path) == sorted([*kept, "a[1].bw", "f"])


def test_a_folder_is_whole_under_its_name_at_every_moment(tmp_path, monkeypatch):
    """Look at it before each step on the file system that replacing takes."""
    seen = set()

    def watched(step):
        def call(*given, **options):
            seen.add(tuple(names(tmp_path / "f")) if (tmp_path / "f").exists() else None)
            return step(*given, **options)

        return call

    (tmp_path / "f").mkdir()
    for name in ("meta.json", "a.npy", "b.npy"):
        (tmp_path / "f" / name).touch()
    for owner, step in ((os, "unlink"), (os, "rmdir"), (os, "rename")):
        monkeypatch.setattr(owner, step, watched(getattr(owner, step)))
    with replacing_folder(tmp_path / "f", WRITTEN) as partial:
        (partial / "meta.json").touch()
    assert seen == {("a.npy", "b.npy", "meta.json"), None, ("meta.json",)}


def test_json_round_trip_and_hash(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None]}
    (tmp_path / "x").write_bytes(b"abc")
    assert file_hash(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError):
        write_json(tmp_path / "nan.json", float("nan"))
    assert names(tmp_path) == ["a.json", "x"]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("missing.json", "does not exist"), ("x", "not JSON"), ("binary", "not JSON")):
        with pytest.raises(InputError, match=message):
            read_json(tmp_path / name)
