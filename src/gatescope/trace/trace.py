"""What did every gate do along the genome? The stage, from a trained network to tracks and tables.

Public names: `trace`.
"""

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import file_hash, replacing_folder, write_json, write_table
from gatescope.genome.contigs import contig_hint
from gatescope.genome.fasta import Genome
from gatescope.genome.regions import read_regions
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.reading import UnknownBases
from gatescope.trace.sinks import Census, ModelCheck, Slices, UnitLogits
from gatescope.trace.stream import ContigStream, SeamReport, Sink
from gatescope.trace.tracks import GateTracks
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: Boundary statements rest on the first layer: later layers of a bidirectional net have seen both sides.
_LAYER = 0


def trace(
    model: Path | str,
    output: Path | str,
    *,
    store: Path | str | None = None,
    fasta: Path | str | None = None,
    contigs: str = "all",
    tracks: str = "mean",
    units: Path | str | None = None,
    slices: Path | str | None = None,
    decimals: int = 3,
    dtype: str = "float32",
    unknown_bases: str = "learned",
    threads: int = 1,
) -> None:
    """Replay the gates of a network over whole contigs and write what was asked for.

    Without `units`: the per-unit forget logits of held-out contigs (`units/{contig}.npy`, float32, shape
    (D, H, L)), the census `units.tsv`, `summary.json`, and with ``tracks="mean"`` the mean gate tracks.
    With `units`: only the gate tracks of the selected units.

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
    slices : path, optional
        BED of regions of which everything is kept, one ``slices/{contig}.{start}-{end}.npz`` each (`Slices`).
    decimals : int
        Decimals kept in the tracks.
    dtype : {"float32", "float64"}
        Arithmetic of the replay.
    unknown_bases : str
        What the recurrence does at N: "learned", "freeze" or "decay(HALF_LIFE_BP)" (`UnknownBases`).
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        If the store was not encoded from what the model was trained on, the network reads tracks that a FASTA does
        not hold, a contig is unknown, or a file is missing.
    ReplayError
        If the replay does not reproduce the network: nothing is written.
    """
    network, meta = load_model(model)
    if not network.lstm_layers:
        raise InputError("the network has no recurrence, so there is no gate to trace", where=model)
    data, source = _open_genome(store, fasta, network, meta, model)
    policy = UnknownBases.parse(unknown_bases)
    device = prepare_torch(threads, "cpu" if meta["training"]["device"] == "cpu" else "auto")
    network = network.to(device, getattr(torch, dtype))
    held_out = {*meta["fold"]["valid"], *meta["fold"]["test"]} if fasta is None else set()
    chosen = _choose_contigs(contigs, data.lengths, held_out)
    census, check = Census(network), ModelCheck(network, data, policy)
    with ExitStack() as stack:
        sinks: list[Sink] = [check]
        if units is None:
            sinks.append(census)
        if slices is not None:
            regions = read_regions(slices, data.lengths, "what is traced")
            log.info("slices: %d regions, %.0f MB", len(regions), _slices_mb(regions, network))
            folder = stack.enter_context(replacing_folder(Path(output) / "slices", ("*.npz",)))
            sinks.append(Slices(folder, regions))
        if units is None and fasta is None:
            folder = stack.enter_context(replacing_folder(Path(output) / "units", ("*.npy",)))
            sinks.append(UnitLogits(folder, held_out, network.config.hidden_units))
        if units is not None or tracks == "mean":
            shown = None if units is None else _selected_units(Path(units), network.config.hidden_units)
            writer = stack.enter_context(GateTracks(Path(output), data.lengths, decimals, meta, shown))
            sinks.append(writer)
        seams = _stream(ContigStream(network, data, unknown=policy), sinks, chosen)
        certificate = check.certificate.checked()
        if units is not None or tracks == "mean":
            writer.certificate = certificate
    log.info("replay exact to %.1e (tolerance %.0e)", certificate.max_error, certificate.tolerance)
    if units is None:
        write_table(Path(output) / "units.tsv", census.table())
        traced = {"contigs": {contig: data.lengths[contig] for contig in chosen}, **source}
        write_json(Path(output) / "summary.json", _summary(meta, traced, network, policy, check, seams))


class _Sequences:
    """A FASTA as a genome without tracks; the contig that is read is held in memory, a byte per base."""

    def __init__(self, path: Path | str) -> None:
        self._genome = Genome(path)
        self.lengths = self._genome.lengths
        self._held: tuple[str, NDArray[np.uint8]] | None = None

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the bases of a contig; every block of it is asked for anew, the file is read once."""
        if self._held is None or self._held[0] != contig:
            self._held = contig, self._genome.codes(contig)
        return self._held[1]

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Refuse: a FASTA has none."""
        raise ValueError(f"a FASTA has no track {name!r}")


def _open_genome(
    store: Path | str | None,
    fasta: Path | str | None,
    network: AccessibilityNetwork,
    meta: dict[str, Any],
    model: Path | str,
) -> tuple[EncodedStore | _Sequences, dict[str, Any]]:
    """Open what is to be read, and return what the summary says of it."""
    if (store is None) == (fasta is None):
        raise InputError("wanted an encoded store or a FASTA, one of them", where="trace: --store, --fasta")
    if store is not None:
        data = EncodedStore(store)
        require_store(data, meta, model)
        return data, {"store": data.content_hash}
    assert fasta is not None
    if network.config.tracks:
        raise InputError(
            f"the network reads {', '.join(network.config.tracks)} beside the sequence; a FASTA has no tracks",
            where=model,
            remedy="trace an encoded store, or a model with inputs: [sequence]",
        )
    return _Sequences(fasta), {"fasta": str(fasta), "fasta_sha256": file_hash(fasta)}


def _choose_contigs(contigs: str, lengths: dict[str, int], held_out: set[str]) -> list[str]:
    """Return the contigs to read, in the order of the genome."""
    if contigs == "all":
        return list(lengths)
    wanted = held_out if contigs == "held-out" else {name.strip() for name in contigs.split(",")}
    unknown = sorted(wanted - set(lengths))
    if unknown or not wanted:
        raise InputError(
            f"no contig {', '.join(unknown)} in what is traced"
            if unknown
            else "a FASTA has no held-out contigs",
            where="trace: --contigs",
            cause=contig_hint(unknown, lengths) if unknown else "",
            remedy="name contigs, separated by commas, or all",
        )
    return [contig for contig in lengths if contig in wanted]


def _slices_mb(regions: pd.DataFrame, network: AccessibilityNetwork) -> float:
    """Predict the size of the slices: seven values per base, direction and unit."""
    bases = int((regions.end - regions.start).sum())
    size = network.stem.weight.element_size()
    return bases * 7 * len(DIRECTIONS) * network.config.hidden_units * size / 1e6


def _selected_units(path: Path, hidden_units: int) -> dict[str, int]:
    """Return the named unit of each direction from the table of the boundaries stage."""
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy="run gatescope boundaries first")
    again = "run gatescope boundaries again, for this network"
    try:
        table = pd.read_csv(path, sep="\t")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"not a table ({error})", where=path, remedy=again) from error
    missing = [name for name in ("direction", "crossing", "unit", "selected") if name not in table]
    if missing:
        raise InputError(f"no column {', '.join(missing)}", where=path, remedy=again)
    rows = table[(table.crossing == "entry") & table.selected.isin([True])]
    if sorted(map(str, rows.direction)) != sorted(DIRECTIONS):
        raise InputError(f"names no unit for each of {', '.join(DIRECTIONS)}", where=path, remedy=again)
    if not rows.unit.isin(range(hidden_units)).all():
        named = ", ".join(map(str, rows.unit))
        raise InputError(f"units {named}; the network has 0 to {hidden_units - 1}", where=path, remedy=again)
    return dict(zip(rows.direction, rows.unit.astype(int), strict=True))


def _stream(stream: ContigStream, sinks: list[Sink], contigs: list[str]) -> dict[str, list[SeamReport]]:
    """Read every contig, and say how long the rest will take."""
    lengths, seams = stream.genome.lengths, {}
    total, done, started = sum(lengths[contig] for contig in contigs), 0, time.monotonic()
    for contig in contigs:
        begun = time.monotonic()
        seams[contig] = stream.read(contig, sinks)
        done += lengths[contig]
        now = time.monotonic()
        log.info(
            "%s: %s bp in both directions (%.0f s; about %.0f s to go)",
            contig, f"{lengths[contig]:,}", now - begun, (now - started) * (total - done) / done,
        )  # fmt: skip
    return seams


def _summary(
    meta: dict[str, Any],
    traced: dict[str, Any],
    network: AccessibilityNetwork,
    policy: UnknownBases,
    check: ModelCheck,
    seams: dict[str, list[SeamReport]],
) -> dict[str, Any]:
    return {
        "stage_version": STAGE_VERSIONS["trace"],
        "run": meta["run"],
        "model_sha256": meta["sha256"],
        **traced,
        "layer": _LAYER + 1,
        "layers": network.config.layers,
        "hidden_units": network.config.hidden_units,
        "lookahead_bp": network.config.lookahead_bp,
        "state": "carried over whole contigs, zero at the end where a direction starts",
        "unknown_bases": str(policy),
        "certificate": check.certificate.as_json(),
        "seams": {
            contig: {DIRECTIONS[report.direction]: report.as_json() for report in reports}
            for contig, reports in seams.items()
        },
    }
