"""Which words make the gates fall or the units write? The stage, from files to files.

Events are looked for on the test contigs of the run's fold alone; the units were chosen on its validation contigs.

Public names: `grammar`, `GrammarSettings`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.boundaries.events import draw_background, first_copies, is_usable, read_windows, top_events
from gatescope.boundaries.grammar_figure import Histogram, Logo, draw_logos, draw_spacings
from gatescope.boundaries.grammar_tables import (
    Search,
    column_table,
    event_table,
    forward_motifs,
    match_table,
    motif_table,
    pair_table,
)
from gatescope.boundaries.motif_files import read_motif_file, write_jaspar, write_meme
from gatescope.boundaries.motifs import SearchRule, consensus, find_motifs
from gatescope.boundaries.spacing import spacing_table
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import file_hash, read_record, replacing_folder, write_json, write_table
from gatescope.settings import check_grammar, read_section
from gatescope.trace.units import DIRECTIONS, UnitStore, selected_units

log = logging.getLogger(__name__)

#: What an event can be: the lowest forget gates, the largest |i g|.
KINDS = ("forget", "write")
_WRITTEN = (
    "grammar.json",
    *(f"{name}.tsv" for name in ("motifs", "columns", "events", "spacing", "pairs", "matches")),
    *("motifs.meme", "motifs.jaspar", "motifs.svg", "spacing.svg"),
)
#: Rows of the figures.
_MOST_LOGOS, _MOST_HISTOGRAMS = 12, 8
#: Streams of random numbers.
_BACKGROUND, _SHUFFLES = 0, 1


@dataclass(frozen=True)
class GrammarSettings(SearchRule):
    """Hold the settings of the stage: what a motif is (`SearchRule`), and what an event is.

    Attributes
    ----------
    units : str
        "chosen": those that `boundaries` named, one of each direction; or "all".
    top_fraction : float
        Events of a unit are at most this share of the bases that are looked at.
    max_events : int
        And at most so many.
    min_distance_bp : int
        Two events of a unit lie at least this far apart.
    """

    units: str = "chosen"
    top_fraction: float = 0.002
    max_events: int = 2000
    min_distance_bp: int = 20

    def __post_init__(self) -> None:
        if self.units not in ("chosen", "all"):
            raise _refusal("units", self.units, "chosen or all")
        for name in ("max_events", "min_distance_bp", "max_motifs"):
            if getattr(self, name) < 1:
                raise _refusal(name, getattr(self, name), "at least 1")
        for name in ("top_fraction", "max_fwer"):
            if not 0 < getattr(self, name) <= 1:
                raise _refusal(name, getattr(self, name), "more than 0, at most 1")
        if self.half_width_bp < 8:
            raise _refusal("half_width_bp", self.half_width_bp, "at least 8")
        if self.jitter_bp < 0:
            raise _refusal("jitter_bp", self.jitter_bp, "at least 0")
        check_grammar(asdict(self))


def grammar(
    store: Path | str,
    trace: Path | str,
    twin: Path | str,
    model: Path | str,
    units: Path | str,
    output: Path | str,
    *,
    settings: Mapping[str, Any],
    motifs: Path | str | None = None,
    seed: int = 0,
) -> None:
    """Find the words at which the units of one run forget and write; write tables, motif files and figures.

    One unit of one contig is in memory at a time, beside the bases of the test contigs.

    Parameters
    ----------
    store : Path or str
        Encoded store.
    trace, twin : Path or str
        ``trace/{run}`` of the run and of its untrained twin, each with `summary.json` and a `units` folder.
    model : Path or str
        ``model/{run}``; its ``model.json`` names the fold.
    units : Path or str
        ``units.tsv`` of `boundaries`, which names the chosen units.
    output : Path or str
        Folder to write; replaced as a whole, if it holds nothing else.
    settings : mapping
        The `grammar` section of the config without `motifs`, see `GrammarSettings`.
    motifs : Path or str, optional
        Known motifs to compare with, MEME or JASPAR.
    seed : int
        Seed of background positions and shuffles.

    Raises
    ------
    InputError
        If a setting is wrong, or an input is missing or does not fit.
    """
    options = read_section(GrammarSettings, settings, "config: grammar")
    targets = {} if motifs is None else read_motif_file(motifs)
    needed: dict[str, type] = {"run": str, "store": str, "sha256": str, "fold": dict, "fold.test": list}
    meta = read_record(Path(model) / "model.json", needed, "train again with this version")
    certificate = _check_traces(trace, twin, meta["sha256"])
    encoded = EncodedStore(store)
    encoded.require(meta["store"], Path(model) / "model.json")
    genome = _read_genome(encoded, meta["fold"]["test"], options)
    with replacing_folder(output, _WRITTEN) as partial:
        found, of_twin = (
            _search_all(UnitStore(folder, encoded.lengths), Path(units), genome, options, seed)
            for folder in (trace, twin)
        )
        about = {"run": meta["run"], "model_sha256": meta["sha256"], "certificate": certificate}
        known = None if motifs is None else {"sha256": file_hash(motifs), "n_motifs": len(targets)}
        content = {
            **about,
            "settings": asdict(options),
            **_account(meta["run"], found, of_twin, genome, known),
        }
        log.info("%s", content["sentence"])
        _write(partial, found, encoded, genome, targets, content, seed)


class _Genome(NamedTuple):
    """The test contigs: bases, where an event may lie, and on how many bases."""

    codes: dict[str, NDArray[np.uint8]]
    usable: dict[str, NDArray[np.bool_]]
    n_bases: int


def _read_genome(store: EncodedStore, contigs: Sequence[str], options: GrammarSettings) -> _Genome:
    """Read the bases of some contigs."""
    codes = {contig: store.codes(contig) for contig in contigs}
    usable = {contig: is_usable(each, options.reach_bp) for contig, each in codes.items()}
    return _Genome(codes, usable, sum(int(each.sum()) for each in usable.values()))


def _search_all(
    source: UnitStore, units: Path, genome: _Genome, options: GrammarSettings, seed: int
) -> list[Search]:
    """Search the windows of every unit, direction and kind of event of one network."""
    n_units = source.n_units(next(iter(genome.codes)))
    chosen = selected_units(units, n_units)
    keys = [
        (direction, unit, kind)
        for direction in DIRECTIONS
        for unit in (range(n_units) if options.units == "all" else [chosen[direction]])
        for kind in KINDS
    ]
    return [_search(source, *key, genome, options, len(keys), seed) for key in keys]


def _search(
    source: UnitStore,
    direction: str,
    unit: int,
    kind: str,
    genome: _Genome,
    options: GrammarSettings,
    n_searches: int,
    seed: int,
) -> Search:
    """Pick the events of one unit, and find what their windows share."""
    index = DIRECTIONS.index(direction)
    n_events = min(int(options.top_fraction * genome.n_bases), options.max_events)
    strength_on = _strength(source, index, unit, kind)
    events = top_events(strength_on, genome.usable, n_events, options.min_distance_bp, index)
    windows = read_windows(genome.codes, events, index, options.reach_bp)
    kept = first_copies(windows)
    rng = np.random.default_rng([seed, _BACKGROUND, index, unit, KINDS.index(kind)])
    background = draw_background(events, genome.usable, options.reach_bp, rng)
    beside = read_windows(genome.codes, background, index, options.reach_bp)
    motifs = find_motifs(windows[kept], beside, options, n_searches)
    named = {f"{direction}.{unit}.{kind}.{number}": motif for number, motif in enumerate(motifs, 1)}
    return Search(direction, unit, kind, int((~kept).sum()), events.take(kept), background, named)


def _strength(
    source: UnitStore, direction: int, unit: int, kind: str
) -> Callable[[str], NDArray[np.float32]]:
    """Return what ranks the bases of a contig."""
    if kind == "forget":
        return lambda contig: -source.logits(contig, direction, unit)
    return lambda contig: np.abs(source.writes(contig, direction, unit))


def _refusal(name: str, value: Any, wanted: str) -> InputError:
    """Return the error for a setting out of range."""
    return InputError(f"{value!r}; wanted {wanted}", where=f"config: grammar: {name}")


def _check_traces(trace: Path | str, twin: Path | str, sha256: str) -> dict[str, Any]:
    """Check that the trace is of this network and the twin's of another; return the replay certificate."""
    again = "run gatescope trace again"
    own, other = (
        read_record(Path(folder) / "summary.json", {"model_sha256": str, "certificate": dict}, again)
        for folder in (trace, twin)
    )
    if own["model_sha256"] != sha256:
        raise InputError(
            f"trace of weights {own['model_sha256'][:12]}..., the model has {sha256[:12]}...",
            where=Path(trace) / "summary.json",
            cause="the network was trained again after the trace",
            remedy=again,
        )
    if other["model_sha256"] == sha256:
        raise InputError(
            "the twin has the weights of the run itself",
            where=Path(twin) / "summary.json",
            remedy="trace the untrained twin of the run",
        )
    return own["certificate"]


def _account(
    run: str,
    found: Sequence[Search],
    of_twin: Sequence[Search],
    genome: _Genome,
    known: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what was looked at and found, as counts and in words."""
    searches = [
        {
            "direction": search.direction,
            "unit": search.unit,
            "kind": search.kind,
            "n_events": search.events.n,
            "n_copies": search.n_copies,
            "n_background": search.background.n,
            "motifs": list(search.motifs),
        }
        for search in found
    ]
    twin_bits = [motif.bits for search in of_twin for motif in search.motifs.values()]
    counted = {kind: sum(len(each.motifs) for each in found if each.kind == kind) for kind in KINDS}
    sentence = (
        f"{run}: {_counted(counted['forget'])} where units forget, {_counted(counted['write'])} where they write, "
        f"in {len(found)} searches; {_counted(len(twin_bits))} in the same of its untrained twin"
    )
    return {
        "sentence": sentence,
        "contigs": list(genome.codes),
        "n_bases": genome.n_bases,
        "searches": searches,
        "twin": {"n_motifs": len(twin_bits), "largest_bits": max(twin_bits, default=0.0)},
        "motif_file": known,
    }


def _counted(number: int) -> str:
    return f"{number or 'no'} motif{'' if number == 1 else 's'}"


def _write(
    folder: Path,
    found: Sequence[Search],
    store: EncodedStore,
    genome: _Genome,
    targets: Mapping[str, NDArray],
    content: Mapping[str, Any],
    seed: int,
) -> None:
    """Write everything."""
    forward = forward_motifs(found)
    spacings = [
        spacing_table(each.events, each.background, store.peaks, store.lengths, each.index) for each in found
    ]
    tables = {
        "motifs": motif_table(found, genome.n_bases),
        "columns": column_table(found),
        "events": event_table(found),
        "spacing": _label(found, spacings),
        "pairs": pair_table(forward),
        "matches": match_table(forward, targets, np.random.default_rng([seed, _SHUFFLES])),
    }
    for name, table in tables.items():
        write_table(folder / f"{name}.tsv", table)
    write_meme(folder / "motifs.meme", forward, _letter_shares(genome))
    words = {name: consensus(counts) for name, counts in forward.items()}
    write_jaspar(folder / "motifs.jaspar", forward, words)
    write_json(folder / "grammar.json", content)
    draw_logos(_logos(found, words), content["run"], folder / "motifs.svg")
    histograms = [
        Histogram(each.direction, each.unit, each.kind, table)
        for each, table in zip(found, spacings, strict=True)
    ]
    draw_spacings(histograms[:_MOST_HISTOGRAMS], content["run"], folder / "spacing.svg")


def _label(found: Sequence[Search], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the tables of all searches together."""
    labelled = []
    for search, table in zip(found, tables, strict=True):
        keys = pd.DataFrame(
            {"direction": search.direction, "unit": search.unit, "kind": search.kind}, table.index
        )
        labelled.append(pd.concat([keys, table], axis=1))
    return pd.concat(labelled, ignore_index=True)


def _letter_shares(genome: _Genome) -> NDArray[np.float64]:
    """Return how frequent the four letters are on the test contigs, strands taken together; shape (4,)."""
    counts = np.sum([np.bincount(codes, minlength=5)[:4] for codes in genome.codes.values()], axis=0)
    both = counts + counts[::-1]
    return both / both.sum()


def _logos(found: Sequence[Search], words: Mapping[str, str]) -> list[Logo]:
    """Take the motifs with most information of all searches for the figure, in the order of the table."""
    logos = [
        Logo(search.direction, search.unit, search.kind, search.events.n, motif, words[name])
        for search in found
        for name, motif in search.motifs.items()
    ]
    shown = sorted(range(len(logos)), key=lambda row: -logos[row].motif.bits)[:_MOST_LOGOS]
    return [logos[row] for row in sorted(shown)]
