"""What did the user get wrong? One exception, and the sentence that helps; or several mistakes at once.

Public names: `InputError`, `InputErrors`, `Problems`.
"""

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_INDENT = " " * 7


class InputError(Exception):
    """Report a mistake in the user's data, files or configuration.

    Everything else that goes wrong is a bug in gatescope and keeps its traceback.

    Parameters
    ----------
    what : str
        What is wrong: what was got and what was wanted.
    where : str
        File, line, contig or config key.
    cause : str
        The likely cause, if one can be guessed.
    remedy : str
        What to do about it.
    command : str
        A command that does it, to be copied as it is.

    Notes
    -----
    ``str(error)`` is one line: ``where: what; likely cause: cause; remedy: command``. `gatescope.cli` prints it
    and exits with status 2.
    """

    def __init__(
        self, what: str, *, where: object = "", cause: str = "", remedy: str = "", command: str = ""
    ) -> None:
        parts = [f"{where}: {what}" if str(where) else what]
        if cause:
            parts.append(f"likely cause: {cause}")
        if remedy:
            parts.append(remedy)
        self.parts, self.command = tuple(parts), command
        super().__init__("; ".join(parts) + (f": {command}" if command else ""))


class InputErrors(InputError):
    """Report several mistakes that have nothing to do with each other, so that one run shows them all.

    Parameters
    ----------
    errors : iterable of InputError
        Two or more, in the order in which they are shown.
    """

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.on_screen(columns=1_000, lines=10_000))

    def on_screen(self, columns: int = 100, lines: int = 24) -> str:
        """Return a numbered list that fits one screen, without the program's name before it.

        Every mistake is there. If the causes and remedies of all do not fit, the last mistakes go without
        theirs, shortened to a line each.

        Parameters
        ----------
        columns, lines : int
            Size of the screen in characters.
        """
        blocks = [[_short(n, error, columns)] for n, error in enumerate(self.errors, start=1)]
        for n, error in enumerate(self.errors):
            whole = _wrapped(n + 1, error, columns)
            others = sum(_height(block, columns) for block in (*blocks[:n], *blocks[n + 1 :]))
            if 1 + others + _height(whole, columns) <= lines:
                blocks[n] = whole
        head = f"{len(blocks)} problems; nothing was written"
        return "\n".join([head, *(line for block in blocks for line in block)])


def _height(block: list[str], columns: int) -> int:
    """Return how many lines of the screen a block takes: commands are not broken by us, but by the terminal."""
    return sum(max(1, -(-len(line) // columns)) for line in block)


def _short(number: int, error: InputError, columns: int) -> str:
    """Return one line of a mistake; folders go first, the rest from its end."""
    line, room = error.parts[0], columns - len("  1. ")
    if len(line) > room:
        path, space, rest = line.partition(" ")
        line = path.rpartition("/")[2] + space + rest
    if len(line) > room:
        line = line[: room - len(" ...")] + " ..."
    return f"{number:>3}. {line}"


def _wrapped(number: int, error: InputError, columns: int) -> list[str]:
    """Return all of a mistake: what is wrong, then its cause, remedy and command each on lines of their own."""
    heads = [f"{number:>3}. ", *[_INDENT] * (len(error.parts) - 1)]
    lines = [
        line
        for head, part in zip(heads, error.parts, strict=True)
        for line in textwrap.wrap(
            part,
            columns,
            initial_indent=head,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    return [*lines, _INDENT + error.command] if error.command else lines


class Problems:
    """Collect mistakes that are independent of each other, then raise them all.

    Examples
    --------
    >>> problems = Problems()
    >>> for path in paths:  # doctest: +SKIP
    ...     with problems.noted():
    ...         check(path)
    >>> problems.raise_found()
    """

    def __init__(self) -> None:
        self.found: list[InputError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an `InputError` of the block, which ends there; anything else passes through."""
        try:
            yield
        except InputErrors as several:
            self.found.extend(several.errors)
        except InputError as one:
            self.found.append(one)

    def raise_found(self) -> None:
        """Raise what was noted: one mistake as it was, several as `InputErrors`; nothing if there is none."""
        if len(self.found) > 1:
            raise InputErrors(self.found)
        if self.found:
            raise self.found[0]
