"""Where does the network find its data? The encoded store: memory-mapped arrays and a table of regions.

Public names: `FORMAT_VERSION`, `NOT_SCORED`, `OUTLIER`, `ContigArrays`, `EncodedStore`, `write_store`. The layout is
specified in ``docs/formats.md``.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.data.arrays import (
    ContigArrays,
    GenomeArrays,
    contig_starts,
    refuse_difference,
    require_file,
    write_arrays,
)
from gatescope.errors import InputError
from gatescope.files import file_hash, fingerprint, read_json, replacing_folder, write_json, write_table
from gatescope.genome.folds import Fold

FORMAT = "gatescope-encoded"
#: Raised whenever an older reader would misread the folder.
FORMAT_VERSION = 2
#: Value of the state array where a base is neither accessible nor not: exclusion list or unknown base.
NOT_SCORED = 255
#: Kind of a peak that is not trained on because of its many cuts, but tested like any other.
OUTLIER = "outlier"

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
#: The files of a store, the one that makes it a store first.
_WRITTEN = ("meta.json", "regions.tsv", "*.npy")


class EncodedStore(GenomeArrays):
    """Read an encoded store; arrays are mapped when first asked for, and never copied.

    A copy or a pickle of a store holds no open array: each worker process opens them for itself.

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
        super().__init__(Path(path), _read_meta(Path(path)))
        require_file(self.path / "regions.tsv")

    def __repr__(self) -> str:
        return f"EncodedStore({str(self.path)!r}, {len(self.lengths)} contigs, tracks {self.tracks})"

    @property
    def window_bp(self) -> int:
        """Length of the windows that `regions` was chosen for."""
        return self.meta["window_bp"]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of what the store holds and was made from: `meta` without file names.

        The hashes of inputs and arrays, the parameters, the filters and the stage version are in it.
        """
        inputs = {role: {"sha256": source["sha256"]} for role, source in self.meta["inputs"].items()}
        return fingerprint({**self.meta, "inputs": inputs})

    def require(self, content_hash: str, where: Path | str) -> None:
        """Refuse to be read together with a model that was trained on another store.

        Parameters
        ----------
        content_hash : str
            That of the store that the model was trained on.
        where : path
            The file that says so.

        Raises
        ------
        InputError
            If this store has another content: its held-out contigs may be others.
        """
        if content_hash != self.content_hash:
            raise InputError(
                f"was trained on the encoded store {content_hash[:12]}..., {self.path} is "
                f"{self.content_hash[:12]}...",
                where=where,
                cause="the data were encoded again after the training",
                remedy="train again, or name the store that the model was trained on",
            )

    def require_inputs(self, inputs: Mapping[str, Mapping[str, str]]) -> None:
        """Refuse to stand for other files than the store was made from.

        Parameters
        ----------
        inputs : mapping
            Role -> ``{"path": ..., "sha256": ...}``, as ``inputs`` in ``meta.json``.

        Raises
        ------
        InputError
            If a file has another SHA-256 than the one that was encoded, is new, or is missing now.
        """
        made_from = self.meta["inputs"]
        for role in dict.fromkeys([*inputs, *made_from]):
            now, then = (each.get(role, {}).get("sha256") for each in (inputs, made_from))
            if now != then:
                change = (
                    "was not given then"
                    if then is None
                    else "is not given now"
                    if now is None
                    else "has changed"
                )
                what = f"was encoded from other inputs: {role.replace('_', ' ')} {change}"
                raise InputError(what, where=self.path, remedy=_AGAIN)

    def require_genome(self, genome: Path | str) -> None:
        """Refuse to stand for another genome file than the store was made from.

        Raises
        ------
        InputError
            If the file is missing or has another SHA-256.
        """
        if not Path(genome).is_file():
            raise InputError("genome file does not exist", where=genome)
        now = {"path": Path(genome).name, "sha256": file_hash(genome)}
        self.require_inputs({**self.meta["inputs"], "genome": now})

    def verify(self) -> None:
        """Compare what is in the files with the hashes that were recorded when they were written.

        This reads everything once, 1.8 GB/s where it is in memory: 0.04 s for yeast, about 10 s for human.
        `gatescope train` does it; whatever else reads a store trusts that, and compares sizes alone.

        Raises
        ------
        InputError
            If a file is not what was written.
        """
        table = self.path / "regions.tsv"
        refuse_difference(table, file_hash(table), self.meta["regions_sha256"])
        super().verify()

    @cached_property
    def regions(self) -> pd.DataFrame:
        """Return peaks and background windows: `chrom, start, end, summit, kind, gc`, 0-based half-open.

        `kind` is "peak" or "outlier" (a merged peak, as long as it is; not trained on if an outlier) or "background"
        (`window_bp` long); `gc` is the GC share of known bases in the `window_bp` around the summit.
        """
        # keep_default_na: a contig may be called "NA"
        path = self.path / "regions.tsv"
        try:
            table = pd.read_csv(path, sep="\t", dtype=REGION_COLUMNS, keep_default_na=False)
        except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
            raise InputError(f"not a table of regions ({error})", where=path, remedy=_AGAIN) from error
        if missing := [str(column) for column in REGION_COLUMNS if column not in table]:
            raise InputError(f"no column {', '.join(missing)}", where=path, remedy=_AGAIN)
        return table

    @property
    def peaks(self) -> pd.DataFrame:
        """Return the accessible regions whose boundaries can be tested, as `regions`: peaks, outliers among them."""
        regions = self.regions
        return regions.loc[regions["kind"].isin(["peak", OUTLIER])].reset_index(drop=True)

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
        Format, contigs, tracks, hashes and `cuts_per_bp` are taken from what is written.

    Raises
    ------
    InputError
        If the folder holds anything but an encoded store.
    """
    with replacing_folder(path, _WRITTEN) as partial:
        derived = write_arrays(partial, contigs)
        write_table(partial / "regions.tsv", regions.loc[:, list(REGION_COLUMNS)])
        derived["regions_sha256"] = file_hash(partial / "regions.tsv")
        form = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(partial / "meta.json", {**form, **derived, **meta})


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
    wrong = [key for key, is_as_written in _META_FORMS.items() if not is_as_written(meta[key])]
    if wrong:
        raise InputError(f"entry {wrong[0]} is {meta[wrong[0]]!r:.60}", where=path, remedy=_AGAIN)
    if list(meta["starts"].items()) != list(contig_starts(meta["contigs"]).items()):
        raise InputError("entry starts does not go with contigs", where=path, remedy=_AGAIN)
    return meta


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_folds(value: Any) -> bool:
    """Tell whether a value is an object of folds, each with two lists of names."""
    return isinstance(value, dict) and all(
        isinstance(fold, dict) and all(_is_names(fold.get(part)) for part in ("test", "valid"))
        for fold in value.values()
    )


#: What the entries of meta.json that are read have to be.
_META_FORMS: dict[str, Callable[[Any], bool]] = {
    "contigs": lambda value: isinstance(value, dict) and value != {} and all(map(_is_whole, value.values())),
    "tracks": lambda value: _is_names(value) and "cuts" in value,
    "starts": lambda value: isinstance(value, dict),
    "arrays": lambda value: (
        isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())
    ),
    "regions_sha256": lambda value: isinstance(value, str),
    "window_bp": _is_whole,
    "folds": _is_folds,
    "inputs": lambda value: (
        isinstance(value, dict)
        and all(isinstance(each, dict) and "sha256" in each for each in value.values())
    ),
}
