"""Why can this FASTA not be read? What its indexer has no words for, found in the file itself.

Public names: `explain_fasta`.
"""

from pathlib import Path

from gatescope.errors import InputError
from gatescope.genome.textfile import reading

_HEAD_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def explain_fasta(path: Path | str) -> tuple[str, str]:
    """Return cause and remedy of what is known to go wrong with FASTA; empty where nothing of it shows.

    Parameters
    ----------
    path : Path or str
        FASTA, plain or compressed, that could not be indexed; it is read until something shows.
    """
    try:
        with reading(path) as file:
            head = file.read(_HEAD_BYTES)
            if head.startswith(_BYTE_ORDER_MARK):
                cause = "a byte order mark before the first '>', as Windows programs write it"
                return cause, "take it away: tail -c +4 old.fa > new.fa"
            if b"\n" not in head and b"\r" in head:
                cause = "lines that end with CR alone, as in files of old Macintosh programs"
                return cause, "convert them: tr '\\r' '\\n' < old.fa > new.fa"
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    return f"line {number} is empty", "take empty lines out: awk NF old.fa > new.fa"
    except InputError:  # it cannot be unpacked: its reader has said so
        pass
    return "", ""
