"""Windows of a store, many at once: against one after the other, cut by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.windows import Windows
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot, reverse_complement
from tiny_store import LENGTHS, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("windows") / "store")


def cut(store, contig, start, window_bp, is_reverse):
    """Cut one window out of the contig's own arrays."""
    part = slice(start, start + window_bp)
    codes = np.array(store.codes(contig)[part])
    codes = reverse_complement(codes) if is_reverse else codes
    others = (store.state(contig)[part], store.track(contig, "cuts")[part])
    return one_hot(codes), *(np.array(values)[:: -1 if is_reverse else 1] for values in others)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_windows_are_those_cut_one_by_one(store, data):
    window_bp = data.draw(st.integers(1, min(LENGTHS.values())))
    contigs = data.draw(st.lists(st.integers(0, len(LENGTHS) - 1), max_size=8))
    names = list(LENGTHS)
    # the ends of contigs are where one would read on into the next
    starts = [
        data.draw(st.sampled_from([0, 290, LENGTHS[names[c]] - window_bp]) | st.integers(0, 9000))
        % (LENGTHS[names[c]] - window_bp + 1)
        for c in contigs
    ]
    turned = [data.draw(st.booleans()) for _ in contigs]
    windows = Windows(store, contigs, starts, window_bp, turned)
    found = (windows.one_hot(), windows.state(), windows.track("cuts"))
    assert [array.shape for array in found] == [
        (len(contigs), 4, window_bp),
        (len(contigs), window_bp),
        (len(contigs), window_bp),
    ]
    assert [array.dtype for array in found] == [np.uint8, np.uint8, np.float32]
    for n, place in enumerate(zip(contigs, starts, turned, strict=True)):
        wanted = cut(store, names[place[0]], place[1], window_bp, place[2])
        for array, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(array[n], expected)


def test_without_a_strand_everything_is_read_forwards(store):
    windows = Windows(store, [0, 3], [290, 0], 50)
    for n, (contig, start) in enumerate((("one", 290), ("four", 0))):
        np.testing.assert_array_equal(windows.one_hot()[n], cut(store, contig, start, 50, False)[0])
    assert windows.one_hot().sum(1)[0, 10:30].max() == 0, "unknown bases are zero columns"


def test_several_tracks_are_stacked_in_the_order_asked_for(store):
    windows = Windows(store, [1, 1, 2], [0, 7, 9], 30, [True, False, True])
    cuts = windows.track("cuts")
    assert windows.tracks(()).shape == (3, 0, 30) and windows.tracks(("cuts",)).shape == (3, 1, 30)
    np.testing.assert_array_equal(windows.tracks(("cuts", "cuts")), np.stack([cuts, cuts], axis=1))
    with pytest.raises(InputError, match="no track 'gc'"):
        windows.tracks(("cuts", "gc"))


def test_windows_are_copies(store):
    windows = Windows(store, [0], [0], 20)
    windows.state()[:] = 7
    windows.track("cuts")[:] = 7
    assert windows.state().max() <= 1 and windows.track("cuts").max() < 7


@pytest.mark.parametrize(
    ("contigs", "starts"), [([0], [-1]), ([3], [201]), ([0, 4], [0, 0]), ([-1], [0]), ([0, 0], [0, 5501])]
)
def test_a_window_never_runs_over_into_the_next_contig(store, contigs, starts):
    with pytest.raises(ValueError, match=r"do not lie on contig|contig 4; the store has 4"):
        Windows(store, contigs, starts, 500)
