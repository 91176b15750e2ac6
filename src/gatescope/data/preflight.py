"""Do the input files fit each other, and what will it cost? Answered in seconds, before anything expensive.

Public names: `preflight`, `RunSize`, `Cost`, `predict_cost`.
"""

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from gatescope.atac.accounts import Duplicates, ReadFilter
from gatescope.atac.cuts import Paths, Shifts
from gatescope.data.checked import GivenInputs, check_inputs
from gatescope.data.inputs import TrackSource
from gatescope.data.landscape import Landscape
from gatescope.errors import InputError
from gatescope.files import write_json
from gatescope.genome.folds import Fold
from gatescope.genome.regions import ExclusionLists, list_exclusions
from gatescope.settings import read_section
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

_LEAST_ENRICHMENT = 2.0  # cuts in peaks over what their share of the genome would give by chance

# One thread of a server, stem of 48 channels: measured, rounded.
_STEM_US = 1.5  # forward and backward, one base of one window; what the twin without recurrence takes
_TRACKS_PER_RUN, _TRACK_BYTES_PER_BP = 12, 3.5  # bigWig of a gate at three decimals, with zoom levels
_UNIT_BYTES_PER_BP = 2 * 4  # directions x float32
_START_S = 10  # a verb that loads torch, and the k-mer baseline


@dataclass(frozen=True)
class RunSize:
    """Say what the cost of a run, or of several alike, depends on; see config/README.md for the keys.

    Attributes
    ----------
    runs : int
        How many there are.
    fold : str
        Fold they hold out; empty takes the largest.
    epochs, windows_per_epoch, hidden_units, layers : int
    dilated_layers, channels : int
        Of a network of dilated convolutions, which has no gates to trace; no layers for one with a recurrence.
    contigs : {"all", "held-out"}
        Contigs that get gate tracks.
    """

    runs: int = 1
    fold: str = ""
    epochs: int = 8
    windows_per_epoch: int = 4800
    hidden_units: int = 32
    layers: int = 1
    dilated_layers: int = 0
    channels: int = 48
    contigs: str = "all"


@dataclass(frozen=True)
class Cost:
    """Predict what the workflow will take, one job after the other; right within a factor of about three.

    The sums run over runs of H units in l layers; m is 1 + H (H + 48) / 1250, close to the work of a layer.

    Attributes
    ----------
    runs : int
        Networks to train; each with a recurrence also has a twin without it that is trained.
    train_minutes : float
        epochs x windows_per_epoch x window_bp x (2 x 1.5 + l m) us; early stopping makes it less. With d dilated
        convolutions of c channels in place of the recurrence (1.5 + d m) us, where m is c (c + 32) / 3500.
    trace_minutes : float
        (2 passes over the bp that get tracks + 1 of the untrained twin over held-out bp) x (4 + 0.08 H) us.
    evaluate_minutes : float
        10 s + held-out bp x (10 + l m) us, or (10 + d m) us.
    boundaries_minutes : float
        10 s + held-out bp x H x 0.25 us.
    store_mb, tracks_mb : float
        Disk that stays occupied: 2 bytes per bp and 4 per bp and track; 12 tracks x 3.5 bytes per bp that gets
        tracks.
    temporary_mb : float
        Disk in between: run and untrained twin x 2 directions x (2 H + 1) x 4 bytes x held-out bp.
    """

    runs: int
    train_minutes: float
    trace_minutes: float
    evaluate_minutes: float
    boundaries_minutes: float
    store_mb: float
    tracks_mb: float
    temporary_mb: float


def predict_cost(
    bp: int, held_out_bp: Mapping[str, int], window_bp: int, n_tracks: int, runs: Iterable[RunSize]
) -> Cost:
    """Predict time and disk space; see `Cost` for the formulas.

    Parameters
    ----------
    bp : int
        All bases.
    held_out_bp : mapping of str to int
        Bases of validation and test contigs, by fold.
    window_bp : int
        Length of a training window.
    n_tracks : int
        Tracks in the encoded store, the cuts among them.
    runs : iterable of RunSize
    """
    n = train = trace = evaluate = boundaries = tracks = temporary = 0.0
    for size in runs:
        held_out = held_out_bp[size.fold] if size.fold else max(held_out_bp.values())
        shown = bp if size.contigs == "all" else held_out
        if size.dilated_layers:  # no twins, no gates
            dilated_us = size.dilated_layers * size.channels * (size.channels + 32) / 3500
            n += size.runs
            train += size.runs * size.epochs * size.windows_per_epoch * window_bp * (_STEM_US + dilated_us)
            evaluate += size.runs * (_START_S * 1e6 + held_out * (10 + dilated_us))
            continue
        recurrence_us = size.layers * (1 + size.hidden_units * (size.hidden_units + 48) / 1250)
        n += size.runs
        train += size.runs * size.epochs * size.windows_per_epoch * window_bp * (2 * _STEM_US + recurrence_us)
        trace += size.runs * (2 * shown + held_out) * (4 + 0.08 * size.hidden_units)
        evaluate += size.runs * (_START_S * 1e6 + held_out * (10 + recurrence_us))
        boundaries += size.runs * (_START_S * 1e6 + held_out * size.hidden_units * 0.25)
        tracks += size.runs * _TRACKS_PER_RUN * shown * _TRACK_BYTES_PER_BP
        temporary += size.runs * 2 * held_out * (2 * size.hidden_units + 1) * _UNIT_BYTES_PER_BP
    minutes = (round(us / 60e6, 1) for us in (train, trace, evaluate, boundaries))
    megabytes = (round(size / 1e6, 1) for size in (bp * (2 + 4 * n_tracks), tracks, temporary))
    return Cost(int(n), *minutes, *megabytes)


def preflight(
    genome: Path | str,
    atac: Paths,
    peaks: Path | str,
    output: Path | str,
    *,
    folds: Any,
    exclusion_list: ExclusionLists = None,
    tracks: Mapping[str, str | Path] | None = None,
    tn5_shift: Shifts = "+0/-0",
    duplicates: Duplicates = "auto",
    min_mapq: int = 30,
    improper_pairs: Literal["remove", "keep"] = "remove",
    exclude_contigs: Iterable[str] = (),
    window_bp: int = 1500,
    max_unknown_fraction: float = 0.1,
    runs: Iterable[Mapping[str, Any]] = ({},),
) -> None:
    """Check all inputs against each other, log what they hold, and write that to `output`.

    Every file is read whole, once. Nothing is repaired or filled in.

    Parameters
    ----------
    genome : path
        FASTA or .2bit.
    atac : path, or a sequence of paths
        Reads, fragments, or a bigWig of cut counts, as in `gatescope.atac.cuts.cuts`; several are replicates.
    peaks : path
        BED3+ or narrowPeak.
    output : path
        ``preflight.json``; not written if anything is wrong.
    folds : mapping, int, path or list of paths
        Splits by contig, as `gatescope.genome.folds.name_folds` takes them.
    exclusion_list : path or sequence of paths, optional
        BED.
    tracks : mapping, optional
        Extra input tracks, name -> bigWig path, or ``path:zero`` where a missing value means 0.
    tn5_shift : str, or one for each file
        Shift that is already in the ATAC file, such as ``+0/-0``; ``auto`` takes what the data say.
    duplicates, min_mapq, improper_pairs
        As in `gatescope.atac.accounts.ReadFilter`.
    exclude_contigs : iterable of str
        Contigs to leave out.
    window_bp : int
        Length of a training window.
    max_unknown_fraction : float
        Largest share of unknown bases in a window.
    runs : iterable of mapping
        What will be trained, to predict the cost: fields of `RunSize`, one mapping for runs alike.

    Raises
    ------
    InputError
        For everything that does not fit (`InputErrors`, if that is several things): contigs or lengths that
        differ, rows off a contig, empty or unreadable files, a fold without peaks, an extra track without values,
        windows longer than contigs, no cut on any contig; for ``auto``, if the data do not tell their shift.
    """
    given = GivenInputs(
        genome=genome,
        atac=[atac] if isinstance(atac, (str, Path)) else list(atac),
        peaks=peaks,
        folds=folds,
        exclusion_list=exclusion_list,
        tracks=tracks or {},
        tn5_shift=tn5_shift,
        keep=ReadFilter(duplicates, min_mapq, improper_pairs),
        exclude_contigs=tuple(exclude_contigs),
        window_bp=window_bp,
        max_unknown_fraction=max_unknown_fraction,
    )
    checked = check_inputs(given)
    sizes = _read_sizes(runs, checked.folds)
    found = {
        "stage_version": STAGE_VERSIONS["preflight"],
        "inputs": _list_inputs(given, checked.sources),
        "genome": checked.genome,
        "atac": checked.atac,
        "peaks": _describe_peaks(checked.land, checked.usable),
        "filters": checked.funnel.rows,
        "folds": {
            name: _describe_fold(fold, checked.land, checked.usable) for name, fold in checked.folds.items()
        },
    }
    held_out = {name: parts["valid"]["bp"] + parts["test"]["bp"] for name, parts in found["folds"].items()}
    cost = predict_cost(found["genome"]["bp"], held_out, window_bp, 1 + len(checked.sources), sizes)
    _log_findings(found, cost, Path(output))
    write_json(output, {**found, "cost": asdict(cost)})


def _read_sizes(runs: Iterable[Mapping[str, Any]], folds: Mapping[str, Fold]) -> list[RunSize]:
    """Check what was said about the runs."""
    sizes = [read_section(RunSize, run, "runs") for run in runs]
    for size in sizes:
        if size.fold and size.fold not in folds:
            raise InputError(f"no fold {size.fold!r}; there are {', '.join(folds)}", where="runs")
    return sizes


def _list_inputs(given: GivenInputs, sources: list[TrackSource]) -> dict[str, str]:
    """Return the path of each input, as given."""
    several = len(given.atac) > 1
    atac = {f"atac {n}" if several else "atac": path for n, path in enumerate(given.atac, start=1)}
    exclusions = list_exclusions(given.exclusion_list)
    paths = {"genome": given.genome, **atac, "peaks": given.peaks, **exclusions}
    paths |= {f"track {source.name}": source.path for source in sources}
    return {role: str(path) for role, path in paths.items()}


def _describe_peaks(land: Landscape, usable: pd.DataFrame) -> dict[str, Any]:
    """Describe the merged peaks."""
    lengths = (land.peaks["end"] - land.peaks["start"]).to_numpy()
    return {
        "merged": len(land.peaks),
        "usable": len(usable),
        "bp": int(lengths.sum()),
        "share_of_genome": round(float(lengths.sum() / sum(land.lengths.values())), 6),
        "median_bp": float(np.median(lengths)),
        "gc_of_windows": round(float(usable["gc"].to_numpy().mean()), 6),
    }


def _describe_fold(fold: Fold, land: Landscape, usable: pd.DataFrame) -> dict[str, Any]:
    """Count bases and usable peaks of each part of a fold."""
    names = ["train", "valid", "test"] + ["unused"] * (fold.train is not None)
    parts = {part: [c for c in land.lengths if fold.split(c) == part] for part in names}
    return {
        part: {
            "contigs": contigs,
            "bp": sum(land.lengths[contig] for contig in contigs),
            "peaks": int(np.isin(usable["chrom"], contigs).sum()),
        }
        for part, contigs in parts.items()
    }


def _log_findings(found: dict[str, Any], cost: Cost, output: Path) -> None:
    """Say what was found, one line per subject, and warn where a number is not what good data give."""
    genome, atac, peaks = found["genome"], found["atac"], found["peaks"]
    counted = "".join(f"{atac[what]:,} {what}, " for what in ("fragments", "reads") if atac[what] is not None)
    of_assembly = f" of {genome['assembly']}" if genome["assembly"] else ""
    lines = {
        "genome": f"{genome['bp']:,} bp in {len(genome['contigs'])} contigs{of_assembly}, "
        f"{genome['unknown_share']:.2%} unknown, GC {genome['gc']:.1%}",
        "ATAC-seq": f"{atac['kind']}: {counted}{atac['cuts']:,} cuts, {atac['cuts_per_bp']:.4f} per bp "
        f"(shift {atac['tn5_shift']})",
        "peaks": f"{peaks['merged']:,} after merging, median {peaks['median_bp']:.0f} bp, "
        f"{peaks['share_of_genome']:.1%} of the genome; {peaks['usable']:,} to train on",
        "FRiP": f"{atac['frip']:.3f} (share of cuts in peaks)",
    }
    for name, parts in found["folds"].items():
        lines[f"fold {name}"] = "; ".join(
            f"{part} {values['bp'] / 1e6:.2f} Mb, {values['peaks']} peaks" for part, values in parts.items()
        )
    lines["cost"] = (
        f"about {cost.train_minutes:g} min to train {cost.runs} run(s), {cost.evaluate_minutes:g} min to "
        f"evaluate, {cost.trace_minutes:g} min to trace, {cost.boundaries_minutes:g} min for boundaries; "
        f"{cost.store_mb + cost.tracks_mb:,.0f} MB of disk, {cost.temporary_mb:,.0f} MB more for a while"
    )
    for subject, text in lines.items():
        log.info("%-9s %s", subject, text)
    # the shares are rounded: few peaks on a large genome would give a share of 0
    _warn(atac["frip"] * genome["bp"] / peaks["bp"], cost, output)


def _warn(enrichment: float, cost: Cost, output: Path) -> None:
    """Warn of what is allowed but seldom meant."""
    if enrichment < _LEAST_ENRICHMENT:
        log.warning(
            "peaks hold only %.1f times the cuts that chance gives: are they of this sample, this assembly?",
            enrichment,
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(output.parent).free / 1e6
    needed_mb = cost.store_mb + cost.tracks_mb + cost.temporary_mb
    if needed_mb > free_mb:
        log.warning(
            "the results need about %.0f MB, %.0f MB are free in %s", needed_mb, free_mb, output.parent
        )
