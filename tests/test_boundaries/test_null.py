"""Every shifted R against boundaries that are literally moved along the unmasked circle; its level on noise."""

import numpy as np
import pytest
from gate_worlds import CROSSINGS, ArrayUnits, draw_regions, noise
from scipy import stats
from test_retention import cut, world

from gatescope.boundaries.null import draw_contig_shifts, shift_windows
from gatescope.boundaries.profile import ProfileShape, find_sites, gather, offsets_of
from gatescope.boundaries.retention import (
    ScoredBases,
    cut_windows,
    find_free,
    measure_windows,
    retention_ratio,
    usable_sites,
)
from gatescope.resample import max_p, two_sided_p
from oracles.slow_retention import kept_flank, place_of, slow_r, unmasked

SHAPE = ProfileShape(profile_bp=60, flank_bp=50, dip_bp=8)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def slow_replicate(sites, regions, logits, states, shifts):
    """Move every boundary along the circle of scored bases, leave out windows across the seam, average."""
    r, forget, n = [], [], 0
    for contig, boundaries in sites.positions.items():
        scored = unmasked(states[contig])
        circle = logits[contig][sites.direction, 0, scored]
        of_contig = regions[regions["chrom"] == contig]
        edges = [place_of(e, scored) for e in [*of_contig["start"], *of_contig["end"]]]
        for boundary in boundaries:
            place = place_of(boundary, scored)
            kept = kept_flank(place, edges, SHAPE.flank_bp, SHAPE.dip_bp)
            moved = (place + shifts[contig]) % len(scored)
            forget.append(sigmoid(circle[moved]))
            if SHAPE.flank_bp <= moved <= len(scored) - SHAPE.flank_bp:
                r.append(slow_r(moved, kept, circle, SHAPE.dip_bp))
            n += 1
    return np.mean(r), np.mean(forget), n - len(r)


@pytest.mark.parametrize("direction", range(2))
@pytest.mark.parametrize("crossing", CROSSINGS)
def test_every_shifted_r_equals_a_loop(direction, crossing):
    lengths = {"a": 901, "b": 700, "c": 260}
    regions, logits, states, bases, free = world(8, lengths)
    sites = usable_sites(
        find_sites(regions, lengths, direction, crossing, SHAPE.profile_bp), bases, free, SHAPE
    )
    shifts = draw_contig_shifts(bases, 25, np.random.default_rng(1))
    windows = {"x": cut(sites, bases, free)}
    got = shift_windows(ArrayUnits(logits), direction, [0], bases, windows, shifts, SHAPE)["x"]
    lost = []
    for replicate in range(25):
        moved = {contig: int(each[replicate]) for contig, each in shifts.items()}
        r, forget, across = slow_replicate(sites, regions, logits, states, moved)
        assert got.r[replicate, 0] == pytest.approx(r, rel=1e-9, abs=1e-11)
        assert got.forget[replicate, 0] == pytest.approx(forget, rel=1e-10)
        lost.append(across)
    assert max(lost) > 0  # the seam was met


def test_no_shift_is_what_was_observed():
    lengths = {"a": 2000, "b": 900}
    regions, logits, _, bases, free = world(6, lengths)
    sites = usable_sites(find_sites(regions, lengths, 1, "entry", 60), bases, free, SHAPE)
    windows, zero = {"x": cut(sites, bases, free)}, dict.fromkeys(lengths, np.array([0]))
    observed = measure_windows(ArrayUnits(logits), 1, [0], bases, windows)["x"]
    null = shift_windows(ArrayUnits(logits), 1, [0], bases, windows, zero, SHAPE)["x"]
    assert null.r[0, 0] == pytest.approx(retention_ratio(observed, SHAPE).mean(), rel=1e-11)


def test_units_and_sets_do_not_depend_on_what_is_read_beside_them():
    """A block of units gives what each gives alone."""
    lengths = {"a": 900}
    regions, _, _, bases, free = world(7, lengths)
    units = ArrayUnits({"a": noise((2, 3, 900), np.random.default_rng(1))})
    sites = {c: usable_sites(find_sites(regions, lengths, 0, c, 60), bases, free, SHAPE) for c in CROSSINGS}
    windows = {crossing: cut(each, bases, free) for crossing, each in sites.items()}
    shifts = draw_contig_shifts(bases, 9, np.random.default_rng(2))
    together = shift_windows(units, 0, range(3), bases, windows, shifts, SHAPE, threads=2)
    for crossing in CROSSINGS:
        for unit in range(3):
            one = {crossing: windows[crossing]}
            alone = shift_windows(units, 0, [unit], bases, one, shifts, SHAPE)[crossing]
            np.testing.assert_array_equal(alone.r[:, 0], together[crossing].r[:, unit])


def test_a_replicate_that_loses_every_window_is_no_number():
    bases, places = ScoredBases(np.zeros(1000)), np.array([300])
    free = find_free(places, 1000, SHAPE.dip_bp)
    windows = {"x": {"a": cut_windows(places, free, 1000, SHAPE)}}
    units = ArrayUnits({"a": noise((2, 1, 1000), np.random.default_rng(3))})
    shifts = {"a": np.array([700, 0])}  # the first moves the boundary onto the seam
    found = shift_windows(units, 0, [0], {"a": bases}, windows, shifts, SHAPE)["x"]
    assert np.isnan(found.r[:, 0]).tolist() == [True, False]


def test_a_masked_contig_has_no_shift():
    bases = {"a": ScoredBases(np.full(50, 255)), "b": ScoredBases(np.zeros(40))}
    shifts = draw_contig_shifts(bases, 200, np.random.default_rng(1))
    assert list(shifts) == ["b"] and set(shifts["b"]) <= set(range(40)) and shifts["b"].max() > 30


def test_the_null_keeps_its_level_where_a_t_test_does_not():
    """Autocorrelated gates with nothing at the boundaries: about 5 % of 200 worlds may look significant."""
    lengths, shape = {"a": 6_000, "b": 4_501}, ProfileShape(profile_bp=100, flank_bp=100, dip_bp=10)
    n_worlds, n_units, n_shifts = 200, 3, 99
    rejections = dict.fromkeys(("one unit", "any unit", "t-test"), 0)
    rng = np.random.default_rng(20)
    tracks = {
        contig: noise((n_worlds, 2, n_units, n), rng, tau_bp=50, scale=1.5) for contig, n in lengths.items()
    }
    bases = {contig: ScoredBases(np.zeros(n)) for contig, n in lengths.items()}
    for number in range(n_worlds):
        units = ArrayUnits({contig: track[number] for contig, track in tracks.items()})
        regions, direction = draw_regions(lengths, rng, 500, 60), number % 2
        free = {}
        for contig, n in lengths.items():
            edges = regions.loc[regions["chrom"] == contig, ["start", "end"]].to_numpy().ravel()
            free[contig] = find_free(edges, n, 10)
        sites = find_sites(regions, lengths, direction, CROSSINGS[number // 2 % 2], 100)
        sites = usable_sites(sites, bases, free, shape)
        windows = {"x": cut(sites, bases, free, shape)}
        shifts = draw_contig_shifts(bases, n_shifts, rng)
        which = range(n_units)
        r = retention_ratio(measure_windows(units, direction, which, bases, windows)["x"], shape)
        null = shift_windows(units, direction, which, bases, windows, shifts, shape)["x"].r
        rejections["one unit"] += two_sided_p(r.mean(0), null)[0] <= 0.05
        rejections["any unit"] += max_p(r.mean(0), null).min() <= 0.05
        each = sigmoid(gather(units, sites, 0, offsets_of(100)))
        near, flank = each[:, 90:110].ravel(), np.r_[each[:, :90].ravel(), each[:, 110:].ravel()]
        rejections["t-test"] += stats.ttest_ind(near, flank, equal_var=False).pvalue <= 0.05
    # binomial(200, 0.05) is within [2, 20] in 99.9 % of cases
    assert all(2 <= rejections[name] <= 20 for name in ("one unit", "any unit")), rejections
    assert rejections["t-test"] > 40, rejections
