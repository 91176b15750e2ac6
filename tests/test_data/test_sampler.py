"""Batches: what the FASTA, the bigWig and the peaks say, the same from any number of workers."""

import os
import pickle
import shutil
import signal
from contextlib import closing

import numpy as np
import pybigtools
import pyBigWig
import pyfaidx
import pytest
import torch
from torch.utils.data import dataloader

from gatescope.data.arrays import GenomeArrays
from gatescope.data.draw import Sampling
from gatescope.data.sampler import (
    MAX_CUTS_PER_BP,
    EpochSampler,
    Loader,
    TiledWindows,
    TrainingBatches,
)
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from tiny_store import LENGTHS, make_store

SCHEMES = ("balanced", "whole_genome", "curriculum")
NAMES = list(LENGTHS)
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # Python 3.12 on
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def batches(store, seed=1, contigs=("one", "two"), tracks=("cuts",), batch_size=6, copies=None, **sampling):
    return TrainingBatches(store, list(contigs), tracks, Sampling(**sampling), batch_size, seed, 100, copies)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def read(drawn, sampler, workers, start_method="fork"):
    """Return every batch that a loader hands on, and end its workers."""
    with closing(Loader(drawn, sampler, workers=workers, start_method=start_method)) as loader:
        return list(loader)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write the store's genome as FASTA, its cuts as bigWig (one tower among them) and its peaks as a list."""
    folder = tmp_path_factory.mktemp("files")
    store = make_store(folder / "store")
    cuts = {name: np.array(store.track(name, "cuts")) for name in NAMES}
    cuts["one"][800] = 10 * MAX_CUTS_PER_BP
    arrays = [(n, ContigArrays(store.codes(n), store.state(n), {"cuts": cuts[n]})) for n in NAMES]
    write_store(folder / "store", arrays, store.regions, {k: store.meta[k] for k in META})
    sequences = ["".join("ACGTN"[code] for code in store.codes(name)) for name in NAMES]
    pairs = zip(NAMES, sequences, strict=True)
    (folder / "genome.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases in pairs))
    with pyBigWig.open(str(folder / "cuts.bw"), "w") as bigwig:
        bigwig.addHeader(list(LENGTHS.items()))
        for name in NAMES:
            bigwig.addEntries(name, 0, values=cuts[name].astype(float), span=1, step=1)
    peaks = [(r.chrom, r.start, r.end) for r in store.regions.itertuples() if r.kind == "peak"]
    return folder, peaks


META = ("stage_version", "window_bp", "folds", "inputs", "filters", "seed")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_batches_are_what_the_files_hold_read_one_window_at_a_time(files, scheme):
    folder, peaks = files
    drawn = batches(EncodedStore(folder / "store"), scheme=scheme, batch_size=12)
    genome = pyfaidx.Fasta(str(folder / "genome.fa"))
    clipped = strands = 0
    with pybigtools.open(str(folder / "cuts.bw")) as bigwig:
        for index in range(8):
            batch = drawn[index]
            for n, (contig, start, turned) in enumerate(zip(*drawn.draws.draw(index), strict=True)):
                contig, end = NAMES[contig], start + 500
                part = genome[contig][int(start) : int(end)]
                bases = (-part).seq if turned else part.seq
                assert np.array_equal(batch.one_hot[n], [[base == x for base in bases] for x in "ACGT"])
                cuts = list(bigwig.values(contig, int(start), int(end), fillna=None))
                state = [any(c == contig and s <= at < e for c, s, e in peaks) for at in range(start, end)]
                state = [
                    255 if base == "N" else int(open_) for base, open_ in zip(part.seq, state, strict=True)
                ]
                if turned:
                    cuts, state = cuts[::-1], state[::-1]
                assert batch.tracks[n, 0].tolist() == cuts, "an input is not clipped"
                assert batch.cuts[n].tolist() == [min(cut, MAX_CUTS_PER_BP) for cut in cuts]
                assert batch.state[n].tolist() == state
                clipped += max(cuts) > MAX_CUTS_PER_BP
                strands |= 1 + bool(turned)
    genome.close()
    assert clipped and strands == 3


def test_other_strand_of_a_batch_is_the_batch_of_the_other_strand(store, tmp_path):
    """A store of the reverse complement, the places mirrored: the same windows."""
    turned = []
    for name in NAMES:
        codes = store.codes(name)[::-1]
        tracks = {"cuts": store.track(name, "cuts")[::-1]}
        turned.append(
            (name, ContigArrays(np.where(codes < 4, 3 - codes, codes), store.state(name)[::-1], tracks))
        )
    write_store(tmp_path / "turned", turned, store.regions, {k: store.meta[k] for k in META})
    forward, mirrored = batches(store), batches(EncodedStore(tmp_path / "turned"))
    for index in range(3):
        places = forward.draws.draw(index)
        lengths = np.array(list(LENGTHS.values()))[places.contigs]
        mirror = places._replace(starts=lengths - 500 - places.starts, is_reverse=~places.is_reverse)
        assert same(forward.cut(places), mirrored.cut(mirror))


def test_tiles_cover_a_contig_once_and_in_order(store):
    tiles = TiledWindows(store, ["three", "one"], (), 2)
    assert len(tiles) == len(list(tiles)) == 8
    state = torch.cat([tile.state.flatten() for tile in tiles])
    assert state.tolist() == [*store.state("three")[:2000], *store.state("one")]
    assert [len(tile.state) for tile in Loader(tiles)] == [2] * 8
    assert len(TiledWindows(store, ["four"], (), 2)) == 1


def test_epochs_number_their_batches_through():
    sampler = EpochSampler(3)
    assert list(sampler) == [0, 1, 2]
    sampler.set_epoch(4)
    assert list(sampler) == [12, 13, 14]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_hands_on_the_same_batches(store, scheme, workers):
    """Over two epochs, of which the second begins anew, as after a resume; and in shuffled order."""
    drawn = batches(store, scheme=scheme)
    sampler = EpochSampler(5)
    with closing(Loader(drawn, sampler, workers=workers, start_method="fork")) as loader:
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            got = list(loader)
            assert len(got) == len(loader) == 5
            assert all(same(batch, drawn[5 * epoch + k]) for k, batch in enumerate(got))
    shuffled = [3, 0, 9, 4]
    got = read(drawn, shuffled, workers)
    assert all(same(batch, drawn[k]) for k, batch in zip(shuffled, got, strict=True))


def test_workers_that_start_from_nothing_hand_on_the_same_batches(store):
    drawn = batches(store, scheme="curriculum")
    got = read(drawn, EpochSampler(4), 1, start_method="spawn")
    assert all(same(batch, drawn[k]) for k, batch in enumerate(got))


def test_drawing_leaves_no_trace(store):
    for scheme in SCHEMES:
        drawn = batches(store, scheme=scheme)
        before = pickle.dumps(drawn)
        assert drawn[3] and pickle.dumps(drawn) == before


def test_each_worker_maps_the_arrays_for_itself(store, tmp_path, monkeypatch):
    real = GenomeArrays._map

    def noted(self, stem):
        with (tmp_path / "opened").open("a") as out:
            out.write(f"{os.getpid()}\n")
        return real(self, stem)

    monkeypatch.setattr(GenomeArrays, "_map", noted)
    drawn = batches(store)
    drawn[0]  # the parent's maps are open now, and would be inherited
    read(drawn, EpochSampler(6), 2)
    opened = (tmp_path / "opened").read_text().split()
    arrays = len(("codes", "state", "cuts"))
    assert {opened.count(process) for process in opened} == {arrays}
    assert len(set(opened)) == 3 and str(os.getpid()) in opened


def test_a_store_that_is_gone_is_one_line(store):
    """In this process, in workers, and where the dataset came as a pickle, as it does to workers that are spawned."""
    drawn = batches(store)
    copied = pickle.dumps(drawn)
    shutil.rmtree(store.path)
    for workers in (0, 2):
        with pytest.raises(InputError, match=r"cuts\.npy: ") as caught:
            read(pickle.loads(copied), EpochSampler(6), workers)
        assert "\n" not in str(caught.value)
        assert "encode again" in str(caught.value)


class Doomed(TrainingBatches):
    """Its third batch is the end of the process that draws it."""

    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_worker_that_was_killed_is_named(store, monkeypatch):
    look = dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(look, "__defaults__", (0.2,))  # seconds between two looks, as a rule five
    drawn = Doomed(store, ["one"], (), Sampling(), 4, 1, 100)
    message = (
        r"training: workers: a process that loads batches has died \(.*\); likely cause: the job ran out"
    )
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(InputError, match=message):
        read(drawn, EpochSampler(4), 1)
    assert signal.getsignal(signal.SIGCHLD) is handler


class Broken(TrainingBatches):
    """A mistake of ours, which is not the user's."""

    def __getitem__(self, index):
        raise RuntimeError("a mistake of ours")


@pytest.mark.parametrize("workers", [0, 1])
def test_our_own_mistakes_keep_their_name(store, workers):
    drawn = Broken(store, ["one"], (), Sampling(), 4, 1, 100)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        read(drawn, EpochSampler(4), workers)


def test_an_unknown_track_is_refused(store):
    with pytest.raises(InputError, match="track 'gc' is not in the encoded store"):
        batches(store, tracks=("gc",))


def test_copies_of_held_out_windows_are_not_scored_on_either_strand(store):
    """The same windows as without them, but for the state of just these bases."""
    copies = {"one": np.array([[700, 950], [1_400, 1_401]]), "two": np.array([[0, 300]])}
    hidden = {name: np.asarray(store.state(name)).copy() for name in ("one", "two")}
    for contig, stretches in copies.items():
        for start, end in stretches:
            hidden[contig][start:end] = 255
    plain, masked = batches(store), batches(store, copies=copies)
    names, places = list(store.lengths), []
    for index in range(20):
        drawn = plain.draws.draw(index)
        places += [(names[rank], *rest) for rank, *rest in zip(*drawn, strict=True)]
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


def test_windows_are_named_as_people_write_them(store):
    drawn = batches(store)
    for name, codes in zip(drawn.windows_of(3), drawn[3].one_hot, strict=True):
        contig, span = name.split(":")
        first, last = (int(part.replace(",", "")) for part in span.split("-"))
        found = one_hot(np.asarray(store.codes(contig))[first - 1 : last])
        assert any(np.array_equal(codes, turned) for turned in (found, found[::-1, ::-1]))
