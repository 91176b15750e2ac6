"""What UCSC demands of a one-file hub, checked setting by setting without gatescope.

There is no hubCheck outside UCSC; this covers what its documentation states and what it would show wrongly.
"""

import re
from pathlib import Path
from urllib.parse import urljoin

import pybigtools

from oracles.twobit_reader import read_twobit

_TRACK_KEYS = set(
    "track parent type shortLabel longLabel visibility color bigDataUrl container aggregate autoScale "
    "alwaysZero showSubtrackColorOnUi viewLimits maxHeightPixels windowingFunction itemRgb superTrack".split()
)


def read_stanzas(path: Path) -> list[dict[str, str]]:
    """Split a hub into stanzas of settings; a setting twice in a stanza is refused."""
    stanzas = []
    for block in path.read_text().strip().split("\n\n"):
        pairs = [line.split(" ", 1) for line in block.splitlines()]
        assert all(len(pair) == 2 and pair[1].strip() for pair in pairs), block
        assert len({key for key, _ in pairs}) == len(pairs), block
        stanzas.append(dict(pairs))
    return stanzas


def check_hub(path: Path) -> dict[str, dict[str, str]]:
    """Check a hub file and everything it links to; return the track stanzas by name."""
    hub, genome, *tracks = read_stanzas(path)
    assert {"hub", "shortLabel", "longLabel", "useOneFile", "email"} <= set(hub)
    assert re.fullmatch(r"\S+", hub["hub"]) and hub["useOneFile"] == "on"
    assert len(hub["shortLabel"]) < 20 and len(hub["longLabel"]) < 70
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", genome["genome"])
    lengths = _check_assembly(path, genome)
    by_name = {}
    for track in tracks:
        assert track["track"] not in by_name, f"{track['track']} twice"
        by_name[track["track"]] = track
    for track in tracks:
        _check_track(path, track, by_name, lengths)
    return by_name


def _check_assembly(path: Path, genome: dict[str, str]) -> dict[str, int] | None:
    if "twoBitPath" not in genome:
        assert set(genome) == {"genome"}, "an assembly of UCSC's own"
        return None
    assert {"organism", "scientificName", "description", "defaultPos"} <= set(genome)
    lengths = {
        name: len(letters) for name, letters in read_twobit(_linked(path, genome["twoBitPath"])).items()
    }
    chrom, start, end = re.fullmatch(r"(.+):(\d+)-(\d+)", genome["defaultPos"]).groups()
    assert 1 <= int(start) < int(end) <= lengths[chrom]
    assert int(end) - int(start) < 10_000, "opens at a place, not at a chromosome"
    return lengths


def _check_track(path: Path, track: dict[str, str], by_name: dict, lengths: dict[str, int] | None) -> None:
    assert set(track) <= _TRACK_KEYS, set(track) - _TRACK_KEYS
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", track["track"])
    assert len(track["shortLabel"]) < 20, track["shortLabel"]
    assert len(track["longLabel"]) < 70, track["longLabel"]
    parent = by_name.get(track.get("parent", "").split(" ")[0])
    if "parent" in track:
        assert parent is not None, f"parent of {track['track']}"
        assert "container" in parent or "superTrack" in parent
        assert list(by_name).index(parent["track"]) < list(by_name).index(track["track"])
    if "color" in track:
        channels = [int(channel) for channel in track["color"].split(",")]
        assert len(channels) == 3 and all(0 <= channel <= 255 for channel in channels)
    if "superTrack" in track:
        assert track["superTrack"] in ("on", "on show")
        return
    if "viewLimits" in track:
        assert track["autoScale"] == "off"
        low, high = map(float, track["viewLimits"].split(":"))
        assert low < high
    if "windowingFunction" in track:
        assert track["windowingFunction"] in ("mean+whiskers", "maximum", "mean", "minimum")
    if track.get("container") == "multiWig":
        children = [other for other in by_name.values() if other.get("parent") == track["track"]]
        assert children and "bigDataUrl" not in track
        return
    _check_file(_linked(path, track["bigDataUrl"]), track["type"], lengths)


def _linked(path: Path, url: str) -> Path:
    """Resolve a URL the way a server's client does, with the hub one folder below the root."""
    assert "://" not in url and not url.startswith("/")
    resolved = urljoin("http://host/browser/hub.txt", url)
    return path.parent.parent / resolved.removeprefix("http://host/")


def _check_file(file: Path, kind: str, lengths: dict[str, int] | None) -> None:
    assert file.is_file(), file
    reader = pybigtools.open(str(file))
    assert reader.is_bigwig if kind.startswith("bigWig") else reader.is_bigbed
    for name, length in dict(reader.chroms()).items():
        assert lengths is None or lengths[name] == length
    if kind.startswith("bigBed"):
        assert kind == "bigBed 9"
        fields = [
            1 + len(record) for name in reader.chroms() for record in reader.records(name)
        ]  # 1: the contig
        assert fields and set(fields) == {9}
