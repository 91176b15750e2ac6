"""Where should a person look first? The boundaries at which the forget gate falls furthest.

Public names: `Place`, `profile_shape`, `strongest_places`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatescope.atac.bigwig import read_bigwig
from gatescope.boundaries.profile import (
    ProfileShape,
    Sites,
    drop,
    find_sites,
    flank_mean,
    gate_positions,
    offsets_of,
)
from gatescope.browser.bed import accessible_regions
from gatescope.browser.evidence import Record, read_record
from gatescope.browser.tracks import Track, gate_tracks
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.genome.contigs import name_list
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """One entry boundary and what the selected unit's forget gate does there.

    Attributes
    ----------
    chrom : str
    position : int
        The boundary lies between the bases ``position - 1`` and ``position`` (0-based).
    direction : {"fwd", "rev"}
        The direction that enters the region here.
    unit : int
        Hidden unit of that direction, selected on the validation contigs.
    before, lowest : float
        Mean forget gate over the flank read before the boundary; its minimum just beyond it.
    """

    chrom: str
    position: int
    direction: str
    unit: int
    before: float
    lowest: float

    @property
    def fall(self) -> float:
        """How far the gate falls: `before` minus `lowest`."""
        return self.before - self.lowest

    @property
    def title(self) -> str:
        """Say in one line what there is to see."""
        return (
            f"{self.chrom}:{self.position:,}, entry for {self.direction}: "
            f"the forget gate of unit {self.unit} falls from {self.before:.2f} to {self.lowest:.2f}"
        )

    def span(self, length: int, window_bp: int) -> tuple[int, int]:
        """Return start and end of the window around the boundary, 0-based half-open, within the contig."""
        start = max(0, min(self.position - window_bp // 2, length - window_bp))
        return start, min(length, start + window_bp)

    def locus(self, lengths: Mapping[str, int], window_bp: int) -> str:
        """Return the window as browsers print it: ``chrom:start-end``, 1-based, end included."""
        start, end = self.span(lengths[self.chrom], window_bp)
        return f"{self.chrom}:{start + 1}-{end}"


def profile_shape(verdict: Record) -> ProfileShape:
    """Return the lengths that the boundaries stage measured a run's profiles with.

    Parameters
    ----------
    verdict : Record
        ``boundaries/{run}/verdict.json``.
    """
    shape = verdict["shape"]
    return ProfileShape(**{name: shape[name] for name in ("profile_bp", "flank_bp", "dip_bp")})


def strongest_places(results: Path, run: str, count: int, *, apart_bp: int = 0) -> list[Place]:
    """Return the entry boundaries on test contigs where the selected unit's forget gate falls furthest.

    The fall is `gatescope.boundaries.profile.drop` of the single boundary: mean over the flank read before
    it, minus the minimum just beyond it, over the lengths of the run's verdict. Both directions compete. Left
    out, and logged, are boundaries without a gate value (a gap in the track) and contigs with a colon in their
    name (``HLA-A*01:01``), whose places a genome browser cannot read.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    run : str
    count : int
        At most this many.
    apart_bp : int
        A boundary closer than this to a stronger one is left out.

    Raises
    ------
    InputError
        If no boundary on a test contig can be used.
    """
    store = EncodedStore(results / "data" / "encoded")
    model = read_record(results / "model" / run / "model.json")
    lengths = {contig: store.lengths[contig] for contig in _readable(model["fold"]["test"])}
    regions = accessible_regions(results)
    shape = profile_shape(read_record(results / "boundaries" / run / "verdict.json"))
    candidates: list[Place] = []
    for track in gate_tracks(results, run, "forget_gate", "boundary_unit"):
        direction = DIRECTIONS.index(track.direction)
        sites = find_sites(regions, lengths, direction, "entry", shape.profile_bp)
        candidates += _places(track, sites, lengths, shape)
    chosen = _spread(sorted(candidates, key=lambda place: -place.fall), count, apart_bp)
    if not chosen:
        raise InputError(
            f"no region boundary with gate values on the test contigs ({', '.join(model['fold']['test'])})",
            where=results / "trace" / run,
            remedy="choose test contigs that hold accessible regions away from the contig's ends, "
            "and have no colon in their names",
        )
    return chosen


def _readable(contigs: Sequence[str]) -> list[str]:
    """Leave out contigs whose places cannot be written as ``chrom:start-end``."""
    with_colon = [contig for contig in contigs if ":" in contig]
    if with_colon:
        log.info("no boundary of %s is shown: a colon in its name", name_list(with_colon))
    return [contig for contig in contigs if contig not in with_colon]


def _places(track: Track, sites: Sites, lengths: Mapping[str, int], shape: ProfileShape) -> list[Place]:
    """Measure one direction's entry boundaries."""
    places: list[Place] = []
    for contig, positions in sites.positions.items():
        gate = read_bigwig(track.path, contig, 0, lengths[contig])
        windows = gate[gate_positions(positions, offsets_of(shape.profile_bp), sites.direction)].astype(
            np.float64
        )
        before, fall = flank_mean(windows, shape), drop(windows, shape)
        places += _known_places(contig, positions, before, fall, track)
    if len(places) < sites.n:
        log.info(
            "%s: %d of %d boundaries have no gate value", track.path.name, sites.n - len(places), sites.n
        )
    return places


def _known_places(
    contig: str,
    positions: NDArray[np.int64],
    before: NDArray[np.float64],
    fall: NDArray[np.float64],
    track: Track,
) -> list[Place]:
    """Keep the boundaries without a gap."""
    assert track.unit is not None
    return [
        Place(
            contig,
            int(positions[k]),
            track.direction,
            track.unit,
            float(before[k]),
            float(before[k] - fall[k]),
        )
        for k in np.flatnonzero(np.isfinite(fall))
    ]


def _spread(ranked: list[Place], count: int, apart_bp: int) -> list[Place]:
    """Take the strongest, skipping neighbours of what is taken."""
    chosen: list[Place] = []
    for place in ranked:
        near = any(
            place.chrom == other.chrom and abs(place.position - other.position) < apart_bp for other in chosen
        )
        if not near and len(chosen) < count:
            chosen.append(place)
    return chosen
