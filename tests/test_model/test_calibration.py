"""Reliability by sorting and looping, replicates by resampling rows for real."""

import numpy as np
import pytest

from gatescope.model.calibration import calibrate
from gatescope.model.metrics import cut_bins, draw_blocks


def world(rng, n=2_400, n_blocks=12, scale=1.0):
    """Probabilities, and labels that come true `scale` times as often."""
    probability = rng.beta(0.5, 4, n)
    label = rng.random(n) < scale * probability
    parts = {f"c{k}": part for k, part in enumerate(np.split(label.astype(np.uint8), n_blocks))}
    return cut_bins(parts, {c: np.zeros(len(part), np.float32) for c, part in parts.items()}, 1), probability


def slow_groups(expected, observed, groups):
    """Sort, deal out, average."""
    order = np.argsort(expected)
    return [
        (expected[rows].mean(), observed[rows].mean(), len(rows)) for rows in np.array_split(order, groups)
    ]


def test_groups_equal_sorting_and_dealing_out():
    bins, probability = world(np.random.default_rng(0))
    found = calibrate(bins, probability, bins.label, np.zeros((0, 12), int), 8)
    slow = slow_groups(probability, bins.label, 8)
    np.testing.assert_allclose(found.expected, [each[0] for each in slow])
    np.testing.assert_allclose([each.value for each in found.observed], [each[1] for each in slow])
    assert found.n.tolist() == [each[2] for each in slow] == [300] * 8
    assert found.error.value == pytest.approx(np.mean([abs(p - o) for p, o, _ in slow]))
    assert found.ratio.value == pytest.approx(bins.label.sum() / probability.sum())
    assert all(row["observed_low"] is None and row["n"] == 300 for row in found.rows())


def test_replicates_equal_resampled_rows():
    rng = np.random.default_rng(1)
    bins, probability = world(rng)
    draws = draw_blocks(12, 5, rng)
    found = calibrate(bins, probability, bins.label, draws, 6)
    inner = np.quantile(probability, np.arange(1, 6) / 6)
    for k, draw in enumerate(draws):
        rows = np.concatenate([np.flatnonzero(bins.block == b) for b in range(12) for _ in range(draw[b])])
        p, label = probability[rows], bins.label[rows]
        error = 0.0
        for g in range(6):
            inside = np.digitize(p, inner) == g
            assert found.observed[g].replicates[k] == pytest.approx(label[inside].mean())
            error += abs(p[inside].sum() - label[inside].sum())
        assert found.error.replicates[k] == pytest.approx(error / rows.size)
        assert found.ratio.replicates[k] == pytest.approx(label.sum() / p.sum())


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_what_is_promised_too_often_is_seen(scale):
    rng = np.random.default_rng(2)
    bins, probability = world(rng, n=60_000, n_blocks=60, scale=scale)
    found = calibrate(bins, probability, bins.label, draw_blocks(60, 100, rng), 10)
    low, high = found.ratio.interval
    assert low < scale < high and high - low < 0.1
    assert found.error.value == pytest.approx((1 - scale) * probability.mean(), abs=0.004)


def test_equal_expectations_stay_together():
    bins, _ = world(np.random.default_rng(3))
    steps = np.repeat([0.1, 0.1, 0.1, 0.7], 600)
    found = calibrate(bins, steps, bins.label, np.zeros((0, 12), int), 10)
    assert found.expected == pytest.approx([0.1, 0.7]) and found.n.tolist() == [1_800, 600]
    flat = calibrate(bins, np.full(2_400, 0.2), bins.label, np.zeros((0, 12), int), 10)
    assert flat.n.tolist() == [2_400] and flat.observed[0].value == pytest.approx(bins.label.mean())


def test_nothing_expected_has_no_ratio():
    bins, _ = world(np.random.default_rng(4))
    assert np.isnan(calibrate(bins, np.zeros(2_400), bins.label, np.zeros((0, 12), int), 4).ratio.value)
