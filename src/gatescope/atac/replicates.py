"""Do the replicates of a sample agree? One track of cuts per file, and how they correlate in bins.

Public names: `ReplicateTracks`, `Concordance`.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.atac.accounts import FileCounts, no_cut
from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.files import replacing_folder, write_table

log = logging.getLogger(__name__)

#: Bins in which replicates are compared, bp.
_BINS_BP: tuple[int, ...] = (200, 1000)
_TABLE = "concordance.tsv"
_WRITTEN = (_TABLE, "*.bw", "*.bw.json")


class ReplicateTracks:
    """Write the cuts of each file of a sample as a track of its own; a context manager.

    The folder holds ``1.bw``, ``2.bw``, ... in the order of the files, each with its sidecar, and
    ``concordance.tsv``. It appears whole or not at all, when the context is left after `finish`.

    Parameters
    ----------
    folder : path
        Folder to write; an older one is replaced if it holds nothing else.
    paths : sequence of str
        The files.
    lengths : dict of str to int
        Contigs in use, in genome order.
    """

    def __init__(self, folder: Path, paths: Sequence[str], lengths: dict[str, int]) -> None:
        self._folder, self._paths, self._lengths = folder, paths, lengths
        self._concordance = Concordance(len(paths))
        self._is_empty = [True] * len(paths)

    def __enter__(self) -> "ReplicateTracks":
        with ExitStack() as stack:
            self._partial = stack.enter_context(replacing_folder(self._folder, _WRITTEN))
            self._writers = [
                stack.enter_context(BigWigWriter(self._track(number), self._lengths, sparse=True))
                for number in range(len(self._paths))
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def _track(self, number: int) -> Path:
        return self._partial / f"{number + 1}.bw"

    def add(self, chrom: str, counts: Sequence[np.ndarray]) -> None:
        """Write a contig: its (length,) cuts of each file, in order."""
        for number, (writer, own) in enumerate(zip(self._writers, counts, strict=True)):
            self._is_empty[number] &= not own.any()
            writer.add(chrom, 0, own)
        self._concordance.add(counts)

    def refuse_empty(self) -> None:
        """Raise `InputError`, once every contig was added, if a file has no cut on any."""
        for path, is_empty in zip(self._paths, self._is_empty, strict=True):
            if is_empty:
                raise no_cut(path)

    def finish(self, files: Sequence[FileCounts], details: dict[str, Any]) -> None:
        """Write sidecars and table, once every contig was added, and log the table."""
        for number, file in enumerate(files):
            info = TrackInfo(
                track=f"cuts of replicate {number + 1}",
                unit="cuts",
                range=(0, None),
                gaps="zero",
                description=f"Tn5 cuts per base of {file.file} alone, at the centre of the 9-bp duplication",
                aggregation="sum",
                details={**details, "files": [file]},
            )
            write_sidecar(self._track(number), info)
        table = self._concordance.table([file.file for file in files])
        write_table(self._partial / _TABLE, table)
        words = (
            "%(file_1)s and %(file_2)s: Pearson r = %(pearson).3f of log(1 + cuts) in bins of %(bin_bp)d bp"
        )
        for row in table.to_dict("records"):
            log.info(words, row)


class Concordance:
    """Correlate counts of several files contig by contig; no contig is kept.

    Parameters
    ----------
    n_files : int
    """

    def __init__(self, n_files: int) -> None:
        self._n = dict.fromkeys(_BINS_BP, 0)
        self._sums = {bin_bp: np.zeros(n_files) for bin_bp in _BINS_BP}
        self._products = {bin_bp: np.zeros((n_files, n_files)) for bin_bp in _BINS_BP}

    def add(self, counts: Sequence[np.ndarray]) -> None:
        """Add a contig: its (length,) counts of each file. What is left of a bin at its end is left out."""
        for bin_bp in _BINS_BP:
            n = len(counts[0]) // bin_bp
            binned = [own[: n * bin_bp].reshape(n, bin_bp).sum(1, dtype=np.float64) for own in counts]
            logs = np.log1p(np.stack(binned))
            self._n[bin_bp] += n
            self._sums[bin_bp] += logs.sum(1)
            self._products[bin_bp] += logs @ logs.T

    def pearson(self, bin_bp: int) -> np.ndarray:
        """Return Pearson's r of log(1 + counts) of each pair, (files, files); NaN where a file never varies."""
        mean = self._sums[bin_bp] / max(1, self._n[bin_bp])
        covariance = self._products[bin_bp] / max(1, self._n[bin_bp]) - np.outer(mean, mean)
        # of values up to 20, rounding leaves less than this where there is no variance
        spread = np.sqrt(np.where(np.diag(covariance) > 1e-9, np.diag(covariance), np.nan))
        return np.clip(covariance / np.outer(spread, spread), -1, 1)

    def table(self, names: Sequence[str]) -> pd.DataFrame:
        """Return one row per pair of files and bin size.

        Returns
        -------
        DataFrame
            `replicate_1, file_1, replicate_2, file_2` (counted from 1), `bin_bp`, `n_bins`, `pearson`.
        """
        columns = ["replicate_1", "file_1", "replicate_2", "file_2", "bin_bp", "n_bins", "pearson"]
        rows = [
            (
                one + 1,
                names[one],
                two + 1,
                names[two],
                bin_bp,
                self._n[bin_bp],
                self.pearson(bin_bp)[one, two],
            )
            for one, two in combinations(range(len(names)), 2)
            for bin_bp in _BINS_BP
        ]
        return pd.DataFrame(rows, columns=columns)
