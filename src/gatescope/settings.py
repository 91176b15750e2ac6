"""Is what a section of the configuration says of the right kind, and does it fit together? One line if not.

Public names: `Section`, `read_section`, `check_values`, `check_lengths`, `check_boundaries`, `check_verdict_rule`,
`check_grammar`.

Read at parse time like `gatescope.config`: standard library only.
"""

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gatescope.errors import InputError

_WANTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
Section = TypeVar("Section")


def read_section(kind: type[Section], values: Mapping[str, Any], where: str) -> Section:
    """Make the dataclass that holds a section of the configuration, as a verb got it.

    The workflow's schema has checked this before; a person who calls a verb has not. Ranges are for the
    dataclass to check.

    Parameters
    ----------
    kind : type
        A dataclass of numbers, text, tuples of these, and sections of its own.
    values : mapping
        Values by field; lists become tuples.
    where : str
        What the section is called in messages.

    Raises
    ------
    InputError
        If a key is unknown, or a value is of another type.
    """
    return kind(**check_values(values, get_type_hints(kind), where))


def check_values(values: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `values` if their keys are among `known`, which gives each key's type, and have that type.

    Raises
    ------
    InputError
        As `read_section`.
    """
    unknown = [key for key in values if key not in known]
    if unknown:
        raise InputError(f"unknown {', '.join(unknown)}", where=where, remedy=f"known are {', '.join(known)}")
    return {key: _as_type(known[key], value, f"{where}: {key}") for key, value in values.items()}


def _as_type(kind: Any, value: Any, where: str) -> Any:
    """Return a value of a type, its lists as tuples."""
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise InputError(f"{value!r}; wanted keys and values", where=where)
        return read_section(kind, value, where)
    if get_origin(kind) is not tuple:
        if not _is_of_type(kind, value):
            raise InputError(f"{value!r}; wanted {_WANTED[kind]}", where=where)
        return value
    kinds = get_args(kind)
    is_list = isinstance(value, list | tuple)
    if is_list and Ellipsis in kinds:
        kinds = (kinds[0],) * len(value)
    if not is_list or len(value) != len(kinds):
        number = "" if Ellipsis in kinds else f" of {len(kinds)}"
        raise InputError(f"{value!r}; wanted a list{number}", where=where)
    return tuple(_as_type(one, item, where) for one, item in zip(kinds, value, strict=True))


def _is_of_type(kind: Any, value: Any) -> bool:
    """Tell whether JSON's value can stand for the type: a whole number is a number, true and NaN are none."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def check_boundaries(settings: Mapping[str, Any]) -> None:
    """Raise `InputError` if values of the section `boundaries` contradict each other."""
    check_lengths(settings["dip_bp"], settings["flank_bp"], settings["profile_bp"])
    names = ("reset_below", "dip_below", "equivalence", "interval_level")
    check_verdict_rule(*(settings[name] for name in names))


def check_verdict_rule(
    reset_below: float, dip_below: float, equivalence: float, interval_level: float
) -> None:
    """Raise `InputError` if thresholds of the verdict contradict each other."""
    if not reset_below <= dip_below <= -equivalence < 0:
        raise InputError(
            f"reset_below {reset_below}, dip_below {dip_below}, equivalence {equivalence}; "
            "wanted reset_below <= dip_below <= -equivalence < 0",
            where="config: boundaries",
        )
    if not 0 < interval_level < 1:
        raise InputError(
            f"interval_level {interval_level}; wanted between 0 and 1", where="config: boundaries"
        )


def check_lengths(dip_bp: int, flank_bp: int, profile_bp: int) -> None:
    """Raise `InputError` if the lengths of a boundary profile do not lie inside each other."""
    if not 0 < dip_bp < flank_bp <= profile_bp:
        raise InputError(
            f"dip_bp {dip_bp}, flank_bp {flank_bp}, profile_bp {profile_bp}; "
            "wanted 0 < dip_bp < flank_bp <= profile_bp",
            where="config: boundaries",
        )


def check_grammar(settings: Mapping[str, Any]) -> None:
    """Raise `InputError` if values of the section `grammar` contradict each other."""
    jitter, half_width = settings["jitter_bp"], settings["half_width_bp"]
    if not jitter < half_width:
        raise InputError(
            f"jitter_bp {jitter}, half_width_bp {half_width}; wanted jitter_bp < half_width_bp",
            where="config: grammar",
        )
