"""Spoilt BAM, CRAM, stores and models: refused with a message, or read as what they are; never a crash.

C and Rust libraries read these, and what crashes takes the process along: each spoilt file is read in a process of
its own. `tests/test_atac/test_bigwig_check.py` does the same for bigWigs.
"""

import os
import sys
import traceback

import numpy as np
import pysam
import pytest
import torch
from hypothesis import given, settings

from gatescope.atac.accounts import ReadFilter
from gatescope.atac.cuts import open_cuts
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model
from oracles import slow_readers as slow
from test_atac.atac_files import draw, write_alignments, write_fasta
from test_fuzz.spoil import AMOUNTS, CHANGES, fuzz, spoil
from tiny_store import make_store

LENGTHS = {"chr2": 900, "chr10": 700, "chr1": 800}
ROWS = list(dict.fromkeys(draw(LENGTHS, 8, seed=3)))
EVERYTHING = ReadFilter("keep", 0, "keep")
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_a_process(read) -> int:
    """Call `read` in a copy of this process: 0 it said True, 1 it raised, 2 InputError, 3 it said False, -N killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        status = 0 if read() else 3
    except InputError:
        status = 2
    except BaseException:
        sys.stderr.write(traceback.format_exc())
    finally:
        os._exit(status)


def read_cuts(path, genome) -> slow.Cuts:
    with open_cuts(path, genome, tn5_shift="+0/-0", keep=EVERYTHING) as source:
        return {
            (contig, int(at)): int(counts[at])
            for contig, counts in source.contigs()
            for at in np.flatnonzero(counts)
        }


def slow_cuts(path, genome) -> slow.Cuts:
    """Count the cuts of a file that htslib reads, from the fields that a SAM file has."""
    with pysam.AlignmentFile(str(path), check_sq=False, reference_filename=str(genome)) as file:
        rows = [("@SQ", f"SN:{name}") for name in file.references]
        for read in file:
            place = (read.reference_name or "*", read.reference_start + 1, read.mapping_quality)
            rows.append(("r", read.flag, *place, read.cigarstring or "*"))
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    return slow.cuts(slow.sam_ends(text.encode()), LENGTHS)


@AMOUNTS
@FORKS
@pytest.mark.parametrize("kind", ["bam", "cram"])
def test_alignments(tmp_path, kind, examples):
    genome = write_fasta(tmp_path / "g.fa", LENGTHS)
    good = write_alignments(tmp_path / f"good.{kind}", LENGTHS, ROWS, reference=genome)
    content, path = good.read_bytes(), tmp_path / f"spoilt.{kind}"
    expected = slow_cuts(good, genome)
    assert read_cuts(good, genome) == expected

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(CHANGES)
    def run(changes):
        path.write_bytes(spoil(content, changes))
        assert in_a_process(lambda: read_cuts(path, genome) == expected) in (0, 2)

    run()


@AMOUNTS
@FORKS
def test_records_of_a_bam_changed_inside_whole_blocks(tmp_path, examples):
    """Unpacked, changed and packed again, so that no checksum helps: what is read is what htslib reads as text."""
    genome = write_fasta(tmp_path / "g.fa", LENGTHS)
    with pysam.BGZFile(str(write_alignments(tmp_path / "good.bam", LENGTHS, ROWS)), "r", None) as file:
        content = file.read()
    path = tmp_path / "spoilt.bam"

    def is_same():
        return read_cuts(path, genome) == slow_cuts(path, genome)

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(CHANGES)
    def run(changes):
        with pysam.BGZFile(str(path), "w", None) as file:
            file.write(spoil(content, changes))
        assert in_a_process(is_same) in (0, 2)

    run()


@AMOUNTS
@pytest.mark.parametrize("name", ["meta.json", "regions.tsv", "codes.npy"])
def test_encoded_store(tmp_path, name, examples):
    good = make_store(tmp_path / "store")
    content = (good.path / name).read_bytes()
    content = content[:400] if name.endswith("npy") else content  # its header; values have no checksum here
    rest = (good.path / name).read_bytes()[len(content) :]
    n_regions = len(good.regions)

    def check(spoilt):
        (good.path / name).write_bytes(spoilt + rest)
        store = EncodedStore(good.path)
        assert len(store.regions) == n_regions or name == "regions.tsv"
        assert {*store.regions["kind"]} and store.window_bp > 0
        for contig, length in store.lengths.items():
            for array in (store.codes(contig), store.state(contig), store.track(contig, "cuts")):
                assert array.shape == (length,)
        for fold in store.meta["folds"]:
            assert store.fold(fold).split("one") in ("train", "valid", "test")
        assert len(store.content_hash) == 64

    fuzz(check, content, examples, is_hashed=name == "regions.tsv")


@AMOUNTS
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_model(tmp_path, name, examples):
    config = NetworkConfig(targets=("state",), stem_channels=3, stem_width_bp=3, hidden_units=2)
    weights = AccessibilityNetwork(config, torch.Generator().manual_seed(1)).state_dict()
    save_model(tmp_path, config, weights, weights, {"run": "a.f1.1", "store": "0" * 64})
    content = (tmp_path / name).read_bytes()

    def check(spoilt):
        (tmp_path / name).write_bytes(spoilt)
        network, _ = load_model(tmp_path)
        found = network.state_dict()
        assert all(torch.equal(found[key], weights[key]) for key in weights)

    fuzz(check, content, examples, is_hashed=name == "model.safetensors")
