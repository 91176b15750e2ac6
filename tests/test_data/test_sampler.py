"""Training windows: pure functions of (seed, index); on the other strand everything is turned at once."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gatescope.data.sampler import MAX_CUTS_PER_BP, EpochSampler, Sampling, TiledWindows, TrainingBatches
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from tiny_store import LENGTHS, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def batches(store, seed=1, contigs=("one", "two"), **sampling):
    return TrainingBatches(store, list(contigs), ("cuts",), Sampling(**sampling), 6, seed)


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


def test_shares_are_kept(store):
    """Peak windows without jitter hold the summit in their middle."""
    batch = [
        batches(store, peaks=1, background=0, uniform=0, jitter_bp=0, reverse_complement=False)[k]
        for k in range(10)
    ]
    middles = torch.cat([b.state[:, 250] for b in batch])
    clipped = 1 / 9  # the first peak of a contig lies too near its end to be centred
    assert (middles == 1).float().mean() > 1 - 3 * clipped
    none = [batches(store, peaks=0, background=1, uniform=0, jitter_bp=0)[k] for k in range(10)]
    assert (torch.cat([b.state[:, 250] for b in none]) == 1).float().mean() < 3 * clipped


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
