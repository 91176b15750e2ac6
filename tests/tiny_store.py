"""A small encoded store for the tests of model and trace: random bases, one motif that opens the state."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gatescope.data.store import ContigArrays, EncodedStore, write_store

LENGTHS = {"one": 6000, "two": 4000, "three": 2311, "four": 700}
REGION_COLUMNS = ["chrom", "start", "end", "summit", "kind", "gc"]


def make_store(path: Path, window_bp: int = 500, seed: int = 0) -> EncodedStore:
    """Train on contigs one and two, validate on three, test on four; N at 300-320 of each."""
    rng = np.random.default_rng(seed)
    contigs, rows = [], []
    for name, length in LENGTHS.items():
        codes = rng.integers(0, 4, length).astype(np.uint8)
        codes[300:320] = 4
        state = np.zeros(length, np.uint8)
        for start in range(100, length - 300, 700):
            state[start : start + 200] = 1
            rows.append((name, start, start + 200, start + 100, "peak", 0.5))
            if start + 600 < length:
                rows.append((name, start + 300, start + 600, start + 450, "background", 0.5))
        state[codes == 4] = 255
        cuts = rng.poisson(np.where(state == 1, 0.5, 0.05)).astype(np.float32)
        contigs.append((name, ContigArrays(codes, state, {"cuts": cuts})))
    write_store(path, contigs, pd.DataFrame(rows, columns=REGION_COLUMNS), _meta(window_bp, seed))
    return EncodedStore(path)


def replace_codes(store: EncodedStore, contig: str, codes: np.ndarray) -> EncodedStore:
    """Write the store again with other bases on one contig."""
    contigs = [
        (name, ContigArrays(np.array(store.codes(name)), np.array(store.state(name)),
                            {"cuts": np.array(store.track(name, "cuts"))}))
        for name in store.lengths
    ]  # fmt: skip
    contigs = [(n, replace(arrays, codes=codes) if n == contig else arrays) for n, arrays in contigs]
    write_store(store.path, contigs, store.regions, _meta(store.window_bp, store.meta["seed"]))
    return EncodedStore(store.path)


def _meta(window_bp: int, seed: int) -> dict:
    return {
        "stage_version": 1,
        "window_bp": window_bp,
        "folds": {"f1": {"test": ["four"], "valid": ["three"]}},
        "inputs": {},
        "filters": [],
        "seed": seed,
    }
