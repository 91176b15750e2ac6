"""Moved boundaries and GC-matched places: what they may be, what they must not be, and that the seed decides."""

import numpy as np
import pandas as pd
import pytest
from gate_worlds import draw_codes, draw_regions

from gatescope.boundaries.controls import jitter_places, match_gc
from gatescope.boundaries.evidence import choose_unit
from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.retention import ScoredBases, find_free, is_usable

SHAPE = ProfileShape(profile_bp=60, flank_bp=50, dip_bp=10)
LENGTHS = {"a": 60_000, "b": 41_003}


@pytest.fixture(scope="module")
def genome():
    """GC-rich stretches, half of them regions; some masked bases."""
    rng = np.random.default_rng(1)
    rich = draw_regions(LENGTHS, rng, mean_gap_bp=400)
    codes, states = draw_codes(LENGTHS, rich, rng, inside=0.8), {}
    for contig, length in LENGTHS.items():
        states[contig] = np.zeros(length, np.uint8)
        for start in rng.integers(0, length, 40):
            states[contig][start : start + 30] = 255
    regions = rich.iloc[::2]
    bases = {contig: ScoredBases(state) for contig, state in states.items()}
    starts, edges, free = {}, {}, {}
    for contig, each in bases.items():
        of_contig = regions[regions["chrom"] == contig]
        starts[contig] = each.places(of_contig["start"].to_numpy())
        edges[contig] = each.places(of_contig[["start", "end"]].to_numpy().ravel())
        free[contig] = find_free(edges[contig], each.n, SHAPE.dip_bp)
        starts[contig] = starts[contig][is_usable(starts[contig], each, free[contig], SHAPE)]
    picked = {contig: each.pick(codes[contig]) for contig, each in bases.items()}
    return starts, edges, picked, bases, free


def gc_by_hand(codes, place):
    left, right = (codes[place + first : place + last] for first, last in ((-50, 0), (0, 50)))
    shares = [np.mean([code in (1, 2) for code in side]) for side in (left, right)]
    return shares[1] - shares[0], sum(shares) / 2


def test_places_are_like_their_boundary_and_far_from_every_edge(genome):
    starts, edges, codes, bases, free = genome
    found = match_gc(starts, codes, bases, free, SHAPE, np.random.default_rng(2))
    n = sum(map(len, starts.values()))
    assert 0.5 * n < len(found.real) <= n
    assert len(set(found.real.tolist())) == len(found.real)
    real = [(contig, place) for contig in starts for place in starts[contig]]
    names = list(starts)
    for k, index in enumerate(found.real):
        contig, place = real[index]
        step, content = gc_by_hand(codes[contig], place)
        other = names[found.contigs[k]]
        other_step, other_content = gc_by_hand(codes[other], found.places[k])
        assert abs(step - other_step) < 0.04 + 1e-9 and abs(content - other_content) < 0.04 + 1e-9
        assert (found.step[k], found.real_step[k]) == (pytest.approx(other_step), pytest.approx(step))
        assert np.abs(edges[other] - found.places[k]).min() >= SHAPE.flank_bp + SHAPE.dip_bp
        assert is_usable(found.places[k : k + 1], bases[other], free[other], SHAPE).all()
    for number in range(2):
        at = np.sort(found.places[found.contigs == number])
        assert np.diff(at).min() >= 2 * SHAPE.dip_bp  # near windows do not overlap
    # a step into GC-rich sequence on the right is one to the right at its match
    assert found.step.mean() == pytest.approx(found.real_step.mean(), abs=0.01) and found.step.mean() > 0.2


def test_the_seed_decides_and_nothing_else(genome):
    starts, _, codes, bases, free = genome
    one, two, other = (
        match_gc(starts, codes, bases, free, SHAPE, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.places, two.places)
    assert len(one.places) != len(other.places) or (one.places != other.places).any()


def test_nothing_is_like_a_boundary_that_is_like_nothing_else():
    """One step from A to C, and A elsewhere."""
    codes = {"a": np.repeat(np.array([0, 1, 0], np.uint8), [500, 100, 1400])}
    bases = {"a": ScoredBases(np.zeros(2000))}
    free = {"a": find_free(np.array([500, 600]), 2000, SHAPE.dip_bp)}
    found = match_gc({"a": np.array([500])}, codes, bases, free, SHAPE, np.random.default_rng(1))
    assert len(found.real) == 0


def test_where_no_place_is_far_from_every_edge_nothing_is_matched():
    edges = np.arange(60, 2000, 90)
    codes, bases = {"a": np.zeros(2000, np.uint8)}, {"a": ScoredBases(np.zeros(2000))}
    free = {"a": find_free(edges, 2000, SHAPE.dip_bp)}
    found = match_gc({"a": edges[1:3]}, codes, bases, free, SHAPE, np.random.default_rng(1))
    assert [len(each) for each in found] == [0] * 5


def test_jitter_moves_every_boundary_by_the_distance_to_either_side(genome):
    starts, _, _, bases, free = genome
    moved = jitter_places(starts, bases, free, SHAPE, 7, np.random.default_rng(5))
    to_sides = set()
    for contig, at in moved.items():
        nearest = np.abs(starts[contig][:, None] - at).argmin(0)
        steps = at - starts[contig][nearest]
        assert set(np.abs(steps)) == {7}
        to_sides |= set(steps.tolist())
        assert is_usable(at, bases[contig], free[contig], SHAPE).all()
    assert to_sides == {-7, 7}
    assert sum(map(len, moved.values())) > 0.8 * sum(map(len, starts.values()))


def test_a_contig_without_room_for_a_moved_boundary_is_left_out():
    bases = {"a": ScoredBases(np.zeros(130))}
    free = {"a": find_free(np.array([65]), 130, SHAPE.dip_bp)}
    assert jitter_places({"a": np.array([65])}, bases, free, SHAPE, 100, np.random.default_rng(1)) == {}


def test_the_most_negative_unit_that_holds_a_memory_is_chosen():
    effects = pd.DataFrame({"r_valid": [-1.0, -9.0, -3.0], "is_eligible_valid": [True, False, True]})
    assert choose_unit(effects) == 2
    assert choose_unit(effects.assign(is_eligible_valid=False)) == 1
