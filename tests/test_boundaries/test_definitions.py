"""Other definitions of a boundary: planted steps come back, and regions stay apart."""

import numpy as np
import pandas as pd
import pytest

from gatescope.atac.bigwig import read_bigwig
from gatescope.boundaries.definitions import (
    HalfRise,
    Hysteresis,
    as_called,
    half_rise,
    predicted,
    read_q_values,
    with_q_value,
)
from gatescope.errors import InputError
from gatescope.genome.regions import merge_regions, read_regions

COLUMNS = ["chrom", "start", "end"]


def table(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def rows_of(found):
    assert list(found.columns) == COLUMNS and list(found.index) == list(range(len(found)))
    return list(found.itertuples(index=False, name=None))


def test_as_called_keeps_the_edges():
    regions = table(("a", 5, 9), ("b", 1, 2)).assign(kind="peak", summit=3)
    assert rows_of(as_called(regions)) == [("a", 5, 9), ("b", 1, 2)]


def test_a_q_value_keeps_regions_with_one_such_peak(tmp_path):
    path = tmp_path / "peaks.narrowPeak"
    lines = [
        ("a", 10, 40, "p1", 1, ".", 2.0, 9.0, 3.5, 5),
        ("a", 30, 60, "p2", 1, ".", 2.0, 9.0, 12.0, 5),
        ("a", 100, 140, "p3", 1, ".", 2.0, 9.0, 11.9, 5),
        ("b", 10, 60, "p4", 1, ".", 2.0, 9.0, 0.0, 5),
    ]
    path.write_text("track type=narrowPeak\n" + "".join("\t".join(map(str, row)) + "\n" for row in lines))
    peaks = read_q_values(path)
    assert peaks["log10_q"].tolist() == [3.5, 12.0, 11.9, 0.0]
    regions = merge_regions(read_regions(path))
    assert rows_of(with_q_value(regions, peaks, 12.0)) == [("a", 10, 60)]
    assert rows_of(with_q_value(regions, peaks, 11.0)) == [("a", 10, 60), ("a", 100, 140)]
    assert rows_of(with_q_value(regions, peaks, 0.0)) == rows_of(as_called(regions))
    assert rows_of(with_q_value(regions, peaks, 99.0)) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\t1\t9", "line 1: wanted the columns of narrowPeak"),
        ("a\t1\t9\tn\t1\t.\t1\t1\tx\t2", "line 1: wanted the columns of narrowPeak"),
        ("a\t1\t9\tn\t1\t.\t1\t1\t-1\t2", "line 1: -1 in column 9 is no -log10 of a q-value"),
        ("a\t1\t9\tn\t1\t.\t1\t1\tnan\t2", "line 1: nan in column 9 is no -log10"),
    ],
)
def test_a_file_without_q_values_is_named(tmp_path, line, message):
    (tmp_path / "peaks.narrowPeak").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        read_q_values(tmp_path / "peaks.narrowPeak")


def stepped(length, spans, low=0.05, high=0.5):
    """A density of cuts with a sharp step at each edge."""
    density = np.full(length, low)
    for start, end in spans:
        density[start:end] = high
    return density


@pytest.mark.parametrize("off_bp", [-100, -64, 0, 6, 64, 100])
def test_a_sharp_step_is_found_to_the_base(off_bp):
    spans = [(1000, 1600), (3000, 3800), (5200, 5750)]
    called = table(*(("a", start - off_bp, end + off_bp) for start, end in spans))
    found = half_rise(called, {"a": stepped(7000, spans)})
    assert rows_of(found) == [("a", *span) for span in spans]


def test_a_steady_rise_is_crossed_in_its_middle():
    """From 0 to 1 over 80 bp: half of the way is passed 40 bp in, whichever side the region is read from."""
    ramp = np.concatenate(
        [np.zeros(1000), np.linspace(0, 1, 80), np.ones(600), np.linspace(1, 0, 80), np.zeros(1000)]
    )
    for off_bp in (-30, 0, 30):
        ((_, start, end),) = rows_of(half_rise(table(("a", 1040 - off_bp, 1720 + off_bp)), {"a": ramp}))
        assert start == 1040 and end == 1720


def test_drawn_cuts_are_found_about_where_they_were_planted():
    rng = np.random.default_rng(0)
    spans = [(start, start + 500) for start in range(1000, 400_000, 1500)]
    cuts = rng.poisson(stepped(400_500, spans, 0.03, 0.4)).astype(np.float32)
    cuts[rng.integers(0, cuts.size, 200)] = 300  # towers
    found = half_rise(table(*(("a", start - 64, end + 64) for start, end in spans)), {"a": cuts})
    assert len(found) > 0.98 * len(spans)
    nearest = [min(spans, key=lambda span, at=row: abs(span[0] - at[1])) for row in rows_of(found)]
    moved = np.array(
        [[row[1] - span[0], span[1] - row[2]] for row, span in zip(rows_of(found), nearest, strict=True)]
    )
    assert np.abs(np.median(moved, axis=0)).max() <= 2
    assert np.abs(moved.mean(0)).max() <= 8
    assert (np.abs(moved) <= 15).mean() > 0.85


def test_regions_stay_apart_and_what_does_not_rise_is_left_out():
    rng = np.random.default_rng(1)
    cuts = rng.poisson(0.2, 6000).astype(float)
    called = table(*(("a", at, at + 40 + at % 90) for at in range(0, 5900, 160)))
    found = half_rise(called, {"a": cuts})
    edges = found[["start", "end"]].to_numpy().ravel()
    assert 0 < len(found) < len(called) and (np.diff(edges) > 0).all()
    # every region keeps a base of its own
    assert all(
        any(s < row.end and row.start < e for _, s, e in rows_of(called)) for row in found.itertuples()
    )
    assert rows_of(half_rise(called, {"a": np.full(6000, 0.2)})) == []
    dip = 0.6 - stepped(6000, [(2000, 2600)])
    assert rows_of(half_rise(table(("a", 2000, 2600)), {"a": dip})) == []


def test_half_rises_look_at_the_contigs_they_are_given_only():
    cuts = stepped(3000, [(0, 500), (1000, 1500), (2600, 3000)])
    called = table(("b", 1020, 1490), ("a", 10, 520), ("a", 990, 1520), ("a", 2590, 3000))
    wanted = [("a", 0, 500), ("a", 1000, 1500), ("a", 2600, 3000)]
    assert rows_of(half_rise(called, {"a": cuts, "c": cuts})) == wanted
    for rule in (dict(reach_bp=0), dict(most_cuts=0)):
        with pytest.raises(InputError, match="wanted more than 0"):
            HalfRise(**rule)


def test_predicted_regions_by_hand():
    rule = Hysteresis(threshold=0.5, margin=0.1, least_bp=3)
    probability = {
        "a": [0.5, 0.55, 0.58, 0.5, 0.1, 0.5, 0.6, 0.5, 0.49],  # the first never exceeds 0.6
        "b": [0.7, 0.7, 0.45, 0.45, 0.7, 0.39, 0.7, 0.7, 0.7],  # joined over 0.45, parted by 0.39
        "c": [0.9, 0.9, np.nan, 0.9, 0.9, 0.9],  # nothing is known of a gap
        "d": [0.9, 0.9, 0.1, 0.9],  # too short
        "e": [],
    }
    found = predicted({name: np.array(values, np.float32) for name, values in probability.items()}, rule)
    assert rows_of(found) == [("a", 5, 8), ("b", 0, 5), ("b", 6, 9), ("c", 3, 6)]


def test_without_margin_predicted_regions_are_the_runs_above_the_threshold():
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.random(3000), np.ones(15) / 15, mode="same")
    found = predicted({"a": smooth}, Hysteresis(0.5, 0.0, 1))
    inside = np.zeros(3000, bool)
    for _, start, end in rows_of(found):
        inside[start:end] = True
    assert np.array_equal(inside, smooth >= 0.5)
    kept = predicted({"a": smooth}, Hysteresis(0.5, 0.0, 20))
    assert rows_of(kept) == [row for row in rows_of(found) if row[2] - row[1] >= 20]


@pytest.mark.realdata
def test_half_rises_of_yeast_tell_the_two_callings_apart(data):
    sizes = pd.read_csv(data / "chrom.sizes", sep="\t", header=None, index_col=0)[1]
    cuts = {contig: read_bigwig(data / "cuts_p4m4.bw", contig, missing=0.0) for contig in sizes.index}
    medians = {}
    for name in ("macs3_bedpe_q0.01", "macs3_cuts_shift-75_ext150_q0.01"):
        rows = read_regions(data / f"peaks/{name}.narrowPeak")
        rows["end"] = np.minimum(rows["end"], rows["chrom"].map(sizes))
        called = merge_regions(rows)
        found = half_rise(called, cuts)
        assert len(found) > 0.9 * len(called)
        both = found.merge(called, on="chrom", suffixes=("", "_called"))
        both = both.loc[(both.start < both.end_called) & (both.start_called < both.end)]
        assert len(both) == len(found)
        inwards = np.concatenate([both.start - both.start_called, both.end_called - both.end])
        medians[name] = np.median(inwards)
        print(name, len(called), len(found), medians[name])
    assert abs(medians["macs3_bedpe_q0.01"]) <= 10
    assert 40 <= medians["macs3_cuts_shift-75_ext150_q0.01"] <= 70
