"""Genomes with known boundaries and hand-weighted networks on them, as the folders that the verbs read."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model

TESTED = [f"test{n}" for n in range(11)]  # as many blocks of an interval
LENGTHS = {"train": 3000, **{name: 6000 + 137 * n for n, name in enumerate(TESTED)}, "valid": 3000}
KEPT, WRITE = 0.98, 0.4  # what a forget gate keeps, and tanh of a candidate where a memory is written


def draw_regions(seed=0, width_bp=200):
    """Regions of 200 to 900 bp, 700 bp and more apart, up to the ends of each contig."""
    rng, rows = np.random.default_rng(seed), []
    for contig, length in LENGTHS.items():
        at = int(rng.integers(30, 400))
        while at + width_bp < length:
            end = min(at + int(rng.integers(width_bp, 900)), length)
            rows.append((contig, at, end))
            at = end + int(rng.integers(800, 1800))
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def draw_codes(regions, seed=0, at_start="G"):
    """A, C and T at random; the given word from each start on, and G nowhere else."""
    rng = np.random.default_rng(seed)
    codes = {contig: rng.choice([0, 1, 3], length).astype(np.uint8) for contig, length in LENGTHS.items()}
    for region in regions.itertuples():
        for n, base in enumerate(at_start):
            codes[region.chrom][region.start + n] = "ACGT".index(base)
    return codes


def make_network(gates, targets=("state",), at_step=None):
    """One unit per direction that writes at A and shows its memory; `gates` maps a base to its forget logit.

    With `at_step`, this logit is added where an A follows a T in genomic order.
    """
    config = NetworkConfig(targets=targets, stem_channels=5, stem_width_bp=3, hidden_units=1)
    network = AccessibilityNetwork(config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        norm = network.stem.norms[0]
        norm.weight.fill_(1.0)
        norm.running_var.fill_(1.0 - norm.eps)
        for letter in range(4):
            network.stem.convolutions[0].weight[letter, letter, 1] = 1.0
        network.stem.convolutions[0].weight[4, 3, 0] = network.stem.convolutions[0].weight[4, 0, 1] = 1.0
        network.stem.convolutions[0].bias[4] = -1.0
        for suffix in ("", "_reverse"):
            weight = getattr(network.recurrent[0], f"weight_ih_l0{suffix}")
            weight[2, 0] = np.arctanh(WRITE)
            weight[1, 4] = at_step or 0.0
            for base, logit in gates.items():
                weight[1, "ACGT".index(base)] = logit
        for n, head in enumerate(network.heads.values()):
            head.weight.fill_(2.0 + n)
    return network


def make_world(folder, network, codes, regions, cuts=None, selected=(0, 0)):
    """Write store, model and units.tsv; return their paths as the arguments of a verb."""
    state = {contig: np.zeros(length, np.uint8) for contig, length in LENGTHS.items()}
    cuts = cuts or {contig: np.ones(length, np.float32) for contig, length in LENGTHS.items()}
    contigs = [(name, ContigArrays(codes[name], state[name], {"cuts": cuts[name]})) for name in LENGTHS]
    table = regions.assign(summit=regions["start"], kind="peak", gc=0.4)
    fold = {"test": TESTED[::-1], "valid": ["valid"]}
    meta = {
        "stage_version": 1,
        "window_bp": 500,
        "folds": {"f1": fold},
        "inputs": {},
        "filters": [],
        "seed": 1,
    }
    write_store(folder / "store", contigs, table, meta)
    store = EncodedStore(folder / "store")
    described = {
        **{"run": "hand.f1.1", "twin": "none", "seed": 1, "store": store.content_hash},
        **{"fold": {"name": "f1", **fold}, "training": {"device": "cpu"}},
    }
    weights = network.state_dict()
    save_model(folder / "model", network.config, weights, weights, described)
    rows = [
        (d, c, unit, True)
        for d, unit in zip(("fwd", "rev"), selected, strict=True)
        for c in ("entry", "exit")
    ]
    units = pd.DataFrame(rows, columns=["direction", "crossing", "unit", "selected"])
    units.to_csv(folder / "units.tsv", sep="\t", index=False)
    return SimpleNamespace(store=folder / "store", model=folder / "model", units=folder / "units.tsv")


def base_at(region, direction, crossing, offset):
    """Spell out where an offset lies, one case at a time, as the glossary does."""
    if (direction, crossing) == ("fwd", "entry"):
        return region.start + offset
    if (direction, crossing) == ("fwd", "exit"):
        return region.end + offset
    if (direction, crossing) == ("rev", "entry"):
        return region.end - 1 - offset
    return region.start - 1 - offset
