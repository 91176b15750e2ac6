"""What is written about profiles, against the functions that compute it."""

import logging

import numpy as np
import pandas as pd
import pytest
from gate_worlds import CROSSINGS, DIRECTIONS, HIGH, ArrayUnits, draw_regions, noise, plant

from gatescope.boundaries import profile_files
from gatescope.boundaries.profile import ProfileShape, find_sites, forget_windows, mean_profiles
from gatescope.boundaries.profile_files import Crossed, ProfileSource, write_profiles
from gatescope.boundaries.stretches import BlockSums

LENGTHS = {"a": 20_000, "b": 15_003}
SHAPE = ProfileShape(profile_bp=60, flank_bp=40, dip_bp=10)
STRETCHES = {"a": np.array([[0, 9000], [10_000, 19_000]])}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write everything but the figures; unit 1 falls 4 bp beyond the entry, unit 0 is looked at for rev."""
    rng = np.random.default_rng(2)
    regions = draw_regions(LENGTHS, rng, mean_gap_bp=500)
    arrays = {contig: HIGH + noise((2, 2, length), rng) for contig, length in LENGTHS.items()}
    plant(arrays, regions, "fwd", "entry", 1, 4)
    units, drawn = ArrayUnits(arrays), {}
    for name in ("draw_profiles", "draw_heatmap"):
        monkeypatch.setattr(
            profile_files, name, lambda panels, *rest, name=name: drawn.update({name: panels})
        )
    crossed = {}
    for direction in DIRECTIONS:
        for crossing in CROSSINGS:
            index = DIRECTIONS.index(direction)
            sites = find_sites(regions, LENGTHS, index, crossing, SHAPE.profile_bp, STRETCHES)
            arrays_of = [rng.random((3, 120)) for _ in range(3)]
            crossed[direction, crossing] = Crossed(sites, 1 - index, *arrays_of)
    record = write_profiles(
        tmp_path,
        ProfileSource(units, None, regions),
        crossed,
        SHAPE,
        run="sequence.f1.1",
        lookahead_bp=7,
        bootstraps=300,
        seed=1,
        stretches=STRETCHES,
        block_bp=1000,
    )
    table = pd.read_csv(tmp_path / "profile.tsv", sep="\t", dtype={"unit": str})
    return units, crossed, record, table, drawn


def test_the_table_holds_what_was_measured_and_what_was_handed_over(written):
    units, crossed, _, table, _ = written
    assert len(table) == 4 * 3 * 120
    for (direction, crossing), each in crossed.items():
        rows = table[(table["direction"] == direction) & (table["crossing"] == crossing)]
        assert rows["offset"].tolist() == 3 * list(range(-60, 60))
        assert rows["unit"].tolist() == np.repeat(["0", "1", "mean"], 120).tolist()
        mean = mean_profiles(units, each.sites, 1, SHAPE.profile_bp)
        np.testing.assert_allclose(rows.loc[rows["unit"] == "1", "forget"], mean.forget, rtol=1e-5)
        np.testing.assert_allclose(rows.loc[rows["unit"] == "1", "logit"], mean.logit, rtol=1e-5)
        for name in ("null_low", "null_high", "twin"):
            np.testing.assert_allclose(rows[name], getattr(each, name).ravel(), rtol=1e-5)
    assert (table["sees_to"] - table["offset"] == 7).all()
    assert table["write"].isna().all()


def test_only_the_chosen_units_have_a_band_and_it_holds_their_mean(written):
    _, _, _, table, _ = written
    chosen = table["unit"] == table["direction"].map({"fwd": "1", "rev": "0"})
    assert (table[["forget_low", "forget_high"]].notna().all(axis=1) == chosen).all()
    rows = table[chosen]
    fallen = (rows["direction"] == "fwd") & (rows["crossing"] == "entry") & (rows["offset"] == 4)
    width = rows["forget_high"] - rows["forget_low"]
    np.testing.assert_allclose(width[fallen], 0, atol=1e-6)  # all boundaries alike
    assert (width[~fallen] > 0).all()
    assert ((rows["forget_low"] <= rows["forget"]) & (rows["forget"] <= rows["forget_high"])).all()
    assert width.max() < 0.05


def test_the_figures_get_the_chosen_units(written):
    _, crossed, _, table, drawn = written
    for key, each in crossed.items():
        panel, heat = drawn["draw_profiles"][key], drawn["draw_heatmap"][key]
        rows = table.query(f"direction == {key[0]!r} and crossing == {key[1]!r} and unit == '{each.unit}'")
        assert panel.unit == heat.unit == each.unit
        assert panel.n_boundaries == heat.n_boundaries == each.sites.n
        for profile in (panel.chosen, heat.mean):
            np.testing.assert_allclose(profile, rows["forget"], rtol=1e-5)
        np.testing.assert_allclose(panel.band[0], rows["forget_low"], rtol=1e-5)
        np.testing.assert_allclose(heat.band[1], rows["forget_high"], rtol=1e-5)
        np.testing.assert_array_equal(panel.twin, each.twin[each.unit])


def test_what_was_left_out_is_stated(written):
    units, crossed, record, _, _ = written
    assert record["block_bp"] == 1000
    assert record["stretches"] == {"a": [[0, 9000], [10_000, 19_000]]}
    for (direction, crossing), each in crossed.items():
        counts = record["boundaries"][f"{direction} {crossing}"]
        assert (counts["used"], counts["left_out_contig_end"]) == (each.sites.n, each.sites.n_dropped)
        assert counts["left_out_stretches"] == each.sites.n_outside > 0
        blocks = BlockSums.of(forget_windows(units, each.sites, 0, SHAPE.profile_bp), 1000)
        assert counts["blocks"] == len(blocks.counts)


def test_stretches_are_logged(caplog):
    with caplog.at_level(logging.INFO):
        profile_files._state(STRETCHES)
    assert "a: only 2 random stretches are looked at, 18000 bp in all" in caplog.text
