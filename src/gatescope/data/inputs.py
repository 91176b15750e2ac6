"""Do the user's files speak of the same genome? Checks that preflight and encode share.

Public names: `TrackSource`, `track_sources`, `check_folds_have_peaks`, `read_track`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.bigwig import read_bigwig
from gatescope.errors import InputError
from gatescope.files import read_record
from gatescope.genome.contigs import name_list
from gatescope.genome.folds import Fold
from gatescope.samples import GAPS_ARE_ZERO, check_track_name

log = logging.getLogger(__name__)


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
        If a name cannot be used, a file does not exist, or a sidecar cannot be read.
    """
    return [_track_source(name, str(value)) for name, value in (tracks or {}).items()]


def check_folds_have_peaks(folds: Mapping[str, Fold], peaks: pd.DataFrame, where: Path | str) -> None:
    """Check that each part of each fold has a peak: without one, nothing can be learned or scored there.

    Single contigs without a peak, such as short scaffolds that k folds deal out, are only warned of.

    Raises
    ------
    InputError
        If all test, all validation or all training contigs of a fold together have none.
    """
    with_peaks = set(peaks["chrom"])
    for fold in folds.values():
        for part, contigs in (("test", fold.test), ("validation", fold.valid)):
            without = [contig for contig in contigs if contig not in with_peaks]
            if len(without) == len(contigs):
                raise InputError(
                    f"no usable peak on {name_list(without)}, the {part} contigs of fold {fold.name}",
                    where=where,
                    cause="they have none, or the filters in the log dropped them",
                    remedy=f"choose {part} contigs that have peaks",
                )
            if without:
                log.warning(
                    "%s contigs of fold %s without a usable peak: %s", part, fold.name, name_list(without)
                )
        if not any(fold.split(contig) == "train" for contig in with_peaks):
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
            remedy=f"if no value means 0 write {source.name}={source.path}{GAPS_ARE_ZERO}, "
            "else fill the gaps or put them on the exclusion list",
        )
    if np.isinf(values).any():
        raise InputError(f"infinite value on {contig}", where=f"track {source.name} ({source.path})")
    values[gap] = 0
    return values, gaps_scored, int(gap.sum()) - gaps_scored


def _track_source(name: str, value: str) -> TrackSource:
    """Check one declaration."""
    check_track_name(name, "tracks")
    path = Path(value.removesuffix(GAPS_ARE_ZERO))
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy=f"correct the path of track {name}")
    is_declared = value.endswith(GAPS_ARE_ZERO) or _declares_zero(path.with_name(path.name + ".json"))
    return TrackSource(name=name, path=path, gaps_are_zero=is_declared)


def _declares_zero(sidecar: Path) -> bool:
    """Tell whether a track's sidecar, if there is one, says that gaps are zero."""
    if not sidecar.is_file():
        return False
    content = read_record(sidecar, {}, "mend or remove it; it belongs to the track beside it")
    return content.get("gaps") == "zero"
