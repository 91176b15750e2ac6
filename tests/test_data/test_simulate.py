"""The planted genome: same seed, same bytes; the truth is true; the oracle is the exact posterior."""

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from gatescope.atac.bigwig import read_bigwig
from gatescope.data.oracle import posterior_called, posterior_open
from gatescope.data.planted import N_PHASES, OPEN_PHASES, PlantedModel, draw_sequence, draw_walk
from gatescope.data.simulate import simulate
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import UNKNOWN


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "simulated"
    simulate(folder, seed=3, contigs=3, contig_bp=60_000)
    return folder


def read_bed(path):
    return pd.read_csv(path, sep="\t", header=None).rename(
        columns={0: "chrom", 1: "start", 2: "end", 3: "name"}
    )


def hashes(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_same_seed_same_bytes(planted, tmp_path):
    simulate(tmp_path / "again", seed=3, contigs=3, contig_bp=60_000)
    simulate(tmp_path / "other", seed=4, contigs=3, contig_bp=60_000)
    assert hashes(tmp_path / "again") == hashes(planted)
    assert hashes(tmp_path / "other")["genome.fa"] != hashes(planted)["genome.fa"]


def test_motifs_stand_where_the_truth_says(planted):
    """Each region starts with an entry motif and ends with an exit motif, and the bases look like it."""
    regions, motifs = read_bed(planted / "truth/regions.bed"), read_bed(planted / "truth/motifs.bed")
    genome, model = Genome(planted / "genome.fa"), PlantedModel()
    entries = motifs[motifs.name == "entry"]
    assert set(zip(entries.chrom, entries.start, strict=True)) <= set(
        zip(regions.chrom, regions.start, strict=True)
    )
    exits = motifs[motifs.name == "exit"]
    assert set(zip(exits.chrom, exits.end, strict=True)) <= set(zip(regions.chrom, regions.end, strict=True))
    for kind, rows in (("entry", entries), ("exit", exits)):
        matrix = model.motifs[kind]
        codes = np.stack([genome.codes(r.chrom, r.start, r.end) for r in rows.itertuples()])
        known = codes[(codes != UNKNOWN).all(1)]
        counts = np.stack([(known == base).mean(0) for base in range(4)], axis=1)
        assert np.abs(counts - matrix).max() < 5 * np.sqrt(0.25 / len(known))


def test_truth_says_nothing_about_unknown_bases(planted):
    genome = Genome(planted / "genome.fa")
    known = {name: genome.codes(name) != UNKNOWN for name in genome.lengths}
    for name in ("motifs", "decoys", "boundaries"):
        rows = read_bed(planted / f"truth/{name}.bed")
        assert all(known[row.chrom][row.start : row.end].all() for row in rows.itertuples()), name
    regions = read_bed(planted / "truth/regions.bed")
    assert all(known[row.chrom][row.start : row.end].any() for row in regions.itertuples())


def test_regions_outside_gaps_and_excluded_stretches_have_both_motifs(tmp_path):
    """Many seeds: copying a stretch onto another contig cuts regions at its edges, each time elsewhere."""
    n_cut = 0
    for seed in range(12):
        folder = tmp_path / f"{seed}"
        simulate(folder, seed=seed, contigs=3, contig_bp=20_000)
        genome = Genome(folder / "genome.fa")
        tables = [
            read_bed(folder / name) for name in ("truth/regions.bed", "truth/motifs.bed", "exclusion.bed")
        ]
        regions, motifs, excluded = (table[["chrom", "start", "end"]] for table in tables)
        copied = read_bed(folder / "truth/low_mappability.bed")
        n_cut += int((excluded.to_numpy() != copied[["chrom", "start", "end"]].to_numpy()).any())
        entries, exits = (motifs[tables[1].name == kind] for kind in ("entry", "exit"))
        begin = set(zip(entries.chrom, entries.start, strict=True))
        end = set(zip(exits.chrom, exits.end, strict=True))
        for row in regions.itertuples():
            inside = excluded[(excluded.chrom == row.chrom)]
            touches = ((inside.start < row.end) & (row.start < inside.end)).any()
            has_n = (genome.codes(row.chrom, row.start, row.end) == UNKNOWN).any()
            if not (touches or has_n or row.end == 20_000):
                assert (row.chrom, row.start) in begin and (row.chrom, row.end) in end
            if touches:
                assert ((inside.start <= row.start) & (row.end <= inside.end)).any()
    assert n_cut > 3


def test_decoys_change_nothing_and_are_told_apart(planted):
    decoys, regions = read_bed(planted / "truth/decoys.bed"), read_bed(planted / "truth/regions.bed")
    assert {"lone_entry", "lone_exit", "scrambled_entry", "scrambled_exit", "gc_step"} == set(decoys.name)
    for row in decoys[decoys.name.isin(["lone_entry", "lone_exit"])].itertuples():
        here = regions[regions.chrom == row.chrom]
        assert ((here.start < row.start) & (row.end < here.end)).any()


def test_fragments_avoid_gaps_and_unmappable_stretches(planted):
    fragments = pd.read_csv(planted / "fragments.tsv.gz", sep="\t", header=None)
    assert fragments.shape[1] == 5
    cut = pd.concat([fragments[[0]].assign(at=fragments[1] + 4), fragments[[0]].assign(at=fragments[2] - 5)])
    for name in ("gaps", "low_mappability"):
        for row in read_bed(planted / f"truth/{name}.bed").itertuples():
            here = cut[cut[0] == row.chrom]["at"]
            assert not here.between(row.start, row.end - 1).any()
    genome = Genome(planted / "genome.fa")
    assert (fragments[1] >= 0).all()
    assert (fragments[2] <= fragments[0].map(genome.lengths)).all()


def test_low_mappability_is_one_sequence_in_two_places(planted):
    first, second = read_bed(planted / "truth/low_mappability.bed").itertuples()
    genome = Genome(planted / "genome.fa")
    one, two = (genome.codes(r.chrom, r.start, r.end) for r in (first, second))
    assert first.chrom != second.chrom
    assert np.array_equal(one, two)


def test_cuts_are_denser_in_regions_and_prefer_some_sequences(planted):
    fragments = pd.read_csv(planted / "fragments.tsv.gz", sep="\t", header=None)
    genome = Genome(planted / "genome.fa")
    cuts = {name: np.zeros(length) for name, length in genome.lengths.items()}
    for name, rows in fragments.groupby(0):
        np.add.at(cuts[name], rows[1] + 4, 1)
        np.add.at(cuts[name], rows[2] - 5, 1)
    inside = {name: np.zeros(length, bool) for name, length in genome.lengths.items()}
    for row in read_bed(planted / "truth/regions.bed").itertuples():
        inside[row.chrom][row.start : row.end] = True
    density = [np.concatenate([cuts[n][inside[n] == k] for n in cuts]).mean() for k in (True, False)]
    assert density[0] > 8 * density[1]
    share = np.zeros(4)  # bases at +4 from the cut: C is preferred, A and T are not (see simulate)
    for name in cuts:
        codes = genome.codes(name)
        share += (
            np.bincount(codes[4:], weights=cuts[name][:-4], minlength=5)[:4]
            / np.bincount(codes, minlength=5)[:4]
        )
    assert share[1] > 1.5 * share[0]


def test_fragments_file_is_gzip_without_a_clock(planted):
    raw = (planted / "fragments.tsv.gz").read_bytes()
    assert raw[4:8] == b"\0\0\0\0"
    assert gzip.decompress(raw).count(b"\n") > 1000


def test_oracle_track_ranks_the_truth(planted):
    genome = Genome(planted / "genome.fa")
    truth = {name: np.zeros(length, np.uint8) for name, length in genome.lengths.items()}
    for row in read_bed(planted / "truth/regions.bed").itertuples():
        truth[row.chrom][row.start : row.end] = 1
    score = np.concatenate([read_bigwig(planted / "truth/oracle_state.bw", name) for name in truth])
    labels = np.concatenate(list(truth.values()))
    assert roc_auc_score(labels, score) >= 0.99


def brute_force_posterior(model, codes, gc):
    """Sum over every walk of a short sequence, one by one."""
    base, rates, width = model.base_rates(), model.block_rates(), model.motif_width
    length = len(codes)
    background = {True: lambda t: gc[t] / 2, False: lambda t: (1 - gc[t]) / 2}
    total, is_open = 0.0, np.zeros(length)
    stack = [(0, 0, 1.0, ())]
    while stack:
        at, phase, weight, opened = stack.pop()
        if at == length:
            total += weight
            is_open[list(opened)] += weight
            continue
        for after in range(N_PHASES):
            step = base[phase, after] * background[codes[at] in (1, 2)](at)
            if step > 0:
                more = (at,) if phase in OPEN_PHASES else ()
                stack.append((at + 1, after, weight * step, opened + more))
            if at + width > length:
                continue
            for name, rate in rates.items():
                emit = np.prod([model.motifs[name][k, codes[at + k]] for k in range(width)])
                if rate[phase, after] * emit > 0:
                    covers = phase in OPEN_PHASES or after in OPEN_PHASES
                    more = tuple(range(at, at + width)) if covers else ()
                    stack.append((at + width, after, weight * rate[phase, after] * emit, opened + more))
    return is_open / total


def test_posterior_equals_the_sum_over_all_walks(monkeypatch):
    from gatescope.data import planted as module

    monkeypatch.setattr(module, "ENTRY_CONSENSUS", "TGA")
    monkeypatch.setattr(module, "EXIT_CONSENSUS", "CTT")
    model = PlantedModel(
        phase_bp=(3.0, 2.0, 2.0, 2.0, 3.0),
        lone_entry_per_bp=0.05,
        lone_exit_per_bp=0.05,
        scrambled_per_bp=0.05,
    )
    codes = np.array([0, 3, 2, 0, 1, 1, 3, 3, 2, 0], np.uint8)
    gc = np.full(len(codes), 0.4)
    expected = brute_force_posterior(model, codes, gc)
    assert np.abs(posterior_open(model, codes[None], gc[None])[0] - expected).max() < 1e-12
    assert expected.max() > 0.3  # the evidence says something


def test_posterior_is_finite_and_calibrated():
    model, rng = PlantedModel(), np.random.default_rng(8)
    walks = [draw_walk(model, 20_000, rng) for _ in range(100)]
    drawn = [draw_sequence(model, walk, rng) for walk in walks]
    posterior = posterior_open(model, np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn]))
    truth = np.stack([walk.state for walk in walks])
    assert np.isfinite(posterior).all()
    assert abs(posterior.mean() - truth.mean()) < 0.005
    # whole regions are uncertain together, so it takes 2 Mb for P = 0.5 to mean every second time
    for low, high in ((0.02, 0.3), (0.3, 0.7), (0.7, 0.98)):
        middle = (posterior > low) & (posterior < high)
        assert abs(truth[middle].mean() - posterior[middle].mean()) < 0.1


@pytest.mark.parametrize(("contigs", "contig_bp"), [(2, 60_000), (8, 5_000)])
def test_too_small_a_genome_is_refused(tmp_path, contigs, contig_bp):
    with pytest.raises(InputError, match="at least 3"):
        simulate(tmp_path / "x", contigs=contigs, contig_bp=contig_bp)
    assert not (tmp_path / "x").exists()


def test_called_peaks_blur_the_posterior_as_drawing_edges_does():
    """A known region whose two edges move: the mean of many drawn peaks."""
    rng = np.random.default_rng(2)
    state = np.zeros(400)
    state[150:260] = 1
    drawn = np.zeros(400)
    moves = np.rint(rng.normal(0, 4.0, (20_000, 2))).astype(int)
    for first, last in moves:
        drawn[150 + first : 260 + last] += 1 / len(moves)
    assert np.abs(posterior_called(state, 4.0) - drawn).max() < 0.015
    assert np.array_equal(posterior_called(state, 0.0), state)
