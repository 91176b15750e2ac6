"""Events: which bases count, in which order, and which letters had been read there."""

import numpy as np
import pytest

from gatescope.boundaries.events import (
    Events,
    draw_background,
    first_copies,
    is_usable,
    pick_extremes,
    read_windows,
    top_events,
)
from gatescope.genome.sequence import decode_bases, encode_bases

FWD, REV = 0, 1


def everywhere(length):
    return np.ones(length, bool)


def slow_extremes(strength, n_events, distance, direction):
    """Go down from the strongest base, one at a time, and ask each rule in words."""
    kept = []
    for at in sorted(range(strength.size), key=lambda base: (-strength[base], base)):
        before, after = (at - 1, at + 1) if direction == FWD else (at + 1, at - 1)
        rises = not 0 <= before < strength.size or strength[before] < strength[at]
        holds = not 0 <= after < strength.size or strength[after] <= strength[at]
        if rises and holds and all(abs(at - other) >= distance for other in kept):
            kept.append(at)
    return kept[:n_events]


@pytest.mark.parametrize("direction", [FWD, REV])
@pytest.mark.parametrize("distance", [1, 2, 7])
def test_extremes_are_those_of_the_slow_search(direction, distance):
    rng = np.random.default_rng(distance)
    for n_events in (1, 9, 400):
        strength = rng.integers(0, 6, 300).astype(np.float32)  # many ties and plateaus
        found = pick_extremes(strength, everywhere(300), n_events, distance, direction)
        assert found.tolist() == slow_extremes(strength, n_events, distance, direction)


def test_of_a_plateau_the_base_read_first_counts():
    strength = np.array([0, 1, 5, 5, 5, 1, 0], np.float32)
    assert pick_extremes(strength, everywhere(7), 3, 5, FWD).tolist() == [2]
    assert pick_extremes(strength, everywhere(7), 3, 5, REV).tolist() == [4]


def test_nothing_happens_where_nothing_changes_or_nothing_is_usable():
    assert pick_extremes(np.zeros(50, np.float32), is_usable(np.zeros(50, np.uint8), 3), 5, 3, FWD).size == 0
    peak = np.zeros(50, np.float32)
    peak[20] = 1
    usable = everywhere(50)
    assert pick_extremes(peak, usable, 5, 3, FWD)[0] == 20
    usable[20] = False
    assert 20 not in pick_extremes(peak, usable, 5, 3, FWD)


def test_usable_bases_have_known_neighbours():
    codes = encode_bases("ACGTACGTANACGTACGT")
    wanted = [
        at for at in range(18) if at >= 2 and at < 16 and "N" not in decode_bases(codes[at - 2 : at + 3])
    ]
    assert np.flatnonzero(is_usable(codes, 2)).tolist() == wanted
    assert not is_usable(codes[:4], 2).any()


def test_events_of_several_contigs_are_ranked_together():
    strengths = {"a": np.zeros(40), "b": np.zeros(40)}
    strengths["a"][[10, 30]] = 3, 1
    strengths["b"][[5, 20]] = 3, 2
    usable = {name: everywhere(40) for name in strengths}
    events = top_events(strengths.get, usable, 3, 4, FWD)
    assert [events.contigs[index] for index in events.contig] == ["a", "b", "b"]
    assert events.position.tolist() == [10, 5, 20]
    assert events.strength.tolist() == [3, 3, 2]
    assert events.on("b").tolist() == [5, 20] and events.n == 3


def test_reverse_reads_the_same_letters_the_other_way_round():
    """The forward strand holds TGACG; fwd reads it so, rev reads GCAGT, and neither reads a complement."""
    codes = {"a": encode_bases("AAAAATGACGAAAAA")}
    at_last_letter = {FWD: 9, REV: 5}  # the base of the word that is read last
    for direction, word in ((FWD, "TGACG"), (REV, "GCAGT")):
        events = Events(("a",), np.zeros(1, int), np.array([at_last_letter[direction]]), np.ones(1))
        window = read_windows(codes, events, direction, 4)[0]
        assert decode_bases(window) == word + "AAAA"  # offsets -4 ... 4: the word ends at the event


def test_copies_of_a_repeat_count_once():
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 4, (50, 40)).astype(np.uint8)
    windows[[7, 20]] = windows[3]
    windows[20, :4] = (windows[20, :4] + 1) % 4  # nine letters in ten are the same
    windows[30] = windows[3]
    windows[30, :5] = (windows[30, :5] + 1) % 4  # one letter fewer
    assert np.flatnonzero(~first_copies(windows)).tolist() == [7, 20]


def test_background_lies_beside_the_events_and_in_none_of_their_windows():
    rng = np.random.default_rng(1)
    usable = {"a": everywhere(30_000), "b": everywhere(9000)}
    usable["a"][12_000:20_000] = False
    strengths = {name: rng.random(each.size) for name, each in usable.items()}
    events = top_events(strengths.get, usable, 60, 50, FWD)
    background = draw_background(events, usable, 20, rng)
    assert background.n == 60
    apart = abs(background.position - events.position)
    assert (background.contig == events.contig).all()
    assert ((apart >= 100) & (apart < 2000)).all()
    for name in usable:
        assert usable[name][background.on(name)].all()
        nearest = abs(np.subtract.outer(background.on(name), events.on(name))).min(1)
        assert (nearest > 40).all()
    again = draw_background(events, usable, 20, np.random.default_rng(5))
    assert (again.position == draw_background(events, usable, 20, np.random.default_rng(5)).position).all()
    crowded = {name: each & False for name, each in usable.items()}
    assert draw_background(events, crowded, 20, rng).n == 0
