"""How fast is a training step? The shipped networks beside the same network in plain torch.

    python tests/benchmarks/bench_training.py
    python tests/benchmarks/bench_training.py --rounds 3 --steps 20 --threads 2

Plain: `nn.Conv1d`, `nn.BatchNorm1d`, a bidirectional `nn.LSTM`, `nn.Linear` per head, in float32, with torch's own
number of threads and the allocator as it is. Ours: `gatescope.model` as `gatescope train` runs it. Same weights,
batches, dropout masks, loss, optimizer; in turns, each timing in a process of its own, for what an allocator does
depends on what it did before. Cores have to be idle: plain torch was seen to need minutes for a step where they
are shared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn

from gatescope.data.sampler import Batch
from gatescope.model.loss import LossWeights, prediction_loss
from gatescope.model.network import AccessibilityNetwork, Outputs
from gatescope.model.network_config import NetworkConfig
from gatescope.model.runtime import prepare_torch
from gatescope.settings import read_section

_CONFIG = Path(__file__).parents[2] / "config"
_WARM_UP = 4
#: Beside what is shipped: network settings, windows, bp.
_OTHERS = {
    "64 units": ({"stem_channels": 64, "hidden_units": 64}, 64, 1000),
    "128 units": ({"stem_channels": 128, "hidden_units": 128}, 32, 1000),
}
_CELLS = {
    "lstm": {},
    "coupled": {"cell": "coupled"},
    "lstm, tied strands": {"strands": "tied"},
    "lstm, two layers": {"layers": 2},
    "lstm, dilated stem": {"stem": "dilated"},
    "no recurrence": {"recurrence": False},
}


def cases():
    """Return name -> (network settings, windows per batch, bp of a window)."""
    found = {}
    for name, path in {"demo": "config.yaml", "yeast": "examples/yeast.yaml"}.items():
        config = yaml.safe_load((_CONFIG / path).read_text())
        network = {key: value for key, value in config["models"]["sequence"].items() if key != "training"}
        size = config.get("training", {}).get("batch_size", 24)
        found[name] = (network, size, config.get("windows", {}).get("window_bp", 1500))
    return found | _OTHERS


class Plain(nn.Module):
    """An `AccessibilityNetwork`, with its weights, written as anybody would."""

    def __init__(self, network):
        super().__init__()
        config = self.config = network.config
        channels, hidden = config.stem_channels, config.hidden_units
        self.convolution = nn.Conv1d(4, channels, config.stem_width_bp, padding="same")
        self.norm = nn.BatchNorm1d(channels)
        self.lstm = nn.LSTM(channels, hidden, batch_first=True, bidirectional=True)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * hidden, 1) for name in config.targets})
        self.convolution.load_state_dict(network.stem.convolutions[0].state_dict())
        self.lstm.load_state_dict(network.lstm_layers[0].state_dict())
        self.heads.load_state_dict(network.heads.state_dict())

    def forward(self, one_hot, tracks, dropout):
        features = torch.relu(self.norm(self.convolution(one_hot.float())))
        hidden = self.lstm(features.transpose(1, 2))[0]
        rate, width = self.config.dropout, hidden.shape[2]
        if rate:
            kept = torch.rand(len(hidden), width, generator=dropout) >= rate
            hidden = hidden * (kept / (1 - rate))[:, None]
        if self.config.direction_dropout:
            drawn, half = torch.rand(len(hidden), 1, generator=dropout), self.config.direction_dropout / 2
            sides = torch.cat([drawn >= half, drawn < 1 - half], dim=1)
            hidden = hidden * sides.repeat_interleave(width // 2, dim=1)[:, None]
        said = {name: head(hidden).squeeze(2) for name, head in self.heads.items()}
        return Outputs(said.get("cuts"), said.get("state"))


def draw_batch(windows, bp):
    """Return a batch with one cut in twenty bases and a tenth of the bases accessible."""
    rng = np.random.default_rng(0)
    one_hot = np.eye(4, dtype=np.uint8)[rng.integers(0, 4, (windows, bp))].transpose(0, 2, 1)
    cuts = rng.poisson(0.05, (windows, bp)).astype(np.float32)
    state = (rng.random((windows, bp)) < 0.1).astype(np.uint8)
    tensors = (torch.from_numpy(np.ascontiguousarray(each)) for each in (one_hot, cuts, state))
    one_hot, cuts, state = tensors
    return Batch(one_hot, torch.zeros(windows, 0, bp), cuts, state)


def time_steps(kind, network, windows, bp, steps, threads):
    """Train for some steps; return seconds of each and the losses."""
    net = AccessibilityNetwork(read_section(NetworkConfig, network, "models"))
    if kind == "plain":
        net = Plain(net)
    else:
        prepare_torch(threads, "cpu", directions=True)
    batch, times, losses = draw_batch(windows, bp), [], []
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for step in range(_WARM_UP + steps):
        begun = time.perf_counter()
        dropout = torch.Generator().manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            outputs = net(batch.one_hot, batch.tracks, dropout)
        loss = prediction_loss(outputs, batch, LossWeights(1.0))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(times[_WARM_UP:]), "losses": losses}


def measure(kind, network, windows, bp, options):
    """Time some steps in a process of its own."""
    job = json.dumps([kind, network, windows, bp, options.steps, options.threads])
    done = subprocess.run(
        [sys.executable, __file__, "--job", job], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(name, network, windows, bp, options):
    """Print how our steps compare with plain ones."""
    found = {kind: [] for kind in ("plain", "ours", "bfloat16")}
    for turn in range(options.rounds):
        for kind in list(found)[:: -1 if turn % 2 else 1]:
            found[kind].append(measure(kind, network, windows, bp, options))
    seconds = {kind: [each["seconds"] for each in runs] for kind, runs in found.items()}
    middle = {kind: statistics.median(values) for kind, values in seconds.items()}
    apart = {
        kind: max(
            abs(a - b) for a, b in zip(found["plain"][0]["losses"], found[kind][0]["losses"], strict=True)
        )
        for kind in ("ours", "bfloat16")
    }
    print(f"\n{name}: {windows} windows of {bp:,} bp, {network}")
    for kind, values in seconds.items():
        rest = (
            ""
            if kind == "plain"
            else f"   {middle['plain'] / middle[kind]:.2f} x plain, losses within {apart[kind]:.1e}"
        )
        print(
            f"  {kind:9} {1e3 * middle[kind]:7.1f} ms ({1e3 * min(values):.1f}-{1e3 * max(values):.1f}){rest}"
        )


def table_of_cells(options):
    """Print how many bases a second each kind of network is trained on."""
    _, windows, bp = cases()["yeast"]
    print(f"\ntrained on, Mb/s; 64 channels, 48 units, {windows} windows of {bp:,} bp")
    for name, settings in _CELLS.items():
        network = {"stem_channels": 64, "hidden_units": 48, **settings}
        rates = [
            windows * bp / 1e6 / measure(kind, network, windows, bp, options)["seconds"]
            for kind in ("ours", "bfloat16")
        ]
        print(f"  {name:20} float32 {rates[0]:.3f}   bfloat16 {rates[1]:.3f}")


def main():
    """Read the options and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=list(cases()), help="one network")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(time_steps(*json.loads(options.job))))
        return
    for name, (network, windows, bp) in cases().items():
        if options.only in (None, name):
            compare(name, network, windows, bp, options)
    if options.only is None:
        table_of_cells(options)


if __name__ == "__main__":
    main()
