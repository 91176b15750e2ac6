"""The count head with Tn5's preference: expected cuts are exp(head) times the track, everywhere the same."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatescope.data.sampler import Batch, TiledWindows
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.model.lightning_module import TrainingModule
from gatescope.model.loss import LossWeights
from gatescope.model.network import AccessibilityNetwork, log_bias
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model
from gatescope.model.predict import predict_contig
from gatescope.model.train import train
from tiny_store import make_store

CONFIG = NetworkConfig(
    stem_channels=4, stem_width_bp=5, hidden_units=3, dropout=0.0, direction_dropout=0.0, bias="tn5"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> EncodedStore:
    """The tiny store with a track of relative rates, 0 at unknown bases."""
    folder = tmp_path_factory.mktemp("data")
    plain, arrays = make_store(folder / "plain"), {}
    rng = np.random.default_rng(3)
    for contig, length in plain.lengths.items():
        codes = np.array(plain.codes(contig))
        rate = np.where(codes == 4, 0, rng.gamma(1, 1, length) + 0.05).astype(np.float32)
        tracks = {"cuts": np.array(plain.track(contig, "cuts")), "tn5_bias": rate}
        arrays[contig] = ContigArrays(codes, np.array(plain.state(contig)), tracks)
    keys = ("stage_version", "window_bp", "folds", "inputs", "filters", "seed")
    write_store(folder / "store", arrays.items(), plain.regions, {key: plain.meta[key] for key in keys})
    return EncodedStore(folder / "store")


def make_network(config: NetworkConfig = CONFIG) -> AccessibilityNetwork:
    return AccessibilityNetwork(config, torch.Generator().manual_seed(1)).double().eval()


def make_module(network: AccessibilityNetwork) -> TrainingModule:
    options = {"learning_rate": 0.01, "weight_decay": 0.0, "write_cost": 0.0, "planned_steps": 10}
    return TrainingModule(
        network,
        run="a.f1.1",
        loss_weights=LossWeights(0.7, 0.3),
        seed=1,
        windows_of=lambda index: [],
        **options,
    )


def first_batch(store: EncodedStore, config: NetworkConfig = CONFIG) -> Batch:
    return TiledWindows(store, ["one"], config.tracks + config.bias_tracks, 3)[0]


def loss_by_hand(head: np.ndarray, rate: np.ndarray, cuts: np.ndarray, scored: np.ndarray) -> float:
    """Poisson loss of exp(head) x rate at 1, 50 and 200 bp, and squared error of log counts at 50 and 200 bp."""
    expected, observed = np.exp(head) * np.where(rate > 0, rate, 1) * scored, cuts * scored
    total = 0.0
    for bin_bp in (1, 50, 200):
        n = head.shape[1] // bin_bp
        e, o = (x[:, : n * bin_bp].reshape(-1, bin_bp).sum(1) for x in (expected, observed))
        total += 0.7 * np.mean(e - o * np.log(e + 1e-8)) / math.sqrt(bin_bp) / 3
        if bin_bp > 1:
            total += 0.3 * np.mean((np.log1p(e) - np.log1p(o)) ** 2) / 2
    return total


def test_training_loss_is_the_formula(store):
    network, batch = make_network(replace(CONFIG, targets=("cuts",))), first_batch(store)
    head = network(batch.one_hot).log_cuts.detach().numpy()
    cuts, scored = batch.cuts.double().numpy(), (batch.state != 255).numpy()
    rate = batch.tracks[:, 0].double().numpy()
    assert (rate == 0).any() and (rate[~scored] == 0).all()
    loss = make_module(network).training_step(batch, 0)
    assert loss.item() == pytest.approx(loss_by_hand(head, rate, cuts, scored), rel=1e-6)
    assert loss.item() != pytest.approx(loss_by_hand(head, np.ones_like(rate), cuts, scored), rel=1e-3)


def test_gradient_of_the_head_is_the_formula(store):
    network, batch = make_network(replace(CONFIG, targets=("cuts",))), first_batch(store)
    head = network(batch.one_hot).log_cuts.detach().numpy()
    make_module(network).training_step(batch, 0).backward()
    cuts, scored = batch.cuts.double().numpy(), (batch.state != 255).numpy()
    rate, step = batch.tracks[:, 0].double().numpy(), 1e-5
    up, down = (loss_by_hand(head + change, rate, cuts, scored) for change in (step, -step))
    assert network.heads["cuts"].bias.grad.item() == pytest.approx((up - down) / (2 * step), rel=1e-5)


def test_a_value_that_is_not_there_is_neutral():
    rate = torch.tensor([0.0, 1.0, 2.0, 0.5])
    assert torch.equal(log_bias(rate), torch.tensor([0.0, 0.0, math.log(2), -math.log(2)]))


@pytest.mark.parametrize("both_strands", [False, True])
def test_prediction_is_the_heads_times_the_track(store, both_strands):
    network = make_network()
    plain = make_network(replace(CONFIG, bias="none"))
    plain.load_state_dict(network.state_dict())
    found, without = (
        predict_contig(net, store, "four", both_strands=both_strands) for net in (network, plain)
    )
    rate = store.track("four", "tn5_bias")
    assert np.allclose(found.cuts, without.cuts * np.where(rate > 0, rate, 1), rtol=1e-6)
    assert np.array_equal(found.state, without.state)
    assert found.cuts.dtype == np.float32


def test_the_network_itself_does_not_read_it(store):
    assert CONFIG.tracks == () and CONFIG.bias_tracks == ("tn5_bias",)
    network, batch = make_network(), first_batch(store)
    assert network.stem.convolutions[0].in_channels == 4
    module = make_module(network)
    with_rate = module._expect(batch)
    other = module._expect(batch._replace(tracks=batch.tracks + 1))
    assert torch.equal(with_rate.state_logit, other.state_logit)
    assert not torch.equal(with_rate.log_cuts, other.log_cuts)


def test_it_stands_behind_the_inputs(store):
    config = replace(CONFIG, inputs=("sequence", "tn5_bias"))
    network, batch = make_network(config), first_batch(store, config)
    outputs = make_module(network)._expect(batch)
    head = network(batch.one_hot, batch.tracks[:, :1]).log_cuts
    assert torch.equal(outputs.log_cuts, head + log_bias(batch.tracks[:, 1]))


def test_a_run_remembers_its_bias(store, tmp_path):
    network = {"stem_channels": 4, "stem_width_bp": 5, "hidden_units": 3, "bias": "tn5"}
    training = {"epochs": 1, "windows_per_epoch": 4, "batch_size": 2, "sampling": {"jitter_bp": 50}}
    options = {"run": "a.f1.1", "network": network, "training": training, "fold": "f1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own use of deprecated torch names
        train(store.path, tmp_path / "run", **options)
    loaded, meta = load_model(tmp_path / "run")
    assert loaded.config.bias == meta["network"]["bias"] == "tn5"


def test_a_store_without_the_track_is_refused(tmp_path):
    plain = make_store(tmp_path / "plain")
    network = {"stem_channels": 4, "stem_width_bp": 5, "hidden_units": 3, "bias": "tn5"}
    with pytest.raises(InputError, match="track 'tn5_bias' is not in the encoded store"):
        train(plain.path, tmp_path / "run", run="a.f1.1", network=network, training={}, fold="f1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias": "pwm"}, "models: bias: 'pwm'; wanted one of none, tn5"),
        ({"bias": "tn5", "targets": ("state",)}, "models: bias: 'tn5', but no head for cuts"),
    ],
)
def test_settings_that_make_no_sense(changes, words):
    with pytest.raises(InputError, match=words):
        NetworkConfig(**changes)
