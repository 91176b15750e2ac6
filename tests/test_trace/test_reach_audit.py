"""The audit of a network against closed forms, hand-run recurrences, and two trajectories side by side."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.errors import InputError
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.predict import read_features
from gatescope.trace.reach_audit import audit_network

SMALL = dict(windows=3, burn_in_bp=300, counted_bp=200)


class Codes:
    """A genome of contigs given as codes."""

    def __init__(self, **contigs):
        self._codes = {name: np.asarray(codes, np.uint8) for name, codes in contigs.items()}
        self.lengths = {name: len(codes) for name, codes in self._codes.items()}

    def codes(self, contig):
        return self._codes[contig]

    def track(self, contig, name):
        raise AssertionError("the network reads no track")


def bases(length, seed=0):
    return np.random.default_rng(seed).integers(0, 4, length)


def make_network(hidden=6, layers=1, seed=1, half_life_bp=(3, 15)):
    config = NetworkConfig(
        stem_channels=5, stem_width_bp=7, hidden_units=hidden, layers=layers, half_life_bp=half_life_bp
    )
    return AccessibilityNetwork(config, torch.Generator().manual_seed(seed)).double().eval()


def change(network, layer, kind, function):
    """Change weights of both directions of a layer in place; biases and rows are torch's (i, f, g, o)."""
    with torch.no_grad():
        for name, parameter in network.recurrent[layer].named_parameters():
            if name.startswith(kind):
                function(parameter)


def without_recurrence(network, layer=0):
    change(network, layer, "weight_hh", torch.Tensor.zero_)
    return network


def weights(network, layer, direction):
    suffix = "_l0" + ("_reverse" if direction == "rev" else "")
    return [
        getattr(network.recurrent[layer], f"{name}{suffix}").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def largest_mean_log_forget(network, layer, reads, row, burn_in):
    """Without recurrence: the largest mean ln f of a unit over the counted bases of a window."""
    w, _, b, b2 = weights(network, layer, row.direction)
    hidden = len(b) // 4
    forget = sigmoid(reads @ w[hidden : 2 * hidden].T + (b + b2)[hidden : 2 * hidden])
    counted = (
        slice(row.start + burn_in, row.end) if row.direction == "fwd" else slice(row.start, row.end - burn_in)
    )
    return np.log(forget[counted]).mean(0).max()


def features_of(network, genome, contig):
    with torch.no_grad():
        return read_features(network, genome, contig, [(0, genome.lengths[contig])])


def test_without_recurrent_weights_the_forget_gate_says_all():
    network, genome = without_recurrence(make_network(hidden=3)), Codes(a=bases(3000), b=bases(2000, 1))
    found = audit_network(network, genome, ["a", "b"], seed=3, **SMALL)
    held = found.table[found.table.held > 0]
    assert len(held) and np.abs(held.ratio - 1).max() <= 1e-12
    assert not found.table.flagged.any()
    assert found.flagged_units("fwd") == found.flagged_units("rev") == []
    for row in found.growth.itertuples():
        reads = features_of(network, genome, row.contig)[0].numpy()
        expected = largest_mean_log_forget(network, 0, reads, row, burn_in=300)
        assert row.growth_rate == pytest.approx(expected, abs=1e-9)
        assert row.end - row.start == 500 and row.counted_bp == 200
    assert not found.is_excitable and "die out" in found.growth_in_words


@pytest.mark.parametrize(("strength", "flagged"), [(0.32, True), (-0.32, True), (0.04, False)])
def test_a_unit_that_copies_the_memory_back_is_flagged_with_its_ratio(strength, flagged):
    """Two units show each other their memory; at rest i = o = 1/2, so M = [[f, s/4], [s/4, f]] is one step."""
    network, forget = make_network(hidden=2), 0.9
    for kind in ("weight", "bias"):
        change(network, 0, kind, torch.Tensor.zero_)

    def connect(recurrent):
        recurrent[4, 1] = recurrent[5, 0] = strength  # rows 4, 5: the candidates

    change(network, 0, "weight_hh", connect)
    change(network, 0, "bias_ih", lambda bias: bias[2:4].fill_(np.log(forget / (1 - forget))))
    found = audit_network(network, Codes(a=bases(2000)), ["a"], seed=0, **SMALL)
    for row in found.table.itertuples():
        total = ((forget + strength / 4) ** row.distance_bp + (forget - strength / 4) ** row.distance_bp) / 2
        assert row.total == pytest.approx(total, rel=1e-9)
        assert row.direct == pytest.approx(forget**row.distance_bp, rel=1e-9)
        assert np.isnan(row.ratio) or row.ratio == pytest.approx(total / row.direct, rel=1e-9)
        assert row.held == float(total >= 0.1)
        assert row.flagged == (row.held == 1 and total > 2 * row.direct)
    assert found.table.flagged.any() == flagged
    assert found.flagged_units("rev") == ([0, 1] if flagged else [])
    assert ("of 4 units mislead:" in found.reach_in_words) == flagged
    growth = found.growth.growth_rate
    assert np.abs(growth - np.log(forget + abs(strength) / 4)).max() <= 1e-6


def part(network, genome, row, burn_in):
    """Run two trajectories of one direction 1e-8 apart, bring them together again after each base; mean ln growth."""
    w, u, b, b2 = weights(network, 0, row.direction)
    reads = features_of(network, genome, row.contig)[0].numpy()[row.start : row.end]
    reads = reads[::-1] if row.direction == "rev" else reads
    hidden, nudge, logs = u.shape[1], 1e-8, []
    states = np.zeros((2, 2, hidden))  # (trajectory, h and c, H)
    states[1, 1, 0] = nudge
    for x in reads:
        z = x @ w.T + states[:, 0] @ u.T + b + b2
        i, f, g, o = np.split(z, 4, axis=1)
        cell = sigmoid(f) * states[:, 1] + sigmoid(i) * np.tanh(g)
        states = np.stack([sigmoid(o) * np.tanh(cell), cell], axis=1)
        apart = states[1] - states[0]
        logs.append(np.log(np.linalg.norm(apart[1]) / nudge))
        states[1] = states[0] + apart * nudge / np.linalg.norm(apart[1])
    return np.mean(logs[burn_in:])


def test_an_excitable_network_is_called_so_and_its_rate_is_that_of_two_trajectories():
    network, genome = make_network(hidden=16, seed=4), Codes(a=bases(8000))
    change(network, 0, "weight_hh", lambda weight: weight.mul_(8))
    found = audit_network(network, genome, ["a"], seed=0, windows=3, burn_in_bp=600, counted_bp=400)
    for row in found.growth.itertuples():
        assert row.growth_rate == pytest.approx(part(network, genome, row, 600), abs=1e-5)
    assert found.rate("fwd") > 0.002 and found.rate("rev") > 0.01
    assert found.is_excitable and found.float32_difference > 1e-3
    assert "two runs on different machines may drift apart" in found.growth_in_words
    said = found.as_json()["growth"]["fwd"]
    assert said["halving_bp"] is None and said["doubling_bp"] == pytest.approx(
        np.log(2) / said["nats_per_bp"]
    )
    rates = found.growth.growth_rate[found.growth.direction == "fwd"]
    assert [said["lowest"], said["median"], said["highest"]] == rates.sort_values().tolist()


def test_a_quiet_network_is_the_same_in_float32():
    network, genome = make_network(), Codes(a=bases(8000))
    found = audit_network(network, genome, ["a"], seed=0, windows=2, burn_in_bp=3000, counted_bp=200)
    for row in found.growth.itertuples():
        assert row.growth_rate == pytest.approx(part(network, genome, row, 3000), abs=1e-6)
    assert 0 < found.float32_difference < 1e-5 and not found.is_excitable


def test_the_layer_above_reads_a_warm_layer_below():
    """Its gates in a window are those of the whole contig: the growth rate without recurrence shows them."""
    network, genome = without_recurrence(make_network(hidden=3, layers=2), 1), Codes(a=bases(6000))
    size = dict(windows=3, burn_in_bp=1000, counted_bp=200)
    change(network, 0, "weight_hh", lambda weight: weight.mul_(2))
    found = audit_network(network, genome, ["a"], seed=5, layer=1, **size)
    with torch.no_grad():
        reads, _ = network.recurrent[0](features_of(network, genome, "a"))
    for row in found.growth.itertuples():
        expected = largest_mean_log_forget(network, 1, reads[0].numpy(), row, burn_in=1000)
        assert row.growth_rate == pytest.approx(expected, abs=1e-9)
    assert np.abs(found.table.ratio.dropna() - 1).max() <= 1e-12
    assert found.as_json()["layer"] == 2
    below = audit_network(network, genome, ["a"], seed=5, **size)
    assert np.abs(below.table.ratio.dropna() - 1).max() > 1e-3
    with pytest.raises(InputError, match="layer 2"):
        audit_network(network, genome, ["a"], seed=5, layer=2)


def test_one_seed_gives_one_audit_and_leaves_everything_as_it_was():
    network, genome = make_network().float().train(), Codes(a=bases(3000))
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, again = (audit_network(network, genome, ["a"], seed=7, **SMALL) for _ in range(2))
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    pd.testing.assert_frame_equal(first.growth, again.growth, check_exact=True)
    assert first.as_json() == again.as_json()
    other = audit_network(network, genome, ["a"], seed=8, **SMALL)
    assert not other.growth.equals(first.growth)
    doubled = audit_network(copy.deepcopy(network).double(), genome, ["a"], seed=7, **SMALL)
    pd.testing.assert_frame_equal(first.table, doubled.table, check_exact=True)
    assert network.training and network.stem.convolutions[0].weight.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_short_contigs_are_read_whole():
    genome = Codes(one=bases(1), few=bases(7), short=bases(90), longer=bases(450))
    found = audit_network(make_network(), genome, list(genome.lengths), seed=0, **{**SMALL, "windows": 400})
    places = found.growth.drop_duplicates("contig").set_index("contig")
    assert places.loc["longer", ["start", "end"]].tolist() == [0, 450]
    assert places.loc["few", "counted_bp"] == 6  # a quarter of the contig for turning round
    assert set(found.table.distance_bp) == {1, 3, 10, 30, 100}
    samples = found.table.groupby("distance_bp").samples.first()
    assert samples[1] > samples[30] > samples[100]
    for contig, distances in (("one", set()), ("few", {1, 3}), ("short", {1, 3, 10, 30})):
        alone = audit_network(make_network(), genome, [contig], seed=0, **SMALL)
        assert set(alone.table.distance_bp) == distances
        json.dumps(alone.as_json(), allow_nan=False)
    assert "long enough" in audit_network(make_network(), genome, ["one"], seed=0).reach_in_words


def test_runs_of_n_are_avoided_where_there_is_anything_else():
    mostly = bases(6000)
    mostly[:4000] = UNKNOWN
    found = audit_network(make_network(), Codes(a=mostly), ["a"], seed=0, **SMALL)
    assert found.unknown_share <= 0.01 and found.growth.start.min() >= 3990
    nothing = audit_network(make_network(), Codes(a=np.full(2000, UNKNOWN)), ["a"], seed=0, **SMALL)
    assert nothing.unknown_share == 1 and nothing.growth.growth_rate.lt(0).all()


def test_a_memory_for_ever_neither_grows_nor_dies():
    network = without_recurrence(make_network())
    change(network, 0, "bias_ih", lambda bias: bias[6:12].fill_(60.0))
    found = audit_network(network, Codes(a=bases(2000)), ["a"], seed=0, **SMALL)
    assert "neither die out nor grow within 1,000,000 bp" in found.growth_in_words
    said = found.as_json()
    assert said["growth"]["rev"]["halving_bp"] is said["growth"]["rev"]["doubling_bp"] is None
    json.dumps(said, allow_nan=False)


def test_wrong_calls_are_refused():
    for wrong in (dict(contigs=[]), dict(windows=0), dict(distances_bp=[0]), dict(counted_bp=0)):
        with pytest.raises(ValueError, match="wanted contigs"):
            audit_network(make_network(), Codes(a=bases(50)), **{"contigs": ["a"], "seed": 0, **wrong})
