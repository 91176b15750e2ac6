"""Gates from the fused kernel's hidden states equal those of an independent float64 cell."""

import numpy as np
import pytest
import torch

from gatescope.model.cells import cells_of, fused
from gatescope.model.network import AccessibilityNetwork, NetworkConfig
from gatescope.trace import replay as replay_module
from gatescope.trace.certificate import Certificate, ReplayError
from gatescope.trace.replay import scan, trace_lstm, trace_windows
from oracles.lstm import run_lstm

FIELDS = ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden")


def make_lstm(layers=1, bidirectional=True, seed=0, width=7, hidden=5, dtype=torch.float64, bias=True):
    lstm = torch.nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=bidirectional, bias=bias)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return lstm.to(dtype).eval()


def draw(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("layers", "layer"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_gates_and_states_equal_the_oracle(layers, layer, bidirectional):
    lstm, x = make_lstm(layers, bidirectional), draw(3, 200, 7)
    weights = {name: p.detach().numpy() for name, p in lstm.named_parameters()}
    traced = trace_lstm(lstm, x, layer)
    for n in range(3):
        oracle = run_lstm(x[n].numpy(), weights, layers, 2 if bidirectional else 1)[layer]
        for field in FIELDS:
            assert np.abs(getattr(traced, field)[n].numpy() - oracle[field]).max() <= 1e-10, field


def test_float32_replay_is_certified_within_its_tolerance():
    traced = trace_lstm(make_lstm(2, dtype=torch.float32), draw(4, 500, 7, dtype=torch.float32))
    assert 0 <= traced.certificate.max_error <= 5e-6
    assert (traced.certificate.dtype, traced.certificate.positions) == ("float32", 2000)


def test_both_biases_count():
    lstm, x = make_lstm(), draw(1, 50, 7)
    before = trace_lstm(lstm, x).forget_logit
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "bias_ih" in name:
                parameter.add_(0.25)
            elif "bias_hh" in name:
                parameter.sub_(0.25)
    assert torch.allclose(before, trace_lstm(lstm, x).forget_logit, atol=1e-12)


def test_an_lstm_without_bias_can_be_traced():
    lstm, x = make_lstm(bias=False), draw(1, 60, 7)
    weights = {name: p.detach().numpy() for name, p in lstm.named_parameters()}
    zeros = {f"bias_{k}_l0{s}": np.zeros(20) for k in ("ih", "hh") for s in ("", "_reverse")}
    oracle = run_lstm(x[0].numpy(), weights | zeros, 1)[0]
    assert np.abs(trace_lstm(lstm, x).cell[0].numpy() - oracle["cell"]).max() <= 1e-10


def test_a_sequence_alone_equals_the_same_in_any_batch():
    lstm, x = make_lstm(2), draw(5, 80, 7)
    together = trace_lstm(lstm, x)
    for n in (0, 3):
        alone = trace_lstm(lstm, x[n : n + 1])
        for field in FIELDS:
            assert torch.allclose(getattr(alone, field)[0], getattr(together, field)[n], atol=1e-13), field


def test_reverse_direction_mirrors_forward():
    """With equal weights in both directions, tracing the flipped sequence swaps and flips the directions."""
    lstm = make_lstm()
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.endswith("_reverse"):
                parameter.copy_(getattr(lstm, name.removesuffix("_reverse")))
    x = draw(1, 90, 7)
    straight, flipped = trace_lstm(lstm, x), trace_lstm(lstm, x.flip(1))
    assert torch.allclose(straight.forget_logit, flipped.forget_logit.flip(1, 3), atol=1e-12)


def test_fused_kernel_holds_the_weights_it_was_given():
    lstm, x = make_lstm(bidirectional=False), draw(2, 30, 7)
    again, _ = fused(cells_of(lstm)[0])(x)
    assert torch.allclose(again, lstm(x)[0], atol=1e-14)


def test_scan_equals_the_loop():
    retention, write, c = torch.sigmoid(draw(2, 77, 3, seed=2)), draw(2, 77, 3, seed=3), draw(2, 3, seed=4)
    fast = scan(retention, write, c)
    for t in range(77):
        c = retention[:, t] * c + write[:, t]
        assert torch.allclose(fast[:, t], c, atol=1e-13)


def test_network_trace_reads_what_the_network_reads():
    """The traced hidden states, sent through the heads, give the network's own prediction."""
    config = NetworkConfig(stem_channels=6, hidden_units=4, layers=2, dropout=0.3)
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(3)).double().eval()
    codes = torch.randint(0, 4, (2, 120), generator=torch.Generator().manual_seed(5))
    one_hot = torch.nn.functional.one_hot(codes, 4).transpose(1, 2)
    hidden = trace_windows(network, one_hot, layer=1).hidden  # (N, D, H, L)
    features = hidden.flatten(1, 2).transpose(1, 2)
    expected = network(one_hot).state_logit
    assert torch.allclose(network.heads["state"](features).squeeze(2), expected, atol=1e-12)


def _swap_input_and_forget(cell, hidden=5):
    order = [*range(hidden, 2 * hidden), *range(hidden), *range(2 * hidden, 4 * hidden)]
    return cell._replace(**{name: getattr(cell, name)[order] for name in cell._fields})


MUTATIONS = {
    "swapped gate order": _swap_input_and_forget,
    "dropped bias": lambda cell: cell._replace(bias_hh=torch.zeros_like(cell.bias_hh)),
    "transposed recurrence": lambda cell: cell._replace(weight_hh=cell.weight_hh.flip(1)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_replay_fails_closed(mutation, monkeypatch):
    right = replay_module.replay
    monkeypatch.setattr(replay_module, "replay", lambda cell, *rest: right(MUTATIONS[mutation](cell), *rest))
    with pytest.raises(ReplayError, match="no gate is exported"):
        trace_lstm(make_lstm(), draw(1, 60, 7))


def test_not_a_number_fails_closed():
    with pytest.raises(ReplayError):
        Certificate(float("nan"), 10, 1.0, "float32", "cpu").checked()


@pytest.mark.parametrize("length", [128, 130])
def test_not_a_number_in_one_direction_or_in_the_last_bases_fails_closed(length):
    lstm, x = make_lstm(), draw(1, length, 7)
    x[0, length - 1] = float("nan")  # fwd reads it last, in a piece of its own if 130
    with pytest.raises(ReplayError):
        trace_lstm(lstm, x)


def test_projections_are_refused():
    lstm = torch.nn.LSTM(4, 6, proj_size=3, batch_first=True)
    with pytest.raises(ValueError, match="proj_size"):
        cells_of(lstm)
