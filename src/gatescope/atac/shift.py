"""Where is the cut, if the read ends were moved already? The declared shift and the target.

Public names: `Tn5Shift`, `parse_declared`, `AUTO`.
"""

import re
from dataclasses import dataclass

import numpy as np

from gatescope.errors import InputError

#: Declares that the shift be read from the data.
AUTO = "auto"


@dataclass(frozen=True)
class Tn5Shift:
    """Say what has already been added to the read ends of a file, and where the cut then lies.

    Tn5 copies 9 bp at each insertion; the cut is counted at the centre base of this duplication, 4 bp inside
    each raw read end (the "+4/-4" convention of ChromBPNet). Raw fragments are ``+0/-0``, those of 10x
    Genomics ``+4/-5``.

    Parameters
    ----------
    plus : int
        Added to the fragment's start (end of the + read), bp.
    minus : int
        Added to the fragment's end (start of the - read), bp; negative moves it inwards.

    References
    ----------
    Buenrostro et al. 2013, Nature Methods 10:1213 (+4/-5); Pampari et al. 2024, bioRxiv, ChromBPNet (+4/-4).
    """

    plus: int
    minus: int

    @classmethod
    def parse(cls, text: str) -> "Tn5Shift":
        """Read a shift written like ``+4/-5``.

        Raises
        ------
        InputError
            If the text has another form, or a shift beyond the 9-bp duplication.
        """
        match = re.fullmatch(r"\+?(-?\d+)/\+?(-?\d+)", str(text).strip())
        if match is None:
            raise InputError(
                f"{text!r} is not a shift",
                where="tn5_shift",
                remedy="write it like +0/-0 (raw), +4/-5 or +4/-4, or auto",
            )
        shift = cls(int(match[1]), int(match[2]))
        if max(abs(shift.plus), abs(shift.minus)) > 9:
            raise InputError(
                f"{text} is beyond the 9 bp that Tn5 duplicates",
                where="tn5_shift",
                remedy="give what was added to the read ends, in bp: +0/-0 (raw), +4/-5 or +4/-4",
            )
        return shift

    @property
    def narrowed_bp(self) -> int:
        """By how much fragments became shorter; not negative."""
        return max(0, self.plus - self.minus)

    def __str__(self) -> str:
        return f"+{self.plus}/-{-self.minus}".replace("+-", "-").replace("--", "+")

    def cuts(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the base cut at the left and at the right end of each fragment.

        Parameters
        ----------
        starts, ends : numpy.ndarray
            (n,) integer fragment ends as in the file, 0-based half-open.

        Returns
        -------
        tuple of numpy.ndarray
            (n,) left and (n,) right positions, 0-based; a few may lie off the contig.
        """
        return starts + (4 - self.plus), ends - 1 + (-4 - self.minus)


def parse_declared(text: "str | Tn5Shift") -> Tn5Shift | None:
    """Read what the user declares: a shift, or ``auto``, which gives None.

    Raises
    ------
    InputError
        As `Tn5Shift.parse`.
    """
    if isinstance(text, Tn5Shift):
        return text
    return None if str(text).strip() == AUTO else Tn5Shift.parse(text)
