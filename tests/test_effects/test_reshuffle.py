"""Shuffled flanks: a motif's effect goes, that of a step in composition stays."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from effect_worlds import KEPT, LENGTHS, draw_codes, draw_regions, make_network, make_world
from scipy.special import expit, logit

from gatescope.effects.reshuffle import COLUMNS, reshuffle, retention_ratio, shuffle_windows
from gatescope.effects.subject import Shape, find_boundaries, open_subject

SHAPE = {"dip_bp": 5, "flank_bp": 100, "context_bp": 200}
EVERY_BASE = {base: logit(KEPT) for base in "ACGT"}
SHUTS_AT_G = {**EVERY_BASE, "G": -3.0}


def measure(folder, network, codes, **options):
    """Return the table, the summary and what was read."""
    world = make_world(folder, network, codes, draw_regions())
    settings = {**SHAPE, "bootstraps": 200, "dtype": "float64", **options}
    reshuffle(world.store, world.model, folder / "out", **settings)
    table = pd.read_csv(folder / "out/shuffled_flanks.tsv", sep="\t").set_index(["direction", "crossing"])
    summary = json.loads((folder / "out/shuffled_flanks.json").read_text())
    return table, summary, open_subject(world.store, world.model, "float64", 1)


def ratio_of(codes, flank):
    """R of one window, base by base."""
    log_forget = np.log(np.where(codes == 2, expit(-3.0), KEPT))
    return (sum(log_forget[195:205]) - 10 * log_forget[flank].mean()) / np.log(2)


def test_a_motif_at_the_boundary_loses_its_effect(tmp_path):
    """TTG: the first base stays where it is, the G does not."""
    table, summary, subject = measure(
        tmp_path, make_network(SHUTS_AT_G), draw_codes(draw_regions(), 1, "TTG")
    )
    assert list(table.reset_index().columns) == list(COLUMNS)
    shape, found = Shape(**SHAPE), {}
    for number, (side, ways) in enumerate(
        {"start": [("fwd", "entry"), ("rev", "exit")], "end": [("fwd", "exit"), ("rev", "entry")]}.items()
    ):
        sites = find_boundaries(subject, side, shape, 1000, np.random.default_rng([1, number]))
        names = list(LENGTHS)
        codes = np.stack([
            subject.store.codes(names[rank])[at - 200 : at + 200]
            for rank, at in zip(sites.ranks, sites.positions, strict=True)
        ])  # fmt: skip
        shuffled = shuffle_windows(codes, sites, shape, 5, 1)
        flanks = sites.flanks
        before = np.array([ratio_of(*each) for each in zip(codes, flanks, strict=True)])
        after = np.array([[ratio_of(*each) for each in zip(one, flanks, strict=True)] for one in shuffled])
        for way in ways:
            row = found[way] = table.loc[way]
            assert row.n == len(codes) > 30 and row.eligible
            assert row.R == pytest.approx(before.mean(), rel=1e-5)
            assert row.R_shuffled == pytest.approx(after.mean(), rel=1e-5)
            assert row.difference == pytest.approx(before.mean() - after.mean(), rel=1e-5, abs=1e-8)
    for way in (("fwd", "entry"), ("rev", "exit")):
        assert found[way].R < -4 and found[way].R_shuffled > -1
        assert found[way].low < found[way].difference < found[way].high < -3
    assert "90 % interval -" in summary["sentences"][0] and "fwd entry" in summary["sentences"][0]
    assert summary["settings"]["shuffles"] == 5 and summary["input_mode"] == "sequence"
    assert summary["certificate"]["max_error"] <= 1e-10


def test_composition_alone_keeps_its_effect(tmp_path):
    """Regions are all A, the rest all T: no shuffle changes a base, and the gate follows the step."""
    regions = draw_regions()
    codes = {contig: np.full(length, 3, np.uint8) for contig, length in LENGTHS.items()}
    for region in regions.itertuples():
        codes[region.chrom][region.start : region.end] = 0
    table, _, _ = measure(tmp_path, make_network(EVERY_BASE, at_step=-6.0), codes)
    row = table.loc[("fwd", "entry")]
    wanted = (np.log(expit(logit(KEPT) - 6)) - np.log(KEPT)) / np.log(2)
    assert row.R == pytest.approx(wanted, rel=1e-5) and wanted < -3
    assert row.R_shuffled == pytest.approx(row.R, rel=1e-6)
    assert table[["difference", "low", "high"]].to_numpy() == pytest.approx(0, abs=1e-12)
    assert table.loc[("fwd", "exit")].R == pytest.approx(0, abs=1e-6)
    assert table.flank_half_life_bp.to_numpy() == pytest.approx(np.log(0.5) / np.log(KEPT), rel=1e-5)
    assert table.eligible.all()


def test_a_short_memory_has_no_sentence_and_few_boundaries_no_interval(tmp_path):
    short = {base: logit(0.5) for base in "ACGT"}
    table, summary, _ = measure(tmp_path, make_network(short), draw_codes(draw_regions()), most_boundaries=5)
    assert (table.n == 5).all() and table.low.isna().all()
    assert summary["sentences"][0].startswith("At fwd entry boundaries no unit holds its memory long enough")


def test_the_same_bytes_twice_and_other_shuffles_with_another_seed(tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        codes = draw_codes(draw_regions(), 1, "TTG")
        measure(
            tmp_path / name, make_network(SHUTS_AT_G), codes, most_boundaries=10_000, shuffles=1, seed=seed
        )
        found.append((tmp_path / name / "out/shuffled_flanks.tsv").read_bytes())
    assert found[0] == found[1] != found[2]


def test_windows_are_shuffled_side_by_side_and_nowhere_else(tmp_path):
    world = make_world(tmp_path, make_network(SHUTS_AT_G), draw_codes(draw_regions()), draw_regions())
    subject, shape = open_subject(world.store, world.model, "float64", 1), Shape(**SHAPE)
    sites = find_boundaries(subject, "start", shape, 9, np.random.default_rng(0))
    codes = np.random.default_rng(0).integers(0, 4, (9, 400)).astype(np.uint8)
    found = shuffle_windows(codes, sites, shape, 3, 1)
    assert np.array_equal(found[..., :100], np.broadcast_to(codes[:, :100], (3, 9, 100)))
    assert np.array_equal(found[..., 300:], np.broadcast_to(codes[:, 300:], (3, 9, 100)))
    for part in (slice(100, 200), slice(200, 300)):
        pairs = [4 * each[..., part][..., :-1] + each[..., part][..., 1:] for each in (codes, found)]
        for n in range(9):
            wanted = np.bincount(pairs[0][n], minlength=16)
            assert all(np.array_equal(np.bincount(one, minlength=16), wanted) for one in pairs[1][:, n])
        assert (found[..., part] != codes[:, part]).mean() > 0.5
    # each boundary by itself, whatever is done beside it
    alone = shuffle_windows(codes[4:6], sites.at(slice(4, 6)), shape, 3, 1)
    assert np.array_equal(alone, found[:, 4:6])


def test_the_ratio_is_log2_of_what_is_left():
    """One window: f is 1/2 at one base of the dip and 1 elsewhere, then 1/4 over a masked part of the flank."""
    log_forget = torch.zeros(1, 2, 400, dtype=torch.float64)
    log_forget[0, 0, 200] = np.log(0.5)
    log_forget[0, 1, 100:120] = np.log(0.25)
    flanks = torch.zeros(1, 400, dtype=torch.bool)
    flanks[0, 100:150] = True
    ratio, flank = retention_ratio(log_forget, flanks, Shape(**SHAPE))
    assert ratio[0].tolist() == pytest.approx([-1.0, 10 * 2 * 20 / 50])
    assert flank[0].tolist() == pytest.approx([0.0, np.log(0.25) * 20 / 50])
