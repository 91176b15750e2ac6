"""Tn5's preference in real yeast ATAC-seq, against what is known of it."""

import json

import numpy as np
import pytest

from gatescope.atac.bias import bias
from gatescope.atac.bigwig import read_bigwig
from gatescope.atac.tn5_model import REACH_BP, fit_model, tally_pairs
from gatescope.genome.fasta import Genome
from gatescope.genome.regions import read_regions
from gatescope.genome.sequence import ALPHABET

pytestmark = pytest.mark.realdata
FOLDS = {"f1": {"test": ["chrIX", "chrXI"], "valid": ["chrVIII"]}}
PEAKS = "peaks/macs3_bedpe_q0.01.narrowPeak"


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("yeast") / "tn5_bias.bw"
    bias(data / "genome.fa.gz", data / "cuts_p4m4.bw", data / PEAKS, path, folds=FOLDS)
    return path, json.loads(path.with_suffix(".json").read_text())


def test_how_much_it_explains(found):
    _, content = found
    rows = {place: {row["bin_bp"]: row for row in rows} for place, rows in content["explained"].items()}
    assert content["fitted_on"]["contigs"] == ["chrI", "chrII", "chrIII", "chrV", "chrVI"]
    assert content["fitted_on"]["cuts"] == 44_177
    assert 0.19 < rows["background"][1]["share"] < 0.23
    assert 1.15 < rows["background"][1]["bits_per_cut"] < 1.3
    assert 0.38 < rows["peaks"][1]["share"] < 0.46
    assert 0.03 < rows["background"][200]["share"] < 0.07
    assert 0.07 < rows["genome"][200]["share"] < 0.12


def test_every_known_base_of_a_contig_has_a_rate(found):
    path, _ = found
    rate = read_bigwig(path, "chrIX")
    assert np.isfinite(rate).all() and 0.005 < rate.min() < rate.max() < 200


def test_more_cuts_where_more_are_expected(found, data):
    """Calibrated on held-out background: bases in the order of their rate, in ten groups."""
    path, _ = found
    peaks = read_regions(data / PEAKS)
    rates, cuts = [], []
    for contig in ("chrVIII", "chrIX", "chrXI"):
        rate = read_bigwig(path, contig)
        far = np.ones(len(rate), bool)
        for start, end in peaks.loc[peaks["chrom"] == contig, ["start", "end"]].to_numpy():
            far[max(0, start - 200) : end + 200] = False
        rates.append(rate[far])
        cuts.append(read_bigwig(data / "cuts_p4m4.bw", contig, missing=0.0)[far])
    rate, count = np.concatenate(rates), np.concatenate(cuts)
    groups = np.array_split(np.argsort(rate, kind="stable"), 10)
    observed = np.array([count[group].mean() for group in groups]) / count.mean()
    expected = np.array([rate[group].mean() for group in groups])
    assert np.all(np.diff(observed) > 0)
    assert np.allclose(observed[4:], expected[4:], rtol=0.3)


def test_the_motif_is_tn5s(data):
    """G 4 bp before the centre and C 4 bp after it, the edges of the duplication, lead (Goryshin et al. 1998)."""
    genome = Genome(data / "genome.fa.gz")
    cuts = read_bigwig(data / "cuts_p4m4.bw", "chrII", missing=0.0)
    codes = genome.codes("chrII")
    ratio = fit_model(tally_pairs(codes, cuts, np.ones(len(codes), bool))).base_ratio
    assert ALPHABET[ratio[REACH_BP - 4].argmax()] == "G" and ALPHABET[ratio[REACH_BP + 4].argmax()] == "C"
    for offset in (-4, 4):
        assert ratio[REACH_BP + offset].max() == pytest.approx(ratio.max(), rel=1e-3)
