"""Writes of earlier bases add up to the cell state, for both directions; arcs say the same to a browser."""

import math
from fractions import Fraction

import bioframe
import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.trace.provenance import (
    SOURCE_COLUMNS,
    provenance,
    top_sources,
    write_bedpe,
    write_interact,
    write_sources,
)
from gatescope.trace.replay import trace_lstm

GATES = ("input_logit", "forget_logit", "candidate")
# UCSC's autoSql of the format, https://genome.ucsc.edu/goldenPath/help/interact.html
INTERACT = [
    *("chrom", "chromStart", "chromEnd", "name", "score", "value", "exp", "color"),
    *("sourceChrom", "sourceStart", "sourceEnd", "sourceName", "sourceStrand"),
    *("targetChrom", "targetStart", "targetEnd", "targetName", "targetStrand"),
]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def draw_gates(units, length, seed=0, forget=2.0):
    """Logits and candidate of one direction, each (U, L)."""
    rng = np.random.default_rng(seed)
    i, f = rng.normal(-1, 2, (units, length)), rng.normal(forget, 1.5, (units, length))
    return i, f, np.tanh(rng.normal(0, 1, (units, length)))


def run_cell(i, f, g, start, read):
    """Run the recurrence over the columns in the order `read`; return c at each column."""
    c, cells = np.array(start, float), np.empty_like(i)
    for t in read:
        c = sigmoid(f[:, t]) * c + sigmoid(i[:, t]) * g[:, t]
        cells[:, t] = c
    return cells


@pytest.fixture(scope="module")
def traced():
    """A two-layer bidirectional LSTM with long memories, traced in float64."""
    lstm = torch.nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
            if "bias_ih" in name:
                parameter[8:16] += torch.linspace(-1, 6, 8)
    x = torch.randn(2, 1500, 6, generator=generator, dtype=torch.float64)
    return trace_lstm(lstm.eval(), x)


@pytest.mark.parametrize("row", [0, 1])
def test_contributions_add_up_to_the_cell_state_of_a_real_lstm(traced, row):
    direction, worst = ("fwd", "rev")[row], 0.0
    gates = [getattr(traced, name)[1, row].numpy() for name in GATES]
    for position in (0, 1, 749, 1498, 1499, *range(10, 1490, 37)):
        found = provenance(*gates, position, direction=direction)
        worst = max(worst, np.abs(found.cell - traced.cell[1, row, :, position].numpy()).max())
        assert (found.missing <= 1e-15).all()
        assert (found.source <= position if direction == "fwd" else found.source >= position).all()
    assert worst <= 1e-12


def test_contributions_of_long_memories_are_right_to_the_last_digits():
    """Half-lives up to 10^5 bp: logs of 60,000 gates add up without drift; the plain recurrence drifts more."""
    logits, length = [6.0, 9.0, 11.9], 60_000
    i, _, g = draw_gates(3, length, seed=1)
    f = np.repeat(np.array(logits)[:, None], length, axis=1)
    found = provenance(i, f, g, length - 1, direction="fwd")
    cells = run_cell(i, f, g, np.zeros(3), range(length))[:, -1]
    for unit, z in enumerate(logits):
        kept = np.exp(-math.log1p(math.exp(-z)) * np.arange(length)[::-1])
        exact = math.fsum(sigmoid(i[unit]) * g[unit] * kept)
        assert found.cell[unit] == pytest.approx(exact, rel=2e-14)
        assert cells[unit] == pytest.approx(exact, rel=1e-11)
    assert len(found.source) == length and not found.missing.any()


def test_each_contribution_is_the_product_of_the_formula():
    i, f, g = draw_gates(1, 60, seed=2)
    found = provenance(i[0], f[0], g[0], 50, direction="fwd", bound=0)
    for s, w in zip(found.source, found.contribution[0], strict=True):
        product = Fraction(float(sigmoid(i[0, s]))) * Fraction(float(g[0, s]))
        for u in range(s + 1, 51):
            product *= Fraction(float(sigmoid(f[0, u])))
        assert w == pytest.approx(float(product), rel=1e-13)
    assert list(found.source) == list(range(50, -1, -1))


@pytest.mark.parametrize("direction", ["fwd", "rev"])
def test_taking_a_write_away_takes_its_contribution_away(direction):
    i, f, g = draw_gates(2, 80, seed=3)
    read = range(80) if direction == "fwd" else range(79, -1, -1)
    whole, found = run_cell(i, f, g, np.zeros(2), read), provenance(i, f, g, 40, direction=direction)
    for s in (40, 38, 42, 20, 60):
        without = g.copy()
        without[:, s] = 0
        lost = (whole - run_cell(i, f, without, np.zeros(2), read))[:, 40]
        held = found.contribution[:, found.source == s].sum(1)
        np.testing.assert_allclose(held, lost, atol=1e-15)


def test_rev_is_fwd_of_the_mirrored_contig():
    gates = draw_gates(2, 500, seed=4)
    rev = provenance(*gates, 123, direction="rev")
    fwd = provenance(*(gate[:, ::-1] for gate in gates), 499 - 123, direction="fwd")
    np.testing.assert_array_equal(rev.contribution, fwd.contribution)
    np.testing.assert_array_equal(rev.source, 499 - fwd.source)


@pytest.mark.parametrize("direction", ["fwd", "rev"])
def test_what_is_left_of_the_initial_state_is_counted(direction):
    i, f, g = draw_gates(2, 40, seed=5, forget=5.0)
    start = [0.7, -2.5]
    read = range(40) if direction == "fwd" else range(39, -1, -1)
    cells, last = run_cell(i, f, g, start, read), read[-1]
    found = provenance(i, f, g, last, direction=direction, start=start)
    np.testing.assert_allclose(found.cell, cells[:, last], atol=1e-14)
    np.testing.assert_allclose(found.start_held, np.prod(sigmoid(f), 1) * start, rtol=1e-13)
    assert not found.missing.any()


def test_a_window_with_its_start_state_equals_the_whole_contig():
    """Columns 1000 .. 1500 of a contig, and the state before them, tell the same in contig coordinates."""
    i, f, g = draw_gates(2, 2000, seed=6, forget=4.0)
    cells = run_cell(i, f, g, np.zeros(2), range(2000))
    part = [gate[:, 1000:1500] for gate in (i, f, g)]
    whole = provenance(i, f, g, 1200, direction="fwd")
    window = provenance(*part, 1200, direction="fwd", origin=1000, start=cells[:, 999])
    np.testing.assert_allclose(window.cell, whole.cell, atol=1e-14)
    np.testing.assert_array_equal(window.source, whole.source[:201])
    np.testing.assert_allclose(window.contribution, whole.contribution[:, :201], rtol=1e-14)


@pytest.mark.parametrize("bound", [1e-15, 1e-6, 1e-2])
def test_what_is_not_listed_is_below_the_stated_bound(bound):
    i, f, g = draw_gates(3, 20_000, seed=7, forget=4.0)
    everything = provenance(i, f, g, 19_999, direction="fwd", bound=0)
    found = provenance(i, f, g, 19_999, direction="fwd", bound=bound)
    reach = len(found.source)
    left_out = np.abs(everything.contribution[:, reach:]).sum(1)
    assert len(everything.source) == 20_000 and reach < 6000
    assert (left_out <= found.missing).all() and (found.missing <= bound).all()
    assert not everything.missing.any()


def test_the_reach_does_not_depend_on_the_contig_behind_it():
    """Only columns within reach are read: columns far behind may be anything."""
    i, f, g = draw_gates(1, 50_000, seed=8)
    found = provenance(i, f, g, 49_999, direction="fwd")
    f[:, :40_000] = np.nan
    again = provenance(i, f, g, 49_999, direction="fwd")
    np.testing.assert_array_equal(found.contribution, again.contribution)


def test_a_gate_shut_for_good_cuts_everything_before_it():
    i, f, g = draw_gates(1, 100, seed=9, forget=3.0)
    f[0, 60] = -np.inf
    found = provenance(i, f, g, 90, direction="fwd")
    assert list(found.source) == list(range(90, 59, -1))
    assert found.missing == 0 and found.contribution.all()


def test_frozen_bases_are_passed_through():
    """Where the state is held (f = 1, i = 0), nothing is lost and nothing is written."""
    i, f, g = draw_gates(1, 100, seed=10, forget=3.0)
    frozen = [
        np.insert(gate, [50] * 20, value, axis=1) for gate, value in ((i, -np.inf), (f, np.inf), (g, 0))
    ]
    plain, held = provenance(i, f, g, 90, direction="fwd"), provenance(*frozen, 110, direction="fwd")
    written = np.delete(held.contribution, np.flatnonzero((held.source >= 50) & (held.source < 70)), axis=1)
    np.testing.assert_array_equal(written, plain.contribution)
    assert held.cell == plain.cell


def test_wrong_calls_are_refused():
    i, f, g = draw_gates(2, 30)
    with pytest.raises(ValueError, match="column 30 of 30"):
        provenance(i, f, g, 30, direction="fwd")
    with pytest.raises(ValueError, match="column -1"):
        provenance(i, f, g, 99, direction="fwd", origin=100)
    with pytest.raises(ValueError, match="shapes"):
        provenance(i[0], f, g, 3, direction="fwd")
    with pytest.raises(ValueError, match="direction"):
        provenance(i, f, g, 3, direction="backward")
    f[0, 2] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        provenance(i, f, g, 3, direction="fwd")


def planted(direction="fwd"):
    """Three writes into one long memory, seen from the far end: two neighbours, one alone of the other sign."""
    f, i, g = np.full((1, 1000), 9.0), np.full((1, 1000), -40.0), np.full((1, 1000), 0.5)
    for column, write in ((200, 0.6), (201, 0.4), (500, -0.8), (501, 0.1)):
        i[0, column], g[0, column] = 40.0, write
    if direction == "rev":
        i, f, g = (gate[:, ::-1] for gate in (i, f, g))
    return provenance(i, f, g, 899 if direction == "fwd" else 100, direction=direction, units=[7])


def test_neighbours_of_one_sign_are_joined():
    found = planted()
    sources = top_sources(found, "chrI", share=0.9999)
    f = sigmoid(9.0)
    expected = [0.6 * f**699 + 0.4 * f**698, -0.8 * f**399, 0.1 * f**398]
    table = sources.table
    assert list(table.columns) == list(SOURCE_COLUMNS)
    assert list(zip(table.source_start, table.source_end, table.sign, strict=True)) == [
        (200, 202, "+"),
        (500, 501, "-"),
        (501, 502, "+"),
    ]
    np.testing.assert_allclose(table.contribution, expected, rtol=1e-12)
    np.testing.assert_allclose(table["share"], np.abs(expected) / np.abs(expected).sum(), rtol=1e-12)
    assert set(table.unit) == {7} and set(table.position) == {899} and set(table.direction) == {"fwd"}
    assert sources.covered == pytest.approx(1, abs=1e-12)


def test_sources_of_rev_lie_to_the_right():
    fwd, rev = (top_sources(planted(d), "chrI", share=0.9999).table for d in ("fwd", "rev"))
    np.testing.assert_array_equal(rev.source_start, 1000 - fwd.source_end)
    np.testing.assert_array_equal(rev.source_end, 1000 - fwd.source_start)
    np.testing.assert_array_equal(rev.contribution, fwd.contribution)


def test_top_sources_cover_the_share_or_say_how_much():
    i, f, g = draw_gates(4, 5000, seed=11, forget=4.0)
    found = provenance(i, f, g, 4999, direction="fwd")
    everything = top_sources(found, "c", limit=5000, share=0.95)
    assert ((everything.covered >= 0.95) & (everything.covered < 0.96)).all()
    few = top_sources(found, "c", limit=3, share=0.95)
    assert len(few.table) == 12 and (few.covered < everything.covered).all()
    for sources in (everything, few):
        by_unit = sources.table.groupby("unit")["share"].sum()
        np.testing.assert_allclose(by_unit, sources.covered, rtol=1e-12)
    # each segment is the sum of its bases, and no base is in two segments
    for source in everything.table.itertuples():
        inside = (found.source >= source.source_start) & (found.source < source.source_end)
        assert found.contribution[source.unit, inside].sum() == pytest.approx(source.contribution, rel=1e-12)


def test_the_initial_state_counts_as_mass_that_no_source_covers():
    i, f, g = draw_gates(1, 20, seed=12, forget=6.0)
    found = provenance(i, f, g, 19, direction="fwd", start=5.0)
    covered = top_sources(found, "c", limit=100, share=1).covered
    writes = np.abs(found.contribution).sum()
    assert covered == pytest.approx(writes / (writes + found.start_held[0]), rel=1e-12)
    assert covered < 0.8


def test_a_cell_that_holds_nothing_has_no_sources(tmp_path):
    empty = provenance(np.zeros((2, 50)), np.zeros((2, 50)), np.zeros((2, 50)), 30, direction="fwd")
    sources = top_sources(empty, "c")
    assert len(sources.table) == 0 and np.isnan(sources.covered).all()
    write_interact(tmp_path / "a.interact", sources.table, "n", "d")
    write_bedpe(tmp_path / "a.bedpe", sources.table)
    assert len((tmp_path / "a.interact").read_text().splitlines()) == 2
    assert len((tmp_path / "a.bedpe").read_text().splitlines()) == 1
    # one unit with sources beside one without
    mixed = [np.zeros((2, 50)), np.zeros((2, 50)), np.array([np.zeros(50), np.ones(50)])]
    assert set(top_sources(provenance(*mixed, 30, direction="fwd"), "c").table.unit) == {1}


@pytest.fixture(scope="module")
def arcs(traced):
    """Sources of two units in both directions at two positions, as one table."""
    tables = []
    for row, direction in enumerate(("fwd", "rev")):
        gates = [getattr(traced, name)[0, row, 6:].numpy() for name in GATES]
        for position in (9500, 10_111):
            found = provenance(*gates, position, direction=direction, origin=9000, units=[6, 7])
            tables.append(top_sources(found, "chrXII", limit=8).table)
    return pd.concat(tables, ignore_index=True)


def by_place(table):
    order = ["contig", "direction", "unit", "position", "source_start"]
    return table.sort_values(order, ignore_index=True)


def test_the_table_reads_back(arcs, tmp_path):
    write_sources(tmp_path / "sources.tsv", arcs)
    read = pd.read_csv(tmp_path / "sources.tsv", sep="\t")
    assert list(read.columns) == list(SOURCE_COLUMNS)
    pd.testing.assert_frame_equal(read, arcs, rtol=1e-8, check_dtype=False)


def test_bedpe_reads_back_with_bioframe(arcs, tmp_path):
    path = tmp_path / "arcs.bedpe"
    write_bedpe(path, arcs)
    names = [*bioframe.SCHEMAS["bedpe"], "contribution", "share"]
    assert path.read_text().splitlines()[0] == "#" + "\t".join(names)
    read = bioframe.read_table(path, schema=names, comment="#")
    assert (read.chrom1 == read.chrom2).all() and (read.strand1 == read.strand2).all()
    assert (read.end2 == read.start2 + 1).all() and (read.start1 < read.end1).all()
    back = pd.DataFrame(
        {
            "contig": read.chrom1,
            "position": read.start2,
            "unit": read.name.str.extract(r"^unit(\d+)\.")[0].astype(int),
            "direction": read.strand1.map({"+": "fwd", "-": "rev"}),
            "source_start": read.start1,
            "source_end": read.end1,
            "contribution": read.contribution,
            "share": read["share"],
            "sign": np.where(read.contribution > 0, "+", "-"),
        }
    )
    pd.testing.assert_frame_equal(by_place(back), by_place(arcs), rtol=1e-8, check_dtype=False)
    np.testing.assert_array_equal(read.score, np.rint(1000 * read["share"]))
    assert read.score.between(0, 1000).all()


def test_interact_reads_back_by_ucsc_field_order(arcs, tmp_path):
    path = tmp_path / "arcs.interact"
    write_interact(path, arcs, "memory", "what units 6 and 7 hold")
    track, header, *lines = path.read_text().splitlines()
    assert track.startswith('track type=interact name="memory" description="what units 6 and 7 hold" ')
    assert "interactDirectional=true" in track
    assert header == "#" + "\t".join(INTERACT)
    rows = [dict(zip(INTERACT, line.split("\t"), strict=True)) for line in lines]
    back = []
    for row in rows:
        source = int(row["sourceStart"]), int(row["sourceEnd"])
        target = int(row["targetStart"]), int(row["targetEnd"])
        assert int(row["chromStart"]) == min(source[0], target[0])
        assert int(row["chromEnd"]) == max(source[1], target[1])
        assert row["chrom"] == row["sourceChrom"] == row["targetChrom"]
        assert target[1] == target[0] + 1 and 0 <= int(row["score"]) <= 1000
        # drawn from where it was written to where it is held: rightwards by fwd, leftwards by rev
        strand = "+" if source[0] < target[0] else "-" if source[1] > target[1] else row["sourceStrand"]
        assert row["sourceStrand"] == row["targetStrand"] == strand
        direction = {"+": "fwd", "-": "rev"}[strand]
        unit, value = int(row["exp"].removeprefix("unit").split(".")[0]), float(row["value"])
        assert row["exp"] == row["name"] == f"unit{unit}.{direction}"
        back.append((row["chrom"], target[0], unit, direction, *source, value, "+" if value > 0 else "-"))
        assert len(row["color"].split(",")) == 3
    names = [name for name in SOURCE_COLUMNS if name != "share"]
    expected = by_place(arcs)
    pd.testing.assert_frame_equal(
        by_place(pd.DataFrame(back, columns=names)), expected[names], rtol=1e-8, check_dtype=False
    )
    starts = [int(row["chromStart"]) for row in rows]
    assert starts == sorted(starts)


def test_arc_files_are_the_same_bytes_and_whole_or_absent(arcs, tmp_path):
    for name in ("a", "b"):
        write_interact(tmp_path / f"{name}.interact", arcs, "m", "d")
        write_bedpe(tmp_path / f"{name}.bedpe", arcs)
    for kind in ("interact", "bedpe"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    with pytest.raises(ValueError, match="double quote"):
        write_interact(tmp_path / "c.interact", arcs, 'm"', "d")
    with pytest.raises(AttributeError):
        write_bedpe(tmp_path / "d.bedpe", arcs.drop(columns="position"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bedpe", "a.interact", "b.bedpe", "b.interact"]


def test_contribution_of_a_wire_is_its_closed_form():
    """'A' writes 1, 'T' keeps f = 0.9999: after 100,000 bp 4.54e-5 of it is left (science.md, G2)."""
    length, f = 100_001, 0.9999
    logit = math.log(f / (1 - f))
    i, g = np.full(length, -800.0), np.zeros(length)
    i[0], g[0] = 800.0, 1.0
    found = provenance(i, np.full(length, logit), g, length - 1, direction="fwd")
    assert found.cell[0] == pytest.approx(math.exp(100_000 * math.log(f)), rel=1e-11)
    table = top_sources(found, "wire").table
    assert list(zip(table.source_start, table.source_end, strict=True)) == [(0, 1)]
