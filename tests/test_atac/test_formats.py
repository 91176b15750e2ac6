"""Formats are told by content, and a name that says otherwise is pointed out."""

import gzip
import logging

import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac.formats import tell_format
from gatescope.errors import InputError
from test_atac.atac_files import write_alignments, write_fasta

ROWS = {
    "BED3": "chr1\t5\t90\n",
    "10x": "chr1\t5\t90\tAC-1\t2\n",
    "tagAlign": "chr1\t5\t90\tN\t1000\t-\n",
    "BEDPE": "chr1\t5\t40\tchr1\t60\t90\tn\t1\t+\t-\n",
    "SAM": "@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:99\n",
}


@pytest.mark.parametrize(
    "before", ["", "# comment\n", 'track name="x y"\nbrowser hide all\n', "\ufeff", "\n#\n"]
)
@pytest.mark.parametrize("format", ROWS)
def test_text(tmp_path, format, before):
    for name, packed in (("x", False), ("y", True)):
        content = (before + ROWS[format].replace("\n", "\r\n" if packed else "\n")).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        assert tell_format(tmp_path / name) == format


def test_more_columns_are_bedpe_too_and_unmapped_ends(tmp_path):
    (tmp_path / "x").write_text(ROWS["BEDPE"].replace("\n", "\textra\n"))
    assert tell_format(tmp_path / "x") == "BEDPE"
    (tmp_path / "x").write_text(".\t-1\t-1\tchr1\t60\t90\tn\t1\t.\t-\n")
    assert tell_format(tmp_path / "x") == "BEDPE"


@pytest.mark.parametrize(("suffix", "format"), [("bam", "BAM"), ("cram", "CRAM"), ("sam", "SAM")])
def test_alignments(tmp_path, suffix, format):
    genome = write_fasta(tmp_path / "g.fa", {"chr1": 500})
    path = write_alignments(tmp_path / f"a.{suffix}", {"chr1": 500}, [("chr1", 5, 90)], reference=genome)
    path.rename(tmp_path / "a")
    assert tell_format(tmp_path / "a") == format


@pytest.mark.parametrize(
    ("name", "format", "warning"),
    [
        ("a.bam", "tagAlign", "the name says BAM, the content is tagAlign: read as that"),
        ("a.cram", "BED3", "the name says CRAM, the content is BED3"),
        ("a.bw", "10x", "the name says bigWig, the content is 10x"),
        ("a.tagAlign.gz", "BED3", "the name says tagAlign, the content is BED3"),
        ("a.bedpe", "10x", "the name says BEDPE, the content is 10x"),
        ("a.bedpe", "BED3", ""),
        ("a.bed.gz", "BEDPE", ""),
        ("fragments.tsv.gz", "10x", ""),
        ("v1.2.fragments", "10x", ""),
        ("a", "10x", ""),
    ],
)
def test_a_name_that_says_otherwise(tmp_path, caplog, name, format, warning):
    (tmp_path / name).write_bytes(ROWS[format].encode())
    with caplog.at_level(logging.INFO):
        assert tell_format(tmp_path / name) == format
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [warning in each for each in warnings] == ([True] if warning else [])
    assert caplog.records[-1].getMessage() == f"{tmp_path / name}: {format}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("chr1\t1\t20\tcell\n", "4 tab-separated columns.*, wanted 3 .* 5 .* 6 .* 10 .*bedGraph"),
        ("chr1\t1\t20\tread\t0\t.\n", "BED6 whose column 6 is no strand"),
        ("chr1 1 20\n", "1 tab-separated column.*spaces instead of tabs"),
        ("chr1\t1\t20\tx\t9\t.\t4.5\t12\t10\t3\n", "narrowPeak: these are peaks"),
        ("r1\t0\tchr1\t5\t30\t9M\t*\t0\t0\t*\t*\n", "SAM without its header"),
        ("chr1\t1\t20\tx\t9\t+\t1\t20\t0\t1\t19\t0\n", "BED12"),
        ("@read1\nACGT\n+\nIIII\n", "FASTQ; give aligned reads"),
        (">chr1\nACGT\n", "this is FASTA.*, wanted BAM, CRAM, .*; give aligned reads"),
        ("<!DOCTYPE html>\n", "this is a web page"),
        ("fixedStep chrom=chr1\n", "wiggle text"),
        ("hello\n", "1 tab-separated column"),
        (b"BAI\x01\x02\0\0\0", "an index.*, wanted .*; give the file it belongs to"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, such as h5ad.*, wanted"),
        (b"PK\x03\x04abc", "a zip archive"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "this is xz"),
        (b"\xeb\xf2\x89\x87\0\0", "bigBed"),
        ("chr1\t1\t20\n".encode("utf-16"), "UTF-16"),
        (b"\x01\x02\0\0\0", "not text, and no format that is known"),
    ],
)
def test_strangers_are_named(tmp_path, content, message):
    for name in ("x", "a.bam"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError, match=message) as caught:
            tell_format(tmp_path / name)
        assert ("the name says BAM" in str(caught.value)) == (name == "a.bam")
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x").read_bytes()))
    with pytest.raises(InputError, match=message):
        tell_format(packed)


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=60))
def test_anything_is_a_format_or_the_users_message(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(content)
    try:
        assert tell_format(path) in ("BAM", "CRAM", "SAM", "bigWig", *ROWS)
    except InputError as error:
        assert str(path) in str(error)


def test_bgzip_is_read_as_gzip(tmp_path):
    with pysam.BGZFile(str(tmp_path / "x.bed.gz"), "w") as file:
        file.write(ROWS["BED3"].encode() * 30_000)
    assert tell_format(tmp_path / "x.bed.gz") == "BED3"
