"""The network: shapes, seeds, half-lives in bp, what it reads and what it refuses."""

import math

import numpy as np
import pytest
import torch

from gatescope.errors import InputError
from gatescope.model.network import AccessibilityNetwork, set_half_lives
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model


def make(seed=1, **options):
    config = NetworkConfig(**{"stem_channels": 6, "hidden_units": 5, "dropout": 0.0, **options})
    return AccessibilityNetwork(config, torch.Generator().manual_seed(seed)).eval()


def draw_one_hot(n=2, length=90, seed=0):
    codes = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(codes, 4).transpose(1, 2).to(torch.uint8)


def test_outputs_have_one_value_per_base_and_head():
    outputs = make()(draw_one_hot())
    assert outputs.log_cuts.shape == outputs.state_logit.shape == (2, 90)
    assert make(targets=("state",))(draw_one_hot()).log_cuts is None


def test_parameter_count_is_independent_of_length_and_same_seed_gives_same_weights():
    one, two, other = make(1), make(1), make(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.stem.convolutions[0].weight, other.stem.convolutions[0].weight)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_sequence_alone_is_predicted_as_in_any_batch(layers):
    network, x = make(layers=layers).double(), draw_one_hot(4)
    together = network(x).state_logit
    for n in range(4):
        assert torch.allclose(network(x[n : n + 1]).state_logit[0], together[n], atol=1e-13)


def test_every_base_sees_every_base_but_only_through_the_recurrence():
    x = draw_one_hot(1, 200).double().requires_grad_()
    make().double()(x).state_logit[0, 100].backward()
    reach = np.flatnonzero(x.grad.abs().sum((0, 1)).numpy() > 0)
    assert (reach.min(), reach.max()) == (0, 199)
    x = draw_one_hot(1, 200).double().requires_grad_()
    ablated = make(recurrence=False, stem_width_bp=15).double()
    ablated(x).state_logit[0, 100].backward()
    reach = np.flatnonzero(x.grad.abs().sum((0, 1)).numpy() > 0)
    assert (reach.min(), reach.max()) == (93, 107)
    assert ablated.config.lookahead_bp == 7


@pytest.mark.parametrize("suffix", ["", "_reverse"])
def test_half_life_of_a_silent_input_is_the_configured_one(suffix):
    """With no input and no recurrence the cell halves in exactly the half-life of its bias."""
    lstm = torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
    set_half_lives(lstm, np.geomspace(4, 500, 4))
    total = getattr(lstm, f"bias_ih_l0{suffix}") + getattr(lstm, f"bias_hh_l0{suffix}")
    forget = torch.sigmoid(total[4:8])
    for f, half_life in zip(forget.tolist(), np.geomspace(4, 500, 4), strict=True):
        assert math.log(0.5) / math.log(f) == pytest.approx(half_life, rel=1e-9)


@pytest.mark.parametrize("suffix", ["", "_reverse"])
@pytest.mark.parametrize("level", [0.0, 0.6, 2.0])
def test_cell_states_start_out_resting_at_the_configured_size(suffix, level):
    """Run a cell without input and without recurrent weights: nothing but the biases speaks."""
    lstm = make(hidden_units=6, half_life_bp=(2.0, 20.0), resting_memory=level).double().lstm_layers[0]
    biases = getattr(lstm, f"bias_ih_l0{suffix}") + getattr(lstm, f"bias_hh_l0{suffix}")
    i, f, g, _ = biases.detach().chunk(4)
    c = torch.zeros(6, dtype=torch.float64)
    for _ in range(2000):
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    assert c.tolist() == pytest.approx([level, -level] * 3, rel=1e-6)


def test_dropout_comes_from_the_generator_alone():
    network, x = make(dropout=0.5, layers=2), draw_one_hot()
    draws = [network(x, None, torch.Generator().manual_seed(s)).state_logit for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_shrinking_writes_spares_what_forgets_and_what_shows():
    network = make(layers=2)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    network.shrink_writes(0.25)
    for name, parameter in network.named_parameters():
        if name.startswith("recurrent") and "weight" in name:
            i, f, g, o = (
                after / old for after, old in zip(parameter.chunk(4), before[name].chunk(4), strict=True)
            )
            assert torch.allclose(torch.cat([i, g]), torch.tensor(0.75)) and bool(((f == 1) & (o == 1)).all())
        else:
            assert torch.equal(parameter, before[name]), name


def test_dropout_hides_the_same_share_of_units_over_whole_windows():
    """Seen at the heads: with one head weight per unit the logit is the sum of the units that were kept."""
    network = make(dropout=0.25, direction_dropout=0.0, targets=("state",))
    x = draw_one_hot(1).expand(600, -1, -1)
    hidden, _ = network.lstm_layers[0](network.features(x[:1]))
    kept_share = []
    with torch.no_grad():
        network.heads["state"].bias.zero_()
        for unit in range(10):
            network.heads["state"].weight.zero_()[0, unit] = 1.0
            found = network(x, None, torch.Generator().manual_seed(7)).state_logit / hidden[0, :, unit]
            assert all(torch.allclose(row, row[0].expand_as(row), atol=1e-4) for row in found)
            assert {round(float(row[0]), 3) for row in found} == {0.0, round(1 / 0.75, 3)}
            kept_share.append(float((found[:, 0] > 0).float().mean()))
    assert np.mean(kept_share) == pytest.approx(0.75, abs=0.03)


def test_direction_dropout_hides_one_direction_at_a_time_in_its_share_of_windows():
    network = make(direction_dropout=0.5, targets=("state",))
    with torch.no_grad():
        network.heads["state"].bias.zero_()
    x = draw_one_hot(1).expand(400, -1, -1)
    both = network(x[:1]).state_logit
    weight = network.heads["state"].weight.detach()[0]
    hidden, _ = network.lstm_layers[0](network.features(x[:1]))
    parts = {"fwd": hidden[..., :5] @ weight[:5], "rev": hidden[..., 5:] @ weight[5:], "both": both}
    found = network(x, None, torch.Generator().manual_seed(4)).state_logit
    shares = {
        name: sum(bool(torch.allclose(row, part[0], atol=1e-5)) for row in found) / 400
        for name, part in parts.items()
    }
    assert sum(shares.values()) == 1
    assert shares == {
        name: pytest.approx(share, abs=0.08) for name, share in (("fwd", 0.25), ("rev", 0.25), ("both", 0.5))
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("cuts",)}, "lack 'sequence'"),
        ({"inputs": ("sequence", "cuts")}, "from itself"),
        ({"targets": ()}, "wanted some of"),
        ({"targets": ("peaks",)}, "wanted some of"),
        ({"stem_width_bp": 14}, "even"),
        ({"half_life_bp": (0.0, 10.0)}, "half_life_bp"),
        ({"stem_width_bp": -1}, "stem_width_bp: -1; wanted at least 1"),
        ({"stem_channels": 0}, "stem_channels: 0; wanted at least 1"),
        ({"hidden_units": 0}, "hidden_units: 0; wanted at least 1"),
        ({"layers": 0}, "layers: 0; wanted at least 1"),
        ({"dropout": 1}, "dropout: 1; wanted 0 to below 1"),
        ({"direction_dropout": 1.5}, "direction_dropout: 1.5; wanted 0 to 1"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        NetworkConfig(**options)


def test_wrong_shapes_are_refused():
    network = make(inputs=("sequence", "cuts"), targets=("state",))
    with pytest.raises(ValueError, match=r"\(N, 4, L\)"):
        network(torch.zeros(2, 90, 4))
    with pytest.raises(ValueError, match="1 input tracks"):
        network(draw_one_hot())


def test_saved_and_loaded_networks_predict_the_same(tmp_path):
    network = make(inputs=("sequence", "cuts"), targets=("state",))
    save_model(tmp_path, network.config, network.state_dict(), network.state_dict(), {"run": "a.f1.1"})
    loaded, meta = load_model(tmp_path)
    tracks = torch.rand(2, 1, 90)
    assert torch.equal(
        loaded(draw_one_hot(), tracks).state_logit, network(draw_one_hot(), tracks).state_logit
    )
    assert (meta["run"], meta["lookahead_bp"], loaded.config) == ("a.f1.1", 7, network.config)


def test_weights_of_another_training_are_refused(tmp_path):
    for seed in (1, 2):
        network = make(seed)
        save_model(
            tmp_path / str(seed), network.config, network.state_dict(), network.state_dict(), {"run": "a"}
        )
    (tmp_path / "1/model.safetensors").write_bytes((tmp_path / "2/model.safetensors").read_bytes())
    with pytest.raises(InputError, match="two trainings"):
        load_model(tmp_path / "1")
