"""Counts by loops over strings; the boosting learns what is planted, from the training contigs alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from gatescope.atac.bigwig import read_bigwig
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from gatescope.genome.regions import merge_regions, read_regions
from gatescope.genome.sequence import decode_bases, encode_bases, reverse_complement
from gatescope.model import baselines
from gatescope.model.baselines import FLANK_BP, KMER, count_kmers, fit_kmer_boosting, gc_of_bins
from gatescope.model.metrics import cut_bins, draw_blocks, score_counts, score_state

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
FOLD = {"f1": {"test": ["c3"], "valid": ["c4"]}}
TRAIN = ("c1", "c2")


def draw_codes(rng, length, unknown=0.01):
    return rng.choice(5, p=[*([(1 - unknown) / 4] * 4), unknown], size=length).astype(np.uint8)


def canonical(word):
    return min(word, "".join(COMPLEMENT[base] for base in reversed(word)))


def kmers_of(text):
    """Strandless k-mers of a string and how often each occurs, by a loop."""
    counts = {}
    for at in range(len(text) - KMER + 1):
        word = text[at : at + KMER]
        if "N" not in word:
            counts[canonical(word)] = counts.get(canonical(word), 0) + 1
    return counts


# features


def test_kmer_counts_equal_a_loop_over_strings():
    rng = np.random.default_rng(0)
    codes, bin_bp = draw_codes(rng, 1_777), 50
    text, starts = decode_bases(codes), np.array([0, 37, 200, 1_000, 1_727])
    words = sorted(
        {canonical(f"{a}{b}{c}{d}") for a in "ACGT" for b in "ACGT" for c in "ACGT" for d in "ACGT"}
    )
    assert len(words) == 136
    found = count_kmers(codes, starts, bin_bp)
    for row, start in zip(found, starts, strict=True):
        inside = kmers_of(text[start : start + bin_bp])
        around = kmers_of(text[max(0, start - FLANK_BP) : start + bin_bp + FLANK_BP])
        assert row.tolist() == [counts.get(word, 0) for counts in (inside, around) for word in words]


def test_kmer_counts_do_not_know_the_strand():
    rng = np.random.default_rng(1)
    codes, starts, bin_bp = draw_codes(rng, 3_000), np.arange(0, 3_000, 100), 100
    other = count_kmers(reverse_complement(codes), 3_000 - starts - bin_bp, bin_bp)
    np.testing.assert_array_equal(count_kmers(codes, starts, bin_bp), other)


def test_features_do_not_depend_on_chunks(monkeypatch):
    codes = draw_codes(np.random.default_rng(2), 5_000)
    starts = np.arange(0, 5_000, 100)
    before = count_kmers(codes, starts, 100), gc_of_bins(codes, 100)
    monkeypatch.setattr(baselines, "_CHUNK_BINS", 7)
    for whole, pieces in zip(before, (count_kmers(codes, starts, 100), gc_of_bins(codes, 100)), strict=True):
        np.testing.assert_array_equal(whole, pieces)


def test_gc_equals_a_loop_over_strings():
    codes = draw_codes(np.random.default_rng(3), 1_777)
    text, expected = decode_bases(codes), []
    for start in range(0, 1_777 - 49, 50):
        part = text[max(0, start - FLANK_BP) : start + 50 + FLANK_BP].replace("N", "")
        expected.append(sum(base in "GC" for base in part) / len(part))
    np.testing.assert_allclose(gc_of_bins(codes, 50), expected, rtol=1e-12)


def test_gc_of_unknown_sequence_is_unknown():
    share = gc_of_bins(encode_bases("N" * 1_000 + "G" * 200), 200)
    assert np.isnan(share[:4]).all() and share[4:].tolist() == [1.0, 1.0]


def test_a_contig_shorter_than_a_bin_has_none():
    codes = draw_codes(np.random.default_rng(4), 60)
    assert gc_of_bins(codes, 200).shape == (0,)
    assert count_kmers(codes, np.zeros(0, int), 200).shape == (0, 272)


# boosting


def contig_arrays(rng, length=24_000):
    """Accessible stretches are rich in one word, and hold ten times as many cuts."""
    codes, state = draw_codes(rng, length), np.zeros(length, np.uint8)
    for start in range(500, length - 1_000, 2_000):
        state[start : start + 600] = 1
        for at in rng.integers(start, start + 590, 40):
            codes[at : at + 6] = encode_bases("GATTAC")
    state[1_200:1_300] = 255
    cuts = rng.poisson(0.02 + 0.2 * (state == 1)).astype(np.float32)
    return ContigArrays(codes, state, {"cuts": cuts})


def make_store(path, contigs):
    rows = []
    for contig, arrays in contigs.items():
        starts = np.flatnonzero(np.diff((arrays.state == 1).astype(int), prepend=0) == 1)
        rows += [(contig, s, s + 600, s + 300, "peak", 0.5) for s in starts]
    columns = ["chrom", "start", "end", "summit", "kind", "gc"]
    meta = {"stage_version": 1, "window_bp": 1_000, "folds": FOLD, "inputs": {}, "filters": [], "seed": 0}
    write_store(path, contigs.items(), pd.DataFrame(rows, columns=columns), meta)
    return EncodedStore(path)


@pytest.fixture
def contigs():
    rng = np.random.default_rng(5)
    return {contig: contig_arrays(rng) for contig in ("c1", "c2", "c3", "c4")}


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setitem(baselines._BOOSTING, "max_iter", 8)


def predictions(store, contig="c3", seed=0) -> np.ndarray:
    return np.stack(fit_kmer_boosting(store, TRAIN, 200, seed).predict(store.codes(contig)))


def test_boosting_learns_a_planted_word(tmp_path, contigs, few_trees):
    store = make_store(tmp_path / "store", contigs)
    bins = cut_bins({"c3": store.state("c3")}, {"c3": store.track("c3", "cuts")}, 200)
    log_cuts, probability = (bins.pick({"c3": row}) for row in predictions(store))
    draws = draw_blocks(bins.n_blocks, 2, np.random.default_rng(0))
    assert score_state(bins, probability, draws)["auroc"].value > 0.95
    assert score_counts(bins, log_cuts, draws)["pearson"].value > 0.85
    assert ((probability >= 0) & (probability <= 1)).all()


def test_training_bins_are_what_stands_at_their_place(tmp_path, contigs):
    bins = baselines._training_bins(make_store(tmp_path / "store", contigs), "c1", 200, {})
    assert sorted(bins.start) == list(range(0, 24_000 - 199, 100))
    state, cuts = contigs["c1"].state, contigs["c1"].tracks["cuts"]
    for start, found, label in zip(bins.start, bins.cuts, bins.label, strict=True):
        scored = np.arange(start, start + 200)[state[start : start + 200] != 255]
        assert (found, label) == (cuts[scored].sum(), (state[scored] == 1).mean() >= 0.5)


def test_held_out_contigs_do_not_reach_the_boosting(tmp_path, contigs, few_trees):
    before = predictions(make_store(tmp_path / "one", contigs))
    rng = np.random.default_rng(6)
    contigs["c4"] = contig_arrays(rng)
    # the same sequence, or there would be other predictions
    contigs["c3"] = replace(contig_arrays(rng), codes=contigs["c3"].codes)
    assert predictions(make_store(tmp_path / "two", contigs)).tobytes() == before.tobytes()
    contigs["c2"] = contig_arrays(rng)
    assert predictions(make_store(tmp_path / "three", contigs)).tobytes() != before.tobytes()


def test_bases_that_are_not_scored_do_not_reach_the_boosting(tmp_path, contigs, few_trees):
    before = predictions(make_store(tmp_path / "one", contigs))
    cuts = np.where(contigs["c1"].state == 255, 50, contigs["c1"].tracks["cuts"]).astype(np.float32)
    contigs["c1"] = replace(contigs["c1"], tracks={"cuts": cuts})
    assert predictions(make_store(tmp_path / "two", contigs)).tobytes() == before.tobytes()


def test_same_seed_same_bytes_whatever_the_threads(tmp_path, contigs, few_trees, monkeypatch):
    store = make_store(tmp_path / "store", contigs)
    monkeypatch.setattr(baselines, "MOST_TRAINING_BINS", 200)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(predictions(store, seed=7).tobytes())
    assert found[0] == found[1] == found[2]
    assert predictions(store, seed=8).tobytes() != found[0]


def test_sample_of_training_bins_is_drawn_without_replacement(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_TRAINING_BINS", 60)
    sizes = {"a": 50, "b": 0, "c": 80}
    chosen = baselines._choose(sizes, np.random.default_rng(0))
    assert sum(rows.size for rows in chosen.values()) == 60
    for contig, rows in chosen.items():
        assert len(set(rows.tolist())) == rows.size
        assert rows.size == 0 or (rows.min() >= 0 and rows.max() < sizes[contig])
    share = np.mean(
        [baselines._choose(sizes, np.random.default_rng(seed))["a"].size / 60 for seed in range(200)]
    )
    assert share == pytest.approx(50 / 130, abs=0.01)


def test_all_training_bins_are_taken_if_few():
    chosen = baselines._choose({"a": 3, "b": 2}, np.random.default_rng(0))
    assert {contig: rows.tolist() for contig, rows in chosen.items()} == {"a": [0, 1, 2], "b": [0, 1]}


def test_copies_of_what_is_held_out_teach_nothing(tmp_path, contigs, few_trees):
    store = make_store(tmp_path / "store", contigs)
    copies = {"c2": np.array([[0, 10_000], [10_000, 24_000]])}
    without, alone, both = (
        fit_kmer_boosting(store, *given).predict(store.codes("c3"))
        for given in ((TRAIN, 200, 0, copies), (["c1"], 200, 0), (TRAIN, 200, 0))
    )
    assert np.array_equal(without, alone) and not np.array_equal(without, both)


@pytest.mark.parametrize(("value", "message"), [(0, "0 of 478"), (1, "478 of 478")])
def test_one_kind_of_training_bins_is_refused(tmp_path, contigs, value, message):
    for contig in TRAIN:
        state = np.where(contigs[contig].state == 255, 255, value).astype(np.uint8)
        contigs[contig] = replace(contigs[contig], state=state)
    with pytest.raises(InputError, match=f"{message} training bins are accessible"):
        fit_kmer_boosting(make_store(tmp_path / "store", contigs), TRAIN, 200, 0)


@pytest.mark.realdata
def test_boosting_on_yeast_is_as_good_as_published_there(data, tmp_path):
    """The README of the data: r 0.60, AUROC 0.90, AUPRC 0.50; block deviations 0.02, 0.01, 0.04."""

    genome = Genome(data / "genome.fa.gz")
    peaks = merge_regions(read_regions(data / "peaks/macs3_bedpe_q0.01.narrowPeak", genome.lengths))
    contigs = {}
    for contig, length in genome.lengths.items():
        state = np.zeros(length, np.uint8)
        for peak in peaks[peaks.chrom == contig].itertuples():
            state[peak.start : peak.end] = 1
        cuts = read_bigwig(data / "cuts_p4m4.bw", contig, missing=0)
        contigs[contig] = ContigArrays(genome.codes(contig), state, {"cuts": cuts})
    store, test = make_store(tmp_path / "store", contigs), ("chrIX", "chrXI")
    train = [contig for contig in store.lengths if contig not in (*test, "chrVIII")]
    boosting = fit_kmer_boosting(store, train, 200, 0)
    bins = cut_bins({c: store.state(c) for c in test}, {c: store.track(c, "cuts") for c in test}, 200)
    predicted = {contig: boosting.predict(store.codes(contig)) for contig in test}
    log_cuts, probability = (bins.pick({c: pair[i] for c, pair in predicted.items()}) for i in (0, 1))
    gc = bins.pick({contig: gc_of_bins(store.codes(contig), 200) for contig in test})
    draws = draw_blocks(bins.n_blocks, 50, np.random.default_rng(0))
    assert bins.label.mean() == pytest.approx(0.055, abs=0.001)
    found = score_counts(bins, log_cuts, draws) | score_state(bins, probability, draws)
    assert found["pearson"].value == pytest.approx(0.60, abs=0.03)
    assert found["auroc"].value == pytest.approx(0.90, abs=0.015)
    assert found["auprc"].value == pytest.approx(0.50, abs=0.05)
    by_gc = score_counts(bins, gc, draws) | score_state(bins, gc, draws)
    assert by_gc["pearson"].value == pytest.approx(0.33, abs=0.05)
    assert by_gc["auroc"].value == pytest.approx(0.72, abs=0.03)
    assert by_gc["auprc"].value == pytest.approx(0.21, abs=0.03)
