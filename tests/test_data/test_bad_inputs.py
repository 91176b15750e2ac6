"""Bad inputs by name, through the command line: one message, exit 2, no traceback, nothing written.

Each case spoils a good tiny set of inputs; bad files of reads are in `test_atac/test_replicates.py`. `BAD` lists the
verb that meets it; how it is made (the function may return flags to change: a list of values, or None to leave the
flag out); what the message must contain.
"""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam
import pytest

from gatescope.data.encode import encode
from test_atac import test_replicates as reads
from tiny_data import TinyInputs, write_bigwig, write_rows

Flags = dict[str, list | None]


class Bad(NamedTuple):
    verb: str
    spoil: Callable[[TinyInputs], Flags | None]
    message: list[str]


def arguments(verb: str, inputs: TinyInputs) -> Flags:
    """Return the flags of a call that works."""
    folder = inputs.folder.parent
    genome: Flags = {"--genome": [inputs.genome], "--exclude-contigs": []}
    atac: Flags = {"--atac": [inputs.fragments], "--tn5-shift": ["+0/-0"]}
    regions: Flags = {
        "--peaks": [inputs.peaks],
        "--exclusion-list": [inputs.exclusion_list],
        "--tracks": [],
        "--folds": [inputs.folds_json],
        "--window-bp": [256],
    }
    shares: Flags = {"--background-ratio": [1], "--max-unknown-fraction": [0.1], "--seed": [1]}
    network: Flags = {"--run": ["m.f1.1"], "--network": ["{}"], "--training": ["{}"], "--fold": ["f1"]}
    return {
        "preflight": {**genome, **atac, **regions, "--output": [folder / "preflight.json"]},
        "cuts": {**genome, **atac, "--output": [folder / "made.bw"]},
        "encode": {**genome, "--cuts": [inputs.cuts], **regions, **shares, "--output": [folder / "encoded"]},
        "train": {"--store": [folder / "store"], **network, "--seed": [1], "--output": [folder / "model"]},
    }[verb]


def command_line(verb: str, flags: Flags) -> list[str]:
    given = [(flag, values) for flag, values in flags.items() if values is not None]
    return [verb, *(str(word) for flag, values in given for word in (flag, *values))]


def rewrite(attribute: str, text: str | bytes):
    """Replace a whole file."""

    def spoil(inputs):
        getattr(inputs, attribute).write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


def replace(attribute: str, old: str, new: str, count: int = 1):
    """Replace text in a file."""

    def spoil(inputs):
        path = getattr(inputs, attribute)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, count))

    return spoil


def add_row(attribute: str, *fields):
    """Append a row to a table."""

    def spoil(inputs):
        with getattr(inputs, attribute).open("a") as file:
            file.write("\t".join(map(str, fields)) + "\n")

    return spoil


def remove(attribute: str):
    return lambda inputs: getattr(inputs, attribute).unlink()


def truncated_gzip(attribute: str, flag: str):
    """Compress a file and cut the end off."""

    def spoil(inputs):
        path = getattr(inputs, attribute)
        packed = path.with_name(path.name + ".gz")
        content = gzip.compress(path.read_bytes())
        packed.write_bytes(content[: len(content) // 2])
        return {flag: [packed]}

    return spoil


def flags(**changes):
    """Change flags only."""
    return lambda inputs: {"--" + name.replace("_", "-"): value for name, value in changes.items()}


def folds(**parts):
    return flags(folds=[json.dumps({"f1": parts})])


def bigwig(
    flag: str, change: Callable[[dict, dict], None], attribute: str = "cuts", prefix: str = "", extra=None
):
    """Write a bigWig after `change` has altered its lengths and values in place."""

    def spoil(inputs):
        source = inputs.cut_counts if attribute == "cuts" else inputs.track_values
        lengths, values = dict(inputs.lengths), {name: array.copy() for name, array in source.items()}
        change(lengths, values)
        path = inputs.folder / "spoilt.bw"
        write_bigwig(path, lengths, values)
        return {flag: [f"{prefix}{path}"], **(extra or {})}

    return spoil


def rename_contigs(lengths, values):
    for table in (lengths, values):
        for name in list(table):
            table[name.removeprefix("chr")] = table.pop(name)


def drop_contig(lengths, values):
    lengths.pop("chr2"), values.pop("chr2")


def longer_contig(lengths, values):
    lengths["chr2"] += 10


def set_value(value):
    def change(lengths, values):
        values["chr2"][5_000] = value

    return change


def track(change):
    return bigwig("--tracks", change, "track", "extra=")


def atac(change):
    return bigwig("--atac", change, extra={"--tn5-shift": ["+4/-4"]})


def store(change: Callable[[Path], object], **changes):
    """Encode a good store and damage it."""

    def spoil(inputs):
        path = inputs.folder.parent / "store"
        encode(inputs.genome, inputs.cuts, inputs.peaks, path, folds=inputs.folds, window_bp=256)
        change(path)
        return flags(**changes)(inputs)

    return spoil


def set_version(path):
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "format_version": 99}))


def mask_peak_windows(inputs):
    """Write N over everything around each peak of a test contig."""
    inputs.sequence["chr3"] = "N" * len(inputs.sequence["chr3"])
    inputs.write()


def exclude_everything(inputs):
    write_rows(inputs.exclusion_list, [(name, 0, length) for name, length in inputs.lengths.items()])


def no_fragments_on(contig):
    def spoil(inputs):
        write_rows(inputs.fragments, [row for row in inputs.fragment_rows if row[0] != contig])

    return spoil


def no_peaks_on(contig):
    def spoil(inputs):
        write_rows(inputs.peaks, [row for row in inputs.peak_rows if row[0] != contig])

    return spoil


def whole_contigs_as_fragments(inputs):
    write_rows(inputs.fragments, [(name, 0, length) for name, length in inputs.lengths.items()])
    return {"--tn5-shift": ["+9/-9"]}


def bgzip_without_end(attribute: str, flag: str):
    """Compress a file with bgzip and leave out the empty block at its end: to gzip it is whole."""

    def spoil(inputs):
        path = getattr(inputs, attribute)
        packed = path.with_name(path.name + ".gz")
        with pysam.BGZFile(str(packed), "w", None) as file:
            file.write(path.read_bytes())
        packed.write_bytes(packed.read_bytes()[:-28])
        return {flag: [packed]}

    return spoil


def change_all(change: Callable[[np.ndarray], np.ndarray]):
    """Change every value of a bigWig."""

    def spoil(lengths, values):
        for name, array in values.items():
            values[name] = change(array).astype(np.float32)

    return spoil


def damaged_track(inputs):
    """Write over a block in the middle of the file."""
    content = bytearray(inputs.track.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20] = bytes(20)
    inputs.track.write_bytes(content)
    return {"--tracks": [f"extra={inputs.track}"]}


def twice(inputs):
    return {"--atac": [inputs.fragments, inputs.fragments]}


def two_shifts(inputs):
    return {
        "--atac": [inputs.fragments, shutil.copy(inputs.fragments, inputs.folder / "two.bed")],
        "--tn5-shift": ["+0/-0", "+4/-5"],
    }


def edit_meta(**changes):
    def change(path):
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps({**meta, **changes}))

    return change


def cut_off_array(path):
    array = path / "track.cuts.npy"
    array.write_bytes(array.read_bytes()[:1_000])


def sidecar(content: bytes):
    """Write a sidecar beside the extra track."""

    def spoil(inputs):
        (inputs.folder / "track.bw.json").write_bytes(content)
        return {"--tracks": [f"extra={inputs.track}"]}

    return spoil


def output_is(name: str):
    """Name something that is there already as the output."""
    return lambda inputs: {"--output": [inputs.folder.parent / name]}


def text_called_bigwig(inputs):
    return {"--atac": [shutil.copy(inputs.peaks, inputs.folder / "a.bw")], "--tn5-shift": ["+4/-4"]}


def peaks_everywhere(inputs):
    inputs.peaks.unlink()
    bed = inputs.peaks.with_suffix(".bed")
    write_rows(bed, [(name, 0, length) for name, length in inputs.lengths.items()])
    return {"--peaks": [bed]}


PEAK = ("x", 9, ".", 4.5, 12, 10)
BAD = {
    # genome
    "genome that does not exist": Bad("preflight", remove("genome"), ["genome.fa", "does not exist"]),
    "empty genome": Bad("preflight", rewrite("genome", ""), ["genome.fa"]),
    "genome that is no FASTA": Bad("preflight", rewrite("genome", "hello\nworld\n"), ["genome.fa"]),
    "protein FASTA": Bad(
        "preflight", rewrite("genome", ">p\nMKVLEEQ\n"), ["genome.fa", "not a DNA letter", "protein"]
    ),
    "FASTA with a byte order mark": Bad(
        "preflight",
        replace("genome", ">chr1", "\ufeff>chr1"),
        ["genome.fa: cannot", "byte order mark", "tail -c +4"],
    ),
    "FASTA with empty lines between contigs": Bad(
        "preflight", replace("genome", ">chr4", "\n\n>chr4"), ["line 7 is empty", "awk NF"]
    ),
    "FASTA of an old Macintosh": Bad(
        "cuts", replace("genome", "\n", "\r", -1), ["'chr1' has no bases", "CR alone", "tr '\\r' '\\n'"]
    ),
    "folds of a genome of two contigs": Bad(
        "encode",
        flags(exclude_contigs=["chr1", "chr2"], folds=["3"]),
        ["3 folds of 2 contigs", "there must be 3"],
    ),
    "RNA FASTA": Bad("preflight", rewrite("genome", ">chr1\nACGUACGU\n"), ["'U'", "RNA"]),
    "contig twice in the genome": Bad("preflight", replace("genome", ">chr2", ">chr1"), ["'chr1'", "twice"]),
    "contig without bases": Bad(
        "preflight", replace("genome", ">chr1", ">chr0\n>chr1"), ["'chr0'", "no bases"]
    ),
    "truncated gzip genome": Bad("preflight", truncated_gzip("genome", "--genome"), ["genome.fa.gz"]),
    "every contig excluded": Bad(
        "preflight",
        flags(exclude_contigs=["chr1", "chr2", "chr3", "chr4"]),
        ["exclude_contigs", "every contig"],
    ),
    # fragments
    "fragments that do not exist": Bad("preflight", remove("fragments"), ["fragments.bed", "does not exist"]),
    "empty fragments": Bad("preflight", rewrite("fragments", ""), ["fragments.bed", "no fragments"]),
    "fragments with two columns": Bad(
        "cuts", rewrite("fragments", "chr1\t5\n"), ["line 1", "2 tab-separated", "wanted 3"]
    ),
    "fragments with spaces": Bad(
        "cuts", rewrite("fragments", "chr1 5 90\n"), ["line 1", "spaces instead of tabs"]
    ),
    "BED6 without strands for fragments": Bad(
        "cuts", rewrite("fragments", "chr1\t5\t40\tN\t1000\t.\n"), ["line 1", "no strand"]
    ),
    "fragments with a header": Bad(
        "cuts", rewrite("fragments", "chrom\tstart\tend\nchr1\t5\t90\n"), ["line 1", "start"]
    ),
    "no BAM behind the name of its format": Bad(
        "cuts", rewrite("fragments", gzip.compress(b"BAM\x01...\n")), ["packed by gzip, not by bgzip"]
    ),
    "fragment beyond its contig": Bad(
        "preflight", add_row("fragments", "chr2", 17_990, 18_012), ["18012", "chr2", "18011", "line"]
    ),
    "fragment that ends before it starts": Bad(
        "preflight", add_row("fragments", "chr2", 90, 60), ["90", "60", "chr2"]
    ),
    "fragment before the contig": Bad("preflight", add_row("fragments", "chr2", -4, 60), ["-4", "chr2"]),
    "fragments named without chr": Bad(
        "preflight", replace("fragments", "chr", "", -1), ["'chr'", "'1'", "'chr1'"]
    ),
    "fragments whose cuts lie off their contigs": Bad(
        "cuts", whole_contigs_as_fragments, ["fragments.bed", "no cut in it", "tn5_shift"]
    ),
    "fragments of some contigs only": Bad(
        "preflight", no_fragments_on("chr2"), ["no fragments on contig chr2"]
    ),
    "truncated gzip fragments": Bad(
        "preflight", truncated_gzip("fragments", "--atac"), ["bed.gz", "truncated"]
    ),
    "shift in another notation": Bad(
        "preflight", flags(tn5_shift=["4,-5"]), ["'4,-5'", "tn5_shift", "+4/-5"]
    ),
    "shift beyond the duplication": Bad(
        "cuts", flags(tn5_shift=["+75/-75"]), ["+75/-75", "tn5_shift", "9 bp"]
    ),
    # ready tracks of cuts
    "text called bigWig": Bad("preflight", text_called_bigwig, ["a.bw", "bigWig"]),
    "bigWig that was cut off": Bad(
        "encode",
        lambda inputs: inputs.cuts.write_bytes(inputs.cuts.read_bytes()[:2_000]),
        ["cuts.bw", "bigWig"],
    ),
    "bigWig of another assembly": Bad(
        "preflight", atac(longer_contig), ["spoilt.bw", "chr2", "18021", "18011"]
    ),
    "bigWig named without chr": Bad("preflight", atac(rename_contigs), ["spoilt.bw", "'chr1'", "'1'"]),
    "bigWig without a contig": Bad("preflight", atac(drop_contig), ["spoilt.bw", "chr2"]),
    "bigWig with negative counts": Bad(
        "preflight", atac(set_value(-1.0)), ["spoilt.bw", "-1", "chr2", "5000"]
    ),
    "bigWig of normalised signal": Bad(
        "preflight", atac(set_value(0.37)), ["spoilt.bw", "0.37", "normalised"]
    ),
    "bigWig at another shift": Bad(
        "preflight", lambda inputs: {"--atac": [inputs.cuts]}, ["cuts.bw", "+0/-0", "+4/-4"]
    ),
    "cuts of another assembly": Bad(
        "encode", bigwig("--cuts", longer_contig), ["spoilt.bw", "18021", "another assembly"]
    ),
    "cuts without a contig": Bad(
        "encode", bigwig("--cuts", drop_contig), ["spoilt.bw", "'chr2'", "leaves out"]
    ),
    "cuts with an infinite value": Bad(
        "encode", bigwig("--cuts", set_value(np.inf)), ["spoilt.bw", "infinite", "chr2"]
    ),
    # peaks
    "peaks that do not exist": Bad("preflight", remove("peaks"), ["peaks.narrowPeak", "does not exist"]),
    "empty peaks": Bad("preflight", rewrite("peaks", "# nothing\n"), ["peaks.narrowPeak", "no regions"]),
    "peaks that are no text": Bad(
        "preflight", rewrite("peaks", b"\x89PNG\xff\x00\x01" * 20), ["narrowPeak", "not a text"]
    ),
    "narrowPeak with nine columns": Bad(
        "preflight", rewrite("peaks", "chr1\t5\t9" + "\t1" * 6 + "\n"), ["line 1", "9 tab"]
    ),
    "peak beyond its contig": Bad(
        "preflight", add_row("peaks", "chr3", 15_000, 16_001, *PEAK, 3), ["16001", "chr3", "16000"]
    ),
    "peak that ends before it starts": Bad(
        "encode", add_row("peaks", "chr3", 500, 400, *PEAK, 3), ["500", "400", "exchanged"]
    ),
    "peak of no length": Bad("preflight", add_row("peaks", "chr3", 500, 500, *PEAK, 0), ["500", "1-based"]),
    "summit outside its peak": Bad(
        "preflight", add_row("peaks", "chr3", 500, 600, *PEAK, 550), ["550", "absolute summit"]
    ),
    "peaks on an unknown contig": Bad(
        "preflight", add_row("peaks", "chr9", 5, 99, *PEAK, 3), ["chr9", "genome.fa", "line"]
    ),
    "peaks named without chr": Bad(
        "encode", replace("peaks", "chr1\t", "1\t", -1), ["'chr1'", "'1'", "without 'chr'"]
    ),
    "peaks that are all excluded": Bad(
        "preflight", exclude_everything, ["none of 18 merged peaks", "excluded region"]
    ),
    "peaks that cover the genome": Bad("encode", peaks_everywhere, ["background", "peaks cover the genome"]),
    # exclusion list
    "exclusion list that does not exist": Bad(
        "preflight", remove("exclusion_list"), ["exclusion.bed", "does not exist"]
    ),
    "exclusion list of another assembly": Bad(
        "encode",
        add_row("exclusion_list", "chr4", 20_990, 30_000),
        ["exclusion.bed line 2", "30000", "21000"],
    ),
    "exclusion list with one column": Bad(
        "preflight", rewrite("exclusion_list", "chr1:5-9\n"), ["exclusion.bed line 1"]
    ),
    # folds
    "fold with an unknown contig": Bad(
        "preflight", folds(test=["3"], valid=["chr4"]), ["folds.f1.test", "'3'", "'chr3'"]
    ),
    "fold that tests where it chooses": Bad(
        "preflight", folds(test=["chr3"], valid=["chr3"]), ["folds.f1", "both"]
    ),
    "fold with nothing to train on": Bad(
        "encode", folds(test=["chr1", "chr2"], valid=["chr3", "chr4"]), ["folds.f1", "no contig left"]
    ),
    "fold without validation": Bad("preflight", folds(test=["chr3"]), ["folds.f1", "valid"]),
    "folds that are no JSON": Bad("preflight", flags(folds=["{f1: chr3}"]), ["--folds", "not JSON"]),
    "folds by JSON and by number": Bad("encode", flags(folds=["{}", 4]), ["--folds", "as files"]),
    "more folds than contigs": Bad("preflight", flags(folds=[5]), ["5 folds of 4 contigs", "fewer"]),
    "file of folds that is not there": Bad(
        "preflight", flags(folds=["fold_0.json"]), ["folds: fold_0.json", "does not exist"]
    ),
    "test contig without a peak": Bad(
        "preflight", no_peaks_on("chr3"), ["no usable peak on chr3", "test", "f1"]
    ),
    "test contig that is all N": Bad("encode", mask_peak_windows, ["no usable peak on chr3", "test", "f1"]),
    "excluded contig in a fold": Bad("preflight", flags(exclude_contigs=["chr3"]), ["folds.f1.test", "chr3"]),
    # windows
    "windows longer than contigs": Bad(
        "preflight", flags(window_bp=[30_000]), ["none of 18 merged peaks", "30000", "smaller"]
    ),
    "windows of no length": Bad("encode", flags(window_bp=[0]), ["window_bp", "0 bp"]),
    "windows that are no number": Bad("encode", flags(window_bp=["1kb"]), ["--window-bp", "'1kb'"]),
    "negative background ratio": Bad("encode", flags(background_ratio=[-1]), ["background_ratio", "-1"]),
    "share above one": Bad("encode", flags(max_unknown_fraction=[1.5]), ["max_unknown_fraction", "1.5"]),
    "flag left out": Bad("encode", flags(peaks=None), ["--peaks", "required"]),
    # extra tracks
    "track without a name": Bad("preflight", flags(tracks=["signal.bw"]), ["--tracks", "NAME=PATH"]),
    "track name twice": Bad("preflight", flags(tracks=["a=x.bw", "a=y.bw"]), ["--tracks", "twice"]),
    "track called cuts": Bad(
        "encode", lambda inputs: {"--tracks": [f"cuts={inputs.track}"]}, ["'cuts'", "none of"]
    ),
    "track that does not exist": Bad(
        "preflight", flags(tracks=["extra=none.bw"]), ["none.bw", "does not exist", "extra"]
    ),
    "track whose sidecar is no object": Bad(
        "preflight", sidecar(b"[1]"), ["track.bw.json", "not a JSON object"]
    ),
    "track whose sidecar is binary": Bad("encode", sidecar(b"\xff\xfe\x00"), ["track.bw.json", "not JSON"]),
    "track of another assembly": Bad("preflight", track(longer_contig), ["spoilt.bw", "18021", "18011"]),
    "track named without chr": Bad("encode", track(rename_contigs), ["spoilt.bw", "'chr1'", "'1'"]),
    "track with a gap, preflight": Bad(
        "preflight", track(set_value(np.nan)), ["no value on 1 of 18011", "chr2", "5000", ":zero"]
    ),
    "track with a gap": Bad(
        "encode", track(set_value(np.nan)), ["no value on 1 of 18011", "chr2", "5000", ":zero"]
    ),
    "track with an infinite value": Bad(
        "encode", track(set_value(np.inf)), ["track extra", "infinite", "chr2"]
    ),
    "track with a damaged block": Bad("preflight", damaged_track, ["track.bw", "damaged", "again"]),
    "track that is a BED file": Bad(
        "preflight", lambda inputs: {"--tracks": [f"extra={inputs.peaks}"]}, ["narrowPeak", "bigWig"]
    ),
    "track that leaves out a contig": Bad(
        "preflight", track(drop_contig), ["spoilt.bw", "'chr2'", "leaves out contigs"]
    ),
    # what is no cut counts
    "bigWig of smoothed cuts": Bad(
        "preflight",
        atac(change_all(lambda a: np.convolve(a, np.hanning(99) / 50, "same"))),
        ["no 1-bp cut counts", "smoothed", "BAM or the fragments"],
    ),
    "bigWig of p-values": Bad(
        "cuts",
        atac(change_all(lambda a: np.sqrt(np.convolve(a, np.ones(150), "same") / 7))),
        ["no 1-bp cut counts", "p-value", "BAM or the fragments"],
    ),
    "bigWig in reads per million": Bad(
        "preflight", atac(change_all(lambda a: a * 3.7)), ["multiple of 3.7", "divide the values"]
    ),
    "bigWig of coverage": Bad(
        "preflight",
        atac(change_all(lambda a: np.convolve(a, np.ones(60), "same"))),
        ["neighbouring bases", "coverage by whole reads"],
    ),
    "bigWig of a log ratio": Bad(
        "cuts", atac(change_all(lambda a: np.log2(a + 0.5))), ["no 1-bp cut counts", "log ratio"]
    ),
    # files that were cut off where nobody sees it
    "bgzip genome without its end": Bad(
        "preflight", bgzip_without_end("genome", "--genome"), ["genome.fa.gz", "bgzip file without its end"]
    ),
    "bgzip fragments without their end": Bad(
        "preflight", bgzip_without_end("fragments", "--atac"), ["fragments.bed.gz", "without its end"]
    ),
    "bgzip peaks without their end": Bad(
        "encode", bgzip_without_end("peaks", "--peaks"), ["narrowPeak.gz", "without its end"]
    ),
    "truncated gzip peaks": Bad(
        "preflight", truncated_gzip("peaks", "--peaks"), ["narrowPeak.gz", "truncated", "fetch it again"]
    ),
    "truncated gzip exclusion list": Bad(
        "encode", truncated_gzip("exclusion_list", "--exclusion-list"), ["exclusion.bed.gz", "truncated"]
    ),
    # further files of another kind
    "2bit of one number": Bad("preflight", rewrite("genome", b"\x43\x27\x41\x1a"), ["genome.fa"]),
    "genome in UTF-16": Bad("preflight", rewrite("genome", ">chr1\nACGT\n".encode("utf-16")), ["genome.fa"]),
    "genome that is a web page": Bad("preflight", rewrite("genome", "<!DOCTYPE html>\n"), ["genome.fa"]),
    "genome with lines of all lengths": Bad(
        "preflight", rewrite("genome", ">chr1\nACGT\nAC\nACGTACGT\n"), ["genome.fa", "lines of equal length"]
    ),
    "genome with spaces in it": Bad("preflight", replace("genome", "ACG", "A G"), ["genome.fa"]),
    "genome that is a folder": Bad(
        "preflight", lambda inputs: {"--genome": [inputs.folder]}, ["inputs", "does not exist"]
    ),
    "peaks that are a folder": Bad(
        "preflight", lambda inputs: {"--peaks": [inputs.folder]}, ["inputs", "cannot be read"]
    ),
    "peaks that are a BAM": Bad("preflight", rewrite("peaks", gzip.compress(b"BAM\x01\xff")), ["narrowPeak"]),
    "peaks in fractions of bases": Bad(
        "preflight", rewrite("peaks", "chr1\t5.5\t90" + "\t1" * 7 + "\n"), ["line 1", "'5.5'"]
    ),
    "peaks with thousands separators": Bad(
        "preflight", rewrite("peaks", "chr1\t5,000\t6,000" + "\t1" * 7 + "\n"), ["line 1", "'5,000'"]
    ),
    "peaks from a spreadsheet": Bad(
        "preflight", rewrite("peaks", "chr;start;end\nchr1;5;9\n"), ["line 1", "1 tab-separated"]
    ),
    "peaks with RefSeq names": Bad(
        "preflight",
        replace("peaks", "chr1\t", "NC_000001.11\t", -1),
        ["RefSeq names", "'chr1'", "names.tsv", "awk"],
    ),
    "peaks without chr, with the command that helps": Bad(
        "preflight",
        replace("peaks", "chr", "", -1),
        ["add 'chr' to its names", "awk", "peaks.renamed.narrowPeak"],
    ),
    "exclusion list on an unknown contig": Bad(
        "preflight", add_row("exclusion_list", "chr77", 5, 9), ["exclusion.bed line 2", "chr77"]
    ),
    # settings
    "replicate given twice": Bad("cuts", twice, ["fragments.bed", "given twice"]),
    "replicates of different shifts": Bad("preflight", two_shifts, ["+0/-0", "+4/-5", "two.bed"]),
    "more shifts than files": Bad("cuts", flags(tn5_shift=["+0/-0", "+0/-0"]), ["2 shifts for 1 files"]),
    "shift that the data do not tell": Bad("preflight", flags(tn5_shift=["auto"]), ["cannot tell"]),
    "mapping quality that no read has": Bad("cuts", flags(min_mapq=[255]), ["min_mapq", "255"]),
    "mapping quality below 0": Bad("cuts", flags(min_mapq=[-1]), ["--min-mapq", "-1"]),
    "word for duplicates that is none": Bad("cuts", flags(duplicates=["drop"]), ["--duplicates", "'drop'"]),
    "folds that are a list": Bad("preflight", flags(folds=["[1]"]), ["folds", "[1]"]),
    "no folds": Bad("preflight", flags(folds=["{}"]), ["folds", "no fold given"]),
    "fold that is a list": Bad("encode", flags(folds=['{"f1": ["chr1"]}']), ["folds.f1", "two lists"]),
    "fold of one contig as text": Bad(
        "preflight", folds(test="chr3", valid=["chr4"]), ["folds.f1.test", "list"]
    ),
    "fold with a number for a contig": Bad(
        "preflight", folds(test=[3], valid=["chr4"]), ["folds.f1.test", "3"]
    ),
    "fold with a contig twice": Bad("preflight", folds(test=["chr3", "chr3"], valid=["chr4"]), ["twice"]),
    "fold without test contigs": Bad("preflight", folds(test=[], valid=["chr4"]), ["folds.f1.test", "[]"]),
    # outputs
    "folder where a file is wanted": Bad("preflight", output_is("inputs"), ["inputs", "is a folder"]),
    "file where a folder is wanted": Bad("encode", output_is("inputs/genome.fa"), ["genome.fa", "is a file"]),
    "folder of other files": Bad("encode", output_is("inputs"), ["inputs", "did not write"]),
    # encoded store
    "store that does not exist": Bad("train", flags(), ["store", "not an encoded store", "gatescope encode"]),
    "store of another version": Bad("train", store(set_version), ["format version 99", "encode again"]),
    "store without an array": Bad(
        "train", store(lambda path: (path / "track.cuts.npy").unlink()), ["track.cuts.npy"]
    ),
    "store with a cut-off array": Bad(
        "train", store(cut_off_array), ["track.cuts.npy", "1000 bytes where meta.json says"]
    ),
    "store whose description is a list": Bad(
        "train", store(lambda path: (path / "meta.json").write_text("[]")), ["meta.json", "encoded store"]
    ),
    "store whose description is cut off": Bad(
        "train", store(lambda path: (path / "meta.json").write_text('{"a": ')), ["meta.json", "not JSON"]
    ),
    "store whose contigs are no lengths": Bad(
        "train", store(edit_meta(contigs=["chr1"])), ["meta.json", "entry contigs is ['chr1']"]
    ),
    "store whose folds are no folds": Bad(
        "train", store(edit_meta(folds={"f1": 3})), ["meta.json", "entry folds is {'f1': 3}"]
    ),
    "store without its regions": Bad(
        "train", store(lambda path: (path / "regions.tsv").unlink()), ["regions.tsv"]
    ),
    "store whose regions are no table": Bad(
        "train", store(lambda path: (path / "regions.tsv").write_text("x\ny\n")), ["regions.tsv", "SHA-256"]
    ),
    "store whose regions are no numbers": Bad(
        "train",
        store(lambda path: (path / "regions.tsv").write_text("chrom\tstart\nchr1\tx\n")),
        ["regions.tsv", "SHA-256"],
    ),
    "fold that the store lacks": Bad("train", store(lambda path: None, fold=["f9"]), ["'f9'", "f1"]),
}


def spoilt_command(bad: Bad, inputs: TinyInputs) -> tuple[list[str], Path]:
    """Spoil the inputs; return the command line and its output."""
    changes = bad.spoil(inputs)
    changed = arguments(bad.verb, inputs) | (changes if isinstance(changes, dict) else {})
    return command_line(bad.verb, changed), Path(changed["--output"][0])


def check_nothing_written(output: Path, before: set[Path]) -> None:
    made = {path for path in output.parent.rglob("*") if path.is_file()} - before
    assert not made, f"left behind: {made}"
    assert output.exists() == any(output in (path, *path.parents) for path in before)


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_the_catalogue():
    """Every bad input has a name of its own, over all files of tests that go through the command line."""
    names = [*BAD, *reads.BAD]
    assert len(set(names)) == len(names) >= 160
    kinds = "genome fragment peaks exclusion track bigWig BAM CRAM SAM 10x tagAlign BEDPE gzip bgzip fold store shift"
    for kind in kinds.split():
        assert any(kind.lower() in name.lower() for name in names), kind
    print(f"{len(names)} bad inputs by name")


def test_the_good_inputs_are_good(tiny_inputs, run_cli):
    for verb in ("preflight", "cuts", "encode"):
        outcome = run_cli(*command_line(verb, arguments(verb, tiny_inputs)))
        assert (outcome.status, outcome.messages, outcome.stdout) == (0, [], ""), outcome.stderr


@pytest.mark.parametrize("name", BAD)
def test_one_message_exit_2_no_output(name, tiny_inputs, run_cli):
    bad = BAD[name]
    words, output = spoilt_command(bad, tiny_inputs)
    before = files_in(output.parent)
    outcome = run_cli(*words)
    assert outcome.status == 2, outcome.stderr
    assert len(outcome.messages) == 1, outcome.stderr
    assert outcome.messages[0] == outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr and outcome.stdout == ""
    missing = [part for part in bad.message if part not in outcome.messages[0]]
    assert not missing, outcome.messages[0]
    check_nothing_written(output, before)


@pytest.mark.parametrize(
    "name", ["peak beyond its contig", "track with a gap", "fragments named without chr"]
)
def test_the_same_from_a_shell(name, tiny_inputs, run_cli):
    words, output = spoilt_command(BAD[name], tiny_inputs)
    before = files_in(output.parent)
    done = subprocess.run(
        [sys.executable, "-m", "gatescope.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == run_cli(*words).messages[0]
    check_nothing_written(output, before)


def test_with_a_log_file_the_message_goes_there_alone(tiny_inputs, run_cli):
    """Snakemake shows the log of a failed rule, so a message on the terminal would appear twice."""
    words, _ = spoilt_command(BAD["peak beyond its contig"], tiny_inputs)
    log = tiny_inputs.folder / "logs" / "preflight.log"
    outcome = run_cli(*words, "--log", log)
    assert outcome.status == 2 and outcome.messages == []
    assert sum("error: " in line for line in log.read_text().splitlines()) == 1
