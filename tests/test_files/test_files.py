"""A file exists whole or not at all, whatever happened to the processes before."""

import pytest

from gatescope.errors import InputError
from gatescope.files import file_hash, read_json, replacing_file, replacing_folder, write_json


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
    for content in ("one", "two"):
        with replacing_folder(tmp_path / "f") as partial:
            (partial / content).write_text(content)
    assert names(tmp_path / "f") == ["two"]
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "f") as partial:
        raise RuntimeError
    assert (names(tmp_path / "f"), names(tmp_path)) == (["two"], ["f"])


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".a[1].bw.partial-12").write_text("left")
    (tmp_path / ".b.bw.partial-12").write_text("somebody else's")
    (tmp_path / ".f.partial-12").mkdir()
    with replacing_file(tmp_path / "a[1].bw") as partial:
        partial.write_text("whole")
    with replacing_folder(tmp_path / "f"):
        pass
    assert names(tmp_path) == [".b.bw.partial-12", "a[1].bw", "f"]


def test_json_round_trip_and_hash(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None]}
    (tmp_path / "x").write_bytes(b"abc")
    assert file_hash(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError):
        write_json(tmp_path / "nan.json", float("nan"))
    assert names(tmp_path) == ["a.json", "x"]
    for name, message in (("missing.json", "does not exist"), ("x", "not JSON")):
        with pytest.raises(InputError, match=message):
            read_json(tmp_path / name)
