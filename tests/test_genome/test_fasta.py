"""FASTA files of every kind against a parser written by hand."""

import gzip
import os
import pickle
import shutil

import numpy as np
import pytest
from Bio import bgzf
from pyfaidx import Faidx

from gatescope.errors import InputError
from gatescope.genome import fasta
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import encode_bases


def random_text(rng, lengths, width=60, newline="\n", letters="ACGTacgtNnRY"):
    """Return FASTA text with descriptions behind the names."""
    text = ""
    for name, length in lengths.items():
        bases = "".join(rng.choice(list(letters), length))
        lines = [bases[at : at + width] for at in range(0, length, width)]
        text += f">{name} some description{newline}" + "".join(line + newline for line in lines)
    return text


def parsed(text):
    """Read FASTA the slow way."""
    contigs = {}
    for line in text.splitlines():
        if line.startswith(">"):
            name = line[1:].split()[0]
            contigs[name] = ""
        else:
            contigs[name] += line.strip()
    return contigs


def write(path, text, kind="plain"):
    if kind == "plain":
        path.write_bytes(text.encode())
    elif kind == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with bgzf.open(str(path), "wb") as file:
            file.write(text.encode())
    return path


def same_as_by_hand(genome, text):
    contigs = parsed(text)
    assert genome.lengths == {name: len(bases) for name, bases in contigs.items()}
    assert list(genome.lengths) == list(contigs)
    for name, bases in contigs.items():
        expected = encode_bases(bases)
        assert np.array_equal(genome.codes(name), expected)
        for start in range(0, len(bases), 7):
            end = min(start + 65, len(bases))
            assert np.array_equal(genome.codes(name, start, end), expected[start:end])
        assert genome.codes(name, len(bases)).size == 0


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["plain", "gzip", "bgzip"])
def test_every_base_is_where_the_file_has_it(tmp_path, kind, newline):
    # lengths around multiples of the line width, and contigs of one base
    lengths = {"chr1": 181, "2": 180, "III": 59, "one": 1, "chrUn.1|x": 240}
    text = random_text(np.random.default_rng(0), lengths, newline=newline)
    path = write(tmp_path / ("genome.fa" if kind == "plain" else "genome.fa.gz"), text, kind)
    same_as_by_hand(Genome(path), text)


def test_no_newline_at_the_end_and_no_line_breaks(tmp_path):
    text = random_text(np.random.default_rng(1), {"a": 70, "b": 130}, width=1000).rstrip("\n")
    same_as_by_hand(Genome(write(tmp_path / "genome.fa", text)), text)


@pytest.mark.parametrize("kind", ["plain", "bgzip"])
@pytest.mark.parametrize("name", ["genome.fa", "genome.fa.gz", "genome"])
def test_compression_is_told_by_content_and_nothing_is_written_beside(tmp_path, kind, name):
    text = random_text(np.random.default_rng(2), {"a": 100, "b": 61})
    folder = tmp_path / "read_only"
    folder.mkdir()
    path = write(folder / name, text, kind)
    folder.chmod(0o555)
    try:
        same_as_by_hand(Genome(path), text)
        assert list(folder.iterdir()) == [path]
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["plain", "bgzip"])
def test_an_index_beside_the_file_is_used(tmp_path, kind, monkeypatch):
    text = random_text(np.random.default_rng(3), {"a": 100, "b": 61})
    path = write(tmp_path / ("g.fa" if kind == "plain" else "g.fa.gz"), text, kind)
    Faidx(str(path)).close()
    monkeypatch.setattr(Faidx, "build_index", lambda self: pytest.fail("the index was built again"))
    same_as_by_hand(Genome(path), text)


def test_an_older_index_is_neither_used_nor_changed(tmp_path):
    rng = np.random.default_rng(4)
    path = write(tmp_path / "g.fa", random_text(rng, {"a": 100, "b": 61}))
    Faidx(str(path)).close()
    text = random_text(rng, {"a": 30, "c": 200})
    write(path, text)
    index = tmp_path / "g.fa.fai"
    before = index.read_bytes()
    os.utime(index, (1, 1))
    same_as_by_hand(Genome(path), text)
    assert index.read_bytes() == before


@pytest.mark.parametrize("kind", ["plain", "bgzip"])
@pytest.mark.parametrize(
    "indexed",
    [
        {"a": 130, "b": 61, "c": 10},
        {"a": 40, "b": 61, "c": 10},
        {"a": 100, "b": 61, "c": 4},
        {"a": 100, "b": 61},
        {"a": 100, "c": 61},
        {"a": 100, "b": 61, "d": 10},
    ],
    ids=["longer", "shorter", "last one shorter", "last one missing", "other name", "last one renamed"],
)
def test_an_index_of_another_fasta_is_not_used(tmp_path, kind, indexed, caplog):
    """Not even where it is newer, and places the contigs that it has rightly."""
    name = "g.fa" if kind == "plain" else "g.fa.gz"
    text = random_text(np.random.default_rng(5), {"a": 100, "b": 61, "c": 10})
    path = write(tmp_path / name, text, kind)
    other = write(tmp_path / f"other.{name}", random_text(np.random.default_rng(5), indexed), kind)
    Faidx(str(other)).close()
    for suffix in (".fai", ".gzi"):
        if (index := tmp_path / (other.name + suffix)).exists():
            shutil.copy(index, tmp_path / (name + suffix))
    same_as_by_hand(Genome(path), text)
    assert "g.fa" in caplog.text and "does not fit" in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows[1:],
        lambda rows: [rows[0], rows[2]],
        lambda rows: [["a", "60", *rows[0][2:]], *rows[1:]],
        lambda rows: [rows[1], rows[0], rows[2]],
        lambda rows: [row[:3] for row in rows],
        lambda rows: [],
    ],
    ids=["first one gone", "one in between gone", "cut short", "another order", "too few columns", "empty"],
)
def test_an_index_that_was_edited_is_not_used(tmp_path, spoil):
    text = random_text(np.random.default_rng(12), {"a": 100, "b": 61, "c": 10})
    path = write(tmp_path / "g.fa", text)
    Faidx(str(path)).close()
    index = tmp_path / "g.fa.fai"
    rows = spoil([line.split("\t") for line in index.read_text().splitlines()])
    index.write_text("".join("\t".join(row) + "\n" for row in rows))
    same_as_by_hand(Genome(path), text)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["plain", "bgzip"])
def test_comments_and_blank_lines_do_not_spoil_an_index(tmp_path, kind, newline, caplog):
    text = random_text(np.random.default_rng(13), {"a": 120, "b": 180}, newline=newline)
    name = "g.fa" if kind == "plain" else "g.fa.gz"
    path = write(tmp_path / name, f"; old style{newline}{text}{newline}", kind)
    Faidx(str(path)).close()
    genome = Genome(path)
    assert genome.lengths == {"a": 120, "b": 180}
    assert np.array_equal(genome.codes("b"), encode_bases(parsed(text)["b"]))
    assert "does not fit" not in caplog.text


def test_bytes_are_found_in_every_block(tmp_path):
    text = random_text(np.random.default_rng(14), {"a": 140_000}, letters="ACGTN")
    path = write(tmp_path / "g.fa.gz", text, "bgzip")
    with Faidx(str(path)) as faidx:
        for start in (0, 1, 65_535, 65_536, 65_537, 131_072, len(text) - 3, len(text), len(text) + 70_000):
            assert fasta._bytes_at(faidx, start, 200, True) == text[start : start + 200].encode()


def test_pieces_join(tmp_path, monkeypatch):
    text = random_text(np.random.default_rng(6), {"a": 333, "b": 61})
    monkeypatch.setattr(fasta, "_PIECE_BP", 10)
    same_as_by_hand(Genome(write(tmp_path / "g.fa", text)), text)


def test_spans_at_the_edges_of_full_bgzip_blocks(tmp_path):
    # Biopython fills blocks to 65,536 bytes, where pyfaidx 0.9.2 alone fails
    text = random_text(np.random.default_rng(7), {"a": 140_000}, letters="ACGTN")
    expected = encode_bases(parsed(text)["a"])
    genome = Genome(write(tmp_path / "g.fa.gz", text, "bgzip"))
    header = text.index("\n") + 1
    for block in (65_536, 131_072):
        middle = (block - header) * 60 // 61
        for start in range(middle - 5, middle + 6):
            assert np.array_equal(genome.codes("a", start, start + 40), expected[start : start + 40])


def test_a_genome_travels_to_another_process(tmp_path, monkeypatch):
    text = random_text(np.random.default_rng(8), {"a": 100})
    genome = Genome(write(tmp_path / "g.fa", text))
    same_as_by_hand(genome, text)
    same_as_by_hand(pickle.loads(pickle.dumps(genome)), text)
    before = genome._reader
    monkeypatch.setattr(os, "getpid", lambda: -1)
    same_as_by_hand(genome, text)
    assert genome._reader is not before


def test_lengths_cannot_be_changed_from_outside(tmp_path):
    genome = Genome(write(tmp_path / "g.fa", ">a\nACGT\n"))
    genome.lengths.clear()
    assert genome.lengths == {"a": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as FASTA"),
        ("\n\n", "cannot be read as FASTA"),
        ("ACGT\nACGT\n", "cannot be read as FASTA"),
        (">a\nACGT\n>a\nAC\n", "contig name 'a' stands twice"),
        (">a\n>b\nACGT\n", "contig 'a' has no bases"),
        (">a\nACGT\n>b\n", "contig 'b' has no bases"),
        (">\nACGT\n", "cannot be read as FASTA"),
        (">a\nAC\nACGT\nACGT\n", "lines of equal length"),
        (">p\nMKVLAAGIVGLILLLAQ\n", "'L' at p position 3.*protein"),
        (">r\nACGU\n", "'U' at r position 3.*RNA"),
        (">a\nAC GT\n", "' ' at a position 2"),
    ],
)
def test_what_is_no_fasta_is_the_users_message(tmp_path, text, message):
    path = write(tmp_path / "g.fa", text)
    with pytest.raises(InputError, match=message) as caught:
        Genome(path).lengths  # noqa: B018
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_binary_missing_and_folder(tmp_path):
    (tmp_path / "g.fa").write_bytes(bytes(range(256)) * 10)
    for name in ("g.fa", "none.fa", "."):
        with pytest.raises(InputError):
            Genome(tmp_path / name).lengths  # noqa: B018


@pytest.mark.parametrize("kind", ["gzip", "bgzip"])
def test_a_truncated_compressed_file_is_the_users_message(tmp_path, kind):
    text = random_text(np.random.default_rng(9), {"a": 200_000})
    path = write(tmp_path / "g.fa.gz", text, kind)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"cannot be read as FASTA|bgzip file without its end"):
        Genome(path).codes("a")


def test_a_file_cut_after_indexing_is_the_users_message(tmp_path):
    path = write(tmp_path / "g.fa", random_text(np.random.default_rng(10), {"a": 5000}))
    Faidx(str(path)).close()
    path.write_bytes(path.read_bytes()[:4000])
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match="the index promises 5000"):
        Genome(path).codes("a")


def test_a_wrong_letter_far_inside_is_found_when_read(tmp_path):
    path = write(tmp_path / "g.fa", f">a\n{'A' * 3000}E{'C' * 10}\n")
    genome = Genome(path)
    assert genome.codes("a", 0, 3000).tolist() == [0] * 3000
    with pytest.raises(InputError, match="'E' at a position 3000"):
        genome.codes("a", 2990, 3005)


def test_unknown_contig_and_span(tmp_path):
    genome = Genome(write(tmp_path / "g.fa", ">chr1\nACGT\n"))
    with pytest.raises(InputError, match=r"no contig '1'.*the genome calls it 'chr1'"):
        genome.codes("1")
    for start, end in ((-1, 2), (3, 2), (0, 5)):
        with pytest.raises(ValueError, match="is not within chr1"):
            genome.codes("chr1", start, end)
