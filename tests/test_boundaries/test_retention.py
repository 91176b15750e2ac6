"""R against a loop over single bases, in both directions, with masked bases and near other boundaries."""

import numpy as np
import pandas as pd
import pytest
from gate_worlds import CROSSINGS, DIRECTIONS, ArrayUnits, base_at, noise

from gatescope.boundaries.profile import ProfileShape, find_sites
from gatescope.boundaries.retention import (
    ScoredBases,
    WindowMeans,
    cohens_d,
    cut_windows,
    find_free,
    free_flank,
    half_life_bp,
    is_usable,
    log_forget,
    measure_windows,
    retention_ratio,
    usable_sites,
)
from oracles.slow_retention import kept_flank, place_of, slow_r, unmasked

SHAPE = ProfileShape(profile_bp=60, flank_bp=50, dip_bp=8)


def draw_state(length, rng, stretches=4):
    """Scored bases with a few masked stretches, one of them at the very start."""
    state = np.zeros(length, np.uint8)
    state[:7] = 255
    for start in rng.integers(0, length, stretches):
        state[start : start + int(rng.integers(1, 60))] = 255
    return state


def close_regions(lengths, rng):
    """Regions so close to each other that their edges lie in each other's flanks."""
    rows = []
    for contig, length in lengths.items():
        edges = np.cumsum(rng.integers(15, 110, length // 50))
        edges = edges[edges < length][: len(edges) // 2 * 2]
        rows += [(contig, *pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def world(seed, lengths, masked=True):
    """Regions, logits, scored bases and free stretches."""
    rng = np.random.default_rng(seed)
    regions = close_regions(lengths, rng)
    logits = {contig: noise((2, 1, length), rng, scale=2.0) for contig, length in lengths.items()}
    states = {
        contig: draw_state(n, rng) if masked else np.zeros(n, np.uint8) for contig, n in lengths.items()
    }
    bases = {contig: ScoredBases(state) for contig, state in states.items()}
    free = {}
    for contig, each in bases.items():
        edges = regions.loc[regions["chrom"] == contig, ["start", "end"]].to_numpy().ravel()
        free[contig] = find_free(each.places(edges), each.n, SHAPE.dip_bp)
    return regions, logits, states, bases, free


def cut(sites, bases, free, shape=SHAPE):
    return {
        contig: cut_windows(bases[contig].places(at), free[contig], bases[contig].n, shape)
        for contig, at in sites.positions.items()
    }


@pytest.mark.parametrize("direction", range(2))
@pytest.mark.parametrize("crossing", CROSSINGS)
def test_r_equals_a_loop(direction, crossing):
    lengths = {"a": 2501, "b": 1400}
    regions, logits, states, bases, free = world(3, lengths)
    sites = find_sites(regions, lengths, direction, crossing, SHAPE.profile_bp)
    used = usable_sites(sites, bases, free, SHAPE)
    means = measure_windows(ArrayUnits(logits), direction, [0], bases, {"x": cut(used, bases, free)})["x"]
    slow, n_close = [], 0
    for contig in sites.positions:
        scored = unmasked(states[contig])
        of_contig = regions[regions["chrom"] == contig]
        edges = [place_of(e, scored) for e in [*of_contig["start"], *of_contig["end"]]]
        for boundary in sites.positions[contig]:
            place = place_of(boundary, scored)
            kept = kept_flank(place, edges, SHAPE.flank_bp, SHAPE.dip_bp)
            near = range(boundary - SHAPE.dip_bp, boundary + SHAPE.dip_bp)
            fits = SHAPE.flank_bp <= place <= len(scored) - SHAPE.flank_bp
            if not (fits and set(near) <= set(scored) and len(kept) >= 2 * SHAPE.dip_bp):
                continue
            n_close += len(kept) < 2 * (SHAPE.flank_bp - SHAPE.dip_bp)
            slow.append(slow_r(place, kept, logits[contig][direction, 0, scored], SHAPE.dip_bp))
    assert len(slow) > 10 and n_close > 5 and used.n < sites.n
    assert used.n_dropped == sites.n_dropped + sites.n - used.n
    np.testing.assert_allclose(retention_ratio(means, SHAPE)[:, 0], slow, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("direction", range(2))
@pytest.mark.parametrize("crossing", CROSSINGS)
def test_windows_are_those_of_the_offsets(direction, crossing):
    """Near is the offsets [-dip_bp, dip_bp) of the glossary, whichever way the network reads."""
    lengths = {"a": 1000}
    regions, logits, _, bases, free = world(4, lengths, masked=False)
    region = regions.iloc[len(regions) // 2]
    sites = find_sites(regions.loc[[region.name]], lengths, direction, crossing, SHAPE.profile_bp)
    means = measure_windows(ArrayUnits(logits), direction, [0], bases, {"x": cut(sites, bases, free)})["x"]
    names = DIRECTIONS[direction], crossing
    near = [base_at(region, *names, offset) for offset in range(-SHAPE.dip_bp, SHAPE.dip_bp)]
    assert means.near[0, 0] == pytest.approx(log_forget(logits["a"][direction, 0, near]).mean(), rel=1e-10)


def test_a_constant_gate_gives_nothing_and_a_known_dip_what_it_should():
    logits = np.full((2, 1, 1000), 4.0)
    bases, free = ScoredBases(np.zeros(1000)), find_free(np.array([500]), 1000, 25)
    windows = {"x": {"a": cut_windows(np.array([500]), free, 1000, ProfileShape())}}
    flat = measure_windows(ArrayUnits({"a": logits}), 0, [0], {"a": bases}, windows)["x"]
    assert retention_ratio(flat, ProfileShape())[0, 0] == pytest.approx(0, abs=1e-9)
    f = 1 / (1 + np.exp(-4.0))
    assert half_life_bp(flat)[0] == pytest.approx(np.log(0.5) / np.log(f))
    logits[0, 0, 490:500] = (
        0.0  # ten bases of f = 1/2 instead of f: ten halvings less those there were anyway
    )
    fell = measure_windows(ArrayUnits({"a": logits}), 0, [0], {"a": bases}, windows)["x"]
    assert retention_ratio(fell, ProfileShape())[0, 0] == pytest.approx(-10 - 10 * np.log2(f))


def test_scored_bases_are_counted_as_a_list_would():
    rng = np.random.default_rng(5)
    for state in (draw_state(300, rng), np.zeros(20, np.uint8), np.full(20, 255, np.uint8)):
        bases, scored = ScoredBases(state), unmasked(state)
        assert bases.n == len(scored)
        values = rng.random(len(state))
        np.testing.assert_array_equal(bases.pick(values), values[scored])
        boundaries = np.arange(len(state) + 1)
        np.testing.assert_array_equal(bases.places(boundaries), [place_of(b, scored) for b in boundaries])
        unbroken = [
            p - 3 >= 0 and p + 3 <= len(scored) and scored[p + 2] - scored[p - 3] == 5
            for p in range(len(scored) + 1)
        ]
        np.testing.assert_array_equal(bases.is_unbroken(np.arange(len(scored) + 1), 3), unbroken)


def test_flanks_without_room_are_refused():
    """Regions wall to wall leave no flank: there is nothing to compare with."""
    edges = np.arange(100, 901, 10)
    free = find_free(edges, 1000, SHAPE.dip_bp)
    bases = ScoredBases(np.zeros(1000))
    assert not is_usable(np.array([500]), bases, free, SHAPE).any()
    assert free_flank(np.array([500, 30, 990]), free, 1000, SHAPE).tolist() == [0, 0, 0]
    assert is_usable(np.array([100]), bases, free, SHAPE).tolist() == [True]


def test_cohens_d_by_hand():
    near, flank = np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [6.0], [8.0]])
    pooled = np.sqrt((2 / 3 + 8 / 3) / 2)
    assert cohens_d(WindowMeans(near, flank))[0] == pytest.approx(-4 / pooled)
    assert cohens_d(WindowMeans(np.ones((3, 1)), np.zeros((3, 1))))[0] == 0
