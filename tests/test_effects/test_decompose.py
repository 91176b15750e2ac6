"""Terms of a gate's logit: they sum to it, equal brute force, and equal what goes when an input goes."""

import numpy as np
import pytest
import torch

from gatescope.effects.clamp import GATES
from gatescope.effects.decompose import decompose_logit, variance_shares
from gatescope.errors import InputError
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.trace.certificate import ReplayError
from gatescope.trace.replay import trace_windows

HIDDEN, CHANNELS, WIDTH, LENGTH = 4, 6, 5, 80


def make_network(inputs=("sequence", "cuts", "signal"), layers=2, open_stem=False, dtype=torch.float64):
    """`open_stem` lifts every stem channel so far that the ReLU clips nothing."""
    config = NetworkConfig(
        inputs=inputs,
        targets=("state",),
        stem_channels=CHANNELS,
        stem_width_bp=WIDTH,
        hidden_units=HIDDEN,
        layers=layers,
    )
    generator = torch.Generator().manual_seed(2)
    network = AccessibilityNetwork(config, generator).eval()
    with torch.no_grad():
        for tensor in (
            network.stem.norms[0].weight,
            network.stem.norms[0].bias,
            network.stem.norms[0].running_mean,
            network.stem.convolutions[0].bias,
        ):
            tensor.copy_(torch.randn(CHANNELS, generator=generator) * 0.3)
        network.stem.norms[0].running_var.copy_(torch.rand(CHANNELS, generator=generator) + 0.5)
        for parameter in network.recurrent.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
        if open_stem:
            network.stem.norms[0].bias.add_(20.0)
    return network.to(dtype)


def draw_inputs(network, windows=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 4, (windows, LENGTH), generator=generator)
    one_hot = torch.nn.functional.one_hot(codes, 4).transpose(1, 2).to(torch.uint8)
    one_hot[0, :, 30:34] = 0  # unknown bases
    return one_hot, torch.rand(windows, len(network.config.tracks), LENGTH, generator=generator) * 3


def by_name(found):
    return dict(zip(found.names, found.terms.numpy(), strict=True))


@pytest.mark.parametrize("direction", ["fwd", "rev"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("layer", [0, 1])
def test_terms_sum_to_the_logit_of_the_trace(layer, gate, direction):
    network = make_network()
    inputs, side = draw_inputs(network), ("fwd", "rev").index(direction)
    found = decompose_logit(network, *inputs, gate=gate, units=[2, 0], direction=direction, layer=layer)
    trace = trace_windows(network, *inputs, layer=layer)
    logits = {"input_gate": trace.input_logit, "forget_gate": trace.forget_logit}
    logits |= {"output_gate": trace.output_logit, "candidate": trace.candidate}
    wanted = logits[gate][:, side, [2, 0]]
    total = found.terms.sum(0)
    total = torch.tanh(total) if gate == "candidate" else total
    assert float((total - wanted).abs().max()) <= 1e-12
    assert found.residual <= 1e-12


def brute_force(network, one_hot, tracks, unit, direction):
    """The forget logit of one unit at every base, summed one number at a time."""
    p = {name: t.detach().numpy() for name, t in network.state_dict().items()}
    signal = np.concatenate([one_hot.numpy(), np.log1p(tracks.double().numpy())])  # (4 + K, L)
    hidden = trace_windows(network, one_hot[None], tracks[None]).hidden[0, direction].numpy()
    suffix, row = "_reverse" if direction else "", HIDDEN + unit
    w, u = p[f"recurrent.0.weight_ih_l0{suffix}"][row], p[f"recurrent.0.weight_hh_l0{suffix}"][row]
    terms = {name: np.zeros(LENGTH) for name in ("stem bias", "sequence", "track:cuts", "track:signal")}
    names = ["sequence"] * 4 + ["track:cuts", "track:signal"]
    for t in range(LENGTH):
        for c in range(CHANNELS):
            scale = p["stem.norms.0.weight"][c] / np.sqrt(
                p["stem.norms.0.running_var"][c] + network.stem.norms[0].eps
            )
            parts = {name: 0.0 for name in terms}
            parts["stem bias"] = (
                scale * (p["stem.convolutions.0.bias"][c] - p["stem.norms.0.running_mean"][c])
                + p["stem.norms.0.bias"][c]
            )
            for channel, name in enumerate(names):
                for tap in range(WIDTH):
                    at = t + tap - WIDTH // 2
                    if 0 <= at < LENGTH:
                        parts[name] += (
                            scale * p["stem.convolutions.0.weight"][c, channel, tap] * signal[channel, at]
                        )
            if sum(parts.values()) > 0:
                for name, part in parts.items():
                    terms[name][t] += w[c] * part
    bias = p[f"recurrent.0.bias_ih_l0{suffix}"][row] + p[f"recurrent.0.bias_hh_l0{suffix}"][row]
    terms["bias"] = np.full(LENGTH, bias)
    arriving = np.zeros((HIDDEN, LENGTH))
    if direction:
        arriving[:, :-1] = hidden[:, 1:]
    else:
        arriving[:, 1:] = hidden[:, :-1]
    terms["recurrent"] = u @ arriving
    return terms


@pytest.mark.parametrize("direction", [0, 1])
def test_each_term_equals_brute_force(direction):
    network = make_network(layers=1)
    inputs = draw_inputs(network)
    found = decompose_logit(
        network, *inputs, gate="forget_gate", units=[3], direction=("fwd", "rev")[direction]
    )
    wanted = brute_force(network, *(t[0] for t in inputs), 3, direction)
    assert set(found.names) == set(wanted)
    for name, term in by_name(found).items():
        assert np.abs(term[0, 0] - wanted[name]).max() <= 1e-12, name


def test_with_an_open_stem_a_term_is_what_goes_when_its_input_goes():
    network = make_network(layers=1, open_stem=True)
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()  # else the rest of the logit would follow
    one_hot, tracks = draw_inputs(network)
    options = dict(gate="forget_gate", units=range(HIDDEN), direction="rev")
    full = decompose_logit(network, one_hot, tracks, **options)
    without = {"sequence": (torch.zeros_like(one_hot), tracks)}
    for k, name in enumerate(network.config.tracks):
        less = tracks.clone()
        less[:, k] = 0
        without[f"track:{name}"] = (one_hot, less)
    for name, inputs in without.items():
        lost = (full.logit - decompose_logit(network, *inputs, **options).logit).numpy()
        assert np.abs(lost).max() > 0.1
        assert np.abs(by_name(full)[name] - lost).max() <= 1e-12, name
        gone = by_name(decompose_logit(network, *inputs, **options))[name]
        assert not gone.any()


def test_terms_of_the_inputs_are_gradient_times_input():
    """The stem is piecewise linear: what the rule gives is the gradient, summed over the window's input."""
    network = make_network(layers=1)
    one_hot, tracks = (t.double() for t in draw_inputs(network, windows=1))
    found = by_name(decompose_logit(network, one_hot, tracks, gate="input_gate", units=[1], direction="fwd"))
    one_hot.requires_grad_()
    for position in (0, 31, 50):
        features = network.features(one_hot, tracks)[0, position]
        (network.recurrent[0].weight_ih_l0[1] @ features).backward()
        wanted = float((one_hot.grad * one_hot.detach()).sum())
        assert found["sequence"][0, 0, position] == pytest.approx(wanted, abs=1e-12)
        one_hot.grad = None


def test_second_layer_is_split_by_the_direction_below():
    network = make_network()
    inputs = draw_inputs(network)
    found = decompose_logit(network, *inputs, gate="output_gate", units=[1], direction="fwd", layer=1)
    assert found.names == ("bias", "below:fwd", "below:rev", "recurrent")
    below = trace_windows(network, *inputs, layer=0).hidden
    weight = network.recurrent[1].weight_ih_l0[3 * HIDDEN + 1].detach().unflatten(0, (2, HIDDEN))
    for direction, name in enumerate(("below:fwd", "below:rev")):
        wanted = torch.einsum("h,nhl->nl", weight[direction], below[:, direction]).numpy()
        assert np.abs(by_name(found)[name][:, 0] - wanted).max() <= 1e-12


def test_float32_terms_sum_as_well_as_float32_can():
    network = make_network(dtype=torch.float32)
    found = decompose_logit(network, *draw_inputs(network), gate="forget_gate", units=[0, 1], direction="fwd")
    assert 0 < found.residual <= 5e-6


def test_variance_shares_equal_numpy_and_sum_to_one():
    network = make_network()
    inputs = draw_inputs(network)
    found = decompose_logit(network, *inputs, gate="forget_gate", units=[3, 1], direction="fwd")
    mask = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(0)) < 0.4
    for positions in (None, mask, mask.numpy()):
        table = variance_shares(found, positions)
        kept = np.ones((3, LENGTH), dtype=bool) if positions is None else mask.numpy()
        for k, unit in enumerate((3, 1)):
            logit = found.logit[:, k].numpy()[kept]
            rows = table[table.unit == unit].set_index("term")
            for name, term in by_name(found).items():
                covariance = np.cov(term[:, k][kept], logit)
                assert rows.share[name] == pytest.approx(covariance[0, 1] / covariance[1, 1], abs=1e-10)
                assert rows["mean"][name] == pytest.approx(term[:, k][kept].mean(), abs=1e-12)
                assert rows["sd"][name] == pytest.approx(term[:, k][kept].std(), abs=1e-12)
            assert rows.share.sum() == pytest.approx(1, abs=1e-12)
            assert abs(rows.share["bias"]) <= 1e-12


def test_a_logit_that_does_not_vary_has_no_shares():
    network = make_network(layers=1)
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if "weight" in name:
                parameter[HIDDEN] = 0  # forget gate of unit 0: bias alone
    found = decompose_logit(network, *draw_inputs(network), gate="forget_gate", units=[0, 1], direction="fwd")
    shares = variance_shares(found).set_index("unit").share
    assert shares[0].isna().all()
    assert shares[1].notna().all()


def test_a_wrong_split_fails_closed():
    network = make_network(layers=1)
    inputs = draw_inputs(network)
    features = network.features
    network.features = lambda *given: features(*given) * 1.001
    with pytest.raises(ReplayError, match="miss it"):
        decompose_logit(network, *inputs, gate="forget_gate", units=[0], direction="fwd")


def test_mistakes_are_named():
    network = make_network()
    inputs, good = draw_inputs(network), dict(gate="forget_gate", units=[0], direction="fwd")
    for mistake, message in {
        ("gate", "keep_gate"): "keep_gate",
        ("units", (4,)): r"units \[4\]",
        ("direction", "both"): "both",
        ("layer", 2): "layer 2",
    }.items():
        with pytest.raises(InputError, match=message):
            decompose_logit(network, *inputs, **{**good, mistake[0]: mistake[1]})
    found = decompose_logit(network, *inputs, **good)
    for mask in (np.zeros((3, LENGTH), bool), np.ones(LENGTH, bool), np.ones((3, LENGTH))):
        with pytest.raises(InputError, match="mask of shape"):
            variance_shares(found, mask)
    with pytest.raises(ValueError, match="evaluation mode"):
        decompose_logit(network.train(), *inputs, **good)
