"""What `make demo` has to show: the planted memory is found, by every seed."""

import json

import pandas as pd
import pytest
from small_workflow import ROOT, Workflow
from trace_checks import check_trace

pytestmark = [pytest.mark.workflow, pytest.mark.acceptance]
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    seeds = folder / "seeds.yaml"
    seeds.write_text(f"runs:\n  seeds: {list(SEEDS)}\n")
    workflow = Workflow(folder, (ROOT / "config/config.yaml", seeds))
    done = workflow.run("--config", f"samples={ROOT / 'config/samples.tsv'}")
    assert done.returncode == 0, done.stdout[-6000:]
    print(done.stdout[-1500:])
    return folder / "results/planted"


@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_state_is_nearly_the_best_possible(demo, seed):
    table = pd.read_csv(demo / f"model/sequence.f1.{seed}/evaluation.tsv", sep="\t")
    auroc = table[table.bin_bp == 1].set_index("predictor").auroc
    print(auroc)
    assert auroc["oracle"] >= 0.99
    assert auroc["model"] >= auroc["oracle"] - 0.005


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("direction", ["fwd", "rev"])
def test_a_unit_chosen_on_validation_forgets_at_entries_of_the_test_contigs(demo, seed, direction):
    verdict = json.loads((demo / f"boundaries/sequence.f1.{seed}/verdict.json").read_text())
    evidence = verdict["directions"][direction]
    print(evidence)
    assert evidence["r"] <= -3.3
    assert evidence["drop_test"] >= 0.4
    assert evidence["offset"] < 25
    assert all(twin["high"] < 0 for twin in evidence["twins"])
    assert (verdict["hypothesis"], verdict["mode"]) == ("supported", "reset")


def test_the_trace_keeps_its_promises(demo):
    check_trace(demo, "sequence.f1.1")
