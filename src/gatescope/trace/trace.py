"""What did every gate do along the genome? The stage, from a trained network to tracks and tables.

Public names: `trace`.
"""

import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import replacing_folder, write_json, write_table
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.certificate import Certificate
from gatescope.trace.sinks import Census, GateTracks, Sink, UnitLogits
from gatescope.trace.stream import stream_contig
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: Boundary statements rest on the first layer: later layers of a bidirectional net have seen both sides.
_LAYER = 0


def trace(
    store: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    contigs: str = "all",
    tracks: str = "mean",
    units: Path | str | None = None,
    decimals: int = 3,
    dtype: str = "float32",
    threads: int = 1,
) -> None:
    """Replay the gates of a network over whole contigs and write what was asked for.

    Without `units`: the per-unit forget logits of held-out contigs (`units/{contig}.npy`, float32, shape
    (D, H, L)), the census `units.tsv`, `summary.json`, and with ``tracks="mean"`` the mean gate tracks.
    With `units`: only the gate tracks of the selected units.

    Parameters
    ----------
    store, model : path
        Encoded store; folder of the run.
    output : path
        Folder of the trace; each file appears whole or not at all.
    contigs : {"all", "held-out"}
        "held-out" reads the validation and test contigs of the model's fold only.
    tracks : {"mean", "none"}
    units : path, optional
        `units.tsv` of the boundaries stage; the unit with ``selected`` at the entry of each direction is traced.
    decimals : int
        Decimals kept in the tracks.
    dtype : {"float32", "float64"}
        Arithmetic of the replay.
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        If the store was not encoded from what the model was trained on, or a file is missing.
    ReplayError
        If the replay does not reproduce the network: nothing is written.
    """
    data = EncodedStore(store)
    network, meta = load_model(model)
    require_store(data, meta, model)
    device = prepare_torch(threads, meta["training"]["device"])
    network = network.to(device, getattr(torch, dtype))
    held_out = {*meta["fold"]["valid"], *meta["fold"]["test"]}
    chosen = [c for c in data.lengths if contigs == "all" or c in held_out]
    census = Census(network)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        if units is None:
            folder = stack.enter_context(replacing_folder(Path(output) / "units"))
            sinks = [census, UnitLogits(folder, held_out)]
        if units is not None or tracks == "mean":
            shown = None if units is None else _selected_units(Path(units))
            sinks.append(stack.enter_context(GateTracks(Path(output), data.lengths, decimals, meta, shown)))
        certificate = _stream(sinks, network, data, chosen)
    if units is None:
        write_table(Path(output) / "units.tsv", census.table())
        write_json(Path(output) / "summary.json", _summary(meta, data, chosen, network, certificate))


def _selected_units(path: Path) -> dict[str, int]:
    """Return the named unit of each direction from the table of the boundaries stage."""
    if not path.exists():
        raise InputError("file does not exist", where=path, remedy="run gatescope boundaries first")
    table = pd.read_csv(path, sep="\t")
    rows = table[(table.crossing == "entry") & table.selected]
    if sorted(rows.direction) != sorted(DIRECTIONS):
        raise InputError(f"names no unit for each of {', '.join(DIRECTIONS)}", where=path)
    return dict(zip(rows.direction, rows.unit.astype(int), strict=True))


def _stream(
    sinks: list[Sink], network: AccessibilityNetwork, data: EncodedStore, contigs: list[str]
) -> Certificate:
    """Send every chunk of every contig to all sinks; fail closed at the first chunk that does not replay."""
    weight, positions, worst = network.stem.weight, 0, 0.0
    certificate = Certificate.of(weight, worst, positions)
    for contig in contigs:
        started, length = time.monotonic(), data.lengths[contig]
        for sink in sinks:
            sink.begin(contig, length)
        for chunk in stream_contig(network, data, contig, layer=_LAYER):
            worst = max(worst, chunk.gates.error) if math.isfinite(chunk.gates.error) else math.inf
            certificate = Certificate.of(weight, worst, positions + length).checked()
            for sink in sinks:
                sink.take(chunk)
        positions += length
        for sink in sinks:
            sink.end(certificate)
        log.info("%s: %s bp in both directions (%.0f s)", contig, f"{length:,}", time.monotonic() - started)
    log.info("replay exact to %.1e (tolerance %.0e)", certificate.max_error, certificate.tolerance)
    return certificate


def _summary(
    meta: dict[str, Any],
    data: EncodedStore,
    contigs: list[str],
    network: AccessibilityNetwork,
    certificate: Certificate,
) -> dict[str, Any]:
    return {
        "stage_version": STAGE_VERSIONS["trace"],
        "run": meta["run"],
        "model_sha256": meta["sha256"],
        "store": data.content_hash,
        "layer": _LAYER + 1,
        "layers": network.config.layers,
        "hidden_units": network.config.hidden_units,
        "lookahead_bp": network.config.lookahead_bp,
        "interpretable_at_boundaries": network.config.is_interpretable_at_boundaries,
        "contigs": {contig: data.lengths[contig] for contig in contigs},
        "state": "carried over whole contigs, zero at the end where a direction starts",
        "certificate": certificate.as_json(),
    }
