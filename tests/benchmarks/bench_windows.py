"""How long do one-hot and signal of random windows take, beside a plain copy and beside other libraries?

    python tests/benchmarks/bench_windows.py
    python tests/benchmarks/bench_windows.py --cold-mb 500

20,000 random windows of 2,114 bp from a genome of random bases, in batches of 64, one thread: the one-hot sequence
(N, 4, L) and as many values of a bigWig. Ours come from an encoded store (`gatescope.data.windows.Windows`). Each
library runs in a process of its own and takes turns with `numpy.copy` of as many bytes (8 per base, batches of 64):
what is printed is the median of the ratios of CPU time. All results are compared by their sums. Files are in the page
cache, and freed memory is kept (MALLOC_*), as gatescope does when it trains.

`--cold-mb` makes a second store of so many Mb and reads each batch with none of it in the page cache: what a genome
that is far larger than the memory comes to. It needs 6 bytes of disk per base.

The other libraries go into an environment of their own, without constraints.txt, which genvarloader does not fit:

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install -e . genvarloader==0.43.1 seqpro==0.23.0 tangermeme==1.6.0
    /tmp/peers/bin/python tests/benchmarks/bench_windows.py
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig

from gatescope.data.arrays import ContigArrays
from gatescope.data.store import REGION_COLUMNS, EncodedStore, write_store
from gatescope.data.windows import Windows

_WINDOW_BP, _BATCH, _CONTIGS, _READ_BYTES = 2114, 64, 16, 8
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"), "1"),
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "LOGURU_LEVEL": "ERROR",
}


def draw_contigs(mb):
    """Yield contigs of random bases and cuts."""
    rng = np.random.default_rng(0)
    length = int(mb * 1e6) // _CONTIGS
    for n in range(_CONTIGS):
        codes = rng.integers(0, 4, length, dtype=np.uint8)
        cuts = rng.choice(np.array([0, 0, 0, 0, 1, 2], np.float32), length)
        yield f"contig{n}", ContigArrays(codes, np.zeros(length, np.uint8), {"cuts": cuts})


def write_encoded(folder, mb):
    meta = {"stage_version": 0, "window_bp": _WINDOW_BP, "folds": {}, "inputs": {}, "filters": [], "seed": 0}
    write_store(folder, draw_contigs(mb), pd.DataFrame(columns=list(REGION_COLUMNS)), meta)


def write_world(folder, mb, n_windows):
    """Write the same genome as store, FASTA and bigWig, and the windows."""
    write_encoded(folder / "store", mb)
    store = EncodedStore(folder / "store")
    with (folder / "genome.fa").open("w") as fasta:
        for contig in store.lengths:
            fasta.write(
                f">{contig}\n{np.frombuffer(b'ACGT', np.uint8)[store.codes(contig)].tobytes().decode()}\n"
            )
    track = pyBigWig.open(str(folder / "cuts.bw"), "w")
    track.addHeader(list(store.lengths.items()))
    for contig in store.lengths:
        track.addEntries(contig, 0, values=store.track(contig, "cuts").astype(float), span=1, step=1)
    track.close()
    rng = np.random.default_rng(1)
    contigs = rng.integers(0, _CONTIGS, n_windows)
    starts = rng.integers(0, min(store.lengths.values()) - _WINDOW_BP, n_windows)
    np.savez(folder / "windows.npz", contigs=contigs, starts=starts)


def batches_of(count):
    return [slice(first, first + _BATCH) for first in range(0, count, _BATCH)]


def read_places(folder):
    with np.load(folder / "windows.npz") as places:
        return places["contigs"], places["starts"]


# the libraries are imported where they are used: each runs in a process of its own, or is not there


def open_gatescope(folder):
    store, (contigs, starts) = EncodedStore(folder / "store"), read_places(folder)

    def read():
        for part in batches_of(starts.size):
            windows = Windows(store, contigs[part], starts[part], _WINDOW_BP)
            yield windows.one_hot(), windows.track("cuts")

    return read


def open_gatescope_both_strands(folder):
    """Half of the windows reverse-complemented, and the state: all that training reads."""
    store, (contigs, starts) = EncodedStore(folder / "store"), read_places(folder)
    turned = np.random.default_rng(2).random(starts.size) < 0.5

    def read():
        for part in batches_of(starts.size):
            windows = Windows(store, contigs[part], starts[part], _WINDOW_BP, turned[part])
            windows.state()
            yield windows.one_hot(), windows.tracks(("cuts",))

    return read


def open_genvarloader(folder):
    import genvarloader
    import polars
    import seqpro

    contigs, starts = read_places(folder)
    names = [f"contig{n}" for n in contigs]
    bed = polars.DataFrame({"chrom": names, "chromStart": starts, "chromEnd": starts + _WINDOW_BP})
    tracks = genvarloader.BigWigs("cuts", {"sample": str(folder / "cuts.bw")})
    genvarloader.write(folder / "windows.gvl", bed, tracks=tracks, overwrite=True)
    data = genvarloader.Dataset.open(folder / "windows.gvl", reference=folder / "genome.fa")
    data = data.with_len(_WINDOW_BP).with_seqs("reference").with_tracks("cuts")

    def read():
        for part in batches_of(starts.size):
            bases, signal = data[np.arange(part.start, min(part.stop, starts.size)), 0]
            yield np.ascontiguousarray(seqpro.DNA.ohe(bases[:, 0]).transpose(0, 2, 1)), signal[:, 0, 0]

    return read


def open_tangermeme(folder, size=_BATCH):
    import torch
    from tangermeme.io import extract_loci

    torch.set_num_threads(1)
    contigs, starts = read_places(folder)
    names = np.array([f"contig{n}" for n in contigs])
    loci = pd.DataFrame({"chrom": names, "start": starts, "end": starts + _WINDOW_BP})
    files = {"sequences": str(folder / "genome.fa"), "signals": [str(folder / "cuts.bw")]}
    widths = {"in_window": _WINDOW_BP, "out_window": _WINDOW_BP}

    def read():
        for first in range(0, starts.size, size):
            some = loci.iloc[first : first + size].reset_index(drop=True)
            bases, signal = extract_loci(some, **files, **widths, n_jobs=1)
            yield bases.numpy(), signal[:, 0].numpy()

    return read


def open_tangermeme_in_one_call(folder):
    return open_tangermeme(folder, size=10**9)


LOADERS = {
    "gatescope": (open_gatescope, ()),
    "gatescope, both strands and state": (open_gatescope_both_strands, ()),
    "GenVarLoader + SeqPro": (open_genvarloader, ("genvarloader", "seqpro")),
    "tangermeme extract_loci, per batch": (open_tangermeme, ("tangermeme",)),
    "tangermeme extract_loci, one call": (open_tangermeme_in_one_call, ("tangermeme",)),
}


def timed(work):
    """Return seconds of CPU: files are in memory, and other people's jobs do not count."""
    begun = time.process_time()
    for batch in work():
        del batch
    return time.process_time() - begun


def measure(name, folder, repeats):
    """Take turns with a plain copy of as many bytes."""
    read = LOADERS[name][0](folder)
    count = read_places(folder)[1].size
    content = np.random.default_rng(0).integers(0, 255, (count, _WINDOW_BP * _READ_BYTES), dtype=np.uint8)

    def copy():
        for part in batches_of(count):
            yield np.copy(content[part])

    sums = [(int(one_hot.sum()), float(np.nansum(signal, dtype=float))) for one_hot, signal in read()]
    timed(copy)
    pairs = [(timed(copy), timed(read)) for _ in range(repeats)]
    ratio = statistics.median(own / copied for copied, own in pairs)
    best = min(own for _, own in pairs)
    return {"ratio": ratio, "windows_per_s": count / best, "sums": np.sum(sums, axis=0).tolist()}


def run_child(name, folder, repeats):
    command = [sys.executable, __file__, "--loader", name, "--folder", str(folder), "--repeats", str(repeats)]
    done = subprocess.run(command, env={**os.environ, **_ONE_THREAD}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(mb, n_windows, repeats):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        write_world(Path(folder), mb, n_windows)
        found = {}
        print(f"{n_windows:,} windows of {_WINDOW_BP:,} bp, {mb:g} Mb, batches of {_BATCH}")
        for name, (_, needed) in LOADERS.items():
            missing = [each for each in needed if importlib.util.find_spec(each) is None]
            if missing:
                print(f"{name:36s} not measured: {', '.join(missing)} is not installed (see --help)")
                continue
            one = found[name] = run_child(name, Path(folder), repeats)
            if one["sums"] != found["gatescope"]["sums"]:
                sys.exit(
                    f"{name} reads something else: {one['sums']}, gatescope {found['gatescope']['sums']}"
                )
            slower = one["ratio"] / found["gatescope"]["ratio"]
            print(f"{name:36s} {one['ratio']:7.2f} x a plain copy  {slower:6.2f} x gatescope"
                  f"  {one['windows_per_s']:9,.0f} windows/s")  # fmt: skip


def evict(folder):
    """Put a store's files out of the page cache."""
    for path in folder.glob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_cold(mb, n_batches=40):
    """Return windows per second and bytes read per byte asked for, with nothing in the page cache before each batch."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name) / "store"
        write_encoded(folder, mb)
        rng, seconds, before = np.random.default_rng(1), [], read_bytes()
        for _ in range(n_batches):
            evict(folder)
            store = EncodedStore(folder)
            contigs = rng.integers(0, _CONTIGS, _BATCH)
            starts = rng.integers(0, min(store.lengths.values()) - _WINDOW_BP, _BATCH)
            begun = time.perf_counter()
            windows = Windows(store, contigs, starts, _WINDOW_BP)
            windows.one_hot(), windows.track("cuts")
            seconds.append(time.perf_counter() - begun)
            del windows, store
        asked = n_batches * _BATCH * _WINDOW_BP * 5  # one byte of code, four of signal
        return _BATCH / statistics.median(seconds), (read_bytes() - before) / asked


def read_bytes():
    """Bytes that this process has had read from disks."""
    (line,) = [
        line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes")
    ]
    return int(line.split()[1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--windows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold-mb", type=float, help="also read a store of this size that is not in memory")
    parser.add_argument("--loader", choices=LOADERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loader:
        print(json.dumps(measure(options.loader, options.folder, options.repeats)))
        return
    compare(options.mb, options.windows, options.repeats)
    if options.cold_mb:
        speed, share = measure_cold(options.cold_mb)
        print(f"{options.cold_mb:g} Mb, none of it in the page cache: {speed:,.0f} windows/s, "
              f"{share:.1f} bytes read from disk per byte asked for")  # fmt: skip


if __name__ == "__main__":
    main()
