"""Prediction along a contig: every base once, at its own place, the same on both strands."""

import numpy as np
import pytest
import torch

from gatescope.model import predict as module
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.predict import predict_contig
from tiny_store import LENGTHS, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def make_network(**options):
    config = NetworkConfig(stem_channels=6, hidden_units=5, half_life_bp=(1.0, 4.0), **options)
    return AccessibilityNetwork(config, torch.Generator().manual_seed(1)).double().eval()


def whole(network, store, contig):
    """Read the contig in one piece."""
    codes = torch.from_numpy(np.array(store.codes(contig))).long()
    x = torch.nn.functional.one_hot(codes, 5)[None, :, :4].transpose(1, 2)
    tracks = torch.from_numpy(np.array(store.track(contig, "cuts")))[None, None]
    return network(x, tracks if network.config.tracks else None)


@pytest.mark.parametrize("chunk_bp", [97, 100_000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": ("sequence", "cuts")},
        {"layers": 2},
        {"recurrence": False},
        {"trunk": "dilated", "trunk_layers": 5},
    ],
    ids=str,
)
def test_chunks_equal_one_piece(store, monkeypatch, options, chunk_bp):
    monkeypatch.setattr(module, "_CHUNK_BP", chunk_bp)
    network = make_network(targets=("state",), **options)
    for contig in LENGTHS:
        found = predict_contig(network, store, contig, both_strands=False).state
        expected = torch.sigmoid(whole(network, store, contig).state_logit[0]).detach().numpy()
        assert np.abs(found - expected).max() < 1e-6


def test_both_strands_are_averaged(store):
    network = make_network()
    found = predict_contig(network, store, "four", both_strands=True)
    codes = np.array(store.codes("four"))
    turned = np.where(codes < 4, 3 - codes, codes)[::-1].copy()
    strands = []
    for k, read in enumerate((codes, turned)):
        x = torch.nn.functional.one_hot(torch.from_numpy(read).long(), 5)[None, :, :4].transpose(1, 2)
        rate = network(x).log_cuts[0].exp().detach().numpy()
        strands.append(rate[::-1] if k else rate)
    assert np.abs(found.cuts - np.mean(strands, axis=0)).max() < 1e-6


def test_a_missing_head_is_none(store):
    found = predict_contig(make_network(targets=("state",)), store, "four", both_strands=False)
    assert found.cuts is None
    assert found.state.shape == (LENGTHS["four"],)
