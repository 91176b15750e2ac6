"""Which flags do several verbs have in common? Each is written down once.

Public names: the flags, in capitals.
"""

from gatescope.flags import file, folder, folds, mapping, named_paths, number, option, whole_number

GENOME = file("--genome", "FASTA, plain, gzip or bgzip, or .2bit")
ATAC = file(
    "--atac",
    "BAM, CRAM, fragments (BED3 or 10x), tagAlign, BEDPE (plain or gzip) or a bigWig of cut counts; several are "
    "replicates whose cuts are added up",
    nargs="+",
)
PEAKS = file("--peaks", "accessible regions: narrowPeak or BED")
EXCLUSION_LIST = file(
    "--exclusion-list", "regions that are not scored (BED); of several, the union", nargs="*", default=()
)
INPUT_TRACKS = named_paths("--tracks", "further bigWigs as input channels")
FOLDS = folds(
    'JSON, {"NAME": {"test": [contig, ...], "valid": [contig, ...]}, ...}; a number of folds by contig; or files of '
    "one fold each, as ChromBPNet reads them"
)
TN5_SHIFT = option(
    "--tn5-shift",
    "shift already in the ATAC file, such as +0/-0 or +4/-5; auto reads it from the data; one, or one for each file",
    nargs="+",
    metavar="+N/-N",
)
EXCLUDE_CONTIGS = option("--exclude-contigs", "contigs to leave out", nargs="*", default=[], metavar="CONTIG")
DUPLICATES = option(
    "--duplicates",
    "reads marked as duplicates and rows with the same ends; auto: the marked ones, else copies of fragments",
    choices=("auto", "keep", "remove"),
    default="auto",
)
MIN_MAPQ = number("--min-mapq", "least mapping quality of a read (BAM, CRAM)", whole_number(0), default=30)
IMPROPER_PAIRS = option(
    "--improper-pairs",
    "paired reads that are in no proper pair (BAM, CRAM, BEDPE)",
    choices=("remove", "keep"),
    default="remove",
)
#: Which reads of which files count: `preflight`, `cuts` and `peaks` ask alike.
COUNTED_READS = (
    ATAC,
    GENOME,
    TN5_SHIFT,
    DUPLICATES,
    MIN_MAPQ,
    IMPROPER_PAIRS,
    EXCLUDE_CONTIGS,
)
MAX_UNKNOWN_FRACTION = number(
    "--max-unknown-fraction",
    "largest share of unknown bases in a window; peaks and background windows with more are dropped",
    float,
    default=0.1,
)
WINDOW_BP = number("--window-bp", "length of a training window in bp")
STORE = folder("--store", "encoded store made by `encode`")
MODEL = folder("--model", "folder of a trained run")
TRACE = folder("--trace", "folder written by `trace`")
SEED = number("--seed", "seed of every random choice", whole_number(0))
THREADS = number("--threads", "CPU threads", whole_number(1), default=1)
SETTINGS = mapping("--settings", "this stage's section of the configuration")
OUTPUT_FILE = file("--output", "file to write")
OUTPUT_FOLDER = folder("--output", "folder to write")
SAMPLE = option("--sample", "name of the sample", metavar="NAME")
RESULTS = folder("--results", "results folder of the sample")
RUNS = option("--runs", "names of the runs, such as sequence.f1.1", nargs="+", metavar="RUN")

PEERS = option(
    "--peers",
    "names of the runs without gates, whose scores are shown and no more",
    nargs="*",
    default=(),
    metavar="RUN",
)

READ = (
    folder("--store", "encoded store made by `encode`", default=None),
    file("--fasta", "any sequences instead of a store, for a network that reads DNA alone", default=None),
)
CONTIGS = option("--contigs", "all, held-out, or names separated by commas", default="all")
UNIT = option(
    "--unit",
    "or a unit by name, such as fwd:12; once for each direction",
    action="append",
    default=[],
    metavar="DIRECTION:UNIT",
)
PIECE = option("--piece", "do this for a share of the contigs and stop, such as 2-of-8", default="1-of-1")
LAYER = number("--layer", "LSTM layer, from 1", default=1)

#: What is changed at the boundaries of a run's test contigs, and measured in windows around them.
AT_BOUNDARIES = (
    STORE,
    MODEL,
    number("--dip-bp", "what lies at a boundary: so many bp on either side", whole_number(1), default=25),
    number("--flank-bp", "how far the flank of a boundary reaches", whole_number(2), default=250),
    number(
        "--context-bp",
        "what is read on either side of a boundary, from a zero state: the flank, and a burn-in",
        whole_number(2),
        default=1000,
    ),
    number(
        "--most-boundaries",
        "of more starts or ends of regions, so many are drawn",
        whole_number(1),
        default=1000,
    ),
    number("--bootstraps", "replicates behind each interval", whole_number(1), default=1000),
    SEED,
    option("--dtype", "precision of the replay", choices=("float32", "float64"), default="float32"),
    THREADS,
    OUTPUT_FOLDER,
)
