"""Genomes with planted words and hand-made gates that answer to them: what grammar has to find again."""

import json

import numpy as np
import pandas as pd
from gate_worlds import SHA256

from gatescope.data.store import ContigArrays, EncodedStore, write_store

#: Planted words along the forward strand; R = A or G, Y = C or T.
ENTRY, EXIT = "TGACRYAT", "CCGTARAG"
FIDELITY = 0.94


def matrix(word):
    """Return the base probabilities of a word, (width, 4), letter by letter."""
    letters = {"R": "AG", "Y": "CT"}
    rows = np.full((len(word), 4), 0.0)
    for row, letter in zip(rows, word, strict=True):
        allowed = ["ACGT".index(base) for base in letters.get(letter, letter)]
        row[:] = (1 - FIDELITY) / (4 - len(allowed))
        row[allowed] = FIDELITY / len(allowed)
    return rows


def other_strand(word_matrix):
    """Spell out the reverse complement of a matrix, letter by letter."""
    pairs = {"A": "T", "C": "G", "G": "C", "T": "A"}
    columns = [[row["ACGT".index(pairs[base])] for base in "ACGT"] for row in word_matrix]
    return np.array(columns[::-1])


def draw_codes(length, rng, shares=(0.3, 0.2, 0.2, 0.3)):
    """Draw independent bases."""
    return rng.choice(4, length, p=shares).astype(np.uint8)


def plant_words(codes, matrices, rng, every_bp=300):
    """Write instances into the bases, one motif after the other; return (start, index of the motif) of each."""
    placed = []
    for number, start in enumerate(range(200, codes.size - 200, every_bp)):
        start += int(rng.integers(0, every_bp // 3))
        which = number % len(matrices)
        for offset, row in enumerate(matrices[which]):
            codes[start + offset] = rng.choice(4, p=row)
        placed.append((start, which))
    return placed


def last_base_read(start, width, direction):
    """Return the base of an instance that a direction reads last."""
    return start + width - 1 if direction == "fwd" else start


def gates(length, rng):
    """Draw logits that mean nothing."""
    return 3.0 + 0.3 * rng.standard_normal(length)


def fall_after(logits, placed, widths, direction, lag, rng, jitter=0):
    """Let a gate fall `lag` bases of reading after the last base of each instance, give or take `jitter`."""
    for start, which in placed:
        late = lag + int(rng.integers(-jitter, jitter + 1))
        at = last_base_read(start, widths[which], direction)
        logits[at + late if direction == "fwd" else at - late] = -3.0 + 0.1 * rng.standard_normal()


class ArrayUnits:
    """Stand in for `UnitStore`: {contig: (D, H, L)} of logits and of writes."""

    def __init__(self, logits, writes):
        self.arrays = {"logits": logits, "writes": writes}

    def logits(self, contig, direction, unit):
        return self.arrays["logits"][contig][direction, unit]

    def writes(self, contig, direction, unit):
        return self.arrays["writes"][contig][direction, unit]

    def n_units(self, contig):
        return self.arrays["logits"][contig].shape[1]


def make_grammar_world(folder, seed=0, n_units=2):
    """Write a run whose unit 0 (fwd) falls at ENTRY and unit 1 (rev) at EXIT; fwd's unit 0 writes at EXIT.

    Lags: forget 1 (fwd) and 2 (rev), write 0. The twin does nothing in particular.
    """
    rng = np.random.default_rng(seed)
    lengths = {"train1": 2000, "valid1": 2000, "test1": 60_000, "test2": 41_000}
    matrices, codes = [matrix(ENTRY), matrix(EXIT)], {}
    arrays = {name: {"logits": {}, "writes": {}} for name in ("trace", "twin")}
    regions = []
    for contig, length in lengths.items():
        codes[contig] = draw_codes(length, rng)
        placed = plant_words(codes[contig], matrices, rng)
        for each in arrays.values():
            each["logits"][contig] = 3 + 0.3 * rng.standard_normal((2, n_units, length))
            each["writes"][contig] = 0.1 * rng.standard_normal((2, n_units, length))
        own = arrays["trace"]
        entries, exits = ([place for place in placed if place[1] == which] for which in (0, 1))
        fall_after(own["logits"][contig][0, 0], entries, (8, 8), "fwd", 1, rng)
        fall_after(own["logits"][contig][1, 1], exits, (8, 8), "rev", 2, rng)
        for start, _ in exits:
            own["writes"][contig][0, 0, start + 7] = rng.choice([-2.0, 2.0])
        # a region opens with an entry word and closes with the exit word after it
        regions += [(contig, a, b + 8) for (a, _), (b, _) in zip(entries, exits, strict=False)]
    _write_store(folder / "store", codes, regions)
    for name, tracks in arrays.items():
        (folder / name / "units").mkdir(parents=True)
        for contig in lengths:
            stem = folder / name / "units" / contig
            np.save(f"{stem}.npy", tracks["logits"][contig].astype(np.float32))
            np.save(f"{stem}.writes.npy", tracks["writes"][contig].astype(np.float32))
        summary = {"model_sha256": SHA256[name], "certificate": {"max_error": 1e-7, "tolerance": 5e-6}}
        (folder / name / "summary.json").write_text(json.dumps(summary))
    (folder / "model").mkdir()
    meta = {
        "run": "sequence.f1.1",
        "store": EncodedStore(folder / "store").content_hash,
        "fold": {"name": "f1", "test": ["test1", "test2"], "valid": ["valid1"]},
        "sha256": SHA256["trace"],
    }
    (folder / "model" / "model.json").write_text(json.dumps(meta))
    rows = [
        (name, "entry", unit, unit == chosen) for name, chosen in (("fwd", 0), ("rev", 1)) for unit in (0, 1)
    ]
    pd.DataFrame(rows, columns=["direction", "crossing", "unit", "selected"]).to_csv(
        folder / "units.tsv", sep="\t", index=False
    )
    names = {name: folder / name for name in ("store", "trace", "twin", "model")}
    return {**names, "units": folder / "units.tsv", "output": folder / "grammar"}


def _write_store(path, codes, regions):
    contigs = []
    for contig, each in codes.items():
        cuts = {"cuts": np.zeros(each.size, np.float32)}
        contigs.append((contig, ContigArrays(each, np.zeros(each.size, np.uint8), cuts)))
    table = pd.DataFrame(regions, columns=["chrom", "start", "end"])
    table = table.assign(summit=table["start"], kind="peak", gc=0.4)
    meta = {"stage_version": 1, "window_bp": 200, "folds": {}, "inputs": {}, "filters": [], "seed": 1}
    write_store(path, contigs, table, meta)
