"""Several processes train one network: what one process does, to rounding; and none waits for one that is gone."""

import warnings

import numpy as np
import pytest
import torch

from gatescope.data.sampler import Batch
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.model.checkpoints import LAST, Start, network_weights, recorded_rows
from gatescope.model.launch import run_team
from gatescope.model.loss import LossWeights, prediction_loss
from gatescope.model.network import Outputs
from gatescope.model.network_config import NetworkConfig
from gatescope.model.plan import Training
from gatescope.model.team import ALONE, Team, uniform
from gatescope.model.train import _untrained
from team_work import fit, second_fails
from tiny_store import make_store


def test_processes_share_out_a_batch():
    numbers = torch.arange(7)
    batch = Batch(*(numbers[:, None] for _ in Batch._fields))
    for size in (1, 2, 3):
        team = [Team(rank, size) for rank in range(size)]
        rows = torch.cat([member.training_share(batch)[0].state[:, 0] for member in team])
        assert sorted(rows.tolist()) == list(range(7))
        padded = torch.stack([member.share(batch).state[:, 0] for member in team], dim=1)
        assert padded.flatten()[:7].tolist() == list(range(7))
        drawn = [uniform(member.masks(3, 7), 0 if size > 1 else 7, 2) for member in team]
        whole = torch.rand(7, 2, generator=torch.Generator().manual_seed(3))
        assert all(
            torch.equal(part, whole[member.rank :: size]) for part, member in zip(drawn, team, strict=True)
        )


def test_the_mean_of_the_losses_is_the_loss_of_the_batch():
    random = np.random.default_rng(1)
    state = torch.from_numpy(random.choice([0, 1, 255], (5, 400), p=[0.5, 0.2, 0.3]).astype(np.uint8))
    state[0, :350] = 255  # so that shares of windows and of scored bases differ
    cuts = torch.from_numpy(random.poisson(0.3, (5, 400)).astype(np.float64))
    outputs = Outputs(*torch.from_numpy(random.normal(size=(2, 5, 400))))
    batch, weights = Batch(state, state, cuts, state), LossWeights(0.1, 0.3)
    for size in (2, 3, 5):
        losses = []
        for rank in range(size):
            mine, shares = Team(rank, size).training_share(batch)
            part = Outputs(*(values[rank::size] for values in outputs))
            losses.append(prediction_loss(part, mine, weights, shares))
        assert torch.stack(losses).mean().item() == pytest.approx(
            prediction_loss(outputs, batch, weights).item(), rel=1e-12
        )


def settings(store, folder, plan, network):
    folder.mkdir()
    data = EncodedStore(store)
    net = _untrained(NetworkConfig(**network), data, data.fold("f1"), 1).double()
    return net, store, plan, "f1", "small", 1, folder, Start(None, 0), 0, {}


@pytest.mark.interrupt
@pytest.mark.parametrize(
    "network",
    [
        {"stem": "dilated", "stem_layers": 2, "layers": 2},
        {"strands": "tied", "cell": "coupled"},
    ],
)
def test_two_processes_do_what_one_does(tmp_path, network):
    """20 steps over gloo in float64: weights and running statistics within 1e-10, dropout included; an odd batch."""
    store = make_store(tmp_path / "store").path
    plan = Training(epochs=2, windows_per_epoch=50, batch_size=5, device="cpu")
    small = {"stem_channels": 4, "stem_width_bp": 5, "hidden_units": 4, **network}
    one, two = settings(store, tmp_path / "one", plan, small), settings(store, tmp_path / "two", plan, small)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own use of deprecated torch names
        fit(ALONE, *one)
    run_team(2, fit, *two)
    expected, found = (network_weights(tmp_path / name / LAST) for name in ("one", "two"))
    untrained = network_weights_of_the_untrained(store, small)
    assert set(expected) == set(found)
    for name, values in expected.items():
        if values.is_floating_point():
            assert values.dtype == torch.float64
            assert (values - found[name]).abs().max() <= 1e-10, name
    moved = [name for name, values in expected.items() if (values - untrained[name]).abs().max() > 1e-3]
    assert len(moved) > 0.8 * len(expected)
    rows = [recorded_rows(tmp_path / name / LAST, "TrainingRecord") for name in ("one", "two")]
    assert [row["step"] for row in rows[0]] == [10, 20]
    for mine, other in zip(*rows, strict=True):
        assert other == pytest.approx(
            mine, rel=1e-6
        )  # scores of validation windows, in float32 where they are summed


def network_weights_of_the_untrained(store, network):
    data = EncodedStore(store)
    return _untrained(NetworkConfig(**network), data, data.fold("f1"), 1).state_dict()


@pytest.mark.interrupt
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("killed", InputError, r"training: devices: a process of the training was killed \(SIGKILL\)"),
        ("mistake", InputError, "here: no such thing"),
        ("bug", RuntimeError, "ZeroDivisionError: two by nought"),
    ],
)
def test_none_waits_for_one_that_is_gone(how, error, message):
    with pytest.raises(error, match=message):
        run_team(2, second_fails, how)
