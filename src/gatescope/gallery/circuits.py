"""What can hidden units do that read each other? The cells of the gallery with more than one.

Public names: `CIRCUIT_CELLS`.
"""

import itertools
import math
from functools import partial

import numpy as np
from scipy.special import expit, logit, ndtri

from gatescope.gallery.hand import (
    OPEN,
    SHOWN_ONE,
    SHUT,
    Experiment,
    GalleryCell,
    Line,
    Rows,
    Units,
    View,
    answers_of,
    base_channels,
    channels_of,
    hand_weighted,
    opposite,
)
from gatescope.gallery.one_unit import decayed_sum

#: A unit that forgets everything at each step and stores its candidate: a combination of what it reads now.
_RELAY = {"i": {"bias": OPEN}, "f": {"bias": SHUT}}


def _spelled(word: str) -> Units:
    """Return units that store +1 while the last bases read are a beginning of `word`, else -1.

    A unit shows +-0.76, and 0 before the first base; each is on if its base stands here and its predecessor was on.
    """
    units: dict[str, Rows] = {word[0]: {**_RELAY, "g": {"bias": SHUT, word[0]: 2 * OPEN}}}
    for end in range(2, len(word) + 1):
        candidate = {"bias": -200.0, word[end - 1]: 160.0, f"h({word[: end - 1]})": 120.0}
        units[word[:end]] = {**_RELAY, "g": candidate}
    return units


def _matches(sequence: str, word: str) -> np.ndarray:
    """Say of each position whether the bases up to and with it end in `word`."""
    return np.array([sequence.endswith(word, 0, end) for end in range(1, len(sequence) + 1)])


def _sign(condition: np.ndarray) -> np.ndarray:
    return np.where(condition, 1.0, -1.0)


#: The level of a stretch, and how long each lasts.
_LEVELS, _DWELL_BP = (0.5, 0.42, -0.1, -0.02, -0.5, 0.3), 10
#: Smallest jump that is written. With a cost per write that is dwell times this squared, writing there pays.
_WORTHWHILE_JUMP = 0.25


def _worthwhile_jumps() -> list[tuple[int, float, float]]:
    """Return begin, change against the level held, and new level of each jump that is written."""
    jumps, held = [], 0.0
    for number, level in enumerate(_LEVELS):
        if abs(level - held) > _WORTHWHILE_JUMP:
            jumps.append((number * _DWELL_BP, level - held, level))
            held = level
    return jumps


def _write_cost_burst() -> Experiment:
    compare, signal = 1000.0, np.repeat(_LEVELS, _DWELL_BP)
    units = {
        "up": {**_RELAY, "g": {"bias": -compare * _WORTHWHILE_JUMP, "x": compare, "h(level)": -compare}},
        "down": {**_RELAY, "g": {"bias": -compare * _WORTHWHILE_JUMP, "x": -compare, "h(level)": compare}},
        "level": {},
    }
    surprise = {"bias": OPEN, "h(up)": 60.0, "h(down)": 60.0}
    units["level"] = {"i": surprise, "f": opposite(surprise), "g": {"x": 1.0}}
    cell, gate = np.full((3, signal.size), -1.0), np.ones((3, signal.size))
    gate[2] = 0
    for begin, change, level in _worthwhile_jumps():
        delay = 1 if begin else 0  # the first level is written before anything has been compared
        cell[2, begin + delay :] = math.tanh(level)
        cell[0 if change > 0 else 1, begin : begin + delay + 1] = 1
        gate[2, begin + delay : begin + delay + 2] = 1  # until the new level has come round to the comparison
    answers = answers_of(cell, forget_gate=1 - gate, input_gate=gate)
    return Experiment(hand_weighted("x", [units]), channels_of(signal), answers)


#: The motif that resets, what is kept at other bases, and what each base writes.
_RESET_MOTIF, _RESET_KEPT, _RESET_WRITE = "GAT", 0.98, 0.1


def _motif_reset() -> Experiment:
    sequence = "CTTCCGATCTTACCATTGCCTTAAGCGATACCTTCATCTGCAATCC"
    on, off = SHUT, logit(_RESET_KEPT)
    memory = [
        {
            "memory": {
                "i": {"bias": OPEN},
                "f": {"bias": (on + off) / 2, f"{side} {word}": (on - off) / 2 / SHOWN_ONE},
                "g": {"bias": math.atanh(_RESET_WRITE)},
            }
        }
        for side, word in (("fwd", _RESET_MOTIF), ("rev", _RESET_MOTIF[::-1]))
    ]
    spelled = [_spelled(_RESET_MOTIF), _spelled(_RESET_MOTIF[::-1])]
    cell, gate = np.zeros((2, 3, len(sequence))), np.full((2, 3, len(sequence)), 0.5)
    for direction, read in enumerate((sequence, sequence[::-1])):
        hit = _matches(read, _RESET_MOTIF[::-1] if direction else _RESET_MOTIF)
        last = np.maximum.accumulate(np.where(hit, np.arange(len(read)), 0))
        since = np.arange(len(read)) - last + 1  # writes since the last reset, its own base included
        values = _RESET_WRITE * (1 - _RESET_KEPT**since) / (1 - _RESET_KEPT), np.where(hit, 0.0, _RESET_KEPT)
        turn = slice(None, None, -1 if direction else 1)
        cell[direction, 0], gate[direction, 0] = (value[turn] for value in values)
    written = np.array([1.0, 0.5, 0.5])[:, None]  # the layer below is wider: two units stay idle
    answers = answers_of(cell, forget_gate=gate, input_gate=written)
    return Experiment(hand_weighted("ACGT", spelled, memory), base_channels(sequence), answers, sequence)


_ENTRY_MOTIF, _EXIT_MOTIF, _OVERWRITE_KEPT = "GAT", "CTA", 0.98


def _motif_overwrite() -> Experiment:
    sequence = "CTTCCGATCTTACCATTGCCTAAAGCCATACGATCATCTGCAATCTACTTG"
    entry, leave = f"h({_ENTRY_MOTIF})", f"h({_EXIT_MOTIF})"
    memory = {
        "i": {"bias": OPEN, entry: 60.0, leave: 60.0},  # shut while both show -0.76
        "f": {"bias": logit(_OVERWRITE_KEPT)},
        "g": {entry: 60.0, leave: -60.0},
    }
    spelled = {**_spelled(_ENTRY_MOTIF), **_spelled(_EXIT_MOTIF)}
    found = np.stack([_matches(sequence, word) for word in spelled])
    written = np.zeros(len(sequence))
    written[1:] = found[2, :-1] * 1.0 - found[5, :-1]  # one layer: known one base after the motif's last
    cell = np.concatenate([_sign(found), decayed_sum(_OVERWRITE_KEPT, written)[None]])
    kept, gate = np.zeros_like(cell), np.ones_like(cell)
    kept[6], gate[6] = _OVERWRITE_KEPT, np.abs(written)
    gate[6, 0] = 1  # before the first base no motif unit says no; there is nothing to write
    answers = answers_of(cell, forget_gate=kept, input_gate=gate)
    lstm = hand_weighted("ACGT", [{**spelled, "memory": memory}])
    return Experiment(lstm, base_channels(sequence), answers, sequence)


#: What is queued, and when everything moves on by one slot.
_QUEUED, _PUSHES = (2.0, -1.0, 0.0, 0.0), (4, 14, 24, 34)


def _queue(slots: int) -> Experiment:
    offered, push = np.zeros(44), np.zeros(44)
    offered[list(_PUSHES)], push[list(_PUSHES)] = _QUEUED, 1
    move = {"bias": SHUT, "push": 2 * OPEN}
    units = {
        f"slot {k + 1}": {"i": move, "f": opposite(move), "g": {f"h(slot {k})" if k else "offered": 1.0}}
        for k in range(slots)
    }
    pushes = np.cumsum(push).astype(int)
    cell = np.zeros((slots, 44))
    for k in range(slots):
        squeezed = np.concatenate([[0.0], _QUEUED])
        for _ in range(2 * k + 1):  # once when written, once when shown to the next slot
            squeezed = np.tanh(squeezed)
        cell[k] = squeezed[np.maximum(pushes - k, 0)]
    answers = answers_of(cell, forget_gate=1 - push, input_gate=push)
    lstm = hand_weighted(["offered", "push"], [units])
    return Experiment(lstm, channels_of(offered, push), answers)


#: Coverage at which the read gate is half open, and how steeply it opens.
_HALF_OPEN, _STEEPNESS = 0.5, 16.0


def _reliability_shield() -> Experiment:
    steps = np.arange(60)
    coverage = 0.5 + 0.5 * np.cos(2 * np.pi * steps / 20)
    mark = np.zeros(60)
    mark[[3, 34]] = 1, -1
    units = {
        "memory": {**_RELAY, "g": {"mark": 100.0, "h(memory)": 60.0}},  # rewrites itself at each step
        "reader": {
            **_RELAY,
            "g": {"h(memory)": 60.0},
            "o": {"bias": -_STEEPNESS * _HALF_OPEN, "coverage": _STEEPNESS},
        },
    }
    stored = np.where(steps >= 34, -1.0, np.where(steps >= 3, 1.0, 0.0))
    read_gate = expit(_STEEPNESS * (coverage - _HALF_OPEN))
    cell = np.stack([stored, np.concatenate([[0.0], stored[:-1]])])
    shown = np.stack([np.ones(60), read_gate])
    answers = answers_of(cell, forget_gate=0.0, input_gate=1.0, output_gate=shown)
    lstm = hand_weighted(["mark", "coverage"], [units])
    return Experiment(lstm, channels_of(mark, coverage), answers)


#: Lag-1 autocorrelation of the signal, those at which the three cells are silent, and the steepness of their gates.
_AUTOCORRELATION, _SILENT_AT, _SHARPNESS = 0.6, (0.3, 0.6, 0.9), 1.5
#: Where the three are far enough apart to be named.
_LABELLED = 205


def _null_detector() -> Experiment:
    """Read (x before, x now) of an AR(1) process, each draw followed by its mirror image about the mean of x now."""
    quantiles = ndtri((np.arange(16) + 0.5) / 16)
    pairs = np.array(list(itertools.product(quantiles, quantiles[8:])))
    before, surprise = np.repeat(np.random.default_rng(0).permutation(pairs), 2, axis=0).T
    surprise = surprise * np.tile([1.0, -1.0], len(pairs)) * math.sqrt(1 - _AUTOCORRELATION**2)
    now = _AUTOCORRELATION * before + surprise
    units = {
        f"silent at {rho}": {
            "i": {"x before": _SHARPNESS},
            "f": {"bias": OPEN},
            "g": {"x now": _SHARPNESS, "x before": -_SHARPNESS * rho},
        }
        for rho in _SILENT_AT
    }
    excess = _AUTOCORRELATION - np.array(_SILENT_AT)[:, None]
    gate = expit(_SHARPNESS * before)
    cell = np.cumsum(gate * np.tanh(_SHARPNESS * (excess * before + surprise)), axis=1)
    cell[1, 1::2] = 0  # each pair and its mirror image cancel where the cell expects what the signal does
    lstm = hand_weighted(["x before", "x now"], [units])
    answers = answers_of(cell, forget_gate=1.0, input_gate=gate)
    return Experiment(lstm, channels_of(before, now), answers)


def _fifo(slots: int, name: str, lesson: str, formula: str) -> GalleryCell:
    shown = tuple(Line("cell", unit, label=f"slot {unit + 1}", at=_PUSHES[unit] + 5) for unit in range(slots))
    view = View(
        (Line("forget_gate"), Line("input_gate")),
        shown,
        channels={0: "offered: 2.0, then −1.0", 1: "push"},
        axis="step",
    )
    return GalleryCell(
        name, lesson, formula, "iterated tanh: tanhⁿ(2) falls as √(3 / 2n)", view, partial(_queue, slots)
    )


CIRCUIT_CELLS = (
    GalleryCell(
        "write-cost burst",
        "If writing costs, the input gate opens in short bursts, and only at jumps that are worth it.",
        "c = tanh of the level at the last jump above 0.25",
        "Killick, Fearnhead & Eckley 2012 (penalised change points)",
        View((Line("forget_gate", 2), Line("input_gate", 2)), (Line("cell", 2),), channels={0: "signal x"}),
        _write_cost_burst,
    ),
    GalleryCell(
        "motif-reset",
        "GAT shuts f and erases the past: at its T reading forward (solid), at its G in reverse (dashed).",
        "c = 0.1 (1 − 0.98ⁿ)/0.02, n bases since the reset",
        "Gers, Schmidhuber & Cummins 2000 (learning to reset)",
        View(
            (Line("forget_gate"), Line("forget_gate", direction=1)),
            (Line("cell", label="fwd", at=24), Line("cell", direction=1, label="rev", at=10)),
            words=("GAT",),
        ),
        _motif_reset,
    ),
    GalleryCell(
        "motif-overwrite",
        "The forget gate never moves, yet the old memory goes: GAT writes +1 over it, CTA writes −1.",
        "c = Σ ±0.98ᵃ, a bases after each write",
        "Greff et al. 2017 (what each gate does)",
        View((Line("forget_gate", 6), Line("input_gate", 6)), (Line("cell", 6),), words=("GAT", "CTA")),
        _motif_overwrite,
    ),
    _fifo(
        2,
        "FIFO queue of two slots",
        "Each push hands every item on to the next slot, and each hand-over squeezes it through tanh.",
        "2.0 → 0.9640 stored → 0.7461 shown → 0.6328 stored",
    ),
    _fifo(
        3,
        "FIFO queue of three slots",
        "One more slot, two more squeezes: a queue made of cells loses what it passes on.",
        "slot k stores tanh applied 2k − 1 times to 2.0",
    ),
    GalleryCell(
        "reliability shield",
        "Poor coverage shuts a read gate that nothing feeds back on: the memory behind it never notices.",
        "h = σ(16 (coverage − 0.5)) · tanh(±1)",
        "Hochreiter & Schmidhuber 1997 (output gate), here outside the recurrence",
        View(
            (Line("output_gate", 1),),
            (Line("cell", 0, label="memory c", at=20), Line("hidden", 1, label="shown h", at=10)),
            channels={1: "coverage"},
            axis="step",
        ),
        _reliability_shield,
    ),
    GalleryCell(
        "autocorrelation null detector",
        "Each cell is silent at one autocorrelation: the one set to the signal's own, 0.6, keeps returning to zero.",
        "c = Σ σ(1.5 x′) tanh(1.5 (x − ρ* x′)), x′ the value before",
        "Scheffer et al. 2009 (critical slowing down)",
        View(
            (Line("input_gate"),),
            tuple(Line("cell", unit, label=f"ρ* {rho}", at=_LABELLED) for unit, rho in enumerate(_SILENT_AT)),
            channels={1: "signal x"},
            axis="step",
        ),
        _null_detector,
    ),
)
