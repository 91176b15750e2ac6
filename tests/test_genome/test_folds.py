"""Folds of whole contigs."""

import pytest

from gatescope.errors import InputError
from gatescope.genome.folds import Fold, read_folds

CONTIGS = ["chr1", "chr10", "chr2", "chr3"]


def test_every_contig_is_in_one_part_and_names_are_matched_whole():
    folds = read_folds(
        {"f1": {"test": ["chr1"], "valid": ["chr2"]}, "f2": {"test": ["chr2"], "valid": ["chr3"]}}, CONTIGS
    )
    assert folds["f1"] == Fold("f1", ("chr1",), ("chr2",))
    assert [folds["f1"].split(contig) for contig in CONTIGS] == ["test", "train", "valid", "train"]
    assert [folds["f2"].split(contig) for contig in CONTIGS] == ["train", "train", "test", "valid"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "folds: no fold given"),
        (["f1"], "folds: no fold given"),
        ({"f1": {"test": ["chr1"]}}, "folds.f1: wanted two lists"),
        ({"f1": {"test": ["chr1"], "valid": ["chr2"], "train": []}}, "folds.f1: wanted two lists"),
        ({"f1": {"test": "chr1", "valid": ["chr2"]}}, "folds.f1.test: wanted a list of contigs, got 'chr1'"),
        ({"f1": {"test": [], "valid": ["chr2"]}}, "folds.f1.test: wanted a list"),
        ({"f1": {"test": ["1"], "valid": ["chr2"]}}, "folds.f1.test: contig 1 not among.*calls it 'chr1'"),
        ({"f1": {"test": [1], "valid": ["chr2"]}}, "contig 1 not among.*in quotes if they are numbers"),
        ({"f1": {"test": ["chr1", "chr1"], "valid": ["chr2"]}}, "a contig stands twice"),
        ({"f1": {"test": ["chr1"], "valid": ["chr2", "chr1"]}}, "contig chr1 in both test and valid"),
        ({"f1": {"test": ["chr1", "chr2"], "valid": ["chr3", "chr10"]}}, "no contig left to train on"),
    ],
)
def test_a_bad_fold_is_named(mapping, message):
    with pytest.raises(InputError, match=message):
        read_folds(mapping, CONTIGS)
