"""Where does a genome with a known answer come from? Write the planted genome and its truth.

Public names: `simulate`.
"""

import gzip
import logging
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyfaidx

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.data.oracle import posterior_called, posterior_open
from gatescope.data.planted import PlantedModel, Walk, draw_sequence, draw_walk
from gatescope.errors import InputError
from gatescope.files import replacing_folder, write_json
from gatescope.genome.sequence import UNKNOWN, decode_bases

log = logging.getLogger(__name__)

#: Log-weight of each base at -4 .. +4 around the centre of the Tn5 duplication: a palindrome, like the real
#: preference (strongest at the edges of the 9-bp duplication), in ACGT order.
_TN5_LOG_WEIGHT = np.array(
    [
        [-0.5, 0.1, 0.7, -0.4],
        [0.1, -0.3, 0.0, 0.3],
        [0.2, 0.0, -0.2, 0.1],
        [0.3, -0.2, -0.3, 0.1],
        [0.2, -0.2, -0.2, 0.2],
        [0.1, -0.3, -0.2, 0.3],
        [0.1, -0.2, 0.0, 0.2],
        [0.3, 0.0, -0.3, 0.1],
        [-0.4, 0.7, 0.1, -0.5],
    ]
)
_WRITTEN = (
    *("truth/parameters.json", "truth/*.bed", "truth/oracle_state.bw", "truth/oracle_state.bw.json"),
    *("genome.fa", "genome.fa.fai", "fragments.tsv.gz", "peaks.narrowPeak", "exclusion.bed"),
)
_EDGE_DECOY_BP = 200  # a GC step this far from any boundary is a decoy


class PlantedContig(NamedTuple):
    """One contig with its truth; all arrays have shape (L,)."""

    name: str
    codes: np.ndarray
    gc: np.ndarray
    walk: Walk
    mappable: np.ndarray
    regions: np.ndarray  # (n, 2) start, end of open regions


def simulate(output: Path | str, *, seed: int = 1, contigs: int = 8, contig_bp: int = 300_000) -> None:
    """Write the planted genome, its ATAC-seq fragments, peaks and truth into the folder `output`.

    Parameters
    ----------
    output : path
        Folder to make; an older one of this kind is replaced, anything else refused.
    seed : int
        Same seed (and sizes): same bytes.
    contigs, contig_bp : int
        Number and length (bp) of the contigs, named planted1, planted2, ...

    Raises
    ------
    InputError
        If fewer than three contigs (train, validation, test) or contigs under 20 kb are asked for, or the folder
        holds anything else.
    """
    if contigs < 3 or contig_bp < 20_000:
        raise InputError(
            f"{contigs} contigs of {contig_bp} bp; wanted at least 3 of 20,000 bp",
            where="planted genome",
            remedy="training, validation and test need a contig each",
        )
    model, rng = PlantedModel(), np.random.default_rng(seed)
    with replacing_folder(output, _WRITTEN) as folder:
        planted = [_draw_contig(model, f"planted{n + 1}", contig_bp, rng) for n in range(contigs)]
        planted = _copy_low_mappability(model, planted, rng)
        fragments = pd.concat([_draw_fragments(model, contig, rng) for contig in planted])
        codes, gc = (np.stack([getattr(c, name) for c in planted]) for name in ("codes", "gc"))
        posterior = posterior_called(posterior_open(model, codes, gc), model.peak_jitter_bp)
        _write_inputs(folder, model, planted, fragments, rng)
        _write_truth(folder / "truth", model, planted, posterior, seed)
    regions = sum(len(c.regions) for c in planted)
    told = (contigs, f"{contig_bp:,}", regions, len(fragments))
    log.info("planted %d contigs of %s bp: %d accessible regions, %d fragments", *told)


def _draw_contig(model: PlantedModel, name: str, length: int, rng: np.random.Generator) -> PlantedContig:
    walk = draw_walk(model, length, rng)
    codes, gc = draw_sequence(model, walk, rng)
    gap = int(rng.integers(*model.gap_bp))
    at = int(rng.integers(length // 4, 3 * length // 4))
    codes[at : at + gap] = UNKNOWN
    edges = np.flatnonzero(np.diff(np.r_[0, walk.state, 0].astype(np.int8)))
    return PlantedContig(name, codes, gc, walk, np.ones(length, bool), edges.reshape(-1, 2))


def _copy_low_mappability(
    model: PlantedModel, planted: list[PlantedContig], rng: np.random.Generator
) -> list[PlantedContig]:
    """Copy one stretch of the first contig onto the last: no read there can be placed, in either place."""
    source, target = planted[0], planted[-1]
    size, length = model.low_mappability_bp, len(source.codes)
    free = [at for at in range(0, length - size, 500) if not (source.codes[at : at + size] == UNKNOWN).any()]
    at = int(rng.choice(free))
    codes, gc, state = target.codes.copy(), target.gc.copy(), target.walk.state.copy()
    for mine, theirs in ((codes, source.codes), (gc, source.gc), (state, source.walk.state)):
        mine[at : at + size] = theirs[at : at + size]
    outside = [b for b in target.walk.blocks if not at - model.motif_width < b.start < at + size]
    inside = [b for b in source.walk.blocks if at <= b.start <= at + size - model.motif_width]
    edges = np.flatnonzero(np.diff(np.r_[0, state, 0].astype(np.int8))).reshape(-1, 2)
    for contig in (source, target):
        contig.mappable[at : at + size] = False
    walk = Walk(state, sorted(outside + inside))
    return [*planted[:-1], target._replace(codes=codes, gc=gc, walk=walk, regions=edges)]


def _cut_rate(model: PlantedModel, contig: PlantedContig, rng: np.random.Generator) -> np.ndarray:
    """Return the expected cuts per base: state x strength of the region x Tn5 preference."""
    rate = np.full(len(contig.codes), model.cuts_closed_per_bp)
    for start, end in contig.regions:
        rate[start:end] = model.cuts_open_per_bp * rng.lognormal(-0.045, 0.3)
    weights = np.c_[_TN5_LOG_WEIGHT, np.zeros(len(_TN5_LOG_WEIGHT))]  # unknown base: no preference
    padded = np.pad(contig.codes, len(weights) // 2, constant_values=UNKNOWN)
    log_bias = sum(row[padded[k : k + len(rate)]] for k, row in enumerate(weights))
    bias = np.exp(log_bias)
    usable = contig.mappable & (contig.codes != UNKNOWN)
    return rate * bias / bias.mean() * usable


def _draw_fragments(model: PlantedModel, contig: PlantedContig, rng: np.random.Generator) -> pd.DataFrame:
    """Draw paired-end fragments whose two cuts follow the cut rate; raw, unshifted read ends."""
    rate = _cut_rate(model, contig, rng)
    number = int(rng.poisson(rate.sum() / 2))
    left = rng.choice(len(rate), size=number, p=rate / rate.sum())
    candidates = 12  # the right cut is one of 12 plausible lengths, picked in proportion to the rate there
    short = 28 + rng.gamma(2.0, 28.0, (number, candidates))
    mononucleosomal = rng.normal(190, 22, (number, candidates))
    lengths = np.where(rng.random((number, candidates)) < 0.75, short, mononucleosomal).astype(np.int64)
    right = left[:, None] + np.clip(lengths, 28, 900)
    weight = np.where(right < len(rate), rate[np.minimum(right, len(rate) - 1)], 0.0)
    cumulative = weight.cumsum(1)
    pick = (rng.random((number, 1)) * cumulative[:, -1:] >= cumulative).sum(1)
    has_mate = (cumulative[:, -1] > 0) & (left >= 4)
    right = right[np.arange(number), np.minimum(pick, candidates - 1)]
    keep = has_mate & (right + 5 <= len(rate))
    table = pd.DataFrame({"chrom": contig.name, "start": left[keep] - 4, "end": right[keep] + 5})
    table = table.drop_duplicates().sort_values(["start", "end"], ignore_index=True)
    table["barcode"], table["count"] = "planted", 1 + rng.poisson(0.15, len(table))
    return table


def _peaks(model: PlantedModel, planted: list[PlantedContig], rng: np.random.Generator) -> list[tuple]:
    """Call every open region with signal a peak, its edges off by a few bp, as a peak caller would."""
    rows = []
    for contig in planted:
        usable = contig.mappable & (contig.codes != UNKNOWN)
        for start, end in contig.regions:
            if usable[start:end].mean() < 0.5:
                continue
            shift = np.rint(rng.normal(0, model.peak_jitter_bp, 2)).astype(int)
            start = max(0, start + shift[0])
            end = min(len(usable), max(start + 20, end + shift[1]))
            rows.append((contig.name, start, end, f"peak{len(rows) + 1}", 1000, ".", 10.0, 10.0, 10.0,
                         (end - start) // 2))  # fmt: skip
    return rows


def _write_inputs(folder: Path, model, planted, fragments: pd.DataFrame, rng) -> None:
    with (folder / "genome.fa").open("w") as file:
        for contig in planted:
            bases = decode_bases(contig.codes)
            file.write(f">{contig.name}\n")
            file.writelines(bases[k : k + 60] + "\n" for k in range(0, len(bases), 60))
    pyfaidx.Faidx(str(folder / "genome.fa")).close()
    with gzip.GzipFile(folder / "fragments.tsv.gz", "wb", mtime=0) as file:
        file.write(fragments.to_csv(sep="\t", header=False, index=False).encode())
    _write_bed(folder / "peaks.narrowPeak", _peaks(model, planted, rng))
    excluded = [
        (c.name, *_with_cut_regions(c, run), "low_mappability") for c in planted for run in _runs(~c.mappable)
    ]
    _write_bed(folder / "exclusion.bed", excluded)


def _with_cut_regions(contig: PlantedContig, stretch: np.ndarray) -> tuple[int, int]:
    """Extend a stretch over the regions that it cuts: copied over an edge, they lack the motif at one end."""
    starts, ends = contig.regions.T
    cut = (starts <= stretch[1]) & (ends >= stretch[0])
    return min(stretch[0], *starts[cut]), max(stretch[1], *ends[cut])


def _write_truth(folder: Path, model: PlantedModel, planted, posterior: np.ndarray, seed: int) -> None:
    folder.mkdir()
    for name, rows in _truth_rows(model, planted).items():
        _write_bed(folder / f"{name}.bed", rows)
    lengths = {c.name: len(c.codes) for c in planted}
    with BigWigWriter(folder / "oracle_state.bw", lengths, decimals=4) as writer:
        for contig, values in zip(planted, posterior, strict=True):
            writer.add(contig.name, 0, values)
    write_sidecar(
        folder / "oracle_state.bw",
        TrackInfo(
            track="oracle_state",
            unit="probability",
            range=(0.0, 1.0),
            gaps="missing",
            description="P(base lies in a called peak) given the whole sequence and the true parameters: nobody "
            "who reads the sequence alone can do better",
        ),
    )
    parameters = {key: value for key, value in asdict(model).items() if key != "motifs"}
    motifs = {name: matrix.round(6).tolist() for name, matrix in model.motifs.items()}
    write_json(folder / "parameters.json", {"seed": seed, **parameters, "motifs_ACGT": motifs})


def _truth_rows(model: PlantedModel, planted: list[PlantedContig]) -> dict[str, list[tuple]]:
    """Return BED rows per truth file; a decoy is something that looks like a boundary and is none.

    What lies on unknown bases is left out: nobody can see it.
    """
    width = model.motif_width
    rows: dict[str, list[tuple]] = {
        name: [] for name in ("regions", "boundaries", "motifs", "decoys", "gaps", "low_mappability")
    }
    for contig in planted:
        name, edges, known = contig.name, contig.regions, contig.codes != UNKNOWN
        rows["regions"] += [(name, s, e, f"region{k}") for k, (s, e) in enumerate(edges) if known[s:e].any()]
        rows["boundaries"] += [(name, s, s + 1, "start") for s in edges[:, 0] if known[s]]
        rows["boundaries"] += [(name, e - 1, e, "end") for e in edges[:, 1] if known[e - 1]]
        for block in contig.walk.blocks:
            which = "motifs" if block.kind in ("entry", "exit") else "decoys"
            if known[block.start : block.start + width].all():
                rows[which].append((name, block.start, block.start + width, block.kind))
        steps = np.flatnonzero(np.diff(contig.gc)) + 1
        rows["decoys"] += [
            (name, s, s + 1, "gc_step")
            for s in steps
            if known[s] and np.abs(edges - s).min() > _EDGE_DECOY_BP
        ]
        rows["gaps"] += [(name, s, e, "N") for s, e in _runs(contig.codes == UNKNOWN)]
        rows["low_mappability"] += [(name, s, e, "copied") for s, e in _runs(~contig.mappable)]
    order = {contig.name: rank for rank, contig in enumerate(planted)}
    return {name: sorted(table, key=lambda row: (order[row[0]], row[1])) for name, table in rows.items()}


def _runs(mask: np.ndarray) -> np.ndarray:
    """Return start and end of each run of True, shape (n, 2)."""
    return np.flatnonzero(np.diff(np.r_[0, mask, 0].astype(np.int8))).reshape(-1, 2)


def _write_bed(path: Path, rows: list[tuple]) -> None:
    pd.DataFrame(rows).to_csv(path, sep="\t", header=False, index=False)
