"""How is a flag of the command line described and read? Kinds of flags, and parsers whose mistakes are one line.

Public names: `Flag`, `option`, `file`, `folder`, `number`, `mapping`, `named_paths`, `folds`, `json_list`,
`whole_number`, `length`, `PrintPlan`, `Verb`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A flag, and the settings of `argparse.ArgumentParser.add_argument` for it.
Flag = tuple[str, dict[str, Any]]


def _json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object given on the command line."""
    content = _parse_json(text)
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f'got {text!r}, wanted a JSON object such as {{"key": 1}}')
    return content


def json_list(text: str) -> list[dict[str, Any]]:
    """Parse a list of JSON objects given on the command line."""
    content = _parse_json(text)
    if not (isinstance(content, list) and all(isinstance(each, dict) for each in content)):
        raise argparse.ArgumentTypeError(f'got {text!r}, wanted a JSON list such as [{{"key": 1}}]')
    return content


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {text!r} ({error})") from error


def whole_number(least: int, most: float = float("inf")) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` on, to `most`."""

    def integer(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{number} is more than {most}")
        return number

    return integer


def _named_path(text: str) -> tuple[str, Path]:
    """Split NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted NAME=PATH")
    return name, Path(path)


class _NamedPaths(argparse.Action):
    """Collect NAME=PATH ... into ``{name: path}``, refusing a name given twice."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        named = dict(values)
        if len(named) < len(values):
            raise argparse.ArgumentError(self, "a name is given twice")
        setattr(namespace, self.dest, named)


def _fold(text: str) -> dict[str, Any] | int | Path:
    """Read what says how the genome is split: JSON, a number, or the path of a file."""
    if text.lstrip().startswith("{"):
        return _json_object(text)
    return int(text) if text.isdecimal() else Path(text)


class _Folds(argparse.Action):
    """Take one mapping, one number, or several paths."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if len(values) > 1 and not all(isinstance(value, Path) for value in values):
            raise argparse.ArgumentError(self, "several folds are given as one JSON object or as files")
        setattr(namespace, self.dest, values if isinstance(values[0], Path) else values[0])


class PrintPlan(argparse.Action):
    """Print the memory plan and stop, as --help does."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Print the table for these half-lives, and exit."""
        plan = importlib.import_module("gatescope.model.memory_plan")  # for this flag alone
        sys.stdout.write("".join(f"{line}\n" for line in plan.plan_lines(values)))
        parser.exit()


def length(text: str) -> float:
    """Parse a length in bp."""
    if not (bp := float(text)) > 0 or bp == float("inf"):
        raise argparse.ArgumentTypeError(f"{text} bp is no length")
    return bp


def option(flag: str, help: str, **settings: Any) -> Flag:
    """Describe one flag; it is required unless it has a default."""
    settings.setdefault("required", "default" not in settings)
    return flag, {"help": help, **settings}


def file(flag: str, help: str, **settings: Any) -> Flag:
    """Describe a flag that names a file."""
    return option(flag, help, type=Path, metavar="FILE", **settings)


def folder(flag: str, help: str, **settings: Any) -> Flag:
    """Describe a flag that names a folder."""
    return option(flag, help, type=Path, metavar="DIR", **settings)


def number(flag: str, help: str, kind: Callable[[str], float] = int, **settings: Any) -> Flag:
    """Describe a flag that takes a number."""
    return option(flag, help, type=kind, metavar="N", **settings)


def mapping(flag: str, help: str) -> Flag:
    """Describe a flag that takes a JSON object."""
    return option(flag, help, type=_json_object, metavar="JSON")


def folds(help: str, **settings: Any) -> Flag:
    """Describe the flag that says how the genome is split."""
    return option("--folds", help, type=_fold, action=_Folds, nargs="+", metavar="FOLDS", **settings)


def named_paths(flag: str, help: str) -> Flag:
    """Describe a flag that takes any number of NAME=PATH."""
    # nargs="*" and "?": a rule may pass the flag with nothing behind it for an input that is not there
    return option(
        flag, help, type=_named_path, action=_NamedPaths, nargs="*", default={}, metavar="NAME=PATH"
    )


@dataclass(frozen=True)
class Verb:
    """A sub-command: `module` holds a function of the verb's name whose arguments are the flags."""

    module: str
    summary: str
    options: tuple[Flag, ...]
