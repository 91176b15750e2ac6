"""How does IGV open everything at once? A session file that the desktop program and igv.js both read.

Public names: `write_session`.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from gatescope.browser.bed import RegionFile
from gatescope.browser.tracks import Track, gate_tracks, link_from, prediction_tracks, sample_tracks
from gatescope.figures import rgb
from gatescope.files import replacing_file

_GATE_HEIGHT, _REGION_HEIGHT = 40, 30


def write_session(
    results: Path, genome: Path | str, runs: Sequence[str], regions: Sequence[RegionFile], locus: str
) -> None:
    """Write ``browser/igv_session.xml``.

    Of the first run it shows the boundary units' forget gates, the means of all gates and the predictions; of
    the others only the boundary units' forget gates and the predictions.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    genome : path
        FASTA or .2bit, named relative to the session where it lies in the results folder, else by its absolute path.
        A FASTA that is gzip but not bgzip cannot be opened by IGV: the session then names
        ``browser/genome.2bit`` if that was written.
    runs : sequence of str
    regions : sequence of RegionFile
        In the order to show them.
    locus : str
        Where to open, ``chrom:start-end``, 1-based.

    References
    ----------
    https://igv.org/doc/desktop/#UserGuide/sessions/
    """
    folder = results / "browser"
    session = ElementTree.Element(
        "Session", genome=_reference(results, Path(genome)), locus=locus, version="8"
    )
    resources = ElementTree.SubElement(session, "Resources")
    panel = ElementTree.SubElement(session, "Panel", name="DataPanel")
    for track, name in _named_tracks(results, runs):
        _add_resource(resources, link_from(folder, track.path), "bw")
        _add_signal(panel, link_from(folder, track.path), track, name)
    for file in regions:
        _add_resource(resources, file.bed.name, "bed")
        ElementTree.SubElement(
            panel,
            "Track",
            _look(file.bed.name, file.label, file.colour, _REGION_HEIGHT),
            displayMode="COLLAPSED",
        )
    ElementTree.indent(session, "  ")
    with replacing_file(folder / "igv_session.xml") as partial:
        ElementTree.ElementTree(session).write(partial, encoding="UTF-8", xml_declaration=True)


def _named_tracks(results: Path, runs: Sequence[str]) -> list[tuple[Track, str]]:
    """Return each track with its name: gates, predictions, measured cuts."""
    named: list[tuple[Track, str]] = []
    for number, run in enumerate(runs):
        shown = gate_tracks(results, run, "forget_gate", "boundary_unit")
        if number == 0:
            for gate in ("forget_gate", "input_gate", "output_gate"):
                shown += gate_tracks(results, run, gate, "mean")
        shown += prediction_tracks(results, run)
        named += [(track, track.label if len(runs) == 1 else f"{track.label} ({run})") for track in shown]
    return named + [(track, track.label) for track in sample_tracks(results)]


def _add_resource(resources: ElementTree.Element, link: str, kind: str) -> None:
    ElementTree.SubElement(resources, "Resource", path=link, type=kind)


def _add_signal(panel: ElementTree.Element, link: str, track: Track, name: str) -> None:
    """Add a bigWig; a scale of its own only where one is fixed (autoscaleGroup would override it)."""
    element = ElementTree.SubElement(
        panel,
        "Track",
        _look(link, name, track.colour, _GATE_HEIGHT),
        autoScale=str(track.limits is None).lower(),
        renderer="BAR_CHART",
        windowFunction=track.window_function,
    )
    if track.limits is not None:
        low, high = (f"{limit:.1f}" for limit in track.limits)
        ElementTree.SubElement(element, "DataRange", minimum=low, baseline=low, maximum=high, type="LINEAR")


def _look(link: str, name: str, colour: str, height: int) -> dict[str, str]:
    """Return what every track has; without altColor igv.js 3.1 reads the colour ``rgb(null)``."""
    return {"id": link, "name": name, "color": rgb(colour), "altColor": rgb(colour), "height": str(height)}


def _reference(results: Path, genome: Path) -> str:
    """Return what the session names as its genome."""
    path, twobit = genome.resolve(), results / "browser" / "genome.2bit"
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
    if is_compressed and not Path(f"{path}.gzi").is_file() and twobit.is_file():
        return twobit.name
    is_inside = path.is_relative_to(results.resolve())
    return link_from(results.resolve() / "browser", path) if is_inside else str(path)
