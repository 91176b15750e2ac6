"""The circular-shift null against a slow direct loop, and its calibration on autocorrelated tracks."""

import numpy as np
import pytest
from gate_worlds import CROSSINGS, ArrayUnits, draw_regions, noise
from scipy import stats

from gatescope.boundaries.null import CircularShiftNull, CircularSums
from gatescope.boundaries.profile import (
    ProfileShape,
    dip,
    drop,
    find_sites,
    gather,
    mean_profiles,
    offsets_of,
)
from gatescope.resample import draw_shifts, max_p, tail_p


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("length", [64, 101, 200])  # fast, prime, fast again
def test_circular_sums_equal_a_loop(length):
    rng = np.random.default_rng(length)
    track, boundaries = rng.random(length), rng.integers(0, length, 9)  # repeats allowed
    slow = [sum(track[(b + k) % length] for b in boundaries) for k in range(length)]
    np.testing.assert_allclose(CircularSums(boundaries, length)(track), slow, rtol=1e-12)


def slow_replicate(arrays, sites, lengths, shifts, profile_bp):
    """Shift every boundary, leave out windows across the seam, average base by base."""
    windows = []
    for contig, boundaries in sites.positions.items():
        length = lengths[contig]
        for boundary in boundaries:
            moved = (boundary + shifts[contig]) % length
            at = [
                moved + o if sites.direction == 0 else moved - 1 - o for o in range(-profile_bp, profile_bp)
            ]
            if min(at) >= 0 and max(at) < length:
                windows.append([sigmoid(arrays[contig][sites.direction, 0, base]) for base in at])
    return np.mean(windows, axis=0), len(windows)


@pytest.mark.parametrize("direction", range(2))
@pytest.mark.parametrize("crossing", CROSSINGS)
def test_replicates_equal_a_slow_loop(direction, crossing):
    lengths, profile_bp = {"a": 1501, "b": 1200, "c": 400}, 40
    rng = np.random.default_rng(5)
    regions = draw_regions(lengths, rng, mean_gap_bp=150, mean_width_bp=40)
    arrays = {contig: noise((2, 1, length), rng, scale=2.0) for contig, length in lengths.items()}
    drawn = draw_shifts(list(lengths.values()), 60, rng)
    shifts = {contig: drawn[:, column] for column, contig in enumerate(lengths)}
    sites = find_sites(regions, lengths, direction, crossing, profile_bp)
    got = CircularShiftNull(sites, lengths, shifts, profile_bp).profiles(ArrayUnits(arrays), 0)
    kept = []
    for replicate in range(60):
        moved = {contig: shift[replicate] for contig, shift in shifts.items()}
        slow, n = slow_replicate(arrays, sites, lengths, moved, profile_bp)
        np.testing.assert_allclose(got[replicate], slow, rtol=1e-10)
        kept.append(n)
    assert min(kept) < sites.n  # the seam was met


def test_no_shift_is_the_observed_profile():
    lengths = {"a": 3000}
    rng = np.random.default_rng(6)
    regions = draw_regions(lengths, rng, 200, 50)
    arrays = {"a": noise((2, 1, 3000), rng)}
    sites = find_sites(regions, lengths, 1, "entry", 50)
    null = CircularShiftNull(sites, lengths, {"a": np.array([0])}, 50).profiles(ArrayUnits(arrays), 0)
    np.testing.assert_allclose(null[0], mean_profiles(ArrayUnits(arrays), sites, 0, 50).forget, rtol=1e-11)


def test_a_replicate_that_would_lose_every_window_keeps_them():
    lengths = {"a": 1000}
    regions = draw_regions(lengths, np.random.default_rng(1), 400, 50).head(1)
    sites = find_sites(regions, lengths, 0, "entry", 50)
    onto_seam = 1000 - sites.positions["a"][0]
    null = CircularShiftNull(sites, lengths, {"a": np.array([onto_seam, 0])}, 50)
    track = noise((2, 1, 1000), np.random.default_rng(2))
    got = null.profiles(ArrayUnits({"a": track}), 0)
    np.testing.assert_allclose(got[0], sigmoid(np.roll(track[0, 0], 50)[:100]), rtol=1e-10)


def test_the_null_keeps_its_level_where_a_t_test_does_not():
    """Autocorrelated gates with nothing at the boundaries: about 5 % of 200 worlds may look significant."""
    lengths, shape = {"a": 12_000, "b": 9_001}, ProfileShape(profile_bp=100, flank_bp=100, dip_bp=10)
    n_worlds, n_units, n_shifts = 200, 3, 99
    rejections = dict.fromkeys(("drop", "dip", "any unit", "t-test"), 0)
    rng = np.random.default_rng(20)
    tracks = {
        contig: noise((n_worlds, 2, n_units, n), rng, tau_bp=50, scale=1.5) for contig, n in lengths.items()
    }
    for world in range(n_worlds):
        units = ArrayUnits({contig: track[world] for contig, track in tracks.items()})
        sites = find_sites(
            draw_regions(lengths, rng, 500, 60), lengths, world % 2, CROSSINGS[world // 2 % 2], 100
        )
        drawn = draw_shifts(list(lengths.values()), n_shifts, rng)
        shifts = {contig: drawn[:, column] for column, contig in enumerate(lengths)}
        null = CircularShiftNull(sites, lengths, shifts, 100)
        replicates = np.stack([null.profiles(units, unit) for unit in range(n_units)], axis=1)
        observed = np.stack([mean_profiles(units, sites, unit, 100).forget for unit in range(n_units)])
        falls, null_falls = drop(observed, shape), drop(replicates, shape)
        rejections["drop"] += tail_p(falls, null_falls)[0] <= 0.05
        rejections["dip"] += tail_p(-dip(observed, shape), -dip(replicates, shape))[0] <= 0.05
        rejections["any unit"] += max_p(falls, null_falls).min() <= 0.05
        each = sigmoid(gather(units, sites, 0, offsets_of(100)))
        near, flank = each[:, 90:110].ravel(), np.r_[each[:, :90].ravel(), each[:, 110:].ravel()]
        rejections["t-test"] += (
            stats.ttest_ind(near, flank, equal_var=False, alternative="less").pvalue <= 0.05
        )
    # binomial(200, 0.05) is within [2, 20] in 99.9 % of cases
    assert all(2 <= rejections[name] <= 20 for name in ("drop", "dip", "any unit")), rejections
    assert rejections["t-test"] > 40, rejections
