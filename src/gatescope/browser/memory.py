"""What memory do the units have? Half-lives as planned, before training and after it, and units that do not remember.

Public names: `memory_chart`, `memory_table`.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.browser.charts import MODEL, as_svg
from gatescope.browser.content import Table
from gatescope.browser.evidence import RunEvidence
from gatescope.figures import MUTED, REGION, new_figure
from gatescope.model.memory_plan import half_life_spectrum

#: Share of bases that counts as all of them; the first bases after a contig's end are never typical.
_ALWAYS = 0.999
#: A hidden state lies between -1 and 1.
_LEAST_SD = 0.01


def memory_chart(run: RunEvidence, prefix: str) -> str:
    """Draw, as SVG, the share of units whose half-life is shorter than so many bp: plan, untrained, trained."""
    figure, axes = new_figure(width_in=6.4, height_in=2.8)
    axis = axes[0, 0]
    trained, untrained = run.units, run.untrained_units
    lines = (
        ("planned (biases before training)", _planned(run), {"color": MUTED, "linestyle": "--"}),
        ("untrained, while reading", untrained["half_life_median_bp"], {"color": MUTED}),
        ("trained, biases alone", trained["bias_half_life_bp"], {"color": REGION}),
        ("trained, while reading", trained["half_life_median_bp"], {"color": MODEL, "linewidth": 2}),
    )
    for label, half_lives, look in lines:
        ordered = np.sort(np.asarray(half_lives, float))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axis.step(ordered, share, where="post", label=label, **look)
    axis.set(
        xscale="log", xlabel="half-life of a unit's memory (bp)", ylabel="share of units", ylim=(0, 1.02)
    )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(fontsize=8, loc="upper left")
    return as_svg(figure, prefix, "Half-lives of the units, planned, before and after training")


def _planned(run: RunEvidence) -> np.ndarray:
    network = run.model["network"]
    shortest, longest = network["half_life_bp"]
    return half_life_spectrum(network["half_life_spectrum"], shortest, longest, network["hidden_units"])


def memory_table(run: RunEvidence) -> Table:
    """Compare the half-lives in numbers, and name the units that do not do what a memory is for."""
    trained, untrained = run.units, run.untrained_units
    never = {
        "let go": trained["share_above_0.9"].to_numpy() >= _ALWAYS,
        "hold": trained["share_below_0.1"].to_numpy() >= _ALWAYS,
        "show": trained["hidden_sd"].to_numpy() < _LEAST_SD,
    }
    rows = [
        ("half-life planned", _range(_planned(run))),
        ("half-life of the untrained network", _range(untrained["half_life_median_bp"])),
        ("half-life after training, biases alone", _range(trained["bias_half_life_bp"])),
        ("half-life after training, while reading", _range(trained["half_life_median_bp"])),
        ("units that never let go", _names(trained, never["let go"])),
        ("units that never hold", _names(trained, never["hold"])),
        ("units that show nothing", _names(trained, never["show"])),
    ]
    note = (
        "Half-life: bases after which half of a memory is left; shortest, middle and longest of all units of both "
        "directions. While reading: the middle over the bases read. Never let go: forget gate above 0.9 at "
        f"{_ALWAYS:.1%} of the bases; never hold: below 0.1. Show nothing: what the unit tells the rest of the "
        f"network varies by less than {_LEAST_SD} (standard deviation); such a unit is dead."
    )
    return Table((), rows, note)


def _range(half_lives: Iterable[float]) -> str:
    values = np.asarray(list(half_lives), float)
    return "{} to {} bp, middle {} bp".format(
        *map(_bp, (values.min(), values.max(), float(np.median(values))))
    )


def _bp(length: float) -> str:
    return f"{length:,.0f}" if length >= 100 else f"{length:.3g}"


def _names(units: pd.DataFrame, chosen: NDArray[np.bool_]) -> str:
    """Name units as the command line does, with how many of all they are."""
    rows = zip(units["direction"], units["unit"], chosen, strict=True)
    named = [f"{direction}:{unit}" for direction, unit, is_chosen in rows if is_chosen]
    return f"{len(named)} of {len(units)}: {', '.join(named)}" if named else f"none of {len(units)}"
