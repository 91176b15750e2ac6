"""What do a few units do along whole contigs? Forget gate and hidden state, the state carried from end to end.

Public names: `Along`, `read_along`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.effects.subject import Subject
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.sink import Piece, Sink
from gatescope.trace.stream import ContigStream
from gatescope.trace.units import DIRECTIONS


class Along(NamedTuple):
    """One unit of one direction along each test contig, (L,) float32: the forget gate and the hidden state."""

    forget: dict[str, NDArray[np.float32]]
    hidden: dict[str, NDArray[np.float32]]


class _Keeper(Sink):
    """Keep forget gate and hidden state of one unit per direction, and the largest error of the replay."""

    def __init__(self, units: dict[str, int]) -> None:
        self._units, self.error = units, 0.0
        self.along = {direction: Along({}, {}) for direction in DIRECTIONS}

    def begin(self, contig: str, length: int) -> None:
        """Make room."""
        self._contig = contig
        for along in self.along.values():
            for kept in along:
                kept[contig] = np.full(length, np.nan, np.float32)

    def take(self, piece: Piece) -> None:
        """Keep what belongs to the unit."""
        direction = DIRECTIONS[piece.direction]
        unit, along = self._units[direction], self.along[direction]
        for kept, values in zip(along, (piece.steps.forget, piece.steps.hidden), strict=True):
            for where, row in piece.rows(values[..., unit].float().cpu().numpy()):
                kept[self._contig][where] = row
        self.error = worst([self.error, piece.steps.error])


def read_along(subject: Subject, units: dict[str, int]) -> tuple[dict[str, Along], Certificate]:
    """Read one unit of each direction of the first layer along the test contigs, as `gatescope trace` does.

    Parameters
    ----------
    subject : Subject
    units : dict of str to int
        By direction.

    Raises
    ------
    ReplayError
        If the network cannot be replayed.
    """
    keeper = _Keeper(units)
    stream = ContigStream.of(subject.network, subject.store)
    for contig in subject.contigs:
        stream.read(contig, [keeper])
    positions = sum(subject.store.lengths[contig] for contig in subject.contigs)
    return keeper.along, Certificate.of(subject.network.like, keeper.error, positions).checked()
