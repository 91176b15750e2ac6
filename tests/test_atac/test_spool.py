"""Rows on disk: what is read in runs is what was written, in order, however few are held at once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.atac import spool as module
from gatescope.atac.spool import Place, Spool, unpack

PLACE = Place(3, 2, "both", "surely")
FIRST = 2 << 24


def written(starts, pieces):
    spool = Spool()
    ends = starts + np.arange(len(starts)) % 50 + 1
    for part in np.array_split(np.arange(len(starts)), min(pieces, len(starts))):
        spool.add(np.full(len(part), 3), starts[part], ends[part], "both", "surely")
    return spool, np.sort((starts << 32) | ends)


@settings(max_examples=30, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 5000) | st.integers(0, (1 << 24) - 1), min_size=1, max_size=60),
    pieces=st.integers(1, 5),
    run=st.sampled_from([1, 7, 1 << 21]),
)
def test_runs_are_the_sorted_rows(offsets, pieces, run):
    spool, keys = written(FIRST + np.array(offsets), pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_RUN", run)
        runs = list(spool.runs(PLACE))
    spool.close()
    np.testing.assert_array_equal(np.concatenate(runs), keys)
    assert all(len(keys) for keys in runs)
    starts = [unpack(keys)[0] for keys in runs]
    assert all(a[-1] < b[0] for a, b in pairwise(starts)), "copies stay together"


def test_runs_are_no_longer_than_asked_for(monkeypatch):
    monkeypatch.setattr(module, "_RUN", 1000)
    spool, _ = written(FIRST + np.random.default_rng(0).integers(0, 1 << 24, 50_000), 3)
    sizes = [len(keys) for keys in spool.runs(PLACE)]
    spool.close()
    assert sum(sizes) == 50_000 and 950 < max(sizes) < 1050
