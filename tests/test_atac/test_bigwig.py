"""Tracks written, then read back by two libraries that did not write them."""

import json
import math

import bbi
import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac.bigwig import (
    BigWigWriter,
    TrackInfo,
    bigwig_lengths,
    covered_bp,
    read_bigwig,
    write_sidecar,
)
from gatescope.errors import InputError

LENGTHS = {"chr10": 5000, "2": 777, "tiny": 1, "chr1": 3000}


def random_values(seed=0, gap_fraction=0.2):
    """Return values with gaps for each contig, first and last bases among them."""
    rng = np.random.default_rng(seed)
    values = {}
    for chrom, length in LENGTHS.items():
        values[chrom] = rng.normal(size=length).astype(np.float32)
        gap = np.repeat(rng.random(length // 10 + 1) < gap_fraction, 10)[:length]
        gap[[0, -1]] = False
        values[chrom][gap] = np.nan
    return values


def write(path, values, step=640, **options):
    with BigWigWriter(path, LENGTHS, **options) as writer:
        for chrom, array in values.items():
            for start in range(0, len(array), step):
                writer.add(chrom, start, array[start : start + step])


def read_by_kent(path, chrom, start, end):
    return bbi.fetch(str(path), chrom, start, end, missing=math.nan, oob=math.nan).astype(np.float32)


def read_by_bigtools(path, chrom, start, end):
    return pybigtools.open(str(path)).values(chrom, start, end, fillna=None).astype(np.float32)


@pytest.mark.parametrize("read", [read_by_kent, read_by_bigtools, read_bigwig])
def test_every_base_comes_back(tmp_path, read):
    values = random_values()
    write(tmp_path / "t.bw", values)
    for chrom, array in values.items():
        assert np.array_equal(read(tmp_path / "t.bw", chrom, 0, len(array)), array, equal_nan=True)
        for start, end in ((0, 1), (len(array) - 1, len(array)), (len(array) // 3, len(array))):
            assert np.array_equal(
                read(tmp_path / "t.bw", chrom, start, end), array[start:end], equal_nan=True
            )


@pytest.mark.parametrize("read", [read_by_kent, read_by_bigtools])
def test_sparse_counts_come_back_and_zeros_are_gaps(tmp_path, read):
    rng = np.random.default_rng(1)
    counts = {chrom: rng.poisson(0.1, length) for chrom, length in LENGTHS.items()}
    counts["chr1"][-1] = 3
    write(tmp_path / "t.bw", counts, sparse=True)
    for chrom, array in counts.items():
        found = read(tmp_path / "t.bw", chrom, 0, len(array))
        assert np.array_equal(np.nan_to_num(found), array)
        assert np.array_equal(np.isnan(found), array == 0)
        assert np.array_equal(read_bigwig(tmp_path / "t.bw", chrom, missing=0), array)
        assert covered_bp(tmp_path / "t.bw", chrom) == np.count_nonzero(array)


def test_chunk_size_and_repetition_make_no_difference_to_values_or_bytes(tmp_path):
    values = random_values(2)
    for name, step in (("a", 640), ("b", 640), ("c", 77)):
        write(tmp_path / name, values, step=step)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for chrom in LENGTHS:
        assert np.array_equal(
            read_bigwig(tmp_path / "a", chrom), read_bigwig(tmp_path / "c", chrom), equal_nan=True
        )


def test_rounding_is_to_decimals(tmp_path):
    values = random_values(3)
    write(tmp_path / "t.bw", values, decimals=2)
    for chrom, array in values.items():
        expected = np.array([round(float(value), 2) for value in array], dtype=np.float32)
        assert np.array_equal(read_bigwig(tmp_path / "t.bw", chrom), expected, equal_nan=True)


def test_contigs_may_be_left_out_and_missing_is_as_asked(tmp_path):
    write(tmp_path / "t.bw", {"2": np.arange(777.0)})
    assert list(bigwig_lengths(tmp_path / "t.bw").items()) == list(LENGTHS.items())
    assert np.isnan(read_bigwig(tmp_path / "t.bw", "chr1")).all()
    assert read_bigwig(tmp_path / "t.bw", "chr1", 2990, missing=-1).tolist() == [-1] * 10
    assert read_bigwig(tmp_path / "t.bw", "2", 5, 5).size == 0


RUN = st.tuples(st.integers(0, 30), st.lists(st.sampled_from([0.0, 1.5, -2.0, math.nan]), max_size=20))


@settings(deadline=None, max_examples=40)
@given(runs=st.lists(RUN, min_size=1, max_size=5))
def test_any_sequence_of_spans_comes_back(tmp_path_factory, runs):
    path = tmp_path_factory.mktemp("runs") / "t.bw"
    expected = np.full(400, np.nan, dtype=np.float32)
    with BigWigWriter(path, {"a": 400, "b": 10}) as writer:
        position = 0
        for skipped, values in runs:
            position += skipped
            writer.add("a", position, values)
            expected[position : position + len(values)] = values
            position += len(values)
        writer.add("b", 9, [1.0])
    assert np.array_equal(read_by_kent(path, "a", 0, 400), expected, equal_nan=True)
    assert read_by_kent(path, "b", 8, 10).tolist()[1] == 1


@pytest.mark.parametrize("values", [np.arange(20).reshape(4, 5)[:, 2], np.arange(4)[::-1], [1, 2, 3, 4]])
def test_views_and_lists_are_written_as_they_read(tmp_path, values):
    with BigWigWriter(tmp_path / "t.bw", LENGTHS) as writer:
        writer.add("2", 100, values)
    assert read_bigwig(tmp_path / "t.bw", "2", 100, 104).tolist() == list(values)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([("chr9", 0, [1])], "contig 'chr9' is not in the header"),
        ([("2", -1, [1])], "is not within 2 of 777 bp"),
        ([("2", 776, [1, 2])], "is not within 2 of 777 bp"),
        ([("2", 800, [1])], "is not within 2 of 777 bp"),
        ([("2", 5, [1, 2]), ("2", 6, [1])], "2:6 comes after 2:7; wanted genome order"),
        ([("chr1", 5, [1, 2]), ("2", 6, [1])], "2:6 comes after chr1:7"),
        ([("2", 5, [1, math.inf])], "value inf at 2:6 cannot be stored"),
        ([("2", 5, [1, -math.inf])], "value -inf at 2:6"),
        ([("2", 5, [1e39])], r"value 1e\+39 at 2:5"),
        ([("2", 5, [[1.0], [2.0]])], "wanted one dimension"),
        ([], "no value was added"),
        ([("2", 5, [math.nan])], "no value was added"),
    ],
)
def test_what_would_crash_or_lie_is_refused_and_nothing_is_left(tmp_path, calls, message):
    with pytest.raises(ValueError, match=message), BigWigWriter(tmp_path / "t.bw", LENGTHS) as writer:
        for call in calls:
            writer.add(*call)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_cannot_become_zero_counts(tmp_path):
    with (
        pytest.raises(ValueError, match="value nan at 2:1"),
        BigWigWriter(tmp_path / "t.bw", LENGTHS, sparse=True) as writer,
    ):
        writer.add("2", 0, [1, math.nan])


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    write(tmp_path / "t.bw", random_values())
    before = (tmp_path / "t.bw").read_bytes()
    with pytest.raises(ZeroDivisionError), BigWigWriter(tmp_path / "t.bw", LENGTHS) as writer:
        writer.add("2", 0, [1.0])
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["t.bw"]
    assert (tmp_path / "t.bw").read_bytes() == before


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    real = pyBigWig.open

    class Lossy:
        def __init__(self, bigwig):
            self.bigwig = bigwig

        def __getattr__(self, name):
            return getattr(self.bigwig, name)

        def addEntries(self, chrom, start, values, **options):
            self.bigwig.addEntries(chrom, start, values=np.asarray(values) + 1, **options)

    monkeypatch.setattr(pyBigWig, "open", lambda *arguments: Lossy(real(*arguments)))
    with (
        pytest.raises(InputError, match="read back differs"),
        BigWigWriter(tmp_path / "t.bw", LENGTHS) as writer,
    ):
        writer.add("2", 0, [1.0, 2.0])
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_and_a_file_in_the_way_is_the_users_message(tmp_path):
    write(tmp_path / "new" / "folder" / "t.bw", random_values())
    with pytest.raises(InputError, match=r"t\.bw: is a file, so u\.bw cannot lie in it"):
        write(tmp_path / "new" / "folder" / "t.bw" / "u.bw", random_values())


@pytest.mark.parametrize("content", [b"", b"hello world\n" * 60, None])
def test_what_is_no_bigwig_is_the_users_message(tmp_path, content):
    path = tmp_path / "t.bw"
    if content is None:
        write(path, {chrom: np.random.default_rng(0).random(length) for chrom, length in LENGTHS.items()})
        content = path.read_bytes()[:1500]
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as bigWig"):
        read_bigwig(path, "2")


def test_bigbed_missing_file_and_contig(tmp_path):
    pybigtools.open(str(tmp_path / "t.bb"), "w").write({"2": 777}, [("2", 1, 5, "")])
    with pytest.raises(InputError, match="this is a bigBed"):
        bigwig_lengths(tmp_path / "t.bb")
    with pytest.raises(InputError, match="file does not exist"):
        bigwig_lengths(tmp_path / "none.bw")
    write(tmp_path / "t.bw", random_values())
    with pytest.raises(InputError) as caught:
        read_bigwig(tmp_path / "t.bw", "1")
    assert "no contig '1' in it; likely cause: the genome calls it '1', this file 'chr1'" in str(caught.value)
    for start, end in ((-1, 5), (5, 4), (0, 778)):
        with pytest.raises(ValueError, match="is not within 2"):
            read_bigwig(tmp_path / "t.bw", "2", start, end)


def test_a_sidecar_says_what_the_track_means(tmp_path):
    info = TrackInfo(
        "forget_gate.fwd", "gate value 0-1", (0, 1), "missing", "mean", direction="fwd", details={"run": "r"}
    )
    path = write_sidecar(tmp_path / "t.bw", info)
    assert path == tmp_path / "t.bw.json"
    content = json.loads(path.read_text())
    assert content["range"] == [0, 1]
    assert content["run"] == "r"
    assert content["hidden_unit"] is None
    assert "details" not in content
    with pytest.raises(ValueError, match="repeat"):
        write_sidecar(tmp_path / "t.bw", TrackInfo("t", "u", (0, 1), "zero", "d", details={"unit": 1}))
