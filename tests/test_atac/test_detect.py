"""Shift detection against a slow model of the enzyme: closed forms, mirror images, shifted ends, and doubt."""

from dataclasses import replace

import numpy as np
import pytest

from gatescope.atac.detect import AXES, CANDIDATES, LAGS, compare_shifts, detect_shift, judge_tally
from gatescope.atac.preference import OFFSETS, EndTally, StrandEnds, contrast, information, tally_ends
from gatescope.atac.shift import Tn5Shift
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from oracles.tn5_preference import (
    draw_sites,
    frequencies_by_loop,
    palindromic_weights,
    raw_ends,
    reverse_complement,
)

CONTIGS = {"c1": 30_000, "c2.x|y": 22_000, "short": 40}


def write_genome(path, sequence):
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in sequence.items()))
    return Genome(path)


def draw_genome(rng):
    sequence = {
        name: "".join(rng.choice(list("ACGT"), n, p=[0.3, 0.2, 0.2, 0.3])) for name, n in CONTIGS.items()
    }
    sequence["c1"] = sequence["c1"][:5000] + "N" * 300 + "ryKm" + sequence["c1"][5304:]
    return sequence


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A genome, and raw + and - ends of an enzyme that copies D bases, by D."""
    rng = np.random.default_rng(3)
    sequence = draw_genome(rng)
    genome = write_genome(tmp_path_factory.mktemp("genome") / "g.fa", sequence)
    ends = {}
    for duplication in (4, 5, 9):
        weights = palindromic_weights(duplication, rng)
        ends[duplication] = {}
        for name in ("c1", "c2.x|y"):
            sites = [draw_sites(sequence[name], 2500, weights, duplication, rng) for _ in range(2)]
            plus, minus = (raw_ends(each, duplication)[k] for k, each in enumerate(sites))
            ends[duplication][name] = StrandEnds(plus, minus)
    return sequence, genome, ends


def moved(ends, plus=0, minus=0):
    return [(name, StrandEnds(both.plus + plus, both.minus + minus)) for name, both in ends.items()]


@pytest.mark.parametrize("duplication", [4, 5, 9])
@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (4, -4), (4, -5), (-3, 2), (9, -9), (-9, 9)])
def test_any_shift_of_any_duplication_is_found(world, duplication, plus, minus):
    _, genome, ends = world
    found = detect_shift(moved(ends[duplication], plus, minus), genome, duplication_bp=duplication)
    assert (found.shift, found.reason) == (Tn5Shift(plus, minus), "")
    assert found.strands_apart_bp == plus + minus
    assert found.support == 1 and found.lead_interval[0] > 0.2
    assert found.is_conventional == ((plus, minus) in [(0, 0), (4, -4), (4, -5)])


def test_frequencies_equal_a_loop_over_letters(world):
    sequence, genome, ends = world
    both = ends[9]["c2.x|y"]
    near_the_edges = StrandEnds(np.r_[both.plus, 0, 3, 21_999, 22_000, -1], np.r_[both.minus, 0, 21_990])
    tally = tally_ends([("c2.x|y", near_the_edges)], genome, genome.lengths)
    found = judge_tally(tally)
    for k, strand in enumerate("+-"):
        inside = {int(end) for end in near_the_edges[k] if 0 <= end < 22_000}
        assert found.ends[k] == len(inside)
        np.testing.assert_allclose(
            found.frequencies[k], frequencies_by_loop(sequence["c2.x|y"], inside, strand), atol=1e-12
        )
    per_block = tally_ends([("c2.x|y", near_the_edges)], genome, {"c2.x|y": 22_000}).counts
    assert len(per_block) == 11 and np.array_equal(per_block.sum(0), tally.counts.sum(0))


def preference(duplication, shift, strength=0.3):
    """Expected counts around ends for an exactly palindromic preference, shifted inwards by `shift`."""
    weights = palindromic_weights(duplication, np.random.default_rng(5), strength)
    profile = np.ones((len(OFFSETS), 4)) * [0.3, 0.2, 0.2, 0.3]
    first = 50 - (len(weights) - duplication) // 2 - shift
    profile[first : first + len(weights)] *= np.exp(weights)
    return np.rint(1e7 * profile / profile.sum(1, keepdims=True)).astype(int)


@pytest.mark.parametrize("duplication", [3, 8, 9])
@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (4, 5), (-2, 7)])
def test_scores_of_a_perfect_palindrome_are_one_at_its_shift(duplication, plus, minus):
    counts = np.stack([preference(duplication, plus), preference(duplication, minus)])
    found = judge_tally(EndTally(np.stack([counts] * 8), (10**6, 10**6)), duplication)
    assert found.shift == Tn5Shift(plus, -minus)
    for strand, inward in enumerate((plus, minus)):
        assert found.own_scores[strand, AXES == inward] == pytest.approx(1, abs=1e-5)
        assert found.own_scores[strand, AXES != inward].max() < 0.9
    assert found.lag_scores[LAGS == plus - minus] == pytest.approx(1, abs=1e-5)
    assert found.score == pytest.approx(1, abs=1e-5)
    at = (CANDIDATES == plus), (CANDIDATES == minus)
    assert found.pair_scores[at[0]][:, at[1]].item() == found.score == found.pair_scores.max()


def test_scores_equal_sums_written_out(world):
    _, genome, ends = world
    found = detect_shift(moved(ends[9], 4, -5), genome)
    like = contrast(found.frequencies)
    value = [{(int(o), b): like[k, n, b] for n, o in enumerate(OFFSETS) for b in range(4)} for k in range(2)]
    energy = [sum(v**2 for v in each.values()) for each in value]
    for axis in (-9, -0.5, 0, 4, 4.5, 9):
        wanted = sum(v * value[0].get((int(8 - 2 * axis) - o, 3 - b), 0) for (o, b), v in value[0].items())
        assert found.own_scores[0, AXES == axis].item() == pytest.approx(wanted / energy[0], abs=1e-12)
    for lag in (-18, -1, 0, 7):
        wanted = sum(v * value[1].get((o + lag, b), 0) for (o, b), v in value[0].items())
        assert found.lag_scores[LAGS == lag].item() == pytest.approx(wanted / np.sqrt(energy[0] * energy[1]))
    mean = (
        found.own_scores[0, AXES == 4] + found.own_scores[1, AXES == 5] + found.lag_scores[LAGS == -1]
    ) / 3
    assert found.score == pytest.approx(mean.item())


def test_information_is_the_divergence_from_the_flanks():
    frequencies = np.full((101, 4), 0.25)
    frequencies[60] = [0.97, 0.01, 0.01, 0.01]
    bits = information(frequencies)
    assert bits[60] == pytest.approx(0.97 * np.log2(3.88) + 0.03 * np.log2(0.04))
    assert np.abs(np.delete(bits, 60)).max() < 1e-12


def test_the_other_strand_of_the_genome_gives_the_mirrored_result(world, tmp_path):
    sequence, _, ends = world
    known = {name: "".join(c if c in "ACGT" else "N" for c in text) for name, text in sequence.items()}
    flipped = write_genome(
        tmp_path / "f.fa", {name: reverse_complement(text) for name, text in known.items()}
    )
    original = write_genome(tmp_path / "g.fa", known)
    there = moved(ends[9], 4, -5)
    back = [
        (name, StrandEnds(CONTIGS[name] - 1 - both.minus, CONTIGS[name] - 1 - both.plus))
        for name, both in there
    ]
    one, other = detect_shift(there, original), detect_shift(back, flipped)
    assert (one.shift, other.shift) == (Tn5Shift(4, -5), Tn5Shift(5, -4))
    np.testing.assert_allclose(other.frequencies, one.frequencies[::-1], atol=1e-12)
    np.testing.assert_allclose(other.pair_scores, one.pair_scores.T, atol=1e-9)
    np.testing.assert_allclose(other.lag_scores, one.lag_scores[::-1], atol=1e-9)


def test_order_and_copies_of_reads_do_not_matter(world):
    _, genome, ends = world
    rng = np.random.default_rng(0)
    again = [
        (name, StrandEnds(*(rng.permutation(np.r_[each, each[:50], [each[0]] * 900]) for each in both)))
        for name, both in ends[9].items()
    ]
    one, other = detect_shift(moved(ends[9]), genome), detect_shift(again[::-1], genome)
    assert one.ends == other.ends and one.lead_interval == other.lead_interval
    assert np.array_equal(one.frequencies, other.frequencies)


def test_many_ends_are_thinned_evenly(world, monkeypatch):
    _, genome, ends = world
    monkeypatch.setattr("gatescope.atac.preference._MOST_ENDS", 1500)
    found = detect_shift(moved(ends[9], 4, -4), genome)
    assert 900 < min(found.ends) <= max(found.ends) <= 2500
    assert found.shift == Tn5Shift(4, -4)


def test_a_strand_that_is_off_by_one_is_seen_by_the_strands_alone(world):
    _, genome, ends = world
    right, wrong = (detect_shift(moved(ends[9], 4, minus), genome) for minus in (-4, -3))
    assert (right.strands_apart_bp, wrong.strands_apart_bp) == (0, 1)
    assert (wrong.shift, wrong.is_conventional) == (Tn5Shift(4, -3), False)
    assert wrong.score - wrong.pair_scores[CANDIDATES == 4][:, CANDIDATES == 4].item() > 0.2


@pytest.mark.parametrize("n", [0, 30, 300, 3000])
def test_uniform_cuts_on_a_random_genome_cannot_be_told(world, n):
    _, genome, _ = world
    for seed in range(6 if n > 100 else 2):
        rng = np.random.default_rng(seed)
        ends = [(name, StrandEnds(*rng.integers(0, CONTIGS[name], (2, n)))) for name in ("c1", "c2.x|y")]
        found = detect_shift(ends, genome)
        assert found.shift is None and np.isfinite(found.pair_scores).all()
        assert ("too few" in found.reason) if n < 100 else ("no palindrome" in found.reason)


def test_reads_from_one_place_cannot_be_told(world):
    _, genome, ends = world
    near = [(name, StrandEnds(*(each[each < 6000] for each in both))) for name, both in ends[9].items()]
    assert "parts of the genome" in detect_shift(near[:1], genome).reason


@pytest.mark.parametrize(
    ("shift", "share", "said"), [((4, -4), 0.35, "nearly as well"), ((4, -5), 0.5, "between")]
)
def test_raw_and_shifted_reads_in_one_file_are_noticed(shift, share, said):
    counts = np.stack([
        (1 - share) * preference(9, 0, 0.6) + share * preference(9, abs(inward), 0.6) for inward in shift
    ])  # fmt: skip
    found = judge_tally(EndTally(np.stack([counts.astype(int)] * 8), (10**6, 10**6)))
    assert found.shift is None and said in found.reason


def test_a_shift_that_a_few_blocks_decide_is_not_told():
    raw, moved_by_seven = (np.stack([preference(9, inward)] * 2) for inward in (0, 7))
    found = judge_tally(EndTally(np.stack([raw] * 5 + [moved_by_seven] * 2), (10**6, 10**6)))
    assert found.best == Tn5Shift(0, 0) and 0.6 < found.support < 0.99
    assert found.shift is None and "of resampled genomes only" in found.reason


def test_files_with_different_shifts_are_named(world):
    _, genome, ends = world
    raw, shifted = (detect_shift(moved(ends[9], *shift), genome) for shift in ((0, 0), (4, -5)))
    silent = replace(raw, shift=None, reason="too few")
    assert compare_shifts({"a": silent, "b": shifted, "c": shifted}) == Tn5Shift(4, -5)
    assert compare_shifts({"a": silent}) is None
    with pytest.raises(InputError, match=r"by \+0/-0 in b.bed, but by \+4/-5 in c.bed"):
        compare_shifts({"a.bed": silent, "b.bed": raw, "c.bed": shifted})
