"""What can a single hidden unit do? The cells of the gallery that need no more than one.

Public names: `ONE_UNIT_CELLS`, `decayed_sum`.
"""

import math

import numpy as np
from scipy.special import expit, logit

from gatescope.gallery.hand import (
    OPEN,
    SHUT,
    Experiment,
    GalleryCell,
    Line,
    View,
    answers_of,
    base_channels,
    channels_of,
    hand_weighted,
    opposite,
)

_FORGET, _INPUT, _OUTPUT = Line("forget_gate"), Line("input_gate"), Line("output_gate")
_CELL = Line("cell")


def decayed_sum(retention: float, writes: np.ndarray) -> np.ndarray:
    """Return sum over s <= t of retention^(t - s) writes_s along the last axis, each power taken by itself."""
    age = np.subtract.outer(np.arange(writes.shape[-1]), np.arange(writes.shape[-1]))
    return writes @ np.where(age >= 0, retention ** np.maximum(age, 0), 0.0).T


def _is_base(sequence: str, letters: str) -> np.ndarray:
    return np.array([base in letters for base in sequence])


def _hold() -> Experiment:
    sequence = "CTGCCTACGTCCGTCTGGTCTCGTTGCCTGTCCGTC"
    unit = {"i": {"bias": SHUT, "A": 2 * OPEN}, "f": {"bias": OPEN}, "g": {"A": OPEN}}
    held = np.arange(len(sequence)) >= sequence.index("A")
    answers = answers_of(held, forget_gate=1.0, input_gate=_is_base(sequence, "A"))
    return Experiment(hand_weighted("ACGT", [{"memory": unit}]), base_channels(sequence), answers, sequence)


def _leak() -> Experiment:
    sequence = "CTGCCTACGTCCGTCTGGTCTCGTTGCCTGTCCGTCTGCTTGTCCTGT"
    unit = {"i": {"bias": SHUT, "A": 2 * OPEN}, "f": {"bias": logit(0.95)}, "g": {"A": OPEN}}
    age = np.arange(len(sequence)) - sequence.index("A")
    decayed = np.where(age >= 0, 0.95 ** np.maximum(age, 0), 0.0)
    answers = answers_of(decayed, forget_gate=0.95, input_gate=_is_base(sequence, "A"))
    return Experiment(hand_weighted("ACGT", [{"memory": unit}]), base_channels(sequence), answers, sequence)


def _latch() -> Experiment:
    sequence = "TATGATATTAATTCTTATTATGTATGAATTACTTAATTAC"
    unit = {
        "i": {"bias": SHUT, "G": 2 * OPEN},
        "f": {"bias": OPEN, "G": 2 * SHUT, "C": 2 * SHUT},
        "g": {"G": OPEN},
    }
    last = [max(sequence.rfind("G", 0, t + 1), sequence.rfind("C", 0, t + 1)) for t in range(len(sequence))]
    on = np.array([at >= 0 and sequence[at] == "G" for at in last])
    kept, written = ~_is_base(sequence, "GC"), _is_base(sequence, "G")
    answers = answers_of(on, forget_gate=kept, input_gate=written)
    return Experiment(hand_weighted("ACGT", [{"memory": unit}]), base_channels(sequence), answers, sequence)


def _integrator() -> Experiment:
    steps = np.arange(48)
    pulses = ((4, 12, 0.3), (20, 25, -0.5), (33, 42, 0.2))  # begin, end, height
    signal, total = np.zeros(48), np.zeros(48)
    for begin, end, height in pulses:
        signal[begin:end] = height
        total += np.tanh(height) * np.clip(steps - begin + 1, 0, end - begin)
    unit = {"i": {"bias": OPEN}, "f": {"bias": OPEN}, "g": {"x": 1.0}}
    answers = answers_of(total, forget_gate=1.0, input_gate=1.0)
    return Experiment(hand_weighted("x", [{"sum": unit}]), channels_of(signal), answers)


def _exponential_average() -> Experiment:
    forget = {"bias": logit(0.85)}
    noise = 0.12 * np.random.default_rng(1).standard_normal(60)
    signal = np.where(np.arange(60) < 25, 0.2, 0.8) + noise
    unit = {"i": opposite(forget), "f": forget, "g": {"x": 1.0}}
    average = decayed_sum(0.85, (1 - 0.85) * np.tanh(signal))
    answers = answers_of(average, forget_gate=0.85, input_gate=1 - 0.85)
    return Experiment(hand_weighted("x", [{"mean": unit}]), channels_of(signal), answers)


#: Share of marks copied at a division, and gained by an unmarked site (maintenance, de novo).
_COPIED, _GAINED = 0.97, 0.03


def _methylation_mark() -> Experiment:
    retention, resting = _COPIED - _GAINED, _GAINED / (1 - _COPIED + _GAINED)
    forget = {"bias": logit(retention), "start": SHUT - logit(retention)}
    unit = {"i": opposite(forget), "f": forget, "g": {"bias": math.atanh(resting), "start": OPEN}}
    division = np.arange(51)
    is_start = division == 0
    answers = answers_of(
        resting + (1 - resting) * retention**division,
        forget_gate=np.where(is_start, 0.0, retention),
        input_gate=np.where(is_start, 1.0, 1 - retention),
    )
    return Experiment(hand_weighted(["start"], [{"mark": unit}]), channels_of(is_start * 1.0), answers)


#: Variance of what is believed before the first measurement, of a good one and of a poor one.
_PRIOR_VARIANCE, _GOOD_VARIANCE, _POOR_VARIANCE = 0.4, 0.1, 10.0


def _kalman_gain() -> Experiment:
    draw = np.random.default_rng(3)
    is_good = draw.random(40) < 0.35
    variance = np.where(is_good, _GOOD_VARIANCE, _POOR_VARIANCE)
    measured = np.clip(0.5 + np.where(is_good, 0.08, 0.35) * draw.standard_normal(40), -0.95, 0.95)
    precision = 1 / _PRIOR_VARIANCE + np.cumsum(1 / variance)  # after each measurement
    believed = 1 / np.concatenate([[1 / _PRIOR_VARIANCE], precision[:-1]])  # variance before it
    gain = {"ln P": 1.0, "ln R": -1.0}
    unit = {"i": gain, "f": opposite(gain), "g": {"y": 1.0}}
    inputs = channels_of(np.log(believed), np.log(variance), np.arctanh(measured))
    answers = answers_of(
        np.cumsum(measured / variance) / precision,
        forget_gate=variance / (believed + variance),
        input_gate=believed / (believed + variance),
    )
    return Experiment(hand_weighted(["ln P", "ln R", "y"], [{"estimate": unit}]), inputs, answers)


def _toggle() -> Experiment:
    pulse = np.zeros(48)
    pulse[[5, 13, 16, 29, 40]] = 1
    unit = {
        "i": {"bias": SHUT, "pulse": 2 * OPEN},
        "f": {"bias": OPEN, "pulse": 2 * SHUT},
        "g": {"bias": 45.0, "h(toggle)": -120.0},  # h is 0, then +-0.76
    }
    count = np.cumsum(pulse)
    side = np.where(count == 0, 0.0, -np.cos(np.pi * count))
    answers = answers_of(side, forget_gate=1 - pulse, input_gate=pulse)
    return Experiment(hand_weighted(["pulse"], [{"toggle": unit}]), channels_of(pulse), answers)


#: How many T follow the A of the memory wire.
_WIRE_BP = 100_000


def _memory_wire() -> Experiment:
    z = logit(0.9999)
    unit = {"i": {"A": OPEN, "T": SHUT}, "f": {"A": z, "T": z}, "g": {"bias": OPEN}}
    sequence = "A" + "T" * _WIRE_BP
    erased = 1 - expit(z)  # the gate reached is 0.9999000000000001: the last digit counts 100,000 times
    log_kept = np.log1p(-erased) * np.arange(_WIRE_BP + 1)  # n ln f
    leaked_in = expit(SHUT) * -np.expm1(log_kept) / erased  # i g (1 - f^n) / (1 - f)
    answers = answers_of(np.exp(log_kept) + leaked_in, forget_gate=0.9999, input_gate=_is_base(sequence, "A"))
    return Experiment(hand_weighted("ACGT", [{"wire": unit}]), base_channels(sequence), answers, sequence)


def _gap_freeze() -> Experiment:
    sequence = "TAGCGATCGCATGCCGNNNNNNNNNNNNTATTACATTACTATGC"
    known, is_gc = _is_base(sequence, "ACGT"), _is_base(sequence, "GC")
    forget = {"bias": OPEN, **{base: logit(0.9) - OPEN for base in "ACGT"}}
    unit = {"i": opposite(forget), "f": forget, "g": {"G": OPEN, "C": OPEN}}
    without_gap = decayed_sum(0.9, (1 - 0.9) * is_gc[known])
    answers = answers_of(
        without_gap[np.cumsum(known) - 1],
        forget_gate=np.where(known, 0.9, 1.0),
        input_gate=np.where(known, 1 - 0.9, 0.0),
    )
    return Experiment(hand_weighted("ACGT", [{"mean": unit}]), base_channels(sequence), answers, sequence)


def _meal_and_insulin() -> Experiment:
    meal, insulin = np.zeros(60), np.zeros(60)
    meal[[6, 20, 23, 44]] = 0.8, 0.5, 0.6, 0.7
    insulin[[12, 28, 29, 50]] = 1
    slow, fast = 0.98, 0.25  # what is kept per step, without and with insulin
    unit = {
        "i": {"bias": OPEN},
        "f": {"bias": logit(slow), "insulin": logit(fast) - logit(slow)},
        "g": {"meal": 1.0},
    }
    doses = np.cumsum(insulin)
    age, flushed = (np.subtract.outer(count, count) for count in (np.arange(60), doses))
    kept = np.where(age >= 0, slow ** np.maximum(age - flushed, 0) * fast ** np.maximum(flushed, 0), 0.0)
    answers = answers_of(kept @ meal, forget_gate=np.where(insulin > 0, fast, slow), input_gate=1.0)
    lstm = hand_weighted(["meal", "insulin"], [{"glucose": unit}])
    return Experiment(lstm, channels_of(np.arctanh(meal), insulin), answers)


def _gc_counter() -> Experiment:
    sequence = "ATGCATTACGGATATTGCCGATAATCGCGTTAATGCATTA"
    unit = {"i": {"bias": OPEN}, "f": {"bias": OPEN}, "g": {"G": OPEN, "C": OPEN}}
    count = np.cumsum(_is_base(sequence, "GC"))
    answers = answers_of(count, forget_gate=1.0, input_gate=1.0)
    return Experiment(hand_weighted("ACGT", [{"count": unit}]), base_channels(sequence), answers, sequence)


def _leaky_integral() -> Experiment:
    steps, begin, end, error, retention = np.arange(70), 6, 42, 0.2, 0.9
    unit = {"i": {"bias": OPEN}, "f": {"bias": logit(retention)}, "g": {"error": 1.0}}
    charged = error * (1 - retention ** np.clip(steps - begin + 1, 0, end - begin)) / (1 - retention)
    left = charged * retention ** np.maximum(steps - end + 1, 0)
    answers = answers_of(left, forget_gate=retention, input_gate=1.0)
    signal = np.arctanh(error) * ((steps >= begin) & (steps < end))
    return Experiment(hand_weighted(["error"], [{"integral": unit}]), channels_of(signal), answers)


ONE_UNIT_CELLS = (
    GalleryCell(
        "hold",
        "Forget gate at 1, input gate shut: what one A wrote is kept for ever.",
        "c = 1 from the A on",
        "Hochreiter & Schmidhuber 1997 (constant error carousel)",
        View((_FORGET, _INPUT), (_CELL,), letters="A"),
        _hold,
    ),
    GalleryCell(
        "leak",
        "A forget gate of 0.95 loses 5 % at every base: half is gone after 13.5 bp.",
        "c = 0.95ⁿ, n bases after the A",
        "Gers, Schmidhuber & Cummins 2000 (forget gate)",
        View((_FORGET, _INPUT), (_CELL,), letters="A"),
        _leak,
    ),
    GalleryCell(
        "latch",
        "G switches it on, C switches it off; in between it remembers which came last.",
        "c = 1 if the last of G and C was G, else 0",
        "Zhu et al. 2019 (Flagged-1-Bit test)",
        View((_FORGET, _INPUT), (_CELL,), letters="GC"),
        _latch,
    ),
    GalleryCell(
        "integrator",
        "Both gates at 1: everything that is read is added up, and nothing is lost.",
        "c = Σ tanh x",
        "Hochreiter & Schmidhuber 1997",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "signal x"}, axis="step"),
        _integrator,
    ),
    GalleryCell(
        "exponential average",
        "Input gate tied to 1 − f: a running mean, and f sets how far back it looks.",
        "c = Σ (1 − f) fᵃ tanh x, a steps ago, f = 0.85",
        "Greff et al. 2017 (coupled gates, CIFG)",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "noisy signal x"}, axis="step"),
        _exponential_average,
    ),
    GalleryCell(
        "methylation mark",
        "Copied with fidelity μ, gained at rate δ: the mark relaxes as a cell with f = μ − δ.",
        "c = p* + (1 − p*)(μ − δ)ⁿ,  μ 0.97, δ 0.03, p* 0.5",
        "Otto & Walbot 1990",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "fully marked at 0"}, axis="cell division n"),
        _methylation_mark,
    ),
    GalleryCell(
        "Kalman gain",
        "The input gate opens as far as new data deserve: wide for good reads, hardly for noise.",
        "i = P / (P + R),  c = Σ (y/R) / (1/P₀ + Σ 1/R)",
        "Kalman 1960",
        View(
            (_FORGET, _INPUT), (_CELL,), channels={1: "noise of each measurement (ln R)"}, axis="measurement"
        ),
        _kalman_gain,
    ),
    GalleryCell(
        "toggle",
        "Each pulse flips the memory: the cell reads its own output to know which way.",
        "c = −(−1)ᵏ after k pulses, 0 before the first",
        "T flip-flop of switching theory",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "pulses"}, axis="step"),
        _toggle,
    ),
    GalleryCell(
        "memory wire",
        "One A writes, 100,000 T carry it with f = 0.9999: half is left after 6,931 bp.",
        "c = fⁿ + i(1 − fⁿ)/(1 − f), n bases after the A",
        "Tallec & Ollivier 2018 (time scale of a gate)",
        View((_FORGET, _INPUT), (_CELL,), letters="A"),
        _memory_wire,
    ),
    GalleryCell(
        "gap-freeze",
        "At N nothing is read: f = 1, i = 0, and the running GC content waits unchanged.",
        "c = mean of the known bases, as if there were no gap",
        "Hochreiter & Schmidhuber 1997 (constant error carousel)",
        View((_FORGET, _INPUT), (_CELL,), letters="GCN"),
        _gap_freeze,
    ),
    GalleryCell(
        "meal-and-insulin flush",
        "Meals are written; insulin shuts the forget gate and flushes what has piled up.",
        "c = Σ meals · 0.98^(steps without) · 0.25^(with insulin)",
        "Gers, Schmidhuber & Cummins 2000 (learning to reset)",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "meals", 1: "insulin"}, axis="step"),
        _meal_and_insulin,
    ),
    GalleryCell(
        "GC counter",
        "The cell state counts every G and C; the output tanh c soon says no more than 'many'.",
        "c = number of G and C so far,  h = tanh c",
        "Karpathy, Johnson & Fei-Fei 2015 (counting cells)",
        View(
            (_FORGET, _INPUT),
            (_CELL._replace(label="c", at=33), Line("hidden", label="h", at=33)),
            letters="GC",
        ),
        _gc_counter,
    ),
    GalleryCell(
        "leaky integral of a PID controller",
        "A steady error charges the memory to 1/(1 − f) = 10 times its size; then it drains.",
        "c = e(1 − fⁿ)/(1 − f), then times fᵐ;  f 0.9, e 0.2",
        "Åström & Murray 2008 (integral action)",
        View((_FORGET, _INPUT), (_CELL,), channels={0: "error e"}, axis="step"),
        _leaky_integral,
    ),
)
