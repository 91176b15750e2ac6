"""Gate tracks alone, from bigWigs to a verdict; the oracle is the stage on the arrays behind the tracks."""

import json

import numpy as np
import pandas as pd
import pytest
from gate_worlds import HIGH, LENGTHS, base_at, make_world, noise
from scipy.special import expit
from test_boundaries_stage import SETTINGS, run

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.boundaries.gate_tracks import TrackUnits, open_tracks
from gatescope.boundaries.track_boundaries import track_boundaries
from gatescope.errors import InputError

HELD_OUT = {contig: length for contig, length in LENGTHS.items() if contig != "train1"}
FEW = SETTINGS | {"shifts": 59, "bootstraps": 50}


def write_track(folder, name, values, direction, unit=None, decimals=3, aggregation="none", **details):
    """Write {contig: f} as `gatescope trace` does."""
    path = folder / name
    lengths = {contig: len(each) for contig, each in values.items()}
    with BigWigWriter(path, lengths, decimals) as writer:
        for contig, each in values.items():
            writer.add(contig, 0, each)
    info = TrackInfo(
        track="forget_gate",
        unit="gate value 0-1",
        range=(0.0, 1.0),
        gaps="missing",
        description="forget gate",
        direction=direction,
        hidden_unit=unit,
        aggregation=aggregation,
        decimals=decimals,
        model_sha256="ab" * 32,
        details={"run": "sequence.f1.1", "lookahead_bp": 7, "layer": 1} | details,
    )
    write_sidecar(path, info)
    return str(path)


def tracks_of(world, which, decimals=3):
    """Write tracks of (direction, unit) of a world."""
    return [
        write_track(
            world.folder,
            f"{'fwd' if d == 0 else 'rev'}.unit{unit}.bw",
            {contig: expit(array[d, unit]) for contig, array in world.units.items()},
            ("fwd", "rev")[d],
            unit,
            decimals,
        )
        for d, unit in which
    ]


def run_tracks(world, forget, **changes):
    bed = world.folder / "regions.bed"
    known = world.regions[world.regions["chrom"] != "train1"]
    known.to_csv(bed, sep="\t", header=False, index=False)
    output = world.folder / "tracks"
    track_boundaries(forget, bed, output, **{"settings": FEW, "seed": 1, **changes})
    units = pd.read_csv(output / "units.tsv", sep="\t", dtype={"unit": str})
    profile = pd.read_csv(output / "profile.tsv", sep="\t", dtype={"unit": str})
    return units, profile, json.loads((output / "verdict.json").read_text())


def dipping(world, depth, unit=1):
    """Make one unit fall from 4 to `depth` (logit) over the 25 bases beyond every entry, reading forward."""
    for contig, array in world.units.items():
        array[:] = HIGH
        for region in world.regions[world.regions["chrom"] == contig].itertuples():
            at = base_at(region, "fwd", "entry", 0)
            array[0, unit, at : at + 25] = depth


def test_tracks_give_the_r_of_the_stage(tmp_path):
    world = make_world(tmp_path)
    _, expected, _ = run(world, settings=FEW)
    expected["unit"] = expected["unit"].astype(str)
    forward, both = ([(d, unit) for d in range(n) for unit in range(3)] for n in (1, 2))
    for which, decimals, tolerance in ((forward, 6, 1e-4), (both, 3, 0.08)):
        units, profile, content = run_tracks(
            world, tracks_of(world, which, decimals), valid_contigs=["valid1"]
        )
        keys = ["direction", "crossing", "unit"]
        merged = units.merge(expected, on=keys, suffixes=("", "_stage"), validate="1:1")
        assert len(merged) == len(units) == 2 * len(which)
        for column in ("r", "r_valid", "half_life_bp", "n_boundaries", "n_boundaries_valid", "n_blocks"):
            np.testing.assert_allclose(
                merged[column], merged[f"{column}_stage"], rtol=tolerance, atol=tolerance
            )
        # what rounding can have done is stated, and it was not more
        true = merged["r_stage"]
        assert ((merged["r_least"] <= true + 1e-5) & (true <= merged["r_most"] + 1e-5)).all()
        assert ((units["r_low"] < units["r_least"]) & (units["r_most"] < units["r_high"])).all()
    chosen = units[units["selected"] & (units["crossing"] == "entry")]
    assert dict(zip(chosen["direction"], chosen["unit"], strict=True)) == {"fwd": "1", "rev": "2"}
    assert (content["run"], content["lookahead_bp"], content["resolution"]) == ("sequence.f1.1", 7, 5e-4)
    assert set(profile["unit"]) == {"0", "1", "2", "mean"} and len(profile) == 4 * 4 * 240
    assert profile["twin"].isna().all()


def test_as_deep_as_a_reset_is_inconclusive_without_the_forget_share(tmp_path):
    world = make_world(tmp_path)
    units, profile, content = run_tracks(world, tracks_of(world, [(0, 1)]), test_contigs=["test1", "test2"])
    assert (content["hypothesis"], content["mode"], content["provisional"]) == ("inconclusive", "none", True)
    evidence = content["directions"]["fwd"]
    assert evidence["depth"] == "reset" and "forget share is not known" in evidence["reason"]
    assert (
        "untrained twin" in evidence["reason"]
        and "Provisional, from gate tracks alone" in content["sentence"]
    )
    assert (evidence["unit"], evidence["offset"], evidence["r_valid"]) == (1, 4, None)
    assert content["test_contigs"] == ["test1", "test2"] and content["valid_contigs"] == []
    assert set(content["directions"]) == set(units["direction"]) == {"fwd"}
    lowest = profile.query("unit == '1' and crossing == 'entry'").set_index("offset")["forget"]
    assert lowest.idxmin() == 4
    assert "unit 1, mean of" in (tmp_path / "tracks" / "profile.svg").read_text()


@pytest.mark.parametrize(
    ("depth", "found", "hypothesis", "reason"),
    [
        # 25 bases of f = 0.953 for 0.982: R = 25 log2(0.953 / 0.982) = -1.1
        (3.0, "dip", "inconclusive", "as deep as a dip and no reset, but not held against"),
        (HIGH, "none", "not supported", "no effect: R within +-0.5"),
    ],
)
def test_depth_of_a_unit(tmp_path, depth, found, hypothesis, reason):
    world = make_world(tmp_path)
    dipping(world, depth)
    _, _, content = run_tracks(world, tracks_of(world, [(0, 1)]))
    evidence = content["directions"]["fwd"]
    expected = 25 * np.log2(expit(depth) / expit(HIGH))
    assert evidence["r"] == pytest.approx(expected, abs=0.08)
    assert (content["hypothesis"], evidence["depth"]) == (hypothesis, found)
    assert evidence["reason"].startswith(reason) and reason in content["sentence"]


def test_rounding_that_could_hide_an_effect_keeps_none_from_being_said(tmp_path):
    world = make_world(tmp_path)
    dipping(world, HIGH)
    _, _, content = run_tracks(world, tracks_of(world, [(0, 1)], decimals=2))
    evidence = content["directions"]["fwd"]
    assert evidence["r"] == pytest.approx(0, abs=1e-6)
    assert evidence["r_low"] < -0.5 and 0.5 < evidence["r_high"]
    assert (content["hypothesis"], evidence["depth"]) == ("inconclusive", "none")


def test_units_chosen_where_they_are_reported_decide_nothing(tmp_path):
    world = make_world(tmp_path)
    dipping(world, HIGH)
    _, _, content = run_tracks(world, tracks_of(world, [(0, 0), (0, 1)]))
    assert content["hypothesis"] == "inconclusive"
    assert "chosen on the contigs that it is reported on" in content["sentence"]
    _, _, content = run_tracks(world, tracks_of(world, [(0, 0), (0, 1)]), valid_contigs=["valid1"])
    assert content["hypothesis"] == "not supported"


def test_a_mean_over_units_gives_a_profile_and_no_verdict(tmp_path):
    world = make_world(tmp_path)
    mean = {contig: expit(array[0]).mean(0) for contig, array in world.units.items()}
    name = "forget_gate.fwd.mean.bw"
    path = write_track(tmp_path, name, mean, "fwd", aggregation="mean over units")
    units, profile, content = run_tracks(world, [path])
    assert (content["hypothesis"], content["mode"]) == ("inconclusive", "none")
    assert content["directions"]["fwd"]["reason"].startswith("a mean over units can hide a fall of one unit")
    assert "can hide a fall of one unit" in content["sentence"]
    assert list(units["unit"]) == ["mean", "mean"] and list(units["track"]) == [name, name]
    assert set(profile["unit"]) == {"mean"} and len(profile) == 2 * 240
    # one unit of three falls from 0.98 to 0.05 at offset 4
    entry = profile.query("crossing == 'entry'").set_index("offset")["forget"]
    assert entry[4] == pytest.approx((2 * 0.98 + 0.05) / 3, abs=0.01)
    assert units["r"].iloc[0] < -0.3
    figure = (tmp_path / "tracks" / "profile.svg").read_text()
    assert "the mean over units, mean of" in figure and "mean over units, trained network" in figure
    assert "chosen unit" not in figure and "untrained" not in figure


def test_gaps_are_masked(tmp_path):
    world = make_world(tmp_path)
    values = {contig: expit(array[0, 1]) for contig, array in world.units.items()}
    plain = write_track(tmp_path, "plain.bw", values, "fwd", 1)
    whole, _, _ = run_tracks(world, [plain], test_contigs=["test1", "test2"])
    gaps = {contig: each.copy() for contig, each in values.items()}
    gaps["test1"][12_000:] = np.nan
    holed = write_track(tmp_path, "holed.bw", gaps, "fwd", 1)
    less, profile, _ = run_tracks(world, [holed], test_contigs=["test1", "test2"])
    # as if the regions there were not, but for those near the gap
    starts = world.regions.query("chrom == 'test1'")["start"]
    lost = ((starts > 12_000 - 120) & (starts <= LENGTHS["test1"] - 120)).sum()
    assert whole["n_boundaries"].iloc[0] - less["n_boundaries"].iloc[0] == pytest.approx(lost, abs=2)
    assert profile["forget"].notna().all() and less["r"].notna().all()
    world.regions = world.regions[(world.regions["chrom"] != "test1") | (world.regions["end"] < 11_880)]
    again, _, _ = run_tracks(world, [holed], test_contigs=["test1", "test2"])
    fewer, _, _ = run_tracks(world, [plain], test_contigs=["test1", "test2"])
    assert again["r"].tolist() == fewer["r"].tolist()


def test_same_tracks_give_the_same_bytes(tmp_path):
    world = make_world(tmp_path)
    forget = tracks_of(world, [(0, 1), (1, 2)])
    run_tracks(world, forget)
    first = {path.name: path.read_bytes() for path in (tmp_path / "tracks").iterdir()}
    run_tracks(world, forget, threads=2)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "tracks").iterdir()}
    assert set(first) == {"units.tsv", "profile.tsv", "profile.svg", "verdict.json"}


def test_gates_that_round_to_one_are_clipped(tmp_path):
    path = write_track(tmp_path, "a.bw", {"one": np.array([1.0, 0.5, 0.0, 0.9999])}, "rev", 4)
    units = TrackUnits(open_tracks([path]))
    gates = expit(units.logits("one", 1, 0).astype(float))
    np.testing.assert_allclose(gates, [0.9995, 0.5, 0.0005, 0.9995], rtol=1e-5)
    logits = units.logits("one", 1, 0)
    assert units.most_log_forget(logits)[0] == pytest.approx(0, abs=1e-6)
    # what rounds to 0 has no least but that of a float32
    assert units.least_log_forget(logits)[2] < -16
    np.testing.assert_allclose(np.exp(units.least_log_forget(logits)[1]), 0.4995)


def test_a_track_without_a_sidecar_is_told_its_direction(tmp_path):
    path = write_track(tmp_path, "a.bw", {"one": noise(50, np.random.default_rng(0), scale=0) + 0.5}, "fwd")
    (tmp_path / "a.bw.json").unlink()
    with pytest.raises(InputError, match="call it fwd="):
        open_tracks([path])
    (track,) = open_tracks([f"rev={path}"])["rev"]
    assert (track.unit, track.is_mean, track.resolution) == ("a.bw", False, 2.0**-25)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"unit": 3}, {"unit": 3}, "given twice"),
        ({"unit": 3}, {"aggregation": "mean over units"}, "beside single units"),
        ({"unit": 3}, {"unit": 4, "run": "sequence.f2.1"}, "different networks"),
        ({"unit": 3}, {"unit": 4, "decimals": 0}, "decimals: 0"),
    ],
)
def test_tracks_that_do_not_go_together(tmp_path, first, second, words):
    values = {"one": np.full(50, 0.5)}
    paths = [
        write_track(tmp_path, f"{n}.bw", values, "fwd", **each) for n, each in enumerate((first, second))
    ]
    with pytest.raises(InputError, match=words):
        open_tracks(paths)


def test_another_quantity_is_no_gate(tmp_path):
    path = write_track(tmp_path, "a.bw", {"one": np.full(50, 300.0)}, "fwd", 1)
    with pytest.raises(InputError, match="300 to 300 on one; gates lie within 0 to 1"):
        TrackUnits(open_tracks([path])).logits("one", 0, 0)
    sidecar = tmp_path / "a.bw.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"track": "half_life"}))
    with pytest.raises(InputError, match="track 'half_life', wanted forget_gate"):
        open_tracks([path])


def test_contigs_that_tracks_lack(tmp_path):
    world = make_world(tmp_path)
    flat = {contig: np.full(length, 0.5) for contig, length in HELD_OUT.items()}
    whole = write_track(tmp_path, "whole.bw", flat, "fwd", 1)
    del flat["test2"]
    part = write_track(tmp_path, "part.bw", flat, "rev", 1)
    with pytest.raises(InputError, match="test2"):
        run_tracks(world, [part])
    with pytest.raises(InputError, match=r"part\.bw: no contig 'test2'"):
        run_tracks(world, [whole, part])
    with pytest.raises(InputError, match="--valid-contigs: no contig chrX"):
        run_tracks(world, [whole], valid_contigs=["chrX"])
    with pytest.raises(InputError, match="--valid-contigs: test1 also among --test-contigs"):
        run_tracks(world, [whole], valid_contigs=["test1"], test_contigs=["test1"])
    assert not (tmp_path / "tracks").exists()
