"""Does a track hold cut counts? If not, what it looks like and what helps.

Public names: `Roughness`, `SignalLook`, `explain_signal`, `LEAST_ROUGHNESS`, `GIVE_READS`.

Counts are whole numbers, and those of neighbouring bases are independent of each other but for chance: they differ as
Poisson counts do. Whatever was spread over more than one base (reads, fragments, kernels) changes slowly.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Below this much of the differences that chance gives, a track was spread out. Reads of 36 bp give 0.03.
LEAST_ROUGHNESS = 0.5
_MOST_DISTINCT = 200
_SLOW = 0.1
#: What helps in most cases.
GIVE_READS = "give the BAM or the fragments instead, from which `gatescope cuts` counts Tn5 cuts per base"


@dataclass
class Roughness:
    """Compare how much neighbouring bases differ with what independent counts would give.

    For independent Poisson counts the mean square difference of neighbours is twice the mean, so that the
    `ratio` is 1 at any depth; more where some bases are preferred. Coverage by pieces of w bp gives 1/w: its
    value changes only where a piece begins or ends.
    """

    squares: float = 0.0
    total: float = 0.0
    n_nonzero: int = 0
    n_equal: int = 0

    def add(self, values: np.ndarray) -> None:
        """Add a stretch of counts, (n,), without gaps."""
        steps = np.diff(values.astype(np.float64))
        self.squares += float((steps**2).sum())
        self.total += float(values.sum(dtype=np.float64))
        self.n_nonzero += int(np.count_nonzero(values))
        self.n_equal += int(np.count_nonzero((steps == 0) & (values[1:] > 0)))

    @property
    def ratio(self) -> float:
        """Mean square difference of neighbours over twice the mean; infinite without a count."""
        return self.squares / (2 * self.total) if self.total else float("inf")

    @property
    def share_equal(self) -> float:
        """Share of the bases with a count that have the count of the base before."""
        return self.n_equal / max(1, self.n_nonzero)


class SignalLook(NamedTuple):
    """Say what a track looks like, why, and what to do about it."""

    cause: str
    remedy: str


def explain_signal(values: np.ndarray) -> SignalLook:
    """Guess what a stretch of a track holds that is no cut counts.

    Parameters
    ----------
    values : ndarray, (n,) float
        A stretch that holds such values; 0 where there is none.

    Returns
    -------
    SignalLook
        Told apart are: log ratios and differences (negative), scaled counts (multiples of one number),
        coverage (whole numbers that change slowly), and smoothed or p-value tracks (fractions that do).
    """
    known = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    if known.size == 0:
        return SignalLook("values that are no numbers", GIVE_READS)
    seen = _seen(values)
    if (known < 0).any():
        return SignalLook(f"a log ratio, or a track with a control subtracted: {seen}", GIVE_READS)
    unit = _common_unit(known)
    is_slow = _changes_slowly(values)
    if unit is not None and unit < 1 and (_is_rounding(unit) or np.mean(known == np.round(known)) > 0.5):
        unit = None
    if unit is not None and not is_slow:
        return SignalLook(
            f"counts that were scaled, such as to reads per million: every value is a multiple of {unit:.6g}",
            f"divide the values by {unit:.6g}, or give the BAM or the fragments",
        )
    if unit is not None:
        what = "coverage by whole reads or fragments" + (", scaled" if abs(unit - 1) > 1e-6 else "")
    elif is_slow:
        what = "a smoothed, p-value (-log10 p) or fold-change track"
    else:
        what = "a smoothed, normalised or corrected track"
    return SignalLook(f"{what}: {seen}", GIVE_READS)


def _seen(values: np.ndarray) -> str:
    """Say in numbers what was seen."""
    finite = values[np.isfinite(values)]
    covered = finite != 0
    fractions = np.mean(finite[covered] != np.round(finite[covered]))
    steps = np.diff(finite)
    equal = np.mean(steps[covered[1:]] == 0) if covered[1:].any() else 0.0
    parts = [f"{covered.mean():.0%} of the bases have a value", f"{fractions:.0%} of these are fractions"]
    parts.append(f"{equal:.0%} equal to the base before")
    if (negative := np.mean(finite < 0)) > 0:
        parts.append(f"{negative:.0%} of all negative")
    return ", ".join(parts)


def _changes_slowly(values: np.ndarray) -> bool:
    """Tell whether neighbours differ by little, as seen from how much bases differ anywhere."""
    finite = values[np.isfinite(values)].astype(np.float64)
    spread = finite.var()
    return spread > 0 and float((np.diff(finite) ** 2).mean()) / (2 * spread) < _SLOW


def _is_rounding(unit: float) -> bool:
    """Tell whether this is a place after the decimal point: values that were rounded to it have it in common."""
    places = -np.log10(unit)
    return bool(abs(places - round(places)) < 1e-4)


def _common_unit(known: np.ndarray) -> float | None:
    """Return the number that all values are small whole multiples of, if there is one."""
    distinct = np.unique(known.astype(np.float32)).astype(np.float64)
    if distinct.size > _MOST_DISTINCT:
        return None
    multiples = distinct / distinct[0]
    is_whole = np.abs(multiples - np.round(multiples)) < 1e-4 * np.maximum(multiples, 1)
    return float(distinct[0]) if is_whole.all() else None
