"""The verb `bias`: from files to track, model, numbers and figure."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gatescope.atac.bias import bias
from gatescope.atac.bigwig import read_bigwig
from gatescope.errors import InputError
from gatescope.genome.sequence import decode_bases
from tiny_data import write_bigwig, write_rows

LENGTHS = {"c1": 60_000, "c2": 50_000, "c3": 40_000, "c4": 30_000}
FOLDS = {"f1": {"test": ["c3"], "valid": ["c4"]}}
GAP = slice(5_000, 5_400)
FILES = ("tn5_bias.bw", "tn5_bias.bw.json", "tn5_bias.json", "tn5_bias.svg")
PEAKS = [(contig, start, start + 600) for contig in LENGTHS for start in (10_000, 22_000)]
MARGIN_BP = 200


def weight(codes: np.ndarray) -> np.ndarray:
    """Cut rate: three times as high for every G 4 bp before and C 4 bp after the cut, a palindrome."""
    before, after = np.roll(codes, 4) == 2, np.roll(codes, -4) == 1
    return 3.0 ** (before.astype(int) + after)


@dataclass
class World:
    """Files of a genome on which Tn5 has a known preference, and what they hold."""

    folder: Path
    codes: dict[str, np.ndarray]
    cuts: dict[str, np.ndarray]
    peaks: list[tuple]

    def run(self, name: str = "out", folds: dict = FOLDS, **options) -> Path:
        folder = self.folder
        rows = [f">{contig}\n{decode_bases(codes)}\n" for contig, codes in self.codes.items()]
        (folder / "genome.fa").write_text("".join(rows))
        write_rows(folder / "peaks.bed", self.peaks)
        write_bigwig(folder / "cuts.bw", LENGTHS, self.cuts)
        paths = (
            folder / "genome.fa",
            folder / "cuts.bw",
            folder / "peaks.bed",
            folder / name / "tn5_bias.bw",
        )
        bias(*paths, folds=folds, **options)
        return folder / name

    def describe(self, name: str = "out", **options) -> dict:
        return json.loads((self.run(name, **options) / "tn5_bias.json").read_text())

    def background(self, contig: str) -> np.ndarray:
        mask = self.codes[contig] < 4
        for chrom, start, end in self.peaks:
            if chrom == contig:
                mask[start - MARGIN_BP : end + MARGIN_BP] = False
        return mask


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    """A good world; nothing is drawn, which takes longer than all the rest (`monkeypatch.undo()` draws)."""
    monkeypatch.setattr("gatescope.atac.bias.draw_bias", lambda *_: None)
    rng = np.random.default_rng(5)
    shares = {"c1": 0.25, "c2": 0.25, "c3": 0.15, "c4": 0.15}  # of C, and of G
    codes = {
        contig: rng.choice(4, LENGTHS[contig], p=[0.5 - gc, gc, gc, 0.5 - gc]).astype(np.uint8)
        for contig, gc in shares.items()
    }
    codes["c1"][GAP] = 4
    cuts = {contig: rng.poisson(0.04 * weight(each)) * (each < 4) for contig, each in codes.items()}
    return World(tmp_path, codes, cuts, list(PEAKS))


def test_the_track_is_the_planted_preference(world):
    path = world.run() / "tn5_bias.bw"
    total, bases = 0.0, 0
    for contig, codes in world.codes.items():
        rate, expected = read_bigwig(path, contig), weight(codes)
        assert np.array_equal(np.isnan(rate), codes == 4)
        known = np.flatnonzero(codes < 4)[20:-20]
        assert np.corrcoef(np.log(rate[known]), np.log(expected[known]))[0, 1] > 0.93
        background = world.background(contig)
        total, bases = total + rate[background].sum(dtype=np.float64), bases + background.sum()
    assert total / bases == pytest.approx(1, abs=0.002)  # values are rounded to steps of 5 %


def test_what_it_says(world):
    found = world.describe()
    assert found["fitted_on"]["contigs"] == ["c1", "c2"]
    counted = sum(world.cuts[contig][world.background(contig)].sum() for contig in ("c1", "c2"))
    assert found["fitted_on"]["cuts"] == counted > 5_000
    rows = {place: {row["bin_bp"]: row for row in rows} for place, rows in found["explained"].items()}
    assert rows["genome"][1]["cuts"] == sum(counts.sum() for counts in world.cuts.values())
    # what an oracle that knows the preference explains
    ideal = np.concatenate([weight(codes)[world.background(c)] for c, codes in world.codes.items()])
    ideal /= ideal.mean()
    possible = (ideal * np.log2(ideal)).mean()
    assert 0.85 * possible < rows["background"][1]["bits_per_cut"] < 1.02 * possible
    assert 0.05 < rows["background"][1]["share"] < 0.5
    assert f"{rows['background'][1]['share']:.1%}" in found["sentence"]
    # two contigs hold fewer G and C, so Tn5 cuts them less
    assert (
        f"In 200-bp bins of the whole genome it explains {rows['genome'][200]['share']:.1%}"
        in found["sentence"]
    )
    assert rows["genome"][200]["share"] > 0.05 and "look more open because of it" in found["sentence"]


def test_even_cuts_give_a_flat_track_that_explains_nothing(world):
    rng = np.random.default_rng(6)
    world.cuts = {contig: rng.poisson(0.1, length) for contig, length in LENGTHS.items()}
    world.codes["c1"][GAP] = 0
    found = world.describe()
    rate = read_bigwig(world.folder / "out" / "tn5_bias.bw", "c3")
    assert np.std(np.log(rate)) < 0.35
    rows = [row for place in ("background", "genome") for row in found["explained"][place]]
    assert all(
        row["share"] < 0.01 for row in rows if row["bin_bp"] < 1_000
    )  # 150 bins of 1,000 bp say little
    assert "explains nothing of the variation" in found["sentence"]
    assert "hardly anything about how open the region is" in found["sentence"]


def test_peaks_do_not_touch_the_model(world):
    before = world.describe("before")["model"]
    for contig, start, end in world.peaks:
        near = slice(start - MARGIN_BP, end + MARGIN_BP)
        world.cuts[contig][near] = 7 * (world.codes[contig][near] == 0)
    assert world.describe("after")["model"] == before
    assert (world.folder / "before/tn5_bias.bw").read_bytes() == (
        world.folder / "after/tn5_bias.bw"
    ).read_bytes()


def test_neither_do_held_out_contigs_nor_the_exclusion_list(world):
    write_rows(world.folder / "exclusion.bed", [("c1", 30_000, 31_000)])
    before = world.describe("before", exclusion_list=world.folder / "exclusion.bed")
    world.cuts["c3"] = np.random.default_rng(1).poisson(0.5, LENGTHS["c3"])
    world.cuts["c1"][30_000:31_000] = 9
    after = world.describe("after", exclusion_list=world.folder / "exclusion.bed")
    assert after["model"] == before["model"]
    assert after["explained"] != before["explained"]


def test_few_training_cuts_are_helped_by_held_out_background(world, caplog):
    caplog.set_level("INFO")
    folds = {"f1": {"test": ["c1"], "valid": ["c2"]}, "f2": {"test": ["c3"], "valid": ["c4"]}}
    found = world.describe(folds=folds)
    assert found["fitted_on"]["contigs"] == list(LENGTHS)
    assert "hold 0 background cuts" in found["fitted_on"]["why"]
    assert "hold 0 background cuts" in caplog.text


def test_each_contig_is_compared_with_a_model_of_the_others(world):
    """Where every contig is counted, a contig's own cuts must not help it: noise explains nothing."""
    rng = np.random.default_rng(8)
    few = {contig: rng.poisson(0.004, length) for contig, length in LENGTHS.items()}
    world.cuts = few
    rows = world.describe()["explained"]["background"]
    assert rows[0]["share"] < 0.02


def test_same_bytes_twice(world, monkeypatch):
    monkeypatch.undo()
    first, second = world.run("one"), world.run("two")
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert sorted(path.name for path in first.iterdir()) == sorted(FILES)


def test_contigs_left_out_are_not_in_the_track(world):
    write_rows(world.folder / "exclusion.bed", [("c2", 0, 900)])  # an excluded contig only
    folder = world.run(exclude_contigs=["c2"], exclusion_list=world.folder / "exclusion.bed")
    with pytest.raises(InputError, match="no contig 'c2'"):
        read_bigwig(folder / "tn5_bias.bw", "c2")


def test_no_background_is_the_users_mistake(world):
    world.peaks = [(contig, 0, length) for contig, length in LENGTHS.items()]
    with pytest.raises(InputError, match="200 bp away from every peak"):
        world.run()
    assert not (world.folder / "out").exists()


def test_the_output_is_a_bigwig_by_name(world):
    with pytest.raises(InputError, match=r"ends in \.bw"):
        bias(*(world.folder / name for name in ("a", "b", "c", "out.json")), folds=FOLDS)
