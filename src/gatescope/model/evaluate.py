"""How well does a run predict contigs it never saw, and would less do? Scores beside baselines, and tracks.

Scores come from the test contigs alone; the validation contigs chose the epoch and only get tracks.

Public names: `evaluate`, `BLOCK_BP`, `REPLICATES`.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, check_bigwig_contigs, read_bigwig, write_sidecar
from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.errors import InputError
from gatescope.files import write_json, write_table
from gatescope.genome.folds import Fold
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.baselines import FLANK_BP, KMER, KmerBoosting, fit_kmer_boosting
from gatescope.model.binned import (
    BinPrediction,
    bias_in_bins,
    boosting_in_bins,
    gc_in_bins,
    network_in_bins,
    track_in_bins,
    write_bins,
)
from gatescope.model.comparison import (
    BIN_BP,
    Scores,
    bias_in_words,
    compare_in_words,
    gains_of_model,
    judge_recurrence,
)
from gatescope.model.metrics import (
    FEWEST_BLOCKS,
    METRICS,
    MISSING,
    Bins,
    Estimate,
    cut_bins,
    draw_blocks,
    score_counts,
    score_state,
)
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import SEQUENCE
from gatescope.model.persist import load_model, require_store
from gatescope.model.predict import ContigPrediction, predict_contig
from gatescope.model.runtime import prepare_torch
from gatescope.samples import BIAS_TRACK
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: Blocks that are resampled, and how often.
BLOCK_BP, REPLICATES = 20_000, 200

_PREDICTORS = {
    "model": "this run",
    "ablated": "the same network without its recurrence, stem and heads trained anew",
    "gc": f"GC share of the bin and {FLANK_BP} bp on either side",
    "kmer": f"gradient boosting on {KMER}-mer counts of the bin alone and with {FLANK_BP} bp on either side, "
    "fitted on the training contigs",
    BIAS_TRACK: "Tn5's sequence preference alone: its mean over the bin for the state, its sum for the cuts",
}
_BINS = (
    "Consecutive, non-overlapping bins of the test contigs; the shorter bin at a contig's end is left out. "
    "Only scored bases count. A bin is left out if more than half of it is not scored (exclusion list, "
    "unknown base), and is accessible if at least half of its scored bases lie in a peak. A bin's state "
    "score is the mean over its bases; its count score is ln(1 + sum of expected cuts), compared with "
    "ln(1 + observed cuts)."
)
_INTERVALS = (
    f"Central 95 % of {REPLICATES} replicates that draw {BLOCK_BP:,}-bp blocks of the test contigs with "
    "replacement; all predictors share the draws, so differences are paired. None (nan) if there are fewer "
    f"than {FEWEST_BLOCKS} blocks."
)


@dataclass(frozen=True)
class _HeldOut:
    """The test contigs, cut into bins of each size, and the blocks drawn for each."""

    contigs: tuple[str, ...]
    bins: dict[int, Bins]
    draws: dict[int, NDArray[np.int64]]


def evaluate(
    store: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    ablated: Path | str | None = None,
    predictors: Mapping[str, Path | str] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Score a run on its test contigs beside baselines, and write its predictions.

    Where the store holds the track of Tn5's sequence preference, that is scored as well, as a control.

    Writes `evaluation.tsv`, `evaluation.json`, `bins.npz`, and for validation and test contigs `predicted_state.bw` and
    `predicted_cuts.bw` (each if the network has that head), with sidecars.

    Parameters
    ----------
    store : path
        Encoded store that the run was trained on.
    model : path
        Folder of the run.
    output : path
        Folder to write into, usually the run's.
    ablated : path, optional
        Folder of the twin without recurrence.
    predictors : mapping of str to path, optional
        Further predictors of the accessible state: name -> bigWig with a score per base (larger = accessible)
        at every scored base of the test contigs.
    threads : int
        CPU threads of the networks; the k-mer baseline always uses one.
    seed : int
        Decides blocks and the k-mer baseline.

    Returns
    -------
    DataFrame
        The rows of `evaluation.tsv`: ``predictor, bin_bp, n_bins, base_rate``, then ``pearson, spearman,
        auroc, auprc``, each with its interval in ``_low, _high``. A metric that a predictor lacks is NaN: per
        base (``bin_bp`` 1) there are AUROC and AUPRC only, and a predictor of the state alone has no
        correlations with counts. A network without a state head is ranked by its expected cuts.

    Raises
    ------
    InputError
        Model and store, or model and twin, do not belong together; a predictor's bigWig has a reserved name,
        other contigs, or gaps; no base of the test contigs is scored.
    """
    data, folder = EncodedStore(store), Path(output)
    network, meta = load_model(model)
    fold = _fold_of(meta)
    require_store(data, meta, model)
    extra = _check_predictors(predictors or {}, data, fold)
    held_out = _cut_held_out(data, fold, seed)
    without = None if ablated is None else _load_ablated(Path(ablated), meta)
    device = prepare_torch(threads)
    shown = [contig for contig in data.lengths if fold.split(contig) in ("valid", "test")]
    both_strands = _reads_both_strands(meta)
    predicted = _predict(network.to(device), data, shown, both_strands)
    networks = {"model": predicted}
    if without is not None:
        networks["ablated"] = _predict(without.to(device), data, held_out.contigs, both_strands)
    tracks = _read_tracks(extra, data, held_out)
    train = [contig for contig in data.lengths if fold.split(contig) == "train"]
    boosting = fit_kmer_boosting(data, train, BIN_BP, seed)
    predictions = {
        bin_bp: _collect(data, bins, networks, boosting, tracks) for bin_bp, bins in held_out.bins.items()
    }
    scores = {
        (name, bin_bp): _score(held_out.bins[bin_bp], predictions[bin_bp][name], held_out.draws[bin_bp])
        for name in predictions[BIN_BP]
        for bin_bp in predictions
        if name in predictions[bin_bp]
    }
    _write_tracks(folder, data, predicted, meta)
    table = _tabulate(scores, held_out)
    summary = _summarise(scores, held_out, meta, extra)
    write_bins(folder / "bins.npz", held_out.bins[BIN_BP], predictions[BIN_BP], BLOCK_BP)
    write_table(folder / "evaluation.tsv", table)
    write_json(folder / "evaluation.json", summary)
    log.info("%s on %s:\n%s", meta["run"], ", ".join(held_out.contigs), _readable(table))
    log.info("%s", summary["in_words"])
    return table


def _fold_of(meta: Mapping[str, Any]) -> Fold:
    """Return the fold a model was trained on."""
    fold = meta["fold"]
    return Fold.from_parts(fold["name"], fold)


def _load_ablated(folder: Path, meta: Mapping[str, Any]) -> AccessibilityNetwork:
    """Load the twin without recurrence, and refuse any other network."""
    network, twin = load_model(folder)
    differing = [key for key in ("fold", "store", "seed", "training") if twin[key] != meta[key]]
    if {**twin["network"], "recurrence": True} != meta["network"]:
        differing.append("network")
    if twin["twin"] != "ablated" or differing:
        reason = f"another {', '.join(differing)}" if differing else f"its twin is {twin['twin']!r}"
        raise InputError(
            f"is not {meta['run']} without recurrence ({reason})",
            where=folder,
            remedy="train it with --twin ablated and the other settings unchanged",
        )
    return network


def _check_predictors(
    predictors: Mapping[str, Path | str], data: EncodedStore, fold: Fold
) -> dict[str, Path]:
    """Refuse reserved names and other genomes."""
    for name, path in predictors.items():
        if name in _PREDICTORS:
            raise InputError(
                f"{name!r} is the name of a predictor that is always there", where="--predictors"
            )
        check_bigwig_contigs(path, {c: data.lengths[c] for c in fold.test}, data.path)
    return {name: Path(path) for name, path in predictors.items()}


def _cut_held_out(data: EncodedStore, fold: Fold, seed: int) -> _HeldOut:
    """Cut the test contigs into single bases and bins, and draw blocks for each."""
    contigs = tuple(contig for contig in data.lengths if fold.split(contig) == "test")
    states = {contig: data.state(contig) for contig in contigs}
    cuts = {contig: data.track(contig, "cuts") for contig in contigs}
    bins = {bin_bp: cut_bins(states, cuts, bin_bp, BLOCK_BP) for bin_bp in (1, BIN_BP)}
    for bin_bp, cut in bins.items():
        log.info("test contigs, %d bp: %s bins in %d blocks; %s left out (not scored)",
                 bin_bp, f"{cut.label.size:,}", cut.n_blocks, f"{cut.n_left_out:,}")  # fmt: skip
        if cut.label.size == 0:
            raise InputError(
                f"no {bin_bp}-bp bin of the test contigs {', '.join(contigs)} is scored",
                where=f"folds: {fold.name}",
                cause="the exclusion list covers them, or they are too short",
            )
        if cut.label.all() or not cut.label.any():
            log.warning("test contigs, %d bp: all bins are of one kind; no AUROC, no AUPRC", bin_bp)
        if cut.n_blocks < FEWEST_BLOCKS:
            log.warning("test contigs, %d bp: fewer than %d blocks; no intervals", bin_bp, FEWEST_BLOCKS)
    draws = {
        bin_bp: draw_blocks(cut.n_blocks, REPLICATES, np.random.default_rng(seed))
        for bin_bp, cut in bins.items()
    }
    return _HeldOut(contigs, bins, draws)


def _reads_both_strands(meta: Mapping[str, Any]) -> bool:
    """Return whether the network was trained on both strands; one that was not must not read the other."""
    return meta["training"]["sampling"]["reverse_complement"]


def _predict(
    network: AccessibilityNetwork, data: EncodedStore, contigs: Iterable[str], both_strands: bool
) -> dict[str, ContigPrediction]:
    return {c: predict_contig(network, data, c, both_strands=both_strands) for c in contigs}


def _collect(
    data: EncodedStore,
    bins: Bins,
    networks: Mapping[str, Mapping[str, ContigPrediction]],
    boosting: KmerBoosting,
    tracks: Mapping[str, Mapping[str, NDArray]],
) -> dict[str, BinPrediction]:
    """Ask every predictor there is about the bins of one size."""
    found = {name: network_in_bins(predicted, bins) for name, predicted in networks.items()}
    if bins.bin_bp == boosting.bin_bp:
        found["gc"] = gc_in_bins(data, bins)
        found["kmer"] = boosting_in_bins(boosting, data, bins)
    if BIAS_TRACK in data.tracks:
        found[BIAS_TRACK] = bias_in_bins(data, bins)
    return found | {name: track_in_bins(values, bins) for name, values in tracks.items()}


def _score(bins: Bins, prediction: BinPrediction, draws: NDArray[np.int64]) -> dict[str, Estimate]:
    """Score the state, and the cuts where they are predicted and bins are longer than a base."""
    scores = score_state(bins, prediction.state, draws)
    if prediction.counts is None or bins.bin_bp == 1:
        return scores
    return scores | score_counts(bins, prediction.counts, draws)


def _read_tracks(
    paths: Mapping[str, Path], data: EncodedStore, held_out: _HeldOut
) -> dict[str, dict[str, NDArray]]:
    """Read scores per base out of bigWigs."""
    return {name: {c: _read_track(path, data, c) for c in held_out.contigs} for name, path in paths.items()}


def _read_track(path: Path, data: EncodedStore, contig: str) -> NDArray:
    """Read one contig, and refuse gaps."""
    values = read_bigwig(path, contig)
    missing = np.flatnonzero(np.isnan(values) & (data.state(contig) != NOT_SCORED))
    if missing.size:
        raise InputError(
            f"no value at {missing.size:,} scored bases of {contig}, the first at {missing[0]:,}",
            where=path,
            remedy="a predictor needs a value at every scored base of the test contigs",
        )
    return values


def _write_tracks(
    folder: Path, data: EncodedStore, predicted: Mapping[str, ContigPrediction], meta: Mapping[str, Any]
) -> None:
    """Write the predictions of held-out contigs; a base without a known sequence is a gap."""
    tracks = {
        "state": ("probability", (0.0, 1.0), 4, "Probability that the base is accessible"),
        "cuts": ("expected cuts per bp", (0.0, None), 5, "Expected Tn5 cuts at the base"),
    }
    for target, (unit, limits, decimals, what) in tracks.items():
        values = {contig: getattr(prediction, target) for contig, prediction in predicted.items()}
        if any(value is None for value in values.values()):
            continue
        path = folder / f"predicted_{target}.bw"
        with BigWigWriter(path, data.lengths, decimals=decimals) as writer:
            for contig, value in values.items():
                writer.add(contig, 0, np.where(data.codes(contig) == UNKNOWN, np.nan, value))
        info = TrackInfo(
            track=f"predicted_{target}",
            unit=unit,
            range=limits,
            gaps="missing",
            description=f"{what}, as {meta['run']} predicts it on contigs it was not trained on: "
            f"{', '.join(values)}.{_about_bias(target, meta)}",
            aggregation="mean of both strands" if _reads_both_strands(meta) else "none",
            decimals=decimals,
            model_sha256=meta["sha256"],
        )
        write_sidecar(path, info)


def _about_bias(target: str, meta: Mapping[str, Any]) -> str:
    """Say that expected cuts include Tn5's preference, where they do."""
    is_included = target == "cuts" and meta["network"].get("bias", "none") != "none"
    return " Tn5's sequence preference is part of it." if is_included else ""


def _tabulate(scores: Scores, held_out: _HeldOut) -> pd.DataFrame:
    """Make one row per predictor and bin size."""
    rows = []
    for (name, bin_bp), estimates in scores.items():
        label = held_out.bins[bin_bp].label
        row = {"predictor": name, "bin_bp": bin_bp, "n_bins": label.size, "base_rate": label.mean()}
        for metric in METRICS:
            estimate = estimates.get(metric, MISSING)
            row[metric] = estimate.value
            row[f"{metric}_low"], row[f"{metric}_high"] = estimate.interval
        rows.append(row)
    return pd.DataFrame(rows)


def _summarise(
    scores: Scores, held_out: _HeldOut, meta: Mapping[str, Any], extra: Mapping[str, Path]
) -> dict[str, Any]:
    """Say what was scored, how, and what it means."""
    inputs, targets = list(meta["network"]["inputs"]), list(meta["network"]["targets"])
    names = dict.fromkeys(name for name, _ in scores)
    # counts decide where the network predicts them
    metric = "pearson" if "cuts" in targets else "auprc"
    return {
        "run": meta["run"],
        "stage_version": STAGE_VERSIONS["evaluate"],
        "input_mode": "sequence" if inputs == [SEQUENCE] else f"{SEQUENCE}+tracks",
        "inputs": inputs,
        "targets": targets,
        "both_strands": _reads_both_strands(meta),
        "fold": meta["fold"]["name"],
        "test_contigs": list(held_out.contigs),
        "model_sha256": meta["sha256"],
        "store": meta["store"],
        "predictors": {n: _PREDICTORS.get(n) or f"state score per base, {extra[n].name}" for n in names},
        "bins": _BINS,
        "n_bins": {
            str(bin_bp): {"scored": bins.label.size, "not_scored": bins.n_left_out, "blocks": bins.n_blocks}
            for bin_bp, bins in held_out.bins.items()
        },
        "intervals": _INTERVALS,
        "differences": gains_of_model(scores),
        "recurrence": judge_recurrence(scores, metric),
        "in_words": f"{compare_in_words(scores, metric, meta['run'])} {bias_in_words(scores)}".rstrip(),
    }


def _readable(table: pd.DataFrame) -> str:
    """Format the table for a terminal: a value and its interval per cell."""
    shown = table[["predictor", "bin_bp", "n_bins"]].copy()
    shown["base rate"] = table.base_rate.map("{:.3f}".format)
    for metric in METRICS:
        cells = zip(table[metric], table[f"{metric}_low"], table[f"{metric}_high"], strict=True)
        shown[metric] = ["-" if np.isnan(v) else f"{v:.3f} ({low:.3f}-{high:.3f})" for v, low, high in cells]
    return shown.to_string(index=False)
