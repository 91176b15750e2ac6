"""A genome given as .2bit, against the FASTA it was packed from and a bitwise reader."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.errors import InputError
from gatescope.genome import fasta
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import encode_bases
from gatescope.genome.twobit import is_twobit
from oracles.twobit_reader import read_twobit

CODE = {"T": 0, "C": 1, "A": 2, "G": 3, "N": 0}


def blocks(letters, is_inside):
    """Return (start, size) of each run of letters."""
    runs, start = [], None
    for position, letter in enumerate([*letters, None]):
        inside = letter is not None and is_inside(letter)
        if inside and start is None:
            start = position
        elif not inside and start is not None:
            runs.append((start, position - start))
            start = None
    return runs


def pack(contigs, order="<", version=0):
    """Write .2bit by hand: contigs are letters ACGTN in either case; `order` is the byte order."""
    records = []
    for letters in contigs.values():
        record = struct.pack(f"{order}I", len(letters))
        for runs in (blocks(letters, lambda letter: letter in "Nn"), blocks(letters, str.islower)):
            numbers = [len(runs), *(start for start, _ in runs), *(size for _, size in runs)]
            record += struct.pack(f"{order}{len(numbers)}I", *numbers)
        padded = letters.upper() + "T" * (-len(letters) % 4)
        fours = [padded[at : at + 4] for at in range(0, len(padded), 4)]
        record += struct.pack(f"{order}I", 0)
        record += bytes(sum(CODE[letter] << shift for letter, shift in zip(four, (6, 4, 2, 0), strict=True))
                        for four in fours)  # fmt: skip
        records.append(record)
    at = 16 + sum(5 + len(name) for name in contigs)
    index = b""
    for name, record in zip(contigs, records, strict=True):
        index += bytes([len(name)]) + name.encode() + struct.pack(f"{order}I", at)
        at += len(record)
    return struct.pack(f"{order}4I", 0x1A412743, version, len(contigs), 0) + index + b"".join(records)


CONTIGS = {"chr|1.x": "NNacgtNTTGCA", "b": "A", "n": "nnNN", "c": "acgTTGANNNNcatG" * 40}


def written(tmp_path, content, name="g.2bit"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["g.2bit", "genome.fa"])
def test_every_base_is_where_the_file_has_it(tmp_path, order, name):
    path = written(tmp_path, pack(CONTIGS, order), name)
    genome = Genome(path)
    assert is_twobit(path)
    assert list(genome.lengths.items()) == [(name, len(letters)) for name, letters in CONTIGS.items()]
    for name, letters in CONTIGS.items():
        expected = encode_bases(letters)
        for start in range(0, len(letters) + 1, 3):
            for end in (start, min(start + 1, len(letters)), min(start + 7, len(letters)), len(letters)):
                assert np.array_equal(genome.codes(name, start, end), expected[start:end])


def test_the_packing_of_this_test_is_the_formats(tmp_path):
    assert read_twobit(written(tmp_path, pack(CONTIGS))) == CONTIGS


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text("abc.|_1", min_size=1, max_size=9), st.text("ACGTNacgtn", min_size=1)))
def test_twobit_and_fasta_are_the_same_genome(tmp_path_factory, contigs):
    if not contigs:
        return
    folder = tmp_path_factory.mktemp("g")
    packed = Genome(written(folder, pack(contigs)))
    text = "".join(f">{name}\n{letters}\n" for name, letters in contigs.items())
    plain = Genome(written(folder, text.encode(), "g.fa"))
    assert packed.lengths == plain.lengths
    for chrom in contigs:
        assert np.array_equal(packed.codes(chrom), plain.codes(chrom))
        assert packed.md5(chrom) == plain.md5(chrom)


def test_pieces_join_and_another_process_opens_the_file_for_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "_PIECE_BP", 7)
    genome = Genome(written(tmp_path, pack(CONTIGS)))
    assert np.array_equal(genome.codes("c"), encode_bases(CONTIGS["c"]))
    before = genome._reader
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert np.array_equal(genome.codes("c", 5, 50), encode_bases(CONTIGS["c"][5:50]))
    assert genome._reader is not before


def test_md5_is_that_of_the_specification(tmp_path):
    """The line of capitals was given to md5sum."""
    genome = Genome(written(tmp_path, b">a x\nACgt\nacGT\nACGT\n", "g.fa"))
    assert genome.md5("a") == "31e91beccf6059ff57c696827c0c6a4b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pack(CONTIGS)[:-3], "a sequence ends at byte"),
        (pack(CONTIGS)[:60], "cannot be read as .2bit"),
        (pack(CONTIGS)[:4], "no sequence in it"),
        (pack(CONTIGS, version=1), "64-bit offsets"),
        (pack(CONTIGS, version=7), "version 7"),
        (pack({"aa": "ACGT", "bb": "GG"}).replace(b"bb", b"aa"), "1 different contig names, .* promises 2"),
        (pack({"a": "ACGT", "b": ""}), "contig 'b' has no bases"),
        (pack({"aa": "ACGT"}).replace(b"aa", b"\xff\xfe"), "ascii"),
    ],
)
def test_a_damaged_file_is_the_users_message(tmp_path, content, message):
    path = written(tmp_path, content)
    genome = Genome(path)
    with pytest.raises(InputError, match=message) as caught:
        for chrom in genome.lengths:
            genome.codes(chrom)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
