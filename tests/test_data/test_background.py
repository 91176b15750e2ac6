"""GC matching of background windows against obvious references."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from gatescope.data import background
from gatescope.data.background import Candidates, match_background, tile_background
from gatescope.data.tiles import Tiles


def gc_bin(value):
    return min(int(value * 50), 49)


def match(peaks, candidates, ratio, rng, is_second_choice=None):
    candidates = np.asarray(candidates, float)
    is_second_choice = np.zeros(candidates.size, bool) if is_second_choice is None else is_second_choice
    peaks = np.asarray(peaks, float)
    return match_all(peaks[:, None], candidates[:, None], ratio, rng, is_second_choice)


def match_all(peaks, candidates, ratio, rng, is_second_choice=None, cuts=(3,)):
    """Match candidates that come in blocks."""
    is_second_choice = np.zeros(len(candidates), bool) if is_second_choice is None else is_second_choice
    blocks = zip(np.split(candidates, cuts), np.split(is_second_choice, cuts), strict=True)
    return match_background(
        peaks, lambda given=list(blocks): (Candidates(*each) for each in given), ratio, rng
    )


@pytest.mark.parametrize("window_bp", [50, 53, 5])
def test_tiles_equal_a_loop_over_bases(window_bp):
    rng = np.random.default_rng(0)
    codes, avoid = rng.integers(0, 5, 1003).astype(np.uint8), rng.random(1003) < 0.01
    codes[100:250] = 4
    tiles = tile_background(codes, avoid, window_bp)
    shifts = range(0, window_bp, max(1, window_bp // 8))
    starts = [start for shift in shifts for start in range(shift, 1003 - window_bp + 1, window_bp)]
    assert list(tiles["start"]) == sorted(starts)
    for row in tiles.itertuples():
        window = codes[row.start : row.start + window_bp].tolist()
        known = [code for code in window if code < 4]
        assert row.shifted == (row.start % window_bp > 0)
        assert row.unknown == pytest.approx(window.count(4) / window_bp)
        assert row.avoided == any(avoid[row.start : row.start + window_bp])
        if known:
            assert row.gc == pytest.approx((known.count(1) + known.count(2)) / len(known))
        else:
            assert np.isnan(row.gc)


def test_second_choices_are_taken_only_where_a_bin_has_no_others():
    candidates = np.array([0.51] * 4 + [0.41] * 4)
    is_second = np.array([True, True, False, False, True, False, False, True])
    found = match([0.51] * 3 + [0.41], candidates, 1.0, np.random.default_rng(0), is_second)
    assert {2, 3} <= set(found.chosen) and len(found.chosen) == 4
    assert sum(is_second[found.chosen]) == found.second_choices == 1 and not is_second[found.chosen[-1]]


def test_a_contig_shorter_than_a_window_has_no_tile():
    assert len(tile_background(np.zeros(9, np.uint8), np.zeros(9, bool), 10)) == 0


def test_histograms_are_equal_where_candidates_abound():
    rng = np.random.default_rng(1)
    peaks, candidates = rng.normal(0.55, 0.04, 300).clip(0, 1), rng.normal(0.45, 0.1, 50_000).clip(0, 1)
    found = match(peaks, candidates, 2.0, rng)
    counted = Counter(gc_bin(gc) for gc in candidates[found.chosen])
    assert counted == {index: 2 * count for index, count in Counter(gc_bin(gc) for gc in peaks).items()}
    assert found.substituted == 0 and found.wanted == 600 and found.ks_p[0] > 0.05


def test_a_bin_that_runs_out_borrows_from_its_neighbours_only():
    peaks = np.full(10, 0.51)
    candidates = np.array(
        [0.51] * 3 + [0.49] * 2 + [0.53] * 1 + [0.55] * 1 + [0.47] * 1 + [0.57] * 9 + [0.45] * 9
    )
    found = match(peaks, candidates, 1.0, np.random.default_rng(0))
    assert sorted(candidates[found.chosen]) == [0.47, 0.49, 0.49, 0.51, 0.51, 0.51, 0.53, 0.55]
    assert (found.wanted, found.substituted) == (10, 5)


def test_matching_repairs_a_trend_that_chance_would_not():
    rng = np.random.default_rng(2)
    candidates = rng.uniform(0.3, 0.7, 3000)
    peaks = rng.triangular(0.35, 0.6, 0.65, 300)
    found = match(peaks, candidates, 1.0, rng)
    assert found.ks_p[0] > 0.05
    assert ks_2samp(peaks, rng.choice(candidates, 300, replace=False)).pvalue < 1e-6


def test_two_features_are_matched_together():
    """Peaks are GC-rich and mappable or GC-poor and not; matching one feature at a time would mix them."""
    rng = np.random.default_rng(4)
    rich = rng.random(200) < 0.5
    peaks = np.column_stack([np.where(rich, 0.65, 0.35), np.where(rich, 1.0, 0.55)])
    candidates = np.column_stack([rng.choice([0.35, 0.65], 5_000), rng.choice([0.55, 1.0], 5_000)])
    found = match_all(peaks, candidates, 1.0, rng)
    wanted = Counter(map(tuple, peaks))
    assert Counter(map(tuple, candidates[found.chosen])) == wanted and len(wanted) == 2
    assert found.ks_p == (1.0, 1.0) and found.substituted == 0


def test_what_a_bin_lacks_comes_from_the_nearest_in_both_features():
    peaks = np.array([[0.51, 0.55]] * 4)
    steps = [(0.51, 0.55), (0.51, 0.65), (0.53, 0.55), (0.53, 0.65), (0.55, 0.55), (0.57, 0.55), (0.51, 0.85)]
    candidates = np.array(steps)
    found = match_all(peaks, candidates, 1.0, np.random.default_rng(0))
    assert found.chosen.tolist() == [0, 1, 2, 3] and found.substituted == 3
    # of equally near ones, those of the same GC content
    two = match_all(peaks[:2], candidates[[0, 2, 1]], 1.0, np.random.default_rng(0))
    assert two.chosen.tolist() == [0, 2]
    more = match_all(np.repeat(peaks, 3, 0), candidates, 1.0, np.random.default_rng(0))
    assert more.chosen.tolist() == [0, 1, 2, 3, 4] and more.wanted == 12


@settings(max_examples=60, deadline=None)
@given(
    peaks=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    candidates=st.lists(st.floats(0, 1), max_size=60),
    ratio=st.sampled_from([0, 0.25, 1.0, 1.5, 3.0]),
)
def test_no_window_twice_never_too_many_never_far(peaks, candidates, ratio):
    found = match(peaks, candidates, ratio, np.random.default_rng(0))
    assert len(set(found.chosen)) == len(found.chosen) <= found.wanted
    assert abs(found.wanted - ratio * len(peaks)) <= 0.5
    peak_bins = [gc_bin(gc) for gc in peaks]
    assert all(min(abs(gc_bin(candidates[i]) - peak) for peak in peak_bins) <= 2 for i in found.chosen)
    # what is left over cannot be used: no free candidate lies in the bin of an unserved peak
    if len(found.chosen) < found.wanted and ratio >= 1:
        free = set(range(len(candidates))) - set(found.chosen)
        left = np.bincount([gc_bin(candidates[i]) for i in free], minlength=50)
        chosen = np.bincount([gc_bin(candidates[i]) for i in found.chosen], minlength=50)
        for index in set(peak_bins):
            assert chosen[index] >= np.floor(ratio * peak_bins.count(index)) or left[index] == 0


def test_the_seed_decides():
    rng = np.random.default_rng(3)
    peaks, candidates = rng.normal(0.5, 0.05, 50), rng.normal(0.5, 0.05, 5000)
    picks = [match(peaks, candidates, 1.0, np.random.default_rng(seed)).chosen.tolist() for seed in (0, 0, 1)]
    assert picks[0] == picks[1] != picks[2]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 60),
    cuts=st.lists(st.integers(0, 60), max_size=4).map(sorted),
    at_once=st.integers(1, 70),
)
def test_neither_blocks_nor_pieces_change_the_choice(n, cuts, at_once):
    """The reference sorts all candidates at once, shuffled, first choices in front."""
    rng = np.random.default_rng(n)
    gc, second = rng.choice([0.41, 0.43, 0.61], n), rng.random(n) < 0.4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "_AT_ONCE", at_once)
        found = match_all(
            np.full((9, 1), 0.41), gc[:, None], 1.0, np.random.default_rng(1), second, np.minimum(cuts, n)
        )
    order = np.random.default_rng(1).permutation(n)
    own, next_best = (
        sorted((i for i in order if gc[i] == wanted), key=lambda i: second[i]) for wanted in (0.41, 0.43)
    )
    expected = own[:9] + next_best[: 9 - len(own[:9])]
    assert found.chosen.tolist() == sorted(expected)
    assert found.second_choices == sum(second[i] for i in expected)


def test_tiles_come_back_from_disk():
    rng = np.random.default_rng(3)
    tables = [
        pd.DataFrame({"start": np.arange(n), "cuts": rng.random(n).astype(np.float32), "gc": rng.random(n)})
        for n in (7, 0, 40, 3)
    ]
    with Tiles() as tiles:
        for table in tables:
            tiles.add(table)
        assert len(tiles) == 50
        tiles.most_cuts = 0.5
        kept = pd.concat([table[table["cuts"] <= 0.5] for table in tables], ignore_index=True)
        assert [len(table) for table in tiles] == [(table["cuts"] <= 0.5).sum() for table in tables]
        rows = np.arange(0, len(kept), 3)
        pd.testing.assert_frame_equal(tiles.take(rows), kept.iloc[rows].reset_index(drop=True))
        assert len(tiles.take(rows[:0])) == 0
