"""Edges, crossings and what is near, against the glossary's table and a slow count."""

import numpy as np
import pandas as pd
import pytest

from gatescope.genome.crossings import CROSSINGS, count_near, edge_of, edges_on

REGIONS = pd.DataFrame(
    [("b", 500, 700), ("a", 100, 200), ("a", 40, 90), ("b", 10, 30)], columns=["chrom", "start", "end"]
)


@pytest.mark.parametrize(
    ("direction", "crossing", "edge"),
    [("fwd", "entry", "start"), ("fwd", "exit", "end"), ("rev", "entry", "end"), ("rev", "exit", "start")],
)
def test_edges_are_those_of_the_glossary(direction, crossing, edge):
    assert crossing in CROSSINGS
    assert edge_of(direction, crossing) == edge


def test_edges_of_a_contig_are_sorted():
    assert edges_on(REGIONS, "a").tolist() == [40, 90, 100, 200]
    assert edges_on(REGIONS, "b", "start").tolist() == [10, 500]
    assert edges_on(REGIONS, "b", "end").tolist() == [30, 700]
    assert edges_on(REGIONS, "c").size == 0


def test_near_is_as_far_as_the_dip_on_either_side():
    assert count_near(np.array([74, 75, 124, 125]), np.array([100]), 25).tolist() == [0, 1, 1, 0]
    rng = np.random.default_rng(0)
    edges, bases = np.sort(rng.integers(0, 300, 20)), rng.integers(-20, 320, (7, 50))
    slow = [[sum(e - 9 <= base < e + 9 for e in edges) for base in row] for row in bases]
    assert np.array_equal(count_near(bases, edges, 9), slow)
    assert not count_near(bases, np.zeros(0, np.int64), 9).any()
