"""How often did Tn5 cut at each base? From reads, fragments, or ready tracks, to ``cuts.bw``.

Public names: `cuts`, `CutCounts`, `CutSource`, `open_cuts`, `Paths`, `Shifts`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from gatescope.atac.accounts import Duplicates, FileCounts, ReadFilter, no_cut
from gatescope.atac.alignments import read_alignments, stated_md5
from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.atac.detect import CONVENTIONS
from gatescope.atac.ends import Ends, gather_ends
from gatescope.atac.formats import Format, tell_format
from gatescope.atac.fragments import read_rows
from gatescope.atac.preference import StrandEnds, share_of_ends
from gatescope.atac.reads import Reads
from gatescope.atac.ready import ReadyTrack
from gatescope.atac.reference import differing_contigs
from gatescope.atac.replicates import ReplicateTracks
from gatescope.atac.shift import AUTO, Tn5Shift, parse_declared
from gatescope.atac.shift_evidence import (
    SampleShift,
    ShiftJudgement,
    judge_shift,
    settle_shifts,
    write_shift_evidence,
)
from gatescope.errors import InputError, Problems
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.samples import check_shifts
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: Where cuts are counted, whatever the files carry: the centre of the duplication.
_TARGET = Tn5Shift(4, -4)
_ALIGNMENTS = ("BAM", "CRAM", "SAM")
_WIDEST_NARROWED_BP = max(shift.narrowed_bp for shift in CONVENTIONS)
Paths = Path | str | Sequence[Path | str]
Shifts = str | Tn5Shift | Sequence[str | Tn5Shift]


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
    files : tuple of FileCounts
        What was read from each file, in the order given.
    """

    cuts: int
    cuts_per_bp: float
    cuts_off_contig: int
    largest: int
    files: tuple[FileCounts, ...]


def cuts(
    atac: Paths,
    genome: Path | str,
    output: Path | str,
    *,
    tn5_shift: Shifts,
    duplicates: Duplicates = "auto",
    min_mapq: int = 30,
    improper_pairs: Literal["remove", "keep"] = "remove",
    exclude_contigs: Iterable[str] = (),
    replicates: Literal["merge", "keep"] = "merge",
) -> CutCounts:
    """Write 1-bp Tn5 cut counts, at the centre of the duplication, as bigWig with a sidecar.

    Each read gives one cut and each fragment two, one per end. Several files are replicates: their cuts are
    added up. A gap in the track means 0. Excluded contigs are not in it.

    Parameters
    ----------
    atac : Path or str, or a sequence of these
        BAM, CRAM, SAM, fragments (BED3 or 10x), tagAlign, BEDPE, or a bigWig of cut counts that are centred
        already, whose gaps are read as 0. The format is told from the content.
    genome : Path or str
        FASTA or .2bit.
    output : Path or str
        ``cuts.bw``; ``cuts.bw.json`` is written beside it, and what the data say about the shift:
        ``tn5_shift.json`` and ``tn5_shift.svg``.
    tn5_shift : str or Tn5Shift, or one for each file
        What was added to the read ends in the file, such as ``+0/-0`` (raw) or ``+4/-5``; ``auto`` takes what the
        data say. A bigWig must be at ``+4/-4``: its two strands can no longer be told apart.
    duplicates, min_mapq, improper_pairs
        As in `gatescope.atac.accounts.ReadFilter`; without effect on a bigWig.
    exclude_contigs : iterable of str
        Contigs to leave out.
    replicates : {"merge", "keep"}
        ``keep`` also writes the folder ``replicates`` beside `output`: see `gatescope.atac.replicates`.

    Returns
    -------
    CutCounts

    Raises
    ------
    InputError
        For a file that holds no reads, fragments or counts, or does not match the genome; for replicates with
        different shifts; for ``auto``, if the data do not tell their shift. Nothing is written then.
    """
    output, excluded = Path(output), tuple(exclude_contigs)
    keep = ReadFilter(duplicates, min_mapq, improper_pairs)
    if replicates not in ("merge", "keep"):
        raise InputError(f"{replicates!r}, wanted merge or keep", where="replicates")
    with open_cuts(atac, genome, tn5_shift=tn5_shift, keep=keep, exclude_contigs=excluded) as source:
        if replicates == "keep":
            counts = _write_with_replicates(source, output, keep, excluded)
        else:
            counts = _write(source, output)
    write_shift_evidence(source.shifts, output.parent)
    write_sidecar(output, _describe(counts, source.shifts, keep, excluded))
    log.info("%s: %d cuts, %.4f per bp", output, counts.cuts, counts.cuts_per_bp)
    return counts


class _File(Protocol):
    """What each file, whatever its format, can do."""

    def add_cuts(self, chrom: str, counts: np.ndarray) -> int:
        """Add a contig's cuts to `counts`; return how many lie beyond its ends."""
        ...

    def finish(self) -> FileCounts:
        """Return what was read, once every contig was."""
        ...


class CutSource:
    """Give the cuts of all files of a sample contig by contig; made by `open_cuts`.

    Parameters
    ----------
    lengths : dict of str to int
        Contigs in use, in the genome's order.
    shifts : SampleShift
        Shift that all the files carry, and what the data say to it.
    paths : tuple of str
        The files, in the order given.
    """

    def __init__(
        self, files: Sequence[_File], lengths: Mapping[str, int], shifts: SampleShift, paths: Sequence[str]
    ) -> None:
        self.lengths, self.shifts, self.paths = dict(lengths), shifts, tuple(paths)
        self._files = files
        self._finished: tuple[FileCounts, ...] = ()
        self.off_contig = 0

    def contigs(self, tracks: ReplicateTracks | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each contig with its (length,) uint32 cuts per base; `off_contig` grows on the way.

        With `tracks`, the cuts of each file by itself go there.

        Raises
        ------
        InputError
            After the last contig, if a file holds no counts, or no contig has a cut.
        """
        total, problems, good = 0, Problems(), list(self._files)
        for chrom, length in self.lengths.items():
            counts = np.zeros(length, np.uint32)
            each = [counts if tracks is None else np.zeros_like(counts) for _ in self._files]
            for file, own in zip(self._files, each, strict=True):
                if file not in good:
                    continue
                good.remove(file)  # what is wrong with one file must not hide what is wrong with another
                with problems.noted():
                    self.off_contig += file.add_cuts(chrom, own)
                    good.append(file)
            if tracks is not None:
                tracks.add(chrom, each)
                for own in each:
                    counts += own
            total += int(counts.sum(dtype=np.int64))
            yield chrom, counts
        finished = []
        for file in good:
            with problems.noted():
                finished.append(file.finish())
        problems.raise_found()
        self._finished = tuple(finished)
        if total == 0:
            raise no_cut(", ".join(self.paths))
        if tracks is not None:
            tracks.refuse_empty()

    def fragments(self, chrom: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (n,) int64 starts and ends of fragments on a contig, 0-based half-open, their shift undone.

        They come in no order; raw ends that the shift has moved off the contig are off it.
        """
        for file in self._files:
            if isinstance(file, Reads):
                yield from file.fragments(chrom)

    @property
    def fragment_share(self) -> float:
        """Share of 5' ends whose fragment is known, in the file where it is least; 0 for counts."""
        return min(file.fragment_share if isinstance(file, Reads) else 0.0 for file in self._files)

    def finish(self) -> tuple[FileCounts, ...]:
        """Return what was read from each file, once every contig, or every fragment, was."""
        return self._finished or tuple(file.finish() for file in self._files)


@contextmanager
def open_cuts(
    atac: Paths,
    genome: Path | str,
    *,
    tn5_shift: Shifts,
    keep: ReadFilter,
    exclude_contigs: Iterable[str] = (),
) -> Iterator[CutSource]:
    """Read the files of a sample, and give their cuts contig by contig; arguments as in `cuts`."""
    paths = [Path(path) for path in ([atac] if isinstance(atac, (str, Path)) else atac)]
    declared = _declared_shifts(paths, tn5_shift)
    _refuse_same_file(paths)
    reader = _Reader(Genome(genome), keep, tuple(exclude_contigs))
    kept = reader.kept
    problems = Problems()
    with ExitStack() as stack:
        files: list[_File] = []
        judged: dict[str, ShiftJudgement] = {}
        for path, shift in zip(paths, declared, strict=True):
            with problems.noted():
                file, judged[str(path)] = reader.open(path, tell_format(path), shift, stack)
                files.append(file)
        problems.raise_found()
        yield CutSource(files, kept, settle_shifts(judged), tuple(judged))


@dataclass(frozen=True)
class _Reader:
    """Open files of a sample, and settle by how much the ends in each are shifted."""

    genome: Genome
    keep: ReadFilter
    excluded: tuple[str, ...]

    @property
    def kept(self) -> dict[str, int]:
        """Contigs in use."""
        return kept_lengths(self.genome.lengths, self.excluded)

    def open(
        self, path: Path, format: Format, declared: Tn5Shift | None, stack: ExitStack
    ) -> tuple[_File, ShiftJudgement]:
        """Return a file, open until the stack ends, and what its data say to the declared shift."""
        if format == "bigWig":
            judged = judge_shift(declared, None, self.genome, self.kept, path)
            source = self.genome.path.name
            return ReadyTrack(path, self.kept, judged.used, self.excluded, source), judged
        narrowed_bp = _WIDEST_NARROWED_BP if declared is None else declared.narrowed_bp
        ends = stack.enter_context(self._gather(path, format, declared, narrowed_bp))
        judged = judge_shift(declared, self._strands(ends), self.genome, self.kept, path)
        if ends.narrowest_bp <= -judged.used.narrowed_bp:  # read as if narrowed by more than it is
            ends = stack.enter_context(self._gather(path, format, judged.used, judged.used.narrowed_bp))
        log.info("%s: %s", path, ends.counts.in_words)
        stated = stated_md5(path) if format in _ALIGNMENTS else {}
        differing = differing_contigs(stated, self.genome, self.kept, path)
        return Reads(ends, judged.used, differing), judged

    def _gather(self, path: Path, format: Format, shift: Tn5Shift | None, narrowed_bp: int) -> Ends:
        """Read one file of reads or fragments."""
        lengths, source = self.genome.lengths, self.genome.path.name
        if format in _ALIGNMENTS:
            pieces = read_alignments(path, lengths, self.keep, source, self.excluded)
        else:
            pieces = read_rows(path, format, lengths, self.keep, self.excluded, source, narrowed_bp)
        return gather_ends(
            pieces,
            lengths,
            path=path,
            format=format,
            keep=self.keep,
            tn5_shift=AUTO if shift is None else str(shift),
            exclude_contigs=self.excluded,
        )

    def _strands(self, ends: Ends) -> Iterator[tuple[str, StrandEnds]]:
        """Yield as many read ends of each contig as the shift is judged by."""
        total_bp = sum(self.kept.values())
        for chrom, length in self.kept.items():
            yield chrom, ends.strands(chrom, share_of_ends(length, total_bp))


def _declared_shifts(paths: list[Path], tn5_shift: Shifts) -> list[Tn5Shift | None]:
    """Return the declared shift of each file, None for ``auto``; those declared must be the same."""
    given = [tn5_shift] if isinstance(tn5_shift, (str, Tn5Shift)) else list(tn5_shift)
    shifts = [parse_declared(each) for each in given]
    named = [AUTO if shift is None else str(shift) for shift in shifts]
    check_shifts(named, [str(path) for path in paths], "tn5_shift")
    return shifts * len(paths) if len(shifts) == 1 else shifts


def _refuse_same_file(paths: list[Path]) -> None:
    """Raise if there is no file, or one is given twice: its cuts would count twice."""
    if not paths:
        raise InputError("no file", where="atac", remedy="give at least one")
    for number, path in enumerate(paths):
        if any(path.resolve() == other.resolve() for other in paths[:number]):
            raise InputError("given twice as a replicate", where=path, remedy="name each file once")


def _write_with_replicates(
    source: CutSource, output: Path, keep: ReadFilter, excluded: tuple[str, ...]
) -> CutCounts:
    """Write the track, and one for each file."""
    with ReplicateTracks(output.parent / "replicates", source.paths, source.lengths) as tracks:
        counts = _write(source, output, tracks)
        tracks.finish(counts.files, _settings(source.shifts, keep, excluded))
    return counts


def _write(source: CutSource, output: Path, tracks: ReplicateTracks | None = None) -> CutCounts:
    """Write the track, and count."""
    total = largest = 0
    with BigWigWriter(output, source.lengths, sparse=True) as writer:
        for chrom, counts in source.contigs(tracks):
            writer.add(chrom, 0, counts)
            total += int(counts.sum(dtype=np.int64))
            largest = max(largest, int(counts.max()))
        files = source.finish()
    if source.off_contig:
        log.info("%s: %d cuts beyond the end of their contig left out", output, source.off_contig)
    return CutCounts(total, total / sum(source.lengths.values()), source.off_contig, largest, files)


def _settings(shifts: SampleShift, keep: ReadFilter, excluded: tuple[str, ...]) -> dict[str, Any]:
    """Return what was asked for, as sidecars hold it."""
    return {
        "stage_version": STAGE_VERSIONS["cuts"],
        "tn5_shift_declared": shifts.declared,
        "tn5_shift_detected": shifts.detected,
        "tn5_shift_used": str(shifts.used),
        "tn5_shift_target": str(_TARGET),
        "exclude_contigs": list(excluded),
        **asdict(keep),
    }


def _describe(
    counts: CutCounts, shifts: SampleShift, keep: ReadFilter, excluded: tuple[str, ...]
) -> TrackInfo:
    """Return the sidecar's content."""
    details = {**_settings(shifts, keep, excluded), **asdict(counts)}
    return TrackInfo(
        track="cuts",
        unit="cuts",
        range=(0, counts.largest),
        gaps="zero",
        description="Tn5 cuts per base, at the centre of the 9-bp duplication, both ends of each fragment",
        aggregation="sum",
        details=details,
    )
