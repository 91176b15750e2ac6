"""What do several networks of one model predict together, and how far do they differ? The seeds of a fold, averaged.

Expected cuts and probabilities are averaged base by base. They are read from the tracks that `evaluate` wrote, which
round to 0.0001 (state) and 0.00001 (cuts per bp); no network runs again.

Public names: `ensemble`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import check_bigwig_contigs, read_bigwig
from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.errors import InputError
from gatescope.files import fingerprint, read_record, write_json, write_table
from gatescope.genome.folds import Fold
from gatescope.model.binned import network_in_bins
from gatescope.model.comparison import BIN_BP, Scores
from gatescope.model.evaluate import BLOCK_BP, REPLICATES
from gatescope.model.held_out import HeldOut, cut_held_out
from gatescope.model.metrics import METRICS, MISSING, Estimate, paired_difference
from gatescope.model.persist import require_store
from gatescope.model.pooled import EVALUATE_AGAIN
from gatescope.model.predict import ContigPrediction
from gatescope.model.predicted_tracks import write_predicted_tracks
from gatescope.model.resampled import difference_cells, mean_estimate, score_bins
from gatescope.model.scorecard import readable, tabulate
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: The ensemble stands where a run's own network does in `evaluation.tsv`.
_ENSEMBLE, _MEAN = "model", "mean of members"
_ENTRIES: dict[str, type] = {
    "run": str, "sha256": str, "store": str, "seed": int, "network": dict, "network.targets": list, "training": dict,
    "training.sampling.reverse_complement": bool, "fold.name": str, "fold.test": list, "fold.valid": list,
}  # fmt: skip
#: What members have in common; the seed is what differs.
_COMMON = ("fold", "store", "network", "training")


@dataclass(frozen=True)
class _Member:
    """A run, its `model.json` and its folder."""

    name: str
    meta: dict[str, Any]
    folder: Path


def ensemble(
    store: Path | str, members: Sequence[Path | str], output: Path | str, *, seed: int = 0
) -> pd.DataFrame:
    """Average the predictions of runs that differ in the seed alone, and score the mean beside its members.

    Writes `evaluation.tsv`, `evaluation.json`, `members.tsv`, and `predicted_state.bw` and `predicted_cuts.bw` (each if
    the networks have that head), with sidecars. Bins and draws of blocks are those of `evaluate` with the same seed.

    Parameters
    ----------
    store : path
        Encoded store that the runs were trained on.
    members : sequence of path
        Folders of two evaluated runs or more: one model, one fold, different seeds.
    output : path
        Folder to write into.
    seed : int
        Decides the blocks.

    Returns
    -------
    DataFrame
        The rows of `evaluation.tsv`: as those of `evaluate`; predictor ``model`` is the ensemble, the others are its
        members by the name of the run.

    Raises
    ------
    InputError
        Fewer than two members; members that differ in more than the seed; a track is missing or has gaps.
    """
    data, folder = EncodedStore(store), Path(output)
    runs = _read_members(members, data)
    meta = runs[0].meta
    fold = Fold.from_parts(meta["fold"]["name"], meta["fold"])
    held_out = cut_held_out(data, fold, block_bp=BLOCK_BP, replicates=REPLICATES, seed=seed)
    shown = [contig for contig in data.lengths if fold.split(contig) in ("valid", "test")]
    scores: Scores = {}
    total: dict[str, list[NDArray[np.float64] | None]] = {}
    for run in runs:  # one after the other: a genome's predictions are large
        predicted = {contig: _read_contig(run, data, contig) for contig in shown}
        scores |= _score(run.name, predicted, held_out)
        for contig, each in predicted.items():
            total[contig] = _added(total.get(contig), each)
    mean = {
        contig: ContigPrediction(*(_divided(each, len(runs)) for each in sums))
        for contig, sums in total.items()
    }
    scores = _score(_ENSEMBLE, mean, held_out) | scores
    own = {
        **meta,
        "run": _name(meta),
        "sha256": fingerprint({"members": [run.meta["sha256"] for run in runs]}),
    }
    both_strands = meta["training"]["sampling"]["reverse_complement"]
    write_predicted_tracks(folder, data, mean, own, both_strands=both_strands, networks=len(runs))
    table = tabulate(scores, held_out)
    summary = _summarise(scores, held_out, runs, own)
    write_table(folder / "evaluation.tsv", table)
    write_table(folder / "members.tsv", _tabulate_members(scores, [run.name for run in runs]))
    write_json(folder / "evaluation.json", summary)
    log.info("%s on %s:\n%s", own["run"], ", ".join(held_out.contigs), readable(table))
    log.info("%s", summary["in_words"])
    return table


def _read_members(folders: Sequence[Path | str], data: EncodedStore) -> list[_Member]:
    """Read what the members are, and refuse what is no ensemble."""
    metas = [read_record(Path(folder) / "model.json", _ENTRIES, "train again") for folder in folders]
    runs = [_Member(meta["run"], meta, Path(folder)) for meta, folder in zip(metas, folders, strict=True)]
    if len({run.name for run in runs}) < max(len(runs), 2):
        raise InputError(
            "an ensemble has two members or more, each there once",
            where=f"--members {' '.join(map(str, folders))}",
            remedy="name the folders of runs that differ in the seed",
        )
    for run in runs:
        require_store(data, run.meta, run.folder)
        differing = [key for key in _COMMON if run.meta[key] != metas[0][key]]
        if differing:
            raise InputError(
                f"is no other seed of {runs[0].name}: another {', '.join(differing)}",
                where=run.folder,
                remedy="the members of an ensemble share everything but the seed",
            )
        fold = run.meta["fold"]
        contigs = {c: data.lengths[c] for c in (*fold["test"], *fold["valid"]) if c in data.lengths}
        for target in run.meta["network"]["targets"]:
            check_bigwig_contigs(run.folder / f"predicted_{target}.bw", contigs, data.path)
    return runs


def _read_contig(run: _Member, data: EncodedStore, contig: str) -> ContigPrediction:
    """Read what a run predicted on a contig, and refuse gaps at scored bases."""
    values: dict[str, NDArray[np.float32]] = {}
    for target in run.meta["network"]["targets"]:
        path = run.folder / f"predicted_{target}.bw"
        values[target] = read_bigwig(path, contig)
        missing = np.flatnonzero(np.isnan(values[target]) & (data.state(contig) != NOT_SCORED))
        if missing.size:
            raise InputError(
                f"no value at {missing.size:,} scored bases of {contig}, the first at {missing[0]:,}",
                where=path,
                remedy=EVALUATE_AGAIN,
            )
    return ContigPrediction(values.get("cuts"), values.get("state"))


def _added(
    total: list[NDArray[np.float64] | None] | None, each: ContigPrediction
) -> list[NDArray[np.float64] | None]:
    """Add a member's prediction of a contig."""
    values = [None if part is None else part.astype(np.float64) for part in each]
    if total is None:
        return values
    return [None if a is None or b is None else a + b for a, b in zip(total, values, strict=True)]


def _divided(total: NDArray[np.float64] | None, n: int) -> NDArray[np.float32] | None:
    return None if total is None else (total / n).astype(np.float32)


def _score(name: str, predicted: Mapping[str, ContigPrediction], held_out: HeldOut) -> Scores:
    """Score a prediction as `evaluate` scores a network's."""
    return {
        (name, bin_bp): score_bins(bins, network_in_bins(predicted, bins), held_out.draws[bin_bp])
        for bin_bp, bins in held_out.bins.items()
    }


def _name(meta: Mapping[str, Any]) -> str:
    """Name the ensemble as its members, without their seed."""
    return f"{meta['run'].removesuffix('.' + str(meta['seed']))}.ensemble"


def _tabulate_members(scores: Scores, names: Sequence[str]) -> pd.DataFrame:
    """Make, for each bin size, a row per member, and their mean, deviation (n - 1) and range beside the ensemble."""
    columns = list(METRICS)
    tables = []
    for bin_bp in dict.fromkeys(bin_bp for _, bin_bp in scores):
        values = {
            name: [scores[name, bin_bp].get(metric, MISSING).value for metric in METRICS]
            for name in (*names, _ENSEMBLE)
        }
        own = pd.DataFrame.from_dict({name: values[name] for name in names}, orient="index", columns=columns)
        spread = own.agg(["mean", "std", "min", "max"]).rename(index={"std": "sd"})
        last = pd.DataFrame([values[_ENSEMBLE]], index=["ensemble"], columns=columns)
        table = pd.concat([own, spread, last]).rename_axis("member").reset_index()
        tables.append(table.assign(bin_bp=bin_bp)[["bin_bp", "member", *columns]])
    return pd.concat(tables, ignore_index=True)


def _gains(scores: Scores, names: Sequence[str]) -> Iterator[tuple[str, int, str, Estimate]]:
    """Yield what the ensemble scores above the mean of its members and above each: (over, bin_bp, metric, gain)."""
    for name, bin_bp in [*scores]:
        for metric in METRICS if name == _ENSEMBLE else ():
            ours = scores[name, bin_bp].get(metric, MISSING)
            own = {each: scores[each, bin_bp].get(metric, MISSING) for each in names}
            for over, theirs in {_MEAN: mean_estimate([*own.values()]), **own}.items():
                gain = paired_difference(ours, theirs)
                if not np.isnan(gain.value):
                    yield over, bin_bp, metric, gain


def _summarise(
    scores: Scores, held_out: HeldOut, runs: Sequence[_Member], meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what was averaged, how it was scored, and whether it is better."""
    names = [run.name for run in runs]
    gains = [*_gains(scores, names)]
    return {
        "run": meta["run"],
        "stage_version": STAGE_VERSIONS["ensemble"],
        "members": {run.name: run.meta["sha256"] for run in runs},
        "model_sha256": meta["sha256"],
        "store": meta["store"],
        "fold": meta["fold"]["name"],
        "test_contigs": list(held_out.contigs),
        "targets": list(meta["network"]["targets"]),
        "predictors": {_ENSEMBLE: "the mean of all members' predictions"} | dict.fromkeys(names, "a member"),
        "prediction": "Mean over members of expected cuts per base and of the probability of each base, from their "
        "tracks, which are rounded to 0.00001 and 0.0001; members are scored from these tracks as well. model_sha256 "
        "is the SHA-256 of the members'.",
        "intervals": f"{REPLICATES} replicates draw {BLOCK_BP:,}-bp blocks of the test contigs with replacement; the "
        "ensemble and its members share the draws, so differences are paired. low_95 and high_95 bound their central "
        "95 %, low_90 and high_90 the central 90 %.",
        "differences": [
            {"over": over, "bin_bp": bin_bp, "metric": metric, **_without_nan(difference_cells(gain))}
            for over, bin_bp, metric, gain in gains
        ],
        "in_words": _in_words(meta["run"], len(runs), gains),
    }  # fmt: skip


def _without_nan(cells: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in cells.items()}


def _in_words(run: str, n: int, gains: Sequence[tuple[str, int, str, Estimate]]) -> str:
    """Say what averaging adds in the metric that decides, and in which scores it takes something away."""
    of_mean = {(bin_bp, metric): gain for over, bin_bp, metric, gain in gains if over == _MEAN}
    deciding = next((key for key in ((BIN_BP, "pearson"), (BIN_BP, "auprc")) if key in of_mean), None)
    told = "nothing that can be scored"
    if deciding is not None:
        low, high = of_mean[deciding].interval
        what = "r" if deciding[1] == "pearson" else "AUPRC"
        known = (
            "too few blocks for an interval" if np.isnan(low) else f"95 % interval {low:+.4f} to {high:+.4f}"
        )
        told = f"{of_mean[deciding].value:+.4f} in {what} ({known})"
    known = {key: gain for key, gain in of_mean.items() if not np.isnan(gain.interval[0])}
    worse = [f"{metric} at {bin_bp} bp" for (bin_bp, metric), gain in known.items() if gain.interval[1] < 0]
    lower = f"; of the {len(known)} scores with an interval it is lower, beyond chance, in {', '.join(worse) or 'none'}"
    return (
        f"{run}, the mean of {n} networks, adds {told} to the mean score of its members in {BIN_BP}-bp bins"
        f"{lower if known else ''}."
    )
