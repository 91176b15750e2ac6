"""Where is chromatin accessible, if nobody has said so yet? MACS3 calls peaks from the fragments that `cuts` counts.

Public names: `peaks`, `PeakCalls`.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatescope.atac.accounts import Duplicates, ReadFilter
from gatescope.atac.bigwig import check_bigwig_contigs
from gatescope.atac.cuts import CutSource, Paths, Shifts, open_cuts
from gatescope.atac.macs3 import Macs3, find_macs3
from gatescope.errors import InputError
from gatescope.files import replacing_file, write_json
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.genome.folds import read_folds
from gatescope.genome.regions import (
    ExclusionLists,
    cover,
    merge_regions,
    read_exclusion_lists,
    spans_by_contig,
)
from gatescope.genome.sequence import UNKNOWN
from gatescope.samples import GAPS_ARE_ZERO
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

# columns of narrowPeak, as UCSC names them
_COLUMNS = ("chrom", "start", "end", "name", "score", "strand", "signal", "p", "q", "summit")
#: Below this share of read ends with a known other end, fragments would speak for too few of the reads.
_LEAST_FRAGMENT_SHARE = 0.5
Mode = Literal["fragments", "cuts"]
#: Measured on yeast, see docs/formats.md: wider windows move the edges out, smaller gaps cut regions in two.
_ARGUMENTS: dict[Mode, tuple[str, ...]] = {
    "fragments": ("--format", "BEDPE"),
    "cuts": (
        *("--format", "BED", "--nomodel", "--shift", "-25", "--extsize", "50"),
        *("--max-gap", "150", "--min-length", "150"),
    ),
}


@dataclass(frozen=True)
class PeakCalls:
    """Count what `peaks` gave to MACS3 and got back.

    Parameters
    ----------
    mode : {"fragments", "cuts"}
        What was piled up.
    given : int
        Fragments or cuts that MACS3 read.
    left_out : dict of str to int
        Fragments or cuts that it did not: ``exclusion_list`` (they touch a region of it) and ``no_length``
        (fragments that end before they begin).
    genome_size : int
        Known bases of the contigs in use, those on the exclusion list not counted.
    rows, regions, bp : int
        Rows of the peak file, one per summit; regions after merging; bases in them.
    """

    mode: Mode
    given: int
    left_out: dict[str, int]
    genome_size: int
    rows: int
    regions: int
    bp: int


def peaks(
    atac: Paths,
    genome: Path | str,
    output: Path | str,
    *,
    tn5_shift: Shifts,
    duplicates: Duplicates = "auto",
    min_mapq: int = 30,
    improper_pairs: Literal["remove", "keep"] = "remove",
    exclude_contigs: Iterable[str] = (),
    exclusion_list: ExclusionLists = None,
    tracks: Mapping[str, str | Path] | None = None,
    folds: Any = None,
    q_value: float = 0.01,
) -> PeakCalls:
    """Call peaks with MACS3, and write them as narrowPeak with a sidecar.

    Fragments are piled up from raw end to raw end, whatever shift the file carries, so that edges lie where the
    density of cuts steps. Where fewer than half of the read ends of a file have a known other end (single-end
    reads, tagAlign, a bigWig of cuts), cuts are piled up instead, 25 bp to each side, and edges lie further out.

    Parameters
    ----------
    atac, genome, tn5_shift, duplicates, min_mapq, improper_pairs, exclude_contigs
        As in `gatescope.atac.cuts.cuts`: the same rows count. A pair of alignments counts if its reverse read does.
    output : Path or str
        ``peaks.narrowPeak``, in the order of the genome; ``peaks.narrowPeak.json`` is written beside it.
    exclusion_list : path or sequence of paths, optional
        BED; what touches it is not given to MACS3, because it would raise the background everywhere.
    tracks, folds : optional
        As in `gatescope.data.preflight.preflight`, which would find what is wrong with these only after MACS3.
    q_value : float
        Largest false discovery rate of a peak.

    Returns
    -------
    PeakCalls

    Raises
    ------
    InputError
        If MACS3 is not there, fails, or finds nothing; if files do not fit the genome. Nothing is written then.

    References
    ----------
    Zhang et al. 2008, Genome Biology 9:R137 (MACS).
    """
    output, excluded = Path(output), tuple(exclude_contigs)
    if not 0 < q_value < 1:
        raise InputError(f"{q_value:g}, wanted a number between 0 and 1", where="q_value")
    macs3, sequence, keep = find_macs3(), Genome(genome), ReadFilter(duplicates, min_mapq, improper_pairs)
    lengths = kept_lengths(sequence.lengths, excluded)
    off_limits = spans_by_contig(read_exclusion_lists(exclusion_list, lengths, sequence.path.name, excluded))
    _check_the_rest(lengths, sequence, tracks, folds)
    genome_size = sum(_known_bp(sequence, chrom, off_limits) for chrom in lengths)
    with open_cuts(atac, genome, tn5_shift=tn5_shift, keep=keep, exclude_contigs=excluded) as source:
        mode = _choose_mode(source)
        with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
            given = _write_input(source, mode, off_limits, Path(folder) / "input.bed")
            arguments = _arguments(mode, genome_size, q_value)
            table = _read_peaks(macs3.call_peaks(arguments, Path(folder)), lengths)
        files, shift = source.finish(), source.shifts.used
    if table.empty:
        raise _no_peak(q_value, mode, given)
    calls = _count(mode, given, genome_size, table)
    with replacing_file(output) as partial:
        table.to_csv(partial, sep="\t", header=False, index=False)
    details = {"tn5_shift_used": str(shift), "exclude_contigs": list(excluded), **asdict(keep)}
    content = _describe(macs3, arguments, q_value, calls)
    write_json(f"{output}.json", {**content, **details, "files": [asdict(file) for file in files]})
    log.info("%s: %d peaks in %d regions, %d bp", output, calls.rows, calls.regions, calls.bp)
    return calls


class _Given(NamedTuple):
    """Hold how many rows MACS3 reads, and how many it does not."""

    rows: int
    left_out: dict[str, int]


def _touch(spans: NDArray[np.int64] | None, starts: np.ndarray, ends: np.ndarray) -> NDArray[np.bool_]:
    """Tell which of (n,) rows share a base with spans (m, 2) that are sorted and apart from each other; (n,)."""
    if spans is None:
        return np.zeros(len(starts), bool)
    after = np.searchsorted(spans[:, 1], starts, side="right")  # the first span that ends after the start
    return np.append(spans[:, 0], np.iinfo(np.int64).max)[after] < ends


def _check_the_rest(
    lengths: Mapping[str, int],
    genome: Genome,
    tracks: Mapping[str, str | Path] | None,
    folds: Any,
) -> None:
    """Raise now for what `preflight`, which waits for the peaks, would find much later."""
    if folds is not None:
        read_folds(folds, lengths)
    for path in (tracks or {}).values():
        check_bigwig_contigs(str(path).removesuffix(GAPS_ARE_ZERO), lengths, genome.path)


def _known_bp(genome: Genome, chrom: str, off_limits: Mapping[str, NDArray[np.int64]]) -> int:
    """Count the bases of a contig that are known and not excluded."""
    codes = genome.codes(chrom)
    return int(np.count_nonzero((codes != UNKNOWN) & ~cover(off_limits, chrom, codes.size)))


def _choose_mode(source: CutSource) -> Mode:
    """Pile up fragments where these are known, else cuts, and say so."""
    if source.fragment_share >= _LEAST_FRAGMENT_SHARE:
        return "fragments"
    log.warning(
        "%.0f%% of the read ends have a known other end: peaks are called from single cuts, and their edges lie "
        "10 to 20 bp further out than those of fragments (BAM of pairs, fragments or BEDPE give these)",
        100 * source.fragment_share,
    )
    return "cuts"


def _write_input(
    source: CutSource, mode: Mode, off_limits: Mapping[str, NDArray[np.int64]], path: Path
) -> _Given:
    """Write what MACS3 reads, contigs as c0, c1, ...: it cuts off what follows `.fa` in a name, and sorts by name."""
    rows, left_out = 0, {"exclusion_list": 0, "no_length": 0}
    each_contig = _fragments(source) if mode == "fragments" else _cuts(source)
    codes = _contig_codes(source.lengths)
    with path.open("w") as file:
        for chrom, starts, ends in each_contig:
            is_long = ends > starts
            is_off = _touch(off_limits.get(chrom), starts, ends) & is_long
            left_out["no_length"] += int(np.count_nonzero(~is_long))
            left_out["exclusion_list"] += int(np.count_nonzero(is_off))
            kept = pd.DataFrame({"chrom": codes[chrom], "start": starts, "end": ends})[is_long & ~is_off]
            if mode == "cuts":
                kept = kept.assign(name=".", score=0, strand="+")
            kept.to_csv(file, sep="\t", header=False, index=False)
            rows += len(kept)
    if rows == 0:
        raise InputError(
            f"no {mode} left to call peaks from", where="exclusion_list", cause="it covers all of them"
        )
    log.info(
        "MACS3 reads %d %s; left out: %d touch the exclusion list, %d end before they begin",
        rows,
        mode,
        *left_out.values(),
    )
    return _Given(rows, left_out)


def _contig_codes(lengths: Mapping[str, int]) -> dict[str, str]:
    """Return a name for each contig whose alphabetical order is the genome's order."""
    width = len(str(len(lengths)))
    return {chrom: f"c{number:0{width}d}" for number, chrom in enumerate(lengths)}


def _fragments(source: CutSource) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield fragments, clipped to their contig."""
    for chrom, length in source.lengths.items():
        for starts, ends in source.fragments(chrom):
            yield chrom, np.maximum(starts, 0), np.minimum(ends, length)


def _cuts(source: CutSource) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the base of each cut, repeated where there are several."""
    for chrom, counts in source.contigs():
        at = np.flatnonzero(counts)
        positions = np.repeat(at, counts[at])
        yield chrom, positions, positions + 1


def _arguments(mode: Mode, genome_size: int, q_value: float) -> list[str]:
    """Return what MACS3 is told; copies were taken out already, as the user wants it."""
    return [
        *("--treatment", "input.bed", *_ARGUMENTS[mode], "--gsize", str(genome_size)),
        *("--qvalue", f"{q_value:g}", "--keep-dup", "all", "--call-summits"),
    ]


def _read_peaks(path: Path, lengths: Mapping[str, int]) -> pd.DataFrame:
    """Read what MACS3 wrote, numbers as they stand, with real contigs and in their order."""
    if path.stat().st_size == 0:
        return pd.DataFrame(columns=list(_COLUMNS))
    table = pd.read_csv(path, sep="\t", names=list(_COLUMNS), dtype=str, na_filter=False)
    table = table.astype({"start": np.int64, "end": np.int64, "summit": np.int64})
    chroms = {code: chrom for chrom, code in _contig_codes(lengths).items()}
    order = table.sort_values(["chrom", "start", "end", "summit"], kind="stable", ignore_index=True)
    order["chrom"] = [chroms[code] for code in order["chrom"]]
    # MACS3 does not know where contigs end, and cuts are widened
    order["end"] = np.minimum(order["end"], [lengths[chrom] for chrom in order["chrom"]])
    order["summit"] = np.minimum(order["summit"], order["end"] - order["start"] - 1)
    return order


def _no_peak(q_value: float, mode: Mode, given: _Given) -> InputError:
    return InputError(
        f"MACS3 finds no peak among {given.rows:,} {mode} at a q-value of {q_value:g}",
        where="peaks",
        cause="too few reads, or reads that pile up nowhere (input DNA, a failed library)",
        remedy="raise peaks: q_value in the configuration, or give a peak file in the sample table",
    )


def _count(mode: Mode, given: _Given, genome_size: int, table: pd.DataFrame) -> PeakCalls:
    """Merge overlapping rows, as every reader of the file does, and count."""
    rows = table.loc[:, ["chrom", "start", "end", "summit"]]
    merged = merge_regions(rows.assign(summit=rows["start"] + rows["summit"], signal=np.nan))
    bp = int((merged["end"] - merged["start"]).to_numpy().sum())
    return PeakCalls(mode, given.rows, given.left_out, genome_size, len(table), len(merged), bp)


def _describe(macs3: Macs3, arguments: list[str], q_value: float, calls: PeakCalls) -> dict[str, Any]:
    """Return the first part of the sidecar: what made the peaks."""
    return {
        "stage_version": STAGE_VERSIONS["peaks"],
        "macs3_version": macs3.version,
        "macs3_arguments": ["callpeak", *arguments],
        "q_value": q_value,
        **asdict(calls),
    }
