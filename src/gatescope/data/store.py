"""Where does the network find its data? The encoded store: memory-mapped arrays and a table of regions.

Each array holds the whole genome, one contig after the other: a draft genome of thousands of contigs is still
a handful of files, and windows of any contigs are read in one go (`gatescope.data.windows`).

Public names: `FORMAT_VERSION`, `NOT_SCORED`, `ContigArrays`, `EncodedStore`, `write_store`,
`contig_file_stem`. The layout is specified in ``docs/formats.md``.
"""

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import file_hash, read_json, replacing_folder, write_json, write_table
from gatescope.genome.contigs import name_list
from gatescope.genome.folds import Fold

FORMAT = "gatescope-encoded"
#: Raised whenever an older reader would misread the folder.
FORMAT_VERSION = 2
#: Value of the state array where a base is neither accessible nor not: exclusion list or unknown base.
NOT_SCORED = 255

REGION_COLUMNS: dict[Hashable, Any] = {
    "chrom": str,
    "start": np.int64,
    "end": np.int64,
    "summit": np.int64,
    "kind": str,
    "gc": np.float64,
}
_META_KEYS = ("contigs", "starts", "tracks", "arrays", "regions_sha256", "window_bp", "folds", "inputs", "filters",
              "cuts_per_bp", "seed")  # fmt: skip
_AGAIN = "run gatescope encode again"
#: The arrays that are no track.
_BASE_ARRAYS = ("codes", "state")
#: The files of a store, the one that makes it a store first.
_WRITTEN = ("meta.json", "regions.tsv", "*.npy")


@dataclass(frozen=True)
class ContigArrays:
    """Hold what the store keeps of one contig of L bases.

    Attributes
    ----------
    codes : ndarray, shape (L,), uint8
        Bases: 0-3 = ACGT, 4 = unknown.
    state : ndarray, shape (L,), uint8
        1 in an accessible region, 0 outside, `NOT_SCORED` where nobody can say.
    tracks : dict of str to ndarray, shape (L,), float32
        Finite values of each track, "cuts" among them.
    """

    codes: NDArray[np.uint8]
    state: NDArray[np.uint8]
    tracks: Mapping[str, NDArray[np.float32]]

    def by_file(self) -> dict[str, NDArray]:
        """Return the arrays by what they are called in the store."""
        tracks = {_track_array(name): values for name, values in self.tracks.items()}
        return {"codes": self.codes, "state": self.state, **tracks}

    def __post_init__(self) -> None:
        arrays = {"codes": self.codes, "state": self.state, **self.tracks}
        wanted = {name: np.uint8 if name in ("codes", "state") else np.float32 for name in arrays}
        for name, array in arrays.items():
            if array.shape != self.codes.shape or array.dtype != wanted[name]:
                raise ValueError(f"{name}: {array.dtype} {array.shape}, codes have {self.codes.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: values that are not finite")


class EncodedStore:
    """Read an encoded store; arrays are mapped when first asked for, and never copied.

    A pickled store is its path: each worker process opens the arrays for itself.

    Parameters
    ----------
    path : Path or str
        The folder that `gatescope.data.encode.encode` wrote.

    Raises
    ------
    InputError
        If the folder is not an encoded store, has another format version, lacks a file, or has one of
        another size. What is in the files is compared by `verify`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = _read_meta(self.path)
        self._open: dict[str, NDArray] = {}
        for file in self._files().values():
            _require(self.path / file, self.meta["arrays"].get(file, {}).get("bytes"))
        _require(self.path / "regions.tsv")

    def __reduce__(self) -> tuple:
        return EncodedStore, (self.path,)

    def __repr__(self) -> str:
        return f"EncodedStore({str(self.path)!r}, {len(self.lengths)} contigs, tracks {self.tracks})"

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

    @property
    def window_bp(self) -> int:
        """Length of the windows that `regions` was chosen for."""
        return self.meta["window_bp"]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of what the store was made from and how: `meta` without file names.

        The inputs' own hashes, the parameters, the filters and the stage version decide every array.
        """
        inputs = {role: {"sha256": source["sha256"]} for role, source in self.meta["inputs"].items()}
        content = json.dumps({**self.meta, "inputs": inputs}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def verify(self) -> None:
        """Compare what is in the files with the hashes that were recorded when they were written.

        This reads everything once, about 1.5 GB/s from memory: under a second for yeast, a quarter of a minute for
        human. `gatescope train` does it; whatever else reads a store trusts that, and compares sizes alone.

        Raises
        ------
        InputError
            If a file is not what was written.
        """
        _compare(self.path / "regions.tsv", file_hash(self.path / "regions.tsv"), self.meta["regions_sha256"])
        for name, file in self._files().items():
            _compare(self.path / file, _hash_values(self._array(name)), self.meta["arrays"][file]["sha256"])

    @cached_property
    def regions(self) -> pd.DataFrame:
        """Return peaks and background windows: `chrom, start, end, summit, kind, gc`, 0-based half-open.

        `kind` is "peak" (a merged peak, as long as it is) or "background" (`window_bp` long); `gc` is the
        GC share of known bases in the `window_bp` around the summit.
        """
        # keep_default_na: a contig may be called "NA"
        return pd.read_csv(self.path / "regions.tsv", sep="\t", dtype=REGION_COLUMNS, keep_default_na=False)

    def codes(self, contig: str) -> NDArray[np.uint8]:
        """Return the base codes of a contig, shape (L,), uint8, 0-3 = ACGT, 4 = unknown; read-only."""
        return self._part(contig, "codes")

    def state(self, contig: str) -> NDArray[np.uint8]:
        """Return 1 where accessible, 0 where not, 255 where not scored; shape (L,), uint8, read-only."""
        return self._part(contig, "state")

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Return the values of a track on a contig, shape (L,), float32, read-only.

        Raises
        ------
        InputError
            If the store has no such track.
        """
        return self._part(contig, self._track_array(name))

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
        return self._array(name if name in _BASE_ARRAYS else self._track_array(name))

    def fold(self, name: str) -> Fold:
        """Return a fold by name.

        Raises
        ------
        InputError
            If the store has no such fold.
        """
        folds = self.meta["folds"]
        if name not in folds:
            raise InputError(f"no fold {name!r}; it has {', '.join(folds)}", where=self.path, remedy=_AGAIN)
        return Fold.from_parts(name, folds[name])

    def _files(self) -> dict[str, str]:
        """Return the file of each array."""
        return {name: f"{name}.npy" for name in (*_BASE_ARRAYS, *map(_track_array, self.tracks))}

    def _track_array(self, name: str) -> str:
        """Return what the array of a track is called."""
        if name not in self.tracks:
            raise InputError(
                f"no track {name!r}; it has {', '.join(self.tracks)}",
                where=self.path,
                remedy="name one of these, or add the track to the config and run gatescope encode again",
            )
        return _track_array(name)

    def _part(self, contig: str, array: str) -> NDArray:
        """Return the stretch of an array that belongs to a contig."""
        if contig not in self.lengths:
            raise InputError(f"no contig {contig!r}; it has {name_list(self.lengths, 20)}", where=self.path)
        start = self.starts[contig]
        return self._array(array)[start : start + self.lengths[contig]]

    def _array(self, array: str) -> NDArray:
        """Map an array, once."""
        if array not in self._open:
            dtype = np.uint8 if array in _BASE_ARRAYS else np.float32
            self._open[array] = _map_array(self.path / f"{array}.npy", sum(self.lengths.values()), dtype)
        return self._open[array]


def write_store(
    path: Path | str,
    contigs: Iterable[tuple[str, ContigArrays]],
    regions: pd.DataFrame,
    meta: Mapping[str, Any],
) -> None:
    """Write an encoded store; the folder appears whole or not at all, with the same bytes each time.

    Parameters
    ----------
    path : Path or str
        The folder. An encoded store that is already there is replaced.
    contigs : iterable of (str, ContigArrays)
        In genome order; consumed one at a time, so that one contig is held in memory.
    regions : DataFrame
        Columns `chrom, start, end, summit, kind, gc`.
    meta : mapping
        `stage_version, window_bp, folds, inputs, filters, seed` and what else the writer wants to record.
        Format, contigs, tracks and `cuts_per_bp` are taken from what is written.

    Raises
    ------
    InputError
        If the folder holds anything but an encoded store.
    """
    with replacing_folder(path, _WRITTEN) as partial:
        derived = write_arrays(partial, contigs)
        write_table(partial / "regions.tsv", regions.loc[:, list(REGION_COLUMNS)])
        form = {"format": FORMAT, "format_version": FORMAT_VERSION}
        derived["regions_sha256"] = file_hash(partial / "regions.tsv")
        write_json(partial / "meta.json", {**form, **derived, **meta})


def write_arrays(folder: Path, contigs: Iterable[tuple[str, ContigArrays]]) -> dict[str, Any]:
    """Write the arrays of contigs one after the other, and return what ``meta.json`` says about them."""
    lengths: dict[str, int] = {}
    files: dict[str, _GrowingArray] = {}
    tracks: tuple[str, ...] = ()
    cuts = 0.0
    with ExitStack() as stack:
        for contig, arrays in contigs:
            for name, values in arrays.by_file().items():
                if name not in files:
                    files[name] = stack.enter_context(_GrowingArray(folder / f"{name}.npy", values.dtype))
                files[name].append(values)
            lengths[contig], tracks = arrays.codes.size, tuple(arrays.tracks)
            cuts += float(arrays.tracks["cuts"].sum(dtype=np.float64))
    total = sum(lengths.values())
    if any(file.length != total for file in files.values()):
        raise ValueError("some contigs lack a track that others have")
    return {
        "contigs": lengths,
        "starts": dict(zip(lengths, accumulate(lengths.values(), initial=0), strict=False)),
        "arrays": {file.path.name: file.written for file in files.values()},
        "tracks": list(tracks),
        "cuts_per_bp": cuts / total,
    }


class _GrowingArray:
    """A ``.npy`` file of one dimension that is written piece by piece; `written` is its size and its hash."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self.dtype, self.length = path, dtype, 0
        self.written: dict[str, Any] = {}
        self._hash = hashlib.sha256()

    def __enter__(self) -> "_GrowingArray":
        self._file = self.path.open("wb")
        self._write_header()
        return self

    def append(self, values: NDArray) -> None:
        content = np.ascontiguousarray(values, self.dtype).data
        self._file.write(content)
        self._hash.update(content)
        self.length += values.size

    def __exit__(self, *error: object) -> None:
        size = self._file.tell()
        self.written = {"dtype": self.dtype.name, "bytes": size, "sha256": self._hash.hexdigest()}
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """Write the length; NumPy leaves room for any, so that the header can be written again."""
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def contig_file_stem(contig: str) -> str:
    """Return a contig's name as files carry it: FASTA allows a slash, a file system does not."""
    return contig.replace("%", "%25").replace("/", "%2F")


def _track_array(name: str) -> str:
    """Return what the array of a track is called: no track can take the place of codes or state."""
    return f"track.{name}"


def _read_meta(folder: Path) -> dict[str, Any]:
    """Read and check meta.json."""
    path = folder / "meta.json"
    if not path.is_file():
        remedy = "name a folder that gatescope encode wrote"
        raise InputError("not an encoded store (no meta.json)", where=folder, remedy=remedy)
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"not the description of an encoded store (wanted format {FORMAT})", where=path)
    if meta.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"format version {meta.get('format_version')}, this gatescope reads {FORMAT_VERSION}",
            where=path,
            cause="another version of gatescope wrote it",
            remedy=_AGAIN,
        )
    missing = [key for key in _META_KEYS if key not in meta]
    if missing:
        raise InputError(f"no entry {', '.join(missing)}", where=path, remedy=_AGAIN)
    return meta


def _require(path: Path, size: int | None = None) -> None:
    """Refuse a store that lacks a file, or has one that is too short."""
    if not path.is_file():
        raise InputError("file of the encoded store is missing", where=path, remedy=_AGAIN)
    if size is not None and path.stat().st_size != size:
        what = f"{path.stat().st_size} bytes where meta.json says {size}"
        raise InputError(what, where=path, cause="a copy that was cut off", remedy=_AGAIN)


def _map_array(path: Path, length: int, dtype: type) -> NDArray:
    """Memory-map an array, read-only, and check that it is what meta.json says."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        what = f"not a readable array ({error})"
        raise InputError(what, where=path, cause="a damaged copy", remedy=_AGAIN) from error
    if array.shape != (length,) or array.dtype != dtype:
        what = f"{array.dtype} {array.shape} where meta.json says {np.dtype(dtype)} ({length},)"
        raise InputError(what, where=path, remedy=_AGAIN)
    return array


def _hash_values(array: NDArray) -> str:
    """Return the SHA-256 of the values as they lie in the file, without its header."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _compare(path: Path, found: str, recorded: str) -> None:
    """Refuse a file that is not what was written."""
    if found != recorded:
        what = f"its content has SHA-256 {found[:12]}..., meta.json recorded {recorded[:12]}..."
        raise InputError(what, where=path, cause="it was changed, or damaged in a copy", remedy=_AGAIN)
