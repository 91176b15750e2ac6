"""What will the network read and be asked? Genome, cuts and peaks become the encoded store.

Public names: `encode`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.atac.bigwig import check_bigwig_contigs
from gatescope.data.background import GcMatch, match_gc, tile_background
from gatescope.data.inputs import (
    TrackSource,
    check_folds_have_peaks,
    read_track,
    track_sources,
)
from gatescope.data.landscape import Funnel, Landscape, read_landscape, usable_peaks
from gatescope.data.parts import Gaps, Parts
from gatescope.data.store import FORMAT_VERSION, NOT_SCORED, ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.files import file_hash
from gatescope.genome.contigs import WHOLE, share_of
from gatescope.genome.folds import read_folds
from gatescope.genome.regions import ExclusionLists, list_exclusions
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)


def encode(
    genome: Path | str,
    cuts: Path | str,
    peaks: Path | str,
    output: Path | str,
    *,
    folds: Any,
    exclusion_list: ExclusionLists = None,
    tracks: Mapping[str, str | Path] | None = None,
    exclude_contigs: Iterable[str] = (),
    window_bp: int = 1500,
    background_ratio: float = 1.0,
    max_unknown_fraction: float = 0.1,
    seed: int = 0,
    piece: str = WHOLE,
    check: bool = False,
) -> None:
    """Write the encoded store: bases, accessible state and tracks per contig, and the windows to train on.

    Several processes can share the contigs of a genome (`piece`); the store has the same bytes either way.

    Parameters
    ----------
    genome : path
        FASTA or .2bit.
    cuts : path
        bigWig of Tn5 cut counts per base, from `gatescope.atac.cuts.cuts`; no value means no cut.
    peaks : path
        BED3+ or narrowPeak; overlapping and repeated peaks are merged.
    output : path
        Folder to write; an encoded store that is already there is replaced, anything else refused.
    folds : mapping, int, path or list of paths
        Splits by contig, as `gatescope.genome.folds.name_folds` takes them.
    exclusion_list : path or sequence of paths, optional
        BED of regions that are not to be trusted. Their bases are not scored; peaks that touch
        one are dropped.
    tracks : mapping, optional
        Extra input tracks, name -> bigWig path, or ``path:zero`` where a missing value means 0.
    exclude_contigs : iterable of str
        Contigs to leave out of the store altogether.
    window_bp : int, default 1500
        Length of the windows the network will read in training. A peak whose window (centred on its summit)
        would run off its contig is not trained on; its bases keep their state.
    background_ratio : float, default 1
        Background windows per peak.
    max_unknown_fraction : float, default 0.1
        Windows, around peaks as well, with a larger share of unknown bases are dropped.
    seed : int
        Decides which of the GC-matched background windows are taken.

    piece : str
        "2-of-8" encodes the second of eight shares of the contigs, about equally long, and stops there: the arrays rest
        beside `output` (``encoded.parts.*``). A call without it takes over what was made from the same files and
        parameters, encodes the rest, and writes the store.
    check : bool
        Write nothing; look whether `output` is a whole store that was made from these files, by their hashes.

    Raises
    ------
    InputError
        If the files do not fit each other, an extra track has no value on a scored base, no peak is left, or
        a test or validation contig of a fold has none.

    Notes
    -----
    Each filter's counts are logged and kept in ``meta.json``. Equal inputs and parameters give the same
    bytes, whatever folder the inputs lie in.
    """
    if not 0 <= background_ratio < np.inf:
        what = f"{background_ratio} is no ratio"
        raise InputError(what, where="background_ratio", remedy="give a number >= 0")
    exclude_contigs, sources, funnel = tuple(exclude_contigs), track_sources(tracks), Funnel()
    land = read_landscape(genome, peaks, exclusion_list, exclude_contigs, funnel)
    splits = read_folds(folds, land.lengths)
    for bigwig in (cuts, *(source.path for source in sources)):
        check_bigwig_contigs(bigwig, land.lengths, genome)
    inputs = _describe_inputs(genome, cuts, peaks, exclusion_list, sources)
    if check:
        return _check(EncodedStore(output), inputs)
    parts = Parts(output, _decide_arrays(inputs, exclude_contigs, sources))
    read = partial(_read_contig, land, TrackSource("cuts", Path(cuts), gaps_are_zero=True), sources)
    if piece != WHOLE:
        return parts.write(piece, share_of(land.lengths, piece, "encode: --piece"), read)
    windows = usable_peaks(land, window_bp, max_unknown_fraction, peaks, funnel)
    check_folds_have_peaks(splits, windows, peaks)
    candidates = _background_candidates(land, window_bp, max_unknown_fraction, funnel)
    background, match = _match_background(windows, candidates, background_ratio, seed, funnel)
    regions = _in_genome_order([windows.assign(kind="peak"), background.assign(kind="background")], land)
    meta = {
        "stage_version": STAGE_VERSIONS["encode"],
        "window_bp": window_bp,
        "folds": {name: fold.parts() for name, fold in splits.items()},
        "inputs": inputs,
        "parameters": {
            "exclude_contigs": list(exclude_contigs),
            "background_ratio": background_ratio,
            "max_unknown_fraction": max_unknown_fraction,
            "gaps_are_zero": [source.name for source in sources if source.gaps_are_zero],
        },
        # a reference: reading the tracks below adds their gaps, before meta.json is written
        "filters": funnel.rows,
        "background": {
            "wanted": match.wanted,
            "shifted": match.second_choices,
            "substituted": match.substituted,
            "gc_ks_p": match.ks_p,
        },
        "seed": seed,
    }
    contigs = _count_gaps(parts.read(land.lengths, read), land.lengths, sources, funnel)
    write_store(output, contigs, regions, meta)
    parts.remove()
    log.info("encoded %d contigs, %d bp, as %s", len(land.lengths), sum(land.lengths.values()), output)


def _background_candidates(
    land: Landscape, window_bp: int, max_unknown_fraction: float, funnel: Funnel
) -> pd.DataFrame:
    """Tile all contigs and keep the tiles that lie clear of peaks, excluded regions and unknown bases."""
    kept, n_tiles, n_clear = [], 0, 0
    for contig in land.lengths:
        avoid = land.in_peak(contig) | land.in_excluded(contig)
        tiles = tile_background(land.genome.codes(contig), avoid, window_bp)
        clear = ~tiles["avoided"].to_numpy(bool)
        known = (tiles["unknown"] <= max_unknown_fraction).to_numpy() & tiles["gc"].notna().to_numpy()
        kept.append(tiles.loc[clear & known, ["start", "shifted", "gc"]].assign(chrom=contig))
        n_tiles, n_clear = n_tiles + len(tiles), n_clear + int(clear.sum())
    table = pd.concat(kept, ignore_index=True)
    funnel.add("background tiles", n_clear, n_tiles - n_clear, "they touch a peak or an excluded region")
    why = f"more than {max_unknown_fraction:.0%} of the window is unknown bases, or no base is known"
    funnel.add("background unknown bases", len(table), n_clear - len(table), why)
    return table.assign(end=table["start"] + window_bp, summit=table["start"] + window_bp // 2)


def _match_background(
    peaks: pd.DataFrame, candidates: pd.DataFrame, ratio: float, seed: int, funnel: Funnel
) -> tuple[pd.DataFrame, GcMatch]:
    """Choose the background windows and say how well their GC content matches."""
    gc, shifted = candidates["gc"].to_numpy(), candidates["shifted"].to_numpy(bool)
    match = match_gc(peaks["gc"].to_numpy(), gc, shifted, ratio, np.random.default_rng(seed))
    if match.wanted and not match.chosen.size:
        raise InputError(
            f"none of {len(candidates)} background windows has the GC content of a peak",
            where="background_ratio",
            cause="peaks cover the genome, or window_bp is too large for what lies between them",
            remedy="use a smaller window_bp, or background_ratio 0 for no background",
        )
    chosen = candidates.iloc[match.chosen].drop(columns="shifted")
    funnel.add("background GC matching", len(chosen), len(candidates) - len(chosen), "not needed")
    log.info("background: %d windows of %d wanted; %d overlap others, %d come from a neighbouring GC bin",
             len(chosen), match.wanted, match.second_choices, match.substituted)  # fmt: skip
    same = "match" if match.ks_p > 0.05 else "DIFFER"
    level = logging.INFO if match.ks_p > 0.05 else logging.WARNING
    log.log(level, "GC of peaks and background: they %s (Kolmogorov-Smirnov p = %.2g)", same, match.ks_p)
    return chosen, match


def _in_genome_order(tables: list[pd.DataFrame], land: Landscape) -> pd.DataFrame:
    """Put tables one below the other, sorted by contig as in the genome, then by start."""
    regions = pd.concat(tables)
    order = {contig: rank for rank, contig in enumerate(land.lengths)}
    rank = np.array([order[chrom] for chrom in regions["chrom"]])
    return regions.assign(rank=rank).sort_values(["rank", "start"], kind="stable", ignore_index=True)


def _check(store: EncodedStore, inputs: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if a store was made from other files, or is not as it was written."""
    store.require_inputs(inputs)
    store.verify()
    log.info("%s was encoded from these files, and is as it was written", store.path)


def _read_contig(
    land: Landscape, counts: TrackSource, sources: list[TrackSource], contig: str
) -> tuple[ContigArrays, Gaps]:
    """Read everything of one contig, and count the gaps of the extra tracks."""
    codes = land.genome.codes(contig)
    state = land.state(contig, codes)
    scored, tracks, gaps = state != NOT_SCORED, {}, {}
    for source in (counts, *sources):
        tracks[source.name], *gaps[source.name] = read_track(source, contig, codes.size, scored)
    del gaps[counts.name]  # a base without a cut has none: nothing is missing
    return ContigArrays(codes=codes, state=state, tracks=tracks), gaps


def _count_gaps(
    contigs: Iterable[tuple[str, ContigArrays, Gaps]],
    lengths: Mapping[str, int],
    sources: list[TrackSource],
    funnel: Funnel,
) -> Iterator[tuple[str, ContigArrays]]:
    """Pass contigs on, and record the gaps of the extra tracks after the last."""
    gaps = {source.name: [0, 0] for source in sources}
    for contig, arrays, missing in contigs:
        for name, counts in missing.items():
            gaps[name] = [old + new for old, new in zip(gaps[name], counts, strict=True)]
        yield contig, arrays
        del arrays  # before the next one is read
    total = sum(lengths.values())
    for name, (scored, elsewhere) in gaps.items():
        gap = scored + elsewhere
        why = f"bases without a value, stored as 0: {scored} declared to mean 0, {elsewhere} not scored"
        funnel.add(f"track {name}", total - gap, gap, why)


def _decide_arrays(
    inputs: Mapping[str, Mapping[str, str]], exclude_contigs: Iterable[str], sources: list[TrackSource]
) -> dict[str, Any]:
    """Return everything that decides the arrays; the windows depend on more."""
    return {
        "format_version": FORMAT_VERSION,
        "stage_version": STAGE_VERSIONS["encode"],
        "inputs": {role: source["sha256"] for role, source in inputs.items()},
        "exclude_contigs": sorted(exclude_contigs),
        "tracks": [[source.name, source.gaps_are_zero] for source in sources],
    }


def _describe_inputs(
    genome: Path | str,
    cuts: Path | str,
    peaks: Path | str,
    exclusion_list: ExclusionLists,
    sources: list[TrackSource],
) -> dict[str, dict[str, str]]:
    """Return name and hash of each file; no folder, so that equal inputs give equal bytes anywhere."""
    paths = {"genome": genome, "cuts": cuts, "peaks": peaks, **list_exclusions(exclusion_list)}
    paths |= {f"track {source.name}": source.path for source in sources}
    given = {role: Path(path) for role, path in paths.items()}
    return {role: {"path": path.name, "sha256": file_hash(path)} for role, path in given.items()}
