"""Profiles against loops over windows and bases, other libraries, and cuts that were drawn from a known profile."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import jensenshannon

from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.model import profiles
from gatescope.model.ceiling import split_cuts
from gatescope.model.profiles import FEWEST_CUTS, WINDOW_BP, score_profiles, window_sets, windows_at

CONTIGS = ("a", "b")


def truth(rng, length):
    """Rates that change from base to base, and along regions."""
    along = np.exp(gaussian_filter1d(rng.normal(size=length), 60) * 12)
    return along * np.exp(0.8 * rng.normal(size=length))


def make_store(folder, depth, lengths=(9_500, 6_200), seed=0):
    """Cuts drawn from known rates; one stretch of each contig is not scored. Returns the store and the rates."""
    rng, contigs, rates = np.random.default_rng(seed), {}, {}
    for name, length in zip(CONTIGS, lengths, strict=True):
        rates[name] = truth(rng, length)
        state = np.zeros(length, np.uint8)
        state[2_300:2_450] = 255
        cuts = rng.poisson(depth * rates[name] / rates[name].mean()).astype(np.float32)
        contigs[name] = ContigArrays(rng.integers(0, 4, length).astype(np.uint8), state, {"cuts": cuts})
    columns = ["chrom", "start", "end", "summit", "kind", "gc"]
    summits = {"a": (200, 2_000, 5_111, 9_300), "b": (3_000,)}
    peaks = [(c, at - 100, at + 100, at, "peak", 0.5) for c, found in summits.items() for at in found]
    table = pd.DataFrame([*peaks, ("a", 7_000, 8_000, 7_500, "background", 0.5)], columns=columns)
    meta = {"stage_version": 1, "window_bp": 1_000, "folds": {}, "inputs": {}, "filters": [], "seed": 0}
    write_store(folder, contigs.items(), table, meta)
    return EncodedStore(folder), rates


def scored(store, predictors, windows=None, half=None, replicates=0):
    cuts = {contig: store.track(contig, "cuts") for contig in CONTIGS}
    half = half or split_cuts(cuts, 1)
    windows = windows or window_sets(store, CONTIGS, 2_000, 0)["everywhere"]
    found = score_profiles(windows, store, half, predictors, replicates=replicates, seed=3)
    return found, {(row["predictor"], row["metric"]): row for row in found["scores"]}


# windows


def test_windows_are_around_summits_and_side_by_side(tmp_path):
    store, _ = make_store(tmp_path / "store", depth=1)
    sets = window_sets(store, CONTIGS, 20_000, 0)
    peaks, everywhere = sets["peaks"], sets["everywhere"]
    # 200 and 9,300 leave the contig
    assert [(peaks.contig[k], at) for k, at in zip(peaks.number, peaks.start, strict=True)] == [
        ("a", 1_500), ("a", 4_611), ("b", 2_500),
    ]  # fmt: skip
    assert peaks.n_left_out == 2 and peaks.n_blocks == 2
    assert everywhere.start.tolist() == [*range(0, 9_000, 1_000), *range(0, 6_000, 1_000)]


def test_windows_with_few_cuts_or_few_scored_bases_are_left_out(tmp_path):
    store, _ = make_store(tmp_path / "store", depth=0.055)
    starts = {contig: np.arange(-500, length, 77) for contig, length in store.lengths.items()}
    kept, slow = windows_at(store, starts, 1_500, 0), []
    for contig, at in starts.items():
        state, cuts = store.state(contig), store.track(contig, "cuts")
        for start in at:
            inside = [k for k in range(start, start + WINDOW_BP) if 0 <= k < len(state) and state[k] != 255]
            is_within = start >= 0 and start + WINDOW_BP <= len(state)
            if is_within and len(inside) > 500 and sum(cuts[inside]) >= FEWEST_CUTS:
                slow.append((contig, start, (contig, (start + 500) // 1_500)))
    assert 10 < len(slow) < 150
    assert [(kept.contig[k], at) for k, at in zip(kept.number, kept.start, strict=True)] == [
        s[:2] for s in slow
    ]
    blocks = sorted({s[2] for s in slow})
    assert kept.n_blocks == len(blocks) and kept.block.tolist() == [blocks.index(s[2]) for s in slow]
    assert kept.n_left_out == sum(map(len, starts.values())) - len(slow)


def test_of_too_many_windows_a_seeded_sample_is_scored(tmp_path, monkeypatch):
    store, rates = make_store(tmp_path / "store", depth=1)
    monkeypatch.setattr(profiles, "MOST_WINDOWS", 6)
    first, second, other = (window_sets(store, CONTIGS, 2_000, seed)["everywhere"] for seed in (1, 1, 2))
    assert len(first.start) == 6 and (first.start == second.start).all()
    assert (np.diff(first.number * 10_000 + first.start) > 0).all()
    assert first.start.tolist() != other.start.tolist() or first.number.tolist() != other.number.tolist()
    assert scored(store, {"model": rates}, first)[0]["n_windows"] == 6


# scores


def test_scores_equal_a_loop_over_windows(tmp_path):
    store, rates = make_store(tmp_path / "store", depth=0.3)
    half = split_cuts({c: store.track(c, "cuts") for c in CONTIGS}, 1)
    windows = window_sets(store, CONTIGS, 2_000, 0)["everywhere"]
    found, rows = scored(store, {"model": rates}, windows, half)
    nll, n_cuts, halves, whole = 0.0, 0, [], []
    for k, start in zip(windows.number, windows.start, strict=True):
        contig = windows.contig[k]
        inside = [j for j in range(start, start + WINDOW_BP) if store.state(contig)[j] != 255]
        cuts, first = store.track(contig, "cuts")[inside].astype(float), half[contig][inside].astype(float)
        profile = rates[contig][inside] / rates[contig][inside].sum()
        profile = (1 - 1e-6) * profile + 1e-6 / len(inside)
        nll -= sum(c * np.log(p) for c, p in zip(cuts, profile, strict=True))
        n_cuts += cuts.sum()
        halves += [jensenshannon(profile, part, base=2) for part in (first, cuts - first)]
        whole.append(jensenshannon(profile, cuts, base=2))
    assert rows["model", "nll_per_cut"]["value"] == pytest.approx(nll / n_cuts)
    assert rows["model", "jsd"]["value"] == pytest.approx(np.mean(halves))
    assert rows["model", "jsd_of_all_cuts"]["value"] == pytest.approx(np.mean(whole))
    assert (found["n_cuts"], found["n_windows"]) == (n_cuts, len(windows.start))
    assert "position" not in rows["model", "jsd_of_all_cuts"]


def test_the_floor_is_the_profile_of_another_window(tmp_path):
    store, rates = make_store(tmp_path / "store", depth=0.5)
    two = windows_at(store, {"a": np.array([0, 4_000])}, 2_000, 0)
    swapped = {"a": rates["a"].copy()}
    swapped["a"][0:1_000], swapped["a"][4_000:5_000] = rates["a"][4_000:5_000], rates["a"][0:1_000]
    _, rows = scored(store, {"model": {"a": rates["a"]}, "other": swapped}, two)
    for metric in ("nll_per_cut", "jsd"):
        row = rows["other", metric]
        assert row["value"] == pytest.approx(row["floor"]) and row["position"] == pytest.approx(0)
        assert rows["model", metric]["position"] > 0.5


def test_the_truth_stands_at_the_ceiling_of_deep_data_and_above_that_of_few_cuts(tmp_path):
    deep, rates = make_store(tmp_path / "deep", depth=1_000)
    _, rows = scored(deep, {"model": rates}, replicates=50)
    for metric in ("nll_per_cut", "jsd"):
        row = rows["model", metric]
        assert row["position"] == pytest.approx(1, abs=0.03)
    assert rows["flat", "nll_per_cut"]["position"] < 0.8
    shallow, rates = make_store(tmp_path / "shallow", depth=0.1)
    _, rows = scored(shallow, {"model": rates})
    assert rows["model", "nll_per_cut"]["position"] > 1.05


def test_a_worse_profile_stands_lower(tmp_path):
    store, rates = make_store(tmp_path / "store", depth=1)
    worse = {c: rate**0.5 for c, rate in rates.items()}
    smooth = {c: gaussian_filter1d(rate, 30) for c, rate in rates.items()}
    scaled = {c: 7 * rate for c, rate in rates.items()}
    names = {"model": rates, "worse": worse, "smooth": smooth, "scaled": scaled}
    _, rows = scored(store, names, replicates=50)
    for metric in ("nll_per_cut", "jsd"):
        at = {name: rows[name, metric] for name in names}
        assert at["model"]["position"] > max(at["worse"]["position"], at["smooth"]["position"])
        assert at["model"]["position"] == pytest.approx(at["scaled"]["position"])  # numbers do not matter
        assert at["model"]["floor"] == at["smooth"]["floor"]  # one scale for all


def test_intervals_draw_blocks_of_windows(tmp_path, monkeypatch):
    store, rates = make_store(tmp_path / "store", depth=0.5)
    windows = window_sets(store, CONTIGS, 1_000, 0)["everywhere"]
    asked = []
    monkeypatch.setattr(
        profiles, "draw_blocks", lambda n, r, rng: asked.append((n, r)) or np.ones((3, n), int)
    )
    _, rows = scored(store, {"model": rates}, windows, replicates=17)
    assert asked == [(windows.n_blocks, 17)] and windows.n_blocks == 15
    # each block once is the whole
    row = rows["model", "nll_per_cut"]
    for name in ("value", "floor", "ceiling", "position"):
        assert row[f"{name}_low"] == pytest.approx(row[name]) == row[f"{name}_high"]


def test_the_mixture_is_the_best_of_its_neighbours(tmp_path):
    store, _ = make_store(tmp_path / "store", depth=2)
    windows = window_sets(store, CONTIGS, 2_000, 0)["everywhere"]
    half = split_cuts({c: store.track(c, "cuts") for c in CONTIGS}, 1)
    best = profiles._mixture(windows, store, half)
    assert best.sum() == pytest.approx(1) and (best >= 0).all()

    def loss(weights):
        total = 0.0
        for _, scored_bases, observed, first in profiles._chunks(windows, store, half):
            for known, unknown in ((first, observed - first), (observed - first, first)):
                mixed = np.tensordot(weights, profiles._guesses(known, scored_bases), axes=1)
                total -= (unknown * np.log(np.where(unknown > 0, mixed, 1))).sum()
        return total

    for k in range(len(best)):
        other = 0.9 * best + 0.1 * np.eye(len(best))[k]
        assert loss(best) <= loss(other) + 0.05


def test_one_window_has_no_floor(tmp_path):
    store, rates = make_store(tmp_path / "store", depth=1)
    one = windows_at(store, {"a": np.array([0])}, 2_000, 0)
    none = windows_at(store, {"a": np.array([-1])}, 2_000, 0)
    for windows in (one, none):
        half = split_cuts({"a": store.track("a", "cuts")}, 1)
        found = score_profiles(windows, store, half, {"model": rates}, replicates=5, seed=0)
        assert found is None


def test_a_predictor_that_expects_no_cut_somewhere_is_punished_not_infinite(tmp_path):
    store, rates = make_store(tmp_path / "store", depth=1)
    blind = {c: np.where(np.arange(len(rate)) % 2, rate, 0) for c, rate in rates.items()}
    nothing = {c: np.zeros(len(rate)) for c, rate in rates.items()}
    _, rows = scored(store, {"model": rates, "blind": blind, "nothing": nothing})
    assert 10 < rows["blind", "nll_per_cut"]["value"] < 20
    assert rows["nothing", "nll_per_cut"]["value"] == pytest.approx(rows["flat", "nll_per_cut"]["value"])
