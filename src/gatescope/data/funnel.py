"""What was dropped on the way to the training windows, and why? Every step, with its numbers.

Public names: `Funnel`, `PEAKS`, `BACKGROUND`, `funnel_table`.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

log = logging.getLogger(__name__)

#: What a step counts.
PEAKS, BACKGROUND = "peaks", "background windows"


@dataclass
class Funnel:
    """Collect how many items each step kept and dropped, and why; nothing is dropped in silence.

    Attributes
    ----------
    rows : list of dict
        ``of, step, kept, dropped, why, note``, in the order of the steps.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, kept: int, dropped: int, why: str, *, of: str = PEAKS, note: str = "") -> None:
        """Record one step and log what it changed; `why` items are dropped, `note` what else there is to know."""
        row = {"of": of, "step": step, "kept": int(kept), "dropped": int(dropped), "why": why, "note": note}
        self.rows.append(row)
        if dropped or note:  # what changes nothing need not fill the screen
            lost = f"{dropped} dropped ({why})" if dropped else "none dropped"
            log.info("%s: %d kept, %s%s", step, kept, lost, f"; {note}" if note else "")

    def of(self, what: str) -> list[dict[str, Any]]:
        """Return the rows that count `what`."""
        return [row for row in self.rows if row["of"] == what]


def funnel_table(funnel: Funnel) -> pd.DataFrame:
    """Return the steps that chose the training windows.

    Returns
    -------
    DataFrame
        `of` (`PEAKS` or `BACKGROUND`), `step, kept, dropped, why, note`; `why` is empty where nothing was
        dropped.
    """
    rows = funnel.of(PEAKS) + funnel.of(BACKGROUND)
    rows = [{**row, "why": row["why"] if row["dropped"] else ""} for row in rows]
    return pd.DataFrame(rows, columns=["of", "step", "kept", "dropped", "why", "note"])
