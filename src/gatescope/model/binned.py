"""What does each predictor say about a bin? Networks, baselines and tracks in one form, and the file of them.

Public names: `BinPrediction`, `network_in_bins`, `track_in_bins`, `bias_in_bins`, `gc_in_bins`, `boosting_in_bins`,
`write_bins`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.data.store import EncodedStore
from gatescope.files import replacing_file
from gatescope.model.baselines import KmerBoosting, gc_of_bins
from gatescope.model.metrics import Bins
from gatescope.model.predict import ContigPrediction
from gatescope.samples import BIAS_TRACK


class BinPrediction(NamedTuple):
    """Hold what a predictor says about n bins, shape (n,) each."""

    state: NDArray[np.floating]  # larger = accessible; only its order means something
    counts: NDArray[np.floating] | None = (
        None  # held against ln(1 + observed cuts); None for one of the state alone
    )
    is_log_cuts: bool = True  # `counts` is ln(1 + expected cuts), not a score on a scale of its own

    def within(self, place: slice) -> "BinPrediction":
        """Return what is said about some of the bins."""
        counts = None if self.counts is None else self.counts[place]
        return BinPrediction(self.state[place], counts, self.is_log_cuts)


def network_in_bins(predicted: Mapping[str, ContigPrediction], bins: Bins) -> BinPrediction:
    """Sum expected cuts and average probabilities; a network without a state head is ranked by its cuts.

    Parameters
    ----------
    predicted : mapping of str to ContigPrediction
        At least of the contigs of `bins`.
    bins : Bins
    """
    cuts = {c: p.cuts for c in bins.scored if (p := predicted[c]).cuts is not None}
    state = {c: p.state for c in bins.scored if (p := predicted[c]).state is not None}
    return BinPrediction(bins.mean(state or cuts), np.log1p(bins.sum(cuts)) if cuts else None)


def track_in_bins(values: Mapping[str, NDArray], bins: Bins) -> BinPrediction:
    """Average a score of the state per base (contig -> shape (L,))."""
    return BinPrediction(bins.mean(values))


def bias_in_bins(store: EncodedStore, bins: Bins) -> BinPrediction:
    """Take Tn5's preference as if nothing else decided: its mean for the state, its sum for the cuts."""
    rate = {contig: store.track(contig, BIAS_TRACK) for contig in bins.scored}
    return BinPrediction(bins.mean(rate), np.log1p(store.meta["cuts_per_bp"] * bins.sum(rate)))


def gc_in_bins(store: EncodedStore, bins: Bins) -> BinPrediction:
    """Take GC content for both questions; it expects no number of cuts."""
    gc = bins.pick({contig: gc_of_bins(store.codes(contig), bins.bin_bp) for contig in bins.scored})
    return BinPrediction(gc, gc, is_log_cuts=False)


def boosting_in_bins(boosting: KmerBoosting, store: EncodedStore, bins: Bins) -> BinPrediction:
    """Ask the k-mer boosting, which must have been fitted for bins of this size."""
    boosted = {contig: boosting.predict(store.codes(contig)) for contig in bins.scored}
    log_cuts, probability = (bins.pick({c: pair[i] for c, pair in boosted.items()}) for i in (0, 1))
    return BinPrediction(probability, log_cuts)


def write_bins(path: Path, bins: Bins, predictions: Mapping[str, BinPrediction], block_bp: int) -> None:
    """Write what was observed in each bin, and what each predictor said, as ``bins.npz`` of ``docs/formats.md``.

    Parameters
    ----------
    path : Path
    bins : Bins
    predictions : mapping of str to BinPrediction
        By name of the predictor.
    block_bp : int
        Blocks are numbered from 0 in each contig.
    """
    arrays: dict[str, NDArray] = {
        "contig": bins.contig,
        "start": bins.start,
        "block": bins.start // block_bp,
        "cuts": bins.cuts,
        "label": bins.label,
    }
    for name, prediction in predictions.items():
        if prediction.counts is not None and prediction.is_log_cuts:
            arrays[f"log_cuts.{name}"] = prediction.counts.astype(np.float32)
        arrays[f"state.{name}"] = prediction.state.astype(np.float32)
    # an open file: numpy would put its own ending behind the temporary name
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
