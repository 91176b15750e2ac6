"""How well does a closing forget gate find boundaries? Against composition, predictions, and an untrained network.

A *place* stands every `tolerance_bp` along a contig, and looks `tolerance_bp` to either side: at the bases
``[x - tolerance_bp, x + tolerance_bp)`` of a place at x. It is *positive* if the first base that the direction reads
beyond a boundary of the crossing is among them; each detector gives it the largest value that it has there. So every
boundary makes two places positive, a detector that answers at boundaries and nowhere else is perfect, and one that is
off by more than the tolerance finds nothing. Places that look at unknown bases are left out.

All detectors look at the same places. Units are chosen on the validation contigs, and so is the threshold at which F1
is largest; what is reported is of the test contigs, with intervals from blocks drawn with replacement.

Public names: `DETECTORS`, `DetectorSettings`, `DetectorData`, `score_detectors`.

References
----------
Wang, Chung & Lee, Interspeech 2017 (gate activations against phoneme boundaries, within a tolerance).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, precision_recall_curve

from gatescope.boundaries.profile import find_sites, gate_positions
from gatescope.errors import InputError
from gatescope.genome.crossings import CROSSINGS
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.metrics import MISSING, Bins, Estimate, draw_blocks, paired_difference, score_state
from gatescope.trace.units import DIRECTIONS, UnitStore

#: What is compared, in the order of the table.
DETECTORS = {
    "unit": "1 - f of the chosen unit",
    "best_unit": "1 - f of the unit that finds most on the validation contigs",
    "write": "|i g| of the chosen unit",
    "hidden_change": "length of the change of the hidden states",
    "gc_step": "|GC content to the right - to the left|",
    "prediction_step": "|prediction to the right - to the left|",
    "twin": "1 - f of the untrained unit that finds most on the validation contigs",
}
_COLUMNS = (
    *("direction", "crossing", "detector", "unit", "n_places", "n_boundaries", "base_rate"),
    *(f"{metric}{end}" for metric in ("auroc", "auprc", "f1") for end in ("", "_low", "_high")),
    *("threshold", "unit_ahead", "unit_ahead_low", "unit_ahead_high"),
)
#: GC content of one base; unknown ones have none.
_GC = np.array([0.0, 1.0, 1.0, 0.0, np.nan])
#: About so many bases of a contig are looked at together.
_CHUNK = 4_000_000
_STREAM = 6  # of random numbers, beside those of the other statistics of the stage

#: Values of a detector at the bases [start, end) of a contig, float.
_Reader = Callable[[str, int, int], NDArray]


@dataclass(frozen=True)
class DetectorSettings:
    """Hold what was declared beforehand.

    Attributes
    ----------
    tolerance_bp : int
        How far from a boundary it still counts as found.
    step_bp : int
        Bases to either side whose GC content, or prediction, is compared.
    block_bp : int
        Length of the blocks that are drawn for intervals.
    replicates : int
        How often.
    """

    tolerance_bp: int = 25
    step_bp: int = 100
    block_bp: int = 20_000
    replicates: int = 500

    def __post_init__(self) -> None:
        if min(self.tolerance_bp, self.step_bp, self.block_bp, self.replicates) < 1:
            raise InputError(f"{self}; wanted at least 1 each", where="config: boundaries")


class DetectorData(NamedTuple):
    """Everything that is read."""

    units: UnitStore
    twin: UnitStore | None  # of the untrained network
    n_units: int  # H of either
    codes: Callable[[str], NDArray[np.uint8]]  # bases of a contig, 4 = unknown
    predicted: Callable[[str], NDArray] | None  # the network's own cuts or state along a contig, (L,)
    regions: pd.DataFrame  # chrom, start, end; merged
    test: Mapping[str, int]  # contig -> length in bp
    valid: Mapping[str, int]


def score_detectors(
    data: DetectorData, direction: int, unit: int, settings: DetectorSettings, seed: int = 0
) -> pd.DataFrame:
    """Score all detectors at both crossings of one direction.

    Parameters
    ----------
    data : DetectorData
    direction : int
        Index into `DIRECTIONS`.
    unit : int
        The chosen unit of the direction.
    settings : DetectorSettings
    seed : int
        Of the blocks.

    Returns
    -------
    DataFrame
        One row per crossing and detector: `direction`, `crossing`, `detector` (`DETECTORS`), `unit` (missing where it
        is of none), `n_places`, `n_boundaries`, `base_rate` (share of positive places, the AUPRC of chance);
        `auroc`, `auprc` and `f1` on the test contigs, each with `_low, _high`; `threshold`, from the validation
        contigs (missing, with F1, of a detector that says nothing there); `unit_ahead`, by how much the AUPRC of the
        chosen unit is larger, with `_low, _high` from the same draws. Intervals are missing where there are fewer than
        ten blocks.

    Raises
    ------
    InputError
        If no boundary lies in the test or the validation contigs.
    """
    test, valid = (
        {crossing: _Places.of(data, lengths, direction, crossing, settings) for crossing in CROSSINGS}
        for lengths in (data.test, data.valid)
    )
    best = _best_units(data.units, data.n_units, direction, valid)
    twin = {} if data.twin is None else _best_units(data.twin, data.n_units, direction, valid)
    rows = []
    for crossing in CROSSINGS:
        detectors = _detectors(data, direction, unit, best[crossing], twin.get(crossing), settings)
        rng = np.random.default_rng([seed, _STREAM, direction, CROSSINGS.index(crossing)])
        draws = draw_blocks(test[crossing].bins.n_blocks, settings.replicates, rng)
        scores = [_score(test[crossing], valid[crossing], each, draws) for each in detectors]
        places = {"direction": DIRECTIONS[direction], "crossing": crossing, **test[crossing].counts()}
        rows += [{**places, **each.columns(scores[0])} for each in scores]
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"unit": "Int64"})


@dataclass(frozen=True)
class _Places:
    """The n places of some contigs: which are positive, and which block each lies in."""

    bins: Bins
    lengths: Mapping[str, int]
    n_boundaries: int

    @classmethod
    def of(
        cls,
        data: DetectorData,
        lengths: Mapping[str, int],
        direction: int,
        crossing: str,
        settings: DetectorSettings,
    ) -> "_Places":
        """Find the places of some contigs; refuse contigs without a boundary."""
        tolerance = settings.tolerance_bp
        sites = find_sites(data.regions, lengths, direction, crossing, tolerance)
        if sites.n == 0:
            raise InputError(
                f"no region boundary in contigs {', '.join(lengths)}",
                where="config: folds",
                remedy="choose contigs with more peaks",
            )
        kept, labels, starts, blocks, n_blocks = {}, [], [], [], 0
        for contig, length in lengths.items():
            kept[contig] = _largest(_is_unknown(data), contig, length, tolerance) == 0
            boundaries = sites.positions.get(contig, np.zeros(0, np.int64))
            beyond = gate_positions(boundaries, np.zeros(1, np.int64), direction)[:, 0]
            in_bin = np.bincount(beyond // tolerance, minlength=length // tolerance)[: length // tolerance]
            labels.append((in_bin[:-1] + in_bin[1:] > 0)[kept[contig]])
            starts.append((np.flatnonzero(kept[contig]) + 1) * tolerance)
            blocks.append(n_blocks + starts[-1] // settings.block_bp)
            n_blocks += length // settings.block_bp + 1
        # blocks without a place are no observation
        occupied, block = np.unique(np.concatenate(blocks), return_inverse=True)
        label = np.concatenate(labels)
        bins = Bins(
            bin_bp=tolerance,
            label=label,
            cuts=np.zeros(label.size),  # AUROC and AUPRC look at labels and blocks alone
            start=np.concatenate(starts),
            block=block,
            n_blocks=len(occupied),
            n_left_out=sum(int((~each).sum()) for each in kept.values()),
            scored=kept,
            kept=kept,
        )
        return cls(bins, lengths, sites.n)

    def scores(self, read: _Reader) -> NDArray[np.float64]:
        """Return the largest value that a detector has at each place, (n,)."""
        size = self.bins.bin_bp
        found = {contig: _largest(read, contig, length, size) for contig, length in self.lengths.items()}
        return self.bins.pick(found)

    def counts(self) -> dict[str, float]:
        """Return how many places and boundaries there are, and the share of positive places."""
        label = self.bins.label
        return {
            "n_places": label.size,
            "n_boundaries": self.n_boundaries,
            "base_rate": float(label.mean()),
        }


class _Detector(NamedTuple):
    """One of the detectors of a direction and crossing."""

    name: str
    unit: int | None
    read: _Reader


def _detectors(
    data: DetectorData,
    direction: int,
    unit: int,
    best: int,
    twin: int | None,
    settings: DetectorSettings,
) -> list[_Detector]:
    """Return the detectors that there is data for, the chosen unit first."""
    units, predicted = data.units, data.predicted

    def steps(values: _Reader) -> _Reader:
        return _steps(values, {**data.test, **data.valid}, settings.step_bp, direction)

    found = [
        _Detector("unit", unit, _erasure(units, direction, unit)),
        _Detector("best_unit", best, _erasure(units, direction, best)),
        _Detector("write", unit, lambda c, a, b: np.abs(units.writes(c, direction, unit)[a:b])),
        _Detector("hidden_change", None, lambda c, a, b: units.hidden_change(c, direction)[a:b]),
        _Detector("gc_step", None, steps(lambda c, a, b: _GC[data.codes(c)[a:b]])),
    ]
    if predicted is not None:
        found.append(_Detector("prediction_step", None, steps(lambda c, a, b: predicted(c)[a:b])))
    if data.twin is not None and twin is not None:
        found.append(_Detector("twin", twin, _erasure(data.twin, direction, twin)))
    return found


def _erasure(store: UnitStore, direction: int, unit: int) -> _Reader:
    """Return the reader of 1 - f, from logits: float32 gates near 1 are all the same."""
    return lambda contig, start, end: expit(
        -store.logits(contig, direction, unit)[start:end].astype(np.float64)
    )


def _is_unknown(data: DetectorData) -> _Reader:
    return lambda contig, start, end: np.asarray(data.codes(contig)[start:end]) == UNKNOWN


def _steps(values: _Reader, lengths: Mapping[str, int], step_bp: int, direction: int) -> _Reader:
    """Return the reader of how much the mean to the right of a place differs from that to the left of it.

    A step belongs to the first base that the direction reads beyond it, as boundaries do. Values that are not numbers
    do not count; where one side has none there is no step.
    """
    shift = 0 if DIRECTIONS[direction] == "fwd" else 1

    def read(contig: str, start: int, end: int) -> NDArray[np.float64]:
        length = lengths[contig]
        low, high = max(0, start - step_bp), min(length, end + shift + step_bp)
        some = np.asarray(values(contig, low, high), np.float64)
        known = np.isfinite(some)
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, some, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        middle = np.arange(start, end) + shift - low
        left, right = np.maximum(middle - step_bp, 0), np.minimum(middle + step_bp, high - low)
        with np.errstate(invalid="ignore", divide="ignore"):
            before = (sums[middle] - sums[left]) / (counts[middle] - counts[left])
            after = (sums[right] - sums[middle]) / (counts[right] - counts[middle])
        return np.nan_to_num(np.abs(after - before))

    return read


def _largest(read: _Reader, contig: str, length: int, tolerance_bp: int) -> NDArray[np.float64]:
    """Return the largest value within `tolerance_bp` of each place of a contig, (length // tolerance_bp - 1,)."""
    ends = length // tolerance_bp * tolerance_bp
    chunk = max(1, _CHUNK // tolerance_bp) * tolerance_bp
    bins = [
        np.asarray(read(contig, start, min(start + chunk, ends)), np.float64).reshape(-1, tolerance_bp).max(1)
        for start in range(0, ends, chunk)
    ]
    of_bins = np.concatenate(bins) if bins else np.zeros(1)
    return np.maximum(of_bins[:-1], of_bins[1:])


def _best_units(
    store: UnitStore, n_units: int, direction: int, valid: Mapping[str, _Places]
) -> dict[str, int]:
    """Return, of each crossing, the unit whose 1 - f has the largest AUPRC on the validation contigs."""
    found = {crossing: np.zeros(n_units) for crossing in valid}
    places, *_ = valid.values()  # the same at either crossing; which of them are positive differs
    for unit in range(n_units):
        scores = places.scores(_erasure(store, direction, unit))
        for crossing, each in valid.items():
            found[crossing][unit] = average_precision_score(each.bins.label, scores)
    return {crossing: int(each.argmax()) for crossing, each in found.items()}


class _Scored(NamedTuple):
    """How well one detector does on the test contigs."""

    detector: _Detector
    metrics: dict[str, Estimate]
    threshold: float

    def columns(self, first: "_Scored") -> dict[str, Any]:
        """Return what the table says of it; `first` is the chosen unit."""
        found = {"detector": self.detector.name, "unit": self.detector.unit, "threshold": self.threshold}
        for name, metric in self.metrics.items():
            found |= metric.columns(name)
        return found | paired_difference(first.metrics["auprc"], self.metrics["auprc"]).columns("unit_ahead")


def _score(test: _Places, valid: _Places, detector: _Detector, draws: NDArray[np.int64]) -> _Scored:
    """Choose the threshold of a detector on the validation contigs, and score it on the test contigs."""
    scores, on_valid = test.scores(detector.read), valid.scores(detector.read)
    metrics = score_state(test.bins, scores, draws) | {"f1": MISSING}
    if not on_valid.any():  # nothing to choose a threshold by, such as predictions of the test contigs alone
        return _Scored(detector, metrics, np.nan)
    precision, recall, thresholds = precision_recall_curve(valid.bins.label, on_valid)
    both = np.maximum(precision + recall, np.finfo(float).tiny)
    threshold = float(thresholds[(2 * precision * recall / both)[:-1].argmax()])
    return _Scored(detector, metrics | {"f1": _f1(test.bins, scores >= threshold, draws)}, threshold)


def _f1(bins: Bins, found: NDArray[np.bool_], draws: NDArray[np.int64]) -> Estimate:
    """Return F1 = 2 hits / (positive + found) of what a detector found."""
    hits, either = (
        np.bincount(bins.block, weights=each, minlength=bins.n_blocks)
        for each in (2.0 * (found & bins.label), found.astype(float) + bins.label)
    )
    with np.errstate(invalid="ignore"):
        return Estimate(float(hits.sum() / either.sum()), draws @ hits / (draws @ either))
