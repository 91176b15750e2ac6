"""Known predictors get their known scores, on test contigs alone; the files say what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch

from gatescope.atac.bigwig import BigWigWriter, read_bigwig
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.model import baselines, evaluate
from gatescope.model.comparison import compare_in_words, judge_recurrence
from gatescope.model.metrics import Estimate
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.model.predict import ContigPrediction

LENGTHS = {"c1": 12_000, "c2": 9_050, "c3": 11_000, "c4": 8_000, "c5": 50}
FOLD = {"name": "f1", "test": ["c4", "c2"], "valid": ["c3"]}
CONFIG = NetworkConfig(stem_channels=4, stem_width_bp=5, hidden_units=3)


def contig_arrays(rng, length):
    state = np.zeros(length, np.uint8)
    for start in range(500, length - 1_000, 2_000):
        state[start : start + 700] = 1
    codes = rng.integers(0, 4, length).astype(np.uint8)
    if length > 4_000:
        codes[3_000:3_100] = 4
        state[3_000:3_100] = 255
    cuts = rng.poisson(0.02 + 0.2 * (state == 1)).astype(np.float32)
    return ContigArrays(codes, state, {"cuts": cuts})


def make_store(path, arrays) -> EncodedStore:
    peaks = pd.DataFrame(
        [("c1", 500, 1_200, 850, "peak", 0.5)], columns=["chrom", "start", "end", "summit", "kind", "gc"]
    )
    folds = {"f1": {"test": FOLD["test"], "valid": FOLD["valid"]}}
    meta = {"stage_version": 1, "window_bp": 1_000, "folds": folds, "inputs": {}, "filters": [], "seed": 0}
    write_store(path, arrays.items(), peaks, meta)
    return EncodedStore(path)


class Stub:
    """Stands for a network: `predict` gives (cuts, state) of a contig."""

    def __init__(self, predict):
        self.predict = predict

    def to(self, device):
        return self


class World:
    """A store, and networks by folder name that predict what a test wants."""

    def __init__(self, folder: Path):
        self.folder, self.networks, self.strands_read = folder, {}, set()
        rng = np.random.default_rng(0)
        self.arrays = {contig: contig_arrays(rng, length) for contig, length in LENGTHS.items()}
        self.store = make_store(folder / "store", self.arrays)

    def add(self, name, predict, targets=("cuts", "state"), **changes):
        twin = "ablated" if name == "ablated" else "none"
        network = {"inputs": ["sequence"], "targets": list(targets), "recurrence": twin == "none"}
        meta = {
            "run": f"a.f1.1.{twin}" if twin != "none" else "a.f1.1",
            "twin": twin,
            "seed": 1,
            "fold": FOLD,
            "store": self.store.content_hash,
            "network": network,
            "training": {"sampling": {"reverse_complement": True}},
            "sha256": "ab" * 32,
        }
        self.networks[name] = (Stub(predict), {**meta, **changes})

    def load(self, folder):
        return self.networks[Path(folder).name]

    def predict(self, network, store, contig, *, both_strands):
        self.strands_read.add(both_strands)
        return network.predict(contig)

    def run(self, output="out", **options) -> tuple[pd.DataFrame, dict]:
        folder = self.folder / output
        table = evaluate.evaluate(self.store.path, self.folder / "model", folder, **options)
        return table.set_index(["predictor", "bin_bp"]), json.loads((folder / "evaluation.json").read_text())

    # predictors

    def perfect(self, contig):
        arrays = self.arrays[contig]
        return ContigPrediction(arrays.tracks["cuts"], (arrays.state == 1).astype(np.float32))

    def noisy(self, contig, sigma=0.7):
        rng = np.random.default_rng(LENGTHS[contig])
        state = (self.arrays[contig].state == 1) + sigma * rng.normal(size=LENGTHS[contig])
        probability = 1 / (1 + np.exp(-state)).astype(np.float32)
        return ContigPrediction(probability.astype(np.float32), probability.astype(np.float32))

    def constant(self, contig):
        flat = np.full(LENGTHS[contig], 0.05, np.float32)
        return ContigPrediction(flat, flat)


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(evaluate, "load_model", made.load)
    monkeypatch.setattr(evaluate, "predict_contig", made.predict)
    monkeypatch.setattr(evaluate, "BLOCK_BP", 1_000)
    monkeypatch.setattr(evaluate, "REPLICATES", 8)
    monkeypatch.setitem(baselines._BOOSTING, "max_iter", 2)
    made.add("model", made.perfect)
    return made


# scores


def test_a_perfect_model_has_perfect_scores(world):
    table, _ = world.run()
    assert list(table.index) == [
        *(("model", bin_bp) for bin_bp in (1, 50, 200, 1_000)),
        *(("gc", bin_bp) for bin_bp in (50, 200, 1_000)),
        ("kmer", 200),
    ]
    for bin_bp in (50, 200, 1_000):
        row = table.loc[("model", bin_bp)]
        for metric in ("pearson", "spearman", "auroc", "auprc"):
            # by 1,000 bp few bins are open, and blocks here are no longer: some replicates have one kind alone
            assert row[[metric, f"{metric}_low", f"{metric}_high"]].tolist() == pytest.approx([1, 1, 1])
    base = table.loc[("model", 1)]
    assert base[["auroc", "auprc"]].tolist() == pytest.approx([1, 1])
    assert base[["pearson", "pearson_low", "spearman", "spearman_high"]].isna().all()


def test_tn5s_preference_is_scored_where_the_store_holds_it(world):
    def with_rates(arrays):
        rate = np.where(arrays.state == 1, 3.0, 0.5).astype(np.float32)
        return replace(arrays, tracks={**arrays.tracks, "tn5_bias": rate})

    world.store = make_store(world.folder / "rates", {c: with_rates(a) for c, a in world.arrays.items()})
    world.add("model", world.noisy)
    table, found = world.run()
    assert list(table.index)[-2:] == [("tn5_bias", 200), ("tn5_bias", 1_000)]
    assert table.loc[("tn5_bias", 1), ["auroc", "auprc"]].tolist() == [1, 1]
    cuts = np.concatenate([world.arrays[c].tracks["cuts"][: LENGTHS[c] // 200 * 200] for c in ("c2", "c4")])
    rate = np.concatenate([world.store.track(c, "tn5_bias")[: LENGTHS[c] // 200 * 200] for c in ("c2", "c4")])
    scored = np.concatenate([world.arrays[c].state[: LENGTHS[c] // 200 * 200] != 255 for c in ("c2", "c4")])
    observed, expected = ((x * scored).reshape(-1, 200).sum(1) for x in (cuts, rate))
    r = np.corrcoef(np.log1p(observed), np.log1p(world.store.meta["cuts_per_bp"] * expected))[0, 1]
    assert table.loc[("tn5_bias", 200), "pearson"] == pytest.approx(r)
    assert "alone" in found["predictors"]["tn5_bias"]
    words = (
        f"in 200-bp bins, r = {r:.3f} with the cuts and AUROC {table.loc[('tn5_bias', 200), 'auroc']:.3f} for"
    )
    assert words in found["in_words"]


def test_columns_counts_and_base_rate(world):
    table, _ = world.run()
    states = [world.arrays[contig].state for contig in FOLD["test"]]
    scored = sum(int((state != 255).sum()) for state in states)
    assert table.loc[("model", 1), "n_bins"] == scored
    assert table.loc[("model", 1), "base_rate"] == pytest.approx(sum((s == 1).sum() for s in states) / scored)
    # 100 of the 200 bases from 3,000 on are not scored: not more than half, so no bin is left out
    for bin_bp in (50, 200, 1_000):
        # at 50 bp the two bins from 3,000 on of each contig have no scored base
        n = 8_000 // bin_bp + 9_050 // bin_bp
        assert table.loc[("model", bin_bp), "n_bins"] == n - (4 if bin_bp == 50 else 0)
    written = pd.read_csv(world.folder / "out/evaluation.tsv", sep="\t")
    metrics = ["pearson", "spearman", "auroc", "auprc"]
    expected = [name + end for name in metrics for end in ("", "_low", "_high")]
    assert list(written.columns) == ["predictor", "bin_bp", "n_bins", "base_rate", *expected]
    np.testing.assert_allclose(written[expected], table[expected], rtol=1e-5)


def test_a_constant_model_is_no_better_than_chance(world):
    world.add("model", world.constant)
    table, found = world.run()
    row = table.loc[("model", 200)]
    assert row["auroc"] == 0.5 and row["auprc"] == pytest.approx(row["base_rate"])
    assert found["differences"] and found["recurrence"]["verdict"] == "not tested"


def test_only_test_contigs_are_scored(world):
    world.add("model", world.noisy)
    before, _ = world.run("before")
    good = world.noisy
    world.add("model", lambda c: world.constant(c) if c == "c3" else good(c))
    after, _ = world.run("after")
    pd.testing.assert_frame_equal(before, after)
    world.add("model", lambda c: world.constant(c) if c == "c2" else good(c))
    other, _ = world.run("other")
    assert other.loc[("model", 200), "auroc"] < before.loc[("model", 200), "auroc"]


def test_training_contigs_are_not_even_predicted(world):
    asked = []
    world.add("model", lambda c: asked.append(c) or world.perfect(c))
    world.add("ablated", lambda c: asked.append(c) or world.noisy(c))
    world.run(ablated=world.folder / "ablated")
    assert asked == ["c2", "c3", "c4", "c2", "c4"]


def test_the_kmer_baseline_learns_from_training_contigs(world, monkeypatch):
    asked, fit = [], evaluate.fit_kmer_boosting
    monkeypatch.setattr(evaluate, "fit_kmer_boosting", lambda *given: asked.append(given) or fit(*given))
    world.run(seed=3)
    assert [given[1:] for given in asked] == [(["c1", "c5"], 200, 3, {})]  # no near-copies to leave out


def test_a_model_of_the_state_alone_has_no_correlations(world):
    for name in ("model", "ablated"):
        world.add(name, lambda c: world.noisy(c)._replace(cuts=None), targets=("state",))
    table, found = world.run(ablated=world.folder / "ablated")
    assert table.loc[("model", 200), ["pearson", "pearson_low", "spearman"]].isna().all()
    assert table.loc[("kmer", 200), ["pearson", "auroc"]].notna().all()
    assert found["recurrence"]["metric"] == "auprc" and found["recurrence"]["gain_pearson"] is None
    assert found["recurrence"]["gain_auprc"] == 0
    assert not (world.folder / "out/predicted_cuts.bw").exists()
    assert (world.folder / "out/predicted_state.bw").exists()


def test_a_model_of_the_cuts_alone_is_ranked_by_them(world):
    world.add("model", lambda c: world.noisy(c)._replace(state=None), targets=("cuts",))
    alone, _ = world.run("alone")
    world.add("model", world.noisy)
    both, _ = world.run("both")
    assert alone.loc[("model", 1), "auroc"] == both.loc[("model", 1), "auroc"]
    assert alone.loc[("model", 200), "pearson"] == both.loc[("model", 200), "pearson"]


def test_gc_and_kmer_do_not_depend_on_the_model(world):
    first, _ = world.run("first")
    world.add("model", world.noisy)
    second, _ = world.run("second")
    pd.testing.assert_frame_equal(first.loc[["gc", "kmer"]], second.loc[["gc", "kmer"]])


# the bins


def in_bins(world, contig, values):
    """Sum and mean over the scored bases of each whole 200-bp bin, base by base."""
    state = world.arrays[contig].state
    for start in range(0, LENGTHS[contig] // 200 * 200, 200):
        inside = [k for k in range(start, start + 200) if state[k] != 255]
        yield sum(values[k] for k in inside), sum(values[k] for k in inside) / len(inside)


def test_the_file_of_bins_equals_a_loop_over_bases(world):
    world.add("model", world.noisy)
    world.add("ablated", lambda c: world.noisy(c, sigma=2)._replace(cuts=None), targets=("cuts", "state"))
    path = write_predictor(world.folder / "oracle.bw", oracle_values(world))
    world.run(ablated=world.folder / "ablated", predictors={"oracle": path})
    with np.load(world.folder / "out/bins.npz") as found:
        bins = dict(found)
    columns = ["contig", "start", "block", "cuts", "label"]
    state = [f"state.{name}" for name in ("model", "ablated", "gc", "kmer", "oracle")]
    assert set(bins) == {*columns, *state, "log_cuts.model", "log_cuts.kmer"}
    assert {name: bins[name].dtype.str for name in columns[1:]} == {
        "start": "<i8", "block": "<i8", "cuts": "<f8", "label": "|b1",
    }  # fmt: skip
    assert all(bins[name].dtype == np.float32 for name in set(bins) - set(columns))
    n_of = {"c2": 9_050 // 200, "c4": 8_000 // 200}
    assert bins["contig"].tolist() == [c for c, n in n_of.items() for _ in range(n)]
    assert bins["start"].tolist() == [200 * k for n in n_of.values() for k in range(n)]
    assert (bins["block"] == bins["start"] // 1_000).all()  # the fixture's blocks
    expected = {name: [] for name in ("cuts", "label", "log_cuts.model", "state.model", "state.ablated")}
    for contig in n_of:
        arrays, noisy = world.arrays[contig], world.noisy(contig)
        expected["cuts"] += [total for total, _ in in_bins(world, contig, arrays.tracks["cuts"])]
        expected["label"] += [mean >= 0.5 for _, mean in in_bins(world, contig, arrays.state == 1)]
        expected["log_cuts.model"] += [np.log1p(total) for total, _ in in_bins(world, contig, noisy.cuts)]
        expected["state.model"] += [mean for _, mean in in_bins(world, contig, noisy.state)]
        twin = world.noisy(contig, sigma=2).state
        expected["state.ablated"] += [mean for _, mean in in_bins(world, contig, twin)]
    for name, values in expected.items():
        np.testing.assert_allclose(bins[name], values, rtol=1e-5, err_msg=name)


# contigs, ceilings, profiles, calibration


def test_each_contig_is_scored_as_if_it_were_alone(world):
    world.add("model", world.noisy)
    world.run("both")
    table = pd.read_csv(
        world.folder / "both/evaluation_contigs.tsv", sep="\t", index_col=["contig", "predictor"]
    )
    assert list(table.index) == [(c, p) for c in ("c2", "c4") for p in ("model", "gc", "kmer")]
    world.add("model", world.noisy, fold={**FOLD, "test": ["c4"]})
    alone, found = world.run("alone")
    for metric in ("pearson", "spearman", "auroc", "auprc"):
        assert table.loc[("c4", "model"), metric] == pytest.approx(
            alone.loc[("model", 200), metric], rel=1e-5
        )
    assert table.loc[("c4", "model"), "n_bins"] == 40
    assert np.isnan(table.loc[("c4", "model"), "pearson_low"]) and found["n_bins"]["200"]["blocks"] == 8


def test_a_contig_without_a_scored_bin_has_no_scores(world):
    arrays = world.arrays["c4"]
    world.arrays["c4"] = replace(arrays, state=np.full_like(arrays.state, 255))
    world.store = make_store(world.folder / "unscored", world.arrays)
    world.add("model", world.noisy)
    world.run()
    table = pd.read_csv(
        world.folder / "out/evaluation_contigs.tsv", sep="\t", index_col=["contig", "predictor"]
    )
    assert (table.loc["c4", "n_bins"] == 0).all() and table.loc["c4"].drop(
        columns=["bin_bp", "n_bins"]
    ).isna().all(axis=None)
    assert table.loc[("c2", "model"), "auroc"] > 0.5


def test_what_was_within_reach_is_written(world):
    world.add("model", world.noisy)
    world.add("ablated", lambda c: world.noisy(c, sigma=3))
    table, found = world.run(ablated=world.folder / "ablated")
    ceiling = {(row["bin_bp"], row["metric"]): row for row in found["ceiling"]["scores"]}
    assert set(ceiling) == {(b, m) for b in (50, 200, 1_000) for m in ("pearson", "spearman")}
    for (bin_bp, metric), row in ceiling.items():
        assert 0 < row["halves"] < row["again"] < row["ceiling"] < 1
        assert row["reached"] == pytest.approx(table.loc[("model", bin_bp), metric] / row["ceiling"])
    windows = found["profiles"]["windows"]
    assert windows["peaks"] is None  # the store's only peak is on a training contig
    names = dict.fromkeys(row["predictor"] for row in windows["everywhere"]["scores"])
    assert list(names) == ["model", "ablated", "flat"] and windows["everywhere"]["n_windows"] >= 2
    calibration = {(each["predictor"], each["target"]): each for each in found["calibration"]["of"]}
    assert set(calibration) == {(p, t) for p in ("model", "ablated") for t in ("state", "cuts")}
    state = calibration["model", "state"]
    assert (
        len(state["groups"]) == 20
        and sum(g["n"] for g in state["groups"]) == table.loc[("model", 1), "n_bins"]
    )
    cuts = np.load(world.folder / "out/bins.npz")
    observed, expected = cuts["cuts"].sum(), np.expm1(cuts["log_cuts.model"]).sum()
    assert calibration["model", "cuts"]["ratio"] == pytest.approx(observed / expected, rel=1e-5)
    r, share = ceiling[200, "pearson"]["ceiling"], ceiling[200, "pearson"]["reached"]
    assert f"would score r = {r:.3f} at most; this network reaches {share:.0%} of that" in found["in_words"]


@pytest.mark.parametrize("target", ["cuts", "state"])
def test_a_network_with_one_head_is_judged_by_that(world, target):
    other = "state" if target == "cuts" else "cuts"
    world.add("model", lambda c: world.noisy(c)._replace(**{other: None}), targets=(target,))
    _, found = world.run()
    assert {each["target"] for each in found["calibration"]["of"]} == {target}
    assert (found["profiles"]["windows"] is None) == (target == "state")
    assert len(found["ceiling"]["scores"]) == 6


def test_cuts_that_are_no_counts_have_no_ceiling(world, caplog):
    for contig, arrays in world.arrays.items():
        world.arrays[contig] = replace(arrays, tracks={"cuts": arrays.tracks["cuts"] * np.float32(0.37)})
    world.store = make_store(world.folder / "scaled", world.arrays)
    world.add("model", world.noisy)
    _, found = world.run()
    assert found["ceiling"]["scores"] is None and found["profiles"]["windows"] is None
    assert "cuts are not whole numbers" in caplog.text and len(found["calibration"]["of"]) == 2


# recurrence and words


def test_gain_of_the_recurrence(world):
    world.add("model", world.noisy)
    world.add("ablated", lambda c: world.noisy(c, sigma=8))
    table, found = world.run(ablated=world.folder / "ablated")
    gain = table.loc[("model", 200), "pearson"] - table.loc[("ablated", 200), "pearson"]
    recurrence = found["recurrence"]
    assert recurrence["gain_pearson"] == pytest.approx(gain) and gain > 0.02
    assert recurrence["gain_pearson_low"] <= gain <= recurrence["gain_pearson_high"]
    assert recurrence["verdict"] == "the recurrence carries part of the prediction"
    assert "beats the k-mer baseline" in found["in_words"] and "The recurrence adds +0." in found["in_words"]


def test_a_twin_as_good_as_the_model_says_so(world):
    world.add("ablated", world.perfect)
    _, found = world.run(ablated=world.folder / "ablated")
    assert found["recurrence"]["gain_pearson"] == 0
    assert found["recurrence"]["verdict"] == "the recurrence carries little"


def scores_of(model, other, replicates):
    spread = np.asarray(replicates, float)
    return {
        ("model", 200): {"pearson": Estimate(model, model + spread)},
        ("ablated", 200): {"pearson": Estimate(other, np.full(spread.size, other))},
        ("kmer", 200): {"pearson": Estimate(other, np.full(spread.size, other))},
    }


@pytest.mark.parametrize(
    ("model", "other", "spread", "verdict", "verb"),
    [
        (0.619, 0.6, 0.001, "the recurrence carries little", "beats"),
        (0.65, 0.6, 0.001, "the recurrence carries part of the prediction", "beats"),
        (0.65, 0.6, 0.2, "the recurrence may carry something, but the interval reaches zero", "is not told"),
        (0.5, 0.6, 0.001, "the recurrence carries little", "falls short of"),
    ],
)
def test_verdict_and_words(model, other, spread, verdict, verb):
    scores = scores_of(model, other, spread * np.linspace(-1, 1, 41))
    assert judge_recurrence(scores, "pearson")["verdict"] == verdict
    words = compare_in_words(scores, "pearson", "a.f1.1")
    assert words.startswith(f"a.f1.1 {verb}") and words.endswith(f"{verdict}.")


@pytest.mark.parametrize(("model", "verb"), [(0.65, "higher"), (0.55, "lower"), (0.6, "no higher")])
def test_words_without_an_interval(model, verb):
    words = compare_in_words(scores_of(model, 0.6, []), "pearson", "a.f1.1")
    assert words.startswith(f"a.f1.1 scores {verb} than the k-mer baseline")
    assert "too few blocks for an interval" in words


def test_recurrence_without_an_interval():
    scores = scores_of(0.65, 0.6, [])
    found = judge_recurrence(scores, "pearson")
    assert found["verdict"].endswith("too short for an interval") and found["gain_pearson_low"] is None


def test_summary_says_what_was_scored(world):
    world.add("model", world.noisy)
    _, found = world.run()
    assert (found["run"], found["input_mode"], found["fold"]) == ("a.f1.1", "sequence", "f1")
    assert found["test_contigs"] == ["c2", "c4"]
    assert found["model_sha256"] == "ab" * 32 and set(found["predictors"]) == {"model", "gc", "kmer", "flat"}
    assert found["n_bins"]["200"] == {"scored": 85, "not_scored": 0, "blocks": 17}
    over_kmer = [d for d in found["differences"] if d["over"] == "kmer" and d["metric"] == "auroc"]
    assert (
        len(over_kmer) == 1 and over_kmer[0]["gain_low"] <= over_kmer[0]["gain"] <= over_kmer[0]["gain_high"]
    )


@pytest.mark.parametrize("trained_on_both", [True, False])
def test_strands_are_read_as_in_training(world, trained_on_both):
    training = {"sampling": {"reverse_complement": trained_on_both}}
    for name in ("model", "ablated"):
        world.add(name, world.perfect, training=training)
    _, found = world.run(ablated=world.folder / "ablated")
    assert world.strands_read == {trained_on_both} and found["both_strands"] is trained_on_both
    sidecar = json.loads((world.folder / "out/predicted_state.bw.json").read_text())
    assert sidecar["aggregation"] == ("mean of both strands" if trained_on_both else "none")


def test_input_mode_names_tracks(world):
    network = {"inputs": ["sequence", "cuts"], "targets": ["state"], "recurrence": True}
    world.add("model", lambda c: world.noisy(c)._replace(cuts=None), network=network)
    _, found = world.run()
    assert (found["input_mode"], found["inputs"]) == ("sequence+tracks", ["sequence", "cuts"])


# files


def test_tracks_hold_the_predictions_of_held_out_contigs(world):
    world.add("model", world.noisy)
    world.run()
    for target in ("state", "cuts"):
        path = world.folder / f"out/predicted_{target}.bw"
        with pyBigWig.open(str(path)) as bigwig:
            assert bigwig.chroms() == LENGTHS
            for contig in ("c1", "c5"):
                assert bigwig.intervals(contig) is None
            for contig in ("c2", "c3", "c4"):
                found = bigwig.values(contig, 0, LENGTHS[contig], numpy=True)
                expected = getattr(world.noisy(contig), target).copy()
                expected[world.arrays[contig].codes == 4] = np.nan
                np.testing.assert_allclose(found, expected, atol=6e-5 if target == "state" else 6e-6)
        sidecar = json.loads(Path(f"{path}.json").read_text())
        assert sidecar["gaps"] == "missing" and sidecar["model_sha256"] == "ab" * 32
        assert sidecar["unit"] == ("probability" if target == "state" else "expected cuts per bp")


def test_same_inputs_same_bytes(world):
    world.add("model", world.noisy)
    world.add("ablated", lambda c: world.noisy(c, sigma=2))
    for name in ("one", "two"):
        world.run(name, ablated=world.folder / "ablated")
    files = sorted(path.name for path in (world.folder / "one").iterdir())
    assert files == [
        "bins.npz",
        "evaluation.json",
        "evaluation.tsv",
        "evaluation_contigs.tsv",
        "predicted_cuts.bw",
        "predicted_cuts.bw.json",
        "predicted_state.bw",
        "predicted_state.bw.json",
    ]
    for name in files:
        assert (world.folder / "one" / name).read_bytes() == (world.folder / "two" / name).read_bytes(), name


# further predictors


def write_predictor(path, values):
    with BigWigWriter(path, {contig: len(array) for contig, array in values.items()}) as writer:
        for contig, array in values.items():
            writer.add(contig, 0, array)
    return path


def oracle_values(world):
    values = {c: np.where(a.state == 1, 0.9, 0.1).astype(np.float32) for c, a in world.arrays.items()}
    for contig, arrays in world.arrays.items():
        values[contig][arrays.state == 255] = np.nan
    return values


def test_a_bigwig_is_scored_as_a_predictor_of_the_state(world):
    path = write_predictor(world.folder / "oracle.bw", oracle_values(world))
    table, found = world.run(predictors={"oracle": path})
    assert list(table.index)[-2:] == [("oracle", 200), ("oracle", 1_000)]
    for bin_bp in (1, 200):
        assert table.loc[("oracle", bin_bp), ["auroc", "auprc"]].tolist() == pytest.approx([1, 1])
    assert table.loc[("oracle", 200), ["pearson", "spearman"]].isna().all()
    assert found["predictors"]["oracle"] == "state score per base, oracle.bw"
    # the stub's state and the oracle's are the same step: no gain over it
    over_oracle = [d for d in found["differences"] if d["over"] == "oracle"]
    assert {(d["bin_bp"], d["metric"]) for d in over_oracle} == {
        (bin_bp, metric) for bin_bp in (1, 50, 200, 1_000) for metric in ("auroc", "auprc")
    }
    assert [d["gain"] for d in over_oracle] == pytest.approx([0] * 8)


def test_a_bigwig_of_expected_cuts_is_scored_like_a_network_of_the_cuts(world):
    values = {contig: world.noisy(contig).cuts for contig in LENGTHS}
    for contig, arrays in world.arrays.items():
        values[contig][arrays.state == 255] = np.nan  # what is not scored may be missing
    path = write_predictor(world.folder / "expected.bw", values)
    Path(f"{path}.json").write_text('{"description": "Somebody else\'s network."}')
    world.add("model", lambda c: world.noisy(c)._replace(state=None), targets=("cuts",))
    table, found = world.run(predictors={"peer": f"cuts:{path}"})
    for bin_bp in (1, 200):
        assert table.loc[("peer", bin_bp)].equals(table.loc[("model", bin_bp)])
    assert table.loc[("peer", 200), ["pearson", "auprc"]].notna().all()
    assert found["predictors"]["peer"] == "Somebody else's network."
    with np.load(world.folder / "out" / "bins.npz") as bins:
        assert np.array_equal(bins["log_cuts.peer"], bins["log_cuts.model"])


def test_a_predictor_with_gaps_is_refused(world):
    values = oracle_values(world)
    values["c4"][[70, 71]] = np.nan
    path = write_predictor(world.folder / "gaps.bw", values)
    with pytest.raises(InputError, match=r"gaps\.bw: no value at 2 scored bases of c4, the first at 70;"):
        world.run(predictors={"gaps": path})
    assert not (world.folder / "out").exists()


def test_a_predictor_of_another_genome_is_refused(world):
    values = oracle_values(world)
    values["c4"] = values["c4"][:-1]
    path = write_predictor(world.folder / "short.bw", values)
    with pytest.raises(InputError, match=r"c4 is 7999 bp long, in .*store.* 8000 bp"):
        world.run(predictors={"short": path})
    path = write_predictor(world.folder / "named.bw", {f"chr{c}": v for c, v in oracle_values(world).items()})
    with pytest.raises(
        InputError, match=r"no contig 'c4' of .*the genome calls it 'c\d', this file 'chrc\d'"
    ):
        world.run(predictors={"named": path})


def test_a_reserved_name_is_refused(world):
    with pytest.raises(InputError, match="'kmer' is the name of a predictor that is always there"):
        world.run(predictors={"kmer": world.folder / "any.bw"})


# what does not belong together


def test_another_store_is_refused(world):
    world.add("model", world.perfect, store="0" * 64)
    with pytest.raises(InputError, match="was trained on the encoded store"):
        world.run()
    assert not (world.folder / "out").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 2}, "another seed"),
        ({"store": "0" * 64}, "another store"),
        ({"fold": {**FOLD, "test": ["c3"]}}, "another fold"),
        ({"training": {"sampling": {"reverse_complement": False}}}, "another training"),
        ({"twin": "random"}, "its twin is 'random'"),
        ({"network": {"inputs": ["sequence"], "targets": ["state"], "recurrence": False}}, "another network"),
    ],
)
def test_a_twin_of_another_run_is_refused(world, changes, reason):
    world.add("ablated", world.perfect, **changes)
    with pytest.raises(InputError, match=rf"is not a\.f1\.1 without recurrence \({reason}\)"):
        world.run(ablated=world.folder / "ablated")
    assert not (world.folder / "out").exists()


def test_test_contigs_without_a_scored_base_are_refused(world):
    for contig in FOLD["test"]:
        arrays = world.arrays[contig]
        world.arrays[contig] = replace(arrays, state=np.full_like(arrays.state, 255))
    world.store = make_store(world.folder / "store", world.arrays)
    world.add("model", world.perfect)
    with pytest.raises(InputError, match="no 1-bp bin of the test contigs c2, c4 is scored"):
        world.run()


def test_test_contigs_without_a_peak_have_no_auroc(world, caplog):
    for contig in FOLD["test"]:
        arrays = world.arrays[contig]
        world.arrays[contig] = replace(arrays, state=np.where(arrays.state == 1, 0, arrays.state))
    world.store = make_store(world.folder / "store", world.arrays)
    world.add("model", world.perfect)
    table, found = world.run()
    assert table[["auroc", "auprc_low"]].isna().all(axis=None)
    assert table.loc[("model", 200), "pearson"] == pytest.approx(1)
    assert "all bins are of one kind" in caplog.text
    assert {d["metric"] for d in found["differences"]} == {"pearson", "spearman"}


# a real network


def test_a_real_network_through_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "REPLICATES", 10)
    monkeypatch.setitem(baselines._BOOSTING, "max_iter", 2)
    rng = np.random.default_rng(1)
    lengths = {"c1": 9_000, "c2": 3_300, "c3": 2_000, "c4": 3_900}
    store = make_store(tmp_path / "store", {c: contig_arrays(rng, n) for c, n in lengths.items()})
    for twin, config in (("none", CONFIG), ("ablated", replace(CONFIG, recurrence=False))):
        weights = AccessibilityNetwork(config, torch.Generator().manual_seed(1)).state_dict()
        meta = {"run": "a.f1.1", "twin": twin, "seed": 1, "fold": FOLD, "store": store.content_hash}
        meta["training"] = {"sampling": {"reverse_complement": True}}
        save_model(tmp_path / twin, config, weights, weights, meta)
    output = tmp_path / "none"
    table = evaluate.evaluate(store.path, output, output, ablated=tmp_path / "ablated").set_index(
        ["predictor", "bin_bp"]
    )
    assert np.isfinite(table.loc[("ablated", [200, 1_000]), ["pearson", "auroc"]].astype(float)).all(
        axis=None
    )
    assert {path.name for path in output.iterdir()} >= {
        "model.safetensors",
        "evaluation.tsv",
        "evaluation.json",
    }
    # the score of the table is the score of what a person sees in the track
    score = np.concatenate([read_bigwig(output / "predicted_state.bw", c) for c in ("c2", "c4")])
    label = np.concatenate([store.state(c) for c in ("c2", "c4")])
    is_open, closed = score[label == 1], score[label == 0]
    pairs = is_open[:, None] - closed[None, :]
    assert table.loc[("model", 1), "auroc"] == pytest.approx((np.sign(pairs).mean() + 1) / 2, abs=2e-3)
