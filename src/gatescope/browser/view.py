"""How does the report show tracks without a server? igv.js with small data URIs: a few windows per track.

Public names: `View`, `embedded_view`, `igv_script`, `igv_version`.
"""

import base64
import importlib.resources
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.atac.bigwig import BigWigWriter, read_bigwig
from gatescope.browser.bed import ACCESSIBLE, PLANTED, accessible_regions, planted_regions
from gatescope.browser.places import Place, strongest_places
from gatescope.browser.tracks import GATE_WORDS, Track, gate_tracks, prediction_tracks, sample_tracks
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import decode_bases

_UNIT_HEIGHT, _HEIGHT, _REGION_HEIGHT = 60, 42, 28
_DECIMALS = 3
#: The view opens below one base per pixel. Above it, igv.js 3.1.4 lets single bases of a bin cover the bin's
#: minimum, and a dip of a few bases disappears.
_OPENING_BP = 800
#: Measured on igv.js 3.1.4 (tests/browser/test_report_page.py): without the first it asks igv.org for a list
#: of genomes when it starts, without the second it sends there what a person types into the search box.
_OFFLINE = {"loadDefaultGenomes": False, "search": False}

Span = tuple[str, int, int]


@dataclass(frozen=True)
class View:
    """Hold what the page hands to igv.js.

    Attributes
    ----------
    run : str
    places : list of Place
        Strongest first.
    loci : list of str
        What to show of each place, ``chrom:start-end``, 1-based.
    options : dict
        Argument of ``igv.createBrowser``; holds all data as data URIs.
    key : list of (str, str, str)
        Name, meaning and colour of each track, in order.
    """

    run: str
    places: list[Place]
    loci: list[str]
    options: dict[str, Any]
    key: list[tuple[str, str, str]]


def embedded_view(results: Path, genome: Path | str, run: str, *, count: int, window_bp: int) -> View:
    """Collect the windows around the strongest boundaries of a run.

    The tracks keep the contigs' true lengths and coordinates, so a person sees real positions; outside the
    windows they are empty.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    genome : path
        FASTA or .2bit.
    run : str
    count : int
        Number of boundaries.
    window_bp : int
        Length of the stretch that is stored around each; the view opens at its middle.

    Raises
    ------
    InputError
        If a track is missing, or no boundary can be shown.
    """
    reference = Genome(genome)
    lengths = reference.lengths
    places = strongest_places(results, run, count, apart_bp=window_bp // 2)
    spans = [(place.chrom, *place.span(lengths[place.chrom], window_bp)) for place in places]
    accessible, truth = accessible_regions(results), planted_regions(results, lengths)
    tracks = [_signal(track, spans, lengths) for track in _tracks(results, run)]
    tracks.insert(len(tracks) - len(sample_tracks(results)), _regions(*ACCESSIBLE, accessible, spans))
    if truth is not None:
        tracks.append(_regions(*PLANTED, truth, spans))
    for order, track in enumerate(tracks, 1):
        track["order"] = order
    loci = [place.locus(lengths, min(window_bp, _OPENING_BP)) for place in places]
    options = {
        "reference": {
            "id": Path(genome).name,
            "name": Path(genome).name,
            "fastaURL": _data_uri(_fasta(reference, spans), "text/plain"),
            "indexed": False,
        },
        "locus": loci[0],
        "showAllChromosomes": False,
        "queryParametersSupported": False,
        "roi": [
            {
                "name": "accessible regions",
                "color": "rgba(244,162,89,0.18)",
                "features": _features(accessible, spans),
            }
        ],
        "tracks": tracks,
        **_OFFLINE,
    }
    key = [(track["name"], track["description"], track["color"]) for track in tracks]
    return View(run, places, loci, options, key)


def _tracks(results: Path, run: str) -> list[Track]:
    """Return the tracks in the order they are drawn."""
    unit = gate_tracks(results, run, "forget_gate", "boundary_unit")
    means = [track for gate in GATE_WORDS for track in gate_tracks(results, run, gate, "mean")]
    return [*unit, *means, *prediction_tracks(results, run), *sample_tracks(results)]


def _signal(track: Track, spans: Sequence[Span], lengths: Mapping[str, int]) -> dict[str, Any]:
    """Describe a bigWig track to igv.js, cut to the windows."""
    scale = {"autoscale": True} if track.limits is None else {"min": track.limits[0], "max": track.limits[1]}
    return {
        "name": track.label,
        "description": track.meaning,
        "type": "wig",
        "format": "bigwig",
        "url": _data_uri(_cut_bigwig(track, spans, lengths), "application/octet-stream"),
        "color": track.colour,
        "altColor": track.colour,
        "height": _UNIT_HEIGHT if track.unit is not None else _HEIGHT,
        "windowFunction": track.window_function,
        **scale,
    }


def _cut_bigwig(track: Track, spans: Sequence[Span], lengths: Mapping[str, int]) -> bytes:
    """Copy the windows into a bigWig with the true contig lengths; gaps stay gaps."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "windows.bw"
        shown = {
            chrom: length for chrom, length in lengths.items() if any(chrom == span[0] for span in spans)
        }
        with BigWigWriter(small, shown, decimals=_DECIMALS) as writer:
            for chrom, start, end in _merged(spans, lengths):
                writer.add(chrom, start, read_bigwig(track.path, chrom, start, end, missing=track.gap))
        return small.read_bytes()


def _merged(spans: Sequence[Span], lengths: Mapping[str, int]) -> list[Span]:
    """Put windows in genome order and join those that overlap: a bigWig holds each base once."""
    rank = {chrom: number for number, chrom in enumerate(lengths)}
    joined: list[Span] = []
    for chrom, start, end in sorted(spans, key=lambda span: (rank[span[0]], *span[1:])):
        if joined and joined[-1][0] == chrom and start <= joined[-1][2]:
            joined[-1] = (chrom, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((chrom, start, end))
    return joined


def _regions(
    name: str, meaning: str, colour: str, regions: pd.DataFrame, spans: Sequence[Span]
) -> dict[str, Any]:
    """Describe regions to igv.js; they are few enough to be given as text."""
    return {
        "name": name,
        "description": meaning,
        "type": "annotation",
        "format": "bed",
        "features": _features(regions, spans),
        "color": colour,
        "height": _REGION_HEIGHT,
        "displayMode": "COLLAPSED",
        "searchable": False,
    }


def _features(regions: pd.DataFrame, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return the regions that touch a window."""
    rows = zip(regions["chrom"], regions["start"], regions["end"], strict=True)
    return [
        {"chr": str(chrom), "start": int(start), "end": int(end), "name": ""}
        for chrom, start, end in rows
        if any(chrom == shown and start < last and end > first for shown, first, last in spans)
    ]


def _fasta(genome: Genome, spans: Sequence[Span]) -> bytes:
    """Return the windows' bases under igv.js's header for slices, one line each (1-based).

    igv.js cannot read a contig's name with a colon in it; `strongest_places` shows none that has one.
    """
    lines = []
    for chrom, start, end in _merged(spans, genome.lengths):
        lines.append(f">{chrom}:{start + 1}-{end} @len={genome.lengths[chrom]}\n")
        lines.append(f"{decode_bases(genome.codes(chrom, start, end))}\n")
    return "".join(lines).encode()


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def igv_script() -> str:
    """Return igv.js, from the igv-notebook package, ready to stand inside a script element."""
    return _igv_file("js", "igv.iife.js").replace("</script", r"<\/script")


def igv_version() -> str:
    """Return the version of igv.js, such as ``3.1.4``."""
    return _igv_file("VERSION_IGV").strip()


def _igv_file(*parts: str) -> str:
    return importlib.resources.files("igv_notebook").joinpath(*parts).read_text(encoding="utf-8")
