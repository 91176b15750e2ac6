"""BAM to a bigWig of cuts: `gatescope cuts` beside `bam2bw`, alternating, one core, in one run.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install bam2bw
    taskset -c 0 python tests/benchmarks/bench_cuts.py --bam2bw /tmp/peers/bin/bam2bw --reads 8000000

Paired reads of 50 bases with names and qualities on random places of a random genome, sorted by position. Ours looks
for the Tn5 shift, takes out copies, and writes zoom levels for browsers; bam2bw does neither of the first two, and
writes zoom levels only when asked (`--zooms`, its `-z`).
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pysam

READ_BP, NAME_BYTES = 50, 24
RECORD = np.dtype(
    [
        ("block_size", "<i4"),
        ("contig", "<i4"),
        ("start", "<i4"),
        ("name_length", "u1"),
        ("mapq", "u1"),
        ("bin", "<u2"),
        ("cigar_ops", "<u2"),
        ("flag", "<u2"),
        ("bases", "<i4"),
        ("next_contig", "<i4"),
        ("next_start", "<i4"),
        ("template", "<i4"),
        ("name", f"S{NAME_BYTES}"),
        ("cigar", "<u4"),
        ("sequence", "u1", READ_BP // 2),
        ("quality", "u1", READ_BP),
    ]
)  # SAM specification 4.2; every field has the same size in every read, so there is no padding


def write_genome(path, lengths, rng):
    with path.open("wb") as file:
        for name, length in lengths.items():
            file.write(
                b">%s\n%s\n" % (name.encode(), rng.choice(np.frombuffer(b"ACGT", "u1"), length).tobytes())
            )


def write_bam(path, lengths, n_pairs, rng):
    names, sizes = list(lengths), np.array(list(lengths.values()))
    contig = np.sort(rng.choice(len(names), n_pairs, p=sizes / sizes.sum()))
    fragment = rng.integers(READ_BP, 400, n_pairs)
    start = (rng.random(n_pairs) * (sizes[contig] - 400)).astype(np.int64)
    reads = np.zeros(2 * n_pairs, RECORD)
    for mate, (at, other, flag, sign) in enumerate(
        ((start, start + fragment - READ_BP, 0x63, 1), (start + fragment - READ_BP, start, 0x93, -1))
    ):
        own = reads[mate::2]
        own["contig"] = own["next_contig"] = contig
        own["start"], own["next_start"], own["template"], own["flag"] = at, other, sign * fragment, flag
        own["name"] = [b"A00123:45:HXX:%08d" % number for number in range(n_pairs)]
    reads["block_size"], reads["name_length"] = RECORD.itemsize - 4, NAME_BYTES
    reads["mapq"], reads["cigar_ops"], reads["bases"], reads["cigar"] = 42, 1, READ_BP, READ_BP << 4
    reads["sequence"] = rng.choice(
        np.array([0x11, 0x12, 0x24, 0x48, 0x81, 0x82], "u1"), (len(reads), READ_BP // 2)
    )
    reads["quality"] = rng.choice(np.array([11, 25, 37, 37, 37], "u1"), (len(reads), READ_BP))
    reads = reads[np.lexsort((reads["start"], reads["contig"]))]
    text = "@HD\tVN:1.6\tSO:coordinate\n" + "".join(
        f"@SQ\tSN:{name}\tLN:{n}\n" for name, n in lengths.items()
    )
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(b"BAM\1" + np.int32(len(text)).tobytes() + text.encode() + np.int32(len(names)).tobytes())
        for name, length in lengths.items():
            file.write(np.int32(len(name) + 1).tobytes() + name.encode() + b"\0" + np.int32(length).tobytes())
        for first in range(0, len(reads), 100_000):
            file.write(reads[first : first + 100_000].tobytes())


def run(command):
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bam2bw", type=Path, required=True)
    parser.add_argument("--zooms", type=int, default=0)
    parser.add_argument("--reads", type=int, default=8_000_000)
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = {f"chr{number}": options.mb * 100_000 for number in range(1, 11)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_genome(folder / "genome.fa", lengths, rng)
        write_bam(folder / "reads.bam", lengths, options.reads // 2, rng)
        (folder / "sizes").write_text("".join(f"{contig}\t{length}\n" for contig, length in lengths.items()))
        ours = [Path(sys.executable).parent / "gatescope", "cuts", "--atac", folder / "reads.bam"]
        ours += [
            "--genome",
            folder / "genome.fa",
            "--tn5-shift",
            "+0/-0",
            "--output",
            folder / "ours" / "cuts.bw",
        ]
        theirs = [options.bam2bw, "-s", folder / "sizes", "-u", "-ps", "4", "-ns", "-4", "-z", options.zooms]
        theirs += ["-n", folder / "theirs", folder / "reads.bam"]
        found = {"gatescope cuts": [], "bam2bw": []}
        for _ in range(options.rounds):
            found["gatescope cuts"].append(run(ours))
            found["bam2bw"].append(run(theirs))
    medians = {
        tool: [statistics.median(each) for each in zip(*runs, strict=True)] for tool, runs in found.items()
    }
    print(f"{options.reads:,} reads, {options.mb} Mb")
    for tool, (wall, cpu) in medians.items():
        print(
            f"  {tool:15s} {wall:6.1f} s, {cpu:6.1f} s of CPU, {options.reads / cpu / 1e6:.2f} M reads per CPU second"
        )
    ratio = medians["bam2bw"][1] / medians["gatescope cuts"][1]
    print(f"  bam2bw takes {ratio:.2f} times the CPU time of gatescope cuts")


if __name__ == "__main__":
    main()
