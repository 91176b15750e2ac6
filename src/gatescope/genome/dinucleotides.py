"""What is left of a sequence without its order? Shuffles that keep every dinucleotide.

Public names: `shuffle_dinucleotides`.

References
----------
Altschul & Erickson 1985, Significance of nucleotide sequence alignments: a method for random sequence permutation that
preserves dinucleotide and codon usage (Mol Biol Evol 2, 526).
"""

import numpy as np
from numpy.typing import NDArray


def shuffle_dinucleotides(codes: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a sequence with the same dinucleotides as often, from all such with the same first base.

    Each dinucleotide is a step from base to base; the sequences with the same steps are the walks that take each step
    once, and all of these are equally likely. They end in the same base as well.

    Parameters
    ----------
    codes : uint8, shape (L,)
        Bases, 0-3 = ACGT, none unknown.
    rng : numpy.random.Generator

    Returns
    -------
    uint8, shape (L,)
    """
    if codes.size < 3:
        return codes.copy()
    steps = [codes[1:][codes[:-1] == base] for base in range(4)]  # where each base is left for, step by step
    last = _draw_last_steps(steps, int(codes[-1]), rng)
    orders = []
    for base, targets in enumerate(steps):
        rest = np.delete(targets, last[base]) if base in last else targets
        order = rng.permutation(rest).tolist()
        orders.append(iter([*order, int(targets[last[base]])] if base in last else order))
    at = int(codes[0])
    walk = [at, *(at := next(orders[at]) for _ in range(codes.size - 1))]
    return np.array(walk, np.uint8)


def _draw_last_steps(steps: list[NDArray[np.uint8]], end: int, rng: np.random.Generator) -> dict[int, int]:
    """Draw by which of its steps each base but `end` is left for the last time: these have to lead to `end`."""
    left = [base for base, targets in enumerate(steps) if targets.size and base != end]
    while True:
        last = {base: int(rng.integers(steps[base].size)) for base in left}
        towards = {base: int(steps[base][step]) for base, step in last.items()}
        if all(_leads_to(end, base, towards) for base in left):
            return last


def _leads_to(end: int, base: int, towards: dict[int, int]) -> bool:
    for _ in range(4):
        if base == end:
            return True
        base = towards[base]
    return base == end
