"""Gradient reach: against autograd through a cell written out base by base, a closed form, and its own rule."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.model.gradient_reach import measure_gradient_reach
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.reach_alarms import COLUMNS, alarms, reach_words, reaches

SMALL = {"stem_channels": 6, "stem_width_bp": 5, "hidden_units": 3}


def make(**settings) -> AccessibilityNetwork:
    network = AccessibilityNetwork(NetworkConfig(**{**SMALL, **settings}), torch.Generator().manual_seed(3))
    with torch.no_grad():
        for lstm in network.lstm_layers:  # so that h matters
            for name, parameter in lstm.named_parameters():
                if "weight_hh" in name:
                    parameter.mul_(2)
    network.tie()
    return network.eval()


def windows(count: int, length: int) -> torch.Tensor:
    bases = torch.randint(4, (count, length), generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.one_hot(bases, 4).transpose(1, 2).to(torch.uint8)


def slow_direction(lstm, read, suffix):
    """Read (L, C) base by base with leaves added to every h and c, whose gradients are dL/dh_t and dL/dc_t."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(lstm, f"{k}_l0{suffix}") for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = c = torch.zeros(lstm.hidden_size, dtype=torch.float64)
    to_h, to_c, shown = [], [], []
    for x in read:
        i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
        to_c.append(torch.zeros_like(h, requires_grad=True))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g) + to_c[-1]
        to_h.append(torch.zeros_like(h, requires_grad=True))
        h = torch.sigmoid(o) * torch.tanh(c) + to_h[-1]
        shown.append(h)
    return torch.stack(shown), to_h, to_c


@pytest.mark.parametrize(
    "settings", [{}, {"cell": "coupled"}, {"strands": "tied"}, {"layers": 2}, {"targets": ("state",)}]
)
def test_gradients_are_those_of_autograd(settings):
    network, one_hot = make(**settings), windows(2, 20)
    table = measure_gradient_reach(network, one_hot)
    exact = network.double()
    layers = exact.lstm_layers
    top = len(layers)
    for direction, suffix, turn in (("fwd", "", 0), ("rev", "_reverse", 1)):
        expected = {"hidden": [], "cell": []}
        for window in range(2):
            read = exact.features(one_hot[window : window + 1])
            for lstm in layers[:-1]:
                read = lstm(read)[0]
            read = read[0].detach()
            shown, to_h, to_c = slow_direction(layers[-1], read.flip(0) if turn else read, suffix)
            for head in exact.heads.values():
                prediction = shown[-1] @ head.weight[0].chunk(2)[turn]
                for name, leaves in (("hidden", to_h), ("cell", to_c)):
                    found = torch.autograd.grad(prediction, leaves, retain_graph=True)
                    norms = torch.stack(found[::-1]).norm(dim=1)
                    expected[name].append((norms / norms[0]).numpy())
        rows = table[(table.direction == direction) & (table.layer == top)]
        assert rows.distance_bp.tolist() == list(range(20))
        for name, values in expected.items():
            np.testing.assert_allclose(rows[name], np.mean(values, axis=0), rtol=1e-9)


def test_a_layer_below_another_gets_what_that_one_sends_to_the_last_base():
    network, one_hot = make(layers=2, targets=("state",)), windows(1, 15)
    table = measure_gradient_reach(network, one_hot)
    exact = network.double()
    lower, upper = exact.lstm_layers
    shown, _, to_c = slow_direction(lower, exact.features(one_hot)[0].detach(), "")
    with torch.no_grad():
        other = lower(exact.features(one_hot))[0][0, :, 3:]
        fixed = lower(exact.features(one_hot))[0][0, :-1, :3]
    below = torch.cat(
        [torch.cat([fixed, shown[-1:]]), other], dim=1
    )  # earlier bases reach the upper layer only through p
    prediction = upper(below[None])[0][0, -1] @ exact.heads["state"].weight[0]
    norms = torch.stack(torch.autograd.grad(prediction, to_c)[::-1]).norm(dim=1)
    rows = table[(table.direction == "fwd") & (table.layer == 1)]
    np.testing.assert_allclose(rows.cell, norms / norms[0], rtol=1e-9)


def test_a_constant_forget_gate_leaves_its_powers():
    """No recurrent weights, no input to the forget gate: dL/dc_(p-d) is f^d of dL/dc_p, and dL/dh ends at p."""
    network = make(half_life_bp=(50.0, 50.0))
    with torch.no_grad():
        for name, parameter in network.recurrent[0].named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
            elif "weight_ih" in name:
                parameter[3:6] = 0
    table = measure_gradient_reach(network, windows(3, 700))
    np.testing.assert_allclose(table.cell, 2 ** (-table.distance_bp / 50), rtol=1e-6)  # the bias is float32
    assert (table.hidden == (table.distance_bp == 0)).all()
    fwd = table[table.direction == "fwd"]
    assert fwd.distance_bp.is_unique
    assert fwd.distance_bp.iloc[-1] == 699
    assert np.diff(np.log2(fwd.distance_bp[fwd.distance_bp > 32])).max() < 1 / 10
    named = table.assign(network="trained")
    first, _ = reaches(named)
    assert first.reach_bp == pytest.approx((50 * math.log2(10), 50 * math.log2(100)), rel=0.05)
    assert not alarms(named, 49.0)
    assert [text.split(":")[0] for text in alarms(named, 60.0)] == [
        "trained network, layer 1, fwd",
        "trained network, layer 1, rev",
    ]


def rows(*cell: float) -> pd.DataFrame:
    values = [("trained", 1, "fwd", 10 * n, 1.0, value) for n, value in enumerate(cell)]
    return pd.DataFrame(values, columns=list(COLUMNS))


def test_alarms_and_words():
    (quiet,) = reaches(rows(1, 0.5, 0.2))
    assert reach_words(quiet) == "10% left after more than 20 bp, 1% left after more than 20 bp"
    assert not alarms(rows(1, 0.5, 0.2), 1000)
    assert not alarms(rows(1, 9.9, 0.2), 1)
    (exploding,) = alarms(rows(1, 10.1, 0.2), 1)
    assert (
        exploding
        == "trained network, layer 1, fwd: the training signal explodes: it grows to 10.1 times what enters"
    )
    (vanishing,) = alarms(rows(1, 0.5, 0.009, 0.2), 4)
    assert (
        "it is left after 20 bp, sooner than by the memory of the unit planned shortest (4 bp: 27 bp)"
        in vanishing
    )
    assert not alarms(rows(1, 0.5, 0.009, 0.2), 3)
    (nothing,) = alarms(rows(*[math.nan] * 3), 1)
    assert nothing.endswith("no training signal enters the recurrence")


def test_nothing_to_measure_without_recurrence_and_nothing_changed():
    network = make(recurrence=False)
    table = measure_gradient_reach(network, windows(1, 40))
    assert table.empty
    assert tuple(table.columns) == COLUMNS[1:]
    network = make()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_gradient_reach(network, windows(1, 40))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
