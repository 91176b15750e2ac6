"""Units of two runs are matched by what they do: a shuffled, noisy copy exactly, strangers not at all."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from gatescope.boundaries.matching import (
    MatchRule,
    chosen_agreement,
    correlations,
    match_runs,
    match_units,
)
from gatescope.errors import InputError
from gatescope.trace.sample import UnitSample


def draw_sample(seed, n_units=12, contigs=("one", "two"), n=1000, name="ab"):
    rng = np.random.default_rng(seed)
    forget, write = rng.normal(size=(2, 2, n_units, n * len(contigs)))
    contig = np.repeat(np.arange(len(contigs)), n)
    position = np.tile(np.arange(n) * 7, len(contigs))
    return UnitSample(name * 32, np.array(contigs), contig, position, forget, write)


def copy_of(sample, orders, rng, noise=0.5):
    """Return the units in another order, blurred, their gates bent, every other memory upside down."""
    forget, write = (
        np.stack([values[d][orders[d]] for d in range(2)]) for values in (sample.forget_logit, sample.write)
    )
    forget = np.exp(forget + noise * rng.normal(size=forget.shape))
    signs = np.where(np.arange(forget.shape[1]) % 2, 1, -1)[:, None]
    write = signs * (write + noise * rng.normal(size=write.shape))
    return UnitSample("cd" * 32, sample.contigs, sample.contig, sample.position, forget, write)


def test_a_shuffled_noisy_copy_is_matched_back_exactly():
    rng, sample = np.random.default_rng(0), draw_sample(1)
    orders = [rng.permutation(12) for _ in range(2)]
    table = match_units(sample, copy_of(sample, orders, rng), MatchRule())
    for direction, name in enumerate(("fwd", "rev")):
        found = table[table.direction == name]
        assert found.unit.tolist() == list(range(12))
        assert (orders[direction][found.other_unit] == np.arange(12)).all()
    assert table.same.all() and table.r_forget.min() > 0.8 and table.r_write.min() > 0.8
    assert (table.n_bases == 2000).all()


def test_strangers_are_paired_but_not_called_the_same():
    table = match_units(draw_sample(1), draw_sample(2), MatchRule())
    assert len(table) == 24 and sorted(table[table.direction == "rev"].other_unit) == list(range(12))
    assert not table.same.any() and table.r_forget.max() < 0.2


def test_a_gate_that_opens_where_another_shuts_is_another_gate():
    sample = draw_sample(3)
    upside_down = UnitSample(
        "ef" * 32, sample.contigs, sample.contig, sample.position, -sample.forget_logit, sample.write
    )
    assert not match_units(sample, upside_down, MatchRule()).same.any()


def test_the_best_assignment_is_not_the_greedy_one():
    """The two most alike are not a pair, because the other two would be left with each other."""
    a, b = np.random.default_rng(4).normal(size=(2, 2000))
    gates = np.stack([a, a + b / 2]), np.stack([a, a - 2 * b])
    r = correlations(*gates)
    assert r.argmax() == 0 and r[0, 0] + r[1, 1] < r[0, 1] + r[1, 0]
    one, other = (
        UnitSample(
            "ab", np.array(["c"]), np.zeros(2000, int), np.arange(2000), np.stack([x, x]), np.stack([x, x])
        )
        for x in gates
    )
    assert match_units(one, other, MatchRule()).other_unit.tolist() == [1, 0, 1, 0]


def test_correlations_are_spearman_s():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(3, 50)), np.round(rng.normal(size=(4, 50)), 1)  # with ties
    one[2] = 3.0  # never moves
    found = correlations(one, other)
    for h in range(2):
        for k in range(4):
            assert found[h, k] == pytest.approx(spearmanr(one[h], other[k]).statistic, abs=1e-12)
    assert (found[2] == 0).all()


def test_only_bases_that_both_have_sampled_count():
    """Runs of different folds have traced different contigs, and number them differently."""
    whole = draw_sample(6, contigs=("one", "two", "three"))
    rows = whole.contig != 0
    part = UnitSample(
        "cd" * 32,
        np.array(["three", "four", "two"]),
        np.array([-1, 2, 0])[whole.contig[rows]],
        whole.position[rows],
        whole.forget_logit[:, :, rows].copy(),
        whole.write[:, :, rows],
    )
    part.forget_logit[:, :, part.contig == 0] *= 2  # ranks of the whole move, those of a copy do not
    found = match_units(part, whole, MatchRule())
    assert (found.n_bases == 2000).all() and (found.unit == found.other_unit).all() and found.same.all()
    foreign = UnitSample(
        "ef" * 32, np.array(["a", "b", "c"]), whole.contig, whole.position, whole.forget_logit, whole.write
    )
    with pytest.raises(InputError, match="0 sampled bases in common"):
        match_units(foreign, whole, MatchRule())


def test_do_runs_choose_the_same_unit():
    rng, first = np.random.default_rng(7), draw_sample(8)
    orders = [rng.permutation(12) for _ in range(2)]
    samples = {"a.f1.1": first, "a.f1.2": copy_of(first, orders, rng), "a.f2.1": draw_sample(9)}
    matches = match_runs(samples, MatchRule())
    assert matches.groupby(["run", "other_run"], sort=False).size().to_dict() == {
        ("a.f1.1", "a.f1.2"): 24,
        ("a.f1.1", "a.f2.1"): 24,
        ("a.f1.2", "a.f2.1"): 24,
    }
    where = {name: int(np.flatnonzero(orders[d] == 5)[0]) for d, name in enumerate(("fwd", "rev"))}
    chosen = {"a.f1.1": {"fwd": 5, "rev": 5}, "a.f2.1": {"fwd": 0, "rev": 0}}
    chosen["a.f1.2"] = {"fwd": where["fwd"], "rev": (where["rev"] + 1) % 12}
    table = chosen_agreement(matches, chosen).set_index(["run", "other_run", "direction"])
    assert (
        table.agree.to_dict() == {index: index == ("a.f1.1", "a.f1.2", "fwd") for index in table.index}
        and len(table) == 6
    )
    assert table.loc[("a.f1.1", "a.f1.2", "rev"), "partner"] == where["rev"]


def test_a_chosen_unit_without_a_partner_agrees_with_none():
    matches = match_runs({"a": draw_sample(1), "b": draw_sample(2, n_units=2)}, MatchRule())
    left_over = next(unit for unit in range(12) if unit not in set(matches[matches.direction == "fwd"].unit))
    chosen = {"a": {"fwd": left_over, "rev": 0}, "b": {"fwd": 0, "rev": 0}}
    table = chosen_agreement(matches, chosen)
    assert not table.agree.any() and table.partner.isna()[table.direction == "fwd"].all()


def test_one_run_alone_is_refused():
    with pytest.raises(InputError, match="1 run, wanted two"):
        match_runs({"a": draw_sample(1)}, MatchRule())
    with pytest.raises(InputError, match="least_r"):
        MatchRule(least_r=0)
