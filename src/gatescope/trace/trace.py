"""What did every gate do along the genome? The stage, from a trained network to tracks and tables.

Public names: `trace`.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import fingerprint, replacing_folder, write_json, write_table
from gatescope.genome.contigs import WHOLE, contig_file_stem, share_of
from gatescope.genome.regions import read_regions
from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.census import GateCensus
from gatescope.trace.certificate import Certificate
from gatescope.trace.memory import half_life
from gatescope.trace.parts import Part, Wanted, finished_part, trace_contig
from gatescope.trace.reading import UnknownBases
from gatescope.trace.sample import SAMPLE_FILE, join_parts
from gatescope.trace.sinks import Progress
from gatescope.trace.source import Sequences, choose_contigs, held_out_contigs, open_genome
from gatescope.trace.stream import ContigStream
from gatescope.trace.tracks import track_rows, write_tracks
from gatescope.trace.units import DIRECTIONS, choose_units, unit_file

log = logging.getLogger(__name__)


def trace(
    model: Path | str,
    output: Path | str,
    *,
    store: Path | str | None = None,
    fasta: Path | str | None = None,
    contigs: str = "all",
    tracks: str = "mean",
    units: Path | str | None = None,
    unit: Sequence[str] = (),
    slices: Path | str | None = None,
    layer: int = 1,
    decimals: int = 3,
    dtype: str = "float32",
    unknown_bases: str = "learned",
    piece: str = WHOLE,
    threads: int = 1,
) -> None:
    """Replay the gates of a network over whole contigs and write what was asked for.

    Without `units`: what every unit did on held-out contigs (`units/`, see `gatescope.trace.units`), and at the bases
    of a sample everywhere (`unit_sample.npz`), the census `units.tsv`, `summary.json`, and with ``tracks="mean"`` the
    mean gate tracks.
    With `units` or `unit`: only the gate tracks of these units, and their memory: half-life, horizons, writes.

    Each finished contig rests in a folder of its own (``parts.*``) until all are read: run again after an
    interruption, the trace goes on from there.

    Parameters
    ----------
    model : path
        Folder of the run.
    output : path
        Folder of the trace; each file appears whole or not at all.
    store : path, optional
        Encoded store that the model was trained on.
    fasta : path, optional
        Instead of a store, any sequences: another genome, designed constructs. For networks that read DNA alone;
        no arrays of single units are written.
    contigs : str
        "all"; "held-out", the validation and test contigs of the model's fold; or names, separated by commas.
    tracks : {"mean", "none"}
    units : path, optional
        `units.tsv` of the boundaries stage; the unit with ``selected`` at the entry of each direction is traced.
    unit : sequence of str
        Instead, units by name: ``fwd:12``, ``rev:3``, or one of them.
    slices : path, optional
        BED of regions of which everything is kept, one ``slices/{contig}.{start}-{end}.npz`` each (`Slices`).
    layer : int
        LSTM layer, from 1. Boundary statements rest on the first: later layers have seen both sides.
    decimals : int
        Decimals kept in the tracks.
    dtype : {"float32", "float64"}
        Arithmetic of the replay.
    unknown_bases : str
        What the recurrence does at N: "learned", "freeze" or "decay(HALF_LIFE_BP)" (`UnknownBases`).
    piece : str
        "2-of-8" traces the second of eight shares of the contigs, about equally long, and stops there; several
        processes can work on one trace. A call without it then puts the trace together.
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        If the store was not encoded from what the model was trained on, the network reads tracks that a FASTA does
        not hold, a contig is unknown, a file is missing, or the disk is too full.
    ReplayError
        If the replay does not reproduce the network: nothing is written.
    """
    job = _prepare(model, store, fasta, layer, dtype, unknown_bases, threads)
    output = Path(output)
    hidden_units = job.network.config.hidden_units
    shown = choose_units(units, unit, hidden_units) if units is not None or unit else None
    kind = "unit" if unit else "boundary_unit"
    regions = None if slices is None else read_regions(slices, job.genome.lengths, "what is traced")
    has_tracks = shown is not None or tracks == "mean"
    chosen = choose_contigs(contigs, job.genome.lengths, job.held_out)
    _refuse_elsewhere(regions, chosen, slices)
    wanted = [
        Wanted(
            contig,
            tracks=has_tracks,
            units=shown,
            every_unit=shown is None and contig in job.held_out,
            slices=_regions_of(contig, regions),
        )
        for contig in chosen
    ]
    # two traces of different things can share an output
    made_from = {**job.made_from, "tracks": has_tracks, "units": shown}
    folder = output / f"parts.{fingerprint(made_from)[:8]}"
    mine = set(share_of({contig: job.genome.lengths[contig] for contig in chosen}, piece, "trace: --piece"))
    parts = _trace_parts(job, [each for each in wanted if each.contig in mine], folder)
    if piece != WHOLE:
        return
    certificate = Certificate.merged([part.certificate for part in parts])
    log.info("replay exact to %.1e (tolerance %.0e)", certificate.max_error, certificate.tolerance)
    table = _census_table(job, parts) if shown is None else None
    _gather(job, wanted, parts, output, kind, decimals, certificate)
    if table is not None:
        write_table(output / "units.tsv", table)
        samples = {each.contig: part.sample for each, part in zip(wanted, parts, strict=True)}
        join_parts(output / SAMPLE_FILE, job.meta["sha256"], samples)
        write_json(output / "summary.json", _summary(job, wanted, parts, certificate))
    for part in parts:
        shutil.rmtree(part.folder)
    with suppress(OSError):  # parts of other contigs, which somebody else is tracing
        folder.rmdir()


@dataclass(frozen=True)
class _Job:
    """What is traced, and how."""

    network: AccessibilityNetwork
    meta: dict[str, Any]
    genome: EncodedStore | Sequences
    source: dict[str, str]
    held_out: set[str]
    layer: int  # from 0
    dtype: str
    unknown: UnknownBases

    @property
    def made_from(self) -> dict[str, Any]:
        """What a part depends on, beside what is wanted of its contig."""
        return {
            "stage_version": STAGE_VERSIONS["trace"],
            "model_sha256": self.meta["sha256"],
            **self.source,
            "layer": self.layer + 1,
            "dtype": self.dtype,
            "unknown_bases": str(self.unknown),
            "device": self.network.like.device.type,
        }


def _prepare(
    model: Path | str,
    store: Path | str | None,
    fasta: Path | str | None,
    layer: int,
    dtype: str,
    unknown_bases: str,
    threads: int,
) -> _Job:
    """Load and check everything that is read."""
    network, meta = load_model(model)
    if not network.lstm_layers:
        raise InputError("the network has no recurrence, so there is no gate to trace", where=model)
    if layer not in range(1, network.config.layers + 1):
        raise InputError(
            f"layer {layer}; the network has {network.config.layers}, counted from 1",
            where="trace: --layer",
        )
    genome, source = open_genome(store, fasta, network, meta, model)
    policy = UnknownBases.parse(unknown_bases)
    device = prepare_torch(threads, "cpu" if meta["training"]["device"] == "cpu" else "auto")
    network = network.to(device, getattr(torch, dtype))
    return _Job(network, meta, genome, source, held_out_contigs(meta, fasta), layer - 1, dtype, policy)


def _refuse_elsewhere(regions: pd.DataFrame | None, chosen: list[str], slices: Path | str | None) -> None:
    elsewhere = sorted(set() if regions is None else set(regions.chrom) - set(chosen))
    if elsewhere:
        raise InputError(
            f"regions on {', '.join(elsewhere)}, which is not traced",
            where=slices or "",
            remedy="name their contigs (--contigs), or leave these regions out",
        )


def _regions_of(contig: str, regions: pd.DataFrame | None) -> list[tuple[int, int]]:
    if regions is None:
        return []
    mine = regions[regions.chrom == contig]
    return sorted({(int(start), int(end)) for start, end in zip(mine.start, mine.end, strict=True)})


def _trace_parts(job: _Job, wanted: Sequence[Wanted], folder: Path) -> list[Part]:
    """Trace what is not there yet, and say how much that is before it starts."""
    lengths = job.genome.lengths
    finished = {each.contig: finished_part(each, folder, job.made_from) for each in wanted}
    missing = [each for each in wanted if finished[each.contig] is None]
    total = sum(lengths[each.contig] for each in missing)
    if len(missing) < len(wanted):
        log.info("%d of %d contigs were traced by an earlier run", len(wanted) - len(missing), len(wanted))
    _require_space(job, missing, folder)
    stream = ContigStream.of(job.network, job.genome, layer=job.layer, unknown=job.unknown)
    progress, parts = Progress(total * len(DIRECTIONS) * (job.layer + 1)), []
    for each in wanted:
        part = finished[each.contig]
        if part is None:
            part = trace_contig(
                each, folder, stream, job.network, job.genome, job.unknown, job.made_from, progress
            )
            log.info("%s: %s bp in both directions", each.contig, f"{lengths[each.contig]:,}")
        parts.append(part)
    return parts


def _require_space(job: _Job, wanted: Sequence[Wanted], folder: Path) -> None:
    """Say how much disk the trace takes until it is put together; refuse a disk that has less."""
    config, lengths = job.network.config, job.genome.lengths
    size, both = job.network.like.element_size(), len(DIRECTIONS)
    kept = 0
    for each in wanted:
        per_bp = len(track_rows(each.units)) if each.tracks else 0
        per_bp += (2 * config.hidden_units + 1) * each.every_unit  # logits and writes, and the change of h
        sliced = sum(end - start for start, end in each.slices) * 7 * config.hidden_units * size
        kept += both * (lengths[each.contig] * per_bp * 4 + sliced)
    # hidden states of the layers below rest elsewhere, of one contig at a time
    longest = max((lengths[each.contig] for each in wanted), default=0)
    below = job.layer * both * config.hidden_units * size * longest
    total = sum(lengths[each.contig] for each in wanted)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for place, needed in ((folder.parent, kept), (Path(tempfile.gettempdir()), below)):
        if needed:
            log.info("tracing %s bp takes %.0f MB of disk in %s meanwhile", f"{total:,}", needed / 1e6, place)
        if (free := shutil.disk_usage(place).free) < needed:
            raise InputError(
                f"the trace takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
                where=place,
                remedy="make room, or trace fewer contigs (trace: contigs: held-out)",
            )


def _gather(
    job: _Job,
    wanted: Sequence[Wanted],
    parts: Sequence[Part],
    output: Path,
    kind: str,
    decimals: int,
    certificate: Certificate,
) -> None:
    """Put tracks, arrays of units and slices of all contigs where they belong."""
    contigs = [each.contig for each in wanted]
    if wanted[0].tracks:
        write_tracks(
            output,
            [(contig, part.tracks) for contig, part in zip(contigs, parts, strict=True)],
            job.genome.lengths,
            units=wanted[0].units,
            kind=kind,
            decimals=decimals,
            describe=_described(job),
            certificate=certificate,
        )
    makes_units = wanted[0].units is None and bool(job.held_out)
    makes = {"slices": any(each.slices for each in wanted), "units": makes_units}
    for name in (name for name, is_made in makes.items() if not is_made and (output / name).exists()):
        log.warning("%s is of an earlier trace, not of this one", output / name)
    if makes["slices"]:
        with replacing_folder(output / "slices", ("*.npz",)) as folder:
            for contig, part in zip(contigs, parts, strict=True):
                for path in part.slices:
                    with np.load(path) as arrays:
                        certified = {**arrays, "certificate": json.dumps(part.certificate.as_json())}
                    np.savez(
                        folder / f"{contig_file_stem(contig)}.{path.name}", allow_pickle=False, **certified
                    )
    if makes["units"]:
        with replacing_folder(output / "units", ("*.npy",)) as folder:
            for each, part in zip(wanted, parts, strict=True):
                for name, path in part.units.items() if each.every_unit else ():
                    path.replace(folder / unit_file(each.contig, name))


def _described(job: _Job) -> dict[str, Any]:
    return {
        "run": job.meta["run"],
        "model_sha256": job.meta["sha256"],
        "lookahead_bp": job.network.config.lookahead_bp,
        "layer": job.layer + 1,
    }


def _census_table(job: _Job, parts: Sequence[Part]) -> pd.DataFrame:
    """Return one row per direction and unit.

    `bias_half_life_bp` is the half-life if nothing but the bias spoke; `half_life_*` are quantiles over bases of
    the half-life that the gate has there; `bimodality` is Sarle's coefficient; `hidden_sd` is the standard
    deviation of the hidden state over bases.
    """
    tables: list[pd.DataFrame] = []
    totals: list[GateCensus | None] = [None] * len(DIRECTIONS)
    for part in parts:
        for row, one in enumerate(part.census):
            before = totals[row]
            totals[row] = one if before is None else before if one is None else before.merged(one)
    for row, cell in enumerate(cells_of(job.network.lstm_layers[job.layer])):
        census = totals[row]
        if census is None:
            raise InputError(
                "no known base was read, so there is no gate",
                where=", ".join(job.genome.lengths),
                remedy="trace other contigs, or unknown_bases: learned",
            )
        hidden = job.network.config.hidden_units
        bias = cell.bias[hidden : 2 * hidden].detach().double().cpu().numpy()
        columns = {
            "direction": DIRECTIONS[row],
            "unit": np.arange(hidden),
            "bias_half_life_bp": half_life(bias).bp,
            "half_life_q10_bp": census.half_life_quantile(0.1),
            "half_life_median_bp": census.half_life_quantile(0.5),
            "half_life_q90_bp": census.half_life_quantile(0.9),
            "mean": census.mean,
            "share_below_0.1": census.share_low,
            "share_above_0.9": census.share_high,
            "bimodality": census.bimodality,
            "hidden_sd": census.hidden_sd,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _summary(
    job: _Job, wanted: Sequence[Wanted], parts: Sequence[Part], certificate: Certificate
) -> dict[str, Any]:
    lengths = job.genome.lengths
    return {
        "stage_version": STAGE_VERSIONS["trace"],
        **_described(job),
        "contigs": {each.contig: lengths[each.contig] for each in wanted},
        **job.source,
        "layers": job.network.config.layers,
        "hidden_units": job.network.config.hidden_units,
        "state": "carried over whole contigs, zero at the end where a direction starts",
        "unknown_bases": str(job.unknown),
        "certificate": certificate.as_json(),
        "seams": {
            each.contig: [
                {**seam, "layer": seam["layer"] + 1, "direction": DIRECTIONS[seam["direction"]]}
                for seam in part.seams
            ]
            for each, part in zip(wanted, parts, strict=True)
        },
    }
