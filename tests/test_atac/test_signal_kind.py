"""Tracks that are no cut counts: what each is taken for, on tracks made in every usual way from the same cuts."""

import numpy as np
import pytest

from gatescope.atac.cuts import cuts
from gatescope.atac.signal_kind import Roughness, explain_signal
from gatescope.errors import InputError
from test_atac.atac_files import write_fasta
from tiny_data import write_bigwig

LENGTHS = {"a": 30_000, "b": 20_000}


def fragments(rate=0.03, seed=0):
    """Draw fragments, more of them in peaks."""
    rng = np.random.default_rng(seed)
    for name, length in LENGTHS.items():
        density = np.where(np.arange(length) % 2_000 < 300, 20 * rate, rate)
        for start in np.repeat(np.arange(length), rng.poisson(density)).tolist():
            if (end := start + int(rng.integers(30, 250))) <= length:
                yield name, start, end


def counts(rows):
    values = {name: np.zeros(length) for name, length in LENGTHS.items()}
    for name, start, end in rows:
        values[name][start] += 1
        values[name][end - 1] += 1
    return values


def coverage(rows, most=10**9):
    """Pile up fragments, or the reads at both their ends."""
    values = {name: np.zeros(length) for name, length in LENGTHS.items()}
    for name, start, end in rows:
        values[name][start : min(end, start + most)] += 1
        if most < 10**9:
            values[name][max(start, end - most) : end] += 1
    return values


def each(change, values):
    return {name: change(array) for name, array in values.items()}


def smooth(array, width=25):
    kernel = np.exp(-((np.arange(-3 * width, 3 * width + 1) / width) ** 2) / 2)
    return np.convolve(array, kernel / kernel.sum(), "same")


def p_values(array):
    """-log10 of the chance of as many under a Poisson distribution with the mean of the track."""
    tail = np.exp(-array.mean()) * np.cumsum(
        [1, *np.cumprod(array.mean() / np.arange(1, int(array.max()) + 1))]
    )
    return -np.log10(np.maximum(1 - np.concatenate([[0], tail[:-1]]), 1e-9))[array.astype(int)]


ROWS = list(fragments())
CUTS, PILE = counts(ROWS), coverage(ROWS)
NO_COUNTS = {
    "smoothed": (each(smooth, CUTS), "smoothed, p-value"),
    "p-values": (each(p_values, PILE), "p-value"),
    "p-values to two decimals": (each(lambda a: p_values(a).round(2), PILE), "p-value"),
    "reads per million": (each(lambda a: a * 5.19, CUTS), "scaled.*multiple of 5.19; divide"),
    "coverage by fragments": (PILE, "coverage"),
    "coverage by reads": (coverage(ROWS, 36), "coverage"),
    "coverage in reads per million": (each(lambda a: a * 5.19, PILE), "coverage.*scaled"),
    "cuts extended to 150 bp": (each(lambda a: np.convolve(a, np.ones(150), "same"), CUTS), "coverage"),
    "cuts extended to 9 bp": (each(lambda a: np.convolve(a, np.ones(9), "same").round(), CUTS), "coverage"),
    "log ratio": (each(lambda a: np.log2((a + 1) / (a.mean() + 1)), PILE), "log ratio"),
    "control subtracted": (each(lambda a: a - 2, PILE), "control subtracted"),
    "corrected counts": (each(lambda a: a * np.random.default_rng(1).random(len(a)), CUTS), "corrected"),
}


def run(tmp_path, values):
    genome = write_fasta(tmp_path / "g.fa", LENGTHS)
    gaps = each(lambda array: np.where(array == 0, np.nan, array).astype(np.float32), values)
    write_bigwig(tmp_path / "atac.bw", LENGTHS, gaps)
    return cuts(tmp_path / "atac.bw", genome, tmp_path / "out" / "cuts.bw", tn5_shift="+4/-4")


@pytest.mark.parametrize("name", NO_COUNTS)
def test_a_track_of_anything_else_is_refused_as_what_it_is(tmp_path, name):
    values, words = NO_COUNTS[name]
    with pytest.raises(InputError, match=f"no 1-bp cut counts: .*likely cause: .*{words}"):
        run(tmp_path, values)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("rate", [0.001, 0.03, 0.3])
def test_counts_at_any_depth_are_taken(tmp_path, rate):
    values = counts(fragments(rate))
    assert run(tmp_path, values).cuts == sum(array.sum() for array in values.values())


def test_roughness_of_independent_counts_is_one_and_of_pieces_one_over_their_length():
    rng = np.random.default_rng(0)
    for mean in (0.01, 0.3, 5.0, 300.0):
        rough, spread = Roughness(), Roughness()
        values = rng.poisson(mean, 200_000)
        for part in np.split(values, 4):
            rough.add(part)
        spread.add(np.convolve(values, np.ones(40), "valid"))
        assert rough.ratio == pytest.approx(1, abs=0.1)
        assert spread.ratio == pytest.approx(1 / 40, rel=0.2)
    assert Roughness().ratio == np.inf


def test_what_was_seen_is_counted():
    look = explain_signal(np.array([0, 0, 0.5, 0.5, 0.7, 1.0, 0.3, 0.0]))
    for part in (
        "62% of the bases have a value",
        "80% of these are fractions",
        "20% equal to the base before",
    ):
        assert part in look.cause
    assert "numbers" in explain_signal(np.array([np.nan, np.inf])).cause
