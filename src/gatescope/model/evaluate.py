"""How well does a run predict contigs it never saw, and would less do? Scores beside baselines, and tracks.

Scores come from the test contigs alone; the validation contigs chose the epoch and only get tracks.

Public names: `evaluate`, `BLOCK_BP`, `REPLICATES`.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import check_bigwig_contigs, read_bigwig
from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.data.unlearned import read_copies
from gatescope.errors import InputError
from gatescope.files import write_json, write_table
from gatescope.genome.folds import Fold
from gatescope.model.baselines import KmerBoosting, fit_kmer_boosting
from gatescope.model.binned import (
    BinPrediction,
    bias_in_bins,
    boosting_in_bins,
    gc_in_bins,
    network_in_bins,
    track_in_bins,
    write_bins,
)
from gatescope.model.calibration import CUT_GROUPS, STATE_GROUPS, Calibration, calibrate
from gatescope.model.ceiling import reachable, split_cuts
from gatescope.model.comparison import BIN_BP
from gatescope.model.held_out import HeldOut, cut_held_out
from gatescope.model.metrics import Bins, Estimate, draw_blocks
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model, require_store
from gatescope.model.predict import ContigPrediction, predict_contig
from gatescope.model.predicted_tracks import write_predicted_tracks
from gatescope.model.profiles import score_profiles, window_sets
from gatescope.model.resampled import score_bins
from gatescope.model.runtime import prepare_torch
from gatescope.model.scorecard import RESERVED, Limits, readable, summarise, tabulate, tabulate_contigs
from gatescope.samples import BIAS_TRACK

log = logging.getLogger(__name__)

#: What stands before the path of a predictor whose values are expected cuts.
_CUTS = "cuts:"
#: Blocks that are resampled, and how often.
BLOCK_BP, REPLICATES = 20_000, 200
#: An assembly of thousands of scaffolds would get a table that nobody reads.
_MOST_CONTIGS = 100

#: Contig -> what a network predicts there, by the predictor's name.
_Networks = Mapping[str, Mapping[str, ContigPrediction]]
#: Bin size -> predictor -> what it says.
_Predictions = Mapping[int, Mapping[str, BinPrediction]]


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

    Writes `evaluation.tsv`, `evaluation_contigs.tsv`, `evaluation.json`, `bins.npz`, and for validation and test
    contigs `predicted_state.bw` and `predicted_cuts.bw` (each if the network has that head), with sidecars.

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
        at every scored base of the test contigs. ``cuts:`` before the path says that the values are expected cuts:
        they are held against the cuts as well.
    threads : int
        CPU threads of the networks; the k-mer baseline always uses one.
    seed : int
        Decides blocks, the halves of the cuts, the floor of profiles, and the k-mer baseline.

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
    held_out = cut_held_out(data, fold, block_bp=BLOCK_BP, replicates=REPLICATES, seed=seed)
    without = None if ablated is None else _load_ablated(Path(ablated), meta)
    device = prepare_torch(threads)
    shown = [contig for contig in data.lengths if fold.split(contig) in ("valid", "test")]
    both_strands = _reads_both_strands(meta)
    predicted = _predict(network.to(device), data, shown, both_strands)
    networks = {"model": predicted}
    if without is not None:
        networks["ablated"] = _predict(without.to(device), data, held_out.contigs, both_strands)
    tracks = _read_tracks(extra, data, held_out)
    for name in [name for name, path in (predictors or {}).items() if str(path).startswith(_CUTS)]:
        networks[name] = {contig: ContigPrediction(cuts, None) for contig, cuts in tracks.pop(name).items()}
    train = [contig for contig in data.lengths if fold.split(contig) == "train"]
    boosting = fit_kmer_boosting(data, train, BIN_BP, seed, read_copies(data.meta, fold.name))
    predictions = {
        bin_bp: _collect(data, bins, networks, boosting, tracks) for bin_bp, bins in held_out.bins.items()
    }
    scores = {
        (name, bin_bp): score_bins(held_out.bins[bin_bp], found[name], held_out.draws[bin_bp])
        for name in predictions[BIN_BP]
        for bin_bp, found in predictions.items()
        if name in found
    }
    limits = _limits(data, held_out, networks, predictions, seed)
    by_contig = _score_contigs(held_out, predictions[BIN_BP], seed)
    write_predicted_tracks(folder, data, predicted, meta, both_strands=both_strands)
    table = tabulate(scores, held_out)
    summary = summarise(scores, held_out, limits, meta, extra, block_bp=BLOCK_BP, replicates=REPLICATES)
    write_bins(folder / "bins.npz", held_out.bins[BIN_BP], predictions[BIN_BP], BLOCK_BP)
    write_table(folder / "evaluation.tsv", table)
    write_table(folder / "evaluation_contigs.tsv", tabulate_contigs(by_contig))
    write_json(folder / "evaluation.json", summary)
    log.info("%s on %s:\n%s", meta["run"], ", ".join(held_out.contigs), readable(table))
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
    paths = {name: Path(str(path).removeprefix(_CUTS)) for name, path in predictors.items()}
    for name, path in paths.items():
        if name in RESERVED:
            raise InputError(
                f"{name!r} is the name of a predictor that is always there", where="--predictors"
            )
        check_bigwig_contigs(path, {c: data.lengths[c] for c in fold.test}, data.path)
    return paths


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
    networks: _Networks,
    boosting: KmerBoosting,
    tracks: Mapping[str, Mapping[str, NDArray]],
) -> dict[str, BinPrediction]:
    """Ask every predictor there is about the bins of one size."""
    found = {name: network_in_bins(predicted, bins) for name, predicted in networks.items()}
    if bins.bin_bp > 1:
        found["gc"] = gc_in_bins(data, bins)
    if bins.bin_bp == boosting.bin_bp:
        found["kmer"] = boosting_in_bins(boosting, data, bins)
    if BIAS_TRACK in data.tracks:
        found[BIAS_TRACK] = bias_in_bins(data, bins)
    return found | {name: track_in_bins(values, bins) for name, values in tracks.items()}


def _limits(
    data: EncodedStore, held_out: HeldOut, networks: _Networks, predictions: _Predictions, seed: int
) -> Limits:
    """Say how much of each score was to be had, and whether expectations hold."""
    half = split_cuts({contig: data.track(contig, "cuts") for contig in held_out.contigs}, seed)
    ceiling = profiles = None
    if half is None:
        log.warning("cuts are not whole numbers, so they cannot be split: no ceilings, no profile scores")
    else:
        profiles = _profiles(data, held_out, networks, half, seed)
        sizes = [bin_bp for bin_bp in held_out.bins if bin_bp > 1]
        ceiling = {b: reachable(held_out.bins[b], half, held_out.draws[b]) for b in sizes}
    return Limits(ceiling, profiles, _calibrations(held_out, networks, predictions))


def _profiles(
    data: EncodedStore,
    held_out: HeldOut,
    networks: _Networks,
    half: Mapping[str, NDArray[np.float32]],
    seed: int,
) -> dict[str, dict[str, Any] | None] | None:
    """Score the profiles of all that predict cuts base by base; None if the run does not."""
    predictors = {}
    for name, found in networks.items():
        cuts = {c: p.cuts for c in held_out.contigs if (p := found[c]).cuts is not None}
        predictors |= {name: cuts} if cuts else {}
    if "model" not in predictors:
        return None
    if BIAS_TRACK in data.tracks:
        predictors[BIAS_TRACK] = {contig: data.track(contig, BIAS_TRACK) for contig in held_out.contigs}
    sets = window_sets(data, held_out.contigs, BLOCK_BP, seed)
    return {
        name: score_profiles(windows, data, half, predictors, replicates=REPLICATES, seed=seed)
        for name, windows in sets.items()
    }


def _calibrations(
    held_out: HeldOut, networks: _Networks, predictions: _Predictions
) -> dict[tuple[str, str], Calibration]:
    """Compare what networks expect with what is there: probabilities per base, cuts per bin."""
    found, one = {}, held_out.contigs[0]
    bases, bins = held_out.bins[1], held_out.bins[BIN_BP]
    for name, predicted in networks.items():
        if predicted[one].state is not None:
            probability = predictions[1][name].state
            found[name, "state"] = calibrate(bases, probability, bases.label, held_out.draws[1], STATE_GROUPS)
        log_cuts = predictions[BIN_BP][name].counts
        if log_cuts is not None:
            found[name, "cuts"] = calibrate(
                bins, np.expm1(log_cuts), bins.cuts, held_out.draws[BIN_BP], CUT_GROUPS
            )
    return found


def _score_contigs(
    held_out: HeldOut, predictions: Mapping[str, BinPrediction], seed: int
) -> dict[str, dict[str, tuple[dict[str, Estimate], Bins]]]:
    """Score the longest test contigs each by itself, in bins of `BIN_BP`; without a scored bin there is no score."""
    found: dict[str, dict[str, tuple[dict[str, Estimate], Bins]]] = {}
    longest = sorted(held_out.contigs, key=lambda contig: -len(held_out.bins[BIN_BP].kept[contig]))
    for contig in longest[:_MOST_CONTIGS]:
        bins, place = held_out.bins[BIN_BP].only(contig)
        draws = draw_blocks(bins.n_blocks, REPLICATES, np.random.default_rng(seed))
        found[contig] = {
            name: (score_bins(bins, prediction.within(place), draws) if bins.label.size else {}, bins)
            for name, prediction in predictions.items()
        }
    return found


def _read_tracks(
    paths: Mapping[str, Path], data: EncodedStore, held_out: HeldOut
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
