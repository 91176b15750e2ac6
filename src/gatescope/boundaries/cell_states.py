"""What did a unit remember when it came to a base? Cell states from gates and writes, whole contigs at a time.

Cell states are not kept on disk: ``c_t = f_t c_(t-1) + write_t``, in reading order, from 0 at the end of the contig
where the direction starts, gives them from what is. A contig is read in chunks, so that memory does not grow with it.

Public names: `CellStates`, `cell_states_at`, `run_cells`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.trace.units import DIRECTIONS, UnitStore

#: Bases times units that are worked on at once: five arrays of so many float64 take 80 MB.
_CHUNK = 2_000_000
#: Bases that are followed one after the other; all stretches of so many bases of a chunk go abreast.
_STEPS = 256


class CellStates(NamedTuple):
    """Cell states of U units of one direction at some bases of a contig."""

    cells: NDArray[np.float64]  # (U, n)
    rms: NDArray[np.float64]  # (U,) root of the mean square of c over all bases of the contig


def cell_states_at(
    store: UnitStore, contig: str, direction: int, units: Sequence[int], positions: NDArray[np.int64]
) -> CellStates:
    """Return the cell states that some units have once they have read a base.

    Parameters
    ----------
    store : UnitStore
    contig : str
    direction : int
        Index into `DIRECTIONS`.
    units : sequence of int
        U units of the direction.
    positions : ndarray, shape (n,), int64
        Bases, 0-based, in any order; -1 or the length of the contig stand for the state before the first base, 0.
    """
    length = len(store.logits(contig, direction, units[0]))
    read = positions if DIRECTIONS[direction] == "fwd" else length - 1 - positions  # in reading order
    order = np.argsort(read, kind="stable")
    cells, squares = np.zeros((len(units), len(read))), np.zeros(len(units))
    for first, chunk in _chunks(store, contig, direction, units, length):
        low, high = np.searchsorted(read[order], [first, first + chunk.shape[1]])
        mine = order[low:high]
        cells[:, mine] = chunk[:, read[mine] - first]
        squares += np.einsum("ij,ij->i", chunk, chunk)
    return CellStates(cells, np.sqrt(squares / length))


def run_cells(
    forget: NDArray[np.float64], writes: NDArray[np.float64], before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Follow ``c_t = f_t c_(t-1) + write_t`` along the last axis.

    The recurrence is linear in c: stretches are followed side by side from 0, then what each was handed is added, times
    what was kept of it.

    Parameters
    ----------
    forget, writes : ndarray, shape (U, n), float64
        Gates in [0, 1], and i g, in reading order.
    before : ndarray, shape (U,), float64
        c before the first base.

    Returns
    -------
    ndarray, shape (U, n), float64
    """
    units, n = forget.shape
    rows = -(-n // _STEPS)
    kept, cells = (_abreast(values, rows, filler) for values, filler in ((forget, 1.0), (writes, 0.0)))
    for step in range(1, _STEPS):
        cells[step] += kept[step] * cells[step - 1]
        kept[step] *= kept[step - 1]
    kept, cells = (values.T.reshape(units, rows, _STEPS) for values in (kept, cells))
    for row in range(rows):
        cells[:, row] += kept[:, row] * before[:, None]
        before = cells[:, row, -1]
    return cells.reshape(units, -1)[:, :n]


def _abreast(values: NDArray[np.float64], rows: int, filler: float) -> NDArray[np.float64]:
    """Cut values (U, n) into stretches that lie side by side: (`_STEPS`, U * rows), the last one filled up."""
    missing = rows * _STEPS - values.shape[1]
    whole = np.pad(values, ((0, 0), (0, missing)), constant_values=filler)
    return np.array(whole.reshape(-1, _STEPS).T, order="C")


def _chunks(
    store: UnitStore, contig: str, direction: int, units: Sequence[int], length: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield (first reading position, c (U, bases)) of one chunk after the other, in reading order."""
    bases = max(_STEPS, _CHUNK // len(units))
    before = np.zeros(len(units))
    forward = DIRECTIONS[direction] == "fwd"
    for first in range(0, length, bases):
        last = min(first + bases, length)
        place = slice(first, last) if forward else slice(length - last, length - first)
        logits, writes = (
            np.stack([read(contig, direction, unit)[place] for unit in units]).astype(np.float64)
            for read in (store.logits, store.writes)
        )
        turn = slice(None, None, 1 if forward else -1)
        cells = run_cells(expit(logits)[:, turn], writes[:, turn], before)
        before = cells[:, -1]
        yield first, cells
