"""A slow, obvious model of an enzyme that joins DNA at two places, D bp apart, and likes a palindrome there."""

import numpy as np

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def reverse_complement(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def palindromic_weights(duplication_bp: int, rng: np.random.Generator, strength: float = 0.6) -> np.ndarray:
    """Log-weights of ACGT over the duplication and 4 bp beside it; each row is the complement of its mirror."""
    width = duplication_bp + 8
    weights = rng.normal(0, strength, (width, 4))
    return (weights + weights[::-1, ::-1]) / 2


def draw_sites(
    sequence: str, n: int, weights: np.ndarray, duplication_bp: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw the first base of n duplications in proportion to exp(sum of the weights of the letters around)."""
    codes = np.array(["ACGT".find(letter) for letter in sequence])
    last = len(codes) - len(weights) + 1
    log_rate = np.array(
        [
            sum(weights[k, codes[at + k]] for k in range(len(weights)) if codes[at + k] >= 0)
            for at in range(last)
        ]
    )
    rate = np.exp(log_rate)
    return rng.choice(last, size=n, p=rate / rate.sum()) + (len(weights) - duplication_bp) // 2


def raw_ends(sites: np.ndarray, duplication_bp: int) -> tuple[np.ndarray, np.ndarray]:
    """First bases of the + read and of the - read: the two ends of the copied stretch."""
    return sites, sites + duplication_bp - 1


def frequencies_by_loop(sequence: str, ends: set[int], strand: str, reach: int = 50) -> np.ndarray:
    """Base frequencies around read ends, (2 reach + 1, 4), letter by letter; one pseudo-count, spread evenly."""
    counts = np.zeros((2 * reach + 1, 4))
    for end in ends:
        for offset in range(-reach, reach + 1):
            at = end + offset if strand == "+" else end - offset
            letter = sequence[at] if 0 <= at < len(sequence) else "N"
            letter = letter.translate(COMPLEMENT) if strand == "-" else letter
            if letter in "ACGT":
                counts[offset + reach, "ACGT".index(letter)] += 1
    return (counts + 0.25) / (counts.sum(1, keepdims=True) + 1)
