"""Would gates misread from the kernel's workspace be noticed? By the samples of each call, and by the oracle.

Most mutants come twice: the check of samples has to find them ("in use" fails, the replay answers instead), and where
that check is taken away, the oracle.
"""

import inspect
import itertools
from functools import cache

import numpy as np
import pytest
import torch

from gatescope.model.cells import LSTMCell
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace import kernel
from gatescope.trace.kernel import Tracer
from mutants import failing, patch, together, value
from oracles.lstm import run_direction, sigmoid

HIDDEN, WIDTH, LENGTH, ROWS = 4, 8, 150, 3
GATES = ("input", "forget", "output")
#: Bases of one call of the kernel, and calls: enough that each row of a call is among the samples once.
CALL, CALLS = 10, 80
SEEDS = itertools.count(100)


@cache
def make_cell():
    generator = torch.Generator().manual_seed(7)
    shapes = ((4 * HIDDEN, WIDTH), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,), (4 * HIDDEN,))
    return LSTMCell(*(torch.randn(shape, generator=generator) * 0.5 for shape in shapes))


def read_in_calls(inputs, calls):
    """Read rows over and over with the state carried; yield the first base, steps and forget logits of each call."""
    reader, state = Tracer(make_cell()), (torch.zeros(ROWS, HIDDEN), torch.zeros(ROWS, HIDDEN))
    for call in range(calls):
        first = call * CALL % LENGTH
        part = inputs[:, first : first + CALL].transpose(0, 1).contiguous()
        with exact_arithmetic():
            steps, after = reader.trace(part, state)
            yield first, steps, reader.forget_logits(part, state, steps.hidden)
        state = after


def draw_fresh():
    """Return inputs that nobody has read before: freed memory must not hold what the workspace is searched for."""
    return torch.randn(ROWS, LENGTH, WIDTH, generator=torch.Generator().manual_seed(next(SEEDS)))


def workspace_agrees():
    """Gates and states are the oracle's, whoever gave them."""
    inputs = draw_fresh()
    weights = [tensor.double().numpy() for tensor in make_cell().weights]
    oracle = [run_direction(row.double().numpy(), *weights) for row in inputs]
    for row in oracle:
        row |= {gate: sigmoid(row[f"{gate}_logit"]) for gate in GATES}
    return all(
        np.abs(array[:, row].numpy() - oracle[row][name][first : first + CALL]).max() <= 1e-5
        for first, steps, logits in read_in_calls(inputs, LENGTH // CALL)
        for row in range(ROWS)
        for name, array in {**steps._asdict(), "forget_logit": logits}.items()
        if name in oracle[row]
    )


def workspace_is_used():
    """Most rows are taken from it in every call: no sample has ever differed."""
    return all(steps.checked < ROWS * CALL for _, steps, _ in read_in_calls(draw_fresh(), CALLS))


CHECKS = {"oracle": workspace_agrees, "in use": workspace_is_used}


def zeros(state):
    return tuple(torch.zeros_like(part) for part in state)


def in_workspace(change):
    """Make a mutant of what is read from the workspace: gates (T B, 4, H), cells (T B, H), before they are checked."""

    def check(right, self, inputs, state, hidden, gates, cells):
        change(gates, cells, hidden.shape[1])
        return right(self, inputs, state, hidden, gates, cells)

    return patch(Tracer, "_check", check)


def ends_of_another_row(right, *args):
    steps, (h, c) = right(*args)
    return steps, (h.roll(1, 0), c.roll(1, 0))


def from_zero(right, weights, inputs, state):
    """A kernel that forgets the state it is given, but for the probe, which would find out."""
    is_probe = any(frame.function == "_probe" for frame in inspect.stack()[1:4])
    return right(weights, inputs, state if is_probe else zeros(state))


#: Wrong in every row of every call, and so in the first sample: nothing wrong is handed on.
EVERYWHERE = {
    "i and f swapped": in_workspace(lambda gates, *_: gates.copy_(gates[:, [1, 0, 2, 3]])),
    "TensorFlow's order": in_workspace(lambda gates, *_: gates.copy_(gates[:, [0, 2, 1, 3]])),
    "gates of another row": in_workspace(lambda gates, *_: gates.copy_(gates.roll(1, 0))),
    "gates of another unit": in_workspace(lambda gates, *_: gates.copy_(gates.roll(1, 2))),
    "gates of the base before": in_workspace(lambda gates, _, rows: gates.copy_(gates.roll(rows, 0))),
    "c of the base before": in_workspace(lambda _, cells, rows: cells.copy_(cells.roll(rows, 0))),
    "c of another row": in_workspace(lambda _, cells, rows: cells.copy_(cells.roll(1, 0))),
}
#: Wrong at one end of each call, where not every call has a sample.
AT_AN_END = {
    "last c not filled in": in_workspace(lambda _, cells, rows: cells[-rows:].zero_()),
    "each call from zero": patch(kernel, "_call", from_zero),
}
NO_CHECK = patch(Tracer, "_check", lambda right, *_: (0.0, 1))

MUTANTS = {
    **{name: (mutant, {"in use"}) for name, mutant in EVERYWHERE.items()},
    **{name: (mutant, {"in use", "oracle"}) for name, mutant in AT_AN_END.items()},
    **{
        f"{name}, no check": (together(NO_CHECK, mutant), {"oracle"})
        for name, mutant in (EVERYWHERE | AT_AN_END).items()
    },
    "each call from zero, first base not checked": (
        together(value(kernel, "_FIRST_BASE_EVERY", 10**9), AT_AN_END["each call from zero"]),
        {"oracle"},
    ),
    "samples replayed from zero": (
        patch(Tracer, "_check", lambda right, self, x, state, *read: right(self, x, zeros(state), *read)),
        {"in use"},
    ),
    "state of another row handed on": (patch(Tracer, "_read_workspace", ends_of_another_row), {"oracle"}),
    "forget logits without the state carried": (
        patch(kernel, "hidden_before", lambda right, hidden, first: right(hidden, torch.zeros_like(first))),
        {"oracle"},
    ),
    "forget logits of the input gate": (
        patch(LSTMCell, "_rows", lambda right, self, gates: right(self, "i" if gates == "f" else gates)),
        {"oracle"},
    ),
}


def test_the_right_workspace_passes_every_check():
    assert failing(CHECKS, CHECKS) == set()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_workspace_read_wrongly_is_noticed(mutant, monkeypatch):
    install, must_fail = MUTANTS[mutant]
    install(monkeypatch)
    assert failing(CHECKS, CHECKS) == must_fail
