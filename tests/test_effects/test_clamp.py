"""Clamped gates: the identity, closed forms, an independent loop; nothing before the first clamp moves."""

import numpy as np
import pytest
import torch

from gatescope.effects.clamp import (
    GATES,
    Clamp,
    intervene,
    predict_clamped,
    tabulate_predictions,
    tabulate_states,
)
from gatescope.errors import InputError
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from oracles.clamped_lstm import run_clamped

HIDDEN, LENGTH = 4, 120
ALL = [(0, LENGTH)]
LETTERS = dict(zip(GATES, "ifgo", strict=True))


def make_network(layers=2, inputs=("sequence", "signal"), dtype=torch.float64, scale=1.5, seed=0, **options):
    """A network whose recurrence is strong enough for a clamp of one unit to move all others."""
    config = NetworkConfig(
        inputs=inputs, stem_channels=6, stem_width_bp=5, hidden_units=HIDDEN, layers=layers, **options
    )
    generator = torch.Generator().manual_seed(seed)
    network = AccessibilityNetwork(config, generator).eval()
    with torch.no_grad():
        for parameter in network.recurrent.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale / 2)
        for head in network.heads.values():
            head.weight.mul_(10)
    return network.to(dtype)


def draw_inputs(network, windows=3, length=LENGTH, seed=1):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 4, (windows, length), generator=generator)
    tracks = torch.rand(windows, len(network.config.tracks), length, generator=generator) * 3
    return torch.nn.functional.one_hot(codes, 4).transpose(1, 2).to(torch.uint8), tracks


def weights_of(network):
    return {
        name.replace("_l0", f"_l{k}"): p.detach().numpy()
        for k, lstm in enumerate(network.recurrent)
        for name, p in lstm.named_parameters()
    }


def oracle_of(network, inputs, window, held):
    features = network.features(*inputs)[window].detach().numpy()
    return run_clamped(features, weights_of(network), network.config.layers, held)


def largest(outputs, others):
    return max(float((a - b).detach().abs().max()) for a, b in zip(outputs, others, strict=True))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("layers", [1, 2])
def test_clamping_to_the_own_value_is_the_identity(gate, layers):
    network = make_network(layers)
    inputs = draw_inputs(network)
    clamps = [
        Clamp(gate, range(HIDDEN), direction, ALL, "own", layer=layer)
        for direction in ("fwd", "rev")
        for layer in range(layers)
    ]
    found = intervene(network, *inputs, clamps)
    assert largest(found.clamped.outputs, network(*inputs)) <= 1e-12
    assert all(float(change.abs().max()) <= 1e-12 for states in found.state_changes for change in states)


def test_without_clamps_nothing_is_run_again():
    network = make_network()
    inputs = draw_inputs(network)
    found = intervene(network, *inputs, [])
    assert all(torch.equal(a, b) for a, b in zip(*(run.outputs for run in found[:2]), strict=True))
    assert largest(predict_clamped(network, *inputs, []), network(*inputs)) <= 1e-12


HELD = {
    "one base": [("forget_gate", [1], "fwd", [(40, 41)], 0.0, 0)],
    "rev": [("forget_gate", [0, 2], "rev", [(30, 50), (70, 71)], 0.0, 0)],
    "first and last base": [("input_gate", [3], "fwd", [(0, 1), (119, 120)], 1.0, 0)],
    "second layer": [("output_gate", [0], "rev", [(10, 20)], 0.25, 1)],
    "everything": [
        ("candidate", [0, 1, 2, 3], "fwd", [(20, 60)], -0.5, 0),
        ("forget_gate", [2], "rev", [(0, 120)], 1.0, 0),
        ("input_gate", [1], "fwd", [(55, 100)], 0.0, 1),
        ("output_gate", [1, 3], "rev", [(119, 120)], 1.0, 1),
    ],
}


@pytest.mark.parametrize("case", HELD)
def test_states_and_predictions_equal_an_independent_loop(case):
    network = make_network()
    inputs = draw_inputs(network)
    found = intervene(network, *inputs, [Clamp(*rest, layer=layer) for *rest, layer in HELD[case]])
    held = {
        (layer, ("fwd", "rev").index(direction), LETTERS[gate], unit, position): value
        for gate, units, direction, intervals, value, layer in HELD[case]
        for unit in units
        for start, end in intervals
        for position in range(start, end)
    }
    for window in range(3):
        oracle = oracle_of(network, inputs, window, held)
        for states, wanted in zip(found.clamped.layers, oracle, strict=True):
            for name in ("hidden", "cell"):
                assert np.abs(getattr(states, name)[window].numpy() - wanted[name]).max() <= 1e-12, name
        features = oracle[-1]["hidden"].reshape(2 * HIDDEN, -1)
        for name, got in zip(("cuts", "state"), found.clamped.outputs, strict=True):
            head = network.heads[name]
            wanted = head.weight.detach().numpy() @ features + head.bias.item()
            assert np.abs(got[window].detach().numpy() - wanted[0]).max() <= 1e-12, name


def test_flank_mean_and_own_take_their_values_from_the_unclamped_run():
    """A second clamp changes the gates; neither value follows, and each window has its own."""
    network = make_network(1)
    inputs = draw_inputs(network)
    flank = [(0, 30), (60, 90)]
    clamps = [
        Clamp("candidate", [0], "rev", ALL, 1.0),
        Clamp("forget_gate", [1], "rev", [(35, 40)], "flank mean", flank=flank),
        Clamp("output_gate", [2], "rev", ALL, "own"),
    ]
    found = intervene(network, *inputs, clamps)
    for window in range(3):
        free = oracle_of(network, inputs, window, {})[0]
        mean = np.concatenate([free["f"][1, 1, start:end] for start, end in flank]).mean()
        held = {(0, 1, "g", 0, t): 1.0 for t in range(LENGTH)}
        held |= {(0, 1, "f", 1, t): mean for t in range(35, 40)}
        held |= {(0, 1, "o", 2, t): free["o"][1, 2, t] for t in range(LENGTH)}
        wanted = oracle_of(network, inputs, window, held)[0]
        assert np.abs(found.clamped.layers[0].cell[window].numpy() - wanted["cell"]).max() <= 1e-12


def test_masks_per_window_equal_intervals_window_by_window():
    network = make_network()
    inputs = draw_inputs(network, windows=4)
    spans = [(50, 60), (3, 110), None, (118, 120)]
    mask = np.zeros((4, LENGTH), dtype=bool)
    for row, span in zip(mask, spans, strict=True):
        row[slice(*(span or (0, 0)))] = True
    together = predict_clamped(network, *inputs, [Clamp("forget_gate", [0, 1], "rev", mask, 0.0)])
    for n, span in enumerate(spans):
        clamps = [Clamp("forget_gate", [0, 1], "rev", [span], 0.0)] if span else []
        alone = predict_clamped(network, *(t[n : n + 1] for t in inputs), clamps)
        assert largest([t[n] for t in together], [t[0] for t in alone]) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_read_before_the_first_clamp_is_reused_bit_for_bit(dtype):
    network = make_network(dtype=dtype)
    inputs = draw_inputs(network)
    starts, ends = torch.tensor([30, 70, 100]), torch.tensor([40, 90, 101])
    at = torch.arange(LENGTH)
    mask = (at >= starts[:, None]) & (at < ends[:, None])
    for direction, name in enumerate(("fwd", "rev")):
        found = intervene(network, *inputs, [Clamp("forget_gate", [0], name, mask, 0.5)])
        is_before = at >= ends[:, None] if direction else at < starts[:, None]
        for layer, states in enumerate(found.state_changes):
            for change in states:
                assert not change[:, direction].transpose(1, 2)[is_before].any()
                assert change[:, direction].transpose(1, 2)[~is_before].any()
                assert bool(change[:, 1 - direction].any()) is (layer == 1)


def test_later_of_two_clamps_counts():
    network = make_network(1)
    inputs = draw_inputs(network)
    first, second = Clamp("forget_gate", [0], "fwd", ALL, 0.0), Clamp("forget_gate", [0], "fwd", ALL, 0.7)
    assert torch.equal(
        predict_clamped(network, *inputs, [first, second]).state_logit,
        predict_clamped(network, *inputs, [second]).state_logit,
    )


def make_wire(forget=0.99):
    """One unit per direction without recurrence: writes where it reads A, keeps `forget` of it, shows it."""
    config = NetworkConfig(targets=("state",), stem_channels=1, stem_width_bp=1, hidden_units=1)
    network = AccessibilityNetwork(config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.stem.norms[0].weight.fill_(1.0)
        network.stem.norms[0].running_var.fill_(1.0 - network.stem.norms[0].eps)
        network.stem.convolutions[0].weight[0, 0, 0] = 1.0
        for suffix in ("", "_reverse"):
            getattr(network.recurrent[0], f"weight_ih_l0{suffix}")[2] = 2.0  # candidate: tanh(2) at A, else 0
            getattr(network.recurrent[0], f"bias_ih_l0{suffix}")[1] = np.log(forget / (1 - forget))
        network.heads["state"].weight.fill_(3.0)
    return network


@pytest.mark.parametrize(("direction", "written", "cut"), [(0, 10, 60), (1, 90, 40)])
def test_a_cut_wire_drops_the_readout_as_the_closed_form_says(direction, written, cut):
    network = make_wire()
    codes = torch.full((1, 100), 3)
    codes[0, written] = 0
    one_hot = torch.nn.functional.one_hot(codes, 4).transpose(1, 2)
    clamp = Clamp("forget_gate", [0], ("fwd", "rev")[direction], [(cut, cut + 1)], 0.0)
    found = intervene(network, one_hot, None, [clamp])
    away = np.abs(np.arange(100) - written)  # bases since the write
    memory = 0.5 * np.tanh(2.0) * 0.99**away
    is_behind = np.arange(100) <= cut if direction else np.arange(100) >= cut
    drop = np.where(is_behind, -3.0 * 0.5 * np.tanh(memory), 0.0)
    assert np.abs(found.logit_change[0].detach().numpy() - drop).max() <= 1e-12
    assert not found.clamped.layers[0].cell[0, direction, 0, is_behind].any()


def test_without_writes_the_cell_state_is_what_the_forget_gates_left():
    network = make_network(1)
    inputs = draw_inputs(network)
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()  # the forget gates cannot notice
    nothing = intervene(network, *inputs, [Clamp("input_gate", range(HIDDEN), "fwd", ALL, 0.0)])
    assert not nothing.clamped.layers[0].cell[:, 0].any()
    late = intervene(network, *inputs, [Clamp("input_gate", range(HIDDEN), "fwd", [(50, LENGTH)], 0.0)])
    forget = np.stack([oracle_of(network, inputs, n, {})[0]["f"][0, :, 50:] for n in range(3)])
    start = late.baseline.layers[0].cell[:, 0, :, 49:50].numpy()
    assert (
        np.abs(late.clamped.layers[0].cell[:, 0, :, 50:].numpy() - start * forget.cumprod(2)).max() <= 1e-12
    )


def test_it_stands_in_for_the_network():
    """The same shapes, and float32 states of the kernel and of the steps agree as well as float32 can."""
    network = make_network(dtype=torch.float32, scale=0.5)
    inputs = draw_inputs(network)
    outputs = predict_clamped(network, *inputs, [Clamp("forget_gate", [0], "rev", ALL, "own", layer=1)])
    plain = network(*inputs)
    assert [t.shape for t in outputs] == [t.shape for t in plain]
    assert largest(outputs, plain) <= 1e-5


def test_tables_name_the_largest_changes():
    network = make_network(1)
    inputs = draw_inputs(network)
    found = intervene(network, *inputs, [Clamp("output_gate", [2], "fwd", [(33, 34)], 0.0)])
    table = tabulate_predictions(found).set_index(["window", "quantity"])
    cuts, before = (np.exp(run.outputs.log_cuts.detach().numpy()) for run in (found.clamped, found.baseline))
    position = np.abs(cuts - before)[1].argmax()
    row = table.loc[(1, "cuts")]
    assert row.position == position
    assert row.largest_change == pytest.approx((cuts - before)[1, position])
    assert set(table.index.get_level_values(1)) == {"cuts", "state_probability", "state_logit"}
    states = tabulate_states(found)
    assert len(states) == 3 * 2 * HIDDEN
    assert not states[states.direction == "rev"].largest_hidden_change.any()
    unit = states[(states.window == 0) & (states.direction == "fwd") & (states.unit == 2)]
    wanted = (found.clamped.layers[0].hidden - found.baseline.layers[0].hidden)[0, 0, 2].abs().max()
    assert unit.largest_hidden_change.item() == float(wanted)


MISTAKES = {
    "reset_gate": dict(gate="reset_gate"),
    "backward": dict(direction="backward"),
    "units \\[4\\]": dict(units=[0, 4]),
    "units \\[-1\\]": dict(units=[-1]),
    "units \\[\\]": dict(units=[]),
    "layer 2": dict(layer=2),
    "\\[110, 121\\)": dict(positions=[(110, 121)]),
    "\\[-1, 3\\)": dict(positions=[(-1, 3)]),
    "\\[5, 5\\)": dict(positions=[(5, 5)]),
    "wanted intervals": dict(positions=[5, 7, 9]),
    "mask of shape": dict(positions=np.ones(7, dtype=bool)),
    "value 1.5": dict(value=1.5),
    "value -0.1": dict(value=-0.1),
    "value nan": dict(value=float("nan")),
    "mean of flank": dict(value="mean of flank"),
    "with flank None": dict(value="flank mean"),
    "with flank \\[": dict(flank=[(0, 3)]),
    "holds no position": dict(value="flank mean", flank=np.zeros(LENGTH, dtype=bool)),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    network = make_network()
    good = dict(gate="forget_gate", units=[0], direction="fwd", positions=[(3, 5)], value=0.0)
    with pytest.raises(InputError, match=message):
        predict_clamped(network, *draw_inputs(network), [Clamp(**{**good, **MISTAKES[message]})])
