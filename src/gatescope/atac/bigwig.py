"""How do numbers along the genome become a track, and come back? bigWig files and their sidecars.

Public names: `BigWigWriter`, `read_bigwig`, `bigwig_lengths`, `check_bigwig_contigs`, `covered_bp`, `TrackInfo`,
`write_sidecar`.

pyBigWig writes, behind the checks here: left alone it crashes on NaN, on spans off the contig and on folders
that do not exist. pybigtools, another implementation, reads.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pybigtools
import pyBigWig

from gatescope.atac.bigwig_check import refuse_damaged_bigwig
from gatescope.errors import InputError
from gatescope.files import replacing_file, write_json
from gatescope.genome.assemblies import assembly_clash
from gatescope.genome.contigs import contig_hint, name_list
from gatescope.genome.naming import rename_remedy

_READ_BP = 10_000_000
_PROBE_BP = 256
_PIECE_BP = 1_000_000


class BigWigWriter:
    """Write a bigWig file that exists whole, or not at all.

    A context manager: the file is written under a temporary name; on leaving, it is read back by pybigtools
    and compared with what was sent (contigs, bases covered, the first and last values of each contig),
    then renamed. After an exception nothing is left.

    Parameters
    ----------
    path : Path or str
        The file to make; parent folders are made.
    lengths : mapping of str to int
        Contigs of the header in genome order, and their lengths in bp.
    decimals : int, optional
        Round values to this many decimals (smaller files); None keeps full float32.
    sparse : bool
        For counts: write only values other than 0, one item each, so that a gap means 0. Default: every value
        is written, and a gap (NaN) means no data.

    Raises
    ------
    InputError
        If the file cannot be made there, or does not read back as sent.
    ValueError
        On leaving, if no value was added.
    """

    def __init__(
        self,
        path: Path | str,
        lengths: Mapping[str, int],
        decimals: int | None = None,
        *,
        sparse: bool = False,
    ) -> None:
        self.path = Path(path)
        self._lengths = {chrom: int(length) for chrom, length in lengths.items()}
        self._order = {chrom: rank for rank, chrom in enumerate(self._lengths)}
        self._decimals = decimals
        self._sparse = sparse
        self._chrom = next(iter(self._lengths), "")
        self._position = 0
        self._covered = 0
        self._probes: dict[tuple[str, str], tuple[int, np.ndarray]] = {}

    def __enter__(self) -> "BigWigWriter":
        with ExitStack() as stack:
            try:
                self._partial = stack.enter_context(replacing_file(self.path))
                self._partial.touch()  # pyBigWig crashes where it cannot create its file
            except OSError as error:
                raise InputError(f"cannot be written ({error.strerror})", where=self.path) from error
            self._bigwig = pyBigWig.open(str(self._partial), "w")
            self._bigwig.addHeader(list(self._lengths.items()))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(self, chrom: str, start: int, values: np.ndarray) -> None:
        """Append values for the bases from `start` on.

        Parameters
        ----------
        chrom : str
            Contig; contigs come in the order of the header, some may be left out.
        start : int
            0-based position of the first value, not before the end of the previous call.
        values : numpy.ndarray
            (n,) numbers; NaN is a gap (refused if `sparse`, where a gap means 0).

        Raises
        ------
        ValueError
            Unknown contig, span off the contig, out of order, not one-dimensional, infinite values.
        """
        values = np.asarray(values)
        for first in range(0, len(values), _PIECE_BP) or (0,):
            self._add(chrom, start + first, values[first : first + _PIECE_BP])

    def _add(self, chrom: str, start: int, values: np.ndarray) -> None:
        """Append one piece: copies of a whole contig would take more memory than the contig."""
        stored = self._prepare(chrom, start, values)
        if self._sparse:
            positions = np.flatnonzero(stored)
            if positions.size:
                self._bigwig.addEntries(chrom, positions + start, values=stored[positions], span=1)
            self._covered += positions.size
        else:
            for first, last in _finite_runs(stored):
                self._bigwig.addEntries(chrom, start + first, values=stored[first:last], span=1, step=1)
            self._covered += int(np.count_nonzero(~np.isnan(stored)))
        self._probes.setdefault((chrom, "first"), (start, self._as_read(stored[:_PROBE_BP])))
        tail = self._as_read(stored[-_PROBE_BP:])
        self._probes[chrom, "last"] = (start + len(stored) - len(tail), tail)
        self._chrom, self._position = chrom, start + len(stored)

    def _as_read(self, stored: np.ndarray) -> np.ndarray:
        """Return a copy of values, NaN where the file will have none."""
        return np.where(stored == 0, np.float32(np.nan), stored) if self._sparse else stored.copy()

    def _prepare(self, chrom: str, start: int, values: np.ndarray) -> np.ndarray:
        """Check one call and return its values as stored."""
        if chrom not in self._order:
            raise ValueError(f"contig {chrom!r} is not in the header of {self.path}")
        if values.ndim != 1:
            raise ValueError(f"values have shape {values.shape}, wanted one dimension")
        if not 0 <= start <= start + len(values) <= self._lengths[chrom]:
            raise ValueError(
                f"[{start}, {start + len(values)}) is not within {chrom} of {self._lengths[chrom]} bp"
            )
        here, before = (self._order[chrom], start), (self._order[self._chrom], self._position)
        if here < before:
            raise ValueError(
                f"{chrom}:{start} comes after {self._chrom}:{self._position}; wanted genome order"
            )
        with np.errstate(over="ignore"):
            rounded = (
                values if self._decimals is None else np.round(values.astype(np.float64), self._decimals)
            )
            stored = rounded.astype(np.float32) + np.float32(0)  # turns -0 into 0
        wrong = np.flatnonzero(np.isinf(stored) | (np.isnan(stored) if self._sparse else False))
        if wrong.size:
            raise ValueError(f"value {values[wrong[0]]} at {chrom}:{start + wrong[0]} cannot be stored")
        return stored

    def _finish(self, kind: Any, error: Any, trace: Any) -> None:
        """Close the temporary file and, unless there was an exception, compare it with what was sent."""
        self._bigwig.close()
        if kind is not None:
            return
        if self._covered == 0:
            raise ValueError(f"no value was added to {self.path}")
        if not self._is_as_sent():
            raise InputError(
                "the file read back differs from what was written", where=self.path, cause="a full disk"
            )

    def _is_as_sent(self) -> bool:
        """Read the temporary file back with the other library."""
        with _opened(self._partial) as reader:
            if reader.chroms() != self._lengths or reader.info()["summary"]["basesCovered"] != self._covered:
                return False
            return all(
                np.array_equal(
                    _values(reader, chrom, start, start + len(sent), math.nan), sent, equal_nan=True
                )
                for (chrom, _), (start, sent) in self._probes.items()
            )


def _finite_runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of each run of values that are not NaN."""
    edges = np.diff(np.isfinite(values).astype(np.int8), prepend=0, append=0)
    for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield int(first), int(last)


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    """Open a bigWig with pybigtools, by content and not by name; its errors become the user's message."""
    path = Path(path)
    if not path.is_file():
        raise InputError("file does not exist", where=path)
    try:
        with path.open("rb") as file:
            reader = pybigtools.open(file)
            if not reader.is_bigwig:
                raise InputError("this is a bigBed, wanted a bigWig", where=path)
            if reader.info()["summary"]["basesCovered"] == 0:
                raise InputError("empty track: no base has data", where=path)
            yield reader
    except pybigtools.BBIReadError as error:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            f"cannot be read as bigWig ({error})",
            where=path,
            cause="another kind of file, or an interrupted download",
        ) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of pybigtools, which is not to be imported
            raise
        what = "cannot be read as bigWig: its reader gave up"
        raise InputError(what, where=path, cause="a damaged file", remedy="fetch or make it again") from error


def _values(reader: Any, chrom: str, start: int, end: int, missing: float) -> np.ndarray:
    """Read ``[start, end)`` piece by piece: pybigtools gives float64."""
    values = np.empty(end - start, dtype=np.float32)
    for first in range(start, end, _READ_BP):
        last = min(first + _READ_BP, end)
        fill = None if math.isnan(missing) else missing
        values[first - start : last - start] = reader.values(chrom, first, last, fillna=fill)
    return values


def _length(reader: Any, path: Path | str, chrom: str) -> int:
    """Return the length of a contig, or say that the file lacks it."""
    lengths = reader.chroms()
    if chrom not in lengths:
        raise InputError(f"no contig {chrom!r} in it", where=path, cause=contig_hint(lengths, [chrom]))
    return lengths[chrom]


def read_bigwig(
    path: Path | str, chrom: str, start: int = 0, end: int | None = None, missing: float = math.nan
) -> np.ndarray:
    """Read the values of ``[start, end)``, 0-based half-open; `end` None is the contig's end.

    Parameters
    ----------
    path : Path or str
        bigWig file, told by content.
    chrom : str
        Contig.
    start, end : int
        Span.
    missing : float
        Value of bases without data. Give 0 only where the file's gaps mean 0, as for counts.

    Returns
    -------
    numpy.ndarray
        (end - start,) float32.

    Raises
    ------
    InputError
        If the file is missing, is no bigWig, is truncated, or lacks the contig.
    ValueError
        If the span is not within the contig.
    """
    with _opened(path) as reader:
        length = _length(reader, path, chrom)
        end = length if end is None else end
        if not 0 <= start <= end <= length:
            raise ValueError(f"[{start}, {end}) is not within {chrom} of {length} bp ({path})")
        return _values(reader, chrom, start, end, missing)


def bigwig_lengths(path: Path | str) -> dict[str, int]:
    """Return the contigs and lengths in a bigWig's header; InputError if it is no bigWig."""
    with _opened(path) as reader:
        return dict(reader.chroms())


def check_bigwig_contigs(path: Path | str, lengths: Mapping[str, int], source: Path | str) -> None:
    """Check that a bigWig is whole and knows every contig, at its length; further contigs in it do no harm.

    Parameters
    ----------
    path : Path or str
        bigWig file.
    lengths : mapping of str to int
        The contigs that are needed.
    source : Path or str
        What these come from, for messages: the genome's file, or the encoded store.

    Raises
    ------
    InputError
        If the file is damaged, or a contig is missing or has another length.
    """
    refuse_damaged_bigwig(path)
    found = bigwig_lengths(path)
    if is_shared := any(contig in found for contig in lengths):
        cause = "the program that wrote it leaves out contigs without data"
    else:
        cause = contig_hint(found, lengths)
    for contig, length in lengths.items():
        if contig not in found:
            remedy, command = ("", "") if is_shared else rename_remedy(found, lengths, path, "bigWig")
            raise InputError(
                f"no contig {contig!r} of {source} (it has {name_list(found, 3)})",
                where=path,
                cause=cause,
                remedy=remedy or "make the track on this genome, or list the contig under exclude_contigs",
                command=command,
            )
        if found[contig] != length:
            raise InputError(
                f"contig {contig} is {found[contig]} bp long, in {source} {length} bp",
                where=path,
                cause=assembly_clash(found, lengths),
                remedy="make the track on this genome, or give the genome that it was made on",
            )


def covered_bp(path: Path | str, chrom: str, start: int = 0, end: int | None = None) -> int:
    """Count the bases of ``[start, end)`` with an item; NaN items count, though `read_bigwig` shows gaps."""
    with _opened(path) as reader:
        end = _length(reader, path, chrom) if end is None else end
        covered = reader.values(chrom, start, end, bins=1, summary="bases_covered", exact=True, fillna=0.0)
        return int(covered[0])


@dataclass(frozen=True)
class TrackInfo:
    """Say what the numbers of a track mean; written beside it as ``<track>.json``.

    Parameters
    ----------
    track : str
        Short name.
    unit : str
        Such as ``cuts``, ``probability``, ``gate value 0-1``.
    range : tuple of float
        Smallest and largest value that the unit allows, None where unbounded.
    gaps : str
        What a base without data means: ``missing``, or ``zero`` for counts.
    description : str
        One sentence for a person.
    direction : str, optional
        ``fwd`` or ``rev`` for a track that one reading direction made.
    hidden_unit : int, optional
        Index of the unit, if the track shows one.
    aggregation : str
        How units or bases were combined, ``none`` if they were not.
    resolution_bp : int
        Bases per value.
    decimals : int, optional
        Decimals kept; None is full float32.
    model_sha256, certificate
        Hash of the weights, and the replay certificate, of a track that a model made.
    details : dict
        Further keys of this kind of track, written beside the others.
    """

    track: str
    unit: str
    range: tuple[float | None, float | None]
    gaps: Literal["missing", "zero"]
    description: str
    direction: Literal["fwd", "rev"] | None = None
    hidden_unit: int | None = None
    aggregation: str = "none"
    resolution_bp: int = 1
    decimals: int | None = None
    model_sha256: str | None = None
    certificate: dict[str, Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)


def write_sidecar(path: Path | str, info: TrackInfo) -> Path:
    """Write `info` beside the track `path`, as ``<path>.json``; return that path."""
    content = asdict(info)
    details = content.pop("details")
    clashing = content.keys() & details.keys()
    if clashing:
        raise ValueError(f"details repeat {sorted(clashing)}")
    sidecar = Path(f"{path}.json")
    write_json(sidecar, content | details)
    return sidecar
