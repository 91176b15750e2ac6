"""The declared rule as a table, the words, and the collection over runs."""

import json
from dataclasses import replace

import pytest

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.verdict import (
    DirectionEvidence,
    RunFacts,
    VerdictRule,
    judge_direction,
    judge_run,
    verdict,
)
from gatescope.errors import InputError

RULE, SHAPE = VerdictRule(), ProfileShape()
RESET = DirectionEvidence(
    unit=5,
    drop_valid=0.62,
    drop_test=0.6,
    offset=3,
    lowest_offset=3,
    flank=0.9,
    forget_min=0.3,
    forget_min_low=0.25,
    forget_min_high=0.35,
    null_drop_high=0.04,
    p=0.001,
    p_fwer=0.001,
    twin_drop=0.003,
    twin_largest_drop=0.01,
    n_boundaries=250,
    n_boundaries_valid=120,
    n_units=64,
)
#: name, what differs from a clean reset, verdict, words that must appear in the reason
TABLE = [
    ("reset", {}, "supported", "absent from the untrained"),
    ("just deep enough", {"drop_test": 0.4, "p_fwer": 0.05, "twin_largest_drop": 0.049}, "supported", "deep"),
    ("significant without size", {"drop_test": 0.05}, "not supported", "small"),
    ("size without significance", {"p_fwer": 0.2}, "inconclusive", "not told apart from chance"),
    ("little size without significance", {"drop_test": 0.12, "p_fwer": 0.9}, "inconclusive", "chance"),
    ("neither size nor significance", {"drop_test": 0.05, "p_fwer": 0.9}, "not supported", "small"),
    (
        "untrained nets do it too",
        {"twin_largest_drop": 0.6},
        "not supported",
        "untrained network falls as far",
    ),
    ("nearly", {"twin_largest_drop": 0.58}, "not supported", "untrained network falls nearly as far"),
    ("untrained, p is large", {"twin_largest_drop": 0.7, "p_fwer": 0.9}, "not supported", "falls as far"),
    ("twin falls a little", {"twin_largest_drop": 0.1}, "inconclusive", "untrained network falls as well"),
    ("weak", {"drop_test": 0.25}, "inconclusive", "partial"),
    ("composition follower", {"drop_test": 0.16, "twin_largest_drop": 0.09}, "not supported", "untrained"),
    ("rising gate", {"drop_test": -0.3}, "not supported", "the gate rises"),
    ("few boundaries", {"n_boundaries": 12}, "inconclusive", "only 12 boundaries"),
    ("few and nothing", {"n_boundaries": 12, "drop_test": 0.0, "p_fwer": 0.9}, "inconclusive", "only 12"),
    ("same index is not the fair twin", {"twin_drop": 0.9}, "supported", "deep"),
    ("validation alone does not count", {"drop_valid": 0.9, "drop_test": 0.0}, "not supported", "small"),
]


def facts(*tracks, lookahead_bp=7):
    return RunFacts("sequence.f1.1", tracks, lookahead_bp, "ab" * 32, {"max_error": 1e-7})


@pytest.mark.parametrize(
    ("changes", "answer", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_rule(changes, answer, words):
    got, reason = judge_direction(replace(RESET, **changes), RULE, lookahead_bp=7)
    assert got == answer
    assert words in reason


def test_a_wide_stem_is_not_judged():
    answer, reason = judge_direction(RESET, RULE, lookahead_bp=11)
    assert answer == "inconclusive"
    assert "not interpretable at boundaries" in reason


@pytest.mark.parametrize(
    ("fwd", "rev", "answer"),
    [
        ({}, {}, "supported"),
        ({}, {"drop_test": 0.0}, "supported"),
        ({"drop_test": 0.0}, {"drop_test": 0.0}, "not supported"),
        ({"drop_test": 0.2}, {"drop_test": 0.0}, "inconclusive"),
    ],
)
def test_a_run_combines_its_directions(fwd, rev, answer):
    content = judge_run({"fwd": replace(RESET, **fwd), "rev": replace(RESET, **rev)}, facts(), RULE, SHAPE)
    assert content["verdict"] == answer
    assert content["provisional"] is True
    assert content["sentence"].startswith(f"{answer.capitalize()} (provisional)")
    json.dumps(content, allow_nan=False)


def test_the_sentence_names_effect_null_twin_and_input():
    sentence = judge_run({"fwd": RESET}, facts(), RULE, SHAPE)["sentence"]
    wanted = ["unit 5", "0.90", "0.30", "3 bp beyond", "falls by 0.60", "under 0.04", "p = 0.001", "64 units"]
    twin = "no unit of the untrained network that reads in this direction falls by more than 0.01"
    for words in [*wanted, twin, "DNA alone"]:
        assert words in sentence, words


def test_the_sentence_says_of_a_rising_gate_that_it_rises():
    rising = replace(RESET, drop_test=-0.3, flank=0.6, forget_min=0.9, twin_largest_drop=-0.02)
    sentence = judge_run({"fwd": rising}, facts(), RULE, SHAPE)["sentence"]
    assert "rises by 0.30, from 0.60 before the boundary to its lowest, 0.90 at 3 bp beyond it" in sentence
    assert "no unit of the untrained network that reads in this direction falls. " in sentence
    assert "-0." not in sentence


def test_a_gate_that_reads_the_atac_signal_says_nothing_about_grammar():
    content = judge_run({"fwd": RESET}, facts("cuts"), RULE, SHAPE)
    words = "This gate can see the ATAC signal itself; this says nothing about sequence grammar."
    assert words in content["sentence"]
    assert content["caveats"][0] == words
    assert content["input_mode"] == "sequence+tracks"
    assert "conservation" in judge_run({"fwd": RESET}, facts("conservation"), RULE, SHAPE)["sentence"]


def test_thresholds_are_those_of_the_rule():
    content = judge_run({"fwd": replace(RESET, drop_test=0.3)}, facts(), replace(RULE, min_drop=0.3), SHAPE)
    assert content["verdict"] == "supported"
    assert content["thresholds"]["min_drop"] == 0.3
    assert content["shape"] == {"profile_bp": 500, "flank_bp": 250, "dip_bp": 25}
    with pytest.raises(InputError, match="min_drop"):
        VerdictRule(min_drop=0.05)


def write_runs(folder, *answers):
    paths = []
    for number, (mode, answer) in enumerate(answers):
        paths.append(folder / f"{number}.json")
        content = {"run": f"{mode}.f1.{number}", "input_mode": mode, "verdict": answer, "sentence": "Words."}
        paths[-1].write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        ([("sequence", "supported"), ("sequence", "supported")], "supported"),
        ([("sequence", "supported"), ("sequence", "not supported")], "inconclusive"),
        ([("sequence", "not supported"), ("sequence+tracks", "supported")], "not supported"),
        ([("sequence+tracks", "supported")], "supported"),
    ],
)
def test_runs_that_read_dna_alone_decide(tmp_path, answers, answer):
    output = tmp_path / "boundaries" / "verdict.json"
    verdict(write_runs(tmp_path, *answers), output)
    content = json.loads(output.read_text())
    assert content["verdict"] == answer
    assert len(content["runs"]) == len(answers)
    assert "provisional" in content["sentence"]
    assert ("says nothing about sequence grammar" in content["sentence"]) == any(
        "tracks" in a for a, _ in answers
    )


def test_verdict_refuses_what_is_none(tmp_path):
    (tmp_path / "x.json").write_text('{"run": "a"}')
    with pytest.raises(
        InputError, match="no entry input_mode, verdict, sentence; name the verdict of one run"
    ):
        verdict([tmp_path / "x.json"], tmp_path / "out.json")
    with pytest.raises(InputError, match="does not exist"):
        verdict([tmp_path / "missing.json"], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
