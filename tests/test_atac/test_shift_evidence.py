"""What is said and written about the shift: declared against detected, auto, the files beside cuts.bw."""

import json
import logging
import re

import numpy as np
import pytest

from gatescope.atac.bigwig import read_bigwig
from gatescope.atac.cuts import cuts, strand_ends
from gatescope.atac.detect import detect_shift
from gatescope.atac.fragments import read_fragments
from gatescope.atac.shift import Tn5Shift, parse_declared
from gatescope.atac.shift_evidence import judge_shift, write_shift_evidence
from gatescope.data.simulate import simulate
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome

NAMES = ["cuts.bw", "cuts.bw.json", "tn5_shift.json", "tn5_shift.svg"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "simulated"
    simulate(folder, seed=1, contigs=3, contig_bp=40_000)
    fragments = read_fragments(folder / "fragments.tsv.gz", Genome(folder / "genome.fa").lengths).ends
    rows = [
        (chrom, int(start), int(end))
        for chrom, both in fragments.items()
        for start, end in zip(*both, strict=True)
        if end - start > 20
    ]
    return folder, rows


def write_shifted(path, rows, plus, minus):
    path.write_text("".join(f"{chrom}\t{start + plus}\t{end + minus}\n" for chrom, start, end in rows))
    return path


def evidence(folder):
    return json.loads((folder / "tn5_shift.json").read_text())


@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (4, -4), (4, -5)])
def test_auto_gives_the_cuts_of_the_raw_fragments(planted, tmp_path, plus, minus):
    folder, rows = planted
    genome = folder / "genome.fa"
    cuts(
        write_shifted(tmp_path / "raw.bed", rows, 0, 0),
        genome,
        tmp_path / "raw" / "cuts.bw",
        tn5_shift="+0/-0",
    )
    atac = write_shifted(tmp_path / "shifted.bed", rows, plus, minus)
    cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="auto")
    for chrom in Genome(genome).lengths:
        one, other = (
            read_bigwig(each / "cuts.bw", chrom, missing=0) for each in (tmp_path, tmp_path / "raw")
        )
        np.testing.assert_array_equal(one, other)
    written = evidence(tmp_path)
    shift = str(Tn5Shift(plus, minus))
    assert (written["declared"], written["used"], written["detected"]) == ("auto", shift, shift)
    assert written["evidence"]["support"] == 1 and written["evidence"]["score"] > 0.9
    sidecar = json.loads((tmp_path / "cuts.bw.json").read_text())
    assert [sidecar[f"tn5_shift_{name}"] for name in ("declared", "detected", "used")] == [
        "auto",
        shift,
        shift,
    ]


def test_the_files_hold_the_finding_and_come_out_the_same_twice(planted, tmp_path):
    folder, _ = planted
    atac, genome = folder / "fragments.tsv.gz", folder / "genome.fa"
    for name in ("one", "two"):
        cuts(atac, genome, tmp_path / name / "cuts.bw", tn5_shift="+0/-0")
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == NAMES
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    written, fragments = evidence(tmp_path / "one"), read_fragments(atac, Genome(genome).lengths)
    found = detect_shift(strand_ends(fragments), Genome(genome))
    assert written["source"] == "fragments.tsv.gz"
    assert written["evidence"]["ends"] == dict(zip("+-", found.ends, strict=True))
    np.testing.assert_allclose(written["pair_scores"]["score"], found.pair_scores, atol=1e-5)
    at = written["pair_scores"]["plus_bp"].index(0), written["pair_scores"]["minus_bp"].index(0)
    assert written["pair_scores"]["score"][at[0]][at[1]] == written["evidence"]["score"]
    np.testing.assert_allclose(written["preference"]["-"]["G"], found.frequencies[1, :, 2], atol=1e-5)
    assert written["preference"]["offset_bp"][50] == 0
    drawn = (tmp_path / "one" / "tn5_shift.svg").read_text()
    for text in ("They are raw", "found: +0/-0", "declared: +0/-0", f"{found.ends[0]:,} + read ends"):
        assert text in drawn
    assert "NaN" not in drawn


def test_the_declared_shift_wins_and_the_log_says_what_to_declare(planted, tmp_path, caplog):
    folder, rows = planted
    atac = write_shifted(tmp_path / "f.bed", rows, 4, -5)
    with caplog.at_level(logging.INFO):
        cuts(atac, folder / "genome.fa", tmp_path / "wrong" / "cuts.bw", tn5_shift="+4/-4")
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.startswith(f"{atac}: Tn5 shift: +4/-4 is declared and used, but +4/-5 is found")
    assert "those of - ends by 1 bp" in warning and "those of +" not in warning
    assert "declare tn5_shift +4/-5 unless" in warning
    written = evidence(tmp_path / "wrong")
    assert (written["used"], written["detected"]) == ("+4/-4", "+4/-5")
    assert "contradicts the +4/-4" in (tmp_path / "wrong" / "tn5_shift.svg").read_text()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        cuts(atac, folder / "genome.fa", tmp_path / "right" / "cuts.bw", tn5_shift="+4/-5")
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "+4/-5 is declared, and +4/-5 is found" in caplog.text


def test_thin_evidence_leaves_the_declared_shift_in_peace(planted, tmp_path, caplog):
    folder, rows = planted
    atac = write_shifted(tmp_path / "few.bed", rows[:: len(rows) // 100], 4, -5)
    with caplog.at_level(logging.INFO):
        cuts(atac, folder / "genome.fa", tmp_path / "cuts.bw", tn5_shift="+0/-0")
    assert "+0/-0 is declared and cannot be checked" in caplog.text and "too few" in caplog.text
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert evidence(tmp_path)["detected"] is None
    assert "Cannot tell" in (tmp_path / "tn5_shift.svg").read_text()


@pytest.mark.parametrize(
    ("every", "shift", "message"),
    [
        (100, (0, 0), r"auto cannot tell .* too few, wanted 200 of each; declare it: \+0/-0 for raw"),
        (1, (4, -3), r"auto finds \+4/-3 .*no program.*off by 1 bp on one strand.*declare \+4/-3 if you"),
    ],
)
def test_auto_stops_where_it_cannot_be_trusted(planted, tmp_path, every, shift, message):
    folder, rows = planted
    atac = write_shifted(tmp_path / "f.bed", rows[:: len(rows) // 100] if every > 1 else rows, *shift)
    with pytest.raises(InputError, match=f"^{re.escape(str(atac))}: .*{message}"):
        cuts(atac, folder / "genome.fa", tmp_path / "out" / "cuts.bw", tn5_shift="auto")
    assert not (tmp_path / "out").exists()


def test_a_track_of_both_strands_is_not_judged(planted, tmp_path):
    folder, _ = planted
    genome = folder / "genome.fa"
    cuts(folder / "fragments.tsv.gz", genome, tmp_path / "a" / "cuts.bw", tn5_shift="+0/-0")
    cuts(tmp_path / "a" / "cuts.bw", genome, tmp_path / "b" / "cuts.bw", tn5_shift="+4/-4")
    written = evidence(tmp_path / "b")
    assert (written["used"], written["detected"], written["evidence"]) == ("+4/-4", None, None)
    assert "cannot be checked" in (tmp_path / "b" / "tn5_shift.svg").read_text()
    with pytest.raises(InputError, match=r"holds both together.*give fragments, or declare \+4/-4"):
        cuts(tmp_path / "a" / "cuts.bw", genome, tmp_path / "c" / "cuts.bw", tn5_shift="auto")


def test_declared_shifts_are_read():
    assert parse_declared("auto") is None
    assert parse_declared("+4/-5") == parse_declared(Tn5Shift(4, -5)) == Tn5Shift(4, -5)
    with pytest.raises(InputError, match=r"'Auto' is not a shift.*or auto"):
        parse_declared("Auto")


def test_no_end_at_all_is_no_traceback(planted, tmp_path):
    folder, _ = planted
    genome = Genome(folder / "genome.fa")
    judged = judge_shift(Tn5Shift(0, 0), [], genome, genome.lengths, "empty.bed")
    assert "0 + and 0 - ends are too few" in judged.sentence
    write_shift_evidence(judged, tmp_path)
    assert (tmp_path / "tn5_shift.svg").is_file()
