"""The encoded store: round trip, laziness, refusal of what it cannot read."""

import hashlib
import json
import pickle
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gatescope.data.store import FORMAT_VERSION, REGION_COLUMNS, ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.genome.folds import Fold
from gatescope.genome.sequence import one_hot

CUTS = "track.cuts.npy"
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


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


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
    arrays = {f"{name}.npy" for name in ("codes", "state", "track.cuts", "track.other")}
    assert names == arrays | {"meta.json", "regions.tsv"}


def test_numpy_alone_reads_the_store_as_the_format_page_says(arrays, tmp_path, monkeypatch):
    write_store(tmp_path, [("a", arrays["a"]), ("chrIV", arrays["b"])], REGIONS, META)
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", page, re.S) if "meta.json" in part]
    assert "import numpy as np" in code and "gatescope." not in code
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    np.testing.assert_array_equal(names["cuts"], arrays["b"].tracks["cuts"])
    np.testing.assert_array_equal(names["one_hot"], one_hot(arrays["b"].codes))


def test_sizes_and_hashes_are_as_the_format_page_says(folder):
    meta = json.loads((folder / "meta.json").read_text())
    for file, written in meta["arrays"].items():
        values = np.load(folder / file, mmap_mode="r")
        assert values.dtype.name == written["dtype"] and (folder / file).stat().st_size == written["bytes"]
        assert written["bytes"] == 128 + values.nbytes
        assert hashlib.sha256(values).hexdigest() == written["sha256"]
    assert hashlib.sha256((folder / "regions.tsv").read_bytes()).hexdigest() == meta["regions_sha256"]


def test_arrays_are_mapped_and_read_only(folder):
    codes = EncodedStore(folder).codes("a")
    assert isinstance(codes, np.memmap) and not codes.flags.writeable


def test_a_pickled_store_holds_no_array(folder):
    store = EncodedStore(folder)
    closed = pickle.dumps(store)
    store.codes("a"), store.regions
    pickled = pickle.dumps(store)
    assert pickled == closed
    np.testing.assert_array_equal(pickle.loads(pickled).codes("a"), store.codes("a"))


def test_a_draft_genome_of_5000_scaffolds_is_four_files(tmp_path):
    whole = draw_arrays(50_000, 1, ("cuts",))
    ends = np.sort(np.random.default_rng(2).choice(np.arange(1, 50_000), 4_999, replace=False))
    bounds = list(pairwise([0, *ends.tolist(), 50_000]))
    contigs = {
        f"scaffold_{n}|v1.{n}": ContigArrays(
            whole.codes[a:b], whole.state[a:b], {"cuts": whole.tracks["cuts"][a:b]}
        )
        for n, (a, b) in enumerate(bounds)
    }
    write_store(tmp_path / "encoded", contigs.items(), REGIONS, META)
    assert len(list((tmp_path / "encoded").iterdir())) == 5
    store = EncodedStore(tmp_path / "encoded")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for contig, wanted in contigs.items():
        np.testing.assert_array_equal(store.codes(contig), wanted.codes)
        np.testing.assert_array_equal(store.track(contig, "cuts"), wanted.tracks["cuts"])
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 2
    np.testing.assert_array_equal(store.genome_array("state"), whole.state)


def test_contigs_must_have_the_same_tracks(tmp_path):
    contigs = {"a": draw_arrays(10, 0), "b": draw_arrays(10, 1, ("cuts",))}
    with pytest.raises(ValueError, match="lack a track"):
        write_store(tmp_path / "encoded", contigs.items(), REGIONS, META)


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
        (lambda folder: (folder / CUTS).unlink(), [CUTS, "missing", "encode again"]),
        (lambda folder: (folder / "regions.tsv").unlink(), ["regions.tsv", "missing", "encode again"]),
        (lambda folder: (folder / CUTS).write_bytes(b""), [CUTS, "0 bytes", "932", "cut off"]),
        (lambda folder: cut_off(folder / CUTS), [CUTS, "912 bytes", "932", "cut off"]),
        (lambda folder: (folder / CUTS).write_bytes(bytes(932)), [CUTS, "not a readable array", "damaged"]),
        (lambda folder: np.save(folder / CUTS, np.zeros(201, np.int32)), ["int32", "float32"]),
        (lambda folder: np.save(folder / CUTS, np.zeros((3, 67), np.float32)), ["(3, 67)", "(201,)"]),
    ],
)
def test_a_damaged_store_is_refused_by_name(folder, spoil, parts):
    spoil(folder)
    with pytest.raises(InputError) as caught:
        EncodedStore(folder).track("b", "cuts")
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize("file", ["codes.npy", "state.npy", "track.other.npy", "regions.tsv"])
def test_one_changed_byte_is_noticed_by_verify(folder, file):
    store = EncodedStore(folder)
    store.verify()
    content = bytearray((folder / file).read_bytes())
    content[-3] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match="was changed, or damaged") as caught:
        EncodedStore(folder).verify()
    assert file in str(caught.value)


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
