"""Fragment files against a line-by-line reader."""

import gzip
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac import fragments as fragments_module
from gatescope.atac.fragments import FragmentCounts, read_fragments, refuse_empty_contigs
from gatescope.atac.shift import Tn5Shift
from gatescope.errors import InputError

LENGTHS = {"chr2": 900, "1": 300, "chr10": 400}


def write(folder, text, name="fragments.tsv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


def as_text(rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def as_rows(fragments):
    return [
        (chrom, int(start), int(end))
        for chrom, ends in fragments.ends.items()
        for start, end in zip(*ends, strict=True)
    ]


def genome_order(rows):
    return sorted(rows, key=lambda row: (list(LENGTHS).index(row[0]), *row[1:]))


ROW = st.tuples(st.sampled_from(list(LENGTHS)), st.integers(0, 250), st.integers(1, 50)).map(
    lambda row: (row[0], row[1], row[1] + row[2])
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=20), duplicates=st.sampled_from(["auto", "keep", "remove"]))
def test_bed_rows_are_those_of_the_file(tmp_path_factory, rows, duplicates):
    path = write(tmp_path_factory.mktemp("bed"), as_text(rows))
    fragments = read_fragments(path, LENGTHS, duplicates)
    expected = rows if duplicates == "keep" else list(set(rows))
    assert as_rows(fragments) == genome_order(expected)
    assert list(fragments.ends) == list(LENGTHS)
    assert fragments.counts == FragmentCounts(
        len(rows), 0, len(rows) - len(expected), len(expected), len(set(rows))
    )


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.tuples(ROW, st.sampled_from("AC"), st.integers(1, 9)), min_size=1, max_size=20))
def test_tenx_rows_are_kept_whatever_their_count(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("tenx")
    path = write(folder, "# id=x\n# y\n" + as_text([(*row, cell, n) for row, cell, n in rows]), "f.tsv.gz")
    expected = genome_order([row for row, _, _ in rows])
    assert as_rows(read_fragments(path, LENGTHS)) == expected
    assert as_rows(read_fragments(path, LENGTHS, "remove")) == genome_order(set(expected))


def test_chunks_line_ends_compression_and_order_make_no_difference(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [(chrom, int(start), int(start) + 40) for chrom in LENGTHS for start in rng.integers(0, 200, 12)]
    text = "# made by x\n" + as_text(rows)
    expected = as_rows(read_fragments(write(tmp_path, text), LENGTHS))
    shuffled = as_text([rows[index] for index in rng.permutation(len(rows))])
    for chunk_bytes in (1 << 25, 100, 1):
        monkeypatch.setattr(fragments_module, "_CHUNK_BYTES", chunk_bytes)
        for name, content in (
            ("a.bed", text),
            ("b.bed.gz", text),
            ("packed_without_saying", text),
            ("c.bed", text.replace("\n", "\r\n")),
            ("d.bed", text.removesuffix("\n")),
            ("e.bed", text + "\n\n"),
            ("f.bed", shuffled),
        ):
            path = write(tmp_path, content, name)
            if name == "packed_without_saying":
                path.write_bytes(gzip.compress(path.read_bytes()))
            fragments = read_fragments(path, LENGTHS)
            assert as_rows(fragments) == expected
            assert fragments.counts.rows == len(rows)


def test_excluded_contigs_are_left_out_and_counted(tmp_path):
    rows = [("chrM", 5, 999_999), ("chr2", 1, 50), ("chr2", 1, 50), ("1", 3, 40), ("chr10", 3, 40)]
    path = write(tmp_path, as_text(rows))
    fragments = read_fragments(path, LENGTHS, exclude_contigs=["chrM", "1", "never_seen"])
    assert list(fragments.ends) == ["chr2", "chr10"]
    assert fragments.counts == FragmentCounts(5, 2, 1, 2, 2)
    with pytest.raises(InputError, match="no fragments in it outside the excluded contigs"):
        read_fragments(path, LENGTHS, exclude_contigs=["chrM", *LENGTHS])


BAD_LINES = [
    ("chr2\t1", "2 tab-separated columns, the first line has 3"),
    ("chr2\t1\t2\t3", "4 tab-separated columns, the first line has 3"),
    ("chr2 1 2", "1 tab-separated columns, the first line has 3.*spaces instead of tabs"),
    ("", "1 tab-separated columns"),
    ("chr2\t1.5\t20", "start '1.5' is not an integer"),
    ("chr2\t1\tx", "end 'x' is not an integer"),
    ("chr2\t1\t", "end '' is not an integer"),
    ("chr2\t1\t99999999999999999999", "end '9+' is not an integer"),
    ("chr2\t-1\t20", "start -1 of chr2 is negative"),
    ("chr2\t20\t20", "start 20 is not before end 20"),
    ("chr2\t21\t20", "start 21 is not before end 20"),
    ("chr2\t88\t901", r"end 901 exceeds chr2 length 900 \(genome.fa\)"),
    ("2\t1\t20", "contig 2 not in genome.fa.*calls it 'chr2'"),
    ("chrM\t1\t20", "contig chrM not in genome.fa.*exclude_contigs"),
]


@pytest.mark.parametrize("chunk_bytes", [1 << 25, 1])
@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path, monkeypatch, line, message, chunk_bytes):
    monkeypatch.setattr(fragments_module, "_CHUNK_BYTES", chunk_bytes)
    good = "chr2\t3\t40\n"
    path = write(tmp_path, "# comment\n" + 3 * good + line + "\n" + 2 * good, "f.bed.gz")
    with pytest.raises(InputError, match=message) as caught:
        read_fragments(path, LENGTHS, source="genome.fa")
    assert str(caught.value).startswith(f"{path} line 5: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr2\t1\t20\tcell", "line 1: 4 tab-separated columns, wanted 3 .* or 5"),
        ("chr2\t1\t20\tread\t0\t+", "6 tab-separated columns.*single reads"),
        ("chr2\t1\t20\tchr2\t50\t90\tn\t9\t+\t-", "10 tab-separated columns.*BEDPE"),
        ("chr2 1 20", "1 tab-separated column, .*spaces instead of tabs"),
        ("chr2\t1\t20\tname\t0", "count .column 5. is 0.*BED with a score"),
        ("chr2\t1\t20\tname\thigh", "count 'high' is not an integer"),
        ("chrom\tstart\tend", "line 1: start 'start' is not an integer; likely cause: a header line"),
    ],
)
def test_another_format_is_guessed(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_fragments(write(tmp_path, f"{line}\n{line}\n"), LENGTHS)


def test_files_that_cannot_be_read(tmp_path):
    for text in ("", "# nothing\n", "\n\n"):
        with pytest.raises(InputError):
            read_fragments(write(tmp_path, text), LENGTHS)
    with pytest.raises(InputError, match="no fragments in it"):
        read_fragments(write(tmp_path, "# nothing\n"), LENGTHS)
    with pytest.raises(InputError, match="file does not exist"):
        read_fragments(tmp_path / "none.bed", LENGTHS)
    with pytest.raises(InputError, match="cannot be read"):
        read_fragments(tmp_path, LENGTHS)
    with pytest.raises(InputError, match="alignments are not read yet"):
        read_fragments(write(tmp_path, "BAM\x01...", "x.gz"), LENGTHS)
    with pytest.raises(InputError, match="duplicates: 'yes', wanted auto, keep or remove"):
        read_fragments(write(tmp_path, "chr2\t1\t20\n"), LENGTHS, "yes")


@pytest.mark.parametrize("cut", [5, 200])
def test_a_truncated_gzip_file_is_the_users_message(tmp_path, cut):
    rng = np.random.default_rng(0)
    rows = [("chr2", int(start), int(start) + 50) for start in rng.integers(0, 800, 5000)]
    path = write(tmp_path, as_text(rows), "f.bed.gz")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_fragments(path, LENGTHS)


def test_a_contig_without_fragments_is_refused_only_where_some_were_expected(tmp_path):
    rows = [("chr2", start, start + 40) for start in range(0, 100)]
    with pytest.raises(InputError, match=r"no fragments on contig 1, chr10 \(about 19 expected on 1\)"):
        read_fragments(write(tmp_path, as_text(rows)), LENGTHS)
    refuse_empty_contigs({"chr2": 100, "short": 0}, {"chr2": 900, "short": 80}, "f", "fragments")
    with pytest.raises(InputError, match="contig short"):
        refuse_empty_contigs({"chr2": 100, "short": 0}, {"chr2": 900, "short": 101}, "f", "fragments")


def test_ends_are_one_integer_type_per_contig_and_sorted(tmp_path):
    rng = np.random.default_rng(1)
    rows = [("chr2", int(start), int(start) + 50) for start in rng.integers(0, 800, 100)]
    starts, ends = read_fragments(write(tmp_path, as_text(rows)), {"chr2": 900}, "keep").ends["chr2"]
    assert starts.dtype == ends.dtype == np.int32
    assert Counter(zip(starts.tolist(), ends.tolist(), strict=True)) == Counter(row[1:] for row in rows)
    assert (np.diff(starts) >= 0).all()


@pytest.mark.parametrize(
    ("text", "shift", "left", "right"),
    [
        # raw fragment [100, 200): the duplications are [100, 109) and [191, 200), their centres 104 and 195
        ("+0/-0", Tn5Shift(0, 0), 104, 195),
        ("+4/-5", Tn5Shift(4, -5), 100, 200),
        ("+4/-4", Tn5Shift(4, -4), 100, 199),
        ("0/0", Tn5Shift(0, 0), 104, 195),
        ("+5/-4", Tn5Shift(5, -4), 99, 199),
        ("-4/+5", Tn5Shift(-4, 5), 108, 190),
    ],
)
def test_shifts(text, shift, left, right):
    parsed = Tn5Shift.parse(text)
    assert parsed == shift
    assert Tn5Shift.parse(str(parsed)) == parsed
    cuts = parsed.cuts(np.array([100]), np.array([200]))
    assert [int(position[0]) for position in cuts] == [left, right]


@pytest.mark.parametrize("text", ["", "4", "+4", "+4/-5bp", "4,5", "+75/-75", "++4/-4", "+4/--4", "none"])
def test_what_is_no_shift_is_refused(text):
    with pytest.raises(InputError, match="tn5_shift: "):
        Tn5Shift.parse(text)
