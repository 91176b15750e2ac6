"""Do hand-weighted memories come out as their formulas say? All cells in the order of the page, and the check.

Public names: `CELLS`, `TOLERANCE`, `Outcome`, `run_cell`, `check_cells`, `tabulate`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gatescope.gallery.circuits import CIRCUIT_CELLS
from gatescope.gallery.hand import Experiment, GalleryCell
from gatescope.gallery.one_unit import ONE_UNIT_CELLS
from gatescope.trace.replay import Trace, trace_lstm

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


@dataclass(frozen=True)
class Outcome:
    """What the tracer found in a cell.

    Attributes
    ----------
    cell : GalleryCell
    experiment : Experiment
    traced : mapping of quantity to array, each of shape (D, H, L), genomic order
        "cell", "hidden", "forget_gate", "input_gate", "output_gate"; gates in (0, 1).
    errors : mapping of quantity to float
        Largest |traced - formula| of each quantity that has one; infinite if one is not a number.
    """

    cell: GalleryCell
    experiment: Experiment
    traced: Mapping[str, np.ndarray]
    errors: Mapping[str, float]


def run_cell(cell: GalleryCell) -> Outcome:
    """Trace a cell as a trained network is traced, and compare it with its formula.

    Raises
    ------
    ReplayError
        If the replay does not reproduce the cell's own hidden states.
    """
    experiment = cell.build()
    traced = _quantities(trace_lstm(experiment.lstm, experiment.inputs))
    errors = {name: _largest_error(traced[name], answer) for name, answer in experiment.answers.items()}
    return Outcome(cell, experiment, traced, errors)


_GATES = ("forget_gate", "input_gate", "output_gate")


def _quantities(trace: Trace) -> dict[str, np.ndarray]:
    gates = {name: torch.sigmoid(getattr(trace, f"{name[:-5]}_logit")) for name in _GATES}
    values = {"cell": trace.cell, "hidden": trace.hidden, **gates}
    return {name: value[0].numpy() for name, value in values.items()}


def _largest_error(traced: np.ndarray, answer: np.ndarray) -> float:
    error = float(np.abs(traced - np.broadcast_to(answer, traced.shape)).max())
    return error if np.isfinite(error) else float("inf")


def check_cells(cells: Iterable[GalleryCell] = CELLS) -> pd.DataFrame:
    """Trace cells and compare every quantity that has a formula with it.

    Returns
    -------
    pandas.DataFrame
        One row per cell and quantity: `cell`, `quantity`, `positions` (bases or steps), `max_error` (absolute,
        float64), `tolerance`, `ok`.
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
