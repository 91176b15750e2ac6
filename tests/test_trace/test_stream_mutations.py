"""Would a contig put together wrongly be noticed? Placing, seams, layers and unknown bases, each against the oracle."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.model.cells import LSTMCell, cells_of
from gatescope.trace import kernel, stream
from gatescope.trace.census import Census, GateCensus
from gatescope.trace.reading import Reading, UnknownBases
from gatescope.trace.sink import Sink
from gatescope.trace.source import FeatureReader, HiddenStates
from gatescope.trace.stream import ContigStream, Segments
from hardware import needs_bfloat16
from mutants import failing, in_bfloat16, patch, together
from oracles.lstm import run_lstm, sigmoid

HIDDEN, LENGTH = 4, 2400
#: Unknown bases: the second run lies within the burn-in of the segment that begins at the 600th base read.
GAPS = ((0, 40), (630, 660), (661, 730), (2390, 2400))
HALF_LIFE_BP = 50
GATES = ("input", "forget", "output")
FIELDS = (*GATES, "candidate", "cell", "hidden", "forget_logit")


class Case(NamedTuple):
    """What is read, and how: `bias` is added to the forget gates, `shut` to the output gates."""

    layers: int = 1
    segments: Segments = Segments(300, rows=3)
    policy: str = "learned"
    dtype: torch.dtype = torch.float64
    bias: float = 0.0
    shut: float = 0.0

    @property
    def weights_of(self):
        return self.layers, self.bias, self.shut


SHORT = Case()
TWO_LAYERS = Case(layers=2)
FLOAT32 = Case(layers=2, segments=Segments(300, rows=8), dtype=torch.float32)
LONG = Case(bias=5.0, segments=Segments(150, rows=4, burn_in_bp=0))
SHUT = LONG._replace(shut=-60.0)
FREEZE = Case(layers=2, policy="freeze")
DECAY = Case(policy=f"decay({HALF_LIFE_BP})")


@cache
def make_lstm(layers, bias, shut):
    """Return a bidirectional LSTM whose second layer could read the input as well."""
    generator = torch.Generator().manual_seed(3)
    lstm = nn.LSTM(2 * HIDDEN, HIDDEN, layers, bidirectional=True).double().requires_grad_(False)
    for name, parameter in lstm.named_parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        if name.startswith("bias_ih"):
            parameter[HIDDEN : 2 * HIDDEN] += bias
            parameter[3 * HIDDEN :] += shut
    return lstm


class Drawn:
    """A contig of random features; the bases only say where N is."""

    def __init__(self, dtype=torch.float64):
        self.lengths = {"c": LENGTH}
        generator = torch.Generator().manual_seed(5)
        self.values = torch.randn(LENGTH, 2 * HIDDEN, generator=generator).to(dtype)
        self.unknown = np.zeros(LENGTH, np.uint8)
        for start, end in GAPS:
            self.unknown[start:end] = 4

    def codes(self, contig):
        return self.unknown

    def features(self, contig, places):
        return torch.stack([self.values[start:end] for start, end in places])


DRAWN = Drawn()


@cache
def expected(weights_of, policy):
    """Return each field (D, H, L) of the last layer; NaN where nothing is read."""
    lstm = make_lstm(*weights_of)
    weights = {name: parameter.numpy() for name, parameter in lstm.named_parameters()}
    known = np.flatnonzero(DRAWN.unknown == 0) if policy != "learned" else np.arange(LENGTH)
    if policy in ("learned", "freeze"):  # frozen: as if the unknown bases had been cut out
        found = run_lstm(DRAWN.values.numpy()[known], weights, lstm.num_layers)[-1]
    else:
        found = {"cell": np.stack([decaying(weights, known, suffix) for suffix in ("", "_reverse")])}
    found |= {gate: sigmoid(found[f"{gate}_logit"]) for gate in GATES if f"{gate}_logit" in found}
    whole = {}
    for name, values in found.items():
        whole[name] = np.full((2, HIDDEN, LENGTH), np.nan)
        whole[name][:, :, known] = values
    return whole


def decaying(weights, known, suffix):
    """Return c (H, known bases) of one direction of one layer that loses its state with a half-life over N."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, d = (weights[f"{name}_l0{suffix}"] for name in names)
    h, c, found = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    order = known[::-1] if suffix else known
    for at, before in zip(order, [order[0], *order[:-1]], strict=True):
        left = 2.0 ** (-max(0, abs(at - before) - 1) / HALF_LIFE_BP)
        i, f, g, o = (w @ DRAWN.values[at].numpy() + b + u @ (left * h) + d).reshape(4, HIDDEN)
        c = sigmoid(f) * left * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(c)
    return np.array(found[:: -1 if suffix else 1]).T


class Collector(Sink):
    """Keep the latest that was said of each base."""

    def begin(self, contig, length):
        self.values = {name: np.full((2, HIDDEN, length), np.nan) for name in FIELDS}

    def take(self, piece):
        for name, kept in self.values.items():
            array = piece.forget_logit if name == "forget_logit" else getattr(piece.steps, name)
            for where, row in piece.rows(array.double().numpy()):
                kept[piece.direction, :, where] = row.T


def read(case):
    """Return what two sinks were told, and the reports of the seams."""
    lstm = make_lstm(*case.weights_of)
    layers = [
        [LSTMCell(*(t.to(case.dtype) for t in cell.weights)) for cell in cells_of(lstm, layer)]
        for layer in range(case.layers)
    ]
    policy, sinks = UnknownBases.parse(case.policy), [Collector(), Census()]
    reader = ContigStream(layers, Drawn(case.dtype), unknown=policy, segments=case.segments)
    return *sinks, reader.read("c", sinks)


def agrees(case):
    collected, _, _ = read(case)
    tolerance = 1e-10 if case.dtype == torch.float64 else 1e-5
    wanted = expected(case.weights_of, case.policy)
    return all(
        np.array_equal(np.isnan(collected.values[name]), np.isnan(wanted[name]))
        and np.nanmax(np.abs(collected.values[name] - wanted[name])) <= tolerance
        for name in set(wanted) & set(FIELDS)
    )


def agrees_inside_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return agrees(FLOAT32)


def burn_in_suffices():
    """With the burn-in that was measured, no segment has to be read again."""
    reports = [report for case in (TWO_LAYERS, FREEZE, DECAY) for report in read(case)[2]]
    return all(report.segments > 1 and report.reruns == 0 for report in reports)


def census_counts_once():
    """Segments were read again, and each base is counted as it was read last."""
    _, census, reports = read(LONG)
    known = expected(LONG.weights_of, LONG.policy)
    wanted = GateCensus.of(known["forget"], known["hidden"])
    return all(
        report.reruns > 0
        and found.count == wanted.count
        and np.array_equal(found.high, wanted.high[report.direction])
        and np.abs(found.mean - wanted.mean[report.direction]).max() <= 1e-12
        for report, found in zip(reports, census.found(), strict=True)
    )


CHECKS = {
    "one layer": lambda: agrees(SHORT),
    "two layers": lambda: agrees(TWO_LAYERS),
    "float32": lambda: agrees(FLOAT32),
    "autocast": agrees_inside_autocast,
    "no burn-in": lambda: agrees(LONG),
    "shut": lambda: agrees(SHUT),
    "freeze": lambda: agrees(FREEZE),
    "decay": lambda: agrees(DECAY),
    "burn-in": burn_in_suffices,
    "census": census_counts_once,
}


READER = stream._DirectionReader


def row_of(state, row):
    return tuple(part[row : row + 1].clone() for part in state)


def zeros(state):
    return tuple(torch.zeros_like(part) for part in state)


def in_rerun(change):
    """Make a mutant of reading a segment again.

    `change` gets the reader, a function that reads it again from a state, the state it should be read from, how all
    rows of its wave had ended, and its row among them.
    """

    def read_rows(right, self, segments, starts, ends, state):
        seen = vars(self).setdefault("seen", {})

        def again(state):
            return right(self, segments, starts, ends, state)

        if segments[0] in seen:
            return change(self, again, state, *seen[segments[0]])
        ended = again(state)
        kept = tuple(part.clone() for part in ended)
        seen.update({segment: (kept, row) for row, segment in enumerate(segments)})
        return ended

    return patch(READER, "_read_rows", read_rows)


def unheard(self, again, state, *_):
    sinks, self._sinks = self._sinks, []
    ended = again(state)
    self._sinks = sinks
    return ended


def not_carried_on(self, again, state, ended, row):
    again(state)
    return row_of(ended, row)


def undecayed(right, self, *args):
    decays_at, self._decays_at = self._decays_at, []
    found = right(self, *args)
    self._decays_at = decays_at
    return found


def cut_unaware_of_gaps(right, self, *args):
    """Cut blocks as if no state decayed inside them."""
    return iter(undecayed(lambda *args: list(right(*args)), self, *args))


def placed(change):
    """Make a mutant of where values go: `change` of reading position, values and direction."""

    def place(right, self, start, values):
        return right(self, *change(start, values, self.direction))

    return patch(Reading, "place", place)


def early(right, self, starts, bases):
    return right(self, [start - 1 for start in starts], bases)


def first_direction_only(right, length, direction, skipped):
    return right(length, direction, np.empty((0, 2), np.int64) if direction else skipped)


def from_zero(right, self, wave, report, state):
    return right(self, wave, report, zeros(state))


def unflipped(right, self, spans):
    return right(self, spans).flip(1) if self._reading.direction else right(self, spans)


def drop_all_before(right, self, direction, segment):
    for each in range(segment + 1):
        right(self, direction, each)


EVERY_CONTIG = {"one layer", "two layers", "float32"}
ABOVE = {"two layers", "float32", "freeze"}
UNCHECKED = patch(stream, "_difference", lambda right, *states: 0.0)
EARLY = patch(READER, "_burn_in", early)

#: Which mutant, and which checks have to fail.
MUTANTS = {
    # bases
    "rev not flipped when placed": (placed(lambda at, x, rev: (at, x[::-1] if rev else x)), EVERY_CONTIG),
    "placed a base off": (placed(lambda at, x, rev: (max(0, at - 1), x)), EVERY_CONTIG),
    "rev reads features from left to right": (patch(FeatureReader, "_features", unflipped), EVERY_CONTIG),
    "features of another row": (
        patch(FeatureReader, "__call__", lambda right, self, starts, steps: right(self, starts[::-1], steps)),
        EVERY_CONTIG,
    ),
    "states of another row": (
        patch(stream, "_rows", lambda right, state, rows: right(state, rows[::-1])),
        EVERY_CONTIG,
    ),
    "forget logits without the state carried": (
        patch(kernel, "hidden_before", lambda right, hidden, first: right(hidden, torch.zeros_like(first))),
        EVERY_CONTIG,
    ),
    "network in autocast": (in_bfloat16(LSTMCell), {"float32", "autocast"}),
    # seams
    "next wave from zero": (patch(READER, "_read_wave", from_zero), {"one layer", "no burn-in"}),
    "burn-in a base early": (EARLY, {"burn-in"}),
    "burn-in a base early, seams unchecked": (together(UNCHECKED, EARLY), EVERY_CONTIG),
    "burn-in of no bases": (
        patch(READER, "_burn_in", lambda right, self, starts, bases: right(self, starts, 0)),
        {"burn-in"},
    ),
    "seams unchecked": (UNCHECKED, {"no burn-in", "census"}),
    "seams of h alone": (
        patch(stream, "_difference", lambda right, one, other: right((one[0], one[0]), (other[0], other[0]))),
        {"shut"},
    ),
    # what is read again
    "again from the same guess": (
        in_rerun(lambda self, again, state, *_: again(zeros(state))),
        {"no burn-in", "census"},
    ),
    "again from the end of another row": (
        in_rerun(lambda self, again, state, ended, row: again(row_of(ended, len(ended[0]) - 1))),
        {"no burn-in", "census"},
    ),
    "again, and not carried on": (in_rerun(not_carried_on), {"no burn-in", "census"}),
    "again, and not sent": (in_rerun(unheard), {"no burn-in", "census"}),
    "again, and counted twice": (patch(Census, "restart", lambda right, *segment: None), {"census"}),
    "again, and its neighbours dropped": (patch(Census, "restart", drop_all_before), {"census"}),
    # layers
    "layer reads the directions swapped": (
        patch(HiddenStates, "features", lambda right, *args: right(*args).roll(HIDDEN, 2)),
        ABOVE,
    ),
    "layer reads the raw input": (
        patch(HiddenStates, "features", lambda right, self, *at: Drawn(self._like.dtype).features(*at)),
        ABOVE,
    ),
    # unknown bases
    "unknown bases read in rev": (patch(stream, "Reading", first_direction_only), {"freeze", "decay"}),
    "decay applied twice": (
        patch(READER, "_decayed", lambda right, self, state, *at: right(self, right(self, state, *at), *at)),
        {"decay"},
    ),
    "decay not applied": (patch(READER, "_decayed", lambda right, self, state, *at: state), {"decay"}),
    "decay of one base": (
        patch(UnknownBases, "retention", lambda right, self, bases: right(self, 1)),
        {"decay"},
    ),
    "decay passed over in the burn-in": (patch(READER, "_burn_in", undecayed), {"burn-in"}),
    "decay passed over inside a block": (patch(READER, "_calls", cut_unaware_of_gaps), {"decay"}),
}


def test_the_right_stream_passes_every_check():
    assert failing(CHECKS, CHECKS) == set()


@pytest.mark.parametrize(
    "mutant", [pytest.param(each, marks=needs_bfloat16) if "autocast" in each else each for each in MUTANTS]
)
def test_a_wrong_stream_is_noticed(mutant, monkeypatch):
    install, must_fail = MUTANTS[mutant]
    install(monkeypatch)
    assert failing(CHECKS, must_fail) == must_fail


@needs_bfloat16
def test_autocast_left_on_is_refused(monkeypatch):
    """Torch itself will not put bfloat16 among float32: where it would, the check says so."""
    monkeypatch.setattr(stream, "exact_arithmetic", torch.no_grad)
    with pytest.raises(RuntimeError, match="dtype"):
        CHECKS["autocast"]()
