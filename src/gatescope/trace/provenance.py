"""What is a cell state made of? The writes of earlier bases that are still held in it, as table and as arcs.

The recurrence c_t = f_t c_(t-1) + i_t g_t solves to a sum over every base s that was read no later than t:

    c_t = sum_s w(t, s) + c_start prod_u f_u,   w(t, s) = i_s g_s prod_{u = s+1 .. t} f_u

exactly, with the gates as they were. What a base did to the gates of later bases is not in it.

Arrays are in genomic order, positions on the last axis; `direction` says on which side of t the earlier bases
lie. Coordinates are 0-based half-open.

Public names: `Provenance`, `provenance`, `Sources`, `top_sources`, `SOURCE_COLUMNS`, `write_sources`,
`write_bedpe`, `write_interact`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from gatescope.files import replacing_file, write_table
from gatescope.trace.memory import Direction, log_forget
from gatescope.trace.units import DIRECTIONS

#: The absolute sum of all writes that may be left out of a list, in units of the cell state.
MISSING_BOUND = 1e-15

SOURCE_COLUMNS = (
    "contig",
    "position",
    "unit",
    "direction",
    "source_start",
    "source_end",
    "contribution",
    "share",
    "sign",
)
_DIGITS = 9
_FIRST_REACH = 1024
#: exp of this is 0 in float64; sums of it stay finite where a gate is shut for good.
_FORGOTTEN = -1e4
# + writes in blue, - writes in orange: told apart by the colour-blind, and neither is the forget gate's red
_COLOURS = {"+": "33,102,172", "-": "230,97,1"}
# browsers know strands only; here they say which way the network read
_STRANDS = {"fwd": "+", "rev": "-"}


@dataclass(frozen=True)
class Provenance:
    """Everything that the cell states of some units at one position are made of.

    Parameters
    ----------
    position : int
        t, contig coordinate.
    direction : {"fwd", "rev"}
    units : int64, shape (U,)
    source : int64, shape (K,)
        Contig coordinates of the bases listed, t itself first, then back the way the direction came.
    contribution : float64, shape (U, K)
        w(t, s).
    start_held : float64, shape (U,)
        What is left of the state before the first base; 0 where the list stops short of that base.
    missing : float64, shape (U,)
        Upper bound on the absolute sum of what is not listed; 0 where the list reaches the first base.
    """

    position: int
    direction: Direction
    units: NDArray[np.int64]
    source: NDArray[np.int64]
    contribution: NDArray[np.float64]
    start_held: NDArray[np.float64]
    missing: NDArray[np.float64]

    @property
    def cell(self) -> NDArray[np.float64]:
        """c_t as the sum of its parts, shape (U,); off by `missing` at most.

        A traced c_t of float64 comes with rounding of its own: about 1e-16 of it for each base of the half-life.
        """
        parts = zip(self.start_held, self.contribution, strict=True)
        return np.array([math.fsum((held, *writes)) for held, writes in parts])

    @property
    def mass(self) -> NDArray[np.float64]:
        """Absolute sum of all parts, listed or not, shape (U,): what shares are shares of."""
        return np.abs(self.contribution).sum(1) + np.abs(self.start_held) + self.missing


def provenance(
    input_logit: NDArray,
    forget_logit: NDArray,
    candidate: NDArray,
    position: int,
    *,
    direction: Direction,
    origin: int = 0,
    start: ArrayLike = 0.0,
    units: ArrayLike | None = None,
    bound: float = MISSING_BOUND,
) -> Provenance:
    """List every earlier base's write that is still held in the cell state at one position.

    Goes back until what lies beyond, however large it was written, cannot amount to more than `bound`, or to the
    first base read; cost and result are proportional to that reach, not to L, so arrays may be memory-mapped.

    Parameters
    ----------
    input_logit, forget_logit, candidate : float, shape (L,) for one unit or (U, L)
        Gates of one direction, genomic order; candidate is tanh(g).
    position : int
        Contig coordinate, ``origin <= position < origin + L``.
    direction : {"fwd", "rev"}
    origin : int
        Contig coordinate of the first column.
    start : float, scalar or shape (U,)
        Cell state before the first base read: the leftmost column for "fwd", the rightmost for "rev".
    units : int, shape (U,), optional
        Names of the units; 0, 1, .. if left out.
    bound : float
        In units of the cell state; 0 lists everything.

    Raises
    ------
    ValueError
        If shapes differ, the position lies outside the arrays, or a gate that counts is not a number.
    """
    if not input_logit.shape == forget_logit.shape == candidate.shape:
        raise ValueError(
            f"shapes {input_logit.shape}, {forget_logit.shape} and {candidate.shape} of one trace differ"
        )
    back = _way_back(position - origin, forget_logit.shape[-1], direction)
    logits, logits_in, values = (
        np.atleast_2d(array)[:, back] for array in (forget_logit, input_logit, candidate)
    )
    before = np.broadcast_to(np.asarray(start, np.float64), len(logits))
    kept = _kept(logits, np.abs(before), bound)  # ln of what survives the last 1, 2, .. bases
    reach, length = kept.shape[1], logits.shape[1]
    retention = np.exp(np.pad(kept, ((0, 0), (1, 0))))
    write = expit(logits_in[:, :reach].astype(np.float64)) * values[:, :reach]
    if np.isnan(write).any() or np.isnan(kept).any():
        raise ValueError(f"gates that are not numbers within {reach} bp of position {position}")
    rest = retention[:, -1]
    return Provenance(
        position=position,
        direction=direction,
        units=np.arange(len(logits)) if units is None else np.atleast_1d(np.asarray(units, np.int64)),
        source=position + np.arange(reach) * (-1 if direction == "fwd" else 1),
        contribution=write * retention[:, :-1],
        start_held=before * rest if reach == length else np.zeros(len(logits)),
        missing=np.zeros(len(logits)) if reach == length else rest * (length - reach + np.abs(before)),
    )


def _way_back(index: int, length: int, direction: Direction) -> slice:
    """Return the columns from `index` back to the first one that the direction read."""
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r}; wanted one of {DIRECTIONS}")
    if not 0 <= index < length:
        raise ValueError(f"position is column {index} of {length}")
    return slice(index, None, -1 if direction == "fwd" else 1)


def _kept(logits: NDArray, before: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Return sums of ln f over the nearest 1, 2, .. columns, as far as any unit needs; shape (U, K)."""
    length, reach = logits.shape[1], _FIRST_REACH
    # each write is below 1 in size, so a cell state is below the number of bases that made it
    enough = (math.log(bound) if bound > 0 else -math.inf) - np.log(length + before)
    while True:
        kept = _running_sum(np.maximum(log_forget(logits[:, :reach]), _FORGOTTEN))
        done = (kept <= enough[:, None]).all(0)
        if done.any():
            return kept[:, : int(done.argmax()) + 1]
        if reach >= length:
            return kept
        reach *= 2


def _running_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative sums along the last axis, good to the last digit: rounding errors are summed apart.

    References
    ----------
    Ogita, Rump & Oishi 2005 (Sum2, by Knuth's TwoSum).
    """
    sums = np.cumsum(values, axis=-1)
    before = np.zeros_like(sums)
    before[..., 1:] = sums[..., :-1]
    added = sums - before
    errors = (before - (sums - added)) + (values - added)
    return sums + np.cumsum(errors, axis=-1)


class Sources(NamedTuple):
    """The largest contributions: a table with columns `SOURCE_COLUMNS`, largest first within each unit.

    `covered`, shape (U,), is the share of each unit's absolute mass that its rows hold; NaN where there is none.
    """

    table: pd.DataFrame
    covered: NDArray[np.float64]


def top_sources(found: Provenance, contig: str, *, limit: int = 20, share: float = 0.95) -> Sources:
    """Pick the sources that matter most at a position, and say how much of the cell state they explain.

    Of each unit, the fewest bases that together hold `share` of the absolute mass are taken; neighbours of one
    sign are joined to a segment; the `limit` segments with the largest contributions are kept.

    Parameters
    ----------
    found : Provenance
    contig : str
    limit : int
        Most segments per unit.
    share : float
        In (0, 1]; of the absolute mass: all writes, what is left of the initial state, and the missing bound.
    """
    parts = [_segments(found, row, share).head(limit) for row in range(len(found.units))]
    covered = [part["share"].to_numpy().sum() for part in parts]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(contig=contig, position=found.position, direction=found.direction)
    return Sources(table.loc[:, list(SOURCE_COLUMNS)], np.where(found.mass > 0, covered, np.nan))


def _segments(found: Provenance, row: int, share: float) -> pd.DataFrame:
    """Return all segments of one unit, largest contribution first."""
    values, mass = found.contribution[row], found.mass[row]
    nearest, furthest = _runs(values, _largest(np.abs(values), share * mass))
    sums = np.array([values[a : b + 1].sum() for a, b in zip(nearest, furthest, strict=True)])
    ends = np.stack([found.source[nearest], found.source[furthest]])
    table = pd.DataFrame(
        {
            "unit": found.units[row],
            "source_start": ends.min(0),
            "source_end": ends.max(0) + 1,
            "contribution": sums,
            "share": np.abs(sums) / mass,
            "sign": np.where(sums > 0, "+", "-"),
        }
    )
    return table.iloc[np.argsort(-np.abs(sums), kind="stable")]


def _largest(sizes: NDArray[np.float64], wanted: float) -> NDArray[np.int64]:
    """Return the indices, sorted, of the fewest sizes above 0 that add up to `wanted`, or of all."""
    order = np.argsort(-sizes, kind="stable")
    order = order[: int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1]
    return np.sort(order[sizes[order] > 0])


def _runs(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Return first and last index of each run of chosen neighbours with values of one sign."""
    breaks = (np.diff(chosen) > 1) | (np.diff(np.sign(values[chosen])) != 0)
    begins, ends = np.append(True, breaks), np.append(breaks, True)
    return (chosen[begins], chosen[ends]) if len(chosen) else (chosen, chosen)


def write_sources(path: Path | str, table: pd.DataFrame) -> None:
    """Write `Sources.table` as TSV: one source per row, columns `SOURCE_COLUMNS`, 9 significant digits."""
    write_table(path, table.loc[:, list(SOURCE_COLUMNS)], digits=_DIGITS)


def write_bedpe(path: Path | str, table: pd.DataFrame) -> None:
    """Write sources as arcs in BEDPE: first end the source, second end the position that holds it.

    Score is 1000 times the share; both strands are ``+`` for the direction fwd, ``-`` for rev (which way was
    read, not a strand of DNA). Two columns beyond the ten of the format: contribution and share. Line 1 names the
    columns behind a ``#``.

    References
    ----------
    bedtools, "BEDPE format", https://bedtools.readthedocs.io/en/latest/content/general-usage.html
    """
    arcs = _arcs(table)
    names = ["chrom1", "start1", "end1", "chrom2", "start2", "end2", "name", "score", "strand1", "strand2"]
    fields = [arcs.contig, arcs.source_start, arcs.source_end, arcs.contig, arcs.position, arcs.position + 1]
    fields += [arcs.name, arcs.score, arcs.strand, arcs.strand, arcs.contribution, arcs.share]
    _write_arcs(path, [*names, "contribution", "share"], fields)


def write_interact(path: Path | str, table: pd.DataFrame, name: str, description: str) -> None:
    """Write sources as arcs in UCSC's `interact` format (bed5+13), a custom track with its header line.

    The source is where it was written, the target the position that holds it, so the browser dashes the arcs of
    rev. Score is 1000 times the share, value the contribution, exp the unit and direction; strands as in
    `write_bedpe`.

    Parameters
    ----------
    path : path
    table : DataFrame
        `Sources.table`, of one or more positions.
    name, description : str
        Of the track, without double quotes.

    References
    ----------
    UCSC, "Interact and bigInteract Track Format", https://genome.ucsc.edu/goldenPath/help/interact.html
    """
    if '"' in name + description:
        raise ValueError(f"a double quote in the name {name!r} or description {description!r} of a track")
    arcs = _arcs(table)
    ends = arcs.position + 1
    low, high = np.minimum(arcs.source_start, arcs.position), np.maximum(arcs.source_end, ends)
    names = ["chrom", "chromStart", "chromEnd", "name", "score", "value", "exp", "color"]
    fields = [arcs.contig, low, high, arcs.name, arcs.score, arcs.contribution, arcs.name, arcs.color]
    for end in ("source", "target"):
        names += [f"{end}{field}" for field in ("Chrom", "Start", "End", "Name", "Strand")]
    fields += [arcs.contig, arcs.source_start, arcs.source_end, arcs.none, arcs.strand]
    fields += [arcs.contig, arcs.position, ends, arcs.none, arcs.strand]
    settings = "interactDirectional=true maxHeightPixels=200:100:50 visibility=full"
    header = f'track type=interact name="{name}" description="{description}" {settings}\n'
    _write_arcs(path, names, fields, header)


def _arcs(table: pd.DataFrame) -> pd.DataFrame:
    """Add what both arc formats need, sorted by contig and place."""
    arcs = table.assign(
        name=[f"unit{unit}.{direction}" for unit, direction in zip(table.unit, table.direction, strict=True)],
        score=np.rint(1000 * table["share"]).astype(int),
        strand=table.direction.map(_STRANDS),
        color=table.sign.map(_COLOURS),
        none=".",
        low=np.minimum(table.source_start, table.position),
    )
    order = ["contig", "low", "source_start", "position", "unit"]
    return arcs.sort_values(order, kind="stable", ignore_index=True)


def _write_arcs(path: Path | str, names: list[str], fields: list[pd.Series], header: str = "") -> None:
    """Write named columns, tab-separated, behind a header line and a comment that names the columns."""
    rows = pd.concat(fields, axis=1)
    with replacing_file(path) as partial:
        text = rows.to_csv(sep="\t", header=False, index=False, float_format=f"%.{_DIGITS}g")
        partial.write_text(header + "#" + "\t".join(names) + "\n" + text)
