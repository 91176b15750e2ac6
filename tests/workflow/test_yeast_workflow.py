"""The example on real yeast ATAC-seq: a smoke run of the whole DAG, and the long run that has to score."""

import json
from pathlib import Path

import pandas as pd
import pytest
from small_workflow import ROOT, Workflow
from trace_checks import check_trace

from gatescope.atac.macs3 import find_macs3
from gatescope.errors import InputError

pytestmark = pytest.mark.workflow
EXAMPLE = (ROOT / "config/config.yaml", ROOT / "config/examples/yeast.yaml")
SMOKE = Path(__file__).with_name("yeast_smoke.yaml")


def run_yeast(folder: Path, data: Path, *overlays: Path) -> Path:
    """Run the example in `folder`; return the sample's results."""
    sheet = ROOT / "config/examples/yeast_samples.tsv"
    workflow = Workflow(folder, (*EXAMPLE, *overlays))
    done = workflow.run("--config", f"samples={sheet}", f"data_dir={data}")
    assert done.returncode == 0, done.stdout[-6000:]
    print(done.stdout[-1500:])
    return folder / "results/yeast"


def state_scores(results: Path, run: str, bin_bp: int) -> pd.DataFrame:
    """Return the evaluation of a run at one bin size, by predictor."""
    table = pd.read_csv(results / "model" / run / "evaluation.tsv", sep="\t")
    return table[table.bin_bp == bin_bp].set_index("predictor")


@pytest.mark.realdata
def test_smoke_run_on_real_data(tmp_path, data):
    results = run_yeast(tmp_path, data, SMOKE)
    found = json.loads((results / "data/preflight.json").read_text())
    assert found["genome"]["bp"] == 3_876_404
    assert found["atac"]["cuts"] == 192_696
    assert (results / "browser/report.html").stat().st_size > 100_000


@pytest.mark.realdata
def test_peaks_are_called_and_used(tmp_path, data):
    """The example without its peak file, up to the encoded store."""
    try:
        find_macs3()
    except InputError:
        pytest.skip("no MACS3: run `make peaks-env`")
    table = pd.read_csv(ROOT / "config/examples/yeast_samples.tsv", sep="\t").drop(columns="peaks")
    table.to_csv(tmp_path / "samples.tsv", sep="\t", index=False)
    given = ("--config", "samples=samples.tsv", f"data_dir={data}", "--until", "encode")
    done = Workflow(tmp_path, EXAMPLE).run(*given)
    assert done.returncode == 0, done.stdout[-6000:]
    found = json.loads((tmp_path / "results/yeast/data/preflight.json").read_text())
    called = json.loads((tmp_path / "results/yeast/atac/peaks.narrowPeak.json").read_text())
    assert found["peaks"]["merged"] == called["regions"] > 450
    assert found["peaks"]["bp"] == called["bp"]
    assert found["atac"]["frip"] > 0.5
    assert (tmp_path / "results/yeast/data/encoded/meta.json").exists()


@pytest.fixture(scope="module")
def yeast(tmp_path_factory, data):
    return run_yeast(tmp_path_factory.mktemp("yeast"), data)


@pytest.mark.acceptance
@pytest.mark.parametrize("run", ["sequence.f1.1", "sequence_and_cuts.f1.1"])
def test_the_trace_keeps_its_promises(yeast, run):
    check_trace(yeast, run)


@pytest.mark.acceptance
def test_yeast_scores(yeast):
    results = yeast
    dna = state_scores(results, "sequence.f1.1", 200).loc["model"]
    both = state_scores(results, "sequence_and_cuts.f1.1", 200).loc["model"]
    print(dna, both, sep="\n\n")
    assert dna.pearson >= 0.60 and dna.auroc >= 0.90 and dna.auprc >= 0.50
    assert both.auroc >= 0.99 and both.auprc >= 0.90
