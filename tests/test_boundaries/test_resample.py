"""Shifts, p-values, family-wise correction and bootstrap against counting by hand."""

import numpy as np
import pytest
from scipy import stats

from gatescope.resample import (
    bootstrap_means,
    draw_shifts,
    interval,
    label_blocks,
    max_p,
    standardise,
    tail_p,
    two_sided_p,
)


def test_p_counts_the_observed_value_itself():
    null = np.array([[1.0], [2.0], [3.0], [4.0]])
    for observed, p in [(5.0, 1 / 5), (4.0, 2 / 5), (2.5, 3 / 5), (0.0, 1.0)]:
        assert tail_p(np.array([observed]), null)[0] == p


def test_p_of_999_shifts_is_never_below_a_thousandth():
    assert tail_p(np.array([9.0]), np.zeros((999, 1)))[0] == 0.001


def test_p_is_uniform_when_the_null_holds():
    values = np.random.default_rng(1).standard_normal((100, 3000))
    p = tail_p(values[0], values[1:])
    assert stats.kstest(p, stats.uniform(0.005, 1).cdf).pvalue > 0.01


def test_two_sided_p_counts_both_tails():
    null = np.arange(-3.0, 4.0)[:, None]  # -3 ... 3
    assert two_sided_p(np.array([0.0]), null)[0] == 1
    assert two_sided_p(np.array([-9.0]), null)[0] == two_sided_p(np.array([9.0]), null)[0] == 1 / 8


def test_max_p_equals_counting_by_hand():
    observed = np.array([3.0, -10.0])
    null = np.array([[1.0, 2.0], [2.0, 12.0], [3.0, 4.0]])
    both = np.vstack([observed, null])
    z = np.abs((both - both.mean(0)) / both.std(0))
    largest = z[1:].max(1)
    by_hand = [(1 + sum(value >= z[0, unit] for value in largest)) / 4 for unit in range(2)]
    np.testing.assert_array_equal(max_p(observed, null), by_hand)


def test_max_p_holds_the_family_wise_error_and_costs_nothing_for_copies():
    rng = np.random.default_rng(2)
    worlds = rng.standard_normal((400, 100, 20))
    wrong = np.mean([max_p(world[0], world[1:]).min() <= 0.05 for world in worlds])
    uncorrected = np.mean([two_sided_p(world[0], world[1:]).min() <= 0.05 for world in worlds])
    assert 0.02 < wrong < 0.085
    assert uncorrected > 0.4
    one = rng.standard_normal((100, 1))
    copies = np.repeat(one, 20, axis=1)
    np.testing.assert_array_equal(max_p(copies[0], copies[1:]), two_sided_p(one[0], one[1:])[0])


def test_scale_of_a_unit_does_not_decide():
    rng = np.random.default_rng(3)
    values = rng.standard_normal((100, 5))
    scaled = values * [1, 100, 1e-3, 5, 1] + [0, 7, 1, -2, 3]
    np.testing.assert_allclose(max_p(values[0], values[1:]), max_p(scaled[0], scaled[1:]))


def test_a_statistic_that_never_varies_is_not_extreme():
    null = np.column_stack([np.full(9, 0.1) + 1e-16 * np.arange(9), np.arange(9.0)])
    scores, null_scores = standardise(np.array([0.1, 20.0]), null)
    assert scores[0] == 0 and (null_scores[:, 0] == 0).all()
    # all nine replicates reach the score 0 of the first, none that of the second
    assert max_p(np.array([0.1, 20.0]), null).tolist() == [1.0, 0.1]


def test_shifts_cover_the_circle_evenly_and_come_from_the_seed():
    shifts = draw_shifts([10, 3], 30_000, np.random.default_rng(4))
    for column, length in enumerate((10, 3)):
        counts = np.bincount(shifts[:, column], minlength=length)
        assert len(counts) == length
        assert stats.chisquare(counts).pvalue > 0.001
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.03
    np.testing.assert_array_equal(shifts, draw_shifts([10, 3], 30_000, np.random.default_rng(4)))


def test_bootstrap_of_the_mean_has_its_standard_error():
    values = np.random.default_rng(5).gamma(2, size=(300, 2))
    means = bootstrap_means(values, 4000, np.random.default_rng(6))
    assert means.shape == (4000, 2)
    np.testing.assert_allclose(means.mean(0), values.mean(0), atol=0.01)
    np.testing.assert_allclose(means.std(0), values.std(0) / np.sqrt(300), rtol=0.05)


def test_bootstrap_draws_whole_units():
    means = bootstrap_means(np.array([0.0, 1.0]), 500, np.random.default_rng(7))
    assert set(means) == {0.0, 0.5, 1.0}


def test_bootstrap_draws_whole_blocks_and_counts_what_they_hold():
    values, blocks = np.array([0.0, 0.0, 0.0, 4.0]), np.array([1, 1, 1, 0])
    means = bootstrap_means(values, 500, np.random.default_rng(7), blocks)
    assert set(means) == {0.0, 1.0, 4.0}  # block 1 twice, each once, block 0 twice
    two = bootstrap_means(np.stack([values, -values], 1), 500, np.random.default_rng(7), blocks)
    np.testing.assert_array_equal(two, np.stack([means, -means], 1))


def test_an_interval_over_blocks_is_wider_where_neighbours_are_alike():
    rng = np.random.default_rng(8)
    values = np.repeat(rng.standard_normal(60), 10)
    blocks = np.repeat(np.arange(60), 10)
    by_block = bootstrap_means(values, 2000, rng, blocks).std()
    assert by_block == pytest.approx(values.std() / np.sqrt(60), rel=0.1)
    assert bootstrap_means(values, 2000, rng).std() < 0.4 * by_block


def test_blocks_are_numbered_over_contigs_without_gaps():
    positions = {"b": np.array([5, 19_999, 20_000, 95_000]), "a": np.array([3]), "c": np.array([100_000])}
    assert label_blocks(positions, 20_000).tolist() == [0, 0, 1, 2, 3, 4]


def test_interval_is_central():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == (pytest.approx(25), pytest.approx(975))
