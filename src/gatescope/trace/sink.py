"""What is handed on while a contig is read, and who takes it? Pieces of many rows, and sinks.

Public names: `Piece`, `Sink`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from numpy.typing import NDArray
from torch import Tensor

from gatescope.trace.reading import Reading
from gatescope.trace.replay import Steps


@dataclass
class Piece:
    """What one call read: T bases of B rows, in reading order.

    Attributes
    ----------
    direction : int
        0 fwd, 1 rev.
    segments : list of int
        Which segment of the contig each row belongs to.
    starts : list of int
        Reading position of each row's first base.
    steps : Steps
        Gates and states, each (T, B, H).
    before : Tensor
        The hidden state with which each row arrived at its first base, (B, H).
    """

    direction: int
    segments: list[int]
    starts: list[int]
    steps: Steps
    before: Tensor
    reading: Reading
    _logits: Callable[[], Tensor]

    @cached_property
    def forget_logit(self) -> Tensor:
        """The forget gate before its activation, (T, B, H): computed only if somebody asks."""
        return self._logits()

    @cached_property
    def write(self) -> Tensor:
        """What each base adds to the cell state, i g with its sign, (T, B, H)."""
        return self.steps.input * self.steps.candidate

    def rows(self, values: NDArray) -> Iterator[tuple[slice, NDArray]]:
        """Yield (slice of the contig, values in genomic order) for values (T, B, ...)."""
        for row, start in enumerate(self.starts):
            yield from self.reading.place(start, values[:, row])


class Sink:
    """Takes what is read of one contig after the other; segments come in any order. By itself it keeps nothing."""

    def begin(self, contig: str, length: int) -> None:
        """Start a contig."""

    def take(self, piece: Piece) -> None:
        """Take part of some segments."""

    def restart(self, direction: int, segment: int) -> None:
        """Forget what a segment gave: it is read again. What is written over needs nothing."""

    def skip(self, direction: int, start: int, end: int, log_retention: float) -> None:
        """Take a run of unknown bases that was not read; ln of what each of them left of the state."""

    def end(self) -> None:
        """Finish the contig."""
