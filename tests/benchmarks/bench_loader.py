"""What does a training step wait for its batch? Time of the loader beside time of the step, at the sizes we ship.

    python tests/benchmarks/bench_loader.py
    python tests/benchmarks/bench_loader.py --store results/yeast/data/encoded --steps 40

Networks, batch sizes and shares are those of config/config.yaml and of config/examples/yeast.yaml; the store is made up
where none is named. Batches and training steps take turns, one thread, so the loader finds the caches as a step leaves
them. Beside it, in a loop of their own: batches from the loader, and the store's kernel, which copies the same windows
and nothing else; what the loader adds is drawing the places, clipping the cuts and wrapping tensors.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from gatescope.data.draw import SCHEMES, Sampling
from gatescope.data.sampler import Loader, TrainingBatches
from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.data.windows import Windows
from gatescope.model.loss import LossWeights, prediction_loss
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.runtime import prepare_torch
from gatescope.settings import read_section

_CONFIG = Path(__file__).parents[2] / "config"
_CONTIGS, _CONTIG_BP = 8, 300_000


def make_store(folder, window_bp):
    """Write random bases with a peak and a background window every 4,000 bp."""
    rng = np.random.default_rng(0)
    contigs, rows = [], []
    for name in map(str, range(_CONTIGS)):
        codes = rng.integers(0, 4, _CONTIG_BP).astype(np.uint8)
        state = np.zeros(_CONTIG_BP, np.uint8)
        for start in range(4000, _CONTIG_BP - 4000, 4000):
            state[start : start + 500] = 1
            rows.append((name, start, start + 500, start + 250, "peak", 0.5))
            rows.append(
                (
                    name,
                    start + 2000,
                    start + 2000 + window_bp,
                    start + 2000 + window_bp // 2,
                    "background",
                    0.5,
                )
            )
        cuts = rng.poisson(0.3, _CONTIG_BP).astype(np.float32)
        contigs.append((name, ContigArrays(codes, state, {"cuts": cuts})))
    columns = ["chrom", "start", "end", "summit", "kind", "gc"]
    meta = {"stage_version": 1, "window_bp": window_bp, "folds": {}, "inputs": {}, "filters": [], "seed": 0}
    write_store(folder, contigs, pd.DataFrame(rows, columns=columns), meta)
    return EncodedStore(folder)


def shipped():
    """Yield name, network, training settings and window length of each network that a shipped configuration names."""
    for name, path in {"demo": "config.yaml", "yeast": "examples/yeast.yaml"}.items():
        config = yaml.safe_load((_CONFIG / path).read_text())
        for model in config["models"]:
            network = dict(config["models"][model])
            own = network.pop("training", {})
            network = read_section(NetworkConfig, network, model)
            training = {"batch_size": 24, "sampling": {}} | config.get("training", {}) | own
            yield f"{name} {model}", network, training, config.get("windows", {}).get("window_bp", 1500)


def make_step(config):
    """Return one training step, as a function of a batch."""
    network = AccessibilityNetwork(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step(batch):
        outputs = network(batch.one_hot, batch.tracks, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        prediction_loss(outputs, batch, LossWeights(1.0)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        network.shrink_writes(1e-3)

    return step


def copy_windows(drawn, places):
    """Copy the windows of a batch out of the store, and nothing else."""
    windows = Windows(drawn.store, places.contigs, places.starts, drawn.window_bp, places.is_reverse)
    return windows.one_hot(), windows.track("cuts"), windows.tracks(drawn.tracks), windows.state()


def time_alone(drawn, batches):
    """Return the median time of a batch from the loader and from the kernel, without a training between them."""
    places = [drawn.draws.draw(index) for index in range(batches)]
    loader = iter(Loader(drawn, range(batches)))
    alone = [timed(lambda: next(loader))[0] for _ in places]
    kernel = [timed(lambda place=place: copy_windows(drawn, place))[0] for place in places]
    return statistics.median(alone), statistics.median(kernel)


def timed(action):
    begun = time.perf_counter()
    result = action()
    return time.perf_counter() - begun, result


def compare(name, store, network, training, options):
    """Print the loader's time beside the step's for each scheme."""
    step, size = make_step(network), training["batch_size"]
    for scheme in SCHEMES:
        sampling = Sampling(**(training["sampling"] | {"scheme": scheme}))
        drawn = TrainingBatches(store, list(store.lengths), network.tracks, sampling, size, 1, 1600)
        batches = iter(Loader(drawn, range(options.steps + 2), workers=options.workers))
        times = []
        for _ in range(options.steps + 2):
            load, batch = timed(lambda batches=batches: next(batches))
            times.append((load, timed(lambda batch=batch: step(batch))[0]))
        load, train = (statistics.median(column) for column in zip(*times[2:], strict=True))
        alone, kernel = time_alone(drawn, 100)
        print(
            f"{name:24s} {scheme:13s} batch {1e3 * load:6.3f} ms, step {1e3 * train:6.1f} ms: loader / step "
            f"{load / train:.4f};  alone {size / alone:8,.0f} windows/s, loader / kernel {alone / kernel:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    prepare_torch(1, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        for name, network, training, window_bp in shipped():
            store = (
                EncodedStore(options.store)
                if options.store
                else make_store(Path(folder) / "store", window_bp)
            )
            compare(name, store, network, training, options)


if __name__ == "__main__":
    main()
