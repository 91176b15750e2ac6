"""A tiny good set of inputs, to run a verb on or to spoil; the fixture `tiny_inputs` hands it out."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyBigWig

LENGTHS = {"chr1": 20_000, "chr2": 18_011, "chr3": 16_000, "chr4": 21_000}
PEAK_EVERY_BP, PEAK_BP = 4_000, 400


@dataclass
class TinyInputs:
    """A good set of inputs: four contigs, raw fragments, peaks, an exclusion list, an extra track, a fold.

    Change a file or an entry of `flags` to spoil it. `sequence`, `cut_counts` and `track_values` are what the
    files hold, for comparison.
    """

    folder: Path
    sequence: dict[str, str]
    peak_rows: list[tuple]
    fragment_rows: list[tuple[str, int, int]]
    cut_counts: dict[str, np.ndarray]
    track_values: dict[str, np.ndarray]
    folds: dict = field(default_factory=lambda: {"f1": {"test": ["chr3"], "valid": ["chr4"]}})
    lengths: dict[str, int] = field(default_factory=lambda: dict(LENGTHS))

    @property
    def genome(self) -> Path:
        return self.folder / "genome.fa"

    @property
    def fragments(self) -> Path:
        return self.folder / "fragments.bed"

    @property
    def cuts(self) -> Path:
        return self.folder / "cuts.bw"

    @property
    def peaks(self) -> Path:
        return self.folder / "peaks.narrowPeak"

    @property
    def exclusion_list(self) -> Path:
        return self.folder / "exclusion.bed"

    @property
    def track(self) -> Path:
        return self.folder / "track.bw"

    @property
    def folds_json(self) -> str:
        return json.dumps(self.folds)

    def write(self) -> None:
        """Write every file from what is held here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.genome.write_text("".join(f">{name}\n{letters}\n" for name, letters in self.sequence.items()))
        write_rows(self.fragments, self.fragment_rows)
        write_rows(self.peaks, self.peak_rows)
        write_rows(self.exclusion_list, [("chr1", 9_000, 9_500)])
        gaps = {name: np.where(counts > 0, counts, np.nan) for name, counts in self.cut_counts.items()}
        write_bigwig(self.cuts, self.lengths, gaps)
        write_bigwig(self.track, self.lengths, self.track_values)


def write_rows(path: Path, rows: list) -> None:
    """Write tab-separated rows without a header."""
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def write_bigwig(path: Path, lengths: dict[str, int], values: dict[str, np.ndarray]) -> None:
    """Write a dense bigWig, NaN = gap, with pyBigWig alone."""
    with pyBigWig.open(str(path), "w") as bigwig:
        bigwig.addHeader(list(lengths.items()))
        for contig, array in values.items():
            known = np.flatnonzero(~np.isnan(array))
            for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
                if run.size:
                    bigwig.addEntries(
                        contig, int(run[0]), values=array[run].astype(np.float32), span=1, step=1
                    )


def make_tiny_inputs(folder: Path, seed: int = 0) -> TinyInputs:
    """Draw and write a good set of inputs; the same seed gives the same bytes in any folder."""
    rng = np.random.default_rng(seed)
    sequence = {name: "".join(rng.choice(list("ACGT"), length)) for name, length in LENGTHS.items()}
    peaks, fragments = [], []
    for name, length in LENGTHS.items():
        for number, start in enumerate(range(2_000, length - 1_500, PEAK_EVERY_BP)):
            end = start + PEAK_BP + 10 * number
            row = (name, start, end, f"{name}_{number}", 50, ".", 4.5, 12.0, 10.0)
            # MACS3 repeats a region once per summit
            peaks += [(*row, 100), (*row, 300)] if number == 1 else [(*row, (end - start) // 2)]
            starts = rng.integers(start, end - 60, 60)
            fragments += [(name, int(at), int(at + rng.integers(40, 60))) for at in starts]
        starts = rng.integers(0, length - 100, 150)
        fragments += [(name, int(at), int(at + rng.integers(40, 100))) for at in starts]
    fragments = sorted(set(fragments), key=lambda row: (list(LENGTHS).index(row[0]), *row[1:]))
    counts = {name: np.zeros(length, np.float32) for name, length in LENGTHS.items()}
    for name, start, end in fragments:
        counts[name][start + 4] += 1
        counts[name][end - 5] += 1
    track = {name: rng.random(length).astype(np.float32).round(3) for name, length in LENGTHS.items()}
    inputs = TinyInputs(folder, sequence, peaks, fragments, counts, track)
    inputs.write()
    return inputs
