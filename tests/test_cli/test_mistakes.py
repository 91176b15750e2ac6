"""What a person gets wrong who calls a verb by hand, without the workflow's schema: one message, exit 2, no output."""

import json

import pytest
import torch

from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from test_boundaries.gate_worlds import make_world
from tiny_store import make_store

CONFIG = NetworkConfig(targets=("state",), stem_channels=5, stem_width_bp=7, hidden_units=3)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def train_arguments(store, output, network=None, training=None):
    return [
        *("train", "--store", store.path, "--output", output, "--run", "a.f1.1", "--fold", "f1", "--seed", 1),
        *("--network", json.dumps(network or {}), "--training", json.dumps(training or {})),
    ]


def check(outcome, words, output):
    """One message, and nothing written."""
    assert outcome.status == 2, outcome.stderr
    assert len(outcome.messages) == 1 and words in outcome.messages[0], outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not [path for path in output.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("network", "training", "words"),
    [
        ({"hiden_units": 4}, {}, "models: unknown hiden_units; known are inputs, targets,"),
        ({"hidden_units": 0}, {}, "models: hidden_units: 0; wanted at least 1"),
        ({"layers": 0}, {}, "models: layers: 0; wanted at least 1"),
        ({"dropout": 1}, {}, "models: dropout: 1; wanted 0 to below 1"),
        ({"layers": "two"}, {}, "models: layers: 'two'; wanted a whole number"),
        ({}, {"epoch": 3}, "training: unknown epoch; known are epochs,"),
        ({}, {"batch_size": 0}, "training: batch_size: 0; wanted at least 1"),
        ({}, {"sampling": {"jitter": 3}}, "training: sampling: unknown jitter; known are scheme, peaks,"),
    ],
)
def test_train_settings(store, tmp_path, run_cli, network, training, words):
    outcome = run_cli(*train_arguments(store, tmp_path / "out", network, training))
    check(outcome, words, tmp_path / "out")


@pytest.mark.parametrize("twin", ["none", "random"])
def test_train_on_nothing(store, tmp_path, run_cli, twin):
    path = store.path / "meta.json"
    meta = json.loads(path.read_text())
    meta["folds"]["f1"]["test"] = [contig for contig in meta["contigs"] if contig != "three"]
    path.write_text(json.dumps(meta))
    outcome = run_cli(*train_arguments(store, tmp_path / "out"), "--twin", twin)
    check(outcome, "folds: f1: no contig left to train on", tmp_path / "out")


@pytest.mark.filterwarnings("ignore")  # Lightning's own use of deprecated torch names
def test_train_too_fast(store, tmp_path, run_cli):
    training = {"learning_rate": 1e30, "epochs": 2, "windows_per_epoch": 16, "batch_size": 4}
    outcome = run_cli(*train_arguments(store, tmp_path / "out", {"hidden_units": 2}, training))
    check(outcome, "a.f1.1: training diverged in epoch 1", tmp_path / "out")
    assert "lower training: learning_rate" in outcome.messages[0]


def units_table(*rows, header="direction\tcrossing\tunit\tselected\n"):
    return header + "".join("\t".join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "units.tsv: not a table"),
        ("direction\tunit\nfwd\t1\n", "units.tsv: no column crossing, selected"),
        (units_table(("fwd", "entry", 1, True)), "names no unit for each of fwd, rev"),
        (units_table(("fwd", "entry", 1, "yes"), ("rev", "entry", 1, "yes")), "names no unit for each of"),
        (
            units_table(("fwd", "entry", 1, True), ("rev", "entry", 3, True)),
            "units 1, 3; the network has 0 to 2",
        ),
    ],
    ids=["empty", "columns", "direction", "selected", "unit"],
)
def test_trace_of_units_that_are_not_there(store, tmp_path, run_cli, text, words):
    weights = AccessibilityNetwork(CONFIG, torch.Generator().manual_seed(2)).state_dict()
    fold = {"name": "f1", "test": ["four"], "valid": ["three"]}
    meta = {"run": "a.f1.1", "store": store.content_hash, "fold": fold, "training": {"device": "cpu"}}
    save_model(tmp_path / "model", CONFIG, weights, weights, meta)
    (tmp_path / "units.tsv").write_text(text)
    paths = ("--store", store.path, "--model", tmp_path / "model", "--units", tmp_path / "units.tsv")
    outcome = run_cli("trace", *paths, "--tracks", "none", "--output", tmp_path / "out")
    check(outcome, words, tmp_path / "out")


def cut_off(world):
    path = world.folder / "trace/units/test1.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    return "{}", f"{path}: not a readable array"


def model_without_a_fold(world):
    path = world.folder / "model/model.json"
    meta = json.loads(path.read_text())
    del meta["fold"]
    path.write_text(json.dumps(meta))
    return "{}", f"{path}: no entry fold"


def text_for_a_number(world):
    return '{"dip_bp": "x"}', "config: boundaries: dip_bp: 'x'; wanted a whole number"


def nothing_for_a_number(world):
    return '{"reset_below": null}', "config: boundaries: reset_below: None; wanted a number"


@pytest.mark.parametrize("spoil", [cut_off, model_without_a_fold, text_for_a_number, nothing_for_a_number])
def test_boundaries(tmp_path, run_cli, spoil):
    world = make_world(tmp_path)
    settings, words = spoil(world)
    arguments = [part for name, path in world.paths().items() for part in (f"--{name}", path)]
    outcome = run_cli("boundaries", *arguments, "--settings", settings, "--seed", 1)
    check(outcome, words, world.paths()["output"])
