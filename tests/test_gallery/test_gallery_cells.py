"""Hand-weighted cells come out as their formulas say, and the formulas as an independent LSTM and the literature."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import nn

from gatescope.gallery.cells import CELLS, TOLERANCE, check_cells, tabulate
from gatescope.gallery.circuits import _DWELL_BP, _LEVELS, _RELAY, _WORTHWHILE_JUMP
from gatescope.gallery.hand import OPEN, SHUT, channels_of, hand_weighted
from gatescope.trace.replay import trace_lstm
from oracles.lstm import run_lstm, sigmoid

BY_NAME = {cell.name: cell for cell in CELLS}
NAMES = list(BY_NAME)
WIRE = "memory wire"


def test_there_are_twenty_with_everything_a_reader_needs():
    assert len(NAMES) == 20
    for cell in CELLS:
        assert cell.lesson.endswith(".") and cell.formula and cell.source and cell.plotted.states


@pytest.mark.parametrize("name", NAMES)
def test_traced_equals_formula_by_every_route(outcomes, name):
    outcome = outcomes[name]
    assert set(outcome.routes) == {"windows", "contig", "segments"}
    assert set(outcome.errors) == {"cell", "hidden", "forget_gate", "input_gate", "output_gate"}
    assert max(outcome.errors.values()) <= TOLERANCE
    for traced, quantity in itertools.product(outcome.routes.values(), outcome.errors):
        answer = np.broadcast_to(outcome.experiment.answers[quantity], traced[quantity].shape)
        assert np.abs(traced[quantity] - answer).max() <= TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_segments_start_from_wrong_guesses_and_end_right(outcomes, name):
    for seams in outcomes[name].seams:
        assert seams.segments > 4 and seams.reruns > 0
        assert seams.largest_seam <= seams.tolerance == TOLERANCE


def test_the_wire_has_a_hundred_seams(outcomes):
    (seams,) = outcomes[WIRE].seams
    assert (seams.segment_bp, seams.segments) == (997, 101)
    assert seams.reruns > 63 and seams.contraction > 0.5  # half is left after 6,931 bp: no burn-in helps


@pytest.mark.parametrize("name", [name for name in NAMES if name != WIRE])
def test_formula_and_trace_equal_the_oracle(outcomes, name):
    """The weights, as an LSTM of float64 NumPy reads them, give the same: neither torch nor the tracer is believed."""
    outcome = outcomes[name]
    lstm = outcome.experiment.lstm
    weights = {key: value.detach().numpy() for key, value in lstm.named_parameters()}
    inputs = outcome.experiment.inputs[0].numpy()
    found = run_lstm(inputs, weights, lstm.num_layers, 2 if lstm.bidirectional else 1)[-1]
    found |= {f"{gate}_gate": sigmoid(found[f"{gate}_logit"]) for gate in ("input", "forget", "output")}
    for quantity, traced in outcome.traced.items():
        assert np.abs(traced - found[quantity]).max() <= TOLERANCE
    for quantity, answer in outcome.experiment.answers.items():
        assert np.abs(answer - found[quantity]).max() <= TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_float64(name):
    experiment = BY_NAME[name].build()
    assert {p.dtype for p in experiment.lstm.parameters()} == {experiment.inputs.dtype} == {torch.float64}


@pytest.mark.parametrize("name", [name for name in NAMES if name != WIRE])
def test_the_check_notices_twice_its_tolerance(name):
    cell = BY_NAME[name]

    def build():
        experiment = cell.build()
        wrong = {quantity: answer + 2 * TOLERANCE for quantity, answer in experiment.answers.items()}
        return dataclasses.replace(experiment, answers=wrong)

    table = check_cells([dataclasses.replace(cell, build=build)])
    assert len(table) and not table.ok.any()


def test_weights_of_float32_are_noticed():
    cell = BY_NAME["leak"]

    def build():
        experiment = cell.build()
        experiment.lstm.float().double()
        return experiment

    assert check_cells([dataclasses.replace(cell, build=build)]).max_error[0] > 1e-9


def test_a_value_that_is_not_a_number_is_no_agreement(outcomes):
    right = outcomes["hold"]
    for route in right.routes:
        broken = {name: values.copy() for name, values in right.routes[route].items()}
        broken["cell"][0, 0, 3] = math.nan
        table = tabulate([dataclasses.replace(right, routes={**right.routes, route: broken})])
        assert table[~table.ok].quantity.tolist() == ["cell"] and np.isinf(table.max_error).sum() == 1


def test_what_is_held_is_held_to_the_bit(outcomes):
    """As the kernel shows it; the replay's scan adds in another order and may differ in the last bit."""
    assert set(outcomes["hold"].traced["cell"][0, 0, 6:]) == {1.0}
    shown, sequence = (
        outcomes["gap-freeze"].traced["hidden"][0, 0],
        outcomes["gap-freeze"].experiment.sequence,
    )
    first, last = sequence.index("N"), sequence.rindex("N")
    assert set(shown[first - 1 : last + 1]) == {shown[first - 1]} and shown[last + 1] != shown[last]


def test_numbers_of_the_literature(outcomes):
    wire = outcomes[WIRE].traced["cell"][0, 0]
    assert wire[[1_000, 10_000, 100_000]] == pytest.approx([0.90483, 0.36786, 4.54e-5], rel=1e-3)
    assert np.argmax(wire < 0.5) == 6_932  # half-life 6,931.1 bp
    assert outcomes[WIRE].traced["hidden"][0, 0, 10_000] == pytest.approx(0.3521, abs=5e-5)
    assert np.argmax(outcomes["leak"].traced["cell"][0, 0, 6:] < 0.5) == 14  # 13.5 bp
    queue = outcomes["FIFO queue of three slots"].traced
    stored_then_shown = ("cell", "hidden")
    squeezed = [queue[kind][0, slot, 4 + 10 * slot] for slot in range(3) for kind in stored_then_shown]
    assert squeezed[:4] == pytest.approx([0.9640, 0.7461, 0.6328, 0.5600], abs=5e-5)
    mark = outcomes["methylation mark"].traced["cell"][0, 0]
    assert mark[11] > 0.75 > mark[12]  # 11.2 divisions until half of the way to 0.5


def test_kalman_gain_is_the_textbooks():
    lstm = BY_NAME["Kalman gain"].build().lstm
    variance = np.array([0.1, 1.0, 10.0])
    trace = trace_lstm(lstm, channels_of(np.log(np.full(3, 0.4)), np.log(variance), np.zeros(3)))
    gain = torch.sigmoid(trace.input_logit)[0, 0, 0].numpy()
    assert gain == pytest.approx([0.8, 0.285714, 0.0384615], rel=1e-5)


@pytest.mark.parametrize("name", ["exponential average", "methylation mark", "Kalman gain", "gap-freeze"])
def test_coupled_gates_sum_to_one_and_keep_the_memory_among_its_candidates(outcomes, name):
    traced = outcomes[name].traced
    assert np.abs(traced["input_gate"] + traced["forget_gate"] - 1).max() < 1e-15
    experiment = outcomes[name].experiment
    candidate = trace_lstm(experiment.lstm, experiment.inputs).candidate.abs().max().item()
    assert np.abs(traced["cell"]).max() <= candidate + 1e-15


def _optimal_writes(signal, cost):
    """Return where a memory that pays `cost` per write takes over the signal, by trying every last write."""
    best = [(0.0, ())]
    for end in range(1, len(signal) + 1):
        held = [(np.sum(signal[:end] ** 2), ())]  # never written: holds 0
        for write in range(end):
            before, writes = best[write]
            misfit = np.sum((signal[write:end] - signal[write]) ** 2)
            held.append((before + cost + misfit, (*writes, write)))
        best.append(min(held))
    return best[-1][1]


def test_bursts_stand_where_writing_pays(outcomes):
    """The jumps that the cell writes are those of the penalised optimum (exact, by dynamic programming)."""
    signal = np.repeat(_LEVELS, _DWELL_BP)
    optimal = _optimal_writes(signal, _DWELL_BP * _WORTHWHILE_JUMP**2)
    gate = outcomes["write-cost burst"].traced["input_gate"][0, 2] > 0.5
    begins = np.flatnonzero(gate & ~np.roll(gate, 1))
    assert tuple(begins - (begins > 0)) == optimal  # known one position late, but for the first
    assert gate.sum() == 2 * len(optimal)


def test_the_memory_behind_the_shield_never_notices():
    experiment = BY_NAME["reliability shield"].build()
    inputs = experiment.inputs.clone().requires_grad_()
    hidden, _ = experiment.lstm(inputs)
    (memory,) = torch.autograd.grad(hidden[..., 0].sum(), inputs, retain_graph=True)
    (reader,) = torch.autograd.grad(hidden[..., 1].sum(), inputs)
    assert memory[..., 1].abs().max() == 0
    assert reader[..., 1].abs().max() > 1


def test_a_shield_inside_the_recurrence_destroys_the_memory():
    """The same memory with its own output gate shut at poor coverage forgets: hence the separate read gate."""
    experiment = BY_NAME["reliability shield"].build()
    unit = {
        **_RELAY,
        "g": {"mark": 100.0, "h(memory)": 60.0},
        "o": {"bias": -8 * 16.0, "coverage": 16 * 16.0},
    }
    cell = trace_lstm(hand_weighted(["mark", "coverage"], [{"memory": unit}]), experiment.inputs).cell[
        0, 0, 0
    ]
    assert cell[3] == 1 and cell[15:30].abs().max() < 1e-6


def test_what_the_shield_lets_through_at_no_coverage(outcomes):
    outcome = outcomes["reliability shield"]
    shown = np.abs(outcome.traced["hidden"][0, 1])[outcome.experiment.inputs[0, :, 1].numpy() < 1e-9]
    assert len(shown) == 3 and shown.max() <= sigmoid(-16.0 * 0.5) * math.tanh(1)


def test_the_leaky_integral_is_a_first_order_filter():
    """P2: step response (1 - f^n) / (1 - f), and 3 dB less than at DC where cos w = (4f - 1 - f^2) / (2f)."""
    retention, small, steps = 0.9, 1e-5, np.arange(2_000)
    lstm = BY_NAME["leaky integral of a PID controller"].build().lstm
    cutoff = math.acos((4 * retention - 1 - retention**2) / (2 * retention))
    for signal, gain in ((np.ones(2_000), 1.0), (np.cos(cutoff * steps), math.sqrt(0.5))):
        cell = trace_lstm(lstm, channels_of(small * signal)).cell[0, 0, 0].numpy()
        assert np.abs(cell[500:]).max() * (1 - retention) / small == pytest.approx(gain, rel=1e-3)


def test_null_detectors_find_the_autocorrelation_of_a_signal():
    """P5: on AR(1) with 100,000 values the mean write changes sign within 0.01 of the true autocorrelation."""
    rho, silent_at = 0.6, np.array([0.5, 0.55, 0.65, 0.7])
    noise = np.random.default_rng(5).standard_normal((100, 1_101)) * math.sqrt(1 - rho**2)
    values = lfilter([1.0], [1.0, -rho], noise)[:, 100:]
    units = {
        f"{at}": {"i": {"before": 1.5}, "f": {"bias": OPEN}, "g": {"now": 1.5, "before": -1.5 * at}}
        for at in silent_at
    }
    lstm = hand_weighted(["before", "now"], [units])
    with torch.no_grad():
        _, (_, state) = lstm(torch.from_numpy(np.stack([values[:, :-1], values[:, 1:]], axis=2)))
    mean_write = state[0].mean(0).numpy()
    assert (np.diff(mean_write) < 0).all()
    assert np.interp(0, -mean_write, silent_at) == pytest.approx(rho, abs=0.01)


def test_hand_weights_go_where_their_names_say():
    rows = {"i": {"bias": 1.0}, "f": {"x": 2.0}, "g": {"h(b)": 3.0}, "o": {"y": 4.0}}
    lstm = hand_weighted(["x", "y"], [{"a": rows, "b": {}}])
    assert lstm.weight_ih_l0.tolist() == [[0, 0]] * 2 + [[2, 0], [0, 0]] + [[0, 0]] * 2 + [[0, 4], [0, 0]]
    assert lstm.weight_hh_l0.tolist() == [[0, 0]] * 4 + [[0, 3], [0, 0]] + [[0, 0]] * 2
    both = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert both.tolist() == [1, 0, 0, 0, 0, 0, 0, OPEN]
    assert lstm.bias_hh_l0[0] == 0.5


def test_a_name_that_is_nowhere_is_refused():
    with pytest.raises(ValueError, match="'z' is none of"):
        hand_weighted(["x"], [{"a": {"i": {"z": 1.0}}}])


def test_making_a_cell_draws_no_random_number():
    before = torch.random.get_rng_state()
    hand_weighted(["x"], [{"a": {}}])
    assert torch.equal(before, torch.random.get_rng_state())


def test_open_and_shut_are_what_they_are_said_to_be():
    gates = torch.sigmoid(torch.tensor([OPEN, SHUT], dtype=torch.float64))
    assert gates[0] == 1 and 4.2e-18 < gates[1] < 4.3e-18
    assert isinstance(BY_NAME["hold"].build().lstm, nn.LSTM)
