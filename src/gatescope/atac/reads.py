"""How do 5' ends of reads become cuts? The shift that they carry is undone, and the centre of the duplication counted.

Public names: `Reads`.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gatescope.atac.accounts import FileCounts
from gatescope.atac.ends import Ends
from gatescope.atac.shift import Tn5Shift


class Reads:
    """Count the cuts of one file of reads or fragments.

    Parameters
    ----------
    ends : Ends
        Its 5' ends, as in the file.
    shift : Tn5Shift
        What was added to them.
    other_bases_on : tuple of str or None
        As in `FileCounts`.
    """

    def __init__(self, ends: Ends, shift: Tn5Shift, other_bases_on: tuple[str, ...] | None) -> None:
        self._ends, self._shift, self._other_bases_on = ends, shift, other_bases_on
        left, right = shift.cuts(np.array([0]), np.array([1]))
        self._offsets = {"+": int(left[0]), "-": int(right[0])}

    def add_cuts(self, chrom: str, counts: np.ndarray) -> int:
        """Add a contig's cuts to `counts`, (length,) uint32; return how many lie beyond its ends."""
        off_contig = 0
        for side, positions in self._ends.pieces(chrom):
            at = positions + self._offsets[side]
            is_on = (at >= 0) & (at < len(counts))
            off_contig += len(at) - int(np.count_nonzero(is_on))
            np.add.at(counts, at[is_on], counts.dtype.type(1))  # a Python 1 takes ten times as long
        return off_contig

    def fragments(self, chrom: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield starts and ends as they were before they were shifted."""
        for starts, ends in self._ends.fragments(chrom):
            yield starts - self._shift.plus, ends - self._shift.minus

    @property
    def fragment_share(self) -> float:
        """Share of 5' ends whose fragment is known."""
        return self._ends.fragment_share

    def finish(self) -> FileCounts:
        """Return what was read."""
        return replace(self._ends.counts, tn5_shift=str(self._shift), other_bases_on=self._other_bases_on)
