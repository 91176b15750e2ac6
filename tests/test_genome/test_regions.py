"""Region files, merging and boundaries, against painting one base after the other."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint, kept_lengths, name_list, refuse_unknown_contigs
from gatescope.genome.regions import (
    is_overlapping,
    merge_regions,
    read_regions,
)

LENGTHS = {"chr2": 4800, "chr10": 900, "chr1": 7000}


def write(folder, *lines, name="regions.bed", end="\n"):
    path = folder / name
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def narrow_peak(chrom, start, end, signal, summit):
    return f"{chrom}\t{start}\t{end}\tp\t100\t.\t{signal}\t5.0\t4.0\t{summit}"


def test_bed_is_read_sorted_in_genome_order_with_midpoints(tmp_path):
    path = write(
        tmp_path,
        "# comment",
        'track name="x"',
        "browser position chr1",
        "chr1\t100\t201",
        "",
        "chr10\t0\t900",
        "chr2\t50\t60",
        "chr1\t5\t7",
    )
    table = read_regions(path, LENGTHS)
    assert table[["chrom", "start", "end", "summit"]].to_numpy().tolist() == [
        ["chr2", 50, 60, 55],
        ["chr10", 0, 900, 450],
        ["chr1", 5, 7, 6],
        ["chr1", 100, 201, 150],
    ]
    assert table["signal"].isna().all()
    assert table.dtypes[["start", "end", "summit"]].tolist() == [np.int64] * 3
    assert read_regions(path)["chrom"].tolist() == ["chr1", "chr1", "chr10", "chr2"]


def test_line_ends_compression_and_row_order_make_no_difference(tmp_path):
    lines = ["chr1\t100\t201\tx", "chr10\t0\t900\ty", "chr1\t5\t7\tz"]
    expected = read_regions(write(tmp_path, *lines), LENGTHS)
    packed = tmp_path / "regions.bed.gz"
    packed.write_bytes(gzip.compress(write(tmp_path, *lines, name="a").read_bytes()))
    others = [
        write(tmp_path, *lines, name="crlf.bed", end="\r\n"),
        write(tmp_path, *reversed(lines), name="turned.bed"),
        write(tmp_path, "\ufeff" + lines[0], *lines[1:], name="bom.bed"),
        packed,
    ]
    for path in others:
        pd.testing.assert_frame_equal(read_regions(path, LENGTHS), expected)


@pytest.mark.parametrize("name", ["p.narrowPeak", "p.narrowPeak.gz", "encode.bed"])
def test_narrow_peak_summits_count_from_the_start_of_the_peak(tmp_path, name):
    text = "\n".join([narrow_peak("chr1", 10, 30, 7.5, 0), narrow_peak("chr1", 40, 61, 2, -1)]) + "\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    table = read_regions(path, LENGTHS)
    assert table["summit"].tolist() == [10, 50]
    assert table["signal"].tolist() == [7.5, 2.0]


def test_ten_columns_that_are_no_narrow_peak_are_bed(tmp_path):
    table = read_regions(write(tmp_path, "chr1\t10\t30\tn\t0\t+\t10\t30\t255,0,0\t7"), LENGTHS)
    assert table["summit"].tolist() == [20]


OTHERS = {
    "broadPeak": "chr1\t10\t31\tp\t100\t.\t7.5\t5.0\t4.0",
    "gappedPeak": "chr1\t10\t31\tp\t1\t.\t10\t31\t0\t2\t5,6\t0,15\t7.5\t5.0\t4.0",
    "bed12": "chr1\t10\t31\tn\t0\t+\t10\t31\t0\t2\t5,6\t0,15",
    "bed6": "chr1\t10\t31\tn\t0\t-",
    "bedgraph": "chr1\t10\t31\t0.5",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_bed_give_their_first_three_columns(tmp_path, kind):
    text = f"browser\nbrowser hide all\ntrack\ntrack type={kind} name=x\n\n{OTHERS[kind]}\r\n \n\t\n"
    path = tmp_path / f"x.{kind}.gz"
    path.write_bytes(gzip.compress(text.encode()))
    table = read_regions(path, LENGTHS)
    assert table[["chrom", "start", "end", "summit"]].to_numpy().tolist() == [["chr1", 10, 31, 20]]
    assert table["signal"].isna().all()


def test_the_table_of_idr_has_summits(tmp_path):
    line = narrow_peak("chr1", 10, 30, 7.5, 3) + "\t2.1\t3.1" + "\t10\t30\t7.1\t4" * 2
    for name in ("idr.txt", "idr.narrowPeak"):
        table = read_regions(write(tmp_path, line, name=name), LENGTHS)
        assert (table["summit"].tolist(), table["signal"].tolist()) == ([13], [7.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"chr1\t1\t5\rchr1\t8\t9\r", r"line 1: lines end with CR alone.*convert them"),
        (b"chr1:1,200-1,300\n", "places as browsers print them"),
        (b"chr1,10,20\n", "commas instead of tabs"),
        (
            b"# MACS\n\nchr\tstart\tend\tlength\tabs_summit\nchr1\t1\t9\t9\t4\n",
            "line 3.*_peaks.xls.*narrowPeak",
        ),
        (b"chr1\tmacs\tpeak\t11\t200\t7\t.\t.\tID=1\n", "GFF or GTF, which counts from 1"),
        (b"#PeakID\tchr\tstart\tend\nc-1\tchr1\t11\t200\t+\n", "line 2.*contig in column 2, as HOMER"),
        (b"chr1\t10\t20 \n", "end '20 '.*a space beside the number"),
        (b"PK\x03\x04" + bytes(40), "this is a zip archive or an Excel workbook"),
        (b"\xeb\xf2\x89\x87" + bytes(40), "this is bigBed; make BED text of it with bigBedToBed"),
        (b"BZh91AY&SY" + bytes(9), "packed by bzip2"),
        ("chr1\t1\t5\n".encode("utf-16"), "text in UTF-16"),
        (b"<!DOCTYPE html>\n", "a web page"),
        (gzip.compress(b"BAM\x01" + bytes(9), mtime=0), "BAM: reads, wanted regions"),
    ],
)
def test_what_people_give_in_place_of_bed_is_recognised(tmp_path, text, message):
    (tmp_path / "peaks.bed").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_regions(tmp_path / "peaks.bed", LENGTHS)


def test_excluded_contigs_are_left_out_and_counted(tmp_path):
    path = write(tmp_path, "chrM\t1\t99999", "chr1\t1\t3", "chr2\t1\t3")
    table = read_regions(path, LENGTHS, exclude_contigs=["chrM", "chr2"])
    assert table["chrom"].tolist() == ["chr1"]
    assert table.attrs["excluded"] == 2
    with pytest.raises(InputError, match="no regions in it outside the excluded contigs"):
        read_regions(path, LENGTHS, exclude_contigs=["chrM", "chr1", "chr2"])


BAD_LINES = [
    (
        "chr2\t4000\t5000",
        r"line 3: end 5000 exceeds chr2 length 4800 \(genome.fa\); clip or remove the region",
    ),
    ("chr2\t10\t10", "start 10 is not before end 10"),
    ("chr2\t20\t10", "start and end exchanged"),
    ("chr2\t-5\t10", "start -5 of chr2 is negative"),
    ("chr2\t1.5\t10", "start '1.5' is not an integer"),
    ("chr2\t1\t1e3", "end '1e3' is not an integer"),
    ("chr2\t1\t", "end '' is not an integer"),
    ("chr2\t1", "2 tab-separated columns, wanted at least 3"),
    ("chr2\t1\t2\tname", "4 tab-separated columns, the lines before have 3"),
    ("chr2 1 2", "1 tab-separated column, wanted.*spaces instead of tabs"),
    ("2\t1\t2", "contig 2 not in genome.fa.*the genome calls it 'chr2'.*without 'chr'"),
    ("chrZ\t1\t2", "contig chrZ not in genome.fa.*another genome build"),
    ("\t1\t2", "contig name '' is empty"),
    ("chr2 \t1\t2", "contig name 'chr2 ' is empty or has spaces"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path, "# header", "chr1\t5\t7", line, "chr1\t9\t10")
    with pytest.raises(InputError, match=message) as caught:
        read_regions(path, LENGTHS, source="genome.fa")
    assert str(caught.value).startswith(f"{path} line 3: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (narrow_peak("chr1", 10, 30, 1, 20), "summit 20 lies outside the peak of 20 bp.*absolute summit"),
        (narrow_peak("chr1", 10, 30, 1, -2), "summit.*-2 is negative"),
        (narrow_peak("chr1", 10, 30, "high", 2), "signalValue.*'high' is not a number"),
        ("chr1\t10\t30", "3 tab-separated columns, narrowPeak has 10"),
        (narrow_peak("chr1", 10, 30, 1, 2).replace("\t", " "), "spaces instead of tabs"),
    ],
)
def test_a_bad_narrow_peak_line_is_named(tmp_path, line, message):
    path = write(tmp_path, line, name="x.narrowPeak")
    with pytest.raises(InputError, match=message):
        read_regions(path, LENGTHS)


def test_a_header_line_is_guessed(tmp_path):
    with pytest.raises(InputError, match="start 'start' is not an integer; likely cause: a header line"):
        read_regions(write(tmp_path, "chrom\tstart\tend", "chr1\t1\t2"))


def test_files_without_regions(tmp_path):
    for path in (write(tmp_path), write(tmp_path, "# only", "track x", name="b.bed")):
        with pytest.raises(InputError, match="no regions in it"):
            read_regions(path)
    with pytest.raises(InputError, match="does not exist"):
        read_regions(tmp_path / "none.bed")
    with pytest.raises(InputError, match="cannot be read"):
        read_regions(tmp_path)
    (tmp_path / "binary.bed").write_bytes(b"chr1\t5\xff\xfe\x00\x80" * 20)
    with pytest.raises(InputError, match="line 1: not a text file"):
        read_regions(tmp_path / "binary.bed")
    packed = gzip.compress(b"chr1\t1\t2\n" * 5000)
    (tmp_path / "cut.bed.gz").write_bytes(packed[:-9])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_regions(tmp_path / "cut.bed.gz")


SPAN = st.tuples(st.sampled_from(["b", "a"]), st.integers(0, 38), st.integers(1, 12), st.integers(0, 3))


def as_regions(spans):
    rows = [(chrom, start, start + size, start, float(signal)) for chrom, start, size, signal in spans]
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "summit", "signal"])


def painted(regions, chrom, size=60):
    """Return which bases of a contig lie in a region, by a loop."""
    inside = np.zeros(size, dtype=bool)
    for row in regions.itertuples():
        if row.chrom == chrom:
            for position in range(row.start, row.end):
                inside[position] = True
    return inside


@settings(deadline=None)
@given(st.lists(SPAN, min_size=1, max_size=12))
def test_merging_keeps_the_bases_and_edges_are_where_the_painting_changes(spans):
    regions = as_regions(spans)
    merged = merge_regions(regions)
    assert merged["chrom"].drop_duplicates().tolist() == regions["chrom"].drop_duplicates().tolist()
    for chrom in regions["chrom"].unique():
        inside = painted(regions, chrom)
        assert np.array_equal(painted(merged, chrom), inside)
        change = np.diff(inside.astype(int), prepend=0, append=0)
        here = merged[merged["chrom"] == chrom]
        assert here["start"].tolist() == np.flatnonzero(change == 1).tolist()
        assert here["end"].tolist() == np.flatnonzero(change == -1).tolist()
    for row in merged.itertuples():
        members = regions[
            (regions.chrom == row.chrom) & (regions.start >= row.start) & (regions.end <= row.end)
        ]
        strongest = members[members["signal"] == members["signal"].max()]
        assert row.signal == strongest["signal"].iloc[0]
        assert row.summit == strongest["start"].min()


def test_merging_twice_changes_nothing_and_touching_regions_are_one():
    regions = as_regions([("a", 0, 10, 1), ("a", 10, 5, 2), ("a", 16, 4, 0)])
    merged = merge_regions(regions)
    assert merged[["start", "end"]].to_numpy().tolist() == [[0, 15], [16, 20]]
    pd.testing.assert_frame_equal(merge_regions(merged), merged)


def test_merged_bed_regions_have_their_midpoint_as_summit():
    merged = merge_regions(as_regions([("a", 0, 10, 0), ("a", 5, 15, 0)]).assign(signal=np.nan))
    assert merged["summit"].tolist() == [10]


@settings(deadline=None)
@given(st.lists(SPAN, max_size=8), st.lists(SPAN, max_size=8))
def test_overlap_is_a_shared_base(first, second):
    regions, others = as_regions(first), as_regions(second)
    expected = [painted(others, row.chrom)[row.start : row.end].any() for row in regions.itertuples()]
    assert is_overlapping(regions, others).tolist() == expected


@pytest.mark.parametrize(
    ("names", "known", "hint"),
    [
        (["1"], ["chr1", "chr2"], "the genome calls it 'chr1', this file '1' (names with and without 'chr')"),
        (["chrX"], ["X"], "calls it 'X'"),
        (["chrM"], ["1", "MT"], "calls it 'MT'"),
        (["CHR3"], ["chr3"], "calls it 'chr3'"),
        (["chr4"], ["chrIII", "chrIV"], "calls it 'chrIV'"),
        (["chr7.1"], ["chr7"], "calls it 'chr7'"),
        (["scaffold_9"], ["chr1", "chr2", "chr3", "chr4"], "the genome has chr1, chr2, chr3 and 1 more"),
        (["chr10"], ["chr1", "chr100"], "another genome build or species"),
        (["chr1"], [], ""),
    ],
)
def test_hints(names, known, hint):
    assert hint in contig_hint(names, known)
    assert bool(contig_hint(names, known)) == bool(hint)


def test_excluded_contigs_are_left_out_in_genome_order(caplog):
    assert kept_lengths(LENGTHS, ["chr10", "chrM"]) == {"chr2": 4800, "chr1": 7000}
    assert caplog.messages == ["excluded contig 'chrM' is not in the genome (which has chr2, chr10, chr1)"]
    with pytest.raises(InputError, match="exclude_contigs: every contig of the genome is excluded"):
        kept_lengths(LENGTHS, LENGTHS)


def test_unknown_contigs_are_named_unless_excluded():
    refuse_unknown_contigs(["chr1", "chrM"], LENGTHS, where="f", file="f", exclude_contigs=["chrM"])
    with pytest.raises(InputError, match=r"^f: contig chrM, chrQ not in g.fa; .*exclude_contigs"):
        refuse_unknown_contigs(["chr1", "chrM", "chrQ"], LENGTHS, where="f", file="f", source="g.fa")
    assert name_list("abcdefg", 5) == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("chr1\t1e+05\t100200", "start '1e+05' is not an integer; likely cause: scientific notation, as R"),
        (
            "chr1\t2000.0\t2400.0",
            "start '2000.0' is not an integer; likely cause: a decimal point, as pandas",
        ),
        ("chr1\t2000\t12,400", "end '12,400' is not an integer; likely cause: commas between thousands"),
        (
            '"chr1"\t2000\t2400',
            'contig name "chr1" stands in quotes; likely cause: a table with quotes, as R',
        ),
    ],
)
def test_notations_of_other_programs_are_recognised(tmp_path, row, cause):
    (tmp_path / "x.bed").write_text(row + "\n")
    with pytest.raises(InputError, match=re.escape(f"x.bed line 1: {cause}")):
        read_regions(tmp_path / "x.bed", {"chr1": 1_000_000})
