"""Spoilt text files: each is refused with a message, or read exactly as a slow reader reads it."""

import gzip
import json

import jsonschema
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac.accounts import ReadFilter
from gatescope.atac.cuts import open_cuts
from gatescope.config import explain
from gatescope.data.inputs import track_sources
from gatescope.errors import InputError
from gatescope.files import read_json
from gatescope.genome.fasta import Genome
from gatescope.genome.folds import read_folds
from gatescope.genome.regions import read_regions
from gatescope.samples import read_samples
from gatescope.trace.units import selected_units
from oracles import slow_readers as slow
from test_atac.atac_files import (
    bedpe_rows,
    draw,
    tagalign_rows,
    tenx_rows,
    write_alignments,
    write_fasta,
    write_text,
)
from test_fuzz.spoil import AMOUNTS, fuzz

LENGTHS = {"chr2": 900, "chr10": 700, "chr1": 800}
EVERYTHING = ReadFilter("keep", 0, "keep")
ROWS = list(dict.fromkeys(draw(LENGTHS, 8, seed=3)))


def text(rows) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


READS = {
    "BED3": text(ROWS),
    "BED3 with headers": b'track name="x"\n# chr1\n' + text(ROWS),
    "10x": text(tenx_rows(ROWS)),
    "tagAlign": text(tagalign_rows(ROWS)),
    "BEDPE": text(bedpe_rows(ROWS)),
}
PEAKS = {
    "x.bed": text(ROWS),
    "x.narrowPeak": text([(*row, "n", 5, ".", 4.5, 3.0, 2.0, (row[2] - row[1]) // 2) for row in ROWS]),
}


def found_cuts(path, genome) -> slow.Cuts:
    with open_cuts(path, genome, tn5_shift="+0/-0", keep=EVERYTHING) as source:
        counted = {
            (contig, int(at)): int(counts[at])
            for contig, counts in source.contigs()
            for at in np.flatnonzero(counts)
        }
        source.finish()
    return counted


@AMOUNTS
@pytest.mark.parametrize("format", READS)
def test_reads_and_fragments(tmp_path, format, examples):
    genome, path = write_fasta(tmp_path / "g.fa", LENGTHS), tmp_path / "spoilt"

    def check(content):
        path.write_bytes(content)
        found = found_cuts(path, genome)
        ends = [end for fields in slow.rows(content) for end in slow.ends_of_row(fields)]
        assert found == slow.cuts(ends, LENGTHS)

    fuzz(check, READS[format], examples)


@AMOUNTS
def test_packed_fragments(tmp_path, examples):
    genome, path = write_fasta(tmp_path / "g.fa", LENGTHS), tmp_path / "spoilt.gz"

    def check(content):
        path.write_bytes(content)
        found = found_cuts(path, genome)
        inside = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        ends = [end for fields in slow.rows(inside) for end in slow.ends_of_row(fields)]
        assert found == slow.cuts(ends, LENGTHS)

    fuzz(check, gzip.compress(text(ROWS), mtime=0), examples)


@AMOUNTS
def test_sam(tmp_path, examples):
    genome, path = write_fasta(tmp_path / "g.fa", LENGTHS), tmp_path / "spoilt.sam"

    def check(content):
        path.write_bytes(content)
        found = found_cuts(path, genome)
        assert found == slow.cuts(slow.sam_ends(content), LENGTHS)

    fuzz(check, write_alignments(tmp_path / "good.sam", LENGTHS, ROWS).read_bytes(), examples)


@AMOUNTS
@pytest.mark.parametrize("name", PEAKS)
def test_regions(tmp_path, name, examples):
    path = tmp_path / name

    def check(content):
        path.write_bytes(content)
        table = read_regions(path, LENGTHS)
        found = sorted(zip(table["chrom"], table["start"], table["end"], table["summit"], strict=True))
        assert found == slow.regions(content, "narrowPeak" in name)

    fuzz(check, PEAKS[name], examples)


@AMOUNTS
def test_fasta(tmp_path, examples):
    path = tmp_path / "spoilt.fa"

    def check(content):
        path.write_bytes(content)
        genome = Genome(path)
        assert {name: genome.codes(name).tolist() for name in genome.lengths} == slow.fasta(content)

    good = b">chr2 first\nACGTnRYac\nACGTTTGCA\nAC\n;comment\n>gi|1|x.1\nACG\n>last\nGGGGG\nA\n".replace(
        b";comment\n", b""
    )
    fuzz(check, good, examples)


@AMOUNTS
def test_index_of_a_fasta(tmp_path, examples):
    """Whatever the index says, the bases are those of the file."""
    path = write_fasta(tmp_path / "g.fa", LENGTHS)
    expected = slow.fasta(path.read_bytes())
    index = path.with_name("g.fa.fai")
    offsets = [path.read_bytes().index(f">{name}\n".encode()) + len(name) + 2 for name in LENGTHS]
    good = text([(name, n, at, n, n + 1) for (name, n), at in zip(LENGTHS.items(), offsets, strict=True)])

    def check(content):
        index.write_bytes(content)
        genome = Genome(path)
        assert {name: genome.codes(name).tolist() for name in genome.lengths} == expected

    fuzz(check, good, examples)


@AMOUNTS
def test_sample_table(tmp_path, request, examples):
    schema = yaml.safe_load((request.config.rootpath / "workflow/schemas/samples.schema.yaml").read_text())
    for name in ("g.fa", "a.bed", "p.bed", "t.bw"):
        (tmp_path / name).touch()

    def check_row(row, place):
        for column, rule in schema["properties"].items():
            if "default" in rule:
                row.setdefault(column, rule["default"])
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(row))
        if errors:
            raise explain(errors[0], place)

    def check(content):
        (tmp_path / "samples.tsv").write_bytes(content)
        samples = read_samples(tmp_path / "samples.tsv", tmp_path, "+0/-0", check_row)
        wanted = slow.sample_rows(content)
        assert list(samples) == [row["sample"] for row in wanted]
        for sample, row in zip(samples.values(), wanted, strict=True):
            assert sample.files["genome"] == str(tmp_path / row["genome"])
            assert sample.files["atac"] == [str(tmp_path / each.strip()) for each in row["atac"].split(",")]

    good = "# comment\nsample\tgenome\tatac\tpeaks\ttracks\ttn5_shift\na\tg.fa\ta.bed\tp.bed\th3=t.bw,k4=t.bw:zero\t\n"
    fuzz(check, (good + 'b\tg.fa\ta.bed,p.bed\t"p.bed"\t\t+4/-5\n').encode(), examples)


@AMOUNTS
def test_sidecar_of_a_track(tmp_path, examples):
    (tmp_path / "t.bw").touch()

    def check(content):
        (tmp_path / "t.bw.json").write_bytes(content)
        (source,) = track_sources({"t": tmp_path / "t.bw"})
        assert source.gaps_are_zero == (json.loads(content).get("gaps") == "zero")

    fuzz(check, b'{"gaps": "zero", "range": [0, null], "nested": {"x": 1.5}}', examples)


@AMOUNTS
def test_json(tmp_path, examples):
    def check(content):
        (tmp_path / "x.json").write_bytes(content)
        assert repr(read_json(tmp_path / "x.json")) == repr(json.loads(content))

    fuzz(check, b'{"gaps": "zero", "range": [0, null], "nested": {"x": 1.5}}', examples)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5_000, b"\xff"])
def test_json_without_end(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not JSON"):
        read_json(tmp_path / "x.json")


@AMOUNTS
def test_units_table(tmp_path, examples):
    def check(content):
        (tmp_path / "units.tsv").write_bytes(content)
        units = selected_units(tmp_path / "units.tsv", 4)
        header, *lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
        rows = [dict(zip(header.split("\t"), line.split("\t"), strict=False)) for line in lines]
        named = [row for row in rows if row["crossing"] == "entry" and row["selected"] == "True"]
        assert units == {row["direction"]: int(float(row["unit"])) for row in named}

    good = b"direction\tcrossing\tunit\tselected\nfwd\tentry\t1\tTrue\nfwd\texit\t2\tFalse\nrev\tentry\t3\tTrue\n"
    fuzz(check, good, examples)


NAMES = st.sampled_from(["chr1", "chr2", "chr10", "1", "test", "valid", "f1"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
DEALT = st.fixed_dictionaries({"part": JSON | st.integers(0, 4), "of": JSON | st.just(3)})
PARTS = st.fixed_dictionaries({"test": JSON, "valid": JSON}) | DEALT | JSON
FOLDS = st.dictionaries(NAMES, PARTS, max_size=2) | st.integers(2, 4) | JSON


@AMOUNTS
def test_folds(examples):
    read = []

    @settings(max_examples=2 * examples, deadline=None, derandomize=True, database=None)
    @given(FOLDS | st.lists(st.sampled_from(list(LENGTHS)), min_size=2, max_size=2).map(_fold))
    def run(value):
        try:
            folds = read_folds(value, LENGTHS)
        except InputError:
            return
        read.append(value)
        assert folds
        if isinstance(value, int) or any({*parts} == {"part", "of"} for parts in value.values()):
            assert all(
                fold.test and fold.valid and not {*fold.test} & {*fold.valid} for fold in folds.values()
            )
            return
        for name, fold in folds.items():
            assert [*fold.test] == [*value[name]["test"]] and [*fold.valid] == [*value[name]["valid"]]
            assert not {*fold.test} & {*fold.valid} and {*fold.test, *fold.valid} < set(LENGTHS)

    run()
    assert read


def _fold(names):
    return {"f1": {"test": names[:1], "valid": names[1:]}}


def test_the_exact_bytes_of_a_good_file_are_read(tmp_path):
    """The oracle itself, on one line of each kind."""
    assert slow.ends_of_row(["c", "5", "90"]) == [("c", 5, "+"), ("c", 90, "-")]
    assert slow.ends_of_row(["c", "5", "40", "n", "0", "-"]) == [("c", 40, "-")]
    assert slow.cuts([("c", 5, "+"), ("c", 90, "-"), ("c", 4, "-")], {"c": 99}) == {("c", 9): 1, ("c", 85): 1}
    write_text(tmp_path / "x", [("r", 16, "c", 6, 9, "2S5M2D3I1M", "*", 0, 0, "*", "*")])
    assert slow.sam_ends(b"@SQ\tSN:c\tLN:99\n" + (tmp_path / "x").read_bytes()) == [("c", 13, "-")]
