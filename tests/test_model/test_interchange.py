"""A network as a plain module, alone and in the hands of tangermeme, Ledidi and Captum."""

import warnings
from importlib import import_module

import pytest
import torch

from gatescope.errors import InputError
from gatescope.model.interchange import SequenceModel
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model

LENGTH = 60


def make_network(**options):
    config = NetworkConfig(**{"stem_channels": 6, "stem_width_bp": 5, "hidden_units": 5, **options})
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.mul_(20)
    return network.eval()


def draw(n=3, seed=0):
    codes = torch.randint(0, 4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(codes, 4).transpose(1, 2).float()


@pytest.fixture(params=["cuts", "state"])
def model(request):
    return SequenceModel(make_network(), request.param)


def test_outputs_are_those_of_the_network():
    network, x = make_network(), draw()
    outputs, turned = network(x), network(x.flip(1, 2))
    for per_base, logs, logits in (
        (
            False,
            lambda o: o.log_cuts.exp().sum(1, keepdim=True).log(),
            lambda o: o.state_logit.mean(1, keepdim=True),
        ),
        (True, lambda o: o.log_cuts, lambda o: o.state_logit),
    ):
        for target, value in (("cuts", logs), ("state", logits)):
            one = SequenceModel(network, target, per_base=per_base, both_strands=False)(x)
            assert one.shape == (3, LENGTH if per_base else 1)
            torch.testing.assert_close(one, value(outputs))
            both = SequenceModel(network, target, per_base=per_base)(x)
            other = value(turned).flip(1) if per_base else value(turned)
            torch.testing.assert_close(both, (value(outputs) + other) / 2)


def test_a_reverse_complement_is_predicted_the_same(model):
    for strands in ("free", "tied"):
        model = SequenceModel(make_network(strands=strands), model.target)
        torch.testing.assert_close(model(draw()), model(draw().flip(1, 2)))


def test_saved_networks_are_loaded(tmp_path):
    network = make_network()
    save_model(tmp_path, network.config, network.state_dict(), network.state_dict(), {"run": "a.f1.1"})
    loaded = SequenceModel.load(tmp_path, "state", per_base=True)
    assert torch.equal(loaded(draw()), SequenceModel(network, "state", per_base=True)(draw()))


def test_what_cannot_be_handed_over_is_refused():
    with pytest.raises(InputError, match=r"reads cuts beside the sequence.*inputs: \[sequence\]"):
        SequenceModel(make_network(inputs=("sequence", "cuts"), targets=("state",)), "state")
    with pytest.raises(InputError, match="does not predict 'cuts'; it predicts state"):
        SequenceModel(make_network(targets=("state",)))


def one_letter_at_a_time(model, x):
    """Predictions after every substitution, (N, 4, L), by a loop."""
    found = torch.empty(len(x), 4, LENGTH)
    for base in range(4):
        for at in range(LENGTH):
            changed = x.clone()
            changed[:, :, at] = torch.eye(4)[base]
            found[:, base, at] = model(changed)[:, 0].detach()
    return found


@pytest.mark.interchange
def test_tangermeme_predicts_mutates_and_marginalizes(model):
    predict = import_module("tangermeme.predict").predict
    mutate = import_module("tangermeme.saturation_mutagenesis").saturation_mutagenesis
    marginalize = import_module("tangermeme.marginalize").marginalize
    x = draw()
    torch.testing.assert_close(predict(model, x, device="cpu", batch_size=2), model(x).detach())
    _, found = mutate(model, x, raw_outputs=True, device="cpu")
    wanted = one_letter_at_a_time(model, x)
    torch.testing.assert_close(found.reshape(3, 4, LENGTH), wanted, atol=1e-5, rtol=1e-5)
    before, after = marginalize(model, x, "TGACTCA", start=20, device="cpu")
    changed = x.clone()
    changed[:, :, 20:27] = torch.eye(4)[[3, 2, 0, 1, 3, 1, 0]].T
    torch.testing.assert_close(before, model(x).detach())
    torch.testing.assert_close(after, model(changed).detach())


@pytest.mark.interchange
def test_captum_attributes(model):
    attr = import_module("captum.attr")
    x = draw()
    wanted = torch.autograd.grad(model(x.requires_grad_()).sum(), x)[0]
    found = attr.Saliency(model).attribute(x, target=0, abs=False)
    torch.testing.assert_close(found, wanted)
    found = attr.InputXGradient(model).attribute(x, target=0)
    torch.testing.assert_close(found, wanted * x)
    parts, error = attr.IntegratedGradients(model).attribute(
        x, torch.full_like(x, 0.25), target=0, n_steps=300, return_convergence_delta=True
    )
    added = (model(x) - model(torch.full_like(x, 0.25)))[:, 0]
    torch.testing.assert_close(parts.sum((1, 2)), added, atol=5e-3, rtol=1e-2, check_dtype=False)
    assert error.abs().max() < 5e-3


@pytest.mark.interchange
def test_ledidi_designs(model):
    ledidi = import_module("ledidi")
    x = draw(1)
    wanted = model(x).detach() + 0.03
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        designed = ledidi.ledidi(
            model, x, wanted, l=1e-6, max_iter=300, verbose=False, device="cpu", random_state=0
        )
    designed = designed.detach().reshape(-1, 4, LENGTH).float()
    assert (designed.sum(1) == 1).all()
    assert (designed != x).any(1).sum(1).min() > 0
    assert (model(designed) - wanted).abs().median() < 0.015
