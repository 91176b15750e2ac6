"""Coupled gates and tied strands against their equations, and what training leaves of them."""

import numpy as np
import pytest
import torch

from gatescope.effects.decompose import decompose_logit
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model
from gatescope.model.predict import predict_contig
from gatescope.model.tied import TiedLSTM
from gatescope.trace.replay import trace_windows
from tiny_store import make_store

SIZES = {"stem_channels": 6, "stem_width_bp": 5, "hidden_units": 5, "dropout": 0.0, "direction_dropout": 0.0}


def make(seed=1, **options):
    network = AccessibilityNetwork(NetworkConfig(**{**SIZES, **options}), torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():  # every weight matters
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        for norm in network.stem.norms:
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    network.tie()
    return network.double().eval()


def draw(n=3, length=70, seed=0, tracks=0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 4, (n, length), generator=generator)
    x = torch.nn.functional.one_hot(codes, 4).transpose(1, 2).double()
    return x, torch.rand(n, tracks, length, generator=generator).double() * 9


def free_and_tied(network):
    """The same network with plain layers that hold the tied weights."""
    plain = AccessibilityNetwork(network.config).double().eval()
    width = network.config.features
    for layer in range(network.config.layers):
        plain.recurrent[layer] = torch.nn.LSTM(width, 5, batch_first=True, bidirectional=True).double()
        width = 10
    plain.load_state_dict(network.state_dict())
    return plain


@pytest.mark.parametrize(
    "options", [{"cell": "coupled"}, {"strands": "tied"}, {"cell": "coupled", "strands": "tied"}]
)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_tied_layer_is_a_plain_one_with_its_weights(options, layers):
    network, (x, _) = make(layers=layers, **options), draw()
    for got, wanted in zip(network(x), free_and_tied(network)(x), strict=True):
        assert (got - wanted).abs().max() < 1e-13


@pytest.mark.parametrize("strands", ["free", "tied"])
def test_a_coupled_cell_state_is_a_moving_average(strands):
    """c_t = f c + (1 - f) g in both directions; it never leaves [-1, 1], whatever the input."""
    network, (x, _) = make(cell="coupled", strands=strands), draw(length=300)
    trace = trace_windows(network, 40 * x)
    f, g = torch.sigmoid(trace.forget_logit), trace.candidate
    assert (torch.sigmoid(trace.input_logit) - (1 - f)).abs().max() < 1e-14
    for side, order in ((0, range(300)), (1, range(299, -1, -1))):
        c = torch.zeros_like(f[:, side, :, 0])
        for t in order:
            c = f[:, side, :, t] * c + (1 - f[:, side, :, t]) * g[:, side, :, t]
            assert (c - trace.cell[:, side, :, t]).abs().max() < 1e-12
    assert trace.cell.abs().max() <= 1 + 1e-12  # i + f rounds


STEMS = [{}, {"stem": "none"}, {"stem": "dilated", "stem_layers": 3}]


@pytest.mark.parametrize("options", [*STEMS, {"layers": 2}, {"cell": "coupled"}, {"recurrence": False}])
@pytest.mark.parametrize("tracks", [0, 2])
def test_a_reverse_complement_swaps_the_directions_of_tied_strands(options, tracks):
    inputs = ("sequence", "a", "b")[: 1 + tracks]
    network = make(strands="tied", inputs=inputs, **options)
    x, signal = draw(tracks=tracks)
    turned = x.flip(1, 2), signal.flip(2)  # ACGT backwards is its complement
    for own, other in zip(network(x, signal), network(*turned), strict=True):
        assert (own - other.flip(1)).abs().max() < 1e-12
    if network.config.recurrence:
        here, there = trace_windows(network, x, signal), trace_windows(network, *turned)
        for name in ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden"):
            swapped = getattr(there, name).flip(1, 3)
            assert (getattr(here, name) - swapped).abs().max() < 1e-12, name
    single = network.float()
    pair = single(x.float(), signal.float()), single(turned[0].float(), turned[1].float())
    assert (pair[0].state_logit - pair[1].state_logit.flip(1)).abs().max() < 1e-5


def test_free_strands_do_not_swap():
    network, (x, _) = make(), draw()
    assert (network(x).state_logit - network(x.flip(1, 2)).state_logit.flip(1)).abs().max() > 0.01


@pytest.mark.parametrize(
    "options", [{"cell": "coupled"}, {"strands": "tied"}, {"cell": "coupled", "strands": "tied"}]
)
def test_training_moves_free_weights_and_ties_hold(options):
    """Gradients are those of the tied function: compared with differences along random directions."""
    network, (x, _) = make(layers=2, targets=("state",), **options), draw(2, 40)
    loss = lambda: network(x).state_logit.square().sum()  # noqa: E731
    free = [each for each in network.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss(), free)
    generator, step = torch.Generator().manual_seed(3), 1e-6
    for parameter, gradient in zip(free, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator).double()
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                parameter.add_(sign * step * direction)
                ends.append(float(loss()))
                parameter.sub_(sign * step * direction)
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-5)
    optimizer = torch.optim.AdamW(free, lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        network.tie()
    assert (network(x).state_logit - free_and_tied(network)(x).state_logit).abs().max() < 1e-13


def test_parameters_that_are_free():
    """Three quarters of an LSTM for a coupled one; half of a bidirectional one whose strands are tied."""
    plain = sum(each.numel() for each in torch.nn.LSTM(6, 5, bidirectional=True).parameters())
    for coupled, same, share in (
        (True, False, 0.75),
        (False, True, 0.5),
        (True, True, 0.375),
        (False, False, 1),
    ):
        assert TiedLSTM(6, 5, coupled=coupled, same_strands=same).free_parameters == share * plain
    whole, coupled = (make(cell=cell) for cell in ("lstm", "coupled"))
    assert whole.free_parameters == sum(each.numel() for each in whole.parameters())
    assert whole.free_parameters - coupled.free_parameters == plain / 4
    tied = make(strands="tied")
    wider = sum(each.numel() for each in torch.nn.LSTM(12, 5, bidirectional=True).parameters())
    heads = 2 * (10 + 1)
    stem = sum(each.numel() for each in tied.stem.parameters())
    assert tied.free_parameters == stem + wider / 2 + heads - 2 * 5


@pytest.mark.parametrize("options", [*STEMS, {"strands": "tied", "cell": "coupled"}])
def test_look_ahead_is_as_far_as_the_stem_sees(options):
    network = make(recurrence=False, stem_width_bp=5, **{k: v for k, v in options.items() if k != "cell"})
    x = draw(30, 120)[0].requires_grad_()  # somewhere each filter fires
    network(x).state_logit[:, 60].sum().backward()
    seen = np.flatnonzero(x.grad.abs().sum((0, 1)).numpy())
    reach = network.config.lookahead_bp
    assert (seen.min(), seen.max()) == (60 - reach, 60 + reach)


@pytest.mark.parametrize("options", STEMS)
@pytest.mark.parametrize("strands", ["free", "tied"])
def test_logits_decompose_through_every_stem(options, strands):
    network = make(inputs=("sequence", "a"), strands=strands, **options)
    x, tracks = draw(2, 50, tracks=1)
    found = decompose_logit(network, x, tracks, gate="forget_gate", direction="fwd", units=[0, 3])
    assert found.names == ("bias", "stem bias", "sequence", "track:a", "recurrent")
    assert (found.terms.sum(0) - found.logit).abs().max() < 1e-10
    without = network.signal(x, tracks)
    assert (found.terms[1].abs().max() > 0) == (network.config.stem != "none")
    assert without.shape == (2, 5, 50)


@pytest.mark.parametrize(
    "options", [{"stem": "none"}, {"stem": "dilated"}, {"strands": "tied", "cell": "coupled"}]
)
def test_contigs_are_predicted_as_windows_are(tmp_path, options):
    """Saved, loaded and read along a contig: as the network in one pass; tied strands need no second one."""
    network = make(**options).float()
    save_model(tmp_path, network.config, network.state_dict(), network.state_dict(), {"run": "a.f1.1"})
    loaded, _ = load_model(tmp_path)
    store = make_store(tmp_path / "store")
    contig = next(iter(store.lengths))
    one = predict_contig(loaded.double(), store, contig, both_strands=False)
    both = predict_contig(loaded, store, contig, both_strands=True)
    codes = torch.from_numpy(np.array(store.codes(contig))).long()
    x = torch.nn.functional.one_hot(codes, 5).T[None, :4]
    wanted = torch.sigmoid(loaded(x).state_logit)[0].detach().numpy()
    np.testing.assert_allclose(one.state, wanted, atol=1e-6)
    is_same = np.allclose(one.state, both.state, atol=1e-6)
    assert is_same == (loaded.config.strands == "tied")
