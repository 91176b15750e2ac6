"""Rows of the heatmap against a loop, and what the figure says."""

import numpy as np
import pytest
from gate_worlds import ArrayUnits, base_at, draw_regions, noise

from gatescope.boundaries.heatmap import HeatPanel, HeatRows, draw_heatmap, heat_rows
from gatescope.boundaries.profile import ProfileShape, find_sites, mean_profiles

LENGTHS = {"b": 9001, "a": 8000}
SHAPE = ProfileShape(profile_bp=60, flank_bp=40, dip_bp=10)


@pytest.fixture
def regions():
    return draw_regions(LENGTHS, np.random.default_rng(4))


@pytest.fixture
def units():
    rng = np.random.default_rng(8)
    return ArrayUnits({contig: noise((2, 1, length), rng, scale=2.0) for contig, length in LENGTHS.items()})


def single_boundaries(units, regions):
    """Return (width of the region, forget gate at each offset) of each rev entry, narrowest first."""
    found = []
    for contig in LENGTHS:
        for region in regions[regions["chrom"] == contig].itertuples():
            at = [base_at(region, "rev", "entry", k) for k in range(-60, 60)]
            if min(at) >= 0 and max(at) < LENGTHS[contig]:
                forget = 1 / (1 + np.exp(-units.logits(contig, 1, 0)[at]))
                found.append((region.end - region.start, forget))
    return sorted(found, key=lambda each: each[0])  # stable, as ties are to be


@pytest.mark.parametrize("max_rows", [1, 4, 7, 400])
def test_rows_are_means_of_neighbours_in_width(monkeypatch, units, regions, max_rows):
    singles = single_boundaries(units, regions)
    sites = find_sites(regions, LENGTHS, 1, "entry", SHAPE.profile_bp)
    monkeypatch.setattr("gatescope.boundaries.profile._CHUNK", 3)
    rows = heat_rows(units, sites, regions, 0, SHAPE.profile_bp, max_rows)
    assert len(rows.counts) == min(max_rows, len(singles))
    assert rows.counts.sum() == sites.n == len(singles)
    assert np.ptp(rows.counts) <= 1
    first = 0
    for forget, n, width in zip(*rows, strict=True):
        some = singles[first : first + n]
        np.testing.assert_allclose(forget, np.mean([each[1] for each in some], axis=0), rtol=1e-12)
        assert width == pytest.approx(np.mean([each[0] for each in some]))
        first += n
    mean = mean_profiles(units, sites, 0, SHAPE.profile_bp).forget
    np.testing.assert_allclose(np.average(rows.forget, axis=0, weights=rows.counts), mean, rtol=1e-12)


def draw(path, n_rows=3, per_row=1, band=0.1, lookahead_bp=7, forget=None):
    rng = np.random.default_rng(1)
    rows = rng.random((n_rows, 120)) if forget is None else np.full((n_rows, 120), forget)
    counts = np.full(n_rows, per_row)
    counts[0] += per_row > 1
    heat = HeatRows(rows, counts, np.linspace(10, 90, n_rows))
    mean = rows.mean(0)
    panel = HeatPanel(3, int(counts.sum()), heat, mean, np.stack([mean - band, mean + band]))
    panels = {(direction, crossing): panel for direction in ("fwd", "rev") for crossing in ("entry", "exit")}
    draw_heatmap(panels, SHAPE, lookahead_bp, "sequence.f1.1", path)
    return path


def test_the_figure_says_what_it_shows(tmp_path):
    text = draw(tmp_path / "heatmap.svg").read_text()
    for words in (
        "sequence.f1.1",
        "offset from boundary in reading direction (bp); 0 = first base read beyond it",
        "Reading in reverse, out of accessible regions",
        "unit 3, 3 boundaries, 1 per row",
        "narrowest",
        "f, the forget gate (1 keeps the memory, 0 erases it)",
        "look-ahead: 7 bp",
        "95 % interval",
        "the other edge of the same region",
    ):
        assert words in text, words


def test_the_figure_says_when_rows_are_means_and_leaves_out_what_is_unknown(tmp_path):
    """And a gate that is the same everywhere can be drawn."""
    text = draw(tmp_path / "heatmap.svg", per_row=2, band=np.nan, lookahead_bp=0, forget=1.0).read_text()
    assert "unit 3, 7 boundaries, mean of 2 or 3 per row" in text
    assert "95 % interval" not in text
    assert "look-ahead" not in text
