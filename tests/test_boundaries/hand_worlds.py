"""Genomes that hand-weighted networks read, saved and traced as trained ones are, and the verdict on them."""

import json
import re
from typing import NamedTuple
from unittest.mock import DEFAULT, patch

import numpy as np
import pandas as pd
import torch
from torch import nn

from gatescope.boundaries import profile_files
from gatescope.boundaries.boundaries import boundaries
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.genome.sequence import encode_bases
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.trace.trace import trace

TEST, VALID = [f"test{k}" for k in range(10)], ["valid0", "valid1"]
FOLD = {"name": "f1", "test": TEST, "valid": VALID}
#: Everything else is as declared for real data.
SETTINGS = {"shifts": 99, "bootstraps": 100}


class Planted(NamedTuple):
    """A genome by contig, and its regions: chrom, start, end."""

    sequences: dict[str, str]
    regions: pd.DataFrame


class Answer(NamedTuple):
    """What the stage says: verdict.json, and its tables."""

    verdict: dict
    units: pd.DataFrame
    modes: pd.DataFrame
    detector: pd.DataFrame


def random_bases(rng, length, gc=0.5):
    """Draw bases one by one; `gc` is a share, or one of each base."""
    weak, strong = (rng.choice(list(letters), length) for letters in ("AT", "GC"))
    return "".join(np.where(rng.random(length) < gc, strong, weak))


def draw_spans(rng, length, gaps, widths):
    """Draw stretches that do not touch, far enough from the end of the contig."""
    spans, at = [], int(rng.integers(*gaps))
    while (end := at + int(rng.integers(*widths))) < length - 50:
        spans.append((at, end))
        at = end + int(rng.integers(*gaps))
    return spans


def write_words(rng, letters, words, wanted):
    """Put words where they belong, by the position of their first base, and see that `wanted` occur nowhere else."""
    bases, fixed = list(letters), np.zeros(len(letters), bool)
    for start, word in words.items():
        bases[start : start + len(word)] = word
        fixed[start : start + len(word)] = True
    pattern = re.compile(f"(?={'|'.join(wanted)})")
    while True:
        found = [each.start() + np.arange(3) for each in pattern.finditer("".join(bases))]
        wrong = [at[~fixed[at]] for at in found if not fixed[at].all()]
        if not wrong:
            return "".join(bases)
        for at in wrong:
            bases[rng.choice(at)] = rng.choice(list("ACGT"))


def as_regions(spans):
    """Return the table of regions from (start, end) by contig."""
    rows = [(contig, *span) for contig, each in spans.items() for span in each]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def write_genome(folder, planted):
    """Write the encoded store of a genome."""
    contigs = []
    for contig, sequence in planted.sequences.items():
        nothing = np.zeros(len(sequence), np.uint8), {"cuts": np.zeros(len(sequence), np.float32)}
        contigs.append((contig, ContigArrays(encode_bases(sequence), *nothing)))
    table = planted.regions.assign(summit=planted.regions["start"], kind="peak", gc=0.5)
    meta = {"stage_version": 1, "window_bp": 200, "folds": {}, "inputs": {}, "filters": [], "seed": 1}
    write_store(folder / "store", contigs, table, meta)


def untrained(seed, *, stem="none", **options):
    """Return a network as training begins with it; without a stem it reads the bases themselves."""
    config = NetworkConfig(targets=("state",), stem=stem, **options)
    return AccessibilityNetwork(config, torch.Generator().manual_seed(seed))


def as_network(lstm: nn.LSTM):
    """Return a network with the weights of a hand-weighted one in its recurrence.

    One that reads in one direction is given the same weights for the other: this reads the genome in a mirror.
    """
    network = untrained(0, hidden_units=lstm.hidden_size, layers=lstm.num_layers)
    with torch.no_grad():
        for number, layer in enumerate(network.lstm_layers):
            for name, parameter in layer.named_parameters():
                wanted = name.replace("_l0", f"_l{number}")
                parameter.copy_(
                    getattr(lstm, wanted if lstm.bidirectional else wanted.removesuffix("_reverse"))
                )
    return network


def save_and_trace(folder, name, network):
    """Save a network as training does, and trace its last layer."""
    meta = {
        "run": f"{name}.f1.1",
        "store": EncodedStore(folder / "store").content_hash,
        "fold": FOLD,
        "training": {"device": "cpu"},
    }
    weights = network.state_dict()
    save_model(folder / f"{name}.model", network.config, weights, weights, meta)
    options = {"tracks": "none", "layer": network.config.layers, "dtype": "float64"}
    trace(folder / f"{name}.model", folder / f"{name}.trace", store=folder / "store", **options)


def judge(folder, name, twin):
    """Run the stage on what was traced, and read what it wrote; without its pictures, which take half of the time."""
    inputs = {"store": folder / "store", "model": folder / f"{name}.model"}
    traces = {"trace": folder / f"{name}.trace", "twin": folder / f"{twin}.trace"}
    output = folder / f"{name}.boundaries"
    with patch.multiple(profile_files, draw_heatmap=DEFAULT, draw_profiles=DEFAULT):
        boundaries(**inputs, **traces, output=output, settings=SETTINGS, seed=1)
    tables = (pd.read_csv(output / f"{table}.tsv", sep="\t") for table in ("units", "modes", "detector"))
    return Answer(json.loads((output / "verdict.json").read_text()), *tables)


def judge_by_hand(folder, planted, lstm):
    """Let a hand-weighted network read a genome, beside an untrained one of the same size."""
    write_genome(folder, planted)
    network = as_network(lstm)
    save_and_trace(folder, "hand", network)
    twin = untrained(7, hidden_units=network.config.hidden_units, layers=network.config.layers)
    save_and_trace(folder, "twin", twin)
    return judge(folder, "hand", "twin")
