"""What finds boundaries? Detectors with known answers, one place after the other, and slow direct definitions."""

import numpy as np
import pandas as pd
import pytest
from gate_worlds import base_at, draw_regions
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from unit_arrays import UnitArrays

from gatescope.boundaries import detector
from gatescope.boundaries.detector import DETECTORS, DetectorData, DetectorSettings, score_detectors
from gatescope.errors import InputError
from gatescope.trace.units import DIRECTIONS

LENGTHS = {"valid1": 60_000, "test1": 240_010, "test2": 30_003}
SETTINGS = DetectorSettings(replicates=100)
METRICS = ("auroc", "auprc", "f1")


def make_data(seed=0, n_units=3, lengths=LENGTHS, **changes):
    """Draw regions, bases, and units that know nothing of them."""
    rng = np.random.default_rng(seed)
    logits, writes = (
        {c: rng.normal(3, 1, (2, n_units, length)).astype(np.float32) for c, length in lengths.items()}
        for _ in range(2)
    )
    change = {c: rng.uniform(0, 1, (2, length)).astype(np.float32) for c, length in lengths.items()}
    twin = {c: rng.normal(3, 1, (2, n_units, length)).astype(np.float32) for c, length in lengths.items()}
    codes = {c: rng.integers(0, 4, length).astype(np.uint8) for c, length in lengths.items()}
    data = DetectorData(
        units=UnitArrays(logits, writes, change),
        twin=UnitArrays(twin),
        n_units=n_units,
        codes=codes.__getitem__,
        predicted={c: rng.uniform(0, 1, length) for c, length in lengths.items()}.__getitem__,
        regions=draw_regions(lengths, rng),
        test={c: length for c, length in lengths.items() if c != "valid1"},
        valid={"valid1": lengths["valid1"]},
    )
    return data._replace(**changes)


def boundaries_of(data, contig, direction, crossing, offset=0):
    rows = data.regions[data.regions.chrom == contig].itertuples()
    return np.array([base_at(row, DIRECTIONS[direction], crossing, offset) for row in rows])


def plant(data, unit, direction, crossing, offset, logit=-9.0):
    for contig, array in data.units.arrays.items():
        at = boundaries_of(data, contig, direction, crossing, offset)
        array[direction, unit, at[(at >= 0) & (at < array.shape[2])]] = logit


def by_name(table, crossing="entry"):
    return table[table.crossing == crossing].set_index("detector")


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("crossing", ["entry", "exit"])
def test_a_gate_that_falls_exactly_at_boundaries_is_perfect(direction, crossing):
    data = make_data()
    plant(data, 2, direction, crossing, 0)
    found = by_name(score_detectors(data, direction, 1, SETTINGS), crossing)
    assert found.loc["best_unit", "unit"] == 2
    assert (found.loc["best_unit", [*METRICS, "auroc_low", "auprc_low", "f1_low"]] == 1).all()
    assert found.loc["best_unit", "threshold"] > 0.99
    assert found.loc["unit", "auroc"] == pytest.approx(0.5, abs=0.05)
    assert found.loc["best_unit", "unit_ahead_high"] < -0.5


def test_what_knows_nothing_is_at_chance():
    table = score_detectors(make_data(seed=1), 0, 1, SETTINGS)
    assert table.detector.tolist() == [*DETECTORS, *DETECTORS]
    assert table.auroc.between(0.45, 0.55).all()
    assert (table.auroc_low < 0.51).all() and (table.auroc_high > 0.49).all()
    assert (np.abs(table.auprc / table.base_rate - 1) < 0.35).all()
    assert set(table.unit.dropna()) <= {0, 1, 2} and table.unit.isna().sum() == 6


@pytest.mark.parametrize(("offset", "hits"), [(-24, True), (24, True), (-60, False), (60, False)])
def test_the_tolerance_is_what_it_says(offset, hits):
    """A fall up to 24 bases off shares a place with each boundary; one of 60 bases off shares none."""
    data = make_data(seed=2)
    plant(data, 0, 0, "entry", offset)
    auroc = by_name(score_detectors(data, 0, 0, SETTINGS)).loc["unit", "auroc"]
    assert auroc > 0.7 if hits else auroc < 0.55


def slow_places(data, contig, length, direction, crossing, tolerance, values):
    """Return labels and scores of the places of a contig, each looked at by itself."""
    beyond = boundaries_of(data, contig, direction, crossing)
    edges = np.where(DIRECTIONS[direction] == "fwd", beyond, beyond + 1)
    beyond = beyond[(edges >= tolerance) & (edges <= length - tolerance)]
    labels, scores = [], []
    for x in range(tolerance, length - length % tolerance, tolerance):
        seen = slice(x - tolerance, x + tolerance)
        if (data.codes(contig)[seen] == 4).any():
            continue
        labels.append(bool(((beyond >= seen.start) & (beyond < seen.stop)).any()))
        scores.append(values[seen].max())
    return labels, scores


def slow_step(values, position, step):
    """Return the step between the bases position - 1 and position."""
    left, right = values[max(0, position - step) : position], values[position : position + step]
    left, right = left[np.isfinite(left)], right[np.isfinite(right)]
    return abs(right.mean() - left.mean()) if len(left) and len(right) else 0.0


@pytest.mark.parametrize("direction", [0, 1])
def test_against_direct_definitions(direction, monkeypatch):
    """Every detector, base by base, with unknown bases among them and contigs read in several chunks."""
    monkeypatch.setattr(detector, "_CHUNK", 700)
    lengths = {"valid1": 2_000, "test1": 3_017, "test2": 30}
    data = make_data(seed=3, lengths=lengths)
    for contig in ("valid1", "test1"):
        data.codes(contig)[1234:1300] = 4
    settings = DetectorSettings(tolerance_bp=20, step_bp=60, replicates=3)
    table = score_detectors(data, direction, 1, settings)
    gc = {c: np.array([0, 1, 1, 0, np.nan])[data.codes(c)] for c in lengths}
    shift = direction  # reading right to left, the base at p - 1 is the first beyond the boundary at p

    def step_of(values):
        return np.array([slow_step(values, at + shift, 60) for at in range(len(values))])

    steps = {c: (step_of(gc[c]), step_of(data.predicted(c))) for c in lengths}
    for crossing in ("entry", "exit"):
        found = by_name(table, crossing)
        chosen, twin = int(found.loc["best_unit", "unit"]), int(found.loc["twin", "unit"])
        values = {
            "unit": lambda c: 1 / (1 + np.exp(data.units.logits(c, direction, 1).astype(float))),
            "best_unit": lambda c, k=chosen: (
                1 / (1 + np.exp(data.units.logits(c, direction, k).astype(float)))
            ),
            "write": lambda c: np.abs(data.units.writes(c, direction, 1)),
            "hidden_change": lambda c: data.units.hidden_change(c, direction),
            "gc_step": lambda c: steps[c][0],
            "prediction_step": lambda c: steps[c][1],
            "twin": lambda c, k=twin: 1 / (1 + np.exp(data.twin.logits(c, direction, k).astype(float))),
        }
        for name, of_contig in values.items():
            pairs = [
                slow_places(data, c, length, direction, crossing, 20, of_contig(c))
                for c, length in data.test.items()
            ]
            label, score = (np.concatenate(each) for each in zip(*pairs, strict=True))
            row = found.loc[name]
            assert (row.n_places, row.base_rate) == (label.size, label.mean())
            assert row.auroc == pytest.approx(roc_auc_score(label, score), abs=1e-9), name
            assert row.auprc == pytest.approx(average_precision_score(label, score), abs=1e-9), name
            assert row.f1 == pytest.approx(f1_score(label, score >= row.threshold), abs=1e-9), name
            on_valid = slow_places(data, "valid1", 2_000, direction, crossing, 20, of_contig("valid1"))
            reached, wanted = np.array(on_valid[1]), on_valid[0]
            best = max(f1_score(wanted, reached >= threshold) for threshold in np.unique(reached)[::9])
            assert f1_score(wanted, reached >= row.threshold - 1e-9) >= best, name


def test_composition_and_predictions_that_step_at_boundaries_are_found():
    data = make_data(seed=4)
    rng = np.random.default_rng(0)
    for contig, length in LENGTHS.items():
        inside = np.zeros(length, bool)
        for row in data.regions[data.regions.chrom == contig].itertuples():
            inside[row.start : row.end] = True
        data.codes(contig)[:] = np.where(rng.random(length) < np.where(inside, 0.75, 0.25), 1, 0)
        data.predicted(contig)[:] = inside
    found = by_name(score_detectors(data, 1, 0, SETTINGS))
    assert found.loc["prediction_step", "auroc"] > 0.95
    assert 0.7 < found.loc["gc_step", "auroc"] < 1
    assert found.loc["prediction_step", "unit_ahead"] < found.loc["gc_step", "unit_ahead"] < 0


def test_without_twin_or_predictions_their_rows_are_left_out():
    data = make_data(seed=5, twin=None, predicted=None)
    table = score_detectors(data, 0, 0, SETTINGS)
    assert set(DETECTORS) - set(table.detector) == {"twin", "prediction_step"}


def test_draws_come_from_the_seed_and_few_blocks_give_no_interval():
    data = make_data(seed=6, n_units=1, lengths={"valid1": 10_000, "test1": 30_000})
    settings = DetectorSettings(block_bp=1_000, replicates=20)
    one, again, other = (score_detectors(data, 0, 0, settings, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert (one.auroc == other.auroc).all() and (one.auroc_low != other.auroc_low).any()
    few = score_detectors(data, 0, 0, DetectorSettings(block_bp=10_000, replicates=10))
    assert few.filter(regex="_(low|high)$").isna().all(axis=None) and few.auroc.notna().all()


def test_contigs_without_a_boundary_are_refused():
    data = make_data(seed=7)
    regions = data.regions[data.regions.chrom != "valid1"]
    with pytest.raises(InputError, match="no region boundary in contigs valid1"):
        score_detectors(data._replace(regions=regions), 0, 0, SETTINGS)
    with pytest.raises(InputError, match="at least 1 each"):
        DetectorSettings(tolerance_bp=0)
