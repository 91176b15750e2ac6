"""The bigWigs of hand-weighted cells say what the formulas say, base by base, and wrong ones are noticed."""

import dataclasses
import math

import numpy as np
import pytest

from gatescope.atac.bigwig import BigWigWriter, bigwig_lengths, read_bigwig
from gatescope.files import read_json
from gatescope.gallery.cells import CELLS
from gatescope.gallery.exported import DECIMALS, LENGTHS, check_exports
from gatescope.trace import tracks

BY_NAME = {cell.name: cell for cell in CELLS}
WIRE = "memory wire"
EVERY = ("forget_gate", "input_gate", "output_gate", "write_magnitude", "hidden_memory", "half_life")
CONSTANT = {"hold", "leak", "memory wire", "integrator", "leaky integral of a PID controller", "GC counter"}
CONSTANT |= {"exponential average", "motif-overwrite", "reliability shield", "autocorrelation null detector"}


@pytest.fixture(scope="module")
def exported(outcomes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    return folder, check_exports(list(outcomes.values()), folder)


def track(folder, name, quantity, direction="fwd", kind="unit*"):
    """Return a track of a cell, wherever it lies."""
    contig = name.replace(" ", "_")
    (path,) = [
        path for path in folder.glob(f"*/{quantity}.{direction}.{kind}.bw") if contig in bigwig_lengths(path)
    ]
    return read_bigwig(path, contig)


def test_every_track_of_every_cell_is_right(exported):
    _, table = exported
    assert table.ok.all() and table.cell.unique().tolist() == [cell.name for cell in CELLS]
    for name, rows in table.groupby("cell"):
        horizons = ("backward_horizon", "forward_horizon") if name in CONSTANT else ()
        assert sorted(rows.quantity) == sorted((*EVERY, *horizons))
    # gates to six decimals, lengths to a tenth of a bp and what a float32 logit leaves of 6,931 bp
    in_bp = table.quantity.isin(LENGTHS)
    assert table[~in_bp].tolerance.max() < 6e-7
    assert table[in_bp].tolerance.max() < 0.06
    assert (table[table.quantity.str.endswith("horizon")].max_error == 0).all()


def test_the_wire_in_a_genome_browser(exported):
    """Half-life, and horizons with gaps where the contig does not reach that far, as a browser shows them."""
    folder = exported[0]
    assert np.abs(track(folder, WIRE, "half_life") - math.log(0.5) / math.log(0.9999)).max() < 0.06
    back, forth = track(folder, WIRE, "backward_horizon"), track(folder, WIRE, "forward_horizon")
    assert np.isnan(back[:6_931]).all() and set(back[6_931:]) == {6_932}
    assert set(forth[:93_069]) == {6_932} and np.isnan(forth[93_069:]).all()
    assert set(track(folder, WIRE, "forget_gate")) == {np.float32(0.9999)}
    assert track(folder, WIRE, "input_gate", kind="mean").nonzero()[0].tolist() == [0]


def slow_horizon(forget, t, *, forward, rightwards):
    """Multiply gates one by one until half is left; NaN if the contig ends first."""
    towards = 1 if forward == rightwards else -1
    left, at, bases = 1.0, t + towards * forward, 0
    while 0 <= at < len(forget):
        left, bases, at = left * forget[at], bases + 1, at + towards
        if left <= 0.5:
            return bases
    return math.nan


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != WIRE])
def test_horizons_where_the_gate_moves(outcomes, exported, name):
    folder, outcome = exported[0], outcomes[name]
    unit, shape = outcome.cell.plotted.gates[0].unit, outcome.traced["cell"].shape
    gates = np.broadcast_to(outcome.experiment.answers["forget_gate"], shape)[:, unit]
    for number, direction in enumerate(("fwd", "rev")[: shape[0]]):
        for quantity, forward in (("backward_horizon", False), ("forward_horizon", True)):
            wanted = [
                slow_horizon(gates[number], t, forward=forward, rightwards=number == 0)
                for t in range(shape[2])
            ]
            assert np.array_equal(track(folder, name, quantity, direction), wanted, equal_nan=True)


def test_tracks_of_a_cell_carry_what_those_of_a_network_carry(exported):
    folder = exported[0]
    paths = sorted(folder.glob("*/forget_gate.rev.mean.bw.json"))
    assert len(paths) == 1  # one cell reads both ways
    said = read_json(paths[0])
    assert (said["direction"], said["layer"], said["decimals"], said["gaps"]) == (
        "rev",
        1,
        DECIMALS,
        "missing",
    )
    assert said["certificate"]["max_error"] <= said["certificate"]["tolerance"] == 1e-12


def shifted(right):
    return lambda self, chrom, start, values: right(self, chrom, start, np.roll(values, 1))


def unflipped(right):
    class Unflipped(right):
        def write(self, where, values):
            super().write(where, values[..., ::-1] if where[0] == 1 else values)

    return Unflipped


def three_decimals(right):
    """The half-life of a gate as a track holds it, not of its logit."""

    def half_life(logits):
        with np.errstate(divide="ignore"):
            bp = np.log(2) / np.abs(np.log(np.round(1 / (1 + np.exp(-logits.astype(float))), 3)))
        return dataclasses.replace(right(logits), bp=np.minimum(bp, tracks.CAP_BP))

    return half_life


#: Whom to make wrong, how, and in which cell it shows.
MUTANTS = {
    "one base to the right": (BigWigWriter, "add", shifted, "motif-overwrite"),
    "reverse in reading order": (tracks, "OnDisk", unflipped, "motif-reset"),
    "another unit": (tracks, "_of", lambda right: lambda v, unit: right(v, unit and 0), "motif-overwrite"),
    "first unit for the mean": (
        tracks,
        "_of",
        lambda right: lambda v, unit: right(v, unit or 0),
        "motif-overwrite",
    ),
    "half-life of the gate": (tracks, "half_life", three_decimals, "Kalman gain"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_exporter_is_noticed(outcomes, mutant, monkeypatch, tmp_path):
    whose, attribute, change, name = MUTANTS[mutant]
    some = [outcomes["leak"], outcomes[name]]
    assert check_exports(some, tmp_path / "right").ok.all()
    monkeypatch.setattr(whose, attribute, change(getattr(whose, attribute)))
    table = check_exports(some, tmp_path / "wrong")
    assert not table[table.cell == name].ok.all()
