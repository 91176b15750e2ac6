"""What the workflow would do, without doing it: dry runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_workflow import ROOT, Workflow, clean_env, make_small

from tiny_data import make_tiny_inputs, write_rows

pytestmark = pytest.mark.workflow


def planned(output: str) -> dict[str, list[tuple[set[str], set[str]]]]:
    """Return, by rule, inputs and outputs of each job of a dry run."""
    jobs: dict[str, list[tuple[set[str], set[str]]]] = {}
    for rule, given, made in re.findall(
        r"^rule (\w+):\n(?:    input: (.*)\n)?    output: (.*)$", output, flags=re.MULTILINE
    ):
        jobs.setdefault(rule, []).append((set(given.split(", ")), set(made.split(", "))))
    return jobs


def test_predictions_follow_the_targets(tmp_path):
    overlay = tmp_path / "targets.yaml"
    models = {"counter": {"targets": ["cuts"]}}
    overlay.write_text(
        yaml.safe_dump({"models": models, "runs": {"models": ["dna", "segmenter", "counter"]}})
    )
    done = make_small(tmp_path / "small", overlay).run("--dry-run")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    wanted = {
        "evaluate": {"dna": {"cuts", "state"}},
        "evaluate_state_only": {"segmenter": {"state"}},
        "evaluate_cuts_only": {"counter": {"cuts"}},
    }
    for rule, runs in wanted.items():
        ((_, made),) = jobs[rule]
        found = {re.search(r"model/(\w+)\.f1\.1/predicted_(\w+)\.bw$", name) for name in made} - {None}
        ((model, targets),) = runs.items()
        assert {match.groups() for match in found if match} == {(model, target) for target in targets}
    for rule in ("hub", "report"):
        ((given, _),) = jobs[rule]
        shown = {name for name in given if "predicted" in name}
        assert len(shown) == 4 and not any("counter.f1.1/predicted_state" in name for name in shown)


def test_a_model_without_gates_is_trained_and_scored_and_nothing_else(tmp_path):
    overlay = tmp_path / "peers.yaml"
    models = {"cnn": {"trunk": "dilated", "trunk_layers": 1, "same_size_as": "dna"}}
    overlay.write_text(yaml.safe_dump({"models": models, "runs": {"models": ["cnn", "dna"]}}))
    done = make_small(tmp_path / "small", overlay).run("--dry-run")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    of_cnn = {
        rule for rule, each in jobs.items() if any("/cnn.f1.1" in name for _, out in each for name in out)
    }
    assert of_cnn == {"train", "evaluate"}
    made = {name for _, out in jobs["train"] for name in out if name.endswith("model.json")}
    assert {name.split("/")[-2] for name in made} == {
        f"dna.f1.1{end}" for end in ("", ".random", ".ablated")
    } | {"cnn.f1.1"}
    ((reported, _),), ((hub, _),) = jobs["report"], jobs["hub"]
    assert "results/planted/model/cnn.f1.1/evaluation.tsv" in reported
    assert not any("cnn" in name for name in hub)
    assert re.search(r"--runs dna\.f1\.1 .*--peers cnn\.f1\.1", done.stdout, flags=re.DOTALL)


def test_full_controls_are_made_where_they_are_asked_for(tmp_path):
    overlay = tmp_path / "full.yaml"
    overlay.write_text(yaml.safe_dump({"boundaries": {"controls": "full"}}))
    found = {}
    for name, overlays in {"quick": (), "full": (overlay,)}.items():
        done = make_small(tmp_path / name, *overlays).run("--dry-run")
        assert done.returncode == 0, done.stdout
        found[name] = planned(done.stdout)
    made = {name for _, out in found["full"]["train"] for name in out if name.endswith("model.json")}
    twins = {f"results/planted/model/{run}.f1.1.shuffled/model.json" for run in ("dna", "segmenter")}
    assert twins <= made
    assert len(found["full"]["trace_shuffled_twin"]) == 2
    assert set(found["full"]) - set(found["quick"]) == {"trace_shuffled_twin", "clamp", "reshuffle"}
    assert len(found["quick"]["train"]) + 2 == len(found["full"]["train"])
    sampled = {f"results/planted/trace/{run}.f1.1/unit_sample.npz" for run in ("dna", "segmenter")}
    ((given, _),) = found["full"]["verdict"]
    assert {"results/planted/effects/dna.f1.1/clamp.json", *sampled} <= set(given)
    (given,) = (
        given for given, made in found["full"]["boundaries"] if any("/dna.f1.1/" in name for name in made)
    )
    assert {
        "results/planted/effects/dna.f1.1/shuffled_flanks.tsv",
        "results/planted/trace/dna.f1.1.shuffled/units",
        "results/planted/model/dna.f1.1/predicted_state.bw",
    } <= set(given)


def test_bpnet_is_trained_once_for_each_fold_and_seed_where_it_is_asked_for(tmp_path):
    overlay = tmp_path / "peers.yaml"
    overlay.write_text(yaml.safe_dump({"peers": {"bpnet_lite": {"layers": 6}}, "runs": {"seeds": [1, 2]}}))
    done = make_small(tmp_path / "small", overlay).run("--dry-run")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    folder = "results/planted/bpnet/f1.{}"
    assert sorted(min(made) for _, made in jobs["bpnet"]) == [
        f"{folder.format(seed)}/predicted_cuts.bw" for seed in (1, 2)
    ]
    assert '"layers": 6' in done.stdout and '"minutes": 10.0' in done.stdout
    for given, made in jobs["evaluate"] + jobs["evaluate_state_only"]:
        seed = min(made).split("/")[-2].split(".")[-1]
        track = f"{folder.format(seed)}/predicted_cuts.bw"
        assert track in given and f"bpnet_lite=cuts:{track}" in done.stdout
    assert "bpnet" not in planned(make_small(tmp_path / "plain").run("--dry-run").stdout)


@pytest.mark.parametrize("bias", ["none", "tn5"])
def test_the_preference_is_encoded_where_a_model_asks_for_it(tmp_path, bias):
    overlay = tmp_path / "bias.yaml"
    overlay.write_text(yaml.safe_dump({"models": {"dna": {"bias": bias}}, "runs": {"models": ["dna"]}}))
    done = make_small(tmp_path / "small", overlay).run("--dry-run")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    assert not {"ensemble", "compare"} & set(jobs)  # one run has nothing to be compared with
    ((encoded, _),), ((reported, _),) = jobs["encode"], jobs["report"]
    track = "results/planted/atac/tn5_bias.bw"
    assert ({track, f"{track}.json"} <= encoded) is (bias == "tn5")
    assert ("tn5_bias=" in done.stdout) is (bias == "tn5")
    assert "results/planted/atac/tn5_bias.json" in reported


def test_seeds_become_ensembles_and_runs_are_compared(tmp_path):
    overlay = tmp_path / "grid.yaml"
    folds = {"f2": {"test": ["planted1"], "valid": ["planted2"]}}
    overlay.write_text(yaml.safe_dump({"folds": folds, "runs": {"folds": ["f1", "f2"], "seeds": [1, 2, 5]}}))
    done = make_small(tmp_path / "small", overlay).run("--dry-run")
    assert done.returncode == 0, done.stdout
    jobs, folder = planned(done.stdout), "results/planted/model"
    ((given, made),) = jobs["compare"]
    runs = {f"{m}.{f}.{s}" for m in ("dna", "segmenter") for f in ("f1", "f2") for s in (1, 2, 5)}
    assert given == {f"{folder}/{run}/{file}" for run in runs for file in ("bins.npz", "model.json")}
    compared = {
        f"{folder}/comparison/{file}" for file in ("scores.tsv", "differences.tsv", "comparison.json")
    }
    assert made == compared <= jobs["report"][0][0]
    for rule, model, targets in (
        ("ensemble", "dna", ("state", "cuts")),
        ("ensemble_state_only", "segmenter", ("state",)),
    ):
        assert len(jobs[rule]) == 2
        for given, made in jobs[rule]:
            (fold,) = {fold for fold in ("f1", "f2") if any(f".{fold}." in name for name in made)}
            tracks = {name for name in given if name.endswith(".bw")}
            members = [f"{folder}/{model}.{fold}.{seed}" for seed in (1, 2, 5)]
            assert tracks == {f"{run}/predicted_{target}.bw" for run in members for target in targets}
            assert f"{folder}/{model}.{fold}.ensemble/members.tsv" in made
            assert len(made) == 3 + 2 * len(targets)


def test_a_sidecar_is_an_input_of_what_reads_it(tmp_path):
    inputs = make_tiny_inputs(tmp_path / "tiny")
    (inputs.folder / "track.bw.json").write_text('{"gaps": "zero"}')
    header = ("sample", "genome", "atac", "peaks", "tracks")
    row = ("tiny", "genome.fa", "fragments.bed", "peaks.narrowPeak", "h3=track.bw")
    write_rows(inputs.folder / "samples.tsv", [header, row])
    # folds by number have names at parse time; their contigs are known when the genome is read
    config = {
        "folds": 4,
        "replicates": "keep",
        "models": {"dna": {}},
        "runs": {"models": ["dna"], "folds": ["f3"]},
    }
    (inputs.folder / "my.yaml").write_text(yaml.safe_dump({"samples": "samples.tsv", **config}))
    done = Workflow(inputs.folder, (inputs.folder / "my.yaml",)).run("--dry-run", "--until", "encode")
    assert done.returncode == 0, done.stdout
    for rule in ("preflight", "encode"):
        ((given, _),) = planned(done.stdout)[rule]
        assert {"track.bw", "track.bw.json"} <= given
    ((_, made),) = planned(done.stdout)["cuts"]
    assert "results/tiny/atac/replicates" in made


def test_peaks_are_called_where_the_table_names_none(tmp_path):
    inputs = make_tiny_inputs(tmp_path / "tiny")
    rows = [
        ("given", "genome.fa", "fragments.bed", "peaks.narrowPeak"),
        ("called", "genome.fa", "fragments.bed", ""),
        ("demo", "planted", "planted", ""),
    ]
    write_rows(inputs.folder / "samples.tsv", [("sample", "genome", "atac", "peaks"), *rows])
    folds = {"f1": {"test": ["chr3"], "valid": ["chr4"]}}
    config = {"folds": folds, "models": {"dna": {}}, "runs": {"models": ["dna"], "folds": ["f1"]}}
    config |= {"samples": "samples.tsv", "peaks": {"q_value": 0.05}}
    (inputs.folder / "my.yaml").write_text(yaml.safe_dump(config))
    done = Workflow(inputs.folder, (inputs.folder / "my.yaml",)).run("--dry-run", "--until", "encode")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("--q-value 0.05") == 2
    jobs = planned(done.stdout)
    path = "results/{}/atac/peaks.narrowPeak"
    made = set.union(*(output for _, output in jobs["peaks"]))
    assert made == {f"{path.format(name)}{end}" for name in ("called", "demo") for end in ("", ".json")}
    for rule in ("preflight", "encode"):
        given = [next(name for name in names if name.endswith(".narrowPeak")) for names, _ in jobs[rule]]
        assert sorted(given) == ["peaks.narrowPeak", path.format("called"), path.format("demo")]


@pytest.mark.parametrize("deployment", ["", "conda"])
def test_this_environment_is_put_first_only_where_conda_makes_none(tmp_path, deployment):
    """Asked of Snakemake itself: what it would put before each command."""
    (tmp_path / "Snakefile").write_text(
        f'configfile: "{ROOT}/tests/workflow/small.yaml"\n'
        f'include: "{ROOT}/workflow/rules/common.smk"\n'
        'print(f"before each command: {shell._process_prefix}")\n'
        "rule all:\n    shell: 'true'\n"
    )
    write_rows(tmp_path / "samples.tsv", [("sample", "genome", "atac", "peaks"), ("p", *["planted"] * 3)])
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", "Snakefile", "--dry-run"]
    given = ["--software-deployment-method", deployment] if deployment else []
    done = subprocess.run(
        [*command, *given],
        cwd=tmp_path,
        env=clean_env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (said,) = re.findall(r"before each command: (.*)", done.stdout)
    assert (f'PATH="{Path(sys.executable).parent}:' in said) is (deployment == ""), done.stdout
