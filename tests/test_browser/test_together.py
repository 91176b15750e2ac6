"""The section on all runs: numbers of `compare`, in the words of the page; none where there is one run."""

import numpy as np
import pandas as pd
import pytest

from fake_results import write_fake_results
from fake_runs import write_runs
from gatescope.browser.together import together_part
from gatescope.errors import InputError
from gatescope.model import crossval


def compared(folder, monkeypatch, seeds=(1, 2, 3), folds=("f1", "f2")):
    monkeypatch.setattr(crossval, "_REPLICATES", 20)
    paths = write_runs(folder / "model", {"good": 0.5, "poor": 0.9}, folds=folds, seeds=seeds)
    crossval.compare(paths, folder / "model" / "comparison")
    return together_part(folder, [path.name for path in paths])


def test_numbers_are_those_of_the_tables(tmp_path, monkeypatch):
    part = compared(tmp_path, monkeypatch)
    table = pd.read_csv(tmp_path / "model/comparison/scores.tsv", sep="\t")
    table = table.set_index(["predictor", "seed", "fold"])
    shown = {row[0]: row[1:] for row in part.scores.rows}
    wanted = {
        "good, mean of 3": ("good", "(mean)"),
        "good, ensemble of 3": ("good", "(ensemble)"),
        "poor without memory, mean of 3": ("poor.ablated", "(mean)"),
        "counts of short words (k-mers)": ("kmer", "(none)"),
    }
    for name, key in wanted.items():
        row = table.loc[(*key, "(pooled)")]
        r = f"{row['pearson']:.3f} ({row['pearson_low']:.3f} to {row['pearson_high']:.3f})"
        assert shown[name][0] == r, name
    assert shown["GC content alone"][0] == "does not apply" and len(part.scores.rows) == 12
    assert "of 2 folds together" in part.scores.note
    mean = table.loc[("good", "(mean)", "(mean)")]
    (row,) = [row for row in part.spread.rows if row[0] == "good"]
    assert row[1] == "6 (2 folds, 3 seeds)"
    spread = f"seeds ± {mean['auprc_sd_seeds']:.3f}, folds ± {mean['auprc_sd_folds']:.3f}"
    assert row[5] == f"{mean['auprc']:.3f} ({spread})"


def test_differences_are_of_ensembles_where_there_are_any(tmp_path, monkeypatch):
    part = compared(tmp_path, monkeypatch)
    names = [row[0] for row in part.differences.rows]
    assert names[:2] == [
        "good (ensemble) minus poor (ensemble)",
        "good (ensemble) minus good without memory (ensemble)",
    ]
    assert "poor (ensemble) minus poor (mean)" in names and len(names) == len(set(names)) == 11
    assert all(cell.startswith(("+", "-", "does not")) for row in part.differences.rows for cell in row[1:])


def test_one_seed_and_one_fold(tmp_path, monkeypatch):
    part = compared(tmp_path, monkeypatch, seeds=(1,), folds=("f1",))
    assert [row[0] for row in part.scores.rows][:2] == ["good", "poor"]
    assert part.spread.rows[0][1] == "1 (1 fold, 1 seed)" and "±" not in part.spread.rows[0][2]
    assert part.differences.rows[0][0] == "good minus poor"


def test_one_run_has_no_such_section(tmp_path):
    assert together_part(tmp_path, ["sequence.f1.1"]) is None


def test_a_missing_table_is_the_users_message(tmp_path, monkeypatch):
    compared(tmp_path, monkeypatch, seeds=(1,), folds=("f1",))
    (tmp_path / "model/comparison/differences.tsv").unlink()
    with pytest.raises(InputError, match="run the workflow to the end"):
        together_part(tmp_path, ["good.f1.1", "poor.f1.1"])


def test_the_fake_results_have_the_columns_of_the_real_ones(tmp_path, monkeypatch):
    """Tests of the page use made-up tables."""
    compared(tmp_path, monkeypatch, seeds=(1, 2))
    fake = write_fake_results(tmp_path / "fake", runs=("sequence.f1.1", "sequence.f1.2"))
    for name in ("scores.tsv", "differences.tsv"):
        real, made_up = (
            pd.read_csv(folder / "model/comparison" / name, sep="\t") for folder in (tmp_path, fake.results)
        )
        assert list(real.columns) == list(made_up.columns)
        assert np.isin(made_up.filter(regex="seed$").to_numpy(), real.filter(regex="seed$").to_numpy()).all()
