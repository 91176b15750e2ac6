"""Which contigs are learned from, which choose, which are reported? Folds of whole contigs.

Public names: `Fold`, `name_folds`, `read_folds`.

`workflow/rules/common.smk` names the folds at parse time, possibly with a Python that has nothing but Snakemake, and
before there is a genome: standard library only.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gatescope.errors import InputError
from gatescope.genome.contigs import contig_hint, name_list

log = logging.getLogger(__name__)

_FEWEST_PARTS = 3  # one reports, one chooses, the others are learned from
_MOST_PARTS = 1000  # each is named before the genome is known; nobody trains as many networks
_WANTED = "name test and valid contigs, give a number of folds, or a JSON file of train, valid and test as ChromBPNet's"
_DEALT = {"part", "of"}


@dataclass(frozen=True)
class Fold:
    """Split the contigs of one genome.

    Parameters
    ----------
    name : str
        Name in the config, such as ``f1``.
    test : tuple of str
        Contigs that are only ever reported on.
    valid : tuple of str
        Contigs that choose: early stopping, hidden units.
    train : tuple of str, optional
        Contigs that are learned from, where they are named; None: every contig that is in neither of the others.
    """

    name: str
    test: tuple[str, ...]
    valid: tuple[str, ...]
    train: tuple[str, ...] | None = None

    def split(self, contig: str) -> Literal["train", "valid", "test", "unused"]:
        """Return the part that a contig, matched by its whole name, belongs to."""
        if contig in self.test:
            return "test"
        if contig in self.valid:
            return "valid"
        return "train" if self.train is None or contig in self.train else "unused"

    def parts(self) -> dict[str, list[str]]:
        """Return the lists that were named, as the configuration and JSON files hold them."""
        named = {"test": self.test, "valid": self.valid, "train": self.train}
        return {part: list(contigs) for part, contigs in named.items() if contigs is not None}

    @classmethod
    def from_parts(cls, name: str, parts: Mapping[str, Any]) -> "Fold":
        """Make a fold of what `parts` returned; other keys are ignored, nothing is checked."""
        train = parts.get("train")
        return cls(name, tuple(parts["test"]), tuple(parts["valid"]), None if train is None else tuple(train))


def name_folds(folds: Any, folder: Path | str = ".") -> dict[str, Any]:
    """Give every fold its name, before the genome is known.

    Parameters
    ----------
    folds : mapping, int, str or path, or a list of paths
        ``{"f1": {"test": [...], "valid": [...]}, ...}``, possibly with ``train``; or a number k of folds by
        contig, called ``f1`` to ``fk``; or JSON files of one fold each, ``{"train": [...], "valid": [...],
        "test": [...]}`` as ChromBPNet's ``prep splits`` writes them, each called as the file without ``.json``.
    folder : path
        Folder against which relative paths are read.

    Returns
    -------
    dict of str to any
        For `read_folds`; a fold of k is ``{"part": i, "of": k}``.

    Raises
    ------
    InputError
        For a number below 3 or above 1,000; a file that is missing or not such JSON; two files of the same name.

    References
    ----------
    https://github.com/kundajelab/chrombpnet, chrombpnet/helpers/make_chr_splits/splits.py
    """
    if isinstance(folds, bool) or not folds:
        raise InputError("no fold given", where="folds", remedy=_WANTED)
    if isinstance(folds, int):
        if folds < _FEWEST_PARTS:
            raise InputError(
                f"{folds} folds; one is for test, one for validation", where="folds", remedy="give 3 or more"
            )
        if folds > _MOST_PARTS:
            raise InputError(f"{folds} folds", where="folds", remedy=f"give {_MOST_PARTS} or fewer")
        return {f"f{part}": {"part": part, "of": folds} for part in range(1, folds + 1)}
    paths = [folds] if isinstance(folds, str | Path) else folds
    if isinstance(paths, list | tuple) and all(isinstance(path, str | Path) for path in paths):
        return _read_files([Path(folder).expanduser() / Path(path).expanduser() for path in paths])
    if not isinstance(folds, Mapping):
        raise InputError(f"got {folds!r}", where="folds", remedy=_WANTED)
    return dict(folds)


def read_folds(folds: Any, lengths: Mapping[str, int]) -> dict[str, Fold]:
    """Turn the config's ``folds`` into checked folds.

    A number k of folds deals the contigs out: the longest first, each to the part that has the fewest bp so far.
    Part i is the test part of fold i, and the part after it (after the last the first) its validation part.

    Parameters
    ----------
    folds : any
        As `name_folds` takes or returns.
    lengths : mapping of str to int
        Contigs in use, in bp and genome order: the genome's, without excluded ones.

    Returns
    -------
    dict of str to Fold

    Raises
    ------
    InputError
        As `name_folds`; a part missing, empty or not a list of names; an unknown contig of test or valid; a contig
        in two parts; nothing to train on; fewer contigs than folds.
    """
    return {name: _read_fold(name, parts, lengths) for name, parts in name_folds(folds).items()}


def _read_files(paths: Iterable[Path]) -> dict[str, Any]:
    """Read one fold per file."""
    folds: dict[str, Any] = {}
    for path in paths:
        name = path.name.removesuffix(".json")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            what = f"{name!r} cannot name a fold"
            raise InputError(what, where=f"folds: {path}", remedy="rename the file: letters, digits, _ and -")
        if name in folds:
            raise InputError(
                f"two files of folds are called {name}", where=f"folds: {path}", remedy="rename one"
            )
        folds[name] = _read_file(path)
    return folds


def _read_file(path: Path) -> dict[str, Any]:
    """Read the three lists of a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError("file does not exist", where=f"folds: {path}") from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=f"folds: {path}") from error
    except ValueError as error:
        raise InputError(f"not JSON ({error})", where=f"folds: {path}") from error
    if not isinstance(content, dict) or set(content) != {"train", "valid", "test"}:
        found = (
            f"keys {name_list(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        )
        raise InputError(
            f"wanted one fold with the keys train, valid and test, got {found}",
            where=f"folds: {path}",
            remedy="write one file for each fold, as `chrombpnet prep splits` does",
        )
    return content


def _read_fold(name: str, parts: Any, lengths: Mapping[str, int]) -> Fold:
    """Check one fold."""
    where = f"folds.{name}"
    if isinstance(parts, Mapping) and set(parts) == _DEALT:
        return _deal_fold(name, parts["part"], parts["of"], lengths)
    if not isinstance(parts, Mapping) or set(parts) - {"train"} != {"test", "valid"}:
        raise InputError("wanted two lists, test and valid, and perhaps train", where=where)
    test, valid = (_read_part(f"{where}.{part}", parts[part], lengths) for part in ("test", "valid"))
    train = _read_train(f"{where}.train", parts["train"], lengths) if "train" in parts else None
    named = {"test": test, "valid": valid, "train": train or ()}
    for one, other in (("test", "valid"), ("test", "train"), ("valid", "train")):
        shared = [contig for contig in named[one] if contig in named[other]]
        if shared:
            raise InputError(
                f"contig {name_list(shared)} in both {one} and {other}",
                where=where,
                remedy="what is reported on must neither choose nor be learned from: name different contigs",
            )
    fold = Fold(name, test, valid, train)
    if not any(fold.split(contig) == "train" for contig in lengths):
        raise InputError(
            f"no contig left to train on (the genome has {name_list(lengths)})",
            where=where,
            remedy="name fewer test and valid contigs",
        )
    unused = [contig for contig in lengths if fold.split(contig) == "unused"]
    if unused:
        log.info(
            "%s: %d contigs are in no part and are not trained on: %s", where, len(unused), name_list(unused)
        )
    return fold


def _deal_fold(name: str, part: int, of: int, lengths: Mapping[str, int]) -> Fold:
    """Return fold number `part` of `of` by contig."""
    if (
        not all(type(number) is int for number in (part, of))
        or not _FEWEST_PARTS <= of
        or not 1 <= part <= of
    ):
        what = f"part {part!r} of {of!r}"
        raise InputError(what, where=f"folds.{name}", remedy="give two whole numbers, such as part 1 of 5")
    if len(lengths) < of:
        raise InputError(
            f"{of} folds of {len(lengths)} contigs ({name_list(lengths)})",
            where="folds",
            remedy="whole contigs are held out: give fewer folds"
            if len(lengths) >= _FEWEST_PARTS
            else "whole contigs are held out, so there must be 3: cut long ones into pieces, in all files alike",
        )
    parts: list[list[str]] = [[] for _ in range(of)]
    dealt_bp = [0] * of
    for contig in sorted(lengths, key=lambda contig: -lengths[contig]):
        least = dealt_bp.index(min(dealt_bp))
        parts[least].append(contig)
        dealt_bp[least] += lengths[contig]
    rank = {contig: number for number, contig in enumerate(lengths)}
    test, valid = (tuple(sorted(parts[number % of], key=rank.__getitem__)) for number in (part - 1, part))
    return Fold(name, test, valid)


def _read_part(where: str, names: Any, contigs: Mapping[str, int]) -> tuple[str, ...]:
    """Check one list of contigs that all have to be there."""
    found = _read_names(where, names)
    unknown = [str(name) for name in found if name not in contigs]
    if unknown:
        raise InputError(
            f"contig {name_list(unknown)} not among the contigs in use",
            where=where,
            cause=contig_hint(unknown, contigs),
            remedy="write names as in the FASTA, in quotes if they are numbers",
        )
    return found


def _read_train(where: str, names: Any, contigs: Mapping[str, int]) -> tuple[str, ...]:
    """Check a list that may come from a table of all contigs, of which some are excluded here."""
    found = _read_names(where, names)
    known = tuple(name for name in found if name in contigs)
    unknown = [str(name) for name in found if name not in contigs]
    if not known:
        cause = contig_hint(unknown, contigs)
        raise InputError(
            f"contig {name_list(unknown)} not among the contigs in use", where=where, cause=cause
        )
    if unknown:
        log.warning("%s: contig %s not among the contigs in use: left out", where, name_list(unknown))
    return known


def _read_names(where: str, names: Any) -> tuple[Any, ...]:
    """Check that this is a list without repeats."""
    if isinstance(names, str) or not isinstance(names, list | tuple) or not names:
        raise InputError(f"wanted a list of contigs, got {names!r}", where=where)
    if not all(isinstance(name, str | int) for name in names):
        raise InputError(f"wanted names of contigs, got {list(names)!r}", where=where)
    if len(set(names)) < len(names):
        raise InputError("a contig stands twice", where=where)
    return tuple(names)
