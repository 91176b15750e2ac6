"""A trace is made contig by contig: shared out, interrupted or not, what comes out is the same."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model
from gatescope.trace import trace as module
from gatescope.trace.parts import trace_contig
from gatescope.trace.replay import trace_windows
from gatescope.trace.trace import trace
from tiny_store import LENGTHS, make_store


@pytest.fixture
def world(tmp_path):
    store = make_store(tmp_path / "store")
    save(tmp_path / "model", store)
    rows = [("fwd", "entry", 2, True), ("rev", "entry", 0, True)]
    table = pd.DataFrame(rows, columns=["direction", "crossing", "unit", "selected"])
    table.to_csv(tmp_path / "units.tsv", sep="\t", index=False)
    (tmp_path / "regions.bed").write_text("one\t290\t350\nfour\t0\t1\n")
    return tmp_path


def save(folder, store, layers=1, seed=2):
    config = NetworkConfig(
        targets=("state",), stem_channels=5, stem_width_bp=7, hidden_units=3, layers=layers
    )
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(seed))
    meta = {
        "run": "small.f1.1",
        "store": store.content_hash,
        "fold": {"name": "f1", "test": ["four"], "valid": ["three"]},
        "training": {"device": "cpu"},
    }
    save_model(folder, config, network.state_dict(), network.state_dict(), meta)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def run(world, output, **options):
    trace(world / "model", world / output, store=world / "store", **options)
    return contents(world / output)


@pytest.fixture
def read(monkeypatch):
    """Return the list of contigs that are really read."""
    names = []

    def spy(wanted, *arguments):
        names.append(wanted.contig)
        return trace_contig(wanted, *arguments)

    monkeypatch.setattr(module, "trace_contig", spy)
    return names


@pytest.mark.parametrize("options", [{"slices": "regions.bed"}, {"units": "units.tsv"}])
def test_shared_out_or_not_the_bytes_are_the_same(world, options, read):
    options = {name: world / path for name, path in options.items()}
    whole = run(world, "whole", **options)
    assert len(whole) >= 12 and not [name for name in whole if "parts" in name]
    read.clear()
    for number in (2, 1, 3):
        run(world, "shared", **options, piece=f"{number}-of-3")
    assert sorted(read) == sorted(LENGTHS)
    last = {"tracks": "none"} if "units" in options else {}  # of units there are tracks in any case
    assert run(world, "shared", **options, **last) == whole
    assert sorted(read) == sorted(LENGTHS)  # nothing was read again


def test_an_interrupted_trace_goes_on_after_the_last_finished_contig(world, read, monkeypatch):
    whole = run(world, "whole")
    contigs = list(LENGTHS)
    right = module.trace_contig

    def dies(wanted, *arguments):
        if wanted.contig == contigs[2]:
            raise KeyboardInterrupt
        return right(wanted, *arguments)

    read.clear()
    with monkeypatch.context() as patch:
        patch.setattr(module, "trace_contig", dies)
        with pytest.raises(KeyboardInterrupt):
            run(world, "broken")
    assert read == contigs[:2] and not list((world / "broken").glob("*.bw"))
    read.clear()
    assert run(world, "broken") == whole
    assert read == contigs[2:]


@pytest.mark.parametrize("change", ["weights", "dtype", "unknown_bases", "slices"])
def test_what_was_made_from_something_else_is_made_anew(world, change, read):
    run(world, "out", piece="1-of-2")
    traced, options = list(read), {}
    if change == "weights":
        save(world / "model", make_store(world / "again"), seed=9)
    else:
        options = {"dtype": "float64", "unknown_bases": "freeze", "slices": world / "regions.bed"}
        options = {change: options[change]}
    again = {name: content for name, content in run(world, "out", **options).items() if "parts." not in name}
    expected = {"slices": {"one", "four"} & set(traced)}.get(change, set(traced))
    assert sorted(read) == sorted([*LENGTHS, *expected])
    assert again == run(world, "straight", **options)


@pytest.mark.parametrize("lost", ["tracks.npy", "sample.npz", "logits.npy", "writes.npy", "change.npy"])
def test_a_part_that_lacks_an_array_is_made_anew(world, lost, read):
    whole = run(world, "whole")
    run(world, "out", piece="1-of-2")
    (path,) = (world / "out").glob(f"parts.*/four/{lost}")  # held out: single units are kept as well
    path.unlink()
    read.clear()
    assert run(world, "out") == whole
    assert "four" in read and "one" not in read


def test_traces_of_other_things_do_not_touch_each_other_s_parts(world):
    """Two traces write into one folder at the same time: of other units, of another arithmetic."""
    alone = {unit: run(world, f"unit{unit}", unit=[f"fwd:{unit}"]) for unit in (0, 1)}
    run(world, "both", unit=["fwd:0"], piece="1-of-2")
    run(world, "both", unit=["fwd:1"])
    together = run(world, "both", unit=["fwd:0"])
    assert together == alone[0] | alone[1]


def test_a_trace_leaves_the_parts_of_other_contigs_alone(world, read):
    whole = run(world, "whole")
    for piece in ("1-of-2", "2-of-2"):
        run(world, "out", piece=piece)
    read.clear()
    run(world, "out", contigs="three")
    assert run(world, "out") == whole
    assert read == ["three"]  # its part went with the first trace


def test_a_damaged_part_is_made_anew(world, read):
    whole = run(world, "whole")
    for damage in ("{", '{"made_from": {}}'):
        run(world, "out", piece="1-of-2")
        for path in (world / "out").glob("parts.*/*/part.json"):
            path.write_text(damage)
        read.clear()
        assert run(world, "out") == whole
        assert sorted(read) == sorted(LENGTHS)


def test_regions_that_are_not_traced_are_refused(world):
    with pytest.raises(InputError, match="regions on four, which is not traced"):
        run(world, "out", contigs="one", slices=world / "regions.bed")


def test_the_second_layer_is_traced_too(world):
    save(world / "model", make_store(world / "again"), layers=2)
    run(world, "out", layer=2, dtype="float64")
    store, (network, _) = make_store(world / "again"), load_model(world / "model")
    for contig in ("three", "four"):
        x = torch.from_numpy(one_hot(np.asarray(store.codes(contig))))[None]
        expected = trace_windows(network.double(), x, layer=1).forget_logit[0].numpy()
        found = np.load(world / f"out/units/{contig}.npy")
        assert np.abs(found - expected).max() < 1e-5
    summary = json.loads((world / "out/summary.json").read_text())
    assert (summary["layer"], summary["layers"]) == (2, 2)
    assert summary["certificate"]["model_error"] <= 1e-12
    assert [(seam["layer"], seam["direction"]) for seam in summary["seams"]["four"]] == [
        *((1, "fwd"), (1, "rev"), (2, "fwd"), (2, "rev"))
    ]
    with pytest.raises(InputError, match="layer 3; the network has 2"):
        run(world, "out", layer=3)


@pytest.mark.parametrize("piece", ["0-of-2", "3-of-2", "half", "1/2"])
def test_impossible_pieces_are_refused(world, piece):
    with pytest.raises(InputError, match="wanted such as 2-of-8"):
        run(world, "out", piece=piece)


def test_more_pieces_than_contigs_leave_some_empty(world, read):
    run(world, "out", piece="9-of-9")
    assert read == []


def test_a_full_disk_is_noticed_before_the_start(world, monkeypatch, read, caplog):
    with caplog.at_level("INFO", "gatescope"):
        run(world, "out", contigs="three")
    assert f"tracing {LENGTHS['three']:,} bp takes" in caplog.text and "MB of disk" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "gatescope"):
        run(world, "units", contigs="held-out", tracks="none")
    of_units = sum(path.stat().st_size - 128 for path in (world / "units/units").iterdir()) / 1e6
    assert f"takes {of_units:.0f} MB of disk" in caplog.text and of_units > 0.1
    usage = module.shutil.disk_usage(world)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    read.clear()
    with pytest.raises(InputError, match="GB are free"):
        run(world, "full")
    assert read == []


def test_units_by_name_get_tracks_of_their_own(world):
    """The same as if the boundaries stage had chosen them; one direction alone will do."""
    chosen = run(world, "chosen", units=world / "units.tsv")
    named = run(world, "named", unit=["fwd:2", "rev:0"])
    for name, content in chosen.items():
        direction = name.split(".")[1]
        again = named[name.replace("boundary_unit", {"fwd": "unit2", "rev": "unit0"}[direction])]
        assert (again == content) == name.endswith(".bw")  # sidecars say who chose the unit
    alone = run(world, "alone", unit=["rev:0"])
    assert {n: c for n, c in named.items() if ".rev." in n} == alone
    with pytest.raises(InputError, match="one of them"):
        run(world, "both", unit=["rev:0"], units=world / "units.tsv")


def test_slices_carry_the_certificate(world):
    run(world, "out", slices=world / "regions.bed")
    with np.load(world / "out/slices/one.290-350.npz") as found:
        certificate = json.loads(str(found["certificate"]))
    assert 0 < certificate["max_error"] <= certificate["tolerance"] == 5e-6
