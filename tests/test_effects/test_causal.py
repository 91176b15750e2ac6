"""Held gates: large where a reset decides what is predicted, nothing where a gate never moves."""

import json

import numpy as np
import pandas as pd
import pytest
from effect_worlds import (
    KEPT,
    LENGTHS,
    TESTED,
    WRITE,
    base_at,
    draw_codes,
    draw_regions,
    make_network,
    make_world,
)
from scipy.special import expit, logit

from gatescope.effects.along import read_along
from gatescope.effects.causal import COLUMNS, clamp
from gatescope.effects.subject import open_subject
from gatescope.errors import InputError

SHUTS_AT_G = {"A": logit(KEPT), "C": logit(KEPT), "T": logit(KEPT), "G": -30.0}
NEVER_MOVES = {**SHUTS_AT_G, "G": logit(KEPT)}
WAYS = [(direction, crossing) for direction in ("fwd", "rev") for crossing in ("entry", "exit")]
SHAPE = {"dip_bp": 5, "flank_bp": 100, "context_bp": 300}


def measure(folder, gates, targets=("state",), **options):
    """Return table, summary, regions and codes."""
    regions = draw_regions()
    codes = draw_codes(regions)
    world = make_world(folder, make_network(gates, targets), codes, regions)
    settings = {**SHAPE, "bootstraps": 200, "dtype": "float64", **options}
    clamp(world.store, world.model, folder / "out", units=world.units, **settings)
    table = pd.read_csv(folder / "out/clamp.tsv", sep="\t").set_index(["direction", "crossing"])
    return table, json.loads((folder / "out/clamp.json").read_text()), regions, codes


def memory(codes, forget, turn):
    """The cell state of a unit that writes at A, step by step in the order of reading."""
    c, found = 0.0, []
    for base, f in list(zip(codes, forget, strict=True))[::turn]:
        c = f * c + 0.5 * WRITE * (base == 0)
        found.append(c)
    return np.array(found[::turn])


def expected_change(codes, regions, direction, crossing):
    """Mean |change of the logit| over boundaries, by the closed form of a unit without recurrence."""
    dip, flank, context = SHAPE.values()
    turn, changes = (1 if direction == "fwd" else -1), []
    edges = {c: regions.loc[regions.chrom == c, ["start", "end"]].to_numpy().ravel() for c in LENGTHS}
    for region in regions[regions.chrom.isin(TESTED)].itertuples():
        around = [base_at(region, direction, crossing, offset) for offset in range(-context, context)]
        if min(around) < 0 or max(around) >= LENGTHS[region.chrom]:
            continue
        low, high = min(around), max(around) + 1
        bases = codes[region.chrom][low:high]
        forget = np.where(bases == 2, expit(-30.0), KEPT)
        at = {offset: base_at(region, direction, crossing, offset) - low for offset in range(-flank, flank)}
        is_near = [any(e - dip <= low + at[o] < e + dip for e in edges[region.chrom]) for o in at]
        level = np.mean([forget[at[o]] for o, near in zip(at, is_near, strict=True) if not near])
        held = forget.copy()
        held[[at[offset] for offset in range(-dip, dip)]] = level
        shown = [2.0 * 0.5 * np.tanh(memory(bases, f, turn)) for f in (forget, held)]
        changes.append(np.abs(shown[1] - shown[0])[[at[offset] for offset in range(flank)]].mean())
    return np.mean(changes), len(changes)


def test_a_reset_at_boundaries_decides_what_is_predicted_beyond(tmp_path):
    table, summary, regions, codes = measure(tmp_path, SHUTS_AT_G)
    assert list(table.reset_index().columns) == list(COLUMNS)
    for way in WAYS:
        row = table.loc[way]
        wanted, n = expected_change(codes, regions, *way)
        assert row.n == n and row.n_unmatched == 0
        assert row.state_logit_boundary == pytest.approx(wanted, rel=1e-5, abs=1e-12)
        assert row.state_logit_control == pytest.approx(0, abs=1e-12)
        assert np.isnan(row.log_cuts_boundary)
    # G stands at the start: fwd reads it first inside the region, rev last
    for way in (("fwd", "entry"), ("rev", "exit")):
        row = table.loc[way]
        assert row.state_logit_boundary > 0.1
        assert 0 < row.state_logit_low < row.state_logit_difference < row.state_logit_high
        assert row.forget_flank == pytest.approx(KEPT, abs=1e-6)
        assert row.forget_control == pytest.approx(KEPT, abs=1e-6)
    for way in (("fwd", "exit"), ("rev", "entry")):
        assert table.loc[way].state_logit_boundary == pytest.approx(0, abs=1e-12)
    said = summary["sentences"]
    assert "fwd unit 0" in said[0] and "more than at matched controls" in said[0] and "cuts" not in said[0]
    assert "not shown to be other than" in said[1]
    assert summary["certificate"]["max_error"] <= 1e-10
    assert summary["input_mode"] == "sequence" and summary["contigs"] == TESTED
    # 200 bp of burn-in before the flank leave 0.97^200 of what stood before
    assert summary["start_error"] < KEPT**200


def test_a_gate_that_never_moves_changes_nothing(tmp_path):
    table, summary, _, _ = measure(tmp_path, NEVER_MOVES, ("cuts", "state"))
    for quantity in ("state_logit", "log_cuts"):
        for column in ("boundary", "control", "difference", "low", "high"):
            assert table[f"{quantity}_{column}"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert all("state by 0" in each or "e-1" in each for each in summary["sentences"])


def test_both_heads_are_measured_and_a_short_context_is_said(tmp_path, caplog):
    table, summary, _, _ = measure(tmp_path, SHUTS_AT_G, ("cuts", "state"), context_bp=100)
    row = table.loc[("fwd", "entry")]
    # the heads differ in their weight alone, 2 and 3
    assert row.state_logit_boundary == pytest.approx(1.5 * row.log_cuts_boundary, rel=1e-5)
    assert summary["start_error"] > 0.05
    assert "raise --context-bp" in caplog.text


def test_the_same_bytes_twice_and_few_of_many_boundaries(tmp_path):
    first, again = (tmp_path / name for name in ("a", "b"))
    for folder in (first, again):
        table, _, _, _ = measure(folder, SHUTS_AT_G, most_boundaries=7)
        assert (table.n == 7).all()
        assert table.filter(like="_low").isna().all(axis=None), "fewer than ten stretches: no interval"
    for name in ("clamp.tsv", "clamp.json"):
        assert (first / "out" / name).read_bytes() == (again / "out" / name).read_bytes()


def test_units_along_contigs_are_the_closed_form(tmp_path):
    regions = draw_regions()
    codes = draw_codes(regions)
    world = make_world(tmp_path, make_network(SHUTS_AT_G), codes, regions)
    subject = open_subject(world.store, world.model, "float64", 1)
    along, certificate = read_along(subject, {"fwd": 0, "rev": 0})
    assert certificate.positions == sum(LENGTHS[contig] for contig in TESTED)
    for direction, turn in (("fwd", 1), ("rev", -1)):
        assert set(along[direction].forget) == set(TESTED)
        part = slice(None, 5000) if turn == 1 else slice(-5000, None)  # where the direction starts
        bases = codes["test2"][part]
        forget = np.where(bases == 2, expit(-30.0), KEPT)
        assert along[direction].forget["test2"][part] == pytest.approx(forget, abs=1e-6)
        hidden = 0.5 * np.tanh(memory(bases, forget, turn))
        assert along[direction].hidden["test2"][part] == pytest.approx(hidden, abs=1e-6)
        assert np.isfinite(along[direction].hidden["test1"]).all()


def test_mistakes_are_named(tmp_path):
    regions = draw_regions()
    world = make_world(tmp_path, make_network(SHUTS_AT_G), draw_codes(regions), regions)
    paths = world.store, world.model, tmp_path / "out"
    with pytest.raises(InputError, match="wanted 0 < dip_bp < flank_bp <= context_bp"):
        clamp(*paths, units=world.units, flank_bp=200, context_bp=100)
    with pytest.raises(InputError, match=r"no start of a region on the test contigs test0, .* has 6000 bp"):
        clamp(*paths, units=world.units, context_bp=6000)
    with pytest.raises(InputError, match="lies more than 2005 bp from every boundary"):
        clamp(*paths, units=world.units, dip_bp=5, flank_bp=2000, context_bp=2000)
    assert not (tmp_path / "out").exists()
