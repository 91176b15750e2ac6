"""Files read line by line as their format pages say, with nothing but Python: what fast readers are compared with.

They forgive what a person would (a space, 1e3); a fast reader may refuse more, but never read something else.
"""

import re

CODES = {letter: code for code, letter in enumerate("ACGT")}
HEADERS = ("#", "track ", "track\t", "browser ")
UNUSED_FLAGS = 0x4 | 0x100 | 0x200 | 0x800
Cuts = dict[tuple[str, int], int]


def whole(text: str) -> int:
    """Read a whole number, in any notation."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        assert number.is_integer()
        return int(number)


def rows(content: bytes) -> list[list[str]]:
    """Return the fields of every line that is no header."""
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    return [
        line.split("\t")
        for line in lines
        if line.strip() and not line.startswith(HEADERS) and line != "track"
    ]


def ends_of_row(fields: list[str]) -> list[tuple[str, int, str]]:
    """Return contig, position and strand of the read ends of a row, told by its columns."""
    if len(fields) in (3, 5):
        return [(fields[0], whole(fields[1]), "+"), (fields[0], whole(fields[2]), "-")]
    if len(fields) == 6:
        return [(fields[0], whole(fields[1 if fields[5] == "+" else 2]), fields[5])]
    if "." in (fields[0], fields[3]):
        return []
    mates = (fields[0:3], fields[8]), (fields[3:6], fields[9])
    return [(place[0], whole(place[1 if strand == "+" else 2]), strand) for place, strand in mates]


def sam_ends(content: bytes) -> list[tuple[str, int, str]]:
    """Return the read ends of a SAM file."""
    found, listed = [], set()
    for line in content.decode("utf-8", errors="surrogateescape").split("\n"):
        fields = line.removesuffix("\r").split("\t")
        if not line or line.startswith("@"):
            listed |= {field[3:] for field in fields if line.startswith("@SQ") and field.startswith("SN:")}
            continue
        flag, contig, position, cigar = whole(fields[1]), fields[2], whole(fields[3]) - 1, fields[5]
        # htslib takes a read on a contig that the header does not list for unmapped
        if flag & UNUSED_FLAGS or contig not in listed or cigar == "*" or position < 0:
            continue
        covered = sum(int(n) for n, kind in re.findall(r"(\d+)([MIDNSHP=XB])", cigar) if kind in "MDN=X")
        end = position + max(1, covered)
        found.append((contig, end, "-") if flag & 0x10 else (contig, position, "+"))
    return found


def cuts(ends: list[tuple[str, int, str]], lengths: dict[str, int]) -> Cuts:
    """Count cuts of raw read ends, 4 bp inside, those on a contig."""
    counted: Cuts = {}
    for contig, position, strand in ends:
        at = position + 4 if strand == "+" else position - 5
        if 0 <= at < lengths[contig]:
            counted[contig, at] = counted.get((contig, at), 0) + 1
    return counted


def regions(content: bytes, is_narrow_peak: bool) -> list[tuple[str, int, int, int]]:
    """Return contig, start, end and summit of each row, sorted."""
    found = []
    for fields in rows(content):
        contig, start, end = fields[0], int(fields[1]), int(fields[2])
        has_summit = is_narrow_peak and int(fields[9]) != -1
        found.append((contig, start, end, start + int(fields[9]) if has_summit else (start + end) // 2))
    return sorted(found)


def fasta(content: bytes) -> dict[str, list[int]]:
    """Return the codes of every contig, 4 for what is unknown."""
    contigs: dict[str, list[int]] = {}
    name = ""
    for line in content.decode("utf-8", errors="surrogateescape").replace("\r\n", "\n").split("\n"):
        if line.startswith(">"):
            name = line[1:].split()[0]
            contigs[name] = []
        elif name:
            contigs[name] += [CODES.get(letter.upper(), 4) for letter in line]
    return contigs


def sample_rows(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a table with a header, without quotes."""
    lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip() and line[0] != "#"]
    fields = [[field.strip().strip('"') for field in line.split("\t")] for line in lines]
    return [dict(zip(fields[0], row, strict=False)) for row in fields[1:]]
