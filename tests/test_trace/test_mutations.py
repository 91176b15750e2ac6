"""Would a wrong tracer be noticed? Each way to be wrong breaks a check against known answers.

The certificate is blinded here: it compares the replay with the kernel, and where both are wrong in the same way
(swapped rows, a dropped bias, a mislabelled gate) it cannot see it. Only the gallery and the oracle can.
"""

import itertools
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.gallery import cells as gallery_cells
from gatescope.trace import replay as tracer
from gatescope.trace.certificate import Certificate
from oracles.lstm import run_lstm

HIDDEN, LENGTH, ROWS = 4, 150, 3
FIELDS = ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden")
GALLERY = [cell for cell in gallery_cells.CELLS if cell.name != "memory wire"]  # long, and nothing more
autocast = torch.autocast  # as it is before a mutant takes it away


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def world(dtype):
    """Return a two-layer bidirectional LSTM, its inputs, and what the oracle makes of each row and layer."""
    generator = torch.Generator().manual_seed(7)
    lstm = nn.LSTM(2 * HIDDEN, HIDDEN, 2, batch_first=True, bidirectional=True)
    for parameter in lstm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    inputs = torch.randn(ROWS, LENGTH, 2 * HIDDEN, generator=generator)
    weights = {name: p.detach().double().numpy() for name, p in lstm.named_parameters()}
    oracle = [run_lstm(row.double().numpy(), weights, 2) for row in inputs]
    return lstm.to(dtype), inputs.to(dtype), oracle


def differences(dtype=torch.float64):
    """Return the largest difference to the oracle over rows, layers and fields."""
    lstm, inputs, oracle = world(dtype)
    worst = 0.0
    for layer in range(2):
        traced = tracer.trace_lstm(lstm, inputs, layer)
        for row, field in itertools.product(range(ROWS), FIELDS):
            found = getattr(traced, field)[row].double().numpy()
            worst = np.maximum(worst, np.abs(found - oracle[row][layer][field]).max())  # keeps a NaN
    return worst


def gallery_holds():
    return bool(gallery_cells.check_cells(GALLERY).ok.all())


def oracle_agrees():
    return differences() <= 1e-10


def float32_agrees_inside_autocast():
    with autocast("cpu", dtype=torch.bfloat16):
        return differences(torch.float32) <= 1e-5


CHECKS = {"gallery": gallery_holds, "oracle": oracle_agrees, "float32": float32_agrees_inside_autocast}


def failing_checks(names):
    return {name for name in names if not CHECKS[name]()}


def in_cells(change):
    """Make a mutant that changes the weights as they are read: kernel and replay are wrong together."""

    def install(monkeypatch):
        right = tracer.cells_of
        monkeypatch.setattr(
            tracer, "cells_of", lambda lstm, layer=0: [change(cell, layer) for cell in right(lstm, layer)]
        )

    return install


def in_replay(change):
    """Make a mutant of what is computed from the kernel's hidden states."""

    def install(monkeypatch):
        right = tracer.replay
        monkeypatch.setattr(tracer, "replay", lambda *arguments: change(right, *arguments))

    return install


def in_trace(change):
    """Make a mutant of the tracer as a whole, for whoever calls it."""

    def install(monkeypatch):
        right = tracer.trace_lstm
        for module in (tracer, gallery_cells):
            monkeypatch.setattr(
                module, "trace_lstm", lambda lstm, inputs, layer=-1: change(right, lstm, inputs, layer)
            )

    return install


def reordered(order):
    def change(cell, layer):
        hidden = cell.weight_hh.shape[1]
        rows = [row for gate in order for row in range(gate * hidden, (gate + 1) * hidden)]
        return type(cell)(*(tensor[rows] for tensor in cell))

    return change


def without(bias):
    return lambda cell, layer: cell._replace(**{bias: torch.zeros_like(getattr(cell, bias))})


def directions_swapped(cell, layer):
    width = cell.weight_ih.shape[1]
    return cell._replace(weight_ih=cell.weight_ih.roll(width // 2, dims=1)) if layer else cell


def names_swapped(right, *arguments):
    result = right(*arguments)
    return result._replace(input_logit=result.forget_logit, forget_logit=result.input_logit)


def logit_for_candidate(right, *arguments):
    result = right(*arguments)
    return result._replace(candidate=torch.atanh(result.candidate * (1 - 1e-9)))


def own_hidden_state(right, cell, inputs, hidden, start):
    """h_t where h_(t-1) belongs."""
    shifted = torch.cat([hidden[:, 1:], hidden[:, -1:]], dim=1)
    return right(cell, inputs, shifted, (hidden[:, 0], start[1]))._replace(hidden=hidden)


def two_steps_late(right, cell, inputs, hidden, start):
    """h_(t-2) where h_(t-1) belongs."""
    shifted = torch.cat([start[0][:, None], hidden[:, :-1]], dim=1)
    return right(cell, inputs, shifted, start)._replace(hidden=hidden)


def another_row(right, cell, inputs, hidden, start):
    return right(cell, inputs, hidden.roll(1, dims=0), start)._replace(hidden=hidden)


def not_flipped_back(right, lstm, inputs, layer):
    trace = right(lstm, inputs, layer)
    if not lstm.bidirectional:
        return trace
    turned = [torch.cat([field[:, :1], field[:, 1:].flip(3)], dim=1) for field in trace[: len(FIELDS)]]
    return type(trace)(*turned, *trace[len(FIELDS) :])


def raw_input(right, lstm, inputs, layer):
    """Each layer reads what the first one reads."""
    layer = range(lstm.num_layers)[layer]
    width = getattr(lstm, f"weight_ih_l{layer}").shape[1]
    if layer == 0 or width != inputs.shape[2]:
        return right(lstm, inputs, layer)
    alone = nn.LSTM(width, lstm.hidden_size, batch_first=True, bidirectional=True).to(inputs.dtype)
    for name, parameter in alone.named_parameters():
        parameter.data = getattr(lstm, name.replace("_l0", f"_l{layer}")).data
    return right(alone, inputs, 0)


def layer_below(right, lstm, inputs, layer):
    return right(lstm, inputs, max(range(lstm.num_layers)[layer] - 1, 0))


#: Which mutant, and which checks have to fail. The gallery has one sequence at a time and float64 only.
MUTANTS = {
    "rows of i and f swapped": (in_cells(reordered([1, 0, 2, 3])), {"gallery", "oracle"}),
    "rows in TensorFlow's order": (in_cells(reordered([0, 2, 1, 3])), {"gallery", "oracle"}),
    "names of i and f swapped": (in_replay(names_swapped), {"gallery", "oracle"}),
    "candidate before its tanh": (in_replay(logit_for_candidate), {"oracle"}),
    "bias_hh dropped": (in_cells(without("bias_hh")), {"gallery", "oracle"}),
    "bias_ih dropped": (in_cells(without("bias_ih")), {"gallery", "oracle"}),
    "h of the same position": (in_replay(own_hidden_state), {"gallery", "oracle"}),
    "h of two positions before": (in_replay(two_steps_late), {"gallery", "oracle"}),
    "h of another batch row": (in_replay(another_row), {"oracle"}),
    "reverse read left to right": (
        lambda monkeypatch: monkeypatch.setattr(torch.Tensor, "flip", lambda tensor, *dims: tensor),
        {"gallery", "oracle"},
    ),
    "reverse left in reading order": (in_trace(not_flipped_back), {"gallery", "oracle"}),
    "layer reads the directions swapped": (in_cells(directions_swapped), {"gallery", "oracle"}),
    "layer reads the raw input": (in_trace(raw_input), {"oracle"}),
    "layer below traced": (in_trace(layer_below), {"gallery", "oracle"}),
    "autocast left on": (
        lambda monkeypatch: monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext()),
        {"float32"},
    ),
}


def test_the_right_tracer_passes_every_check():
    assert failing_checks(CHECKS) == set()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_tracer_is_noticed(mutant, monkeypatch):
    install, must_fail = MUTANTS[mutant]
    monkeypatch.setattr(Certificate, "checked", lambda certificate: certificate)
    install(monkeypatch)
    assert failing_checks(must_fail) == must_fail
