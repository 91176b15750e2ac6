"""The stage: tracks read back as the replay, units on held-out contigs only, and nothing without a certificate."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.atac.bigwig import read_bigwig
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model
from gatescope.trace import kernel as kernel_module
from gatescope.trace import sample as sample_module
from gatescope.trace import stream as stream_module
from gatescope.trace import tracks as tracks_module
from gatescope.trace.certificate import ReplayError
from gatescope.trace.memory import (
    backward_horizon,
    forward_horizon,
    half_life,
    hidden_memory,
    write_magnitude,
)
from gatescope.trace.replay import trace_windows
from gatescope.trace.sample import read_sample
from gatescope.trace.trace import trace
from gatescope.trace.units import UnitStore
from tiny_store import LENGTHS, make_store

GATES = {"forget_gate": "forget_logit", "input_gate": "input_logit", "output_gate": "output_logit"}


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


def make_world(tmp_path, **options):
    store = make_store(tmp_path / "store")
    config = NetworkConfig(targets=("state",), stem_channels=5, stem_width_bp=7, hidden_units=3, **options)
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(2))
    meta = {
        "run": "small.f1.1",
        "store": store.content_hash,
        "fold": {"name": "f1", "test": ["four"], "valid": ["three"]},
        "training": {"device": "cpu"},
    }
    save_model(tmp_path / "model", config, network.state_dict(), network.state_dict(), meta)
    return tmp_path


def gates_of(world, contig):
    """Return per gate the values (D, H, L) of an independent pass in float64."""
    store = make_store(world / "again")
    network, _ = load_model(world / "model")
    x = torch.from_numpy(one_hot(np.asarray(store.codes(contig))))[None]
    traced = trace_windows(network.double(), x)
    gates = {gate: torch.sigmoid(getattr(traced, field))[0].numpy() for gate, field in GATES.items()}
    return {**gates, "hidden": traced.hidden[0].numpy()}


def test_mean_tracks_units_and_summary(world):
    trace(world / "model", world / "out", store=world / "store", decimals=5)
    for contig in LENGTHS:
        gates = gates_of(world, contig)
        for row, direction in enumerate(("fwd", "rev")):
            for gate in GATES:
                values = read_bigwig(world / f"out/{gate}.{direction}.mean.bw", contig)
                assert np.abs(values - gates[gate][row].mean(0)).max() < 1e-5
    sidecar = json.loads((world / "out/forget_gate.rev.mean.bw.json").read_text())
    assert (sidecar["direction"], sidecar["gaps"], sidecar["resolution_bp"]) == ("rev", "missing", 1)
    assert sidecar["certificate"]["max_error"] <= sidecar["certificate"]["tolerance"] == 5e-6
    names = [f"{contig}{kind}.npy" for contig in ("four", "three") for kind in (".change", "", ".writes")]
    assert sorted(p.name for p in (world / "out/units").iterdir()) == names
    logits = np.load(world / "out/units/four.npy")
    assert (logits.dtype, logits.shape) == (np.float32, (2, 3, 700))
    expected = gates_of(world, "four")["forget_gate"]
    assert np.abs(1 / (1 + np.exp(-logits.astype(float))) - expected).max() < 1e-5
    summary = json.loads((world / "out/summary.json").read_text())
    assert summary["contigs"] == LENGTHS
    assert summary["certificate"]["positions"] == sum(LENGTHS.values())


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "coupled", "strands": "tied", "layers": 2},
        {"stem": "dilated"},
        {"stem": "none", "cell": "coupled"},
    ],
)
def test_other_cells_and_stems_are_traced_alike(tmp_path, options):
    world = make_world(tmp_path, **options)
    layer = options.get("layers", 1)
    trace(world / "model", world / "out", store=world / "store", contigs="four", decimals=6, layer=layer)
    network, _ = load_model(world / "model")
    store = make_store(world / "again")
    x = torch.from_numpy(one_hot(np.asarray(store.codes("four"))))[None]
    traced = trace_windows(network.double(), x, layer=layer - 1)
    for row, direction in enumerate(("fwd", "rev")):
        wanted = torch.sigmoid(traced.forget_logit[0, row]).mean(0).numpy()
        found = read_bigwig(world / f"out/forget_gate.{direction}.mean.bw", "four")
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_units_can_be_read_back_base_by_base(world):
    """Writes and the change of the hidden states, and from gates and writes the cell states, in reading order."""
    trace(world / "model", world / "out", store=world / "store", contigs="held-out", tracks="none")
    store, (network, _) = make_store(world / "again"), load_model(world / "model")
    units = UnitStore(world / "out", LENGTHS)
    for contig in ("three", "four"):
        x = torch.from_numpy(one_hot(np.asarray(store.codes(contig))))[None]
        traced = trace_windows(network.double(), x)
        written = torch.sigmoid(traced.input_logit) * traced.candidate
        for direction, turn in enumerate((slice(None), slice(None, None, -1))):
            hidden = np.pad(traced.hidden[0, direction].numpy()[:, turn], ((0, 0), (1, 0)))
            moved = np.linalg.norm(np.diff(hidden), axis=0)[turn]
            assert np.abs(units.hidden_change(contig, direction) - moved).max() < 1e-5
            for unit in range(3):
                writes = units.writes(contig, direction, unit)
                assert np.abs(writes - written[0, direction, unit].numpy()).max() < 1e-5
                gates = 1 / (1 + np.exp(-units.logits(contig, direction, unit).astype(float)))
                cell, cells = 0.0, []
                for f, write in zip(gates[turn], writes[turn].astype(float), strict=True):
                    cell = f * cell + write
                    cells.append(cell)
                assert np.abs(traced.cell[0, direction, unit].numpy()[turn] - cells).max() < 1e-5


def test_a_sample_of_every_unit_is_kept_of_all_contigs(world, monkeypatch):
    """The same bases whichever contigs are traced, none of them unknown; what stands there is what the arrays hold."""
    monkeypatch.setattr(sample_module, "_BASES", 1000)
    trace(world / "model", world / "all", store=world / "store", unknown_bases="freeze")
    trace(world / "model", world / "some", store=world / "store", contigs="held-out", tracks="none")
    whole, some = (read_sample(world / name / "unit_sample.npz") for name in ("all", "some"))
    assert whole.contigs.tolist() == list(LENGTHS) and some.contigs.tolist() == ["three", "four"]
    assert whole.model_sha256 == load_model(world / "model")[1]["sha256"]
    spacing = -(-sum(LENGTHS.values()) // 1000)
    for sample, out in ((whole, "all"), (some, "some")):
        units = UnitStore(world / out, LENGTHS)
        for row, contig in enumerate(sample.contigs):
            mine = sample.contig == row
            at = sample.position[mine]
            places = range(spacing // 2, LENGTHS[contig], spacing)
            assert at.tolist() == [place for place in places if not 300 <= place < 320]
            for direction in range(2 if contig in ("three", "four") else 0):
                for unit in range(3):
                    one = units.logits(contig, direction, unit)[at]
                    assert np.array_equal(sample.forget_logit[direction, unit, mine], one)
                    one = units.writes(contig, direction, unit)[at]
                    assert np.array_equal(sample.write[direction, unit, mine], one)


def test_census_counts_every_base(world):
    trace(world / "model", world / "out", store=world / "store", contigs="held-out", tracks="none")
    assert not list((world / "out").glob("*.bw"))
    table = pd.read_csv(world / "out/units.tsv", sep="\t").set_index(["direction", "unit"])
    forget = np.concatenate([gates_of(world, c)["forget_gate"] for c in ("three", "four")], axis=2)
    shown = np.concatenate([gates_of(world, c)["hidden"] for c in ("three", "four")], axis=2).std(2)
    network, _ = load_model(world / "model")
    for row, direction in enumerate(("fwd", "rev")):
        bias = network.recurrent[0].get_parameter(f"bias_ih_l0{'_reverse' if row else ''}")[3:6].tolist()
        for unit in range(3):
            line, values = table.loc[direction, unit], forget[row, unit]
            assert line["mean"] == pytest.approx(values.mean(), rel=1e-4)
            assert line["share_above_0.9"] == pytest.approx((values > 0.9).mean(), abs=1e-3)
            assert line["hidden_sd"] == pytest.approx(shown[row, unit], rel=0.3)  # of one base in 25
            half_life = math.log(0.5) / math.log(1 / (1 + math.exp(-bias[unit])))
            assert line["bias_half_life_bp"] == pytest.approx(half_life, rel=1e-4)


def test_named_units_get_tracks_of_their_own(world):
    table = pd.DataFrame(
        [
            ("fwd", "entry", 2, True),
            ("fwd", "exit", 2, True),
            ("rev", "entry", 0, True),
            ("rev", "entry", 1, False),
        ],
        columns=["direction", "crossing", "unit", "selected"],
    )
    table.to_csv(world / "units.tsv", sep="\t", index=False)
    trace(world / "model", world / "out", store=world / "store", units=world / "units.tsv", decimals=5)
    gates = gates_of(world, "one")
    for row, (direction, unit) in enumerate((("fwd", 2), ("rev", 0))):
        values = read_bigwig(world / f"out/output_gate.{direction}.boundary_unit.bw", "one")
        assert np.abs(values - gates["output_gate"][row, unit]).max() < 1e-5
        sidecar = json.loads((world / f"out/output_gate.{direction}.boundary_unit.bw.json").read_text())
        assert sidecar["hidden_unit"] == unit
    assert not (world / "out/units").exists()


@pytest.mark.parametrize("write_bp", [97, 2**20])
def test_named_units_show_their_memory(world, monkeypatch, write_bp):
    """Half-lives, horizons, writes and hidden memory, each from the arrays of an independent pass."""
    monkeypatch.setattr(tracks_module, "_WRITE_BP", write_bp)
    rows = [("fwd", "entry", 2, True), ("rev", "entry", 0, True)]
    table = pd.DataFrame(rows, columns=["direction", "crossing", "unit", "selected"])
    table.to_csv(world / "units.tsv", sep="\t", index=False)
    trace(
        world / "model",
        world / "out",
        store=world / "store",
        units=world / "units.tsv",
        dtype="float64",
        decimals=6,
    )
    store = make_store(world / "again")
    network, _ = load_model(world / "model")
    for contig in ("one", "four"):
        x = torch.from_numpy(one_hot(np.asarray(store.codes(contig))))[None]
        traced = trace_windows(network.double(), x)
        for row, (direction, unit) in enumerate((("fwd", 2), ("rev", 0))):
            i, f, g, c, h = (
                getattr(traced, name)[0, row, unit].detach().numpy()
                for name in ("input_logit", "forget_logit", "candidate", "cell", "hidden")
            )
            f = f.astype(np.float32)  # as it rests on disk
            expected = {
                "half_life": half_life(f).bp,
                "backward_horizon": backward_horizon(f, direction=direction).bp,
                "forward_horizon": forward_horizon(f, direction=direction).bp,
                "write_magnitude": write_magnitude(i, g),
                "hidden_memory": hidden_memory(c, h),
            }
            for name, values in expected.items():
                path = world / f"out/{name}.{direction}.boundary_unit.bw"
                found = read_bigwig(path, contig)
                assert np.array_equal(np.isnan(found), np.isnan(values)), name
                within = 0.051 if "horizon" in name or name == "half_life" else 1e-6
                assert (np.abs(found - values)[~np.isnan(values)] < within).all(), name
                assert json.loads((path.parent / f"{path.name}.json").read_text())["unit"]


def _swap_directions(monkeypatch):
    right = stream_module.cells_of
    monkeypatch.setattr(stream_module, "cells_of", lambda lstm: right(lstm)[::-1])


def _shift_hidden(monkeypatch):
    right = kernel_module.Tracer.trace

    def off_by_one(self, inputs, state, **options):
        steps, after = right(self, inputs, state, **options)
        return steps._replace(hidden=steps.hidden.roll(1, dims=0)), after

    monkeypatch.setattr(kernel_module.Tracer, "trace", off_by_one)


@pytest.mark.parametrize("mutation", [_swap_directions, _shift_hidden])
def test_without_a_certificate_nothing_is_written(world, monkeypatch, mutation):
    mutation(monkeypatch)
    with pytest.raises(ReplayError):
        trace(world / "model", world / "out", store=world / "store")
    assert [p for p in (world / "out").rglob("*") if p.is_file()] == []


def test_data_of_another_encoding_are_refused(world):
    make_store(world / "other", seed=7)
    meta = json.loads((world / "other/meta.json").read_text())
    meta["seed"] = 99
    (world / "other/meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="train again"):
        trace(world / "model", world / "out", store=world / "other")


def test_missing_units_are_named(world):
    with pytest.raises(InputError, match="run gatescope boundaries first"):
        trace(world / "model", world / "out", store=world / "store", units=world / "units.tsv")


def write_fasta(world, contigs):
    """Write contigs of the store as FASTA."""
    store = make_store(world / "again")
    path = world / "some.fa"
    letters = np.array(list("ACGTN"))
    path.write_text("".join(f">{c}\n{''.join(letters[np.asarray(store.codes(c))])}\n" for c in contigs))
    return path


def test_any_fasta_can_be_traced(world):
    """The same bases give the same tracks, whether they come from a store or from a FASTA."""
    fasta = write_fasta(world, ["one", "four"])
    trace(world / "model", world / "out", store=world / "store", decimals=5)
    trace(world / "model", world / "from_fasta", fasta=fasta, decimals=5)
    for contig in ("one", "four"):
        names = [f"{gate}.{direction}.mean.bw" for gate in GATES for direction in ("fwd", "rev")]
        for name in names:
            straight, again = (read_bigwig(world / out / name, contig) for out in ("out", "from_fasta"))
            assert np.abs(straight - again).max() <= 1e-5
    summary = json.loads((world / "from_fasta/summary.json").read_text())
    assert list(summary["contigs"]) == ["one", "four"] and len(summary["fasta_sha256"]) == 64
    assert not (world / "from_fasta/units").exists()
    straight, again = (read_sample(world / out / "unit_sample.npz") for out in ("out", "from_fasta"))
    assert again.contigs.tolist() == ["one", "four"] and again.forget_logit.shape[:2] == (2, 3)
    assert straight.position.size == sum(LENGTHS.values()) - 4 * 20  # so small a genome: every known base


def test_a_fasta_is_read_once_per_contig(world, monkeypatch):
    right, read = Genome.codes, []

    def codes(self, chrom, *part):
        read.extend([] if part else [chrom])
        return right(self, chrom, *part)

    monkeypatch.setattr(Genome, "codes", codes)
    trace(world / "model", world / "out", fasta=write_fasta(world, ["one", "four"]))
    assert read == ["one", "four"]


def test_contigs_can_be_named(world):
    trace(world / "model", world / "out", fasta=write_fasta(world, ["one", "four"]), contigs="four")
    assert list(json.loads((world / "out/summary.json").read_text())["contigs"]) == ["four"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "wanted an encoded store or a FASTA"),
        ({"store": "store", "fasta": "some.fa"}, "wanted an encoded store or a FASTA"),
        ({"fasta": "some.fa", "contigs": "chrOne"}, "no contig chrOne in what is traced"),
        ({"fasta": "some.fa", "contigs": "held-out"}, "a FASTA has no held-out contigs"),
        ({"store": "store", "unknown_bases": "hold"}, "wanted learned, freeze or decay"),
    ],
)
def test_what_cannot_be_traced_is_refused(world, options, message):
    write_fasta(world, ["one"])
    paths = {name: world / value for name, value in options.items() if name in ("store", "fasta")}
    with pytest.raises(InputError, match=message):
        trace(world / "model", world / "out", **{**options, **paths})
    assert not (world / "out").exists()


def test_a_network_that_reads_tracks_cannot_read_a_fasta(world):
    config = NetworkConfig(inputs=("sequence", "cuts"), targets=("state",), stem_channels=5, hidden_units=3)
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(2))
    meta = json.loads((world / "model/model.json").read_text())
    kept = {key: meta[key] for key in ("run", "store", "fold", "training")}
    save_model(world / "model", config, network.state_dict(), network.state_dict(), kept)
    with pytest.raises(InputError, match="a FASTA has no tracks"):
        trace(world / "model", world / "out", fasta=write_fasta(world, ["one"]))


@pytest.mark.parametrize("policy", ["freeze", "decay(100)"])
def test_tracks_show_what_the_policy_did_at_unknown_bases(world, policy):
    trace(world / "model", world / "out", store=world / "store", unknown_bases=policy, decimals=6)
    kept = 1.0 if policy == "freeze" else 2 ** (-1 / 100)
    for direction in ("fwd", "rev"):
        forget, written, output = (
            read_bigwig(world / f"out/{gate}.{direction}.mean.bw", "one")[300:320] for gate in GATES
        )
        assert forget == pytest.approx(np.full(20, kept), abs=1e-5)
        assert (written == 0).all() and np.isnan(output).all()
    logits = np.load(world / "out/units/four.npy")[:, :, 300:320]
    assert 1 / (1 + np.exp(-logits.astype(float))) == pytest.approx(np.full((2, 3, 20), kept), abs=1e-5)
    assert (np.load(world / "out/units/four.writes.npy")[:, :, 300:320] == 0).all()
    assert (np.load(world / "out/units/four.change.npy")[:, 300:320] == 0).all()
    summary = json.loads((world / "out/summary.json").read_text())
    assert summary["unknown_bases"] == policy
    assert summary["certificate"]["model_error"] < 1e-5


@pytest.mark.parametrize("policy", ["learned", "freeze"])
def test_slices_hold_every_gate_of_every_unit(world, policy):
    (world / "regions.bed").write_text("one\t290\t350\none\t5990\t6000\nfour\t0\t1\n")
    trace(
        world / "model",
        world / "out",
        store=world / "store",
        slices=world / "regions.bed",
        unknown_bases=policy,
        dtype="float64",
    )
    names = sorted(path.name for path in (world / "out/slices").iterdir())
    assert names == ["four.0-1.npz", "one.290-350.npz", "one.5990-6000.npz"]
    found = np.load(world / "out/slices/one.290-350.npz")
    assert (str(found["contig"]), int(found["start"]), int(found["end"])) == ("one", 290, 350)
    unread = slice(10, 30)  # N at 300-320
    for name in ("input", "forget", "candidate", "output", "forget_logit", "cell", "hidden"):
        assert found[name].shape == (2, 3, 60)
        assert np.isnan(found[name][:, :, unread]).all() == (policy == "freeze")
        assert not np.isnan(np.delete(found[name], unread, axis=2)).any()
    if policy == "learned":
        store = make_store(world / "again")
        network, _ = load_model(world / "model")
        x = torch.from_numpy(one_hot(np.asarray(store.codes("one"))))[None]
        traced = trace_windows(network.double(), x)
        for name in ("forget_logit", "candidate", "cell", "hidden"):
            expected = getattr(traced, name)[0, :, :, 290:350].detach().numpy()
            assert np.abs(found[name] - expected).max() <= 1e-10, name
        assert found["forget"] == pytest.approx(1 / (1 + np.exp(-found["forget_logit"])), abs=1e-12)


def test_a_long_run_of_unknown_bases_decays_without_vanishing(world):
    """Nothing is left after 1,200 half-lives, not in float64 either; each base of the run kept what the policy says."""
    (world / "gap.fa").write_text(">c\nACGTTGCA" + 600 * "N" + "ACGGTCAA\n")
    options = {"fasta": world / "gap.fa", "unknown_bases": "decay(0.5)", "decimals": 6}
    trace(world / "model", world / "mean", **options)
    trace(world / "model", world / "unit", **options, unit=["fwd:0"])
    for name in ("mean/forget_gate.fwd.mean.bw", "unit/forget_gate.fwd.unit0.bw"):
        assert read_bigwig(world / name, "c")[8:608] == pytest.approx(np.full(600, 0.25), abs=1e-6)
    half_life = read_bigwig(world / "unit/half_life.fwd.unit0.bw", "c")[8:608]
    assert half_life == pytest.approx(np.full(600, 0.5), abs=0.051)


def test_contigs_without_a_known_base_are_refused(world):
    (world / "n.fa").write_text(">c\n" + 50 * "N" + "\n")
    with pytest.raises(InputError, match="no known base was read"):
        trace(world / "model", world / "out", fasta=world / "n.fa", unknown_bases="freeze")
    assert not list((world / "out").glob("*.bw"))


@pytest.mark.parametrize("policy", ["learned", "freeze"])
@pytest.mark.parametrize("layers", [1, 2])
def test_swapped_directions_are_noticed_behind_unknown_bases(world, monkeypatch, policy, layers):
    """The certificate compares the first known bases at either end, of every layer, with the network's own."""
    config = NetworkConfig(
        targets=("state",), stem_channels=5, stem_width_bp=7, hidden_units=3, layers=layers
    )
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(2))
    meta = json.loads((world / "model/model.json").read_text())
    kept = {key: meta[key] for key in ("run", "store", "fold", "training")}
    save_model(world / "model", config, network.state_dict(), network.state_dict(), kept)
    draw = np.random.default_rng(0)
    letters = "".join(draw.choice(list("ACGT"), 6000))
    (world / "ends.fa").write_text(f">c\n{40 * 'N'}{letters}{30 * 'N'}\n")
    options = {"fasta": world / "ends.fa", "unknown_bases": policy, "layer": layers}
    trace(world / "model", world / "right", **options)
    summary = json.loads((world / "right/summary.json").read_text())
    assert 0 < summary["certificate"]["model_error"] < 1e-5
    _swap_directions(monkeypatch)
    with pytest.raises(ReplayError):
        trace(world / "model", world / "wrong", **options)


def test_weights_that_are_not_numbers_fail_closed(world):
    network, meta = load_model(world / "model")
    with torch.no_grad():
        network.recurrent[0].get_parameter("weight_hh_l0")[0, 0] = torch.nan
    kept = {key: meta[key] for key in ("run", "store", "fold", "training")}
    weights = network.state_dict()
    save_model(world / "model", network.config, weights, weights, kept)
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 30_000))
    (world / "long.fa").write_text(f">c\n{letters}\n")
    with pytest.raises(ReplayError):
        trace(world / "model", world / "out", fasta=world / "long.fa")
