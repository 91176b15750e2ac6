"""How does a unit get rid of its memory at a boundary? By erasing it, by overwriting it, or not at all.

A forget gate near zero is not the only reset: a large write of opposite sign does the same while the gate stays open.
Around each boundary, the change of the memory is divided into what the gate took away and what was written.

Read base by base through the neighbourhood of a boundary, offsets ``[-dip_bp, dip_bp)`` in reading order, with c the
cell state before its first base and P the product of f over the bases read so far:

- *erased* is ``c (1 - P)``: what is gone of the memory that was there;
- *written* is the cell state now minus ``P c``: all that came in since, as far as it is still held;
- the *forget share* is phi = |erased| / (|erased| + |written|).

The mode of the boundary is decided at the first base at which one of the two resets is complete:

- **erase**: phi > 1/2, and P is less than half of what the unit usually keeps over as many bases;
- **overwrite**: phi < 1/2, and the cell state has changed its sign.

Otherwise, at the end of the neighbourhood: **gain-only** if |c| has grown, else **none**. What a unit usually keeps is
its median gate over the contig, to the power of the bases read.

The neighbourhood is that of R, so that both speak of the same bases; nobody knows on which side of a called boundary
the gate acts. Over 50 bases, short memories are gone whether or not there is a boundary, and what a reset makes room
for is filled again: hence "than it usually keeps", and "the first base".

Sizes are compared with the unit's usual memory, the root mean square of c over the contig: a change of less than a
tenth of it is none, and where less than a tenth was held there was nothing to get rid of.

Public names: `MODES`, `ModeRule`, `UnitModes`, `find_modes`, `modes_of_unit`, `rewritten_elsewhere`, `summarise_modes`,
`modes_table`.

References
----------
Gers, Schmidhuber & Cummins 2000 (learning to reset); Greff et al. 2017 (what each gate does).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from gatescope.boundaries.cell_states import cell_states_at
from gatescope.boundaries.profile import Sites, gate_positions
from gatescope.errors import InputError
from gatescope.genome.crossings import CROSSINGS
from gatescope.model.metrics import draw_blocks
from gatescope.resample import interval
from gatescope.trace.units import DIRECTIONS, UnitStore

#: What happens to the memory of a unit at a boundary; `UnitModes.mode` counts them.
MODES = ("erase", "overwrite", "gain-only", "none")
_ERASE, _OVERWRITE, _GAIN, _NONE = range(4)
#: Units that are followed along a contig together.
_UNITS = 16
#: Boundaries whose neighbourhoods are held at once: ten arrays of 50 bases take 16 MB.
_BOUNDARIES = 4_000
#: Bases of a contig from which the usual gate of a unit is taken.
_USUAL_BASES = 100_000
_STREAM = 5  # of random numbers, beside those of the other statistics of the stage


@dataclass(frozen=True)
class ModeRule:
    """Hold the thresholds that were declared beforehand.

    Attributes
    ----------
    dip_bp : int
        The neighbourhood of a boundary is offsets ``[-dip_bp, dip_bp)``.
    most_kept : float
        An erased memory is kept to less than this share of what the unit usually keeps.
    least_share : float
        Forget share above which forgetting, below which writing, accounts for a change.
    least_change : float
        Change, or memory, that counts, as a share of the unit's usual memory.
    """

    dip_bp: int = 25
    most_kept: float = 0.5
    least_share: float = 0.5
    least_change: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.most_kept, self.least_share, self.least_change)
        if self.dip_bp < 1 or not all(0 < share < 1 for share in shares):
            raise InputError(
                f"dip_bp {self.dip_bp}, most_kept, least_share, least_change {shares}; wanted at least 1 bp, "
                "and shares between 0 and 1",
                where="config: boundaries",
            )


class UnitModes(NamedTuple):
    """What happens to the memory of one unit at n boundaries, in the order of the `Sites`."""

    mode: NDArray[np.int8]  # (n,) index into MODES
    forget_share: NDArray[np.float64]  # (n,) in [0, 1]; NaN where less than `least_change` was held
    kept: NDArray[np.float64]  # (n,) product of f over the whole neighbourhood
    before: NDArray[np.float64]  # (n,) cell state before the neighbourhood


def find_modes(
    store: UnitStore, sites: Sequence[Sites], units: Sequence[int], rule: ModeRule
) -> list[list[UnitModes]]:
    """Decide what happens to the memory of some units at some boundaries.

    One pass over each contig serves them all. Beside boundaries, `sites` may hold any other places to compare them
    with, such as boundaries that were shifted.

    Parameters
    ----------
    store : UnitStore
    sites : sequence of Sites
        Of one direction; their neighbourhoods lie inside the contigs.
    units : sequence of int
        U units of that direction, followed together: (n + 200,000) x U values are held at most.
    rule : ModeRule

    Returns
    -------
    list of list of UnitModes
        Of each unit at each of `sites`.
    """
    (direction,) = {each.direction for each in sites}
    found: list[list[list[UnitModes]]] = [[[] for _ in sites] for _ in units]
    for contig in dict.fromkeys(contig for each in sites for contig in each.positions):
        boundaries = [each.positions.get(contig, np.zeros(0, np.int64)) for each in sites]
        first_read = np.array([-rule.dip_bp - 1])
        before = [gate_positions(places, first_read, direction)[:, 0] for places in boundaries]
        states = cell_states_at(store, contig, direction, units, np.concatenate(before))
        ends = np.cumsum([len(places) for places in boundaries])[:-1]
        for row, unit in enumerate(units):
            reader = _Reader(store, contig, direction, unit, rule, float(states.rms[row]))
            for k, cells in enumerate(np.split(states.cells[row], ends)):
                if len(cells):
                    found[row][k].append(reader.modes(boundaries[k], cells))
    return [[_joined(parts) for parts in of_unit] for of_unit in found]


def modes_of_unit(store: UnitStore, sites: Sites, unit: int, rule: ModeRule) -> UnitModes:
    """Decide what happens to the memory of one unit at one kind of boundary."""
    return find_modes(store, [sites], [unit], rule)[0][0]


def modes_table(
    store: UnitStore,
    n_units: int,
    sites: Sequence[Sites],
    rule: ModeRule,
    *,
    replicates: int = 1000,
    block_bp: int = 20_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how often each mode occurs: one row per direction, crossing and unit.

    Parameters
    ----------
    store : UnitStore
    n_units : int
        H, of each direction.
    sites : sequence of Sites
        At most one for each direction and crossing, with at least one boundary.
    rule : ModeRule
    replicates, block_bp, seed
        Of the intervals, see `summarise_modes`.

    Returns
    -------
    DataFrame
        `direction`, `crossing`, `unit`, and what `summarise_modes` returns.
    """
    rows = []
    for direction, name in enumerate(DIRECTIONS):
        mine = [each for each in sites if each.direction == direction]
        draws = [_draw(each, replicates, block_bp, seed) for each in mine]
        for first in range(0, n_units if mine else 0, _UNITS):
            block = range(first, min(first + _UNITS, n_units))
            for unit, of_unit in zip(block, find_modes(store, mine, block, rule), strict=True):
                for each, modes, drawn in zip(mine, of_unit, draws, strict=True):
                    row = {"direction": name, "crossing": each.crossing, "unit": unit}
                    rows.append({**row, **_summary(modes, drawn)})
    table = pd.DataFrame(rows)
    order = table.crossing.map(CROSSINGS.index)
    return (
        table.assign(order=order)
        .sort_values(["order", "direction", "unit"], ignore_index=True)
        .drop(columns="order")
    )


def rewritten_elsewhere(
    store: UnitStore,
    sites: Sites,
    unit: int,
    rule: ModeRule,
    lengths: Mapping[str, int],
    shifts: Mapping[str, NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Return how often a unit overwrites or only gains where the boundaries of each contig are moved along it.

    Parameters
    ----------
    store : UnitStore
    sites : Sites
    unit : int
    rule : ModeRule
    lengths : mapping of str to int
        Of the contigs, in bp.
    shifts : mapping of str to int64, shape (m,)
        Shift of each contig in each replicate, in bp to the right, around its end.

    Returns
    -------
    ndarray, shape (m,), float64
        Share of the moved boundaries; NaN in a replicate in which all of them came too near an end of their contigs.
    """
    moved, reach = [], rule.dip_bp + 1
    for replicate in range(len(next(iter(shifts.values())))):
        positions = {}
        for contig, at in sites.positions.items():
            places = np.sort((at + shifts[contig][replicate]) % lengths[contig])
            positions[contig] = places[(places >= reach) & (places <= lengths[contig] - reach)]
        moved.append(sites._replace(positions={contig: at for contig, at in positions.items() if len(at)}))
    found = np.full(len(moved), np.nan)
    kept = [k for k, each in enumerate(moved) if each.positions]
    if kept:
        (of_unit,) = find_modes(store, [moved[k] for k in kept], [unit], rule)
        found[kept] = [np.isin(each.mode, (_OVERWRITE, _GAIN)).mean() for each in of_unit]
    return found


def summarise_modes(
    modes: UnitModes, sites: Sites, *, replicates: int = 1000, block_bp: int = 20_000, seed: int = 0
) -> dict[str, float]:
    """Return how often each mode occurs at the boundaries of one unit, and its forget share.

    Parameters
    ----------
    modes : UnitModes
        At `sites`.
    sites : Sites
    replicates, block_bp, seed
        The interval comes from so many draws of blocks of the contigs with replacement.

    Returns
    -------
    dict
        `n`; `erase`, `overwrite`, `gain_only`, `none`, shares of the n boundaries; `n_held`, how many of them found a
        memory to get rid of; `forget_share`, the median over these, with `forget_share_low` and `_high`, its 95 %
        interval (NaN where fewer than ten blocks hold a boundary); `kept`, the median over all n of what is kept over
        the neighbourhood.
    """
    return _summary(modes, _draw(sites, replicates, block_bp, seed))


class _Reader:
    """Read the neighbourhoods of boundaries of one contig through one unit."""

    def __init__(
        self, store: UnitStore, contig: str, direction: int, unit: int, rule: ModeRule, rms: float
    ) -> None:
        self._rule, self._direction = rule, direction
        self._logits = store.logits(contig, direction, unit)
        self._writes = store.writes(contig, direction, unit)
        self._least = rule.least_change * rms
        some = self._logits[:: -(-len(self._logits) // _USUAL_BASES)]
        self._usual = float(-np.logaddexp(0, -float(np.median(some))))

    def modes(self, boundaries: NDArray[np.int64], before: NDArray[np.float64]) -> UnitModes:
        """Return what happens at the boundaries, from the cell states before their neighbourhoods."""
        parts = []
        for first in range(0, len(boundaries), _BOUNDARIES):
            some = slice(first, first + _BOUNDARIES)
            offsets = np.arange(-self._rule.dip_bp, self._rule.dip_bp)
            at = gate_positions(boundaries[some], offsets, self._direction)
            logits, writes = (np.asarray(each[at], np.float64) for each in (self._logits, self._writes))
            parts.append(self._decide(logits, writes, before[some]))
        return _joined(parts)

    def _decide(self, logits: NDArray, writes: NDArray, before: NDArray) -> UnitModes:
        """Return the modes from what the unit did in neighbourhoods (n, bases), in reading order."""
        log_kept = np.cumsum(_log_gate(logits), axis=1)
        cells = _follow(expit(logits), writes, before)
        share = _forget_share(log_kept, cells, before)
        read = np.arange(1, logits.shape[1] + 1)
        held = np.abs(before) >= max(self._least, np.finfo(float).tiny)
        # what is not held leaves a share that is not a number, and that is neither above nor below
        share[~held] = np.nan
        faster = log_kept < np.log(self._rule.most_kept) + read * self._usual
        erased = (share > self._rule.least_share) & faster
        flipped = (cells * before[:, None] < 0) & (np.abs(cells) >= self._least)
        overwritten = (share < self._rule.least_share) & flipped
        decided = erased | overwritten
        at = np.where(decided.any(axis=1), decided.argmax(axis=1), logits.shape[1] - 1)
        rows = np.arange(len(at))
        grown = np.abs(cells[:, -1]) - np.abs(before) >= max(self._least, np.finfo(float).tiny)
        mode = np.select([erased[rows, at], overwritten[rows, at], grown], [_ERASE, _OVERWRITE, _GAIN], _NONE)
        return UnitModes(mode.astype(np.int8), share[rows, at], np.exp(log_kept[:, -1]), before)


def _log_gate(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln f = -softplus(-z), exact where f rounds to 1."""
    return -np.logaddexp(0, -logits)


def _follow(forget: NDArray, writes: NDArray, before: NDArray) -> NDArray[np.float64]:
    """Return the cell states over neighbourhoods (n, bases) that start from `before` (n,)."""
    cells = np.empty_like(writes)
    for step in range(writes.shape[1]):
        before = forget[:, step] * before + writes[:, step]
        cells[:, step] = before
    return cells


def _forget_share(log_kept: NDArray, cells: NDArray, before: NDArray) -> NDArray[np.float64]:
    """Return |erased| / (|erased| + |written|) up to each base, (n, bases); NaN where nothing happened."""
    erased = np.abs(before)[:, None] * -np.expm1(log_kept)
    written = np.abs(cells - before[:, None] * np.exp(log_kept))
    with np.errstate(invalid="ignore"):
        return erased / (erased + written)


def _joined(parts: Sequence[UnitModes]) -> UnitModes:
    return UnitModes(*(np.concatenate(values) for values in zip(*parts, strict=True)))


class _Draws(NamedTuple):
    """Blocks drawn with replacement: how often, (R, blocks), and which one each boundary lies in, (n,)."""

    counts: NDArray[np.int64]
    block: NDArray[np.int64]


def _draw(sites: Sites, replicates: int, block_bp: int, seed: int) -> _Draws:
    """Draw blocks of the contigs that hold a boundary."""
    codes = [
        np.stack([np.full(len(at), number), at // block_bp])
        for number, at in enumerate(sites.positions.values())
    ]
    blocks, block = np.unique(np.concatenate(codes, axis=1), axis=1, return_inverse=True)
    rng = np.random.default_rng([seed, _STREAM, sites.direction, CROSSINGS.index(sites.crossing)])
    return _Draws(draw_blocks(blocks.shape[1], replicates, rng), block.ravel())


def _summary(modes: UnitModes, draws: _Draws) -> dict[str, float]:
    counts = np.bincount(modes.mode, minlength=len(MODES)) / len(modes.mode)
    known = ~np.isnan(modes.forget_share)
    shares, weights = modes.forget_share[known], draws.counts[:, draws.block[known]]
    low, high = np.nan, np.nan
    if len(weights) and len(shares):
        drawn = weights.sum(axis=1) > 0  # a replicate may have drawn no boundary that held anything
        low, high = interval(_weighted_medians(shares, weights[drawn]))
    return {
        "n": len(modes.mode),
        **{name.replace("-", "_"): float(count) for name, count in zip(MODES, counts, strict=True)},
        "n_held": int(known.sum()),
        "forget_share": float(np.median(shares)) if len(shares) else np.nan,
        "forget_share_low": float(low),
        "forget_share_high": float(high),
        "kept": float(np.median(modes.kept)),
    }


def _weighted_medians(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of values (n,) that occur `weights` (R, n) times, of each row."""
    order = np.argsort(values, kind="stable")
    above = np.cumsum(weights[:, order], axis=1)
    total = above[:, -1:]
    middles = [(above >= half).argmax(axis=1) for half in ((total + 1) // 2, total // 2 + 1)]
    return values[order][np.stack(middles)].mean(axis=0)
