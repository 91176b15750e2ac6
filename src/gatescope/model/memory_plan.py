"""Which memory lengths do the hidden units start with? Half-lives in bp, and the forget gates that give them.

A forget gate f that stays as it is halves a memory every ln(1/2) / ln(f) bases. By its bias alone a unit of half-life
h has f = 2^(-1/h) and the bias logit(f).

Public names: `SPECTRA`, `half_life_spectrum`, `forget_bias`, `plan_lines`.

References
----------
Mahto et al. 2021 (half-lives of units, power law). Tallec & Ollivier 2018 (chrono initialisation).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LN2 = math.log(2)
#: Exponent of the power law: time scales of language, Mahto et al. 2021.
_POWER = 0.56


def _log_uniform(shortest: float, longest: float, share: NDArray) -> NDArray:
    return 10 ** (math.log10(shortest) + share * (math.log10(longest) - math.log10(shortest)))


def _uniform(shortest: float, longest: float, share: NDArray) -> NDArray:
    return shortest + share * (longest - shortest)


def _power_law(shortest: float, longest: float, share: NDArray) -> NDArray:
    low, high = shortest**-_POWER, longest**-_POWER
    return (low + share * (high - low)) ** (-1 / _POWER)


def _chrono(shortest: float, longest: float, share: NDArray) -> NDArray:
    """Spread T = f / (1 - f) evenly, whose logarithm is the bias."""
    first, last = (1 / np.expm1(_LN2 / bp) for bp in (shortest, longest))
    return _LN2 / np.log1p(1 / (first + share * (last - first)))


#: Quantile functions, by the name that the configuration knows.
SPECTRA: dict[str, Callable[[float, float, NDArray], NDArray]] = {
    "log-uniform": _log_uniform,
    "uniform": _uniform,
    "power-law": _power_law,
    "chrono": _chrono,
}


def half_life_spectrum(
    spectrum: str, shortest_bp: float, longest_bp: float, units: int
) -> NDArray[np.float64]:
    """Return the half-lives of `units` units in bp, ascending: evenly spaced quantiles of a distribution.

    Parameters
    ----------
    spectrum : str
        ``log-uniform``: as many units per octave everywhere. ``uniform``: as many per bp, so mostly long ones.
        ``power-law``: density falling with half-life^-1.56, so mostly short ones with a long tail (Mahto et al. 2021).
        ``chrono``: forget biases ln T with T uniform (Tallec & Ollivier 2018), for long memories the same as uniform.
    shortest_bp, longest_bp : float
        First and last half-life.
    units : int
        One unit gets the shortest.
    """
    return SPECTRA[spectrum](shortest_bp, longest_bp, np.linspace(0, 1, units))


def forget_bias(half_life_bp: ArrayLike) -> NDArray[np.float64]:
    """Return the logit of the forget gate that halves a memory in so many bp, exact near a gate of 1."""
    log_gate = -_LN2 / np.asarray(half_life_bp, np.float64)
    return log_gate - np.log(-np.expm1(log_gate))


def plan_lines(reaches_bp: Iterable[float]) -> list[str]:
    """Return a table as text, one line per half-life: the forget gate and the bias it needs, and what is left later."""
    lines = ["half-life (bp)   forget gate   1 - gate    bias  left after 1 kb  after 10 kb"]
    for bp in reaches_bp:
        gate, lost, bias = 2 ** (-1 / bp), -math.expm1(-_LN2 / bp), float(forget_bias(bp))
        soon, later = (2 ** (-distance / bp) for distance in (1000, 10_000))
        lines.append(
            f"{bp:>14,.10g}  {gate:>12.10f}  {lost:>9.3g}  {bias:>6.2f}  {soon:>15.3g}  {later:>11.3g}"
        )
    return lines
