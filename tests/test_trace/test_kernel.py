"""Gates out of the kernel's workspace are those of the replay; where they are not, the replay answers."""

import logging

import numpy as np
import pytest
import torch

from gatescope.model.cells import LSTMCell, cells_of
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace import kernel as module
from gatescope.trace.kernel import Tracer
from oracles.lstm import run_direction

FIELDS = ("input", "forget", "candidate", "output", "cell", "hidden")


def make(steps, rows, width, hidden, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4 * hidden, width), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
    cell = LSTMCell(*(torch.randn(shape, generator=generator, dtype=dtype) * 0.3 for shape in shapes))
    inputs = torch.randn(steps, rows, width, generator=generator, dtype=dtype)
    state = torch.randn(2, rows, hidden, generator=generator, dtype=dtype)
    return cell, inputs, (torch.tanh(state[0]), 3 * state[1])


def trace(cell, inputs, state, **options):
    with exact_arithmetic():
        return Tracer(cell, **options).trace(inputs, state)


@pytest.mark.parametrize(
    "shape", [(50, 32, 48, 32), (50, 7, 20, 50), (300, 1, 12, 64), (2, 3, 5, 4), (1, 2, 5, 4)]
)
def test_workspace_and_replay_agree(shape):
    cell, inputs, state = make(*shape)
    fast, after = trace(cell, inputs, state)
    slow, expected = trace(cell, inputs, state, use_workspace=False)
    for name in FIELDS:
        scale = getattr(slow, name).abs().clamp(min=1)
        assert float(((getattr(fast, name) - getattr(slow, name)) / scale).abs().max()) < 2e-6, name
    for one, other in zip(after, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert max(fast.error, slow.error) < 5e-6


@pytest.mark.parametrize("use_workspace", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_equal_the_oracle(dtype, use_workspace):
    """Over more steps than one anchored piece, row by row, against one gate at a time."""
    cell, inputs, _ = make(150, 3, 6, 5, dtype)
    zero = torch.zeros(3, 5, dtype=dtype)
    steps, _ = trace(cell, inputs, (zero, zero), use_workspace=use_workspace)
    weights = [tensor.double().numpy() for tensor in cell.weights]
    for row in range(3):
        oracle = run_direction(inputs[:, row].double().numpy(), *weights)
        oracle |= {name: 1 / (1 + np.exp(-oracle[f"{name}_logit"])) for name in ("input", "forget", "output")}
        for name in FIELDS:
            found = getattr(steps, name)[:, row].double().numpy()
            assert np.abs(found - oracle[name]).max() < (1e-12 if dtype == torch.float64 else 1e-5), name


def test_the_workspace_is_used_where_it_can_be():
    """Most positions are then taken from it, not replayed; float64 has no such kernel."""
    steps, _ = trace(*make(100, 4, 6, 8))
    assert 0 < steps.checked <= 4
    steps, _ = trace(*make(100, 4, 6, 8, torch.float64))
    assert steps.checked == 100 * 4


def test_a_workspace_without_gates_is_replayed(monkeypatch, caplog):
    expected, _ = trace(*make(60, 4, 6, 8))
    monkeypatch.setattr(module, "_find_layout", lambda *arrays: None)
    with caplog.at_level(logging.INFO, "gatescope"):
        found, _ = trace(*make(60, 4, 6, 8))
    assert found.checked == 60 * 4
    assert torch.allclose(found.cell, expected.cell, atol=1e-5)
    assert "replaying" in caplog.text


@pytest.mark.parametrize("moved", ["gates", "cells"])
def test_a_workspace_that_no_longer_fits_is_replayed(moved, caplog):
    """The layout was right once; then the kernel changes its mind."""
    cell, inputs, state = make(60, 4, 6, 8)
    with exact_arithmetic():
        tracer = Tracer(cell)
        expected, _ = tracer.trace(inputs, state)
        ((shape, layout),) = tracer._layouts.items()
        tracer._layouts[shape] = layout._replace(**{moved: getattr(layout, moved) + 1})
        with caplog.at_level(logging.WARNING, "gatescope"):
            found, _ = tracer.trace(inputs, state)
        assert found.checked == 60 * 4 and found.error < 5e-6
        assert torch.allclose(found.forget, expected.forget, atol=1e-5)
        assert "differs from the replay" in caplog.text
        again, _ = tracer.trace(inputs, state)
        assert again.checked == 60 * 4  # not tried again


def test_forget_logits_are_those_of_the_gates():
    cell, inputs, state = make(80, 3, 6, 8, torch.float64)
    steps, _ = trace(cell, inputs, state)
    logits = Tracer(cell).forget_logits(inputs, state, steps.hidden)
    assert torch.allclose(torch.sigmoid(logits), steps.forget, atol=1e-14)


def test_carried_state_equals_one_call():
    cell, inputs, state = make(90, 2, 6, 8, torch.float64)
    whole, after = trace(cell, inputs, state)
    first, middle = trace(cell, inputs[:37], state)
    second, end = trace(cell, inputs[37:], middle)
    assert torch.allclose(torch.cat([first.cell, second.cell]), whole.cell, atol=1e-13)
    assert all(torch.allclose(one, other, atol=1e-13) for one, other in zip(after, end, strict=True))
    assert all(
        torch.allclose(one, other, atol=1e-13)
        for one, other in zip(cell.run(inputs, state)[1], after, strict=True)
    )


def test_a_network_that_yields_nonsense_has_an_infinite_error():
    cell, inputs, state = make(60, 4, 6, 8)
    inputs[30, 1] = float("nan")
    steps, _ = trace(cell, inputs, state)
    assert steps.error == float("inf")


def test_cells_of_a_bidirectional_layer_are_told_apart():
    lstm = torch.nn.LSTM(3, 4, bidirectional=True)
    fwd, rev = cells_of(lstm)
    assert torch.equal(fwd.weight_ih, lstm.weight_ih_l0)
    assert torch.equal(rev.weight_ih, lstm.weight_ih_l0_reverse)
