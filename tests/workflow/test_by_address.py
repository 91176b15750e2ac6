"""A sample table of addresses: fetched once, checked, and no network asked for anything else."""

import hashlib

import jsonschema
import pytest
import yaml
from small_workflow import ROOT, Workflow

from gatescope.samples import read_samples
from loopback import serving
from tiny_data import make_tiny_inputs, write_rows

pytestmark = pytest.mark.workflow
FETCHED = ("genome.fa", "fragments.bed")
SCHEMAS = ("config", "samples")
#: A proxy that is not there: whoever asks the network fails.
NO_WAY_OUT = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_table_of_addresses(tmp_path):
    """One address leads to another file: said once, nothing reads it. Then mended; then the server is gone."""
    inputs = make_tiny_inputs(tmp_path / "work")
    folder, content = inputs.folder, {name: (inputs.folder / name).read_bytes() for name in FETCHED}
    config = {"folds": inputs.folds, "models": {"dna": {}}, "samples": "samples.tsv"}
    config |= {"runs": {"models": ["dna"], "folds": ["f1"]}}
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    workflow = Workflow(folder, (folder / "my.yaml",))
    with serving() as site:
        site.files, site.ways = content, {"fragments.bed": "redirect", "genome.fa": "no-head"}
        for name in FETCHED:
            (folder / name).unlink()

        def write_table(genome: str, reads: str) -> None:
            row = (
                "tiny",
                site.url("genome.fa") + genome,
                site.url("fragments.bed") + reads,
                "peaks.narrowPeak",
            )
            write_rows(folder / "samples.tsv", [("sample", "genome", "atac", "peaks"), row])

        wrong, right = (f"#sha256={digest(reads)}" for reads in (b"other", content["fragments.bed"]))
        write_table("", wrong)
        done = workflow.run("--until", "preflight", "--keep-going")
        assert done.returncode == 1, done.stdout
        message = f"wanted sha256 {digest(b'other')}, got {digest(content['fragments.bed'])}"
        assert done.stdout.count(message) == 1, done.stdout
        assert not (folder / "results").exists()
        assert {path.name for path in folder.glob("downloads/*/*")} == {"genome.fa", "genome.fa.fetched.json"}

        write_table("", right)
        done = workflow.run("--until", "preflight")
        assert done.returncode == 0, done.stdout
        assert (folder / "results/tiny/data/preflight.json").exists()
        # fetched once, and twice with a redirection each
        assert site.asked == {("GET", "genome.fa"): 1, ("GET", "fragments.bed"): 4}

    # a checksum that is added later is compared with what was recorded
    write_table(f"#md5={hashlib.md5(content['genome.fa']).hexdigest()}", right)
    done = workflow.run("--dry-run", "--until", "preflight")
    assert done.returncode == 0 and "rule " not in done.stdout, done.stdout


def test_an_example_is_planned_without_a_network(tmp_path, monkeypatch):
    for name, nowhere in NO_WAY_OUT.items():
        monkeypatch.setenv(name, nowhere)
    (tmp_path / "config").symlink_to(ROOT / "config")
    configuration = (ROOT / "config/config.yaml", ROOT / "config/examples/yeast_full.yaml")
    done = Workflow(tmp_path, configuration).run("--dry-run")
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("gatescope fetch ") == 2
    assert not (tmp_path / "downloads").exists()


@pytest.mark.parametrize(("example", "checksums"), [("yeast_full", 1), ("human", 6)])
def test_examples_say_what_the_schemas_allow(monkeypatch, example, checksums):
    monkeypatch.chdir(ROOT)
    config = yaml.safe_load((ROOT / f"config/examples/{example}.yaml").read_text())
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    schemas = {
        name: yaml.safe_load((ROOT / f"workflow/schemas/{name}.schema.yaml").read_text()) for name in SCHEMAS
    }
    jsonschema.validate(base | config, schemas["config"])

    def check_row(row, place):
        jsonschema.validate(row, schemas["samples"])
        row.setdefault("tracks", "")

    (sample,) = read_samples(config["samples"], ".", "+0/-0", check_row).values()
    remotes = sample.remotes.values()
    assert sum(remote.checksum is not None for remote in remotes) == checksums
    assert {sample.files["genome"], *sample.files["atac"]} <= {remote.path for remote in remotes}


def test_every_chromosome_of_yeast_is_tested_once():
    folds = yaml.safe_load((ROOT / "config/examples/yeast_full.yaml").read_text())["folds"].values()
    numbers = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split()
    assert sorted(name for fold in folds for name in fold["test"]) == sorted(
        f"chr{number}" for number in numbers
    )
    assert not any(set(fold["test"]) & set(fold["valid"]) for fold in folds)
