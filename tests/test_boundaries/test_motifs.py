"""Planted words come back: their letters, their place before the event, in both directions; noise gives none."""

import numpy as np
import pytest
import torch
from gate_worlds import DIRECTIONS
from motif_worlds import (
    ENTRY,
    EXIT,
    draw_codes,
    fall_after,
    gates,
    matrix,
    other_strand,
    plant_words,
)

from gatescope.boundaries.events import draw_background, is_usable, read_windows, top_events
from gatescope.boundaries.motif_match import column_correlation, match_motif
from gatescope.boundaries.motifs import (
    SearchRule,
    column_bits,
    consensus,
    find_motifs,
    forward_strand,
    reverse_complement_counts,
)
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.trace.replay import trace_windows

RULE = SearchRule()
AT_RICH = (0.32, 0.18, 0.18, 0.32)


def search(codes, logits, direction, n_events, rule=RULE, searches=1):
    """Take the events of one contig and search their windows."""
    index = DIRECTIONS.index(direction)
    usable = {"a": is_usable(codes, rule.reach_bp)}
    events = top_events(lambda _: -logits, usable, n_events, 20, index)
    background = draw_background(events, usable, rule.reach_bp, np.random.default_rng(9))
    windows, beside = (
        read_windows({"a": codes}, each, index, rule.reach_bp) for each in (events, background)
    )
    return events, find_motifs(windows, beside, rule, searches)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lag", [-3, 0, 1, 4])
def test_a_planted_word_is_recovered_with_its_exact_lag(direction, lag):
    rng = np.random.default_rng(3)
    codes, logits = draw_codes(60_000, rng), gates(60_000, rng)
    placed = plant_words(codes, [matrix(ENTRY)], rng)
    fall_after(logits, placed, [8], direction, lag, rng)
    events, (motif, *others) = search(codes, logits, direction, 250)
    assert not others
    assert motif.lag_bp == lag
    assert motif.core[1] - motif.core[0] == 8
    # among the 199 strongest events are all 199 places; the others share no word
    assert (motif.sites < len(placed)).mean() > 0.98 and motif.sites.size > 0.95 * len(placed)
    forward = forward_strand(motif.core_counts, DIRECTIONS.index(direction))
    aligned = column_correlation(forward, matrix(ENTRY))
    assert (aligned.strand, aligned.offset, aligned.overlap) == ("+", 0, 8)
    assert aligned.r >= 0.98
    assert events.n == 250


def test_reverse_reads_the_word_backwards_and_not_its_complement():
    """TGACRYAT on the forward strand: rev reads TAYRCAGT; only the other strand holds the complement, ATRYGTCA."""
    rng = np.random.default_rng(4)
    codes, logits = draw_codes(60_000, rng), gates(60_000, rng)
    fall_after(logits, plant_words(codes, [matrix("TGACGCAT")], rng), [8], "rev", 1, rng)
    _, (motif,) = search(codes, logits, "rev", 250)
    forward = forward_strand(motif.core_counts, 1)
    assert consensus(motif.core_counts) == "TACGCAGT"
    assert consensus(forward) == "TGACGCAT"
    assert consensus(reverse_complement_counts(forward)) == "ATGCGTCA"


def test_a_word_planted_on_the_other_strand_pairs_as_reverse_complement():
    rng = np.random.default_rng(5)
    found = {}
    for name, planted, direction in (
        ("one", matrix(ENTRY), "fwd"),
        ("two", other_strand(matrix(ENTRY)), "rev"),
    ):
        codes, logits = draw_codes(60_000, rng), gates(60_000, rng)
        fall_after(logits, plant_words(codes, [planted], rng), [8], direction, 1, rng)
        _, (motif,) = search(codes, logits, direction, 250)
        found[name] = forward_strand(motif.core_counts, DIRECTIONS.index(direction))
    aligned = column_correlation(found["one"], found["two"])
    assert (aligned.strand, aligned.offset) == ("-", 0)
    assert aligned.r >= 0.95


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("jitter", [0, 1, 2])
def test_words_of_a_mixture_come_apart_and_jitter_is_taken_out(direction, jitter):
    rng = np.random.default_rng(6)
    codes, logits = draw_codes(100_000, rng), gates(100_000, rng)
    placed = plant_words(codes, [matrix(ENTRY), matrix(EXIT)], rng)
    fall_after(logits, placed, [8, 8], direction, 1, rng, jitter)
    _, motifs = search(codes, logits, direction, 400)
    assert len(motifs) == 2
    assert not set(motifs[0].sites) & set(motifs[1].sites)
    truth = [matrix(ENTRY), matrix(EXIT)]
    forward = [forward_strand(motif.core_counts, DIRECTIONS.index(direction)) for motif in motifs]
    if column_correlation(forward[0], truth[0]).r < 0.9:
        truth.reverse()
    for motif, counts, wanted in zip(motifs, forward, truth, strict=True):
        aligned = column_correlation(counts, wanted)
        assert aligned.r >= 0.95 and aligned.overlap == 8 and aligned.strand == "+"
        assert motif.lag_bp == 1
        assert (abs(motif.slides) <= jitter).mean() > 0.95  # some words stand there by chance
        assert motif.background_share < 0.1 < 0.35 < motif.sites.size / 400


def test_gates_that_do_not_look_at_the_sequence_have_no_motif():
    """Not one in 24 searches, however short a word may be; slow and fast gates, even and uneven bases."""
    anything = SearchRule(min_bits=0)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        codes = draw_codes(60_000, rng, AT_RICH if seed % 2 else (0.25,) * 4)
        memory = np.exp(-np.arange(40) / (1 + seed))
        logits = np.convolve(rng.standard_normal(60_000), memory)[:60_000]
        for direction in DIRECTIONS:
            assert search(codes, logits, direction, 300, anything)[1] == []


def test_gates_that_follow_composition_have_no_motif():
    """GC islands of 500 bp draw the events: words of G and C are frequent, and so they are elsewhere in the windows."""
    rng = np.random.default_rng(8)
    share = np.repeat(rng.choice([0.3, 0.7], 240), 500)
    is_gc = rng.random(share.size) < share
    codes = np.where(is_gc, rng.integers(1, 3, share.size), 3 * rng.integers(0, 2, share.size)).astype(
        np.uint8
    )
    logits = gates(codes.size, rng) - 5 * (share > 0.5)
    _, motifs = search(codes, logits, "fwd", 300, SearchRule(min_bits=0))
    assert motifs == []


def test_untrained_networks_have_no_motif():
    """Their gates do follow short words, with certainty: what tells them apart is how much these words say."""
    significant, most_bits = 0, 0.0
    for seed in range(2):
        rng = np.random.default_rng(seed)
        codes = draw_codes(60_000, rng, AT_RICH)
        network = AccessibilityNetwork(
            NetworkConfig(hidden_units=2), torch.Generator().manual_seed(seed)
        ).eval()
        traced = trace_windows(network, torch.from_numpy(one_hot(codes))[None]).forget_logit[0].numpy()
        for index, direction in enumerate(DIRECTIONS):
            for unit in range(2):
                anything = SearchRule(min_bits=0)
                for motif in search(codes, traced[index, unit], direction, 150, anything)[1]:
                    significant += 1
                    most_bits = max(most_bits, motif.bits)
    assert significant > 2
    assert most_bits < RULE.min_bits - 1


def test_information_is_the_relative_entropy():
    shares = np.array([0.3, 0.2, 0.2, 0.3])
    counts = np.array([[100, 0, 0, 0], [30, 20, 20, 30], [0, 50, 50, 0]])
    bits = column_bits(counts, shares, pseudocount=1e-9)
    np.testing.assert_allclose(bits, [np.log2(1 / 0.3), 0, np.log2(1 / 0.4)], atol=1e-6)


def test_windows_without_background_have_no_motif():
    windows = np.zeros((40, 2 * RULE.reach_bp + 1), np.uint8)
    assert find_motifs(windows, windows[:0], RULE) == []
    assert find_motifs(windows[:0], windows, RULE) == []


def test_columns_are_laid_on_each_other_at_any_offset_and_strand():
    truth = matrix(ENTRY)
    around = np.full((3, 4), 0.25)
    longer = np.concatenate([around, truth, around[:1]])
    for found, strand, offset in ((longer, "+", 3), (reverse_complement_counts(longer), "-", 1)):
        aligned = column_correlation(100 * found, truth)
        assert (aligned.strand, aligned.offset, aligned.overlap) == (strand, offset, 8)
        assert aligned.r == pytest.approx(1) and aligned.score == pytest.approx(1)
    aligned = column_correlation(truth, longer)
    assert (aligned.strand, aligned.offset, aligned.overlap) == ("+", -3, 8)
    # five columns that agree at an edge do not make two words one
    assert column_correlation(truth, np.roll(truth, 3, axis=0)).score == pytest.approx(5 / 8, abs=0.1)
    assert column_correlation(around, truth).r == 0


def test_a_match_is_told_from_chance():
    rng = np.random.default_rng(2)
    others = {f"other{n}": rng.dirichlet([0.2] * 4, 9) for n in range(40)}
    found = rng.multinomial(150, matrix(ENTRY))
    matches = match_motif(found, {**others, "flipped": other_strand(matrix(ENTRY))}, rng)
    assert (matches[0].target, matches[0].alignment.strand) == ("flipped", "-")
    assert matches[0].p == 0.001 and matches[0].p_fwer == 0.001
    assert len(matches) == 41 and matches[1].p_fwer > 0.05
    # of 40 motifs that have nothing to do with it, about two in forty reach p = 0.05 by themselves
    alone = match_motif(found, others, rng)
    assert np.mean([match.p <= 0.05 for match in alone]) < 0.2
    assert min(match.p_fwer for match in alone) > 0.01
