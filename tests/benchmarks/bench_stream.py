"""What does it cost that no state is ever cut? Streaming against independent windows and against one sequential pass.

    python tests/benchmarks/bench_stream.py --hidden 64 --mb 4 --longest-half-life 1000

An untrained network of one bidirectional layer reads a contig of random bases: as independent windows of 1,000 bp, 64
abreast, each from zero states (wrong at every window's start, and what peers do); as one sequential pass; and as
`ContigStream` does it, every seam certified. The same stem, the same tracer, every gate of every unit; nothing is kept.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch

from gatescope.model.cells import cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.runtime import exact_arithmetic, prepare_torch
from gatescope.trace.kernel import Tracer
from gatescope.trace.sink import Sink
from gatescope.trace.source import StemFeatures
from gatescope.trace.stream import ContigStream, Segments

_WINDOW_BP, _ROWS, _STEPS = 1000, 64, 25


class RandomGenome:
    """Contigs of random bases, named by their length."""

    def __init__(self, lengths):
        draw = np.random.default_rng(0)
        self._codes = {str(n): draw.integers(0, 4, n).astype(np.uint8) for n in lengths}
        self.lengths = {name: len(codes) for name, codes in self._codes.items()}

    def codes(self, contig):
        return self._codes[contig]


def make_network(hidden, longest_bp, layers):
    config = NetworkConfig(
        targets=("state",),
        hidden_units=hidden,
        layers=layers,
        half_life_bp=(min(20.0, longest_bp), longest_bp),
    )
    return AccessibilityNetwork(config, torch.Generator().manual_seed(1)).eval()


def read_windows(network, genome, contig):
    """Trace a contig in batches of independent windows; the rest that fills no batch is left out."""
    source = StemFeatures(network, genome)
    batch_bp = _WINDOW_BP * _ROWS
    with exact_arithmetic(), torch.inference_mode():
        for direction, cell in enumerate(cells_of(network.lstm_layers[0])):
            tracer = Tracer(cell)
            zero = tuple(state.repeat(_ROWS, 1) for state in cell.zero_state)
            for start in range(0, genome.lengths[contig] - batch_bp + 1, batch_bp):
                places = [(at, at + _WINDOW_BP) for at in range(start, start + batch_bp, _WINDOW_BP)]
                features = source.features(contig, places)
                read = (features.flip(1) if direction else features).transpose(0, 1).contiguous()
                state = zero
                for part in read.split(_STEPS):
                    _, state = tracer.trace(part, state)


def timed(action):
    begun = time.perf_counter()
    result = action()
    return time.perf_counter() - begun, result


def compare(options):
    network = make_network(options.hidden, options.longest_half_life, options.layers)
    genome = RandomGenome([int(options.mb * 1e6)])
    (contig,) = genome.lengths
    streams = {
        "stream": ContigStream.of(network, genome, layer=options.layers - 1),
        "sequential": ContigStream.of(network, genome, layer=options.layers - 1, segments=Segments(rows=1)),
    }
    times = {name: [] for name in ("windows", *streams)}
    for _ in range(options.rounds):
        if options.layers == 1:
            times["windows"].append(timed(lambda: read_windows(network, genome, contig))[0])
        for name, stream in streams.items():
            seconds, reports = timed(lambda stream=stream: stream.read(contig, [Sink()]))
            times[name].append(seconds)
            if name == "stream":
                seams = reports
    found = {name: statistics.median(values) for name, values in times.items() if values}
    print(
        f"hidden {options.hidden}, {options.layers} layer(s), {options.mb} Mb, half-lives to "
        f"{options.longest_half_life:g} bp, {options.threads} thread(s)"
    )
    for name, seconds in found.items():
        print(
            f"  {name:12s} {seconds:7.1f} s   {1e6 * seconds / sum(genome.lengths.values()) / 2:6.3f} us/bp/direction"
        )
    if "windows" in found:
        print(f"  throughput of the stream / independent windows: {found['windows'] / found['stream']:.2f}")
    print(f"  time of the stream / one sequential pass: {found['stream'] / found['sequential']:.2f}")
    for report in seams:
        print(
            f"  layer {report.layer + 1} direction {report.direction}: {report.rows} rows, "
            f"burn-in {report.burn_in_bp} bp, {report.reruns} re-runs, largest seam {report.largest_seam:.1e}"
        )


def grow(options):
    """Time and peak memory against length, sequential and streamed."""
    lengths = [int(mb * 1e6) for mb in options.lengths]
    network, genome = (
        make_network(options.hidden, options.longest_half_life, options.layers),
        RandomGenome(lengths),
    )
    stream = ContigStream.of(network, genome, layer=options.layers - 1)
    stream.read(str(lengths[0]), [Sink()])
    seconds = []
    for length in lengths:
        took, _ = timed(lambda length=length: stream.read(str(length), [Sink()]))
        seconds.append(took)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {length / 1e6:6.2f} Mb {took:8.1f} s   peak memory so far {peak:.0f} MB")
    slope = np.polyfit(np.log(lengths), np.log(seconds), 1)[0]
    print(f"  time grows with length to the power of {slope:.3f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--mb", type=float, default=4.0)
    parser.add_argument("--longest-half-life", type=float, default=1000.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=float, nargs="*", help="Mb: time and memory against length instead")
    options = parser.parse_args()
    prepare_torch(options.threads, "cpu")
    grow(options) if options.lengths else compare(options)


if __name__ == "__main__":
    main()
