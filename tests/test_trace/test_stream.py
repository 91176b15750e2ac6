"""Whole contigs with the state carried: one pass, whatever the chunks; events at their base, in their direction."""

import numpy as np
import pytest
import torch

from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork, NetworkConfig
from gatescope.trace.stream import stream_contig
from oracles.lstm import run_lstm
from tiny_store import make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def make_network(layers=1, inputs=("sequence",), **options):
    config = NetworkConfig(
        inputs=inputs,
        targets=("state",),
        stem_channels=6,
        stem_width_bp=9,
        hidden_units=4,
        layers=layers,
        **options,
    )
    return AccessibilityNetwork(config, torch.Generator().manual_seed(1)).double().eval()


def collect(network, store, contig, **options):
    length = store.lengths[contig]
    values = np.full((2, network.config.hidden_units, length), np.nan)
    cell = values.copy()
    for chunk in stream_contig(network, store, contig, **options):
        values[chunk.direction, :, chunk.start : chunk.end] = chunk.gates.forget_logit[0].T.numpy()
        cell[chunk.direction, :, chunk.start : chunk.end] = chunk.gates.cell[0].T.numpy()
        assert chunk.gates.error <= 1e-12
    return values, cell


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("chunk_bp", [97, 512, 10_000])
def test_carried_state_equals_one_pass_of_the_oracle(store, layer, chunk_bp):
    network = make_network(layers=2, inputs=("sequence", "cuts"))
    values, cell = collect(network, store, "three", layer=layer, chunk_bp=chunk_bp)
    x = torch.from_numpy(one_hot(np.asarray(store.codes("three"))))[None]
    tracks = torch.from_numpy(np.array(store.track("three", "cuts")))[None, None]
    features = network.features(x, tracks)[0].detach().numpy()
    weights = {
        name.replace("_l0", f"_l{k}"): p.detach().numpy()
        for k, lstm in enumerate(network.recurrent)
        for name, p in lstm.named_parameters()
    }
    oracle = run_lstm(features, weights, 2)[layer]
    assert np.abs(values - oracle["forget_logit"]).max() <= 1e-10
    assert np.abs(cell - oracle["cell"]).max() <= 1e-10


def test_an_event_is_found_at_its_base_in_its_direction(store):
    """A hand-weighted stem sees GGG: fwd forgets from its last base on, rev from its first."""
    config = NetworkConfig(targets=("state",), stem_channels=1, stem_width_bp=3, hidden_units=1, dropout=0.0)
    network = AccessibilityNetwork(config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.norm.weight.fill_(1.0)
        network.stem.weight[0, 2, 0] = 1.0  # G one base to the left
        network.stem.weight[0, 2, 1] = 1.0  # G here
        network.stem.bias.fill_(-1.0)  # fires where both are G
        lstm = network.recurrent[0]
        for suffix in ("", "_reverse"):
            getattr(lstm, f"weight_ih_l0{suffix}")[1] = -10.0  # the forget row
            getattr(lstm, f"bias_ih_l0{suffix}")[1] = 5.0
    values, _ = collect(network, store, "three")
    codes = np.asarray(store.codes("three"))
    fires = np.flatnonzero((codes[1:] == 2) & (codes[:-1] == 2)) + 1
    for direction in (0, 1):
        assert np.array_equal(np.flatnonzero(values[direction, 0] < 0), fires)


def test_the_other_strand_gives_the_mirrored_trace(store, tmp_path):
    """Read the reverse complement with the stem turned and the directions swapped: the same gates, mirrored."""
    network, turned = make_network(), make_network()
    with torch.no_grad():
        turned.stem.weight.copy_(network.stem.weight.flip(1, 2))  # ACGT backwards is its complement
        for name, parameter in turned.recurrent[0].named_parameters():
            other = name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"
            parameter.copy_(getattr(network.recurrent[0], other))
    codes = np.asarray(store.codes("three"))
    reverse = make_store(tmp_path / "reverse")
    np.save(reverse.path / "three.codes.npy", np.where(codes < 4, 3 - codes, codes)[::-1])
    straight, _ = collect(network, store, "three")
    mirrored, _ = collect(turned, reverse, "three")
    assert np.abs(straight - mirrored[::-1, :, ::-1]).max() <= 1e-12
