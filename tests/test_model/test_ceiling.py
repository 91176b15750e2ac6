"""The ceiling of a correlation, against experiments that are really repeated and a predictor that really knows."""

import numpy as np
import pytest

from gatescope.model.ceiling import reachable, split_cuts
from gatescope.model.metrics import cut_bins, draw_blocks


def bases_as_bins(cuts, n_blocks=1):
    """One contig per block, one base per bin."""
    parts = {f"c{k}": part for k, part in enumerate(np.split(cuts, n_blocks))}
    return cut_bins({c: np.zeros(len(part), np.uint8) for c, part in parts.items()}, parts, 1), parts


@pytest.mark.parametrize(
    ("mean", "again_off", "ceiling_off"), [(2, 0.06, 0.04), (20, 0.02, 0.015), (100, 0.01, 0.01)]
)
def test_against_a_second_experiment_and_a_predictor_that_knows(mean, again_off, ceiling_off):
    rng = np.random.default_rng(0)
    rate = mean * np.exp(rng.normal(size=60_000) - 0.5)
    cuts, repeated = rng.poisson(rate).astype(np.float32), rng.poisson(rate)
    bins, parts = bases_as_bins(cuts)
    found = reachable(bins, split_cuts(parts, 1), np.zeros((0, 1), int))["pearson"]
    again = np.corrcoef(np.log1p(cuts), np.log1p(repeated))[0, 1]
    best = np.corrcoef(np.log1p(cuts), np.log1p(rate))[0, 1]
    assert -0.01 < found["again"].value - again < again_off
    assert -0.01 < found["ceiling"].value - best < ceiling_off


def test_spearman_brown_and_its_root_replicate_by_replicate():
    rng = np.random.default_rng(1)
    bins, parts = bases_as_bins(
        rng.poisson(5 * np.exp(rng.normal(size=4_800))).astype(np.float32), n_blocks=12
    )
    draws = draw_blocks(bins.n_blocks, 40, rng)
    for found in reachable(bins, split_cuts(parts, 1), draws).values():
        for r, again, ceiling in zip(
            *(found[name].replicates for name in ("halves", "again", "ceiling")), strict=True
        ):
            assert again == pytest.approx(2 * r / (1 + r)) and ceiling == pytest.approx(again**0.5)
        low, high = found["ceiling"].interval
        assert low < found["ceiling"].value < high


def test_noise_alone_has_no_ceiling():
    cuts = np.random.default_rng(2).poisson(3, 5_000).astype(np.float32)
    bins, parts = bases_as_bins(cuts)
    for metric in reachable(bins, split_cuts(parts, 1), np.zeros((0, 1), int)).values():
        assert abs(metric["halves"].value) < 0.05 and 0 <= metric["ceiling"].value < 0.3


def test_every_cut_is_in_one_half():
    cuts = {
        c: np.random.default_rng(n).poisson(3, 20_000).astype(np.float32) for c, n in (("a", 1), ("b", 1))
    }
    half = split_cuts(cuts, 5)
    for contig, values in half.items():
        assert ((values >= 0) & (values <= cuts[contig])).all() and (values == values.round()).all()
        # variance of a fair coin, given the cuts
        assert abs(values.sum() - cuts[contig].sum() / 2) < 4 * (cuts[contig].sum() / 4) ** 0.5
        assert (values[cuts[contig] > 2] % 1 == 0).all() and values[cuts[contig] > 2].std() > 0
    assert (half["a"] != half["b"]).any()
    again, other = split_cuts(cuts, 5), split_cuts(cuts, 6)
    assert (half["a"] == again["a"]).all() and (half["a"] != other["a"]).any()


def test_a_scaled_track_cannot_be_split():
    assert split_cuts({"a": np.array([0, 1, 2], np.float32), "b": np.array([0.5, 1], np.float32)}, 0) is None
