"""Would a wrong export be noticed? Gates drawn by hand go through the sinks into files, and are read back."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from gatescope.atac.bigwig import BigWigWriter, read_bigwig
from gatescope.genome.contigs import contig_file_stem
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.trace import sinks, tracks
from gatescope.trace import trace as stage
from gatescope.trace.census import Census, GateCensus
from gatescope.trace.certificate import Certificate
from gatescope.trace.memory import (
    backward_horizon,
    forward_horizon,
    half_life,
    hidden_memory,
    write_magnitude,
)
from gatescope.trace.reading import Reading
from gatescope.trace.replay import Steps
from gatescope.trace.sample import join_parts, read_sample
from gatescope.trace.sink import Piece
from gatescope.trace.sinks import HiddenChange, SampledUnits, Slices, UnitLogits, UnitWrites
from gatescope.trace.tracks import GATES, MEMORY, ContigTracks, write_tracks
from gatescope.trace.units import DIRECTIONS
from mutants import failing, patch, together, value
from tiny_store import make_store

LENGTH, SEGMENT_BP, CALL_BP, HIDDEN = 1220, 300, 100, 4
SKIPPED = np.array([[500, 520]])
HELD = 0.5  # of the state, after the bases that were not read
UNITS = {"fwd": 2, "rev": 1}
REGION = (290, 510)
RAW = ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden")


@cache
def drawn():
    """Return what a recurrence might do, each (D, H, L) in genomic order; it need not be one."""
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=(2, HIDDEN, LENGTH)) for name in RAW}
    values["forget_logit"] += 2
    values["candidate"] = np.tanh(values["candidate"])
    values["hidden"] = 0.3 * np.tanh(values["cell"])
    for gate in ("input", "forget", "output"):
        values[gate] = 1 / (1 + np.exp(-values[f"{gate}_logit"]))
    return values


def pieces(direction, segments, wrong=()):
    """Yield segments side by side in calls, as a stream sends them."""
    reading = Reading(LENGTH, direction, SKIPPED)
    known = np.delete(np.arange(LENGTH), slice(*SKIPPED[0]))[:: -1 if direction else 1]
    weight = torch.tensor([0.5 if segment in wrong else 1.0 for segment in segments])[:, None]
    for at in range(0, SEGMENT_BP, CALL_BP):
        starts = [segment * SEGMENT_BP + at for segment in segments]
        bases = np.stack([known[start : start + CALL_BP] for start in starts], axis=1)  # (T, B)
        read = {k: weight * torch.from_numpy(v[direction].T[bases]) for k, v in drawn().items()}
        steps = Steps(*(read[field] for field in Steps._fields[:6]), 0.0, bases.size)
        arrived = np.stack([hidden_before(direction, known, start) for start in starts])
        before, logits = weight * torch.from_numpy(arrived), read["forget_logit"]
        yield Piece(direction, segments, starts, steps, before, reading, lambda logits=logits: logits)


def hidden_before(direction, known, start):
    """Return h (H,) after the base read before a reading position: 0 where the reading starts."""
    return drawn()["hidden"][direction, :, known[start - 1]] if start else np.zeros(HIDDEN)


def send(*takers):
    """Send both directions, the last segments first; one of them is wrong at first and read again."""
    for sink in takers:
        sink.begin("c", LENGTH)
        for direction in range(2):
            for segments, wrong in (([2, 3], [3]), ([3], []), ([0, 1], [])):
                for piece in pieces(direction, segments, wrong):
                    sink.take(piece)
                for segment in wrong:
                    sink.restart(direction, segment)
            sink.skip(direction, *SKIPPED[0].tolist(), math.log(HELD) / 20)
        sink.end()


def logits_on_disk():
    per_base = HELD ** (1 / 20)
    logits = drawn()["forget_logit"].astype(np.float32)
    logits[:, :, slice(*SKIPPED[0])] = np.log(per_base / (1 - per_base))
    return logits


def exported(units):
    """Return {(track, direction): values (L,)} as a genome browser sees them."""
    describe = {"model_sha256": "", "run": "", "lookahead_bp": 0, "layer": 1}
    certificate = Certificate(0.0, LENGTH, 1.0, "float64", "cpu")
    options = {"units": units, "decimals": 6, "describe": describe, "certificate": certificate}
    with TemporaryDirectory() as name:
        folder, kind = Path(name), "mean" if units is None else "boundary_unit"
        send(ContigTracks(folder / "c.npy", units))
        write_tracks(folder, [("c", folder / "c.npy")], {"c": LENGTH}, **options)
        return {
            (track, direction): read_bigwig(folder / f"{track}.{direction}.{kind}.bw", "c")
            for track in GATES + (MEMORY if units else ())
            for direction in DIRECTIONS
        }


def same(found, expected, unread, tolerance=1e-6):
    expected = np.array(expected)
    if unread is not None:
        expected[slice(*SKIPPED[0])] = unread
    return (
        np.array_equal(np.isnan(found), np.isnan(expected))
        and np.nanmax(np.abs(found - expected)) <= tolerance
    )


UNREAD = {"forget_gate": HELD ** (1 / 20), "input_gate": 0.0, "output_gate": np.nan}


def mean_tracks_are_right():
    return all(
        same(values, drawn()[name.removesuffix("_gate")][DIRECTIONS.index(direction)].mean(0), UNREAD[name])
        for (name, direction), values in exported(None).items()
    )


def unit_tracks_are_right():
    found = exported(UNITS)
    for row, (direction, unit) in enumerate(UNITS.items()):
        own = {name: values[row, unit] for name, values in drawn().items()}
        logits = logits_on_disk()[row, unit]
        expected = {
            **{name: (own[name.removesuffix("_gate")], UNREAD[name], 1e-6) for name in UNREAD},
            "half_life": (half_life(logits).bp, None, 0.051),
            "backward_horizon": (backward_horizon(logits, direction=direction).bp, None, 0.051),
            "forward_horizon": (forward_horizon(logits, direction=direction).bp, None, 0.051),
            "write_magnitude": (write_magnitude(own["input_logit"], own["candidate"]), 0.0, 1e-6),
            "hidden_memory": (hidden_memory(own["cell"], own["hidden"]), np.nan, 1e-6),
        }
        if not all(same(found[name, direction], *wanted) for name, wanted in expected.items()):
            return False
    return True


def logits_are_right():
    with TemporaryDirectory() as folder:
        send(UnitLogits(Path(folder) / "units.npy", HIDDEN))
        return np.allclose(np.load(Path(folder) / "units.npy"), logits_on_disk(), rtol=1e-6)


def writes_are_right():
    expected = drawn()["input"] * drawn()["candidate"]
    expected[:, :, slice(*SKIPPED[0])] = 0
    with TemporaryDirectory() as folder:
        send(UnitWrites(Path(folder) / "writes.npy", HIDDEN))
        found = np.load(Path(folder) / "writes.npy")
    return found.dtype == np.float32 and np.allclose(found, expected, rtol=1e-6)


def change_is_right():
    known = np.delete(np.arange(LENGTH), slice(*SKIPPED[0]))
    expected = np.zeros((2, LENGTH))
    for direction, order in enumerate((known, known[::-1])):
        before = np.zeros(HIDDEN)
        for base in order:
            hidden = drawn()["hidden"][direction, :, base]
            expected[direction, base] = math.dist(hidden, before)
            before = hidden
    with TemporaryDirectory() as folder:
        send(HiddenChange(Path(folder) / "change.npy"))
        found = np.load(Path(folder) / "change.npy")
    return found.dtype == np.float32 and np.allclose(found, expected, rtol=1e-6)


#: Beside each other, at both ends, on either side of the bases that were not read and of segments.
SAMPLED = np.array([0, 1, 299, 300, 301, 499, 520, 700, 919, 920, LENGTH - 1])


def sample_is_right():
    with TemporaryDirectory() as folder:
        send(SampledUnits(Path(folder) / "sample.npz", SAMPLED, HIDDEN))
        join_parts(Path(folder) / "all.npz", "ab", {"c": Path(folder) / "sample.npz"})
        found = read_sample(Path(folder) / "all.npz")
    write = drawn()["input"] * drawn()["candidate"]
    return (
        (found.model_sha256, found.contigs.tolist(), found.position.tolist())
        == ("ab", ["c"], SAMPLED.tolist())
        and np.allclose(found.forget_logit, drawn()["forget_logit"][:, :, SAMPLED], rtol=1e-6)
        and np.allclose(found.write, write[:, :, SAMPLED], rtol=1e-6)
    )


def slices_are_right():
    with TemporaryDirectory() as folder:
        send(Slices(Path(folder), [REGION], HIDDEN, str(drawn()["cell"].dtype)))
        found = np.load(Path(folder) / f"{REGION[0]}-{REGION[1]}.npz")
        read = np.arange(*REGION) < SKIPPED[0, 0]
        return all(
            np.array_equal(found[name][:, :, read], drawn()[name][:, :, slice(*REGION)][:, :, read])
            and np.isnan(found[name][:, :, ~read]).all()
            for name in (*Steps._fields[:6], "forget_logit")
        )


def census_counts_once():
    census = Census()
    send(census)
    gates, hidden = (np.delete(drawn()[name], slice(*SKIPPED[0]), axis=2) for name in ("forget", "hidden"))
    return all(
        np.allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9)
        for found, wanted in zip(census.found(), map(GateCensus.of, gates, hidden), strict=True)
        for name in ("count", "low", "high", "mean")
    )


def census_samples_hidden_states():
    """One base in 25 of each call, of the segment as it was read last."""
    census = Census()
    send(census)
    known = np.delete(np.arange(LENGTH), slice(*SKIPPED[0]))
    starts = range(0, len(known), CALL_BP)
    for direction, found in enumerate(census.found()):
        order = known[:: -1 if direction else 1]
        bases = np.concatenate([order[start : start + CALL_BP][::25] for start in starts])
        hidden = drawn()["hidden"][direction][:, bases]
        if not np.allclose(found.hidden_mean, hidden.mean(1), rtol=1e-9):
            return False
        if not np.allclose(found.hidden_sd, hidden.std(1), rtol=1e-9):
            return False
    return True


def make_model(folder, seed):
    config = NetworkConfig(targets=("state",), stem_channels=3, stem_width_bp=5, hidden_units=2)
    weights = AccessibilityNetwork(config, torch.Generator().manual_seed(seed)).state_dict()
    store = make_store(folder / "store")
    meta = {
        "run": "small.f1.1",
        "store": store.content_hash,
        "fold": {"name": "f1", "test": ["four"], "valid": ["three"]},
        "training": {"device": "cpu"},
    }
    save_model(folder / "model", config, weights, weights, meta)


def part_is_not_taken(seed=1, policy="learned"):
    """Say whether a trace of another model, or of another policy, that was left half done leaves no mark."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        options = {"store": folder / "store", "contigs": "held-out", "tracks": "none", "dtype": "float64"}
        make_model(folder, seed)
        stage.trace(folder / "model", folder / "out", piece="1-of-2", unknown_bases=policy, **options)
        make_model(folder, 1)
        found = []
        for out in ("out", "again"):
            stage.trace(folder / "model", folder / out, **options)
            found.append([(folder / out / "units" / f"{c}.npy").read_bytes() for c in ("three", "four")])
        return found[0] == found[1]


CHECKS = {
    "mean tracks": mean_tracks_are_right,
    "unit tracks": unit_tracks_are_right,
    "logits": logits_are_right,
    "writes": writes_are_right,
    "change of hidden states": change_is_right,
    "sample": sample_is_right,
    "slices": slices_are_right,
    "census": census_counts_once,
    "hidden states of the census": census_samples_hidden_states,
    "part of another model": lambda: part_is_not_taken(seed=2),
    "part of another policy": lambda: part_is_not_taken(policy="freeze"),
}


def other_direction(right, self, piece):
    right(self, replace(piece, direction=1 - piece.direction))


def units_swapped(right, self, path, units=None):
    right(self, path, units and dict(zip(units, reversed(units.values()), strict=True)))


def exchanged(one, other):
    def install(monkeypatch):
        first, second = tracks._QUANTITIES[one], tracks._QUANTITIES[other]
        monkeypatch.setitem(tracks._QUANTITIES, one, replace(first, of_steps=second.of_steps))
        monkeypatch.setitem(tracks._QUANTITIES, other, replace(second, of_steps=first.of_steps))

    return install


def horizons(**wrong):
    """Make a mutant of how horizons are followed: `shift` of one of them, or the way."""

    def follow(right, self, row, name, *, rightwards, shift):
        right(self, row, name, rightwards=rightwards != ("way" in wrong), shift=wrong.get(name, shift))

    return patch(ContigTracks, "_follow", follow)


#: All traces share one folder for their parts, whatever they are made from.
ANY_FOLDER = value(stage, "fingerprint", lambda made_from: "any")


def made_from_all_but(key):
    made_from = stage._Job.made_from
    wrong = property(lambda job: {name: each for name, each in made_from.fget(job).items() if name != key})
    return together(ANY_FOLDER, value(stage._Job, "made_from", wrong))


def whatever_lies_there(right, wanted, folder, made_from):
    path = folder / contig_file_stem(wanted.contig) / "part.json"
    return right(wanted, folder, json.loads(path.read_text())["made_from"] if path.is_file() else made_from)


TRACKS = {"mean tracks", "unit tracks"}
#: Which mutant, and which checks have to fail.
MUTANTS = {
    "rev left in reading order": (
        patch(Reading, "place", lambda right, self, at, x: right(self, at, x[::-1] if self.direction else x)),
        {*TRACKS, "logits", "slices", "writes", "change of hidden states"},
    ),
    "row of the other direction": (patch(ContigTracks, "take", other_direction), TRACKS),
    "file of the other direction": (value(tracks, "DIRECTIONS", ("rev", "fwd")), TRACKS),
    "unit of the other direction": (patch(ContigTracks, "__init__", units_swapped), {"unit tracks"}),
    "another unit": (
        patch(tracks, "_of", lambda right, values, unit: right(values.roll(1, 2), unit)),
        {"unit tracks"},
    ),
    "one unit for the mean": (
        patch(tracks, "_of", lambda right, values, unit: right(values, unit or 0)),
        {"mean tracks"},
    ),
    "forget logits of another unit": (
        value(Piece, "forget_logit", property(lambda piece: piece._logits().roll(1, 2))),
        {"unit tracks", "logits", "slices", "sample"},
    ),
    "size of a write without its sign": (
        value(Piece, "write", property(lambda piece: (piece.steps.input * piece.steps.candidate).abs())),
        {"writes", "sample"},
    ),
    "writes of another unit": (
        value(Piece, "write", property(lambda piece: (piece.steps.input * piece.steps.candidate).roll(1, 2))),
        {"writes", "sample"},
    ),
    "change from the start at each call": (
        patch(sinks, "hidden_before", lambda right, hidden, first: right(hidden, 0 * first)),
        {"change of hidden states"},
    ),
    "change to the base after": (
        patch(sinks, "hidden_before", lambda right, hidden, first: hidden.roll(-1, 0)),
        {"change of hidden states"},
    ),
    "sample a base off": (
        patch(
            SampledUnits, "__init__", lambda right, self, path, at, hidden: right(self, path, at + 1, hidden)
        ),
        {"sample"},
    ),
    "sample of the other direction": (patch(SampledUnits, "take", other_direction), {"sample"}),
    "input and forget gate exchanged": (exchanged("input_gate", "forget_gate"), TRACKS),
    "input and output gate exchanged": (exchanged("input_gate", "output_gate"), TRACKS),
    "tracks a base off": (
        patch(BigWigWriter, "add", lambda right, self, c, at, values: right(self, c, at, np.roll(values, 1))),
        TRACKS,
    ),
    "unread bases a base off": (
        patch(
            ContigTracks, "skip", lambda right, self, d, at, to, left: right(self, d, at + 1, to + 1, left)
        ),
        TRACKS,
    ),
    "forward horizon not shifted": (horizons(forward_horizon=0), {"unit tracks"}),
    "backward horizon shifted": (horizons(backward_horizon=1), {"unit tracks"}),
    "horizons against the reading": (horizons(way=None), {"unit tracks"}),
    "loss of a whole run at each base": (
        together(
            patch(sinks, "held_logit", lambda right, per_base: right(20 * per_base)),
            patch(tracks, "held_logit", lambda right, per_base: right(20 * per_base)),
        ),
        {"unit tracks", "logits"},
    ),
    "slices a base off": (
        patch(
            Slices,
            "_keep",
            lambda right, self, kept, piece, row, region: right(
                self, kept, piece, row, slice(region.start + 1, region.stop + 1)
            ),
        ),
        {"slices"},
    ),
    "second reading counted as well": (patch(Census, "restart", lambda right, *segment: None), {"census"}),
    "part of another model taken": (made_from_all_but("model_sha256"), {"part of another model"}),
    "part of another policy taken": (made_from_all_but("unknown_bases"), {"part of another policy"}),
    "part of anything taken": (
        together(ANY_FOLDER, patch(stage, "finished_part", whatever_lies_there)),
        {"part of another model", "part of another policy"},
    ),
}


def test_the_right_export_passes_every_check():
    assert failing(CHECKS, CHECKS) == set()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_export_is_noticed(mutant, monkeypatch):
    install, must_fail = MUTANTS[mutant]
    install(monkeypatch)
    assert failing(CHECKS, must_fail) == must_fail
