"""Which contigs are learned from, which choose, which are reported? Folds of whole contigs.

Public names: `Fold`, `read_folds`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint, name_list


@dataclass(frozen=True)
class Fold:
    """Split the contigs of one genome: `test` and `valid` as named, everything else for training.

    Parameters
    ----------
    name : str
        Name in the config, such as ``f1``.
    test : tuple of str
        Contigs that are only ever reported on.
    valid : tuple of str
        Contigs that choose: early stopping, hidden units.
    """

    name: str
    test: tuple[str, ...]
    valid: tuple[str, ...]

    def split(self, contig: str) -> Literal["train", "valid", "test"]:
        """Return the part that a contig, matched by its whole name, belongs to."""
        if contig in self.test:
            return "test"
        return "valid" if contig in self.valid else "train"


def read_folds(mapping: Mapping[str, Any], contigs: Iterable[str]) -> dict[str, Fold]:
    """Turn the config's ``folds`` into checked folds.

    Parameters
    ----------
    mapping : mapping
        ``{"f1": {"test": [...], "valid": [...]}, ...}``.
    contigs : iterable of str
        Contigs in use: the genome's, without excluded ones.

    Returns
    -------
    dict of str to Fold

    Raises
    ------
    InputError
        No fold; a part missing, empty or not a list of names; an unknown contig; a contig named twice;
        nothing left to train on.
    """
    contigs = list(contigs)
    if not isinstance(mapping, Mapping) or not mapping:
        raise InputError("no fold given", where="folds", remedy="name test and valid contigs")
    return {name: _read_fold(name, parts, contigs) for name, parts in mapping.items()}


def _read_fold(name: str, parts: Any, contigs: list[str]) -> Fold:
    """Check one fold."""
    if not isinstance(parts, Mapping) or set(parts) != {"test", "valid"}:
        raise InputError("wanted two lists, test and valid", where=f"folds.{name}")
    test, valid = (_read_part(f"folds.{name}.{part}", parts[part], contigs) for part in ("test", "valid"))
    shared = [contig for contig in test if contig in valid]
    if shared:
        raise InputError(
            f"contig {name_list(shared)} in both test and valid",
            where=f"folds.{name}",
            remedy="what is reported on must not choose: name different contigs",
        )
    if len(test) + len(valid) == len(contigs):
        raise InputError(
            f"no contig left to train on (the genome has {name_list(contigs)})",
            where=f"folds.{name}",
            remedy="name fewer test and valid contigs",
        )
    return Fold(name, test, valid)


def _read_part(where: str, names: Any, contigs: list[str]) -> tuple[str, ...]:
    """Check one list of contigs."""
    if isinstance(names, str) or not isinstance(names, (list, tuple)) or not names:
        raise InputError(f"wanted a list of contigs, got {names!r}", where=where)
    unknown = [str(name) for name in names if name not in contigs]
    if unknown:
        raise InputError(
            f"contig {name_list(unknown)} not among the contigs in use",
            where=where,
            cause=contig_hint(unknown, contigs),
            remedy="write names as in the FASTA, in quotes if they are numbers",
        )
    if len(set(names)) < len(names):
        raise InputError("a contig stands twice", where=where)
    return tuple(names)
