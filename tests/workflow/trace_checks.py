"""What a trace promises, held against a trained network on its own data: exactness, seams, interventions."""

import json
from pathlib import Path

import numpy as np
import torch

from gatescope.data.store import EncodedStore
from gatescope.effects.clamp import GATES, Clamp, intervene
from gatescope.effects.decompose import decompose_logit
from gatescope.genome.sequence import one_hot
from gatescope.model.persist import load_model
from gatescope.model.predict import read_features
from gatescope.trace.sink import Sink
from gatescope.trace.stream import ContigStream, Segments
from oracles.lstm import run_direction

FREE_STEPS = 20_000
FIELDS = ("forget", "input", "candidate", "output", "cell", "hidden")


class Everything(Sink):
    """Keep all of a contig: (D, H, L) per field, genomic order."""

    def __init__(self):
        self.values, self.error = {}, 0.0

    def begin(self, contig, length):
        self.length = length

    def take(self, piece):
        self.error = max(self.error, piece.steps.error)
        for name in FIELDS:
            values = getattr(piece.steps, name).numpy()
            if name not in self.values:
                shape = (2, values.shape[2], self.length)
                self.values[name] = np.full(shape, np.nan, values.dtype)
            for where, row in piece.rows(values):
                self.values[name][piece.direction, :, where] = row.T


def read_contig(network, store, contig, **segments):
    sink = Everything()
    reports = ContigStream.of(network, store, segments=Segments(**segments)).read(contig, [sink])
    return sink, reports


def largest_difference(one, other):
    """Return the largest difference of two traces, relative to a cell state above 1."""
    return max(
        float((np.abs(one[name] - other[name]) / np.maximum(1, np.abs(other[name]))).max()) for name in FIELDS
    )


def check_trace(results: Path, run: str) -> dict[str, float]:
    """Assert what a trace of a trained network promises; return what was measured."""
    network, meta = load_model(results / "model" / run)
    store = EncodedStore(results / "data/encoded")
    contig = min(meta["fold"]["test"], key=lambda name: store.lengths[name])
    audit = json.loads((results / f"trace/{run}/audit.json").read_text())
    certificate = json.loads((results / f"trace/{run}/summary.json").read_text())["certificate"]
    assert certificate["max_error"] <= 5e-6
    measured = {"contig_bp": store.lengths[contig], "certificate": certificate["max_error"]}
    measured |= check_seams(network, store, contig)
    measured |= check_free_trajectory(network.double(), store, contig, audit)
    measured |= check_interventions(network.double(), store, contig)
    print(audit["reach"]["in_words"], audit["growth"]["in_words"], json.dumps(measured, indent=1), sep="\n")
    return measured


def check_seams(network, store, contig):
    """Segments of 997 and 4096 bp, and the choice of the stream, give what one sequential pass gives."""
    measured, whole = {}, {}
    for dtype, local in ((torch.float64, 1e-12), (torch.float32, 5e-6)):
        net, name = network.to(dtype), str(dtype).removeprefix("torch.")
        whole[name], _ = read_contig(net, store, contig, rows=1)
        assert whole[name].error <= local
        measured[f"local_{name}"] = whole[name].error
        for label, cut in {"997": {"segment_bp": 997}, "4096": {"segment_bp": 4096}, "chosen": {}}.items():
            found, reports = read_contig(net, store, contig, **cut)
            measured[f"segments_{label}_{name}"] = largest_difference(found.values, whole[name].values)
            measured[f"reruns_{label}_{name}"] = sum(report.reruns for report in reports)
            assert all(report.largest_seam <= report.tolerance for report in reports)
    # two float32 passes differ by what float32 is off: where that is above 1e-5, it is stated instead
    measured["strayed_float32"] = largest_difference(whole["float32"].values, whole["float64"].values)
    bounds = {"float64": 1e-10, "float32": max(1e-5, 2 * measured["strayed_float32"])}
    for name, bound in bounds.items():
        assert max(measured[f"segments_{label}_{name}"] for label in ("997", "4096", "chosen")) <= bound
    return measured


def check_free_trajectory(network, store, contig, audit):
    """Both directions over their first 20,000 bases against a recurrence that runs by itself."""
    length = store.lengths[contig]
    steps = min(FREE_STEPS, length)
    found, _ = read_contig(network, store, contig)
    lstm, worst = network.lstm_layers[0], 0.0
    for direction, suffix in enumerate(("", "_reverse")):
        place = (length - steps, length) if direction else (0, steps)
        features = read_features(network, store, contig, [place])[0].detach().numpy()
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(lstm, f"{name}_l0{suffix}").detach().numpy() for name in names]
        free = run_direction(features[::-1] if direction else features, *weights)
        traced = found.values["cell"][direction, :, slice(*place)].T
        free = free["cell"][::-1] if direction else free["cell"]
        worst = max(worst, float((np.abs(traced - free) / np.maximum(1, np.abs(free))).max()))
    if not audit["growth"]["is_excitable"]:
        assert worst <= 1e-10
    return {"free_trajectory_float64": worst}


def check_interventions(network, store, contig):
    """Holding gates at their own values changes nothing; the terms of a logit add up."""
    codes = np.stack([store.codes(contig)[start : start + 1000] for start in (0, 50_000)])
    tracks = np.array(
        [
            [store.track(contig, name)[start : start + 1000] for name in network.config.tracks]
            for start in (0, 50_000)
        ],
        np.float32,
    ).reshape(2, -1, 1000)
    inputs = torch.from_numpy(one_hot(codes)), torch.from_numpy(tracks)
    every = range(network.config.hidden_units)
    own = [Clamp(gate, every, side, [(100, 900)], "own") for gate in GATES for side in ("fwd", "rev")]
    held = intervene(network, *inputs, own)
    scales = [layer.cell.abs().clamp(min=1) for layer in held.baseline.layers]  # float64 holds 16 digits of c
    pairs = zip(held.state_changes, scales, strict=True)
    changes = [
        float(value.abs().max()) for change, size in pairs for value in (change.hidden, change.cell / size)
    ]
    changes.append(float((held.clamped.outputs.state_logit - held.baseline.outputs.state_logit).abs().max()))
    shut = intervene(network, *inputs, [Clamp("forget_gate", every, "fwd", [(500, 501)], 0.0)])
    assert max(changes) <= 1e-12 < float(shut.logit_change.abs().max())
    assert not shut.state_changes[0].cell[:, 0, :, :500].any()  # nothing changes before the clamp
    residual = max(
        decompose_logit(network, *inputs, gate=gate, units=every, direction=side).residual
        for gate in GATES
        for side in ("fwd", "rev")
    )
    assert residual <= 1e-12
    return {"own_value": max(changes), "decomposition": residual}
