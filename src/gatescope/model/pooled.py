"""What did each predictor say about the held-out bins of all folds? Runs read, checked against each other and pooled.

Predictors are called as their model; its twin without recurrence is ``<model>.ablated``; what does not belong to a
model (GC content, k-mer boosting, another program's predictions) has the name that `evaluate` gave it.

Public names: `Pooled`, `RunBins`, `read_run`, `pool_runs`, `average`, `NO_SEED`,
`EVALUATE_AGAIN`.
"""

import logging
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatescope.config import Run
from gatescope.errors import InputError
from gatescope.files import NOT_AN_ARRAY, read_record
from gatescope.model.binned import BinPrediction
from gatescope.model.comparison import BIN_BP
from gatescope.model.metrics import Bins

log = logging.getLogger(__name__)

#: Stands for the seed of a predictor that has none.
NO_SEED = None
#: What `evaluate` calls the networks of a run; every other predictor is the same for all models of a fold and seed.
_MODEL, _ABLATED = "model", "ablated"
_OBSERVED = {"contig": "U", "start": "i", "block": "i", "cuts": "f", "label": "b"}
#: Remedy for files of an evaluation that do not do.
EVALUATE_AGAIN = "evaluate the run again with this version of gatescope"

#: (predictor, seed); the seed is `NO_SEED` for what belongs to no model.
Key = tuple[str, int | None]


@dataclass(frozen=True)
class RunBins:
    """Hold the scored test bins of one run.

    Attributes
    ----------
    run : Run
    path : Path
        The file they come from.
    observed : dict of str to ndarray, shape (n,)
        ``contig, start, block, cuts, label``, as ``docs/formats.md`` describes them.
    predictions : dict of str to BinPrediction
        By the name that `evaluate` gave the predictor.
    """

    run: Run
    path: Path
    observed: dict[str, NDArray]
    predictions: dict[str, BinPrediction]


@dataclass(frozen=True)
class Pooled:
    """Hold the held-out bins of all folds, fold after fold, and what each predictor said about them.

    Attributes
    ----------
    folds : tuple of str
    models : tuple of str
    seeds : tuple of int
    bins : Bins
        Blocks are numbered over all folds; `scored` and `kept` are empty.
    fold : ndarray, shape (n,), int64
        Which of `folds` a bin comes from.
    contigs : dict of str to tuple of str
        Fold -> its test contigs.
    predictions : dict of (predictor, seed) to BinPrediction
        Shape (n,) each.
    """

    folds: tuple[str, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    bins: Bins
    fold: NDArray[np.int64]
    contigs: dict[str, tuple[str, ...]]
    predictions: dict[Key, BinPrediction]

    @cached_property
    def predictors(self) -> dict[str, tuple[int | None, ...]]:
        """Seeds of every predictor: models first, then their twins, then the others."""
        found: dict[str, tuple[int | None, ...]] = {}
        for name, seed in self.predictions:
            found[name] = (*found.get(name, ()), seed)
        return found


def read_run(folder: Path | str) -> RunBins:
    """Read `bins.npz` and the name of a run.

    Raises
    ------
    InputError
        If a file is missing or something else, or arrays differ in length or kind.
    """
    folder = Path(folder)
    meta = read_record(folder / "model.json", {"run": str, "fold.name": str, "seed": int}, "train again")
    fold, seed = meta["fold"]["name"], meta["seed"]
    model = meta["run"].removesuffix(f".{fold}.{seed}")
    path = folder / "bins.npz"
    arrays = _read_arrays(path)
    names = [name.removeprefix("state.") for name in arrays if name.startswith("state.")]
    if _MODEL not in names:
        raise InputError(f"no array state.{_MODEL}", where=path, remedy=EVALUATE_AGAIN)
    predictions = {n: BinPrediction(arrays[f"state.{n}"], arrays.get(f"log_cuts.{n}")) for n in names}
    return RunBins(Run(model, fold, seed), path, {name: arrays[name] for name in _OBSERVED}, predictions)


def _read_arrays(path: Path) -> dict[str, NDArray]:
    """Read an archive of columns, and refuse what is none."""
    try:
        # numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except FileNotFoundError as error:
        raise InputError("file does not exist", where=path, remedy=EVALUATE_AGAIN) from error
    except (*NOT_AN_ARRAY, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise InputError("not an archive of arrays", where=path, remedy=EVALUATE_AGAIN) from error
    for name, kind in _OBSERVED.items():
        if name not in arrays or arrays[name].dtype.kind != kind:
            raise InputError(f"no array {name}, or of another kind", where=path, remedy=EVALUATE_AGAIN)
    n = arrays["start"].shape
    for name, values in arrays.items():
        if values.shape != n or len(n) != 1 or not n[0]:
            raise InputError(f"array {name} has shape {values.shape}", where=path, remedy=EVALUATE_AGAIN)
        if name not in _OBSERVED and not (values.dtype.kind == "f" and np.isfinite(values).all()):
            raise InputError(f"array {name} is not all finite numbers", where=path, remedy=EVALUATE_AGAIN)
    return arrays


def pool_runs(runs: Sequence[RunBins]) -> Pooled:
    """Put the test bins of all folds side by side.

    Parameters
    ----------
    runs : sequence of RunBins
        Every combination of their models, folds and seeds, in any order.

    Raises
    ------
    InputError
        If a combination is missing or there twice; a contig is tested in two folds; two runs of a fold were scored on
        other bins or beside other baselines; a model has the name of a baseline.
    """
    by_name = {each.run: each for each in runs}
    models, folds, seeds = (
        tuple(dict.fromkeys(getattr(each.run, what) for each in runs)) for what in ("model", "fold", "seed")
    )
    _require_grid(runs, by_name, models, folds, seeds)
    first = [by_name[Run(models[0], fold, seeds[0])] for fold in folds]
    for each in runs:
        _require_same_bins(each, first[folds.index(each.run.fold)])
        _require_same_others(each, by_name[Run(models[0], each.run.fold, each.run.seed)])
    contigs = _disjoint_contigs(first)
    predictions: dict[Key, BinPrediction] = {}
    for name in (_MODEL, _ABLATED):
        for model, seed in product(models, seeds):
            parts = [by_name[Run(model, fold, seed)] for fold in folds]
            if all(name in part.predictions for part in parts):
                called = model if name == _MODEL else f"{model}.{name}"
                predictions[called, seed] = _joined([part.predictions[name] for part in parts])
    predictions |= _shared(
        [[by_name[Run(models[0], fold, seed)] for fold in folds] for seed in seeds], models
    )
    fold = np.repeat(np.arange(len(folds)), [part.observed["start"].size for part in first])
    return Pooled(folds, models, seeds, _pooled_bins(first, fold), fold, contigs, predictions)


def average(predictions: Sequence[BinPrediction]) -> BinPrediction:
    """Return the prediction of an ensemble: mean expected cuts and mean score of the state of its members, per bin.

    Equal to averaging base by base first: sums and means over a bin's bases are linear. A quantity that one member does
    not predict, the ensemble does not predict.
    """
    state = np.stack([each.state for each in predictions]).mean(axis=0, dtype=np.float64)
    counts = [each.counts for each in predictions if each.counts is not None]
    if len(counts) < len(predictions):
        return BinPrediction(state)
    expected = np.expm1(np.stack(counts).astype(np.float64))
    return BinPrediction(state, np.log1p(expected.mean(axis=0)))


def _require_grid(
    runs: Sequence[RunBins],
    by_name: Mapping[Run, RunBins],
    models: Iterable[str],
    folds: Iterable[str],
    seeds: Iterable[int],
) -> None:
    """Refuse a run that is given twice or missing: differences would not be paired."""
    if len(by_name) < len(runs):
        twice = next(each for each in runs if by_name[each.run] is not each)
        raise InputError(f"run {twice.run.name} is given twice", where=twice.path)
    missing = [Run(*each).name for each in product(models, folds, seeds) if Run(*each) not in by_name]
    if missing:
        raise InputError(
            f"run {missing[0]} is missing",
            where="--models",
            cause="models are compared on the same folds and seeds",
            remedy="name the folder of every combination of models, folds and seeds",
        )


def _require_same_bins(each: RunBins, first: RunBins) -> None:
    """Refuse runs of one fold that were scored on different bins."""
    for name, values in first.observed.items():
        if not np.array_equal(values, each.observed[name]):
            raise InputError(
                f"other bins than {first.run.name}: {name} differs",
                where=each.path,
                cause="the two were evaluated on different data",
                remedy=EVALUATE_AGAIN,
            )


def _require_same_others(each: RunBins, first: RunBins) -> None:
    """Refuse models of one fold and seed that were scored beside different predictors."""
    for name in sorted((first.predictions.keys() | each.predictions.keys()) - {_MODEL, _ABLATED}):
        if not _is_same(*(run.predictions.get(name) for run in (first, each))):
            raise InputError(
                f"predictor {name} is not the one of {first.run.name}",
                where=each.path,
                cause="the two were evaluated with different predictors or versions",
                remedy=EVALUATE_AGAIN,
            )


def _is_same(one: BinPrediction | None, other: BinPrediction | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.counts is None or other.counts is None:
        return one.counts is other.counts and np.array_equal(one.state, other.state)
    return np.array_equal(one.state, other.state) and np.array_equal(one.counts, other.counts)


def _disjoint_contigs(first: Sequence[RunBins]) -> dict[str, tuple[str, ...]]:
    """Return the test contigs of each fold, and refuse one that is tested twice: its bins would count twice."""
    contigs: dict[str, tuple[str, ...]] = {}
    tested: dict[str, str] = {}
    for each in first:
        contigs[each.run.fold] = tuple(map(str, dict.fromkeys(each.observed["contig"])))
        for contig in contigs[each.run.fold]:
            if contig in tested:
                raise InputError(
                    f"contig {contig} is tested in {each.run.fold} as well as in {tested[contig]}",
                    where=each.path,
                    cause="the held-out bins of all folds are pooled, and each may count once",
                    remedy="test a contig in one fold only, or compare the runs of one fold at a time",
                )
            tested[contig] = each.run.fold
    return contigs


def _shared(by_seed: Sequence[Sequence[RunBins]], models: Iterable[str]) -> dict[Key, BinPrediction]:
    """Join the predictors that belong to no model, where every run has them.

    Parameters
    ----------
    by_seed : sequence of sequence of RunBins
        For each seed the runs of one model, a run per fold. A predictor that is the same for all seeds has none.
    models : iterable of str
        Names that it may not have.
    """
    runs = [run for parts in by_seed for run in parts]
    shared: dict[Key, BinPrediction] = {}
    for name in dict.fromkeys(name for run in runs for name in run.predictions):
        if name in (_MODEL, _ABLATED):
            continue
        if name in models:
            raise InputError(
                f"{name!r} is a model and another predictor", where=runs[0].path, remedy="rename the model"
            )
        if any(name not in run.predictions for run in runs):
            log.warning("%s was not scored in every fold and seed; it is left out", name)
            continue
        joined = {parts[0].run.seed: _joined([run.predictions[name] for run in parts]) for parts in by_seed}
        one, *others = joined.values()
        if all(_is_same(one, other) for other in others):
            joined = {NO_SEED: one}
        shared |= {(name, seed): prediction for seed, prediction in joined.items()}
    return shared


def _joined(parts: Sequence[BinPrediction]) -> BinPrediction:
    """Put the predictions of several folds behind each other; counts only where all folds have them."""
    counts = [part.counts for part in parts if part.counts is not None]
    return BinPrediction(
        np.concatenate([part.state for part in parts]),
        np.concatenate(counts) if len(counts) == len(parts) else None,
    )


def _pooled_bins(first: Sequence[RunBins], fold: NDArray[np.int64]) -> Bins:
    """Join what was observed; a block is a stretch of one contig."""
    joined = {name: np.concatenate([each.observed[name] for each in first]) for name in _OBSERVED}
    contig = np.unique(joined["contig"], return_inverse=True)[1]
    places = np.column_stack([fold, contig, joined["block"]])
    occupied, block = np.unique(places, axis=0, return_inverse=True)
    return Bins(
        bin_bp=BIN_BP,
        label=joined["label"],
        cuts=joined["cuts"].astype(np.float64),
        start=joined["start"],
        block=block.astype(np.int64),
        n_blocks=len(occupied),
        n_left_out=0,
        scored={},
        kept={},
    )
