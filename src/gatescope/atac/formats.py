"""Which format has this ATAC file? Told from its content; a name that says otherwise is pointed out.

Public names: `Format`, `tell_format`, `is_header`, `TEXT_COLUMNS`.
"""

import logging
import re
from pathlib import Path
from typing import IO, Literal

from gatescope.errors import InputError
from gatescope.genome.textfile import reading

log = logging.getLogger(__name__)

Format = Literal["BAM", "CRAM", "SAM", "bigWig", "BED3", "10x", "tagAlign", "BEDPE"]

#: Columns of each text format, in order; BEDPE may have more behind these.
TEXT_COLUMNS: dict[str, tuple[str, ...]] = {
    "BED3": ("chrom", "start", "end"),
    "10x": ("chrom", "start", "end", "barcode", "count"),
    "tagAlign": ("chrom", "start", "end", "name", "score", "strand"),
    "BEDPE": ("chrom", "start", "end", "chrom2", "start2", "end2", "name", "score", "strand", "strand2"),
}
_WANTED = "wanted BAM, CRAM, fragments (BED3 or the 5 columns of 10x), tagAlign, BEDPE or a bigWig of cuts"
_BY_SUFFIX: dict[str, tuple[Format, ...]] = {
    ".bam": ("BAM",),
    ".cram": ("CRAM",),
    ".sam": ("SAM",),
    ".bw": ("bigWig",),
    ".bigwig": ("bigWig",),
    ".bed": ("BED3", "10x", "tagAlign", "BEDPE"),
    ".bed3": ("BED3",),
    ".bed6": ("tagAlign",),
    ".tagalign": ("tagAlign",),
    ".bedpe": ("BEDPE", "BED3"),  # MACS calls three columns BEDPE
    ".tsv": ("10x", "BED3", "tagAlign"),
}
_PACKED = (".gz", ".bgz")
_MAGIC: dict[bytes, Format] = {
    b"\x26\xfc\x8f\x88": "bigWig",
    b"\x88\x8f\xfc\x26": "bigWig",
    b"CRAM": "CRAM",
    b"BAM\x01": "BAM",
}
#: What else people give, by its first bytes (after unpacking gzip).
_STRANGERS = {
    b"BAI\x01": "an index; give the file it belongs to",
    b"CSI\x01": "an index; give the file it belongs to",
    b"TBI\x01": "an index; give the file it belongs to",
    b"\xeb\xf2\x89\x87": "bigBed; give BED text made by bigBedToBed",
    b"\x87\x89\xf2\xeb": "bigBed; give BED text made by bigBedToBed",
    b"\x89HDF": "HDF5, such as h5ad; export its fragments first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zX": "xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd; unpack it first",
    b"NCBI.sra": "an SRA archive; extract and align its reads first",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b">": "FASTA; give aligned reads",
    b"<": "a web page; download the file itself",
    b"fixedStep": "wiggle text; give reads, fragments or a bigWig",
    b"variableStep": "wiggle text; give reads, fragments or a bigWig",
}
_HEADERS = (b"#", b"track ", b"track\n", b"browser ")
_LONGEST_LINE = 1 << 16


def tell_format(path: Path | str) -> Format:
    """Tell the format of an ATAC file by its content, and log it.

    Parameters
    ----------
    path : Path or str
        Plain, gzip or bgzip. Of the name only the ending is looked at, to warn where it says otherwise.

    Returns
    -------
    str
        One of `Format`. BED6 with strands is ``tagAlign``, one row per read.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged, or nothing of these; with what it looks like instead.
    """
    path = Path(path)
    with reading(path) as file:
        head = file.read(4)
    found = _MAGIC.get(head) or _tell_text(path)
    if found == "BAM" and not _is_in_blocks(path):
        raise InputError(
            "a BAM packed by gzip, not by bgzip",
            where=path,
            remedy="unpack it, and run samtools view -b on what comes out",
        )
    said = _said_by_name(path)
    if said and found not in said:
        log.warning("%s: the name says %s, the content is %s: read as that", path, said[0], found)
    log.info("%s: %s", path, found)
    return found


def _is_in_blocks(path: Path) -> bool:
    """Tell whether a file is bgzip's: gzip with a field BC (SAM specification, section 4.1)."""
    with path.open("rb") as file:
        head = file.read(14)
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def is_header(line: bytes) -> bool:
    """Tell whether a line of a text file is a comment or speaks to the UCSC browser."""
    return line.startswith(_HEADERS) or line.rstrip() in (b"track", b"browser")


def _said_by_name(path: Path) -> tuple[Format, ...]:
    """Return the formats that go with the file's ending; none if it says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2:-1] if suffixes and suffixes[-1] in _PACKED else suffixes[-1:]
    return _BY_SUFFIX.get(last[0], ()) if last else ()


def _tell_text(path: Path) -> Format:
    """Tell text formats apart by the first line of data."""
    with reading(path) as file:
        line, number = _first_row(file)
    if not line:
        raise InputError("no fragments in it: the file holds no row", where=path)
    name = _said_by_name(path)
    but = f" (the name says {name[0]})" if name and name[0] not in TEXT_COLUMNS else ""
    for magic, what in _STRANGERS.items():
        if line.startswith(magic):
            raise InputError(f"this is {what.replace('; ', f'{but}, {_WANTED}; ', 1)}", where=path)
    if b"\0" in line:
        raise InputError(f"not text, and no format that is known{but}; {_WANTED}", where=path)
    if re.match(rb"@(HD|SQ|RG|PG|CO)\t", line):
        return "SAM"
    return _tell_columns(line, f"{path} line {number}", but)


def _first_row(file: IO[bytes]) -> tuple[bytes, int]:
    """Return the first line that is no header, and its number; no line if there is none."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip() and not is_header(line):
            return line.rstrip(b"\r\n"), number
    return b"", number


def _tell_columns(line: bytes, place: str, but: str) -> Format:
    """Tell the table formats apart by the number and kind of columns."""
    fields = line.split(b"\t")
    is_strand = [field in (b"+", b"-") for field in fields]
    if len(fields) == 3:
        return "BED3"
    if len(fields) == 5:
        return "10x"
    if len(fields) == 6 and is_strand[5]:
        return "tagAlign"
    if len(fields) >= 10 and _is_integer(fields[4]) and (is_strand[8] or fields[8] == b"."):
        return "BEDPE"
    raise InputError(
        f"{len(fields)} tab-separated column{'s' if len(fields) > 1 else ''}{but}, "
        "wanted 3 (contig, start, end), 5 (10x: and barcode, count), 6 (tagAlign, with strand) or 10 (BEDPE)",
        where=place,
        cause=_guess(line, fields),
        remedy="or give BAM, CRAM or a bigWig of cuts",
    )


def _is_integer(field: bytes) -> bool:
    return re.fullmatch(rb"-?\d+", field) is not None


def _guess(line: bytes, fields: list[bytes]) -> str:
    """Guess what a table of another shape is."""
    if b"\r" in line:
        return "lines that end with CR alone, as in files of old Macintosh programs; convert them: tr '\\r' '\\n'"
    if line.startswith(b"@"):
        return "FASTQ; give aligned reads"
    if len(line.split()) > len(fields):
        return "spaces instead of tabs"
    if len(fields) == 4:
        return "bedGraph, or fragments without the count column of 10x"
    if len(fields) == 6:
        return "BED6 whose column 6 is no strand (+ or -): where a read begins is unknown"
    if len(fields) == 10 and fields[5] in (b".", b"+", b"-"):
        return "narrowPeak: these are peaks, not reads"
    if len(fields) >= 11 and _is_integer(fields[1]) and _is_integer(fields[3]):
        return "SAM without its header"
    return "BED12" if len(fields) == 12 else ""
