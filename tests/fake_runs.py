"""Evaluated runs, made up: `model.json` and `bins.npz` of models x folds x seeds, with predictions of known skill."""

import json
from pathlib import Path

import numpy as np

FOLDS = {"f1": ("chrA", "chrB"), "f2": ("chrC",)}
BINS_OF = {"chrA": 300, "chrB": 150, "chrC": 350}


def observed(contigs: tuple[str, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Bins of 200 bp, a few left out, a tenth of them open and richer in cuts."""
    columns = {"contig": [], "start": [], "cuts": [], "label": []}
    for contig in contigs:
        rng = np.random.default_rng([seed, *contig.encode()])
        start = np.flatnonzero(rng.random(BINS_OF[contig]) > 0.05) * 200
        label = rng.random(start.size) < 0.1
        columns["contig"].append(np.repeat(contig, start.size))
        columns["start"].append(start)
        columns["label"].append(label)
        columns["cuts"].append(rng.poisson(np.where(label, 40, 6) * rng.gamma(4, 1 / 4, start.size)) * 1.0)
    bins = {name: np.concatenate(parts) for name, parts in columns.items()}
    return bins | {"block": bins["start"] // 4_000}  # shorter than real ones, so that there are enough


def noisy(bins: dict[str, np.ndarray], noise: float, key: list[int], shift: float = 0.0) -> dict:
    """A prediction of counts and state: the truth and noise of this size."""
    rng = np.random.default_rng(key)
    log_cuts = np.log1p(bins["cuts"]) + noise * rng.normal(size=bins["start"].size) + shift
    state = np.round(bins["label"] + noise * rng.normal(size=bins["start"].size) + shift, 2)
    return {
        "log_cuts": np.maximum(log_cuts, 0).astype(np.float32),
        "state": (1 / (1 + np.exp(-state))).astype(np.float32),
    }


def write_run(folder: Path, model: str, fold: str, seed: int, bins: dict, predictions: dict) -> Path:
    """Write what `train` and `evaluate` leave of a run, as far as `compare` reads it; return its folder."""
    path = folder / f"{model}.{fold}.{seed}"
    path.mkdir(parents=True)
    meta = {"run": path.name, "fold": {"name": fold, "test": list(FOLDS[fold]), "valid": []}, "seed": seed}
    (path / "model.json").write_text(json.dumps(meta))
    arrays = {f"{kind}.{name}": values for name, each in predictions.items() for kind, values in each.items()}
    np.savez(path / "bins.npz", **bins, **arrays)
    return path


def write_runs(
    folder: Path,
    noise: dict[str, float],
    folds: tuple[str, ...] = ("f1", "f2"),
    seeds: tuple[int, ...] = (1, 2, 3),
    shifts: tuple[float, ...] = (0.0, 0.0),
) -> list[Path]:
    """Write every combination; `noise` says how bad each model is, `shifts` how far a fold's predictions are off."""
    paths = []
    for number, model in enumerate(noise):
        for fold in folds:
            bins = observed(FOLDS[fold])
            where = list(FOLDS).index(fold)
            shared = {
                "kmer": noisy(bins, 2.0, [9, where]),
                "gc": {"state": noisy(bins, 6, [8, where])["state"]},
            }
            for seed in seeds:
                # a peer is trained anew for every fold and seed, and is the same beside every model
                shared["peer"] = noisy(bins, 1.0, [7, where, seed])
                own = {
                    "model": noisy(bins, noise[model], [number, where, seed], shifts[where]),
                    "ablated": noisy(bins, 1.5 * noise[model], [number, where, seed, 1], shifts[where]),
                }
                paths.append(write_run(folder, model, fold, seed, bins, own | shared))
    return paths
