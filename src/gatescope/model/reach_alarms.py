"""Does the training signal reach as far as the memory that was planned? What `gradient_reach.tsv` says, in words.

Rule. The gradient by the cell state has *vanished* where it falls to 1 % of what enters sooner than the memory of the
unit with the shortest planned half-life would by its forget gate alone, which is after log2(100) = 6.6 half-lives: no
unit then learns from as far back as any of them was planned to remember. It *explodes* where it grows beyond 10 times
what enters. The gradient by the hidden state is told beside it and raises no alarm: it passes through the recurrent
weights at every base, and may well be lost after one base in a network that remembers for thousands.

Public names: `COLUMNS`, `LEVELS`, `Reach`, `reaches`, `alarms`, `reach_words`.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

#: Of `gradient_reach.tsv`.
COLUMNS = ("network", "layer", "direction", "distance_bp", "hidden", "cell")
#: Shares of the gradient whose reach is told.
LEVELS = (0.1, 0.01)
_LOST, _EXPLODED = 0.01, 10.0


class Reach(NamedTuple):
    """Say how far the gradient by the cell state reaches back in one direction of one layer."""

    network: str  # "untrained" or "trained"
    layer: int
    direction: str
    reach_bp: tuple[float, ...]  # for each of `LEVELS`; infinite where the window ends before
    longest_bp: int  # how far was looked
    largest: float  # share of what enters, over all distances


def reaches(table: pd.DataFrame) -> Iterator[Reach]:
    """Yield the reach of each direction of each layer of each network, in the order of the table.

    Parameters
    ----------
    table : DataFrame
        `gradient_reach.tsv`.
    """
    for key, rows in table.groupby(["network", "layer", "direction"], sort=False):
        network, layer, direction = key  # type: ignore[misc]
        crossed = tuple(_first_below(rows, level) for level in LEVELS)
        yield Reach(
            str(network), int(layer), str(direction), crossed,
            int(np.max(rows["distance_bp"])), float(np.max(rows["cell"])),
        )  # fmt: skip


def _first_below(rows: pd.DataFrame, level: float) -> float:
    below = rows.loc[rows["cell"] < level, "distance_bp"]
    return float(below.min()) if len(below) else math.inf


def alarms(table: pd.DataFrame, shortest_half_life_bp: float) -> list[str]:
    """Return a sentence for each direction in which the training signal vanishes or explodes; see the rule above."""
    least = math.log2(1 / _LOST) * shortest_half_life_bp
    found = []
    for reach in reaches(table):
        where = f"{reach.network} network, layer {reach.layer}, {reach.direction}"
        lost = reach.reach_bp[LEVELS.index(_LOST)]
        if lost < least:
            found.append(
                f"{where}: the training signal vanishes: {_LOST:.0%} of it is left after {lost:,.0f} bp, sooner "
                f"than by the memory of the unit planned shortest ({shortest_half_life_bp:g} bp: {least:,.0f} bp)"
            )
        if reach.largest > _EXPLODED:
            found.append(
                f"{where}: the training signal explodes: it grows to {reach.largest:,.3g} times what enters"
            )
        if not reach.largest >= 0:
            found.append(f"{where}: no training signal enters the recurrence")
    return found


def reach_words(reach: Reach) -> str:
    """Say how far back 10 % and 1 % of the training signal reach."""
    return ", ".join(
        f"{level:.0%} left after "
        + (f"{bp:,.0f} bp" if math.isfinite(bp) else f"more than {reach.longest_bp:,} bp")
        for level, bp in zip(LEVELS, reach.reach_bp, strict=True)
    )
