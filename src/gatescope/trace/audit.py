"""Do the forget gates of a network tell the truth about its memory? The stage, from a model to a table.

Public names: `audit`.
"""

from pathlib import Path

from gatescope.errors import InputError
from gatescope.files import write_json, write_table
from gatescope.model.persist import load_model
from gatescope.model.runtime import prepare_torch
from gatescope.stages import STAGE_VERSIONS
from gatescope.trace.reach_audit import audit_network
from gatescope.trace.source import choose_contigs, held_out_contigs, open_genome


def audit(
    model: Path | str,
    output: Path | str,
    *,
    store: Path | str | None = None,
    fasta: Path | str | None = None,
    contigs: str = "all",
    layer: int = 1,
    seed: int = 1,
    threads: int = 1,
) -> None:
    """Follow memories through a whole network, and say where its forget gates alone would mislead.

    Parameters
    ----------
    model : path
        Folder of the run.
    output : path
        Folder for `reach.tsv` (`gatescope.trace.reach_audit.Audit.table`) and `audit.json`.
    store, fasta : path, optional
        What the network reads, one of them, as `gatescope.trace.trace.trace`.
    contigs : str
        "all", "held-out", or names separated by commas: where memories are followed.
    layer : int
        LSTM layer, from 1.
    seed : int
        Of the places that are looked at.
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        As `gatescope.trace.trace.trace`.
    ReplayError
        If the states cannot be replayed.
    """
    network, meta = load_model(model)
    if layer not in range(1, len(network.lstm_layers) + 1):
        raise InputError(
            f"layer {layer}; the network has {len(network.lstm_layers)}, counted from 1", where=model
        )
    genome, source = open_genome(store, fasta, network, meta, model)
    chosen = choose_contigs(contigs, genome.lengths, held_out_contigs(meta, fasta))
    prepare_torch(threads, "cpu")
    found = audit_network(network, genome, chosen, seed=seed, layer=layer - 1)
    described = {"run": meta["run"], "model_sha256": meta["sha256"], "seed": seed, **source}
    write_table(Path(output) / "reach.tsv", found.table)
    write_json(
        Path(output) / "audit.json",
        {"stage_version": STAGE_VERSIONS["audit"], **described, **found.as_json()},
    )
