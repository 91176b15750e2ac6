"""What will the network read and be asked? Genome, cuts and peaks become the encoded store.

Public names: `encode`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import check_bigwig_contigs
from gatescope.data.background import Match
from gatescope.data.duplicates import KMER_BP, NEAR_COPY, NearDuplicates, find_near_duplicates
from gatescope.data.funnel import Funnel, funnel_table
from gatescope.data.funnel_figure import draw_funnel
from gatescope.data.inputs import (
    TrackSource,
    check_folds_have_peaks,
    read_track,
    track_sources,
)
from gatescope.data.landscape import Landscape, read_landscape, window_starts
from gatescope.data.parts import Gaps, Parts
from gatescope.data.selection import MAPPABILITY, WindowRules, Windows, choose_windows
from gatescope.data.store import FORMAT_VERSION, NOT_SCORED, ContigArrays, EncodedStore, write_store
from gatescope.files import file_hash, write_table
from gatescope.genome.contigs import WHOLE, share_of
from gatescope.genome.folds import Fold, read_folds
from gatescope.genome.regions import ExclusionLists, list_exclusions
from gatescope.genome.sequence import UNKNOWN
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
    outlier_ratio: float = 2.0,
    near_duplicates: Literal["skip", "report", "drop"] = "report",
    seed: int = 0,
    reports: Path | str | None = None,
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
        Length of the windows the network will read in training, centred on a peak's summit, or moved inwards
        at the end of a contig. A peak on a contig shorter than that is not trained on; its bases keep their state.
    background_ratio : float, default 1
        Background windows per peak.
    max_unknown_fraction : float, default 0.1
        Windows, around peaks as well, with a larger share of unknown bases are dropped.
    outlier_ratio : float, default 2
        Windows, around peaks as well, with more cuts than this many times the 99th percentile of the peaks are
        not trained on; 0 keeps all. Such peaks are still tested where a fold holds them out.
    near_duplicates : {"report", "drop", "skip"}
        Whether to look for near-copies of held-out windows on training contigs. ``drop`` has each fold's training
        pass over the bases of these copies.
    seed : int
        Decides which of the matching background windows are taken.
    reports : path, optional
        Folder for ``regions_funnel.tsv`` and ``.svg`` (what every filter dropped, and why) and
        ``near_duplicates.tsv``; nothing is written there without it.
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
    rules = WindowRules(window_bp, background_ratio, max_unknown_fraction, outlier_ratio)
    exclude_contigs, sources, funnel = tuple(exclude_contigs), track_sources(tracks), Funnel()
    land = read_landscape(genome, peaks, exclusion_list, exclude_contigs, funnel)
    splits = read_folds(folds, land.lengths)
    for bigwig in (cuts, *(source.path for source in sources)):
        check_bigwig_contigs(bigwig, land.lengths, genome)
    counts = TrackSource("cuts", Path(cuts), gaps_are_zero=True)
    inputs = _describe_inputs(genome, cuts, peaks, exclusion_list, sources)
    if check:
        return _check(EncodedStore(output), inputs)
    parts = Parts(output, _decide_arrays(inputs, exclude_contigs, sources))
    read = partial(_read_contig, land, counts, sources)
    if piece != WHOLE:
        return parts.write(piece, share_of(land.lengths, piece, "encode: --piece"), read)
    mappability = next((source for source in sources if source.name == MAPPABILITY), None)
    windows = choose_windows(land, counts, mappability, rules, seed, peaks, funnel)
    copies = _compare_folds(land, windows, rules, splits, near_duplicates, peaks, funnel)
    meta = {
        "stage_version": STAGE_VERSIONS["encode"],
        "window_bp": window_bp,
        "folds": {name: fold.parts() for name, fold in splits.items()},
        "inputs": inputs,
        "parameters": _describe_parameters(rules, exclude_contigs, near_duplicates, sources),
        # a reference: reading the tracks below adds their gaps, before meta.json is written
        "filters": funnel.rows,
        "background": _describe_match(windows.match),
        "near_duplicates": _describe_copies(copies, near_duplicates == "drop") if copies else None,
        "seed": seed,
    }
    contigs = _count_gaps(parts.read(land.lengths, read), land.lengths, sources, funnel)
    write_store(output, contigs, windows.regions, meta)
    parts.remove()
    if reports:
        _write_reports(Path(reports), funnel, copies)
    log.info("encoded %d contigs, %d bp, as %s", len(land.lengths), sum(land.lengths.values()), output)


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
        funnel.add(f"track {name}", total - gap, gap, why, of="bases")


def _compare_folds(
    land: Landscape,
    windows: Windows,
    rules: WindowRules,
    folds: Mapping[str, Fold],
    near_duplicates: str,
    where: Path | str,
    funnel: Funnel,
) -> NearDuplicates | None:
    """Check that each part of each fold has peaks, and look for what lies in two parts, unless told to skip it."""
    peaks = windows.regions.query("kind == 'peak'")
    check_folds_have_peaks(folds, peaks, where)
    if near_duplicates == "skip":
        return None
    copies = _find_copies(land, peaks, rules.window_bp, folds)
    _record_copies(copies, land, folds, near_duplicates == "drop", funnel)
    return copies


def _find_copies(
    land: Landscape, peaks: pd.DataFrame, window_bp: int, folds: Mapping[str, Fold]
) -> NearDuplicates:
    """Look for near-copies of held-out peak windows on the training contigs of each fold.

    Excluded bases are neither learned from nor scored, so a copy on the exclusion list is none.
    """

    def scored_codes(contig: str) -> NDArray[np.uint8]:
        return np.where(land.in_excluded(contig), np.uint8(UNKNOWN), land.genome.codes(contig))

    starts = window_starts(peaks, land.lengths, window_bp)
    windows = pd.DataFrame({"chrom": peaks["chrom"], "start": starts, "end": starts + window_bp})
    return find_near_duplicates(windows, scored_codes, land.lengths, folds)


def _record_copies(
    copies: NearDuplicates, land: Landscape, folds: Mapping[str, Fold], is_drop: bool, funnel: Funnel
) -> None:
    """Record for each fold how much is copied, and what training passes over."""
    for name, fold in folds.items():
        trained = sum(length for contig, length in land.lengths.items() if fold.split(contig) == "train")
        dropped = copies.copied_bp(name) if is_drop else 0
        why = "near-copies of held-out windows: training passes over them"
        note = f"{copies.found[name]} of {copies.checked[name]} held-out windows have a near-copy in training"
        funnel.add(
            f"near-copies, fold {name}", trained - dropped, dropped, why, of="training bases", note=note
        )


def _write_reports(folder: Path, funnel: Funnel, copies: NearDuplicates | None) -> None:
    """Write what people look at to see what was dropped, and what lies in two folds."""
    write_table(folder / "regions_funnel.tsv", funnel_table(funnel))
    draw_funnel(funnel, folder / "regions_funnel.svg")
    listed = copies.table if copies else NearDuplicates.empty_table()
    write_table(folder / "near_duplicates.tsv", listed)


def _describe_copies(copies: NearDuplicates, is_drop: bool) -> dict[str, Any]:
    """Return what ``meta.json`` says about near-copies between folds; with `is_drop`, where they are."""
    folds: dict[str, dict[str, Any]] = {}
    for fold, checked in copies.checked.items():
        folds[fold] = {"checked": checked, "found": copies.found[fold]}
        if is_drop:
            folds[fold]["copies"] = copies.copies[fold].to_numpy().tolist()
    return {"kmer_bp": KMER_BP, "scale": copies.scale, "near_copy": NEAR_COPY, "folds": folds}


def _describe_parameters(
    rules: WindowRules, exclude_contigs: Iterable[str], near_duplicates: str, sources: list[TrackSource]
) -> dict[str, Any]:
    """Return what ``meta.json`` says about what was asked for."""
    return {
        "exclude_contigs": list(exclude_contigs),
        "background_ratio": rules.background_ratio,
        "max_unknown_fraction": rules.max_unknown_fraction,
        "outlier_ratio": rules.outlier_ratio,
        "near_duplicates": near_duplicates,
        "gaps_are_zero": [source.name for source in sources if source.gaps_are_zero],
    }


def _describe_match(match: Match) -> dict[str, Any]:
    """Return what ``meta.json`` says about background."""
    gc_ks_p, *more = match.ks_p
    return {
        "wanted": match.wanted,
        "shifted": match.second_choices,
        "substituted": match.substituted,
        "gc_ks_p": gc_ks_p,
        **({"mappability_ks_p": more[0]} if more else {}),
    }


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
