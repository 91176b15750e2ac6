"""How does a genome lie on disk? One file per kind of value, with all contigs one after the other.

A draft genome of thousands of contigs is still a handful of files, and windows of any contigs can be read in one go
(`gatescope.data.windows`). Whoever writes or reads holds one contig in memory.

Public names: `ContigArrays`, `GenomeArrays`, `write_arrays`, `contig_starts`.
"""

import hashlib
import mmap
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import NOT_AN_ARRAY
from gatescope.genome.contigs import name_list

_AGAIN = "run gatescope encode again"
#: The arrays that are no track.
_BASE_ARRAYS = ("codes", "state")


@dataclass(frozen=True)
class ContigArrays:
    """Hold what is kept of one contig of L bases.

    Attributes
    ----------
    codes : ndarray, shape (L,), uint8
        Bases: 0-3 = ACGT, 4 = unknown.
    state : ndarray, shape (L,), uint8
        1 in an accessible region, 0 outside, `gatescope.data.store.NOT_SCORED` where nobody can say.
    tracks : dict of str to ndarray, shape (L,), float32
        Finite values of each track, "cuts" among them.
    """

    codes: NDArray[np.uint8]
    state: NDArray[np.uint8]
    tracks: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        for name, array in self.by_file().items():
            if array.shape != self.codes.shape or array.dtype != _dtype_of(name):
                raise ValueError(f"{name}: {array.dtype} {array.shape}, codes have {self.codes.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: values that are not finite")

    def by_file(self) -> dict[str, NDArray]:
        """Return the arrays by the stems of their files."""
        tracks = {_track_stem(name): values for name, values in self.tracks.items()}
        return {"codes": self.codes, "state": self.state, **tracks}


class GenomeArrays:
    """Read the arrays of a folder; they are mapped when first asked for, and never copied.

    A copy or a pickle holds no mapped array and looks at no file: each worker process maps them for itself.

    Parameters
    ----------
    path : Path
        The folder that `write_arrays` wrote to.
    meta : dict
        What it returned, and anything else.

    Raises
    ------
    InputError
        If a file is missing, or has another size than when it was written.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.__setstate__((path, meta))
        for stem in self._stems:
            file = path / f"{stem}.npy"
            require_file(file, self._recorded(file, "bytes"))

    def __getstate__(self) -> tuple[Path, dict[str, Any]]:
        return self.path, self.meta

    def __setstate__(self, state: tuple[Path, dict[str, Any]]) -> None:
        self.path, self.meta = state
        self._open: dict[str, NDArray] = {}
        self._rows: dict[tuple[str, int], NDArray] = {}

    @property
    def lengths(self) -> dict[str, int]:
        """Contig lengths in bp, in genome order."""
        return self.meta["contigs"]

    @property
    def starts(self) -> dict[str, int]:
        """Index of each contig's first base in `genome_array`, in genome order."""
        return self.meta["starts"]

    @cached_property
    def contig_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return `starts` and `lengths` as arrays, in genome order."""
        return np.array(list(self.starts.values())), np.array(list(self.lengths.values()))

    @property
    def tracks(self) -> tuple[str, ...]:
        """Track names, "cuts" first."""
        return tuple(self.meta["tracks"])

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the base codes of a contig, shape (L,), uint8, 0-3 = ACGT, 4 = unknown; read-only."""
        return self._part(contig, self.genome_array("codes"))

    def state(self, contig: str) -> NDArray[np.uint8]:
        """Return 1 where accessible, 0 where not, 255 where not scored; shape (L,), uint8, read-only."""
        return self._part(contig, self.genome_array("state"))

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Return the values of a track on a contig, shape (L,), float32, read-only.

        Raises
        ------
        InputError
            If there is no such track.
        """
        return self._part(contig, self._array(self._stem_of_track(name)))

    def genome_array(self, name: str) -> NDArray:
        """Return an array of the whole genome, the contigs one after the other (`starts`); read-only.

        Parameters
        ----------
        name : str
            "codes", "state", or a track.

        Returns
        -------
        ndarray, shape (G,)
            uint8 for codes and state, float32 for tracks.

        Raises
        ------
        InputError
            If there is no such track, or the file cannot be read.
        """
        return self._array(self._stem_of(name))

    def rows(self, name: str, window_bp: int) -> NDArray:
        """Return `genome_array` as a view of all its windows, one base apart; read-only.

        Windows that run from one contig into the next are among them: `gatescope.data.windows` keeps off these.

        Returns
        -------
        ndarray, shape (G - window_bp + 1, window_bp)
            Of no rows where the genome is shorter than a window.
        """
        key = (name, window_bp)
        if key not in self._rows:  # to make one takes as long as to read a small batch
            array = self._map_for_windows(self._stem_of(name)).view(np.ndarray)
            shape = max(array.size - window_bp + 1, 0), window_bp
            self._rows[key] = as_strided(array, shape, array.strides * 2, writeable=False)
        return self._rows[key]

    def load(self, contig: str) -> ContigArrays:
        """Read everything of one contig into memory; what was mapped for it is let go."""
        codes, state, *tracks = (np.array(self._part(contig, self._map(stem))) for stem in self._stems)
        return ContigArrays(codes, state, dict(zip(self.tracks, tracks, strict=True)))

    def verify(self) -> None:
        """Compare what is in the files with the hashes that were recorded when they were written.

        This reads everything once: 1.8 GB/s where it is in memory.

        Raises
        ------
        InputError
            If a file is not what was written.
        """
        for stem in self._stems:
            self._map(stem)
            file = self.path / f"{stem}.npy"
            refuse_difference(file, _hash_values(file), self._recorded(file, "sha256"))

    @property
    def _stems(self) -> tuple[str, ...]:
        """Names of the arrays' files."""
        return (*_BASE_ARRAYS, *map(_track_stem, self.tracks))

    def _recorded(self, file: Path, key: str) -> Any:
        """Return what was recorded when a file was written."""
        try:
            return self.meta["arrays"][file.name][key]
        except (KeyError, TypeError) as error:
            what = f"no entry {key} of {file.name} in arrays"
            raise InputError(what, where=self.path / "meta.json", remedy=_AGAIN) from error

    def _array(self, stem: str) -> NDArray:
        """Map a file, once."""
        if stem not in self._open:
            self._open[stem] = self._map(stem)
        return self._open[stem]

    def _stem_of(self, name: str) -> str:
        """Return the stem of an array's file."""
        return name if name in _BASE_ARRAYS else self._stem_of_track(name)

    def _stem_of_track(self, name: str) -> str:
        """Return the stem of a track's file; a track may be called as another array is."""
        if name not in self.tracks:
            raise InputError(
                f"no track {name!r}; it has {', '.join(self.tracks)}",
                where=self.path,
                remedy="name one of these, or add the track to the config and run gatescope encode again",
            )
        return _track_stem(name)

    def _part(self, contig: str, array: NDArray) -> NDArray:
        """Return the stretch of an array that belongs to a contig."""
        if contig not in self.lengths:
            raise InputError(f"no contig {contig!r}; it has {name_list(self.lengths, 20)}", where=self.path)
        start = self.starts[contig]
        return array[start : start + self.lengths[contig]]

    def _map_for_windows(self, stem: str) -> np.memmap:
        """Map a file once more, for windows anywhere.

        Where the genome is larger than the memory, the kernel would read up to megabytes around each.
        """
        array = self._map(stem)
        if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):  # not on Windows
            array.base.madvise(mmap.MADV_RANDOM)
        return array

    def _map(self, stem: str) -> np.memmap:
        """Memory-map a file, read-only, and check that it is what was written."""
        path, wanted = self.path / f"{stem}.npy", (_dtype_of(stem), (sum(self.lengths.values()),))
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except NOT_AN_ARRAY as error:
            what = f"not a readable array ({error})"
            raise InputError(what, where=path, cause="a damaged copy", remedy=_AGAIN) from error
        if (array.dtype, array.shape) != wanted:
            what = f"{array.dtype} {array.shape} where meta.json says {wanted[0]} {wanted[1]}"
            raise InputError(what, where=path, remedy=_AGAIN)
        return array


def write_arrays(folder: Path, contigs: Iterable[tuple[str, ContigArrays]]) -> dict[str, Any]:
    """Write the arrays of contigs one after the other.

    Parameters
    ----------
    folder : Path
    contigs : iterable of (str, ContigArrays)
        In genome order; consumed one at a time, so that one contig is held in memory.

    Returns
    -------
    dict
        `contigs, starts, tracks, arrays, cuts_per_bp` as in ``meta.json`` (``docs/formats.md``).
    """
    lengths: dict[str, int] = {}
    files: dict[str, _GrowingArray] = {}
    tracks: tuple[str, ...] = ()
    cuts = 0.0
    with ExitStack() as stack:
        for contig, arrays in contigs:
            for stem, values in arrays.by_file().items():
                if stem not in files:
                    files[stem] = stack.enter_context(_GrowingArray(folder / f"{stem}.npy", values.dtype))
                files[stem].append(values)
            lengths[contig], tracks = arrays.codes.size, tuple(arrays.tracks)
            cuts += float(arrays.tracks["cuts"].sum(dtype=np.float64))
            del arrays, values  # before the next contig is read
    total = sum(lengths.values())
    if any(file.length != total for file in files.values()):
        raise ValueError("some contigs lack a track that others have")
    return {
        "contigs": lengths,
        "starts": contig_starts(lengths),
        "tracks": list(tracks),
        "arrays": {file.path.name: file.written for file in files.values()},
        "cuts_per_bp": cuts / total,
    }


def contig_starts(lengths: Mapping[str, int]) -> dict[str, int]:
    """Return where each contig begins in an array of all."""
    return dict(zip(lengths, accumulate(lengths.values(), initial=0), strict=False))


class _GrowingArray:
    """A ``.npy`` file of one dimension that is written piece by piece; `written` is its size and its hash."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self.dtype, self.length = path, dtype, 0
        self.written: dict[str, Any] = {}
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        self._write_header()
        return self

    def append(self, values: NDArray) -> None:
        content = np.ascontiguousarray(values, self.dtype).data
        self._file.write(content)
        self._hash.update(content)
        self.length += values.size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        size = self._file.tell()
        self.written = {"dtype": self.dtype.name, "bytes": size, "sha256": self._hash.hexdigest()}
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """Write the length; NumPy leaves room for any, so that the header can be written again."""
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def require_file(path: Path, size: int | None = None) -> None:
    """Refuse a folder that lacks a file, or has one of another size.

    Raises
    ------
    InputError
        If the file is missing, or is not `size` bytes long.
    """
    if not path.is_file():
        raise InputError("file of the encoded store is missing", where=path, remedy=_AGAIN)
    if size is not None and path.stat().st_size != size:
        what = f"{path.stat().st_size} bytes where meta.json says {size}"
        raise InputError(what, where=path, cause="a copy that was cut off", remedy=_AGAIN)


def refuse_difference(path: Path, found: str, recorded: str) -> None:
    """Refuse a file whose SHA-256 is not the one that was recorded.

    Raises
    ------
    InputError
        If the two differ.
    """
    if found != recorded:
        what = f"its content has SHA-256 {found[:12]}..., meta.json recorded {recorded[:12]}..."
        raise InputError(what, where=path, cause="it was changed, or damaged in a copy", remedy=_AGAIN)


def _hash_values(path: Path) -> str:
    """Return the SHA-256 of the values in a file, without its header, holding none of them in memory."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _track_stem(name: str) -> str:
    """Return what the file of a track is called: no track can take the place of codes or state."""
    return f"track.{name}"


def _dtype_of(stem: str) -> np.dtype:
    return np.dtype(np.uint8 if stem in _BASE_ARRAYS else np.float32)
