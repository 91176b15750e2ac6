"""Stretches of long contigs and bands from blocks against counting, slow loops and closed forms."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.boundaries.profile import find_sites
from gatescope.boundaries.stretches import (
    BLOCK_BP,
    MIN_BLOCKS,
    BlockSums,
    block_band,
    draw_stretches,
    lie_inside,
)


@given(st.integers(0, 2**32 - 1), st.integers(31, 400), st.integers(1, 30), st.integers(1, 30))
def test_stretches_lie_in_the_contig_and_apart(seed, length, n, stretch_bp):
    lengths = {"short": 30, "long": length}
    drawn = draw_stretches(lengths, np.random.default_rng(seed), long_bp=30, n=n, stretch_bp=stretch_bp)
    assert list(drawn) == ["long"]
    spans = drawn["long"]
    assert len(spans) == min(n, length // stretch_bp)
    assert (np.diff(spans) == stretch_bp).all()
    assert spans[0, 0] >= 0
    assert spans[-1, 1] <= length
    assert (spans[1:, 0] >= spans[:-1, 1]).all()


def test_every_arrangement_is_as_likely():
    """Two stretches of 2 in 6 bases: six arrangements."""
    rng, seen = np.random.default_rng(1), Counter()
    for _ in range(6000):
        spans = draw_stretches({"a": 6}, rng, long_bp=2, n=2, stretch_bp=2)["a"]
        seen[tuple(spans[:, 0].tolist())] += 1
    assert set(seen) == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}
    assert min(seen.values()) > 900  # of 1,000 expected, with a standard deviation of 29
    assert max(seen.values()) < 1100


def test_the_same_generator_draws_the_same_stretches_and_another_does_not():
    lengths = {"a": 50_000_000, "b": 20_000_000, "c": 21_000_000}
    one, two, other = (draw_stretches(lengths, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert {contig: len(spans) for contig, spans in one.items()} == {"a": 20, "c": 10}
    assert (np.diff(one["a"]) == 2_000_000).all()
    np.testing.assert_array_equal(one["a"], two["a"])
    assert (one["a"] != other["a"]).any()


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_boundaries_inside_equal_a_loop_over_stretches(seed, margin_bp):
    rng = np.random.default_rng(seed)
    spans = draw_stretches({"a": 100}, rng, long_bp=20, n=3, stretch_bp=20)["a"]
    positions = np.arange(101)
    slow = [
        any(start <= at - margin_bp and at + margin_bp <= end for start, end in spans) for at in positions
    ]
    # a boundary between two stretches that touch belongs to the right one; without a margin, to both
    np.testing.assert_array_equal(lie_inside(positions, spans, margin_bp), slow)


@pytest.mark.parametrize(("direction", "crossing", "column"), [(0, "entry", "start"), (1, "entry", "end")])
def test_sites_outside_the_stretches_are_left_out_and_counted(direction, crossing, column):
    starts = np.arange(50, 2000, 90)
    regions = pd.DataFrame({"chrom": "long", "start": starts, "end": starts + 40})
    regions = pd.concat([regions, regions.assign(chrom="whole")], ignore_index=True)
    lengths = {"long": 2050, "whole": 2050}
    stretches = {"long": np.array([[0, 300], [900, 1400]])}
    everywhere = find_sites(regions, lengths, direction, crossing, 100)
    sites = find_sites(regions, lengths, direction, crossing, 100, stretches)
    kept = [
        at for at in regions.loc[regions["chrom"] == "long", column] if 100 <= at <= 200 or 1000 <= at <= 1300
    ]
    assert sites.positions["long"].tolist() == kept
    np.testing.assert_array_equal(sites.positions["whole"], everywhere.positions["whole"])
    assert sites.n_dropped == everywhere.n_dropped > 0
    assert sites.n_outside == everywhere.n - sites.n > 0
    assert everywhere.n_outside == 0


def pieces_of(positions, values, cut):
    """Hand out boundaries of a contig in two pieces."""
    yield "a", positions[:cut], values[:cut]
    if cut < len(positions):
        yield "a", positions[cut:], values[cut:]
    yield "b", positions[:2], values[:2]


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_block_sums_equal_a_loop_wherever_the_pieces_end(cut):
    rng = np.random.default_rng(2)
    positions = np.array([5, 99, 100, 101, 350, 355, 399, 1000])
    values = rng.random((8, 3))
    slow = {}
    for contig, some in (("a", range(8)), ("b", range(2))):
        for k in some:
            slow.setdefault((contig, positions[k] // 100), []).append(values[k])
    got = BlockSums.of(pieces_of(positions, values, cut), 100)
    assert got.counts.tolist() == [len(each) for each in slow.values()]
    np.testing.assert_allclose(got.sums, [np.sum(each, axis=0) for each in slow.values()], rtol=1e-12)


def test_the_band_of_independent_blocks_is_that_of_the_normal_law():
    """One boundary per block: the standard error of a mean of n is its standard deviation over sqrt(n)."""
    values = np.random.default_rng(3).standard_normal((400, 1))
    blocks = BlockSums.of([("a", np.arange(400) * BLOCK_BP, values)], BLOCK_BP)
    low, high = block_band(blocks, 4000, np.random.default_rng(0))
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert low[0] == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert high[0] == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_copies_of_a_boundary_in_its_block_add_no_certainty():
    values = np.random.default_rng(3).random((30, 2))
    at = np.arange(30) * BLOCK_BP
    once = BlockSums.of([("a", at, values)], BLOCK_BP)
    copied = BlockSums.of([("a", at.repeat(5), values.repeat(5, axis=0))], BLOCK_BP)
    bands = [block_band(blocks, 200, np.random.default_rng(0)) for blocks in (once, copied)]
    np.testing.assert_allclose(bands[0], bands[1], rtol=1e-12)
    # taken as independent, they would pretend to be more certain
    spread = BlockSums.of([("a", np.arange(150) * BLOCK_BP, values.repeat(5, axis=0))], BLOCK_BP)
    pretended = block_band(spread, 200, np.random.default_rng(0))
    assert (np.diff(pretended, axis=0) < 0.7 * np.diff(bands[0], axis=0)).all()


@pytest.mark.parametrize(("n", "is_known"), [(MIN_BLOCKS - 1, False), (MIN_BLOCKS, True)])
def test_too_few_blocks_have_no_band(n, is_known):
    blocks = BlockSums.of([("a", np.arange(n) * BLOCK_BP, np.full((n, 3), 0.7))], BLOCK_BP)
    band = block_band(blocks, 50, np.random.default_rng(0))
    if is_known:
        np.testing.assert_allclose(band, 0.7)
    else:
        assert np.isnan(band).all()
