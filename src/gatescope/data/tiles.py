"""Where do the tiles of a whole genome wait until background is chosen from them? In a temporary file, by contig.

Public names: `Tiles`.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Tiles:
    """Keep a table of tiles for each contig on disk: one contig's are in memory at a time.

    A context manager. The file lies in the system's temporary folder (``TMPDIR``), about 30 bytes for each tile, and
    has no name, so that nothing is ever left.

    Attributes
    ----------
    most_cuts : float
        Tiles with more `cuts` than that are passed over; set it once the peaks are known.
    """

    def __init__(self) -> None:
        self.most_cuts = np.inf
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="gatescope-")
        self._places: list[int] = []

    def add(self, table: pd.DataFrame) -> None:
        """Append the tiles of the next contig; numbers only."""
        self._places.append(self._file.seek(0, 2))
        np.save(self._file, table.to_records(index=False), allow_pickle=False)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the tiles of each contig that are not passed over, in the order they were added."""
        for table in self._tables():
            yield table.loc[table["cuts"].to_numpy() <= self.most_cuts].reset_index(drop=True)

    def __len__(self) -> int:
        """Return how many tiles are not passed over."""
        return sum(map(len, self))

    def take(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return some of the tiles that are not passed over, by their number, ascending."""
        found, first = [], 0
        for table in self:
            low, high = np.searchsorted(rows, (first, first + len(table)))
            found.append(table.iloc[rows[low:high] - first])
            first += len(table)
        return pd.concat(found, ignore_index=True)

    def _tables(self) -> Iterator[pd.DataFrame]:
        """Read what was added."""
        for place in self._places:
            self._file.seek(place)
            yield pd.DataFrame(np.load(self._file, allow_pickle=False))

    def __enter__(self) -> "Tiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
