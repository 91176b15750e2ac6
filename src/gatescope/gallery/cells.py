"""Do hand-weighted memories come out as their formulas say? All cells in the order of the page, and the check.

Public names: `CELLS`, `TOLERANCE`, `Outcome`, `cut`, `run_cell`, `check_cells`, `tabulate`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gatescope.gallery.circuits import CIRCUIT_CELLS
from gatescope.gallery.contig import ContigTrace, read_contig
from gatescope.gallery.hand import Experiment, GalleryCell
from gatescope.gallery.one_unit import ONE_UNIT_CELLS
from gatescope.trace.certificate import worst
from gatescope.trace.replay import Trace, trace_lstm
from gatescope.trace.stream import SeamReport, Segments

#: Largest |traced - formula| allowed.
TOLERANCE = 1e-12

_ORDER = (
    *("hold", "leak", "latch", "memory wire"),
    *("integrator", "leaky integral of a PID controller", "exponential average", "methylation mark"),
    *("meal-and-insulin flush", "gap-freeze", "GC counter", "Kalman gain"),
    *("motif-reset", "motif-overwrite", "toggle", "write-cost burst"),
    *("FIFO queue of two slots", "FIFO queue of three slots", "reliability shield"),
    "autocorrelation null detector",
)
_BY_NAME = {cell.name: cell for cell in (*ONE_UNIT_CELLS, *CIRCUIT_CELLS)}
#: Every cell: first one gate at a time, then gates that follow the sequence, then units that read each other.
CELLS: tuple[GalleryCell, ...] = tuple(_BY_NAME[name] for name in _ORDER)

#: Positions of a segment: of a short contig, and of one that is longer than the second.
_SHORT_SEGMENT, _LONG_SEGMENT = 7, 997


@dataclass(frozen=True)
class Outcome:
    """What the tracer found in a cell.

    Attributes
    ----------
    cell : GalleryCell
    experiment : Experiment
    routes : mapping of route to quantities
        "windows": as one sequence (`gatescope.trace.replay.trace_lstm`). "contig": streamed as a contig, cut as
        the stream itself chooses. "segments": cut into short segments (`cut`). Of each, as `Experiment.answers`
        names them, arrays of shape (D, H, L), genomic order; gates in (0, 1).
    seams : list of SeamReport
        How the short segments fitted together, per layer and direction.
    """

    cell: GalleryCell
    experiment: Experiment
    routes: Mapping[str, Mapping[str, np.ndarray]]
    seams: list[SeamReport]

    @property
    def traced(self) -> Mapping[str, np.ndarray]:
        """What was found along the contig."""
        return self.routes["contig"]

    @property
    def errors(self) -> dict[str, float]:
        """Largest |traced - formula| of each quantity by any route; infinite if one is not a number."""
        return {
            name: worst(_largest_error(traced[name], answer) for traced in self.routes.values())
            for name, answer in self.experiment.answers.items()
        }


def cut(experiment: Experiment) -> Segments:
    """Return segments so short that what a cell reads has seams."""
    return Segments(_LONG_SEGMENT if experiment.inputs.shape[1] > _LONG_SEGMENT else _SHORT_SEGMENT)


def run_cell(cell: GalleryCell) -> Outcome:
    """Trace a cell by every route by which a trained network is traced.

    Raises
    ------
    ReplayError
        If the replay does not reproduce the cell's own hidden states.
    """
    experiment = cell.build()
    in_segments = read_contig(experiment, segments=cut(experiment))
    routes = {
        "windows": _of_windows(trace_lstm(experiment.lstm, experiment.inputs)),
        "contig": _of_contig(read_contig(experiment)),
        "segments": _of_contig(in_segments),
    }
    return Outcome(cell, experiment, routes, in_segments.seams)


_GATES = ("forget_gate", "input_gate", "output_gate")
_STATES = ("cell", "hidden")


def _of_windows(trace: Trace) -> dict[str, np.ndarray]:
    gates = {name: torch.sigmoid(getattr(trace, f"{name[:-5]}_logit")) for name in _GATES}
    values = gates | {name: getattr(trace, name) for name in _STATES}
    return {name: value[0].numpy() for name, value in values.items()}


def _of_contig(trace: ContigTrace) -> dict[str, np.ndarray]:
    return {name: trace.slices[name.removesuffix("_gate")] for name in (*_GATES, *_STATES)}


def _largest_error(traced: np.ndarray, answer: np.ndarray) -> float:
    return float(np.abs(traced - np.broadcast_to(answer, traced.shape)).max())


def check_cells(cells: Iterable[GalleryCell] = CELLS) -> pd.DataFrame:
    """Trace cells and compare every quantity with its formula.

    Returns
    -------
    pandas.DataFrame
        One row per cell and quantity: `cell`, `quantity`, `positions` (bases or steps), `max_error` (absolute,
        float64, the largest of all routes), `tolerance`, `ok`.
    """
    return tabulate([run_cell(cell) for cell in cells])


def tabulate(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return the table of `check_cells`."""
    rows = [
        (o.cell.name, quantity, o.experiment.inputs.shape[1], error, TOLERANCE, error <= TOLERANCE)
        for o in outcomes
        for quantity, error in o.errors.items()
    ]
    return pd.DataFrame(rows, columns=["cell", "quantity", "positions", "max_error", "tolerance", "ok"])
