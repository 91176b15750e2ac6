"""What changes when a gate is held? Clamp gates of chosen units over chosen bases and run the network on.

A clamped gate takes the value it is told, whatever its logit says; all else is the network's own arithmetic: the
recurrence from the first clamped base in reading order, later layers, heads. Before that base nothing can have
changed, and the states of the unclamped run are reused bit for bit.

Public names: `Clamp`, `GATES`, `predict_clamped`, `intervene`, `Intervention`, `Run`, `States`,
`tabulate_predictions`, `tabulate_states`, `require_gate`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.model.cells import LSTMCell, cells_of
from gatescope.model.network import AccessibilityNetwork, Outputs
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.certificate import Certificate
from gatescope.trace.replay import Trace, replay, trace_lstm
from gatescope.trace.units import DIRECTIONS

#: What can be clamped, in torch's order i, f, g, o; the candidate is tanh(g).
GATES = ("input_gate", "forget_gate", "candidate", "output_gate")
OWN, FLANK_MEAN = "own", "flank mean"

#: Intervals ``[(start, end), ...]`` of the window, 0-based half-open, or a boolean mask (L,) or (N, L).
Positions = Sequence[tuple[int, int]] | NDArray[np.bool_] | Tensor


@dataclass(frozen=True, eq=False)
class Clamp:
    """Hold one gate of some units of one layer and direction over some positions.

    Parameters
    ----------
    gate : {"input_gate", "forget_gate", "candidate", "output_gate"}
    units : sequence of int
        Units of that direction, from 0.
    direction : {"fwd", "rev"}
    positions : sequence of (start, end), or bool array of shape (L,) or (N, L)
        Where; genomic order in both directions, 0-based half-open, counted from the start of the window.
    value : float or {"own", "flank mean"}
        0 to 1 (candidate: -1 to 1); "own" is what the gate has without any clamp, in any layer: it shields the
        gate from what other clamps do to it; "flank mean" is the mean of these own values over `flank`,
        per window and unit.
    flank : as `positions`, optional
        Wanted for "flank mean", and for nothing else.
    layer : int
        LSTM layer, from 0.

    Raises
    ------
    InputError
        If gate, direction or value are none of these, or `flank` is missing or superfluous.
    """

    gate: str
    units: Sequence[int]
    direction: str
    positions: Positions
    value: float | str
    flank: Positions | None = None
    layer: int = 0

    def __post_init__(self) -> None:
        _require_name("gate", self.gate, GATES)
        _require_name("direction", self.direction, DIRECTIONS)
        if isinstance(self.value, str):
            _require_name("value", self.value, (OWN, FLANK_MEAN))
        elif not (-1 if self.gate == "candidate" else 0) <= self.value <= 1:
            raise InputError(f"a {self.gate} cannot have the value {self.value}", where=self)
        if (self.value == FLANK_MEAN) != (self.flank is not None):
            raise InputError(f"value {self.value!r} with flank {self.flank}", where=self)

    def __str__(self) -> str:
        return f"clamp of the {self.gate}, layer {self.layer}, {self.direction}"


class States(NamedTuple):
    """States of one layer, each (N, D, H, L), genomic order in both directions."""

    hidden: Tensor
    cell: Tensor


class Run(NamedTuple):
    """One run of the network: what it predicts, and the states of each layer."""

    outputs: Outputs
    layers: tuple[States, ...]


class Intervention(NamedTuple):
    """The network without and with its clamps."""

    baseline: Run
    clamped: Run
    certificate: Certificate  # of every base that the kernel computed, in both runs

    @property
    def cuts_change(self) -> Tensor | None:
        """Clamped minus baseline, expected Tn5 cuts per bp, (N, L); None without that head."""
        return _change(torch.exp, self.clamped.outputs.log_cuts, self.baseline.outputs.log_cuts)

    @property
    def probability_change(self) -> Tensor | None:
        """Clamped minus baseline, probability of being accessible, (N, L); None without that head."""
        return _change(torch.sigmoid, self.clamped.outputs.state_logit, self.baseline.outputs.state_logit)

    @property
    def logit_change(self) -> Tensor | None:
        """Clamped minus baseline, logit of being accessible, (N, L); None without that head."""
        return _change(torch.clone, self.clamped.outputs.state_logit, self.baseline.outputs.state_logit)

    @property
    def state_changes(self) -> tuple[States, ...]:
        """Clamped minus baseline, hidden and cell states of each layer."""
        pairs = zip(self.clamped.layers, self.baseline.layers, strict=True)
        return tuple(States(new.hidden - old.hidden, new.cell - old.cell) for new, old in pairs)


class _Forced(NamedTuple):
    """Which gates are held at what, each (N, L, 4, H) in reading order."""

    is_held: Tensor
    value: Tensor


class _Reading(NamedTuple):
    """One direction of one layer of a run, in reading order."""

    inputs: Tensor  # (N, L, C)
    hidden: Tensor  # (N, L, H)
    cell: Tensor  # (N, L, H)


def predict_clamped(
    network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None, clamps: Iterable[Clamp]
) -> Outputs:
    """Predict as ``network(one_hot, tracks)`` does, with some gates held.

    Parameters
    ----------
    network : AccessibilityNetwork
        In any dtype; nothing is dropped out and no gradient is kept.
    one_hot : Tensor, shape (N, 4, L)
    tracks : Tensor, shape (N, K, L), or None
    clamps : iterable of Clamp
        Where two hold the same gate of the same unit and base, the later one counts.

    Returns
    -------
    Outputs
        Each (N, L).

    Raises
    ------
    InputError
        If a clamp names a unit, layer or position that is not there.
    ReplayError
        If the network's states cannot be replayed within the tolerance of their dtype.
    """
    return intervene(network, one_hot, tracks, clamps).clamped.outputs


@exact_arithmetic()
def intervene(
    network: AccessibilityNetwork, one_hot: Tensor, tracks: Tensor | None, clamps: Iterable[Clamp]
) -> Intervention:
    """Run a network without and with clamps and keep what both predict and all their states.

    Parameters and errors are those of `predict_clamped`. Clamped gates are stepped one base at a time; bases
    after the last clamp go through the fused kernel again. The two agree to rounding: in float32 a change of
    1e-6 means nothing, and where the network is excitable (`gatescope.trace.reach.growth_rate`) float64 is due.
    """
    held = tuple(clamps)
    for clamp in held:
        require_gate(network, clamp.gate, clamp.units, clamp.direction, clamp.layer)
    before = after = network.features(one_hot, tracks)  # (N, L, C)
    olds, news, errors = [], [], [0.0]
    for layer, lstm in enumerate(network.lstm_layers):
        trace = trace_lstm(lstm, before)
        states, error = _rerun_layer(lstm, trace, before, after, [c for c in held if c.layer == layer])
        errors += [trace.certificate.max_error, error]
        olds.append(States(trace.hidden, trace.cell))
        news.append(states)
        before, after = (s.hidden.flatten(1, 2).transpose(1, 2) for s in (olds[-1], states))
    certificate = Certificate.of(before, max(errors), before.shape[0] * before.shape[1]).checked()
    baseline = Run(_read_out(network, before), tuple(olds))
    return Intervention(baseline, Run(_read_out(network, after), tuple(news)), certificate)


def require_gate(
    network: AccessibilityNetwork, gate: str, units: Sequence[int], direction: str, layer: int
) -> None:
    """Refuse a gate that the network does not have.

    Raises
    ------
    InputError
        If the gate or the direction is unknown, or the layer or a unit is not in the network.
    """
    _require_name("gate", gate, GATES)
    _require_name("direction", direction, DIRECTIONS)
    layers, hidden = len(network.lstm_layers), network.config.hidden_units
    if layer not in range(layers):
        raise InputError(f"layer {layer}; the network has {layers}, counted from 0", where=gate)
    missing = [unit for unit in units if unit not in range(hidden)]
    if missing or not len(units):
        raise InputError(f"units {missing}; the network has {hidden}, counted from 0", where=gate)


def tabulate_predictions(intervention: Intervention) -> pd.DataFrame:
    """Return one row per window and predicted quantity: how much it changed, and where most.

    Columns: `window`, `quantity` (cuts, state_probability, state_logit), `mean_change` over the window,
    `largest_change` (signed), `position` of it (from the start of the window).
    """
    changes = {
        "cuts": intervention.cuts_change,
        "state_probability": intervention.probability_change,
        "state_logit": intervention.logit_change,
    }
    tables = []
    for quantity, change in changes.items():
        if change is not None:
            values = change.cpu().numpy()
            rows, at = np.arange(len(values)), np.abs(values).argmax(1)
            columns = {"window": rows, "quantity": quantity, "mean_change": values.mean(1)}
            tables.append(pd.DataFrame({**columns, "largest_change": values[rows, at], "position": at}))
    return pd.concat(tables, ignore_index=True)


def tabulate_states(intervention: Intervention) -> pd.DataFrame:
    """Return one row per window, layer, direction and unit: the largest |change| of its states.

    Columns: `window`, `layer` (from 0), `direction`, `unit`, `largest_cell_change`, `largest_hidden_change`.
    """
    tables = []
    for layer, change in enumerate(intervention.state_changes):
        largest = [state.abs().amax(3).cpu().numpy() for state in (change.cell, change.hidden)]  # (N, D, H)
        window, direction, unit = (axis.ravel() for axis in np.indices(largest[0].shape))
        columns = {
            "window": window,
            "layer": layer,
            "direction": np.array(DIRECTIONS)[direction],
            "unit": unit,
            "largest_cell_change": largest[0].ravel(),
            "largest_hidden_change": largest[1].ravel(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _require_name(what: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise InputError(f"no {what} is called {got!r}; wanted one of {', '.join(known)}")


def _change(scale, clamped: Tensor | None, baseline: Tensor | None) -> Tensor | None:
    return None if clamped is None or baseline is None else scale(clamped) - scale(baseline)


def _read_out(network: AccessibilityNetwork, features: Tensor) -> Outputs:
    """Send the last layer's features (N, L, 2H) through the heads."""
    heads = {name: head(features).squeeze(2) for name, head in network.heads.items()}
    return Outputs(heads.get("cuts"), heads.get("state"))


def _turned(values: Tensor, direction: int) -> Tensor:
    """Turn (N, L, ...) from genomic into reading order, or back."""
    return values.flip(1) if direction else values


def _rerun_layer(
    lstm: nn.LSTM, trace: Trace, before: Tensor, after: Tensor, clamps: list[Clamp]
) -> tuple[States, float]:
    """Run one layer on `after`, given its trace on `before` (each (N, L, C)); return the replay's error too."""
    hidden, cell_state, worst = [], [], 0.0
    for direction, cell in enumerate(cells_of(lstm)):
        forced = _force(trace, direction, [c for c in clamps if c.direction == DIRECTIONS[direction]])
        states = (s[:, direction].transpose(1, 2) for s in (trace.hidden, trace.cell))
        old = _Reading._make(_turned(values, direction) for values in (before, *states))
        new, error = _rerun(cell, old, _turned(after, direction), forced)
        hidden.append(_turned(new.hidden, direction).transpose(1, 2))
        cell_state.append(_turned(new.cell, direction).transpose(1, 2))
        worst = max(worst, error)
    return States(torch.stack(hidden, 1), torch.stack(cell_state, 1)), worst


def _force(trace: Trace, direction: int, clamps: list[Clamp]) -> _Forced:
    """Look up what the clamps of one layer and direction hold, and at which value."""
    logits = (trace.input_logit, trace.forget_logit, trace.output_logit)
    i, f, o = (torch.sigmoid(logit[:, direction]) for logit in logits)
    own = torch.stack([i, f, trace.candidate[:, direction], o], dim=1)  # (N, 4, H, L)
    value, is_held = own.clone(), torch.zeros_like(own, dtype=torch.bool)
    windows, _, _, length = own.shape
    for clamp in clamps:
        gate, where = GATES.index(clamp.gate), _mask(clamp.positions, windows, length, clamp).to(own.device)
        for unit in clamp.units:
            level = _level(clamp, own[:, gate, unit])
            value[:, gate, unit] = torch.where(where, level, value[:, gate, unit])
            is_held[:, gate, unit] |= where
    return _Forced._make(_turned(t.permute(0, 3, 1, 2), direction) for t in (is_held, value))


def _level(clamp: Clamp, own: Tensor) -> Tensor:
    """Return what a clamp sets a gate to that has the values `own` (N, L); broadcasts against it."""
    if clamp.value == OWN:
        return own
    if clamp.flank is None:
        return own.new_tensor(float(clamp.value))
    windows, length = own.shape
    flank = _mask(clamp.flank, windows, length, clamp).to(own.device)
    if not flank.any(1).all():
        raise InputError("the flank of a window holds no position", where=clamp)
    return ((own * flank).sum(1) / flank.sum(1))[:, None]


def _mask(positions: Positions, windows: int, length: int, clamp: Clamp) -> Tensor:
    """Return positions as a boolean mask (N, L) in genomic order."""
    given = positions.cpu().numpy() if isinstance(positions, Tensor) else np.asarray(positions)
    if given.dtype == bool:
        if given.shape not in ((length,), (windows, length)):
            wanted = f"({length},) or ({windows}, {length})"
            raise InputError(f"a mask of shape {given.shape}; wanted {wanted}", where=clamp)
        return torch.from_numpy(given.copy()).expand(windows, length)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise InputError(f"wanted intervals [(start, end), ...] or a mask, got {positions!r}", where=clamp)
    mask = torch.zeros(windows, length, dtype=torch.bool)
    for start, end in given.tolist():
        if not 0 <= start < end <= length:
            raise InputError(f"[{start}, {end}) is no part of a window of {length} bp", where=clamp)
        mask[:, start:end] = True
    return mask


def _rerun(cell: LSTMCell, old: _Reading, inputs: Tensor, forced: _Forced) -> tuple[_Reading, float]:
    """Run one direction again, in each window from the first base on whose inputs or gates are others.

    What comes before that base, and windows without one, keep their old states.
    """
    held = forced.is_held.flatten(2).any(2)  # (N, L)
    differs = held | (inputs != old.inputs).any(2)
    windows = differs.any(1)
    if not windows.any():
        return old._replace(inputs=inputs), 0.0
    first = differs[windows].int().argmax(1)
    # The kernel takes over where no clamp is left and every window has parted from its old states.
    end = max(int(first.max()), int((held.any(0).int() * torch.arange(1, held.shape[1] + 1).to(first)).max()))
    part = _Reading(inputs[windows], old.hidden[windows], old.cell[windows])
    _step(cell, part, _Forced._make(t[windows] for t in forced), first, end)
    error = _run_on(cell, part, end)
    hidden, cell_state = old.hidden.clone(), old.cell.clone()
    hidden[windows], cell_state[windows] = part.hidden, part.cell
    return _Reading(inputs, hidden, cell_state), error


def _step(cell: LSTMCell, reading: _Reading, forced: _Forced, first: Tensor, end: int) -> None:
    """Step with held gates from `first` (N,) of each window to `end`; overwrite the states there."""
    begin = int(first.min())
    h, c = _states_before(reading, begin)
    drive = reading.inputs[:, begin:end] @ cell.weight_ih.T + cell.bias
    for t in range(begin, end):
        logit = (drive[:, t - begin] + h @ cell.weight_hh.T).unflatten(1, (4, -1))  # (N, 4, H)
        i, f, _, o = torch.sigmoid(logit).unbind(1)
        free = torch.stack([i, f, torch.tanh(logit[:, 2]), o], dim=1)
        i, f, g, o = torch.where(forced.is_held[:, t], forced.value[:, t], free).unbind(1)
        is_running = (first <= t)[:, None]
        c = torch.where(is_running, f * c + i * g, reading.cell[:, t])
        h = torch.where(is_running, o * torch.tanh(c), reading.hidden[:, t])
        reading.hidden[:, t], reading.cell[:, t] = h, c


def _run_on(cell: LSTMCell, reading: _Reading, begin: int) -> float:
    """Run the fused kernel from `begin` to the end of the window, overwrite the states there; return its error."""
    if begin == reading.inputs.shape[1]:
        return 0.0
    start = _states_before(reading, begin)
    steps, _ = replay(cell, reading.inputs[:, begin:].transpose(0, 1), start)
    reading.hidden[:, begin:], reading.cell[:, begin:] = (
        t.transpose(0, 1) for t in (steps.hidden, steps.cell)
    )
    return steps.error


def _states_before(reading: _Reading, position: int) -> tuple[Tensor, Tensor]:
    """Return h and c, each (N, H), with which the recurrence arrives at a position; zero at the window's end."""
    if position == 0:
        return torch.zeros_like(reading.hidden[:, 0]), torch.zeros_like(reading.cell[:, 0])
    return reading.hidden[:, position - 1].clone(), reading.cell[:, position - 1].clone()
