"""Profiles and effect sizes against planted events, slow loops and a mirrored genome."""

import math

import numpy as np
import pandas as pd
import pytest
from gate_worlds import (
    HIGH,
    LOW,
    ArrayUnits,
    base_at,
    draw_regions,
    make_world,
    noise,
    plant,
)
from hypothesis import given
from hypothesis import strategies as st

from gatescope.boundaries.profile import (
    ProfileShape,
    dip,
    drop,
    drop_offset,
    find_sites,
    flank_mean,
    gather,
    lowest_offset,
    mean_profiles,
    offsets_of,
    unit_profiles,
)
from gatescope.errors import InputError
from gatescope.genome.crossings import CROSSINGS
from gatescope.trace.units import DIRECTIONS, UnitStore

SHAPE = ProfileShape(profile_bp=120, flank_bp=100, dip_bp=25)
LENGTHS = {"a": 9000, "b": 7001}
CASES = [(direction, crossing) for direction in DIRECTIONS for crossing in CROSSINGS]


def sites_of(regions, direction, crossing, lengths=LENGTHS):
    return find_sites(regions, lengths, DIRECTIONS.index(direction), crossing, SHAPE.profile_bp)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.fixture
def regions():
    drawn = draw_regions(LENGTHS, np.random.default_rng(3))
    far_in = (drawn["start"] > 200) & (drawn["end"] < drawn["chrom"].map(LENGTHS.get) - 200)
    near_ends = pd.DataFrame({"chrom": ["a", "a"], "start": [30, 8930], "end": [80, 8990]})
    return pd.concat([drawn[far_in], near_ends], ignore_index=True)


@pytest.mark.parametrize(("direction", "crossing"), CASES)
@pytest.mark.parametrize("offset", [0, 7, 24])
def test_a_planted_fall_is_found_at_its_offset_and_nowhere_else(regions, direction, crossing, offset):
    arrays = {contig: np.full((2, 1, length), HIGH) for contig, length in LENGTHS.items()}
    plant(arrays, regions, direction, crossing, 0, offset)
    sites = sites_of(regions, direction, crossing)
    profile = mean_profiles(ArrayUnits(arrays), sites, 0, SHAPE.profile_bp).forget
    at = SHAPE.profile_bp + offset
    assert profile[at] == pytest.approx(sigmoid(LOW))
    assert profile.argmin() == at
    assert drop_offset(profile, SHAPE) == offset
    assert drop(profile, SHAPE) == pytest.approx(flank_mean(profile, SHAPE) - sigmoid(LOW))
    for other in set(CASES) - {(direction, crossing)}:
        elsewhere = mean_profiles(ArrayUnits(arrays), sites_of(regions, *other), 0, SHAPE.profile_bp).forget
        assert elsewhere.min() > sigmoid(LOW) + 0.2


@pytest.mark.parametrize(("direction", "crossing"), CASES)
def test_profiles_equal_a_loop_over_regions_and_offsets(regions, direction, crossing):
    rng = np.random.default_rng(8)
    arrays = {contig: noise((2, 2, length), rng, scale=2.0) for contig, length in LENGTHS.items()}
    sums, n, n_left_out = np.zeros((3, 2 * SHAPE.profile_bp)), 0, 0
    for region in regions.itertuples():
        at = [base_at(region, direction, crossing, offset) for offset in range(-120, 120)]
        if min(at) < 0 or max(at) >= LENGTHS[region.chrom]:
            n_left_out += 1
            continue
        n += 1
        for column, base in enumerate(at):
            logit = arrays[region.chrom][DIRECTIONS.index(direction), 1, base]
            sums[:, column] += sigmoid(logit), logit, math.log(sigmoid(logit))
    sites = sites_of(regions, direction, crossing)
    assert (sites.n, sites.n_dropped) == (n, n_left_out)
    assert n_left_out == 2
    got = mean_profiles(ArrayUnits(arrays), sites, 1, SHAPE.profile_bp)
    np.testing.assert_allclose(np.array(got), sums / n, rtol=1e-12)


def test_reading_a_mirrored_genome_the_other_way_changes_nothing(regions):
    rng = np.random.default_rng(9)
    arrays = {contig: noise((2, 1, length), rng, tau_bp=5) for contig, length in LENGTHS.items()}
    mirrored = {contig: array[::-1, :, ::-1] for contig, array in arrays.items()}
    length = regions["chrom"].map(LENGTHS.get)
    turned = regions.assign(start=length - regions["end"], end=length - regions["start"])
    for crossing in CROSSINGS:
        for direction, other in (("fwd", "rev"), ("rev", "fwd")):
            here, there = sites_of(regions, direction, crossing), sites_of(turned, other, crossing)
            one = mean_profiles(ArrayUnits(arrays), here, 0, SHAPE.profile_bp)
            two = mean_profiles(ArrayUnits(mirrored), there, 0, SHAPE.profile_bp)
            np.testing.assert_allclose(np.array(one), np.array(two), rtol=1e-12, atol=1e-15)
            assert here.n_dropped == there.n_dropped


def test_regions_of_other_contigs_are_not_looked_at(regions):
    only_a = sites_of(regions, "fwd", "entry", {"a": LENGTHS["a"]})
    assert list(only_a.positions) == ["a"]
    assert only_a.n + only_a.n_dropped == (regions["chrom"] == "a").sum()


def test_more_boundaries_than_fit_in_one_chunk(monkeypatch, regions):
    arrays = {contig: noise((2, 1, n), np.random.default_rng(1)) for contig, n in LENGTHS.items()}
    sites = sites_of(regions, "rev", "exit")
    whole = gather(ArrayUnits(arrays), sites, 0, offsets_of(10))
    monkeypatch.setattr("gatescope.boundaries.profile._CHUNK", 3)
    np.testing.assert_array_equal(gather(ArrayUnits(arrays), sites, 0, offsets_of(10)), whole)


@given(st.integers(0, 2**32 - 1))
def test_effect_sizes_equal_their_definitions_in_words(seed):
    profile = np.random.default_rng(seed).random(2 * SHAPE.profile_bp)
    by_offset = dict(zip(range(-120, 120), profile, strict=True))
    before = np.mean([by_offset[offset] for offset in range(-100, -25)])
    after = [by_offset[offset] for offset in range(25)]
    assert drop(profile, SHAPE) == pytest.approx(before - min(after))
    assert by_offset[int(drop_offset(profile, SHAPE))] == min(after)
    near = [by_offset[offset] for offset in range(-25, 25)]
    assert by_offset[int(lowest_offset(profile, SHAPE))] == min(near)
    flanks = [by_offset[offset] for offset in [*range(-100, -25), *range(25, 100)]]
    assert dip(profile, SHAPE) == pytest.approx(np.mean(near) - np.mean(flanks))


def test_signs():
    profile = np.full(2 * SHAPE.profile_bp, 0.9)
    assert (drop(profile, SHAPE), dip(profile, SHAPE)) == (pytest.approx(0), pytest.approx(0))
    profile[SHAPE.profile_bp + 3] = 0.2
    assert drop(profile, SHAPE) > 0 > dip(profile, SHAPE)
    rising = 1 - profile
    assert drop(rising, SHAPE) <= 0 < dip(rising, SHAPE)


def test_the_far_flank_alone_sets_the_level():
    """A fall before the boundary is not a fall beyond it: it may come from look-ahead."""
    profile = np.full(2 * SHAPE.profile_bp, 0.9)
    profile[SHAPE.profile_bp - 20] = 0.1
    assert drop(profile, SHAPE) == pytest.approx(0)
    assert lowest_offset(profile, SHAPE) == -20


def test_log_forget_is_exact_where_the_gate_rounds_to_one(regions):
    arrays = {contig: np.full((2, 1, length), 60.0) for contig, length in LENGTHS.items()}
    got = mean_profiles(ArrayUnits(arrays), sites_of(regions, "fwd", "entry"), 0, SHAPE.profile_bp)
    np.testing.assert_allclose(got.log_forget, -math.exp(-60), rtol=1e-12)


class WritingUnits(ArrayUnits):
    """Gates whose units also write: {contig: (D, H, L)}."""

    def __init__(self, arrays, written):
        super().__init__(arrays)
        self.written = written

    def writes(self, contig, direction, unit):
        return self.written[contig][direction, unit]


def test_profiles_of_every_unit_and_of_their_mean(regions):
    rng = np.random.default_rng(5)
    arrays = {contig: noise((2, 3, length), rng, scale=2.0) for contig, length in LENGTHS.items()}
    written = {contig: noise((2, 3, length), rng) for contig, length in LENGTHS.items()}
    units = WritingUnits(arrays, written)
    sites = sites_of(regions, "rev", "entry")
    got = unit_profiles(units, units, sites, 3, SHAPE.profile_bp)
    each = [mean_profiles(units, sites, unit, SHAPE.profile_bp) for unit in range(3)]
    for name in ("forget", "logit"):
        rows = [getattr(one, name) for one in each]
        np.testing.assert_allclose(getattr(got, name), [*rows, np.mean(rows, axis=0)], rtol=1e-12)
    in_time = [one.log_forget for one in each]
    half_life = math.log(0.5) / np.array([*in_time, np.mean(in_time, axis=0)])
    np.testing.assert_allclose(got.half_life, half_life, rtol=1e-12)
    sizes = np.zeros((3, 2 * SHAPE.profile_bp))
    for region in regions.itertuples():
        at = [base_at(region, "rev", "entry", offset) for offset in range(-120, 120)]
        if min(at) >= 0 and max(at) < LENGTHS[region.chrom]:
            sizes += np.abs(written[region.chrom][1][:, at]) / sites.n
    np.testing.assert_allclose(got.write, [*sizes, sizes.mean(0)], rtol=1e-12)


def test_half_lives_are_geometric_means_and_may_be_without_end(regions):
    """A gate of 1/2 at half of the boundaries and 1/8 at the others keeps 1/4 on average: half a base."""
    sites = sites_of(regions, "fwd", "entry", {"a": LENGTHS["a"]})
    even = {contig: at[: len(at) // 2 * 2] for contig, at in sites.positions.items()}
    sites = sites._replace(positions=even)
    arrays = {"a": np.full((2, 2, LENGTHS["a"]), 800.0)}  # ln f = -exp(-800) = 0
    arrays["a"][0, 0, even["a"][::2]] = 0.0
    arrays["a"][0, 0, even["a"][1::2]] = -math.log(7)
    got = unit_profiles(ArrayUnits(arrays), None, sites, 2, SHAPE.profile_bp)
    assert got.half_life[0, SHAPE.profile_bp] == pytest.approx(0.5)
    assert (got.half_life[1] == np.inf).all()
    assert np.isnan(got.write).all()


@pytest.mark.parametrize("lengths", [(100, 100, 100), (100, 50, 0), (50, 100, 25)])
def test_lengths_that_do_not_fit_each_other_are_refused(lengths):
    with pytest.raises(InputError, match="dip_bp < flank_bp <= profile_bp"):
        ProfileShape(*lengths)


def test_unit_store_refuses_what_does_not_fit(tmp_path):
    world = make_world(tmp_path)
    units = UnitStore(tmp_path / "trace", world.lengths)
    assert units.n_units("test1") == 3
    np.testing.assert_array_equal(units.logits("test2", 1, 2), world.units["test2"][1, 2].astype(np.float32))
    with pytest.raises(InputError, match=r"train1\.npy: no traced units"):
        units.logits("train1", 0, 0)
    with pytest.raises(InputError, match="different genomes"):
        UnitStore(tmp_path / "trace", {"test1": 5}).logits("test1", 0, 0)
