"""Replicates kept: tracks of each file that add up to the merged one, and correlations as NumPy has them."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from gatescope.atac.bigwig import bigwig_lengths, read_bigwig
from gatescope.atac.cuts import cuts
from gatescope.atac.replicates import Concordance
from gatescope.errors import InputError
from test_atac.atac_files import count_cuts, draw, tagalign_rows, write_fasta, write_text

LENGTHS = {"chr2": 3050, "chr10": 2000, "tiny": 150, "chr1": 2500}


@pytest.fixture
def genome(tmp_path):
    return write_fasta(tmp_path / "genome.fa", LENGTHS)


@pytest.fixture
def files(tmp_path):
    shared = draw(LENGTHS, 20)
    rows = [list(dict.fromkeys([*shared, *draw(LENGTHS, 15, seed=seed)])) for seed in (1, 2, 3)]
    paths = [
        write_text(tmp_path / "one.bed", rows[0]),
        write_text(tmp_path / "two.bed.gz", rows[1]),
        write_text(tmp_path / "three.tagAlign", tagalign_rows(rows[2])),
    ]
    return paths, rows


def read(track):
    return {chrom: read_bigwig(track, chrom, missing=0) for chrom in bigwig_lengths(track)}


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_file_has_a_track_and_they_add_up(tmp_path, genome, files):
    paths, rows = files
    options = {"tn5_shift": "+0/-0", "exclude_contigs": ["chr1"]}
    merged = cuts(paths, genome, tmp_path / "merged" / "cuts.bw", **options)
    assert not (tmp_path / "merged" / "replicates").exists()
    kept = cuts(paths, genome, tmp_path / "kept" / "cuts.bw", **options, replicates="keep")
    assert kept == merged
    folder = tmp_path / "kept" / "replicates"
    for name in ("cuts.bw", "cuts.bw.json"):
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()
    for number, (path, own) in enumerate(zip(paths, rows, strict=True), start=1):
        expected = count_cuts([row for row in own if row[0] != "chr1"], LENGTHS)
        found = read(folder / f"{number}.bw")
        assert set(found) == set(LENGTHS) - {"chr1"}
        for chrom, values in found.items():
            np.testing.assert_array_equal(values, expected[chrom])
        sidecar = json.loads((folder / f"{number}.bw.json").read_text())
        assert sidecar["files"] == json.loads(json.dumps([vars(kept.files[number - 1])]))
        assert path.name in sidecar["description"]
    before = content(folder)
    cuts(paths, genome, tmp_path / "kept" / "cuts.bw", **options, replicates="keep")
    assert content(folder) == before


def test_the_table_holds_the_correlations(tmp_path, genome, files, caplog):
    paths, rows = files
    with caplog.at_level(logging.INFO):
        cuts(paths, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0", replicates="keep")
    table = pd.read_csv(tmp_path / "replicates" / "concordance.tsv", sep="\t")
    first = (
        f"one.bed and two.bed.gz: Pearson r = {table['pearson'][0]:.3f} of log(1 + cuts) in bins of 200 bp"
    )
    assert first in caplog.text
    assert list(table["file_1"]) == ["one.bed"] * 4 + ["two.bed.gz"] * 2
    assert list(table["file_2"]) == ["two.bed.gz"] * 2 + ["three.tagAlign"] * 4
    by_file = [count_cuts(own, LENGTHS) for own in rows]
    for row in table.itertuples():
        binned = []
        for number in (row.replicate_1, row.replicate_2):
            counts = by_file[number - 1]
            binned.append(
                [
                    np.log(1 + counts[chrom][at : at + row.bin_bp].sum())
                    for chrom, length in LENGTHS.items()
                    for at in range(0, length - row.bin_bp + 1, row.bin_bp)
                ]
            )
        assert row.n_bins == len(binned[0])
        assert row.pearson == pytest.approx(np.corrcoef(*binned)[0, 1], abs=1e-6)
    assert (table["pearson"] > 0).all()


def test_correlations_at_the_extremes():
    """The same file, the same but scaled, and one that never varies."""
    counts = np.random.default_rng(0).poisson(0.02, 100_000)
    told = Concordance(3)
    for at in (0, 60_000):
        own = counts[at : at + 60_000]
        told.add([own, own, np.ones_like(own)])
    r = told.pearson(200)
    assert r[0, 1] == pytest.approx(1, abs=1e-9)
    assert np.isnan(r[0, 2])
    assert np.isnan(Concordance(2).pearson(200)).all()


def test_one_file_is_compared_with_nothing(tmp_path, genome, files):
    cuts(files[0][0], genome, tmp_path / "cuts.bw", tn5_shift="+0/-0", replicates="keep")
    table = pd.read_csv(tmp_path / "replicates" / "concordance.tsv", sep="\t")
    assert len(table) == 0
    assert list(table)[-3:] == ["bin_bp", "n_bins", "pearson"]
    assert (tmp_path / "replicates" / "1.bw").read_bytes() == (tmp_path / "cuts.bw").read_bytes()


def test_nothing_is_left_after_a_mistake(tmp_path, genome, files):
    off = write_text(tmp_path / "off.tagAlign", [("tiny", 147, 149, "N", 1, "+")])
    for atac, word in (
        ([files[0][0], off], "off.tagAlign: no cut in it"),
        ([tmp_path / "no.bed"], "does not exist"),
    ):
        with pytest.raises(InputError, match=word):
            cuts(atac, genome, tmp_path / "out" / "cuts.bw", tn5_shift="+0/-0", replicates="keep")
        assert list((tmp_path / "out").glob("*")) == []
    with pytest.raises(InputError, match="replicates: 'both', wanted merge or keep"):
        cuts(files[0][0], genome, tmp_path / "out" / "cuts.bw", tn5_shift="+0/-0", replicates="both")
