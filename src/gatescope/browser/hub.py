"""How does a person open the gates in UCSC and in IGV? One hub.txt, one session, links to the tracks.

Public names: `hub`.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gatescope.browser.bed import RegionFile, region_files, write_region_file
from gatescope.browser.igv import write_session
from gatescope.browser.places import strongest_places
from gatescope.browser.tracks import (
    GATE_WORDS,
    Track,
    check_track,
    gate_tracks,
    link_from,
    prediction_tracks,
    sample_tracks,
)
from gatescope.browser.twobit import write_twobit
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.figures import GATE_COLOURS, rgb
from gatescope.files import replacing_file
from gatescope.genome.fasta import Genome

log = logging.getLogger(__name__)

#: What UCSC shows of a label without cutting it.
_SHORT, _LONG = 19, 69
_OPENING_BP = 2000
_WINDOWING = {"mean": "mean", "min": "minimum", "max": "maximum"}
_AGGREGATIONS = {"boundary_unit": "unit that answers most to boundaries", "mean": "mean over all units"}
#: Shown at once; the others are a click away.
_OPEN = {
    ("forget_gate", "boundary_unit"),
    ("forget_gate", "mean"),
    ("input_gate", "mean"),
    ("output_gate", "mean"),
}

Stanza = list[tuple[str, str]]


def hub(
    sample: str, results: Path | str, genome: Path | str, runs: Sequence[str], *, ucsc_genome: str = ""
) -> None:
    """Write ``browser/hub.txt``, ``browser/igv_session.xml`` and the region files they link to.

    Links are relative and stay inside the results folder, so that the folder can be moved or served whole;
    only the session names the FASTA by its absolute path where that lies elsewhere.

    Parameters
    ----------
    sample : str
        Name of the sample, as a person reads it.
    results : path
        Results folder of the sample.
    genome : path
        Genome file that the results were made from.
    runs : sequence of str
        At least one. The session shows the first in full, of the others the boundary units and predictions.
    ucsc_genome : str
        Name of the assembly at UCSC, such as ``sacCer3``. Empty: UCSC does not host it, and the genome is
        written as ``browser/genome.2bit`` for an assembly hub.

    Raises
    ------
    InputError
        If the genome is not the one that was encoded, a track is missing or belongs to another genome, or no boundary
        can be shown; nothing is written.

    References
    ----------
    UCSC, https://genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html
    """
    results = Path(results)
    reference = Genome(genome)
    lengths = reference.lengths
    for track in [*sample_tracks(results), *(track for run in runs for track in _tracks_of(results, run))]:
        check_track(track, lengths, genome)
    EncodedStore(results / "data" / "encoded").require_genome(genome)
    regions = region_files(results, lengths)
    locus = strongest_places(results, runs[0], 1)[0].locus(lengths, _OPENING_BP)
    stanzas = [*_header(sample, ucsc_genome, locus), *_track_stanzas(results, runs, regions)]
    _refuse_same_names(stanzas)
    # the assembly first: what does not fit in a .2bit shows while it is written
    if not ucsc_genome:
        write_twobit(results / "browser" / "genome.2bit", reference)
    for file in regions:
        write_region_file(file, lengths)
    with replacing_file(results / "browser" / "hub.txt") as partial:
        partial.write_text(_render(stanzas), encoding="utf-8")
    write_session(results, genome, runs, regions, locus)
    log.info(
        "hub.txt: %d tracks; UCSC reads it from a public https address with byte ranges only",
        len(stanzas) - 2,
    )
    log.info("igv_session.xml: opens in IGV from this folder, at %s", locus)


def _tracks_of(results: Path, run: str) -> list[Track]:
    """Return every track of a run."""
    gates = [
        gate_tracks(results, run, gate, aggregation) for gate in GATE_WORDS for aggregation in _AGGREGATIONS
    ]
    return [*(track for pair in gates for track in pair), *prediction_tracks(results, run)]


def _header(sample: str, ucsc_genome: str, locus: str) -> list[Stanza]:
    """Return the hub stanza and the genome stanza."""
    hub_stanza = [
        ("hub", f"gatescope_{_slug(sample)}"),
        ("shortLabel", _cut(sample, _SHORT)),
        ("longLabel", _cut(f"gatescope: gates of a recurrent network, {sample}", _LONG)),
        ("useOneFile", "on"),
        ("email", "nobody@example.org"),  # UCSC demands one; we do not know the user's
    ]
    if ucsc_genome:
        return [hub_stanza, [("genome", ucsc_genome)]]
    assembly = [
        ("genome", f"gatescope_{_slug(sample)}"),
        ("twoBitPath", "genome.2bit"),
        ("organism", _cut(sample, _SHORT)),
        ("scientificName", _cut(sample, _LONG)),
        ("description", _cut(f"genome of sample {sample}", _LONG)),
        ("defaultPos", locus),
    ]
    return [hub_stanza, assembly]


def _track_stanzas(results: Path, runs: Sequence[str], regions: Sequence[RegionFile]) -> list[Stanza]:
    """Return the stanzas of every run, then those of the sample."""
    of_runs = [_run_stanzas(results, run, is_first=number == 0) for number, run in enumerate(runs)]
    return [
        *(stanza for stanzas in of_runs for stanza in stanzas),
        *(_region_stanza(file) for file in regions),
        *(_signal_stanza(results, f"sample {track.label}", track) for track in sample_tracks(results)),
    ]


def _run_stanzas(results: Path, run: str, *, is_first: bool) -> list[Stanza]:
    """Return one super track with a container per gate, and the predictions; only the first run is open."""
    parent = f"run {run}"
    top = [
        ("track", _slug(parent)),
        ("superTrack", "on show" if is_first else "on"),
        ("shortLabel", _cut(run, _SHORT)),
        ("longLabel", _cut(f"run {run}: gates and predictions", _LONG)),
    ]
    stanzas = [top]
    for gate in GATE_WORDS:
        for aggregation in _AGGREGATIONS:
            stanzas += _container(results, run, gate, aggregation, parent)
    for track in prediction_tracks(results, run):
        stanzas.append(_signal_stanza(results, f"{parent} {track.label}", track, ("parent", _slug(parent))))
    return stanzas


def _container(results: Path, run: str, gate: str, aggregation: str, parent: str) -> list[Stanza]:
    """Overlay both directions of one gate."""
    word = gate.removesuffix("_gate")
    name = f"{parent} {gate} {aggregation}"
    container = [
        ("track", _slug(name)),
        ("parent", _slug(parent)),
        ("container", "multiWig"),
        ("type", "bigWig 0 1"),
        ("shortLabel", f"{word}, {'mean' if aggregation == 'mean' else 'one unit'}"),
        ("longLabel", f"{word} gate, {_AGGREGATIONS[aggregation]}, fwd and rev"),
        ("aggregate", "transparentOverlay"),
        ("showSubtrackColorOnUi", "on"),
        ("color", rgb(GATE_COLOURS[gate])),
        *_scale(gate_tracks(results, run, gate, aggregation)[0]),
        ("visibility", "full" if (gate, aggregation) in _OPEN else "hide"),
    ]
    children = [
        [
            ("track", _slug(f"{name} {track.direction}")),
            ("parent", _slug(name)),
            ("type", "bigWig 0 1"),
            ("shortLabel", _cut(track.short, _SHORT)),
            ("longLabel", _cut(track.meaning, _LONG)),
            ("color", rgb(track.colour)),
            ("bigDataUrl", link_from(results / "browser", track.path)),
        ]
        for track in gate_tracks(results, run, gate, aggregation)
    ]
    return [container, *children]


def _signal_stanza(results: Path, name: str, track: Track, *parent: tuple[str, str]) -> Stanza:
    """Return a bigWig of its own."""
    return [
        ("track", _slug(name)),
        *parent,
        ("type", "bigWig" if track.limits is None else f"bigWig {track.limits[0]:g} {track.limits[1]:g}"),
        ("shortLabel", _cut(track.short, _SHORT)),
        ("longLabel", _cut(track.meaning, _LONG)),
        ("color", rgb(track.colour)),
        *_scale(track),
        ("visibility", "full"),
        ("bigDataUrl", link_from(results / "browser", track.path)),
    ]


def _region_stanza(file: RegionFile) -> Stanza:
    """Return a bigBed of its own; it lies beside the hub."""
    return [
        ("track", _slug(f"sample {file.label}")),
        ("type", "bigBed 9"),
        ("shortLabel", _cut(file.label, _SHORT)),
        ("longLabel", _cut(file.meaning, _LONG)),
        ("itemRgb", "on"),
        ("visibility", "dense"),
        ("bigDataUrl", file.bigbed.name),
    ]


def _scale(track: Track) -> Stanza:
    """Fix the scale where a track has one: autoscale makes a small gate look like a large one."""
    if track.limits is None:
        limits = [("autoScale", "on"), ("alwaysZero", "on")]
    else:
        limits = [("autoScale", "off"), ("viewLimits", f"{track.limits[0]:g}:{track.limits[1]:g}")]
    return [
        *limits,
        ("maxHeightPixels", "100:50:8"),
        ("windowingFunction", _WINDOWING[track.window_function]),
    ]


def _render(stanzas: list[Stanza]) -> str:
    """Write one setting per line and a blank line between stanzas."""
    return "\n".join("".join(f"{key} {value}\n" for key, value in stanza) for stanza in stanzas)


def _refuse_same_names(stanzas: list[Stanza]) -> None:
    """Two runs whose names differ in punctuation only would hide each other."""
    names = [stanza[0][1] for stanza in stanzas if stanza[0][0] == "track"]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"two runs become {twice[0]!r} in the hub", where="runs", remedy="rename one of the models"
        )


def _slug(text: str) -> str:
    """Turn words into a UCSC name: letters, digits, underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "sample"


def _cut(text: str, most: int) -> str:
    """Put a label on one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "~"
