"""Scores over folds and seeds by a slow recomputation; pairs by hand; what may not be pooled is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from fake_runs import FOLDS, noisy, observed, write_run, write_runs
from gatescope.errors import InputError
from gatescope.model import crossval
from gatescope.model.binned import BinPrediction
from gatescope.model.crossval import ENSEMBLE, MEAN, NONE, POOLED, compare
from gatescope.model.metrics import MISSING, Bins, Estimate, draw_blocks
from gatescope.model.resampled import limits, mean_estimate, score_bins

METRICS = ("pearson", "spearman", "auroc", "auprc")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models, two folds, three seeds; "good" is better than "poor"."""
    return write_runs(tmp_path_factory.mktemp("runs"), {"good": 0.5, "poor": 0.9})


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    """What `compare` says about them; read only."""
    return run_compare(runs, tmp_path_factory.mktemp("compared"))


def run_compare(paths, output, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "_REPLICATES", 40)
        table = compare(paths, output, **options)
    found = json.loads((output / "comparison.json").read_text())
    differences = pd.read_csv(output / "differences.tsv", sep="\t")
    return table.set_index(["predictor", "seed", "fold"]), differences, found


# an oracle that reads the files by itself


def slow_scores(label, cuts, log_cuts, state):
    found = {
        "auroc": roc_auc_score(label, state),
        "auprc": average_precision_score(label, state),
    }
    if log_cuts is not None:
        found["pearson"] = pearsonr(np.log1p(cuts), log_cuts)[0]
        found["spearman"] = spearmanr(cuts, log_cuts)[0]
    return found


def slow_frame(paths):
    """All bins of all runs, a row per bin and run."""
    frames = []
    for path in paths:
        model, fold, seed = path.name.split(".")
        with np.load(path / "bins.npz") as arrays:
            frames.append(pd.DataFrame({**arrays, "own": model, "fold": fold, "seed": int(seed)}))
    return pd.concat(frames)


def slow_ensemble(frame, name):
    """Average expected cuts and states over seeds, bin by bin."""
    frame = frame.assign(expected=np.expm1(frame[f"log_cuts.{name}"].astype(float)))
    mean = frame.groupby(["fold", "contig", "start"])
    return pd.DataFrame(
        {
            "label": mean["label"].first(),
            "cuts": mean["cuts"].first(),
            "log_cuts": np.log1p(mean["expected"].mean()),
            "state": mean[f"state.{name}"].agg(lambda values: values.astype(float).mean()),
        }
    ).reset_index()


@pytest.mark.parametrize(("model", "name"), [("good", "model"), ("poor", "model"), ("good", "ablated")])
def test_scores_equal_a_slow_recomputation(runs, compared, model, name):
    table, _, _ = compared
    called = model if name == "model" else f"{model}.{name}"
    frame = slow_frame(runs)
    frame = frame[frame["own"] == model]
    single = {}
    for seed, rows in frame.groupby("seed"):
        given = (rows[f"log_cuts.{name}"], rows[f"state.{name}"])
        single[seed, POOLED] = slow_scores(rows["label"], rows["cuts"], *given)
        for fold, own in rows.groupby("fold"):
            given = (own[f"log_cuts.{name}"], own[f"state.{name}"])
            single[seed, fold] = slow_scores(own["label"], own["cuts"], *given)
    together = slow_ensemble(frame, name)
    for metric in METRICS:
        for fold in (POOLED, "f1", "f2"):
            values = [single[seed, fold][metric] for seed in (1, 2, 3)]
            for seed, value in zip((1, 2, 3), values, strict=True):
                assert table.loc[(called, str(seed), fold), metric] == pytest.approx(value, abs=1e-6)
            row = table.loc[(called, MEAN, fold)]
            assert row[metric] == pytest.approx(np.mean(values), abs=1e-6)
            assert row[f"{metric}_sd_seeds"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            rows = together if fold == POOLED else together[together["fold"] == fold]
            expected = slow_scores(rows["label"], rows["cuts"], rows["log_cuts"], rows["state"])[metric]
            assert table.loc[(called, ENSEMBLE, fold), metric] == pytest.approx(expected, abs=1e-6)
        by_fold = [np.mean([single[seed, fold][metric] for seed in (1, 2, 3)]) for fold in ("f1", "f2")]
        row = table.loc[(called, MEAN, MEAN)]
        assert row[metric] == pytest.approx(np.mean(by_fold), abs=1e-6)
        assert row[f"{metric}_sd_folds"] == pytest.approx(np.std(by_fold, ddof=1), abs=1e-6)


def test_predictors_beside_the_models_are_scored_once(runs, compared):
    table, _, found = compared
    rows = slow_frame([path for path in runs if path.name in ("good.f1.1", "good.f2.1")])
    expected = slow_scores(rows["label"], rows["cuts"], rows["log_cuts.kmer"], rows["state.kmer"])
    assert table.loc[("kmer", NONE, POOLED), list(METRICS)].to_dict() == pytest.approx(expected, abs=1e-6)
    assert table.loc[("gc", NONE, POOLED), ["pearson", "spearman"]].isna().all()
    assert table.loc[("kmer", NONE, POOLED), "n_seeds"] == 0
    assert found["folds"] == {fold: list(contigs) for fold, contigs in FOLDS.items()}
    names = ["good", "poor", "good.ablated", "poor.ablated", "kmer", "gc", "peer"]
    assert list(found["predictors"]) == names == list(dict.fromkeys(table.index.get_level_values(0)))


def test_a_peer_with_seeds_is_averaged_over_them(runs, compared):
    table, differences, found = compared
    frame = slow_frame([path for path in runs if path.name.startswith("good")])
    together = slow_ensemble(frame, "peer")
    expected = slow_scores(together["label"], together["cuts"], together["log_cuts"], together["state"])
    row = table.loc[("peer", ENSEMBLE, POOLED)]
    assert row[list(METRICS)].to_dict() == pytest.approx(expected, abs=1e-6) and row["n_seeds"] == 3
    for model in ("good", "poor"):
        for seed in (ENSEMBLE, MEAN):
            assert len(rows_of(differences, model, "peer", (seed, seed))) == 4
    rivals = [sentence.split(" (")[0] for sentence in found["in_words"] if " against the " not in sentence]
    assert rivals == ["good against poor", "good against peer", "poor against peer"]


def test_a_fold_of_which_nothing_is_drawn_has_no_replicate():
    block = np.repeat(np.arange(2), 10)
    label, cuts = np.tile([True, False], 10), np.arange(20.0)
    bins = Bins(200, label, cuts, np.arange(20), block, 2, 0, {}, {})
    draws = np.array([[0, 0], [1, 1], [2, 0]])
    given = BinPrediction(cuts[::-1] * 1.0, cuts * 2)
    for estimate in score_bins(bins, given, draws).values():
        assert np.isnan(estimate.replicates).tolist() == [True, False, False]
        assert estimate.replicates[1] == pytest.approx(estimate.value)


def test_the_mean_of_estimates_is_paired():
    one, other = Estimate(0.5, np.array([0.4, 0.6])), Estimate(0.7, np.array([0.8, np.nan]))
    mean = mean_estimate([one, other])
    assert mean.value == pytest.approx(0.6) and mean.replicates[0] == pytest.approx(0.6)
    assert np.isnan(mean.replicates[1]) and mean_estimate([one, MISSING]) is MISSING


def test_limits_are_percentiles():
    replicates = np.random.default_rng(0).permutation(np.arange(101.0))
    estimate = Estimate(50.0, replicates)
    assert limits(estimate, 0.90) == pytest.approx((5, 95))
    assert limits(estimate, 0.95) == pytest.approx((2.5, 97.5))


# what has to come out


def rows_of(differences, first, second, seeds=(ENSEMBLE, ENSEMBLE), fold=POOLED):
    columns = ["first", "first_seed", "second", "second_seed", "fold"]
    wanted = (differences[columns] == [first, seeds[0], second, seeds[1], fold]).all(axis=1)
    return differences[wanted].set_index("metric")


def test_an_ensemble_of_identical_members_is_none_of_a_difference(tmp_path):
    paths = []
    for fold in FOLDS:
        bins = observed(FOLDS[fold])
        same = {"model": noisy(bins, 0.7, [1])}
        paths += [write_run(tmp_path, "m", fold, seed, bins, same) for seed in (1, 2)]
    _, differences, _ = run_compare(paths, tmp_path / "out")
    own = differences[(differences["first"] == "m") & (differences["second"] == "m")]
    assert len(own) == 2 * 3 * 4  # pooled and mean of folds; mean and both seeds; four metrics
    # expm1 and log1p leave rounding in the counts, none in the state
    cells = own[["difference", "low_95", "high_95", "low_90", "high_90"]]
    assert (cells[own["metric"].isin(["auroc", "auprc", "spearman"])] == 0).all(axis=None)
    assert (cells.abs() < 1e-12).all(axis=None)


def test_an_ensemble_of_independent_members_is_better(compared):
    _, differences, found = compared
    for second_seed in (MEAN, "1", "2", "3"):
        rows = rows_of(differences, "poor", "poor", (ENSEMBLE, second_seed))
        assert rows.loc["pearson", "low_95"] > 0.01, second_seed
    assert any(s.startswith("An ensemble of 3 poor networks against the mean") for s in found["in_words"])


def test_models_are_compared_in_pairs(compared):
    table, differences, found = compared
    for seeds in ((ENSEMBLE, ENSEMBLE), (MEAN, MEAN)):
        for fold in (POOLED, MEAN):
            rows = rows_of(differences, "good", "poor", seeds, fold)
            for metric in METRICS:
                row = rows.loc[metric]
                scores = [table.loc[(name, seeds[0], fold), metric] for name in ("good", "poor")]
                assert row["difference"] == pytest.approx(scores[0] - scores[1], abs=1e-5)
                assert row["low_95"] <= row["low_90"] <= row["difference"] <= row["high_90"] <= row["high_95"]
    assert rows_of(differences, "good", "kmer", (ENSEMBLE, NONE)).loc["auprc", "low_90"] > 0
    assert rows_of(differences, "good", "good.ablated").loc["pearson", "low_90"] > 0
    assert "gc" not in set(differences.loc[differences["metric"] == "pearson", "second"])
    (sentence,) = [s for s in found["in_words"] if s.startswith("good against poor")]
    assert "(2 folds, ensembles of 3 seeds)" in sentence and sentence.endswith(
        "not worse than poor by 0.01 or more."
    )


def test_intervals_equal_resampling_blocks_for_real(runs, compared):
    """Pooled r of two ensembles: rows of drawn blocks, taken again and again, bin by bin."""
    frame = slow_frame(runs)
    both = {model: slow_ensemble(frame[frame["own"] == model], "model") for model in ("good", "poor")}
    block = frame.groupby(["fold", "contig", "start"])["block"].first().reset_index()
    number = block.groupby(["fold", "contig", "block"]).ngroup().to_numpy()
    draws = draw_blocks(number.max() + 1, 40, np.random.default_rng(0))
    replicates = {"good": [], "poor": []}
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(number == b) for b, n in enumerate(draw) for _ in range(n)])
        for model, bins in both.items():
            drawn = bins.iloc[rows]
            replicates[model].append(pearsonr(np.log1p(drawn["cuts"]), drawn["log_cuts"])[0])
    table, differences, _ = compared
    good, poor = (np.array(replicates[model]) for model in ("good", "poor"))
    row = table.loc[("good", ENSEMBLE, POOLED)]
    assert [row["pearson_low"], row["pearson_high"]] == pytest.approx(np.percentile(good, [2.5, 97.5]))
    row = rows_of(differences, "good", "poor").loc["pearson"]
    assert row[["low_90", "high_90"]].tolist() == pytest.approx(np.percentile(good - poor, [5, 95]), abs=1e-5)


def test_a_worse_model_is_said_to_be(runs, tmp_path):
    order = sorted(runs, key=lambda path: path.name.startswith("good"))
    _, differences, found = run_compare(order, tmp_path)
    assert (rows_of(differences, "poor", "good")["difference"] < 0).all()
    (sentence,) = [s for s in found["in_words"] if s.startswith("poor against good")]
    assert sentence.endswith("So poor is possibly worse than good by 0.01 or more in r and AUPRC.")


def test_a_shift_of_a_fold_lowers_the_pooled_score_alone(tmp_path):
    plain = write_runs(tmp_path / "plain", {"m": 0.5}, seeds=(1,))
    moved = write_runs(tmp_path / "moved", {"m": 0.5}, seeds=(1,), shifts=(0.0, 2.0))
    before, after = (run_compare(each, each[0].parent / "out")[0] for each in (plain, moved))
    # predictions below 0 are cut off in the one and not in the other
    for fold in ("f1", "f2", MEAN):
        assert after.loc[("m", MEAN, fold), "pearson"] == pytest.approx(
            before.loc[("m", MEAN, fold), "pearson"], abs=0.01
        )
    assert after.loc[("m", MEAN, POOLED), "pearson"] < before.loc[("m", MEAN, POOLED), "pearson"] - 0.1


def test_one_fold_and_one_seed_have_no_spread(tmp_path):
    paths = write_runs(tmp_path, {"a": 0.5, "b": 0.6}, folds=("f1",), seeds=(4,))
    table, differences, found = run_compare(paths, tmp_path / "out")
    assert set(table.index.get_level_values("fold")) == {POOLED} == set(differences["fold"])
    assert set(table.index.get_level_values("seed")) == {MEAN, NONE}
    assert table[[f"{m}_sd_{of}" for m in METRICS for of in ("seeds", "folds")]].isna().all(axis=None)
    assert found["in_words"][0].startswith("a against b (one fold, one seed each): r 0.")


def test_the_order_of_runs_does_not_matter(runs, compared, tmp_path):
    mixed = [runs[0], *np.random.default_rng(0).permutation(np.array(runs[1:], object))]
    first, second = compared[0], run_compare(mixed, tmp_path)[0]
    values = list(METRICS)
    pd.testing.assert_frame_equal(first[values].sort_index(), second[values].sort_index(), atol=1e-12)


def test_same_inputs_same_bytes(runs, tmp_path):
    for name in ("one", "two"):
        run_compare(runs, tmp_path / name, seed=3)
    for name in ("scores.tsv", "differences.tsv", "comparison.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# what is refused


def spoil_contig(paths):
    with np.load(paths[-1] / "bins.npz") as arrays:
        content = dict(arrays)
    for path in paths:
        if ".f2." in path.name:
            np.savez(path / "bins.npz", **content | {"contig": np.full(content["start"].size, "chrB")})
    return "contig chrB is tested in f2 as well as in f1"


def spoil_bins(paths):
    with np.load(paths[-1] / "bins.npz") as arrays:
        content = dict(arrays)
    np.savez(paths[-1] / "bins.npz", **content | {"cuts": content["cuts"] + 1})
    return "other bins than m.f2.1: cuts differs"


def spoil_a_peer(paths):
    folder = paths[0].parent.with_name("others")
    shutil.copytree(paths[0].parent, folder)
    paths += [folder / path.name for path in paths]
    for path in paths[4:]:
        meta = json.loads((path / "model.json").read_text())
        (path / "model.json").write_text(json.dumps(meta | {"run": meta["run"].replace("m.", "n.", 1)}))
    with np.load(paths[-1] / "bins.npz") as arrays:
        content = dict(arrays)
    np.savez(paths[-1] / "bins.npz", **content | {"log_cuts.peer": content["log_cuts.peer"] + 1})
    return "predictor peer is not the one of m.f2.2"


def drop_a_run(paths):
    paths.pop()
    return "run m.f2.2 is missing"


def give_twice(paths):
    paths.append(paths[0])
    return "run m.f1.1 is given twice"


def call_a_model_kmer(paths):
    for path in list(paths):
        named = path.with_name(path.name.replace("m.", "kmer.", 1))
        shutil.copytree(path, named)
        meta = json.loads((named / "model.json").read_text()) | {"run": named.name}
        (named / "model.json").write_text(json.dumps(meta))
        paths.append(named)
    return "'kmer' is a model and another predictor"


def drop_a_file(paths):
    (paths[1] / "bins.npz").unlink()
    return "m.f1.2/bins.npz: file does not exist"


def cut_a_file(paths):
    content = (paths[1] / "bins.npz").read_bytes()
    (paths[1] / "bins.npz").write_bytes(content[: len(content) // 2])
    return "not an archive of arrays"


def drop_an_array(paths):
    with np.load(paths[0] / "bins.npz") as arrays:
        content = {name: values for name, values in arrays.items() if name != "block"}
    np.savez(paths[0] / "bins.npz", **content)
    return "no array block"


def put_a_gap(paths):
    with np.load(paths[0] / "bins.npz") as arrays:
        content = dict(arrays)
    content["state.model"][3] = np.nan
    np.savez(paths[0] / "bins.npz", **content)
    return "array state.model is not all finite numbers"


@pytest.mark.parametrize(
    "spoil",
    [spoil_contig, spoil_bins, spoil_a_peer, drop_a_run, give_twice, call_a_model_kmer, drop_a_file, cut_a_file,
     drop_an_array, put_a_gap],
)  # fmt: skip
def test_what_cannot_be_pooled_is_refused(tmp_path, spoil):
    paths = write_runs(tmp_path / "runs", {"m": 0.5}, seeds=(1, 2))
    message = spoil(paths)
    with pytest.raises(InputError) as refused:
        compare(paths, tmp_path / "out")
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()
