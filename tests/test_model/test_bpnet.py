"""What bpnet-lite is asked and what becomes of its answer: a stand-in script; the real one where it is installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from gatescope.atac.bigwig import read_bigwig
from gatescope.errors import InputError
from gatescope.model import bpnet as module
from gatescope.model.bpnet import BpnetSettings, bpnet
from tiny_store import LENGTHS, make_store

STAND_IN = """
import json, pathlib, sys
import numpy as np
path = pathlib.Path(sys.argv[1])
job = json.loads(path.read_text())
pathlib.Path({kept!r}).write_text(path.read_text())
codes = np.load(job["codes"])
parts = [codes[start:end] + np.arange(end - start) / 1000 for start, end in job["predict"]]
np.save(path.with_name("predicted.npy"), np.concatenate(parts).astype(np.float32))
told = {{"steps": 7, "cpu_seconds": 0.5, "weights": 1234, "bpnet_lite": "9.8", "torch": "2"}}
path.with_name("training.json").write_text(json.dumps(told))
print("step 7, loss 1.5")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let the Python that runs stand for the one with bpnet-lite; return what puts a script in place of ours."""
    monkeypatch.setattr(module, "_PLACES", (tmp_path / "nowhere", Path(sys.prefix)))

    def use(text):
        script = tmp_path / "script.py"
        script.write_text(text)
        monkeypatch.setattr(module, "_SCRIPT", script)

    use(STAND_IN.format(kept=str(tmp_path / "job.json")))
    return use


def test_it_is_asked_about_the_fold_and_its_answer_lies_where_it_belongs(stand_in, tmp_path, caplog):
    store = make_store(tmp_path / "store")
    caplog.set_level("INFO")
    bpnet(store.path, tmp_path / "out", fold="f1", seed=3, settings={"minutes": 0.5, "layers": 6}, threads=2)
    job = json.loads((tmp_path / "job.json").read_text())
    assert {key: job[key] for key in ("minutes", "filters", "layers", "seed", "threads")} == {
        "minutes": 0.5,
        "filters": 64,
        "layers": 6,
        "seed": 3,
        "threads": 2,
    }
    codes, cuts = np.load(job["codes"]), np.load(job["cuts"])
    spans = dict(zip(("one", "two"), job["train"], strict=True)) | {"four": job["predict"][0]}
    for contig, (start, end) in spans.items():  # contig three chooses, so it is in neither
        assert np.array_equal(codes[start:end], store.codes(contig)), contig
        assert np.array_equal(cuts[start:end], store.track(contig, "cuts")), contig
    peaks = store.regions.query("kind == 'peak' and chrom in ('one', 'two')")
    expected = [spans[chrom][0] + summit for chrom, summit in zip(peaks.chrom, peaks.summit, strict=True)]
    assert job["summits"] == expected
    found = read_bigwig(tmp_path / "out" / "predicted_cuts.bw", "four")
    wanted = store.codes("four") + np.arange(LENGTHS["four"]) / 1000
    assert np.abs(found - wanted).max() < 1e-4
    sidecar = json.loads((tmp_path / "out" / "predicted_cuts.bw.json").read_text())
    assert "for 0.5 minutes of 2 CPU thread(s): 7 steps" in sidecar["description"]
    assert "says nothing about BPNet trained as its authors do" in sidecar["description"]
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (record["fold"], record["steps"], record["layers"]) == ("f1", 7, 6)
    assert "BPNet: step 7, loss 1.5" in caplog.text


def test_a_failure_is_told_in_its_own_words_and_leaves_nothing(stand_in, tmp_path):
    store = make_store(tmp_path / "store")
    stand_in("import sys; print('a'); print('no training window found'); sys.exit(3)")
    with pytest.raises(InputError, match=r"failed \(exit status 3\): a \| no training window found"):
        bpnet(store.path, tmp_path / "out", fold="f1")
    assert not (tmp_path / "out").exists()


def test_without_the_environment_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PLACES", (tmp_path,))
    with pytest.raises(InputError, match="is not installed; run `make bpnet-env`"):
        bpnet(make_store(tmp_path / "store").path, tmp_path / "out", fold="f1")


@pytest.mark.parametrize("settings", [{"minutes": 0}, {"filters": 0}, {"layers": 13}, {"epochs": 3}])
def test_wrong_settings(settings, tmp_path):
    with pytest.raises(InputError, match=r"config: peers\.bpnet_lite"):
        bpnet(tmp_path, tmp_path / "out", fold="f1", settings=settings)


def test_the_real_one_trains_and_predicts_every_base(tmp_path):
    """In its own environment; its weights are counted by hand."""
    if not any((place / "bin/python").exists() for place in module._PLACES):
        pytest.skip("no bpnet-lite: run `make bpnet-env`")
    store = make_store(tmp_path / "store")
    settings = {"minutes": 0.02, "filters": 8, "layers": 2}
    bpnet(store.path, tmp_path / "out", fold="f1", settings=settings)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    filters, first, last, count = 8, 4 * 21 + 1, 8 * 75 + 1, 8 + 1
    assert record["weights"] == filters * first + 2 * filters * (3 * filters + 1) + last + count
    assert record["steps"] >= 1 and record["windows"] == 16 * record["steps"]
    assert record["cpu_seconds"] >= 60 * settings["minutes"]
    assert BpnetSettings(**settings) == BpnetSettings(**{key: record[key] for key in settings})
    found = read_bigwig(tmp_path / "out" / "predicted_cuts.bw", "four")
    assert found.shape == (LENGTHS["four"],) and (found > 0).all() and found.std() > 0
