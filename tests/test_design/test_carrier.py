"""Carriers of hand-weighted networks with closed forms, of random ones against an independent cell."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.design import carrier
from gatescope.design.carrier import design, list_words, measure_retention, predict_retention, settle
from gatescope.errors import InputError
from gatescope.genome.sequence import encode_bases, one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.trace.replay import trace_windows
from oracles.lstm import sigmoid

SUFFIX = ("_l0", "_l0_reverse")
FORGET = 1  # torch order i, f, g, o
FLANK = 1200  # bp, a whole number of every word


def blank_network(stem_width_bp, channels, hidden, inputs=("sequence",)):
    """A network with all weights zero and the input gate shut."""
    config = NetworkConfig(
        inputs=inputs,
        targets=("state",),
        stem_channels=channels,
        stem_width_bp=stem_width_bp,
        hidden_units=hidden,
    )
    network = AccessibilityNetwork(config).eval()
    with torch.no_grad():
        for parameter in [*network.stem.convolutions.parameters(), *network.recurrent.parameters()]:
            parameter.zero_()
        for suffix in SUFFIX:
            getattr(network.recurrent[0], f"bias_ih{suffix}")[:hidden] = -40.0
    return network


def base_reader(table, inputs=("sequence",)):
    """Forget logit by `table` (direction, unit, base), times `seen`; gates see their own base only."""
    table = torch.as_tensor(table)
    hidden = table.shape[1]
    network = blank_network(1, 4, hidden, inputs)
    with torch.no_grad():
        network.stem.convolutions[0].weight[:, :4, 0] = torch.eye(4)
        for direction, suffix in enumerate(SUFFIX):
            rows = slice(FORGET * hidden, (FORGET + 1) * hidden)
            getattr(network.recurrent[0], f"weight_ih{suffix}")[rows] = table[direction].float()
    return network


def seen(network, word):
    """What the stem's normalisation makes of a 1: the strongest feature in the middle of a word."""
    features = network.features(torch.from_numpy(one_hot(encode_bases(word)))[None])
    return float(features[0, len(word) // 2].detach().double().max())


def random_network(seed, scale=1.0, hidden=5):
    config = NetworkConfig(
        stem_channels=6, stem_width_bp=7, hidden_units=hidden, half_life_bp=(2.0, 12.0), resting_memory=0.0
    )
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if "weight" in name:
                parameter *= scale
    return network


def save(folder, network, **summary):
    weights = network.state_dict()
    save_model(folder / "model", network.config, weights, weights, {"run": "sequence.f1.1"})
    meta = json.loads((folder / "model" / "model.json").read_text())
    (folder / "trace").mkdir()
    content = {"model_sha256": meta["sha256"], **summary}
    (folder / "trace" / "summary.json").write_text(json.dumps(content))
    return {"model": folder / "model", "trace": folder / "trace", "output": folder / "design"}


def test_words_are_those_whose_endless_repeats_differ():
    words = list_words(6)
    counts = [sum(len(word) == length for word in words) for length in range(1, 7)]
    assert counts == [4, 6, 20, 60, 204, 670]  # Moreau's necklace-counting function for 4 letters
    endless = lambda word: min((word * 2 * (12 // len(word)))[cut:][:12] for cut in range(len(word)))  # noqa: E731
    every = ("".join(w) for n in (1, 2, 3, 4) for w in itertools.product("ACGT", repeat=n))
    assert {endless(word) for word in every} == {endless(word) for word in list_words(4)}
    assert len({endless(word) for word in list_words(4)}) == len(list_words(4))


def test_gates_that_see_one_base_give_the_closed_form():
    #                 A    C    G    T
    table = [
        [[1.0, 6.0, 2.0, 0.0], [1.0, 2.0, 3.0, 0.0]],  # fwd: unit 0 holds over C
        [[0.0, 1.0, 1.0, 1.0], [2.0, 3.0, 0.0, 7.0]],  # rev: unit 1 holds over T
    ]
    network = base_reader(table).double()
    words = list_words(3)
    for direction, unit in ((0, 0), (1, 1)):
        carriers = settle(network, words, direction, 50)
        assert carriers.is_settled.all()
        predicted = predict_retention(carriers, 50)
        for row, word in enumerate(words):
            logits = [table[direction][unit]["ACGT".index(base)] for base in (word * 50)[:50]]
            f = [sigmoid(logit * seen(network, "A")) for logit in logits]
            assert float(predicted[row, unit]) == pytest.approx(math.prod(f), rel=1e-12)
        # without recurrent weights the gates cannot notice what the cell holds
        measured = measure_retention(carriers, 50, unit)
        torch.testing.assert_close(measured, predicted[:, unit], rtol=1e-10, atol=1e-15)


def test_best_word_unit_and_numbers_in_the_files(tmp_path):
    table = np.full((2, 3, 4), 1.0)
    table[0, 2, 0] = 5.0  # fwd: unit 2 holds over A
    table[1, 1, 2] = 6.0  # rev: unit 1 holds over G
    network = base_reader(table)
    paths = save(tmp_path, network)
    design(**paths, settings={"max_word_bp": 3, "length_bp": 130})
    designs = pd.read_csv(paths["output"] / "designs.tsv", sep="\t")
    assert len(designs) == 2 * 30
    best = designs[designs["rank"] == 1].set_index("direction")
    for direction, unit, word, logit in (("fwd", 2, "A", 5.0), ("rev", 1, "G", 6.0)):
        row = best.loc[direction]
        f = sigmoid(logit * seen(network.double(), "A"))
        assert (row["unit"], row["word"], row["tracks"], row["settled"]) == (unit, word, "none", True)
        assert row["half_life_bp"] == pytest.approx(math.log(0.5) / math.log(f), rel=1e-8)
        assert row["predicted_retention"] == pytest.approx(f**130, rel=1e-8)
        assert row["measured_retention"] == pytest.approx(f**130, rel=1e-8)
        assert row["abs_error"] < 1e-12
        assert row["replay_error"] < 1e-12
    fasta = (paths["output"] / "constructs.fa").read_text()
    records = [record.split("\n", 1) for record in fasta.split(">")[1:]]
    assert [body.replace("\n", "") for _, body in records] == ["A" * 130, "G" * 130]
    assert max(len(line) for line in records[0][1].split("\n")) == 60
    retention = f"predicted_retention={best.loc['fwd', 'predicted_retention']:.6g}"
    for part in ("unit=2", "direction=fwd", "word=A", retention, "model_sha256="):
        assert part in records[0][0]


def test_a_stem_that_wants_a_pair_makes_a_pair_the_carrier():
    """Forget logit -1, but +5 where the base and both its neighbours spell ACA or CAC."""
    network = blank_network(3, 2, 1)
    with torch.no_grad():
        for channel, word in enumerate(("ACA", "CAC")):
            network.stem.convolutions[0].weight[channel] = torch.from_numpy(
                one_hot(encode_bases(word)).astype(np.float32)
            )
            network.stem.convolutions[0].bias[channel] = -2.0
        for suffix in SUFFIX:
            getattr(network.recurrent[0], f"weight_ih{suffix}")[FORGET] = 6.0
            getattr(network.recurrent[0], f"bias_hh{suffix}")[FORGET] = -1.0
    words, network = list_words(3), network.double()
    for direction in range(2):
        carriers = settle(network, words, direction, 33)
        predicted = predict_retention(carriers, 33)[:, 0]
        assert words[int(predicted.argmax())] == "AC"
        # no end of the construct is felt: the stem reads on into the carrier
        assert float(predicted.max()) == pytest.approx(sigmoid(6 * seen(network, "ACA") - 1) ** 33, rel=1e-12)


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("length_bp", [37, 12])
def test_prediction_equals_the_trace_of_a_long_sequence(direction, length_bp):
    """The construct inside its own carrier, traced as one window from both ends."""
    network = random_network(4).double()
    words = ["A", "AC", "ACG", "AGC", "AAT"]
    predicted = predict_retention(settle(network, words, direction, length_bp), length_bp)
    for row, word in enumerate(words):
        sequence = (word * 2500)[: FLANK + length_bp + FLANK]
        gates = trace_windows(network, torch.from_numpy(one_hot(encode_bases(sequence)))[None])
        log_forget = -torch.nn.functional.softplus(
            -gates.forget_logit[0, direction, :, FLANK : FLANK + length_bp]
        )
        torch.testing.assert_close(predicted[row], torch.exp(log_forget.sum(1)), rtol=1e-8, atol=0)


def slow_retention(network, word, direction, length_bp, unit, write):
    """Retention by an independent float64 cell: a long carrier, then the construct twice."""
    sequence = (word * 2500)[: FLANK + length_bp + FLANK]
    features = network.features(torch.from_numpy(one_hot(encode_bases(sequence)))[None])[0].detach().numpy()
    x = features[FLANK:][::-1] if direction else features[: FLANK + length_bp]
    lstm = network.recurrent[0]
    w, u, b, d = (
        getattr(lstm, f"{name}{SUFFIX[direction]}").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    cells = []
    for added in (0.0, write):
        h = c = np.zeros(u.shape[1])
        for t in range(FLANK + length_bp):
            if t == FLANK:
                c = c + added * (np.arange(len(c)) == unit)
            i, f, g, o = np.split(w @ x[t] + b + u @ h + d, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        cells.append(c[unit])
    return (cells[1] - cells[0]) / write


@pytest.mark.parametrize("direction", [0, 1])
def test_measurement_equals_an_independent_cell_and_differs_from_the_prediction(direction):
    network, words, unit, length_bp = random_network(7, scale=2.0).double(), ["A", "AG", "ACT"], 3, 40
    carriers = settle(network, words, direction, length_bp)
    measured = measure_retention(carriers, length_bp, unit)
    predicted = predict_retention(carriers, length_bp)[:, unit]
    for row, word in enumerate(words):
        slow = slow_retention(network, word, direction, length_bp, unit, carrier.WRITE)
        assert float(measured[row]) == pytest.approx(slow, rel=1e-7)
    # with recurrent weights the forget gate alone does not tell what is left
    assert (measured - predicted).abs().max() > 0.01


def test_gates_that_never_settle_are_marked(monkeypatch):
    monkeypatch.setattr(carrier, "_MAX_BURN_IN_BP", 2000)
    carriers = settle(random_network(1, scale=25.0, hidden=12).double(), list_words(2), 0, 20)
    assert not carriers.is_settled.all()
    assert carriers.burn_in_bp >= 2000
    assert torch.isfinite(measure_retention(carriers, 20, 0)).all()


def test_chunks_do_not_change_the_result(monkeypatch):
    network, words = random_network(2).double(), list_words(2)
    whole = measure_retention(settle(network, words, 1, 45), 45, 1)
    monkeypatch.setattr(carrier, "_CHUNK_POSITIONS", 1)
    torch.testing.assert_close(
        measure_retention(settle(network, words, 1, 45), 45, 1), whole, rtol=1e-9, atol=0
    )


def test_tracks_are_held_at_zero_and_named(tmp_path):
    table = np.zeros((2, 1, 4))
    table[:, 0, 3] = 4.0
    network = base_reader(table, inputs=("sequence", "cuts"))
    paths = save(tmp_path, network)
    design(**paths, settings={"length_bp": 20})
    designs = pd.read_csv(paths["output"] / "designs.tsv", sep="\t")
    assert set(designs["tracks"]) == {"cuts=0"}
    assert designs.loc[0, "word"] == "T"
    assert designs.loc[0, "predicted_retention"] == pytest.approx(sigmoid(4.0) ** 20, rel=1e-3)


def test_same_model_gives_the_same_bytes(tmp_path):
    paths = save(tmp_path, random_network(3))
    for name in ("one", "two"):
        design(**{**paths, "output": tmp_path / name}, settings={})
    for file in ("designs.tsv", "constructs.fa"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"word": 3}, "unknown word"), ({"max_word_bp": 9}, "wanted 1 to 6"), ({"length_bp": 0}, "at least 1")],
)
def test_bad_settings_leave_nothing(tmp_path, settings, words):
    paths = save(tmp_path, random_network(3))
    with pytest.raises(InputError, match=words):
        design(**paths, settings=settings)
    assert not paths["output"].exists()


def test_other_weights_or_no_recurrence_are_refused(tmp_path):
    paths = save(tmp_path, random_network(3), model_sha256="0" * 64)
    with pytest.raises(InputError, match="trace of other weights"):
        design(**paths, settings={})
    (tmp_path / "ablated").mkdir()
    flat = AccessibilityNetwork(NetworkConfig(stem_channels=4, hidden_units=2, recurrence=False))
    with pytest.raises(InputError, match="no recurrence"):
        design(**save(tmp_path / "ablated", flat), settings={})
