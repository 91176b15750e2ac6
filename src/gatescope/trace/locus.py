"""What does the network remember at one place, and who wrote it? A figure, and arcs that genome browsers open.

Public names: `locus`.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import write_json
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store
from gatescope.model.predict import predict_contig
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.certificate import Certificate
from gatescope.trace.locus_figure import Picture, draw_locus
from gatescope.trace.locus_panels import Reader
from gatescope.trace.memory import half_life
from gatescope.trace.provenance import write_bedpe, write_interact, write_sources
from gatescope.trace.reading import UnknownBases
from gatescope.trace.sinks import ModelCheck
from gatescope.trace.stream import ContigStream, SeamReport
from gatescope.trace.stretch import AUTO, WIDTH_BP, Stretch, peaks_on, read_genes, tallest_peak
from gatescope.trace.tape import Mark, Memory, Tape, UnitTrace, recall
from gatescope.trace.units import DIRECTIONS, choose_units

log = logging.getLogger(__name__)

#: Where cuts are highest is where so many bases around hold most of them: a single base may be one fragment copied.
_SUMMIT_BP = 25


def locus(
    model: Path | str,
    store: Path | str,
    output: Path | str,
    *,
    region: str = AUTO,
    units: Path | str | None = None,
    unit: Sequence[str] = (),
    genes: Path | str | None = None,
    name: str = "locus",
    width_bp: int = WIDTH_BP,
    dtype: str = "float32",
    unknown_bases: str = "learned",
    threads: int = 1,
) -> None:
    """Read one place of the genome through the gates of one unit of each direction.

    The whole contig is read, the state carried from its ends, so that provenance goes back as far as the memory
    does. Written are ``{name}.svg``, the figure; ``{name}.sources.tsv``, ``.bedpe`` and ``.interact``, the bases whose
    writes are still held at the marks; ``{name}.json``, what was done and how exact it is.

    Parameters
    ----------
    model : path
        Folder of the run.
    store : path
        Encoded store that the model was trained on.
    output : path
        Folder; each file appears whole or not at all.
    region : str
        ``contig:first-last``, 1-based with commas as people type it, or "auto": around the peak with most cuts on
        the test contigs (`tallest_peak`).
    units : path, optional
        `units.tsv` of the boundaries stage: the unit with ``selected`` at the entry of each direction.
    unit : sequence of str
        Instead, units by name: ``fwd:12``, ``rev:3``, or one of them.
    genes : path, optional
        BED of genes to draw.
    name : str
        Of the files.
    width_bp : int
        Width of "auto".
    dtype : {"float32", "float64"}
        Arithmetic of the replay.
    unknown_bases : str
        What the recurrence does at N: "learned", "freeze" or "decay(HALF_LIFE_BP)" (`UnknownBases`).
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        If the region, a unit or a file is not what it should be, or the store not that of the model.
    ReplayError
        If the replay does not reproduce the network, or what was written does not add up to the memory: nothing is
        written.
    """
    network, meta = load_model(model)
    if not network.lstm_layers:
        raise InputError("the network has no recurrence, so there is no gate to trace", where=model)
    data = EncodedStore(store)
    require_store(data, meta, model)
    is_auto = region == AUTO
    place = (
        tallest_peak(data, meta["fold"]["test"], width_bp) if is_auto else Stretch.parse(region, data.lengths)
    )
    named = choose_units(units, unit, network.config.hidden_units)
    shown_genes = None if genes is None else read_genes(genes, place, data.lengths)
    policy = UnknownBases.parse(unknown_bases)
    device = prepare_torch(threads, "cpu" if meta["training"]["device"] == "cpu" else "auto")
    network = network.to(device, getattr(torch, dtype))
    log.info("%s, read with the whole of %s (%s bp)", place, place.contig, f"{data.lengths[place.contig]:,}")
    marks = _marks(place, data)
    with tempfile.TemporaryDirectory(prefix="gatescope-") as scratch:
        tape, check = Tape(Path(scratch) / "contig.npy", named, dtype), ModelCheck(network, data, policy)
        stream = ContigStream.of(network, data, unknown=policy)
        seams = stream.read(place.contig, [tape], lambda *layer: [check.of_layer(*layer)])
        certificate = check.certificate.checked()
        readers = tuple(
            _reader(tape.of(each), each, named[each], place, marks) for each in DIRECTIONS if each in named
        )
    cuts, state = _predictions(network, data, meta, place)
    picture = Picture(
        place=place,
        codes=data.codes(place.contig),
        cuts=data.track(place.contig, "cuts")[place.start : place.end],
        predicted_cuts=cuts,
        predicted_state=state,
        peaks=peaks_on(place, data),
        genes=shown_genes,
        marks=marks,
        readers=readers,
        lookahead_bp=network.config.lookahead_bp,
        subtitle=_subtitle(meta, place, units is not None, certificate),
    )
    _write(Path(output), name, picture, _summary(meta, place, is_auto, picture, policy, certificate, seams))


def _marks(place: Stretch, store: EncodedStore) -> tuple[Mark, ...]:
    """Choose the bases whose memory is shown: where cuts are highest, and both edges of the peak nearest to it."""
    cuts = store.track(place.contig, "cuts")[place.start : place.end]
    if cuts.any():
        near = np.convolve(cuts, np.ones(min(_SUMMIT_BP, len(cuts))), mode="same")
        focus = place.start + int(np.argmax(near))
        meaning = f"the middle of the {_SUMMIT_BP} bp with most cuts"
    else:
        focus, meaning = (place.start + place.end) // 2, "the middle (there are no cuts)"
    meanings = {focus: meaning}
    peaks = sorted(peaks_on(place, store), key=lambda peak: max(peak[0] - focus, focus - peak[1], 0))
    if peaks:
        for position, edge in ((peaks[0][0], "first"), (peaks[0][1] - 1, "last")):
            if place.start <= position < place.end:
                words = f"the {edge} base of the called peak"
                meanings[position] = f"{meanings[position]}, {words}" if position in meanings else words
    return tuple(Mark("ABC"[k], *each) for k, each in enumerate(sorted(meanings.items())))


def _reader(trace: UnitTrace, direction: str, unit: int, place: Stretch, marks: Sequence[Mark]) -> Reader:
    """Cut what is shown out of a contig, and recall what is held at each mark."""
    part, way = slice(place.start, place.end), "fwd" if direction == "fwd" else "rev"
    logits = np.array(trace.forget_logit[part], np.float64)
    return Reader(
        direction,
        unit,
        expit(logits),
        np.array(trace.input[part]),
        np.array(trace.output[part]),
        np.array(trace.cell[part]),
        half_life(logits).bp,
        tuple(recall(trace, unit, way, place.contig, mark) for mark in marks),
    )


def _predictions(
    network: AccessibilityNetwork, store: EncodedStore, meta: Mapping[str, Any], place: Stretch
) -> tuple[NDArray | None, ...]:
    """Return predicted cuts and state at a place, None for what the network does not predict."""
    both = meta["training"]["sampling"]["reverse_complement"]
    predicted = predict_contig(network, store, place.contig, both_strands=both)
    return tuple(None if each is None else each[place.start : place.end] for each in predicted)


def _subtitle(meta: Mapping[str, Any], place: Stretch, is_selected: bool, certificate: Certificate) -> str:
    """Say what was read by whom, and how exact it is."""
    which = (
        "in each direction the hidden unit whose forget gate falls furthest at peak edges"
        if is_selected
        else "hidden units as named"
    )
    return (
        f"Run {meta['run']}, which read the whole of {place.contig}; {which}. "
        f"Gates replayed to within {certificate.max_error:.0e}."
    )


def _summary(
    meta: Mapping[str, Any],
    place: Stretch,
    is_auto: bool,
    picture: Picture,
    policy: UnknownBases,
    certificate: Certificate,
    seams: Sequence[SeamReport],
) -> dict[str, Any]:
    return {
        "stage_version": STAGE_VERSIONS["locus"],
        "run": meta["run"],
        "model_sha256": meta["sha256"],
        "store": meta["store"],
        "place": str(place),
        **place._asdict(),
        "chosen": "around the called peak with most cuts on the test contigs" if is_auto else "by name",
        "units": {reader.direction: reader.unit for reader in picture.readers},
        "lookahead_bp": picture.lookahead_bp,
        "unknown_bases": str(policy),
        "certificate": certificate.as_json(),
        "seams": {DIRECTIONS[report.direction]: report.as_json() for report in seams},
        "memories": [_memory(reader, memory) for reader in picture.readers for memory in reader.memories],
    }


def _memory(reader: Reader, memory: Memory) -> dict[str, Any]:
    """Say what one unit holds at one mark, and how well its parts add up."""
    found, covered = memory.found, float(memory.sources.covered[0])
    return {
        **memory.mark._asdict(),
        "direction": reader.direction,
        "unit": reader.unit,
        "cell": memory.traced,
        "sum_of_contributions": float(found.cell[0]),
        "difference": memory.error,
        "difference_allowed": memory.allowed,
        "bases_listed": len(found.source),
        "not_listed_at_most": float(found.missing[0]),
        "arcs": len(memory.sources.table),
        "share_in_arcs": None if np.isnan(covered) else covered,
        "half_within_bp": memory.half_within_bp,
    }


def _write(folder: Path, name: str, picture: Picture, summary: dict[str, Any]) -> None:
    """Write all files; by now nothing can be refused any more."""
    draw_locus(picture, folder / f"{name}.svg")
    tables = [memory.sources.table for reader in picture.readers for memory in reader.memories]
    arcs = pd.concat(tables, ignore_index=True)
    run, place = summary["run"], summary["place"]
    write_sources(folder / f"{name}.sources.tsv", arcs)
    write_bedpe(folder / f"{name}.bedpe", arcs)
    described = f"which bases wrote what hidden units of {run} hold at {place}"
    write_interact(folder / f"{name}.interact", arcs, f"memory of {run}", described)
    write_json(folder / f"{name}.json", summary)
