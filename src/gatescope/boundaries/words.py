"""How is a verdict said to a biologist? Sentences; the rule is in `rule.py`.

Public names: `run_sentence`, `overall_sentence`, `agreement_sentences`, `input_sentence`, `caveats`,
`track_sentence`, `track_caveats`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import (
    COMPOSITION,
    DIP,
    INCONCLUSIVE,
    NONE,
    NOT_SUPPORTED,
    OVERWRITE,
    SUPPORTED,
    DirectionEvidence,
    Judgement,
    VerdictRule,
)

_READING = {"fwd": "forward", "rev": "in reverse"}
_LEAD = {
    SUPPORTED: "when this network reads into an accessible region, it erases its memory",
    NOT_SUPPORTED: "this network does not erase its memory where it reads into an accessible region",
    INCONCLUSIVE: "it stays open whether this network erases its memory where a region begins",
}
_MODE = {
    DIP: "it lets go of a part",
    OVERWRITE: "it writes over it",
    COMPOSITION: "its gate follows the GC content, boundary or not",
    NONE: "its forget gate does there what it does elsewhere",
}
_CAVEATS = (
    "Boundaries are the edges of called peaks, often uncertain by about 100 bp: a fall that is sharp in each "
    "region looks shallower and wider in the mean.",
    "The gates belong to the first recurrent layer; they explain this network, not chromatin.",
)
_NOT_RUN = (
    "Provisional: a twin trained on rotated targets, shuffled flanks and interventions on the gate have not been run "
    "(boundaries: controls: full)."
)

_TRACKS_ALONE = (
    "Provisional, from gate tracks alone: no untrained twin, no sequence of like GC content, no writes and no inputs "
    "of the network are known, so that no fall can be called a dip or a reset."
)


def run_sentence(
    answer: tuple[str, str],
    judged: Mapping[str, Judgement],
    directions: Mapping[str, DirectionEvidence],
    tracks: Sequence[str],
    shape: ProfileShape,
    rule: VerdictRule,
    *,
    is_provisional: bool,
) -> str:
    """Say the verdict of a run in words that can be checked against the figure.

    Parameters
    ----------
    answer : (str, str)
        Hypothesis and mode of the run.
    judged, directions : mapping
        By direction name.
    tracks : sequence of str
        What the network reads beside DNA.
    shape : ProfileShape
    rule : VerdictRule
    is_provisional : bool
    """
    hypothesis, mode = answer
    but = f": {_MODE[mode]}" if hypothesis == NOT_SUPPORTED else ""
    lead = f"{hypothesis.capitalize()}{_tag(is_provisional)}: {_LEAD[hypothesis]}{but}."
    each = [
        _direction_sentence(name, directions[name], judged[name], shape, rule.interval_level)
        for name in directions
    ]
    return " ".join([lead, *each, input_sentence(tracks)])


def _tag(is_provisional: bool) -> str:
    return " (provisional)" if is_provisional else ""


def _direction_sentence(
    name: str, evidence: DirectionEvidence, judged: Judgement, shape: ProfileShape, level: float
) -> str:
    """Describe one direction: effect size, null, twins, controls, and the clause that decided."""
    mode = f", {judged.mode}" if judged.mode != NONE else ""
    parts = [
        f"Reading {_READING[name]} ({judged.hypothesis}{mode}: {judged.reason}): unit {evidence.unit} "
        f"{_effect_words(evidence, shape, level)}; {evidence.n_boundaries} boundaries of test contigs).",
        _chance_sentence(evidence),
        *_twin_sentences(evidence),
        _pseudo_sentence(evidence),
        _jitter_sentence(evidence),
        _profile_sentence(evidence),
        _mode_sentence(evidence),
    ]
    return " ".join(filter(None, parts))


def _effect_words(evidence: DirectionEvidence, shape: ProfileShape, level: float) -> str:
    """Say what is kept at a boundary and beside it, up to an open bracket."""
    near_bp = 2 * shape.dip_bp
    return (
        f"keeps {_share(evidence.kept_near)} of its memory over the {near_bp} bp around the boundary, where it keeps "
        f"{_share(evidence.kept_flank)} over {near_bp} bp of the flank (R, log2 of the ratio, is {evidence.r:.2f}, "
        f"{100 * level:g} % interval {evidence.r_low:.2f} to {evidence.r_high:.2f}"
    )


def _chance_sentence(evidence: DirectionEvidence) -> str:
    return (
        f"The same boundaries moved elsewhere give {evidence.null_r_low:.2f} to {evidence.null_r_high:.2f} "
        f"(95 % of shifts; p = {evidence.p_fwer:.3g}, corrected for {evidence.n_tests} tests)."
    )


def _profile_sentence(evidence: DirectionEvidence) -> str:
    return (
        f"The mean forget gate (1 keeps the memory, 0 erases it) {_moves(evidence.drop_test)}, from "
        f"{evidence.flank:.2f} before the boundary to its lowest, {evidence.forget_min:.2f} at {evidence.offset} bp "
        "beyond it."
    )


def _twin_sentences(evidence: DirectionEvidence) -> list[str]:
    """Give R of each twin."""
    names = dict.fromkeys(twin.twin for twin in evidence.twins)
    sentences = []
    for name in names:
        found = [
            f"{twin.r:.2f} in {'the same unit' if twin.is_same_index else f'its most falling unit {twin.unit}'}"
            for twin in evidence.twins
            if twin.twin == name
        ]
        sentences.append(f"The {name} network has R = {' and '.join(found)}.")
    return sentences


def _pseudo_sentence(evidence: DirectionEvidence) -> str:
    if evidence.pseudo is None:
        return "No other place has the GC content of a boundary."
    return (
        f"At {evidence.pseudo.n} places of like GC content and GC step that are no boundaries R = "
        f"{evidence.pseudo.r:.2f} (real minus these: {evidence.pseudo.low:.2f} to {evidence.pseudo.high:.2f})."
    )


def _jitter_sentence(evidence: DirectionEvidence) -> str:
    moved = ", ".join(f"{each.r:.2f} ({each.distance_bp} bp)" for each in evidence.jitter)
    return f"With each boundary moved to a random side R = {moved}." if moved else ""


def _mode_sentence(evidence: DirectionEvidence) -> str:
    modes = evidence.modes
    if modes is None:
        return ""
    return (
        f"The median forget share is {modes.median_forget_share:.2f}; memory is erased at "
        f"{_share(modes.erase)} of them, overwritten at {_share(modes.overwrite)}, and only gains at "
        f"{_share(modes.gain_only)} (overwritten or gaining at up to {_share(modes.rewritten_elsewhere)} of the same "
        "boundaries moved elsewhere)."
    )


def _share(kept: float) -> str:
    """Write a share of memory: 61 %, 0.3 %."""
    return f"{100 * kept:.2g} %" if kept < 0.995 else "100 %"


def _moves(drop: float) -> str:
    """Put a drop into words; a gate whose lowest value lies above its flank rises."""
    return f"falls by {drop:.2f}" if drop >= 0 else f"rises by {-drop:.2f}"


def input_sentence(tracks: Sequence[str]) -> str:
    """Say what the network was given, and what follows from it."""
    if not tracks:
        return "The network was given DNA alone."
    if "cuts" in tracks:
        return (
            "This gate can see the ATAC signal itself: that it dips where its own input steps is trivial, and says "
            "nothing about sequence grammar."
        )
    return (
        f"This gate can see the input tracks ({', '.join(tracks)}) beside the sequence: a dip where one of them steps "
        "is trivial, and says nothing about sequence grammar."
    )


def caveats(tracks: Sequence[str], lookahead_bp: int, *, is_provisional: bool) -> list[str]:
    """Return what a reader must know beside a verdict."""
    return [
        *([input_sentence(tracks)] if tracks else []),
        _ahead(lookahead_bp),
        *([_NOT_RUN] if is_provisional else []),
        *_CAVEATS,
    ]


def _ahead(lookahead_bp: int) -> str:
    return (
        f"The network looks {lookahead_bp} bp ahead of the base it reads: a fall up to that far before "
        "offset 0 is no foresight."
    )


def overall_sentence(
    answer: tuple[str, str], runs: Mapping[str, Sequence[Mapping[str, Any]]], *, is_provisional: bool
) -> str:
    """Say in one sentence what all runs show; `runs` are the verdicts of each input mode."""
    shown = {
        "sequence": "DNA alone",
        "sequence+tracks": "DNA beside tracks (a dip where these step is trivial, no grammar)",
    }
    parts = []
    for input_mode, each in runs.items():
        counts = Counter(_named(run["hypothesis"], run["mode"]) for run in each)
        counted = ", ".join(f"{found} in {n} of {len(each)} runs" for found, n in sorted(counts.items()))
        if len(each) == 1:
            counted = f"{_named(each[0]['hypothesis'], each[0]['mode'])} in the one run"
        if each:
            parts.append(f"{shown[input_mode]}: {counted}")
    return (
        f"{_named(*answer).capitalize()}{_tag(is_provisional)}: does a network erase its memory where it reads into "
        f"an accessible region? With {'; with '.join(parts)}."
    )


def agreement_sentences(agreement: pd.DataFrame, is_matched: bool) -> list[str]:
    """Say whether the units that runs have chosen are one and the same, as from `matching.chosen_agreement`."""
    if not is_matched:
        return []
    found = []
    for name in agreement["direction"].unique():
        agree = agreement.loc[agreement["direction"] == name, "agree"].to_numpy(bool)
        found.append(f"{agree.sum()} of {len(agree)} pairs of runs reading {_READING[name]}")
    return [f"The units that runs of one model have chosen do the same in {' and in '.join(found)}."]


def _named(hypothesis: str, mode: str) -> str:
    return hypothesis if mode == NONE else f"{hypothesis} ({mode})"


def track_sentence(
    answer: tuple[str, str],
    judged: Mapping[str, Judgement],
    directions: Mapping[str, DirectionEvidence],
    titles: Mapping[str, str],
    shape: ProfileShape,
    rule: VerdictRule,
) -> str:
    """Say the verdict on gate tracks alone, which is provisional; `titles` names the track of each direction."""
    hypothesis, mode = answer
    but = f": {_MODE[mode]}" if hypothesis == NOT_SUPPORTED else ""
    lead = f"{hypothesis.capitalize()}{_tag(True)}: {_LEAD[hypothesis]}{but}."
    each = [
        f"Reading {_READING[name]} ({judged[name].hypothesis}: {judged[name].reason}): {titles[name]} "
        f"{_effect_words(evidence, shape, rule.interval_level)}; {evidence.n_boundaries} boundaries). "
        f"{_chance_sentence(evidence)} {_jitter_sentence(evidence)} {_profile_sentence(evidence)}".replace(
            "  ", " "
        )
        for name, evidence in directions.items()
    ]
    return " ".join([lead, *each, _TRACKS_ALONE])


def track_caveats(resolution: float, lookahead_bp: int | None) -> list[str]:
    """Return what a reader must know beside a verdict on gate tracks; `resolution` is how far off rounding puts f."""
    ahead = (
        "How far the network looks ahead of the base it reads is not known: a fall before offset 0 may be no foresight."
        if lookahead_bp is None
        else _ahead(lookahead_bp)
    )
    return [
        _TRACKS_ALONE,
        f"The tracks are rounded: a gate lies up to {resolution:.2g} from what they say, and 1 counts as "
        f"1 - {resolution:.2g}. Where memory is kept longer than that, R is understated; its interval has room for "
        "what rounding may have hidden.",
        ahead,
        "Nothing in a track says which contigs the network was trained on: report on others.",
        *_CAVEATS,
    ]
