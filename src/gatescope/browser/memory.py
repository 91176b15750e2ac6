"""What memory do the units have? Half-lives as planned, before training and after it, and units that do not remember.

And how far back could they learn: what is left of the training signal so many bases before the one that is predicted.

Public names: `memory_chart`, `memory_table`, `gradient_chart`.
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
from gatescope.model.reach_alarms import LEVELS, alarms, reach_words, reaches

#: Share of bases that counts as all of them; the first bases after a contig's end are never typical.
_ALWAYS = 0.999
#: A hidden state lies between -1 and 1.
_LEAST_SD = 0.01
#: The gradients are drawn down to here.
_LEAST_GRADIENT = 1e-3
_LINES = {"fwd": "-", "rev": "--"}


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


def gradient_chart(run: RunEvidence, prefix: str) -> str:
    """Draw, as SVG, what is left of the gradient by the cell state so many bp before the predicted base."""
    figure, axes = new_figure(width_in=6.4, height_in=2.8)
    axis = axes[0, 0]
    table = run.gradient_reach
    first_layer = table.loc[(table["layer"] == 1) & (table["distance_bp"] > 0)]
    for (network, direction), rows in first_layer.groupby(["network", "direction"], sort=False):
        is_trained = network == "trained"
        axis.plot(
            rows["distance_bp"],
            rows["cell"],
            color=MODEL if is_trained else MUTED,
            linewidth=2 if is_trained else 1.2,
            linestyle=_LINES[str(direction)],
            label=f"{network}, {direction}",
        )
    for level in LEVELS:
        axis.axhline(level, color=MUTED, linewidth=0.6, linestyle=":")
    top = max(2.0, 1.2 * float(first_layer["cell"].max())) if len(first_layer) else 2.0
    axis.set(
        xscale="log",
        yscale="log",
        ylim=(_LEAST_GRADIENT, top),
        xlabel="distance before the predicted base, in reading direction (bp)",
        ylabel="training signal left",
    )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.legend(fontsize=8, loc="lower left")
    return as_svg(figure, prefix, "How far back the training signal reaches, untrained and trained")


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
    for reach in reaches(run.gradient_reach):
        layer = f", layer {reach.layer}" if run.model["network"]["layers"] > 1 else ""
        rows.append(
            (f"training signal, {reach.network} network{layer}, {reach.direction}", reach_words(reach))
        )
    shortest = run.model["network"]["half_life_bp"][0]
    rows += [("alarm", sentence) for sentence in alarms(run.gradient_reach, shortest)]
    note = (
        "Half-life: bases after which half of a memory is left; shortest, middle and longest of all units of both "
        "directions. While reading: the middle over the bases read. Never let go: forget gate above 0.9 at "
        f"{_ALWAYS:.1%} of the bases; never hold: below 0.1. Show nothing: what the unit tells the rest of the "
        f"network varies by less than {_LEAST_SD} (standard deviation); such a unit is dead. Training signal: see the "
        "figure; there is an alarm where it is lost sooner than the memory planned shortest, or grows tenfold."
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
