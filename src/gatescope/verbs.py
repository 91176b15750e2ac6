"""Which sub-commands are there, and which flags has each? One per workflow rule, and the gallery.

Public names: `VERBS`, `LOG_HELP`.
"""

import argparse

from gatescope.flags import (
    PrintPlan,
    Verb,
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
from gatescope.gate_verbs import GATE_VERBS
from gatescope.shared_flags import (
    COUNTED_READS,
    EXCLUDE_CONTIGS,
    EXCLUSION_LIST,
    FOLDS,
    GENOME,
    INPUT_TRACKS,
    MAX_UNKNOWN_FRACTION,
    MODEL,
    OUTPUT_FILE,
    OUTPUT_FOLDER,
    PEAKS,
    PIECE,
    SEED,
    SETTINGS,
    STORE,
    THREADS,
    WINDOW_BP,
)

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
            OUTPUT_FILE,
        ),
    ),
    "simulate": Verb(
        "gatescope.data.simulate",
        "make the planted genome: sequence, fragments, peaks and the truth about them",
        (
            OUTPUT_FOLDER,
            SEED,
            number("--contigs", "number of contigs", default=8),
            number("--contig-bp", "length of each contig in bp", default=300_000),
        ),
    ),
    "preflight": Verb(
        "gatescope.data.preflight",
        "check that all inputs fit together, before anything expensive",
        (
            *COUNTED_READS,
            PEAKS,
            EXCLUSION_LIST,
            INPUT_TRACKS,
            FOLDS,
            WINDOW_BP,
            MAX_UNKNOWN_FRACTION,
            option(
                "--runs",
                "what will be trained, to predict the cost; an object for runs alike",
                type=json_list,
                default=({},),
                metavar="JSON",
            ),
            OUTPUT_FILE,
        ),
    ),
    "cuts": Verb(
        "gatescope.atac.cuts",
        "count Tn5 cuts at the centre of the duplication, 1 bp",
        (
            *COUNTED_READS,
            option(
                "--replicates",
                "keep: write the cuts of each file by itself as well, and how the files correlate",
                choices=("merge", "keep"),
                default="merge",
            ),
            OUTPUT_FILE,
        ),
    ),
    "peaks": Verb(
        "gatescope.atac.peaks",
        "call accessible regions with MACS3, where no peak file is there",
        (
            *COUNTED_READS,
            file("--exclusion-list", "regions that are not given to MACS3 (BED)", nargs="*", default=()),
            named_paths("--tracks", "input tracks, whose contigs are checked before MACS3 runs"),
            folds("folds, whose contigs are checked before MACS3 runs", default=None),
            number("--q-value", "largest false discovery rate of a peak", float, default=0.01),
            OUTPUT_FILE,
        ),
    ),
    "bias": Verb(
        "gatescope.atac.bias",
        "model what Tn5 likes to cut, from background alone, and say how much of the signal that explains",
        (
            GENOME,
            file("--cuts", "cut counts made by `cuts`"),
            PEAKS,
            EXCLUSION_LIST,
            FOLDS,
            EXCLUDE_CONTIGS,
            OUTPUT_FILE,
        ),
    ),
    "encode": Verb(
        "gatescope.data.encode",
        "write what the network sees: base codes, tracks, state, regions, folds",
        (
            GENOME,
            file("--cuts", "cut counts made by `cuts`"),
            PEAKS,
            EXCLUSION_LIST,
            INPUT_TRACKS,
            FOLDS,
            EXCLUDE_CONTIGS,
            WINDOW_BP,
            number("--background-ratio", "background windows per peak", float),
            MAX_UNKNOWN_FRACTION,
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
            SEED,
            PIECE,
            option(
                "--check",
                "write nothing; look whether the store was made from these files, and is undamaged",
                action="store_true",
                default=False,
            ),
            OUTPUT_FOLDER,
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
            STORE,
            option("--run", "name of the run, such as sequence.f1.1", metavar="NAME"),
            mapping("--network", "inputs, targets and size of the network"),
            mapping("--training", "epochs, batch size, learning rate, ..."),
            option("--fold", "fold to train on", metavar="NAME"),
            SEED,
            option(
                "--twin",
                "random: untrained; ablated: recurrence taken out; shuffled: trained on targets rotated within contigs",
                choices=("none", "random", "ablated", "shuffled"),
                default="none",
            ),
            THREADS,
            number("--workers", "further processes that draw batches ahead", whole_number(0), default=0),
            OUTPUT_FOLDER,
        ),
    ),
    "evaluate": Verb(
        "gatescope.model.evaluate",
        "score a run on held-out contigs beside its baselines, and write its predictions",
        (
            STORE,
            MODEL,
            folder("--ablated", "folder of the twin without recurrence", nargs="?", default=None),
            named_paths(
                "--predictors",
                "further predictions to score, bigWigs of the state, or NAME=cuts:PATH of the cuts expected per bp",
            ),
            SEED,
            THREADS,
            OUTPUT_FOLDER,
        ),
    ),
    "bpnet": Verb(
        "gatescope.model.bpnet",
        "train BPNet on the same fold for so many minutes, a peer to compare with (needs `make bpnet-env`)",
        (
            STORE,
            option("--fold", "fold to train on", metavar="NAME"),
            SEED,
            SETTINGS,
            THREADS,
            OUTPUT_FOLDER,
        ),
    ),
    "ensemble": Verb(
        "gatescope.model.ensemble",
        "average what the seeds of one model and fold predict, and score the mean beside them",
        (
            STORE,
            folder("--members", "folders of evaluated runs that differ in the seed alone", nargs="+"),
            SEED,
            OUTPUT_FOLDER,
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
            SEED,
            OUTPUT_FOLDER,
        ),
    ),
    **GATE_VERBS,
}
