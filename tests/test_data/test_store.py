"""The encoded store: round trip, laziness, refusal of what it cannot read."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatescope.data.store import FORMAT_VERSION, REGION_COLUMNS, ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.genome.folds import Fold

META = {
    "stage_version": 1,
    "window_bp": 8,
    "folds": {"f1": {"test": ["b"], "valid": ["c"]}},
    "inputs": {"genome": {"path": "genome.fa", "sha256": "00"}, "peaks": {"path": "p.bed", "sha256": "11"}},
    "filters": [{"step": "peaks read", "kept": 1, "dropped": 0, "why": "-"}],
    "seed": 3,
}
REGIONS = pd.DataFrame(
    [("a", 10, 30, 15, "peak", 0.5), ("b", 8, 16, 12, "background", 0.25)], columns=list(REGION_COLUMNS)
)


def draw_arrays(length, seed, tracks=("cuts", "other")):
    rng = np.random.default_rng(seed)
    return ContigArrays(
        codes=rng.integers(0, 5, length).astype(np.uint8),
        state=rng.choice(np.array([0, 1, 255], np.uint8), length),
        tracks={name: rng.poisson(1, length).astype(np.float32) for name in tracks},
    )


@pytest.fixture
def arrays():
    return {name: draw_arrays(length, length) for name, length in (("a", 100), ("b", 60), ("c", 41))}


@pytest.fixture
def folder(arrays, tmp_path):
    write_store(tmp_path / "encoded", arrays.items(), REGIONS, META)
    return tmp_path / "encoded"


def edit_meta(folder, **changes):
    path = folder / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_written_is_read_back(folder, arrays):
    store = EncodedStore(folder)
    assert store.lengths == {"a": 100, "b": 60, "c": 41}
    assert store.tracks == ("cuts", "other") and store.window_bp == 8
    for contig, wanted in arrays.items():
        np.testing.assert_array_equal(store.codes(contig), wanted.codes)
        np.testing.assert_array_equal(store.state(contig), wanted.state)
        for name, values in wanted.tracks.items():
            np.testing.assert_array_equal(store.track(contig, name), values)
    pd.testing.assert_frame_equal(store.regions, REGIONS, check_dtype=False)
    assert store.fold("f1") == Fold("f1", test=("b",), valid=("c",))
    total = sum(wanted.tracks["cuts"].sum(dtype=float) for wanted in arrays.values())
    assert store.meta["cuts_per_bp"] == total / 201


def test_file_names_are_those_of_the_format_page(folder):
    names = {path.name for path in folder.iterdir()}
    arrays = {f"{contig}.{kind}.npy" for contig in "abc" for kind in ("codes", "state", "cuts", "other")}
    assert names == arrays | {"meta.json", "regions.tsv"}


def test_arrays_are_mapped_and_read_only(folder):
    codes = EncodedStore(folder).codes("a")
    assert isinstance(codes, np.memmap) and not codes.flags.writeable


def test_a_pickled_store_is_its_path(folder):
    store = EncodedStore(folder)
    store.codes("a"), store.regions
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    np.testing.assert_array_equal(pickle.loads(pickled).codes("a"), store.codes("a"))


def test_many_contigs_do_not_exhaust_file_descriptors(tmp_path, monkeypatch):
    monkeypatch.setattr("gatescope.data.store._MOST_OPEN", 8)
    contigs = {f"scaffold{n}": draw_arrays(10, n, ("cuts",)) for n in range(20)}
    write_store(tmp_path / "encoded", contigs.items(), REGIONS, META)
    store = EncodedStore(tmp_path / "encoded")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for contig, wanted in contigs.items():
        np.testing.assert_array_equal(store.codes(contig), wanted.codes)
        np.testing.assert_array_equal(store.state(contig), wanted.state)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 8


def test_contig_names_need_not_be_file_names(tmp_path):
    contigs = {
        name: draw_arrays(20, n) for n, name in enumerate(("HLA*01:01", "plasmid/1", "plasmid%2F1", "NA"))
    }
    regions = REGIONS.assign(chrom=["NA", "plasmid/1"])
    write_store(tmp_path / "encoded", contigs.items(), regions, META)
    store = EncodedStore(tmp_path / "encoded")
    for contig, wanted in contigs.items():
        np.testing.assert_array_equal(store.codes(contig), wanted.codes)
    assert list(store.regions["chrom"]) == ["NA", "plasmid/1"]


def test_content_hash_ignores_file_names_but_not_content(folder):
    first = EncodedStore(folder).content_hash
    edit_meta(folder, inputs={role: {**META["inputs"][role], "path": "elsewhere"} for role in META["inputs"]})
    assert EncodedStore(folder).content_hash == first
    edit_meta(folder, inputs={**META["inputs"], "peaks": {"path": "p.bed", "sha256": "22"}})
    changed_input = EncodedStore(folder).content_hash
    edit_meta(folder, inputs=META["inputs"], seed=4)
    assert len({first, changed_input, EncodedStore(folder).content_hash}) == 3


def test_a_failure_leaves_the_old_store_and_no_partial_one(folder):
    def failing():
        yield "a", draw_arrays(10, 0)
        raise InputError("no more")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="no more"):
        write_store(folder, failing(), REGIONS, META)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["encoded"]


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda folder: (folder / "meta.json").unlink(), ["not an encoded store", "gatescope encode"]),
        (lambda folder: (folder / "meta.json").write_text("{"), ["meta.json", "not JSON"]),
        (lambda folder: edit_meta(folder, format="zarr"), ["meta.json", "gatescope-encoded"]),
        (
            lambda folder: edit_meta(folder, format_version=FORMAT_VERSION + 1),
            [f"format version {FORMAT_VERSION + 1}", f"reads {FORMAT_VERSION}", "encode again"],
        ),
        (lambda folder: (folder / "b.cuts.npy").unlink(), ["b.cuts.npy", "missing", "encode again"]),
        (lambda folder: (folder / "regions.tsv").unlink(), ["regions.tsv", "missing", "encode again"]),
        (lambda folder: (folder / "b.cuts.npy").write_bytes(b""), ["b.cuts.npy", "not a readable array"]),
        (
            lambda folder: (folder / "b.cuts.npy").write_bytes((folder / "b.cuts.npy").read_bytes()[:-20]),
            ["b.cuts.npy", "not a readable array", "cut off"],
        ),
        (lambda folder: np.save(folder / "b.cuts.npy", np.zeros(60)), ["float64", "float32"]),
        (lambda folder: np.save(folder / "b.cuts.npy", np.zeros(59, np.float32)), ["(59,)", "(60,)"]),
    ],
)
def test_a_damaged_store_is_refused_by_name(folder, spoil, parts):
    spoil(folder)
    with pytest.raises(InputError) as caught:
        EncodedStore(folder).track("b", "cuts")
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("ask", "parts"),
    [
        (lambda store: store.codes("A"), ["'A'", "a, b, c"]),
        (lambda store: store.track("a", "codes"), ["'codes'", "cuts, other"]),
        (lambda store: store.fold("f2"), ["'f2'", "f1"]),
    ],
)
def test_asking_for_what_is_not_there_says_what_is(folder, ask, parts):
    with pytest.raises(InputError) as caught:
        ask(EncodedStore(folder))
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_never_reaches_the_store(value):
    arrays = draw_arrays(10, 0)
    arrays.tracks["other"][3] = value
    with pytest.raises(ValueError, match="finite"):
        ContigArrays(arrays.codes, arrays.state, arrays.tracks)
