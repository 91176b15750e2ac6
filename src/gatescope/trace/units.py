"""Where does what single units did rest between `trace` and `boundaries`? Three arrays per contig.

Torch-free: this is the seam that `boundaries` reads.

Public names: `DIRECTIONS`, `UNIT_ARRAYS`, `LogitSource`, `UnitStore`, `unit_file`, `selected_units`, `choose_units`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import NOT_AN_ARRAY
from gatescope.genome.contigs import contig_file_stem

#: Axis D of every trace: reading left to right, reading right to left.
DIRECTIONS = ("fwd", "rev")
#: What is kept of a contig: forget logits, writes i g (both (D, H, L)), and how far the hidden states move (D, L).
UNIT_ARRAYS = ("logits", "writes", "change")


def unit_file(contig: str, array: str = "logits") -> str:
    """Return the name of one of a contig's arrays (`UNIT_ARRAYS`) in the `units` folder of a trace."""
    stem = contig_file_stem(contig)
    for name in UNIT_ARRAYS[1:]:
        if stem.endswith(f".{name}"):  # of a contig that is called like an array of another one
            stem = f"{stem.removesuffix(f'.{name}')}%2E{name}"
    return f"{stem}.npy" if array == "logits" else f"{stem}.{array}.npy"


def selected_units(path: Path, hidden_units: int) -> dict[str, int]:
    """Return the named unit of each direction from the table of the boundaries stage.

    Raises
    ------
    InputError
        If the table is missing, is not one, or does not name one of `hidden_units` units for each direction.
    """
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy="run gatescope boundaries first")
    again = "run gatescope boundaries again, for this network"
    try:
        table = pd.read_csv(path, sep="\t")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"not a table ({error})", where=path, remedy=again) from error
    missing = [name for name in ("direction", "crossing", "unit", "selected") if name not in table]
    if missing:
        raise InputError(f"no column {', '.join(missing)}", where=path, remedy=again)
    rows = table[(table.crossing == "entry") & table.selected.isin([True])]
    if sorted(map(str, rows.direction)) != sorted(DIRECTIONS):
        raise InputError(f"names no unit for each of {', '.join(DIRECTIONS)}", where=path, remedy=again)
    if not rows.unit.isin(range(hidden_units)).all():
        named = ", ".join(map(str, rows.unit))
        raise InputError(f"units {named}; the network has 0 to {hidden_units - 1}", where=path, remedy=again)
    return dict(zip(rows.direction, rows.unit.astype(int), strict=True))


def choose_units(table: Path | str | None, named: Sequence[str], hidden_units: int) -> dict[str, int]:
    """Return one unit of each direction: those of a table (`selected_units`), or by name, such as ``fwd:12``.

    By name, one direction may be left out.

    Raises
    ------
    InputError
        If both or none are given, or a unit is not there.
    """
    where = "--units, --unit"
    if (table is None) == (not named):
        raise InputError("wanted units.tsv of boundaries, or units by name, one of them", where=where)
    if table is not None:
        return selected_units(Path(table), hidden_units)
    units: dict[str, int] = {}
    for text in named:
        direction, _, number = text.partition(":")
        if direction not in DIRECTIONS or not number.isdecimal():
            raise InputError(f"{text!r}; wanted DIRECTION:UNIT, such as fwd:12 or rev:3", where=where)
        if int(number) >= hidden_units:
            raise InputError(f"unit {number}; the network has 0 to {hidden_units - 1}", where=where)
        if direction in units:
            raise InputError(f"two units of direction {direction}; one can be shown", where=where)
        units[direction] = int(number)
    return units


class LogitSource(Protocol):
    """Anything that hands out the forget logits of a unit, such as `UnitStore`."""

    def logits(self, contig: str, direction: int, unit: int) -> NDArray[np.float32]:
        """Return the logits, shape (L,), genomic order."""
        ...


class UnitStore:
    """Read what the units of one traced run did, one unit of one contig at a time, memory-mapped.

    Cell states are not kept: ``c_t = f_t c_(t-1) + write_t`` gives them, in reading order, from 0 at the end where the
    direction starts.

    Parameters
    ----------
    folder : Path or str
        ``trace/{run}``; the arrays in its ``units`` folder (`unit_file`) are float32, genomic order in both directions.
    lengths : mapping of str to int
        Contig lengths in bp, to check the arrays against.

    Raises
    ------
    InputError
        If an array is missing or does not fit the contig.
    """

    def __init__(self, folder: Path | str, lengths: Mapping[str, int]) -> None:
        self.folder = Path(folder)
        self._lengths = lengths
        self._open: dict[tuple[str, str], NDArray[np.float32]] = {}

    def logits(self, contig: str, direction: int, unit: int) -> NDArray[np.float32]:
        """Return the forget logits of one unit, shape (L,), float32, genomic order."""
        return self._array(contig, "logits")[direction, unit]

    def writes(self, contig: str, direction: int, unit: int) -> NDArray[np.float32]:
        """Return what one unit writes at each base, i g with its sign, shape (L,), float32, genomic order."""
        return self._array(contig, "writes")[direction, unit]

    def hidden_change(self, contig: str, direction: int) -> NDArray[np.float32]:
        """Return how far the hidden states of a direction move at each base, shape (L,), float32, genomic order.

        The length of ``h_t - h_(t-1)`` over all units of the direction, in reading order; 0 at an unread base.
        """
        return self._array(contig, "change")[direction]

    def n_units(self, contig: str) -> int:
        """Return the number of units H of each direction."""
        return self._array(contig, "logits").shape[1]

    def _array(self, contig: str, name: str) -> NDArray[np.float32]:
        if (contig, name) not in self._open:
            self._open[contig, name] = self._map(contig, name)
        return self._open[contig, name]

    def _map(self, contig: str, name: str) -> NDArray[np.float32]:
        """Memory-map one array of one contig and check its shape."""
        path = self.folder / "units" / unit_file(contig, name)
        if not path.is_file():
            raise InputError(
                f"no traced units for contig {contig!r}",
                where=path,
                cause="trace ran for other contigs, or its temporary units folder was removed",
                remedy="run gatescope trace again",
            )
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except NOT_AN_ARRAY as error:
            raise InputError(
                f"not a readable array ({error})",
                where=path,
                cause="a copy that was cut off",
                remedy="run gatescope trace again",
            ) from error
        wanted = (len(DIRECTIONS), "H", self._lengths[contig])
        axes = "(directions, units, bases)"
        if name == "change":
            wanted, axes = (wanted[0], wanted[2]), "(directions, bases)"
        if array.ndim != len(wanted) or (array.shape[0], array.shape[-1]) != (wanted[0], wanted[-1]):
            raise InputError(
                f"shape {array.shape}, wanted {axes} = {wanted}",
                where=path,
                cause="trace and encoded store come from different genomes",
                remedy="run gatescope trace again",
            )
        return array
