"""Does the forget gate at a boundary matter? Hold it at its flank mean there, and look at the prediction beyond.

The gate of the unit that `boundaries` has chosen is held over offsets ``[-dip_bp, dip_bp)`` at what it is on average in
the flank of the same boundary; all else runs on by itself. How much the prediction changes over offsets
``[0, flank_bp)`` is compared with the same done at control positions (`gatescope.effects.matched`). A gate that does at
a boundary what it does anywhere changes nothing more there than at its control.

Public names: `clamp`, `COLUMNS`.
"""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.effects.along import Along, read_along
from gatescope.effects.blocks import LEVEL, block_interval
from gatescope.effects.clamp import FLANK_MEAN, Clamp, intervene
from gatescope.effects.matched import flank_means, match_controls
from gatescope.effects.subject import (
    Shape,
    Sites,
    Subject,
    batches,
    describe,
    find_boundaries,
    open_subject,
    read_windows,
)
from gatescope.files import write_json, write_table
from gatescope.genome.crossings import CROSSINGS, edge_of
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.units import DIRECTIONS, selected_units

log = logging.getLogger(__name__)

#: What may change, in the order of `Outputs`.
_QUANTITIES = ("log_cuts", "state_logit")
_WORDS = {"log_cuts": "log of the expected cuts", "state_logit": "logit of the state"}
COLUMNS = (
    *("direction", "crossing", "unit", "n", "n_left_out", "n_unmatched", "forget_flank", "forget_control"),
    *(
        f"{quantity}_{what}"
        for quantity in reversed(_QUANTITIES)
        for what in ("boundary", "control", "difference", "low", "high")
    ),
)
#: A hidden state that depends more than this on where a window begins is worth a warning.
_LARGEST_START_ERROR = 0.05


def clamp(
    store: Path | str,
    model: Path | str,
    output: Path | str,
    *,
    units: Path | str,
    dip_bp: int = 25,
    flank_bp: int = 250,
    context_bp: int = 1000,
    most_boundaries: int = 1000,
    bootstraps: int = 1000,
    seed: int = 1,
    dtype: str = "float32",
    threads: int = 1,
) -> None:
    """Hold the chosen units' forget gates at boundaries of the test contigs; write `clamp.tsv` and `clamp.json`.

    Parameters
    ----------
    store, model : path
        Encoded store, and the folder of a run that was trained on it.
    output : path
        Folder to write to.
    units : path
        `units.tsv` of the boundaries stage; the selected unit of each direction is held, at entries and at exits.
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
        If the files do not belong together, or the test contigs hold no boundary or no control position.
    ReplayError
        If the network cannot be replayed.
    """
    shape, subject = Shape(dip_bp, flank_bp, context_bp), open_subject(store, model, dtype, threads)
    chosen = selected_units(Path(units), subject.network.config.hidden_units)
    along, certificate = read_along(subject, chosen)
    measured = []
    for number, (direction, crossing) in enumerate(product(DIRECTIONS, CROSSINGS)):
        rng = np.random.default_rng([seed, number])
        found = find_boundaries(subject, edge_of(direction, crossing), shape, most_boundaries, rng)
        one = _measure(subject, found, direction, chosen[direction], along[direction], shape, bootstraps, rng)
        measured.append(one._replace(row={"direction": direction, "crossing": crossing, **one.row}))
        log.info("%s", _sentence(measured[-1].row, shape))
    error = worst(each.start_error for each in measured)
    if error > _LARGEST_START_ERROR:
        what = "hidden states near a boundary are up to %.2g off where windows begin %s bp away; raise --context-bp"
        log.warning(what, error, f"{context_bp:,}")
    rows = [each.row for each in measured]
    settings = {"most_boundaries": most_boundaries, "bootstraps": bootstraps, "seed": seed, "level": LEVEL}
    certificates = [certificate, *(part for each in measured for part in each.certificates)]
    write_table(Path(output) / "clamp.tsv", pd.DataFrame(rows, columns=list(COLUMNS)))
    write_json(
        Path(output) / "clamp.json",
        {
            **describe(subject, "clamp", shape, settings),
            "sentences": [_sentence(row, shape) for row in rows],
            "start_error": error,
            "certificate": Certificate.merged(certificates).as_json(),
        },
    )


class _Measured(NamedTuple):
    """What one unit does at one crossing."""

    row: dict[str, Any]
    start_error: float
    certificates: list[Certificate]


def _measure(
    subject: Subject,
    found: Sites,
    direction: str,
    unit: int,
    along: Along,
    shape: Shape,
    bootstraps: int,
    rng: np.random.Generator,
) -> _Measured:
    """Hold one unit at boundaries and at their controls."""
    pairs = match_controls(subject, found, along.forget, shape, rng)
    held = [_hold(subject, each, direction, unit, shape) for each in pairs]
    boundary, control = (flank_means(subject, each, along.forget, shape).mean() for each in pairs)
    n = len(pairs[0].ranks)
    row = {
        **{"unit": unit, "n": n, "n_left_out": found.n_left_out, "n_unmatched": len(found.ranks) - n},
        **{"forget_flank": boundary, "forget_control": control},
        **_compare(pairs, held, bootstraps, rng),
    }
    error = _start_error(subject, pairs[0], held[0], along, shape)
    return _Measured(row, error, [part for each in held for part in each.certificates])


class _Held(NamedTuple):
    """What holding a gate did at each of N places."""

    change: NDArray[np.float64]  # (N, 2) mean |change| of each quantity, NaN for a head that is not there
    hidden: NDArray[np.float32]  # (N, 2 context_bp) of the unit, gate not held
    certificates: list[Certificate]


def _hold(subject: Subject, sites: Sites, direction: str, unit: int, shape: Shape) -> _Held:
    """Hold the gate of one unit at each place, and measure the prediction beyond it."""
    side, beyond = DIRECTIONS.index(direction), shape.beyond(direction)
    changes, hidden, certificates = [], [], []
    for part in batches(subject, len(sites.ranks), shape):
        some = sites.at(part)
        held = Clamp(
            "forget_gate",
            [unit],
            direction,
            [(shape.dip.start, shape.dip.stop)],
            FLANK_MEAN,
            flank=some.flanks,
        )
        found = intervene(subject.network, *read_windows(subject, some, shape), [held])
        pairs = zip(found.clamped.outputs, found.baseline.outputs, strict=True)
        changes.append(np.stack(list(_mean_changes(pairs, beyond, len(some.ranks))), axis=1))
        hidden.append(found.baseline.layers[0].hidden[:, side, unit].float().cpu().numpy())
        certificates.append(found.certificate)
    return _Held(np.concatenate(changes), np.concatenate(hidden), certificates)


def _mean_changes(pairs: Any, beyond: slice, n: int) -> Iterator[NDArray[np.float64]]:
    """Yield the mean |change| of each head's output over the bases beyond, (N,)."""
    for clamped, baseline in pairs:
        if clamped is None:
            yield np.full(n, np.nan)
        else:
            difference = (clamped[:, beyond] - baseline[:, beyond]).abs().double()
            yield difference.mean(1).cpu().numpy()


def _start_error(subject: Subject, sites: Sites, held: _Held, along: Along, shape: Shape) -> float:
    """Return how much a hidden state about a boundary depends on where its window begins, at most."""
    names, reach = list(subject.store.lengths), np.arange(-shape.flank_bp, shape.flank_bp)
    whole = [
        along.hidden[names[rank]][position + reach]
        for rank, position in zip(sites.ranks, sites.positions, strict=True)
    ]
    return float(np.abs(held.hidden[:, shape.context_bp + reach] - np.stack(whole)).max())


def _compare(
    pairs: tuple[Sites, Sites], held: list[_Held], bootstraps: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the columns that compare boundaries with controls; the difference is paired."""
    boundary, control = (each.change for each in held)
    low, high = block_interval(boundary - control, *pairs[0][:2], bootstraps, rng)
    columns = {}
    for n, quantity in enumerate(_QUANTITIES):
        at, away = float(boundary[:, n].mean()), float(control[:, n].mean())
        columns |= {
            f"{quantity}_boundary": at,
            f"{quantity}_control": away,
            f"{quantity}_difference": at - away,
            f"{quantity}_low": float(low[n]),
            f"{quantity}_high": float(high[n]),
        }
    return columns


def _sentence(row: dict[str, Any], shape: Shape) -> str:
    """Say in words what one row shows."""
    said = [_of_quantity(row, quantity) for quantity in reversed(_QUANTITIES)]
    return (
        f"With the forget gate of {row['direction']} unit {row['unit']} held at its flank mean at {row['n']} "
        f"{row['crossing']} boundaries, the next {shape.flank_bp} bp change: {'; '.join(filter(None, said))}."
    )


def _of_quantity(row: dict[str, Any], quantity: str) -> str:
    """Say how much one quantity changes, and whether that is more than at controls; nothing where there is no head."""
    if np.isnan(row[f"{quantity}_boundary"]):
        return ""
    difference, low, high = (row[f"{quantity}_{name}"] for name in ("difference", "low", "high"))
    said = "more than" if low > 0 else "less than" if high < 0 else "not shown to be other than"
    known = (
        "no interval: too few stretches of the genome"
        if np.isnan(low)
        else f"90 % interval {low:.3g} to {high:.3g}"
    )
    return (
        f"the {_WORDS[quantity]} by {row[f'{quantity}_boundary']:.3g} on average, {said} at matched controls "
        f"({row[f'{quantity}_control']:.3g}; difference {difference:.3g}, {known})"
    )
