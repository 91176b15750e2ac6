"""Members of known skill: the mean of their tracks, scored as `evaluate` scores it, and by a slow recomputation."""

import json
import shutil

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import average_precision_score, roc_auc_score

from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.model import baselines, ensemble, evaluate
from gatescope.model.metrics import Estimate
from gatescope.model.predict import ContigPrediction
from gatescope.model.predicted_tracks import write_predicted_tracks

LENGTHS = {"c1": 8_000, "c2": 14_100, "c3": 9_000}
FOLD = {"name": "f1", "test": ["c2"], "valid": ["c3"]}
MEMBERS = ("m.f1.1", "m.f1.2", "m.f1.3")
METRICS = ["pearson", "spearman", "auroc", "auprc"]


def contig_arrays(rng, length):
    state = np.zeros(length, np.uint8)
    for start in range(300, length - 1_000, 1_500):
        state[start : start + 500] = 1
    codes = rng.integers(0, 4, length).astype(np.uint8)
    codes[3_000:3_100] = 4
    state[3_000:3_100] = 255
    return ContigArrays(codes, state, {"cuts": rng.poisson(0.02 + 0.2 * (state == 1)).astype(np.float32)})


class World:
    """A store and members whose predictions are the truth and noise; `run` makes the ensemble."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.folder, self.targets, self.metas = folder, ["cuts", "state"], {}
        self.arrays = {contig: contig_arrays(rng, length) for contig, length in LENGTHS.items()}
        peaks = pd.DataFrame(
            [("c1", 500, 1_200, 850, "peak", 0.5)],
            columns=["chrom", "start", "end", "summit", "kind", "gc"],
        )
        meta = {
            "stage_version": 1,
            "window_bp": 1_000,
            "folds": {"f1": FOLD},
            "inputs": {},
            "filters": [],
            "seed": 0,
        }
        write_store(folder / "store", self.arrays.items(), peaks, meta)
        self.store = EncodedStore(folder / "store")

    def predict(self, seed, contig):
        rng = np.random.default_rng([seed, LENGTHS[contig]])
        drawn = np.repeat(rng.normal(size=LENGTHS[contig] // 50), 50)  # constant over 50 bp: bins feel it
        logit = 3.0 * (self.arrays[contig].state == 1) - 2 + drawn
        probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
        return ContigPrediction(0.3 * probability if "cuts" in self.targets else None, probability)

    def add(self, seed, **changes):
        """Write a member as `train` and `evaluate` leave it."""
        meta = {
            "run": f"m.f1.{seed}", "sha256": f"{seed:064d}", "store": self.store.content_hash, "seed": seed,
            "network": {"inputs": ["sequence"], "targets": self.targets, "recurrence": True}, "fold": FOLD,
            "training": {"sampling": {"reverse_complement": True}},
        } | changes  # fmt: skip
        folder = self.folder / meta["run"]
        predicted = {contig: self.predict(seed, contig) for contig in ("c2", "c3")}
        write_predicted_tracks(folder, self.store, predicted, meta, both_strands=True)
        (folder / "model.json").write_text(json.dumps(meta))
        self.metas[meta["run"]] = meta

    def evaluate(self, seed, monkeypatch):
        """Let `evaluate` score a member; its network is a stub."""
        folder = self.folder / f"evaluated.{seed}"
        monkeypatch.setattr(evaluate, "load_model", lambda _: (self, self.metas[f"m.f1.{seed}"]))
        monkeypatch.setattr(
            evaluate, "predict_contig", lambda *given, both_strands: self.predict(seed, given[2])
        )
        evaluate.evaluate(self.store.path, folder, folder)
        return pd.read_csv(folder / "evaluation.tsv", sep="\t").set_index(["predictor", "bin_bp"])

    def to(self, device):
        return self

    def run(self, members=MEMBERS, output="out"):
        folder = self.folder / output
        table = ensemble.ensemble(self.store.path, [self.folder / name for name in members], folder)
        return table.set_index(["predictor", "bin_bp"]), json.loads((folder / "evaluation.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def short_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluate, ensemble):
            patch.setattr(module, "BLOCK_BP", 1_000)
            patch.setattr(module, "REPLICATES", 20)
        patch.setitem(baselines._BOOSTING, "max_iter", 2)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three members; read only."""
    made = World(tmp_path_factory.mktemp("world"))
    for seed in (1, 2, 3):
        made.add(seed)
    return made


@pytest.fixture(scope="module")
def result(world):
    return world.run()


@pytest.fixture
def own_world(tmp_path):
    """Two members that a test may spoil."""
    made = World(tmp_path)
    for seed in (1, 2):
        made.add(seed)
    return made


def read_track(path, contig):
    with pyBigWig.open(str(path)) as bigwig:
        return bigwig.values(contig, 0, LENGTHS[contig], numpy=True)


def slow_scores(world, cuts, state, bin_bp):
    """Bins by a loop over bases of the test contig."""
    arrays = world.arrays["c2"]
    rows = []
    for start in range(0, LENGTHS["c2"] // bin_bp * bin_bp, bin_bp):
        inside = [k for k in range(start, start + bin_bp) if arrays.state[k] != 255]
        if inside and 2 * len(inside) >= bin_bp:
            is_open = 2 * sum(arrays.state[k] == 1 for k in inside) >= len(inside)
            sums = [float(sum(values[k] for k in inside)) for values in (arrays.tracks["cuts"], cuts, state)]
            rows.append((is_open, *sums[:2], sums[2] / len(inside)))
    label, observed, expected, mean = map(np.array, zip(*rows, strict=True))
    found = {"auroc": roc_auc_score(label, mean), "auprc": average_precision_score(label, mean)}
    return found | {"pearson": pearsonr(np.log1p(observed), np.log1p(expected))[0]}


def test_the_ensemble_is_the_mean_of_the_tracks(world, result):
    for target, decimals in (("state", 4), ("cuts", 5)):
        for contig in ("c2", "c3"):
            members = [read_track(world.folder / name / f"predicted_{target}.bw", contig) for name in MEMBERS]
            mean = read_track(world.folder / f"out/predicted_{target}.bw", contig)
            np.testing.assert_allclose(mean, np.mean(members, axis=0), atol=0.51 * 10.0**-decimals)
            assert np.isnan(mean[3_000:3_100]).all() and np.isnan(mean).sum() == 100
        sidecar = json.loads((world.folder / f"out/predicted_{target}.bw.json").read_text())
        assert "as m.f1.ensemble predicts it" in sidecar["description"]
        assert sidecar["aggregation"] == "mean of 3 networks and both strands"


@pytest.mark.parametrize("bin_bp", [1, 200])
def test_scores_equal_a_slow_recomputation(world, result, bin_bp):
    table, _ = result
    members = [
        [read_track(world.folder / name / f"predicted_{target}.bw", "c2") for target in ("cuts", "state")]
        for name in MEMBERS
    ]
    expected = slow_scores(world, *np.mean(members, axis=0), bin_bp)
    for metric in ("auroc", "auprc") if bin_bp == 1 else expected:
        assert table.loc[("model", bin_bp), metric] == pytest.approx(expected[metric], abs=1e-6)


def test_members_are_scored_as_evaluate_scores_them(world, result, monkeypatch):
    """The same bins and the same draws: intervals agree as well, up to the rounding of the tracks."""
    table, _ = result
    theirs = world.evaluate(2, monkeypatch)
    columns = [metric + end for metric in METRICS for end in ("", "_low", "_high")]
    for bin_bp in (1, 200):
        given, found = theirs.loc[("model", bin_bp), columns], table.loc[("m.f1.2", bin_bp), columns]
        np.testing.assert_allclose(found.astype(float), given.astype(float), atol=5e-4)


def test_the_table_of_members_holds_their_spread(world, result):
    table, _ = result
    written = pd.read_csv(world.folder / "out/members.tsv", sep="\t").set_index(["bin_bp", "member"])
    for bin_bp in (1, 200):
        rows = ["mean", "sd", "min", "max", "ensemble"]
        assert [*written.loc[bin_bp].index] == [*MEMBERS, *rows]
        for metric in METRICS:
            values = [table.loc[(name, bin_bp), metric] for name in MEMBERS]
            wanted = [np.mean(values), np.std(values, ddof=1), min(values), max(values)]
            wanted.append(table.loc[("model", bin_bp), metric])
            assert written.loc[bin_bp].loc[rows, metric].tolist() == pytest.approx(
                wanted, rel=1e-4, nan_ok=True
            )


def differences_of(found, over, bin_bp=200):
    return {d["metric"]: d for d in found["differences"] if d["over"] == over and d["bin_bp"] == bin_bp}


def test_an_ensemble_of_independent_members_is_better(result):
    table, found = result
    for over in ("mean of members", *MEMBERS):
        gains = differences_of(found, over)
        assert set(gains) == set(METRICS)
        assert gains["pearson"]["low_95"] > 0 and gains["pearson"]["difference"] > 0.02
        assert gains["pearson"]["low_95"] <= gains["pearson"]["low_90"]
        if over in MEMBERS:
            gain = table.loc[("model", 200), "auprc"] - table.loc[(over, 200), "auprc"]
            assert gains["auprc"]["difference"] == pytest.approx(gain)
    gain = differences_of(found, "mean of members")["pearson"]["difference"]
    assert f"the mean of 3 networks, adds {gain:+.4f} in r (95 % interval" in found["in_words"]
    assert found["in_words"].endswith("scores with an interval it is lower, beyond chance, in none.")


def test_identical_members_differ_in_nothing(own_world):
    world = own_world
    for target in ("state", "cuts"):
        shutil.copy(*(world.folder / name / f"predicted_{target}.bw" for name in MEMBERS[:2]))
    _, found = world.run(MEMBERS[:2])
    assert len({d["over"] for d in found["differences"]}) == 3
    limits = ("difference", "low_95", "high_95", "low_90", "high_90")
    assert {d[name] for d in found["differences"] for name in limits} == {0.0}


def test_words_name_the_scores_that_fall():
    def gain(value, spread):
        return Estimate(value, value + spread * np.linspace(-1, 1, 21))

    gains = [("mean of members", 200, "pearson", gain(0.02, 0.01)), ("m.f1.1", 200, "auprc", gain(-0.9, 0.1))]
    gains += [
        ("mean of members", 50, "auprc", gain(-0.02, 0.01)),
        ("mean of members", 1, "auroc", gain(-0.02, 0.1)),
    ]
    words = ensemble._in_words("m.f1.ensemble", 3, gains)
    assert words.endswith("of the 3 scores with an interval it is lower, beyond chance, in auprc at 50 bp.")
    no_blocks = [
        (over, bin_bp, metric, Estimate(each.value, np.zeros(0))) for over, bin_bp, metric, each in gains
    ]
    assert ensemble._in_words("m.f1.ensemble", 3, no_blocks).endswith("its members in 200-bp bins.")


def test_members_that_predict_the_state_alone(tmp_path):
    world = World(tmp_path)
    world.targets = ["state"]
    for seed in (1, 2):
        world.add(seed)
    table, found = world.run(MEMBERS[:2])
    assert not (world.folder / "out/predicted_cuts.bw").exists()
    assert table.loc[("model", 200), ["pearson", "spearman"]].isna().all()
    assert "in AUPRC (95 % interval" in found["in_words"]


def test_same_inputs_same_bytes(world, result):
    world.run(output="again")
    files = sorted(path.name for path in (world.folder / "out").iterdir())
    assert files == [
        "evaluation.json", "evaluation.tsv", "members.tsv", "predicted_cuts.bw", "predicted_cuts.bw.json",
        "predicted_state.bw", "predicted_state.bw.json",
    ]  # fmt: skip
    for name in files:
        assert (world.folder / "out" / name).read_bytes() == (world.folder / "again" / name).read_bytes(), (
            name
        )


def one_member(world):
    return ["m.f1.1"], "an ensemble has two members or more"


def twice_the_same(world):
    return ["m.f1.1", "m.f1.1"], "an ensemble has two members or more"


def another_network(world):
    world.add(3, network=world.metas["m.f1.1"]["network"] | {"hidden_units": 7})
    return MEMBERS, "is no other seed of m.f1.1: another network"


def another_store(world):
    meta = world.metas["m.f1.2"] | {"store": "f" * 64}
    (world.folder / "m.f1.2/model.json").write_text(json.dumps(meta))
    return MEMBERS[:2], "m.f1.2"


def no_track(world):
    (world.folder / "m.f1.2/predicted_cuts.bw").unlink()
    return MEMBERS[:2], "m.f1.2/predicted_cuts.bw"


def a_gap(world):
    path = world.folder / "m.f1.2/predicted_state.bw"
    kept = {contig: read_track(path, contig) for contig in ("c2", "c3")}
    with pyBigWig.open(str(path), "w") as bigwig:
        bigwig.addHeader(list(LENGTHS.items()))
        bigwig.addEntries("c2", 0, values=kept["c2"][:2_000].astype(np.float64), span=1, step=1)
        bigwig.addEntries("c3", 0, values=kept["c3"][:2_000].astype(np.float64), span=1, step=1)
    return MEMBERS[:2], "no value at 12,000 scored bases of c2, the first at 2,000"


@pytest.mark.parametrize(
    "spoil", [one_member, twice_the_same, another_network, another_store, no_track, a_gap]
)
def test_what_is_no_ensemble_is_refused(own_world, spoil):
    members, message = spoil(own_world)
    with pytest.raises(InputError) as refused:
        own_world.run(members)
    assert message in str(refused.value)
    assert not (own_world.folder / "out").exists()
