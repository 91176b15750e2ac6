"""Hand-weighted networks read planted genomes, are traced and judged as trained ones, and get the verdict they earn."""

import itertools
import math

import numpy as np
import pytest
from hand_worlds import (
    SETTINGS,
    TEST,
    VALID,
    Planted,
    as_regions,
    draw_spans,
    judge,
    judge_by_hand,
    random_bases,
    save_and_trace,
    untrained,
    write_genome,
    write_words,
)
from scipy.signal import lfilter
from scipy.special import logit

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import VerdictRule
from gatescope.gallery.cells import CELLS
from gatescope.gallery.hand import OPEN, SHUT, hand_weighted
from gatescope.trace.units import UnitStore

BUILD = {cell.name: cell.build for cell in CELLS}
SHAPE, RULE = ProfileShape(), VerdictRule()
#: What the two motif cells keep at a base, and what the first of them writes there.
KEPT, WRITE = 0.98, 0.1


def entries(answer, direction, table="units"):
    """Return the row of the chosen unit at its entries."""
    rows = getattr(answer, table).query("direction == @direction and crossing == 'entry'")
    return rows[rows["unit"] == answer.verdict["directions"][direction]["unit"]].iloc[0]


def detectors(answer, direction, crossing):
    """Return the scores of the detectors at one kind of boundary, by name."""
    rows = answer.detector.query("direction == @direction and crossing == @crossing")
    return rows.set_index("detector")


def test_motif_reset_is_a_reset(tmp_path):
    """GAT stands at the beginning of every region and nowhere else; read forward, its T is the first base inside."""
    rng, spans, sequences = np.random.default_rng(1), {}, {}
    for contig in (*TEST, *VALID):
        spans[contig] = draw_spans(rng, 4000, gaps=(600, 900), widths=(200, 300))
        words = {start - 2: "GAT" for start, _ in spans[contig]}
        sequences[contig] = write_words(rng, random_bases(rng, 4000), words, ["GAT"])
    answer = judge_by_hand(tmp_path, Planted(sequences, as_regions(spans)), BUILD["motif-reset"]().lstm)
    assert (answer.verdict["hypothesis"], answer.verdict["mode"]) == ("supported", "reset")
    fwd, rev = (answer.verdict["directions"][name] for name in ("fwd", "rev"))
    assert (fwd["hypothesis"], fwd["mode"]) == ("supported", "reset")
    # one base of ln f = SHUT among bases of ln 0.98
    r = (SHUT - math.log(KEPT)) / math.log(2)
    assert (fwd["offset"], fwd["lowest_offset"]) == (0, 0)
    np.testing.assert_allclose([fwd["r"], fwd["r_low"], fwd["r_high"]], r, rtol=1e-6)
    assert fwd["half_life_bp"] == pytest.approx(math.log(0.5) / math.log(KEPT), rel=1e-5)
    assert fwd["p_fwer"] == 1 / (SETTINGS["shifts"] + 1)
    assert abs(fwd["pseudo"]["r"]) < 1e-6 and all(abs(twin["r"]) < 0.1 for twin in fwd["twins"])
    # c (1 - 0) is gone and 0.1 written, where c sums 0.1 0.98^a over the bases since the reset before
    shares = []
    for contig, (before, at) in ((c, pair) for c in TEST for pair in pairs_of_starts(spans[c])):
        if SHAPE.profile_bp <= at <= len(sequences[contig]) - SHAPE.profile_bp:
            written = at - SHAPE.dip_bp - before  # bases, that of the reset included
            held = WRITE * (1 - KEPT**written) / (1 - KEPT)
            shares.append(held / (held + WRITE))
    modes = entries(answer, "fwd", "modes")
    assert (modes["n"], modes["n_held"], modes["erase"]) == (len(shares), len(shares), 1)
    assert modes["forget_share"] == pytest.approx(np.median(shares), abs=1e-6)
    assert 0.98 < modes["forget_share"] < 0.981
    found = detectors(answer, "fwd", "entry").loc["unit"]
    assert (found["auroc"], found["auprc"], found["f1"]) == (1, 1, 1)  # all of them, and nothing else
    # in reverse the G comes last: beyond the exit, second of the bases outside; entries say nothing
    assert (rev["hypothesis"], rev["mode"], rev["reason"]) == (
        "not supported",
        "none",
        "no effect: R within +-0.5",
    )
    assert abs(rev["r"]) < 1e-6
    left = answer.units.query("direction == 'rev' and crossing == 'exit' and unit == 0").iloc[0]
    assert (left["drop_offset"], left["lowest_offset"]) == (1, 1)
    assert left["r"] == pytest.approx(r, rel=1e-6)
    # one base off: a place that looks at the boundary does not always look at that base too
    assert detectors(answer, "rev", "exit").loc["unit", "auprc"] > 0.95


def pairs_of_starts(spans):
    """Return (start of the region before, start of the region); before the first, from the contig's end."""
    return itertools.pairwise([0, *(start for start, _ in spans)])


def test_motif_overwrite_is_no_reset(tmp_path):
    """Words at both ends of each region, such that either direction reads GAT at entries and CTA at exits."""
    rng, spans, sequences = np.random.default_rng(2), {}, {}
    for contig in (*TEST, *VALID):
        spans[contig] = draw_spans(rng, 3000, gaps=(100, 140), widths=(100, 140))
        words = {start - 2: "GATC" for start, _ in spans[contig]} | {
            end - 2: "CTAG" for _, end in spans[contig]
        }
        sequences[contig] = write_words(rng, random_bases(rng, 3000), words, ["GAT", "CTA", "TAG", "ATC"])
    answer = judge_by_hand(tmp_path, Planted(sequences, as_regions(spans)), BUILD["motif-overwrite"]().lstm)
    assert (answer.verdict["hypothesis"], answer.verdict["mode"]) == ("not supported", "overwrite")
    for name, evidence in answer.verdict["directions"].items():
        assert (evidence["hypothesis"], evidence["mode"]) == ("not supported", "overwrite")
        assert evidence["reason"] == "memory is written over, the gate stays open"
        assert max(abs(evidence[key]) for key in ("r", "r_low", "r_high")) < 1e-6
        modes = entries(answer, name, "modes")
        assert (modes["overwrite"], modes["n_held"]) == (1, modes["n"])
        assert modes["forget_share"] == pytest.approx(overwriting_share(spans, name), abs=1e-6)
        assert modes["kept"] == pytest.approx(KEPT ** (2 * SHAPE.dip_bp), rel=1e-6)
        found = detectors(answer, name, "entry")
        assert found.loc["unit", "auprc"] == pytest.approx(found.loc["unit", "base_rate"])
        # it writes at exits as well
        assert (
            found.loc["write", "auroc"] > 0.8 and found.loc["write", "auprc"] > 2 * found.loc["unit", "auprc"]
        )


def overwriting_share(spans, direction):
    """Return the median forget share at the test boundaries of a cell that writes +-1 one base after each word.

    Counted in reading order: what is gone of c before offset -25 is c (1 - 0.98^n), when the write comes at offset 1.
    """
    shares = []
    for contig in TEST:
        words = sorted([(start, 1) for start, _ in spans[contig]] + [(end, -1) for _, end in spans[contig]])
        if direction == "rev":
            words = [(3000 - at, -sign) for at, sign in reversed(words)]
        for number, (at, sign) in enumerate(words):
            if sign > 0 and SHAPE.profile_bp <= at <= 3000 - SHAPE.profile_bp:
                last_read = at - SHAPE.dip_bp - 1
                before = sum(each * KEPT ** (last_read - place - 1) for place, each in words[:number])
                gone = abs(before) * (1 - KEPT ** (SHAPE.dip_bp + 2))
                shares.append(gone / (gone + 1))
    return np.median(shares)


#: What two averages of GC content keep at a base; the gate falls while the fast one is ahead of the slow one.
FAST, SLOW, STEEPNESS, AT_REST = 0.85, 0.97, 14.0, 5.0


def gc_follower():
    """Return a cell whose forget gate falls where the sequence becomes GC-rich, whatever begins there."""

    def average(kept):
        return {"i": {"bias": logit(1 - kept)}, "f": {"bias": logit(kept)}, "g": {"C": OPEN, "G": OPEN}}

    falls = {"bias": AT_REST, "h(fast)": -STEEPNESS, "h(slow)": STEEPNESS}
    memory = {"i": {"bias": OPEN}, "f": falls, "g": {"bias": math.atanh(WRITE)}}
    return hand_weighted("ACGT", [{"fast": average(FAST), "slow": average(SLOW), "memory": memory}])


def following_logits(sequence):
    """Return the forget logits of the follower's memory along a sequence, by its formula."""
    is_gc = np.isin(list(sequence), list("GC")).astype(float)
    fast, slow = (np.tanh(lfilter([1 - kept], [1, -kept], is_gc)) for kept in (FAST, SLOW))
    return AT_REST - STEEPNESS * np.concatenate([[0.0], fast - slow])[:-1]


def gc_steps(seed, length):
    """Draw a genome of GC-rich stretches, of which every other one is a region."""
    rng, spans, sequences = np.random.default_rng(seed), {}, {}
    for contig in (*TEST, *VALID):
        rich = draw_spans(rng, length, gaps=(600, 800), widths=(280, 400))
        gc = np.full(length, 0.1)
        for start, end in rich:
            gc[start:end] = 0.9
        sequences[contig] = random_bases(rng, length, gc)
        spans[contig] = rich[int(rng.integers(2)) :: 2]
    return Planted(sequences, as_regions(spans))


def test_gc_follower_is_composition_only(tmp_path):
    planted = gc_steps(3, 8000)
    answer = judge_by_hand(tmp_path, planted, gc_follower())
    store = UnitStore(tmp_path / "hand.trace", {contig: len(s) for contig, s in planted.sequences.items()})
    known = planted.sequences["test0"]
    np.testing.assert_allclose(store.logits("test0", 0, 2), following_logits(known), atol=1e-5)
    np.testing.assert_allclose(store.logits("test0", 1, 2), following_logits(known[::-1])[::-1], atol=1e-5)
    assert (answer.verdict["hypothesis"], answer.verdict["mode"]) == ("not supported", "composition only")
    for evidence in answer.verdict["directions"].values():
        assert (evidence["hypothesis"], evidence["mode"]) == ("not supported", "composition only")
        # at the regions alone one would take it for a reset
        assert evidence["r"] < RULE.reset_below and evidence["p_fwer"] == 1 / (SETTINGS["shifts"] + 1)
        assert evidence["modes"]["median_forget_share"] > RULE.reset_forget_share
        assert evidence["pseudo"]["r"] < RULE.reset_below


@pytest.mark.parametrize(
    "start", [{}, {"half_life_spectrum": "chrono", "resting_memory": 0.0}], ids=["ours", "chrono"]
)
def test_no_untrained_network_resets(tmp_path, start):
    write_genome(tmp_path, gc_steps(4, 6000))
    for seed in (1, 2):
        network = untrained(seed, stem="conv", hidden_units=8, **start)
        save_and_trace(tmp_path, f"net{seed}", network)
    for name, twin in (("net1", "net2"), ("net2", "net1")):
        answer = judge(tmp_path, name, twin)
        assert answer.verdict["hypothesis"] != "supported"
        # not for want of boundaries
        assert all(
            each["n_boundaries"] >= RULE.min_boundaries for each in answer.verdict["directions"].values()
        )
        assert answer.units["r"].min() > RULE.reset_below
        assert (answer.modes["erase"] < 0.5).all()
