"""How is each gate spread over the bases of a genome? Saturation, bimodality, how long it remembers, what it shows.

Public names: `GateCensus`, `Census`.

References
----------
Karpathy, Johnson & Fei-Fei 2015 (saturation). Pébay 2008, SAND2008-6212 (moments merged in one pass).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gatescope.trace.sink import Piece, Sink
from gatescope.trace.units import DIRECTIONS

#: Gates that count as saturated.
_SATURATED = ((torch.lt, 0.1), (torch.gt, 0.9))
#: Half-lives are counted from 2^-4 bp (a gate of 1e-5) to `CAP_BP`.
_SHORTEST_LOG2 = -4
_HALF_LIFE_BINS = 4 * (24 - _SHORTEST_LOG2) + 1


def _half_life_bins(gate: NDArray) -> NDArray[np.int64]:
    """Return the bin of `GateCensus.half_lives` to which the half-life at each gate value belongs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.log2(np.log(2) / np.abs(np.log(np.minimum(gate, 1))))  # float32 kernels round up past 1
    # what is not a number is refused by the certificate, at the end of the contig
    bins = np.clip(4 * (np.nan_to_num(octaves) - _SHORTEST_LOG2), 0, _HALF_LIFE_BINS - 1)
    return bins.astype(np.int64)


@dataclass(frozen=True)
class GateCensus:
    """How one gate of each unit is spread over the bases seen so far, and its hidden state; censuses of chunks merge.

    Counts are exact whatever the chunks, moments to rounding.

    Parameters
    ----------
    count : int
        Bases n.
    low, high : int64, shape (...)
        Bases with a gate below 0.1 ("left-saturated") and above 0.9 ("right-saturated").
    mean, m2, m3, m4 : float64, shape (...)
        Mean of the gate, and sums of the second to fourth powers of the deviations from it (of a sample of the bases,
        scaled up to n).
    half_lives : int64, shape (..., bins)
        A sample of the bases, by what half-life a forget gate of this value has, in quarters of an octave
        (`_half_life_bins`).
    hidden_mean, hidden_m2 : float64, shape (...)
        Mean of the hidden state, and sum of the squares of the deviations from it (of a sample, scaled up to n).

    References
    ----------
    Karpathy, Johnson & Fei-Fei 2015 (saturation). Pébay 2008, SAND2008-6212 (moments merged in one pass).
    """

    count: int
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    m3: NDArray[np.float64]
    m4: NDArray[np.float64]
    half_lives: NDArray[np.int64]
    hidden_mean: NDArray[np.float64]
    hidden_m2: NDArray[np.float64]

    @classmethod
    def of(cls, gate: ArrayLike, hidden: ArrayLike) -> "GateCensus":
        """Return the census of gate values, in [0, 1], and hidden states (..., L) over their last axis; L >= 1."""
        gate, hidden = np.asarray(gate, np.float64), np.asarray(hidden, np.float64)
        mean = gate.mean(-1)
        deviation = gate - mean[..., None]
        square = deviation * deviation
        moments = (square.sum(-1), (square * deviation).sum(-1), (square * square).sum(-1))
        low, high = (gate < 0.1).sum(-1), (gate > 0.9).sum(-1)
        half_lives = np.zeros((*gate.shape[:-1], _HALF_LIFE_BINS), np.int64)
        np.add.at(half_lives, (*np.indices(gate.shape)[:-1], _half_life_bins(gate)), 1)
        shown = hidden.mean(-1), hidden.var(-1) * hidden.shape[-1]
        return cls(gate.shape[-1], low, high, mean, *moments, half_lives, *shown)

    def merged(self, other: "GateCensus") -> "GateCensus":
        """Return the census of both sets of bases."""
        a, b = self.count, other.count
        n, d = a + b, other.mean - self.mean
        m2 = self.m2 + other.m2 + d**2 * a * b / n
        m3 = self.m3 + other.m3 + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * other.m2 - b * self.m2) / n
        m4 = self.m4 + other.m4 + d**4 * a * b * (a * a - a * b + b * b) / n**3
        m4 = m4 + 6 * d**2 * (a * a * other.m2 + b * b * self.m2) / n**2
        m4 = m4 + 4 * d * (a * other.m3 - b * self.m3) / n
        low, high = self.low + other.low, self.high + other.high
        half_lives = self.half_lives + other.half_lives
        h = other.hidden_mean - self.hidden_mean
        shown = self.hidden_mean + h * b / n, self.hidden_m2 + other.hidden_m2 + h**2 * a * b / n
        return GateCensus(n, low, high, self.mean + d * b / n, m2, m3, m4, half_lives, *shown)

    def half_life_quantile(self, share: float) -> NDArray[np.float64]:
        """Return the half-life in bp below which the gate was at this share of the bases, shape (...), to 10 %."""
        counts = self.half_lives.cumsum(-1)
        at = (counts >= np.maximum(share * counts[..., -1:], 1)).argmax(-1)
        return 2.0 ** ((at + 0.5) / 4 + _SHORTEST_LOG2)

    @property
    def share_low(self) -> NDArray[np.float64]:
        """Share of bases with a gate below 0.1; 1 is a gate that never opened."""
        return self.low / self.count

    @property
    def share_high(self) -> NDArray[np.float64]:
        """Share of bases with a gate above 0.9; 1 is, for the forget gate, an integrator."""
        return self.high / self.count

    @property
    def hidden_sd(self) -> NDArray[np.float64]:
        """Standard deviation of the hidden state; a unit with next to none tells the rest of the network nothing."""
        return np.sqrt(self.hidden_m2 / self.count)

    @property
    def bimodality(self) -> NDArray[np.float64]:
        """Sarle's coefficient (s^2 + 1) / (k + 3 (n-1)^2 / ((n-2)(n-3))): analog gates low, digital gates near 1.

        s is the sample skewness, k the sample excess kurtosis, both corrected for bias. 1/3 for a normal, 5/9 for
        a uniform distribution, 1 at most; above 5/9 suggests two modes, as strong skewness alone does too. NaN
        for fewer than four bases, or a gate that does not move (standard deviation up to 1e-12).

        References
        ----------
        SAS Institute 1990, SAS/STAT User's Guide, CLUSTER; Pfister et al. 2013, Front. Psychol. 4:700.
        """
        n = self.count
        moves = (self.m2 > n * 1e-24) & (n > 3)
        if not np.any(moves):
            return np.full(np.shape(self.m2), np.nan)
        variance = np.where(moves, self.m2 / n, np.nan)
        skewness = self.m3 / n / variance**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
        scale = (n - 1) / ((n - 2) * (n - 3))
        kurtosis = scale * ((n + 1) * (self.m4 / n / variance**2 - 3) + 6)
        return (skewness**2 + 1) / (kurtosis + 3 * (n - 1) * scale)


class _Tally:
    """Sums over the bases of some rows, (B, H) each, that make up a `GateCensus` of each row.

    Means and saturation are those of all bases; every pass over all gates costs as much as a twentieth of tracing
    them, so that higher moments are taken on one base in five, half-lives and hidden states on one in twenty-five.
    """

    _MOMENTS_EVERY, _HALF_LIFE_EVERY = 5, 25

    def __init__(self, gates: torch.Tensor, hidden: torch.Tensor) -> None:
        # powers of small deviations lose nothing: the pivots are about the mean of each unit
        self._pivot, self._hidden_pivot = gates.mean((0, 1)), hidden.mean((0, 1))
        self._count, self._sampled, self._seen = 0, 0, 0
        shape = gates.shape[1:]
        self._sums, self._moments = np.zeros((3, *shape)), np.zeros((4, *shape))
        self._hidden = np.zeros((2, *shape))
        self._half_lives = np.zeros(shape.numel() * _HALF_LIFE_BINS, np.int32)
        self._first_bin = np.arange(shape.numel()) * _HALF_LIFE_BINS

    def add(self, gates: torch.Tensor, hidden: torch.Tensor) -> None:
        """Add gates and hidden states (T, B, H) of further bases."""
        mask = gates.new_empty(gates.shape)
        low, high = (compare(gates, bound, out=mask).sum(0) for compare, bound in _SATURATED)
        self._sums += torch.stack([gates.sum(0), low, high]).cpu().numpy()
        self._count += len(gates)
        d = gates[:: self._MOMENTS_EVERY] - self._pivot
        square = d * d
        powers = torch.stack([d, square, square * d, square * square]).sum(1)
        self._moments += powers.cpu().numpy()
        self._sampled += len(d)
        shown = hidden[:: self._HALF_LIFE_EVERY] - self._hidden_pivot
        self._hidden += torch.stack([shown.sum(0), (shown * shown).sum(0)]).cpu().numpy()
        self._seen += len(shown)
        for base in _half_life_bins(gates[:: self._HALF_LIFE_EVERY].flatten(1).cpu().numpy()):
            self._half_lives[self._first_bin + base] += 1  # one bin of each row and unit: none comes twice

    def of_row(self, row: int) -> GateCensus:
        """Return the census of one row, values (H,)."""
        n, (s1, s2, s3, s4) = self._sampled, self._moments[:, row]
        d = s1 / n
        m2 = np.maximum(s2 - n * d**2, 0)
        m3 = s3 - 3 * d * s2 + 2 * n * d**3
        m4 = np.maximum(s4 - 4 * d * s3 + 6 * d**2 * s2 - 3 * n * d**4, 0)
        total, low, high = self._sums[:, row]
        half_lives = self._half_lives.reshape(*self._sums.shape[1:], -1)[row].astype(np.int64)
        low, high = low.astype(np.int64), high.astype(np.int64)
        m2, m3, m4 = (moment * self._count / n for moment in (m2, m3, m4))
        h1, h2 = self._hidden[:, row]
        hidden_mean = self._hidden_pivot.double().cpu().numpy() + h1 / self._seen
        hidden_m2 = np.maximum(h2 - h1**2 / self._seen, 0) * self._count / self._seen
        moments = total / self._count, m2, m3, m4
        return GateCensus(self._count, low, high, *moments, half_lives, hidden_mean, hidden_m2)


class Census(Sink):
    """Count, per direction and unit, how forget gate and hidden state are spread over the bases read (`GateCensus`)."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[int, tuple[int, ...]], _Tally] = {}
        self._dropped: set[tuple[int, tuple[int, ...], int]] = set()

    def take(self, piece: Piece) -> None:
        """Add to the tally of the segments that are read side by side."""
        group = (piece.direction, tuple(piece.segments))
        if group not in self._tallies:
            self._tallies[group] = _Tally(piece.steps.forget, piece.steps.hidden)
        self._tallies[group].add(piece.steps.forget, piece.steps.hidden)

    def restart(self, direction: int, segment: int) -> None:
        """Drop what the segment gave so far."""
        self._dropped |= {(*group, segment) for group in self._tallies if group[0] == direction}

    def found(self) -> list[GateCensus | None]:
        """Return the census of each direction, values (H,); None where nothing was read."""
        totals: list[GateCensus | None] = [None] * len(DIRECTIONS)
        for (direction, segments), tally in sorted(self._tallies.items(), key=lambda item: item[0]):
            for row, segment in enumerate(segments):
                if (direction, segments, segment) not in self._dropped:
                    one, before = tally.of_row(row), totals[direction]
                    totals[direction] = one if before is None else before.merged(one)
        return totals
