"""Genomes that are not human, from preflight over cuts and the store to traced gates: nothing is lost or renamed."""

import json

import numpy as np
import pytest
import torch

from gatescope.atac.bigwig import bigwig_lengths, read_bigwig
from gatescope.atac.cuts import cuts
from gatescope.data.encode import encode
from gatescope.data.preflight import preflight
from gatescope.data.store import EncodedStore
from gatescope.genome.contigs import contig_file_stem
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.trace.trace import trace
from gatescope.trace.units import UNIT_ARRAYS, unit_file
from test_atac.atac_files import count_cuts, write_alignments, write_text

LONG = "L" * 255
#: What makes each of them odd: pipes and dots, colons and stars, a slash, length, case, a name that pandas takes for
#: nothing, one that looks like a number, one like a flag, a dot alone in front, 300 bp.
LENGTHS = {
    **{"gi|123|ref|NC_1.1|": 3000, "HLA*01:01:02": 3000, "plasmid/1": 3000, LONG: 3000, "lower": 3000},
    **{"NA": 3000, "1": 2000, "-dash": 2000, ".hidden": 2000, "tiny": 300, "scaffold_1.1": 3000},
}
FOLDS = {
    "f1": {"test": ["plasmid/1", LONG, "gi|123|ref|NC_1.1|"], "valid": ["HLA*01:01:02", "NA", ".hidden"]}
}
TINY = [("tiny", 10, 90), ("tiny", 40, 200)]


def draw():
    """Draw letters (a run of N, IUPAC codes, lower case), fragments and peaks."""
    rng = np.random.default_rng(0)
    letters, fragments, peaks = {}, list(TINY), []
    for name, length in LENGTHS.items():
        text = "".join(rng.choice(list("ACGT"), length))
        letters[name] = text.lower() if name == "lower" else text
        for start in range(400, length - 600, 900):
            peaks.append((name, start, start + 200))
            fragments += [(name, int(at), int(at) + 60) for at in rng.integers(start, start + 150, 30)]
        fragments += [(name, int(at), int(at) + 60) for at in rng.integers(0, length - 60, length // 100)]
    text = letters["scaffold_1.1"]
    letters["scaffold_1.1"] = text[:100] + "N" * 200 + text[300:700] + "RYKMSWBDHVryn" + text[713:]
    return letters, list(dict.fromkeys(fragments)), peaks


LETTERS, FRAGMENTS, PEAKS = draw()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    lines = {
        name: "\n".join(text[at : at + 60] for at in range(0, len(text), 60))
        for name, text in LETTERS.items()
    }
    (folder / "g.fa").write_text("".join(f">{name} some words\n{text}\n" for name, text in lines.items()))
    write_text(folder / "peaks.bed", PEAKS)
    header = dict(sorted(LENGTHS.items(), reverse=True)) | {
        "decoy": 999
    }  # another order, and one contig more
    write_alignments(folder / "a.bam", header, FRAGMENTS)
    write_text(folder / "a.bed", FRAGMENTS[::-1])
    return folder


@pytest.fixture(scope="module")
def store(files):
    cuts(files / "a.bed", files / "g.fa", files / "cuts.bw", tn5_shift="+0/-0")
    encode(
        files / "g.fa", files / "cuts.bw", files / "peaks.bed", files / "encoded", folds=FOLDS, window_bp=200
    )
    return EncodedStore(files / "encoded")


@pytest.mark.parametrize("atac", ["a.bam", "a.bed"])
def test_preflight_counts_every_contig(files, tmp_path, atac):
    preflight(
        files / "g.fa", files / atac, files / "peaks.bed", tmp_path / "p.json", folds=FOLDS, window_bp=200
    )
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["genome"]["contigs"] == LENGTHS
    assert found["genome"]["unknown_share"] == pytest.approx(213 / sum(LENGTHS.values()), abs=1e-6)
    assert found["atac"]["cuts"] == sum(array.sum() for array in count_cuts(FRAGMENTS, LENGTHS).values())


def test_the_store_holds_every_base_and_cut(store):
    expected = count_cuts(FRAGMENTS, LENGTHS)
    assert store.lengths == LENGTHS
    for name, text in LETTERS.items():
        assert store.codes(name).tolist() == ["ACGT".find(letter) % 5 for letter in text.upper()]
        np.testing.assert_array_equal(store.track(name, "cuts"), expected[name])
    assert set(store.regions["chrom"]) <= set(LENGTHS) and {"NA", "plasmid/1", LONG} <= set(
        store.regions["chrom"]
    )


def test_gates_are_traced_under_the_names_of_the_fasta(store, files, tmp_path):
    config = NetworkConfig(targets=("state",), stem_channels=3, stem_width_bp=3, hidden_units=2)
    weights = AccessibilityNetwork(config, torch.Generator().manual_seed(1)).state_dict()
    fold = {"name": "f1", **FOLDS["f1"]}
    meta = {"run": "a.f1.1", "store": store.content_hash, "fold": fold, "training": {"device": "cpu"}}
    save_model(tmp_path / "model", config, weights, weights, meta)
    write_text(tmp_path / "slices.bed", [(LONG, 5, 90), ("plasmid/1", 0, 50), (".hidden", 7, 9)])
    trace(tmp_path / "model", tmp_path / "trace", store=store.path, slices=tmp_path / "slices.bed")
    tracks = sorted((tmp_path / "trace").glob("*.bw"))
    assert tracks
    for track in tracks:
        assert bigwig_lengths(track) == LENGTHS
        assert all(np.isfinite(read_bigwig(track, name)).any() for name in LENGTHS)
    units = {path.name for path in (tmp_path / "trace" / "units").iterdir()}
    held_out = (*fold["test"], *fold["valid"])
    assert units == {unit_file(name, array) for name in held_out for array in UNIT_ARRAYS}
    assert {f"{contig_file_stem(name)}.npy" for name in held_out} <= units
    assert len(list((tmp_path / "trace" / "slices").iterdir())) == 3


def test_stems_of_files_are_short_and_different():
    names = [
        *LENGTHS,
        "a/b",
        "a%2Fb",
        "a%b",
        "..",
        ".",
        "%2E",
        LONG + "x",
        "é" * 200,
        "é" * 201,
        "x" * 120,
        "x" * 121,
    ]
    stems = [contig_file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    for stem in stems:
        assert len(stem.encode()) <= 120 and "/" not in stem and not stem.startswith(".")


def test_a_contig_that_the_header_of_the_reads_lacks(files, tmp_path):
    """Of 300 bp it is no loss that anybody could see; of 3,000 it is an error, never zeros."""
    rows = [row for row in FRAGMENTS if row[0] != "tiny"]
    header = {name: length for name, length in LENGTHS.items() if name != "tiny"}
    bam = write_alignments(tmp_path / "a.bam", header, rows)
    cuts(bam, files / "g.fa", tmp_path / "cuts.bw", tn5_shift="+0/-0")
    assert read_bigwig(tmp_path / "cuts.bw", "tiny", missing=0).sum() == 0
    header.pop("lower")
    bam = write_alignments(tmp_path / "b.bam", header, [row for row in rows if row[0] != "lower"])
    with pytest.raises(Exception, match=r"b\.bam: no reads on contig lower .*exclude_contigs"):
        cuts(bam, files / "g.fa", tmp_path / "cuts2.bw", tn5_shift="+0/-0")
