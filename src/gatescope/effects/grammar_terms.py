"""Whose doing is a gate event? The terms of a gate's logit at the events of `grammar`, beside those before them.

A forget gate falls at an event because its logit does. The logit is an exact sum (`gatescope.effects.decompose`): bias,
sequence, input tracks, recurrence. What each term is at the event, and what it is on average over the bases read 100 to
400 bp earlier in the same windows, tells which of them makes the gate fall.

The windows are read from an empty memory, 1,000 bp before the event; `largest_error` says by how much the forget
logits differ from those of the trace, which has read everything.

Public names: `grammar_terms`.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gatescope.data.store import EncodedStore
from gatescope.effects.decompose import decompose_logit
from gatescope.errors import InputError
from gatescope.files import write_table
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store

log = logging.getLogger(__name__)

#: The gates that an event of each kind is about.
_GATES = {"forget": ("forget_gate",), "write": ("input_gate", "candidate")}
#: Bases read before the event, and beyond it (more than any look-ahead that is interpreted).
_BEFORE_BP, _BEYOND_BP = 1000, 50
#: How long before the event the bases lie that it is compared with.
_ELSEWHERE_BP = (100, 400)
#: The strongest events of a motif that are looked at, and windows at a time.
_MOST_EVENTS, _BATCH = 400, 32
_COLUMNS = ("chrom", "position", "direction", "unit", "kind", "strength", "motif")


def grammar_terms(
    store: Path | str, model: Path | str, events: Path | str, output: Path | str, *, threads: int = 1
) -> None:
    """Write the mean terms of gate logits at events, by unit, kind of event and motif.

    Parameters
    ----------
    store : Path or str
        Encoded store.
    model : Path or str
        ``model/{run}``.
    events : Path or str
        ``events.tsv`` of `grammar`.
    output : Path or str
        Table to write: `direction`, `unit`, `kind`, `motif`, `gate`, `term`, `n_events`, `at_event`, `before` (means
        over events), `difference`, `largest_error`. Differences of one gate sum to that of the row `logit`.
    threads : int

    Raises
    ------
    InputError
        If an input is missing or does not fit.
    """
    torch.set_num_threads(threads)
    network, meta = load_model(model)
    encoded = EncodedStore(store)
    require_store(encoded, meta, model)
    table = _read_events(Path(events), encoded)
    network = network.double()
    rows: list[dict[str, Any]] = []
    for _, group in table.groupby(["direction", "unit", "kind", "motif"], sort=False):
        rows += _explain(network, encoded, group.head(_MOST_EVENTS))
    columns = ["direction", "unit", "kind", "motif", "gate", "term", "n_events", "at_event", "before"]
    found = pd.DataFrame(rows, columns=[*columns, "difference", "largest_error"])
    log.info("terms of %d groups of events", found.groupby(columns[:5]).ngroups)
    write_table(output, found)


def _read_events(path: Path, store: EncodedStore) -> pd.DataFrame:
    """Read the events whose window lies on its contig."""
    again = "run gatescope grammar first"
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy=again)
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"not a table ({error})", where=path, remedy=again) from error
    if missing := [name for name in _COLUMNS if name not in table]:
        raise InputError(f"no column {', '.join(missing)}", where=path, remedy=again)
    if unknown := set(table["chrom"].astype(str)) - set(store.lengths):
        raise InputError(f"contig {min(unknown)!r} is not in the store", where=path, remedy=again)
    is_fwd = table["direction"] == "fwd"
    ends = np.array([store.lengths[str(chrom)] for chrom in table["chrom"]], np.int64)
    start = table["position"] - np.where(is_fwd, _BEFORE_BP, _BEYOND_BP)
    end = table["position"] + np.where(is_fwd, _BEYOND_BP, _BEFORE_BP) + 1
    placed = table.assign(chrom=table["chrom"].astype(str), start=start, end=end)
    return pd.DataFrame(placed[(start >= 0) & (end <= ends)])


def _explain(
    network: AccessibilityNetwork, store: EncodedStore, events: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return the rows of one group: one direction, unit, kind and motif."""
    first = events.iloc[0]
    direction, unit = str(first["direction"]), int(first["unit"])
    named = {"direction": direction, "unit": unit, "kind": first["kind"], "motif": first["motif"]}
    rows = []
    for gate in _GATES[str(first["kind"])]:
        names, at_event, before = _mean_terms(network, store, events, gate, unit, direction)
        error = np.abs(at_event[-1] + events["strength"]).max() if gate == "forget_gate" else np.nan
        for term, here, there in zip(names, at_event.mean(1), before.mean(1), strict=True):
            values = {"n_events": len(events), "at_event": here, "before": there, "difference": here - there}
            rows.append({**named, "gate": gate, "term": term, **values, "largest_error": error})
    return rows


def _mean_terms(
    network: AccessibilityNetwork,
    store: EncodedStore,
    events: pd.DataFrame,
    gate: str,
    unit: int,
    direction: str,
) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """Return the names of the terms, `logit` last, and what they are at each event and before it: (terms, n)."""
    names, at_event, before = (), [], []
    for one_hots, tracks in _batches(network, store, events):
        with torch.no_grad():
            found = decompose_logit(network, one_hots, tracks, gate=gate, units=[unit], direction=direction)
        values = torch.cat([found.terms[:, :, 0], found.logit[None, :, 0]]).numpy()  # (terms, N, L)
        read = values if direction == "fwd" else values[..., ::-1]
        near, far = _ELSEWHERE_BP
        at_event.append(read[..., _BEFORE_BP])
        before.append(read[..., _BEFORE_BP - far : _BEFORE_BP - near].mean(-1))
        names = (*found.names, "logit")
    return names, np.concatenate(at_event, axis=1), np.concatenate(before, axis=1)


def _batches(
    network: AccessibilityNetwork, store: EncodedStore, events: pd.DataFrame
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Yield the windows of events as the network takes them, genomic order."""
    for first in range(0, len(events), _BATCH):
        places = list(events[["chrom", "start", "end"]].iloc[first : first + _BATCH].itertuples(index=False))
        codes = np.stack([store.codes(place.chrom)[place.start : place.end] for place in places])
        tracks = [
            [store.track(place.chrom, name)[place.start : place.end] for name in network.config.tracks]
            for place in places
        ]
        yield torch.from_numpy(one_hot(codes)), torch.from_numpy(np.array(tracks)) if tracks[0] else None
