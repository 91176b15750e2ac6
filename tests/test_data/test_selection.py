"""The choice of training windows: outliers, contig ends and mappability, against slow loops over windows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.data.encode import encode
from gatescope.data.landscape import window_starts
from gatescope.data.store import EncodedStore
from gatescope.data.unlearned import read_copies
from gatescope.errors import InputError
from tiny_data import make_tiny_inputs, write_bigwig

WINDOW_BP = 200


def run(inputs, name="encoded", **changes):
    settings = {"folds": inputs.folds, "exclusion_list": inputs.exclusion_list, "window_bp": WINDOW_BP}
    settings |= {"near_duplicates": "skip"}
    output = inputs.folder.parent / name
    encode(inputs.genome, inputs.cuts, inputs.peaks, output, **{**settings, **changes})
    return EncodedStore(output)


def steps(store):
    return {row["step"]: row for row in store.meta["filters"]}


@pytest.fixture
def many_peaks(tmp_path):
    """Return inputs with 150 peaks of 100 bp, one every 480 bp, so that there is a 99th percentile."""
    inputs = make_tiny_inputs(tmp_path / "inputs")
    inputs.peak_rows = [
        (contig, start, start + 100, "p", 0, ".", 1, 1, 1, -1)
        for contig, length in inputs.lengths.items()
        for start in range(480, length - 480, 480)
    ]
    rng = np.random.default_rng(1)
    for contig, start, end, *_ in inputs.peak_rows:
        inputs.cut_counts[contig][start:end] += rng.poisson(0.5, end - start)
    inputs.write()
    return inputs


def cuts_around(inputs, contig, summit):
    left = min(max(0, summit - WINDOW_BP // 2), inputs.lengths[contig] - WINDOW_BP)
    return inputs.cut_counts[contig][left : left + WINDOW_BP].sum()


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_windows_with_too_many_cuts_are_dropped(many_peaks, ratio):
    tower = many_peaks.peak_rows[70]
    many_peaks.cut_counts[tower[0]][tower[1] + 30] += 5_000  # a PCR tower on one base
    many_peaks.write()
    store = run(many_peaks, outlier_ratio=ratio)
    peaks = [
        row for row in many_peaks.peak_rows if not (row[0] == "chr1" and row[2] > 9_000 and row[1] < 9_500)
    ]
    counts = sorted(cuts_around(many_peaks, row[0], row[1] + 50) for row in peaks)
    most = ratio * counts[int(np.floor(0.99 * (len(counts) - 1)))]
    wanted = [row[:3] for row in peaks if cuts_around(many_peaks, row[0], row[1] + 50) <= most]
    kept = store.regions.query("kind == 'peak'")[["chrom", "start", "end"]]
    assert list(kept.itertuples(index=False, name=None)) == wanted
    assert tower[:3] not in wanted
    outliers = store.regions.query("kind == 'outlier'")[["chrom", "start", "end"]]
    assert set(outliers.itertuples(index=False, name=None)) == {row[:3] for row in peaks} - set(wanted)
    tested = store.peaks[["chrom", "start", "end"]]
    assert list(tested.itertuples(index=False, name=None)) == [row[:3] for row in peaks]
    assert steps(store)["outliers"]["dropped"] == len(peaks) - len(wanted) == (1 if ratio == 2 else 2)
    assert f"limit {most:,.0f} cuts" in steps(store)["outliers"]["note"]


def test_background_with_too_many_cuts_is_dropped(many_peaks):
    many_peaks.cut_counts["chr2"][800] += 9_000  # between two peaks
    many_peaks.write()
    store = run(many_peaks, background_ratio=5)
    dropped = steps(store)["background outliers"]["dropped"]
    assert dropped > 0
    background = store.regions.query("kind == 'background' and chrom == 'chr2'")
    assert not ((background["start"] <= 800) & (background["end"] > 800)).any()
    kept = run(many_peaks, background_ratio=5, outlier_ratio=0)
    assert steps(kept)["background outliers"]["dropped"] == 0
    assert steps(kept)["background outliers"]["kept"] == steps(store)["background outliers"]["kept"] + dropped


def test_cuts_on_excluded_bases_make_no_outlier(many_peaks):
    """A tower on the exclusion list is known to be one; the window beside it is as good as any."""
    many_peaks.peak_rows.append(("chr1", 8_950, 8_999, "beside", 0, ".", 1, 1, 1, -1))
    many_peaks.cut_counts["chr1"][9_010] += 9_000
    many_peaks.write()
    assert 8_950 in run(many_peaks).regions.query("kind == 'peak' and chrom == 'chr1'")["start"].to_numpy()


def test_few_peaks_have_no_outlier(tiny_inputs):
    contig, start, *_ = tiny_inputs.peak_rows[0]
    tiny_inputs.cut_counts[contig][start + 100] += 9_000
    tiny_inputs.write()
    store = run(tiny_inputs)
    assert steps(store)["outliers"]["dropped"] == 0
    assert steps(store)["outliers"]["note"] == "filter not applied: fewer than 100 peaks"


@pytest.mark.parametrize("ratio", [-1.0, 0.5, float("inf"), float("nan")])
def test_a_ratio_that_would_drop_ordinary_peaks_is_refused(tiny_inputs, ratio):
    with pytest.raises(InputError, match="outlier_ratio"):
        run(tiny_inputs, outlier_ratio=ratio)


def test_peaks_on_a_contig_shorter_than_a_window_are_dropped(tiny_inputs):
    tiny_inputs.lengths["short"] = 150
    tiny_inputs.sequence["short"] = "ACGTT" * 30
    tiny_inputs.cut_counts["short"] = np.ones(150, np.float32)
    tiny_inputs.track_values["short"] = np.ones(150, np.float32)
    tiny_inputs.peak_rows.append(("short", 20, 120, "p", 0, ".", 1, 1, 1, -1))
    tiny_inputs.write()
    store = run(tiny_inputs)
    row = steps(store)["contig ends"]
    assert row["dropped"] == 1 and row["why"] == "the contig is shorter than the 200-bp window"
    assert "short" not in set(store.regions["chrom"]) and store.state("short")[20:120].all()
    exact = run(tiny_inputs, window_bp=150)
    assert "short" in set(exact.regions["chrom"])


@given(
    length=st.integers(1, 400),
    window_bp=st.integers(1, 300),
    place=st.floats(0, 1, exclude_max=True),
)
def test_a_window_lies_on_its_contig_and_holds_the_summit(length, window_bp, place):
    summit = int(place * length)
    table = pd.DataFrame({"chrom": ["a"], "summit": [summit]})
    (start,) = window_starts(table, {"a": length}, window_bp)
    centred = summit - window_bp // 2
    if length < window_bp:
        assert start == -1
    else:
        assert 0 <= start <= length - window_bp and start <= summit < start + window_bp
        moved = {0 if centred < 0 else length - window_bp}
        assert start in ({centred} if 0 <= centred <= length - window_bp else moved)


def make_mappability(inputs):
    """Let the first half of each contig be mappable to 30 %, the second wholly, where all peaks are."""
    inputs.peak_rows = [row for row in inputs.peak_rows if row[1] > inputs.lengths[row[0]] / 2 + 200]
    shares = {}
    for contig, length in inputs.lengths.items():
        shares[contig] = np.ones(length, np.float32)
        shares[contig][: length // 2] = 0.3
    inputs.write()
    write_bigwig(inputs.track, inputs.lengths, shares)
    return shares


def test_background_is_as_mappable_as_the_peaks(many_peaks):
    shares = make_mappability(many_peaks)
    alone, matched, other = (
        run(
            many_peaks, name, background_ratio=0.5, tracks={} if name == "alone" else {name: many_peaks.track}
        )
        for name in ("alone", "mappability", "extra")
    )

    def of_background(store):
        rows = store.regions.query("kind == 'background'")
        return [shares[row.chrom][row.start : row.end].mean() for row in rows.itertuples()]

    assert "mappability_ks_p" not in alone.meta["background"] and alone.regions.equals(other.regions)
    assert np.mean(of_background(alone)) < 0.8
    assert min(of_background(matched)) > 0.99 and len(of_background(matched)) > 20
    for feature in ("gc_ks_p", "mappability_ks_p"):
        assert matched.meta["background"][feature] > 0.05
    assert "mappability" in matched.tracks


def test_background_that_cannot_match_is_warned_of(many_peaks, caplog):
    """No tile is as unmappable as the peaks; the next best differ, and that is said."""
    shares = {contig: np.full(length, 0.55, np.float32) for contig, length in many_peaks.lengths.items()}
    for contig, start, end, *_ in many_peaks.peak_rows:
        shares[contig][start - 50 : end + 50] = 0.45
    write_bigwig(many_peaks.track, many_peaks.lengths, shares)
    store = run(many_peaks, tracks={"mappability": many_peaks.track})
    assert store.meta["background"]["mappability_ks_p"] < 0.05
    assert "mappability of peaks and background DIFFER" in caplog.text


def test_mappability_in_percent_is_refused(tiny_inputs):
    shares = {contig: np.full(length, 100, np.float32) for contig, length in tiny_inputs.lengths.items()}
    write_bigwig(tiny_inputs.track, tiny_inputs.lengths, shares)
    with pytest.raises(InputError, match=r"values from 100 to 100 on chr1, wanted shares in 0-1"):
        run(tiny_inputs, tracks={"mappability": tiny_inputs.track})


def test_reports_say_what_meta_says_with_the_same_bytes(many_peaks, tmp_path):
    # a copy of a test window on a training contig
    letters = many_peaks.sequence
    letters["chr1"] = letters["chr1"][:1_000] + letters["chr3"][2_300:2_700] + letters["chr1"][1_400:]
    many_peaks.write()
    folders = [tmp_path / "here", tmp_path / "there"]
    stores = [run(many_peaks, near_duplicates="report", reports=folder) for folder in folders]
    assert stores[0].meta == stores[1].meta
    names = ["near_duplicates.tsv", "regions_funnel.svg", "regions_funnel.tsv"]
    contents = [[(folder / name).read_bytes() for name in names] for folder in folders]
    assert contents[0] == contents[1]
    assert sorted(path.name for path in folders[0].iterdir()) == names
    table = pd.read_csv(folders[0] / "regions_funnel.tsv", sep="\t", keep_default_na=False)
    rows = [row for row in stores[0].meta["filters"] if row["of"] in ("peaks", "background windows")]
    assert sorted(zip(table["step"], table["kept"], table["dropped"], strict=True)) == sorted(
        (row["step"], row["kept"], row["dropped"]) for row in rows
    )
    assert list(table["of"]) == sorted(table["of"], reverse=True)
    # the caption holds every number of the table
    drawn = (folders[0] / "regions_funnel.svg").read_text()
    assert all(f"{kept:,} kept" in drawn for kept in table["kept"])
    copies = pd.read_csv(folders[0] / "near_duplicates.tsv", sep="\t")
    near = stores[0].meta["near_duplicates"]
    assert near["folds"]["f1"]["found"] == (copies["containment"] >= near["near_copy"]).sum() > 0
    assert set(copies["chrom"]) == {"chr3"} and set(copies["train_chrom"]) == {"chr1"}


def test_near_duplicates_are_not_looked_for_where_nobody_asks(tiny_inputs, tmp_path):
    store = run(tiny_inputs, reports=tmp_path / "reports")
    assert store.meta["near_duplicates"] is None
    assert (tmp_path / "reports/near_duplicates.tsv").read_text().count("\n") == 1


def test_a_copy_on_the_exclusion_list_is_none(many_peaks):
    """Nobody learns from it: chr1 9,000 to 9,500 is excluded."""
    letters = many_peaks.sequence
    letters["chr1"] = letters["chr1"][:9_000] + letters["chr3"][2_300:2_800] + letters["chr1"][9_500:]
    many_peaks.write()
    excluded = run(many_peaks, "excluded", near_duplicates="report")
    trusted = run(many_peaks, "trusted", near_duplicates="report", exclusion_list=None)
    found = [store.meta["near_duplicates"]["folds"]["f1"]["found"] for store in (excluded, trusted)]
    assert found == [0, 1]


def test_dropped_copies_are_named_per_fold(many_peaks):
    """Training of a fold passes over the copies of what that fold holds out; the state itself stays."""
    letters = many_peaks.sequence
    letters["chr1"] = letters["chr1"][:1_000] + letters["chr3"][2_300:2_700] + letters["chr1"][1_400:]
    many_peaks.write()
    folds = {"f1": {"test": ["chr3"], "valid": ["chr4"]}, "f2": {"test": ["chr2"], "valid": ["chr4"]}}
    dropped = run(many_peaks, "dropped", near_duplicates="drop", folds=folds)
    copies = read_copies(dropped.meta, "f1")
    ((start, end),) = copies["chr1"]
    # the window around 2,450 of chr3 is 2,350 to 2,550
    assert list(copies) == ["chr1"] and 1_050 <= start <= 1_080 and 1_220 <= end <= 1_250
    assert read_copies(dropped.meta, "f2") == {}
    train_bp = many_peaks.lengths["chr1"] + many_peaks.lengths["chr2"]
    row = steps(dropped)["near-copies, fold f1"]
    assert (row["kept"], row["dropped"], row["of"]) == (
        train_bp - (end - start),
        end - start,
        "training bases",
    )
    reported = run(many_peaks, "reported", near_duplicates="report", folds=folds)
    assert read_copies(reported.meta, "f1") == {} and reported.regions.equals(dropped.regions)
    assert steps(reported)["near-copies, fold f1"]["dropped"] == 0
    np.testing.assert_array_equal(reported.state("chr1"), dropped.state("chr1"))
