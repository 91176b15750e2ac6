"""Is the test at boundaries wrong as often as it says, and does it see what is there? Simulations anyone can rerun.

    python tests/benchmarks/calibrate_boundaries.py
    python tests/benchmarks/calibrate_boundaries.py --simulations 200 --processes 1

No network: gates are drawn. A simulation is two contigs of 100 kb with 100 regions each, and four forget gates, two per
direction: mean 0.7, standard deviation 0.1, correlation e^(-d / tau) at a distance of d bases. Regions lie spread over
the contigs or in clusters. Gates know nothing of them; or (power) one of the four falls by 0.2 over the 50 bp around
each entry of its direction.

What is counted is what `gatescope boundaries` computes, by its own functions, at 5 %: the p-values of R of every gate
at entry and at exit under circular shifts (*per unit*), and the smallest family-wise p-value of the eight
(*family-wise*).

Printed are shares with their 95 % interval (Wilson) as a table.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.special import logit
from scipy.stats import binomtest

from gatescope.boundaries.null import draw_contig_shifts, shift_windows
from gatescope.boundaries.profile import ProfileShape, find_sites
from gatescope.boundaries.retention import (
    ScoredBases,
    cut_windows,
    find_free,
    measure_windows,
    retention_ratio,
    usable_sites,
)
from gatescope.genome.crossings import CROSSINGS
from gatescope.resample import max_p, two_sided_p

LENGTHS = {"one": 100_000, "two": 100_000}
REGIONS, WIDTH_BP, GAP_BP = 100, 250, 60  # per contig; mean width; least gap
UNITS, SHIFTS, LEVEL = 2, 199, 0.05
MEAN, DEVIATION, FALL = 0.7, 0.1, 0.2
LAYOUTS, TAUS_BP = ("spread", "clustered"), (5, 50, 200)
SHAPE = ProfileShape()


class Gates:
    """Hold drawn gates, contig -> (directions, units, L), as `measure_windows` asks for them."""

    def __init__(self, logits):
        self._logits = logits

    def logits(self, contig, direction, unit):
        return self._logits[contig][direction, unit]


def draw_regions(layout, rng):
    """Draw regions that do not touch: gaps are exponential, or mostly short and now and then very long."""
    rows = []
    for contig, length in LENGTHS.items():
        widths = 60 + rng.exponential(WIDTH_BP - 60, REGIONS)
        gaps = rng.exponential(1, REGIONS + 1)
        if layout == "clustered":
            gaps *= np.where(rng.random(REGIONS + 1) < 0.1, 20, 1)
        room = length - widths.sum() - GAP_BP * (REGIONS + 1)
        starts = np.cumsum(GAP_BP + gaps[:-1] / gaps.sum() * room) + np.concatenate(
            [[0], np.cumsum(widths[:-1])]
        )
        pairs = np.stack([starts, starts + widths], axis=1).astype(int)
        rows += [(contig, start, end) for start, end in pairs.tolist()]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def draw_gates(tau_bp, regions, fall, rng):
    """Draw autoregressive gates; unit 0 of the first direction falls around the entries, the starts of regions."""
    keep = np.exp(-1 / tau_bp)
    logits = {}
    for contig, length in LENGTHS.items():
        steps = rng.standard_normal((2, UNITS, length)) * np.sqrt(1 - keep**2)
        steps[..., 0] /= np.sqrt(1 - keep**2)  # stationary from the first base on
        forget = MEAN + DEVIATION * lfilter([1], [1, -keep], steps)
        for start in regions.loc[regions.chrom == contig, "start"]:
            forget[0, 0, max(0, start - SHAPE.dip_bp) : start + SHAPE.dip_bp] -= fall
        logits[contig] = logit(np.clip(forget, 0.01, 0.99))
    return Gates(logits)


def p_values(gates, regions, rng):
    """Return the p-values and the family-wise ones of all gates, the first being the entry of unit 0 of fwd."""
    bases = {contig: ScoredBases(np.zeros(length, np.uint8)) for contig, length in LENGTHS.items()}
    free = {}
    for contig, each in bases.items():
        edges = regions.loc[regions.chrom == contig, ["start", "end"]].to_numpy(np.int64).ravel()
        free[contig] = find_free(edges, each.n, SHAPE.dip_bp)
    shifts = draw_contig_shifts(bases, SHIFTS, rng)
    observed, null = [], []
    for direction in (0, 1):
        windows = {}
        for crossing in CROSSINGS:
            sites = find_sites(regions, LENGTHS, direction, crossing, SHAPE.profile_bp)
            sites = usable_sites(sites, bases, free, SHAPE)
            windows[crossing] = {
                contig: cut_windows(at, free[contig], bases[contig].n, SHAPE)
                for contig, at in sites.positions.items()
            }
        found = measure_windows(gates, direction, range(UNITS), bases, windows)
        shifted = shift_windows(gates, direction, range(UNITS), bases, windows, shifts, SHAPE)
        observed += [retention_ratio(found[crossing], SHAPE).mean(0) for crossing in CROSSINGS]
        null += [shifted[crossing].r for crossing in CROSSINGS]
    values, shifted_values = np.concatenate(observed), np.concatenate(null, axis=1)
    return two_sided_p(values, shifted_values), max_p(values, shifted_values)


def simulate(job):
    """Return how many gates, and whether any gate, came out at or below the level; and whether the first did."""
    layout, tau_bp, fall, seed = job
    rng = np.random.default_rng([seed, LAYOUTS.index(layout), tau_bp, int(fall > 0)])
    regions = draw_regions(layout, rng)
    p, family = p_values(draw_gates(tau_bp, regions, fall, rng), regions, rng)
    return (p <= LEVEL).sum(), p.size, family.min() <= LEVEL, family[0] <= LEVEL


def share(hits, n):
    """Say a share with its 95 % interval."""
    low, high = binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return f"{hits / n:.3f} ({low:.3f}-{high:.3f})"


def main():
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=2000, help="of each of the six conditions")
    parser.add_argument("--power-simulations", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.simulations:,} simulations each, {SHIFTS} shifts, at {LEVEL:.0%}\n")
    print("| regions | tau (bp) | per unit | family-wise |\n|---|---|---|---|")
    with ProcessPoolExecutor(options.processes) as pool:
        for layout, tau_bp in product(LAYOUTS, TAUS_BP):
            jobs = [(layout, tau_bp, 0.0, seed) for seed in range(options.simulations)]
            hits, n, any_hit, _ = np.sum(list(pool.map(simulate, jobs, chunksize=20)), axis=0)
            print(f"| {layout} | {tau_bp} | {share(hits, n)} | {share(any_hit, len(jobs))} |", flush=True)
        print(f"\nPower, one gate of four falls by {FALL} at its 200 entries, family-wise p <= {LEVEL}\n")
        print("| regions | tau (bp) | found |\n|---|---|---|")
        for layout in LAYOUTS:
            jobs = [(layout, 50, FALL, seed) for seed in range(options.power_simulations)]
            found = np.sum([first for *_, first in pool.map(simulate, jobs, chunksize=20)])
            print(f"| {layout} | 50 | {share(found, len(jobs))} |", flush=True)


if __name__ == "__main__":
    main()
