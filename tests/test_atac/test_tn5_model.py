"""What Tn5 prefers, from counts of base pairs: known preferences, slow counts, and the other strand."""

import numpy as np
import pytest

from gatescope.atac import tn5_model
from gatescope.atac.tn5_model import MOST_CUTS_PER_BP, REACH_BP, PairTally, Tn5Model, fit_model, tally_pairs
from gatescope.genome.sequence import UNKNOWN, reverse_complement

RNG_SEED = 7


def relative_rate(model: Tn5Model, codes: np.ndarray) -> np.ndarray:
    """Put the pieces together."""
    return np.concatenate([rate for _, rate in model.rates(codes)])


def palindromic_pair_weights(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Weights of pairs at offsets -3 to 2, the same on the other strand."""
    weights = rng.normal(0, strength, (6, 4, 4))
    other = weights[::-1, ::-1, ::-1].swapaxes(1, 2)
    return (weights + other) / 2


def log_rate_by_loop(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    half = len(weights) // 2
    total = np.zeros(len(codes))
    for c in range(half, len(codes) - half):
        for k in range(len(weights)):
            first, second = codes[c - half + k], codes[c - half + k + 1]
            if UNKNOWN not in (first, second):
                total[c] += weights[k, first, second]
    return total


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, np.ndarray]:
    """A random contig, and the logarithm of the rate that a known preference gives each base."""
    rng = np.random.default_rng(RNG_SEED)
    codes = rng.choice(4, 120_000, p=[0.35, 0.15, 0.2, 0.3]).astype(np.uint8)
    return codes, log_rate_by_loop(codes, palindromic_pair_weights(rng, 0.5))


def test_recovers_a_known_preference(known):
    codes, log_rate = known
    # expected cuts in place of counts: what is left of the error is that the contig is finite
    tally = tally_pairs(codes, np.exp(log_rate), np.ones(len(codes), bool))
    found = np.log(relative_rate(fit_model(tally), codes))
    difference = (found - log_rate)[50:-50]
    assert np.std(difference) < 0.06 < 0.6 < np.std(log_rate)


def test_the_outermost_bases_count_like_any_other(known):
    codes, _ = known
    liked = (np.roll(codes, REACH_BP) == 2).astype(float) + (np.roll(codes, -REACH_BP) == 1)
    tally = tally_pairs(codes, 3.0**liked, np.ones(len(codes), bool))
    found = np.log(relative_rate(fit_model(tally), codes))[50:-50]
    more = [found[liked[50:-50] == n].mean() for n in (0, 1, 2)]
    assert np.diff(more) == pytest.approx([np.log(3)] * 2, abs=0.05)


def test_how_open_a_region_is_is_no_preference(known):
    """Cuts on AT-rich stretches that are ten times as open, without any preference: density must not become taste."""
    codes, _ = known
    rng = np.random.default_rng(1)
    codes = codes.copy()
    is_open = np.arange(len(codes)) // 2_000 % 2 == 1
    codes[is_open] = rng.choice(4, is_open.sum(), p=[0.45, 0.05, 0.05, 0.45])
    cuts = np.where(is_open, 1.0, 0.1)
    rate = relative_rate(fit_model(tally_pairs(codes, cuts, np.ones(len(codes), bool))), codes)
    assert abs(np.log(rate[is_open].mean() / rate[~is_open].mean())) < 0.3  # ln 10 is 2.3


def test_counts_are_those_of_a_slow_loop():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 5, 700).astype(np.uint8)
    cuts = rng.poisson(0.3, 700).astype(np.float32)
    cuts[100] = 1_000
    background = rng.random(700) < 0.7
    background[100] = True
    got = tally_pairs(codes, cuts, background)
    around, nearby = np.zeros((2 * REACH_BP, 16)), np.zeros(16)
    counted = np.minimum(cuts, MOST_CUTS_PER_BP) * background

    def add(table, first, weight):
        if 0 <= first and first + 1 < 700 and UNKNOWN not in codes[first : first + 2]:
            table[4 * int(codes[first]) + int(codes[first + 1])] += weight

    for c in np.flatnonzero(background):
        near = slice(max(0, c - 100), c + 101)
        density = counted[near].sum() / background[near].sum()
        add(nearby, c - 1, density)
        add(nearby, c, density)
        for k in range(2 * REACH_BP):
            add(around[k], c - REACH_BP + k, counted[c])
    assert np.array_equal(got.around, around)
    assert np.allclose(got.nearby, nearby, rtol=1e-12)
    assert (got.cuts, got.bases) == (counted.sum(), background.sum())


def test_pieces_change_nothing(monkeypatch, known):
    codes, log_rate = known
    codes, cuts = codes[:30_000], np.random.default_rng(2).poisson(np.exp(log_rate[:30_000]))
    background = np.arange(30_000) % 700 > 90
    whole = tally_pairs(codes, cuts, background)
    rate = relative_rate(fit_model(whole), codes)
    monkeypatch.setattr(tn5_model, "PIECE_BP", 4_001)
    parts = tally_pairs(codes, cuts, background)
    assert np.array_equal(parts.around, whole.around)
    assert np.allclose(parts.nearby, whole.nearby, rtol=1e-12)
    assert np.allclose(relative_rate(fit_model(whole), codes), rate, rtol=1e-6)


def test_the_other_strand_gives_the_reversed_track(known):
    codes, log_rate = known
    codes = codes[:20_000].copy()
    codes[3_000:3_200] = UNKNOWN
    cuts = np.random.default_rng(2).poisson(np.exp(log_rate[:20_000]))
    background = np.arange(20_000) % 700 > 90
    model = fit_model(tally_pairs(codes, cuts, background))
    other = fit_model(tally_pairs(reverse_complement(codes), cuts[::-1], background[::-1]))
    assert np.allclose(other.log_ratio, model.log_ratio, atol=1e-9)
    rate, turned = relative_rate(model, codes), relative_rate(model, reverse_complement(codes))
    assert np.allclose(turned[::-1], rate, rtol=1e-6)
    assert np.ptp(rate) > 1


def test_letters_of_the_figure_are_frequencies_around_cuts_over_those_nearby(known):
    codes, log_rate = known
    cuts = np.exp(log_rate)
    found = fit_model(tally_pairs(codes, cuts, np.ones(len(codes), bool))).base_ratio
    both = [(codes, cuts), (reverse_complement(codes), cuts[::-1])]
    for offset in (-12, -2, 0, 3, 12):
        at = np.arange(200, len(codes) - 200)
        here = sum(np.bincount(c[at + offset], w[at], 4) for c, w in both)
        away = sum(np.bincount(c, minlength=4) for c, _ in both)
        expected = here / here.sum() / (away / away.sum())
        assert np.allclose(found[offset + REACH_BP], expected, rtol=0.02)


def test_without_cuts_nothing_is_preferred():
    codes = np.random.default_rng(4).integers(0, 4, 5_000).astype(np.uint8)
    model = fit_model(tally_pairs(codes, np.zeros(5_000), np.ones(5_000, bool)))
    assert np.allclose(relative_rate(model, codes), 1)


def test_unknown_bases_tell_nothing(known):
    codes, log_rate = known
    model = fit_model(tally_pairs(codes, np.exp(log_rate), np.ones(len(codes), bool)))
    assert np.array_equal(relative_rate(model, np.full(100, UNKNOWN, np.uint8)), np.ones(100, np.float32))
    island = np.full(60, UNKNOWN, np.uint8)
    island[20:40] = codes[1_000:1_020]
    rate = relative_rate(model, island)
    assert np.all(rate[:8] == 1) and np.all(rate[52:] == 1) and np.ptp(rate[20:40]) > 0


def test_no_background_is_refused():
    with pytest.raises(ValueError, match="no background"):
        fit_model(PairTally())
