"""What do the inputs hold, and what is wrong with them? Everything that is wrong, in one go.

Public names: `GivenInputs`, `CheckedInputs`, `check_inputs`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gatescope.atac.accounts import FileCounts, ReadFilter
from gatescope.atac.bigwig import bigwig_lengths, check_bigwig_contigs
from gatescope.atac.bigwig_check import refuse_damaged_bigwig
from gatescope.atac.cuts import Shifts, open_cuts
from gatescope.atac.formats import tell_format
from gatescope.data.funnel import Funnel
from gatescope.data.inputs import TrackSource, check_folds_have_peaks, read_track, track_sources
from gatescope.data.landscape import Landscape, read_landscape, usable_peaks
from gatescope.data.store import NOT_SCORED
from gatescope.errors import Problems
from gatescope.genome.assemblies import assembly_of
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.genome.folds import Fold, read_folds
from gatescope.genome.regions import ExclusionLists, list_exclusions, read_regions
from gatescope.genome.sequence import UNKNOWN


@dataclass(frozen=True)
class GivenInputs:
    """Hold what `gatescope.data.preflight.preflight` was given; its arguments say what each is."""

    genome: Path | str
    atac: Sequence[Path | str]
    peaks: Path | str
    folds: Any
    exclusion_list: ExclusionLists
    tracks: Mapping[str, str | Path]
    tn5_shift: Shifts
    keep: ReadFilter
    exclude_contigs: tuple[str, ...]
    window_bp: int
    max_unknown_fraction: float


@dataclass(frozen=True)
class CheckedInputs:
    """Hold what was found in inputs that fit each other.

    Attributes
    ----------
    land : Landscape
    sources : list of TrackSource
    usable : DataFrame
        Merged peaks that can be trained on.
    folds : dict of str to Fold
    funnel : Funnel
        What was dropped, and why.
    genome, atac : dict
        Counts, as ``preflight.json`` has them.
    """

    land: Landscape
    sources: list[TrackSource]
    usable: pd.DataFrame
    folds: dict[str, Fold]
    funnel: Funnel
    genome: dict[str, Any]
    atac: dict[str, Any]


def check_inputs(given: GivenInputs) -> CheckedInputs:
    """Read every file whole, once, and check all against each other.

    What can be checked though something else is wrong, is: peaks, exclusion list, each extra track, each ATAC file,
    the folds. A check that would only repeat another mistake is left out.

    Raises
    ------
    InputError
        `InputErrors`, where several things are wrong.
    """
    check = _Check(given)
    check.read_genome()
    if not check.lengths:
        check.read_alone()
        check.problems.raise_found()
    check.read_regions()
    check.read_tracks()
    atac = check.read_atac()
    check.problems.raise_found()
    assert check.land is not None and check.usable is not None and atac is not None
    return CheckedInputs(
        check.land, check.sources, check.usable, check.splits, check.funnel, check.found_genome, atac
    )


@dataclass
class _Check:
    """Collect findings and problems, one subject after the other."""

    given: GivenInputs
    problems: Problems = field(default_factory=Problems)
    funnel: Funnel = field(default_factory=Funnel)
    lengths: dict[str, int] = field(default_factory=dict)
    land: Landscape | None = None
    usable: pd.DataFrame | None = None
    splits: dict[str, Fold] = field(default_factory=dict)
    sources: list[TrackSource] = field(default_factory=list)
    found_genome: dict[str, Any] = field(default_factory=dict)

    def read_genome(self) -> None:
        """Read the genome to its last base."""
        with self.problems.noted():
            genome = Genome(self.given.genome)
            for contig in genome.lengths:
                genome.codes(contig)
            kept = [contig for contig in genome.lengths if contig not in self.given.exclude_contigs]
            self.lengths = {contig: genome.lengths[contig] for contig in kept}
            if not kept:
                kept_lengths(genome.lengths, self.given.exclude_contigs)  # raises

    def read_alone(self) -> None:
        """Check what needs no genome, each file by itself."""
        given = self.given
        for path in (given.peaks, *list_exclusions(given.exclusion_list).values()):
            with self.problems.noted():
                read_regions(path)
        for path in given.atac:
            with self.problems.noted():
                tell_format(path)
        for name, path in given.tracks.items():
            with self.problems.noted():
                (source,) = track_sources({name: path})
                refuse_damaged_bigwig(source.path)
                bigwig_lengths(source.path)

    def read_regions(self) -> None:
        """Check peaks, exclusion list and folds against the genome, and the folds against the peaks."""
        given = self.given
        with self.problems.noted():
            self.land = read_landscape(
                given.genome, given.peaks, given.exclusion_list, given.exclude_contigs, self.funnel
            )
        with self.problems.noted():
            self.splits = read_folds(given.folds, self.lengths)
        if self.land is None:
            return
        with self.problems.noted():
            self.usable = usable_peaks(
                self.land, given.window_bp, given.max_unknown_fraction, given.peaks, self.funnel
            )
            check_folds_have_peaks(self.splits, self.usable, given.peaks)

    def read_tracks(self) -> None:
        """Check each extra track against the genome, then its values where bases are scored."""
        fitting = []
        for name, path in self.given.tracks.items():
            with self.problems.noted():
                (source,) = track_sources({name: path})
                self.sources.append(source)
                check_bigwig_contigs(source.path, self.lengths, self.given.genome)
                fitting.append(source)
        if self.land is not None:
            self.found_genome = _describe_genome(self.land, fitting, self.problems)

    def read_atac(self) -> dict[str, Any] | None:
        """Check each ATAC file, and say what they hold together."""
        with self.problems.noted():
            return _describe_atac(self.given, self.lengths, self.land)
        return None


def _describe_genome(land: Landscape, sources: list[TrackSource], problems: Problems) -> dict[str, Any]:
    """Count bases, and check on the way that the extra tracks have values where bases are scored."""
    bp = sum(land.lengths.values())
    unknown = strong = scored = 0
    good = list(sources)
    for contig, length in land.lengths.items():
        codes = land.genome.codes(contig)
        is_scored = land.state(contig, codes) != NOT_SCORED
        unknown += int((codes == UNKNOWN).sum())
        strong += int(((codes == 1) | (codes == 2)).sum())
        scored += int(is_scored.sum())
        for source in list(good):
            good.remove(source)  # a track is told off once, not once per contig
            with problems.noted():
                read_track(source, contig, length, is_scored)
                good.append(source)
    return {
        "assembly": assembly_of(land.genome.lengths) or None,
        "contigs": land.lengths,
        "bp": bp,
        "scored_bp": scored,
        "unknown_share": round(unknown / bp, 6),
        "gc": round(strong / max(1, bp - unknown), 6),
    }


def _describe_atac(given: GivenInputs, lengths: Mapping[str, int], land: Landscape | None) -> dict[str, Any]:
    """Count rows and cuts, and the share of cuts in peaks; compare the shift with what the data say."""
    total = in_peaks = 0
    with open_cuts(
        given.atac,
        given.genome,
        tn5_shift=given.tn5_shift,
        keep=given.keep,
        exclude_contigs=given.exclude_contigs,
    ) as source:
        for contig, counts in source.contigs():
            total += int(counts.sum(dtype=np.int64))
            in_peaks += int(counts[land.in_peak(contig)].sum(dtype=np.int64)) if land else 0
        files = source.finish()
    return {
        "kind": ", ".join(dict.fromkeys(file.format for file in files)),
        "tn5_shift": str(source.shifts.used),
        "tn5_shift_evidence": source.shifts.summary(),
        "fragments": _used(files, 2),
        "reads": _used(files, 1),
        "distinct_fragments": _used(files, 2, "distinct"),
        "files": [asdict(file) for file in files],
        "cuts": total,
        "cuts_per_bp": round(total / sum(lengths.values()), 6),
        "frip": round(in_peaks / total, 6),
    }


def _used(files: Iterable[FileCounts], ends_per_row: int, what: str = "used") -> int | None:
    """Add up what files of fragments (two ends per row) or of reads (one) hold; None if there are none."""
    numbers = [getattr(file, what) for file in files if file.ends_per_row == ends_per_row]
    return sum(numbers) if numbers else None
