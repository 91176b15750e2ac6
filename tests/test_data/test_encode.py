"""The encoder against slow loops over bases, and its promises: counts add up, nothing silent, same bytes."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from gatescope.data.encode import encode
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from tiny_data import make_tiny_inputs, write_bigwig, write_rows

WINDOW_BP = 256


def run(inputs, output=None, **changes):
    output = output or inputs.folder.parent / "encoded"
    settings = {
        "folds": inputs.folds,
        "exclusion_list": inputs.exclusion_list,
        "window_bp": WINDOW_BP,
        "seed": 7,
    }
    encode(inputs.genome, inputs.cuts, inputs.peaks, output, **{**settings, **changes})
    return EncodedStore(output)


def mask_n(inputs, contig, start, end):
    letters = inputs.sequence[contig]
    inputs.sequence[contig] = letters[:start] + "N" * (end - start) + letters[end:]


def slow_union(rows):
    """Merge rows of one contig as sets of bases; returns maximal (start, end), touching ones joined."""
    bases = sorted({base for _, start, end, *_ in rows for base in range(start, end)})
    runs = np.split(bases, np.flatnonzero(np.diff(bases) > 1) + 1)
    return [(int(run[0]), int(run[-1]) + 1) for run in runs]


def funnel(store):
    return {row["step"]: row for row in store.meta["filters"]}


def test_arrays_equal_loops_over_bases(tiny_inputs):
    mask_n(tiny_inputs, "chr2", 2_300, 2_350)
    tiny_inputs.write()
    store = run(tiny_inputs)
    assert store.lengths == tiny_inputs.lengths
    for contig, letters in tiny_inputs.sequence.items():
        state = np.zeros(len(letters), np.uint8)
        for chrom, start, end, *_ in tiny_inputs.peak_rows:
            for base in range(start, end):
                if chrom == contig:
                    state[base] = 1
        for base, letter in enumerate(letters):
            if letter == "N" or (contig == "chr1" and 9_000 <= base < 9_500):
                state[base] = 255
        np.testing.assert_array_equal(store.state(contig), state)
        np.testing.assert_array_equal(store.codes(contig), ["ACGTN".index(letter) for letter in letters])
        np.testing.assert_array_equal(store.track(contig, "cuts"), tiny_inputs.cut_counts[contig])
    total = sum(counts.sum() for counts in tiny_inputs.cut_counts.values())
    assert store.meta["cuts_per_bp"] == pytest.approx(total / sum(tiny_inputs.lengths.values()))


def test_regions_equal_a_slow_selection(tiny_inputs):
    """Exclusion, N: one peak is lost to each, the rest are the union of the rows, in genome order.

    The windows of the two peaks at contig ends are moved inwards.
    """
    rows = tiny_inputs.peak_rows
    rows[0:0] = [("chr1", 20, 400, "edge", 9, ".", 5, 5, 5, 100)]
    rows += [
        ("chr2", 17_700, 18_011, "edge", 9, ".", 5, 5, 5, 200),
        ("chr1", 9_499, 9_800, "x", 9, ".", 5, 5, 5, 9),
    ]
    mask_n(tiny_inputs, "chr3", 6_100, 6_140)
    tiny_inputs.write()
    store = run(tiny_inputs)
    peaks = store.regions[store.regions["kind"] == "peak"]
    wanted = []
    for contig, length in tiny_inputs.lengths.items():
        for start, end in slow_union([row for row in rows if row[0] == contig]):
            strongest = max(
                (row for row in rows if row[0] == contig and start <= row[1] < end), key=lambda row: row[6]
            )
            summit = strongest[1] + strongest[9]
            left = min(max(0, summit - 128), length - 256)
            letters = tiny_inputs.sequence[contig][left : left + 256]
            if contig == "chr1" and start < 9_500 and end > 9_000:
                continue
            if letters.count("N") / 256 > 0.1:
                continue
            known = len(letters) - letters.count("N")
            wanted.append((contig, start, end, summit, (letters.count("G") + letters.count("C")) / known))
    got = list(peaks[["chrom", "start", "end", "summit"]].itertuples(index=False, name=None))
    assert got == [row[:4] for row in wanted]
    np.testing.assert_allclose(peaks["gc"], [row[4] for row in wanted], rtol=1e-5)
    counts = funnel(store)
    assert [counts[step]["dropped"] for step in ("exclusion list", "contig ends", "unknown bases")] == [
        1,
        0,
        1,
    ]
    assert counts["contig ends"]["note"] == "2 windows moved inwards from a contig end"
    order = [list(tiny_inputs.lengths).index(chrom) for chrom in store.regions["chrom"]]
    places = list(zip(order, store.regions["start"], strict=True))
    assert places == sorted(places)


def test_every_number_of_the_funnel_adds_up(tiny_inputs):
    mask_n(tiny_inputs, "chr2", 9_000, 10_500)
    tiny_inputs.write()
    store = run(tiny_inputs, exclude_contigs=["chr4"], folds={"f": {"test": ["chr3"], "valid": ["chr2"]}})
    counts, n_rows = funnel(store), len(tiny_inputs.peak_rows)
    on_chr4 = sum(row[0] == "chr4" for row in tiny_inputs.peak_rows)
    assert (counts["peaks read"]["kept"], counts["peaks read"]["dropped"]) == (n_rows - on_chr4, on_chr4)
    chains = [
        ["peaks read", "overlapping peaks", "exclusion list", "contig ends", "unknown bases", "outliers"],
        ["background tiles", "background unknown bases", "background outliers", "background matching"],
    ]
    for chain in chains:
        for before, after in pairwise(chain):
            assert counts[before]["kept"] == counts[after]["kept"] + counts[after]["dropped"]
    kinds = store.regions["kind"].value_counts()
    assert kinds["peak"] == counts["unknown bases"]["kept"]
    assert kinds["background"] == counts["background matching"]["kept"]
    tiles = counts["background tiles"]
    shifts = range(0, WINDOW_BP, WINDOW_BP // 8)
    n_tiles = sum((length - shift) // WINDOW_BP for length in store.lengths.values() for shift in shifts)
    assert tiles["kept"] + tiles["dropped"] == n_tiles
    assert list(store.lengths) == ["chr1", "chr2", "chr3"]
    assert set(store.regions["chrom"]) == {"chr1", "chr2", "chr3"}


@pytest.mark.parametrize("max_unknown_fraction", [0.0, 0.1])
def test_background_touches_no_peak_no_excluded_region_and_few_unknown_bases(
    tiny_inputs, max_unknown_fraction
):
    for start in range(500, 15_000, 1_000):
        mask_n(tiny_inputs, "chr1", start, start + 15)
    tiny_inputs.write()
    store = run(tiny_inputs, max_unknown_fraction=max_unknown_fraction, background_ratio=3.0)
    background = store.regions[store.regions["kind"] == "background"]
    assert len(background) > 20 and not background.duplicated(["chrom", "start"]).any()
    for row in background.itertuples():
        state, codes = (
            array[row.start : row.end] for array in (store.state(row.chrom), store.codes(row.chrom))
        )
        assert row.end - row.start == WINDOW_BP and row.summit == (row.start + row.end) // 2
        assert (codes == 4).mean() <= max_unknown_fraction
        assert set(state[codes != 4]) == {0}


@pytest.mark.parametrize("max_unknown_fraction", [0.5, 1.0])
def test_a_window_without_a_known_base_is_never_trained_on(tiny_inputs, max_unknown_fraction):
    """Not even where every share of unknown bases is allowed: it has no GC content."""
    mask_n(tiny_inputs, "chr1", 5_800, 6_700)
    tiny_inputs.write()
    store = run(tiny_inputs, max_unknown_fraction=max_unknown_fraction)
    assert funnel(store)["unknown bases"]["dropped"] == 1
    assert not store.regions.query("kind == 'peak' and chrom == 'chr1'")["start"].between(5_800, 6_700).any()
    assert store.regions["gc"].notna().all()


def test_no_background_where_none_is_asked_for(tiny_inputs):
    assert set(run(tiny_inputs, background_ratio=0).regions["kind"]) == {"peak"}


def test_a_folder_that_is_no_store_is_left_alone(tiny_inputs):
    with pytest.raises(InputError, match=r"holds .*, which this command did not write"):
        run(tiny_inputs, output=tiny_inputs.folder)
    assert tiny_inputs.genome.exists() and tiny_inputs.peaks.exists()


def test_gc_of_background_matches_where_the_genome_has_a_gc_trend(tmp_path):
    """GC rises along each contig and peaks lie in its GC-rich half: random windows would differ."""
    inputs, rng = make_tiny_inputs(tmp_path / "inputs"), np.random.default_rng(5)
    for contig, length in inputs.lengths.items():
        gc = np.linspace(0.3, 0.7, length)
        strong = rng.random(length) < gc
        letters = np.where(strong, rng.choice(list("CG"), length), rng.choice(list("AT"), length))
        inputs.sequence[contig] = "".join(letters)
    inputs.peak_rows = [
        (contig, start, start + 150)
        for contig, length in inputs.lengths.items()
        for start in range(length // 2, length - 1_000, 900)
    ]
    inputs.peak_rows = [(*row, ".", 0, ".", 1, 1, 1, -1) for row in inputs.peak_rows]
    inputs.write()
    store = run(inputs, window_bp=200)
    background = store.meta["background"]
    assert background["wanted"] == (store.regions["kind"] == "peak").sum()
    assert background["gc_ks_p"] > 0.05
    gc = store.regions.groupby("kind")["gc"].mean()
    assert abs(gc["peak"] - gc["background"]) < 0.01 and gc["background"] > 0.54


def test_same_inputs_and_seed_give_the_same_bytes_in_any_folder(tmp_path):
    stores = []
    for name in ("here", "there"):
        inputs = make_tiny_inputs(tmp_path / name / "inputs")
        stores.append(run(inputs, tracks={"extra": inputs.track}).path)
    contents = [{path.name: path.read_bytes() for path in store.iterdir()} for store in stores]
    assert contents[0] == contents[1]
    assert EncodedStore(stores[0]).content_hash == EncodedStore(stores[1]).content_hash
    other = run(inputs, tmp_path / "other", tracks={"extra": inputs.track}, seed=8)
    assert other.content_hash != EncodedStore(stores[0]).content_hash
    assert not other.regions.equals(EncodedStore(stores[0]).regions)


def test_an_extra_track_is_stored_as_it_is(tiny_inputs):
    store = run(tiny_inputs, tracks={"extra": tiny_inputs.track})
    assert store.tracks == ("cuts", "extra")
    for contig, values in tiny_inputs.track_values.items():
        np.testing.assert_array_equal(store.track(contig, "extra"), values)
    assert funnel(store)["track extra"]["dropped"] == 0


def test_a_gap_on_a_scored_base_is_refused_unless_declared(tiny_inputs):
    values = tiny_inputs.track_values["chr3"].copy()
    tiny_inputs.track_values["chr3"][70:90] = np.nan
    tiny_inputs.write()
    with pytest.raises(
        InputError, match=r"no value on 20 of 16000 scored bases of chr3, first at 70.*extra=.*:zero"
    ):
        run(tiny_inputs, tracks={"extra": tiny_inputs.track})
    assert not (tiny_inputs.folder.parent / "encoded").exists()
    values[70:90] = 0
    declared = run(tiny_inputs, tracks={"extra": f"{tiny_inputs.track}:zero"})
    np.testing.assert_array_equal(declared.track("chr3", "extra"), values)
    assert funnel(declared)["track extra"]["dropped"] == 20
    assert "20 declared" in funnel(declared)["track extra"]["why"]
    assert declared.meta["parameters"]["gaps_are_zero"] == ["extra"]
    sidecar = tiny_inputs.track.with_name("track.bw.json")
    sidecar.write_text(json.dumps({"gaps": "zero"}))
    assert run(tiny_inputs, tracks={"extra": tiny_inputs.track}).meta["parameters"]["gaps_are_zero"] == [
        "extra"
    ]
    sidecar.write_text(json.dumps({"gaps": "missing"}))
    with pytest.raises(InputError, match="no value on 20"):
        run(tiny_inputs, tracks={"extra": tiny_inputs.track})


def test_a_gap_on_bases_that_are_not_scored_does_no_harm(tiny_inputs):
    tiny_inputs.track_values["chr1"][9_000:9_500] = np.nan
    tiny_inputs.write()
    store = run(tiny_inputs, tracks={"extra": tiny_inputs.track})
    assert not store.track("chr1", "extra")[9_000:9_500].any()
    assert funnel(store)["track extra"]["dropped"] == 500
    assert "500 not scored" in funnel(store)["track extra"]["why"]


def test_bed3_peaks_and_no_exclusion_list(tiny_inputs):
    tiny_inputs.peaks.unlink()
    write_rows(tiny_inputs.peaks, [row[:3] for row in tiny_inputs.peak_rows])
    bed = tiny_inputs.peaks.rename(tiny_inputs.peaks.with_suffix(".bed"))
    output = tiny_inputs.folder / "encoded"
    encode(tiny_inputs.genome, tiny_inputs.cuts, bed, output, folds=tiny_inputs.folds, window_bp=WINDOW_BP)
    store = EncodedStore(output)
    peaks = store.regions[store.regions["kind"] == "peak"]
    assert (peaks["summit"] == (peaks["start"] + peaks["end"]) // 2).all()
    assert "exclusion_list" not in store.meta["inputs"]
    assert not (store.state("chr1") == 255).any()


def test_no_background_on_request_and_less_where_the_genome_has_no_more(tiny_inputs):
    none = run(tiny_inputs, background_ratio=0.0)
    assert set(none.regions["kind"]) == {"peak"} and none.meta["background"]["gc_ks_p"] == 1
    many = run(tiny_inputs, background_ratio=100.0)
    counts = many.regions["kind"].value_counts()
    assert 0 < counts["background"] < many.meta["background"]["wanted"] == 100 * counts["peak"]


def test_a_bigwig_may_hold_more_contigs_than_the_genome(tiny_inputs):
    lengths = {"chrM": 500, **tiny_inputs.lengths}
    write_bigwig(tiny_inputs.cuts, lengths, {"chrM": np.ones(500), **tiny_inputs.cut_counts})
    assert "chrM" not in run(tiny_inputs).lengths


def test_several_exclusion_lists_are_one(tiny_inputs):
    """Their order does not matter, nor that they overlap, nor that one names an excluded contig only."""
    one, other = tiny_inputs.folder / "one.bed", tiny_inputs.folder / "other.bed"
    both, elsewhere = tiny_inputs.folder / "both.bed", tiny_inputs.folder / "elsewhere.bed"
    rows = [("chr2", 6_050, 6_300), ("chr1", 9_000, 9_500)], [("chr1", 9_200, 9_900), ("chr3", 0, 70)]
    write_rows(one, rows[0])
    write_rows(other, rows[1])
    write_rows(both, [*rows[0], *rows[1]])
    write_rows(elsewhere, [("chrM", 5, 9)])
    wanted = run(tiny_inputs, exclusion_list=both, exclude_contigs=["chrM"])
    states = {contig: np.array(wanted.state(contig)) for contig in wanted.lengths}
    regions = wanted.regions
    for lists in ([one, other], [other, elsewhere, one]):
        found = run(tiny_inputs, exclusion_list=lists, exclude_contigs=["chrM"])
        assert found.regions.equals(regions)
        assert all(np.array_equal(found.state(contig), states[contig]) for contig in states)
    roles = [role for role in found.meta["inputs"] if role.startswith("exclusion")]
    assert roles == ["exclusion_list 1", "exclusion_list 2", "exclusion_list 3"]
    empty = run(tiny_inputs, exclusion_list=[])
    assert empty.meta["inputs"].keys() == run(tiny_inputs, exclusion_list=None).meta["inputs"].keys()


def test_folds_by_number_and_from_files(tiny_inputs):
    """chr4 of 21,000, chr1 of 20,000, chr2 of 18,011 and chr3 of 16,000 bp, the longest dealt first."""
    store = run(tiny_inputs, folds=3)
    assert store.meta["folds"] == {
        "f1": {"test": ["chr4"], "valid": ["chr1"]},
        "f2": {"test": ["chr1"], "valid": ["chr2", "chr3"]},
        "f3": {"test": ["chr2", "chr3"], "valid": ["chr4"]},
    }
    parts = {"train": ["chr1", "chrUn"], "valid": ["chr2"], "test": ["chr3"]}
    (tiny_inputs.folder / "fold_0.json").write_text(json.dumps(parts))
    store = run(tiny_inputs, folds=tiny_inputs.folder / "fold_0.json")
    fold = store.fold("fold_0")
    assert fold.parts() == {**parts, "train": ["chr1"]} == store.meta["folds"]["fold_0"]
    assert [fold.split(contig) for contig in store.lengths] == ["train", "valid", "test", "unused"]


def test_a_contig_without_peaks_is_warned_of_and_a_part_without_is_refused(tiny_inputs, caplog):
    tiny_inputs.peak_rows = [row for row in tiny_inputs.peak_rows if row[0] not in ("chr2", "chr3")]
    tiny_inputs.write()
    with pytest.raises(InputError, match="no usable peak on the training contigs of fold f1"):
        run(tiny_inputs, folds={"f1": {"test": ["chr3", "chr1"], "valid": ["chr4"]}})
    assert "test contigs of fold f1 without a usable peak: chr3" in caplog.text
    with pytest.raises(InputError, match="no usable peak on chr2, chr3, the validation contigs of fold f1"):
        run(tiny_inputs, folds={"f1": {"test": ["chr1"], "valid": ["chr2", "chr3"]}})


def test_an_old_store_is_replaced(tiny_inputs):
    store = run(tiny_inputs)
    (store.path / "chrOld.npy").touch()
    shutil.copy(store.path / "meta.json", tiny_inputs.folder / "meta.json")
    again = run(tiny_inputs)
    assert not (again.path / "chrOld.npy").exists()
    assert (again.path / "meta.json").read_bytes() == (tiny_inputs.folder / "meta.json").read_bytes()
