"""Can the tracer be trusted, and what does a gate do? The stage: a table of errors and one page.

Public names: `gallery`, `GalleryError`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from gatescope.errors import InputError
from gatescope.files import write_table
from gatescope.gallery.cells import CELLS, TOLERANCE, Outcome, run_cell, tabulate
from gatescope.gallery.exported import DECIMALS, LENGTHS, check_exports
from gatescope.gallery.page import draw_page
from gatescope.model.runtime import prepare_torch

log = logging.getLogger(__name__)

#: Values that are off, in one message.
_MOST_NAMED = 3


class GalleryError(InputError):
    """A hand-weighted cell does not come out as its formula says: no trace can be trusted here."""


def gallery(output: Path | str) -> pd.DataFrame:
    """Trace and export every hand-weighted cell, compare it with its formula, and write the table and the page.

    Parameters
    ----------
    output : path
        Folder for `gallery.tsv` and `gallery.svg`. The errors are those of this processor and torch.

    Returns
    -------
    pandas.DataFrame
        The rows of `gatescope.gallery.cells.check_cells`, then those of `gatescope.gallery.exported.check_exports`;
        `checked` says which ("traced", "exported").

    Raises
    ------
    GalleryError
        If a value differs from its formula by more than the tolerance: nothing is written.
    """
    prepare_torch(1, "cpu")
    outcomes = [run_cell(cell) for cell in CELLS]
    with TemporaryDirectory(prefix="gatescope-") as folder:
        exported = check_exports(outcomes, Path(folder))
    parts = {"traced": tabulate(outcomes), "exported": exported}
    table = pd.concat(parts, names=["checked"]).reset_index("checked").reset_index(drop=True)
    table.insert(0, "cell", table.pop("cell"))
    for line in (*_EXPLANATION, *_summary(table, outcomes).to_string(index=False).splitlines()):
        log.info("%s", line)
    _require_ok(table)
    write_table(Path(output) / "gallery.tsv", table, digits=3)
    draw_page(outcomes, Path(output) / "gallery.svg")
    return table


_EXPLANATION = (
    "Largest difference between each memory and its formula.",
    f"traced: gates and states, wanted {TOLERANCE:.0e} at most, in one piece and in segments;",
    "  read_again: segments whose first state was guessed wrong, and which were read again from the right one",
    f"exported: bigWig tracks read back, gates to {DECIMALS} decimals; exported_bp: half-lives and horizons to 0.1 bp",
)


def _summary(table: pd.DataFrame, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return one row per cell, errors as text."""
    is_traced, in_bp = table.checked == "traced", table.quantity.isin(LENGTHS)
    kinds = {"traced": is_traced, "exported": ~is_traced & ~in_bp, "exported_bp": ~is_traced & in_bp}
    errors = {
        kind: table[rows].groupby("cell").max_error.max().map("{:.1e}".format) for kind, rows in kinds.items()
    }
    seams = {
        "positions": {o.cell.name: o.experiment.inputs.shape[1] for o in outcomes},
        "segments": {o.cell.name: sum(seam.segments for seam in o.seams) for o in outcomes},
        "read_again": {o.cell.name: sum(seam.reruns for seam in o.seams) for o in outcomes},
    }
    found = pd.DataFrame({**seams, **errors, "ok": table.groupby("cell").ok.all()})
    return found.loc[[o.cell.name for o in outcomes]].rename_axis("cell").reset_index()


def _require_ok(table: pd.DataFrame) -> None:
    wrong = table.loc[~table.ok]
    if len(wrong):
        named = [
            f"{row.cell}: {row.quantity}, as {row.checked}, is off by {row.max_error:.1e}, "
            f"wanted at most {row.tolerance:.1e}"
            for _, row in wrong.head(_MOST_NAMED).iterrows()
        ]
        if len(wrong) > _MOST_NAMED:
            named.append(f"and {len(wrong) - _MOST_NAMED} more of {len(table)}")
        raise GalleryError(
            "; ".join(named),
            where="gallery",
            cause="this torch computes an LSTM differently, or a bug",
            remedy="please report it with the versions of torch and of the processor; nothing is written",
        )
