"""Share of the deviance that a track explains, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import d2_tweedie_score

from gatescope.atac import explained
from gatescope.atac.explained import BINS_BP, compare_counts, explain


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.0, 1.0, 40_000) + 0.01
    return rng.poisson(0.3 * rate), rate


def binned(values: np.ndarray, bin_bp: int) -> np.ndarray:
    return values.reshape(-1, bin_bp).sum(1)


def test_share_is_that_of_scikit_learn(counts):
    cuts, rate = counts
    for row in explain(compare_counts(cuts, rate, np.ones(len(cuts), bool))):
        y, m = binned(cuts, row.bin_bp), binned(rate, row.bin_bp)
        assert row.share == pytest.approx(d2_tweedie_score(y, m * y.sum() / m.sum(), power=1))
        assert row.cuts == cuts.sum()


def test_bits_are_a_gain_in_likelihood(counts):
    cuts, rate = counts
    row = explain(compare_counts(cuts, rate, np.ones(len(cuts), bool)))[0]
    ours, even = rate / rate.sum(), np.full(len(cuts), 1 / len(cuts))
    gain = (cuts * np.log2(ours / even)).sum() / cuts.sum()
    assert row.bits_per_cut == pytest.approx(gain)
    assert gain > 0.3


def test_an_even_track_explains_nothing_whatever_is_left_out(counts):
    cuts, _ = counts
    used = np.random.default_rng(1).random(len(cuts)) < 0.4
    for row in explain(compare_counts(cuts, np.full(len(cuts), 3.0), used)):
        assert row.share == pytest.approx(0, abs=1e-9)
        assert row.cuts == cuts[used].sum()


def test_contigs_add_up_and_pieces_change_nothing(counts, monkeypatch):
    cuts, rate = counts
    used = np.ones(len(cuts), bool)
    whole = compare_counts(cuts, rate, used)
    parts = sum(compare_counts(cuts[p], rate[p], used[p]) for p in (slice(0, 15_000), slice(15_000, None)))
    assert np.allclose(parts, whole)
    monkeypatch.setattr(explained, "PIECE_BP", 7_000)
    assert np.allclose(compare_counts(cuts, rate, used), whole)


def test_towers_are_clipped():
    cuts = np.array([1.0] * 999 + [5_000.0])
    assert explain(compare_counts(cuts, np.ones(1_000), np.ones(1_000, bool)))[0].cuts == 999 + 20


def test_no_cuts_tell_nothing():
    rows = explain(compare_counts(np.zeros(500), np.ones(500), np.ones(500, bool)))
    assert [row.bin_bp for row in rows] == list(BINS_BP)
    assert {(row.cuts, row.share, row.bits_per_cut) for row in rows} == {(0, None, None)}
