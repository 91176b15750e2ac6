"""Training windows: pure functions of (seed, index); on the other strand everything is turned at once."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.utils.data import DataLoader

from gatescope.data.sampler import MAX_CUTS_PER_BP, EpochSampler, Sampling, TiledWindows, TrainingBatches
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from tiny_store import LENGTHS, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def batches(store, seed=1, contigs=("one", "two"), copies=None, **sampling):
    return TrainingBatches(store, list(contigs), ("cuts",), Sampling(**sampling), 6, seed, copies)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_and_index_same_batch_in_any_order_and_worker(store):
    first = batches(store)
    straight = [first[k] for k in range(6)]
    again = batches(store)
    backwards = [again[k] for k in reversed(range(6))][::-1]
    assert all(same(a, b) for a, b in zip(straight, backwards, strict=True))
    loader = DataLoader(batches(store), batch_size=None, sampler=range(6), num_workers=2)
    assert all(same(a, b) for a, b in zip(straight, loader, strict=True))
    assert not same(straight[0], straight[1])
    assert not same(straight[0], batches(store, seed=2)[0])


def test_windows_are_what_the_store_holds(store):
    """Found again by searching the contigs for each window's bases, on either strand."""
    both = 0
    for index in range(8):
        batch = batches(store)[index]
        for n in range(6):
            hits = []
            for contig in ("one", "two"):
                for strand in (1, -1):
                    codes = np.asarray(store.codes(contig))[::strand]
                    codes = codes if strand == 1 else np.where(codes < 4, 3 - codes, codes)
                    x = one_hot(codes)
                    for start in range(len(codes) - 499):
                        if np.array_equal(
                            x[:, start : start + 12], batch.one_hot[n, :, :12]
                        ) and np.array_equal(x[:, start : start + 500], batch.one_hot[n]):
                            hits.append((contig, strand, start))
            (contig, strand, start) = hits[0]
            assert len(hits) == 1
            both |= 1 if strand == 1 else 2
            for name, values in (("cuts", batch.cuts[n]), ("cuts", batch.tracks[n, 0])):
                expected = np.minimum(np.asarray(store.track(contig, name)), MAX_CUTS_PER_BP)[::strand]
                assert np.array_equal(values, expected[start : start + 500])
            assert np.array_equal(
                batch.state[n], np.asarray(store.state(contig))[::strand][start : start + 500]
            )
        if both == 3 and index >= 1:
            break
    assert both == 3


@pytest.fixture
def draw(store, monkeypatch):
    """Return where the windows of 2,400 draws begin, as (contig, start, strand), under a sampling."""
    monkeypatch.setattr(TrainingBatches, "cut", lambda self, places: places)
    return lambda **sampling: [place for k in range(400) for place in batches(store, **sampling)[k]]


def centres(store, kind):
    """Return the places of windows of a kind that are not moved, kept on their contig."""
    rows = store.regions[(store.regions.kind == kind) & store.regions.chrom.isin(["one", "two"])]
    return {(c, min(max(s - 250, 0), LENGTHS[c] - 500)) for c, s in zip(rows.chrom, rows.summit, strict=True)}


def test_shares_are_kept(store, draw):
    """A mixture: windows of each kind, told by where they begin, in the proportion asked for."""
    drawn = [place[:2] for place in draw(peaks=3, background=2, uniform=1, jitter_bp=0)]
    known = {kind: centres(store, kind) for kind in ("peak", "background")}
    counts = [sum(place in known[kind] for place in drawn) for kind in known]
    chance = (1 - np.array([3, 2]) / 6) * np.array([3, 2]) / 6 * len(drawn)
    assert (np.abs(counts - np.array([3, 2]) / 6 * len(drawn)) < 4 * np.sqrt(chance)).all()
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
    room = {contig: LENGTHS[contig] - 500 + 1 for contig in ("one", "two")}
    places = [start + (room["one"] if contig == "two" else 0) for contig, start, _ in drawn]
    assert all(0 <= start < room[contig] for contig, start, _ in drawn)
    assert kstest((np.array(places) + 0.5) / sum(room.values()), "uniform").pvalue > 0.001


def test_half_of_the_windows_are_read_from_the_other_strand(draw):
    turned = [is_reverse for *_, is_reverse in draw()]
    assert abs(np.mean(turned) - 0.5) < 4 * 0.5 / np.sqrt(len(turned))
    assert not any(is_reverse for *_, is_reverse in draw(reverse_complement=False))


def test_tiles_cover_a_contig_once_and_in_order(store):
    tiles = TiledWindows(store, ["three"], (), 2)
    bases = torch.cat([tiles[k].one_hot for k in range(len(tiles))]).permute(1, 0, 2).flatten(1)
    assert np.array_equal(
        bases, one_hot(np.asarray(store.codes("three")))[:, : LENGTHS["three"] // 500 * 500]
    )


def test_epochs_number_their_batches_through():
    sampler = EpochSampler(3)
    assert list(sampler) == [0, 1, 2]
    sampler.set_epoch(4)
    assert list(sampler) == [12, 13, 14]


def test_an_unknown_track_and_short_contigs_are_refused(store):
    with pytest.raises(InputError, match="track 'gc' is not in the encoded store"):
        TrainingBatches(store, ["one"], ("gc",), Sampling(), 4, 1)
    store.meta["window_bp"] = 100_000
    with pytest.raises(InputError, match="no training contig"):
        batches(store)


def test_copies_of_held_out_windows_are_not_scored_on_either_strand(store):
    """The same windows as without them, but for the state of just these bases."""
    copies = {"one": np.array([[700, 950], [1_400, 1_401]]), "two": np.array([[0, 300]])}
    hidden = {name: np.asarray(store.state(name)).copy() for name in ("one", "two")}
    for contig, stretches in copies.items():
        for start, end in stretches:
            hidden[contig][start:end] = 255
    plain, masked = batches(store), batches(store, copies=copies)
    places = []
    plain.cut = lambda found: places.extend(found)
    for index in range(20):
        plain[index]
    rows = [row for index in range(20) for row in masked[index].state.numpy()]
    changed = 0
    for (contig, start, is_reverse), row in zip(places, rows, strict=True):
        wanted = hidden[contig][start : start + 500][:: -1 if is_reverse else 1]
        np.testing.assert_array_equal(row, wanted)
        changed += (
            wanted != np.asarray(store.state(contig))[start : start + 500][:: -1 if is_reverse else 1]
        ).any()
    assert changed > 5 and {place[2] for place in places} == {False, True}
    for before, after in zip(batches(store)[0][:3], masked[0][:3], strict=True):
        assert torch.equal(before, after)
