"""Direct path against total reach: autograd's Jacobian, closed forms, and two trajectories run side by side."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.errors import InputError
from gatescope.trace import reach as reach_module
from gatescope.trace.reach import growth_rate, measure_reach, report_reach
from gatescope.trace.replay import trace_lstm

HIDDEN, WIDTH, LENGTH = 5, 4, 60


def make_lstm(layers=1, scale=0.6, seed=0, hidden=HIDDEN, bidirectional=True):
    lstm = torch.nn.LSTM(WIDTH, hidden, layers, batch_first=True, bidirectional=bidirectional).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return lstm.eval()


def without_recurrence(lstm):
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
    return lstm


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rng():
    return np.random.default_rng(0)


def step(lstm, suffix, x, h, c):
    z = x @ getattr(lstm, f"weight_ih{suffix}").T + h @ getattr(lstm, f"weight_hh{suffix}").T
    i, f, g, o = (z + getattr(lstm, f"bias_ih{suffix}") + getattr(lstm, f"bias_hh{suffix}")).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c, torch.sigmoid(f), torch.sigmoid(o)


def jacobian(lstm, suffix, x, start, distance):
    """Return d(h_t, c_t)/dc_s (2, H, H) by autograd of the unrolled recurrence, and prod f (H,); reading order."""
    h = c = torch.zeros(lstm.hidden_size, dtype=torch.float64)
    for t in range(start + 1):
        h, c, _, o = step(lstm, suffix, x[t], h, c)
    o = o.detach()

    def later(memory):
        state = o * torch.tanh(memory), memory
        kept = torch.ones_like(memory)
        for t in range(start + 1, start + distance + 1):
            *state, f, _ = step(lstm, suffix, x[t], *state)
            kept = kept * f
        return state[0], state[1], kept

    hidden, cell, _ = torch.autograd.functional.jacobian(later, c.detach())
    return torch.stack([hidden, cell]), later(c.detach())[2].detach()


@pytest.mark.parametrize(("layers", "layer"), [(1, 0), (2, 1)])
def test_total_reach_is_the_jacobian_of_autograd(layers, layer):
    lstm, x = make_lstm(layers), draw(2, LENGTH, WIDTH)
    trace = trace_lstm(lstm, x, layer)
    table = measure_reach(lstm, trace, distances_bp=[1, 7, 30], samples=4, generator=rng(), layer=layer)
    if layer:
        x = trace_lstm(lstm, x, layer - 1).hidden.flatten(1, 2).transpose(1, 2)
    for (direction, window, position, distance), rows in table.groupby(
        ["direction", "window", "position", "distance_bp"]
    ):
        suffix = f"_l{layer}" + ("_reverse" if direction == "rev" else "")
        read = x[window].flip(0) if direction == "rev" else x[window]
        start = LENGTH - 1 - position if direction == "rev" else position
        wanted, kept = jacobian(lstm, suffix, read, start, distance)
        rows = rows.drop_duplicates("unit").sort_values("unit")
        assert np.abs(rows.total_hidden - wanted[0].diagonal().numpy()).max() <= 1e-8
        assert np.abs(rows.total - wanted[1].diagonal().numpy()).max() <= 1e-8
        assert np.abs(rows.total_all - wanted[1].norm(dim=0).numpy()).max() <= 1e-8
        assert np.abs(rows.direct - kept.numpy()).max() <= 1e-12
        assert np.allclose(rows.ratio, rows.total / rows.direct)


def test_without_recurrent_weights_the_direct_path_is_all_there_is():
    lstm = without_recurrence(make_lstm())
    trace = trace_lstm(lstm, draw(3, 400, WIDTH))
    table = measure_reach(lstm, trace, distances_bp=[1, 10, 300], samples=20, generator=rng())
    assert set(table.distance_bp) == {1, 10, 300}
    assert np.abs(table.ratio - 1).max() <= 1e-12
    assert np.abs(table.total_hidden / table.direct_hidden - 1).max() <= 1e-12
    is_left = table.direct > 1e-100  # its norm is a square root of squares
    assert np.abs(table.total_all / table.direct - 1)[is_left].max() <= 1e-12
    report = report_reach(table, least=0.0)
    assert not report.flagged.any()


def make_relay(strength):
    """One unit that forgets half at every base, and writes `strength` times what it shows back into itself."""
    lstm = without_recurrence(make_lstm(hidden=1, scale=0.0))
    with torch.no_grad():
        for suffix in ("_l0", "_l0_reverse"):
            getattr(lstm, f"weight_hh{suffix}")[2] = strength  # candidate = tanh(strength h)
    return lstm


@pytest.mark.parametrize(("strength", "flagged"), [(0.0, False), (1.8, True), (-1.8, True)])
def test_a_memory_that_is_rewritten_is_flagged_where_the_forget_gate_misleads(strength, flagged):
    """At rest (h = c = 0) i = o = f = 1/2: c_t = (1/2 + strength / 4) c_(t-1), the forget gate says 1/2."""
    lstm = make_relay(strength)
    trace = trace_lstm(lstm, torch.zeros(1, 50, WIDTH).double())
    table = measure_reach(lstm, trace, distances_bp=[1, 3], samples=3, generator=rng())
    for row in table.itertuples():
        assert row.direct == pytest.approx(0.5**row.distance_bp, rel=1e-12)
        assert row.total == pytest.approx((0.5 + strength / 4) ** row.distance_bp, rel=1e-12)
        assert row.total_hidden == pytest.approx(row.total / 2, rel=1e-12)
    report = report_reach(table).set_index(["direction", "unit", "distance_bp"])
    assert report.loc[("fwd", 0, 3), "flagged"] == report.loc[("rev", 0, 3), "flagged"] == flagged
    assert report.unit_flagged.eq(flagged).all()


def test_chunks_of_tangents_change_nothing(monkeypatch):
    lstm = make_lstm()
    trace = trace_lstm(lstm, draw(2, LENGTH, WIDTH))
    options = dict(distances_bp=[2, 9], samples=7, units=[4, 1])
    whole = measure_reach(lstm, trace, generator=rng(), **options)
    monkeypatch.setattr(reach_module, "_CHUNK_VALUES", 1)
    keys = ["direction", "window", "position", "distance_bp", "unit"]
    pieces = measure_reach(lstm, trace, generator=rng(), **options)
    tables = [table.sort_values(keys, ignore_index=True) for table in (whole, pieces)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-12, atol=1e-15)


def test_no_memory_starts_in_the_burn_in():
    lstm = make_lstm()
    trace = trace_lstm(lstm, draw(2, LENGTH, WIDTH))
    table = measure_reach(lstm, trace, distances_bp=[4], samples=60, generator=rng(), burn_in_bp=50)
    found = table.groupby("direction").position.agg(["min", "max"])
    assert found.loc["fwd"].tolist() == [50, LENGTH - 5] and found.loc["rev"].tolist() == [4, LENGTH - 51]


def test_one_seed_gives_one_table():
    lstm = make_lstm()
    trace = trace_lstm(lstm, draw(2, LENGTH, WIDTH))
    options = dict(distances_bp=[3], samples=5)
    first, again = (measure_reach(lstm, trace, generator=rng(), **options) for _ in range(2))
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_report_counts_only_what_is_still_held():
    rows = {
        "direct": [0.5, 0.4, 0.3, 1e-9, 0.5],
        "total": [0.5, 0.1, -0.3, 1e-6, 0.5],
    }
    table = pd.DataFrame(rows).assign(direction="fwd", unit=[0, 0, 0, 0, 1], distance_bp=10)
    table["ratio"] = table.total / table.direct
    report = report_reach(table).set_index("unit")
    assert report.loc[0, ["samples", "held"]].tolist() == [4, 0.75]
    assert report.share_off[0] == pytest.approx(2 / 3)
    assert report.ratio[0] == 0.25
    assert report.flagged.tolist() == [True, False]
    assert not report_reach(table, factor=5).loc[0, "flagged"]
    assert not report_reach(table, least_held=0.8).loc[0, "flagged"]
    forgotten = report_reach(table.assign(direct=1e-9, total=1e-6, ratio=1e3))
    assert not forgotten.flagged.any()
    assert forgotten.ratio.isna().all()


def test_growth_without_recurrence_is_that_of_the_best_holding_unit():
    """Constant gates and U = 0 are a diagonal linear system: its largest exponent is the largest ln f."""
    lstm = without_recurrence(make_lstm(scale=0.0, hidden=3))
    forget = torch.tensor([0.5, 0.9, 0.3], dtype=torch.float64)
    with torch.no_grad():
        for suffix in ("_l0", "_l0_reverse"):
            getattr(lstm, f"bias_ih{suffix}")[3:6] = torch.logit(forget)
            getattr(lstm, f"weight_ih{suffix}")[6:9] = 1.0  # it writes, or there is no state to lose
    table = growth_rate(lstm, trace_lstm(lstm, draw(2, 300, WIDTH)), generator=rng(), burn_in_bp=100)
    assert table.direction.tolist() == ["fwd", "fwd", "rev", "rev"]
    assert (table.growth_rate - math.log(0.9)).abs().max() <= 1e-12


def test_growth_at_rest_is_the_spectral_radius():
    """Read a constant input until nothing moves: the exponent is the log of the largest eigenvalue there."""
    lstm, x = make_lstm(scale=0.4, seed=3, bidirectional=False), torch.ones(1, 2000, WIDTH).double()
    trace = trace_lstm(lstm, x)
    table = growth_rate(lstm, trace, generator=rng(), burn_in_bp=1000)
    rest = torch.cat([trace.hidden[0, 0, :, -1], trace.cell[0, 0, :, -1]])

    def once(state):
        return torch.cat(step(lstm, "_l0", x[0, 0], state[:HIDDEN], state[HIDDEN:])[:2])

    assert torch.allclose(once(rest), rest, atol=1e-12)
    eigenvalues = torch.linalg.eigvals(torch.autograd.functional.jacobian(once, rest))
    assert table.growth_rate.item() == pytest.approx(float(eigenvalues.abs().max().log()), abs=1e-3)


@pytest.mark.parametrize("scale", [0.3, 1.5, 4.0])
@torch.no_grad()
def test_growth_is_that_of_two_trajectories_a_hair_apart(scale):
    """The second is brought back along the line between them after every base (Benettin et al. 1980)."""
    lstm, x, nudge = make_lstm(scale=scale, seed=2, hidden=16), draw(1, 60, WIDTH) * 0.5, 1e-7
    table = growth_rate(lstm, trace_lstm(lstm, x), generator=rng(), burn_in_bp=0)
    generator = rng()
    for suffix, read, found in zip(
        ("_l0", "_l0_reverse"), (x[0], x[0].flip(0)), table.growth_rate, strict=True
    ):
        h = c = torch.zeros(16, dtype=torch.float64)
        tangent = torch.from_numpy(generator.standard_normal((1, 16)))[0]
        h2, c2, logs = h, c + nudge * tangent / tangent.norm(), []
        for t in range(60):
            h, c, *_ = step(lstm, suffix, read[t], h, c)
            h2, c2, *_ = step(lstm, suffix, read[t], h2, c2)
            grown = (c2 - c).norm() / nudge
            h2, c2 = h + (h2 - h) / grown, c + (c2 - c) / grown
            logs.append(float(grown.log()))
        assert found == pytest.approx(np.mean(logs), abs=1e-5)


@pytest.mark.parametrize(("scale", "is_excitable"), [(0.3, False), (4.0, True)])
def test_growth_says_whether_two_trajectories_part(scale, is_excitable):
    lstm, x = make_lstm(scale=scale, seed=2, hidden=16, bidirectional=False), draw(4, 600, WIDTH) * 0.1
    rates = growth_rate(lstm, trace_lstm(lstm, x), generator=rng()).growth_rate
    nudge = 1e-10 * draw(1, 4, 16, seed=9)
    with torch.no_grad():
        apart = (lstm(x, (torch.zeros_like(nudge), nudge))[0] - lstm(x)[0]).norm(dim=2)[:, -1]
    assert rates.gt(0.05).all() if is_excitable else rates.lt(-0.05).all()
    assert bool((apart > 1e-3).all() if is_excitable else (apart < 1e-12).all())


def test_mistakes_are_named():
    lstm = make_lstm()
    trace = trace_lstm(lstm, draw(1, LENGTH, WIDTH))
    options = dict(distances_bp=[3], samples=2, generator=rng())
    for mistake in (
        dict(distances_bp=[0]),
        dict(distances_bp=[LENGTH]),
        dict(distances_bp=[]),
        dict(distances_bp=[40], burn_in_bp=20),
        dict(units=[5]),
    ):
        with pytest.raises(InputError, match=r"wanted 1 to [35]9|there are 5"):
            measure_reach(lstm, trace, **{**options, **mistake})
    with pytest.raises(InputError, match="burn-in"):
        growth_rate(lstm, trace, generator=rng(), burn_in_bp=LENGTH)
