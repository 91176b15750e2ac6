"""How files name contigs: what is guessed, and that the commands that rename do so."""

import gzip
import subprocess

import pysam
import pytest

from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint, refuse_unknown_contigs
from gatescope.genome.naming import bare_names, naming_of, rename_remedy

UCSC = ["chr1", "chr2", "chrX", "chrM"]
ENSEMBL = ["1", "2", "X", "MT"]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["chr1", "2", "Chr3", "chromosome_4", "CHR10"], ["1", "2", "3", "4", "10"]),
        (["chrX", "chr10", "X"], ["x", "10", "x"]),
        (["chrI", "chrX", "chrIV"], ["1", "10", "4"]),
        (["chrM", "MT", "Mito", "MtDNA", "NC_012920.1", "NC_001224.1"], ["mt"] * 6),
        (
            ["NC_000001.11", "NC_000023.11", "NC_000024.10", "NC_000085.7", "NC_001136.10"],
            ["1", "x", "y", "19", "4"],
        ),
        (["CM000663.2", "scaffold_1.1", "2L"], ["cm000663", "scaffold_1", "2l"]),
    ],
)
def test_what_stays_of_a_name(names, keys):
    assert list(bare_names(names).values()) == keys


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (UCSC, "UCSC names (chr1)"),
        (ENSEMBL, "Ensembl names (1)"),
        (["NC_000001.11", "NT_187361.1"], "RefSeq names (NC_000001.11)"),
        (["CM000663.2", "CM000664.2"], "GenBank names (CM000663.2)"),
        (["a", "b", "chr1"], ""),
        ([], ""),
    ],
)
def test_the_rule_is_named(names, rule):
    assert naming_of(names) == rule


@pytest.mark.parametrize(
    ("names", "known", "words"),
    [
        (["1"], UCSC, ["'chr1'", "'1'", "without 'chr'"]),
        (["NC_000023.11"], UCSC, ["'chrX'", "'NC_000023.11'", "RefSeq names", "UCSC names"]),
        (["X"], ["chr9", "chr10"], ["another genome build"]),
        (["II"], ["chr2"], ["'chr2'"]),
        (["contig9"], UCSC, ["another genome build", "chr1, chr2, chrX and 1 more"]),
    ],
)
def test_hints(names, known, words):
    assert all(word in contig_hint(names, known) for word in words)


def run(command, folder):
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


HEADER = 'track name="chr1"\n# chr1\nbrowser position chr1:1-9\n'


@pytest.mark.parametrize("name", ["my peaks.bed", "peaks.narrowPeak.gz"])
@pytest.mark.parametrize(
    ("old", "new"),
    [(UCSC, ENSEMBL), (ENSEMBL, UCSC), (["NC_000023.11", "KI270302.1"], ["chrX", "KI270302.1"])],
)
def test_the_command_renames_text(tmp_path, name, old, new):
    path = tmp_path / name
    text = HEADER + "".join(f"{contig}\t1\t5\tchr {contig}\n" for contig in old)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    known = [contig for contig in new if contig != "KI270302.1"] + (["chr1", "chrM"] if "chrX" in new else [])
    remedy = rename_remedy(old, known, path, "text")
    (tmp_path / "names.tsv").write_text("NC_000023.11\tchrX\n")
    run(remedy.command, tmp_path)
    (made,) = tmp_path.glob("*.renamed.*")
    content = gzip.decompress(made.read_bytes()) if path.suffix == ".gz" else made.read_bytes()
    rows = zip(new, old, strict=True)
    assert content.decode() == HEADER + "".join(f"{contig}\t1\t5\tchr {was}\n" for contig, was in rows)


def test_the_command_renames_both_contigs_of_pairs_and_leaves_dots(tmp_path):
    path = tmp_path / "a.bedpe"
    path.write_text("1\t1\t5\tMT\t7\t9\tn\n.\t-1\t-1\t2\t7\t9\tn\n")
    run(rename_remedy(["1"], UCSC, path, "BEDPE").command, tmp_path)
    assert (
        tmp_path / "a.renamed.bedpe"
    ).read_text() == "chr1\t1\t5\tchrM\t7\t9\tn\n.\t-1\t-1\tchr2\t7\t9\tn\n"


@pytest.mark.parametrize(("old", "new"), [(UCSC, ENSEMBL), (ENSEMBL, UCSC)])
def test_the_command_renames_alignments(tmp_path, old, new):
    """pysam's samtools stands in for the program."""
    header = {
        "HD": {"VN": "1.6"},
        "SQ": [{"SN": name, "LN": 90 + n, "M5": "chr1"} for n, name in enumerate(old)],
    }
    with pysam.AlignmentFile(str(tmp_path / "a.bam"), "wb", header=header):
        pass
    command = rename_remedy(old, new, "a.bam", "alignments").command
    view, edit, reheader = command.split(" | ")
    assert view == "samtools view -H a.bam" and reheader == "samtools reheader - a.bam > a.renamed.bam"
    (tmp_path / "header").write_text(pysam.view("-H", str(tmp_path / "a.bam")))
    run(f"{edit} header > edited", tmp_path)
    with pysam.AlignmentFile(str(tmp_path / "a.bam")) as before:
        lengths = before.lengths
    (tmp_path / "b.bam").write_bytes(
        pysam.reheader(str(tmp_path / "edited"), str(tmp_path / "a.bam"), catch_stdout=True)
    )
    with pysam.AlignmentFile(str(tmp_path / "b.bam")) as after:
        assert (list(after.references), after.lengths) == (new, lengths)


def test_the_command_renames_a_track(tmp_path):
    """The programs of UCSC are replaced by shell functions; the rest of the line is run."""
    command = rename_remedy(ENSEMBL, UCSC, "a.bw", "bigWig").command
    programs = "bigWigToBedGraph() { cat rows; }; bedGraphToBigWig() { cp $1 $3; }; "
    (tmp_path / "rows").write_text("MT\t0\t5\t1\n2\t3\t9\t7\n2\t0\t1\t7\n")
    run(programs + command, tmp_path)
    assert (tmp_path / "a.renamed.bw").read_text() == "chr2\t0\t1\t7\nchr2\t3\t9\t7\nchrM\t0\t5\t1\n"


def test_names_that_do_not_go_together_give_no_command():
    assert rename_remedy(["contig9"], UCSC, "a.bed", "text") == ("", "")
    with pytest.raises(InputError, match=r"use one naming and one build throughout$"):
        refuse_unknown_contigs(["contig9"], dict.fromkeys(UCSC, 9), where="a", file="a")
