"""What does the whole `gatescope trace` cost beside the tracing itself? Start-up, sinks, tracks, in one run.

    python tests/benchmarks/bench_command.py --hidden 64 --mb 1

An untrained network and a FASTA of one contig of random bases. "Tracing" is reading every gate of the contig in both
directions with nothing kept; the command starts Python, reads model and FASTA, keeps census and tracks, and writes six
bigWigs with zoom levels.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bench_stream import RandomGenome, make_network, timed

from gatescope.model.persist import save_model
from gatescope.model.runtime import prepare_torch
from gatescope.trace.sink import Sink
from gatescope.trace.stream import ContigStream


def write_world(folder, network, genome):
    weights = network.state_dict()
    meta = {"run": "bench.f1.1", "store": "", "fold": {"name": "f1", "test": [], "valid": []}}
    save_model(folder / "model", network.config, weights, weights, meta | {"training": {"device": "cpu"}})
    (contig,) = genome.lengths
    letters = np.frombuffer(b"ACGT", np.uint8)[genome.codes(contig)].tobytes().decode()
    (folder / "genome.fa").write_text(f">{contig}\n{letters}\n")


def run_command(folder, threads):
    command = [str(Path(sys.executable).parent / "gatescope"), "trace", "--model", str(folder / "model")]
    command += ["--fasta", str(folder / "genome.fa"), "--output", str(folder / "out")]
    begun = time.perf_counter()
    subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True)
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--mb", type=float, default=1.0)
    parser.add_argument("--longest-half-life", type=float, default=1000.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare_torch(options.threads, "cpu")
    network = make_network(options.hidden, options.longest_half_life, 1)
    genome = RandomGenome([int(options.mb * 1e6)])
    (contig,) = genome.lengths
    stream, times = ContigStream.of(network, genome), {"tracing": [], "command": []}
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), network, genome)
        for _ in range(options.rounds):
            times["tracing"].append(timed(lambda: stream.read(contig, [Sink()]))[0])
            times["command"].append(run_command(Path(folder), options.threads))
    tracing, command = (statistics.median(values) for values in times.values())
    print(f"hidden {options.hidden}, {options.mb} Mb, {options.threads} thread(s)")
    print(f"  tracing {tracing:.1f} s, command {command:.1f} s: {command / tracing:.2f} x")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
