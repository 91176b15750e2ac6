"""How often did Tn5 cut at each base? From fragments, or a ready track, to ``cuts.bw``.

Public names: `cuts`, `CutCounts`, `strand_ends`, `is_bigwig`, `refuse_no_cuts`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gatescope.atac.bigwig import (
    BigWigWriter,
    TrackInfo,
    bigwig_lengths,
    check_bigwig_contigs,
    covered_bp,
    read_bigwig,
    write_sidecar,
)
from gatescope.atac.fragments import (
    Duplicates,
    FragmentCounts,
    Fragments,
    read_fragments,
    refuse_empty_contigs,
)
from gatescope.atac.preference import StrandEnds
from gatescope.atac.shift import Tn5Shift, parse_declared
from gatescope.atac.shift_evidence import ShiftJudgement, judge_shift, write_shift_evidence
from gatescope.errors import InputError
from gatescope.genome.contigs import kept_lengths, refuse_unknown_contigs
from gatescope.genome.fasta import Genome
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

_TARGET = Tn5Shift(4, -4)
_BIGWIG_MAGIC = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
_CHUNK_BP = 1_000_000
# Poisson counts equal the count before at under 0.3 of the bases with cuts, at any depth; coverage at most.
_MOST_EQUAL_NEIGHBOURS = 0.8


@dataclass(frozen=True)
class CutCounts:
    """Count what `cuts` wrote and left out.

    Parameters
    ----------
    cuts : int
        Sum of the track.
    cuts_per_bp : float
        `cuts` per base of the contigs in use.
    cuts_off_contig : int
        Cuts beyond a contig's end after the shift, left out.
    largest : int
        Largest count at one base.
    fragments : FragmentCounts or None
        What was read; None for a ready track.
    """

    cuts: int
    cuts_per_bp: float
    cuts_off_contig: int
    largest: int
    fragments: FragmentCounts | None


def cuts(
    atac: Path | str,
    genome: Path | str,
    output: Path | str,
    *,
    tn5_shift: str | Tn5Shift,
    duplicates: Duplicates = "auto",
    exclude_contigs: Iterable[str] = (),
) -> CutCounts:
    """Write 1-bp Tn5 cut counts, at the centre of the duplication, as bigWig with a sidecar.

    Each fragment gives two cuts, one per end. A gap in the track means 0. Excluded contigs are not in it.

    Parameters
    ----------
    atac : Path or str
        Fragments (see `gatescope.atac.fragments.read_fragments`), or a bigWig (by content or name) of cut
        counts that are centred already; its gaps are read as 0.
    genome : Path or str
        FASTA.
    output : Path or str
        ``cuts.bw``; ``cuts.bw.json`` is written beside it, and what the data say about the shift:
        ``tn5_shift.json`` and ``tn5_shift.svg``.
    tn5_shift : str or Tn5Shift
        What was added to the read ends in the file, such as ``+0/-0`` (raw) or ``+4/-5``; ``auto`` takes what
        the data say. A bigWig must be at ``+4/-4``: its two strands can no longer be told apart.
    duplicates : {"auto", "keep", "remove"}
        As in `gatescope.atac.fragments.read_fragments`; without effect on a bigWig.
    exclude_contigs : iterable of str
        Contigs to leave out.

    Returns
    -------
    CutCounts

    Raises
    ------
    InputError
        For a file that is no fragments or counts, or does not match the genome; for ``auto``, if the data do not
        tell their shift.
    """
    atac, output, excluded = Path(atac), Path(output), tuple(exclude_contigs)
    declared, bases = parse_declared(tn5_shift), Genome(genome)
    all_lengths = bases.lengths
    lengths = kept_lengths(all_lengths, excluded)
    source = Path(genome).name
    if is_bigwig(atac):
        judged = judge_shift(declared, None, bases, lengths, atac)
        counts = _copy_track(atac, lengths, output, shift=judged.used, excluded=excluded, source=source)
    else:
        fragments = read_fragments(atac, all_lengths, duplicates, excluded, source)
        judged = judge_shift(declared, strand_ends(fragments), bases, lengths, atac)
        counts = _count_ends(fragments, lengths, output, judged.used, atac)
    write_shift_evidence(judged, output.parent)
    write_sidecar(output, _describe(counts, atac, judged, excluded))
    log.info("%s: %d cuts, %.4f per bp", output, counts.cuts, counts.cuts_per_bp)
    return counts


def strand_ends(fragments: Fragments) -> Iterator[tuple[str, StrandEnds]]:
    """Yield the read ends of each contig, as in the file."""
    for chrom, (starts, ends) in fragments.ends.items():
        yield chrom, StrandEnds(starts, ends - 1)


def is_bigwig(path: Path | str) -> bool:
    """Tell a bigWig by its first bytes, or by its name."""
    path = Path(path)
    if path.suffix.lower() in (".bw", ".bigwig"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _BIGWIG_MAGIC


def refuse_no_cuts(total: int, atac: Path | str) -> None:
    """Raise if a file gives no cut on any contig: fragments at contig ends may lose theirs to the shift."""
    if total == 0:
        raise InputError("no cut in it", where=atac, remedy="check that the file is whole, and tn5_shift")


def _count_ends(
    fragments: Fragments, lengths: Mapping[str, int], output: Path, shift: Tn5Shift, atac: Path
) -> CutCounts:
    """Write the counts of fragment ends."""
    total = off_contig = largest = 0
    with BigWigWriter(output, lengths, sparse=True) as writer:
        for chrom, (starts, ends) in fragments.ends.items():
            positions = np.sort(np.concatenate(shift.cuts(starts, ends)))
            first, last = np.searchsorted(positions, [0, lengths[chrom]])
            off_contig += len(positions) - int(last - first)
            for start, counts in _dense_chunks(positions[first:last], lengths[chrom]):
                writer.add(chrom, start, counts)
                total += int(counts.sum())
                largest = max(largest, int(counts.max()))
        refuse_no_cuts(total, atac)
    if off_contig:
        log.info("%s: %d cuts beyond the end of their contig left out", atac, off_contig)
    return CutCounts(total, total / sum(lengths.values()), off_contig, largest, fragments.counts)


def _dense_chunks(positions: np.ndarray, length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (start, counts per base) of each stretch of a contig, from sorted positions."""
    for start in range(0, length, _CHUNK_BP):
        end = min(start + _CHUNK_BP, length)
        first, last = np.searchsorted(positions, [start, end])
        yield start, np.bincount(positions[first:last] - start, minlength=end - start)


def _copy_track(
    atac: Path,
    lengths: Mapping[str, int],
    output: Path,
    *,
    shift: Tn5Shift,
    excluded: tuple[str, ...],
    source: str,
) -> CutCounts:
    """Check a track of counts and write it anew."""
    if shift != _TARGET:
        raise InputError(
            f"the shift of this bigWig is declared as {shift}, but cut counts cannot be shifted any more",
            where=atac,
            cause="both read ends are in one track",
            remedy="give fragments, or counts made at +4/-4 together with tn5_shift +4/-4",
        )
    refuse_unknown_contigs(bigwig_lengths(atac), lengths, where=atac, source=source, exclude_contigs=excluded)
    check_bigwig_contigs(atac, lengths, source)
    totals, largest, equal, nonzero = {}, 0, 0, 0
    with BigWigWriter(output, lengths, sparse=True) as writer:
        for chrom, length in lengths.items():
            totals[chrom] = 0
            for start in range(0, length, _CHUNK_BP):
                values = _read_counts(atac, chrom, start, min(start + _CHUNK_BP, length))
                writer.add(chrom, start, values)
                totals[chrom] += int(values.sum(dtype=np.float64))
                largest = max(largest, int(values.max()))
                nonzero += np.count_nonzero(values)
                equal += np.count_nonzero((values[1:] == values[:-1]) & (values[1:] > 0))
        refuse_no_cuts(int(nonzero), atac)
        if equal > _MOST_EQUAL_NEIGHBOURS * nonzero:
            raise _no_counts(atac, f"{equal / nonzero:.0%} of its bases have the value of the base before")
        refuse_empty_contigs(totals, lengths, atac, "cuts")
    total = sum(totals.values())
    return CutCounts(total, total / sum(lengths.values()), 0, largest, None)


def _read_counts(atac: Path, chrom: str, start: int, end: int) -> np.ndarray:
    """Read a span of counts, gaps as 0, and raise for the first value that is no count."""
    values = read_bigwig(atac, chrom, start, end)
    is_gap = np.isnan(values)
    if np.count_nonzero(~is_gap) != covered_bp(atac, chrom, start, end):
        raise _no_counts(atac, f"NaN within {chrom}:{start}-{end}")
    values[is_gap] = 0
    wrong = np.flatnonzero((values < 0) | ~np.isfinite(values) | (values != np.round(values)))
    if wrong.size:
        raise _no_counts(atac, f"{values[wrong[0]]:g} at {chrom} position {start + wrong[0]} (0-based)")
    return values


def _no_counts(atac: Path, what: str) -> InputError:
    """Say that a track holds no cut counts."""
    return InputError(
        f"no 1-bp cut counts: {what}",
        where=atac,
        cause="a smoothed, normalised, p-value or coverage track",
        remedy="give the fragments, or raw counts of Tn5 cuts per base",
    )


def _describe(counts: CutCounts, atac: Path, judged: ShiftJudgement, excluded: tuple[str, ...]) -> TrackInfo:
    """Return the sidecar's content."""
    shifts = judged.summary()
    details = {
        "stage_version": STAGE_VERSIONS["cuts"],
        "source": atac.name,
        "tn5_shift_declared": shifts["declared"],
        "tn5_shift_detected": shifts["detected"],
        "tn5_shift_used": shifts["used"],
        "tn5_shift_target": str(_TARGET),
        "exclude_contigs": list(excluded),
        **asdict(counts),
    }
    return TrackInfo(
        track="cuts",
        unit="cuts",
        range=(0, counts.largest),
        gaps="zero",
        description="Tn5 cuts per base, at the centre of the 9-bp duplication, both ends of each fragment",
        aggregation="sum",
        details=details,
    )
