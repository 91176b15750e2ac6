"""Where do aligned reads begin? BAM, CRAM and SAM, read once from front to back by pysam.

Public names: `read_alignments`, `stated_md5`.
"""

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pysam

from gatescope.atac.accounts import ReadFilter
from gatescope.atac.bam import COLUMNS, bam_tables
from gatescope.atac.ends import Batch, Copies, Piece, Side
from gatescope.atac.reference import blank_reference
from gatescope.errors import InputError
from gatescope.genome.assemblies import assembly_clash
from gatescope.genome.contigs import refuse_unknown_contigs

log = logging.getLogger(__name__)

# SAM specification 1.4.2
_PAIRED, _PROPER, _UNMAPPED, _REVERSE = 0x1, 0x2, 0x4, 0x10
_SECONDARY, _QC_FAILED, _DUPLICATE, _SUPPLEMENTARY = 0x100, 0x200, 0x400, 0x800
# All but names, bases, qualities and tags: the bases of the reference make no difference (htslib's sam_fields).
_FIELDS_READ = 0x1FE
_CRAM_END = b"\xe0EOF\x00"  # within the last container, CRAM specification 9
_READS_AT_ONCE = 50_000
_UNKNOWN, _EXCLUDED = -2, -1  # in place of a contig's index


def read_alignments(
    path: Path | str,
    lengths: Mapping[str, int],
    keep: ReadFilter,
    source: str = "genome",
    exclude_contigs: Iterable[str] = (),
) -> Iterator[Piece]:
    """Read alignments in any order; no index is needed.

    Each read stands for one cut, at the end where it begins: the base of a forward read with the smallest
    position, of a reverse read that with the largest, soft-clipped bases not counted.

    Parameters
    ----------
    path : Path or str
        BAM, CRAM or SAM; told apart by content.
    lengths : mapping of str to int
        Contigs of the genome.
    keep : ReadFilter
        Unmapped, secondary, supplementary and QC-failed alignments are left out whatever it says.
    source : str
        What the genome is called in messages.
    exclude_contigs : iterable of str
        Contigs whose reads are left out, counted.

    Yields
    ------
    Piece
        A read in a proper pair is known by both ends of its fragment: a reverse read by its mate's position,
        a forward read by the template length.

    Raises
    ------
    InputError
        For a damaged or truncated file, a header without contigs or with those of another assembly, reads
        beyond the end of a contig; after the last read, for reads on contigs that the genome does not have.

    References
    ----------
    SAM/BAM Format Specification, section 1.4; CRAM Format Specification 3.1, section 9.
    """
    path = Path(path)
    _refuse_truncated_cram(path)
    # without the reference, from which htslib would mend the header's lengths
    with _opened(path) as file:
        with _reported(path):  # a name may be no text
            header = dict(zip(file.references, file.lengths, strict=True))
        is_bam = file.is_bam
    codes = _contig_codes(header, path, lengths, set(exclude_contigs), source)
    names, limits = list(header), np.array(list(header.values()), np.int64)
    homeless = np.zeros(len(names), np.int64)
    for table in _bam_tables(path) if is_bam else _pysam_tables(path, header):
        yield _sort_out(table, codes, limits, keep, homeless, path, names)
    strangers = {names[index]: int(homeless[index]) for index in np.flatnonzero(homeless)}
    if strangers:
        most = max(strangers, key=lambda name: strangers[name])
        where = f"{path} ({sum(strangers.values()):,} reads, most on {most})"
        refuse_unknown_contigs(strangers, lengths, where=where, file=path, kind="alignments", source=source)


def stated_md5(path: Path) -> dict[str, str]:
    """Return the MD5 of each contig's bases (``M5``) where the header of a BAM, CRAM or SAM states it."""
    try:
        with _opened(path) as file:
            lines = str(file.header).splitlines()  # pysam's dictionary refuses headers that htslib reads
    except UnicodeDecodeError:  # a comment in Latin-1, say: pysam gives such a header only as a whole
        log.warning(
            "%s: the header is not in UTF-8: which bases the reads were aligned to is not compared", path
        )
        return {}
    tags = [dict(re.findall(r"\t(SN|M5):([^\t]+)", line)) for line in lines if line.startswith("@SQ\t")]
    return {each["SN"]: each["M5"] for each in tags if len(each) == 2}


@contextmanager
def _opened(path: Path, lengths: Mapping[str, int] | None = None) -> Iterator[pysam.AlignmentFile]:
    """Open a file, with what htslib and pysam would print beside their exceptions left out.

    To read the records of a CRAM, give the `lengths` of all its contigs.
    """
    verbosity, hook = pysam.set_verbosity(0), sys.unraisablehook
    sys.unraisablehook = lambda _: None  # pysam closes what it could not open, and fails again
    options = [f"required_fields={_FIELDS_READ:#x}"] if _is_cram(path) else None
    try:
        with ExitStack() as stack:
            fasta = stack.enter_context(blank_reference(lengths)) if options and lengths else None
            with _reported(path):
                file = pysam.AlignmentFile(
                    str(path),
                    check_sq=False,
                    format_options=options,
                    reference_filename=str(fasta) if fasta else None,
                )
            try:
                yield file
            finally:
                with suppress(OSError):  # what is wrong with the file was said when it was read
                    file.close()
    finally:
        pysam.set_verbosity(verbosity)
        sys.unraisablehook = hook


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what pysam and htslib raise at a damaged file into one message; around their calls alone."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"alignments cannot be read ({' '.join(str(error).split())})",
        where=path,
        cause="a file that is truncated or damaged",
        remedy="check it with `samtools quickcheck` and copy or make it again"
        + (", or give it as BAM (samtools view -b)" if _is_cram(path) else ""),
    )


def _is_cram(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"CRAM"


def _refuse_truncated_cram(path: Path) -> None:
    """Raise if a CRAM stops between two containers: htslib takes that for its end."""
    if not _is_cram(path):
        return
    with path.open("rb") as file:
        version = file.read(6)[4:]
        file.seek(-min(40, path.stat().st_size), 2)
        is_whole = _CRAM_END in file.read()
    if version >= b"\x02\x01" and not is_whole:
        raise InputError(
            "CRAM without its end: the file is truncated",
            where=path,
            cause="an interrupted copy",
            remedy="copy or make it again",
        )


def _contig_codes(
    header: Mapping[str, int], path: Path, lengths: Mapping[str, int], excluded: set[str], source: str
) -> np.ndarray:
    """Return the index in the genome of each contig of the header, the last entry for no contig."""
    if not header:
        raise InputError(
            "the header lists no contigs (no @SQ line)",
            where=path,
            cause="reads that are not aligned yet",
            remedy="align them to the genome, or restore the header (samtools reheader)",
        )
    shared = [name for name in header if name in lengths]
    if not shared:
        refuse_unknown_contigs(header, lengths, where=path, file=path, kind="alignments", source=source)
    for name in shared:
        length = header[name]
        if name not in excluded and length != lengths[name]:
            raise InputError(
                f"{name} is {length} bp long in the header, in {source} {lengths[name]} bp",
                where=path,
                cause=assembly_clash(header, lengths),
                remedy="give the FASTA they were aligned to, or align them to this one",
            )
    index = {name: number for number, name in enumerate(lengths)}
    codes = [_EXCLUDED if name in excluded else index.get(name, _UNKNOWN) for name in header]
    return np.array([*codes, _EXCLUDED])


def _bam_tables(path: Path) -> Iterator[np.ndarray]:
    """Yield the `gatescope.atac.bam.COLUMNS` of the reads of a BAM."""
    tables = bam_tables(path)
    while True:
        try:
            table = next(tables, None)
        except OSError as error:
            raise _damaged(path, error) from error
        if table is None:
            return
        yield table


def _pysam_tables(path: Path, lengths: Mapping[str, int]) -> Iterator[np.ndarray]:
    """Yield the `gatescope.atac.bam.COLUMNS` of the reads of a CRAM or SAM."""
    with _opened(path, lengths) as file:
        rows = (
            (
                read.flag,
                read.reference_id,
                read.reference_start,
                read.reference_end or -1,
                read.mapping_quality,
                read.next_reference_start,
                read.template_length,
            )
            for read in file
        )
        while True:
            with _reported(path):
                fields = list(chain.from_iterable(islice(rows, _READS_AT_ONCE)))
            if not fields:
                return
            yield np.array(fields, np.int64).reshape(-1, len(COLUMNS))


def _sort_out(
    table: np.ndarray,
    codes: np.ndarray,
    limits: np.ndarray,
    keep: ReadFilter,
    homeless: np.ndarray,
    path: Path,
    names: list[str],
) -> Piece:
    """Leave out what does not count, and split the rest by strand and pairing; strangers go to `homeless`."""
    flag, contig, _, end, quality = table.T[:5]
    code = codes[contig]  # -1, no contig, is the last entry
    reasons = {
        "unmapped": ((flag & _UNMAPPED) > 0) | (contig < 0),
        "secondary": (flag & _SECONDARY) > 0,
        "supplementary": (flag & _SUPPLEMENTARY) > 0,
        "qc_failed": (flag & _QC_FAILED) > 0,
        "excluded_contigs": code == _EXCLUDED,
        "duplicates_marked": ((flag & _DUPLICATE) > 0) & (keep.duplicates != "keep"),
        "low_mapq": quality < keep.min_mapq,
        "improper_pairs": (flag & (_PAIRED | _PROPER) == _PAIRED) & (keep.improper_pairs == "remove"),
        "without_cigar": end < 0,
    }
    is_used, left_out = np.ones(len(table), bool), {}
    for reason, applies in reasons.items():
        left_out[reason] = int(np.count_nonzero(is_used & applies))
        is_used &= ~applies
    _refuse_off_contig(table[is_used], limits, names, path)
    np.add.at(homeless, contig[is_used & (code == _UNKNOWN)], 1)
    is_used &= code != _UNKNOWN
    return Piece(len(table), left_out, _batches(table[is_used], code[is_used]))


def _batches(table: np.ndarray, codes: np.ndarray) -> list[Batch]:
    """Split reads that count by strand, and by whether both ends of their fragment are known."""
    flag, _, start, end, _, mate, template = table.T
    is_pair = (flag & (_PAIRED | _PROPER)) == _PAIRED | _PROPER
    is_reverse = (flag & _REVERSE) > 0
    far_end = np.where(template != 0, start + template, np.maximum(mate, 0))
    first = np.where(is_pair & is_reverse, np.maximum(mate, 0), start)
    last = np.where(is_pair & ~is_reverse, far_end, end)
    kinds: list[tuple[Side, Copies, np.ndarray]] = [
        ("+", "surely", is_pair & ~is_reverse),
        ("-", "surely", is_pair & is_reverse),
        ("+", "perhaps", ~is_pair & ~is_reverse),
        ("-", "perhaps", ~is_pair & is_reverse),
    ]
    return [Batch(codes[rows], first[rows], last[rows], side, copies) for side, copies, rows in kinds]


def _refuse_off_contig(table: np.ndarray, limits: np.ndarray, names: list[str], path: Path) -> None:
    """Raise for the first read that is not within its contig."""
    contig, start, end = table.T[1:4]
    wrong = np.flatnonzero((start < 0) | (end > limits[contig]))
    if wrong.size:
        row = wrong[0]
        name, limit = names[contig[row]], limits[contig[row]]
        raise InputError(
            f"a read at {name}:{start[row]}-{end[row]} exceeds {name} length {limit}",
            where=path,
            cause="a header of another assembly, or reads shifted off their contig",
            remedy="give the file with the header it was aligned with",
        )
