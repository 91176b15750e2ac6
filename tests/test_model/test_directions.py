"""Directions side by side: torch's own layer is the oracle."""

import copy

import pytest
import torch
from torch import nn

from gatescope.model import directions
from gatescope.model.directions import read_out, run_layer, use_cores
from gatescope.model.tied import TiedLSTM
from hardware import needs_bfloat16

N, L, C, H, K = 3, 40, 6, 5, 2


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def cores(request):
    use_cores(request.param)
    yield request.param
    use_cores(1)


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(5)


def layer(kind, dtype, draw):
    lstm = {
        "plain": lambda: nn.LSTM(C, H, batch_first=True, bidirectional=True),
        "coupled": lambda: TiedLSTM(C, H, coupled=True, same_strands=False),
        "same strands": lambda: TiedLSTM(C, H, coupled=False, same_strands=True),
    }[kind]().to(dtype)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.normal_(0, 0.5, generator=draw)
    return lstm


def gradients(found, gradient, inputs, lstm, *others):
    wanted = [inputs, *(each for each in lstm.parameters() if each.requires_grad), *others]
    return torch.autograd.grad((found * gradient).sum(), wanted)


@pytest.mark.parametrize("kind", ["plain", "coupled", "same strands"])
def test_hidden_states_and_gradients_are_those_of_torch(kind, cores, draw):
    lstm = layer(kind, torch.float64, draw)
    inputs = torch.randn(N, L, C, generator=draw, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(N, L, 2 * H, generator=draw, dtype=torch.float64)
    wanted, found = lstm(inputs)[0], run_layer(lstm, inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    pairs = zip(
        gradients(found, gradient, inputs, lstm), gradients(wanted, gradient, inputs, lstm), strict=True
    )
    for ours, theirs in pairs:
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_readout_is_the_product_with_what_is_shown(cores, draw):
    lstm = layer("plain", torch.float64, draw)
    inputs = torch.randn(N, L, C, generator=draw, dtype=torch.float64, requires_grad=True)
    readout = torch.randn(K, 2 * H, generator=draw, dtype=torch.float64, requires_grad=True)
    shown = torch.rand(N, 2 * H, generator=draw, dtype=torch.float64) * 2
    gradient = torch.randn(N, L, K, generator=draw, dtype=torch.float64)
    wanted = torch.einsum("nlc,nc,kc->nlk", lstm(inputs)[0], shown, readout)
    found = run_layer(lstm, inputs, shown, readout)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    ours, theirs = (gradients(each, gradient, inputs, lstm, readout) for each in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    everything = torch.einsum("nlc,kc->nlk", lstm(inputs)[0], readout)
    torch.testing.assert_close(run_layer(lstm, inputs, None, readout), everything, rtol=1e-12, atol=1e-12)
    masked = run_layer(lstm, inputs, shown)
    torch.testing.assert_close(masked, lstm(inputs)[0] * shown[:, None], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "low", [False, pytest.param(True, marks=needs_bfloat16)], ids=["float32", "bfloat16"]
)
def test_a_second_core_changes_no_bit(low, draw):
    lstm = layer("plain", torch.float32, draw)
    inputs = torch.randn(N, L, C, generator=draw, requires_grad=True)
    readout = torch.randn(K, 2 * H, generator=draw, requires_grad=True)
    results = []
    for count in (1, 2, 2):
        use_cores(count)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found = run_layer(lstm, inputs, None, readout)
        results.append(
            (found, *torch.autograd.grad(found.square().sum(), [inputs, readout, *lstm.parameters()]))
        )
    use_cores(1)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@needs_bfloat16
def test_autocast_reaches_the_second_thread_and_not_the_readout(draw):
    lstm = layer("plain", torch.float32, draw)
    inputs = torch.randn(N, L, C, generator=draw)
    use_cores(2)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, wanted = run_layer(lstm, inputs), lstm(inputs)[0]
        said = run_layer(lstm, inputs, None, torch.eye(2 * H))
    use_cores(1)
    assert hidden.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(hidden, wanted, rtol=0, atol=0)
    assert said.dtype == torch.float32
    torch.testing.assert_close(said, hidden.float(), rtol=0, atol=0)


def test_what_needs_no_gradient_gets_none(cores, draw):
    lstm = layer("plain", torch.float64, draw)
    bases = torch.randn(
        N, L, C, generator=draw, dtype=torch.float64
    )  # one-hot: nothing in front of the layer
    found = run_layer(lstm, bases)
    found.sum().backward()
    assert bases.grad is None
    assert all(parameter.grad is not None for parameter in lstm.parameters())
    with torch.no_grad():
        assert not run_layer(lstm, bases).requires_grad
    lstm.requires_grad_(False)
    inputs = bases.clone().requires_grad_()
    run_layer(lstm, inputs).sum().backward()
    assert inputs.grad is not None


@pytest.mark.parametrize("fails_in_reverse", [False, True])
def test_an_error_of_either_direction_is_told(cores, draw, monkeypatch, fails_in_reverse):
    lstm = layer("plain", torch.float64, draw)
    inputs = torch.randn(N, L, C, generator=draw, dtype=torch.float64)
    right = directions._run_direction

    def fail(*arguments, is_reverse):
        if is_reverse == fails_in_reverse:
            raise MemoryError("no memory")
        return right(*arguments, is_reverse=is_reverse)

    monkeypatch.setattr(directions, "_run_direction", fail)
    with pytest.raises(MemoryError, match="no memory"):
        run_layer(lstm, inputs)


def test_read_out_is_one_matrix_product(draw):
    hidden = torch.randn(N, L, H, generator=draw)
    readout = torch.randn(K, H, generator=draw)
    torch.testing.assert_close(read_out(hidden, None, readout), hidden @ readout.T)
    assert read_out(hidden, None, None) is hidden


def test_a_copy_of_a_network_runs(cores, draw):
    lstm = layer("plain", torch.float64, draw)
    inputs = torch.randn(N, L, C, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(
        run_layer(copy.deepcopy(lstm), inputs), run_layer(lstm, inputs), rtol=0, atol=0
    )
