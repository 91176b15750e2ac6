"""How much of the cuts does a track explain? Deviance of counts per bin, beside an even rate.

Public names: `BINS_BP`, `Explained`, `compare_counts`, `explain`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from gatescope.atac.tn5_model import MOST_CUTS_PER_BP, PIECE_BP

#: Resolutions at which counts are compared.
BINS_BP = (1, 50, 200, 1000)


@dataclass(frozen=True)
class Explained:
    """Say how much of the counts in bins a track explains.

    Attributes
    ----------
    bin_bp : int
    cuts : int
        Cuts compared.
    share : float or None
        1 - deviance with the track / deviance with an even rate; 0 explains nothing, below 0 is worse than nothing,
        and 1 is out of reach, because counts are random. None without cuts, or where the counts do not vary.
    bits_per_cut : float or None
        Gain in log2 likelihood over an even rate, per cut.
    """

    bin_bp: int
    cuts: int
    share: float | None
    bits_per_cut: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, rounded."""
        rounded = {key: value if value is None else round(value, 6) for key, value in asdict(self).items()}
        return rounded


def compare_counts(
    cuts: NDArray[np.floating], rate: NDArray[np.floating], is_used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what `explain` needs to know of a contig; the arrays of several contigs add up.

    Parameters
    ----------
    cuts : numpy.ndarray
        (L,) cuts at each base, of which at most `MOST_CUTS_PER_BP` count.
    rate : numpy.ndarray
        (L,) relative rates, above 0.
    is_used : numpy.ndarray
        (L,) bool. A bin holds what is used of it, little or much.

    Returns
    -------
    numpy.ndarray
        (4, 6) float64: for each of `BINS_BP` the sums over bins of y, n, m, y ln y, y ln n and y ln m, where a bin
        holds y cuts on n bases, whose rates add up to m.
    """
    sums = np.zeros((len(BINS_BP), 6))
    for start in range(0, len(cuts), PIECE_BP):
        piece = slice(start, start + PIECE_BP)
        used = is_used[piece]
        y = np.where(used, np.minimum(cuts[piece], MOST_CUTS_PER_BP), 0.0)
        m = np.where(used, rate[piece], 0.0).astype(np.float64)
        for row, bin_bp in zip(sums, BINS_BP, strict=True):
            row += _sums(*(_in_bins(values, bin_bp) for values in (y, used.astype(np.float64), m)))
    return sums


def _in_bins(values: NDArray[np.float64], bin_bp: int) -> NDArray[np.float64]:
    """Sum consecutive bins; the last one may be shorter."""
    return np.add.reduceat(values, np.arange(0, len(values), bin_bp)) if bin_bp > 1 else values


def _sums(y: NDArray[np.float64], n: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([each.sum() for each in (y, n, m, xlogy(y, y), xlogy(y, n), xlogy(y, m))])


def explain(sums: NDArray[np.float64]) -> list[Explained]:
    """Compare the Poisson deviance of counts under a track with that under an even rate.

    Both rates are scaled to the number of cuts; nothing else is fitted.

    Parameters
    ----------
    sums : numpy.ndarray
        (4, 6) from `compare_counts`, summed over contigs.

    Returns
    -------
    list of Explained
        One for each of `BINS_BP`.

    References
    ----------
    McCullagh & Nelder 1989, section 2.3 (deviance of Poisson counts).
    """
    return [_explain_bins(bin_bp, *map(float, row)) for bin_bp, row in zip(BINS_BP, sums, strict=True)]


def _explain_bins(
    bin_bp: int, y: float, n: float, m: float, y_ln_y: float, y_ln_n: float, y_ln_m: float
) -> Explained:
    if not y:
        return Explained(bin_bp, 0, None, None)
    even = y_ln_y - y_ln_n - xlogy(y, y / n)  # half of the deviance: the sums of counts and rates agree
    track = y_ln_y - y_ln_m - xlogy(y, y / m)
    gain = float(even - track)
    share = gain / float(even) if even > 1e-9 * y else None
    return Explained(bin_bp, round(y), share, gain / (y * float(np.log(2))))
