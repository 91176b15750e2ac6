"""Configuration, sample table and the functions that rules call; no rules."""

import json
import re
import shutil
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import validate

# Snakemake's own environment need not hold gatescope (--sdm conda); these modules need nothing but Python
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from gatescope.config import (
    check_folds,
    explain,
    genes_file,
    has_gates,
    motif_file,
    name_ensembles,
    needs_bias,
    network_settings,
    plan_runs,
    refuse_endless,
    size_runs,
    training_settings,
)
from gatescope.settings import check_boundaries, check_grammar
from gatescope.errors import InputError
from gatescope.genome.folds import name_folds
from gatescope.remote import check_kept, find_remotes
from gatescope.samples import BIAS_TRACK, read_samples
from gatescope.stages import STAGE_VERSIONS

STARTED = time.time()
# `.venv/bin/snakemake` without an activated environment finds the gatescope that is installed beside it;
# in a conda environment it would come before the one of that environment
HAS_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
if not HAS_CONDA and (Path(sys.executable).parent / "gatescope").exists():
    shell.prefix(f'PATH="{Path(sys.executable).parent}:$PATH"; ')


def check(values, schema, source):
    """Validate `values` and fill in defaults; an error is one line that names the key."""
    try:
        validate(values, schema)
    except WorkflowError as error:
        if error.__context__ is None:
            raise
        raise explain(error.__context__, source) from None


def remotes_of(samples):
    """Return what all samples have to fetch, by the path at which it is kept."""
    mentions = [(name, remote) for name, sample in samples.items() for remote in sample.remotes.values()]
    return find_remotes((f"sample {name}", remote.text) for name, remote in mentions)


def read_configuration():
    """Return samples, runs, folds, the file of genes and that of motifs, or stop with one line."""
    try:
        check(config, "../schemas/config.schema.yaml", "config")
        refuse_endless(config)
        check_boundaries(config["boundaries"])
        check_grammar(config["grammar"])
        samples = read_samples(
            config["samples"],
            config["data_dir"],
            config["tn5_shift"],
            lambda row, place: check(row, "../schemas/samples.schema.yaml", place),
        )
        check_kept(remotes_of(samples).values())
        planned = config | {"folds": name_folds(config["folds"], config["data_dir"])}
        runs = plan_runs(planned, samples)
        for run in runs.values():
            training_settings(config, run.model)
        return samples, runs, check_folds(planned), genes_file(config), motif_file(config)
    except InputError as error:
        sys.exit(f"gatescope: error: {error}")


SAMPLES, RUNS, FOLDS, GENES, MOTIFS = read_configuration()
# networks without gates are trained and scored; everything else is about gates
GATE_RUNS = {name: run for name, run in RUNS.items() if has_gates(config, run.model)}
PEER_RUNS = [name for name in RUNS if name not in GATE_RUNS]
ENSEMBLES = name_ensembles(RUNS.values())
REMOTES = remotes_of(SAMPLES)
PLANTED_SAMPLES = [name for name, sample in SAMPLES.items() if sample.is_planted]
SAMPLES_WITHOUT_PEAKS = [name for name, sample in SAMPLES.items() if sample.calls_peaks]
# what preflight predicts the cost of
RUN_SIZES = json.dumps(size_runs(config, RUNS.values()))
NEEDS_BIAS = needs_bias(config)
GATES = ("forget_gate", "input_gate", "output_gate")
MEMORY = ("half_life", "backward_horizon", "forward_horizon", "write_magnitude", "hidden_memory")
DIRECTIONS = ("fwd", "rev")


def any_of(names):
    """Return a regular expression that matches exactly `names`."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    sample=any_of(SAMPLES),
    run=any_of(RUNS),
    network=f"({any_of(RUNS)})(\\.random|\\.ablated|\\.shuffled)?",


def sample_file(column):
    """Return an input function: the sample's file in `column` of the table, or nothing."""

    def path(wildcards):
        return SAMPLES[wildcards.sample].files.get(column, [])

    return path


def address_of(wildcards):
    """Return the address of a file that is to be fetched."""
    return REMOTES[f"downloads/{wildcards.key}/{wildcards.name}"].url


def checksum_of(wildcards):
    """Return the checksum that the sample table gives for such a file, or none."""
    return str(REMOTES[f"downloads/{wildcards.key}/{wildcards.name}"].checksum or "none")


def track_files(wildcards):
    """Return the paths of a sample's further tracks and of their sidecars."""
    return SAMPLES[wildcards.sample].track_files


def named_tracks(wildcards):
    """Return NAME=PATH of a sample's further tracks."""
    return [f"{name}={path}" for name, path in SAMPLES[wildcards.sample].tracks.items()]


def encoded_track_files(wildcards):
    """Return `track_files`, and Tn5's preference where a model asks for it."""
    bias = f"results/{wildcards.sample}/atac/{BIAS_TRACK}.bw"
    return track_files(wildcards) + ([bias, f"{bias}.json"] if NEEDS_BIAS else [])


def encoded_tracks(wildcards):
    """Return NAME=PATH of the tracks that are encoded: the sample's own, and Tn5's preference where it is asked for."""
    bias = f"{BIAS_TRACK}=results/{wildcards.sample}/atac/{BIAS_TRACK}.bw"
    return named_tracks(wildcards) + ([bias] if NEEDS_BIAS else [])


def tn5_shift(wildcards):
    """Return the shift that a sample's reads already carry, or one for each file."""
    return SAMPLES[wildcards.sample].tn5_shift


def kept_replicates(folder):
    """Return the folder of the tracks of each replicate, or nothing where they are only merged."""
    return directory(folder) if config["replicates"] == "keep" else []


def ensembles_that_predict(*targets):
    """Return the ensembles, a model's seeds on one fold, whose model predicts `targets` and nothing else."""
    return [name for name, members in ENSEMBLES.items() if set(members) <= set(runs_that_predict(*targets))]


def member_folders(wildcards):
    """Return the folders of the members of an ensemble."""
    return [f"results/{wildcards.sample}/model/{run}" for run in ENSEMBLES[wildcards.ensemble]]


def members_of(file):
    """Return an input function: a file of each member of an ensemble."""

    def paths(wildcards):
        return [f"{folder}/{file}" for folder in member_folders(wildcards)]

    return paths


def run_folders(wildcards):
    """Return the folders of all runs of a sample."""
    return [f"results/{wildcards.sample}/model/{run}" for run in RUNS]


def comparison_of(sample):
    """Return what compares all runs of a sample; nothing where there is one run only."""
    folder = f"results/{sample}/model/comparison"
    files = ("scores.tsv", "differences.tsv", "comparison.json")
    return [f"{folder}/{file}" for file in files if len(RUNS) > 1]


def run_of(wildcards):
    """Return the run that a network, possibly a twin, belongs to."""
    return RUNS[re.sub(r"\.(random|ablated|shuffled)$", "", wildcards.network)]


def fold_of(wildcards):
    """Return the fold that a network is trained on."""
    return run_of(wildcards).fold


def seed_of(wildcards):
    """Return the seed of a network."""
    return run_of(wildcards).seed


def twin_of(wildcards):
    """Return none, random, ablated or shuffled."""
    return wildcards.network.removeprefix(run_of(wildcards).name).removeprefix(".") or "none"


def network_of(wildcards):
    """Return the settings of a network as JSON."""
    return json.dumps(network_settings(config, run_of(wildcards).model))


def training_of(wildcards):
    """Return how a network is trained, as JSON."""
    return json.dumps(training_settings(config, run_of(wildcards).model))


def ablated_twin(wildcards):
    """Return the weights of a run's twin without recurrence; none where there is no recurrence to take out."""
    folder = ablated_folder(wildcards)
    return f"{folder}/model.safetensors" if folder else []


def ablated_folder(wildcards):
    """Return the folder of that twin, or none."""
    return f"results/{wildcards.sample}/model/{wildcards.run}.ablated" if wildcards.run in GATE_RUNS else []


def only_full(paths):
    """Return paths if `boundaries: controls: full` asks for them, else nothing."""
    return paths if config["boundaries"]["controls"] == "full" else []


def shuffled_trace(file):
    """Return a file of the trace of the twin that was trained on rotated targets."""
    return only_full(f"results/{{sample}}/trace/{{run}}.shuffled/{file}")


def shuffled_folder(wildcards):
    """Return the folder of that trace, or nothing."""
    return only_full(f"results/{wildcards.sample}/trace/{wildcards.run}.shuffled")


def clamp_summaries(wildcards):
    """Return what holding the gates of each run has shown."""
    return only_full([f"results/{wildcards.sample}/effects/{run}/clamp.json" for run in GATE_RUNS])


def predicted_state(wildcards):
    """Return the predicted state of a run; nothing where its model has no head for it."""
    has_state = "state" in config["models"][RUNS[wildcards.run].model]["targets"]
    return f"results/{wildcards.sample}/model/{wildcards.run}/predicted_state.bw" if has_state else []


def gpus_of(wildcards):
    """Return how many GPUs a training takes on this machine; on a cluster the profile says so instead."""
    settings = json.loads(training_of(wildcards))
    may_use_gpu = settings.get("device", "auto") != "cpu" and shutil.which("nvidia-smi") is not None
    return settings.get("devices", 1) if may_use_gpu else 0


def gate_tracks(which, names=GATES):
    """Return the file names of tracks, `which` being mean or boundary_unit, with their sidecars."""
    tracks = [f"{name}.{direction}.{which}.bw" for name in names for direction in DIRECTIONS]
    return tracks + [f"{track}.json" for track in tracks]


def pieces_of(stage, folder):
    """Return what says that the shares of `encode` or `trace` are done; nothing where it is not shared out."""
    if config[stage]["pieces"] == 1:
        return []
    return getattr(gather, stage)(f"results/{{{{sample}}}}/{folder}/{{scatteritem}}")


def browser_tracks(wildcards):
    """Return every track of a sample that a person opens beside the gates."""
    files = []
    for name, run in GATE_RUNS.items():
        targets = config["models"][run.model]["targets"]
        files += [f"model/{name}/predicted_{target}.bw" for target in targets]
        files += [f"trace/{name}/{track}" for track in gate_tracks("mean") + gate_tracks("boundary_unit")]
    return [f"results/{wildcards.sample}/{file}" for file in files]


def report_tables(wildcards):
    """Return every table and summary of a sample that the report shows."""
    tables = {
        "model": [
            "model.json",
            "metrics.tsv",
            "training.csv",
            "gradient_reach.tsv",
            "evaluation.tsv",
            "evaluation_contigs.tsv",
            "evaluation.json",
        ],
        "trace": ["units.tsv", "summary.json"],
        "boundaries": ["profile.tsv", "units.tsv", "verdict.json", "profile.svg"],
        "design": ["constructs.fa", "designs.tsv"],
    }
    folders = [(stage, name) for name in GATE_RUNS for stage in tables]
    folders += [("model", name) for name in PEER_RUNS]
    of_runs = [
        f"results/{wildcards.sample}/{stage}/{name}/{table}"
        for stage, name in folders
        for table in tables[stage]
    ] + [f"results/{wildcards.sample}/trace/{name}.random/units.tsv" for name in GATE_RUNS]
    return of_runs + comparison_of(wildcards.sample)


def runs_that_predict(*targets):
    """Return the runs whose model predicts `targets` and nothing else."""
    return [name for name, run in RUNS.items() if set(config["models"][run.model]["targets"]) == set(targets)]


def oracle_file(wildcards):
    """Return the best possible prediction, which only a planted genome has."""
    is_planted = SAMPLES[wildcards.sample].is_planted
    return f"results/{wildcards.sample}/data/simulated/truth/oracle_state.bw" if is_planted else []


def bpnet_track(wildcards):
    """Return what BPNet expects on the test contigs of a run, where it is asked for."""
    run = RUNS[wildcards.run]
    track = f"results/{wildcards.sample}/bpnet/{run.fold}.{run.seed}/predicted_cuts.bw"
    return track if "bpnet_lite" in config["peers"] else []


def bpnet_runtime(wildcards):
    """Return the minutes that training and predicting take together, with room."""
    return 60 + int(2 * config["peers"]["bpnet_lite"]["minutes"])


def named_predictors(wildcards):
    """Return NAME=PATH of the predictions to score beside the network's; expected cuts are marked as such."""
    oracle, bpnet = oracle_file(wildcards), bpnet_track(wildcards)
    return [f"oracle={oracle}"] * bool(oracle) + [f"bpnet_lite=cuts:{bpnet}"] * bool(bpnet)


def print_outcome():
    """Say what the runs of each sample show, and where to read about it, if this workflow run has made the page."""
    for sample in SAMPLES:
        page = Path(f"results/{sample}/browser/report.html")
        verdict = Path(f"results/{sample}/boundaries/verdict.json")
        if page.exists() and page.stat().st_mtime >= STARTED:
            print(f"{sample}: {json.loads(verdict.read_text())['sentence']}", file=sys.stderr)
            print(f"{sample}: see {page.resolve()}", file=sys.stderr)
