"""Half-lives to the last digit, horizons to the last base, whatever the chunks and however long the contig."""

import math
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kurtosis, skew

from gatescope.trace.census import GateCensus
from gatescope.trace.memory import (
    CAP_BP,
    BackwardHorizons,
    backward_horizon,
    forward_horizon,
    half_life,
    hidden_memory,
    log_forget,
    write_magnitude,
)

GRID = np.concatenate([np.linspace(-30, 30, 241), [1e-9, -1e-9, 29.999, 17.3]])


def exact_log_forget(logit):
    """ln sigmoid(z) = -ln(1 + e^-z) to 60 digits."""
    with localcontext() as context:
        context.prec = 60
        return -(1 + (-Decimal(float(logit))).exp()).ln()


def logit_of(half_life_bp):
    """Logit of the gate that keeps half over so many bp: z = ln f - ln(1 - f)."""
    log_f = -math.log(2) / np.asarray(half_life_bp, float)
    return log_f - np.log(-np.expm1(log_f))


def brute_backward(logits):
    """Add exact fractions base by base, back from every base."""
    rates = [Fraction(float(-exact_log_forget(z))) for z in logits]
    half, spans = Fraction(math.log(2) * (1 - 1e-12)), []
    for t in range(len(rates)):
        total, span = Fraction(0), math.nan
        for k in range(1, t + 2):
            total += rates[t - k + 1]
            if total >= half:
                span = k
                break
        spans.append(span)
    return np.array(spans)


def brute_forward(logits):
    rates = [Fraction(float(-exact_log_forget(z))) for z in logits]
    half, spans = Fraction(math.log(2) * (1 - 1e-12)), []
    for t in range(len(rates)):
        total, span = Fraction(0), math.nan
        for k in range(1, len(rates) - t):
            total += rates[t + k]
            if total >= half:
                span = k
                break
        spans.append(span)
    return np.array(spans)


def mixed_logits(length, seed=0, slow=10.0):
    """A gate with resets, fast stretches, and stretches that forget next to nothing."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.choice([-2.0, 1.0, 4.0, slow], length // 50 + 1), 50)[:length]
    return level + rng.normal(0, 1, length)


def test_log_forget_is_exact_where_the_naive_formula_is_not():
    for z in GRID:
        exact = exact_log_forget(z)
        assert abs(Decimal(float(log_forget(z))) / exact - 1) < Decimal("5e-16"), z
    assert list(log_forget([np.inf, 800.0, -800.0, -np.inf])) == [0.0, 0.0, -800.0, -np.inf]


def test_half_life_is_right_to_the_last_digits_for_logits_to_30():
    spans = half_life(GRID, cap_bp=math.inf).bp
    for z, bp in zip(GRID, spans, strict=True):
        with localcontext() as context:
            context.prec = 60
            exact = -Decimal(2).ln() / exact_log_forget(z)
        assert abs(Decimal(float(bp)) / exact - 1) < Decimal("1e-15"), z


@pytest.mark.parametrize(
    ("f", "bp"), [(0.5, 1), (0.9, 6.58), (0.99, 68.97), (0.999, 692.8), (0.9999, 6931.1)]
)
def test_half_lives_that_everybody_knows(f, bp):
    assert half_life(math.log(f / (1 - f))).bp == pytest.approx(bp, rel=1e-3)


def test_the_cap_is_what_float32_can_hold_and_is_stated():
    spans = half_life(np.array([30.0, np.inf, 5.0, -np.inf, np.nan]))
    assert list(spans.bp[[0, 1, 3]]) == [CAP_BP, CAP_BP, 0]
    assert list(spans.is_capped) == [True, True, False, False, False]
    assert list(spans.is_censored) == [False, False, False, False, True]
    assert (spans.cap_bp, spans.is_capped.mean(), spans.is_censored.mean()) == (CAP_BP, 0.4, 0.2)
    assert np.float32(CAP_BP) == CAP_BP
    assert np.float32(CAP_BP + 1) == CAP_BP
    assert math.log(0.5) / math.log(np.nextafter(np.float32(1), np.float32(0))) < CAP_BP


def test_half_life_does_not_depend_on_the_bin_size():
    """A gate that acts once per bin of b bp keeps f^b; its half-life in bp is the same."""
    for bin_bp in (2, 10, 128):
        log_f = bin_bp * log_forget(GRID[GRID > 0])
        binned = log_f - np.log(-np.expm1(log_f))
        one = half_life(GRID[GRID > 0], math.inf).bp
        np.testing.assert_allclose(half_life(binned, math.inf).bp * bin_bp, one, rtol=1e-9)


@pytest.mark.parametrize("bp", [1, 2, 3, 7, 10, 49, 69, 500, 1000, 4999])
def test_a_constant_half_life_of_k_is_a_horizon_of_exactly_k(bp):
    logits = np.full(3 * bp, logit_of(bp))
    assert np.array_equal(backward_horizon(logits).bp, [math.nan] * (bp - 1) + [bp] * (2 * bp + 1), True)
    assert np.array_equal(forward_horizon(logits).bp, [bp] * (2 * bp) + [math.nan] * bp, True)


@pytest.mark.parametrize("z", [-30.0, -3.0, 0.0, 0.3, 2.0, 5.5, 8.25, 11.19])
def test_a_constant_gate_has_the_horizon_of_the_closed_form(z):
    with localcontext() as context:
        context.prec = 60
        bp = max(1, math.ceil(-Decimal(2).ln() / exact_log_forget(z) * (1 - Decimal("1e-12"))))
    logits = np.full(bp + 50, z)
    assert set(backward_horizon(logits).bp[bp - 1 :]) == {bp}
    assert set(forward_horizon(logits).bp[:50]) == {bp}
    assert np.isnan(backward_horizon(logits).bp[: bp - 1]).all()


@pytest.mark.parametrize("direction", ["fwd", "rev"])
def test_horizons_equal_brute_force_in_exact_fractions(direction):
    logits = np.stack([mixed_logits(400, seed) for seed in range(3)])
    backward = backward_horizon(logits, direction=direction).bp
    forward = forward_horizon(logits, direction=direction).bp
    for row in range(3):
        read = logits[row] if direction == "fwd" else logits[row, ::-1]
        for got, brute in ((backward, brute_backward), (forward, brute_forward)):
            expected = brute(read)
            expected = expected if direction == "fwd" else expected[::-1]
            np.testing.assert_array_equal(got[row], expected)
    assert np.nanmax(backward) > 100 and np.nanmin(backward) == 1


def test_rev_looks_to_the_right():
    logits = np.full(100, 30.0)
    logits[60] = -30.0  # one base that erases everything
    assert np.nanargmin(backward_horizon(logits, direction="rev").bp) == 60
    assert backward_horizon(logits, direction="rev").bp[50] == 11  # bases 50 .. 60
    assert forward_horizon(logits, direction="rev").bp[70] == 10  # bases 69 .. 60
    assert np.isnan(backward_horizon(logits, direction="rev").bp[61:]).all()
    assert np.isnan(forward_horizon(logits, direction="rev").bp[:61]).all()


def test_what_survives_k_bases_forward_is_seen_k_bases_back():
    """Written at s, half gone by s + k: forward(s) <= k exactly where backward(s + k) <= k."""
    logits = mixed_logits(3000, seed=5)
    backward, forward = backward_horizon(logits).bp, forward_horizon(logits).bp
    for k in (1, 2, 3, 10, 40, 200):
        assert np.array_equal(forward[:-k] <= k, backward[k:] <= k), k


def test_horizon_of_bins_brackets_the_horizon_of_bases():
    """Where gates are constant within bins, counting bins rounds the horizon up to whole bins."""
    rng, bin_bp = np.random.default_rng(2), 10
    logits = rng.normal(5, 1, 400)
    log_f = bin_bp * log_forget(logits)
    bins = backward_horizon(log_f - np.log(-np.expm1(log_f))).bp
    bases = backward_horizon(np.repeat(logits, bin_bp)).bp[bin_bp - 1 :: bin_bp]
    known = ~np.isnan(bins)
    assert np.array_equal(known, ~np.isnan(bases)) and known.sum() > 300
    np.testing.assert_array_equal(np.ceil(bases[known] / bin_bp), bins[known])


def in_chunks(stream, logits, sizes):
    parts, start = [], 0
    while start < len(logits):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.take(logits[start : start + size]))
        start += size
    return np.concatenate(parts)


@pytest.mark.parametrize("cap_bp", [CAP_BP, 5000, 30])
@pytest.mark.parametrize("sizes", [[1], [997], [4096], [1, 7, 5000, 0, 64], [10**9]])
def test_horizons_do_not_depend_on_the_chunks(sizes, cap_bp):
    logits = mixed_logits(20_000, seed=7, slow=14.0)
    logits[3000:6000] = 60.0  # adds nothing: ties
    logits = logits[:3000] if sizes == [1] else logits
    whole = backward_horizon(logits, cap_bp=cap_bp).bp
    np.testing.assert_array_equal(in_chunks(BackwardHorizons(cap_bp), logits, sizes), whole)


def test_streams_keep_no_more_than_the_horizon_and_a_chunk():
    backward = BackwardHorizons()
    for _ in range(50):
        backward.take(np.full(1000, logit_of(2500)))
    assert sum(len(keys) for _, keys in backward._past) <= 2500 + 2 * 1000
    capped = BackwardHorizons(cap_bp=2000)
    for _ in range(50):
        capped.take(np.full(1000, 40.0))
    assert sum(len(keys) for _, keys in capped._past) <= 2000 + 2 * 1000


def test_nothing_cancels_at_the_far_end_of_a_long_contig():
    """A million bases of steep forgetting come first; plain float64 prefix sums go wrong from there on."""
    bp, span = 8_000_000, 1_000_000
    slow = np.full(span + 50, logit_of(bp))
    # `span` bases at half-life `bp`, and one base that makes up for what they lack
    logits = np.concatenate([np.full(1_000_000, -40.0), slow, [logit_of(bp / (bp - span))]])
    plain = np.cumsum(np.minimum(-log_forget(logits), 1.0))
    naive = len(plain) - np.searchsorted(plain, plain[-1] - math.log(2) * (1 - 1e-12), side="right")
    assert naive != span + 1
    assert in_chunks(BackwardHorizons(), logits, [100_000])[-1] == span + 1


def test_capped_and_censored_are_told_apart():
    logits = np.full(100, 20.0)
    backward, forward = backward_horizon(logits, cap_bp=30), forward_horizon(logits, cap_bp=30)
    assert np.array_equal(backward.is_censored, np.arange(100) < 29)
    assert np.array_equal(forward.is_censored, np.arange(100) > 69)
    assert (backward.bp[29:] == 30).all() and (forward.bp[:70] == 30).all()
    assert (backward.is_capped.mean(), backward.is_censored.mean()) == (0.71, 0.29)


@pytest.mark.parametrize("horizon", [backward_horizon, forward_horizon])
def test_gates_stuck_open_or_shut(horizon):
    assert np.isnan(horizon(np.full(50, np.inf)).bp).all()
    assert set(horizon(np.full(50, -np.inf)).bp[1:-1]) == {1}
    assert horizon(np.zeros((2, 0))).bp.shape == (2, 0)


@pytest.mark.parametrize("horizon", [backward_horizon, forward_horizon])
def test_a_missing_gate_is_refused(horizon):
    with pytest.raises(ValueError, match="not a number"):
        horizon(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="direction"):
        horizon(np.zeros(3), direction="reverse")


def test_float32_memory_maps_are_read_as_they_are(tmp_path):
    logits = mixed_logits(2000).astype(np.float32).reshape(2, 1000)
    np.save(tmp_path / "units.npy", logits)
    mapped = np.load(tmp_path / "units.npy", mmap_mode="r")
    for direction in ("fwd", "rev"):
        expected = backward_horizon(logits.astype(float), direction=direction).bp
        np.testing.assert_array_equal(backward_horizon(mapped, direction=direction).bp, expected)


def test_write_magnitude_is_input_gate_times_candidate():
    z, g = np.linspace(-30, 30, 61), np.linspace(-1, 1, 61)
    expected = [abs(c) / (1 + math.exp(-a)) for a, c in zip(z, g, strict=True)]
    np.testing.assert_allclose(write_magnitude(z, g), expected, rtol=1e-14)


def test_hidden_memory_is_what_the_output_gate_holds_back():
    rng = np.random.default_rng(0)
    cell, o = rng.normal(0, 3, 500), rng.uniform(0, 1, 500)
    expected = (1 - o) * np.abs(np.tanh(cell))
    np.testing.assert_allclose(hidden_memory(cell, o * np.tanh(cell)), expected, atol=1e-15)


def census_of(logits, hidden):
    return GateCensus.of(expit(logits), hidden)


def test_census_counts_saturation_and_merges_over_chunks():
    logits = np.stack([mixed_logits(5000, seed) for seed in range(3)])
    gate = 1 / (1 + np.exp(-logits))
    hidden = np.random.default_rng(9).normal(3, [[0], [1e-3], [2]], logits.shape)
    whole, merged = census_of(logits, hidden), census_of(logits[:, :1], hidden[:, :1])
    for start, end in ((1, 2), (2, 1000), (1000, 1003), (1003, 5000)):
        merged = merged.merged(census_of(logits[:, start:end], hidden[:, start:end]))
    for census in (whole, merged):
        assert census.count == 5000
        np.testing.assert_array_equal(census.share_low, (gate < 0.1).mean(1))
        np.testing.assert_array_equal(census.share_high, (gate > 0.9).mean(1))
        np.testing.assert_allclose(census.mean, gate.mean(1), rtol=1e-12)
        s, k = skew(gate, axis=1, bias=False), kurtosis(gate, axis=1, bias=False)
        expected = (s**2 + 1) / (k + 3 * 4999**2 / (4998 * 4997))
        np.testing.assert_allclose(census.bimodality, expected, rtol=1e-11)
        np.testing.assert_allclose(census.hidden_mean, hidden.mean(1), rtol=1e-12)
        np.testing.assert_allclose(census.hidden_sd, hidden.std(1), rtol=1e-9, atol=1e-12)


def test_bimodality_tells_digital_gates_from_analog_ones():
    rng = np.random.default_rng(4)
    uniform = rng.uniform(0, 1, 200_000)
    normal = np.clip(rng.normal(0.5, 0.1, 200_000), 0.01, 0.99)
    digital = rng.choice([0.02, 0.98], 200_000)
    gates = np.stack([uniform, normal, digital])
    census = GateCensus.of(gates, gates)
    np.testing.assert_allclose(census.bimodality, [5 / 9, 1 / 3, 1], atol=0.01)


def test_bimodality_of_a_gate_that_never_moves_is_not_a_number():
    logits = np.stack([np.full(100, 2.2), np.linspace(-1, 1, 100)])
    census = census_of(logits, logits)
    assert np.isnan(census.bimodality[0]) and np.isfinite(census.bimodality[1])
    assert np.isnan(census_of(np.array([-1.0, 0.0, 1.0]), np.zeros(3)).bimodality).all()


def test_memory_and_provenance_do_not_need_torch():
    code = "import sys, gatescope.trace.memory, gatescope.trace.provenance; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
