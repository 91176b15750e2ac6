"""Training windows: pure functions of (seed, index), in the shares or with the coverage that the scheme promises."""

import math
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from gatescope.data.draw import Sampling, locate_tiles, permute, plan_draws
from gatescope.errors import InputError
from tiny_store import LENGTHS, make_store

CONTIGS = ["one", "two"]
NAMES = list(LENGTHS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("draw") / "store")


def draws(store, contigs=CONTIGS, seed=1, batch_size=6, planned=400, **sampling):
    return plan_draws(store, list(contigs), Sampling(**sampling), batch_size, seed, planned)


def listed(drawn, indices):
    """Return windows as (contig, start, is_reverse)."""
    batches = [drawn.draw(index) for index in indices]
    return [(NAMES[c], int(s), bool(r)) for batch in batches for c, s, r in zip(*batch, strict=True)]


@pytest.fixture(scope="module")
def draw(store):
    """Return the windows of 2,400 draws under a sampling."""
    return lambda **sampling: listed(draws(store, **sampling), range(400))


def one_at_a_time(store, sampling, seed, index, batch_size):
    """Draw the windows of a batch by the slow definition that the first networks were trained with."""
    rng = np.random.default_rng([seed, index])
    shares = np.array([sampling.peaks, sampling.background, sampling.uniform], float)
    regions = store.regions[store.regions.chrom.isin(CONTIGS)]
    room = np.cumsum([LENGTHS[contig] - 499 for contig in CONTIGS])
    for _ in range(batch_size):
        kind = rng.choice(3, p=shares / shares.sum())
        if kind == 2:
            at = int(rng.integers(room[-1]))
            contig, start = ("one", at) if at < room[0] else ("two", at - int(room[0]))
        else:
            rows = regions[regions.kind == ("peak", "background")[kind]]
            row = rows.iloc[int(rng.integers(len(rows)))]
            shift = int(rng.integers(-sampling.jitter_bp, sampling.jitter_bp + 1))
            contig = row.chrom
            start = min(max(row.summit - 250 + shift, 0), LENGTHS[contig] - 500)
        yield contig, int(start), sampling.reverse_complement and bool(rng.random() < 0.5)


@pytest.mark.parametrize(
    "sampling", [{}, {"peaks": 1, "background": 1, "uniform": 0}, {"reverse_complement": False}]
)
def test_balanced_windows_are_those_of_the_slow_definition(store, sampling):
    for seed, index in [(1, 0), (1, 77), (5, 3)]:
        expected = list(one_at_a_time(store, Sampling(**sampling), seed, index, 40))
        assert listed(draws(store, seed=seed, batch_size=40, **sampling), [index]) == expected


@pytest.mark.parametrize("scheme", ["balanced", "whole_genome", "curriculum"])
def test_a_batch_depends_on_seed_and_index_alone(store, scheme):
    drawn = draws(store, scheme=scheme)
    straight = [listed(drawn, [k]) for k in range(30)]
    again = draws(store, scheme=scheme)
    assert [listed(again, [k]) for k in reversed(range(30))] == straight[::-1]
    assert listed(draws(store, scheme=scheme, seed=2), range(30)) != [
        place for batch in straight for place in batch
    ]
    assert all(a != b for n, a in enumerate(straight) for b in straight[:n])


def centres(store, kind):
    """Return the places of windows of a kind that are not moved, kept on their contig."""
    rows = store.regions[(store.regions.kind == kind) & store.regions.chrom.isin(CONTIGS)]
    return {(c, min(max(s - 250, 0), LENGTHS[c] - 500)) for c, s in zip(rows.chrom, rows.summit, strict=True)}


def is_binomial(count, n, share, sigmas=4):
    return abs(count - share * n) <= sigmas * math.sqrt(n * share * (1 - share))


def test_shares_are_kept(store, draw):
    """A mixture: windows of each kind, told by where they begin, in the proportion asked for."""
    drawn = [place[:2] for place in draw(peaks=3, background=2, uniform=1, jitter_bp=0)]
    known = {kind: centres(store, kind) for kind in ("peak", "background")}
    for kind, share in (("peak", 1 / 2), ("background", 1 / 3)):
        assert is_binomial(sum(place in known[kind] for place in drawn), len(drawn), share)
    assert {place for place in drawn if place in known["peak"]} == known["peak"], "each peak has its turn"
    for kind in known:
        alone = {"peaks": kind == "peak", "background": kind == "background", "uniform": 0, "jitter_bp": 0}
        assert {place[:2] for place in draw(**alone)} == known[kind]


def test_jitter_reaches_as_far_as_allowed_and_no_further(store, draw):
    drawn = draw(peaks=1, background=1, uniform=0, jitter_bp=37)
    known = centres(store, "peak") | centres(store, "background")
    shifts = [min((start - s for c, s in known if c == contig), key=abs) for contig, start, _ in drawn]
    assert (min(shifts), max(shifts)) == (-37, 37)
    inside = [shift for shift, (_, start, _) in zip(shifts, drawn, strict=True) if start > 0]
    assert kstest((np.array(inside) + 37.5) / 75, "uniform").pvalue > 0.001


def test_uniform_windows_begin_anywhere_with_the_same_chance(draw):
    drawn = draw(peaks=0, background=0, uniform=1)
    room = {contig: LENGTHS[contig] - 500 + 1 for contig in CONTIGS}
    places = [start + (room["one"] if contig == "two" else 0) for contig, start, _ in drawn]
    assert all(0 <= start < room[contig] for contig, start, _ in drawn)
    assert kstest((np.array(places) + 0.5) / sum(room.values()), "uniform").pvalue > 0.001


@pytest.mark.parametrize("scheme", ["balanced", "whole_genome", "curriculum"])
def test_half_of_the_windows_are_read_from_the_other_strand(draw, scheme):
    turned = [is_reverse for *_, is_reverse in draw(scheme=scheme)]
    assert is_binomial(sum(turned), len(turned), 0.5)
    assert not any(is_reverse for *_, is_reverse in draw(scheme=scheme, reverse_complement=False))


def coverage(windows, contig):
    """Count how often each base of a contig is read."""
    counts = np.zeros(LENGTHS[contig], int)
    for name, start, _ in windows:
        if name == contig:
            assert 0 <= start <= LENGTHS[contig] - 500
            counts[start : start + 500] += 1
    return counts


def test_a_pass_reads_every_base_once_but_near_the_ends(store):
    """10,000 bp make 20 windows; a batch of 6 may hold windows of two passes."""
    drawn = draws(store, scheme="whole_genome", planned=100)
    assert (drawn.windows_per_pass, "30 passes" in drawn.summary) == (20, True)
    windows = listed(drawn, range(100))
    orders, phases = set(), set()
    for first in range(0, 600, 20):
        one_pass = windows[first : first + 20]
        for contig in CONTIGS:
            counts = coverage(one_pass, contig)
            assert (counts[500:-500] == 1).all()
            assert counts.max() <= 2
        inner = [s % 500 for c, s, _ in one_pass if c == "one" and 0 < s < 5500]
        assert len(set(inner)) == 1, "window beside window"
        phases.add(inner[0])
        orders.add(tuple(np.argsort([(c == "two") * 10_000 + s for c, s, _ in one_pass])))
    assert len(orders) == 30
    assert len(phases) > 25


@pytest.mark.parametrize("lengths", [[2311, 700], [500, 999, 500], [2000], [500]])
def test_over_all_phases_each_base_is_read_as_often_as_the_closed_form_says(lengths):
    """Each base is the middle of a tile once per tile; a window then covers what lies around it, kept on the contig."""
    lengths, total = np.array(lengths), sum(lengths)
    tiles = np.arange(-(-total // 500))
    counts = [np.zeros(length + 1, int) for length in lengths]
    for phase in range(total):
        places, starts = locate_tiles(tiles, phase, lengths, 500)
        assert (starts >= 0).all() and (starts <= lengths[places] - 500).all()
        for place, start in zip(places, starts, strict=True):
            counts[place][start] += 1
            counts[place][start + 500] -= 1
    for length, steps in zip(lengths, counts, strict=True):
        found = steps.cumsum()[:-1]
        starts = np.clip(np.arange(length) - 250, 0, length - 500)
        expected = [
            len(tiles) * np.count_nonzero((starts <= base) & (base < starts + 500)) for base in range(length)
        ]
        assert found.tolist() == expected
        assert found.sum() == len(tiles) * 500 * length, "each contig in proportion to its length"
        if length >= 1000:
            assert (found[500:-500] == len(tiles) * 500).all()
            edge = found[:500] / (len(tiles) * 500)
            assert (edge.min(), edge.max()) == (pytest.approx(0.5, abs=0.01), pytest.approx(1.5, abs=0.01))


def test_windows_are_numbered_through_whatever_the_batch(store):
    windows = [
        [
            place[:2]
            for place in listed(draws(store, scheme="whole_genome", batch_size=size), range(120 // size))
        ]
        for size in (1, 6, 40)
    ]
    assert windows[0] == windows[1] == windows[2]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 17, 64, 1000, 4097])
def test_permutation_meets_each_number_once(size):
    images = permute(np.arange(size), size, (1, 2, 3))
    assert sorted(images) == list(range(size))
    part = permute(np.arange(size)[::3], size, (1, 2, 3))
    assert np.array_equal(part, images[::3]), "found from the number alone"
    assert permute(np.array([2**31 - 1]), 2**31, (1,))[0] < 2**31


@pytest.mark.parametrize(("size", "first"), [(4, 4), (5, 3), (30, 1)])
def test_each_order_has_the_same_chance(size, first):
    """How often the images of the first numbers are what, over many keys."""
    numbers, keys = np.arange(first), 3000
    found = Counter(tuple(permute(numbers, size, (key,))) for key in range(keys))
    orders = math.perm(size, first)
    assert chisquare([*found.values(), *[0] * (orders - len(found))]).pvalue > 0.001


def by_strength(store):
    """Return windows around peaks, most cuts per bp first."""
    peaks = [row for row in store.regions.itertuples() if row.kind == "peak" and row.chrom in CONTIGS]
    density = {
        (row.chrom, min(max(row.summit - 250, 0), LENGTHS[row.chrom] - 500)): np.asarray(
            store.track(row.chrom, "cuts")
        )[row.start : row.end].mean()
        for row in peaks
    }
    return sorted(density, key=density.get, reverse=True)


def test_a_curriculum_begins_with_the_strongest_peaks_and_ends_with_the_mixture(store):
    strongest = by_strength(store)
    background = centres(store, "background")
    options = {
        "peaks": 3,
        "background": 1,
        "uniform": 6,
        "jitter_bp": 0,
        "ramp": 0.5,
        "strongest_peaks": 0.25,
    }
    drawn = draws(store, scheme="curriculum", batch_size=2000, planned=200, **options)
    assert len(strongest) == 14
    # progress, shares of peaks and background, number of peaks: each a straight line
    for index, peaks, others, usable in [
        (0, 0.5, 0.5, 4),
        (50, 0.4, 0.3, 9),
        (100, 0.3, 0.1, 14),
        (199, 0.3, 0.1, 14),
    ]:
        windows = [place[:2] for place in listed(drawn, [index])]
        met = Counter(place for place in windows if place in strongest)
        assert set(met) == set(strongest[:usable])
        assert is_binomial(sum(met.values()), 2000, peaks)
        assert is_binomial(sum(place in background for place in windows), 2000, others)
    assert "4 strongest of 14 peaks" in drawn.summary and "after 100 batches" in drawn.summary


def test_a_curriculum_without_a_ramp_is_the_mixture(store):
    """The same draws, of peaks in another order."""
    shares = {"peaks": 2, "background": 1, "uniform": 1, "jitter_bp": 0}
    plain = listed(draws(store, batch_size=500, **shares), [3])
    steep = listed(draws(store, batch_size=500, scheme="curriculum", ramp=0, **shares), [3])
    order = dict(zip([p for p in centres_in_order(store)], by_strength(store), strict=True))
    assert [(*order.get(place[:2], place[:2]), place[2]) for place in plain] == steep


def centres_in_order(store):
    rows = store.regions[(store.regions.kind == "peak") & store.regions.chrom.isin(CONTIGS)]
    return [(c, min(max(s - 250, 0), LENGTHS[c] - 500)) for c, s in zip(rows.chrom, rows.summit, strict=True)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "tiled"}, "sampling: scheme: 'tiled'; wanted one of balanced, whole_genome, curriculum"),
        ({"uniform": -1}, "sampling: uniform: -1; wanted 0 or more"),
        ({"jitter_bp": -5}, "sampling: jitter_bp: -5; wanted 0 or more"),
        ({"ramp": 1.5}, "sampling: ramp: 1.5; wanted 0 to 1"),
        ({"strongest_peaks": 0}, "sampling: strongest_peaks: 0; wanted more than 0, at most 1"),
    ],
)
def test_settings_out_of_range(values, message):
    with pytest.raises(InputError, match=message):
        Sampling(**values)
    assert asdict(Sampling())["scheme"] == "balanced"


def test_what_cannot_be_drawn_is_refused(store, tmp_path):
    bare = make_store(tmp_path / "bare")
    bare.meta["window_bp"] = 100_000
    with pytest.raises(InputError, match="no training contig is as long as a window"):
        draws(bare)
    bare = make_store(tmp_path / "bare")
    bare.regions = bare.regions[bare.regions.kind != "peak"]
    with pytest.raises(InputError, match="none of the kinds asked for"):
        draws(bare, peaks=1, background=0, uniform=0)
    with pytest.raises(InputError, match="a curriculum begins with peaks"):
        draws(bare, scheme="curriculum")
    assert "0% around peaks, 33% around background, 67% from anywhere" in draws(bare).summary
    assert draws(bare, scheme="whole_genome").windows_per_pass == 20
