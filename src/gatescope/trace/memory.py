"""How long does a cell remember? Half-lives and horizons in bp, write sizes, hidden memory.

Everything starts from gate *logits*: ln f = -softplus(-z). The direct path alone is measured here, prod f; what
the rest of the network does to a memory is the business of interventions and Jacobians.

Arrays are in genomic order, positions on the last axis, and `direction` says who reads them: what comes "before"
a base is on its left for ``fwd`` and on its right for ``rev``. An array that already stands in reading order is
read as ``fwd``. The streaming classes see one unit, chunk after chunk in reading order.

Public names: `CAP_BP`, `MemoryMap`, `log_forget`, `half_life`, `backward_horizon`, `forward_horizon`,
`BackwardHorizons`, `write_magnitude`, `hidden_memory`.
"""

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from gatescope.trace.units import DIRECTIONS

Direction = Literal["fwd", "rev"]

#: Longest span told apart from "for ever": float32, hence bigWig, holds every whole number up to here and no
#: further, and the largest float32 gate below 1 (1 - 2^-24) has a half-life of 11.6 Mb.
CAP_BP = 2**24

#: ln 2, less one part in 10^12, so that rounding cannot push a half-life of exactly k bp to a horizon of k + 1.
_HALF = math.log(2) * (1 - 1e-12)
#: Sums of -ln f are kept in two words, counting 2^-8 and 2^-72: exact whatever the chunks, to 10^10 bp.
_HIGH_BITS, _LOW_BITS = 8, 64
_BLOCK_BP = 1 << 16

_Words = tuple[NDArray[np.int64], NDArray[np.uint64]]


@dataclass(frozen=True)
class MemoryMap:
    """Lengths of memory in bp, with what could not be said.

    Parameters
    ----------
    bp : float64, shape (..., L)
        Length in bp; `cap_bp` where it is that or more; NaN where the contig ends first, after fewer than
        `cap_bp` bases.
    cap_bp : float
    """

    bp: NDArray[np.float64]
    cap_bp: float

    @property
    def is_capped(self) -> NDArray[np.bool_]:
        """Where the length is the cap or more."""
        return self.bp >= self.cap_bp

    @property
    def is_censored(self) -> NDArray[np.bool_]:
        """Where the contig ends before half is forgotten."""
        return np.isnan(self.bp)


def log_forget(forget_logit: ArrayLike) -> NDArray[np.float64]:
    """Return ln f = -softplus(-z) in float64, to the last digits for any logit."""
    z = np.asarray(forget_logit, np.float64)
    return np.minimum(z, 0.0) - np.log1p(np.exp(-np.abs(z)))


def half_life(forget_logit: ArrayLike, cap_bp: float = CAP_BP) -> MemoryMap:
    """Return the instantaneous half-life ln(1/2) / ln f: how long memory would last if the gate stayed as it is.

    Of the bias alone, ``half_life(b_if + b_hf)``, it is the half-life that papers quote.

    Parameters
    ----------
    forget_logit : float, any shape
    cap_bp : float
        Longer half-lives become this; `CAP_BP` is what float32 tracks can hold, ``math.inf`` caps nothing.

    References
    ----------
    Mahto et al. 2021, arXiv 2009.12727.
    """
    with np.errstate(divide="ignore"):
        bp = math.log(2) / np.abs(log_forget(forget_logit))
    return MemoryMap(np.minimum(bp, cap_bp), cap_bp)


def backward_horizon(
    forget_logit: ArrayLike, *, direction: Direction = "fwd", cap_bp: int = CAP_BP
) -> MemoryMap:
    """Return how many bp back half of the cell state has been forgotten: the memory that was *realised*.

    At base t it is the smallest k with sum_{u = t-k+1 .. t} -ln f_u >= ln 2: a write k bp before t has lost half
    of itself by t, one that came later has not. NaN until the contig has been read that far, time O(L).

    Parameters
    ----------
    forget_logit : float, shape (..., L)
        Genomic order.
    direction : {"fwd", "rev"}
        Who reads; "rev" looks to the right of t.
    cap_bp : int
        See `MemoryMap`.

    Returns
    -------
    MemoryMap of shape (..., L), genomic order
        Whole numbers of bp; "half" is taken at ln 2 (1 - 1e-12).

    Raises
    ------
    ValueError
        If a logit is not a number.
    """
    reading = _reading_order(np.asarray(forget_logit), direction)
    return MemoryMap(_reading_order(_backward(reading, cap_bp), direction), cap_bp)


def forward_horizon(
    forget_logit: ArrayLike, *, direction: Direction = "fwd", cap_bp: int = CAP_BP
) -> MemoryMap:
    """Return for how many bp what is written at each base survives: until half of it is forgotten.

    At base t it is the smallest k with sum_{u = t+1 .. t+k} -ln f_u >= ln 2; f_t itself does not touch what t
    writes. NaN where the contig ends first. Parameters, return and errors as `backward_horizon`; "rev" looks to
    the left of t.
    """
    reading = _reading_order(np.asarray(forget_logit), direction)
    mirrored = np.flip(_backward(np.flip(reading, -1), cap_bp), -1)
    bp = np.full(reading.shape, np.nan)
    bp[..., :-1] = mirrored[..., 1:]
    return MemoryMap(_reading_order(bp, direction), cap_bp)


def _reading_order(array: NDArray, direction: Direction) -> NDArray:
    """Turn genomic order into reading order, or back."""
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r}; wanted one of {DIRECTIONS}")
    return array if direction == "fwd" else np.flip(array, -1)


def _backward(logits: NDArray, cap_bp: int) -> NDArray[np.float64]:
    """Stream every row of logits (..., L), in reading order, through `BackwardHorizons`."""
    bp = np.empty(logits.shape)
    for row in np.ndindex(logits.shape[:-1]):
        stream = BackwardHorizons(cap_bp)
        for start in range(0, logits.shape[-1], _BLOCK_BP):
            block = (*row, slice(start, start + _BLOCK_BP))
            bp[block] = stream.take(logits[block])
    return bp


class BackwardHorizons:
    """Compute `backward_horizon` of one unit chunk by chunk; equal to the whole array to the last bit.

    Keeps 16 bytes for each base that the present horizon spans, at most `cap_bp` and one chunk.
    """

    def __init__(self, cap_bp: int = CAP_BP) -> None:
        self.cap_bp = cap_bp
        self._sum = _RunningSum()
        # (j, sums over the first j, j + 1, .. bases), contiguous blocks, oldest first
        self._past: deque[tuple[int, NDArray[np.complex128]]] = deque([(0, np.zeros(1, np.complex128))])

    def take(self, forget_logit: ArrayLike) -> NDArray[np.float64]:
        """Return the horizons, shape (n,), of the next n bases in reading order."""
        logits = np.asarray(forget_logit)
        first = self._sum.count + 1
        ends = first + np.arange(len(logits))  # bases read when the cell state of each base is made
        if not len(ends):
            return np.empty(0)
        sums = self._sum.extend(logits)
        self._past.append((first, _keys(sums)))
        wanted = _keys(_less_half(sums))
        self._drop(int(ends[0]), wanted[0])
        blocks = (keys for _, keys in self._past)
        near = list(takewhile(lambda keys: _at_most(keys[:1], wanted[-1]), blocks))
        found = _at_most(np.concatenate(near), wanted) if near else np.zeros(len(ends), np.int64)
        spans = np.minimum(ends - (self._past[0][0] + found - 1.0), self.cap_bp)
        return np.where(found > 0, spans, np.where(ends >= self.cap_bp, self.cap_bp, np.nan))

    def _drop(self, end: int, wanted: np.complex128) -> None:
        """Forget blocks that lie beyond the horizon, or the cap, of this and every later base."""
        while len(self._past) > 1:
            start, keys = self._past[1]
            if not _at_most(keys[:1], wanted) and start > end - self.cap_bp:
                break
            self._past.popleft()


class _RunningSum:
    """The exact running sum of -ln f, each term cut to 72 binary places, in two integer words."""

    def __init__(self) -> None:
        self.count = 0
        self._high, self._low = np.int64(0), np.uint64(0)

    def extend(self, logits: NDArray) -> _Words:
        """Return the sums after each further base."""
        rates = np.minimum(-log_forget(logits), 1.0)  # beyond ln 2 it does not matter by how much
        highs, lows = _words(rates)
        totals = np.cumsum(np.concatenate([[self._low], lows]), dtype=np.uint64)[1:]
        carries = totals < lows  # an unsigned sum that wraps is less than what was added
        highs = self._high + np.cumsum(highs + carries)
        self.count, self._high, self._low = self.count + len(logits), highs[-1], totals[-1]
        return highs, totals


def _words(values: NDArray[np.float64]) -> _Words:
    """Split numbers from 0 to 1 into whole 2^-8 and what is left in 2^-72, cut."""
    if np.isnan(values).any():
        raise ValueError("a forget logit is not a number: a memory has no length where a gate is missing")
    scaled = values * 2.0**_HIGH_BITS
    whole = np.floor(scaled)
    return whole.astype(np.int64), ((scaled - whole) * 2.0**_LOW_BITS).astype(np.uint64)


_HALF_WORDS = _words(np.array([_HALF]))


def _less_half(sums: _Words) -> _Words:
    """Subtract ln 2."""
    return sums[0] - _HALF_WORDS[0] - (sums[1] < _HALF_WORDS[1]), sums[1] - _HALF_WORDS[1]


def _keys(sums: _Words) -> NDArray[np.complex128]:
    """Return sums as keys that `searchsorted` compares exactly: NumPy orders complex by real, then imaginary part."""
    keys = np.empty(len(sums[0]), np.complex128)
    split = np.uint64(53)  # a float64 holds 53 bits
    keys.real = sums[0] * 2.0 ** (_LOW_BITS - 53) + (sums[1] >> split)
    keys.imag = sums[1] & np.uint64(2**53 - 1)
    return keys


def _at_most(keys: NDArray[np.complex128], wanted: Any) -> Any:
    """Count the keys (sorted) that are not greater than each wanted one."""
    return np.searchsorted(keys, wanted, side="right")


def write_magnitude(input_logit: ArrayLike, candidate: ArrayLike) -> NDArray[np.float64]:
    """Return |i g|, how much each base writes, from the input gate's logit and the candidate tanh(g)."""
    return expit(np.asarray(input_logit, np.float64)) * np.abs(np.asarray(candidate, np.float64))


def hidden_memory(cell: ArrayLike, hidden: ArrayLike) -> NDArray[np.float64]:
    """Return |tanh c| - |h| = (1 - o) |tanh c|: what the cell holds and the output gate does not show."""
    shown = np.abs(np.asarray(hidden, np.float64))
    return np.abs(np.tanh(np.asarray(cell, np.float64))) - shown
