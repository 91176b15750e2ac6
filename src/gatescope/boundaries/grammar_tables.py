"""What is found goes into which table? One function per table of `grammar`, all pure.

Public names: `Search`, `motif_table`, `column_table`, `event_table`, `pair_table`, `match_table`, `forward_motifs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.events import Events
from gatescope.boundaries.motif_match import column_correlation, match_motif
from gatescope.boundaries.motifs import (
    Motif,
    column_bits,
    consensus,
    forward_strand,
    reverse_complement_counts,
)
from gatescope.genome.sequence import ALPHABET
from gatescope.trace.units import DIRECTIONS

#: Two motifs below this column correlation are no pair.
_PAIR_R = 0.75
#: Rows for each motif in the table of matches.
_MOST_MATCHES = 5


@dataclass(frozen=True, eq=False)
class Search:
    """Hold what one search found: one direction, unit and kind of event.

    Attributes
    ----------
    direction, unit, kind : str, int, str
    n_copies : int
        Events left out because their letters are a copy of those of a stronger event.
    events : Events
        The rest; motifs' sites are indices into them.
    background : Events
    motifs : dict of str to Motif
        By name, ``{direction}.{unit}.{kind}.{number}``.
    """

    direction: str
    unit: int
    kind: str
    n_copies: int
    events: Events
    background: Events
    motifs: dict[str, Motif]

    @property
    def index(self) -> int:
        """Index of the direction."""
        return DIRECTIONS.index(self.direction)


def motif_table(searches: Sequence[Search], n_bases: int) -> pd.DataFrame:
    """Return one row per motif; `n_bases` is how many bases an event could have been at."""
    return pd.DataFrame(
        [
            _motif_row(search, name, motif, n_bases)
            for search in searches
            for name, motif in search.motifs.items()
        ],
        columns=list(_MOTIF_COLUMNS),
    )


_MOTIF_COLUMNS = (
    *("motif", "direction", "unit", "kind", "n_events", "n_sites", "site_share", "background_share"),
    *("as_read", "forward", "reverse_complement", "width_bp", "bits", "chance_bits"),
    *("lag_bp", "lag_share", "seed", "p_fwer"),
)


def _motif_row(search: Search, name: str, motif: Motif, n_bases: int) -> dict[str, Any]:
    """Return what is told of one motif."""
    forward = forward_strand(motif.core_counts, search.index)
    n_sites = motif.sites.size
    row = (
        *(name, search.direction, search.unit, search.kind, search.events.n, n_sites),
        *(n_sites / search.events.n, motif.background_share),
        *(consensus(motif.core_counts), consensus(forward), consensus(reverse_complement_counts(forward))),
        *(len(forward), motif.bits, np.log2(n_bases / n_sites)),
        *(motif.lag_bp, float((motif.slides == 0).mean()), motif.seed, motif.p_fwer),
    )
    return dict(zip(_MOTIF_COLUMNS, row, strict=True))


def column_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Return one row per motif and offset: counts as read, information, and whether it belongs to the core."""
    tables = [pd.DataFrame(columns=["motif", "offset", "in_core", *ALPHABET, "bits"])]
    for search in searches:
        for name, motif in search.motifs.items():
            columns = np.arange(len(motif.counts))
            table = {
                "motif": name,
                "offset": motif.first_offset + columns,
                "in_core": (columns >= motif.core[0]) & (columns < motif.core[1]),
                **dict(zip(ALPHABET, motif.counts.T, strict=True)),
                "bits": column_bits(motif.counts, motif.base_shares),
            }
            tables.append(pd.DataFrame(table))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def event_table(searches: Sequence[Search]) -> pd.DataFrame:
    """Return one row per event, the strongest of each search first, with the motif it holds and where that lies.

    `motif_start`, `motif_end` are genomic, 0-based half-open, -1 without a motif; `lag_bp` is how many bases of
    reading after the motif's last base this event lies (0 without).
    """
    return pd.concat([_events_of(search) for search in searches], ignore_index=True)


def _events_of(search: Search) -> pd.DataFrame:
    """Return the events of one search."""
    events, sign = search.events, 1 if search.direction == "fwd" else -1
    names = np.full(events.n, "none", object)
    places = np.tile(np.array([-1, -1, 0]), (events.n, 1))
    for name, motif in search.motifs.items():
        first, end = motif.core_offsets
        at, names[motif.sites] = events.position[motif.sites], name
        edges = at[:, None] + sign * (np.array([first, end - 1]) + motif.slides[:, None])
        places[motif.sites, :2] = np.sort(edges, axis=1) + np.array([0, 1])
        places[motif.sites, 2] = motif.lag_bp - motif.slides
    return pd.DataFrame(
        {
            "chrom": np.array(events.contigs, object)[events.contig],
            "position": events.position,
            "direction": search.direction,
            "unit": search.unit,
            "kind": search.kind,
            "strength": events.strength,
            "motif": names,
            "motif_start": places[:, 0],
            "motif_end": places[:, 1],
            "lag_bp": places[:, 2],
        }
    )


def forward_motifs(searches: Sequence[Search]) -> dict[str, NDArray[np.int64]]:
    """Return the counts of all motifs along the forward strand, 5' to 3', by name."""
    return {
        name: forward_strand(motif.core_counts, search.index)
        for search in searches
        for name, motif in search.motifs.items()
    }


def pair_table(motifs: Mapping[str, NDArray]) -> pd.DataFrame:
    """Return the pairs of motifs that are the same word, on the same strand or on opposite ones.

    Two directions that share a word on the *same* strand react to the same places of the genome, from either side.
    On *opposite* strands they are reverse complements: what one reads forward, the other meets when it reads the other
    strand 5' to 3', and a network that treats both strands alike has all its motifs twice like that.
    """
    rows = []
    for (first, one), (second, other) in combinations(motifs.items(), 2):
        aligned = column_correlation(one, other)
        if aligned.score >= _PAIR_R:
            strands = "same" if aligned.strand == "+" else "opposite"
            rows.append((first, second, strands, aligned.offset, aligned.overlap, aligned.r))
    return pd.DataFrame(rows, columns=["motif", "other", "strands", "offset", "overlap_bp", "r"])


def match_table(
    motifs: Mapping[str, NDArray], targets: Mapping[str, NDArray], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the best five targets of each motif, with P values."""
    rows = []
    for name, counts in motifs.items():
        for match in match_motif(counts, targets, rng)[:_MOST_MATCHES] if targets else ():
            aligned = match.alignment
            place = (aligned.strand, aligned.offset, aligned.overlap, aligned.r)
            rows.append((name, match.target, *place, match.p, match.p_fwer))
    columns = ["motif", "target", "strand", "offset", "overlap_bp", "r", "p", "p_fwer"]
    return pd.DataFrame(rows, columns=columns)
