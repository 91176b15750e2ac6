"""Training: same seed, same bytes; a killed training ends in the same bytes; twins are what they say."""

import json
import math
import re
import warnings

import lightning
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.model import lightning_module
from gatescope.model import train as module
from gatescope.model.persist import load_model
from gatescope.model.train import train
from tiny_store import make_store, replace_codes

NETWORK = {"stem_channels": 8, "stem_width_bp": 9, "hidden_units": 4, "layers": 2, "dropout": 0.2}
TRAINING = {
    "epochs": 3,
    "windows_per_epoch": 16,
    "batch_size": 4,
    "patience": 2,
    "sampling": {"jitter_bp": 50},
}
FILES = (
    "model.safetensors",
    "last.safetensors",
    "model.json",
    "training.csv",
    "metrics.tsv",
    "model_card.md",
    "gradient_reach.tsv",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store").path


def run(
    store, output, *, twin="none", seed=1, network=NETWORK, training=TRAINING, fold="f1", workers=0, threads=1
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own use of deprecated torch names
        train(
            store,
            output,
            run="small.f1.1",
            network=network,
            training=training,
            fold=fold,
            seed=seed,
            twin=twin,
            workers=workers,
            threads=threads,
        )
    return {name: (output / name).read_bytes() for name in FILES}


def test_same_seed_same_bytes_and_nothing_private_is_left(store, tmp_path):
    first, second = run(store, tmp_path / "a"), run(store, tmp_path / "b")
    assert first == second
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(FILES)
    assert run(store, tmp_path / "c", seed=2)["model.safetensors"] != first["model.safetensors"]


@pytest.mark.parametrize("twin", ["none", "ablated"])
def test_the_number_of_threads_decides_nothing(store, tmp_path, twin):
    training = {**TRAINING, "epochs": 1}
    one = run(store, tmp_path / "one", twin=twin, training=training)
    assert run(store, tmp_path / "two", twin=twin, training=training, threads=2) == one


def test_bfloat16_is_used_where_the_hardware_has_it(store, tmp_path, monkeypatch, caplog):
    full = {**TRAINING, "epochs": 1}
    half = {**full, "precision": "bfloat16"}
    monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    wanted = run(store, tmp_path / "full", training=full)
    run(store, tmp_path / "half", training=half)
    wanted, meta = load_file(tmp_path / "full/last.safetensors"), load_model(tmp_path / "half")[1]
    found = load_file(tmp_path / "half/last.safetensors")
    apart = max(float((found[name] - wanted[name]).abs().max()) for name in wanted)
    assert 0 < apart < 0.05  # four steps of Adam at most
    assert meta["precision"] == "bfloat16"
    assert {tensor.dtype for tensor in found.values()} == {
        torch.float32,
        torch.int64,
    }  # BatchNorm counts its batches
    assert "has no bfloat16" not in caplog.text
    monkeypatch.setattr(module, "has_bfloat16", lambda device: False)
    run(store, tmp_path / "none", training=half)
    assert (tmp_path / "none/model.safetensors").read_bytes() == (
        tmp_path / "full/model.safetensors"
    ).read_bytes()
    assert load_model(tmp_path / "none")[1]["precision"] == "float32"
    assert "this hardware has no bfloat16; it is trained in float32" in caplog.text


def test_an_average_of_weights_is_kept(store, tmp_path, monkeypatch):
    steps, seen = 3, []

    class Recorder(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append({name: each.detach().clone() for name, each in pl_module.network.named_parameters()})

    real_trainer = lightning.Trainer
    monkeypatch.setattr(
        module.lightning,
        "Trainer",
        lambda *a, callbacks, **o: real_trainer(*a, callbacks=[*callbacks, Recorder()], **o),
    )
    run(store, tmp_path / "a", training={**TRAINING, "epochs": 2, "averaged_steps": steps})
    wanted = seen[0]
    for weights in seen[1:]:
        wanted = {name: wanted[name] + (weights[name] - wanted[name]) / steps for name in wanted}
    found = load_file(tmp_path / "a/last.safetensors")
    assert len(seen) == 8
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, rtol=1e-5, atol=1e-7)
    assert any(float((found[name] - seen[-1][name]).abs().max()) > 1e-3 for name in wanted)


@pytest.mark.parametrize(
    ("epoch", "workers", "averaged_steps"), [(0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 2, 0), (2, 0, 3)]
)
def test_a_killed_training_ends_in_the_same_bytes(
    store, tmp_path, monkeypatch, caplog, epoch, workers, averaged_steps
):
    """With any number of workers, and after a resume with another number."""
    caplog.set_level("INFO", "gatescope")
    training = {**TRAINING, "averaged_steps": averaged_steps}
    whole = run(store, tmp_path / "whole", training=training)

    class Killed(BaseException):
        """Like SIGKILL: nobody handles it."""

    class Killer(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.current_epoch == epoch and trainer.global_step % 4 == 2:
                raise Killed

    killer = [Killer()]
    real_trainer = lightning.Trainer

    def with_killer(*args, callbacks, **options):
        return real_trainer(*args, callbacks=[*callbacks, *killer], **options)

    monkeypatch.setattr(module.lightning, "Trainer", with_killer)
    with pytest.raises(Killed):
        run(store, tmp_path / "killed", workers=workers, training=training)
    assert not (tmp_path / "killed/model.json").exists()
    killer.clear()
    caplog.clear()
    assert run(store, tmp_path / "killed", workers=workers // 2, training=training) == whole
    # it goes on after the last whole epoch, and does not begin again
    assert (f"resuming after epoch {epoch}" in caplog.text) == (epoch > 0)
    trained = re.findall(r"epoch (\d) of at most 3", caplog.text)
    assert trained == ["1", "2", "3"][epoch:]


@pytest.mark.parametrize("scheme", ["whole_genome", "curriculum"])
def test_other_samplings_train_and_are_told(store, tmp_path, caplog, scheme):
    caplog.set_level("INFO", "gatescope")
    training = {**TRAINING, "epochs": 1, "sampling": {"scheme": scheme}}
    run(store, tmp_path / "a", training=training)
    words = {
        "whole_genome": "the training contigs from end to end, 20 windows a pass; 16 windows are planned, 0.8 passes",
        "curriculum": "at first around the 4 strongest of 14 peaks and background; after 2 batches 40% around peaks",
    }
    assert f"small.f1.1: windows: {words[scheme]}" in caplog.text
    assert load_model(tmp_path / "a")[1]["training"]["sampling"]["scheme"] == scheme


def test_a_checkpoint_of_other_settings_is_not_taken_up(store, tmp_path, monkeypatch, caplog):
    other = {**TRAINING, "learning_rate": 0.02}
    first = run(store, tmp_path / "first")
    whole = run(store, tmp_path / "whole", training=other)
    monkeypatch.setattr(module, "save_model", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "changed")
    monkeypatch.undo()
    assert run(store, tmp_path / "changed", training=other) == whole
    caplog.set_level("INFO", "gatescope")
    assert run(store, tmp_path / "changed") == first  # what was set aside was not lost
    assert "resuming after epoch 3" in caplog.text
    assert not (tmp_path / "changed/.resume").exists()


def test_a_training_killed_after_its_last_epoch_does_not_train_on(store, tmp_path, monkeypatch):
    """Early stopping had ended it; the weights were not yet written."""
    patient = {**TRAINING, "epochs": 8, "patience": 1, "learning_rate": 0.3}
    whole = run(store, tmp_path / "whole", training=patient)
    assert whole["training.csv"].count(b"\n") - 1 < 8
    real_save = module.save_model
    monkeypatch.setattr(module, "save_model", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "killed", training=patient)
    monkeypatch.setattr(module, "save_model", real_save)
    assert run(store, tmp_path / "killed", training=patient) == whole


def test_the_best_epoch_is_kept_beside_the_last(store, tmp_path):
    run(store, tmp_path / "a", training={**TRAINING, "learning_rate": 0.3, "epochs": 4, "patience": 4})
    rows = [line.split(",") for line in (tmp_path / "a/training.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("valid_loss")]) for row in rows[1:]]
    best = json.loads((tmp_path / "a/model.json").read_text())["best_epoch"]
    assert best == 1 + losses.index(min(losses))
    weights = [load_file(tmp_path / "a" / name) for name in FILES[:2]]
    assert (best == len(losses)) == all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_twins(store, tmp_path):
    run(store, tmp_path / "random", twin="random")
    network, meta = load_model(tmp_path / "random")
    untrained = module.AccessibilityNetwork(network.config, torch.Generator().manual_seed(1)).state_dict()
    changed = [
        name for name, value in network.state_dict().items() if not torch.equal(value, untrained[name])
    ]
    assert changed == ["heads.cuts.bias", "heads.state.bias"]
    cuts, state = (network.state_dict()[name].item() for name in changed)
    data = EncodedStore(store)
    expected = np.concatenate([data.track(c, "cuts") for c in ("one", "two")]).mean()
    assert np.exp(cuts) == pytest.approx(expected, rel=1e-5)
    scored = np.concatenate([data.state(c) for c in ("one", "two")])
    assert 1 / (1 + np.exp(-state)) == pytest.approx((scored[scored != 255] == 1).mean(), rel=1e-5)
    assert meta["twin"] == "random"
    run(store, tmp_path / "ablated", twin="ablated")
    ablated, _ = load_model(tmp_path / "ablated")
    assert len(ablated.recurrent) == 0
    assert not torch.equal(ablated.stem.convolutions[0].weight, network.stem.convolutions[0].weight)


def test_the_shuffled_twin_learns_from_rotated_targets(store, tmp_path, monkeypatch):
    plain, twin = run(store, tmp_path / "plain"), run(store, tmp_path / "twin", twin="shuffled")
    found, meta = (json.loads(each["model.json"]) for each in (plain, twin))
    lengths = EncodedStore(store).lengths
    assert meta["twin"] == "shuffled"
    assert meta["rotated_by_bp"] == {contig: lengths[contig] // 2 for contig in ("one", "two", "three")}
    assert "rotated_by_bp" not in found
    assert meta["training"] == found["training"] and meta["network"] == found["network"]
    assert twin["model.safetensors"] != plain["model.safetensors"]
    assert b"rotated within each contig" in twin["model_card.md"]
    # without a rotation, the same training as the run itself
    monkeypatch.setattr(module, "draw_rotations", lambda *_: {"one": 0, "two": 0, "three": 0})
    still = run(store, tmp_path / "still", twin="shuffled")
    assert all(still[name] == plain[name] for name in FILES if name not in ("model.json", "model_card.md"))


def test_the_shuffled_twin_resumes_by_itself_alone(store, tmp_path, monkeypatch, caplog):
    whole = run(store, tmp_path / "whole", twin="shuffled", workers=1)
    real_save = module.save_model
    monkeypatch.setattr(module, "save_model", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    for twin in ("none", "shuffled"):  # a checkpoint of the run itself is left aside
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path / "killed", twin=twin)
    monkeypatch.setattr(module, "save_model", real_save)
    caplog.set_level("INFO", "gatescope")
    assert run(store, tmp_path / "killed", twin="shuffled") == whole
    assert "resuming after epoch 3" in caplog.text
    assert "rotated_by_bp.one None there, 3000 here" in caplog.text


def test_test_contigs_do_not_touch_the_weights(store, tmp_path):
    """Other bases and cuts on the test contig, other store hash, same weights."""
    other = make_store(tmp_path / "other")
    replace_codes(other, "four", other.codes("four")[::-1])
    assert (
        run(other.path, tmp_path / "b")["model.safetensors"]
        == run(store, tmp_path / "a")["model.safetensors"]
    )


def test_mistakes_are_named(store, tmp_path):
    with pytest.raises(InputError, match="wanted one of none, random, ablated, shuffled"):
        run(store, tmp_path / "x", twin="jumbled")
    with pytest.raises(InputError, match="track 'methylation'"):
        run(store, tmp_path / "x", network={**NETWORK, "inputs": ["sequence", "methylation"]})
    with pytest.raises(InputError, match="f9"):
        run(store, tmp_path / "x", fold="f9")
    with pytest.raises(InputError, match=r"training: sampling: jitter_bp: -5; wanted 0 or more"):
        run(store, tmp_path / "x", training={**TRAINING, "sampling": {"jitter_bp": -5}})
    with pytest.raises(InputError, match=r"training: workers: -1; wanted 0 or more"):
        run(store, tmp_path / "x", workers=-1)
    with pytest.raises(InputError, match=r"models: half_life_bp: \[2\]; wanted a list of 2"):
        run(store, tmp_path / "x", network={**NETWORK, "half_life_bp": [2]})
    assert not (tmp_path / "x/model.json").exists()


def test_a_training_that_diverges_is_named(store, tmp_path):
    message = (
        r"small\.f1\.1: training diverged in epoch 1: its training loss at batch \d is (nan|inf) "
        r"\(windows (one|two):[\d,]+-[\d,]+, .*, \.\.\.\); lower training: learning_rate"
    )
    with pytest.raises(InputError, match=message):
        run(store, tmp_path / "x", training={**TRAINING, "learning_rate": 1e30})
    assert not (tmp_path / "x/model.json").exists()


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_either_loss_shows_it(store, tmp_path, monkeypatch, kind):
    right = lightning_module.prediction_loss

    def wrong(*arguments):
        loss = right(*arguments)
        return loss * (math.nan if loss.requires_grad == (kind == "training") else 1)

    monkeypatch.setattr(lightning_module, "prediction_loss", wrong)
    with pytest.raises(InputError, match=f"diverged in epoch 1: its {kind} loss.* is nan"):
        run(store, tmp_path / "x")


@pytest.mark.parametrize("batches", [2, 12])
def test_the_length_of_an_epoch_is_estimated_once(store, tmp_path, caplog, batches):
    caplog.set_level("INFO", "gatescope")
    run(store, tmp_path / "a", training={**TRAINING, "epochs": 2, "windows_per_epoch": 4 * batches})
    assert len(re.findall(r"about \d+ s per epoch, at most 2 epochs", caplog.text)) == 1


def test_the_card_says_what_the_files_say(store, tmp_path):
    run(store, tmp_path / "a")
    card, meta = (
        (tmp_path / "a/model_card.md").read_text(),
        json.loads((tmp_path / "a/model.json").read_text()),
    )
    loss = (tmp_path / "a/metrics.tsv").read_text().splitlines()[1].split("\t")[4]
    for words in (
        f"SHA-256 of `model.safetensors`: {meta['sha256']}",
        f"encoded store: {EncodedStore(store).content_hash}",
        f"Kept: epoch {meta['best_epoch']}. On validation windows: loss {float(loss):.4f}",
        "trained on one, two; chosen on three; to be judged on four",
        f"weights: {load_model(tmp_path / 'a')[0].free_parameters:,}",
    ):
        assert words in card, card
    code = card.split("```python\n")[1].split("```")[0].replace("folder of this file", str(tmp_path / "a"))
    names = {}
    exec(code, names)
    assert names["model"](torch.eye(4)[None]).shape == (1, 1)
    run(store, tmp_path / "random", twin="random")
    assert "**It was never trained**" in (tmp_path / "random/model_card.md").read_text()
