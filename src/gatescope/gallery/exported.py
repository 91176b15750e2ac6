"""Do hand-weighted memories survive export? Their bigWigs, read back, against the formulas.

The cells are the contigs of a genome: the code that writes the tracks of trained networks writes theirs, of one unit
and of the mean over units.

Public names: `DECIMALS`, `LENGTHS`, `check_exports`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import read_bigwig
from gatescope.gallery.cells import Outcome, cut
from gatescope.gallery.contig import read_contig
from gatescope.trace.certificate import Certificate
from gatescope.trace.memory import CAP_BP
from gatescope.trace.tracks import GATES, ContigTracks, write_tracks
from gatescope.trace.units import DIRECTIONS

#: Of gates and states in the tracks; lengths in bp keep one.
DECIMALS = 6
#: Tracks in bp; all others hold values from 0 to 1.
LENGTHS = ("half_life", "backward_horizon", "forward_horizon")
#: A value of 0 to 1 is rounded to float32 before and after it is rounded to decimals.
_ROUNDED = 0.5 * 10.0**-DECIMALS + 2.0**-24
#: A length in bp keeps one decimal, and comes from a float32 logit, of at most 17 where the length is below the cap.
_ROUNDED_BP, _RELATIVE = 0.05, 18 * 2.0**-24


class _Genome(NamedTuple):
    """Cells whose tracks can lie in the same files, and whose tracks those are."""

    directions: int
    layer: int
    unit: int | None  # None is the mean over units

    @property
    def units(self) -> dict[str, int] | None:
        """As the exporter takes it."""
        return None if self.unit is None else dict.fromkeys(DIRECTIONS[: self.directions], self.unit)

    @property
    def folder(self) -> str:
        """Which holds the tracks."""
        return f"directions{self.directions}.layer{self.layer}.{'mean' if self.unit is None else f'unit{self.unit}'}"

    @property
    def kind(self) -> str:
        """As the names of the files say it."""
        return "mean" if self.unit is None else f"unit{self.unit}"


class _Known(NamedTuple):
    """What a track must say, (L,), NaN where it must have a gap, and by how much it may miss that."""

    values: NDArray[np.float64]
    tolerance: NDArray[np.float64] | float


def check_exports(outcomes: Sequence[Outcome], folder: Path) -> pd.DataFrame:
    """Write the tracks of cells, cut into segments, as bigWigs; compare what they say with the formulas.

    The unit is the one whose gates the page shows. Horizons are compared where its forget gate never moves: there
    they are the half-life, as a whole number of bp.

    Parameters
    ----------
    outcomes : sequence of Outcome
    folder : Path
        For the tracks, made if it is not there; a cell is a contig, called as it is, with "_" for spaces.

    Returns
    -------
    pandas.DataFrame
        One row per cell and track: `cell`, `quantity`, `positions`, `max_error` (the largest of both directions, and
        of unit and mean; infinite if a gap is not where it belongs), `tolerance` (the largest), `ok`.

    Raises
    ------
    ReplayError
        If the replay does not reproduce a cell's own hidden states.
    """
    genomes: dict[_Genome, list[_Stored]] = {}
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        for genome, stored in _store(outcome, folder).items():
            genomes.setdefault(genome, []).append(stored)
    for genome, members in genomes.items():
        _write(folder / genome.folder, genome, members)
        rows += [row for stored in members for row in _rows(folder / genome.folder, genome, stored)]
    columns = ["cell", "quantity", "positions", "max_error", "tolerance", "ok"]
    found = pd.DataFrame(rows, columns=columns).groupby(["cell", "quantity"], sort=False, as_index=False)
    table = found.agg({"positions": "max", "max_error": "max", "tolerance": "max", "ok": "all"})
    order = [outcome.cell.name for outcome in outcomes]
    return table.sort_values(
        "cell", key=lambda names: names.map(order.index), kind="stable", ignore_index=True
    )


class _Stored(NamedTuple):
    """A cell, its contig, and where what its tracks show rests."""

    outcome: Outcome
    contig: str
    array: Path
    certificate: Certificate

    @property
    def length(self) -> int:
        """Of the contig."""
        return self.outcome.experiment.inputs.shape[1]


def _store(outcome: Outcome, folder: Path) -> dict[_Genome, _Stored]:
    """Trace a cell in segments, and keep what the tracks of its unit and of the mean show."""
    experiment, contig = outcome.experiment, outcome.cell.name.replace(" ", "_")
    directions = 2 if experiment.lstm.bidirectional else 1
    genomes = [
        _Genome(directions, experiment.lstm.num_layers - 1, unit)
        for unit in (outcome.cell.plotted.gates[0].unit, None)
    ]
    arrays = [folder / f"{contig}.{genome.kind}.npy" for genome in genomes]
    sinks = [
        ContigTracks(array, genome.units, directions) for array, genome in zip(arrays, genomes, strict=True)
    ]
    certificate = read_contig(experiment, contig, segments=cut(experiment), sinks=sinks).certificate
    return {
        genome: _Stored(outcome, contig, array, certificate)
        for genome, array in zip(genomes, arrays, strict=True)
    }


def _write(folder: Path, genome: _Genome, members: Sequence[_Stored]) -> None:
    """Write the tracks of some cells as those of a trained network are written."""
    write_tracks(
        folder,
        [(stored.contig, stored.array) for stored in members],
        {stored.contig: stored.length for stored in members},
        units=genome.units,
        kind="unit",
        decimals=DECIMALS,
        describe={"model_sha256": None, "run": "gallery", "lookahead_bp": 0, "layer": genome.layer},
        certificate=Certificate.merged([stored.certificate for stored in members]),
        directions=genome.directions,
    )


def _rows(folder: Path, genome: _Genome, stored: _Stored) -> Iterator[tuple]:
    """Read the tracks of a cell back, and yield rows of the table."""
    for number, direction in enumerate(DIRECTIONS[: genome.directions]):
        for name, known in _known(stored.outcome, genome, number).items():
            found = read_bigwig(folder / f"{name}.{direction}.{genome.kind}.bw", stored.contig)
            yield stored.outcome.cell.name, name, stored.length, *_compare(found, known)


def _compare(found: NDArray[np.float32], known: _Known) -> tuple[float, float, bool]:
    """Return the largest error, the largest tolerance, and whether every value lies within its own."""
    allowed = np.broadcast_to(known.tolerance, found.shape)
    if not np.array_equal(np.isnan(found), np.isnan(known.values)):
        return float("inf"), float(allowed.max()), False
    missed = np.nan_to_num(np.abs(found - known.values))
    return float(missed.max()), float(allowed.max()), bool((missed <= allowed).all())


def _known(outcome: Outcome, genome: _Genome, direction: int) -> dict[str, _Known]:
    """Return what the tracks of one direction must say, from the formulas alone."""
    shape = outcome.traced["cell"].shape
    whole = {name: np.broadcast_to(a, shape)[direction] for name, a in outcome.experiment.answers.items()}
    if genome.unit is None:
        return {name: _Known(whole[name].mean(0), _ROUNDED) for name in GATES}
    of_unit = {name: values[genome.unit] for name, values in whole.items()}
    forget, cell = of_unit["forget_gate"], of_unit["cell"]
    hidden_memory = np.abs(np.tanh(cell)) - np.abs(of_unit["hidden"])
    return {
        **{name: _Known(of_unit[name], _ROUNDED) for name in GATES},
        "write_magnitude": _Known(np.abs(cell - forget * _before(cell, direction)), _ROUNDED),
        "hidden_memory": _Known(hidden_memory, _ROUNDED),
        "half_life": _half_life(forget),
        **(_horizons(forget, direction) if np.ptp(forget) == 0 else {}),
    }


def _before(cell: NDArray, direction: int) -> NDArray:
    """Return the cell state with which a direction arrived at each base."""
    return np.append(cell[1:], 0.0) if direction else np.append(0.0, cell[:-1])


def _half_life(forget: NDArray) -> _Known:
    """Return ln(1/2) / ln f; a gate of 1 has the cap."""
    with np.errstate(divide="ignore"):
        bp = np.minimum(np.log(2) / np.abs(np.log(forget)), CAP_BP)
    return _Known(bp, _ROUNDED_BP + np.where(bp < CAP_BP, bp * _RELATIVE, 0.0))


def _horizons(forget: NDArray, direction: int) -> dict[str, _Known]:
    """Return both horizons under a gate that never moves: as many bp as half is kept for, where the contig has them."""
    bp = max(1.0, np.ceil(_half_life(forget[:1]).values[0]))
    read = np.arange(1, len(forget) + 1)  # bases read with this one; the others are still to come
    ways = {"backward_horizon": read, "forward_horizon": len(forget) - read}
    turn = slice(None, None, -1 if direction else 1)
    return {name: _Known(np.where(bases >= bp, bp, np.nan)[turn], 0.0) for name, bases in ways.items()}
