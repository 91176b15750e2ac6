"""Which contigs are meant? Do two files speak of the same ones, which remain, which are whose share.

Public names: `contig_hint`, `refuse_unknown_contigs`, `kept_lengths`, `name_list`, `contig_file_stem`, `WHOLE`,
`share_of`.
"""

import logging
from collections.abc import Iterable, Mapping
from heapq import heapreplace
from pathlib import Path

from gatescope.errors import InputError

log = logging.getLogger(__name__)

_ROMAN = {
    roman: str(number)
    for number, roman in enumerate("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split(), start=1)
}
#: The piece that is everything: nothing is shared out.
WHOLE = "1-of-1"

_MITOCHONDRIA = {"M": "MT", "Mito": "MT", "MtDNA": "MT"}


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
    by_key = {_key(name): name for name in reversed(known)}
    for name in names:
        match = by_key.get(_key(name))
        if match is not None and match != name:
            return f"the genome calls it {match!r}, this file {name!r}{_naming(name, match)}"
    return f"another genome build or species (the genome has {name_list(known, 3)})"


def _naming(name: str, match: str) -> str:
    """Name the difference where it is the common one."""
    if ("chr" + name).lower() == match.lower() or ("chr" + match).lower() == name.lower():
        return " (names with and without 'chr')"
    return ""


def _key(name: str) -> str:
    """Return what stays of a contig name without prefix, version, case and Roman numerals."""
    bare = name.strip().split(".")[0]
    for prefix in ("chromosome", "chr"):
        if bare.lower().startswith(prefix):
            bare = bare[len(prefix) :].lstrip("_- ")
            break
    bare = bare.upper() if bare.islower() else bare
    return _ROMAN.get(bare, _MITOCHONDRIA.get(bare, bare)).lower()


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
        The file, for the message.
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
        raise InputError(
            f"contig {name_list(unknown)} not in {source}",
            where=where,
            cause=contig_hint(unknown, lengths),
            remedy="use one naming and one build throughout, or list it in exclude_contigs",
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
    """Return a contig's name as files carry it: FASTA allows a slash, a file system does not."""
    return contig.replace("%", "%25").replace("/", "%2F")


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
