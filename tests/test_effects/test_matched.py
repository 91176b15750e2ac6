"""Windows, flanks, controls and intervals: each against a slow reference or a relation that has to hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gatescope.effects.blocks import block_interval
from gatescope.effects.matched import flank_means, match_controls
from gatescope.effects.subject import Shape, batches, find_boundaries, sites_at
from gatescope.errors import InputError

LENGTHS = {"one": 9000, "other": 500, "two": 20_000}
SHAPE = Shape(dip_bp=5, flank_bp=60, context_bp=100)


def make_subject(seed=0, unknown=()):
    """A genome of Ts with regions close to each other and far apart; contig "other" is not tested."""
    rng, rows = np.random.default_rng(seed), []
    for contig, length in LENGTHS.items():
        at = int(rng.integers(3, 90))
        while at + 30 < length:
            end = min(at + int(rng.integers(20, 300)), length)
            rows.append((contig, at, end))
            at = end + int(rng.integers(20, 700))
    codes = {contig: np.full(length, 3, np.uint8) for contig, length in LENGTHS.items()}
    for contig, base in unknown:
        codes[contig][base] = 4
    peaks = pd.DataFrame(rows, columns=["chrom", "start", "end"])
    store = SimpleNamespace(lengths=LENGTHS, peaks=peaks, codes=codes.__getitem__)
    network = SimpleNamespace(config=SimpleNamespace(hidden_units=1000))
    return SimpleNamespace(store=store, contigs=("one", "two"), network=network)


@pytest.mark.parametrize("side", ["start", "end"])
def test_flanks_keep_off_every_boundary(side):
    subject = make_subject()
    found = find_boundaries(subject, side, SHAPE, 10_000, np.random.default_rng(0))
    peaks, names = subject.store.peaks, list(LENGTHS)
    tested = peaks[peaks.chrom.isin(subject.contigs)]
    inside = [100 <= at <= LENGTHS[chrom] - 100 for chrom, at in zip(tested.chrom, tested[side], strict=True)]
    rows = list(zip(found.ranks, found.positions, found.flanks, strict=True))
    places = [(names[rank], position) for rank, position, _ in rows]
    wanted = list(tested.loc[inside, ["chrom", side]].itertuples(index=False, name=None))
    assert places == wanted and found.n_left_out == len(tested) - sum(inside) > 0
    for rank, position, flank in rows:
        mine = peaks[peaks.chrom == names[rank]]
        edges = [*mine.start, *mine.end]
        for n in range(200):
            base = position - 100 + n
            is_away = -60 <= base - position < -5 or 5 <= base - position < 60
            assert flank[n] == (is_away and not any(e - 5 <= base < e + 5 for e in edges))


def test_unknown_bases_near_a_boundary_leave_it_out():
    at = int(make_subject().store.peaks.query("chrom == 'two'").start.iloc[3])
    for base, is_lost in ((at - 60, True), (at + 59, True), (at - 61, False), (at + 60, False)):
        subject = make_subject(unknown=[("two", base)])
        found = sites_at(subject, np.array([2]), np.array([at]), SHAPE)
        assert (found.n_left_out == 1) == is_lost
        assert len(found.ranks) == 1 - is_lost


def test_of_too_many_boundaries_some_are_drawn():
    subject = make_subject()
    every = find_boundaries(subject, "start", SHAPE, 10_000, np.random.default_rng(0))
    some, again, other = (
        find_boundaries(subject, "start", SHAPE, 12, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert len(some.ranks) == 12 and np.array_equal(some.positions, again.positions)
    assert set(some.positions) <= set(every.positions) and not np.array_equal(some.positions, other.positions)


def test_controls_are_far_from_boundaries_and_alike_in_their_flank():
    subject = make_subject(unknown=[("two", 5000), ("one", 300)])
    rng = np.random.default_rng(0)
    gate = {contig: np.repeat(rng.random(length // 100), 100) for contig, length in LENGTHS.items()}
    found = find_boundaries(subject, "end", SHAPE, 10_000, rng)
    boundaries, controls = match_controls(subject, found, gate, SHAPE, rng)
    assert np.array_equal(boundaries.ranks, controls.ranks)
    assert len({*zip(controls.ranks, controls.positions, strict=True)}) == len(controls.ranks) > 20
    peaks, names = subject.store.peaks, list(LENGTHS)
    for rank, position in zip(controls.ranks, controls.positions, strict=True):
        mine = peaks[peaks.chrom == names[rank]]
        assert np.abs(np.array([*mine.start, *mine.end]) - position).min() >= 65
        assert 4 not in subject.store.codes(names[rank])[position - 60 : position + 60]
    assert controls.flanks.sum(1).tolist() == [110] * len(controls.ranks)
    level, alike = (flank_means(subject, sites, gate, SHAPE) for sites in (boundaries, controls))
    slow = [
        gate[names[rank]][position - 100 : position + 100][flank].mean()
        for rank, position, flank in zip(*boundaries[:3], strict=True)
    ]
    assert level == pytest.approx(slow, rel=1e-12)
    assert np.corrcoef(level, alike)[0, 1] > 0.9


def test_boundaries_without_a_candidate_have_no_control():
    subject = make_subject()
    subject.store.peaks = pd.DataFrame(
        [("one", at, at + 70) for at in range(110, 8500, 140)] + [("two", 400, 900)],
        columns=["chrom", "start", "end"],
    )
    gate = {contig: np.ones(length, np.float32) for contig, length in LENGTHS.items()}
    rng = np.random.default_rng(0)
    found = find_boundaries(subject, "start", SHAPE, 10_000, rng)
    boundaries, _ = match_controls(subject, found, gate, SHAPE, rng)
    assert len(found.ranks) > 50
    # one has room behind its last region for a few
    assert (boundaries.ranks == 2).sum() == 1 and 0 < (boundaries.ranks == 0).sum() < 50
    subject.store.peaks = subject.store.peaks.query("chrom == 'one' and start < 8000")
    subject.contigs, subject.store.lengths = ("one",), {"one": 8100}
    with pytest.raises(InputError, match="lies more than 65 bp from every boundary"):
        match_controls(subject, found.at(found.ranks == 0), gate, SHAPE, rng)


def test_intervals_come_from_stretches_of_the_genome():
    rng = np.random.default_rng(3)
    values, positions = rng.normal(size=(40, 2)), np.arange(40) * 20_000
    ranks = np.zeros(40, np.int64)
    single = block_interval(values, ranks, positions, 500, np.random.default_rng(1))
    # the same boundary five times over in its stretch says nothing new
    many = block_interval(
        values.repeat(5, 0), ranks.repeat(5), positions.repeat(5) + 7, 500, np.random.default_rng(1)
    )
    assert many == pytest.approx(single, rel=1e-12)
    spread = np.diff(single, axis=0)[0] / (2 * 1.645 * values.std(0) / np.sqrt(40))
    assert ((spread > 0.8) & (spread < 1.2)).all()
    # two contigs are not one
    halves = np.repeat([0, 1], 20)
    both = block_interval(values, halves, np.tile(positions[:20], 2), 500, np.random.default_rng(1))
    assert both == pytest.approx(single, rel=1e-12)
    assert np.isnan(block_interval(values[:9], ranks[:9], positions[:9], 500, rng)).all()


def test_windows_are_read_a_few_at_a_time():
    parts = list(batches(make_subject(), 25, Shape(context_bp=100, flank_bp=60)))
    assert [part.start for part in parts] == [0, 10, 20] and parts[-1].stop == 25
