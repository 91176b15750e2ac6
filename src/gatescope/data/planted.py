"""What is planted? The generative model of the planted genome, and one draw from it.

A genome is a walk through five phases: closed, closed, open, open, open. At each base the walk either emits
one background base (and stays, or moves on to the next phase of the same state) or emits a whole block:
an *entry* motif leads from closed to open, an *exit* motif from open to closed; both lie inside the open
region they delimit. *Lone* entry and exit motifs inside open regions, and *scrambled* motifs anywhere, change
nothing: whoever reads must set a memory at a motif, not add to it. Several phases per state give peak-like
lengths (a sum of geometric waiting times) while the walk stays a hidden Markov model whose posterior
`gatescope.data.oracle` computes exactly.

Public names: `PlantedModel`, `Block`, `Walk`, `draw_walk`, `draw_sequence`, `motif_matrix`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

#: Consensus of the two motifs in IUPAC letters; two-fold letters are the degenerate positions.
ENTRY_CONSENSUS = "TGACGYMATCCGRT"
EXIT_CONSENSUS = "CTTGRAAYCTAGWC"
_IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "M": "AC", "W": "AT"}
CLOSED_PHASES, OPEN_PHASES = (0, 1), (2, 3, 4)
N_PHASES = 5


def motif_matrix(consensus: str, fidelity: float) -> np.ndarray:
    """Return base probabilities, shape (width, 4) in ACGT order; a position keeps its letters with `fidelity`."""
    matrix = np.empty((len(consensus), 4))
    for row, letter in zip(matrix, consensus, strict=True):
        allowed = ["ACGT".index(base) for base in _IUPAC[letter]]
        row[:] = (1 - fidelity) / (4 - len(allowed))
        row[allowed] = fidelity / len(allowed)
    return matrix


@dataclass(frozen=True)
class PlantedModel:
    """Hold every true parameter of the planted genome; lengths in bp, rates per bp.

    `phase_bp` is the mean number of background bases in each phase; the entry and exit motifs add to the
    length of an open region.
    """

    phase_bp: tuple[float, ...] = (600.0, 600.0, 110.0, 110.0, 110.0)
    motif_fidelity: float = 0.97
    lone_entry_per_bp: float = 1 / 700
    lone_exit_per_bp: float = 1 / 700
    scrambled_per_bp: float = 1 / 4000
    gc_levels: tuple[float, float] = (0.36, 0.46)
    gc_segment_bp: float = 12_000.0
    gap_bp: tuple[int, int] = (400, 2500)
    low_mappability_bp: int = 4000
    cuts_open_per_bp: float = 0.40
    cuts_closed_per_bp: float = 0.020
    peak_jitter_bp: float = 0.5
    scramble_seed: int = 20
    motifs: dict[str, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        entry = motif_matrix(ENTRY_CONSENSUS, self.motif_fidelity)
        exit_ = motif_matrix(EXIT_CONSENSUS, self.motif_fidelity)
        order = np.random.default_rng(self.scramble_seed).permutation(len(entry))
        motifs = {
            "entry": entry,
            "exit": exit_,
            "scrambled_entry": entry[order],
            "scrambled_exit": exit_[order],
        }
        object.__setattr__(self, "motifs", motifs)

    @property
    def motif_width(self) -> int:
        """Width of every block in bp."""
        return len(ENTRY_CONSENSUS)

    def block_rates(self) -> dict[str, np.ndarray]:
        """Return per motif the probability per base of a block leading from phase p to phase q, shape (5, 5)."""
        leave = 1 / np.asarray(self.phase_bp)
        rates = {name: np.zeros((N_PHASES, N_PHASES)) for name in self.motifs}
        rates["entry"][CLOSED_PHASES[-1], OPEN_PHASES[0]] = leave[CLOSED_PHASES[-1]]
        rates["exit"][OPEN_PHASES[-1], CLOSED_PHASES[0]] = leave[OPEN_PHASES[-1]]
        for phase in OPEN_PHASES:
            rates["entry"][phase, phase] = self.lone_entry_per_bp
            rates["exit"][phase, phase] = self.lone_exit_per_bp
        for name in ("scrambled_entry", "scrambled_exit"):
            rates[name][np.diag_indices(N_PHASES)] = self.scrambled_per_bp / 2
        return rates

    def base_rates(self) -> np.ndarray:
        """Return the probability per base of one background base leading from phase p to q, shape (5, 5)."""
        leave = 1 / np.asarray(self.phase_bp)
        rates = np.zeros((N_PHASES, N_PHASES))
        for first, then in ((0, 1), (2, 3), (3, 4)):
            rates[first, then] = leave[first]
        spoken_for = rates.sum(1) + sum(block.sum(1) for block in self.block_rates().values())
        rates[np.diag_indices(N_PHASES)] = 1 - spoken_for
        return rates


class Block(NamedTuple):
    """One planted motif instance: ``[start, start + width)`` on one contig."""

    start: int
    motif: str
    kind: str  # entry, exit, lone_entry, lone_exit, scrambled_entry, scrambled_exit


class Walk(NamedTuple):
    """One walk along a contig: per-base state (uint8, 1 = open) and the blocks in order of position."""

    state: np.ndarray
    blocks: list[Block]


def _kind(motif: str, before: int, after: int) -> str:
    changes = (before in OPEN_PHASES) != (after in OPEN_PHASES)
    return motif if changes or motif.startswith("scrambled") else f"lone_{motif}"


def draw_walk(model: PlantedModel, length: int, rng: np.random.Generator) -> Walk:
    """Draw the phases of one contig of `length` bp, starting closed; a block cut by the end is left out."""
    base, blocks = model.base_rates(), model.block_rates()
    moves = [("", q, base[:, q]) for q in range(N_PHASES)]
    moves += [(name, q, rate[:, q]) for name, rate in blocks.items() for q in range(N_PHASES)]
    weights = np.array([rate for _, _, rate in moves])  # (moves, 5)
    state, placed, at, phase = np.zeros(length, np.uint8), [], 0, CLOSED_PHASES[0]
    while at < length:
        stay = base[phase, phase]
        run = int(rng.geometric(1 - stay)) - 1  # background bases before something happens
        state[at : at + run] = phase in OPEN_PHASES
        at += run
        other = weights[:, phase].copy()
        other[phase] = 0.0
        name, after, _ = moves[rng.choice(len(moves), p=other / other.sum())]
        width = model.motif_width if name else 1
        if at + width > length:
            state[at:] = phase in OPEN_PHASES
            break
        is_open = phase in OPEN_PHASES or (bool(name) and after in OPEN_PHASES)
        state[at : at + width] = is_open
        if name:
            placed.append(Block(at, name, _kind(name, phase, after)))
        at, phase = at + width, after
    return Walk(state, placed)


def draw_sequence(model: PlantedModel, walk: Walk, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the bases under a walk.

    Returns
    -------
    codes : uint8, shape (L,)
        Base codes 0-3 (ACGT).
    gc : float64, shape (L,)
        GC level of the background at each base; segments are independent of the state.
    """
    length = len(walk.state)
    gc, at, level = np.empty(length), 0, int(rng.integers(2))
    while at < length:
        run = int(rng.geometric(1 / model.gc_segment_bp))
        gc[at : at + run] = model.gc_levels[level]
        at, level = at + run, 1 - level
    is_gc = rng.random(length) < gc
    codes = np.where(is_gc, rng.integers(1, 3, length), 3 * rng.integers(0, 2, length)).astype(np.uint8)
    for block in walk.blocks:
        matrix = model.motifs[block.motif]
        drawn = (rng.random((len(matrix), 1)) > matrix.cumsum(1)[:, :3]).sum(1)
        codes[block.start : block.start + len(matrix)] = drawn
    return codes, gc
