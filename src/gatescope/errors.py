"""What did the user get wrong? One exception, and the sentence that helps.

Public names: `InputError`.
"""


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

    Notes
    -----
    ``str(error)`` is one line: ``where: what; likely cause: cause; remedy``. `gatescope.cli` prints it
    and exits with status 2.
    """

    def __init__(self, what: str, *, where: object = "", cause: str = "", remedy: str = "") -> None:
        parts = [f"{where}: {what}" if str(where) else what]
        if cause:
            parts.append(f"likely cause: {cause}")
        if remedy:
            parts.append(remedy)
        super().__init__("; ".join(parts))
