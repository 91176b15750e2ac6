"""A complete results folder of one sample, made up: what the browser stage reads, the other stages not run.

Two contigs of 20 kb. The forget gate of the selected units falls at every entry boundary, by an amount that
grows with the number of the region, so that a test knows which boundary is the strongest.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig

from gatescope.data.store import ContigArrays, write_store
from gatescope.figures import new_figure, save_figure
from gatescope.files import file_hash
from gatescope.genome.sequence import encode_bases

LENGTHS = {"ctgA": 20_000, "ctgB": 20_011}
REGION_STARTS, REGION_BP = (2_000, 6_000, 10_000, 14_000), 600
UNITS = {"fwd": 3, "rev": 11}
GAP = (17_000, 17_200)  # N in the genome, no gate value
GATES = ("forget_gate", "input_gate", "output_gate")


@dataclass(frozen=True)
class FakeResults:
    """Where everything lies, and what was planted."""

    results: Path
    genome: Path
    runs: tuple[str, ...]
    sequence: dict[str, str]
    gates: dict[tuple[str, str, str], np.ndarray]  # (contig, track name, run) -> values

    def adopt(self, genome: Path) -> None:
        """Have the store say that it was made from this file."""
        path = self.results / "data" / "encoded" / "meta.json"
        meta = json.loads(path.read_text())
        meta["inputs"]["genome"]["sha256"] = file_hash(genome)
        path.write_text(json.dumps(meta))


def depth(number: int, direction: str) -> float:
    """How far the selected unit's forget gate falls at the entry of region `number` of a contig."""
    return 0.3 + 0.15 * number + (0.02 if direction == "fwd" else 0.0)


def write_fake_results(
    folder: Path,
    runs: tuple[str, ...] = ("sequence.f1.1",),
    is_planted: bool = True,
    targets: tuple[str, ...] = ("cuts", "state"),
) -> FakeResults:
    """Write the folder; the same arguments give the same bytes."""
    rng = np.random.default_rng(5)
    results = folder / "results" / "demo"
    sequence = {}
    for name, length in LENGTHS.items():
        letters = rng.choice(list("ACGT"), length)
        letters[slice(*GAP)] = "N"
        sequence[name] = "".join(letters)
    genome = (results / "data" / "simulated" if is_planted else folder / "elsewhere") / "genome.fa"
    _write_genome(genome, sequence)
    cuts = {name: _cuts(length, rng) for name, length in LENGTHS.items()}
    _write_track(results / "atac" / "cuts.bw", cuts, unit="cuts", gaps="zero", range=[0, None])
    _write_bias(results / "atac")
    _write_store(results, genome, sequence, cuts)
    if is_planted:
        _write_truth(results, rng)
    (results / "data" / "preflight.json").write_text(json.dumps(_preflight()))
    gates = {}
    for run in runs:
        _write_model(results / "model" / run, run, targets, rng)
        gates |= _write_trace(results / "trace" / run, run, rng)
        _write_boundaries(results / "boundaries" / run, run)
        _write_design(results / "design" / run)
    _write_verdict(results, runs)
    if len(runs) > 1:
        _write_comparison(results / "model" / "comparison", runs)
    return FakeResults(results, genome, runs, sequence, gates)


def write_dense_bigwig(path: Path, values: dict[str, np.ndarray]) -> None:
    """Write a bigWig with pyBigWig alone; NaN is a gap."""
    with pyBigWig.open(str(path), "w") as bigwig:
        bigwig.addHeader(list(LENGTHS.items()))
        for contig, array in values.items():
            known = np.flatnonzero(np.isfinite(array))
            for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
                bigwig.addEntries(contig, int(run[0]), values=array[run], span=1, step=1)


def _write_genome(path: Path, sequence: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in sequence.items()))
    offset, lines = 0, []
    for name, letters in sequence.items():
        offset += len(name) + 2
        lines.append(f"{name}\t{len(letters)}\t{offset}\t{len(letters)}\t{len(letters) + 1}\n")
        offset += len(letters) + 1
    Path(f"{path}.fai").write_text("".join(lines))


def _cuts(length: int, rng: np.random.Generator) -> np.ndarray:
    """Cuts as cuts.bw holds them: no cut is a gap."""
    rate = np.full(length, 0.01)
    for start in REGION_STARTS:
        rate[start : start + REGION_BP] = 0.4
    counts = rng.poisson(rate).astype(float)
    return np.where(counts > 0, counts, np.nan)


def _write_track(path: Path, values: dict[str, np.ndarray], **sidecar) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dense_bigwig(path, values)
    content = {
        "track": path.stem,
        "unit": "gate value 0-1",
        "range": [0.0, 1.0],
        "gaps": "missing",
        "direction": None,
        "hidden_unit": None,
        "resolution_bp": 1,
        **sidecar,
    }
    Path(f"{path}.json").write_text(json.dumps(content))


def _regions() -> list[tuple[str, int, int]]:
    return [(name, start, start + REGION_BP) for name in LENGTHS for start in REGION_STARTS]


def _write_store(results: Path, genome: Path, sequence: dict[str, str], cuts: dict[str, np.ndarray]) -> None:
    peaks = pd.DataFrame(_regions(), columns=["chrom", "start", "end"])
    peaks = peaks.assign(summit=peaks["start"] + REGION_BP // 2, kind="peak", gc=0.5)
    background = peaks.assign(start=peaks["start"] + 1500, end=peaks["start"] + 2524, kind="background")
    arrays = []
    for name, letters in sequence.items():
        codes = encode_bases(letters)
        state = np.zeros(len(letters), np.uint8)
        for start in REGION_STARTS:
            state[start : start + REGION_BP] = 1
        state[codes == 4] = 255
        arrays.append(
            (name, ContigArrays(codes, state, {"cuts": np.nan_to_num(cuts[name]).astype(np.float32)}))
        )
    meta = {
        "stage_version": 1,
        "window_bp": 1024,
        "folds": {"f1": {"test": ["ctgA"], "valid": ["ctgB"]}},
        "inputs": {
            "genome": {"path": "genome.fa", "sha256": file_hash(genome)},
            "cuts": {"path": "cuts.bw", "sha256": "b" * 64},
            "peaks": {"path": "peaks <b>&.narrowPeak", "sha256": "c" * 64},
        },
        "filters": [
            {
                "of": "peaks",
                "step": "peaks merged",
                "kept": 8,
                "dropped": 2,
                "why": "overlap another",
                "note": "",
            },
            {
                "of": "peaks",
                "step": "contig ends",
                "kept": 8,
                "dropped": 0,
                "why": "short",
                "note": "1 moved",
            },
        ],
        "seed": 1,
    }
    regions = pd.concat([peaks, background], ignore_index=True)
    write_store(results / "data" / "encoded", arrays, regions, meta)
    (results / "data" / "regions_funnel.svg").write_bytes(_profile_svg())


def _write_truth(results: Path, rng: np.random.Generator) -> None:
    truth = results / "data" / "simulated" / "truth"
    truth.mkdir(parents=True)
    rows = [f"{name}\t{start}\t{end}\tregion{k}\n" for k, (name, start, end) in enumerate(_regions())]
    (truth / "regions.bed").write_text("".join(rows))
    _write_track(truth / "oracle_state.bw", _state(rng), unit="probability")


def _state(rng: np.random.Generator, lengths: dict[str, int] = LENGTHS) -> dict[str, np.ndarray]:
    values = {}
    for name, length in lengths.items():
        values[name] = np.full(length, 0.05)
        for start in REGION_STARTS:
            values[name][start : start + REGION_BP] = 0.93
        values[name] = (values[name] + rng.normal(0, 0.02, length)).clip(0, 1).round(3)
    return values


def _write_model(folder: Path, run: str, targets: tuple[str, ...], rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    model = {
        "format_version": 1,
        "run": run,
        "twin": "none",
        "seed": 1,
        "fold": {"name": "f1", "test": ["ctgA"], "valid": ["ctgB"]},
        "training": {"epochs": 5, "windows_per_epoch": 64, "batch_size": 8, "learning_rate": 0.003},
        "store": "d" * 64,
        "best_epoch": 4,
        "network": {
            "inputs": ["sequence"],
            "targets": list(targets),
            "stem_channels": 48,
            "stem_width_bp": 15,
            "hidden_units": 32,
            "layers": 1,
            "half_life_bp": [2.0, 1000.0],
            "bias": "none",
            "half_life_spectrum": "log-uniform",
            "trunk": "recurrent",
            "recurrence": True,
        },
        "lookahead_bp": 7,
        "sha256": "e" * 64,
    }
    (folder / "model.json").write_text(json.dumps(model))
    losses = [0.71, 0.42, 0.30, 0.26, 0.27]
    curve = pd.DataFrame({"epoch": range(1, 6), "step": range(8, 48, 8), "learning_rate": 0.003})
    curve["train_loss"], curve["valid_loss"] = [loss - 0.04 for loss in losses], losses
    curve.to_csv(folder / "training.csv", index=False)
    curve.iloc[[3]].to_csv(folder / "metrics.tsv", sep="\t", index=False)
    _gradient_reach().to_csv(folder / "gradient_reach.tsv", sep="\t", index=False)
    _write_evaluation(folder, run, targets)
    only_test = {"ctgA": LENGTHS["ctgA"]}
    _write_track(folder / "predicted_state.bw", _state(rng, only_test), unit="probability")
    if "cuts" not in targets:
        return
    predicted = {"ctgA": rng.random(LENGTHS["ctgA"]).round(3)}
    _write_track(folder / "predicted_cuts.bw", predicted, unit="expected cuts", range=[0, None])


def _gradient_reach() -> pd.DataFrame:
    """The signal halves every 100 bp, after training every 200; but that of rev is then lost after 5."""
    distance = np.arange(600)
    halved = {
        ("untrained", "fwd"): 100,
        ("untrained", "rev"): 100,
        ("trained", "fwd"): 200,
        ("trained", "rev"): 0.5,
    }
    return pd.concat(
        pd.DataFrame(
            {"network": network, "layer": 1, "direction": direction, "distance_bp": distance}
        ).assign(hidden=(distance == 0) * 1.0, cell=2 ** (-distance / bp))
        for (network, direction), bp in halved.items()
    )


def _write_evaluation(folder: Path, run: str, targets: tuple[str, ...]) -> None:
    rows = []
    scores = {"model": 0.90, "ablated": 0.70, "kmer": 0.75, "gc": 0.60, "oracle": 0.95}
    for bin_bp, n_bins in ((1, 19_800), (50, 396), (200, 99), (1000, 19)):
        for predictor, score in scores.items():
            if (predictor == "kmer" and bin_bp != 200) or (predictor == "gc" and bin_bp == 1):
                continue
            row = {"predictor": predictor, "bin_bp": bin_bp, "n_bins": n_bins, "base_rate": 0.121}
            for metric in ("pearson", "spearman", "auroc", "auprc"):
                has_it = metric.startswith("au") or (bin_bp > 1 and "cuts" in targets)
                for suffix, change in (("", 0.0), ("_low", -0.03), ("_high", 0.02)):
                    row[metric + suffix] = round(score + change, 4) if has_it else np.nan
            rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "evaluation.tsv", sep="\t", index=False, na_rep="nan")
    by_contig = table[table["bin_bp"] == 200].copy()
    by_contig.insert(0, "contig", "ctgA")
    by_contig.to_csv(folder / "evaluation_contigs.tsv", sep="\t", index=False, na_rep="nan")
    content = {
        "run": run,
        "input_mode": "sequence",
        "predictors": {
            "model": "this run",
            "ablated": "without recurrence",
            "gc": "GC",
            "kmer": "boosting",
            "oracle": "bigWig",
        },
        "recurrence": {
            "metric": "pearson",
            "gain_pearson": 0.2,
            "verdict": "the recurrence carries part of the prediction",
        },
        "in_words": f"{run} beats the k-mer baseline. The recurrence carries part of the prediction.",
        "test_contigs": ["ctgA"],
        "ceiling": {"how": "halves", "scores": _ceilings()},
        "profiles": {"how": "windows", "windows": {"peaks": _profiles(), "everywhere": None}},
        "calibration": {"how": "groups", "of": [_calibrated(target) for target in targets]},
    }
    if "cuts" not in targets:
        content["profiles"]["windows"] = None
    (folder / "evaluation.json").write_text(json.dumps(content))


def _around(**values: float) -> dict[str, float]:
    """Give each value an interval."""
    ends = {"": 0.0, "_low": -0.02, "_high": 0.02}
    return {name + end: round(value + ends[end], 4) for name, value in values.items() for end in ends}


def _ceilings() -> list[dict]:
    return [
        {"bin_bp": bin_bp, "metric": metric, **_around(halves=0.8, again=0.889, ceiling=0.943, reached=0.95)}
        for bin_bp in (50, 200, 1000)
        for metric in ("pearson", "spearman")
    ]


def _profiles() -> dict:
    scores = [
        {
            "predictor": p,
            "metric": "nll_per_cut",
            **_around(value=6.9 - 0.6 * at, floor=6.9, ceiling=6.3, position=at),
        }
        for p, at in (("model", 0.8), ("ablated", 0.4), ("flat", 0.1))
    ]
    scores += [{**row, "metric": "jsd"} for row in scores]
    scores += [{"predictor": "model", "metric": "jsd_of_all_cuts", **_around(value=0.7, floor=0.8)}]
    return {"n_windows": 12, "n_cuts": 1_234, "n_left_out": 3, "blocks": 11, "scores": scores}


def _calibrated(target: str) -> dict:
    groups = [{"n": 990, "expected": e, **_around(observed=0.8 * e)} for e in (0.05, 0.2, 0.6)]
    return {"predictor": "model", "target": target, **_around(error=0.057, ratio=0.8), "groups": groups}


def _write_comparison(folder: Path, runs: tuple[str, ...]) -> None:
    """What `compare` says of these runs, the numbers made up: the more seeds, the better."""
    names = [[*run.split("."), "f1", "1"][:3] for run in runs]
    models, folds, seeds = (list(dict.fromkeys(part)) for part in zip(*names, strict=True))
    ways = ["(mean)", "(ensemble)"][: len(seeds)]
    scored = [(model, way) for model in models for way in ways] + [("kmer", "(none)"), ("gc", "(none)")]
    rows, pairs = [], []
    for rank, (name, seed) in enumerate(scored):
        for fold in ["(pooled)", "(mean)"][: len(folds)]:
            row = {
                "predictor": name,
                "fold": fold,
                "seed": seed,
                "n_folds": len(folds),
                "n_seeds": len(seeds),
            }
            row |= {"n_bins": 198, "n_blocks": 20, "base_rate": 0.121}
            for metric in ("pearson", "spearman", "auroc", "auprc"):
                value = np.nan if name == "gc" and not metric.startswith("au") else 0.6 - 0.05 * rank
                row |= {metric: value, f"{metric}_low": value - 0.03, f"{metric}_high": value + 0.03}
                row[f"{metric}_sd_seeds"] = 0.004 if seed == "(mean)" and len(seeds) > 1 else np.nan
                row[f"{metric}_sd_folds"] = 0.032 if fold == "(mean)" else np.nan
                if rank and fold == "(pooled)" and not np.isnan(value):
                    pair = (models[0], ways[-1], name, seed, fold, metric, 0.6, value, 0.05 * rank)
                    pairs.append((*pair, -0.02, 0.1, -0.01, 0.09))
            rows.append(row)
    columns = ("first", "first_seed", "second", "second_seed", "fold", "metric", "first_score", "second_score",
               "difference", "low_95", "high_95", "low_90", "high_90")  # fmt: skip
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "scores.tsv", sep="\t", index=False, na_rep="nan")
    pd.DataFrame(pairs, columns=columns).to_csv(
        folder / "differences.tsv", sep="\t", index=False, na_rep="nan"
    )
    content = {"models": models, "in_words": [f"{models[0]} against others: made up."]}
    (folder / "comparison.json").write_text(json.dumps(content))


def _gate(contig: str, direction: str, base: float, sign: float, rng: np.random.Generator) -> np.ndarray:
    """A gate that is at `base` and, for 20 bp from each entry boundary on, moves by the region's depth."""
    values = np.full(LENGTHS[contig], base) + rng.normal(0, 0.005, LENGTHS[contig])
    for number, start in enumerate(REGION_STARTS):
        change = sign * depth(number, direction)
        if direction == "fwd":
            values[start : start + 20] += change
        else:
            values[start + REGION_BP - 20 : start + REGION_BP] += change
    values = values.clip(0, 1).round(3)
    values[slice(*GAP)] = np.nan
    return values


def _write_trace(folder: Path, run: str, rng: np.random.Generator) -> dict[tuple[str, str, str], np.ndarray]:
    folder.mkdir(parents=True)
    gates = {}
    for gate in GATES:
        base, sign = (0.95, -1.0) if gate == "forget_gate" else (0.2, 0.5)
        for direction, unit in UNITS.items():
            for aggregation, size in (("boundary_unit", 1.0), ("mean", 0.3)):
                name = f"{gate}.{direction}.{aggregation}"
                values = {contig: _gate(contig, direction, base, sign * size, rng) for contig in LENGTHS}
                hidden_unit = unit if aggregation == "boundary_unit" else None
                _write_track(
                    folder / f"{name}.bw",
                    values,
                    direction=direction,
                    hidden_unit=hidden_unit,
                    aggregation=aggregation,
                )
                gates |= {(contig, name, run): array for contig, array in values.items()}
    certificate = {
        "max_error": 3.1e-7,
        "positions": 40_011,
        "dtype": "float32",
        "device": "cpu",
        "tolerance": 5e-6,
    }
    summary = {
        "run": run,
        "certificate": certificate,
        "contigs": list(LENGTHS),
        "dtype": "float32",
        "lookahead_bp": 7,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    _write_units(folder, 8.0)
    _write_units(folder.with_name(f"{run}.random"), 1.0)
    return gates


def _write_units(folder: Path, growth: float) -> None:
    """32 units per direction; in training their half-lives grow, and units 0 to 2 of fwd go wrong."""
    folder.mkdir(exist_ok=True)
    planned = np.geomspace(2, 1000, 32)
    units = pd.DataFrame({"direction": np.repeat(["fwd", "rev"], 32), "unit": np.tile(np.arange(32), 2)})
    units = units.assign(
        bias_half_life_bp=np.tile(planned, 2), half_life_median_bp=np.tile(planned, 2) * growth
    )
    units[["share_below_0.1", "share_above_0.9", "hidden_sd"]] = 0.1, 0.6, 0.3
    if growth > 1:
        units.loc[0, "share_above_0.9"] = units.loc[1, "share_below_0.1"] = 1.0
        units.loc[[2, 40], "hidden_sd"] = 0.0
    units.to_csv(folder / "units.tsv", sep="\t", index=False)


def _write_boundaries(folder: Path, run: str) -> None:
    folder.mkdir(parents=True)
    twin = {"twin": "untrained", "difference": -4.0, "low": -4.3, "high": -3.8}
    pseudo = {"n": 4, "r": 0.07, "difference": -4.2, "low": -4.5, "high": -3.9}
    evidence = {
        "hypothesis": "supported",
        "mode": "reset",
        "reason": "deep, beyond chance, twins and composition, and by forgetting",
        "is_eligible": True,
        "half_life_bp": 61.0,
        "r_valid": -4.2,
        "r": -4.13,
        "r_low": -4.41,
        "r_high": -3.85,
        "r_low_95": -4.5,
        "r_high_95": -3.8,
        "kept_near": 0.032,
        "kept_flank": 0.57,
        "null_r_low": -0.31,
        "null_r_high": 0.29,
        "z": -27.0,
        "p": 0.001,
        "p_fwer": 0.001,
        "n_tests": 128,
        "dip_test": -0.2,
        "cohens_d": -3.1,
        "drop_test": 0.51,
        "offset": 2,
        "lowest_offset": 2,
        "flank": 0.95,
        "forget_min": 0.44,
        "forget_min_low": 0.40,
        "forget_min_high": 0.48,
        "twins": [twin | {"unit": 3, "is_same_index": True, "r": -0.11}],
        "pseudo": pseudo | {"gc_step": 0.02, "real_gc_step": 0.02},
        "jitter": [{"distance_bp": bp, "n": 4, "r": -100 / bp} for bp in (25, 100, 500)],
        "modes": None,
        "n_boundaries": 4,
        "n_boundaries_valid": 4,
        "n_blocks": 1,
    }
    verdict = {
        "run": run,
        "hypothesis": "supported",
        "mode": "reset",
        "provisional": True,
        "sentence": f"Supported (provisional): {run} lets go of its memory where it reads into a region.",
        "input_mode": "sequence",
        "directions": {direction: {**evidence, "unit": unit} for direction, unit in UNITS.items()},
        "n_boundaries": 8,
        "lookahead_bp": 7,
        "shape": {"profile_bp": 500, "flank_bp": 250, "dip_bp": 25},
        "model_sha256": "e" * 64,
        "caveats": ["Provisional: matched controls have not been run."],
    }
    (folder / "verdict.json").write_text(json.dumps(verdict))
    (folder / "profile.svg").write_bytes(_profile_svg())


def _write_bias(folder: Path) -> None:
    sentence = "Tn5's sequence preference explains 21.0 % of the variation of cuts on background."
    (folder / "tn5_bias.json").write_text(json.dumps({"sentence": sentence, "fitted_on": {"cuts": 44_177}}))
    (folder / "tn5_bias.svg").write_bytes(_profile_svg())


@cache
def _profile_svg() -> bytes:
    figure, axes = new_figure(1, 2)
    offsets = np.arange(-250, 250)
    for axis in axes[0]:
        axis.fill_between(offsets, 0.9, 0.97, color="#8d99ae", alpha=0.4)
        axis.plot(offsets, np.where((offsets >= 0) & (offsets < 20), 0.44, 0.95), color="#b2182b")
        axis.set(ylim=(0, 1), xlabel="offset (bp)")
    with tempfile.TemporaryDirectory() as folder:
        save_figure(figure, Path(folder) / "profile.svg")
        return (Path(folder) / "profile.svg").read_bytes()


def _write_verdict(results: Path, runs: tuple[str, ...]) -> None:
    each = [
        {
            "run": run,
            "input_mode": "sequence",
            "hypothesis": "supported",
            "mode": "reset",
            "sentence": "Supported (provisional).",
        }
        for run in runs
    ]
    sentence = f"Supported (provisional): a forget gate falls, in {len(runs)} of {len(runs)} runs."
    content = {"hypothesis": "supported", "mode": "reset", "provisional": True}
    content |= {"sentence": sentence, "runs": each}
    (results / "boundaries" / "verdict.json").write_text(json.dumps(content))


def _write_design(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = [
        {
            "rank": rank,
            "direction": direction,
            "unit": unit,
            "word": word,
            "length_bp": 200,
            "half_life_bp": 900.0 / rank,
        }
        for direction, unit in UNITS.items()
        for rank, word in enumerate(("TA", "A", "CAG", "T"), 1)
    ]
    designs = pd.DataFrame(rows).assign(predicted_retention=0.8572, measured_retention=0.8571, settled=True)
    designs.to_csv(folder / "designs.tsv", sep="\t", index=False)
    (folder / "constructs.fa").write_text(">carrier_1\nTATATATATA\n")


def _preflight() -> dict:
    part = {"contigs": ["ctgA"], "bp": 20_000, "peaks": 4}
    return {
        "stage_version": 1,
        "inputs": {"genome": "/home/somebody/genome.fa"},
        "genome": {"contigs": LENGTHS, "bp": 40_011, "unknown_share": 0.00999, "gc": 0.501},
        "atac": {
            "kind": "fragments",
            "fragments": 1234,
            "reads": None,
            "distinct_fragments": 1200,
            "cuts": 2400,
            "cuts_per_bp": 0.06,
            "frip": 0.84,
            "tn5_shift": "+0/-0",
            "tn5_shift_evidence": {"sentence": "+0/-0 is declared and cannot be checked: too few ends"},
        },
        "peaks": {"merged": 8, "bp": 4800, "share_of_genome": 0.12, "median_bp": 600.0, "usable": 8},
        "filters": [],
        "folds": {
            "f1": {
                "train": {**part, "contigs": ["ctgC"]},
                "valid": {**part, "contigs": ["ctgB"]},
                "test": part,
            }
        },
        "cost": {
            "runs": 1,
            "train_minutes": 3.0,
            "trace_minutes": 0.2,
            "disk_mb": 40.0,
            "basis": "two cores",
        },
    }
