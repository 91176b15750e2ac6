"""Near-copies between folds: planted ones are found on either strand, random genomes have none."""

import numpy as np
import pandas as pd
import pytest

from gatescope.data import duplicates
from gatescope.data.duplicates import KMER_BP, LISTED, find_near_duplicates
from gatescope.genome.folds import Fold
from gatescope.genome.sequence import reverse_complement

FOLD = {"f": Fold("f", ("test",), ("valid",))}


def random_genome(rng, **lengths):
    return {name: rng.integers(0, 4, length).astype(np.uint8) for name, length in lengths.items()}


def mutate(rng, codes, share):
    hit = rng.random(codes.size) < share
    return np.where(hit, (codes + rng.integers(1, 4, codes.size)) % 4, codes).astype(np.uint8)


def windows_of(genome, window_bp, step, contigs=("test", "valid")):
    rows = [
        (contig, start, start + window_bp)
        for contig in contigs
        for start in range(0, genome[contig].size - window_bp + 1, step)
    ]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def find(genome, windows, folds=None):
    lengths = {name: codes.size for name, codes in genome.items()}
    return find_near_duplicates(windows, genome.__getitem__, lengths, folds or FOLD)


def kmers(codes):
    """Return the canonical k-mers of a stretch, as text."""
    text = "".join("ACGTN"[code] for code in codes)
    words = [text[i : i + KMER_BP] for i in range(len(text) - KMER_BP + 1)]
    other = str.maketrans("ACGT", "TGCA")
    words = [min(word, word.translate(other)[::-1]) for word in words]
    return {word for word in words if "N" not in word}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_random_genome_has_no_near_copy(rng):
    genome = random_genome(rng, train=150_000, valid=20_000, test=20_000)
    result = find(genome, windows_of(genome, 1_000, 1_000))
    assert result.table.empty and result.copies["f"].empty
    assert (result.checked, result.found) == ({"f": 40}, {"f": 0})


@pytest.mark.parametrize("strand", ["same", "other"])
@pytest.mark.parametrize(("mutated", "least"), [(0.0, 1.0), (0.02, 0.5)])
@pytest.mark.parametrize("at", [0, 77_345, 119_000])
def test_a_planted_copy_is_found_in_its_place(rng, strand, mutated, least, at):
    genome = random_genome(rng, train=120_000, valid=3_000, test=10_000)
    copy = mutate(rng, genome["test"][4_000:5_000], mutated)
    genome["train"][at : at + 1_000] = copy if strand == "same" else reverse_complement(copy)
    result = find(genome, windows_of(genome, 1_000, 1_000))
    (row,) = result.table.itertuples()
    assert (row.fold, row.part, row.chrom, row.start, row.end) == ("f", "test", "test", 4_000, 5_000)
    assert row.containment >= least and result.found == {"f": 1}
    assert row.train_chrom == "train"
    # from the first to the last k-mer that was looked at, one in 8
    assert at <= row.train_start <= at + 150 and at + 850 <= row.train_end <= at + 1_000
    assert result.copies["f"].to_numpy().tolist() == [["train", row.train_start, row.train_end]]


def test_a_copy_across_two_chunks_is_whole(rng, monkeypatch):
    monkeypatch.setattr(duplicates, "_CHUNK_BP", 5_000)
    genome = random_genome(rng, train=30_000, valid=2_000, test=3_000)
    genome["train"][9_500:10_500] = genome["test"][1_000:2_000]
    result = find(genome, windows_of(genome, 1_000, 1_000))
    (row,) = result.table.itertuples()
    assert row.containment == 1
    assert 9_500 <= row.train_start <= 9_650 and 10_350 <= row.train_end <= 10_500


def test_containment_equals_sets_of_kmers(rng):
    """Windows of 199 bp are short enough that every k-mer is looked at."""
    genome = random_genome(rng, train=4_000, valid=800, test=800)
    test, train = genome["test"], genome["train"]
    train[1_000:1_120] = reverse_complement(test[20:140])
    train[2_011:2_190] = mutate(rng, test[205:384], 0.01)
    train[3_000:3_070] = test[400:470]
    train[3_400:3_470] = test[480:550]  # another part of the same window, elsewhere: places do not add up
    test[300:303] = 4
    windows = windows_of(genome, 199, 199)
    result = find(genome, windows)
    assert result.scale == 1
    half, wanted = 100, {}
    for row in windows.itertuples():
        own = kmers(genome[row.chrom][row.start : row.end])
        best = max(
            len(own & kmers(train[first : first + 3 * half + KMER_BP - 1])) / len(own)
            for first in range(0, train.size, half)
        )
        if best >= LISTED:
            wanted[row.chrom, row.start] = best
    found = {(row.chrom, row.start): row.containment for row in result.table.itertuples()}
    assert found == pytest.approx(wanted) and len(wanted) == 3


def test_only_training_contigs_of_the_same_fold_count(rng):
    genome = random_genome(rng, a=20_000, b=20_000, c=20_000, d=20_000)
    genome["b"][5_000:6_000] = genome["a"][2_000:3_000]
    folds = {
        "apart": Fold("apart", ("a",), ("c",)),  # b is trained on
        "together": Fold("together", ("a",), ("b",)),  # neither is
    }
    result = find(genome, windows_of(genome, 1_000, 1_000, "abcd"), folds)
    assert result.found == {"apart": 1, "together": 0}
    assert result.checked == {"apart": 40, "together": 40}
    assert result.table[["fold", "chrom", "train_chrom"]].to_numpy().tolist() == [["apart", "a", "b"]]


def test_contigs_in_no_part_of_a_fold_are_neither_held_out_nor_trained_on(rng):
    genome = random_genome(rng, a=20_000, b=20_000, c=20_000, d=20_000)
    for contig in "bcd":
        genome[contig][5_000:6_000] = genome["a"][2_000:3_000]
    folds = {"f": Fold("f", ("a",), ("c",), train=("d",))}
    result = find(genome, windows_of(genome, 1_000, 1_000, "abcd"), folds)
    assert result.checked == {"f": 40} and set(result.table["train_chrom"]) == {"d"}
    assert list(result.table["chrom"]) == ["a", "c"]


def test_microsatellites_and_unknown_bases_say_nothing(rng):
    """A window with next to no k-mer of its own is not checked; shared N are no shared sequence."""
    genome = random_genome(rng, train=20_000, valid=2_000, test=3_000)
    for contig, start in (("test", 0), ("train", 4_000)):
        genome[contig][start : start + 1_000] = np.tile([0, 1], 500)
        genome[contig][start + 1_000 : start + 2_000] = 4
    result = find(genome, windows_of(genome, 1_000, 1_000))
    assert result.table.empty and result.checked == {"f": 3}


def test_tandem_copies_are_one_stretch_and_the_first_best(rng):
    genome = random_genome(rng, train=30_000, valid=2_000, test=2_000)
    genome["train"][8_000:13_000] = np.tile(genome["test"][:1_000], 5)
    result = find(genome, windows_of(genome, 1_000, 1_000))
    (row,) = result.table.itertuples()
    (copies,) = result.copies["f"].itertuples()
    assert row.containment == 1 and row.train_start < 9_500
    assert 8_000 <= copies.start <= 8_150 and 12_850 <= copies.end <= 13_000


def test_many_windows_are_sampled_more_thinly(monkeypatch, rng):
    genome = random_genome(rng, train=20_000, valid=2_000, test=10_000)
    genome["train"][8_000:9_000] = genome["test"][:1_000]
    windows = windows_of(genome, 1_000, 1_000)
    before = find(genome, windows)
    monkeypatch.setattr(duplicates, "_MOST_HASHES", 500)
    after = find(genome, windows)
    assert (before.scale, after.scale) == (8, 32)
    assert before.found == after.found == {"f": 1}
