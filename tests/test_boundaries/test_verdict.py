"""The declared rule as a table, the words, and the collection over runs."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import (
    DirectionEvidence,
    JitterEvidence,
    ModeEvidence,
    PseudoEvidence,
    TwinEvidence,
    VerdictRule,
    combine,
    judge_direction,
)
from gatescope.boundaries.verdict import RunFacts, judge_run, verdict
from gatescope.errors import InputError

RULE, SHAPE = VerdictRule(), ProfileShape()
ERASES = ModeEvidence(0.9, 0.04, 0.02, 0.04, median_forget_share=0.8, rewritten_elsewhere=0.3)
OVERWRITES = ModeEvidence(0.1, 0.6, 0.2, 0.1, median_forget_share=0.3, rewritten_elsewhere=0.4)
PSEUDO = PseudoEvidence(n=240, r=0.02, difference=-4.5, low=-4.9, high=-4.1, gc_step=0.1, real_gc_step=0.1)
TWIN = TwinEvidence(
    twin="untrained", unit=5, is_same_index=True, r=-0.02, difference=-4.48, low=-4.8, high=-4.1
)
LOWEST = replace(TWIN, unit=9, is_same_index=False, r=-0.3, difference=-4.2, low=-4.5, high=-3.9)
JITTER = tuple(JitterEvidence(bp, 250, r) for bp, r in ((25, -2.2), (100, -0.1), (500, 0.05)))
RESET = DirectionEvidence(
    unit=5,
    is_eligible=True,
    half_life_bp=70.0,
    r_valid=-4.6,
    r=-4.5,
    r_low=-4.8,
    r_high=-4.2,
    r_low_95=-4.9,
    r_high_95=-4.1,
    kept_near=0.027,
    kept_flank=0.61,
    null_r_low=-0.22,
    null_r_high=0.24,
    z=-30.0,
    p=0.001,
    p_fwer=0.001,
    n_tests=256,
    dip_test=-0.2,
    cohens_d=-2.5,
    drop_test=0.6,
    offset=3,
    lowest_offset=3,
    flank=0.9,
    forget_min=0.3,
    forget_min_low=0.25,
    forget_min_high=0.35,
    twins=(TWIN, LOWEST),
    pseudo=PSEUDO,
    jitter=JITTER,
    modes=ERASES,
    n_boundaries=250,
    n_boundaries_valid=120,
    n_blocks=30,
)


def effect(r, half=0.3):
    return {"r": r, "r_low": r - half, "r_high": r + half}


def with_pseudo(**changes):
    return {"pseudo": replace(PSEUDO, **changes)}


#: name, what differs from a clean reset, hypothesis, mode, words that must appear in the reason
TABLE = [
    ("reset", {}, "supported", "reset", "by forgetting"),
    ("just deep enough", effect(-3.3) | {"p_fwer": 0.05}, "supported", "reset", "deep"),
    ("dip", effect(-3.29), "not supported", "dip", "no reset"),
    ("shallow dip", effect(-0.5, 0.1), "not supported", "dip", "no reset"),
    ("dip, share unknown", effect(-2.0) | {"modes": None}, "not supported", "dip", "no reset"),
    ("deep, share unknown", {"modes": None}, "inconclusive", "none", "forget share is not known"),
    ("overwrite", {"modes": OVERWRITES}, "not supported", "overwrite", "written over"),
    ("overwrite with a dip", effect(-1.0) | {"modes": OVERWRITES}, "not supported", "overwrite", "over"),
    ("overwrite, gate open", effect(0.0) | {"modes": OVERWRITES}, "not supported", "overwrite", "stays open"),
    (
        "share of one half is not enough",
        {"modes": replace(ERASES, median_forget_share=0.5)},
        "not supported",
        "dip",
        "not forgetting",
    ),
    ("no effect", effect(0.1), "not supported", "none", "no effect"),
    ("no effect, p is small", effect(-0.15), "not supported", "none", "no effect"),
    ("no effect, twin as well", effect(0.0) | {"twins": (replace(TWIN, high=0.2),)}, "not supported", "none",
     "no effect"),
    ("no effect, interval too wide", effect(0.1, 0.5), "inconclusive", "none", "forgets less"),
    ("small, interval too wide", effect(-0.3), "inconclusive", "none", "nor shown to be none"),
    ("interval up to the bound", {"r": 0.0, "r_low": -0.5, "r_high": 0.2}, "inconclusive", "none", "neither"),
    ("rising gate", effect(2.0), "inconclusive", "none", "forgets less"),
    ("size without significance", {"p_fwer": 0.2}, "inconclusive", "none", "not told apart from chance"),
    ("untrained nets do it too", {"twins": (replace(TWIN, high=0.0),)}, "inconclusive", "none", "untrained"),
    (
        "another unit of the twin",
        {"twins": (TWIN, replace(LOWEST, high=0.3))},
        "inconclusive",
        "none",
        "untrained network is not clearly less",
    ),
    (
        "the trained twin",
        {"twins": (TWIN, replace(TWIN, twin="shuffled", high=0.1))},
        "inconclusive",
        "none",
        "shuffled network",
    ),
    ("composition", with_pseudo(r=-4.4, difference=-0.1, low=-0.4, high=0.2), "not supported",
     "composition only", "like GC content"),
    ("composition in a dip", effect(-1.0) | with_pseudo(r=-0.9, difference=-0.1, low=-0.3, high=0.1),
     "not supported", "composition only", "like GC content"),
    ("composition, but for what is none", with_pseudo(r=-4.0, difference=-0.5, low=-0.6, high=-0.4),
     "not supported", "composition only", "like GC content"),
    ("composition and twin", with_pseudo(r=-4.4, high=0.2) | {"twins": (replace(TWIN, high=0.1),)},
     "not supported", "composition only", "like GC content"),
    ("composition for a part", with_pseudo(r=-2.0, difference=-2.5, low=-2.8, high=-2.2), "inconclusive",
     "none", "a part of it comes with the GC content"),
    ("few pseudo-boundaries say little", with_pseudo(high=0.2), "inconclusive", "none", "not told apart"),
    ("too few pseudo-boundaries", with_pseudo(n=12), "inconclusive", "none", "too few places"),
    ("no pseudo-boundaries", {"pseudo": None}, "inconclusive", "none", "too few places"),
    ("moved boundaries do as well", {"jitter": (JitterEvidence(500, 250, -2.3),)}, "inconclusive", "none",
     "moved by 500 bp"),
    ("few boundaries", {"n_boundaries": 12}, "inconclusive", "none", "only 12 boundaries"),
    ("few and nothing", effect(0.0) | {"n_boundaries": 12}, "inconclusive", "none", "only 12"),
    ("few blocks", {"n_blocks": 9}, "inconclusive", "none", "only 9 blocks"),
    ("no memory to lose", {"is_eligible": False}, "inconclusive", "none", "holds its memory for 25 bp"),
    ("validation alone does not count", effect(0.0) | {"r_valid": -5.0}, "not supported", "none", "no effect"),
]  # fmt: skip


def facts(*tracks, lookahead_bp=7, controls="quick"):
    return RunFacts("sequence.f1.1", tracks, lookahead_bp, "ab" * 32, {"max_error": 1e-7}, controls)


@pytest.mark.parametrize(
    ("changes", "hypothesis", "mode", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_rule(changes, hypothesis, mode, words):
    got = judge_direction(replace(RESET, **changes), RULE, lookahead_bp=7)
    assert got[:2] == (hypothesis, mode)
    assert words in got.reason


def test_a_wide_stem_is_not_judged():
    got = judge_direction(RESET, RULE, lookahead_bp=11)
    assert got[:2] == ("inconclusive", "none")
    assert "not interpretable at boundaries" in got.reason


DIP, NOTHING, OPEN = effect(-2.0), effect(0.0), {"p_fwer": 0.5}


@pytest.mark.parametrize(
    ("fwd", "rev", "answer"),
    [
        ({}, {}, ("supported", "reset")),
        ({}, NOTHING, ("supported", "reset")),
        (NOTHING, NOTHING, ("not supported", "none")),
        (NOTHING, DIP, ("not supported", "dip")),
        (DIP, {"modes": OVERWRITES}, ("not supported", "overwrite")),
        (NOTHING, OPEN, ("inconclusive", "none")),
        (DIP, OPEN, ("inconclusive", "none")),
    ],
)
def test_a_run_combines_its_directions(fwd, rev, answer):
    content = judge_run({"fwd": replace(RESET, **fwd), "rev": replace(RESET, **rev)}, facts(), RULE, SHAPE)
    assert (content["hypothesis"], content["mode"]) == answer
    assert content["provisional"] is True
    assert content["sentence"].startswith(f"{answer[0].capitalize()} (provisional)")
    json.dumps(content, allow_nan=False)


def test_every_number_behind_the_answer_is_there():
    content = json.loads(json.dumps(judge_run({"fwd": RESET}, facts(), RULE, SHAPE)))
    found = content["directions"]["fwd"]
    assert found["twins"][1] == asdict(LOWEST)
    assert found["pseudo"]["high"] == -4.1 and found["modes"]["median_forget_share"] == 0.8
    assert [each["distance_bp"] for each in found["jitter"]] == [25, 100, 500]
    assert content["thresholds"]["reset_below"] == -3.3 and content["input_mode"] == "sequence"


def test_full_controls_are_not_provisional():
    content = judge_run({"fwd": RESET}, facts(controls="full"), RULE, SHAPE)
    assert content["provisional"] is False
    assert content["sentence"].startswith("Supported: ")
    assert not any("Provisional" in each for each in content["caveats"])
    quick = judge_run({"fwd": RESET}, facts(), RULE, SHAPE)
    assert any("Provisional" in each for each in quick["caveats"])


def test_the_sentence_names_effect_null_twin_controls_and_input():
    sentence = judge_run({"fwd": RESET}, facts(), RULE, SHAPE)["sentence"]
    for words in (
        "unit 5 keeps 2.7 % of its memory over the 50 bp around the boundary, where it keeps 61 % over 50 bp of the "
        "flank (R, log2 of the ratio, is -4.50, 90 % interval -4.80 to -4.20; 250 boundaries of test contigs)",
        "moved elsewhere give -0.22 to 0.24 (95 % of shifts; p = 0.001, corrected for 256 tests)",
        "The untrained network has R = -0.02 in the same unit and -0.30 in its most falling unit 9.",
        "At 240 places of like GC content and GC step that are no boundaries R = 0.02",
        "With each boundary moved to a random side R = -2.20 (25 bp), -0.10 (100 bp), 0.05 (500 bp).",
        "falls by 0.60, from 0.90 before the boundary to its lowest, 0.30 at 3 bp beyond it",
        "The median forget share is 0.80; memory is erased at 90 % of them, overwritten at 4 %, and only gains at 2 %",
        "DNA alone",
    ):
        assert words in sentence, words


def test_the_sentence_says_of_a_rising_gate_that_it_rises():
    rising = replace(RESET, **effect(1.0), drop_test=-0.3, flank=0.6, forget_min=0.9, kept_near=0.9999)
    sentence = judge_run({"fwd": rising}, facts(), RULE, SHAPE)["sentence"]
    assert "rises by 0.30, from 0.60 before the boundary to its lowest, 0.90 at 3 bp beyond it" in sentence
    assert "keeps 100 % of its memory" in sentence


def test_what_is_written_over_everywhere_is_not_said_of_boundaries():
    """Four boundaries in five are overwritten or gain: as many as where the boundaries are moved elsewhere."""
    often = replace(OVERWRITES, rewritten_elsewhere=0.8)
    for modes, mode in ((OVERWRITES, "overwrite"), (often, "none")):
        content = judge_run({"fwd": replace(RESET, **{**NOTHING, "modes": modes})}, facts(), RULE, SHAPE)
        assert (content["hypothesis"], content["mode"]) == ("not supported", mode)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (DIP, "it lets go of a part"),
        ({"modes": OVERWRITES}, "it writes over it"),
        (NOTHING, "does there what it does elsewhere"),
        (with_pseudo(r=-4.4, high=0.2), "follows the GC content"),
    ],
)
def test_the_sentence_says_what_it_is_instead(changes, words):
    assert words in judge_run({"fwd": replace(RESET, **changes)}, facts(), RULE, SHAPE)["sentence"]


def test_what_is_not_known_is_not_said():
    unknown = replace(RESET, pseudo=None, modes=None, jitter=())
    sentence = judge_run({"fwd": unknown}, facts(), RULE, SHAPE)["sentence"]
    assert "No other place has the GC content of a boundary." in sentence
    assert "forget share" not in sentence and "random side" not in sentence


def test_a_gate_that_reads_the_atac_signal_says_nothing_about_grammar():
    content = judge_run({"fwd": RESET}, facts("cuts"), RULE, SHAPE)
    words = (
        "This gate can see the ATAC signal itself: that it dips where its own input steps is trivial, and says "
        "nothing about sequence grammar."
    )
    assert words in content["sentence"]
    assert content["caveats"][0] == words
    assert content["input_mode"] == "sequence+tracks"
    assert "conservation" in judge_run({"fwd": RESET}, facts("conservation"), RULE, SHAPE)["sentence"]


def test_thresholds_are_those_of_the_rule():
    rule = replace(RULE, reset_below=-2.0)
    content = judge_run({"fwd": replace(RESET, **DIP)}, facts(), rule, SHAPE)
    assert content["hypothesis"] == "supported"
    assert content["thresholds"]["reset_below"] == -2.0
    assert content["shape"] == {"profile_bp": 500, "flank_bp": 250, "dip_bp": 25}
    with pytest.raises(InputError, match="dip_below"):
        VerdictRule(dip_below=-0.4)


def test_combine_needs_all_but_for_directions_of_a_run():
    supported, dip, nothing = ("supported", "reset"), ("not supported", "dip"), ("not supported", "none")
    assert combine([supported, dip], one_is_enough=True) == supported
    assert combine([supported, dip], one_is_enough=False) == ("inconclusive", "none")
    assert combine([nothing, dip], one_is_enough=False) == dip


def write_runs(folder, *answers):
    paths = []
    for number, (input_mode, answer, mode) in enumerate(answers):
        paths.append(folder / f"{number}.json")
        content = {"run": f"{input_mode}.f1.{number}", "input_mode": input_mode, "hypothesis": answer}
        content["directions"] = {"fwd": {"unit": 0}, "rev": {"unit": 1}}
        content |= {"mode": mode, "provisional": True, "sentence": "Words."}
        paths[-1].write_text(json.dumps(content))
    return paths


YES, NO, PART = ("supported", "reset"), ("not supported", "none"), ("not supported", "dip")


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        ([("sequence", *YES), ("sequence", *YES)], YES),
        ([("sequence", *YES), ("sequence", *NO)], ("inconclusive", "none")),
        ([("sequence", *PART), ("sequence", *NO)], PART),
        ([("sequence", *NO), ("sequence", "inconclusive", "none")], ("inconclusive", "none")),
        ([("sequence", *NO), ("sequence+tracks", *YES)], NO),
        ([("sequence+tracks", *YES)], YES),
    ],
)
def test_runs_that_read_dna_alone_decide(tmp_path, answers, answer):
    output = tmp_path / "boundaries"
    verdict(write_runs(tmp_path, *answers), output)
    content = json.loads((output / "verdict.json").read_text())
    assert pd.read_csv(output / "unit_matches.tsv", sep="\t").empty
    assert (content["hypothesis"], content["mode"]) == answer
    assert len(content["runs"]) == len(answers)
    assert "provisional" in content["sentence"]
    assert ("is trivial" in content["sentence"]) == any("tracks" in each[0] for each in answers)


def test_verdict_refuses_what_is_none(tmp_path):
    (tmp_path / "x.json").write_text('{"run": "a"}')
    with pytest.raises(
        InputError, match="no entry input_mode, hypothesis, mode, sentence, provisional, directions; name"
    ):
        verdict([tmp_path / "x.json"], tmp_path / "out")
    with pytest.raises(InputError, match="entry mode is 'erased'; name the verdict of one run"):
        verdict(write_runs(tmp_path, ("sequence", "supported", "erased")), tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        verdict([tmp_path / "missing.json"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_sample(path, sha256, logits, contigs=("one",)):
    """Write a sample of units, (D, H, n), at n bases of the first contig."""
    n = logits.shape[-1]
    np.savez(
        path,
        model_sha256=sha256,
        contigs=list(contigs),
        contig=np.zeros(n, np.int64),
        position=np.arange(n) * 7,
        forget_logit=logits.astype(np.float32),
        write=logits.astype(np.float32),
    )
    return path


def test_chosen_units_are_the_same_where_they_do_the_same(tmp_path):
    """Two seeds with the same units in another order: fwd has chosen the same unit in both, rev another one."""
    logits = np.random.default_rng(0).normal(size=(2, 3, 400))
    renumbered = logits[:, [2, 0, 1]]  # unit 0 of the first run is unit 1 of the second
    paths = write_runs(tmp_path, ("sequence", *YES), ("sequence", *YES))
    for path, fwd in zip(paths, (0, 1), strict=True):
        content = json.loads(path.read_text())
        content["directions"] = {"fwd": {"unit": fwd}, "rev": {"unit": 0}}
        path.write_text(json.dumps(content))
    samples = [
        write_sample(tmp_path / "a.npz", "aa" * 32, logits),
        write_sample(tmp_path / "b.npz", "bb" * 32, renumbered),
    ]
    verdict(paths, tmp_path / "out", samples=samples)
    content = json.loads((tmp_path / "out/verdict.json").read_text())
    assert {row["direction"]: row["agree"] for row in content["chosen_units"]} == {"fwd": True, "rev": False}
    assert (
        "1 of 1 pairs of runs reading forward and in 0 of 1 pairs of runs reading in reverse"
        in content["sentence"]
    )
    matches = pd.read_csv(tmp_path / "out/unit_matches.tsv", sep="\t")
    pairs = matches[matches.direction == "fwd"][["unit", "other_unit"]].to_numpy().tolist()
    assert pairs == [[0, 1], [1, 2], [2, 0]] and matches.same.all()


def test_runs_without_bases_in_common_are_not_matched(tmp_path, caplog):
    logits = np.random.default_rng(0).normal(size=(2, 3, 400))
    samples = [write_sample(tmp_path / f"{name}.npz", 32 * name, logits, (name,)) for name in ("aa", "bb")]
    verdict(write_runs(tmp_path, ("sequence", *YES), ("sequence", *YES)), tmp_path / "out", samples=samples)
    content = json.loads((tmp_path / "out/verdict.json").read_text())
    assert content["chosen_units"] == [] and "chosen" not in content["sentence"]
    assert "are not matched" in caplog.text


def test_three_seeds_and_two_folds_with_full_controls_are_not_provisional(tmp_path):
    names = [f"sequence.{fold}.{seed}" for fold in ("f1", "f2") for seed in (1, 2, 3)]
    paths = write_runs(tmp_path, *[("sequence", *NO)] * 6)
    for path, name in zip(paths, names, strict=True):
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": name, "provisional": False}))
    for some, is_provisional in ((paths, False), (paths[:3], True), (paths[::3], True)):
        verdict(some, tmp_path / "out")
        assert json.loads((tmp_path / "out/verdict.json").read_text())["provisional"] == is_provisional


def test_what_holding_gates_has_shown_stands_beside_the_run(tmp_path):
    paths = write_runs(tmp_path, ("sequence", *YES), ("sequence", *NO))
    (tmp_path / "clamp.json").write_text('{"run": "sequence.f1.1", "sentences": ["It matters."]}')
    verdict(paths, tmp_path / "out", clamps=[tmp_path / "clamp.json"])
    runs = json.loads((tmp_path / "out/verdict.json").read_text())["runs"]
    assert [run["clamp"] for run in runs] == [None, ["It matters."]]
