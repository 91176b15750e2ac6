"""Does composition alone make a gate fall? Boundaries with the bases on either side shuffled, dinucleotides kept.

The `flank_bp` bases on either side of a boundary are shuffled by themselves, so that a step of composition at the
boundary stays, and so do the dinucleotides on either side; what was written there in a certain order is gone. The
effect

    R = (sum of ln f over the dip - number of its bases x mean of ln f over the flank) / ln 2

is log2 of the share of a memory that is left after the boundary over the share left after the same length of flank:
-1 where the boundary halves it once more. If R is the same after shuffling, composition is enough for it.

Public names: `reshuffle`, `retention_ratio`, `shuffle_windows`, `COLUMNS`, `ELIGIBLE_BP`.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatescope.data.windows import Windows
from gatescope.effects.blocks import LEVEL, block_interval
from gatescope.effects.subject import (
    Shape,
    Sites,
    Subject,
    batches,
    describe,
    find_boundaries,
    open_subject,
)
from gatescope.files import write_json, write_table
from gatescope.genome.crossings import CROSSINGS, edge_of
from gatescope.genome.dinucleotides import shuffle_dinucleotides
from gatescope.genome.sequence import one_hot
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate
from gatescope.trace.replay import trace_lstm
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

COLUMNS = ("direction", "crossing", "unit", "n", "n_left_out", "flank_half_life_bp", "eligible",
           "R", "R_shuffled", "difference", "low", "high")  # fmt: skip
#: A unit whose memory is halved sooner in the flank has nothing to lose at the boundary.
ELIGIBLE_BP = 25
_SIDES = ("start", "end")


def reshuffle(
    store: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    shuffles: int = 5,
    dip_bp: int = 25,
    flank_bp: int = 250,
    context_bp: int = 1000,
    most_boundaries: int = 1000,
    bootstraps: int = 1000,
    seed: int = 1,
    dtype: str = "float32",
    threads: int = 1,
) -> None:
    """Measure R of every unit at boundaries of the test contigs as they are and shuffled.

    Writes `shuffled_flanks.tsv` and `shuffled_flanks.json`.

    Parameters
    ----------
    store, model : path
        Encoded store, and the folder of a run that was trained on it.
    output : path
        Folder to write to.
    shuffles : int
        Shuffled sequences of each boundary, over which R is averaged.
    dip_bp, flank_bp, context_bp : int
        See `gatescope.effects.subject.Shape`.
    most_boundaries : int
        Of more starts or more ends of regions, so many are drawn.
    bootstraps : int
        Replicates behind each interval.
    seed : int
    dtype : {"float32", "float64"}
    threads : int

    Raises
    ------
    InputError
        If the files do not belong together, or the test contigs hold no boundary.
    ReplayError
        If the network cannot be replayed.
    """
    shape, subject = Shape(dip_bp, flank_bp, context_bp), open_subject(store, model, dtype, threads)
    found = {}
    for number, side in enumerate(_SIDES):
        rng = np.random.default_rng([seed, number])
        sites = find_boundaries(subject, side, shape, most_boundaries, rng)
        log.info(
            "%s boundaries: %s, each as it is and %d times shuffled", side, f"{len(sites.ranks):,}", shuffles
        )
        found[side] = _measure(subject, sites, shape, shuffles, seed)
    tables = []
    for direction in DIRECTIONS:
        for crossing in CROSSINGS:
            one = found[edge_of(direction, crossing)]
            rng = np.random.default_rng([seed, len(_SIDES) + len(tables)])
            table = _tabulate(one, DIRECTIONS.index(direction), bootstraps, rng)
            tables.append(table.assign(direction=direction, crossing=crossing))
    sentences = [_sentence(table) for table in tables]
    for sentence in sentences:
        log.info("%s", sentence)
    settings = {
        **{"shuffles": shuffles, "most_boundaries": most_boundaries, "bootstraps": bootstraps},
        **{"seed": seed, "level": LEVEL, "eligible_bp": ELIGIBLE_BP},
    }
    certificate = Certificate.merged([part for one in found.values() for part in one.certificates])
    write_table(Path(output) / "shuffled_flanks.tsv", pd.concat(tables).loc[:, list(COLUMNS)])
    write_json(
        Path(output) / "shuffled_flanks.json",
        {
            **describe(subject, "reshuffle", shape, settings),
            "sentences": sentences,
            "certificate": certificate.as_json(),
        },
    )


def retention_ratio(log_forget: Tensor, flanks: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return R of each window and unit, and the mean of ln f over the flank.

    Parameters
    ----------
    log_forget : Tensor, shape (N, ..., 2 context_bp)
        ln f around N boundaries, genomic order.
    flanks : bool Tensor, shape (N, 2 context_bp)
        Bases of the flank, at least one in each window.
    shape : Shape

    Returns
    -------
    tuple of Tensor, each (N, ...)
    """
    mask = flanks.reshape(len(flanks), *(1,) * (log_forget.ndim - 2), -1)
    flank = (log_forget * mask).sum(-1) / mask.sum(-1)
    dip = log_forget[..., shape.dip]
    return (dip.sum(-1) - dip.shape[-1] * flank) / np.log(2), flank


def shuffle_windows(
    codes: NDArray[np.uint8], sites: Sites, shape: Shape, shuffles: int, seed: int
) -> NDArray[np.uint8]:
    """Shuffle `flank_bp` on either side of each boundary, each side by itself.

    Parameters
    ----------
    codes : uint8, shape (N, 2 context_bp)
        Bases around the boundaries `sites`.
    sites, shape
    shuffles : int
    seed : int
        Each boundary is shuffled as a function of seed, contig and position alone.

    Returns
    -------
    uint8, shape (shuffles, N, 2 context_bp)
    """
    shuffled = np.repeat(codes[None], shuffles, axis=0)
    middle, reach = shape.context_bp, shape.flank_bp
    for n, (rank, position) in enumerate(zip(sites.ranks, sites.positions, strict=True)):
        rng = np.random.default_rng([seed, int(rank), int(position)])
        for copy in shuffled[:, n]:
            for side in (slice(middle - reach, middle), slice(middle, middle + reach)):
                copy[side] = shuffle_dinucleotides(copy[side], rng)
    return shuffled


class _Measured(NamedTuple):
    """What all units do at N boundaries of one side, each (N, D, H)."""

    sites: Sites
    ratio: NDArray[np.float64]
    shuffled: NDArray[np.float64]  # mean over shuffles
    flank: NDArray[np.float64]  # mean of ln f, not shuffled
    certificates: list[Certificate]


def _measure(subject: Subject, sites: Sites, shape: Shape, shuffles: int, seed: int) -> _Measured:
    """Replay windows as they are and shuffled."""
    parts, certificates = [], []
    for part in batches(subject, len(sites.ranks), shape):
        some = sites.at(part)
        windows = Windows(subject.store, some.ranks, some.positions - shape.context_bp, 2 * shape.context_bp)
        codes, tracks = windows.codes(), windows.tracks(subject.network.config.tracks)
        every = [codes, *shuffle_windows(codes, some, shape, shuffles, seed)]
        replayed = [_replay(subject, each, tracks, some.flanks, shape) for each in every]
        certificates += [certificate for _, _, certificate in replayed]
        ratios = [ratio for ratio, _, _ in replayed]
        parts.append((ratios[0], np.mean(ratios[1:], axis=0), replayed[0][1]))
    ratio, shuffled, flank = (np.concatenate(each) for each in zip(*parts, strict=True))
    return _Measured(sites, ratio, shuffled, flank, certificates)


def _replay(
    subject: Subject, codes: NDArray[np.uint8], tracks: NDArray, flanks: NDArray[np.bool_], shape: Shape
) -> tuple[NDArray[np.float64], NDArray[np.float64], Certificate]:
    """Return R and the flank's mean ln f of the first layer's units, each (N, D, H)."""
    device = subject.network.like.device
    with exact_arithmetic():
        inputs = (torch.from_numpy(each).to(device) for each in (one_hot(codes), tracks))
        trace = trace_lstm(subject.network.lstm_layers[0], subject.network.features(*inputs))
        found = retention_ratio(
            logsigmoid(trace.forget_logit.double()), torch.from_numpy(flanks).to(device), shape
        )
    ratio, flank = (each.cpu().numpy() for each in found)
    return ratio, flank, trace.certificate.checked()


def _tabulate(found: _Measured, side: int, bootstraps: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row per unit of a direction."""
    ratio, shuffled = found.ratio[:, side], found.shuffled[:, side]
    low, high = block_interval(ratio - shuffled, found.sites.ranks, found.sites.positions, bootstraps, rng)
    half_life = np.log(0.5) / found.flank[:, side].mean(0)
    columns = {
        **{"unit": np.arange(ratio.shape[1]), "n": len(ratio), "n_left_out": found.sites.n_left_out},
        **{"flank_half_life_bp": half_life, "eligible": half_life >= ELIGIBLE_BP},
        **{"R": ratio.mean(0), "R_shuffled": shuffled.mean(0), "difference": (ratio - shuffled).mean(0)},
        **{"low": low, "high": high},
    }
    return pd.DataFrame(columns)


def _sentence(table: pd.DataFrame) -> str:
    """Say in words what the eligible unit does that forgets most."""
    place = f"{table.direction.iloc[0]} {table.crossing.iloc[0]} boundaries"
    eligible = table.loc[table.eligible]
    if eligible.empty:
        return f"At {place} no unit holds its memory long enough in the flank (half-life {ELIGIBLE_BP} bp)."
    row: Any = eligible.loc[eligible.R.idxmin()]
    known = "no interval" if np.isnan(row.low) else f"90 % interval {row.low:.2g} to {row.high:.2g}"
    return (
        f"At {row.n} {place} unit {row.unit} forgets most, R = {row.R:.2g}; with the bases on either side shuffled, "
        f"dinucleotides kept, R = {row.R_shuffled:.2g}. Their order brings {row.difference:.2g} ({known})."
    )
