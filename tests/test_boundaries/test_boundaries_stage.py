"""The stage from folders to folder: choice of units, tables, verdict, figure, bytes, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from gate_worlds import (
    HIGH,
    LENGTHS,
    LITTLE,
    LOW,
    base_at,
    draw_codes,
    make_gc_follower,
    make_world,
    noise,
    plant,
)
from scipy.special import expit

from gatescope.boundaries.boundaries import boundaries
from gatescope.boundaries.measure import read_settings
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.trace.replay import trace_windows

SETTINGS = {
    "profile_bp": 120,
    "flank_bp": 100,
    "dip_bp": 25,
    "shifts": 99,
    "bootstraps": 200,
    "min_boundaries": 10,
    "min_blocks": 3,
}


def run(world, **changes):
    arguments = {**world.paths(), "settings": SETTINGS, "seed": 1, **changes}
    boundaries(**arguments)
    folder = arguments["output"]
    profile = pd.read_csv(folder / "profile.tsv", sep="\t", dtype={"unit": str})
    units = pd.read_csv(folder / "units.tsv", sep="\t")
    return profile, units, json.loads((folder / "verdict.json").read_text())


def selected(units):
    return dict(units[units["selected"]].groupby("direction")["unit"].first())


def test_planted_resets_are_found_chosen_and_supported(tmp_path):
    world = make_world(tmp_path)
    profile, units, content = run(world)
    assert selected(units) == {"fwd": 1, "rev": 2}
    assert (content["hypothesis"], content["mode"], content["provisional"]) == ("supported", "reset", True)
    assert content["shape"] == {name: SETTINGS[name] for name in ("profile_bp", "flank_bp", "dip_bp")}
    # one base of f = 0.047 among bases of f = 0.982
    r = np.log2(expit(LOW)) - np.log2(expit(HIGH))
    for direction, offset in (("fwd", 4), ("rev", 6)):
        evidence = content["directions"][direction]
        assert (evidence["offset"], evidence["lowest_offset"]) == (offset, offset)
        assert evidence["drop_test"] == pytest.approx(0.98 - 0.05, abs=0.02)
        assert evidence["r"] == pytest.approx(r, abs=0.1)
        assert evidence["r_low_95"] <= evidence["r_low"] < evidence["r"] < evidence["r_high"]
        assert evidence["kept_near"] / evidence["kept_flank"] == pytest.approx(2 ** evidence["r"], rel=1e-4)
        assert evidence["half_life_bp"] == pytest.approx(np.log(0.5) / np.log(expit(HIGH)), rel=0.1)
        assert (evidence["p_fwer"], evidence["n_tests"]) == (0.01, 12)
        assert evidence["cohens_d"] < -1 and evidence["dip_test"] < 0
        assert next(twin["twin"] for twin in evidence["twins"]) == "untrained"
        assert all(abs(twin["r"]) < 0.2 and twin["high"] < -4 for twin in evidence["twins"])
        assert abs(evidence["pseudo"]["r"]) < 0.2 and evidence["pseudo"]["high"] < -4
        # moved by 25 bp to one side the fall leaves the near window, to the other side it stays
        jitter = {each["distance_bp"]: each["r"] for each in evidence["jitter"]}
        assert r / 2 - 1 < jitter[25] < r / 2 + 1 and abs(jitter[500]) < 0.7
    # the regions of the test contigs, less those too near an end or too close to others
    n_test = world.regions["chrom"].isin(["test1", "test2"]).sum()
    n_used = content["directions"]["fwd"]["n_boundaries"]
    assert 0.9 * n_test <= n_used <= n_test
    mean = profile[(profile["unit"] == "mean")].groupby(["direction", "crossing", "offset"])["forget"].first()
    each = profile[profile["unit"] != "mean"].groupby(["direction", "crossing", "offset"])["forget"].mean()
    np.testing.assert_allclose(mean, each, rtol=1e-5)


def test_where_nothing_is_held_no_reset_is_claimed(tmp_path):
    world = make_world(tmp_path)
    world.writes = {contig: np.zeros(array.shape) for contig, array in world.units.items()}
    _, _, content = run(world.write())
    assert (content["hypothesis"], content["mode"]) == ("inconclusive", "none")
    for evidence in content["directions"].values():
        assert evidence["reason"] == "as deep as a reset, but the forget share is not known"


def test_tables_hold_every_unit_direction_crossing_and_offset(tmp_path):
    profile, units, _ = run(make_world(tmp_path))
    assert len(profile) == 4 * (3 + 1) * 240
    assert list(profile.columns) == [
        "direction", "crossing", "unit", "offset", "sees_to", "forget", "forget_low", "forget_high", "logit",
        "half_life", "write", "null_low", "null_high", "twin",
    ]  # fmt: skip
    assert (profile["sees_to"] == profile["offset"] + 7).all()
    assert len(units) == 4 * 3
    assert not units.isna().any().any()
    assert (units["p_fwer"] >= units["p"] - 1e-9).all()
    fell = units[units["selected"] & (units["crossing"] == "entry")]
    assert (fell["dip_test"] < 0).all() and (fell["cohens_d"] < 0).all()
    assert (fell[["p", "p_fwer"]] == 0.01).all(axis=None) and (fell["q"] <= 0.06).all()
    assert (
        (fell["forget_min_low"] <= fell["forget_min"]) & (fell["forget_min"] <= fell["forget_min_high"])
    ).all()
    assert (units["null_r_low"] < units["null_r_high"]).all()
    inside = profile[(profile["null_low"] <= profile["forget"]) & (profile["forget"] <= profile["null_high"])]
    assert 0.85 < len(inside) / len(profile) < 1


def test_units_are_chosen_without_a_look_at_the_test_contigs(tmp_path):
    world = make_world(tmp_path)
    _, before, _ = run(world)
    rng = np.random.default_rng(11)
    for contig in ("test1", "test2"):
        world.units[contig] = HIGH + noise(world.units[contig].shape, rng)
    known = world.regions[world.regions["chrom"].isin(["test1", "test2"])]
    plant(world.units, known, "fwd", "entry", 0, 2)  # the test contigs now favour another unit
    _, after, content = run(world.write())
    assert selected(after) == selected(before)
    columns = ["direction", "crossing", "unit", "r_valid"]
    pd.testing.assert_frame_equal(after[columns], before[columns])
    assert (content["hypothesis"], content["mode"]) == ("not supported", "none")


def test_what_a_twin_does_as_well_stays_open(tmp_path):
    world = make_world(tmp_path)
    world.shuffled = world.units
    world.write()
    _, _, content = run(world, shuffled=tmp_path / "shuffled", settings={**SETTINGS, "controls": "full"})
    assert (content["hypothesis"], content["provisional"]) == ("inconclusive", False)
    assert content["directions"]["fwd"]["reason"] == "the shuffled network is not clearly less"
    assert {twin["twin"] for twin in content["directions"]["fwd"]["twins"]} == {"untrained", "shuffled"}


def test_full_controls_need_the_trained_twin(tmp_path):
    with pytest.raises(InputError, match=r"--shuffled.*sequence\.f1\.1\.shuffled"):
        run(make_world(tmp_path), settings={**SETTINGS, "controls": "full"})


def test_what_shuffled_flanks_show_of_the_chosen_units_is_repeated(tmp_path):
    table = pd.DataFrame(
        [
            (direction, crossing, unit, 10 * unit + (crossing == "exit"), np.nan)
            for direction in ("fwd", "rev")
            for crossing in ("entry", "exit")
            for unit in range(3)
        ],
        columns=["direction", "crossing", "unit", "R", "R_shuffled"],
    )
    table.to_csv(tmp_path / "flanks.tsv", sep="\t", index=False)
    _, _, content = run(make_world(tmp_path), shuffled_flanks=tmp_path / "flanks.tsv")
    assert content["controls"] == {
        "scope": "quick",
        "shuffled_flanks": {
            "fwd": {"direction": "fwd", "unit": 1, "R": 10, "R_shuffled": None},
            "rev": {"direction": "rev", "unit": 2, "R": 20, "R_shuffled": None},
        },
    }
    table.drop(columns="R").to_csv(tmp_path / "flanks.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="no column R; run gatescope reshuffle again"):
        run(make_world(tmp_path), shuffled_flanks=tmp_path / "flanks.tsv")


def test_a_memory_that_is_written_over_is_no_reset_by_the_gate(tmp_path):
    """The gates stay open; at every entry so much of the other sign is written that the memory changes its sign."""
    world = make_world(tmp_path)
    rng = np.random.default_rng(3)
    world.units = {contig: HIGH + noise(array.shape, rng) for contig, array in world.units.items()}
    world.writes = {contig: np.full(array.shape, LITTLE) for contig, array in world.units.items()}
    known = world.regions[world.regions["chrom"] != "train1"]
    for direction in ("fwd", "rev"):
        for unit in range(3):
            plant(world.writes, known, direction, "entry", unit, 3, logit=-2.5)
    _, _, content = run(world.write())
    assert (content["hypothesis"], content["mode"]) == ("not supported", "overwrite")
    modes = pd.read_csv(tmp_path / "boundaries" / "modes.tsv", sep="\t")
    assert (modes.query("crossing == 'entry'")["overwrite"] > 0.8).all()
    assert (modes.query("crossing == 'entry'")["forget_share"] < 0.5).all()


def test_the_chosen_units_find_the_boundaries_they_fall_at(tmp_path):
    world = make_world(tmp_path)
    run(world)
    found = pd.read_csv(tmp_path / "boundaries" / "detector.tsv", sep="\t")
    entries = found.query("crossing == 'entry'").set_index(["direction", "detector"])
    for direction, unit in (("fwd", 1), ("rev", 2)):
        assert entries.loc[(direction, "unit"), "unit"] == unit
        assert entries.loc[(direction, "unit"), "auroc"] > 0.95
        assert abs(entries.loc[(direction, "twin"), "auroc"] - 0.5) < 0.15


def test_other_definitions_of_a_boundary_are_measured_beside_the_called_one(tmp_path):
    world = make_world(tmp_path)
    peaks = world.regions.assign(name=".", score=0, strand=".", signal=1, p=1, q=7.0, summit=0)
    peaks.loc[peaks.index % 2 == 0, "q"] = 20.0
    columns = ["chrom", "start", "end", "name", "score", "strand", "signal", "p", "q", "summit"]
    peaks[columns].to_csv(tmp_path / "peaks.narrowPeak", sep="\t", header=False, index=False)
    _, _, content = run(world, peaks=tmp_path / "peaks.narrowPeak")
    found = pd.read_csv(tmp_path / "boundaries" / "definitions.tsv", sep="\t")
    found = found.set_index(["definition", "direction"])
    for direction in ("fwd", "rev"):
        evidence = content["directions"][direction]
        called = found.loc[("as called", direction)]
        assert (
            called.n_boundaries
            == evidence["n_boundaries"]
            == found.loc[("q <= 1e-5", direction)].n_boundaries
        )
        assert called.r == pytest.approx(evidence["r"], rel=1e-5)
        strict = found.loc[("q <= 1e-10", direction)]
        assert 0.4 < strict.n_boundaries / called.n_boundaries < 0.6
        assert strict.r_low < strict.r < strict.r_high < -3
        # the store of this world has no cuts: no region has more of them inside than outside
        assert found.loc[("half-rise of cut density", direction)].n_boundaries == 0


def test_a_gate_that_follows_gc_content_is_composition_only(tmp_path):
    _, units, content = run(make_gc_follower(tmp_path))
    assert selected(units) == {"fwd": 1, "rev": 2}
    assert (content["hypothesis"], content["mode"]) == ("not supported", "composition only")
    for evidence in content["directions"].values():
        assert evidence["r"] < -3.3 and evidence["p_fwer"] == 0.01
        pseudo = evidence["pseudo"]
        assert pseudo["gc_step"] == pytest.approx(pseudo["real_gc_step"], abs=0.02)
        assert abs(pseudo["real_gc_step"]) > 0.4


def test_masked_bases_are_no_boundaries_and_no_flanks(tmp_path):
    """The gates of masked bases are wild, and change nothing but the number of boundaries."""
    world = make_world(tmp_path)
    _, _, before = run(world)
    region = world.regions[world.regions["chrom"] == "test1"].iloc[5]
    masked = slice(region.start - 10, region.start + 40)
    world.states = {"test1": np.zeros(world.lengths["test1"], np.uint8)}
    world.states["test1"][masked] = 255
    world.units["test1"][:, :, masked] = -30
    _, _, content = run(world.write())
    for name in ("fwd", "rev"):
        one, two = (each["directions"][name] for each in (before, content))
        assert two["r"] == pytest.approx(one["r"], abs=0.05)
    assert content["directions"]["fwd"]["n_boundaries"] == before["directions"]["fwd"]["n_boundaries"] - 1


def untrained_gates(codes, seed):
    """Return the forget logits of a network that was never trained, {contig: (D, H, L)}."""
    network = AccessibilityNetwork(NetworkConfig(hidden_units=8), torch.Generator().manual_seed(seed)).eval()
    traces = {
        contig: trace_windows(network, torch.from_numpy(one_hot(each))[None])
        for contig, each in codes.items()
    }
    return {contig: traced.forget_logit[0].numpy() for contig, traced in traces.items()}


def test_an_untrained_net_is_never_supported(tmp_path):
    """Its gates follow the composition of the sequence: significant at boundaries, and next to nothing."""
    world = make_world(tmp_path, lengths=LENGTHS | {"test1": 60_000})
    held_out = {contig: world.lengths[contig] for contig in world.units}
    codes, p = draw_codes(held_out, world.regions, np.random.default_rng(0)), []
    for seed in range(2):
        world.units, world.twin = untrained_gates(codes, seed), untrained_gates(codes, seed + 100)
        _, _, content = run(world.write())
        assert content["hypothesis"] != "supported"
        p += [evidence["p_fwer"] for evidence in content["directions"].values()]
    assert min(p) <= 0.05


def test_a_fall_at_the_exit_is_no_entry(tmp_path):
    world = make_world(tmp_path)
    known = world.regions[world.regions["chrom"] != "train1"]
    for region in known.itertuples():  # undo the entries
        for direction, unit, offset in ((0, 1, 4), (1, 2, 6)):
            at = base_at(region, ("fwd", "rev")[direction], "entry", offset)
            if 0 <= at < world.lengths[region.chrom]:
                world.units[region.chrom][direction, unit, at] = HIGH
    plant(world.units, known, "fwd", "exit", 0, 5)
    _, units, content = run(world.write())
    assert content["hypothesis"] == "not supported"
    row = units.query("direction == 'fwd' and crossing == 'exit' and unit == 0").iloc[0]
    assert (row["drop_offset"], row["p_fwer"]) == (5, 0.01)
    assert row["drop_test"] > 0.8 and row["r"] < -4


def test_same_inputs_and_seed_give_the_same_bytes(tmp_path):
    world = make_world(tmp_path)
    for name in ("one", "two"):
        run(world, output=tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    matrices = [
        f"matrix.{direction}.{crossing}.gz" for direction in ("fwd", "rev") for crossing in ("entry", "exit")
    ]
    tables = ["definitions.tsv", "detector.tsv", "modes.tsv", "profile.tsv", "units.tsv"]
    assert files == sorted(["heatmap.png", *matrices, "profile.svg", *tables, "verdict.json"])
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_another_seed_moves_the_null_but_not_the_effect(tmp_path):
    world = make_world(tmp_path)
    _, one, _ = run(world, output=tmp_path / "one")
    _, two, _ = run(world, output=tmp_path / "two", seed=2)
    np.testing.assert_array_equal(one["r"], two["r"])
    assert (one["null_r_mean"] != two["null_r_mean"]).any()


def test_the_figure_says_what_it_shows(tmp_path):
    run(make_world(tmp_path))
    text = (tmp_path / "boundaries" / "profile.svg").read_text()
    for words in (
        "offset from boundary in reading direction (bp)",
        "accessible region",
        "untrained",
        "unit 1,",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dip": 25}, "unknown dip; known are"),
        ({"shifts": 0}, "at least 1"),
        ({"dip_bp": 300}, "0 < dip_bp < flank_bp"),
        ({"dip_bp": "x"}, "config: boundaries: dip_bp: 'x'; wanted a whole number"),
        ({"reset_below": None}, "config: boundaries: reset_below: None; wanted a number"),
        ({"controls": "some"}, "controls 'some'; wanted quick or full"),
        ({"shifts": 9.5}, "config: boundaries: shifts: 9.5; wanted a whole number"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InputError, match=words):
        read_settings(settings)


def test_traces_of_other_networks_are_refused(tmp_path):
    world = make_world(tmp_path)
    with pytest.raises(InputError, match="trace of weights cd"):
        run(world, trace=tmp_path / "twin")
    with pytest.raises(InputError, match=r"trace the untrained twin sequence\.f1\.1\.random"):
        run(world, twin=tmp_path / "trace")


def test_a_store_that_was_encoded_again_since_is_refused(tmp_path):
    world = make_world(tmp_path)
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    (tmp_path / "store" / "meta.json").write_text(json.dumps({**meta, "seed": 2}))
    with pytest.raises(InputError, match=r"model\.json: was trained on the encoded store"):
        run(world)
    assert not (tmp_path / "boundaries").exists()


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path):
    world = make_world(tmp_path)
    with pytest.raises(InputError, match=r"contigs .* lies 12000 bp inside"):
        run(world, settings={**SETTINGS, "profile_bp": 12_000})
    world.twin = {contig: array[:, :2] for contig, array in world.twin.items()}
    with pytest.raises(InputError, match="2 units, the run has 3"):
        run(world.write())
    world.twin = world.units
    world.write()
    path = tmp_path / "trace" / "units" / "test2.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"test2\.npy: not a readable array"):
        run(world)
    path.unlink()
    with pytest.raises(InputError, match=r"test2\.npy"):
        run(world)
    assert not (tmp_path / "boundaries").exists()
