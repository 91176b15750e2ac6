"""Rotated targets: np.roll of cuts and state within each contig, and nothing else moves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gatescope.data.draw import Sampling
from gatescope.data.rotation import LEAST_BP, RotatedTargets, draw_rotations
from gatescope.data.sampler import MAX_CUTS_PER_BP, TiledWindows, TrainingBatches
from tiny_store import LENGTHS, make_store

ROTATIONS = {"one": 1234, "two": 3999, "three": 17, "four": 350}
NAMES = list(LENGTHS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store")


def rolled(store, contig):
    """Cuts and state of a contig, moved to the right by an independent route."""
    values = store.track(contig, "cuts"), store.state(contig)
    return [np.roll(np.array(each), ROTATIONS[contig]) for each in values]


@pytest.mark.parametrize("contig", NAMES)
def test_every_target_is_there_once_and_in_its_place(store, contig):
    rank, length = NAMES.index(contig), LENGTHS[contig]
    whole = RotatedTargets(store, [rank], [0], length, None, ROTATIONS)
    cuts, state = rolled(store, contig)
    assert np.array_equal(whole.track("cuts")[0], cuts)
    assert np.array_equal(whole.state()[0], state)
    assert (state == 255).sum() == (store.state(contig) == 255).sum() > 0
    assert not np.array_equal(state, store.state(contig))


def draw(lengths, contigs, seed, window_bp=1000):
    return draw_rotations(SimpleNamespace(lengths=lengths, window_bp=window_bp), contigs, seed)


def test_rotations_are_far_and_depend_on_seed_and_contig_alone(caplog):
    lengths = {f"chr{n}": 21_000 + 7 * n for n in range(300)}
    drawn = draw(lengths, list(lengths), 1)
    far = [min(shift, lengths[contig] - shift) for contig, shift in drawn.items()]
    assert min(far) >= LEAST_BP
    assert len({shift - LEAST_BP for shift in drawn.values()}) > 200  # up to 3,100 choices each
    assert draw({**lengths, "more": 50_000}, ["chr7"], 1) == {"chr7": drawn["chr7"]}
    other = draw(lengths, list(lengths), 2)
    assert sum(other[contig] == drawn[contig] for contig in lengths) < 10
    assert "short contigs" not in caplog.text


def test_on_a_short_contig_targets_move_by_half_of_it(caplog):
    drawn = draw({"long": 21_000, "short": 20_999, "tiny": 7}, ["long", "short", "tiny"], 1)
    assert LEAST_BP <= drawn.pop("long") <= 11_000
    assert drawn == {"short": 10_499, "tiny": 3}
    assert "less than 10,000 bp on the short contigs tiny" in caplog.text


def test_windows_strands_and_inputs_stay_where_they_are(store):
    copies = {"one": np.array([[2000, 4000]])}
    arguments = store, ["one", "two"], ("cuts",), Sampling(), 32, 1, 100, copies
    still, moved = TrainingBatches(*arguments), TrainingBatches(*arguments, ROTATIONS)
    cuts, state = zip(*(rolled(store, contig) for contig in NAMES), strict=True)
    wrapped = 0
    for index in range(10):
        batch, before = moved[index], still[index]
        assert torch.equal(batch.one_hot, before.one_hot) and torch.equal(batch.tracks, before.tracks)
        for n, (rank, start, turned) in enumerate(zip(*moved.draws.draw(index), strict=True)):
            step = -1 if turned else 1
            found = state[rank][start : start + 500].copy()
            if NAMES[rank] == "one":  # what is a near-copy is so because of its bases
                found[(np.arange(start, start + 500) >= 2000) & (np.arange(start, start + 500) < 4000)] = 255
            assert np.array_equal(batch.state[n], found[::step])
            wanted = np.minimum(cuts[rank][start : start + 500], MAX_CUTS_PER_BP)
            assert np.array_equal(batch.cuts[n], wanted[::step])
            wrapped += start < ROTATIONS[NAMES[rank]] < start + 500
    assert wrapped


def test_validation_windows_are_rotated_too_and_without_rotation_nothing_is(store):
    tiles = TiledWindows(store, ["three"], (), 4, ROTATIONS)
    state = rolled(store, "three")[1][:2000].reshape(4, 500)
    assert np.array_equal(tiles[0].state, state)
    plain, zero = TiledWindows(store, ["three"], (), 4), TiledWindows(store, ["three"], (), 4, {"three": 0})
    assert all(torch.equal(a, b) for a, b in zip(plain[0], zero[0], strict=True))


def test_a_window_off_its_contig_is_refused(store):
    with pytest.raises(ValueError, match="do not lie on contig 3"):
        RotatedTargets(store, [3], [201], 500, None, ROTATIONS)
