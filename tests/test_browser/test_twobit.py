"""The .2bit writer against an independent, bitwise reader."""

import gzip

import numpy as np
import pytest

from gatescope.browser.twobit import write_twobit
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from oracles.twobit_reader import read_twobit

CONTIGS = {
    "one": "A",
    "four": "ACGT",
    "five": "TGCAG",
    "all_unknown": "NNNNNNN",
    "edges": "NNACGTN",
    "iupac_and_case": "acgtRYKmnACG",
}


def write_fasta(path, contigs):
    path.write_text("".join(f">{name} a description\n{letters}\n" for name, letters in contigs.items()))
    return path


@pytest.mark.parametrize("seed", range(3))
def test_every_base_comes_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    drawn = {f"chr{n}": "".join(rng.choice(list("ACGTN"), rng.integers(1, 400))) for n in range(5)}
    contigs = {**drawn, **CONTIGS}
    write_twobit(tmp_path / "x.2bit", Genome(write_fasta(tmp_path / "x.fa", contigs)))
    expected = {
        name: "".join(letter if letter in "ACGT" else "N" for letter in letters.upper())
        for name, letters in contigs.items()
    }
    found = read_twobit(tmp_path / "x.2bit")
    assert found == expected
    assert list(found) == list(contigs)


def test_size_is_a_quarter_byte_per_base(tmp_path):
    write_twobit(tmp_path / "x.2bit", Genome(write_fasta(tmp_path / "x.fa", {"c": "ACGT" * 2500})))
    assert (tmp_path / "x.2bit").stat().st_size == 16 + 6 + 16 + 2500


def test_compressed_fasta(tmp_path):
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(b">c\nACGTN\n"))
    write_twobit(tmp_path / "x.2bit", Genome(tmp_path / "x.fa.gz"))
    assert read_twobit(tmp_path / "x.2bit") == {"c": "ACGTN"}


def test_name_too_long(tmp_path):
    genome = Genome(write_fasta(tmp_path / "x.fa", {"c" * 256: "ACGT"}))
    with pytest.raises(InputError, match="255"):
        write_twobit(tmp_path / "x.2bit", genome)
    assert not (tmp_path / "x.2bit").exists()
