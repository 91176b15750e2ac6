"""Folds of whole contigs: named, dealt out, or from files."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.errors import InputError
from gatescope.genome.folds import Fold, name_folds, read_folds

LENGTHS = {"chr1": 500, "chr10": 100, "chr2": 400, "chr3": 300}


def test_every_contig_is_in_one_part_and_names_are_matched_whole():
    folds = read_folds(
        {"f1": {"test": ["chr1"], "valid": ["chr2"]}, "f2": {"test": ["chr2"], "valid": ["chr3"]}}, LENGTHS
    )
    assert folds["f1"] == Fold("f1", ("chr1",), ("chr2",))
    assert [folds["f1"].split(contig) for contig in LENGTHS] == ["test", "train", "valid", "train"]
    assert [folds["f2"].split(contig) for contig in LENGTHS] == ["train", "train", "test", "valid"]


def test_contigs_in_no_list_are_unused_where_training_contigs_are_named(caplog):
    parts = {"test": ["chr1"], "valid": ["chr2"], "train": ["chr3"]}
    with caplog.at_level(logging.INFO):
        (fold,) = read_folds({"f1": parts}, LENGTHS).values()
    assert [fold.split(contig) for contig in LENGTHS] == ["test", "unused", "valid", "train"]
    assert "folds.f1: 1 contigs are in no part and are not trained on: chr10" in caplog.text
    assert fold.parts() == parts
    assert Fold.from_parts("f1", {"name": "f1", **parts}) == fold
    assert Fold("f1", ("a",), ("b",)).parts() == {"test": ["a"], "valid": ["b"]}


def test_training_contigs_that_are_not_in_use_are_left_out(caplog):
    parts = {"test": ["chr1"], "valid": ["chr2"], "train": ["chr3", "chrM", "chrEBV"]}
    (fold,) = read_folds({"f1": parts}, LENGTHS).values()
    assert fold.train == ("chr3",)
    assert "folds.f1.train: contig chrM, chrEBV not among the contigs in use: left out" in caplog.text
    parts["train"] = ["1", "3"]
    with pytest.raises(InputError, match=r"folds.f1.train: contig 1, 3 not among.*calls it 'chr1'"):
        read_folds({"f1": parts}, LENGTHS)


def test_five_contigs_dealt_to_three_by_hand():
    """500 | 400 | 300, then 200 to the part with 300, 150 to that with 400."""
    folds = read_folds(3, {"d": 200, "c": 300, "e": 150, "a": 500, "b": 400})
    assert [(fold.name, fold.test, fold.valid, fold.train) for fold in folds.values()] == [
        ("f1", ("a",), ("e", "b"), None),
        ("f2", ("e", "b"), ("d", "c"), None),
        ("f3", ("d", "c"), ("a",), None),
    ]


@given(st.integers(3, 7), st.lists(st.integers(1, 50), min_size=7, max_size=25))
def test_each_contig_is_tested_once_and_parts_are_about_equally_long(k, sizes):
    lengths = {f"c{n}": size for n, size in enumerate(sizes)}
    folds = read_folds(k, lengths)
    assert list(folds) == [f"f{n}" for n in range(1, k + 1)]
    tested = [contig for fold in folds.values() for contig in fold.test]
    assert sorted(tested) == sorted(lengths)
    assert [folds[f"f{n}"].valid for n in range(1, k + 1)] == [
        folds[f"f{n % k + 1}"].test for n in range(1, k + 1)
    ]
    bp = [sum(lengths[contig] for contig in fold.test) for fold in folds.values()]
    assert max(bp) - min(bp) <= max(sizes)
    assert read_folds(k, dict(lengths)) == folds


def test_one_of_k_folds_may_be_asked_for_alone():
    named = name_folds(4)
    assert named["f2"] == {"part": 2, "of": 4}
    assert read_folds({"f2": named["f2"]}, LENGTHS) == {"f2": read_folds(4, LENGTHS)["f2"]}


def write_split(folder, name, **parts):
    (folder / name).write_text(json.dumps(parts, indent=4))
    return folder / name


def test_files_of_chrombpnet(tmp_path):
    parts = {"test": ["chr1"], "valid": ["chr10"], "train": ["chr2"]}
    others = {"test": ["chr2"], "valid": ["chr3"], "train": ["chr1", "chr10"]}
    paths = [write_split(tmp_path, "fold_0.json", **parts), write_split(tmp_path, "fold_1.json", **others)]
    assert read_folds(paths, LENGTHS) == {
        "fold_0": Fold("fold_0", ("chr1",), ("chr10",), ("chr2",)),
        "fold_1": Fold("fold_1", ("chr2",), ("chr3",), ("chr1", "chr10")),
    }
    assert name_folds("fold_0.json", tmp_path) == {"fold_0": parts}
    assert name_folds(["fold_1.json", "fold_0.json"], tmp_path) == {"fold_1": others, "fold_0": parts}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "folds: no fold given"),
        ([], "folds: no fold given"),
        (True, "folds: no fold given"),
        ([{}], r"folds: got \[{}\]; name test and valid"),
        (2.5, "folds: got 2.5"),
        (2, "folds: 2 folds; one is for test, one for validation; give 3 or more"),
        (5, "folds: 5 folds of 4 contigs .chr1, chr10, chr2, chr3.*give fewer"),
        ({"f1": {"test": ["chr1"]}}, "folds.f1: wanted two lists"),
        ({"f1": {"test": ["chr1"], "valid": ["chr2"], "val": []}}, "folds.f1: wanted two lists"),
        ({"f1": {"test": "chr1", "valid": ["chr2"]}}, "folds.f1.test: wanted a list of contigs, got 'chr1'"),
        ({"f1": {"test": [], "valid": ["chr2"]}}, "folds.f1.test: wanted a list"),
        ({"f1": {"test": ["chr1"], "valid": ["chr2"], "train": []}}, "folds.f1.train: wanted a list"),
        ({"f1": {"test": ["1"], "valid": ["chr2"]}}, "folds.f1.test: contig 1 not among.*calls it 'chr1'"),
        ({"f1": {"test": [1], "valid": ["chr2"]}}, "contig 1 not among.*in quotes if they are numbers"),
        ({"f1": {"test": ["chr1", "chr1"], "valid": ["chr2"]}}, "a contig stands twice"),
        ({"f1": {"test": [["chr1"]], "valid": ["chr2"]}}, r"wanted names of contigs, got \[\['chr1'\]\]"),
        ({"f1": {"test": ["chr1"], "valid": ["chr2", "chr1"]}}, "contig chr1 in both test and valid"),
        (
            {"f1": {"test": ["chr1"], "valid": ["chr2"], "train": ["chr1", "chr3"]}},
            "contig chr1 in both test and train",
        ),
        ({"f1": {"test": ["chr1", "chr2"], "valid": ["chr3", "chr10"]}}, "no contig left to train on"),
    ],
)
def test_a_bad_fold_is_named(mapping, message):
    with pytest.raises(InputError, match=message):
        read_folds(mapping, LENGTHS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", None, "a.json: file does not exist"),
        ("a.json", "{", "a.json: not JSON"),
        ("a.json", "\xff", "a.json: not JSON"),
        ("a.json", "[1]", "a.json: wanted one fold with the keys train, valid and test, got list"),
        ("a.json", '{"0": {"test": [], "val": [], "train": []}}', "got keys 0; write one file for each fold"),
        ("a.json", '{"test": [], "valid": []}', "got keys test, valid"),
        ("a b.json", "{}", "'a b' cannot name a fold"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        name_folds(name, tmp_path)


def test_two_files_of_one_name(tmp_path):
    (tmp_path / "b").mkdir()
    parts = {"test": ["a"], "valid": ["b"], "train": ["c"]}
    paths = [
        write_split(tmp_path, "fold_0.json", **parts),
        write_split(tmp_path / "b", "fold_0.json", **parts),
    ]
    with pytest.raises(InputError, match=r"b/fold_0.json: two files of folds are called fold_0"):
        name_folds(paths)
