"""What the arrays of single units say of hand-weighted cells is what their formulas say, base by base."""

import numpy as np
import pytest

from gatescope.gallery.cells import CELLS, cut
from gatescope.gallery.contig import read_contig
from gatescope.trace.sinks import HiddenChange, UnitLogits, UnitWrites
from gatescope.trace.units import UNIT_ARRAYS

QUICK = [cell.name for cell in CELLS if cell.name != "memory wire"]


@pytest.mark.parametrize("name", QUICK)
def test_writes_and_moves_of_every_unit_are_right(outcomes, tmp_path, name):
    experiment = outcomes[name].experiment
    shape = outcomes[name].traced["cell"].shape  # (D, H, L)
    known = {key: np.broadcast_to(values, shape) for key, values in experiment.answers.items()}
    paths = [tmp_path / array for array in UNIT_ARRAYS]
    sinks = [UnitLogits(paths[0], shape[1]), UnitWrites(paths[1], shape[1]), HiddenChange(paths[2])]
    read_contig(experiment, segments=cut(experiment), sinks=sinks)
    logits, writes, change = (np.load(path) for path in paths)
    for direction, turn in enumerate((slice(None), slice(None, None, -1))[: shape[0]]):
        cell, forget, hidden = (
            known[key][direction][:, turn] for key in ("cell", "forget_gate", "hidden")
        )  # in reading order
        before = np.pad(cell, ((0, 0), (1, 0)))[:, :-1]
        np.testing.assert_allclose(writes[direction][:, turn], cell - forget * before, rtol=1e-6, atol=1e-6)
        moved = np.linalg.norm(np.diff(np.pad(hidden, ((0, 0), (1, 0)))), axis=0)
        np.testing.assert_allclose(change[direction][turn], moved, rtol=1e-6, atol=1e-6)
        gates = 1 / (1 + np.exp(-logits[direction].astype(float)))
        np.testing.assert_allclose(gates[:, turn], forget, atol=1e-6)
