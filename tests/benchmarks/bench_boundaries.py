"""How long does the circular-shift null of R take, beside stacking every window again for every shift?

    python tests/benchmarks/bench_boundaries.py
    python tests/benchmarks/bench_boundaries.py --mb 12 --units 64 --shifts 1000

A genome like the planted one (contigs of 1.5 Mb, a region in 1,500 bp, masked bases here and there), gates of noise,
both directions and both crossings: ``2 x units`` units in all. What the same numbers cost with windows gathered anew
for each shift is measured on a few shifts of one unit in the same run and scaled up; both have to agree. Times are CPU
times of all threads.
"""

import argparse
import time

import numpy as np

from gatescope.boundaries.null import draw_contig_shifts, shift_windows
from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.retention import ScoredBases, cut_windows, find_free, is_usable, log_forget
from gatescope.genome.crossings import CROSSINGS

_CONTIG_BP, _SHAPE = 1_500_000, ProfileShape()


class NoiseUnits:
    """Gates of noise: one track per contig, handed out rolled by the number of the unit, so that memory is bounded."""

    def __init__(self, lengths, rng):
        self._tracks = {
            contig: rng.normal(3, 1, length).astype(np.float32) for contig, length in lengths.items()
        }

    def logits(self, contig, direction, unit):
        track, by = self._tracks[contig], 1 + 37 * unit + direction
        return np.concatenate([track[by:], track[:by]])


def draw_genome(mb, rng):
    """Return lengths, scored bases, and the windows of each crossing by contig."""
    n_contigs = max(1, round(mb * 1e6 / _CONTIG_BP))
    lengths = {f"contig{n}": int(mb * 1e6 / n_contigs) for n in range(n_contigs)}
    bases, windows = {}, {crossing: {} for crossing in CROSSINGS}
    for contig, length in lengths.items():
        state = np.zeros(length, np.uint8)
        for start in rng.integers(0, length, 20):
            state[start : start + 500] = 255
        steps = rng.integers(100, 1400, length // 750 + 1)
        edges = np.cumsum(steps)
        edges = edges[edges < length - 1000][: len(edges) // 2 * 2]
        bases[contig] = ScoredBases(state)
        free = find_free(bases[contig].places(edges), bases[contig].n, _SHAPE.dip_bp)
        for number, crossing in enumerate(CROSSINGS):
            at = bases[contig].places(edges[number::2])
            at = at[is_usable(at, bases[contig], free, _SHAPE)]
            windows[crossing][contig] = cut_windows(at, free, bases[contig].n, _SHAPE), free
    return lengths, bases, windows


def stack_windows(units, unit, bases, windows, shifts, replicate):
    """R of one unit and one shift, every window stacked; bases that are no flank are NaN in a mask that moves along."""
    total, n = 0.0, 0
    offsets = np.arange(-_SHAPE.flank_bp, _SHAPE.flank_bp)
    is_near = np.abs(offsets + 0.5) < _SHAPE.dip_bp
    for contig, (cut, free) in windows.items():
        circle = log_forget(bases[contig].pick(units.logits(contig, 0, unit)))
        at = cut.places[:, None] + offsets
        is_free = np.diff(free.count_before(np.arange(len(circle) + 1))) > 0
        flank = np.where(is_free[at] & ~is_near, 1.0, np.nan)
        moved = (cut.places + shifts[contig][replicate]) % len(circle)
        clear = (moved >= _SHAPE.flank_bp) & (moved <= len(circle) - _SHAPE.flank_bp)
        stack = circle[moved[clear][:, None] + offsets]
        r = stack[:, is_near].mean(1) - np.nanmean(stack * flank[clear], axis=1)
        total, n = total + r.sum(), n + len(r)
    return 2 * _SHAPE.dip_bp * total / n / np.log(2)


def timed(function, *arguments):
    """Return what a function returns, and its CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = function(*arguments)
    return found, time.process_time() - cpu, time.perf_counter() - wall


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=float, default=1.5)
    parser.add_argument("--units", type=int, default=4, help="per direction")
    parser.add_argument("--shifts", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stacked", type=int, default=3, help="shifts that are stacked as well")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths, bases, genome = draw_genome(options.mb, rng)
    units, shifts = NoiseUnits(lengths, rng), draw_contig_shifts(bases, options.shifts, rng)
    windows = {
        crossing: {contig: cut for contig, (cut, _) in each.items()} for crossing, each in genome.items()
    }
    n_boundaries = sum(len(cut.places) for each in windows.values() for cut in each.values())
    print(f"{options.mb:g} Mb, {n_boundaries} boundaries, 2 x {options.units} units, {options.shifts} shifts")
    cpu = wall = 0.0
    for direction in (0, 1):
        which = range(options.units)
        found, *each = timed(
            shift_windows, units, direction, which, bases, windows, shifts, _SHAPE, options.threads
        )
        cpu, wall = cpu + each[0], wall + each[1]
        if direction == 0:
            first = found["entry"].r[:, 0]
    print(f"prefix sums: {cpu:.1f} s of CPU time ({wall:.1f} s on the clock)")
    stacked, seconds, _ = timed(
        lambda: [stack_windows(units, 0, bases, genome["entry"], shifts, n) for n in range(options.stacked)]
    )
    np.testing.assert_allclose(first[: options.stacked], stacked, rtol=1e-8, atol=1e-9)
    whole = seconds / options.stacked * options.shifts * 2 * options.units * len(CROSSINGS)
    print(
        f"windows stacked again for each shift: {whole:,.0f} s, scaled up from {seconds:.1f} s; {whole / cpu:,.0f} x"
    )


if __name__ == "__main__":
    main()
