"""Gates from the fused kernel's hidden states equal those of an independent float64 cell."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatescope.model.cells import LSTMCell, cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.trace import replay as replay_module
from gatescope.trace.certificate import Certificate, ReplayError
from gatescope.trace.replay import trace_cells, trace_lstm, trace_windows
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


def test_a_cell_runs_on_the_weights_it_was_given():
    lstm, x = make_lstm(bidirectional=False), draw(2, 30, 7)
    zero = torch.zeros(2, 5, dtype=torch.float64)
    hidden, (h, c) = cells_of(lstm)[0].run(x.transpose(0, 1), (zero, zero))
    expected, (h_n, c_n) = lstm(x)
    assert torch.allclose(hidden.transpose(0, 1), expected, atol=1e-14)
    assert torch.allclose(h, h_n[0], atol=1e-14) and torch.allclose(c, c_n[0], atol=1e-14)


@pytest.mark.parametrize("layer", [0, 1])
def test_sequences_of_different_lengths_equal_each_by_itself(layer):
    """What lies beyond an end is not read, whatever it is; the reverse direction starts at the true end."""
    lstm, x, lengths = make_lstm(2), draw(4, 150, 7), [150, 1, 64, 97]
    padded = x.clone()
    for n, length in enumerate(lengths):
        padded[n, length:] = torch.nan
    together = trace_lstm(lstm, padded, layer, lengths=lengths)
    assert together.certificate.positions == sum(lengths)
    for n, length in enumerate(lengths):
        alone = trace_lstm(lstm, x[n : n + 1, :length], layer)
        for field in FIELDS:
            found = getattr(together, field)[n]
            assert torch.allclose(found[..., :length], getattr(alone, field)[0], atol=1e-13), field
            assert found[..., length:].isnan().all(), field


def test_sequences_of_different_lengths_equal_torch_s_packed_ones():
    lstm, x, lengths = make_lstm(2), draw(3, 90, 7), [40, 90, 3]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)
    hidden = trace_lstm(lstm, x, lengths=lengths).hidden.flatten(1, 2).transpose(1, 2)
    assert torch.allclose(hidden.nan_to_num(), expected, atol=1e-13)


@pytest.mark.parametrize("lengths", [[5, 0], [5, 11], [5]])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="2 sequences of 1 to 10 bases"):
        trace_lstm(make_lstm(), draw(2, 10, 7), lengths=lengths)


# other cells: the seam is `gatescope.model.cells.Cell`


class CoupledCell:
    """An LSTM whose input gate is one minus its forget gate, run base by base."""

    def __init__(self, weights):
        self.weights = weights

    @property
    def zero_state(self):
        return self.weights.zero_state

    def logits(self, inputs, before, gates="ifgo"):
        _, f, g, o = self.weights.logits(inputs, before).unbind(-2)
        return torch.stack([{"i": -f, "f": f, "g": g, "o": o}[gate] for gate in gates], -2)

    def show(self, output, cell):
        return output * torch.tanh(cell)

    def run(self, inputs, state):
        h, c = state
        hidden = []
        for x in inputs:
            _, f, g, o = self.weights.logits(x, h).unbind(-2)
            c = torch.sigmoid(f) * c + (1 - torch.sigmoid(f)) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hidden.append(h)
        return torch.stack(hidden), (h, c)


class GRUCell:
    """torch's own GRU: it keeps h itself, through z, and its reset gate is part of the candidate."""

    def __init__(self, gru, suffix=""):
        self.gru = torch.nn.GRU(gru.input_size, gru.hidden_size).to(torch.float64)
        for name, parameter in self.gru.named_parameters():
            parameter.data = getattr(gru, name + suffix).data
        self.weights = [p.detach() for p in self.gru.parameters()]

    @property
    def zero_state(self):
        zero = torch.zeros(1, self.gru.hidden_size, dtype=torch.float64)
        return zero, zero

    def logits(self, inputs, before, gates="ifgo"):
        w, u, b, v = self.weights
        r_x, z_x, n_x = (inputs @ w.T + b).chunk(3, -1)
        r_h, z_h, n_h = (before @ u.T + v).chunk(3, -1)
        retention, always = z_x + z_h, torch.full_like(z_x, torch.inf)
        terms = {"i": -retention, "f": retention, "g": n_x + torch.sigmoid(r_x + r_h) * n_h, "o": always}
        return torch.stack([terms[gate] for gate in gates], -2)

    def show(self, output, cell):
        return output * cell

    def run(self, inputs, state):
        hidden, last = self.gru(inputs, state[1][None])
        return hidden, (last[0], last[0])


def make_gru():
    gru = torch.nn.GRU(7, 5, batch_first=True, bidirectional=True).to(torch.float64)
    generator = torch.Generator().manual_seed(3)
    for parameter in gru.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return gru


def test_a_gru_is_traced_by_stating_its_gates():
    """Its memory is h: torch's own GRU gives it at every base, so every c can be compared."""
    gru, x, lengths = make_gru(), draw(2, 200, 7), [200, 131]
    layers = [[GRUCell(gru), GRUCell(gru, "_reverse")]]
    traced = trace_cells(layers, x, lengths=lengths)
    for n, length in enumerate(lengths):
        expected = gru(x[n : n + 1, :length])[0][0].detach().T.unflatten(0, (2, 5))  # (D, H, L)
        assert torch.allclose(traced.cell[n, :, :, :length], expected, atol=1e-13)
    write = torch.sigmoid(traced.input_logit) * traced.candidate
    for direction, (now, before) in enumerate(
        ((slice(1, 131), slice(0, 130)), (slice(0, 130), slice(1, 131)))
    ):
        f = torch.sigmoid(traced.forget_logit[:, direction, :, now])
        kept = f * traced.cell[:, direction, :, before] + write[:, direction, :, now]
        assert torch.allclose(kept, traced.cell[:, direction, :, now], atol=1e-13)


def test_a_coupled_cell_is_a_convex_combination():
    cell = CoupledCell(cells_of(make_lstm(bidirectional=False))[0])
    traced = trace_cells([[cell]], draw(2, 150, 7))
    assert torch.allclose(
        torch.sigmoid(traced.input_logit), 1 - torch.sigmoid(traced.forget_logit), atol=1e-14
    )
    assert traced.cell.abs().max() <= traced.candidate.abs().max()
    assert traced.certificate.max_error <= 1e-12


def test_a_cell_that_states_another_retention_fails_closed():
    class Wrong(GRUCell):
        def logits(self, inputs, before, gates="ifgo"):
            return -super().logits(inputs, before, gates)

    with pytest.raises(ReplayError):
        trace_cells([[Wrong(make_gru())]], draw(1, 20, 7))


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
    return LSTMCell(*(tensor[order] for tensor in cell.weights))


MUTATIONS = {
    "swapped gate order": _swap_input_and_forget,
    "dropped bias": lambda cell: replace(cell, bias_hh=torch.zeros_like(cell.bias_hh)),
    "transposed recurrence": lambda cell: replace(cell, weight_hh=cell.weight_hh.flip(1)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_wrong_gate_equations_fail_closed(mutation, monkeypatch):
    right = LSTMCell.logits
    monkeypatch.setattr(LSTMCell, "logits", lambda cell, *rest: right(MUTATIONS[mutation](cell), *rest))
    with pytest.raises(ReplayError, match="no gate is exported"):
        trace_lstm(make_lstm(), draw(1, 60, 7))


def test_a_wrong_cell_state_fails_closed(monkeypatch):
    """h alone does not tell where tanh saturates; c of the network does."""
    right = replay_module._accumulate
    monkeypatch.setattr(replay_module, "_accumulate", lambda *arguments: right(*arguments) + 1e-3)
    lstm = make_lstm()
    with torch.no_grad():
        lstm.bias_ih_l0[10:15] = 40.0  # candidates at 1
        lstm.bias_ih_l0[0:10] = 40.0  # input and forget gates open: c counts the bases
    with pytest.raises(ReplayError):
        trace_lstm(lstm, draw(1, 60, 7))


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
