"""Shuffles keep every dinucleotide and both ends, and draw all sequences that do so equally often."""

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from gatescope.genome.dinucleotides import shuffle_dinucleotides

BASES = "ACGT"


def shuffled(sequence, rng):
    codes = np.array([BASES.index(base) for base in sequence], np.uint8)
    return "".join(BASES[code] for code in shuffle_dinucleotides(codes, rng))


def pairs(sequence):
    return Counter(pairwise(sequence))


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (8, 1, 1, 1), (1, 1, 0, 0)])
def test_dinucleotides_and_ends_are_kept(weights):
    rng = np.random.default_rng(0)
    p = np.array(weights) / sum(weights)
    for length in [*range(8), 30, 250]:
        sequence = "".join(rng.choice(list(BASES), length, p=p))
        found = [shuffled(sequence, rng) for _ in range(20)]
        for each in found:
            assert pairs(each) == pairs(sequence) and len(each) == length
            assert each[:1] == sequence[:1] and each[-1:] == sequence[-1:]
        assert length < 250 or len(set(found)) == 20


@pytest.mark.parametrize("sequence", ["ACAGACTA", "AACAGCAT", "GAGTGCAG"])
def test_all_sequences_are_equally_likely(sequence):
    """Against all orders of the letters, tried out one by one."""
    every = {
        "".join(order)
        for order in permutations(sequence)
        if pairs(order) == pairs(sequence) and order[0] == sequence[0]
    }
    assert len(every) > 2
    rng = np.random.default_rng(1)
    found = Counter(shuffled(sequence, rng) for _ in range(600 * len(every)))
    assert set(found) == every
    assert chisquare([found[each] for each in sorted(every)]).pvalue > 0.001


def test_the_same_generator_gives_the_same_sequence():
    first, again = (shuffled("ACGGATTACAGGC" * 9, np.random.default_rng(5)) for _ in range(2))
    assert first == again
