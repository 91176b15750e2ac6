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
from gatescope.shared_flags import (
    AT_BOUNDARIES,
    CONTIGS,
    COUNTED_READS,
    EXCLUDE_CONTIGS,
    EXCLUSION_LIST,
    FOLDS,
    GENOME,
    INPUT_TRACKS,
    LAYER,
    MAX_UNKNOWN_FRACTION,
    MODEL,
    OUTPUT_FILE,
    OUTPUT_FOLDER,
    PEAKS,
    PEERS,
    PIECE,
    READ,
    RESULTS,
    RUNS,
    SAMPLE,
    SEED,
    SETTINGS,
    STORE,
    THREADS,
    TRACE,
    UNIT,
    WINDOW_BP,
)


@dataclass(frozen=True)
class Verb:
    """A sub-command: `module` holds a function of the verb's name whose arguments are the flags."""

    module: str
    summary: str
    options: tuple[Flag, ...]


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
    "trace": Verb(
        "gatescope.trace.trace",
        "replay the gates exactly, base by base, and write them as tracks",
        (
            *READ,
            MODEL,
            OUTPUT_FOLDER,
            CONTIGS,
            option("--tracks", "mean gate tracks, or none", choices=("mean", "none"), default="mean"),
            file(
                "--units",
                "units.tsv of `boundaries`: write its selected units instead",
                nargs="?",
                default=None,
            ),
            UNIT,
            file("--slices", "BED of regions of which every gate of every unit is kept (.npz)", default=None),
            LAYER,
            PIECE,
            number("--decimals", "decimals kept in the tracks, 1 to 7", whole_number(1, 7), default=3),
            option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
            THREADS,
        ),
    ),
    "audit": Verb(
        "gatescope.trace.audit",
        "follow memories through the whole network: where do its forget gates alone mislead?",
        (
            *READ,
            MODEL,
            OUTPUT_FOLDER,
            CONTIGS,
            LAYER,
            SEED,
            THREADS,
        ),
    ),
    "locus": Verb(
        "gatescope.trace.locus",
        "draw one place through the gates: what the network remembers there, and which bases wrote it",
        (
            STORE,
            MODEL,
            option(
                "--region",
                "contig:first-last, counted from 1, commas allowed (chrIX:52,001-53,200), or auto: the called "
                "peak with most cuts on the test contigs",
                default="auto",
            ),
            number("--width-bp", "width of auto", default=1000),
            file("--units", "units.tsv of `boundaries`: show its selected units", default=None),
            UNIT,
            file("--genes", "BED of genes to draw", nargs="?", default=None),
            option("--name", "name of the files", default="locus", metavar="NAME"),
            option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
            THREADS,
            OUTPUT_FOLDER,
        ),
    ),
    "boundaries": Verb(
        "gatescope.boundaries.boundaries",
        "test what the gates do where accessible regions begin and end",
        (
            STORE,
            TRACE,
            folder("--twin", "folder written by `trace` for the untrained twin"),
            MODEL,
            SETTINGS,
            folder("--shuffled", "the same for the twin trained on rotated targets", nargs="?", default=None),
            file(
                "--shuffled-flanks",
                "shuffled_flanks.tsv of `reshuffle`, for the verdict",
                nargs="?",
                default=None,
            ),
            file("--peaks", "narrowPeak file, to cut peaks at q-values", nargs="?", default=None),
            file("--predicted-state", "predicted_state.bw of the run", nargs="?", default=None),
            SEED,
            THREADS,
            OUTPUT_FOLDER,
        ),
    ),
    "clamp": Verb(
        "gatescope.effects.causal",
        "hold the forget gate of the chosen units at boundaries: does the prediction beyond depend on it?",
        (file("--units", "units.tsv of `boundaries`: its selected units are held"), *AT_BOUNDARIES),
    ),
    "reshuffle": Verb(
        "gatescope.effects.reshuffle",
        "shuffle the bases on either side of boundaries: does composition alone make gates fall there?",
        (number("--shuffles", "shuffles of each boundary", whole_number(1), default=5), *AT_BOUNDARIES),
    ),
    "verdict": Verb(
        "gatescope.boundaries.verdict",
        "say what all runs together show",
        (
            file("--verdicts", "verdict.json of each run", nargs="+"),
            file("--samples", "unit_sample.npz of the traces, in the same order", nargs="*", default=()),
            file("--clamps", "clamp.json of `clamp`, of runs that have one", nargs="*", default=()),
            OUTPUT_FOLDER,
        ),
    ),
    "grammar": Verb(
        "gatescope.boundaries.grammar",
        "find the words at which units forget and write, as motifs",
        (
            STORE,
            TRACE,
            folder("--twin", "folder written by `trace` for the untrained twin"),
            MODEL,
            file("--units", "units.tsv of `boundaries`, which names the chosen units"),
            file("--motifs", "known motifs to compare with, MEME or JASPAR", nargs="?", default=None),
            SETTINGS,
            SEED,
            OUTPUT_FOLDER,
        ),
    ),
    "grammar_terms": Verb(
        "gatescope.effects.grammar_terms",
        "split the gates' logits at the events of `grammar` into what drives them",
        (STORE, MODEL, file("--events", "events.tsv of `grammar`"), OUTPUT_FILE, THREADS),
    ),
    "design": Verb(
        "gatescope.design.carrier",
        "find sequences that hold a memory in the best-holding unit",
        (MODEL, TRACE, SETTINGS, OUTPUT_FOLDER),
    ),
    "gallery": Verb(
        "gatescope.gallery.gallery",
        "check the tracer on hand-made memories with known answers, and draw what a gate does",
        (OUTPUT_FOLDER,),
    ),
    "hub": Verb(
        "gatescope.browser.hub",
        "write the UCSC track hub and the IGV session",
        (
            SAMPLE,
            RESULTS,
            GENOME,
            RUNS,
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
        (SAMPLE, RESULTS, GENOME, RUNS, PEERS, SETTINGS),
    ),
}
