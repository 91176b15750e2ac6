"""What happens to a memory at a boundary: gates and writes by hand, cells with known answers, and a slow recurrence."""

import numpy as np
import pytest
from unit_arrays import UnitArrays

from gatescope.boundaries import cell_states
from gatescope.boundaries.cell_states import cell_states_at, run_cells
from gatescope.boundaries.modes import (
    MODES,
    ModeRule,
    _weighted_medians,
    find_modes,
    modes_of_unit,
    modes_table,
    rewritten_elsewhere,
    summarise_modes,
)
from gatescope.boundaries.profile import Sites
from gatescope.errors import InputError
from gatescope.gallery.cells import CELLS
from gatescope.gallery.contig import read_contig
from gatescope.gallery.hand import Experiment, base_channels
from gatescope.trace.sinks import UnitLogits, UnitWrites

OPEN = 12.0  # logit of a gate that keeps 0.9997 over 50 bases
LENGTH, EVERY = 4000, 200
BOUNDARIES = np.arange(EVERY, LENGTH, EVERY)


def slow_cells(forget, writes):
    cell, cells = 0.0, []
    for f, write in zip(forget, writes, strict=True):
        cell = f * cell + write
        cells.append(cell)
    return np.array(cells)


def sites(direction=0, crossing="entry", positions=BOUNDARIES):
    return Sites(direction, crossing, {"c": positions}, 0)


def world(gates, writes, base=OPEN):
    """Return one unit of each direction; `gates` and `writes` are {offset: value} at every boundary."""
    logits, written = np.full((2, 1, LENGTH), base), np.zeros((2, 1, LENGTH))
    for direction in range(2):
        for array, values in ((logits, gates), (written, writes)):
            for offset, value in values.items():
                at = BOUNDARIES + offset if direction == 0 else BOUNDARIES - 1 - offset
                array[direction, 0, at] = value
    return UnitArrays({"c": logits}, {"c": written})


def test_stretches_abreast_are_the_recurrence():
    rng = np.random.default_rng(0)
    for n in (1, 255, 256, 257, 1000):
        forget, writes = rng.uniform(0, 1, (3, n)), rng.normal(size=(3, n))
        before = rng.normal(size=3)
        found = run_cells(forget, writes, before)
        for row in range(3):
            first = np.concatenate([[before[row]], writes[row]])
            expected = slow_cells(np.concatenate([[1.0], forget[row]]), first)[1:]
            np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 600, 10_000_000])
@pytest.mark.parametrize("direction", [0, 1])
def test_cell_states_of_a_contig_do_not_depend_on_chunks(monkeypatch, chunk, direction):
    monkeypatch.setattr(cell_states, "_CHUNK", chunk)
    rng = np.random.default_rng(1)
    logits, writes = rng.normal(3, 2, (2, 4, 1111)), rng.normal(size=(2, 4, 1111))
    store, units = UnitArrays({"c": logits}, {"c": writes}), [2, 0, 3]
    turn = slice(None, None, -1 if direction else 1)
    expected = np.stack(
        [
            slow_cells(1 / (1 + np.exp(-logits[direction, u, turn])), writes[direction, u, turn])[turn]
            for u in units
        ]
    )
    at = rng.permutation(1111)[:100]
    found = cell_states_at(store, "c", direction, units, at)
    np.testing.assert_allclose(found.cells, expected[:, at], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.rms, np.sqrt((expected**2).mean(1)), rtol=1e-12)
    start = np.array([1111 if direction else -1])
    assert (cell_states_at(store, "c", direction, units, start).cells == 0).all()


#: Gates and writes at offsets from every boundary, and what that is. Between boundaries the memory is held.
HAND_MADE = {
    "one gate shuts": ({3: -20.0}, {40: 1.0}, "erase", 1.0),
    "several gates half shut": ({0: 0.0, 1: 0.0, 2: 0.0}, {40: 1.0}, "erase", 1.0),
    "before the boundary": ({-20: -20.0}, {40: 1.0}, "erase", 1.0),
    "erased, and at once filled again": ({3: -20.0}, {4: 1.0}, "erase", 1.0),
    "nothing but a slow leak": ({40: -20.0}, {50: 1.0}, "none", 1.0),
    "added to what is held": ({40: -20.0}, {50: 1.0, 3: 2.0}, "gain-only", 0.0),
    "written where nothing is held": ({30: -20.0}, {3: 1.0}, "gain-only", np.nan),
    "lessened by writing": ({40: -20.0}, {50: 1.0, 3: -0.8}, "none", 0.0),
    "a gate that dips a little": ({3: 2.0, 100: -20.0}, {101: 1.0}, "none", 1.0),
}


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_gates(name, direction):
    gates, writes, mode, share = HAND_MADE[name]
    found = modes_of_unit(world(gates, writes), sites(direction), 0, ModeRule())
    inner = slice(1, -1)  # the first boundary finds an empty memory
    assert [MODES[k] for k in found.mode[inner]] == [mode] * (len(BOUNDARIES) - 2)
    np.testing.assert_allclose(found.forget_share[inner], share, atol=2e-3, equal_nan=True)


def test_overwriting_alternates_with_the_sign_of_what_is_written():
    """+1, -1, +1, ... are each twice as large as what they write over, while the gate stays open."""
    store = world({}, {})
    for number, at in enumerate(BOUNDARIES):
        store.written["c"][0, 0, at + 7] = (1 if number % 2 else -1) * (2.0 if number else 1.0)
    found = modes_of_unit(store, sites(), 0, ModeRule())
    assert [MODES[k] for k in found.mode] == ["gain-only"] + ["overwrite"] * (len(BOUNDARIES) - 1)
    assert (found.forget_share[1:] < 0.001).all() and (found.kept > 0.999).all()


def test_forget_share_is_that_of_the_moment_of_the_reset():
    """c = -1; f = 1/4 and i g = 1 at one base: 3/4 erased, 1 written, and the sign changes: phi = 3/7."""
    store = world({0: np.log(1 / 3), 60: -20.0}, {0: 1.0, 61: -1.0})
    found = modes_of_unit(store, sites(), 0, ModeRule())
    assert {MODES[k] for k in found.mode[1:]} == {"overwrite"}
    np.testing.assert_allclose(found.forget_share[1:], 3 / 7, atol=1e-3)
    store.written["c"][store.written["c"] == 1.0] = 0.5
    found = modes_of_unit(store, sites(), 0, ModeRule())
    assert {MODES[k] for k in found.mode[1:]} == {"erase"}
    np.testing.assert_allclose(found.forget_share[1:], 3 / 5, atol=1e-3)


def test_a_short_memory_that_only_turns_over_is_not_erased():
    """Half-life 4 bp, refilled at the same rate: over 50 bases all is gone, as it is anywhere else."""
    store = world({}, {}, base=np.log(0.84 / 0.16))
    store.written["c"][:] = 1.0
    found = modes_of_unit(store, sites(), 0, ModeRule())
    assert {MODES[k] for k in found.mode} == {"none"} and (found.kept < 1e-3).all()
    np.testing.assert_allclose(found.forget_share, 0.5, atol=1e-6)
    store.arrays["c"][0, 0, BOUNDARIES] = -20.0  # but here it is, at once
    found = modes_of_unit(store, sites(), 0, ModeRule())
    assert {MODES[k] for k in found.mode} == {"erase"}


def random_bases(rng, length, words):
    """Return a C and bases that hold none of the words, not where they meet it."""
    letters = "C"
    while len(letters) <= length:
        letters += rng.choice(list("ACGT"))
        if letters.endswith(words):
            letters = letters[:-1]
    return letters


def read_cell(name, sequence, folder):
    """Read a sequence through a cell of the gallery; return what its units did."""
    (cell,) = [cell for cell in CELLS if cell.name == name]
    lstm = cell.build().lstm
    experiment = Experiment(lstm, base_channels(sequence), {}, sequence)
    paths = folder / "logits.npy", folder / "writes.npy"
    kept = [sink(path, lstm.hidden_size) for sink, path in zip((UnitLogits, UnitWrites), paths, strict=True)]
    read_contig(experiment, sinks=kept)
    return UnitArrays(*({"c": np.load(path)} for path in paths))


def with_words(rng, words, least=60, most=140):
    """Return a sequence with words far apart, and where they begin."""
    sequence, starts = random_bases(rng, 100, ("GAT", "CTA")), []
    for word in words:
        starts.append(len(sequence))
        sequence += word + random_bases(rng, int(rng.integers(least, most)), ("GAT", "CTA"))
    joined = np.array(starts)
    wrong = sequence.count("GAT") + sequence.count("CTA") - len(words)
    assert wrong == 0
    return sequence + "C" * 80, joined


def test_the_motif_reset_of_the_gallery_erases(tmp_path):
    sequence, starts = with_words(np.random.default_rng(2), ["GAT"] * 30)
    store = read_cell("motif-reset", sequence, tmp_path)
    for direction, boundaries in ((0, starts + 2), (1, starts + 1)):  # reading fwd the T, in reverse the G
        found = modes_of_unit(store, sites(direction, positions=boundaries), 0, ModeRule())
        assert [MODES[k] for k in found.mode] == ["erase"] * 30
        # writes 0.1 at every base, also at that of the reset
        np.testing.assert_allclose(
            found.forget_share, np.abs(found.before) / (np.abs(found.before) + 0.1), rtol=0.02
        )
        assert np.median(found.forget_share) > 0.95


def test_the_motif_overwriter_of_the_gallery_overwrites(tmp_path):
    """Read in one direction; its memory of +-1 is turned over at each motif, one base after it."""
    sequence, starts = with_words(np.random.default_rng(3), ["GAT", "CTA"] * 15, least=30, most=40)
    store = read_cell("motif-overwrite", sequence, tmp_path)
    found = modes_of_unit(store, sites(positions=starts + 3), 6, ModeRule())
    assert [MODES[k] for k in found.mode[1:]] == ["overwrite"] * 29
    assert np.nanmedian(found.forget_share) < 0.3


def test_one_pass_serves_several_sites_and_units():
    rng = np.random.default_rng(4)
    logits = {c: rng.normal(3, 2, (2, 5, 3000)) for c in "ab"}
    store = UnitArrays(logits, {c: rng.normal(size=(2, 5, 3000)) for c in "ab"})
    entries = Sites(1, "entry", {"a": np.array([100, 900]), "b": np.array([50])}, 0)
    exits = Sites(1, "exit", {"b": np.array([1000, 2000, 2900])}, 0)
    together = find_modes(store, [entries, exits], [3, 1], ModeRule())
    for row, unit in enumerate([3, 1]):
        for column, each in enumerate((entries, exits)):
            alone = modes_of_unit(store, each, unit, ModeRule())
            for one, other in zip(together[row][column], alone, strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_a_unit_rewrites_anywhere_is_counted_at_moved_boundaries():
    """Each boundary brings a write of the other sign: at shift 0, and at whole periods, all of them are overwritten."""
    units = world({}, {-60: 1.0, 0: -2.0})
    shifts = {"c": np.array([0, EVERY, 90])}
    found = rewritten_elsewhere(units, sites(), 0, ModeRule(), {"c": LENGTH}, shifts)
    of_unit = modes_of_unit(units, sites(), 0, ModeRule()).mode
    assert found[0] == np.isin(of_unit, [MODES.index("overwrite"), MODES.index("gain-only")]).mean() > 0.9
    assert found[1] > 0.8 and found[2] < 0.1
    ends = sites(positions=np.array([5]))
    assert np.isnan(
        rewritten_elsewhere(units, ends, 0, ModeRule(), {"c": LENGTH}, {"c": np.array([0])})
    ).all()


def test_table_and_intervals():
    """Ten blocks or more: the interval of the median holds it; bytes depend on the seed alone."""
    rng = np.random.default_rng(5)
    store = UnitArrays({"c": rng.normal(4, 1, (2, 20, 9000))}, {"c": rng.normal(size=(2, 20, 9000))})
    places = np.sort(rng.choice(np.arange(100, 8900), 300, replace=False))
    everything = [sites(d, c, places) for d in (1, 0) for c in ("exit", "entry")]
    options = {"replicates": 200, "block_bp": 100, "seed": 3}
    table = modes_table(store, 20, everything, ModeRule(), **options)
    assert table[["direction", "crossing"]].drop_duplicates().to_numpy().tolist() == [
        *(["fwd", "entry"], ["rev", "entry"], ["fwd", "exit"], ["rev", "exit"])
    ]
    assert table.unit.tolist() == [*range(20)] * 4 and (table.n == 300).all()
    np.testing.assert_allclose(table[["erase", "overwrite", "gain_only", "none"]].sum(axis=1), 1)
    assert (
        (table.forget_share_low <= table.forget_share) & (table.forget_share <= table.forget_share_high)
    ).all()
    row = table[(table.direction == "rev") & (table.crossing == "exit") & (table.unit == 17)].iloc[0]
    alone = summarise_modes(modes_of_unit(store, everything[0], 17, ModeRule()), everything[0], **options)
    assert {key: row[key] for key in alone} == alone
    few = modes_table(store, 1, everything[:1], ModeRule(), replicates=200, block_bp=5000)
    assert few.forget_share_low.isna().all() and few.forget_share.notna().all()


def test_weighted_medians_are_medians_of_repeated_values():
    rng = np.random.default_rng(6)
    values, weights = rng.normal(size=30), rng.integers(0, 4, (50, 30))
    expected = [np.median(np.repeat(values, row)) for row in weights]
    np.testing.assert_allclose(_weighted_medians(values, weights), expected)


@pytest.mark.parametrize(
    "wrong", [{"dip_bp": 0}, {"most_kept": 1.0}, {"least_share": 0.0}, {"least_change": 2.0}]
)
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(InputError, match="boundaries"):
        ModeRule(**wrong)
