"""What profile would the same boundaries give if they lay elsewhere? The circular-shift null.

The whole boundary set of a contig is shifted along it as one body and wrapped around its end: spacing and
clustering of the boundaries and autocorrelation of the gate track stay what they are, only their relation
is broken. Contigs are shifted independently of each other; all units see the same shifts.

The mean profile at *every* shift is one circular cross-correlation of the gate track with the indicator of
the boundaries, so that a null of 999 replicates costs two Fourier transforms per unit and contig.

Public names: `CircularShiftNull`, `CircularSums`.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft
from scipy.special import expit

from gatescope.boundaries.profile import Sites
from gatescope.trace.units import DIRECTIONS, UnitStore


class CircularShiftNull:
    """Compute the mean profile of a gate at shifted boundaries.

    Windows across the seam, where a contig's end meets its start, are left out of each replicate's mean.

    Parameters
    ----------
    sites : Sites
        The boundaries; at least one.
    lengths : dict of str to int
        Contig lengths in bp.
    shifts : dict of str to int64 array, shape (m,)
        Shift of each contig in each replicate, in bp to the right, ``0 <= shift < length``.
    profile_bp : int
        Half-width of the profile.

    References
    ----------
    regioneR (Gel et al. 2016), ``circularRandomizeRegions``.
    """

    def __init__(
        self, sites: Sites, lengths: dict[str, int], shifts: dict[str, NDArray[np.int64]], profile_bp: int
    ) -> None:
        self._direction = sites.direction
        self._profile_bp = profile_bp
        contigs = sites.positions.items()
        moved = [(at + shifts[contig][:, None]) % lengths[contig] for contig, at in contigs]  # (m, n) each
        across = [
            (each < profile_bp) | (each > lengths[contig] - profile_bp)
            for each, contig in zip(moved, sites.positions, strict=True)
        ]
        n_across = np.sum([mask.sum(1) for mask in across], axis=0)
        # a replicate that would lose every window keeps them all: a mean needs something
        keeps_all = n_across == sites.n
        self._n = sites.n - np.where(keeps_all, 0, n_across)  # (m,) windows per replicate
        self._contigs = [
            _ShiftedContig.of(
                contig, lengths[contig], boundaries, shifts[contig], each, mask & ~keeps_all[:, None]
            )
            for (contig, boundaries), each, mask in zip(contigs, moved, across, strict=True)
        ]

    def profiles(self, units: UnitStore, unit: int) -> NDArray[np.float64]:
        """Return the mean profile of one unit's forget gate in every replicate, shape (m, 2 * profile_bp)."""
        sums = np.zeros((len(self._n), 2 * self._profile_bp))
        for contig in self._contigs:
            forget = expit(np.asarray(units.logits(contig.name, self._direction, unit), np.float64))
            sums += self._windows(contig.sums(forget), contig.shifts)
            if len(contig.rows):
                # few windows cross the seam, so they are taken out one by one
                windows = self._windows(forget, contig.seam_boundaries)
                sums[contig.rows] -= np.add.reduceat(windows, contig.first)
        return sums / self._n[:, None]

    def _windows(self, circle: NDArray[np.float64], centres: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read a window around each centre off a circle, in reading order, shape (n, 2 * profile_bp).

        Both directions read the bases ``[centre - profile_bp, centre + profile_bp)``, one of them backwards.
        """
        width = 2 * self._profile_bp
        unrolled = np.concatenate([circle, circle[: width - 1]])
        windows = sliding_window_view(unrolled, width)[(centres - self._profile_bp) % len(circle)]
        return windows if DIRECTIONS[self._direction] == "fwd" else windows[:, ::-1]


class _ShiftedContig(NamedTuple):
    """One contig's boundaries, its shifts, and the windows across its seam, grouped by replicate."""

    name: str
    shifts: NDArray[np.int64]  # (m,)
    sums: "CircularSums"
    seam_boundaries: NDArray[np.int64]  # shifted boundaries whose window crosses the seam
    rows: NDArray[np.intp]  # replicates that have such windows
    first: NDArray[np.intp]  # where each of these replicates begins in seam_boundaries

    @classmethod
    def of(
        cls,
        name: str,
        length: int,
        boundaries: NDArray[np.int64],
        shifts: NDArray[np.int64],
        moved: NDArray[np.int64],
        across: NDArray[np.bool_],
    ) -> "_ShiftedContig":
        """Group the windows across the seam; nonzero() returns them sorted by replicate."""
        replicates, which = np.nonzero(across)
        rows, first = np.unique(replicates, return_index=True)
        return cls(name, shifts, CircularSums(boundaries, length), moved[replicates, which], rows, first)


class CircularSums:
    """Compute ``R[k] = sum over boundaries b of track[(b + k) mod L]`` for every k.

    Parameters
    ----------
    boundaries : int64, shape (n,), in ``[0, L]``
    length : int
        L.
    """

    def __init__(self, boundaries: NDArray[np.int64], length: int) -> None:
        self._length = length
        # lengths with large prime factors are up to ten times slower than a doubled track of a good length
        self._is_doubled = fft.next_fast_len(length, real=True) != length
        self._size = fft.next_fast_len(2 * length, real=True) if self._is_doubled else length
        indicator = np.bincount(boundaries % length, minlength=length).astype(np.float64)
        self._spectrum = np.asarray(fft.rfft(indicator, n=self._size)).conj()

    def __call__(self, track: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return R, shape (L,), of a track of shape (L,)."""
        circle = np.concatenate([track, track]) if self._is_doubled else track
        spectrum = np.asarray(fft.rfft(circle, n=self._size)) * self._spectrum
        return np.asarray(fft.irfft(spectrum, n=self._size))[: self._length]
