"""Do forget gates tell the truth about memory, and do small differences die out? A trained network, audited.

A half-life read off the forget gate is the network's memory only if the rest of the network leaves that memory alone,
and a trace is the same on every machine only if small differences die out. Neither can be read off the gates; both
are measured here, on windows sampled from whole contigs (`gatescope.trace.reach` has the definitions):

    reach    what is left of a memory some bp on, by the forget gates alone (direct) and truly (total)
    growth   the largest Lyapunov exponent, and how far float32 strays from float64 over a window

Windows. Eight, each from a contig drawn by its length, avoiding runs of N where the contig has anything else. The
first 4,000 bp that a direction reads of a window only warm its state up (for `rev` these are the last of the window)
and 2,000 bp are looked at. A unit that hardly ever forgets is not warm by then. On trained networks a burn-in of
10,000 bp changed next to no ratio, and brought the slowest rates of growth (-1e-4 to -2e-4 nats/bp) nearer to zero by
a third to a half: a halving distance longer than the burn-in is a lower bound. The layers below an audited one read
further on both sides, by one burn-in each. A contig shorter than a window is read whole, without burn-in: where it
ends a trace really does start from zero.

Distances. The same for all units, so that one can be compared with the other, and a factor of about three apart: what
is left falls from one to the next like x to x**3, so every unit with a half-life of 1 to 1,000 bp has a distance at
which between a tenth and seven tenths of its memory are left. Distances beyond 100 bp are looked for from fewer bases.

Flags. A tenth of a memory must be left, by forget gates or truly, at a quarter of the sampled bases, and more than half
of these must be off by more than twofold. Memories that hold in some places only (in accessible regions, say) count
therefore; a unit near one of these bounds may be flagged with one seed and not with another: see `share_off`.

Public names: `audit_network`, `Audit`, `DISTANCES_BP`, `WINDOWS`, `BURN_IN_BP`, `COUNTED_BP`.

References
----------
Hochreiter & Schmidhuber 1997; Maheswaranathan et al. 2019; Vogt et al. 2022 (see `gatescope.trace.reach`).
"""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.predict import Genome, read_features
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate, worst
from gatescope.trace.reach import growth_rate, measure_reach, report_reach
from gatescope.trace.replay import Trace, trace_lstm

log = logging.getLogger(__name__)

#: Where a memory is looked for, unless told otherwise.
DISTANCES_BP = (1, 3, 10, 30, 100, 300, 1000)

WINDOWS = 8
BURN_IN_BP = 4000
COUNTED_BP = 2000
#: Beyond this distance a memory is followed from a quarter of the bases: each costs ten times as much.
_NEAR_BP = 100
#: Bases followed that far, times the cube of the units: what they cost. Not fewer, and not more, than these.
_FAR_COST, _FEWEST_FAR, _MOST_FAR = 2**24, 8, 32
_FACTOR, _LEAST, _LEAST_HELD = 2.0, 0.1, 0.25
#: Unknown bases that a window may have without being passed over, and places tried for each window.
_FEW_UNKNOWN, _TRIES = 0.01, 16
#: Whole contigs without burn-in: bases in which a difference turns into the direction that grows fastest.
_TURNING_BP = 200
#: Growth or decay that does not show within this many bp is none.
_STANDSTILL_BP = 1_000_000
#: Values of each traced field held at a time: bounds memory at about 1 GB.
_GROUP_VALUES = 3_200_000

_COLUMNS = (
    "direction", "unit", "distance_bp", "samples", "held", "direct", "total", "ratio", "share_off", "flagged",
    "unit_flagged",
)  # fmt: skip


class Window(NamedTuple):
    """A stretch of a contig, 0-based half-open; `burn_in_bp` of it warm the state up."""

    contig: str
    start: int
    end: int
    burn_in_bp: int


@dataclass(frozen=True)
class Audit:
    """What was found: how far the forget gates of one layer tell the truth, and whether differences die out.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per direction, unit and distance: `direction` (fwd, rev), `unit` (from 0), `distance_bp`, `samples`
        (bases from which a memory was followed that far), `held` (share of them with at least a tenth left, by
        forget gates or truly), `direct` (median product of the forget gates), `total` (median true derivative
        of the later cell state by the earlier one), `ratio` (median of total / direct where held; NaN where
        nothing is), `share_off` (share of the held ones with a ratio not within 1/2 to 2), `flagged` (more than half
        are off, and at least a quarter of the samples is held), `unit_flagged` (at any distance).
    growth : pandas.DataFrame
        One row per direction and window: `direction`, `contig`, `start`, `end` (0-based half-open), `growth_rate`
        (nats per bp), `counted_bp`.
    float32_difference : float
        Largest difference of h over the windows between the layer run in float32 and in float64, both from zero
        states and the same inputs. Machines that run float32 differ from each other by as much.
    unknown_share : float
        Share of the windows' bases that are unknown (N).
    layer : int
        From 0.
    certificate : Certificate
        Of the float64 replay that all this rests on.
    """

    table: pd.DataFrame
    growth: pd.DataFrame
    float32_difference: float
    unknown_share: float
    layer: int
    certificate: Certificate

    def flagged_units(self, direction: str) -> list[int]:
        """Return the units of a direction whose forget gate misleads."""
        rows = self.table[(self.table.direction == direction) & self.table.unit_flagged.astype(bool)]
        return sorted(rows.unit.unique().tolist())

    def rate(self, direction: str) -> float:
        """Return the growth rate, nats/bp: its mean over all counted bases, which is what the exponent is."""
        rows = self.growth[self.growth.direction == direction]
        return float(np.average(rows.growth_rate, weights=rows.counted_bp))

    @property
    def is_excitable(self) -> bool:
        """Whether small differences grow in a direction: then two runs may drift apart."""
        return any(_fate(self.rate(name)) == "grow" for name in self.growth.direction.unique())

    @property
    def growth_in_words(self) -> str:
        """One sentence: what becomes of a small difference between two runs."""
        by_fate: dict[str, list[str]] = {}
        for name in self.growth.direction.unique():
            rate = self.rate(name)
            by_fate.setdefault(_fate(rate), []).append(f"{_distance(rate)} ({name})")
        said = {
            "die out": "die out, halving about every {}",
            "grow": "grow, doubling about every {}, so two runs on different machines may drift apart",
            "last": f"neither die out nor grow within {_STANDSTILL_BP:,} bp: {{}}",
        }
        parts = [said[fate].format(" and ".join(found)) for fate, found in sorted(by_fate.items())]
        return (
            f"Small differences {'; they '.join(parts)}; over the sampled windows float32 strayed from float64 by "
            f"at most {self.float32_difference:.1g} in the hidden states."
        )

    @property
    def reach_in_words(self) -> str:
        """One sentence: how many forget gates mislead."""
        if self.table.empty:
            return "No contig is long enough to follow a memory."
        units = self.table.groupby(["direction", "unit"]).unit_flagged.first()
        if not units.any():
            return f"The forget gate of none of {len(units)} units misleads more than twofold about their memory."
        return (
            f"The forget gates of {int(units.sum())} of {len(units)} units mislead: of a memory, more than twice or "
            "less than half of what they promise is left."
        )

    def as_json(self) -> dict[str, Any]:
        """Return what stands in the summary of a trace."""
        directions = self.growth.direction.unique().tolist()
        names = ["contig", "start", "end"]
        places = self.growth.drop_duplicates(names)[names].to_numpy().tolist()
        return {
            "layer": self.layer + 1,
            "windows": [dict(zip(names, place, strict=True)) for place in places],
            "unknown_share": self.unknown_share,
            "certificate": self.certificate.as_json(),
            "reach": {
                "in_words": self.reach_in_words,
                "distances_bp": sorted(self.table.distance_bp.unique().tolist()),
                "off_by": _FACTOR,
                "least_left": _LEAST,
                "least_held": _LEAST_HELD,
                "flagged_units": {name: self.flagged_units(name) for name in directions},
            },
            "growth": {
                "in_words": self.growth_in_words,
                "is_excitable": self.is_excitable,
                "float32_difference": self.float32_difference,
                **{name: self._growth_of(name) for name in directions},
            },
        }

    def _growth_of(self, direction: str) -> dict[str, float | None]:
        """Summarise one direction; what is not finite is null."""
        rates, rate = self.growth.growth_rate[self.growth.direction == direction], self.rate(direction)
        fate, distance = _fate(rate), math.log(2) / abs(rate) if rate else math.inf
        values = {
            "nats_per_bp": rate,
            "median": float(rates.median()),
            "lowest": float(rates.min()),
            "highest": float(rates.max()),
            "doubling_bp": distance if fate == "grow" else math.inf,
            "halving_bp": distance if fate == "die out" else math.inf,
        }
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


def audit_network(
    network: AccessibilityNetwork,
    genome: Genome,
    contigs: Sequence[str],
    *,
    seed: int,
    layer: int = 0,
    distances_bp: Sequence[int] = DISTANCES_BP,
    windows: int = WINDOWS,
    burn_in_bp: int = BURN_IN_BP,
    counted_bp: int = COUNTED_BP,
) -> Audit:
    """Measure on sampled windows how far forget gates tell the truth, and how fast small differences grow.

    The cost does not depend on the size of the genome (but for reading up to eight contigs of a FASTA): on one core
    about 3 s for 32 units per direction, 15 s for 128. The network is left as it is: a copy in float64 on the CPU is
    read. What the trace does at unknown bases (`UnknownBases`) makes no difference where there are none.

    Parameters
    ----------
    network : AccessibilityNetwork
        In any dtype, on any device.
    genome : Genome
        Must hold the tracks that the network reads.
    contigs : sequence of str
        Where windows may come from: those that are traced.
    seed : int
        The same seed draws the same windows, bases and tangents.
    layer : int
        LSTM layer, from 0.
    distances_bp : sequence of int
        Where memories are looked for. Those longer than half of what a window leaves after its burn-in are left out.
    windows : int
        How many windows; fewer where contigs are shorter than a window.
    burn_in_bp, counted_bp : int
        Bases of a window that warm the state up, and those that are looked at.

    Raises
    ------
    InputError
        If the network has no such layer.
    ReplayError
        If the states cannot be replayed within the tolerance of float64.
    """
    if layer not in range(len(network.lstm_layers)):
        raise InputError(f"layer {layer}; the network has {len(network.lstm_layers)}, from 0", where="audit")
    if not contigs or min([windows, counted_bp, *distances_bp]) < 1 or burn_in_bp < 0:
        raise ValueError("wanted contigs, a window, a base to look at, and distances from 1 bp")
    network = copy.deepcopy(network).to("cpu", torch.float64).eval()
    generator = np.random.default_rng(seed)
    chosen, unknown = _choose_windows(genome, contigs, windows, burn_in_bp, counted_bp, generator)
    lstm, reach, growth, strayed = network.lstm_layers[layer], [], [], 0.0
    certificates = []
    for group in _groups(chosen, lstm.hidden_size):
        inputs = torch.cat([_layer_inputs(network, genome, layer, w, burn_in_bp) for w in group])
        trace = trace_lstm(lstm, inputs)
        certificates.append(trace.certificate)
        strayed = worst([strayed, _stray(lstm, inputs, trace)])
        share = len(group) / len(chosen)
        reach += _follow(lstm, trace, distances_bp, group[0].burn_in_bp, share, generator)
        growth.append(_grow(lstm, trace, group, generator))
    rules = {"factor": _FACTOR, "least": _LEAST, "least_held": _LEAST_HELD}
    table = report_reach(pd.concat(reach), **rules) if reach else pd.DataFrame(columns=list(_COLUMNS))
    certificate = Certificate.merged(certificates)
    found = Audit(table, pd.concat(growth, ignore_index=True), strayed, unknown, layer, certificate)
    log.info("%s %s", found.reach_in_words, found.growth_in_words)
    return found


def _choose_windows(
    genome: Genome,
    contigs: Sequence[str],
    count: int,
    burn_in_bp: int,
    counted_bp: int,
    generator: np.random.Generator,
) -> tuple[list[Window], float]:
    """Draw windows evenly over the bases of the contigs, few N in them; return them and their share of N."""
    lengths = np.array([genome.lengths[contig] for contig in contigs])
    drawn = generator.multinomial(count, lengths / lengths.sum())
    chosen, shares = [], []
    for contig, length, wanted in zip(contigs, lengths.tolist(), drawn.tolist(), strict=True):
        if not wanted:
            continue
        codes = genome.codes(contig)
        size, burn_in = burn_in_bp + counted_bp, burn_in_bp
        if length <= size:
            wanted, size, burn_in = 1, length, 0
        starts = generator.integers(length - size + 1, size=_TRIES * wanted)
        unknown = np.array([np.mean(codes[start : start + size] == UNKNOWN) for start in starts])
        kept = np.argsort(np.maximum(unknown, _FEW_UNKNOWN), kind="stable")[:wanted]
        chosen += [Window(contig, start, start + size, burn_in) for start in starts[kept].tolist()]
        shares += unknown[kept].tolist()
    return chosen, float(np.average(shares, weights=[window.end - window.start for window in chosen]))


def _groups(windows: list[Window], hidden: int) -> list[list[Window]]:
    """Put windows of one kind together that are read as one batch, as many as memory allows."""
    kinds: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        kinds.setdefault((window.end - window.start, window.burn_in_bp), []).append(window)
    groups = []
    for (size, _), members in kinds.items():
        most = max(1, _GROUP_VALUES // (size * hidden))
        groups += [members[k : k + most] for k in range(0, len(members), most)]
    return groups


@exact_arithmetic()
def _layer_inputs(
    network: AccessibilityNetwork, genome: Genome, layer: int, window: Window, burn_in_bp: int
) -> Tensor:
    """Return what a layer reads in a window, (1, L, C); layers below have been warmed up on both sides."""
    start = max(0, window.start - layer * burn_in_bp)
    end = min(genome.lengths[window.contig], window.end + layer * burn_in_bp)
    features = read_features(network, genome, window.contig, [(start, end)])
    for lstm in network.lstm_layers[:layer]:
        features, _ = lstm(features)
    return features[:, window.start - start : window.end - start]


@exact_arithmetic()
def _stray(lstm: nn.LSTM, inputs: Tensor, trace: Trace) -> float:
    """Return how far h strays from its trace where the same inputs are read in float32."""
    rounded, _ = copy.deepcopy(lstm).float()(inputs.float())
    return float(
        (rounded.unflatten(2, (-1, lstm.hidden_size)) - trace.hidden.permute(0, 3, 1, 2)).abs().max()
    )


def _follow(
    lstm: nn.LSTM,
    trace: Trace,
    distances_bp: Sequence[int],
    burn_in_bp: int,
    share: float,
    generator: np.random.Generator,
) -> list[pd.DataFrame]:
    """Follow memories from a group's share of all samples, as far as its windows allow."""
    room = (trace.cell.shape[-1] - burn_in_bp) // 2
    fitting = sorted({distance for distance in distances_bp if distance <= room})
    near = [distance for distance in fitting if distance <= _NEAR_BP]
    far = share * np.clip(_FAR_COST / lstm.hidden_size**3, _FEWEST_FAR, _MOST_FAR)
    options = {"generator": generator, "burn_in_bp": burn_in_bp}
    return [
        measure_reach(lstm, trace, distances_bp=distances, samples=math.ceil(samples), **options)
        for distances, samples in ((near, 4 * far), (fitting[len(near) :], far))
        if distances
    ]


def _grow(lstm: nn.LSTM, trace: Trace, group: list[Window], generator: np.random.Generator) -> pd.DataFrame:
    """Measure the growth rates of a group of windows, and say where they are."""
    window = group[0]
    skipped = window.burn_in_bp or min(_TURNING_BP, (window.end - window.start) // 4)
    table = growth_rate(lstm, trace, generator=generator, burn_in_bp=skipped)
    places = pd.DataFrame(group).iloc[table.window].reset_index(drop=True)[["contig", "start", "end"]]
    return pd.concat([table.direction, places, table[["growth_rate", "counted_bp"]]], axis=1)


def _fate(rate: float) -> str:
    """Say what becomes of a difference that grows at `rate` nats/bp."""
    if abs(rate) * _STANDSTILL_BP < math.log(2):
        return "last"
    return "grow" if rate > 0 else "die out"


def _distance(rate: float) -> str:
    """Say in words after how many bp a difference has halved or doubled."""
    if _fate(rate) == "last":
        return f"{rate:.1g} nats/bp"
    distance = math.log(2) / abs(rate)
    return f"{distance:,.0f} bp" if distance >= 10 else f"{distance:.2g} bp"
