"""Preflight and encode on real yeast data: the numbers its README states."""

import json

import numpy as np
import pandas as pd
import pybigtools
import pytest

from gatescope.data.encode import encode
from gatescope.data.preflight import preflight
from gatescope.data.store import EncodedStore

pytestmark = pytest.mark.realdata
FOLDS = {"f1": {"test": ["chrIX", "chrXI"], "valid": ["chrVIII"]}}
PEAKS = "peaks/macs3_bedpe_q0.01.narrowPeak"


@pytest.mark.parametrize(("atac", "shift"), [("raw/fragments.bed.gz", "+0/-0"), ("cuts_p4m4.bw", "+4/-4")])
def test_preflight_finds_what_the_readme_says(data, tmp_path, atac, shift):
    output = tmp_path / "preflight.json"
    preflight(data / "genome.fa.gz", data / atac, data / PEAKS, output, folds=FOLDS, tn5_shift=shift)
    found = json.loads(output.read_text())
    assert (found["genome"]["bp"], found["genome"]["unknown_share"]) == (3_876_404, 0)
    assert (found["atac"]["cuts"], found["peaks"]["merged"]) == (192_696, 477)
    assert found["atac"]["frip"] == pytest.approx(0.52, abs=0.005)
    assert found["atac"]["cuts_per_bp"] == pytest.approx(0.050, abs=0.0005)


@pytest.mark.parametrize("window_bp", [1024, 2000])
def test_encode_keeps_every_cut_and_matches_gc(data, tmp_path, window_bp):
    cuts = data / "cuts_p4m4.bw"
    reports = tmp_path / "reports"
    inputs = data / "genome.fa.gz", cuts, data / PEAKS
    encode(*inputs, tmp_path / "encoded", folds=FOLDS, window_bp=window_bp, reports=reports)
    store = EncodedStore(tmp_path / "encoded")
    with cuts.open("rb") as file:
        reader = pybigtools.open(file)
        for contig, length in store.lengths.items():
            wanted = reader.values(contig, 0, length, fillna=0.0)
            np.testing.assert_array_equal(store.track(contig, "cuts"), np.float32(wanted))
    kinds = store.regions["kind"].value_counts()
    # all of the merged peaks: twelve windows and more are moved inwards, and no promoter is an outlier
    assert kinds["peak"] == 477 and kinds["background"] >= 0.99 * kinds["peak"]
    assert store.meta["background"]["gc_ks_p"] > 0.05
    # the right ends of chrVIII and chrI are one 20-kb duplication, and chrVIII is held out
    copies = pd.read_csv(reports / "near_duplicates.tsv", sep="\t")
    ends = copies.query("chrom == 'chrVIII' and start > 525_000 and train_chrom == 'chrI'")
    assert (ends["containment"] > 0.8).sum() >= 2 and (ends["train_start"] > 205_000).all()
    assert 5 <= store.meta["near_duplicates"]["folds"]["f1"]["found"] <= 12
