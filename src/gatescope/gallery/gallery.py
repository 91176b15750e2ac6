"""Can the tracer be trusted, and what does a gate do? The stage: a table of errors and one page.

Public names: `gallery`, `GalleryError`.
"""

import logging
from pathlib import Path

import pandas as pd

from gatescope.errors import InputError
from gatescope.files import write_table
from gatescope.gallery.cells import CELLS, TOLERANCE, run_cell, tabulate
from gatescope.gallery.page import draw_page
from gatescope.model.runtime import prepare_torch

log = logging.getLogger(__name__)


class GalleryError(InputError):
    """A hand-weighted cell does not come out as its formula says: no trace can be trusted here."""


def gallery(output: Path | str) -> pd.DataFrame:
    """Trace every hand-weighted cell, compare it with its formula, and write the table and the page.

    Parameters
    ----------
    output : path
        Folder for `gallery.tsv` and `gallery.svg`. The errors are those of this processor and torch.

    Returns
    -------
    pandas.DataFrame
        The table of `gatescope.gallery.cells.check_cells`.

    Raises
    ------
    GalleryError
        If a traced value differs from its formula by more than the tolerance: nothing is written.
    """
    prepare_torch(1, "cpu")
    outcomes = [run_cell(cell) for cell in CELLS]
    table = tabulate(outcomes)
    for line in table.to_string(index=False, float_format="{:.1e}".format).splitlines():
        log.info("%s", line)
    _require_ok(table)
    write_table(Path(output) / "gallery.tsv", table, digits=3)
    draw_page(outcomes, Path(output) / "gallery.svg")
    return table


def _require_ok(table: pd.DataFrame) -> None:
    wrong = table[~table.ok]
    if len(wrong):
        named = ", ".join(f"{cell} ({name})" for cell, name in zip(wrong.cell, wrong.quantity, strict=True))
        raise GalleryError(
            f"off by up to {wrong.max_error.max():.1e}, wanted at most {TOLERANCE:.0e}: {named}",
            where="gallery",
            cause="this torch computes an LSTM differently, or a bug",
            remedy="please report it with the versions of torch and of the processor; nothing is written",
        )
