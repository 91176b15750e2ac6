"""Text files of fragments, reads and pairs against a line-by-line reader."""

import gzip
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac import fragments as fragments_module
from gatescope.atac import spool as spool_module
from gatescope.atac.accounts import FileCounts, ReadFilter, refuse_empty_contigs
from gatescope.atac.ends import gather_ends
from gatescope.atac.formats import tell_format
from gatescope.atac.fragments import read_rows
from gatescope.atac.shift import Tn5Shift
from gatescope.errors import InputError
from test_atac.atac_files import bedpe_rows, tagalign_rows

LENGTHS = {"chr2": 900, "1": 300, "chr10": 400}


def write(folder, text, name="fragments"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


def as_text(rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def read(path, duplicates="auto", exclude_contigs=(), lengths=LENGTHS, **options):
    """Return the 5' ends as {(contig, strand): Counter of positions}, and the counts."""
    format, keep = tell_format(path), ReadFilter(duplicates, **options)
    pieces = read_rows(path, format, lengths, keep, exclude_contigs, "genome.fa")
    found = Counter()
    with gather_ends(
        pieces, lengths, path=path, format=format, keep=keep, exclude_contigs=exclude_contigs
    ) as ends:
        for chrom in lengths:
            for side, positions in ends.pieces(chrom):
                found.update((chrom, side, int(position)) for position in positions)
        return found, ends.counts


def ends_of(rows):
    """Return both 5' ends of each fragment."""
    return Counter(end for name, start, stop in rows for end in ((name, "+", start), (name, "-", stop - 1)))


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 250), st.integers(1, 40)), min_size=1, max_size=60),
    most=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_thinned_ends_are_evenly_drawn_whatever_the_order(tmp_path_factory, rows, most, seed):
    rows = [("chr2", start, start + length) for start, length in rows]
    shuffled = [rows[n] for n in np.random.default_rng(seed).permutation(len(rows))]
    found = []
    for some in (rows, shuffled):
        path, keep = write(tmp_path_factory.mktemp("bed"), as_text(some)), ReadFilter("keep")
        pieces = read_rows(path, "BED3", {"chr2": 300}, keep)
        with gather_ends(pieces, {"chr2": 300}, path=path, format="BED3", keep=keep) as ends:
            found.append([each.tolist() for each in ends.strands("chr2", most)])
            assert [len(each) for each in ends.strands("chr3", most)] == [0, 0]
    assert found[0] == found[1]
    step = max(1, len(rows) // most)
    assert found[0] == [
        [row[1] for row in sorted(rows)][::step],
        [row[2] - 1 for row in sorted(rows)][::step],
    ]


def counts(**changes):
    zeros = {"excluded_contigs": 0} | changes.pop("left_out", {})
    values = {"file": "fragments", "format": "BED3", "tn5_shift": "+0/-0", "ends_per_row": 2}
    return FileCounts(**values | {"left_out": zeros} | changes)


ROW = st.tuples(st.sampled_from(list(LENGTHS)), st.integers(0, 250), st.integers(1, 50)).map(
    lambda row: (row[0], row[1], row[1] + row[2])
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=20), duplicates=st.sampled_from(["auto", "keep", "remove"]))
def test_bed_rows_are_those_of_the_file(tmp_path_factory, rows, duplicates):
    path = write(tmp_path_factory.mktemp("bed"), as_text(rows))
    found, told = read(path, duplicates)
    used = rows if duplicates == "keep" else list(set(rows))
    assert found == ends_of(used)
    out = {} if duplicates == "keep" else {"duplicates_by_position": len(rows) - len(used)}
    assert told == counts(rows=len(rows), left_out=out, used=len(used), distinct=len(set(rows)))


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.tuples(ROW, st.sampled_from("AC"), st.integers(1, 9)), min_size=1, max_size=20))
def test_tenx_rows_are_kept_whatever_their_count(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("tenx")
    path = write(folder, "# id=x\n# y\n" + as_text([(*row, cell, n) for row, cell, n in rows]), "f.tsv.gz")
    assert read(path)[0] == ends_of([row for row, _, _ in rows])
    assert read(path, "remove")[0] == ends_of({row for row, _, _ in rows})


@settings(deadline=None, max_examples=30)
# few enough that no contig is suspiciously empty
@given(rows=st.lists(ROW, min_size=1, max_size=8), read_bp=st.integers(1, 60))
def test_reads_and_pairs_begin_where_their_fragments_end(tmp_path_factory, rows, read_bp):
    folder = tmp_path_factory.mktemp("reads")
    path = write(folder, as_text(tagalign_rows(rows, read_bp)), "f.tagAlign.gz")
    found, told = read(path)
    assert found == ends_of(rows)
    assert (told.format, told.rows, told.used) == ("tagAlign", 2 * len(rows), 2 * len(rows))
    path = write(folder, as_text(bedpe_rows(rows, read_bp)), "f.bedpe")
    assert read(path, "keep")[0] == ends_of(rows)
    found, told = read(path)
    assert found == ends_of(set(rows))
    assert (told.format, told.rows, told.used) == ("BEDPE", len(rows), len(set(rows)))


def test_repeated_single_reads_are_removed_only_if_asked(tmp_path):
    rows = [("chr2", 5, 40, "N", 1, "+"), ("chr2", 5, 40, "M", 2, "+"), ("chr2", 5, 40, "N", 1, "-")]
    path = write(tmp_path, as_text([*rows, ("chr2", 5, 41, "N", 1, "+")]))
    assert read(path)[1].used == 4
    found, told = read(path, "remove")
    assert told.left_out == {"excluded_contigs": 0, "duplicates_by_position": 1}
    assert found == Counter({("chr2", "+", 5): 2, ("chr2", "-", 39): 1})


def test_what_is_no_pair_is_left_out_or_counted_read_by_read(tmp_path):
    pair = ("chr2", 10, 40, "chr2", 60, 90)
    rows = [
        (*pair, "ok", 1, "+", "-"),
        (*pair, "same strand", 1, "+", "+"),
        (*pair, "outwards", 1, "-", "+"),
        ("chr2", 10, 40, "1", 60, 90, "two contigs", 1, "+", "-"),
        (".", -1, -1, "1", 60, 90, "one end", 1, ".", "-"),
        ("chr2", 10, 40, "chrM", 60, 90, "excluded", 1, "+", "-"),
    ]
    path = write(tmp_path, as_text(rows))
    found, told = read(path, exclude_contigs=["chrM"])
    assert found == ends_of([("chr2", 10, 90)])
    assert told.left_out == {
        "unmapped": 1,
        "excluded_contigs": 1,
        "improper_pairs": 3,
        "duplicates_by_position": 0,
    }
    found, told = read(path, exclude_contigs=["chrM"], improper_pairs="keep")
    assert (told.used, sum(found.values())) == (4, 8)
    assert found["chr2", "+", 60] == 2 and found["chr2", "-", 39] == 1 and found["1", "-", 89] == 1


def test_chunks_line_ends_compression_order_and_headers_make_no_difference(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [(chrom, int(start), int(start) + 40) for chrom in LENGTHS for start in rng.integers(0, 200, 12)]
    text = "# made by x\n" + as_text(rows)
    shuffled = as_text([rows[index] for index in rng.permutation(len(rows))])
    lines = as_text(rows).splitlines(keepends=True)
    within = 'track name="x"\nbrowser position chr2\n' + "".join(
        line + ("# more\ntrack x\n" if n % 7 == 0 else "") for n, line in enumerate(lines)
    )
    for chunk_bytes in (1 << 25, 100, 1):
        monkeypatch.setattr(fragments_module, "_CHUNK_BYTES", chunk_bytes)
        monkeypatch.setattr(spool_module, "_RUN", chunk_bytes)
        for name, content in (
            ("a.bed", text),
            ("b.bed.gz", text),
            ("packed_without_saying", text),
            ("c.bed", text.replace("\n", "\r\n")),
            ("d.bed", text.removesuffix("\n")),
            ("e.bed", text + "\n\n"),
            ("f.bed", shuffled),
            ("g.bed", within),
            ("h.bed", within.replace("\n", "\r\n")),
            ("blank.bed", "browser\n\n" + "".join(f"{line}\n \t\n" for line in lines) + " \n\t"),
            ("i.bed", "\ufeff" + as_text(rows)),
        ):
            path = write(tmp_path, content, name)
            if name == "packed_without_saying":
                path.write_bytes(gzip.compress(path.read_bytes()))
            found, told = read(path)
            assert found == ends_of(set(rows)), name
            assert told.rows == len(rows)


def test_excluded_contigs_are_left_out_and_counted(tmp_path):
    rows = [("chrM", 5, 999_999), ("chr2", 1, 50), ("chr2", 1, 50), ("1", 3, 40), ("chr10", 3, 40)]
    path = write(tmp_path, as_text(rows))
    found, told = read(path, exclude_contigs=["chrM", "1", "never_seen"])
    assert found == ends_of([rows[1], rows[4]])
    out = {"excluded_contigs": 2, "duplicates_by_position": 1}
    assert told == counts(rows=5, left_out=out, used=2, distinct=2)
    with pytest.raises(InputError, match="no fragments in it outside the excluded contigs"):
        read(path, exclude_contigs=["chrM", *LENGTHS])


BAD_LINES = [
    ("chr2\t1", "2 tab-separated columns, the first line has 3"),
    ("chr2\t1\t2\t3", "4 tab-separated columns, the first line has 3"),
    ("chr2 1 2", "1 tab-separated columns, the first line has 3.*spaces instead of tabs"),
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
    ("chr2\t1\t2\0", "byte 0 within a line.*damaged"),
    ("chr2\t1\t2\rchr2", "byte 13 within a line"),
]


@pytest.mark.parametrize("comment", ["", "# comment\n"])
@pytest.mark.parametrize("chunk_bytes", [1 << 25, 1])
@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path, monkeypatch, line, message, chunk_bytes, comment):
    monkeypatch.setattr(fragments_module, "_CHUNK_BYTES", chunk_bytes)
    good = "chr2\t3\t40\n"
    before = "# comment\n" + good + comment + 2 * good
    path = write(tmp_path, before + line + "\n" + 2 * good, "f.bed.gz")
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} line {5 + bool(comment)}: ")


TAGALIGN, BEDPE = "chr2\t3\t40\tN\t9\t+", "chr2\t3\t40\tchr2\t50\t90\tn\t9\t+\t-"


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (TAGALIGN, "chr2\t3\t40\tN\t9\t.", "strand '.', wanted \\+ or -.*depends on its strand"),
        (TAGALIGN, "chr2\t3\t40\tN\t9\t", "strand '', wanted"),
        (TAGALIGN, "chr2\t3\t40\tN\t9", "5 tab-separated columns, the first line has 6"),
        (TAGALIGN, "chr2\t3\t4x\tN\t9\t+", "end '4x' is not an integer"),
        (TAGALIGN, "chr2\t890\t901\tN\t9\t-", "end 901 exceeds chr2 length 900"),
        (BEDPE, "chr2\t3\t40\tchr2\t50\t90\tn\t9\t+\t.", "strand '.', wanted"),
        (BEDPE, "chr2\t3\t40\tchr2\t50\t901\tn\t9\t+\t-", "end 901 exceeds chr2 length 900"),
        (BEDPE, "chr2\t3\t40\tchr3\t50\t90\tn\t9\t+\t-", "contig chr3 not in genome.fa"),
        (BEDPE, "chr2\t3\t40\tchr2\t5a\t90\tn\t9\t+\t-", "start2 '5a' is not an integer"),
        ("chr2\t3\t40\tcell\t2", "chr2\t3\t40\tcell\t0", "count .column 5. is 0.*BED with a score"),
        ("chr2\t3\t40\tcell\t2", "chr2\t3\t40\tcell\thigh", "count 'high' is not an integer.*score"),
    ],
)
def test_a_bad_line_of_other_formats_is_named(tmp_path, good, bad, message):
    path = write(tmp_path, f"#\n{good}\n{good}\n{bad}\n{good}\n")
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} line 4: ")


def test_files_that_cannot_be_read(tmp_path):
    for text in ("", "# nothing\n", "\n\n", "track name=x\n"):
        with pytest.raises(InputError, match="no fragments in it"):
            read(write(tmp_path, text))
    with pytest.raises(InputError, match="file does not exist"):
        read(tmp_path / "none.bed")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(InputError, match="duplicates: 'yes', wanted auto, keep or remove"):
        read(write(tmp_path, "chr2\t1\t20\n"), "yes")
    with pytest.raises(InputError, match="cannot be read as a table; likely cause: not UTF-8"):
        path = tmp_path / "latin"
        path.write_bytes("chr2\t1\t20\nché\t1\t20\n".encode("latin-1"))
        read(path)


@pytest.mark.parametrize("cut", [5, 200])
def test_a_truncated_gzip_file_is_the_users_message(tmp_path, cut):
    rng = np.random.default_rng(0)
    rows = [("chr2", int(start), int(start) + 50) for start in rng.integers(0, 800, 5000)]
    path = write(tmp_path, as_text(rows), "f.bed.gz")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated or damaged"):
        read(path)


def test_a_contig_without_fragments_is_refused_only_where_some_were_expected(tmp_path):
    rows = [("chr2", start, start + 40) for start in range(0, 200)]
    with pytest.raises(InputError, match=r"no fragments on contig 1, chr10 \(about 38 expected on 1\)"):
        read(write(tmp_path, as_text(rows)))
    refuse_empty_contigs({"chr2": 100, "short": 0}, {"chr2": 900, "short": 280}, "f", "fragments")
    with pytest.raises(InputError, match="contig short"):
        refuse_empty_contigs({"chr2": 100, "short": 0}, {"chr2": 900, "short": 310}, "f", "fragments")


def test_short_fragments_that_were_shifted_may_end_before_they_start(tmp_path):
    """As `awk` makes them: [100, 103) becomes [104, 98)."""
    rows = [("chr2", 104, 98), ("chr2", 200, 210)]
    path = write(tmp_path, as_text(rows))
    keep = ReadFilter()
    pieces = list(read_rows(path, "BED3", LENGTHS, keep, (), "genome.fa", narrowed_bp=9))
    with gather_ends(pieces, LENGTHS, path=path, format="BED3", keep=keep) as ends:
        assert ends.counts.used == 2
        assert {(side, int(p)) for side, found in ends.pieces("chr2") for p in found} == {
            *{("+", 104), ("-", 97)},
            *{("+", 200), ("-", 209)},
        }
    with pytest.raises(InputError, match="start 104 is not before end 98"):
        list(read_rows(path, "BED3", LENGTHS, keep, (), "genome.fa", narrowed_bp=6))
    with pytest.raises(InputError, match="start 4 is not before end 0"):
        path = write(tmp_path, as_text([("chr2", 4, 0)]))
        list(read_rows(path, "BED3", LENGTHS, keep, (), "genome.fa", narrowed_bp=9))


NOISE = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["put", "drop", "copy"]), st.binary(min_size=1, max_size=3)),
    min_size=1,
    max_size=3,
)
SPECIAL = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.just("put"),
        st.sampled_from([b"\t", b"\n", b"\r", b"\0", b"-", b"#", b'"', b" ", b".", b"9" * 20, b"1e3"]),
    ),
    min_size=1,
    max_size=3,
)
GOOD = {
    "BED3": as_text([("chr2", n, n + 40) for n in range(8)]),
    "10x": as_text([("chr2", n, n + 40, "AC-1", 2) for n in range(8)]),
    "tagAlign": as_text(tagalign_rows([("chr2", n, n + 40) for n in range(4)])),
    "BEDPE": as_text(bedpe_rows([("chr2", n, n + 40) for n in range(8)])),
}


@pytest.mark.parametrize("format", GOOD)
@settings(deadline=None, max_examples=150)
@given(noise=NOISE | SPECIAL)
def test_a_spoilt_file_is_refused_or_read_whole(tmp_path_factory, format, noise):
    """Never a traceback, never rows that vanish."""
    text = GOOD[format].encode()
    for where, what, noisy in noise:
        at = int(where * len(text))
        if what == "put":
            text = text[:at] + noisy + text[at:]
        elif what == "drop":
            text = text[:at] + text[at + len(noisy) :]
        else:
            text = text[:at] + text[max(0, at - 30) : at] + text[at:]
    path = tmp_path_factory.mktemp("fuzz") / "spoilt"
    path.write_bytes(text)
    try:
        found, told = read(path, "keep", lengths={"chr2": 900}, improper_pairs="keep")
    except InputError:
        return
    lines = [line for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    rows = [line for line in lines if not line.startswith((b"#", b"track ", b"browser "))]
    rows = [line for line in rows if line.strip() not in (b"track", b"browser")]
    assert told.rows == len(rows) == told.used + sum(told.left_out.values())
    assert sum(found.values()) == told.used * told.ends_per_row > 0


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
