"""What is said and written about the shift: declared against detected, auto, the files beside cuts.bw."""

import gzip
import json
import logging
import re

import numpy as np
import pytest

from gatescope.atac.bigwig import read_bigwig
from gatescope.atac.cuts import cuts
from gatescope.atac.detect import detect_shift
from gatescope.atac.shift import Tn5Shift, parse_declared
from gatescope.atac.shift_evidence import judge_shift, settle_shifts, write_shift_evidence
from gatescope.data.simulate import simulate
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from test_atac.atac_files import (
    bedpe_rows,
    strand_ends,
    tagalign_rows,
    tenx_rows,
    write_alignments,
    write_text,
)

NAMES = ["cuts.bw", "cuts.bw.json", "tn5_shift.json", "tn5_shift.svg"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "simulated"
    simulate(folder, seed=1, contigs=3, contig_bp=40_000)
    return folder, [row for row in fragments_of(folder) if row[2] - row[1] > 20]


def fragments_of(folder):
    with gzip.open(folder / "fragments.tsv.gz", "rt") as file:
        table = [line.split("\t") for line in file if line[0] != "#"]
    return [(chrom, int(start), int(end)) for chrom, start, end, *_ in table]


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
    written, found = (
        evidence(tmp_path / "one"),
        detect_shift(strand_ends(fragments_of(folder)), Genome(genome)),
    )
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
    with pytest.raises(InputError, match=r"holds both together.*give reads or fragments, or declare \+4/-4"):
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
    write_shift_evidence(settle_shifts({"empty.bed": judged}), tmp_path)
    assert (tmp_path / "tn5_shift.svg").is_file()


def write_as(kind, folder, rows, lengths, genome):
    """Write fragments in a format."""
    if kind in ("bam", "cram"):
        return write_alignments(folder / f"a.{kind}", lengths, rows, reference=genome)
    make = {"10x": tenx_rows, "tagAlign": tagalign_rows, "BEDPE": bedpe_rows}[kind]
    return write_text(folder / f"a.{kind}", make(rows))


@pytest.mark.parametrize("kind", ["bam", "cram", "10x", "tagAlign", "BEDPE"])
def test_every_format_is_judged_alike(planted, tmp_path, kind):
    """What is found, and the cuts of auto, are those of three columns, 1 bp of difference between strands included."""
    folder, rows = planted
    genome = folder / "genome.fa"
    shifted = [(chrom, start + 4, end - 5) for chrom, start, end in dict.fromkeys(rows)]
    cuts(write_shifted(tmp_path / "f.bed", shifted, 0, 0), genome, tmp_path / "cuts.bw", tn5_shift="+4/-5")
    atac = write_as(kind, tmp_path, shifted, Genome(genome).lengths, genome)
    told = cuts(atac, genome, tmp_path / "other" / "cuts.bw", tn5_shift="auto")
    assert (tmp_path / "other" / "cuts.bw").read_bytes() == (tmp_path / "cuts.bw").read_bytes()
    assert told.files[0].tn5_shift == "+4/-5"
    of_bed, of_other = evidence(tmp_path), evidence(tmp_path / "other")
    for key in ("detected", "evidence", "own_scores", "lag_scores", "pair_scores", "preference"):
        assert of_bed[key] == of_other[key]


def test_each_file_of_a_sample_is_judged_by_itself(planted, tmp_path, caplog):
    folder, rows = planted
    genome = folder / "genome.fa"
    right = write_shifted(tmp_path / "right.bed", rows[::2], 4, -5)
    tags = write_text(
        tmp_path / "wrong.tagAlign", tagalign_rows((chrom, start + 4, end - 4) for chrom, start, end in rows)
    )
    few = write_shifted(tmp_path / "few.bed", rows[:: len(rows) // 100], 4, -5)
    with caplog.at_level(logging.INFO):
        cuts([right, tags, few], genome, tmp_path / "cuts.bw", tn5_shift=["auto", "+4/-5", "+4/-5"])
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.startswith(f"{tags}: Tn5 shift: +4/-5 is declared and used, but +4/-4 is found")
    written = evidence(tmp_path)
    assert set(written) == {"stage_version", "declared", "used", "detected", "sentence", "files"}
    assert written["declared"] == ["auto", "+4/-5", "+4/-5"] and written["used"] == "+4/-5"
    assert written["detected"] == ["+4/-5", "+4/-4", None]
    assert [each["source"] for each in written["files"]] == ["right.bed", "wrong.tagAlign", "few.bed"]
    cuts(right, genome, tmp_path / "alone" / "cuts.bw", tn5_shift="auto")
    alone = evidence(tmp_path / "alone")
    assert alone.pop("stage_version") == written["stage_version"]
    assert written["files"][0] == alone
    sidecar = json.loads((tmp_path / "cuts.bw.json").read_text())
    assert [sidecar[f"tn5_shift_{name}"] for name in ("declared", "detected", "used")] == [
        written[name] for name in ("declared", "detected", "used")
    ]
    assert [file["tn5_shift"] for file in sidecar["files"]] == ["+4/-5"] * 3
    drawn = (tmp_path / "tn5_shift.svg").read_text()
    for text in ("right.bed", "wrong.tagAlign", "few.bed", "contradicts the +4/-5", "Cannot tell"):
        assert text in drawn
    assert drawn.count("Both strands together") == 3


def test_replicates_of_one_shift_say_it_once(planted, tmp_path):
    folder, rows = planted
    genome = folder / "genome.fa"
    halves = [write_shifted(tmp_path / f"{n}.bed", rows[n::2], 0, 0) for n in (0, 1)]
    for n, declared in enumerate(("auto", ["auto", "auto"])):
        cuts(halves, genome, tmp_path / str(n) / "cuts.bw", tn5_shift=declared)
        assert [evidence(tmp_path / str(n))[key] for key in ("declared", "detected", "used")] == [
            "auto",
            "+0/-0",
            "+0/-0",
        ]
    for name in NAMES:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_replicates_shifted_by_different_programs_are_named(planted, tmp_path):
    folder, rows = planted
    genome, output = folder / "genome.fa", tmp_path / "out" / "cuts.bw"
    raw, other, third = (
        write_shifted(tmp_path / f"{name}.bed", rows[n::3], *shift)
        for n, (name, shift) in enumerate({"raw": (0, 0), "other": (0, 0), "third": (4, -5)}.items())
    )
    with pytest.raises(InputError, match=rf"by \+0/-0 in {raw}, but by \+4/-5 in {third}"):
        cuts([raw, other, third], genome, output, tn5_shift="auto")
    with pytest.raises(
        InputError,
        match=rf"{raw} is declared as shifted by \+0/-0, {third} found to be by \+4/-5: replicates",
    ):
        cuts([raw, third], genome, output, tn5_shift=["+0/-0", "auto"])
    with pytest.raises(InputError, match=rf"{raw} is declared as shifted by \+0/-0, {third} by \+4/-5"):
        cuts([raw, other, third], genome, output, tn5_shift=["+0/-0", "auto", "+4/-5"])
    assert not output.parent.exists()


def test_a_ready_track_among_replicates(planted, tmp_path):
    folder, rows = planted
    genome = folder / "genome.fa"
    centred = write_shifted(tmp_path / "f.bed", rows, 4, -4)
    cuts(centred, genome, tmp_path / "one" / "cuts.bw", tn5_shift="auto")
    both = [tmp_path / "one" / "cuts.bw", centred]
    told = cuts(both, genome, tmp_path / "cuts.bw", tn5_shift=["+4/-4", "auto"])
    assert told.cuts == 2 * cuts(centred, genome, tmp_path / "two" / "cuts.bw", tn5_shift="+4/-4").cuts
    written = evidence(tmp_path)
    assert (written["detected"], written["files"][0]["evidence"]) == ([None, "+4/-4"], None)
    drawn = (tmp_path / "tn5_shift.svg").read_text()
    assert "cannot be checked" in drawn and drawn.count("Both strands together") == 1
    with pytest.raises(InputError, match=r"one/cuts\.bw: tn5_shift auto needs the ends"):
        cuts(both, genome, tmp_path / "three" / "cuts.bw", tn5_shift="auto")


def test_auto_reads_short_fragments_as_the_shift_that_it_finds(planted, tmp_path):
    """Where ends were moved by +4/-5, one of 8 bp ends before it starts; where they are raw, none can."""
    folder, rows = planted
    genome = folder / "genome.fa"
    short = [("planted1", 500, 508), ("planted2", 700, 709)]
    for make, name in ((list, "f.bed"), (bedpe_rows, "f.bedpe")):
        moved = [(chrom, start + 4, end - 5) for chrom, start, end in [*dict.fromkeys(rows), *short]]
        atac = write_text(tmp_path / name, make(moved))
        for declared in ("auto", "+4/-5"):
            cuts(atac, genome, tmp_path / declared[1:2] / "cuts.bw", tn5_shift=declared)
        assert (tmp_path / "u" / "cuts.bw").read_bytes() == (tmp_path / "4" / "cuts.bw").read_bytes()
    atac = write_shifted(tmp_path / "raw.bed", [*rows, ("planted1", 504, 503)], 0, 0)
    with pytest.raises(InputError, match=rf"raw\.bed line {len(rows) + 1}: start 504 is not before end 503"):
        cuts(atac, genome, tmp_path / "out" / "cuts.bw", tn5_shift="auto")


def test_auto_takes_a_pair_for_proper_as_the_shift_that_it_finds_does(planted, tmp_path):
    folder, rows = planted
    everted = (
        "planted1",
        510,
        540,
        "planted1",
        470,
        505,
        "odd",
        30,
        "+",
        "-",
    )  # + starts 5 bp behind the - end
    atac = write_text(tmp_path / "f.bedpe", [*bedpe_rows(dict.fromkeys(rows)), everted])
    told = [
        cuts(atac, folder / "genome.fa", tmp_path / name / "cuts.bw", tn5_shift=declared).files
        for name, declared in {"one": "+0/-0", "two": "auto"}.items()
    ]
    assert told[0] == told[1]
    assert told[0][0].left_out["improper_pairs"] == 1
