"""Shift detection on real yeast fragments: raw, shifted in advance, wrong by one, few."""

import gzip
import json

import numpy as np
import pytest

from gatescope.atac.cuts import cuts
from gatescope.atac.detect import detect_shift
from gatescope.atac.preference import StrandEnds
from gatescope.atac.shift import Tn5Shift
from gatescope.genome.fasta import Genome
from test_atac.atac_files import strand_ends

pytestmark = pytest.mark.realdata


def thinned(fragments, keep, seed):
    """About `keep` fragments, drawn with equal chance."""
    rng, total = np.random.default_rng(seed), len(fragments)
    for chrom, both in strand_ends(fragments):
        is_kept = rng.random(len(both.plus)) < keep / total
        yield chrom, StrandEnds(both.plus[is_kept], both.minus[is_kept])


@pytest.fixture(scope="module")
def yeast(data):
    genome = Genome(data / "genome.fa.gz")
    with gzip.open(data / "raw/fragments.bed.gz", "rt") as file:
        table = {tuple(line.split()) for line in file}
    rank = {chrom: number for number, chrom in enumerate(genome.lengths)}
    rows = sorted((rank[chrom], int(start), int(end), chrom) for chrom, start, end in table)
    return genome, [(chrom, start, end) for _, start, end, chrom in rows]


@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (4, -4), (4, -5), (5, -4), (4, -3)])
def test_the_shift_of_the_fragments_is_found(yeast, plus, minus):
    genome, fragments = yeast
    ends = [
        (chrom, StrandEnds(both.plus + plus, both.minus + minus)) for chrom, both in strand_ends(fragments)
    ]
    found = detect_shift(ends, genome)
    assert (found.shift, found.strands_apart_bp) == (Tn5Shift(plus, minus), plus + minus)
    assert found.score > 0.95 and found.second_score < 0.6 and found.lead_interval[0] > 0.35
    # an error of one bp on one strand is no convention: auto refuses it
    assert found.is_conventional == ((plus, minus) in [(0, 0), (4, -4), (4, -5)])


@pytest.mark.parametrize("keep", [300, 1000])
def test_a_few_hundred_fragments_are_enough(yeast, keep):
    genome, fragments = yeast
    found = [detect_shift(thinned(fragments, keep, seed), genome) for seed in range(10)]
    assert [each.shift for each in found] == [Tn5Shift(0, 0)] * 10
    assert detect_shift(thinned(fragments, 100, 0), genome).shift is None


def test_uniform_cuts_in_yeast_cannot_be_told(yeast):
    genome, _ = yeast
    for seed in range(5):
        rng = np.random.default_rng(seed)
        ends = [
            (chrom, StrandEnds(*rng.integers(0, bp, (2, bp // 50)))) for chrom, bp in genome.lengths.items()
        ]
        assert "no palindrome" in detect_shift(ends, genome).reason


def test_files_shifted_in_advance_give_the_same_track(data, yeast, tmp_path):
    genome, fragments = yeast
    for name, (plus, minus) in {"raw": (0, 0), "tenx": (4, -5), "centred": (4, -4)}.items():
        rows = [
            f"{chrom}\t{start + plus}\t{end + minus}\n"
            for chrom, start, end in fragments
            if end - start > 9  # a shift leaves nothing of shorter ones
        ]
        (tmp_path / f"{name}.bed").write_text("".join(rows))
        track = tmp_path / name / "cuts.bw"
        cuts(tmp_path / f"{name}.bed", genome.path, track, tn5_shift="auto")
        found = json.loads((track.parent / "tn5_shift.json").read_text())
        assert found["detected"] == f"+{plus}/-{-minus}"
        assert track.read_bytes() == (tmp_path / "raw" / "cuts.bw").read_bytes()
    assert len(rows) > 0.999 * len(fragments)
