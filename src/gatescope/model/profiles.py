"""Where in a stretch of 1,000 bp do the cuts fall, whatever their number? Predicted profiles between floor and ceiling.

A profile is a distribution over the scored bases of a window. It is held against the cuts by two scores, and cuts are
so few that neither means much alone: each stands between

- a *floor*: the profile that the network predicts for another window of the same kind (a seeded cycle through all);
- a *ceiling*: what one half of the cuts says about the other half (`gatescope.model.ceiling.split_cuts`), as a mixture
  of a flat profile, the half as it is, and the half smoothed by six widths. The eight weights are fitted to these very
  windows, which favours the ceiling.

`position` is 0 at the floor and 1 at the ceiling. The ceiling is half an experiment, not the truth: where cuts are few,
a network may know more than half of the cuts do, and then lies above 1.

Public names: `WINDOW_BP`, `FEWEST_CUTS`, `Windows`, `windows_at`, `window_sets`, `score_profiles`.

References
----------
Avsec et al. 2021 (multinomial likelihood of profiles); Pampari et al. 2024, ChromBPNet (Jensen-Shannon distance between
bounds). ChromBPNet's distance is in nats: multiply ours by 0.833 to compare.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import rel_entr

from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.model.metrics import Estimate, draw_blocks

WINDOW_BP = 1000
#: With fewer cuts a window says next to nothing about where they fall.
FEWEST_CUTS = 50
#: Of more, a seeded sample is taken: 10,000 windows give intervals that are narrow enough.
MOST_WINDOWS = 10_000
_CHUNK = 512
#: Standard deviations of the smoothing that the ceiling mixes; on so many windows, in so many steps.
_SMOOTHING_BP, _FITTED_ON, _EM_STEPS = (2, 5, 10, 20, 50, 100), 256, 100
#: A base at which a predictor expects no cut at all would make the likelihood of one cut 0.
_LEAST = 1e-6

#: What one half of the cuts can say about the other, by name.
_GUESSES = ("flat", "unsmoothed", *(f"smoothed_{sd}_bp" for sd in _SMOOTHING_BP))

METRICS = ("nll_per_cut", "jsd", "jsd_of_all_cuts")


@dataclass(frozen=True)
class Windows:
    """Hold n windows of `WINDOW_BP`, in the order of contigs.

    Attributes
    ----------
    contig : tuple of str
        The contigs that have windows.
    number : ndarray, shape (n,), int64
        Which of `contig` a window lies on.
    start : ndarray, shape (n,), int64
        First base, 0-based.
    block : ndarray, shape (n,), int64
        0 to `n_blocks` - 1, by the window's centre.
    n_blocks : int
    n_left_out : int
        Windows with fewer than `FEWEST_CUTS` cuts, half or more of which is not scored, or that leave the contig.
    """

    contig: tuple[str, ...]
    number: NDArray[np.int64]
    start: NDArray[np.int64]
    block: NDArray[np.int64]
    n_blocks: int
    n_left_out: int

    def take(self, values: Mapping[str, NDArray], rows: slice | NDArray) -> NDArray[np.float64]:
        """Return values per base (contig -> shape (L,)) of some windows, shape (k, WINDOW_BP)."""
        number, at = self.number[rows], self.start[rows, None] + np.arange(WINDOW_BP)
        taken = np.empty(at.shape, np.float64)
        for k in np.unique(number):
            taken[number == k] = values[self.contig[k]][at[number == k]]
        return taken


def window_sets(
    store: EncodedStore, contigs: tuple[str, ...], block_bp: int, seed: int
) -> dict[str, Windows]:
    """Choose windows: around peaks, and one after the other along the contigs.

    Returns
    -------
    dict
        ``peaks``: centred on the summits of the store's peaks; ``everywhere``: consecutive from the contig's start.
    """
    peaks = store.regions[store.regions["kind"] == "peak"]
    summits = {c: peaks.loc[peaks["chrom"] == c, "summit"].to_numpy() for c in contigs}
    starts = {
        "peaks": {c: np.unique(at - WINDOW_BP // 2) for c, at in summits.items()},
        "everywhere": {c: np.arange(0, store.lengths[c] - WINDOW_BP + 1, WINDOW_BP) for c in contigs},
    }
    return {name: windows_at(store, at, block_bp, seed) for name, at in starts.items()}


def windows_at(
    store: EncodedStore, starts: Mapping[str, NDArray[np.int64]], block_bp: int, seed: int
) -> Windows:
    """Keep the windows that can be scored, at most `MOST_WINDOWS` of them.

    Parameters
    ----------
    store : EncodedStore
    starts : mapping of str to ndarray, int64
        First bases of windows of each contig; they may leave the contig.
    block_bp : int
        Blocks are counted from each contig's start.
    seed : int
        Chooses among too many.
    """
    kept = {contig: _usable(store, contig, at) for contig, at in starts.items()}
    sizes = [len(at) for at in kept.values()]
    number, start = np.repeat(np.arange(len(kept)), sizes), np.concatenate([*kept.values(), np.zeros(0, int)])
    n_left_out = sum(map(len, starts.values())) - len(start)
    if len(start) > MOST_WINDOWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(start), MOST_WINDOWS, replace=False))
        number, start = number[rows], start[rows]
    blocks = np.stack([number, (start + WINDOW_BP // 2) // block_bp])
    occupied, block = np.unique(blocks, axis=1, return_inverse=True)
    return Windows(tuple(kept), number, start, block.reshape(-1), occupied.shape[1], n_left_out)


def _usable(store: EncodedStore, contig: str, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the windows inside the contig with enough scored bases and enough cuts on them."""
    starts = starts[(starts >= 0) & (starts <= store.lengths[contig] - WINDOW_BP)]
    state, cuts = store.state(contig), store.track(contig, "cuts")
    is_usable = np.zeros(len(starts), np.bool_)
    for first in range(0, len(starts), _CHUNK):
        at = starts[first : first + _CHUNK, None] + np.arange(WINDOW_BP)
        scored = state[at] != NOT_SCORED
        is_enough = np.where(scored, cuts[at], 0).sum(axis=1) >= FEWEST_CUTS
        is_usable[first : first + _CHUNK] = is_enough & (2 * scored.sum(axis=1) > WINDOW_BP)
    return starts[is_usable]


def score_profiles(
    windows: Windows,
    store: EncodedStore,
    half: Mapping[str, NDArray[np.float32]],
    predictors: Mapping[str, Mapping[str, NDArray]],
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any] | None:
    """Score predicted profiles; intervals draw blocks of windows, and are shared by all predictors.

    Parameters
    ----------
    windows : Windows
    store : EncodedStore
    half : mapping of str to ndarray, shape (L,)
        One half of the cuts, from `split_cuts`.
    predictors : mapping
        Name -> contig -> expected cuts per base (L,), in any unit. The first one makes the floor. A flat profile is
        scored as ``flat``.
    replicates, seed : int
        Of the intervals; the seed also decides which other window makes the floor.

    Returns
    -------
    dict or None
        Fit for JSON: ``n_windows, n_cuts, n_left_out, blocks``; ``mixture`` of the ceiling; ``scores``, a row per
        predictor and metric: ``value, floor, ceiling, position``, each with ``_low, _high``. Metrics: ``nll_per_cut``,
        -ln of the probability of a cut's base, mean over cuts; ``jsd``, Jensen-Shannon distance (base 2: 0 the same,
        1 no base in common) to each half of the cuts, mean over both and over windows; ``jsd_of_all_cuts``, the same
        to all cuts, which has no ceiling. None if there are fewer than two windows.
    """
    n = len(windows.start)
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    mixture = _mixture(windows, store, half)
    cycle = rng.permutation(n)
    other = np.empty(n, np.int64)
    other[cycle] = np.roll(cycle, 1)  # no window gets its own
    sources = {name: (values, np.arange(n)) for name, values in predictors.items()}
    sources["floor"] = (next(iter(predictors.values())), other)
    sums = _window_scores(windows, store, half, sources, mixture)
    draws = draw_blocks(windows.n_blocks, replicates, rng)
    estimates = {
        name: {metric: _ratio(*pair, windows, draws) for metric, pair in by_metric.items()}
        for name, by_metric in sums.items()
    }
    rows = [
        {"predictor": name, "metric": metric, **_between(estimates, name, metric)}
        for name in (*predictors, "flat")
        for metric in METRICS
    ]
    n_cuts = sum(float(observed.sum()) for _, _, observed, _ in _chunks(windows, store, half))
    return {
        "n_windows": n,
        "n_cuts": round(n_cuts),
        "n_left_out": windows.n_left_out,
        "blocks": windows.n_blocks,
        "mixture": dict(zip(_GUESSES, mixture.round(4).tolist(), strict=True)),
        "scores": rows,
    }


def _between(estimates: Mapping[str, Mapping[str, Estimate]], name: str, metric: str) -> dict[str, Any]:
    """Put a predictor's score between floor and ceiling."""
    value, floor = estimates[name][metric], estimates["floor"][metric]
    row = value.entries("value") | floor.entries("floor")
    ceiling = estimates["ceiling"].get(metric)
    if ceiling is None:
        return row
    room = floor.value - ceiling.value
    position = Estimate(
        (floor.value - value.value) / room if room > 0 else np.nan,
        (floor.replicates - value.replicates) / _positive(floor.replicates - ceiling.replicates),
    )
    return row | ceiling.entries("ceiling") | position.entries("position")


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, values, np.nan)


#: Something for the first half of the cuts and for the second, each shape (n, WINDOW_BP).
_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
#: Metric -> (numerator, denominator) of each window, each shape (n,).
_Sums = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def _window_scores(
    windows: Windows,
    store: EncodedStore,
    half: Mapping[str, NDArray],
    sources: Mapping[str, tuple[Mapping[str, NDArray], NDArray[np.int64]]],
    mixture: NDArray[np.float64],
) -> dict[str, _Sums]:
    """Score each window by each predictor, by a flat profile, and by each half of its cuts for the other."""
    parts: dict[str, list[_Sums]] = {}
    for rows, scored, observed, first in _chunks(windows, store, half):
        second = observed - first
        for name, (values, place) in sources.items():
            profile = _profile(windows.take(values, place[rows]), scored)
            parts.setdefault(name, []).append(_scores(profile, first, second))
        flat = _profile(scored.astype(np.float64), scored)
        parts.setdefault("flat", []).append(_scores(flat, first, second))
        guesses = (
            np.tensordot(mixture, _guesses(second, scored), axes=1),
            np.tensordot(mixture, _guesses(first, scored), axes=1),
        )
        parts.setdefault("ceiling", []).append(_crossed(guesses, (first, second)))
    return {name: _joined(chunks) for name, chunks in parts.items()}


def _joined(chunks: list[_Sums]) -> _Sums:
    """Put the windows of all chunks one behind the other."""
    return {
        metric: (
            np.concatenate([chunk[metric][0] for chunk in chunks]),
            np.concatenate([chunk[metric][1] for chunk in chunks]),
        )
        for metric in chunks[0]
    }


def _chunks(
    windows: Windows, store: EncodedStore, half: Mapping[str, NDArray]
) -> Iterator[tuple[slice, NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield rows, which bases are scored, and on these all cuts and one half of them."""
    states = {contig: store.state(contig) for contig in windows.contig}
    cuts = {contig: store.track(contig, "cuts") for contig in windows.contig}
    for start in range(0, len(windows.start), _CHUNK):
        rows = slice(start, start + _CHUNK)
        scored = windows.take(states, rows) != NOT_SCORED
        yield rows, scored, windows.take(cuts, rows) * scored, windows.take(half, rows) * scored


def _profile(expected: NDArray[np.float64], scored: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Turn expected cuts into probabilities over the scored bases, none of them 0."""
    flat = scored / scored.sum(axis=1, keepdims=True)
    inside = np.where(scored, expected, 0)
    total = inside.sum(axis=1, keepdims=True)
    shares = np.divide(inside, total, out=flat.copy(), where=total > 0)
    return (1 - _LEAST) * shares + _LEAST * flat


def _guesses(cuts: NDArray[np.float64], scored: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what cuts say about where others fall, by smoothing of each width and not at all, shape (K, n, W)."""
    spread = [
        np.asarray(gaussian_filter1d(cuts, sd, axis=1, mode="constant", truncate=3)) for sd in _SMOOTHING_BP
    ]
    return np.stack([_profile(each, scored) for each in (scored.astype(np.float64), cuts, *spread)])


def _mixture(windows: Windows, store: EncodedStore, half: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """Return the weights of the guesses, (K,), under which the halves predict each other best.

    By expectation maximisation, which finds the best mixture whatever it starts from, on evenly chosen windows.
    """
    rows = np.unique(np.linspace(0, len(windows.start) - 1, _FITTED_ON).astype(int))
    chosen = Windows(
        windows.contig, windows.number[rows], windows.start[rows], windows.block[rows], windows.n_blocks, 0
    )
    likelihoods, counts = [], []
    for _, scored, observed, first in _chunks(chosen, store, half):
        second = observed - first
        for known, unknown in ((first, second), (second, first)):
            at = unknown > 0
            likelihoods.append(_guesses(known, scored)[:, at])
            counts.append(unknown[at])
    likelihood, count = np.concatenate(likelihoods, axis=1), np.concatenate(counts)
    weights = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(_EM_STEPS):
        joint = weights[:, None] * likelihood
        weights = (joint / joint.sum(axis=0)) @ count / count.sum()
    return weights


def _nll(profile: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return - sum of cuts * ln(probability) of each window; only scored bases have either."""
    return -(cuts * np.log(np.where(cuts > 0, profile, 1))).sum(axis=1)


def _crossed_nll(guesses: _Pair, cuts: _Pair) -> NDArray[np.float64]:
    return _nll(guesses[0], cuts[0]) + _nll(guesses[1], cuts[1])


def _distance(profile: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Jensen-Shannon distance of each window, base 2; 1 where there is no cut."""
    total = cuts.sum(axis=1, keepdims=True)
    found = np.divide(cuts, total, out=np.zeros_like(cuts), where=total > 0)
    middle = (profile + found) / 2
    divergence = (rel_entr(profile, middle) + rel_entr(found, middle)).sum(axis=1) / (2 * np.log(2))
    return np.where(total[:, 0] > 0, np.sqrt(np.maximum(divergence, 0)), 1)


def _scores(profile: NDArray, first: NDArray, second: NDArray) -> _Sums:
    """Score one profile against either half and against all cuts."""
    crossed = _crossed((profile, profile), (first, second))
    return crossed | {"jsd_of_all_cuts": (_distance(profile, first + second), np.ones(len(profile)))}


def _crossed(guesses: _Pair, cuts: _Pair) -> _Sums:
    """Score a profile for each half."""
    distance = (_distance(guesses[0], cuts[0]) + _distance(guesses[1], cuts[1])) / 2
    n_cuts = cuts[0].sum(axis=1) + cuts[1].sum(axis=1)
    return {"nll_per_cut": (_crossed_nll(guesses, cuts), n_cuts), "jsd": (distance, np.ones(len(distance)))}


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], windows: Windows, draws: NDArray[np.int64]
) -> Estimate:
    """Return the sum of one thing over the sum of another, and the same over drawn blocks."""
    parts, wholes = (np.bincount(windows.block, x, windows.n_blocks) for x in (part, whole))
    return Estimate(float(part.sum() / whole.sum()), (draws @ parts) / (draws @ wholes))
