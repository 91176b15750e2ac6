"""How well does BPNet do on the same fold, in the same time? bpnet-lite, in an environment of its own.

A peer to compare with at a stated amount of compute, not a statement about BPNet as published: its authors train
longer, on more data, and choose settings on validation contigs.

Public names: `bpnet`, `BpnetSettings`.

References
----------
Avsec et al. 2021 (BPNet); https://github.com/jmschrei/bpnet-lite.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import read_json, write_json
from gatescope.settings import read_section
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: Where `make bpnet-env` puts it, beside the checkout or the environment that runs; in a conda environment, inside.
_PLACES = (
    Path(__file__).parents[3] / ".venv-bpnet",
    Path(sys.prefix).parent / ".venv-bpnet",
    Path(sys.prefix) / "bpnet",
)
_SCRIPT = Path(__file__).with_name("bpnet_script.py")
_LAST_LINES = 4
_TILE_BP = 1000
#: glibc gives large tensors back to the kernel otherwise; gatescope's own trainings are spared that too.
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}


@dataclass(frozen=True)
class BpnetSettings:
    """Hold the configuration's section `peers.bpnet_lite`.

    Parameters
    ----------
    minutes : float
        Computing time of the training on each of its threads, which is its wall time on cores that nothing else uses;
        reading and predicting come on top.
    filters, layers : int
        Width, and number of dilated convolutions.
    """

    minutes: float = 10.0
    filters: int = 64
    layers: int = 8

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.filters < 1 or not 1 <= self.layers <= 12:
            raise InputError(
                f"minutes {self.minutes}, filters {self.filters}, layers {self.layers}; wanted more than 0, at least "
                "1, and 1 to 12",
                where="config: peers.bpnet_lite",
            )


def bpnet(
    store: Path | str,
    output: Path | str,
    *,
    fold: str,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> None:
    """Train a BPNet on the training contigs of a fold, and write what it expects on the test contigs.

    Writes `predicted_cuts.bw` (cuts per bp, mean of both strands) with its sidecar, and `training.json`. Because the
    time decides when training ends, two trainings do not end in the same bytes.

    Half of the training windows (1,000 bp and what the network sees beyond) lie around peaks, moved by up to 128 bp,
    half anywhere; none has a base that is not scored. Loss: bpnet-lite's, on all of them, the counts weighing a tenth
    of the median window's. AdamW, learning rate 0.002, which falls with the time that is left. Validation contigs are
    not used: the last weights are kept. No model of Tn5's preference.

    Parameters
    ----------
    store : path
        Encoded store.
    output : path
        Folder to write into.
    fold : str
        Fold of the store.
    seed : int
        Decides weights and windows.
    settings : mapping, optional
        Fields of `BpnetSettings`.
    threads : int
        CPU threads.

    Raises
    ------
    InputError
        If the environment with bpnet-lite is not there, a setting is out of range, no peak lies on the training
        contigs, or the training fails.
    """
    options = read_section(BpnetSettings, settings or {}, "config: peers.bpnet_lite")
    python, data, folder = _find_python(), EncodedStore(store), Path(output)
    asked = {**asdict(options), "seed": seed, "threads": threads}
    test = [contig for contig in data.lengths if data.fold(fold).split(contig) == "test"]
    job = {**_describe(data, fold, test), **asked}
    with tempfile.TemporaryDirectory(prefix="gatescope-") as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job))
        _run([str(python), "-I", str(_SCRIPT), str(path)], threads)
        told = read_json(path.with_name("training.json"))
        predicted = np.load(path.with_name("predicted.npy"))
    what = (
        f"BPNet of {options.filters} filters and {options.layers} dilated layers ({told['weights']:,} weights), "
        f"trained with bpnet-lite {told['bpnet_lite']} for {options.minutes:g} minutes of {threads} CPU thread(s): "
        f"{told['steps']:,} steps, {told['cpu_seconds']:,.0f} s of computing. What it reaches at this compute says "
        "nothing about BPNet trained as its authors do"
    )
    _write_track(folder / "predicted_cuts.bw", data, test, predicted, what)
    record = {"stage_version": STAGE_VERSIONS["bpnet"], "fold": fold, **asked, **told}
    write_json(folder / "training.json", record)
    log.info("%s", what)


def _describe(data: EncodedStore, fold: str, test: Sequence[str]) -> dict[str, Any]:
    """Say to the script what to read, where to train and what to predict; places count through the whole genome."""
    train = [c for c in data.lengths if data.fold(fold).split(c) == "train" and data.lengths[c] > _TILE_BP]
    rows = data.regions[["chrom", "summit", "kind"]].to_numpy().tolist()
    summits = [
        data.starts[chrom] + summit for chrom, summit, kind in rows if kind == "peak" and chrom in train
    ]
    if not summits:
        raise InputError(
            "no peak on the training contigs, around which BPNet is trained", where=f"folds: {fold}"
        )
    files = {"codes": "codes.npy", "cuts": "track.cuts.npy", "state": "state.npy"}

    def spans(contigs: Sequence[str]) -> list[list[int]]:
        return [[data.starts[c], data.starts[c] + data.lengths[c]] for c in contigs]

    return {
        **{name: str((data.path / file).resolve()) for name, file in files.items()},
        "train": spans(train),
        "summits": summits,
        "predict": spans(test),
    }


def _write_track(
    path: Path, data: EncodedStore, contigs: Sequence[str], predicted: NDArray, what: str
) -> None:
    """Write the predictions, contig after contig."""
    start = 0
    with BigWigWriter(path, data.lengths, decimals=5) as writer:
        for contig in contigs:
            writer.add(contig, 0, predicted[start : start + data.lengths[contig]])
            start += data.lengths[contig]
    info = TrackInfo(
        track="predicted_cuts",
        unit="expected cuts per bp",
        range=(0.0, None),
        gaps="missing",
        description=f"Expected Tn5 cuts at the base on contigs that were not trained on, {', '.join(contigs)}, as "
        f"predicted by a {what}.",
        aggregation="mean of both strands",
        decimals=5,
    )
    write_sidecar(path, info)


def _find_python() -> Path:
    """Return the Python that has bpnet-lite."""
    for place in _PLACES:
        if (place / "bin/python").exists():
            return place / "bin/python"
    raise InputError(
        "bpnet-lite, which the configuration asks for as a peer, is not installed",
        where="bpnet",
        remedy="run `make bpnet-env` in the gatescope folder, or take it out of `peers`",
    )


def _run(command: list[str], threads: int) -> None:
    """Run the script, what it says in the log; its last words are the message if it fails."""
    environment = {**_MALLOC, **os.environ, "OMP_NUM_THREADS": str(threads)}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, text=True, errors="replace", **streams
    ) as process:
        try:
            assert process.stdout is not None
            for line in filter(None, map(str.strip, process.stdout)):
                log.info("BPNet: %s", line)
                last.append(line)
        except BaseException:  # an interrupt as well: it must not go on without us
            process.kill()
            raise
    if process.returncode:
        is_killed = process.returncode in (-9, 137)
        raise InputError(
            f"training BPNet failed (exit status {process.returncode}): {' | '.join(last) or 'it said nothing'}",
            where=command[0],
            cause="too little memory: raise mem_mb of rule bpnet" if is_killed else "",
            remedy="the log holds all that it said",
        )
