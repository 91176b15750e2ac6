"""Is this bigWig a track of cut counts? If so, its cuts; if not, why.

Public names: `ReadyTrack`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gatescope.atac.accounts import FileCounts, no_cut, refuse_empty_contigs
from gatescope.atac.bigwig import bigwig_lengths, check_bigwig_contigs, covered_bp, read_bigwig
from gatescope.atac.bigwig_check import refuse_damaged_bigwig
from gatescope.atac.shift import Tn5Shift
from gatescope.atac.signal_kind import GIVE_READS, LEAST_ROUGHNESS, Roughness, explain_signal
from gatescope.errors import InputError
from gatescope.genome.contigs import refuse_unknown_contigs

log = logging.getLogger(__name__)

_AT_CENTRE = Tn5Shift(4, -4)
_CHUNK_BP = 1_000_000


class ReadyTrack:
    """Read a bigWig of cut counts per base, and check on the way that it is one.

    Parameters
    ----------
    path : Path
        The bigWig; gaps are read as 0.
    lengths : mapping of str to int
        Contigs in use.
    shift : Tn5Shift
        Declared shift; only +4/-4 will do.
    excluded : tuple of str
        Contigs that may be in the file and not in `lengths`.
    source : str
        What the genome is called in messages.

    Raises
    ------
    InputError
        For another shift, contigs that do not fit, and, while it is read, values that are no counts.
    """

    def __init__(
        self, path: Path, lengths: Mapping[str, int], shift: Tn5Shift, excluded: tuple[str, ...], source: str
    ) -> None:
        if shift != _AT_CENTRE:
            raise InputError(
                f"the shift of this bigWig is declared as {shift}, but cut counts cannot be shifted any more",
                where=path,
                cause="both read ends are in one track",
                remedy="give fragments, or counts made at +4/-4 together with tn5_shift +4/-4",
            )
        refuse_damaged_bigwig(path)
        found = bigwig_lengths(path)
        refuse_unknown_contigs(
            found,
            lengths,
            where=path,
            file=path,
            kind="bigWig",
            source=source,
            exclude_contigs=excluded,
        )
        check_bigwig_contigs(path, lengths, source)
        self._path, self._lengths = path, dict(lengths)
        self._excluded = [(chrom, found[chrom]) for chrom in dict.fromkeys(excluded) if chrom in found]
        self._totals: dict[str, int] = {}
        self._roughness = Roughness()

    def add_cuts(self, chrom: str, counts: np.ndarray) -> int:
        """Add a contig's cuts to `counts`, (length,) integers; none lies beyond its ends."""
        self._totals[chrom] = 0
        for start in range(0, len(counts), _CHUNK_BP):
            values = _read_counts(self._path, chrom, start, min(start + _CHUNK_BP, len(counts)))
            counts[start : start + len(values)] += values.astype(counts.dtype)
            self._totals[chrom] += int(values.sum(dtype=np.float64))
            self._roughness.add(values)
        return 0

    def finish(self) -> FileCounts:
        """Judge the file as a whole, once every contig was read.

        Raises
        ------
        InputError
            If it looks like coverage, or a contig has no cut where some were expected.
        """
        n = self._roughness.n_nonzero
        if n == 0:
            raise no_cut(self._path, "check that the file is whole")
        if self._roughness.ratio < LEAST_ROUGHNESS:
            raise InputError(
                f"no 1-bp cut counts: neighbouring bases differ by {self._roughness.ratio:.2g} of what counts would "
                f"({self._roughness.share_equal:.0%} of the bases have the value of the base before)",
                where=self._path,
                cause="coverage by whole reads or fragments, or smoothed counts",
                remedy=GIVE_READS,
            )
        refuse_empty_contigs(self._totals, self._lengths, self._path, "cuts")
        n_excluded = sum(_bases_with_cuts(self._path, chrom, length) for chrom, length in self._excluded)
        left_out = {"excluded_contigs": n_excluded}
        counts = FileCounts(self._path.name, "bigWig", str(_AT_CENTRE), n + n_excluded, left_out, n, n, 0)
        log.info("%s: %s", self._path, counts.in_words)
        return counts


def _bases_with_cuts(path: Path, chrom: str, length: int) -> int:
    """Count the bases of a contig whose value is not 0; it is left out, so nothing is checked."""
    starts = range(0, length, _CHUNK_BP)
    pieces = (read_bigwig(path, chrom, start, min(start + _CHUNK_BP, length), missing=0) for start in starts)
    return sum(int(np.count_nonzero(values)) for values in pieces)


def _read_counts(path: Path, chrom: str, start: int, end: int) -> np.ndarray:
    """Read a span of counts, gaps as 0, and raise for the first value that is no count."""
    values = read_bigwig(path, chrom, start, end)
    is_gap = np.isnan(values)
    if np.count_nonzero(~is_gap) != covered_bp(path, chrom, start, end):
        raise _no_counts(path, f"NaN within {chrom}:{start}-{end}", values)
    values[is_gap] = 0
    wrong = np.flatnonzero((values < 0) | ~np.isfinite(values) | (values != np.round(values)))
    if wrong.size:
        what = f"{values[wrong[0]]:g} at {chrom} position {start + wrong[0]} (0-based)"
        raise _no_counts(path, what, values)
    return values


def _no_counts(path: Path, what: str, values: np.ndarray) -> InputError:
    """Say that a track holds no cut counts, and what it looks like."""
    look = explain_signal(values)
    return InputError(f"no 1-bp cut counts: {what}", where=path, cause=look.cause, remedy=look.remedy)
