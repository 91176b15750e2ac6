"""How much memory do `cuts` and `encode` take? One contig's worth, however many reads and contigs there are.

    python tests/benchmarks/bench_memory.py
    python tests/benchmarks/bench_memory.py --contig-mb 8 --format bam

A genome of random bases, its reads (fragments, or single-end reads in a BAM) and peaks; `gatescope cuts` and
`gatescope encode`, each in a process of its own, whole and as one of four pieces. Printed is the most memory that the
process ever held (VmHWM) beyond that of its imports, in bytes per base of one contig: with few reads, with ten times
as many, and with four times as many contigs of the same length.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pysam

_FRAGMENT_BP, _PEAK_BP, _CHUNK = 100, 500, 1_000_000
_CHILD = """
import sys
from pathlib import Path
import {module}
from gatescope.cli import main
try:
    main(sys.argv[1:] or ["--version"])
finally:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(line.split()[1])
"""
_MODULES = {"cuts": "gatescope.atac.cuts", "encode": "gatescope.data.encode"}


def write_genome(folder, n_contigs, contig_bp):
    """Write a FASTA and one peak in every 20 kb."""
    rng = np.random.default_rng(0)
    with (folder / "genome.fa").open("wb") as fasta, (folder / "peaks.bed").open("w") as peaks:
        for n in range(n_contigs):
            bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, contig_bp, dtype=np.uint8)]
            fasta.write(b">contig%d\n" % n + bases.tobytes() + b"\n")
            for start in range(5_000, contig_bp - 5_000, 20_000):
                peaks.write(f"contig{n}\t{start}\t{start + _PEAK_BP}\n")


def draw_fragments(n_contigs, contig_bp, count):
    """Yield the contig and the sorted starts of chunks of fragments, in genome order."""
    rng = np.random.default_rng(1)
    for n in range(n_contigs):
        left = count // n_contigs
        for low in range(0, left, _CHUNK):
            yield n, np.sort(rng.integers(10, contig_bp - 2 * _FRAGMENT_BP, min(_CHUNK, left - low)))


def write_fragments(path, n_contigs, contig_bp, count):
    with path.open("w") as file:
        for n, starts in draw_fragments(n_contigs, contig_bp, count):
            file.writelines(f"contig{n}\t{start}\t{start + _FRAGMENT_BP}\n" for start in starts.tolist())


def write_bam(path, n_contigs, contig_bp, count):
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": f"contig{n}", "LN": contig_bp} for n in range(n_contigs)]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for n, starts in draw_fragments(n_contigs, contig_bp, count):
            for start in starts.tolist():
                read = pysam.AlignedSegment(file.header)
                read.query_name, read.reference_id, read.reference_start = "r", n, start
                read.mapping_quality, read.cigartuples = 60, [(0, 30)]
                read.flag = 16 * (start % 2)
                file.write(read)


def peak_memory(verb, *arguments):
    """Run a verb; return the most memory it held, in bytes."""
    command = [sys.executable, "-c", _CHILD.format(module=_MODULES[verb]), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{verb}: {done.stderr}")
    return 1024 * int(done.stdout.split()[-1])


def run_verbs(folder, n_contigs, reads):
    """Return the memory of each verb beyond its imports."""
    genome = ("--genome", folder / "genome.fa")
    folds = json.dumps({"a": {"test": ["contig0"], "valid": ["contig1"]}})
    encode = (
        "encode",
        *genome,
        "--cuts",
        folder / "cuts.bw",
        "--peaks",
        folder / "peaks.bed",
        "--folds",
        folds,
    )
    encode += ("--window-bp", 1500, "--background-ratio", 1, "--seed", 1, "--output", folder / "encoded")
    shift = ("--tn5-shift", "+0/-0", "--output", folder / "cuts.bw")
    commands = {
        "cuts": ("cuts", "--atac", reads, *genome, *shift),
        "encode": encode,
        "encode --piece": (*encode, "--piece", "1-of-4"),
        "encode, pieces": encode,
    }
    imports = {verb: peak_memory(verb) for verb in _MODULES}
    return {name: peak_memory(each[0], *each) - imports[each[0]] for name, each in commands.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contig-mb", type=float, default=4)
    parser.add_argument("--contigs", type=int, default=10)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--format", choices=("fragments", "bam"), default="fragments")
    options = parser.parse_args()
    contig_bp = int(options.contig_mb * 1e6)
    write = {"fragments": write_fragments, "bam": write_bam}[options.format]
    print(
        f"{options.format}, contigs of {options.contig_mb:g} Mb; bytes per base of one contig, beyond imports"
    )
    for n_contigs, factor in ((options.contigs, 1), (options.contigs, 10), (4 * options.contigs, 1)):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder, count = Path(name), factor * options.reads
            write_genome(folder, n_contigs, contig_bp)
            write(folder / "reads", n_contigs, contig_bp, count)
            found = run_verbs(folder, n_contigs, folder / "reads")
        told = ", ".join(f"{verb} {peak / contig_bp:5.1f}" for verb, peak in found.items())
        print(f"{n_contigs:3d} contigs, {count:12,} reads: {told}", flush=True)


if __name__ == "__main__":
    main()
