"""The whole DAG, small: what is there afterwards, and what a change makes run again."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from small_workflow import ROOT, Workflow, make_small

from gatescope.atac.bigwig import bigwig_lengths

pytestmark = pytest.mark.workflow
RUNS = ("dna.f1.1", "segmenter.f1.1")
GATES = [f"{gate}_gate.{way}" for gate in ("forget", "input", "output") for way in ("fwd", "rev")]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> tuple[Workflow, str]:
    """The small workflow after an undisturbed run, and what it printed."""
    workflow = make_small(tmp_path_factory.mktemp("small"))
    done = workflow.run()
    assert done.returncode == 0, done.stdout[-6000:]
    return workflow, done.stdout


def expected_files():
    """Every file that DESIGN.md section 3 promises, relative to results/planted/."""
    yield from ("data/preflight.json", "data/encoded/meta.json", "data/encoded/regions.tsv", "atac/cuts.bw")
    yield from ("atac/tn5_shift.json", "atac/tn5_shift.svg")
    yield from (f"atac/tn5_bias.{kind}" for kind in ("bw", "bw.json", "json", "svg"))
    yield from ("atac/cuts.bw.json", "boundaries/verdict.json", "browser/hub.txt", "browser/igv_session.xml")
    yield from ("browser/report.html", "data/simulated/truth/regions.bed")
    for run in RUNS:
        for network in (run, f"{run}.random", f"{run}.ablated"):
            for name in (
                "model.safetensors",
                "last.safetensors",
                "model.json",
                "metrics.tsv",
                "training.csv",
                "gradient_reach.tsv",
            ):
                yield f"model/{network}/{name}"
        yield from (
            f"model/{run}/{name}"
            for name in (
                *("evaluation.tsv", "evaluation_contigs.tsv", "evaluation.json", "bins.npz"),
                "predicted_state.bw",
            )
        )
        yield from (f"trace/{run}/{gate}.{kind}.bw" for gate in GATES for kind in ("mean", "boundary_unit"))
        yield from (
            f"trace/{run}/{gate}.{kind}.bw.json" for gate in GATES for kind in ("mean", "boundary_unit")
        )
        yield from (
            f"trace/{network}/{name}"
            for network in (run, f"{run}.random")
            for name in ("units.tsv", "unit_sample.npz")
        )
        yield from (
            f"boundaries/{run}/{name}" for name in ("profile.tsv", "units.tsv", "verdict.json", "profile.svg")
        )
        yield from (
            f"boundaries/{run}/grammar/{name}"
            for name in (
                "grammar.json",
                "motifs.tsv",
                "events.tsv",
                "motifs.meme",
                "motifs.jaspar",
                "motifs.svg",
            )
        )
        yield f"effects/{run}/grammar_terms.tsv"
        yield from (f"trace/{run}/{name}" for name in ("summary.json", "reach.tsv", "audit.json"))
        yield from (
            f"trace/{run}/locus/locus.{kind}" for kind in ("svg", "sources.tsv", "bedpe", "interact", "json")
        )
        yield from (f"design/{run}/{name}" for name in ("constructs.fa", "designs.tsv"))


def test_every_promised_file_is_there(small_run):
    workflow, _ = small_run
    missing = {f"planted/{name}" for name in expected_files()} - workflow.files
    assert not missing
    assert "planted/model/dna.f1.1/predicted_cuts.bw" in workflow.files
    assert "planted/model/segmenter.f1.1/predicted_cuts.bw" not in workflow.files


def test_nothing_temporary_is_left(small_run):
    workflow, _ = small_run
    assert not [
        name
        for name in workflow.files
        if any(part in name for part in ("partial", "/units/", ".resume", "/parts.", "/pieces"))
    ]
    assert not list((workflow.folder / "results").rglob(".*.partial-*"))


def test_ends_by_naming_report_and_verdict(small_run):
    workflow, printed = small_run
    verdict = json.loads((workflow.folder / "results/planted/boundaries/verdict.json").read_text())
    tail = printed[-3000:]
    assert f"planted: {verdict['sentence']}" in tail
    assert f"planted: see {workflow.folder}/results/planted/browser/report.html" in tail


def test_a_run_that_makes_no_report_names_none(small_run):
    """An older one may say something else than what its inputs would give now."""
    workflow, _ = small_run
    done = workflow.run("--forcerun", "hub", "--until", "hub")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "rule hub" in done.stdout and "planted: see" not in done.stdout


def test_tracks_cover_the_contigs_of_the_genome(small_run):
    workflow, _ = small_run
    folder = workflow.folder / "results/planted"
    lengths = {f"planted{n}": 60_000 for n in range(1, 5)}
    for track in sorted(folder.glob("*/**/*.bw")):
        assert bigwig_lengths(track) == lengths, track
        assert json.loads(Path(f"{track}.json").read_text())["unit"], track


def test_every_job_left_a_log(small_run):
    workflow, printed = small_run
    assert "warning" not in printed.lower()
    for rule in (
        "simulate",
        "preflight",
        "cuts",
        "bias",
        "encode",
        "train",
        "evaluate",
        "trace",
        "boundaries",
        "grammar",
        "report",
    ):
        logs = list((workflow.folder / "logs" / rule).glob("planted*.log"))
        assert logs and all(log.stat().st_size for log in logs), rule


def test_second_run_has_nothing_to_do(small_run):
    workflow, _ = small_run
    done = workflow.run()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout


def planned_jobs(output: str) -> set[str]:
    """Return the rules of a dry run."""
    return set(re.findall(r"^(\w+) +\d+$", output, flags=re.MULTILINE)) - {"total"}


@pytest.mark.parametrize(
    ("change", "again", "untouched"),
    [
        ({"browser": {"window_bp": 2000}}, {"report"}, {"hub", "train", "encode"}),
        (
            {"boundaries": {"reset_below": -4.0}},
            {"boundaries", "verdict", "trace"},
            {"train", "encode", "evaluate"},
        ),
        ({"training": {"epochs": 5}}, {"train", "evaluate", "trace", "report"}, {"encode", "cuts"}),
        ({"windows": {"background_ratio": 2}}, {"encode", "train"}, {"cuts", "preflight", "simulate"}),
        ({"runs": {"seeds": [1, 2]}}, {"train", "verdict"}, {"preflight", "cuts", "encode"}),
        ({"tn5_shift": "+4/-5"}, {"preflight", "cuts", "encode"}, {"simulate"}),
    ],
    ids=["browser", "boundaries", "training", "windows", "seeds", "tn5_shift"],
)
def test_a_change_reruns_what_depends_on_it(small_run, tmp_path, change, again, untouched):
    workflow, _ = small_run
    overlay = tmp_path / "change.yaml"
    overlay.write_text(yaml.safe_dump(change))
    done = Workflow(workflow.folder, (*workflow.configuration, overlay)).run("--dry-run")
    jobs = planned_jobs(done.stdout)
    assert again <= jobs, done.stdout
    assert not untouched & jobs


def test_a_new_stage_version_reruns_that_stage(small_run, tmp_path):
    workflow, _ = small_run
    for name in ("Snakefile", "workflow", "src", "envs"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path / name)], check=True)
    stages = tmp_path / "src/gatescope/stages.py"
    stages.write_text(
        re.sub(r'"design": (\d+)', lambda found: f'"design": {int(found[1]) + 1}', stages.read_text())
    )
    command = [
        word.replace(str(ROOT / "Snakefile"), str(tmp_path / "Snakefile")) for word in workflow.command("-n")
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    jobs = planned_jobs(done.stdout)
    assert {"design", "report"} <= jobs
    assert not {"train", "trace", "boundaries", "hub"} & jobs


def read_profile(name: str) -> dict:
    return yaml.safe_load((ROOT / f"workflow/profiles/{name}/config.yaml").read_text())


def test_profiles_name_rules_that_exist():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    names = set(re.findall(r"^rule (\w+)|^use rule \w+ as (\w+)", rules, flags=re.MULTILINE))
    names = {name for pair in names for name in pair if name}
    assert {"train", "trace"} <= names
    for profile in ("default", "slurm"):
        content = read_profile(profile)
        assert {*content.get("set-threads", {}), *content.get("set-resources", {})} <= names


def test_a_training_takes_one_gpu():
    """On a laptop the rule asks for it and the profile holds one; on a cluster the profile asks."""
    rules = (ROOT / "workflow/rules/model.smk").read_text()
    training = rules[rules.index("rule train:") : rules.index("rule evaluate:")]
    assert re.search(r"^        gpu=gpus_of,$", training, flags=re.MULTILINE)
    assert read_profile("default")["resources"]["gpu"] == 1
    assert "train" not in read_profile("default").get("set-resources", {})
    assert read_profile("slurm")["set-resources"]["train"]["gpu"] == 1
