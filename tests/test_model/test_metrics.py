"""Bins by a slow loop, metrics by other libraries and by hand, intervals by resampling for real."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from gatescope.model import metrics
from gatescope.model.metrics import (
    FEWEST_BLOCKS,
    MISSING,
    Estimate,
    cut_bins,
    draw_blocks,
    paired_difference,
    score_counts,
    score_state,
)

LENGTHS = {"a": 4_321, "b": 1_999, "tiny": 13}


def draw_contigs(rng, lengths=LENGTHS, not_scored=0.1, run_bp=40):
    """States in runs, some of them not scored, and cuts."""
    state, cuts = {}, {}
    for contig, length in lengths.items():
        runs = rng.choice([0, 1, 255], p=[0.6, 0.4 - not_scored, not_scored], size=length // run_bp + 1)
        state[contig] = np.repeat(runs, run_bp)[:length].astype(np.uint8)
        cuts[contig] = rng.poisson(0.1 + 0.5 * (state[contig] == 1)).astype(np.float32)
    return state, cuts


def simple_bins(label, cuts, block):
    """One base per bin: what the metrics see is then exactly what is given here."""
    state = {f"c{k}": np.asarray(label, np.uint8)[block == k] for k in np.unique(block)}
    return cut_bins(state, {f"c{k}": np.asarray(cuts, float)[block == k] for k in np.unique(block)}, 1)


def random_bins(rng, n=400, n_blocks=12):
    block = np.sort(rng.integers(0, n_blocks, n))
    label = rng.random(n) < 0.2
    label[:2] = [True, False]
    return simple_bins(label, rng.poisson(2 + 3 * label), block)


# bins


@pytest.mark.parametrize("bin_bp", [1, 7, 200])
def test_bins_equal_a_loop_over_bases(bin_bp):
    rng = np.random.default_rng(0)
    state, cuts = draw_contigs(rng)
    predicted = {contig: rng.random(length).astype(np.float32) for contig, length in LENGTHS.items()}
    for contig in predicted:
        predicted[contig][state[contig] == 255] = np.nan
    bins = cut_bins(state, cuts, bin_bp, block_bp=1_000)
    rows, left_out = [], 0
    for contig, length in LENGTHS.items():
        for start in range(0, length - bin_bp + 1, bin_bp):
            scored = [at for at in range(start, start + bin_bp) if state[contig][at] != 255]
            if len(scored) * 2 < bin_bp or not scored:
                left_out += 1
                continue
            n_open = sum(int(state[contig][at]) for at in scored)
            values = [float(predicted[contig][at]) for at in scored]
            observed = sum(float(cuts[contig][at]) for at in scored)
            rows.append((n_open * 2 >= len(scored), observed, sum(values), start, (contig, start // 1_000)))
    label, observed, total, start, block = zip(*rows, strict=True)
    assert bins.n_left_out == left_out and bins.label.size == len(rows)
    assert bins.label.tolist() == list(label)
    assert bins.cuts.tolist() == list(observed)
    assert bins.start.tolist() == list(start)
    np.testing.assert_allclose(bins.sum(predicted), total, rtol=1e-12)
    names = list(dict.fromkeys(block))
    assert bins.block.tolist() == [names.index(name) for name in block] and bins.n_blocks == len(names)


def test_mean_is_over_scored_bases():
    state = {"a": np.array([0, 255, 1, 1], np.uint8)}
    values = {"a": np.array([1.0, np.nan, 3.0, 5.0])}
    bins = cut_bins(state, values, 4)
    assert (
        bins.mean(values).tolist() == [3.0] and bins.cuts.tolist() == [9.0] and bins.label.tolist() == [True]
    )


def test_bins_at_the_thresholds():
    def bins_of(*state):
        return cut_bins({"a": np.array(state, np.uint8)}, {"a": np.zeros(4)}, 4)

    assert bins_of(1, 1, 0, 0).label.tolist() == [True]
    assert bins_of(1, 0, 0, 0).label.tolist() == [False]
    assert bins_of(1, 0, 255, 255).label.tolist() == [True]
    assert bins_of(1, 255, 255, 255).n_left_out == 1


def test_pick_takes_the_same_bins():
    rng = np.random.default_rng(1)
    state, cuts = draw_contigs(rng, not_scored=0.3)
    bins = cut_bins(state, cuts, 50)
    where = {contig: np.arange(length // 50) * 50 for contig, length in LENGTHS.items()}
    assert bins.pick(where).tolist() == bins.start.tolist()
    assert 0 < bins.n_left_out < bins.label.size


# metrics


def test_metrics_equal_other_libraries_with_ties():
    rng = np.random.default_rng(2)
    bins = random_bins(rng)
    score = np.round(rng.normal(size=bins.label.size) + bins.label, 1)
    draws = draw_blocks(bins.n_blocks, 3, rng)
    state, counts = score_state(bins, score, draws), score_counts(bins, score, draws)
    observed = np.log1p(bins.cuts)
    assert state["auroc"].value == pytest.approx(roc_auc_score(bins.label, score), abs=1e-12)
    assert state["auprc"].value == pytest.approx(average_precision_score(bins.label, score), abs=1e-12)
    assert counts["pearson"].value == pytest.approx(pearsonr(observed, score)[0], abs=1e-12)
    assert counts["spearman"].value == pytest.approx(spearmanr(observed, score)[0], abs=1e-12)


def test_metrics_by_hand():
    bins = simple_bins([0, 1, 0, 1], [0, 1, 3, 7], np.array([0, 0, 1, 1]))  # log1p, in ln 2: 0, 1, 2, 3
    score = np.array([0.1, 0.4, 0.6, 0.9])
    draws = draw_blocks(2, 5, np.random.default_rng(0))
    state, counts = score_state(bins, score, draws), score_counts(bins, np.arange(4.0), draws)
    assert state["auroc"].value == pytest.approx(3 / 4)  # 3 of 4 pairs in order
    assert state["auprc"].value == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert counts["pearson"].value == pytest.approx(1) and counts["spearman"].value == pytest.approx(1)


@pytest.mark.parametrize("n", [300, 5_000])  # below and above the number of levels
def test_perfect_reversed_and_constant_predictors(n):
    bins = random_bins(np.random.default_rng(3), n)
    draws = draw_blocks(bins.n_blocks, 20, np.random.default_rng(0))
    perfect = score_state(bins, bins.label + np.linspace(0, 0.5, n), draws)
    for name in ("auroc", "auprc"):
        assert (perfect[name].value, *perfect[name].interval) == pytest.approx((1, 1, 1), abs=1e-12)
    reversed_ = score_state(bins, -1.0 * bins.label - np.linspace(0, 0.5, n), draws)
    assert (reversed_["auroc"].value, *reversed_["auroc"].interval) == pytest.approx((0, 0, 0), abs=1e-12)
    constant = score_state(bins, np.full(n, 0.3), draws)
    assert (constant["auroc"].value, *constant["auroc"].interval) == pytest.approx((0.5, 0.5, 0.5), abs=1e-12)
    assert constant["auprc"].value == pytest.approx(bins.label.mean())


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_auroc(label):
    bins = simple_bins(label, [1, 2, 3], np.array([0, 0, 1]))
    assert score_state(bins, np.arange(3.0), np.ones((4, 2), int)) == {"auroc": MISSING, "auprc": MISSING}


def test_constant_counts_have_no_correlation():
    bins = simple_bins([0, 1, 0], [2, 2, 2], np.array([0, 0, 1]))
    assert score_counts(bins, np.arange(3.0), np.ones((4, 2), int))["pearson"] is MISSING
    bins = simple_bins([0, 1, 0], [1, 2, 3], np.array([0, 0, 1]))
    assert score_counts(bins, np.ones(3), np.ones((4, 2), int))["spearman"] is MISSING


def test_a_missing_score_is_refused():
    bins = simple_bins([0, 1], [1, 2], np.array([0, 1]))
    for score in (np.array([0.1, np.nan]), np.array([0.1])):
        with pytest.raises(ValueError, match="2 bins"):
            score_state(bins, score, np.ones((1, 2), int))


def test_only_the_order_of_a_state_score_matters():
    rng = np.random.default_rng(4)
    bins = random_bins(rng, 4_000)
    score, draws = rng.normal(size=4_000), draw_blocks(bins.n_blocks, 10, rng)
    first, second = score_state(bins, score, draws), score_state(bins, np.exp(3 * score), draws)
    for name in first:
        assert first[name].value == pytest.approx(second[name].value, abs=1e-12)
        np.testing.assert_allclose(first[name].replicates, second[name].replicates, atol=1e-12)


def test_what_is_not_scored_changes_nothing():
    rng = np.random.default_rng(5)
    state, cuts = draw_contigs(rng)
    other = {contig: np.where(state[contig] == 255, 1_000, cuts[contig]) for contig in cuts}
    score = {contig: rng.random(length) for contig, length in LENGTHS.items()}
    changed = {contig: np.where(state[contig] == 255, np.nan, score[contig]) for contig in score}
    results = []
    for observed, predicted in ((cuts, score), (other, changed)):
        bins = cut_bins(state, observed, 100, block_bp=1_000)
        draws = draw_blocks(bins.n_blocks, 5, np.random.default_rng(0))
        results.append(
            [score_state(bins, bins.mean(predicted), draws), score_counts(bins, bins.sum(predicted), draws)]
        )
    for before, after in zip(*results, strict=True):
        for name in before:
            assert before[name].value == after[name].value
            np.testing.assert_array_equal(before[name].replicates, after[name].replicates)


# intervals


def resampled(bins, score, draw):
    """Indices of one replicate, written out."""
    return np.concatenate(
        [np.flatnonzero(bins.block == k) for k, times in enumerate(draw) for _ in range(times)]
    )


def test_replicates_equal_resampling_for_real():
    rng = np.random.default_rng(6)
    bins = random_bins(rng)
    score = np.round(rng.normal(size=bins.label.size) + bins.label, 1)
    draws = draw_blocks(bins.n_blocks, 25, rng)
    found = score_state(bins, score, draws) | score_counts(bins, score, draws)
    for k, draw in enumerate(draws):
        rows = resampled(bins, score, draw)
        label, observed, drawn = bins.label[rows], np.log1p(bins.cuts[rows]), score[rows]
        expected = {
            "auroc": roc_auc_score(label, drawn),
            "auprc": average_precision_score(label, drawn),
            "pearson": pearsonr(observed, drawn)[0],
            "spearman": spearmanr(observed, drawn)[0],
        }
        for name, value in expected.items():
            assert found[name].replicates[k] == pytest.approx(value, abs=1e-10), name


def test_replicates_from_levels_are_close_where_scores_are_many():
    rng = np.random.default_rng(7)
    bins = random_bins(rng, 20_000)
    score = rng.normal(size=20_000) + 1.5 * bins.label
    draws = draw_blocks(bins.n_blocks, 10, rng)
    found = score_state(bins, score, draws)
    for k, draw in enumerate(draws):
        rows = resampled(bins, score, draw)
        label, drawn = bins.label[rows], score[rows]
        assert found["auroc"].replicates[k] == pytest.approx(roc_auc_score(label, drawn), abs=1e-4)
        assert found["auprc"].replicates[k] == pytest.approx(average_precision_score(label, drawn), abs=1e-3)


def test_levels_replace_sorting_beyond_the_limit(monkeypatch):
    rng = np.random.default_rng(8)
    bins = random_bins(rng, 20_000)
    score, draws = rng.normal(size=20_000) + 1.5 * bins.label, np.ones((1, bins.n_blocks), int)
    exact = score_state(bins, score, draws)
    monkeypatch.setattr(metrics, "_MOST_SORTED", 100)
    coarse = score_state(bins, score, draws)
    assert coarse["auroc"].value == pytest.approx(exact["auroc"].value, abs=1e-4)
    assert coarse["auprc"].value == pytest.approx(exact["auprc"].value, abs=1e-3)
    # every block once is the whole: the replicate is the value itself
    for found in (exact, coarse):
        for name in found:
            assert found[name].replicates[0] == pytest.approx(found[name].value, abs=1e-12)


def test_levels_equal_weighted_samples():
    """All replicates in one pass, against scikit-learn, a replicate at a time."""
    counts = np.random.default_rng(12).integers(0, 4, (6, 2, 30))
    counts[1, :, 5:20] = 0  # levels that nobody has
    counts[2, 1] = 0  # nothing open
    found = metrics._level_metrics(counts)
    for row, each in zip(found, counts, strict=True):
        if not each[1].any():
            assert np.isnan(row).all()
            continue
        label, level = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
        label, level, weight = (x[each.ravel() > 0] for x in (label, level, each.ravel()))
        assert row[0] == pytest.approx(roc_auc_score(label, level, sample_weight=weight), abs=1e-12)
        assert row[1] == pytest.approx(average_precision_score(label, level, sample_weight=weight), abs=1e-12)


def test_intervals_cover_the_truth():
    """Within a block, bins share their noise: intervals that ignore blocks would be far too narrow."""
    rng = np.random.default_rng(9)
    n_blocks, n_sets, hits, hits_by_bin = 40, 40, 0, 0
    block = np.repeat(np.arange(n_blocks), 10)
    truth = 0.5 / np.sqrt((1 + 0.02) * (0.25 + 0.25 + 0.02))  # covariance over deviations of what follows
    for _ in range(n_sets):
        signal, noise = rng.normal(size=n_blocks)[block], rng.normal(size=n_blocks)[block]
        score = signal + 0.02**0.5 * rng.normal(size=block.size)
        observed = 0.5 * signal + 0.5 * noise + 0.02**0.5 * rng.normal(size=block.size)
        bins = simple_bins(observed > 0, np.expm1(observed + 5), block)
        low, high = score_counts(bins, score, draw_blocks(n_blocks, 100, rng))["pearson"].interval
        hits += low <= truth <= high
        by_bin = replace(bins, block=np.arange(block.size), n_blocks=block.size)
        low, high = score_counts(by_bin, score, draw_blocks(block.size, 100, rng))["pearson"].interval
        hits_by_bin += low <= truth <= high
    assert hits >= 0.85 * n_sets
    assert hits_by_bin < 0.6 * n_sets


def test_difference_is_paired():
    rng = np.random.default_rng(10)
    bins = random_bins(rng, 1_000)
    draws = draw_blocks(bins.n_blocks, 60, rng)
    good = bins.label + rng.normal(size=1_000)
    first = score_state(bins, good, draws)["auroc"]
    second = score_state(bins, good + 0.01 * rng.normal(size=1_000), draws)["auroc"]
    itself = paired_difference(first, first)
    assert itself.value == 0 and itself.interval == (0, 0)
    difference = paired_difference(first, second)
    assert difference.value == first.value - second.value
    low, high = difference.interval
    assert low <= difference.value <= high
    assert high - low < (first.interval[1] - first.interval[0]) / 5
    assert np.isnan(paired_difference(first, MISSING).value)
    assert np.isnan(paired_difference(first, MISSING).interval).all()


def test_draws_are_seeded_and_whole():
    first, second = (draw_blocks(11, 50, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (50, 11) and (first.sum(1) == 11).all() and (first == second).all()
    np.testing.assert_allclose(draw_blocks(11, 4_000, np.random.default_rng(0)).mean(0), 1, atol=0.07)


@pytest.mark.parametrize("n_blocks", [1, FEWEST_BLOCKS - 1])
def test_few_blocks_have_no_interval(n_blocks):
    rng = np.random.default_rng(11)
    bins = random_bins(rng, n_blocks=n_blocks)
    draws = draw_blocks(bins.n_blocks, 100, rng)
    assert draws.shape == (0, n_blocks)
    score = rng.random(bins.label.size)
    for estimate in (score_state(bins, score, draws) | score_counts(bins, score, draws)).values():
        assert np.isfinite(estimate.value) and np.isnan(estimate.interval).all()


def test_interval_leaves_out_replicates_without_a_value():
    assert Estimate(0.5, np.array([np.nan, 0.4, 0.4, 0.4])).interval == (0.4, 0.4)
    assert np.isnan(Estimate(0.5, np.array([np.nan, np.nan, np.nan, 0.4])).interval).all()
