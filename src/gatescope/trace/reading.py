"""Which bases does a direction read, in which order? Reading positions, and unknown bases.

Positions that a recurrence reads are numbered in reading order, from 0: `fwd` from the left end of the contig, `rev`
from the right end. Where runs of unknown bases are not read (see `UnknownBases`), they have no position.

Public names: `UnknownBases`, `Reading`, `Span`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.genome.sequence import UNKNOWN

_DECAY = re.compile(r"decay\((\d+(?:\.\d+)?)\)")


@dataclass(frozen=True)
class UnknownBases:
    """Say what a recurrence does where the sequence is unknown (N).

    Parameters
    ----------
    policy : {"learned", "freeze", "decay"}
        "learned" reads a zero column, as in training; "freeze" does not read N and holds h and c bit-exactly;
        "decay" does not read N and shrinks h and c by ``2**(-n / half_life_bp)`` over n bases.
    half_life_bp : float, optional
        For "decay".
    """

    policy: str = "learned"
    half_life_bp: float | None = None

    @classmethod
    def parse(cls, text: str) -> "UnknownBases":
        """Read ``learned``, ``freeze`` or ``decay(HALF_LIFE_BP)``."""
        if text in ("learned", "freeze"):
            return cls(text)
        found = _DECAY.fullmatch(text)
        if not found or float(found[1]) <= 0:
            raise InputError(
                f"unknown_bases {text!r}; wanted learned, freeze or decay(HALF_LIFE_BP), for example decay(500)",
                where="trace: unknown_bases",
            )
        return cls("decay", float(found[1]))

    def __str__(self) -> str:
        return self.policy if self.half_life_bp is None else f"decay({self.half_life_bp:g})"

    @property
    def log_retention(self) -> float:
        """Logarithm of the share of h and c that an unread base leaves; 0 holds them."""
        return 0.0 if self.half_life_bp is None else -math.log(2) / self.half_life_bp

    def retention(self, bases: int) -> float:
        """Return the share of h and c that is left after a run of unread bases."""
        return math.exp(bases * self.log_retention)

    def skipped(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the runs that are not read, shape (n, 2): start and end on the contig."""
        if self.policy == "learned":
            return np.empty((0, 2), np.int64)
        none = np.int8(0)
        edges = np.diff((codes == UNKNOWN).astype(np.int8), prepend=none, append=none)
        return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


class Span(NamedTuple):
    """A stretch of the contig that is read without a break."""

    start: int  # on the contig, 0-based half-open
    end: int
    first: int  # its first reading position, counted from where the caller began


class Reading:
    """Number the bases that one direction reads of a contig.

    Parameters
    ----------
    length : int
        Bases of the contig.
    direction : int
        0 fwd, 1 rev.
    skipped : int64, shape (n, 2)
        Runs that are not read, sorted, disjoint.
    """

    def __init__(self, length: int, direction: int, skipped: NDArray[np.int64]) -> None:
        self.direction = direction
        kept = np.stack([np.r_[0, skipped[:, 1]], np.r_[skipped[:, 0], length]], 1)
        before = np.r_[0, skipped[:, 1] - skipped[:, 0]]
        if direction:
            kept, before = kept[::-1], np.r_[0, (skipped[:, 1] - skipped[:, 0])[::-1]]
        self._first = np.r_[0, np.cumsum(kept[:, 1] - kept[:, 0])]
        self._kept = kept
        self.length = int(self._first[-1])
        #: Reading position -> unread bases just before it.
        self.gaps = {
            int(at): int(bases) for at, bases in zip(self._first[:-1], before, strict=True) if bases > 0
        }

    def spans(self, start: int, end: int) -> list[Span]:
        """Return what lies at reading positions ``[start, end)``, in reading order."""
        found = []
        k = int(np.searchsorted(self._first, start, side="right")) - 1
        while start < end:
            stop = min(end, int(self._first[k + 1]))
            left, right = start - int(self._first[k]), stop - int(self._first[k])
            low, high = map(int, self._kept[k])
            where = (high - right, high - left) if self.direction else (low + left, low + right)
            if stop > start:
                found.append(Span(*where, start))
            start, k = stop, k + 1
        return [span._replace(first=span.first - found[0].first) for span in found]

    def place(self, start: int, values: NDArray) -> Iterator[tuple[slice, NDArray]]:
        """Yield (slice of the contig, values in genomic order) for values (T, ...) from reading position `start`."""
        for span in self.spans(start, start + len(values)):
            part = values[span.first : span.first + span.end - span.start]
            yield slice(span.start, span.end), part[::-1] if self.direction else part
