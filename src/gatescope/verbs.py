"""Which sub-commands are there, and which flags has each? One per workflow rule, and the gallery.

Public names: `Verb`, `VERBS`, `LOG_HELP`.
"""

import argparse
from dataclasses import dataclass

from gatescope.flags import (
    Flag,
    PrintPlan,
    file,
    folder,
    folds,
    json_list,
    length,
    mapping,
    named_paths,
    number,
    option,
    whole_number,
)


@dataclass(frozen=True)
class Verb:
    """A sub-command: `module` holds a function of the verb's name whose arguments are the flags."""

    module: str
    summary: str
    options: tuple[Flag, ...]


_GENOME = file("--genome", "FASTA, plain, gzip or bgzip, or .2bit")
_ATAC = file(
    "--atac",
    "BAM, CRAM, fragments (BED3 or 10x), tagAlign, BEDPE (plain or gzip) or a bigWig of cut counts; several are "
    "replicates whose cuts are added up",
    nargs="+",
)
_PEAKS = file("--peaks", "accessible regions: narrowPeak or BED")
_EXCLUSION_LIST = file(
    "--exclusion-list", "regions that are not scored (BED); of several, the union", nargs="*", default=()
)
_INPUT_TRACKS = named_paths("--tracks", "further bigWigs as input channels")
_FOLDS = folds(
    'JSON, {"NAME": {"test": [contig, ...], "valid": [contig, ...]}, ...}; a number of folds by contig; or files of '
    "one fold each, as ChromBPNet reads them"
)
_TN5_SHIFT = option(
    "--tn5-shift",
    "shift already in the ATAC file, such as +0/-0 or +4/-5; auto reads it from the data; one, or one for each file",
    nargs="+",
    metavar="+N/-N",
)
_EXCLUDE_CONTIGS = option(
    "--exclude-contigs", "contigs to leave out", nargs="*", default=[], metavar="CONTIG"
)
_DUPLICATES = option(
    "--duplicates",
    "reads marked as duplicates and rows with the same ends; auto: the marked ones, else copies of fragments",
    choices=("auto", "keep", "remove"),
    default="auto",
)
_MIN_MAPQ = number("--min-mapq", "least mapping quality of a read (BAM, CRAM)", whole_number(0), default=30)
_IMPROPER_PAIRS = option(
    "--improper-pairs",
    "paired reads that are in no proper pair (BAM, CRAM, BEDPE)",
    choices=("remove", "keep"),
    default="remove",
)
#: Which reads of which files count: `preflight`, `cuts` and `peaks` ask alike.
_COUNTED_READS = (
    _ATAC,
    _GENOME,
    _TN5_SHIFT,
    _DUPLICATES,
    _MIN_MAPQ,
    _IMPROPER_PAIRS,
    _EXCLUDE_CONTIGS,
)
_MAX_UNKNOWN_FRACTION = number(
    "--max-unknown-fraction",
    "largest share of unknown bases in a window; peaks and background windows with more are dropped",
    float,
    default=0.1,
)
_WINDOW_BP = number("--window-bp", "length of a training window in bp")
_STORE = folder("--store", "encoded store made by `encode`")
_MODEL = folder("--model", "folder of a trained run")
_TRACE = folder("--trace", "folder written by `trace`")
_SEED = number("--seed", "seed of every random choice", whole_number(0))
_THREADS = number("--threads", "CPU threads", whole_number(1), default=1)
_SETTINGS = mapping("--settings", "this stage's section of the configuration")
_OUTPUT_FILE = file("--output", "file to write")
_OUTPUT_FOLDER = folder("--output", "folder to write")
_SAMPLE = option("--sample", "name of the sample", metavar="NAME")
_RESULTS = folder("--results", "results folder of the sample")
_RUNS = option("--runs", "names of the runs, such as sequence.f1.1", nargs="+", metavar="RUN")

_PEERS = option(
    "--peers",
    "names of the runs without gates, whose scores are shown and no more",
    nargs="*",
    default=(),
    metavar="RUN",
)

_READ = (
    folder("--store", "encoded store made by `encode`", default=None),
    file("--fasta", "any sequences instead of a store, for a network that reads DNA alone", default=None),
)
_CONTIGS = option("--contigs", "all, held-out, or names separated by commas", default="all")
_UNIT = option(
    "--unit",
    "or a unit by name, such as fwd:12; once for each direction",
    action="append",
    default=[],
    metavar="DIRECTION:UNIT",
)
_PIECE = option("--piece", "do this for a share of the contigs and stop, such as 2-of-8", default="1-of-1")
_LAYER = number("--layer", "LSTM layer, from 1", default=1)

LOG_HELP = "write progress here as well, and errors here instead: Snakemake shows the log of a failed job"

VERBS: dict[str, Verb] = {
    "fetch": Verb(
        "gatescope.data.fetch",
        "download a file by its address, whole and checked",
        (
            option("--url", "http, https, or what an installed storage plugin of Snakemake reads"),
            option(
                "--checksum",
                "sha256=HEX or md5=HEX of the file, or of what a gzip file holds; or none",
                default="none",
                metavar="KIND=HEX",
            ),
            _OUTPUT_FILE,
        ),
    ),
    "simulate": Verb(
        "gatescope.data.simulate",
        "make the planted genome: sequence, fragments, peaks and the truth about them",
        (
            _OUTPUT_FOLDER,
            _SEED,
            number("--contigs", "number of contigs", default=8),
            number("--contig-bp", "length of each contig in bp", default=300_000),
        ),
    ),
    "preflight": Verb(
        "gatescope.data.preflight",
        "check that all inputs fit together, before anything expensive",
        (
            *_COUNTED_READS,
            _PEAKS,
            _EXCLUSION_LIST,
            _INPUT_TRACKS,
            _FOLDS,
            _WINDOW_BP,
            _MAX_UNKNOWN_FRACTION,
            option(
                "--runs",
                "what will be trained, to predict the cost; an object for runs alike",
                type=json_list,
                default=({},),
                metavar="JSON",
            ),
            _OUTPUT_FILE,
        ),
    ),
    "cuts": Verb(
        "gatescope.atac.cuts",
        "count Tn5 cuts at the centre of the duplication, 1 bp",
        (
            *_COUNTED_READS,
            option(
                "--replicates",
                "keep: write the cuts of each file by itself as well, and how the files correlate",
                choices=("merge", "keep"),
                default="merge",
            ),
            _OUTPUT_FILE,
        ),
    ),
    "peaks": Verb(
        "gatescope.atac.peaks",
        "call accessible regions with MACS3, where no peak file is there",
        (
            *_COUNTED_READS,
            file("--exclusion-list", "regions that are not given to MACS3 (BED)", nargs="*", default=()),
            named_paths("--tracks", "input tracks, whose contigs are checked before MACS3 runs"),
            folds("folds, whose contigs are checked before MACS3 runs", default=None),
            number("--q-value", "largest false discovery rate of a peak", float, default=0.01),
            _OUTPUT_FILE,
        ),
    ),
    "bias": Verb(
        "gatescope.atac.bias",
        "model what Tn5 likes to cut, from background alone, and say how much of the signal that explains",
        (
            _GENOME,
            file("--cuts", "cut counts made by `cuts`"),
            _PEAKS,
            _EXCLUSION_LIST,
            _FOLDS,
            _EXCLUDE_CONTIGS,
            _OUTPUT_FILE,
        ),
    ),
    "encode": Verb(
        "gatescope.data.encode",
        "write what the network sees: base codes, tracks, state, regions, folds",
        (
            _GENOME,
            file("--cuts", "cut counts made by `cuts`"),
            _PEAKS,
            _EXCLUSION_LIST,
            _INPUT_TRACKS,
            _FOLDS,
            _EXCLUDE_CONTIGS,
            _WINDOW_BP,
            number("--background-ratio", "background windows per peak", float),
            _MAX_UNKNOWN_FRACTION,
            number(
                "--outlier-ratio",
                "windows with more cuts than this many times the 99th percentile of peaks: not trained on; 0 keeps all",
                float,
                default=2.0,
            ),
            option(
                "--near-duplicates",
                "near-copies of held-out windows on training contigs: report them, have training pass over them, "
                "or do not look",
                choices=("report", "drop", "skip"),
                default="report",
            ),
            _SEED,
            _PIECE,
            option(
                "--check",
                "write nothing; look whether the store was made from these files, and is undamaged",
                action="store_true",
                default=False,
            ),
            _OUTPUT_FOLDER,
            folder(
                "--reports",
                "folder for regions_funnel.tsv and .svg (what was dropped, and why) and near_duplicates.tsv",
                default=None,
            ),
        ),
    ),
    "train": Verb(
        "gatescope.model.train",
        "train one network, or make one of its twins",
        (
            option(
                "--plan",
                "print which forget gate and bias a memory of these half-lives in bp needs, and stop",
                action=PrintPlan,
                type=length,
                nargs="+",
                default=argparse.SUPPRESS,
                metavar="BP",
            ),
            _STORE,
            option("--run", "name of the run, such as sequence.f1.1", metavar="NAME"),
            mapping("--network", "inputs, targets and size of the network"),
            mapping("--training", "epochs, batch size, learning rate, ..."),
            option("--fold", "fold to train on", metavar="NAME"),
            _SEED,
            option(
                "--twin",
                "random: untrained; ablated: recurrence taken out",
                choices=("none", "random", "ablated"),
                default="none",
            ),
            _THREADS,
            number("--workers", "further processes that draw batches ahead", whole_number(0), default=0),
            _OUTPUT_FOLDER,
        ),
    ),
    "evaluate": Verb(
        "gatescope.model.evaluate",
        "score a run on held-out contigs beside its baselines, and write its predictions",
        (
            _STORE,
            _MODEL,
            folder("--ablated", "folder of the twin without recurrence", nargs="?", default=None),
            named_paths(
                "--predictors",
                "further predictions to score, bigWigs of the state, or NAME=cuts:PATH of the cuts expected per bp",
            ),
            _SEED,
            _THREADS,
            _OUTPUT_FOLDER,
        ),
    ),
    "bpnet": Verb(
        "gatescope.model.bpnet",
        "train BPNet on the same fold for so many minutes, a peer to compare with (needs `make bpnet-env`)",
        (
            _STORE,
            option("--fold", "fold to train on", metavar="NAME"),
            _SEED,
            _SETTINGS,
            _THREADS,
            _OUTPUT_FOLDER,
        ),
    ),
    "ensemble": Verb(
        "gatescope.model.ensemble",
        "average what the seeds of one model and fold predict, and score the mean beside them",
        (
            _STORE,
            folder("--members", "folders of evaluated runs that differ in the seed alone", nargs="+"),
            _SEED,
            _OUTPUT_FOLDER,
        ),
    ),
    "compare": Verb(
        "gatescope.model.crossval",
        "pool the held-out bins of all folds, score every predictor, and compare models in pairs",
        (
            folder(
                "--models",
                "folders of evaluated runs: every combination of some models, folds and seeds",
                nargs="+",
            ),
            _SEED,
            _OUTPUT_FOLDER,
        ),
    ),
    "trace": Verb(
        "gatescope.trace.trace",
        "replay the gates exactly, base by base, and write them as tracks",
        (
            *_READ,
            _MODEL,
            _OUTPUT_FOLDER,
            _CONTIGS,
            option("--tracks", "mean gate tracks, or none", choices=("mean", "none"), default="mean"),
            file(
                "--units",
                "units.tsv of `boundaries`: write its selected units instead",
                nargs="?",
                default=None,
            ),
            _UNIT,
            file("--slices", "BED of regions of which every gate of every unit is kept (.npz)", default=None),
            _LAYER,
            _PIECE,
            number("--decimals", "decimals kept in the tracks, 1 to 7", whole_number(1, 7), default=3),
            option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
            _THREADS,
        ),
    ),
    "audit": Verb(
        "gatescope.trace.audit",
        "follow memories through the whole network: where do its forget gates alone mislead?",
        (
            *_READ,
            _MODEL,
            _OUTPUT_FOLDER,
            _CONTIGS,
            _LAYER,
            _SEED,
            _THREADS,
        ),
    ),
    "locus": Verb(
        "gatescope.trace.locus",
        "draw one place through the gates: what the network remembers there, and which bases wrote it",
        (
            _STORE,
            _MODEL,
            option(
                "--region",
                "contig:first-last, counted from 1, commas allowed (chrIX:52,001-53,200), or auto: the called "
                "peak with most cuts on the test contigs",
                default="auto",
            ),
            number("--width-bp", "width of auto", default=1000),
            file("--units", "units.tsv of `boundaries`: show its selected units", default=None),
            _UNIT,
            file("--genes", "BED of genes to draw", nargs="?", default=None),
            option("--name", "name of the files", default="locus", metavar="NAME"),
            option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
            _THREADS,
            _OUTPUT_FOLDER,
        ),
    ),
    "boundaries": Verb(
        "gatescope.boundaries.boundaries",
        "test what the gates do where accessible regions begin and end",
        (
            _STORE,
            _TRACE,
            folder("--twin", "folder written by `trace` for the untrained twin"),
            _MODEL,
            _SETTINGS,
            _SEED,
            _OUTPUT_FOLDER,
        ),
    ),
    "verdict": Verb(
        "gatescope.boundaries.verdict",
        "say what all runs together show",
        (file("--verdicts", "verdict.json of each run", nargs="+"), _OUTPUT_FILE),
    ),
    "design": Verb(
        "gatescope.design.carrier",
        "find sequences that hold a memory in the best-holding unit",
        (_MODEL, _TRACE, _SETTINGS, _OUTPUT_FOLDER),
    ),
    "gallery": Verb(
        "gatescope.gallery.gallery",
        "check the tracer on hand-made memories with known answers, and draw what a gate does",
        (_OUTPUT_FOLDER,),
    ),
    "hub": Verb(
        "gatescope.browser.hub",
        "write the UCSC track hub and the IGV session",
        (
            _SAMPLE,
            _RESULTS,
            _GENOME,
            _RUNS,
            option(
                "--ucsc-genome",
                "UCSC assembly such as sacCer3",
                nargs="?",
                const="",
                default="",
                metavar="NAME",
            ),
        ),
    ),
    "report": Verb(
        "gatescope.browser.report",
        "write the self-contained report",
        (_SAMPLE, _RESULTS, _GENOME, _RUNS, _PEERS, _SETTINGS),
    ),
}
