"""Which sub-commands are there, and which flags has each? One per workflow rule, and the gallery.

Public names: `Verb`, `VERBS`, `LOG_HELP`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verb:
    """A sub-command: `module` holds a function of the verb's name whose arguments are the flags."""

    module: str
    summary: str
    options: tuple[tuple[str, dict[str, Any]], ...]


def _json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object given on the command line."""
    content = _parse_json(text)
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f'got {text!r}, wanted a JSON object such as {{"key": 1}}')
    return content


def _json_list(text: str) -> list[dict[str, Any]]:
    """Parse a list of JSON objects given on the command line."""
    content = _parse_json(text)
    if not (isinstance(content, list) and all(isinstance(each, dict) for each in content)):
        raise argparse.ArgumentTypeError(f'got {text!r}, wanted a JSON list such as [{{"key": 1}}]')
    return content


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {text!r} ({error})") from error


def _whole_number(least: int, most: float = float("inf")) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` on, to `most`."""

    def integer(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{number} is more than {most}")
        return number

    return integer


def _named_path(text: str) -> tuple[str, Path]:
    """Split NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted NAME=PATH")
    return name, Path(path)


class _NamedPaths(argparse.Action):
    """Collect NAME=PATH ... into ``{name: path}``, refusing a name given twice."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        named = dict(values)
        if len(named) < len(values):
            raise argparse.ArgumentError(self, "a name is given twice")
        setattr(namespace, self.dest, named)


def _fold(text: str) -> dict[str, Any] | int | Path:
    """Read what says how the genome is split: JSON, a number, or the path of a file."""
    if text.lstrip().startswith("{"):
        return _json_object(text)
    return int(text) if text.isdecimal() else Path(text)


class _Folds(argparse.Action):
    """Take one mapping, one number, or several paths."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if len(values) > 1 and not all(isinstance(value, Path) for value in values):
            raise argparse.ArgumentError(self, "several folds are given as one JSON object or as files")
        setattr(namespace, self.dest, values if isinstance(values[0], Path) else values[0])


class _Plan(argparse.Action):
    """Print the memory plan and stop, as --help does."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        plan = importlib.import_module("gatescope.model.memory_plan")  # for this flag alone
        sys.stdout.write("".join(f"{line}\n" for line in plan.plan_lines(values)))
        parser.exit()


def _length(text: str) -> float:
    if not (bp := float(text)) > 0 or bp == float("inf"):
        raise argparse.ArgumentTypeError(f"{text} bp is no length")
    return bp


def _option(flag: str, help: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    """Describe one flag; it is required unless it has a default."""
    settings.setdefault("required", "default" not in settings)
    return flag, {"help": help, **settings}


def _file(flag: str, help: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return _option(flag, help, type=Path, metavar="FILE", **settings)


def _folder(flag: str, help: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return _option(flag, help, type=Path, metavar="DIR", **settings)


def _number(
    flag: str, help: str, kind: Callable[[str], float] = int, **settings: Any
) -> tuple[str, dict[str, Any]]:
    return _option(flag, help, type=kind, metavar="N", **settings)


def _json(flag: str, help: str) -> tuple[str, dict[str, Any]]:
    return _option(flag, help, type=_json_object, metavar="JSON")


def _folds(help: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return _option("--folds", help, type=_fold, action=_Folds, nargs="+", metavar="FOLDS", **settings)


def _named_paths(flag: str, help: str) -> tuple[str, dict[str, Any]]:
    # nargs="*" and "?": a rule may pass the flag with nothing behind it for an input that is not there
    return _option(
        flag, help, type=_named_path, action=_NamedPaths, nargs="*", default={}, metavar="NAME=PATH"
    )


_GENOME = _file("--genome", "FASTA, plain, gzip or bgzip, or .2bit")
_ATAC = _file(
    "--atac",
    "BAM, CRAM, fragments (BED3 or 10x), tagAlign, BEDPE (plain or gzip) or a bigWig of cut counts; several are "
    "replicates whose cuts are added up",
    nargs="+",
)
_PEAKS = _file("--peaks", "accessible regions: narrowPeak or BED")
_EXCLUSION_LIST = _file(
    "--exclusion-list", "regions that are not scored (BED); of several, the union", nargs="*", default=()
)
_INPUT_TRACKS = _named_paths("--tracks", "further bigWigs as input channels")
_FOLDS = _folds(
    'JSON, {"NAME": {"test": [contig, ...], "valid": [contig, ...]}, ...}; a number of folds by contig; or files of '
    "one fold each, as ChromBPNet reads them"
)
_TN5_SHIFT = _option(
    "--tn5-shift",
    "shift already in the ATAC file, such as +0/-0 or +4/-5; auto reads it from the data; one, or one for each file",
    nargs="+",
    metavar="+N/-N",
)
_EXCLUDE_CONTIGS = _option(
    "--exclude-contigs", "contigs to leave out", nargs="*", default=[], metavar="CONTIG"
)
_DUPLICATES = _option(
    "--duplicates",
    "reads marked as duplicates and rows with the same ends; auto: the marked ones, else copies of fragments",
    choices=("auto", "keep", "remove"),
    default="auto",
)
_MIN_MAPQ = _number("--min-mapq", "least mapping quality of a read (BAM, CRAM)", _whole_number(0), default=30)
_IMPROPER_PAIRS = _option(
    "--improper-pairs",
    "paired reads that are in no proper pair (BAM, CRAM, BEDPE)",
    choices=("remove", "keep"),
    default="remove",
)
_MAX_UNKNOWN_FRACTION = _number(
    "--max-unknown-fraction",
    "largest share of unknown bases in a window; peaks and background windows with more are dropped",
    float,
    default=0.1,
)
_WINDOW_BP = _number("--window-bp", "length of a training window in bp")
_STORE = _folder("--store", "encoded store made by `encode`")
_MODEL = _folder("--model", "folder of a trained run")
_TRACE = _folder("--trace", "folder written by `trace`")
_SEED = _number("--seed", "seed of every random choice", _whole_number(0))
_THREADS = _number("--threads", "CPU threads", _whole_number(1), default=1)
_SETTINGS = _json("--settings", "this stage's section of the configuration")
_OUTPUT_FILE = _file("--output", "file to write")
_OUTPUT_FOLDER = _folder("--output", "folder to write")
_SAMPLE = _option("--sample", "name of the sample", metavar="NAME")
_RESULTS = _folder("--results", "results folder of the sample")
_RUNS = _option("--runs", "names of the runs, such as sequence.f1.1", nargs="+", metavar="RUN")

_READ = (
    _folder("--store", "encoded store made by `encode`", default=None),
    _file("--fasta", "any sequences instead of a store, for a network that reads DNA alone", default=None),
)
_CONTIGS = _option("--contigs", "all, held-out, or names separated by commas", default="all")
_UNIT = _option(
    "--unit",
    "or a unit by name, such as fwd:12; once for each direction",
    action="append",
    default=[],
    metavar="DIRECTION:UNIT",
)
_PIECE = _option("--piece", "do this for a share of the contigs and stop, such as 2-of-8", default="1-of-1")
_LAYER = _number("--layer", "LSTM layer, from 1", default=1)

LOG_HELP = "write progress here as well, and errors here instead: Snakemake shows the log of a failed job"

VERBS: dict[str, Verb] = {
    "fetch": Verb(
        "gatescope.data.fetch",
        "download a file by its address, whole and checked",
        (
            _option("--url", "http, https, or what an installed storage plugin of Snakemake reads"),
            _option(
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
            _number("--contigs", "number of contigs", default=8),
            _number("--contig-bp", "length of each contig in bp", default=300_000),
        ),
    ),
    "preflight": Verb(
        "gatescope.data.preflight",
        "check that all inputs fit together, before anything expensive",
        (
            _GENOME,
            _ATAC,
            _PEAKS,
            _EXCLUSION_LIST,
            _INPUT_TRACKS,
            _FOLDS,
            _TN5_SHIFT,
            _DUPLICATES,
            _MIN_MAPQ,
            _IMPROPER_PAIRS,
            _EXCLUDE_CONTIGS,
            _WINDOW_BP,
            _MAX_UNKNOWN_FRACTION,
            _option(
                "--runs",
                "what will be trained, to predict the cost; an object for runs alike",
                type=_json_list,
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
            _ATAC,
            _GENOME,
            _TN5_SHIFT,
            _DUPLICATES,
            _MIN_MAPQ,
            _IMPROPER_PAIRS,
            _EXCLUDE_CONTIGS,
            _option(
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
            _ATAC,
            _GENOME,
            _TN5_SHIFT,
            _DUPLICATES,
            _MIN_MAPQ,
            _IMPROPER_PAIRS,
            _EXCLUDE_CONTIGS,
            _file("--exclusion-list", "regions that are not given to MACS3 (BED)", nargs="*", default=()),
            _named_paths("--tracks", "input tracks, whose contigs are checked before MACS3 runs"),
            _folds("folds, whose contigs are checked before MACS3 runs", default=None),
            _number("--q-value", "largest false discovery rate of a peak", float, default=0.01),
            _OUTPUT_FILE,
        ),
    ),
    "bias": Verb(
        "gatescope.atac.bias",
        "model what Tn5 likes to cut, from background alone, and say how much of the signal that explains",
        (
            _GENOME,
            _file("--cuts", "cut counts made by `cuts`"),
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
            _file("--cuts", "cut counts made by `cuts`"),
            _PEAKS,
            _EXCLUSION_LIST,
            _INPUT_TRACKS,
            _FOLDS,
            _EXCLUDE_CONTIGS,
            _WINDOW_BP,
            _number("--background-ratio", "background windows per peak", float),
            _MAX_UNKNOWN_FRACTION,
            _number(
                "--outlier-ratio",
                "windows with more cuts than this many times the 99th percentile of peaks are dropped; 0 keeps all",
                float,
                default=2.0,
            ),
            _option(
                "--near-duplicates",
                "near-copies of held-out windows on training contigs: report them, have training pass over them, "
                "or do not look",
                choices=("report", "drop", "skip"),
                default="report",
            ),
            _SEED,
            _PIECE,
            _option(
                "--check",
                "write nothing; look whether the store was made from these files, and is undamaged",
                action="store_true",
                default=False,
            ),
            _OUTPUT_FOLDER,
            _folder(
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
            _option(
                "--plan",
                "print which forget gate and bias a memory of these half-lives in bp needs, and stop",
                action=_Plan,
                type=_length,
                nargs="+",
                default=argparse.SUPPRESS,
                metavar="BP",
            ),
            _STORE,
            _option("--run", "name of the run, such as sequence.f1.1", metavar="NAME"),
            _json("--network", "inputs, targets and size of the network"),
            _json("--training", "epochs, batch size, learning rate, ..."),
            _option("--fold", "fold to train on", metavar="NAME"),
            _SEED,
            _option(
                "--twin",
                "random: untrained; ablated: recurrence taken out",
                choices=("none", "random", "ablated"),
                default="none",
            ),
            _THREADS,
            _number("--workers", "further processes that draw batches ahead", _whole_number(0), default=0),
            _OUTPUT_FOLDER,
        ),
    ),
    "evaluate": Verb(
        "gatescope.model.evaluate",
        "score a run on held-out contigs beside its baselines, and write its predictions",
        (
            _STORE,
            _MODEL,
            _folder("--ablated", "folder of the twin without recurrence", default=None),
            _named_paths("--predictors", "further predictions of the state to score"),
            _SEED,
            _THREADS,
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
            _option("--tracks", "mean gate tracks, or none", choices=("mean", "none"), default="mean"),
            _file(
                "--units",
                "units.tsv of `boundaries`: write its selected units instead",
                nargs="?",
                default=None,
            ),
            _UNIT,
            _file(
                "--slices", "BED of regions of which every gate of every unit is kept (.npz)", default=None
            ),
            _LAYER,
            _PIECE,
            _number("--decimals", "decimals kept in the tracks, 1 to 7", _whole_number(1, 7), default=3),
            _option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            _option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
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
            _option(
                "--region",
                "contig:first-last, counted from 1, commas allowed (chrIX:52,001-53,200), or auto: the called "
                "peak with most cuts on the test contigs",
                default="auto",
            ),
            _number("--width-bp", "width of auto", default=1000),
            _file("--units", "units.tsv of `boundaries`: show its selected units", default=None),
            _UNIT,
            _file("--genes", "BED of genes to draw", nargs="?", default=None),
            _option("--name", "name of the files", default="locus", metavar="NAME"),
            _option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
            _option("--unknown-bases", "learned, freeze or decay(HALF_LIFE_BP)", default="learned"),
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
            _folder("--twin", "folder written by `trace` for the untrained twin"),
            _MODEL,
            _SETTINGS,
            _SEED,
            _OUTPUT_FOLDER,
        ),
    ),
    "verdict": Verb(
        "gatescope.boundaries.verdict",
        "say what all runs together show",
        (_file("--verdicts", "verdict.json of each run", nargs="+"), _OUTPUT_FILE),
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
            _option(
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
        (_SAMPLE, _RESULTS, _GENOME, _RUNS, _SETTINGS),
    ),
}
