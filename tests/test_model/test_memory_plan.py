"""Memory plans against closed forms: the distributions, the gates and the printed table."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from gatescope.model.memory_plan import SPECTRA, forget_bias, half_life_spectrum, plan_lines
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig

SHORT, LONG, UNITS = 20.0, 5000.0, 256

#: Distribution functions, written down independently of the quantile functions.
DISTRIBUTIONS = {
    "log-uniform": lambda h: np.log(h / SHORT) / math.log(LONG / SHORT),
    "uniform": lambda h: (h - SHORT) / (LONG - SHORT),
    "power-law": lambda h: (SHORT**-0.56 - h**-0.56) / (SHORT**-0.56 - LONG**-0.56),
    "chrono": lambda h: (odds(h) - odds(SHORT)) / (odds(LONG) - odds(SHORT)),
}


def odds(half_life_bp):
    """T = f / (1 - f), uniform under chrono initialisation."""
    f = 0.5 ** (1 / np.asarray(half_life_bp))
    return f / (1 - f)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_half_lives_follow_the_distribution(spectrum):
    planned = half_life_spectrum(spectrum, SHORT, LONG, UNITS)
    assert kstest(planned, DISTRIBUTIONS[spectrum]).statistic < 0.05
    assert planned[[0, -1]] == pytest.approx([SHORT, LONG])
    assert (np.diff(planned) > 0).all()


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_an_untrained_network_starts_with_the_plan(spectrum):
    config = NetworkConfig(
        stem_channels=4, hidden_units=UNITS, half_life_bp=(SHORT, LONG), half_life_spectrum=spectrum
    )
    lstm = AccessibilityNetwork(config).lstm_layers[0]
    for suffix in ("_l0", "_l0_reverse"):
        bias = getattr(lstm, f"bias_ih{suffix}") + getattr(lstm, f"bias_hh{suffix}")
        gate = torch.sigmoid(bias[UNITS : 2 * UNITS].detach().double()).numpy()
        initial = math.log(0.5) / np.log(gate)
        np.testing.assert_allclose(initial, config.planned_half_lives, rtol=1e-5)
        assert kstest(initial, DISTRIBUTIONS[spectrum]).statistic < 0.05


def test_one_unit_has_the_shortest():
    assert half_life_spectrum("uniform", 7, 90, 1).tolist() == [7]


@pytest.mark.parametrize(
    ("half_life", "bias"), [(1, 0), (500, 6.58), (2000, 7.97), (10_000, 9.58), (50_000, 11.19), (1e5, 11.88)]
)
def test_bias_of_a_half_life(half_life, bias):
    found = float(forget_bias(half_life))
    assert found == pytest.approx(bias, abs=0.005)
    assert 1 / (1 + math.exp(-found)) == pytest.approx(0.5 ** (1 / half_life), abs=1e-15)


def test_the_command_prints_what_a_reach_needs(run_cli):
    outcome = run_cli("train", "--plan", "50000", "7")
    header, long, short = outcome.stdout.splitlines()
    assert (outcome.status, outcome.stderr) == (0, "")
    assert header.split()[:2] == ["half-life", "(bp)"]
    assert long.split() == ["50,000", "0.9999861372", "1.39e-05", "11.19", "0.986", "0.871"]
    assert short.split()[0] == "7"
    assert plan_lines([50_000, 7]) == [header, long, short]


@pytest.mark.parametrize("wrong", ["0", "-5", "inf", "nan", "soon"])
def test_what_is_no_length_is_refused(run_cli, wrong):
    outcome = run_cli("train", "--plan", wrong)
    assert outcome.status == 2
    assert "--plan" in outcome.stderr
