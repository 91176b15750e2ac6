"""What can be predicted without a network? GC content, and gradient boosting on k-mer counts.

Both read a bin and `FLANK_BP` on either side of it. The boosting is fitted on training contigs only.

Public names: `FLANK_BP`, `KMER`, `KmerBoosting`, `gc_of_bins`, `count_kmers`, `fit_kmer_boosting`.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from gatescope.data.store import NOT_SCORED, EncodedStore
from gatescope.data.unlearned import NO_COPIES, Copies
from gatescope.errors import InputError
from gatescope.genome.sequence import UNKNOWN, reverse_complement
from gatescope.model.metrics import cut_bins

log = logging.getLogger(__name__)

KMER = 4
#: Context read on each side of a bin.
FLANK_BP = 200
#: The boosting gains nothing from more, and a human genome has ten million.
MOST_TRAINING_BINS = 40_000
_CHUNK_BINS = 2048

# chosen on the yeast validation contig
_BOOSTING = {"max_iter": 150, "learning_rate": 0.05, "early_stopping": False}


@dataclass(frozen=True)
class KmerBoosting:
    """Predict a bin from its k-mers; see `fit_kmer_boosting`."""

    bin_bp: int
    regressor: HistGradientBoostingRegressor
    classifier: HistGradientBoostingClassifier

    def predict(self, codes: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict the consecutive bins of a contig.

        Parameters
        ----------
        codes : ndarray, shape (L,), uint8

        Returns
        -------
        log_cuts, probability : ndarray, shape (L // bin_bp,), float64
            Expected ln(1 + cuts) of each bin, and probability that it is accessible.
        """
        log_cuts, probability = np.empty((2, len(codes) // self.bin_bp))
        with threadpool_limits(1):
            for chunk in _chunks(len(log_cuts)):
                counts = count_kmers(codes, chunk * self.bin_bp, self.bin_bp)
                log_cuts[chunk] = self.regressor.predict(counts)
                probability[chunk] = self.classifier.predict_proba(counts)[:, 1]
        return log_cuts, probability


def gc_of_bins(codes: NDArray[np.uint8], bin_bp: int) -> NDArray[np.float64]:
    """Return the GC share of the known bases of each consecutive bin with `FLANK_BP` on either side.

    Parameters
    ----------
    codes : ndarray, shape (L,), uint8
    bin_bp : int

    Returns
    -------
    ndarray, shape (L // bin_bp,), float64
        0-1; NaN where no base is known. Flanks end where the contig ends.
    """
    share = np.empty(len(codes) // bin_bp)
    for chunk in _chunks(len(share)):
        windows = _windows(codes, chunk * bin_bp, bin_bp)
        n_gc = ((windows == 1) | (windows == 2)).sum(axis=1)
        n_known = (windows != UNKNOWN).sum(axis=1)
        share[chunk] = np.where(n_known > 0, n_gc / np.maximum(n_known, 1), np.nan)
    return share


def count_kmers(codes: NDArray[np.uint8], starts: NDArray[np.integer], bin_bp: int) -> NDArray[np.float32]:
    """Count k-mers, without regard to strand, inside bins and inside bins with their flanks.

    Parameters
    ----------
    codes : ndarray, shape (L,), uint8
    starts : ndarray, shape (n,), int
        First base of each bin, 0-based.
    bin_bp : int

    Returns
    -------
    ndarray, shape (n, 2 * 136), float32
        First the 4-mers that lie in the bin, then those in the bin and `FLANK_BP` on either side. A 4-mer and
        its reverse complement are one; those with an unknown base, or beyond the contig's end, do not count.
    """
    counts = np.empty((len(starts), 2 * _N_WORDS), np.float32)
    for chunk in _chunks(len(starts)):
        words = _words(_windows(codes, starts[chunk], bin_bp))
        inside = words[:, FLANK_BP : FLANK_BP + bin_bp - KMER + 1]
        counts[chunk] = np.hstack([_count_words(inside), _count_words(words)])
    return counts


def fit_kmer_boosting(
    store: EncodedStore, contigs: Iterable[str], bin_bp: int, seed: int, copies: Copies = NO_COPIES
) -> KmerBoosting:
    """Fit gradient boosting on the k-mer counts of bins: ln(1 + cuts), and whether the bin is accessible.

    Training bins overlap by half; beyond `MOST_TRAINING_BINS` a seeded sample is taken. The fit runs on one
    thread, whatever the machine has: scikit-learn sums over samples in an order that depends on the number of
    threads, and the last digits with it.

    Parameters
    ----------
    store : EncodedStore
    contigs : iterable of str
        Training contigs; nothing else of the store is read.
    bin_bp : int
    seed : int
    copies : mapping of str to ndarray, shape (n, 2)
        Stretches that the networks do not learn from either, as from `gatescope.data.unlearned.read_copies`: their
        bases count as not scored.

    Raises
    ------
    InputError
        If the training bins are all accessible or none is.
    """
    bins = {contig: _training_bins(store, contig, bin_bp, copies) for contig in contigs}
    sizes = {contig: len(part.start) for contig, part in bins.items()}
    chosen = _choose(sizes, np.random.default_rng(seed))
    label = np.concatenate([bins[c].label[i] for c, i in chosen.items()])
    _require_both_kinds(label, store)
    log_cuts = np.concatenate([np.log1p(bins[c].cuts[i]) for c, i in chosen.items()])
    counts = [count_kmers(store.codes(c), bins[c].start[i], bin_bp) for c, i in chosen.items()]
    features = np.concatenate(counts)
    settings = {**_BOOSTING, "random_state": seed}
    with threadpool_limits(1):
        regressor = HistGradientBoostingRegressor(**settings).fit(features, log_cuts)
        classifier = HistGradientBoostingClassifier(**settings).fit(features, label)
    log.info("k-mer baseline: %s of %s training bins used, %.4f of them accessible",
             f"{label.size:,}", f"{sum(sizes.values()):,}", label.mean())  # fmt: skip
    return KmerBoosting(bin_bp, regressor, classifier)


def _require_both_kinds(label: NDArray[np.bool_], store: EncodedStore) -> None:
    """Refuse to learn from one class."""
    if label.all() or not label.any():
        raise InputError(
            f"{label.sum():,} of {label.size:,} training bins are accessible; wanted both kinds",
            where=store.path,
            cause="peaks on few contigs, or too wide",
            remedy="check the peaks, or name other contigs in folds",
        )


class _TrainingBins(NamedTuple):
    """Scored bins of one training contig: each array has shape (n,)."""

    start: NDArray[np.int64]
    cuts: NDArray[np.float64]
    label: NDArray[np.bool_]


def _training_bins(store: EncodedStore, contig: str, bin_bp: int, copies: Copies) -> _TrainingBins:
    """Cut a contig twice, half a bin apart."""
    parts, state = [], store.state(contig).copy()
    for low, high in copies.get(contig, ()):
        state[low:high] = NOT_SCORED
    for shift in (0, bin_bp // 2):
        cuts = store.track(contig, "cuts")[shift:]
        bins = cut_bins({contig: state[shift:]}, {contig: cuts}, bin_bp)
        parts.append((bins.start + shift, bins.cuts, bins.label))
    return _TrainingBins(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _choose(sizes: dict[str, int], rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Return the rows to train on, per contig: all, or `MOST_TRAINING_BINS` drawn without replacement."""
    total = sum(sizes.values())
    rows = np.arange(total)
    if total > MOST_TRAINING_BINS:
        rows = np.sort(rng.choice(total, MOST_TRAINING_BINS, replace=False))
    ends = np.cumsum(list(sizes.values()))
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    return {contig: part - end + sizes[contig] for contig, part, end in zip(sizes, parts, ends, strict=True)}


def _chunks(n: int) -> Iterator[NDArray[np.int64]]:
    """Yield 0 to n - 1 in parts whose windows fit into memory."""
    for first in range(0, n, _CHUNK_BINS):
        yield np.arange(first, min(n, first + _CHUNK_BINS))


def _windows(codes: NDArray[np.uint8], starts: NDArray[np.integer], bin_bp: int) -> NDArray[np.uint8]:
    """Return each bin with its flanks, shape (n, bin_bp + 2 * FLANK_BP); unknown beyond the contig's ends."""
    position = starts[:, None] + np.arange(-FLANK_BP, bin_bp + FLANK_BP)
    is_inside = (position >= 0) & (position < len(codes))
    return np.where(is_inside, codes[np.clip(position, 0, len(codes) - 1)], np.uint8(UNKNOWN))


def _canonical_words() -> NDArray[np.int64]:
    """Return which of the 136 strandless 4-mers each of the 256 4-mers is."""
    words = np.stack(np.unravel_index(np.arange(4**KMER), (4,) * KMER), axis=1).astype(np.uint8)
    other = np.ravel_multi_index(tuple(reverse_complement(words).T), (4,) * KMER)
    return np.unique(np.minimum(np.arange(4**KMER), other), return_inverse=True)[1]


_CANONICAL = _canonical_words()
_N_WORDS = int(_CANONICAL.max()) + 1


def _words(windows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the strandless k-mer that starts at each base, shape (n, W - k + 1); `_N_WORDS` if unknown."""
    width = windows.shape[1] - KMER + 1
    word, is_known = np.zeros((len(windows), width), np.int64), np.ones((len(windows), width), bool)
    for offset in range(KMER):
        base = windows[:, offset : offset + width]
        word = 4 * word + np.minimum(base, 3)
        is_known &= base != UNKNOWN
    return np.where(is_known, _CANONICAL[word], _N_WORDS)


def _count_words(words: NDArray[np.int64]) -> NDArray[np.float32]:
    """Count each k-mer in each row, shape (n, 136)."""
    width = _N_WORDS + 1
    flat = words + np.arange(len(words))[:, None] * width
    return (
        np.bincount(flat.ravel(), minlength=len(words) * width).reshape(-1, width)[:, :-1].astype(np.float32)
    )
