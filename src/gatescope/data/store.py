"""Where does the network find its data? The encoded store: memory-mapped arrays and a table of regions.

Public names: `FORMAT_VERSION`, `NOT_SCORED`, `ContigArrays`, `EncodedStore`, `write_store`,
`contig_file_stem`. The layout is
specified in ``docs/formats.md``.
"""

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import read_json, replacing_folder, write_json, write_table
from gatescope.genome.folds import Fold

FORMAT = "gatescope-encoded"
#: Raised whenever an older reader would misread the folder.
FORMAT_VERSION = 1
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
_META_KEYS = ("contigs", "tracks", "window_bp", "folds", "inputs", "filters", "cuts_per_bp", "seed")
_AGAIN = "run gatescope encode again"
#: The files of a store, the one that makes it a store first.
_WRITTEN = ("meta.json", "regions.tsv", "*.npy")
# A memory map keeps a file descriptor, of which 1024 is a common limit, and draft genomes have more contigs.
_MOST_OPEN = 256


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

    def __post_init__(self) -> None:
        arrays = {"codes": self.codes, "state": self.state, **self.tracks}
        wanted = {name: np.uint8 if name in ("codes", "state") else np.float32 for name in arrays}
        for name, array in arrays.items():
            if array.shape != self.codes.shape or array.dtype != wanted[name]:
                raise ValueError(f"{name}: {array.dtype} {array.shape}, codes have {self.codes.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: values that are not finite")


class EncodedStore:
    """Read an encoded store; arrays are opened when first asked for, and never copied.

    A pickled store is its path: each worker process opens the arrays for itself.

    Parameters
    ----------
    path : Path or str
        The folder that `gatescope.data.encode.encode` wrote.

    Raises
    ------
    InputError
        If the folder is not an encoded store, has another format version, or lacks a file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = _read_meta(self.path)
        self._open: dict[tuple[str, str], NDArray] = {}
        for contig in self.lengths:
            for name in ("codes", "state", *self.tracks):
                _require(self.path / _array_file(contig, name))
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
        return self._array(contig, "codes", np.uint8)

    def state(self, contig: str) -> NDArray[np.uint8]:
        """Return 1 where accessible, 0 where not, 255 where not scored; shape (L,), uint8, read-only."""
        return self._array(contig, "state", np.uint8)

    def track(self, contig: str, name: str) -> NDArray[np.float32]:
        """Return the values of a track on a contig, shape (L,), float32, read-only.

        Raises
        ------
        InputError
            If the store has no such track.
        """
        if name not in self.tracks:
            raise InputError(
                f"no track {name!r}; it has {', '.join(self.tracks)}",
                where=self.path,
                remedy="name one of these, or add the track to the config and run gatescope encode again",
            )
        return self._array(contig, name, np.float32)

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

    def _array(self, contig: str, name: str, dtype: type) -> NDArray:
        """Map an array, and keep the last few maps."""
        if contig not in self.lengths:
            raise InputError(f"no contig {contig!r}; it has {', '.join(self.lengths)}", where=self.path)
        key = (contig, name)
        if key not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[key] = _map_array(self.path / _array_file(contig, name), self.lengths[contig], dtype)
        return self._open[key]


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
    lengths: dict[str, int] = {}
    tracks: tuple[str, ...] = ()
    cuts = 0.0
    with replacing_folder(path, _WRITTEN) as partial:
        for contig, arrays in contigs:
            _save_arrays(partial, contig, arrays)
            lengths[contig], tracks = arrays.codes.size, tuple(arrays.tracks)
            cuts += float(arrays.tracks["cuts"].sum(dtype=np.float64))
        write_table(partial / "regions.tsv", regions.loc[:, list(REGION_COLUMNS)])
        derived = {"contigs": lengths, "tracks": list(tracks), "cuts_per_bp": cuts / sum(lengths.values())}
        form = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(partial / "meta.json", {**form, **derived, **meta})


def _save_arrays(folder: Path, contig: str, arrays: ContigArrays) -> None:
    """Write the arrays of one contig."""
    for name, array in {"codes": arrays.codes, "state": arrays.state, **arrays.tracks}.items():
        np.save(folder / _array_file(contig, name), array, allow_pickle=False)


def contig_file_stem(contig: str) -> str:
    """Return a contig's name as files carry it: FASTA allows a slash, a file system does not."""
    return contig.replace("%", "%25").replace("/", "%2F")


def _array_file(contig: str, name: str) -> str:
    return f"{contig_file_stem(contig)}.{name}.npy"


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


def _require(path: Path) -> None:
    """Refuse a store that lacks a file."""
    if not path.is_file():
        raise InputError("file of the encoded store is missing", where=path, remedy=_AGAIN)


def _map_array(path: Path, length: int, dtype: type) -> NDArray:
    """Memory-map an array, read-only, and check that it is what meta.json says."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        what = f"not a readable array ({error})"
        raise InputError(what, where=path, cause="a copy that was cut off", remedy=_AGAIN) from error
    if array.shape != (length,) or array.dtype != dtype:
        what = f"{array.dtype} {array.shape} where meta.json says {np.dtype(dtype)} ({length},)"
        raise InputError(what, where=path, remedy=_AGAIN)
    return array
