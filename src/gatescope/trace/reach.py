"""Where does the forget gate mislead? What is left of a memory, by the gate alone and through the whole network.

The *direct path* of a memory is the product of its forget gates. But what a unit remembers is also shown, read by
all gates through U, and written again: the *total* reach is the derivative of the later state with respect to the
earlier cell state, everything downstream of it included, h of the same base too.

    direct   prod_{u=s+1..t} f_u                       (times dh_t/dc_t for the hidden state)
    total    dc_t[k] / dc_s[k]                         (and dh_t[k] / dc_s[k])

Tangents are pushed by hand through the replayed gates. Fused kernels have no forward-mode derivative, and
`torch.func.jvp` over a loop of our own would compute the trajectory a second time; with the gates known, one base
costs one product of the tangents with U, for any number of tangents, and the gates stay those of the certificate.

Public names: `measure_reach`, `report_reach`, `growth_rate`; `gatescope.trace.audit` asks them of trained networks.

References
----------
Hochreiter & Schmidhuber 1997 (the constant error carousel is the direct path); Maheswaranathan et al. 2019
(memory in a direction of the population, not in a unit); Benettin et al. 1980, Vogt et al. 2022 (Lyapunov
exponents, of recurrent networks).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from gatescope.errors import InputError
from gatescope.model.cells import cells_of
from gatescope.model.runtime import exact_arithmetic
from gatescope.trace.replay import Trace
from gatescope.trace.units import DIRECTIONS

#: Values of tangents held at a time (float64): bounds memory.
_CHUNK_VALUES = 2**21
#: Bases whose derivatives are held at a time.
_BLOCK_BP = 256
_TINY = 1e-300


class _Slopes(NamedTuple):
    """Derivatives of one recurrence step at some bases of one direction, float64."""

    log_forget: Tensor  # (..., H), ln f
    forget: Tensor  # (..., H), dc_t / dc_(t-1) along the direct path
    gain: Tensor  # (..., 4, H), of c_t by the logits of i, f, g; of h_t by that of o
    show: Tensor  # (..., H), dh_t / dc_t


class _Direction(NamedTuple):
    """One direction of a traced layer; positions count in reading order."""

    index: int
    recurrent: Tensor  # (4H, H), U in float64
    trace: Trace

    def slopes(self, windows: Tensor, positions: Tensor) -> _Slopes:
        """Differentiate the step to each base, (...) windows and positions, at its traced gates."""
        names = ("input_logit", "forget_logit", "candidate", "output_logit", "cell")
        logit_i, logit_f, g, logit_o, c = (self._at(name, windows, positions) for name in names)
        before = self._at("cell", windows, (positions - 1).clamp_min(0)) * (positions > 0).unsqueeze(-1)
        (i, di), (f, df), (o, do) = (_sigmoid_and_slope(z) for z in (logit_i, logit_f, logit_o))
        shown = torch.tanh(c)
        gain = torch.stack([di * g, df * before, i * (1 - g.square()), do * shown], dim=-2)
        return _Slopes(logsigmoid(logit_f), f, gain, o * (1 - shown.square()))

    def _at(self, name: str, windows: Tensor, positions: Tensor) -> Tensor:
        """Return traced values, (..., H), float64; derivatives of all bases at once would be gigabytes."""
        field = getattr(self.trace, name)[:, self.index].transpose(1, 2)  # (N, L, H)
        return field[windows, field.shape[1] - 1 - positions if self.index else positions].double()


def _directions(lstm: nn.LSTM, trace: Trace, layer: int) -> list[_Direction]:
    cells = cells_of(lstm, range(lstm.num_layers)[layer])
    return [_Direction(k, cell.weight_hh.detach().double(), trace) for k, cell in enumerate(cells)]


@exact_arithmetic()
def measure_reach(
    lstm: nn.LSTM,
    trace: Trace,
    *,
    distances_bp: Sequence[int],
    samples: int,
    generator: np.random.Generator,
    units: Sequence[int] | None = None,
    burn_in_bp: int = 0,
    layer: int = -1,
) -> pd.DataFrame:
    """Compare direct path and total reach of units from sampled bases.

    Parameters
    ----------
    lstm : nn.LSTM
        One of its layers is looked at, each direction by itself.
    trace : Trace
        Of that layer over N windows of L bases, from zero states (`gatescope.trace.replay.trace_lstm`).
    distances_bp : sequence of int
        How far on the memory is looked for; 1 to L - 1 - `burn_in_bp`.
    samples : int
        Bases per direction from which memories start, drawn evenly over windows and over all positions that
        leave room for the largest distance.
    generator : numpy.random.Generator
    units : sequence of int, optional
        All by default.
    burn_in_bp : int
        Bases at the start of each window, in reading order (so at its right end for `rev`), from which no memory is
        followed: the zero states in which a window begins are not those of the contig.
    layer : int
        The one that was traced.

    Returns
    -------
    pandas.DataFrame
        One row per direction, sample, distance and unit: `direction`, `window`, `position` (of the base where
        the memory starts, genomic order), `distance_bp`, `unit`, `direct`, `total`, `ratio` (total / direct;
        NaN where both are too small for float64), `direct_hidden`, `total_hidden` (of h instead of c), `total_all`
        (Euclidean norm over the cell states of all units: memory that moved to others counts).

    Raises
    ------
    InputError
        If a distance does not fit in a window, or a unit is not there.
    """
    windows, _, hidden, length = trace.cell.shape
    distances, chosen = sorted(set(distances_bp)), list(range(hidden) if units is None else units)
    room = length - burn_in_bp
    if burn_in_bp < 0 or not distances or not 1 <= distances[0] <= distances[-1] < room:
        raise InputError(
            f"distances {distances} bp; wanted 1 to {room - 1} in windows of {length} bp, of which the first "
            f"{burn_in_bp} are not looked at",
            where="reach",
        )
    if not set(chosen) <= set(range(hidden)):
        raise InputError(f"units {chosen}; there are {hidden}, counted from 0", where="reach")
    tables = []
    for one in _directions(lstm, trace, layer):
        window = generator.integers(windows, size=samples)
        start = burn_in_bp + generator.integers(room - distances[-1], size=samples)
        rows = max(1, _CHUNK_VALUES // (len(chosen) * 4 * hidden))
        for k in range(0, samples, rows):
            places = window[k : k + rows], start[k : k + rows]
            table = _push_samples(one, places, chosen, distances)
            table["position"] = length - 1 - table.position if one.index else table.position
            table.insert(0, "direction", DIRECTIONS[one.index])
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def report_reach(
    table: pd.DataFrame, *, factor: float = 2.0, least: float = 0.1, least_held: float = 0.25
) -> pd.DataFrame:
    """Flag the units whose forget gate misleads: direct path and total reach differ by more than `factor`.

    Parameters
    ----------
    table : pandas.DataFrame
        From `measure_reach`.
    factor : float
        A sample is off where the ratio is not within 1 / factor to factor (so also where it is negative).
    least : float
        Samples where both |direct| and |total| are below this count as forgotten both ways, and not as off. Not
        much lower than a tenth: where 1 % is left, half-lives that differ by a sixth already differ twofold in
        what they leave, and nearly every unit would be flagged somewhere.
    least_held : float
        Nothing is flagged where a smaller share of the samples still holds a memory: one sample is no finding.

    Returns
    -------
    pandas.DataFrame
        One row per direction, unit and distance: `samples`, `held` (share of them in which `least` is left
        either way), `direct`, `total` (medians over all samples), `ratio` (median over the held ones),
        `share_off` (of the held ones), `flagged` (`share_off` above one half, `held` enough), `unit_flagged` (at
        any distance).
    """
    is_held = np.maximum(table.direct, table.total.abs()) >= least
    is_off = is_held & ~table.ratio.between(1 / factor, factor)
    keys = ["direction", "unit", "distance_bp"]
    groups = table.assign(
        held=is_held, ratio=table.ratio.where(is_held), share_off=is_off.astype(float).where(is_held)
    ).groupby(keys, sort=True)
    report = groups.agg(
        samples=("held", "size"),
        held=("held", "mean"),
        direct=("direct", "median"),
        total=("total", "median"),
        ratio=("ratio", "median"),
        share_off=("share_off", "mean"),
    ).reset_index()
    report["flagged"] = (report.share_off > 0.5) & (report.held >= least_held)
    report["unit_flagged"] = report.groupby(keys[:2]).flagged.transform("any")
    return report


@exact_arithmetic()
def growth_rate(
    lstm: nn.LSTM, trace: Trace, *, generator: np.random.Generator, burn_in_bp: int = 200, layer: int = -1
) -> pd.DataFrame:
    """Return how fast small differences between two states grow: the largest Lyapunov exponent, in nats per bp.

    Negative: differences die out and the network is non-excitable, so a trace does not depend on rounding.
    With U = 0 it is the largest mean ln f of a unit. One random tangent per window is pushed along and
    renormalised at every base; its growth in c is averaged once it has turned into the direction that grows
    fastest.

    Parameters
    ----------
    lstm : nn.LSTM
        One of its layers is looked at, each direction by itself.
    trace : Trace
        Of that layer over N windows of L bases, from zero states (`gatescope.trace.replay.trace_lstm`).
    generator : numpy.random.Generator
        Draws the tangents.
    burn_in_bp : int
        Bases at the start, in reading order, whose growth is not counted.
    layer : int
        The one that was traced.

    Returns
    -------
    pandas.DataFrame
        One row per direction and window: `direction`, `window`, `growth_rate` (nats/bp; minus infinity where nothing
        at all is passed on), `counted_bp`.

    Raises
    ------
    InputError
        If the burn-in takes the whole window.

    References
    ----------
    Benettin et al. 1980.
    """
    windows, _, hidden, length = trace.cell.shape
    if not 0 <= burn_in_bp < length:
        raise InputError(f"burn-in of {burn_in_bp} bp in windows of {length} bp", where="growth rate")
    tables = []
    for one in _directions(lstm, trace, layer):
        drawn = torch.from_numpy(generator.standard_normal((windows, hidden))).to(one.recurrent.device)
        logs = _log_growth(one, drawn, length)
        columns = {
            "direction": DIRECTIONS[one.index],
            "window": np.arange(windows),
            "growth_rate": logs[:, burn_in_bp:].mean(1).cpu().numpy(),
            "counted_bp": length - burn_in_bp,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _sigmoid_and_slope(logit: Tensor) -> tuple[Tensor, Tensor]:
    gate = torch.sigmoid(logit)
    return gate, gate * torch.sigmoid(-logit)  # 1 - gate would lose what is left of a gate near 1


def _push_one(recurrent: Tensor, here: _Slopes, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor]:
    """Push one tangent (S, H) of each state one base on."""
    by_logit = here.gain * (dh @ recurrent.T).unflatten(-1, here.gain.shape[1:])  # (S, 4, H)
    dc = here.forget * dc + by_logit[:, :3].sum(1)
    return here.show * dc + by_logit[:, 3], dc


def _push_many(recurrent: Tensor, here: _Slopes, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor]:
    """Push U tangents (S, U, H) of each state one base on.

    The gains go into U first: half the multiplications of `_push_one`, and no array of four gates per tangent.
    """
    gates = recurrent.view(4, -1, recurrent.shape[1])
    to_cell = torch.einsum("sgj,gjk->sjk", here.gain[:, :3], gates[:3])
    to_hidden = here.gain[:, 3, :, None] * gates[3]
    cell, hidden = (dh @ torch.cat([to_cell, to_hidden], dim=1).transpose(1, 2)).chunk(2, dim=2)
    dc = here.forget[:, None] * dc + cell
    return here.show[:, None] * dc + hidden, dc


def _push_samples(
    one: _Direction, places: tuple[np.ndarray, np.ndarray], units: list[int], distances: list[int]
) -> pd.DataFrame:
    """Push one tangent per unit from each place (window, position in reading order)."""
    recurrent = one.recurrent
    window, start = (torch.from_numpy(array).to(recurrent.device) for array in places)
    own = torch.as_tensor(units, device=recurrent.device)
    here = one.slopes(window, start)
    dc = torch.eye(recurrent.shape[1]).to(recurrent)[own].expand(len(window), -1, -1)  # (S, U, H)
    dh, log_direct, tables = here.show[:, None] * dc, torch.zeros_like(here.log_forget), []
    for distance in range(1, distances[-1] + 1):
        here = one.slopes(window, start + distance)
        dh, dc = _push_many(recurrent, here, dh, dc)
        log_direct = log_direct + here.log_forget  # (S, H)
        if distance in distances:
            direct = log_direct.exp()[:, own]
            total, total_hidden = (t[:, torch.arange(len(own)), own] for t in (dc, dh))
            columns = {
                "direct": direct,
                "total": total,
                "ratio": total / direct,
                "direct_hidden": direct * here.show[:, own],
                "total_hidden": total_hidden,
                "total_all": dc.norm(dim=2),
            }
            table = pd.DataFrame({name: column.flatten().cpu().numpy() for name, column in columns.items()})
            table.insert(0, "window", np.repeat(places[0], len(units)))
            table.insert(1, "position", np.repeat(places[1], len(units)))
            table.insert(2, "distance_bp", distance)
            table.insert(3, "unit", np.tile(units, len(places[0])))
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _log_growth(one: _Direction, tangent: Tensor, length: int) -> Tensor:
    """Return ln of how much a tangent of c (N, H) grows at each base, (N, L)."""
    norms, rows = [], torch.arange(len(tangent), device=tangent.device)[:, None]
    dc, dh = tangent / tangent.norm(dim=1, keepdim=True), torch.zeros_like(tangent)
    for block in torch.arange(length, device=tangent.device).split(_BLOCK_BP):
        slopes = one.slopes(rows, block)  # (N, B, ...)
        for k in range(len(block)):
            here = _Slopes._make(field[:, k] for field in slopes)
            dh, dc = _push_one(one.recurrent, here, dh, dc)
            norm = dc.norm(dim=1, keepdim=True)
            dh, dc = dh / norm.clamp_min(_TINY), dc / norm.clamp_min(_TINY)
            norms.append(norm)
    return torch.cat(norms, dim=1).log()
