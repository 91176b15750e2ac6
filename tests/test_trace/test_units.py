"""What single units did is found again under the name of its contig, and what does not fit is refused."""

import numpy as np
import pytest

from gatescope.errors import InputError
from gatescope.trace.sample import join_parts, read_sample, sampled_bases, write_part
from gatescope.trace.units import UNIT_ARRAYS, UnitStore, unit_file

SHAPES = {"logits": (2, 3, 50), "writes": (2, 3, 50), "change": (2, 50)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "units").mkdir()
    rng = np.random.default_rng(0)
    for array, shape in SHAPES.items():
        np.save(tmp_path / "units" / unit_file("c", array), rng.normal(size=shape).astype(np.float32))
    return tmp_path


def read(folder, array, length=50):
    units = UnitStore(folder, {"c": length})
    return {
        "logits": lambda: units.logits("c", 1, 2),
        "writes": lambda: units.writes("c", 1, 2),
        "change": lambda: units.hidden_change("c", 1),
    }[array]()


@pytest.mark.parametrize("array", UNIT_ARRAYS)
def test_one_unit_of_one_contig_is_read(folder, array):
    whole = np.load(folder / "units" / {"logits": "c.npy"}.get(array, f"c.{array}.npy"))
    assert np.array_equal(read(folder, array), whole[1, 2] if whole.ndim == 3 else whole[1])
    assert UnitStore(folder, {"c": 50}).n_units("c") == 3


@pytest.mark.parametrize("array", UNIT_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(folder, array):
    axes = r"\(directions, bases\) = \(2, 51\)" if array == "change" else r"bases\) = \(2, 'H', 51\)"
    with pytest.raises(InputError, match=axes):
        read(folder, array, length=51)
    path = folder / "units" / unit_file("c", array)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable array"):
        read(folder, array)
    path.unlink()
    with pytest.raises(InputError, match="no traced units for contig 'c'"):
        read(folder, array)


def test_no_two_arrays_share_a_file():
    """Contigs may be called like an array of another contig."""
    names = ("c", "c.writes", "c.change", "c.logits", "c.writes.writes", "c%2Ewrites", ".writes", "writes")
    files = [unit_file(name, array) for name in names for array in UNIT_ARRAYS]
    assert len(set(files)) == len(files)
    assert unit_file("chr1", "writes") == "chr1.writes.npy"


def test_samples_of_a_large_genome_are_small_and_evenly_spaced():
    lengths = {"a": 30_000_000, "b": 9_999_999, "c": 700}
    found = {c: sampled_bases(lengths, c, np.zeros(length, np.uint8)) for c, length in lengths.items()}
    assert 19_990 <= sum(len(places) for places in found.values()) <= 20_000
    assert (np.diff(found["a"]) == 2001).all() and (np.diff(found["b"]) == 2001).all()
    assert len(found["c"]) == 0


def test_what_is_no_sample_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_sample(tmp_path / "unit_sample.npz")
    write_part(tmp_path / "part.npz", np.arange(3), np.zeros((2, 2, 1, 3), np.float32))
    with pytest.raises(InputError, match="not a sample of units"):
        read_sample(tmp_path / "part.npz")
    join_parts(tmp_path / "whole.npz", "ab", {"c": tmp_path / "part.npz"})
    whole = (tmp_path / "whole.npz").read_bytes()
    for part in (b"", whole[:90], whole[:-90]):
        (tmp_path / "cut.npz").write_bytes(part)
        with pytest.raises(InputError, match="not a sample of units"):
            read_sample(tmp_path / "cut.npz")
