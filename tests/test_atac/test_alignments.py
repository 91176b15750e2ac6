"""BAM, CRAM and SAM: flags, mapping quality, clipping and order, against counts made by a loop."""

import gzip
import hashlib
import json
import threading
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac import alignments as alignments_module
from gatescope.atac import bam as bam_module
from gatescope.atac.accounts import ReadFilter
from gatescope.atac.bam import bam_tables
from gatescope.atac.bigwig import bigwig_lengths, read_bigwig
from gatescope.atac.cuts import cuts, open_cuts
from gatescope.browser.twobit import write_twobit
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from test_atac.atac_files import (
    count_cuts,
    draw,
    pair,
    write_alignments,
    write_fasta,
)

LENGTHS = {"chr2": 3000, "chr10": 2000, "chr1": 2500}


@pytest.fixture
def genome(tmp_path):
    return write_fasta(tmp_path / "genome.fa", LENGTHS)


def run(atac, genome, **options):
    """Return counts and track."""
    output = atac.with_suffix(".cuts.bw")
    told = cuts(atac, genome, output, **{"tn5_shift": "+0/-0"} | options)
    for file in told.files:
        assert file.rows == file.used + sum(file.left_out.values())
        assert (
            json.loads(output.with_name(output.name + ".json").read_text())["files"][0]["rows"] == file.rows
        )
    ends = sum(file.used * file.ends_per_row for file in told.files)
    assert told.cuts + told.cuts_off_contig == ends
    return told, {chrom: read_bigwig(output, chrom, missing=0) for chrom in bigwig_lengths(output)}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for chrom, counts in expected.items():
        np.testing.assert_array_equal(found[chrom], counts, err_msg=chrom)


@pytest.mark.parametrize("order", ["coordinate", "name"])
@pytest.mark.parametrize("suffix", ["bam", "cram", "sam"])
@pytest.mark.parametrize("at_once", [1, 7, 200_000])
def test_each_read_is_a_cut(tmp_path, genome, monkeypatch, suffix, order, at_once):
    monkeypatch.setattr(alignments_module, "_READS_AT_ONCE", at_once)
    monkeypatch.setattr(bam_module, "_BYTES_AT_ONCE", 50 * at_once)
    rows = draw(LENGTHS, 40)
    rows += rows[:20]
    path = write_alignments(tmp_path / f"a.{suffix}", LENGTHS, rows, order, reference=genome)
    told, found = run(path, genome)
    assert_same(found, count_cuts(set(rows), LENGTHS))
    assert (told.files[0].format, told.files[0].rows) == (suffix.upper(), 2 * len(rows))
    assert told.files[0].left_out["duplicates_by_position"] == 2 * (len(rows) - len(set(rows)))
    told, found = run(path, genome, duplicates="keep")
    assert_same(found, count_cuts(rows, LENGTHS))


def test_an_index_is_neither_needed_nor_made(tmp_path, genome):
    rows = draw(LENGTHS, 40)
    path = write_alignments(tmp_path / "a.bam", LENGTHS, rows)
    (tmp_path / "out").mkdir()
    before = sorted(tmp_path.iterdir())
    cuts(path, genome, tmp_path / "out" / "without.bw", tn5_shift="+0/-0")
    assert sorted(tmp_path.iterdir()) == before
    pysam.index(str(path))
    cuts(path, genome, tmp_path / "out" / "with.bw", tn5_shift="+0/-0")
    assert (tmp_path / "out" / "with.bw").read_bytes() == (tmp_path / "out" / "without.bw").read_bytes()


@pytest.mark.parametrize("packing", ["plain", "gzip", "bgzip", "2bit"])
def test_a_cram_takes_the_genome_as_its_reference(tmp_path, genome, packing):
    """Nothing is written beside the genome, and the path in the CRAM's header is not needed."""
    rows, folder = draw(LENGTHS, 40), tmp_path / "elsewhere"
    folder.mkdir()
    reference = write_fasta(folder / "genome.fa", LENGTHS)
    path = write_alignments(tmp_path / "a.cram", LENGTHS, rows, reference=reference)
    content = reference.read_bytes()
    if packing == "2bit":
        write_twobit(tmp_path / "packed", Genome(reference))
        content = (tmp_path / "packed").read_bytes()
    for each in folder.iterdir():
        each.unlink()
    packed = folder / "other.fa"
    if packing == "bgzip":
        with pysam.BGZFile(str(packed), "w") as file:
            file.write(content)
    else:
        packed.write_bytes(gzip.compress(content) if packing == "gzip" else content)
    assert_same(run(path, packed)[1], count_cuts(set(rows), LENGTHS))
    assert list(folder.iterdir()) == [packed]


def test_a_cram_of_another_assembly(tmp_path, genome):
    longer = LENGTHS | {"chr10": 2100}
    other = write_fasta(tmp_path / "other.fa", longer)
    path = write_alignments(tmp_path / "a.cram", longer, draw(LENGTHS, 40), reference=other)
    with pytest.raises(InputError, match=r"chr10 is 2100 bp long in the header, in genome.fa 2000"):
        run(path, genome)


@pytest.fixture
def registry(monkeypatch):
    """Stand in for the reference server of REF_PATH; return what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("REF_PATH", f"http://127.0.0.1:{server.server_port}/%s")
        yield asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("order", ["coordinate", "name"])
def test_a_cram_whose_reference_is_gone_needs_none_and_asks_nobody(tmp_path, genome, registry, order):
    """A contig that the genome lacks and that is excluded, in slices of several contigs or of one."""
    rows, more = draw(LENGTHS, 40), LENGTHS | {"chrM": 900}
    reference = write_fasta(tmp_path / "more.fa", more)
    path = write_alignments(tmp_path / "b.cram", more, [*rows, ("chrM", 5, 90)], order, reference=reference)
    for each in tmp_path.glob("more.fa*"):
        each.unlink()
    (genome.parent / "genome.fa.fai").unlink(missing_ok=True)
    with pysam.AlignmentFile(str(path)) as file, pytest.raises(OSError, match="truncated"):
        list(file)
    assert registry  # plain pysam asks: this test can fail
    registry.clear()
    told, found = run(path, genome, exclude_contigs=["chrM"])
    assert_same(found, count_cuts(set(rows), LENGTHS))
    assert told.files[0].left_out["excluded_contigs"] == 2
    assert registry == []


def m5(letters):
    return hashlib.md5(letters.upper().encode()).hexdigest()


def with_md5(path, target, sums):
    """Write a copy of a file with these M5 in its header; None for no M5."""
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        header = file.header.to_dict()
        for line in header["SQ"]:
            line.pop("M5", None)
            line |= {"M5": sums[line["SN"]]} if line["SN"] in sums else {}
        with pysam.AlignmentFile(str(target), "wb", header=header) as copy:
            for read in file:
                copy.write(read)
    return target


@pytest.mark.parametrize("suffix", ["cram", "bam"])
def test_bases_that_the_reads_were_not_aligned_to_are_named(tmp_path, genome, caplog, suffix):
    """Lower case is the same; a base masked with N is not; excluded contigs do not matter."""
    letters = dict(zip(LENGTHS, genome.read_text().split("\n")[1::2], strict=True))
    path = write_alignments(tmp_path / f"a.{suffix}", LENGTHS, draw(LENGTHS, 40), reference=genome)
    if suffix == "bam":
        path = with_md5(path, tmp_path / "b.bam", {name: m5(text) for name, text in letters.items()})
    counts = run(path, genome)[0]
    assert counts.files[0].other_bases_on == ()
    assert "MD5" not in " ".join(r.message for r in caplog.records if r.levelname == "WARNING")
    letters["chr10"] = letters["chr10"][:700].lower() + "N" + letters["chr10"][701:]
    genome.write_text("".join(f">{name}\n{text}\n" for name, text in letters.items()))
    again, _ = run(path, genome)
    assert again.files[0].other_bases_on == ("chr10",)
    assert replace(again.files[0], other_bases_on=()) == counts.files[0]
    assert "other bases than those of" in caplog.text
    assert "on 1 of 3 contigs (chr10)" in caplog.text
    sidecar = json.loads(path.with_suffix(".cuts.bw.json").read_text())
    assert sidecar["files"][0]["other_bases_on"] == ["chr10"]
    assert run(path, genome, exclude_contigs=["chr10"])[0].files[0].other_bases_on == ()


def test_a_header_that_states_no_md5_is_compared_with_nothing(tmp_path, genome, caplog):
    path = write_alignments(tmp_path / "a.bam", LENGTHS, draw(LENGTHS, 40))
    assert run(path, genome)[0].files[0].other_bases_on is None
    some = with_md5(path, tmp_path / "b.bam", {"chr1": "0" * 32})
    assert run(some, genome)[0].files[0].other_bases_on == ("chr1",)
    assert "on 1 of 1 contigs (chr1)" in caplog.text
    content = gzip.decompress(some.read_bytes())
    latin = content.replace(b"VN:1.6", b"VN:\xe9.6")
    assert latin != content
    with pysam.BGZFile(str(tmp_path / "c.bam"), "w", None) as file:
        file.write(latin)
    assert run(tmp_path / "c.bam", genome)[0].files[0].other_bases_on is None
    assert "the header is not in UTF-8" in caplog.text


def flagged(flag, mapq=40, n=3):
    """Return `n` pairs at places of their own, with `flag` added."""
    return lambda header: [
        read
        for at in range(n)
        for read in pair(header, 10_000 + at, ("chr2", 100 + at, 400 + at), flag=flag, mapq=mapq)
    ]


def changed(change, n=3):
    """Return `n` pairs at places of their own, each read changed by a function."""

    def extra(header):
        reads = flagged(0, n=n)(header)
        for read in reads:
            change(read)
        return reads

    return extra


def unmap(read):
    read.flag, read.cigarstring, read.mapping_quality = 0x1 | 0x4 | 0x8, None, 0
    read.reference_id = read.next_reference_id = -1
    read.reference_start = read.next_reference_start = -1


def set_flag(flag):
    def change(read):
        read.flag = flag

    return change


def no_cigar(read):
    read.cigarstring = None


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (changed(unmap), "unmapped"),
        (flagged(0x100), "secondary"),
        (flagged(0x800), "supplementary"),
        (flagged(0x200), "qc_failed"),
        (flagged(0x400), "duplicates_marked"),
        (flagged(0, mapq=29), "low_mapq"),
        (flagged(0, mapq=0), "low_mapq"),
        (changed(set_flag(0x1)), "improper_pairs"),
        (changed(no_cigar), "without_cigar"),
    ],
)
def test_what_is_left_out_is_counted(tmp_path, genome, extra, reason):
    rows = draw(LENGTHS, 40)
    path = write_alignments(tmp_path / "a.bam", LENGTHS, rows, extra=extra)
    told, found = run(path, genome)
    assert_same(found, count_cuts(set(rows), LENGTHS))
    out = told.files[0].left_out
    assert {name: n for name, n in out.items() if n} == {reason: 6}


def test_options_let_them_in(tmp_path, genome):
    rows, more = draw(LENGTHS, 40), [("chr2", 100 + n, 400 + n) for n in range(3)]
    for extra, option in (
        (flagged(0, mapq=5), {"min_mapq": 5}),
        (flagged(0x400), {"duplicates": "keep"}),
        (changed(lambda read: set_flag(read.flag & ~0x2)(read)), {"improper_pairs": "keep"}),
    ):
        path = write_alignments(tmp_path / "a.bam", LENGTHS, rows, extra=extra)
        assert_same(run(path, genome)[1], count_cuts(set(rows), LENGTHS))
        assert_same(run(path, genome, **option)[1], count_cuts(set(rows + more), LENGTHS))


def test_marked_duplicates_are_trusted_where_there_are_any(tmp_path, genome):
    rows = draw(LENGTHS, 40)
    rows += rows[:20]  # such as two molecules told apart by UMIs
    path = write_alignments(tmp_path / "a.bam", LENGTHS, rows, extra=flagged(0x400))
    assert_same(run(path, genome)[1], count_cuts(rows, LENGTHS))
    assert_same(run(path, genome, duplicates="remove")[1], count_cuts(set(rows), LENGTHS))
    more = [("chr2", 100 + n, 400 + n) for n in range(3)]
    assert_same(run(path, genome, duplicates="keep")[1], count_cuts(rows + more, LENGTHS))


def single(chrom, start, is_reverse, length=20):
    def make(header):
        read = pair(header, start, (chrom, start, start + length))[int(is_reverse)]
        read.flag = 0x10 if is_reverse else 0
        read.next_reference_id, read.next_reference_start, read.template_length = -1, -1, 0
        return read

    return make


@settings(deadline=None, max_examples=20)
@given(
    reads=st.lists(
        st.tuples(st.sampled_from(list(LENGTHS)), st.integers(10, 1900), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_single_reads_are_cuts_where_they_begin(tmp_path_factory, reads):
    folder = tmp_path_factory.mktemp("single")
    genome = write_fasta(folder / "genome.fa", LENGTHS)

    def extra(header):
        return [single(*read)(header) for read in reads]

    path = write_alignments(folder / "a.bam", LENGTHS, [], extra=extra)
    for used, duplicates in ((reads, "auto"), (set(reads), "remove")):
        expected = {chrom: np.zeros(length) for chrom, length in LENGTHS.items()}
        for chrom, start, is_reverse in used:
            expected[chrom][start + 20 - 5 if is_reverse else start + 4] += 1
        if all(Counter(chrom for chrom, *_ in reads)[name] or len(reads) < 15 for name in LENGTHS):
            keep = ReadFilter(duplicates)
            with open_cuts(path, genome, tn5_shift="+0/-0", keep=keep) as source:
                assert_same(dict(source.contigs()), expected)


def test_contigs_in_another_order_and_some_missing(tmp_path, genome):
    rows = draw(LENGTHS, 40)
    header = dict(reversed(LENGTHS.items())) | {"decoy|1": 500}
    path = write_alignments(tmp_path / "a.bam", header, rows)
    assert_same(run(path, genome)[1], count_cuts(set(rows), LENGTHS))
    header.pop("chr10")
    some = [row for row in rows if row[0] != "chr10"]
    path = write_alignments(tmp_path / "b.bam", header, some)
    with pytest.raises(InputError, match=r"b\.bam: no reads on contig chr10"):
        run(path, genome)
    expected = count_cuts(set(some), {name: n for name, n in LENGTHS.items() if name != "chr10"})
    assert_same(run(path, genome, exclude_contigs=["chr10"])[1], expected)


def test_reads_on_contigs_that_the_genome_lacks(tmp_path, genome):
    rows, header = draw(LENGTHS, 40), LENGTHS | {"chrM": 900, "chrUn": 800, "chr9": 700}
    strangers = [("chrM", 10, 90), ("chrM", 20, 99), ("chrUn", 5, 70)]
    path = write_alignments(tmp_path / "a.bam", header, rows + strangers)
    with pytest.raises(InputError, match=r"6 reads, most on chrM\): contig chrM, chrUn not in genome.fa"):
        run(path, genome)
    told, found = run(path, genome, exclude_contigs=["chrM", "chrUn"])
    assert_same(found, count_cuts(set(rows), LENGTHS))
    assert told.files[0].left_out["excluded_contigs"] == 6


def rename(names):
    return {"chr" + name if not name.startswith("chr") else name[3:]: n for name, n in names.items()}


def test_bad_alignments(tmp_path, genome):
    rows = draw(LENGTHS, 40)

    def refused(message, path, **options):
        with pytest.raises(InputError, match=message) as caught:
            run(path, genome, **options)
        assert options or str(path) in str(caught.value)
        assert not list(tmp_path.glob("*.cuts.bw*"))

    good = write_alignments(tmp_path / "good.bam", LENGTHS, rows)
    cram = write_alignments(tmp_path / "good.cram", LENGTHS, rows, reference=genome)

    def cut(path, keep, name):
        content = path.read_bytes()
        (tmp_path / name).write_bytes(content[:keep])
        return tmp_path / name

    for keep in (-28, -29, -500, 300, 20, 10):
        refused("alignments cannot be read|truncated", cut(good, keep, "half.bam"))
    for keep in (-38, -39, -500, 300, 30, 7):
        refused("CRAM without its end", cut(cram, keep, "half.cram"))
    damaged = bytearray(good.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 40] = bytes(40)
    (tmp_path / "damaged.bam").write_bytes(damaged)
    refused("cannot be read|truncated", tmp_path / "damaged.bam")
    refused("no reads in it", write_alignments(tmp_path / "none.bam", LENGTHS, []))
    refused("lists no contigs", write_alignments(tmp_path / "ubam.bam", {}, []))
    bare = write_alignments(
        tmp_path / "bare.bam", rename(LENGTHS), [(name[3:], *ends) for name, *ends in rows]
    )
    refused("'chr2', this file '2'.*names with and without 'chr'", bare)
    other = write_alignments(tmp_path / "hg19.bam", LENGTHS | {"chr10": 2001}, rows)
    refused("chr10 is 2001 bp long in the header, in genome.fa 2000 bp.*another assembly", other)
    off = write_alignments(tmp_path / "off.bam", LENGTHS, [*rows, ("chr10", 1950, 2010)])
    refused(r"a read at chr10:\d+-2010 exceeds chr10 length 2000", off)
    alone = write_alignments(tmp_path / "alone.bam", LENGTHS, [], extra=changed(set_flag(0x1)))
    refused("none of 6 reads can be used: 6 not in a proper pair.*improper_pairs", alone)
    low = write_alignments(tmp_path / "low.bam", LENGTHS, rows, mapq=0)
    refused("240 below the least mapping quality; lower min_mapq, now 30", low)
    lost = write_alignments(tmp_path / "lost.bam", LENGTHS, [], extra=changed(unmap))
    refused("6 unmapped; align the reads first", lost)
    refused("min_mapq: 300, wanted", good, min_mapq=300)
    refused("improper_pairs: 'x', wanted", good, improper_pairs="x")


def test_a_spoilt_bam_is_refused_or_read_whole(tmp_path, genome):
    """BGZF has a checksum for each block: what is changed is noticed."""
    rows = draw(LENGTHS, 40)
    good = write_alignments(tmp_path / "a.bam", LENGTHS, rows).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "spoilt.bam"
    for at in rng.integers(0, len(good), 60).tolist():
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        try:
            _, found = run(path, genome)
        except InputError:
            continue
        assert_same(found, count_cuts(set(rows), LENGTHS))


CIGARS = ["30M", "5S20M5S", "10M2D8M3I4N9=1X", "1H7M", "12I", "4S3P2N", *["1M1D" * n for n in (3, 40)]]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(CIGARS), st.integers(0, 900), st.booleans()), min_size=1, max_size=30)
)
def test_records_read_in_bulk_are_those_of_pysam(tmp_path_factory, reads):
    """Names and tags of any length, CIGARs of many operations, records across the edges of chunks."""
    path = tmp_path_factory.mktemp("bulk") / "a.bam"

    def extra(header):
        made = []
        for n, (cigar, start, is_reverse) in enumerate(reads):
            read = single("chr2", start, is_reverse)(header)
            read.query_sequence = None
            read.cigarstring = cigar
            read.query_name = "x" * (1 + n * 7 % 200)
            read.set_tag("XX", "y" * (n * 31 % 400))
            read.next_reference_id, read.next_reference_start, read.template_length = 2, 3 * n, -5 * n
            made.append(read)
        return made

    write_alignments(path, LENGTHS, [], extra=extra)
    (slow,) = alignments_module._pysam_tables(path, path)
    for at_once in (1 << 24, 97):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bam_module, "_BYTES_AT_ONCE", at_once)
            fast = np.concatenate(list(bam_tables(path)))
        np.testing.assert_array_equal(fast, slow)


def test_a_bam_whose_records_are_damaged_inside_whole_blocks(tmp_path, genome):
    """What no checksum notices: the BAM is unpacked, changed and packed again."""
    good = gzip.decompress(write_alignments(tmp_path / "a.bam", LENGTHS, draw(LENGTHS, 20)).read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "spoilt.bam"
    refused = 0
    for at in rng.integers(0, len(good), 300).tolist():
        with pysam.BGZFile(str(path), "w", None) as file:
            file.write(good[:at] + bytes([int(rng.integers(256))]) + good[at + 1 :])
        try:
            with open_cuts(path, genome, tn5_shift="+0/-0", keep=ReadFilter("keep", 0, "keep")) as source:
                assert sum(int(counts.sum()) for _, counts in source.contigs()) > 0
        except InputError:
            refused += 1
    assert refused > 50
