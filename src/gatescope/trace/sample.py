"""What did every unit do at the same few bases of a genome? Samples of two networks that can be laid side by side.

Networks that were trained apart number their units in any order. To tell which unit of one is which of another, their
activations are compared base by base, at bases that do not depend on the network. Torch-free: `boundaries` reads it.

Public names: `SAMPLE_FILE`, `UnitSample`, `sampled_bases`, `write_part`, `join_parts`, `read_sample`.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import NOT_AN_ARRAY, replacing_file
from gatescope.genome.sequence import UNKNOWN

#: Name of the file in the folder of a trace.
SAMPLE_FILE = "unit_sample.npz"
#: About so many bases of the whole genome.
_BASES = 20_000


@dataclass(frozen=True)
class UnitSample:
    """What every unit of a network did at some bases.

    Attributes
    ----------
    model_sha256 : str
        Of the weights.
    contigs : ndarray of str, shape (C,)
        Those that were traced.
    contig : ndarray, shape (n,), int64
        Index into `contigs`, of each base.
    position : ndarray, shape (n,), int64
        0-based.
    forget_logit, write : ndarray, shape (D, H, n), float32
        Forget gate before its activation, and i g with its sign.
    """

    model_sha256: str
    contigs: NDArray[np.str_]
    contig: NDArray[np.int64]
    position: NDArray[np.int64]
    forget_logit: NDArray[np.float32]
    write: NDArray[np.float32]


def sampled_bases(lengths: Mapping[str, int], contig: str, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the bases of a contig that are sampled: evenly spaced, without unknown ones.

    The spacing comes from the lengths of the whole genome, whichever contigs are traced: all traces of a genome
    sample the same bases.

    Parameters
    ----------
    lengths : mapping of str to int
        All contigs of the genome.
    contig : str
    codes : ndarray, shape (L,), uint8
        Its bases, 4 = unknown.
    """
    spacing = -(-sum(lengths.values()) // _BASES)
    places = np.arange(spacing // 2, lengths[contig], spacing, dtype=np.int64)
    # all units answer alike to unknown bases, which says nothing of who is who
    return places[np.asarray(codes)[places] != UNKNOWN]


def write_part(path: Path, position: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Write the sample of one contig: bases (n,), and what stands there, (2, D, H, n), forget logits first."""
    np.savez(path, allow_pickle=False, position=position, values=values)


def join_parts(path: Path, model_sha256: str, parts: Mapping[str, Path]) -> None:
    """Join the samples of contigs, as `write_part` left them, into one file."""
    position, values = [], []
    for part in parts.values():
        with np.load(part) as arrays:
            position.append(arrays["position"])
            values.append(arrays["values"])
    forget_logit, write = np.concatenate(values, axis=-1)
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            model_sha256=model_sha256,
            contigs=list(parts),
            contig=np.repeat(np.arange(len(parts)), [len(each) for each in position]),
            position=np.concatenate(position),
            forget_logit=forget_logit,
            write=write,
        )


def read_sample(path: Path | str) -> UnitSample:
    """Read the sample of a trace.

    Raises
    ------
    InputError
        If the file is missing, or is not one.
    """
    if not Path(path).is_file():
        raise InputError("file does not exist", where=path, remedy="run gatescope trace again")
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            model_sha256, *found = (arrays[field.name] for field in fields(UnitSample))
    except (*NOT_AN_ARRAY, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"not a sample of units ({error})",
            where=path,
            cause="a copy that was cut off, or of another version",
            remedy="run gatescope trace again",
        ) from error
    return UnitSample(str(model_sha256), *found)
