"""Which contigs are meant? Do two files speak of the same ones, which remain, which are whose share.

Public names: `contig_hint`, `refuse_unknown_contigs`, `kept_lengths`, `name_list`, `contig_file_stem`, `WHOLE`,
`share_of`.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from heapq import heapreplace
from pathlib import Path

from gatescope.errors import InputError
from gatescope.genome.naming import Kind, bare_names, naming_of, rename_remedy

log = logging.getLogger(__name__)

# File systems allow 255 bytes, of which endings, numbers and the names of temporary files need some.
_LONGEST_STEM = 120
#: The piece that is everything: nothing is shared out.
WHOLE = "1-of-1"


def contig_hint(names: Iterable[str], known: Iterable[str]) -> str:
    """Guess why `names` are not among `known`.

    Names are only ever compared whole; the guess is for the message and changes nothing.

    Parameters
    ----------
    names : iterable of str
        Contig names as one file has them.
    known : iterable of str
        Contig names as the other file (mostly the genome) has them.

    Returns
    -------
    str
        A likely cause, for ``InputError(cause=...)``; empty if `known` is empty.
    """
    known = list(known)
    if not known:
        return ""
    by_key = {key: name for name, key in reversed(bare_names(known).items())}
    for name, key in bare_names(names).items():
        match = by_key.get(key)
        if match is not None and match != name:
            return f"the genome calls it {match!r}, this file {name!r}{_naming(name, match)}"
    return f"another genome build or species (the genome has {name_list(known, 3)})"


def _naming(name: str, match: str) -> str:
    """Name the difference where it is a common one."""
    if ("chr" + name).lower() == match.lower() or ("chr" + match).lower() == name.lower():
        return " (names with and without 'chr')"
    mine, theirs = naming_of([name]), naming_of([match])
    return (
        f" ({mine} instead of {theirs})" if mine and theirs and mine.split()[0] != theirs.split()[0] else ""
    )


def name_list(names: Iterable[str], most: int = 5) -> str:
    """Join at most `most` names, and say how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def refuse_unknown_contigs(
    names: Iterable[str],
    lengths: Mapping[str, int],
    *,
    where: Path | str,
    file: Path | str,
    kind: Kind = "text",
    source: str = "genome",
    exclude_contigs: Iterable[str] = (),
) -> None:
    """Raise if a name is neither a contig of the genome nor excluded.

    Parameters
    ----------
    names : iterable of str
        Contigs of the file `where`.
    lengths : mapping of str to int
        Contigs of the genome.
    where : Path or str
        The place, for the message: the file, or a line of it.
    file, kind
        The file and what it is, for the command that renames its contigs.
    source : str
        What the genome is called in the message, such as its file name.
    exclude_contigs : iterable of str
        Contigs that are allowed to be missing from the genome.

    Raises
    ------
    InputError
        Naming the contigs and the likely cause.
    """
    excluded = set(exclude_contigs)
    unknown = [name for name in names if name not in lengths and name not in excluded]
    if unknown:
        remedy, command = rename_remedy(unknown, lengths, file, kind)
        remedy = remedy or "use one naming and one build throughout"
        raise InputError(
            f"contig {name_list(unknown)} not in {source}",
            where=where,
            cause=contig_hint(unknown, lengths),
            remedy=f"list what the genome lacks in exclude_contigs, or {remedy}",
            command=command,
        )


def kept_lengths(lengths: Mapping[str, int], exclude_contigs: Iterable[str]) -> dict[str, int]:
    """Return the contigs of the genome that remain, in its order.

    A name that the genome does not have is allowed (it may stand in the other files) but said aloud.

    Raises
    ------
    InputError
        If none remains.
    """
    excluded = set(exclude_contigs)
    for contig in sorted(excluded - set(lengths)):
        log.warning("excluded contig %r is not in the genome (which has %s)", contig, name_list(lengths, 3))
    kept = {contig: length for contig, length in lengths.items() if contig not in excluded}
    if not kept:
        raise InputError("every contig of the genome is excluded", where="exclude_contigs")
    return kept


def contig_file_stem(contig: str) -> str:
    """Return a contig's name as files carry it: FASTA allows slashes, dots alone and any length, file systems do not.

    Different contigs have different stems: in a stem, ``%`` is followed by 25, 2F, 2E or, where the rest of a long
    name was left out, by h and its hash.
    """
    stem = contig.replace("%", "%25").replace("/", "%2F")
    stem = f"%2E{stem[1:]}" if stem.startswith(".") else stem
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(contig.encode()).hexdigest()[:16]
    return f"{stem.encode()[: _LONGEST_STEM // 2].decode(errors='ignore')}%h{digest}"


def share_of(lengths: Mapping[str, int], piece: str, where: str) -> list[str]:
    """Return the contigs of one piece of a genome, such that all pieces are about equally long.

    Parameters
    ----------
    lengths : mapping of str to int
        The contigs to share out, in genome order.
    piece : str
        "2-of-8", the second of eight. More pieces than contigs leave some empty.
    where : str
        What to name in the message: the option.

    Returns
    -------
    list of str
        In genome order. The longest contig first, each goes to the piece that has least.

    Raises
    ------
    InputError
        If `piece` is none.
    """
    number, _, count = piece.partition("-of-")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"piece {piece!r}; wanted such as 2-of-8", where=where)
    loads, chosen = [(0, rank) for rank in range(int(count))], set()
    for contig in sorted(lengths, key=lambda contig: -lengths[contig]):
        load, lightest = loads[0]
        heapreplace(loads, (load + lengths[contig], lightest))
        if lightest == int(number) - 1:
            chosen.add(contig)
    return [contig for contig in lengths if contig in chosen]
