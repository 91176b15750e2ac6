"""Several files of one sample, genomes that are not human, and bad files through the command line."""

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyBigWig
import pysam
import pytest

from gatescope.atac.cuts import cuts
from gatescope.errors import InputError
from test_atac.atac_files import (
    bedpe_rows,
    count_cuts,
    draw,
    tagalign_rows,
    tenx_rows,
    write_alignments,
    write_fasta,
    write_text,
)
from test_atac.test_alignments import changed, flagged, set_flag, unmap

LENGTHS = {"chr2": 3000, "chr10": 2000, "chr1": 2500}


@pytest.fixture
def genome(tmp_path):
    return write_fasta(tmp_path / "genome.fa", LENGTHS)


def read(track):
    """Read a track with pyBigWig alone."""
    with pyBigWig.open(str(track)) as bigwig:
        lengths = bigwig.chroms()
        return {name: np.nan_to_num(bigwig.values(name, 0, n, numpy=True)) for name, n in lengths.items()}


def assert_track(track, expected):
    found = read(track)
    assert set(found) == set(expected)
    for chrom, counts in expected.items():
        np.testing.assert_array_equal(found[chrom], counts, err_msg=chrom)


def write_all(folder, lengths, rows, genome):
    """Write distinct fragments in every format."""
    folder.mkdir(exist_ok=True)
    return [
        write_alignments(folder / "a.bam", lengths, rows),
        write_alignments(folder / "named.bam", lengths, rows, order="name"),
        write_alignments(folder / "a.cram", lengths, rows, reference=genome),
        write_text(folder / "a.bed.gz", rows),
        write_text(folder / "a.tagAlign.gz", tagalign_rows(rows)),
        write_text(folder / "a.bedpe", bedpe_rows(rows), end="\r\n"),
        write_text(folder / "a.tsv.gz", tenx_rows(rows), header="# id=x\n"),
    ]


def test_every_format_gives_the_same_bytes(tmp_path, genome):
    rows = list(dict.fromkeys(draw(LENGTHS, 40)))
    tracks = set()
    for path in write_all(tmp_path / "files", LENGTHS, rows, genome):
        cuts(path, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
        tracks.add((tmp_path / "cuts.bw").read_bytes())
    assert len(tracks) == 1
    assert_track(tmp_path / "cuts.bw", count_cuts(rows, LENGTHS))


def test_replicates_are_added_up_and_counted_one_by_one(tmp_path, genome):
    """Copies are copies within a file only."""
    one, two = list(dict.fromkeys(draw(LENGTHS, 40))), list(dict.fromkeys(draw(LENGTHS, 30, seed=1)))
    bam = write_alignments(tmp_path / "1.bam", LENGTHS, [*one, *one[:9]])
    bed = write_text(tmp_path / "2.bed.gz", [*two, *one[:5]])
    tags = write_text(tmp_path / "3.tagAlign", tagalign_rows(one))
    told = cuts([bam, bed, tags], genome, tmp_path / "cuts.bw", tn5_shift=["+0/-0"] * 3)
    assert_track(tmp_path / "cuts.bw", count_cuts([*one, *two, *one[:5], *one], LENGTHS))
    assert [file.file for file in told.files] == ["1.bam", "2.bed.gz", "3.tagAlign"]
    assert [file.used for file in told.files] == [2 * len(one), len(two) + 5, 2 * len(one)]
    assert told.files[0].left_out["duplicates_by_position"] == 18
    again = cuts([tags, bed, bam], genome, tmp_path / "again.bw", tn5_shift="+0/-0")
    assert again.cuts == told.cuts
    assert (tmp_path / "again.bw").read_bytes() == (tmp_path / "cuts.bw").read_bytes()


def test_ready_tracks_and_shifted_fragments_are_added_up(tmp_path, genome):
    one, two = list(dict.fromkeys(draw(LENGTHS, 40, margin=9))), draw(LENGTHS, 30, seed=1)
    shifted = write_text(tmp_path / "1.bed", [(name, start + 4, end - 4) for name, start, end in one])
    cuts(write_text(tmp_path / "2.bed", two), genome, tmp_path / "2.bw", tn5_shift="+0/-0")
    told = cuts([shifted, tmp_path / "2.bw"], genome, tmp_path / "cuts.bw", tn5_shift="+4/-4")
    assert_track(tmp_path / "cuts.bw", count_cuts([*one, *set(two)], LENGTHS))
    assert [file.format for file in told.files] == ["BED3", "bigWig"]


def test_mixed_shifts_name_both_files(tmp_path, genome):
    rows = draw(LENGTHS, 20)
    one, two = (write_text(tmp_path / name, rows[n:]) for n, name in enumerate(("one.bed", "two.bed")))
    with pytest.raises(InputError, match=r"one\.bed is declared .* \+0/-0, .*two\.bed by \+4/-5: replicates"):
        cuts([one, two], genome, tmp_path / "cuts.bw", tn5_shift=["+0/-0", "+4/-5"])
    with pytest.raises(InputError, match="tn5_shift: 2 shifts for 3 files"):
        cuts([one, two, one], genome, tmp_path / "cuts.bw", tn5_shift=["+0/-0", "+4/-5"])
    with pytest.raises(InputError, match=r"one\.bed: given twice"):
        cuts([one, two, tmp_path / "." / "one.bed"], genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
    with pytest.raises(InputError, match="atac: no file"):
        cuts([], genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
    assert not (tmp_path / "cuts.bw").exists()


@pytest.mark.parametrize("shift", [(4, -5), (4, -4), (5, -4)])
def test_shifted_in_advance_and_declared_so(tmp_path, genome, shift):
    rows = list(dict.fromkeys(draw(LENGTHS, 40, margin=9)))
    moved = [(name, start + shift[0], end + shift[1]) for name, start, end in rows]
    for path in write_all(tmp_path / "files", LENGTHS, moved, genome):
        cuts(path, genome, tmp_path / "cuts.bw", tn5_shift=f"{shift[0]:+d}/{shift[1]:+d}")
        assert_track(tmp_path / "cuts.bw", count_cuts(rows, LENGTHS))


STRANGE = {
    "HLA:A|01.2": 1500,
    "scaffold.1|x": 2500,
    "1": 900,
    "tiny": 300,
    "lower_case": 1200,
    "*Y=2": 1100,
    "empty|1": 60,
}


@pytest.mark.parametrize("order", ["coordinate", "name"])
def test_strange_names_short_contigs_lower_case_and_another_order(tmp_path, order):
    genome = write_fasta(tmp_path / "g.fa", STRANGE, letters="acgtNRYn")
    rows = list(dict.fromkeys(draw(STRANGE, 50)))
    header = dict(sorted(STRANGE.items())) | {"alt": 99}
    header.pop("empty|1")  # no read can be there: 60 bp
    expected = count_cuts(rows, STRANGE)
    for path in (
        write_alignments(tmp_path / "a.bam", header, rows, order),
        write_text(tmp_path / "a.bedpe.gz", bedpe_rows(rows[::-1])),
        write_text(tmp_path / "a.tagAlign", tagalign_rows(rows[::-1])),
    ):
        cuts(path, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
        assert_track(tmp_path / "cuts.bw", expected)


def test_five_thousand_scaffolds(tmp_path):
    lengths = {f"scaffold_{n}.1|arrow": 300 + n % 50 for n in range(5000)}
    genome = write_fasta(tmp_path / "g.fa", lengths)
    rows = list(dict.fromkeys(draw(lengths, 4)))
    shuffled = [rows[n] for n in np.random.default_rng(0).permutation(len(rows))]
    expected = count_cuts(rows, lengths)
    header = dict(reversed(lengths.items()))
    for path in (
        write_alignments(tmp_path / "a.bam", header, rows),
        write_text(tmp_path / "a.bed", shuffled),
    ):
        told = cuts(path, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
        assert_track(tmp_path / "cuts.bw", expected)
        assert told.cuts == 2 * len(rows)


class World(NamedTuple):
    """A folder with a genome, and good files to spoil."""

    folder: Path
    genome: Path
    rows: list

    def bam(self, lengths=LENGTHS, rows=None, name="a.bam", **options):
        return write_alignments(
            self.folder / name, lengths, self.rows if rows is None else rows, reference=self.genome, **options
        )

    def text(self, content, name="a"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def cut(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        return path

    def rows_as(self, make, *more, name="a"):
        return write_text(self.folder / name, [*make(self.rows), *more])


def bare(names):
    return {name.removeprefix("chr"): length for name, length in names.items()}


BAD = {
    "BAM without contigs in its header": (lambda w: w.bam({}, []), ["lists no contigs", "@SQ"]),
    "BAM without reads": (lambda w: w.bam(rows=[]), ["no reads in it"]),
    "BAM named without chr": (
        lambda w: w.bam(bare(LENGTHS), [(name[3:], *ends) for name, *ends in w.rows]),
        ["contig 2", "'chr2'", "without 'chr'"],
    ),
    "BAM of another species": (lambda w: w.bam({"II": 9000}, [("II", 5, 99)]), ["contig II", "genome.fa"]),
    "BAM of another assembly": (
        lambda w: w.bam(LENGTHS | {"chr1": 2501}),
        ["2501", "2500", "another assembly"],
    ),
    "BAM with reads beyond a contig": (
        lambda w: w.bam(rows=[*w.rows, ("chr1", 2400, 2510)]),
        ["2510 exceeds chr1 length 2500"],
    ),
    "BAM with reads on a contig that the genome lacks": (
        lambda w: w.bam(LENGTHS | {"chrM": 99}, [*w.rows, ("chrM", 5, 90)]),
        ["chrM", "2 reads", "exclude_contigs"],
    ),
    "BAM that lacks a contig": (
        lambda w: w.bam(rows=[row for row in w.rows if row[0] != "chr10"]),
        ["no reads on contig chr10"],
    ),
    "BAM cut in half": (lambda w: w.cut(w.bam(), 2000), ["a.bam", "truncated"]),
    "BAM without its end": (lambda w: w.cut(w.bam(), -28), ["a.bam", "truncated"]),
    "BAM header only, cut": (lambda w: w.cut(w.bam(), 60), ["a.bam", "truncated"]),
    "CRAM cut in half": (lambda w: w.cut(w.bam(name="a.cram"), 2000), ["a.cram", "truncated"]),
    "CRAM without its end": (lambda w: w.cut(w.bam(name="a.cram"), -38), ["a.cram", "truncated"]),
    "CRAM magic and nothing else": (lambda w: w.text(b"CRAM\x03\x00"), ["CRAM without its end"]),
    "CRAM whose reference lacks a contig": (
        lambda w: write_alignments(
            w.folder / "a.cram",
            LENGTHS | {"chrM": 99},
            [*w.rows, ("chrM", 5, 90)],
            reference=write_fasta(w.folder / "other.fa", LENGTHS | {"chrM": 99}),
        ),
        ["a.cram (2 reads, most on chrM)", "chrM not in genome.fa"],
        lambda w: (w.folder / "other.fa").unlink(),
    ),
    "paired BAM without a proper pair": (
        lambda w: w.bam(rows=[], extra=changed(set_flag(0x1))),
        ["6 not in a proper pair", "improper_pairs"],
    ),
    "BAM of unaligned reads": (lambda w: w.bam(rows=[], extra=changed(unmap)), ["6 unmapped", "align"]),
    "BAM of multi-mapping reads": (lambda w: w.bam(mapq=3), ["below the least mapping quality", "min_mapq"]),
    "BAM of duplicates": (
        lambda w: w.bam(rows=[], extra=flagged(0x400)),
        ["6 marked as duplicates", "duplicates to keep"],
    ),
    "BAM of secondary alignments": (lambda w: w.bam(rows=[], extra=flagged(0x100)), ["6 secondary"]),
    "index of a BAM": (
        lambda w: (pysam.index(str(w.bam())), Path(f"{w.folder}/a.bam.bai"))[1],
        ["a.bam.bai", "an index"],
    ),
    "SAM without a header": (lambda w: w.text("r\t0\tchr1\t5\t30\t9M\t*\t0\t0\t*\t*\n"), ["SAM without"]),
    "SAM with a broken line": (
        lambda w: w.text("@SQ\tSN:chr1\tLN:2500\nr\t0\tchr1\tx\t30\t9M\t*\t0\t0\t*\t*\n"),
        ["cannot be read"],
    ),
    "SAM header only": (lambda w: w.text("@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:2500\n"), ["no reads in it"]),
    "gzip that was cut off": (
        lambda w: w.cut(w.text(gzip.compress(b"chr1\t5\t90\n" * 9999), "a.gz"), -9),
        ["a.gz", "truncated or damaged"],
    ),
    "gzip of nothing": (lambda w: w.text(gzip.compress(b"")), ["no fragments in it"]),
    "file of no bytes": (lambda w: w.text(""), ["no fragments in it"]),
    "folder": (lambda w: w.folder, ["cannot be read"]),
    "file that does not exist": (lambda w: w.folder / "none.bam", ["none.bam", "does not exist"]),
    "FASTQ": (lambda w: w.text("@r\nACGT\n+\nIIII\n"), ["FASTQ", "aligned"]),
    "FASTA": (lambda w: w.genome, ["genome.fa", "FASTA", "aligned"]),
    "bedGraph": (lambda w: w.text("chr1\t1\t20\t0.5\n"), ["4 tab-separated", "bedGraph"]),
    "narrowPeak": (
        lambda w: w.text("chr1\t1\t20\tx\t9\t.\t4.5\t12\t10\t3\n"),
        ["narrowPeak", "peaks, not reads"],
    ),
    "HDF5": (lambda w: w.text(b"\x89HDF\r\n\x1a\n\0\0", "a.h5ad"), ["HDF5", "fragments"]),
    "tagAlign without a strand": (
        lambda w: w.rows_as(tagalign_rows, ("chr1", 5, 40, "N", 9, ".")),
        ["strand '.'", "line 241"],
    ),
    "tagAlign beyond a contig": (
        lambda w: w.rows_as(tagalign_rows, ("chr1", 2400, 2501, "N", 9, "-")),
        ["line 241", "end 2501 exceeds chr1 length 2500"],
    ),
    "tagAlign with a row of fewer columns": (
        lambda w: w.rows_as(tagalign_rows, ("chr1", 5, 40, "N", 9)),
        ["line 241", "5 tab-separated columns"],
    ),
    "BEDPE with no integer": (
        lambda w: w.rows_as(bedpe_rows, ("chr1", 5, 40, "chr1", "x", 99, "n", 1, "+", "-")),
        ["line 121", "start2 'x'"],
    ),
    "BEDPE on an unknown contig": (
        lambda w: w.rows_as(bedpe_rows, ("chr1", 5, 40, "chr7", 60, 99, "n", 1, "+", "-")),
        ["line 121", "chr7"],
    ),
    "BEDPE without a pair": (
        lambda w: write_text(w.folder / "a", [("chr1", 5, 40, "chr1", 60, 99, "n", 1, "+", "+")]),
        ["1 not in a proper pair", "improper_pairs"],
    ),
    "10x with a count of 0": (
        lambda w: w.rows_as(tenx_rows, ("chr1", 5, 40, "A", 0)),
        ["line 121", "count (column 5) is 0"],
    ),
    "fragments with a damaged line": (
        lambda w: w.text("chr1\t5\t40\nchr1\t5\t4\0\n"),
        ["line 2", "byte 0", "damaged"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_by_name(tmp_path, genome, run_cli, name):
    """One message, exit 2, no traceback, nothing written."""
    make, words, *then = BAD[name]
    world = World(tmp_path, genome, list(dict.fromkeys(draw(LENGTHS, 40)))[:120])
    path = make(world)
    for each in then:
        each(world)
    output = tmp_path / "out" / "cuts.bw"
    outcome = run_cli("cuts", "--atac", path, "--genome", genome, "--tn5-shift", "+0/-0", "--output", output)
    assert outcome.status == 2, outcome.stderr
    assert len(outcome.messages) == 1, outcome.stderr
    for word in words:
        assert word in outcome.messages[0], outcome.messages[0]
    assert "Traceback" not in outcome.stderr
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_replicates_through_the_command_line(tmp_path, genome, run_cli):
    rows = list(dict.fromkeys(draw(LENGTHS, 40)))
    files = write_all(tmp_path / "files", LENGTHS, rows, genome)
    flags = ("--genome", genome, "--tn5-shift", "+0/-0", "--min-mapq", 10, "--improper-pairs", "keep")
    outcome = run_cli("cuts", "--atac", *files, *flags, "--output", tmp_path / "cuts.bw")
    assert outcome.status == 0, outcome.stderr
    expected = {name: counts * len(files) for name, counts in count_cuts(rows, LENGTHS).items()}
    assert_track(tmp_path / "cuts.bw", expected)
    sidecar = json.loads((tmp_path / "cuts.bw.json").read_text())
    assert [file["file"] for file in sidecar["files"]] == [path.name for path in files]
    assert (sidecar["min_mapq"], sidecar["improper_pairs"]) == (10, "keep")
    for file, path in zip(sidecar["files"], files, strict=True):
        assert f"{path}: {file['format']}, {file['rows']:,} rows; left out: none" in outcome.stderr
