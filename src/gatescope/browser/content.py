"""What does the report say about the sample and all runs together? Rows of words; looks are the template's.

Public names: `Table`, `inputs_table`, `runs_table`, `quality_table`, `folds_table`, `filters_table`,
`places_table`, `certificates_table`, `files_table`, `track_table`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gatescope.boundaries.profile import ProfileShape
from gatescope.browser.evidence import Record, RunEvidence, SampleEvidence, ScoredRun
from gatescope.browser.places import Place
from gatescope.browser.tracks import DIRECTION_WORDS
from gatescope.genome.contigs import name_list


@dataclass(frozen=True)
class Table:
    """Rows of text (or `Markup`) under `columns`, with a `title` above and a `note` below."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    title: str = ""


def inputs_table(sample: str, genome: Path, evidence: SampleEvidence) -> Table:
    """Say what was read."""
    lengths = evidence.meta["contigs"]
    rows = [
        ("sample", sample),
        ("genome", f"{genome.name}: {len(lengths)} contigs, {sum(lengths.values()):,} bp in use"),
    ]
    inputs = evidence.meta["inputs"]
    rows += [
        (f"{role.replace('_', ' ')} (file)", f"{inputs[role]['path']}, SHA-256 {inputs[role]['sha256'][:12]}")
        for role in inputs
    ]
    return Table((), rows)


def quality_table(preflight: Record, bias: Record) -> Table:
    """Say how good the data are, as preflight measured them, and how much of them is Tn5's preference."""
    genome, atac, peaks = preflight["genome"], preflight["atac"], preflight["peaks"]
    rows = [
        (
            "genome",
            f"{genome['bp']:,} bp",
            f"{_share(genome['unknown_share'])} unknown (N), GC {_share(genome['gc'])}",
        ),
        ("ATAC-seq", *_atac(atac)),
        (
            "cuts per base",
            f"{atac['cuts_per_bp']:.3g}",
            "mean over the genome; the more, the finer the detail that can be learned",
        ),
        (
            "peaks",
            f"{peaks['merged']:,}",
            f"after merging, median {peaks['median_bp']:,.0f} bp; {peaks['usable']:,} can be trained on",
        ),
        ("genome in peaks", _share(peaks["share_of_genome"]), f"{peaks['bp']:,} bp"),
        (
            "cuts in peaks (FRiP)",
            _share(atac["frip"]),
            "cuts spread evenly would give the share of the genome in peaks",
        ),
        (
            "Tn5 shift",
            atac["tn5_shift"],
            f"already in the read ends of the ATAC file: {atac['tn5_shift_evidence']['sentence']}",
        ),
        ("Tn5's preference", f"read from {bias['fitted_on']['cuts']:,} background cuts", bias["sentence"]),
    ]
    return Table(("what", "found", "in words"), rows)


def folds_table(preflight: Record) -> Table:
    """Say which contigs train, choose and report."""
    words = {
        "train": "training",
        "valid": "validation (chooses epoch and unit)",
        "test": "test (all scores and verdicts)",
    }
    rows = [
        (
            name,
            words.get(part, part),
            name_list(found["contigs"], 8),
            f"{found['bp']:,}",
            f"{found['peaks']:,}",
        )
        for name, parts in preflight["folds"].items()
        for part, found in parts.items()
    ]
    return Table(("fold", "part", "contigs", "bp", "peaks"), rows)


def runs_table(runs: Sequence[ScoredRun]) -> Table:
    """Say which networks were trained on what."""
    columns = (
        "run",
        "reads",
        "predicts",
        "units",
        "looks ahead",
        "test contigs",
        "validation contigs",
        "seed",
    )
    rows = []
    for run in runs:
        network, fold = run.model["network"], run.model["fold"]
        rows.append(
            (
                run.name,
                _words(network["inputs"]),
                _words(network["targets"]) + _given(network["bias"]),
                _units(network),
                f"{run.model['lookahead_bp']} bp",
                name_list(fold["test"]),
                name_list(fold["valid"]),
                run.model["seed"],
            )
        )
    names_training = any("train" in run.model["fold"] for run in runs)
    note = (
        "A run is one network: model, fold and seed. Contigs that are not named here were trained on, but for "
        "those shorter than a training window"
    ) + (", and those that are in no list of their fold." if names_training else ".")
    return Table(columns, rows, note)


def filters_table(meta: Record) -> Table:
    """Say what every step kept and dropped."""
    rows = [
        (step["step"], step["of"], f"{step['kept']:,}", f"{step['dropped']:,}", _why(step))
        for step in meta["filters"]
    ]
    return Table(("step", "of", "kept", "left out", "why left out"), rows)


def _why(step: Record) -> str:
    """Say why a step left something out, if it did, and what else there is to know."""
    return "; ".join(filter(None, [step["why"] if step["dropped"] else "", step["note"]]))


def places_table(places: Sequence[Place], shape: ProfileShape) -> Table:
    """List the boundaries of the genome view, measured with `shape`."""
    columns = ("boundary", "direction", "unit", "gate before", "lowest after", "falls by")
    rows = [
        (
            f"{place.chrom}:{place.position:,}",
            f"{place.direction} ({DIRECTION_WORDS[place.direction]})",
            place.unit,
            f"{place.before:.2f}",
            f"{place.lowest:.2f}",
            f"{place.fall:.2f}",
        )
        for place in places
    ]
    note = (
        "A boundary at position p lies between the bases p and p + 1 (counting from 1). Gate before: mean "
        f"over the bases read {shape.dip_bp + 1} to {shape.flank_bp} before it, counting from 1. Lowest after: "
        f"minimum over the first {shape.dip_bp} bases read beyond it."
    )
    return Table(columns, rows, note)


def certificates_table(runs: Sequence[RunEvidence]) -> Table:
    """Show the replay certificate of each run, as the trace stage wrote it."""
    columns = ("run", "largest difference", "allowed", "bases compared", "computed in", "weights (SHA-256)")
    rows = []
    for run in runs:
        certificate = run.summary["certificate"]
        rows.append(
            (
                run.name,
                f"{certificate['max_error']:.2g}",
                f"{certificate['tolerance']:.2g}",
                f"{certificate['positions']:,}",
                f"{certificate['dtype']}, {certificate['device']}",
                run.model["sha256"][:12],
            )
        )
    return Table(columns, rows)


def files_table() -> Table:
    """Say which file to open with what; paths relative to the results folder of the sample."""
    return Table(
        ("file", "what it is"),
        [
            ("browser/igv_session.xml", "the tracks in IGV: open it from this folder, no server needed"),
            (
                "browser/hub.txt",
                "track hub for the UCSC browser: put the results folder on a public https address first",
            ),
            ("trace/", "gate tracks (bigWig), each with a .json that states unit, direction and range"),
            ("atac/", "measured cuts (cuts.bw), and what Tn5 likes to cut (tn5_bias.bw), as bigWig"),
            ("model/", "weights, learning curve, scores and predictions of every run"),
            ("boundaries/", "profiles, tables of all units and verdicts"),
            ("design/", "designed sequences (FASTA) with predicted and measured retention"),
        ],
        "Paths are relative to the results folder of this sample.",
    )


def track_table(tracks: Sequence[tuple[str, str, str]]) -> Table:
    """Explain the tracks of the view, given as (name, meaning, colour)."""
    rows = [
        (Markup('<span class="swatch" style="background:{}"></span>{}').format(colour, name), meaning)
        for name, meaning, colour in tracks
    ]
    return Table(("track", "what it shows"), rows)


def _atac(atac: Record) -> tuple[str, str]:
    """Say what kind of data there is, and how much."""
    cuts = f"{atac['cuts']:,.0f} cuts"
    words = []
    if atac["fragments"] is not None:
        distinct = f"{atac['distinct_fragments']:,} of them distinct"
        words.append(f"two per fragment: {atac['fragments']:,} fragments, {distinct}")
    if atac["reads"] is not None:
        words.append(f"one per read: {atac['reads']:,} reads ({atac['kind']})")
    return cuts, "; ".join(words) or "counted before, from a bigWig"


def _units(network: Record) -> str:
    if network["trunk"] == "dilated":
        return (
            f"no gates: {network['stem_channels']} channels, {network['trunk_layers']} dilated convolutions"
        )
    units = f"{network['hidden_units']} per direction"
    return units if network["layers"] == 1 else f"{units}, {network['layers']} layers"


def _given(bias: str) -> str:
    return "" if bias == "none" else " (given what Tn5 likes to cut)"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _words(names: Sequence[str]) -> str:
    words = {"sequence": "DNA", "cuts": "ATAC cuts", "state": "open or not"}
    return ", ".join(words.get(name, name) for name in names)
