"""The network of dilated convolutions: as large as asked, as far-sighted as declared, and no gates."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from gatescope.config import network_settings, plan_runs, size_runs
from gatescope.data.preflight import RunSize
from gatescope.design.carrier import design
from gatescope.errors import InputError
from gatescope.model.dilated import DilatedTrunk
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model
from gatescope.model.train import train
from gatescope.network_size import channels_of_size, count_weights
from gatescope.trace.trace import trace
from tiny_store import make_store

SHAPES = [
    {},
    {"trunk": "dilated"},
    {"trunk": "dilated", "trunk_layers": 3, "inputs": ("sequence", "a", "b"), "targets": ("state",)},
    {"stem": "none", "layers": 2},
    {"stem": "dilated", "stem_layers": 2, "cell": "coupled"},
    {"strands": "tied", "layers": 2, "inputs": ("sequence", "a")},
    {"strands": "tied", "cell": "coupled", "stem": "none", "targets": ("state",)},
]


def make(seed=1, **options):
    config = NetworkConfig(**{"stem_channels": 6, "hidden_units": 6, **options})
    return AccessibilityNetwork(config, torch.Generator().manual_seed(seed)).double().eval()


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_weights_are_counted_as_the_network_has_them(options):
    network = make(**options)
    assert count_weights(asdict(network.config)) == network.free_parameters


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_base_sees_as_far_as_declared_and_no_further(layers):
    network = make(trunk="dilated", trunk_layers=layers)
    reach = 7 + sum(2**k for k in range(1, layers + 1))
    x = torch.rand(1, 4, 4 * reach, dtype=torch.float64, requires_grad=True)
    network(x).state_logit[0, 2 * reach].backward()
    seen = np.flatnonzero(x.grad.abs().sum((0, 1)).numpy())
    assert (seen.min(), seen.max()) == (2 * reach - reach, 2 * reach + reach)
    assert network.config.lookahead_bp == reach


def test_a_layer_adds_what_its_taps_find():
    """By hand, in a loop: three taps 2, then 4 bp apart, zeros beyond the ends."""
    torch.manual_seed(0)
    trunk = DilatedTrunk(3, 2).double().eval()
    for norm in trunk.norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    features = torch.randn(1, 30, 3, dtype=torch.float64)
    values = features[0].clone()
    for apart, convolution, norm in zip((2, 4), trunk.convolutions, trunk.norms, strict=True):
        found = torch.zeros_like(values)
        for t in range(30):
            total = convolution.bias.detach().clone()
            for tap, place in enumerate((t - apart, t, t + apart)):
                if 0 <= place < 30:
                    total += convolution.weight.detach()[:, :, tap] @ values[place]
            scaled = (total - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
            found[t] = torch.relu(scaled)
        values = values + found
    assert torch.allclose(trunk(features)[0], values, atol=1e-12)


def settings(**options):
    """An entry of `models` as the workflow fills it in."""
    names = [name for name in asdict(NetworkConfig()) if name != "recurrence"]
    network = {name: options.get(name, asdict(NetworkConfig())[name]) for name in names}
    return {**network, "training": {}, "same_size_as": options.get("same_size_as", "")}


def config(models, **trained):
    training = {"epochs": 2, "windows_per_epoch": 8, "sampling": {"scheme": "whole_genome"}}
    return {
        "models": models,
        "folds": {"f1": {}},
        "runs": {"models": list(models), "folds": ["f1"], "seeds": [1], **trained},
        "training": training,
        "trace": {"contigs": "all"},
    }


@pytest.mark.parametrize("hidden", [24, 48, 100])
def test_equal_size_is_within_two_percent(hidden):
    asked = config(
        {
            "lstm": settings(hidden_units=hidden, stem_channels=64),
            "cnn": settings(trunk="dilated", same_size_as="lstm"),
        }
    )
    sizes = []
    for name in ("lstm", "cnn"):
        network = network_settings(asked, name)
        assert "same_size_as" not in network
        sizes.append(AccessibilityNetwork(NetworkConfig(**network)).free_parameters)
    assert abs(sizes[1] / sizes[0] - 1) < 0.02
    alone, cnn = size_runs(asked, plan_runs(asked, {}).values())
    assert (RunSize(**alone).dilated_layers, RunSize(**cnn).dilated_layers) == (0, 8)
    assert RunSize(**cnn).channels == network["stem_channels"]


def test_a_size_that_whole_channels_miss_is_refused_with_layers_that_meet_it():
    network = settings(trunk="dilated")
    wanted = count_weights({**network, "stem_channels": 6}) * 104 // 100
    with pytest.raises(InputError, match=r"x: 6 channels come closest to .*; set trunk_layers to \d+, which"):
        channels_of_size(network, wanted, "x")


@pytest.mark.parametrize(
    ("models", "line"),
    [
        ({"a": settings(trunk="dilated")}, "no gates in a, and gates are what this workflow is about"),
        (
            {"a": settings(), "b": settings(trunk="dilated", same_size_as="c")},
            "models.b.same_size_as: 'c' is not defined; defined are a, b",
        ),
        (
            {"a": settings(), "b": settings(same_size_as="a")},
            "models.b.same_size_as: b is of trunk recurrent, a of trunk recurrent",
        ),
        (
            {"a": settings(), "b": settings(trunk="dilated", strands="tied")},
            "models.b.strands: 'tied' does not go with trunk: dilated; set free",
        ),
        (
            {"a": settings(), "b": settings(trunk="dilated", stem="none")},
            "models.b.stem: 'none' does not go with trunk: dilated; set conv",
        ),
    ],
    ids=range(5),
)
def test_mistakes_in_the_configuration_are_one_line(models, line):
    with pytest.raises(InputError) as caught:
        plan_runs(config(models), {})
    assert line in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of Lightning
def test_it_is_trained_like_any_other_and_has_no_gates(tmp_path):
    store = make_store(tmp_path / "store")
    options = {
        "network": {"stem_channels": 4, "trunk": "dilated", "trunk_layers": 2, "dropout": 0.5},
        "training": {"epochs": 1, "windows_per_epoch": 8, "batch_size": 4, "device": "cpu"},
        "fold": "f1",
    }
    train(store.path, tmp_path / "run", run="cnn.f1.1", **options)
    network, meta = load_model(tmp_path / "run")
    assert meta["lookahead_bp"] == 7 + 6 and meta["threads"] == 1 and not network.lstm_layers
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "A convolutional network" in card and "half-li" not in card
    with pytest.raises(InputError, match="'ablated', of a network that has no recurrence"):
        train(store.path, tmp_path / "twin", run="cnn.f1.1.ablated", twin="ablated", **options)
    with pytest.raises(InputError, match="no recurrence, so there is no gate"):
        trace(tmp_path / "run", tmp_path / "trace", store=store.path)
    with pytest.raises(InputError, match="no recurrence, so no unit can hold"):
        design(tmp_path / "run", tmp_path, tmp_path / "design", settings={"max_word_bp": 1, "length_bp": 10})
