"""Hand-made gate tracks and regions, in memory and as the folders that the stage reads."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gatescope.data.store import ContigArrays, EncodedStore, write_store

DIRECTIONS, CROSSINGS = ("fwd", "rev"), ("entry", "exit")
HIGH, LOW = 4.0, -3.0  # logits: sigmoid = 0.982 (half-life 38 bp) and 0.047
#: Written at every base: with f = 0.982 the memory rests at 1.1.
LITTLE = 0.02
SHA256 = {"trace": "ab" * 32, "twin": "cd" * 32, "shuffled": "ef" * 32}


class ArrayUnits:
    """Stand in for `UnitStore`: {contig: (D, H, L)} held in memory."""

    def __init__(self, arrays):
        self.arrays = arrays

    def logits(self, contig, direction, unit):
        return self.arrays[contig][direction, unit]

    def n_units(self, contig):
        return self.arrays[contig].shape[1]


def draw_regions(lengths, rng, mean_gap_bp=900, mean_width_bp=300):
    """Draw regions that do not touch, up to both ends of each contig."""
    rows = []
    for contig, length in lengths.items():
        at = int(rng.integers(20, mean_gap_bp))
        while True:
            end = at + 60 + int(rng.exponential(mean_width_bp))
            if end > length - 5:
                break
            rows.append((contig, at, end))
            at = end + 60 + int(rng.exponential(mean_gap_bp))
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def base_at(region, direction, crossing, offset):
    """Spell out where an offset lies, one case at a time, as the glossary does."""
    if (direction, crossing) == ("fwd", "entry"):
        return region.start + offset
    if (direction, crossing) == ("fwd", "exit"):
        return region.end + offset
    if (direction, crossing) == ("rev", "entry"):
        return region.end - 1 - offset
    return region.start - 1 - offset


def noise(shape, rng, tau_bp=0.0, scale=0.3):
    """Draw standard autoregressive noise along the last axis, times `scale`."""
    white = rng.standard_normal(shape)
    if tau_bp:
        keep = np.exp(-1 / tau_bp)
        for at in range(1, shape[-1]):
            white[..., at] = keep * white[..., at - 1] + np.sqrt(1 - keep**2) * white[..., at]
    return scale * white


def plant(arrays, regions, direction, crossing, unit, offset, logit=LOW):
    """Set one unit's logit at one offset of every region; nothing where that base is off the contig."""
    for region in regions.itertuples():
        array = arrays[region.chrom]
        at = base_at(region, direction, crossing, offset)
        if 0 <= at < array.shape[2]:
            array[DIRECTIONS.index(direction), unit, at] = logit


@dataclass
class World:
    """Folders of one run: what `gatescope boundaries` reads, and what it should write to."""

    folder: Path
    lengths: dict
    regions: pd.DataFrame
    units: dict
    twin: dict
    fold: dict
    inputs: tuple = ("sequence",)
    lookahead_bp: int = 7
    shuffled: dict | None = None  # the twin trained on rotated targets
    codes: dict | None = None  # base codes by contig; otherwise all A
    states: dict | None = None  # otherwise all scored
    writes: dict | None = None  # i g of the run; otherwise the same little at every base

    def write(self):
        """Write store, model, trace and twins."""
        _write_store(self.folder / "store", self.lengths, self.regions, self.codes or {}, self.states or {})
        traces = {"trace": self.units, "twin": self.twin}
        for name, arrays in (traces | ({"shuffled": self.shuffled} if self.shuffled else {})).items():
            folder = self.folder / name / "units"
            folder.mkdir(parents=True, exist_ok=True)
            for contig, array in arrays.items():
                np.save(folder / f"{contig}.npy", array.astype(np.float32))
                written = (self.writes or {}).get(contig, np.full(array.shape, LITTLE))
                np.save(folder / f"{contig}.writes.npy", written.astype(np.float32))
                np.save(folder / f"{contig}.change.npy", np.zeros(array[:, 0].shape, np.float32))
            summary = {"model_sha256": SHA256[name], "certificate": {"max_error": 1e-7, "tolerance": 5e-6}}
            (folder.parent / "summary.json").write_text(json.dumps(summary))
        (self.folder / "model").mkdir(exist_ok=True)
        meta = {
            "run": "sequence.f1.1",
            "store": EncodedStore(self.folder / "store").content_hash,
            "fold": self.fold,
            "network": {"inputs": list(self.inputs)},
            "lookahead_bp": self.lookahead_bp,
            "sha256": SHA256["trace"],
        }
        (self.folder / "model" / "model.json").write_text(json.dumps(meta))
        return self

    def paths(self):
        """Return the arguments of the verb."""
        names = {name: self.folder / name for name in ("store", "trace", "twin", "model")}
        return {**names, "output": self.folder / "boundaries"}


def _write_store(path, lengths, regions, codes, states):
    contigs = []
    for contig, length in lengths.items():
        empty, cuts = np.zeros(length, np.uint8), np.zeros(length, np.float32)
        arrays = ContigArrays(codes.get(contig, empty), states.get(contig, empty), {"cuts": cuts})
        contigs.append((contig, arrays))
    table = regions.assign(summit=regions["start"], kind="peak", gc=0.4)
    # a background window must never count as a region
    background = table.head(3).assign(start=700, end=900, kind="background")
    meta = {"stage_version": 1, "window_bp": 200, "folds": {}, "inputs": {}, "filters": [], "seed": 1}
    write_store(path, contigs, pd.concat([table, background]), meta)


LENGTHS = {"train1": 3000, "valid1": 24_000, "test1": 24_000, "test2": 20_011}


def make_world(folder, seed=0, n_units=3, lengths=LENGTHS):
    """Make a run whose unit 1 (fwd) and unit 2 (rev) fall 4 and 6 bp beyond the entry; its twin does not."""
    rng = np.random.default_rng(seed)
    regions = draw_regions(lengths, rng)
    held_out = [contig for contig in lengths if contig != "train1"]
    units, twin = (
        {contig: HIGH + noise((2, n_units, lengths[contig]), rng) for contig in held_out} for _ in range(2)
    )
    known = regions[regions["chrom"] != "train1"]
    plant(units, known, "fwd", "entry", 1, 4)
    plant(units, known, "rev", "entry", 2, 6)
    fold = {"name": "f1", "test": ["test1", "test2"], "valid": ["valid1"]}
    return World(folder, lengths, regions, units, twin, fold).write()


def draw_codes(lengths, regions, rng, inside=0.9, outside=0.3):
    """Draw bases by contig; the GC share is another inside regions than outside."""
    codes = {}
    for contig, length in lengths.items():
        share = np.full(length, outside)
        for region in regions[regions["chrom"] == contig].itertuples():
            share[region.start : region.end] = inside
        is_gc = rng.random(length) < share
        codes[contig] = np.where(is_gc, rng.integers(1, 3, length), 3 * rng.integers(0, 2, length)).astype(
            np.uint8
        )
    return codes


def make_gc_follower(folder, seed=0):
    """Make a run whose units fall at every step into GC-rich sequence; only half of these begin a region."""
    world = make_world(folder, seed, lengths=LENGTHS | {"test1": 120_000})
    rng = np.random.default_rng(seed + 1)
    rich = draw_regions(world.lengths, rng, mean_gap_bp=500, mean_width_bp=600)
    world.regions = rich.iloc[::2].reset_index(drop=True)
    world.codes = draw_codes(world.lengths, rich, rng, inside=0.95, outside=0.1)
    for contig, array in world.units.items():
        array[:] = HIGH + noise(array.shape, rng)
        twin = world.twin[contig]
        twin[:] = HIGH + noise(twin.shape, rng)
    known = rich[rich["chrom"] != "train1"]
    plant(world.units, known, "fwd", "entry", 1, 4)
    plant(world.units, known, "rev", "entry", 2, 6)
    return world.write()
