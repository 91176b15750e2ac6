"""What a workflow user can get wrong: exit 1, the message once on the terminal, nothing left behind."""

from pathlib import Path

import pytest
import yaml
from small_workflow import Workflow

from tiny_data import TinyInputs, make_tiny_inputs, write_bigwig, write_rows

pytestmark = pytest.mark.workflow
COLUMNS = ("sample", "genome", "atac", "peaks")


class Tiny:
    """A good configuration of tiny inputs; spoil `row`, `config` or a file of `inputs`, then run."""

    def __init__(self, folder: Path) -> None:
        self.inputs: TinyInputs = make_tiny_inputs(folder)
        names = ("genome.fa", "fragments.bed", "peaks.narrowPeak")
        self.row = {"sample": "tiny", **dict(zip(COLUMNS[1:], names, strict=True))}
        self.config = {
            "samples": "samples.tsv",
            "folds": {"f1": {"test": ["chr3"], "valid": ["chr4"]}},
            "models": {"dna": {}},
            "runs": {"models": ["dna"], "folds": ["f1"]},
        }

    def run(self):
        folder = self.inputs.folder
        write_rows(folder / "samples.tsv", [tuple(self.row), tuple(self.row.values())])
        (folder / "small.yaml").write_text(yaml.safe_dump(self.config))
        return Workflow(folder, (folder / "small.yaml",)).run("--until", "encode")


@pytest.fixture
def tiny(tmp_path):
    return Tiny(tmp_path / "tiny")


def test_good_inputs_run(tiny):
    done = tiny.run()
    assert done.returncode == 0, done.stdout
    assert (tiny.inputs.folder / "results/tiny/data/encoded/meta.json").exists()


def misspelt_key(tiny):
    tiny.config["trainin"] = {}
    return "error: config: trainin: unknown key; did you mean 'training'?"


def unknown_model(tiny):
    tiny.config["runs"]["models"] = ["rna"]
    return "error: config: runs.models: 'rna' is not defined; defined are dna"


def unknown_fold(tiny):
    tiny.config["runs"]["folds"] = ["f2"]
    return "error: config: runs.folds: 'f2' is not defined; defined are f1"


def wrong_shift(tiny):
    tiny.config["tn5_shift"] = "+4-5"
    return "error: config: tn5_shift: got '+4-5'; wanted: Shift"


def numeric_contig(tiny):
    tiny.config["folds"]["f1"]["test"] = [3]
    return "error: config: folds.f1.test[0]: 3 is not of type 'string'; wanted: A contig name"


def same_contig_twice(tiny):
    tiny.config["folds"]["f1"]["valid"] = ["chr3"]
    return "error: config: folds.f1: contig 'chr3' is in both test and valid"


def negative_epochs(tiny):
    tiny.config["training"] = {"epochs": -1}
    return "error: config: training.epochs: -1 is less than the minimum of 1"


def missing_genome(tiny):
    tiny.inputs.genome.unlink()
    return "error: samples.tsv line 2: genome: genome.fa: file does not exist"


def missing_table(tiny):
    tiny.config["samples"] = "sample.tsv"
    return "error: sample.tsv: sample table does not exist"


def missing_column(tiny):
    del tiny.row["atac"]
    return "error: samples.tsv line 2: atac: is missing"


def endless_ratio(tiny):
    tiny.config["windows"] = {"background_ratio": float("inf")}
    return "error: config: windows.background_ratio: inf is no number to work with"


def flank_longer_than_the_profile(tiny):
    tiny.config["boundaries"] = {"flank_bp": 600}
    return "error: config: boundaries: dip_bp 25, flank_bp 600, profile_bp 500; wanted 0 < dip_bp"


def unclosed_quote(tiny):
    tiny.row["genome"] = '"genome.fa'
    return "error: samples.tsv line 2: quotes do not match"


def unknown_track(tiny):
    tiny.config["models"]["dna"] = {"inputs": ["sequence", "h3"]}
    return "error: config: models.dna.inputs: sample tiny has no track 'h3'"


EARLY = [
    misspelt_key,
    unknown_model,
    unknown_fold,
    wrong_shift,
    numeric_contig,
    same_contig_twice,
    negative_epochs,
    missing_genome,
    missing_table,
    missing_column,
    unknown_track,
    endless_ratio,
    flank_longer_than_the_profile,
    unclosed_quote,
]


@pytest.mark.parametrize("spoil", EARLY)
def test_configuration_mistakes_stop_before_the_first_job(tiny, spoil):
    message = f"gatescope: {spoil(tiny)}"
    done = tiny.run()
    assert done.returncode == 1
    assert done.stdout.count(message) == 1, done.stdout
    assert "Traceback" not in done.stdout and "rule preflight" not in done.stdout
    assert not tiny.inputs.folder.joinpath("results").exists()


def peaks_with_other_names(tiny):
    write_rows(tiny.inputs.peaks, [(row[0].removeprefix("chr"), *row[1:]) for row in tiny.inputs.peak_rows])
    return "peaks.narrowPeak line 1: contig 1 not in genome.fa; likely cause: the genome calls it 'chr1'"


def fragments_with_other_names(tiny):
    write_rows(
        tiny.inputs.fragments, [(row[0].removeprefix("chr"), *row[1:]) for row in tiny.inputs.fragment_rows]
    )
    return (
        "fragments.bed line 1: contig 1, 2, 3, 4 not in genome.fa; likely cause: the genome calls it 'chr1'"
    )


def no_peaks(tiny):
    tiny.inputs.peaks.write_text("")
    return "peaks.narrowPeak: no regions in it"


def no_fragments(tiny):
    tiny.inputs.fragments.write_text("# nothing\n")
    return "fragments.bed: no fragments in it"


def peak_beyond_the_end(tiny):
    write_rows(
        tiny.inputs.peaks, [*tiny.inputs.peak_rows, ("chr1", 19_900, 20_100, "x", 0, ".", 1, 1, 1, 50)]
    )
    return "end 20100 exceeds chr1 length 20000 (genome.fa)"


def fragment_beyond_the_end(tiny):
    write_rows(tiny.inputs.fragments, [*tiny.inputs.fragment_rows, ("chr4", 20_990, 21_050)])
    return "end 21050 exceeds chr4 length 21000 (genome.fa)"


def fragments_with_two_columns(tiny):
    write_rows(tiny.inputs.fragments, [row[:2] for row in tiny.inputs.fragment_rows])
    return "fragments.bed line 1: 2 tab-separated columns, wanted 3"


def fold_of_an_unknown_contig(tiny):
    tiny.config["folds"]["f1"]["test"] = ["chr9"]
    return "folds.f1.test: contig chr9 not among the contigs in use"


def nothing_left_to_train_on(tiny):
    tiny.config["folds"]["f1"] = {"test": ["chr1", "chr2", "chr3"], "valid": ["chr4"]}
    return "no contig left to train on"


def genome_that_is_no_fasta(tiny):
    tiny.inputs.genome.write_text("hello\n")
    return "genome.fa: cannot be read as FASTA"


def track_of_another_genome(tiny):
    write_bigwig(tiny.inputs.track, {"scaffold7": 500}, {"scaffold7": tiny.inputs.track_values["chr1"][:500]})
    tiny.row["tracks"] = "h3=track.bw"
    return "track.bw: no contig 'chr1' of genome.fa (it has scaffold7)"


AT_PREFLIGHT = [
    peaks_with_other_names,
    fragments_with_other_names,
    no_peaks,
    no_fragments,
    peak_beyond_the_end,
    fragment_beyond_the_end,
    fragments_with_two_columns,
    fold_of_an_unknown_contig,
    nothing_left_to_train_on,
    genome_that_is_no_fasta,
    track_of_another_genome,
]


@pytest.mark.parametrize("spoil", AT_PREFLIGHT)
def test_preflight_finds_mistakes_in_the_data(tiny, spoil):
    words = spoil(tiny)
    done = tiny.run()
    assert done.returncode == 1
    messages = [line for line in done.stdout.splitlines() if "gatescope preflight: error: " in line]
    assert len(messages) == 1, done.stdout
    assert words in messages[0]
    assert done.stdout.count(messages[0].partition("error: ")[2]) == 1
    assert "Traceback" not in done.stdout
    left = [path for path in tiny.inputs.folder.joinpath("results").rglob("*") if path.is_file()]
    assert not left
