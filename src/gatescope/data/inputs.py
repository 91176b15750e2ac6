"""Do the user's files speak of the same genome? Checks that preflight and encode share.

Public names: `TrackSource`, `track_sources`, `kept_lengths`, `check_bigwig_contigs`,
`check_folds_have_peaks`, `read_track`.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import bigwig_lengths, read_bigwig
from gatescope.errors import InputError
from gatescope.files import read_json
from gatescope.genome.contigs import contig_hint, name_list
from gatescope.genome.folds import Fold

log = logging.getLogger(__name__)

_RESERVED = ("sequence", "codes", "state", "cuts")
_ZERO = ":zero"


@dataclass(frozen=True)
class TrackSource:
    """Name an extra input track and say what its gaps mean.

    Attributes
    ----------
    name : str
        Letters, digits, ``_`` and ``-``, starting with a letter.
    path : Path
        A bigWig.
    gaps_are_zero : bool
        True where somebody declared it: ``PATH:zero``, or ``"gaps": "zero"`` in the sidecar ``PATH.json``.
        Otherwise a missing value on a scored base is an error.
    """

    name: str
    path: Path
    gaps_are_zero: bool


def track_sources(tracks: Mapping[str, str | Path] | None) -> list[TrackSource]:
    """Read the declaration of extra tracks, name -> ``PATH`` or ``PATH:zero``.

    Raises
    ------
    InputError
        If a name cannot be used, or a file does not exist.
    """
    return [_track_source(name, str(value)) for name, value in (tracks or {}).items()]


def kept_lengths(lengths: Mapping[str, int], exclude_contigs: Iterable[str]) -> dict[str, int]:
    """Return the contigs of the genome that remain, in its order.

    A name that the genome does not have is allowed (it may stand in the other files) but said aloud.

    Raises
    ------
    InputError
        If none remains.
    """
    excluded = set(exclude_contigs)
    for contig in sorted(excluded - set(lengths)):
        log.warning("excluded contig %r is not in the genome (which has %s)", contig, name_list(lengths, 3))
    kept = {contig: length for contig, length in lengths.items() if contig not in excluded}
    if not kept:
        raise InputError("every contig of the genome is excluded", where="exclude_contigs")
    return kept


def check_bigwig_contigs(path: Path | str, lengths: Mapping[str, int], genome: Path | str) -> None:
    """Check that a bigWig knows every contig, at its length; further contigs in it do no harm.

    Raises
    ------
    InputError
        If a contig is missing or has another length.
    """
    found = bigwig_lengths(path)
    if any(contig in found for contig in lengths):
        cause = "the program that wrote it leaves out contigs without data"
    else:
        cause = contig_hint(found, lengths)
    for contig, length in lengths.items():
        if contig not in found:
            raise InputError(
                f"no contig {contig!r} of {genome} (it has {name_list(found, 3)})",
                where=path,
                cause=cause,
                remedy="make the track on this genome, or list the contig under exclude_contigs",
            )
        if found[contig] != length:
            raise InputError(
                f"contig {contig} is {found[contig]} bp long, in {genome} {length} bp",
                where=path,
                cause="another assembly",
                remedy="make the track on this genome",
            )


def check_folds_have_peaks(folds: Mapping[str, Fold], peaks: pd.DataFrame, where: Path | str) -> None:
    """Check that each part of each fold has a peak: without one, nothing can be learned or scored there.

    Raises
    ------
    InputError
        If a test or validation contig, or all training contigs together, have none.
    """
    with_peaks = set(peaks["chrom"])
    for fold in folds.values():
        for part, contigs in (("test", fold.test), ("validation", fold.valid)):
            for contig in contigs:
                if contig not in with_peaks:
                    raise InputError(
                        f"no usable peak on {contig}, a {part} contig of fold {fold.name}",
                        where=where,
                        cause="it has none, or the filters in the log dropped them",
                        remedy=f"choose {part} contigs that have peaks",
                    )
        if not with_peaks - {*fold.test, *fold.valid}:
            raise InputError(
                f"no usable peak on the training contigs of fold {fold.name}",
                where=where,
                remedy="leave contigs with peaks to training",
            )


def read_track(
    source: TrackSource, contig: str, length: int, scored: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], int, int]:
    """Read an extra track on one contig.

    Parameters
    ----------
    source : TrackSource
    contig : str
    length : int
        Of the contig, in bp.
    scored : ndarray, shape (length,), bool
        Bases that count for training and evaluation.

    Returns
    -------
    values : ndarray, shape (length,), float32
        Zero where the track has no value: on unscored bases, or where its gaps were declared to be zero.
    gaps_scored, gaps_elsewhere : int
        How many bases had no value.

    Raises
    ------
    InputError
        If a scored base has no value and nobody declared that gaps are zero, or a value is infinite.
    """
    values = read_bigwig(source.path, contig, 0, length)
    gap = np.isnan(values)
    gaps_scored = int((gap & scored).sum())
    if gaps_scored and not source.gaps_are_zero:
        first = int(np.flatnonzero(gap & scored)[0])
        raise InputError(
            f"no value on {gaps_scored} of {int(scored.sum())} scored bases of {contig}, first at {first}",
            where=f"track {source.name} ({source.path})",
            cause="the file leaves out bases without signal",
            remedy=f"if no value means 0 write {source.name}={source.path}{_ZERO}, "
            "else fill the gaps or put them on the exclusion list",
        )
    if np.isinf(values).any():
        raise InputError(f"infinite value on {contig}", where=f"track {source.name} ({source.path})")
    return np.where(gap, np.float32(0), values), gaps_scored, int(gap.sum()) - gaps_scored


def _track_source(name: str, value: str) -> TrackSource:
    """Check one declaration."""
    if name in _RESERVED or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(
            f"{name!r} cannot name a track",
            where="tracks",
            remedy=f"use letters, digits, _ and -, a letter first, and none of {', '.join(_RESERVED)}",
        )
    path = Path(value.removesuffix(_ZERO))
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy=f"correct the path of track {name}")
    sidecar = path.with_name(path.name + ".json")
    declared = sidecar.is_file() and read_json(sidecar).get("gaps") == "zero"
    return TrackSource(name=name, path=path, gaps_are_zero=declared or value.endswith(_ZERO))
