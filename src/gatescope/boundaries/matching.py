"""Which unit of one run is which unit of another? Matched by what their forget gates do at the same bases.

Units are numbered by the accident of initialisation. Before runs of other seeds or folds are said to show "the same
unit", their activations are compared at the bases of the genome that both have sampled
(`gatescope.trace.sample`): each unit of one run is given one of the other, of the same direction, such that the
correlations of their forget logits are as large as can be in all (the assignment problem). A partner is always found;
it counts as the same unit only if the correlation reaches a threshold that was declared beforehand.

Forget logits decide, with their sign: a gate that opens where another shuts is another gate. Writes stand beside them
without theirs: a network in which a memory and all that reads it change sign together is the same network.

Public names: `MATCH_COLUMNS`, `MatchRule`, `correlations`, `match_units`, `match_runs`, `chosen_agreement`.

References
----------
Kuhn 1955 (assignment); Li, Yosinski, Clune, Lipson & Hopcroft 2016, arXiv 1511.07543 (units of networks that were
trained apart).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from gatescope.errors import InputError
from gatescope.trace.sample import UnitSample
from gatescope.trace.units import DIRECTIONS

#: Columns of a table of matches.
MATCH_COLUMNS = (
    "run",
    "other_run",
    "direction",
    "unit",
    "other_unit",
    "n_bases",
    "r_forget",
    "r_write",
    "same",
)


@dataclass(frozen=True)
class MatchRule:
    """Hold what was declared beforehand.

    Attributes
    ----------
    least_r : float
        Spearman's correlation of forget logits from which two units count as the same.
    least_bases : int
        Fewer shared bases than this say nothing.
    """

    least_r: float = 0.5
    least_bases: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.least_r <= 1 or self.least_bases < 3:
            raise InputError(
                f"least_r {self.least_r}, least_bases {self.least_bases}; wanted above 0 to 1, and at least 3",
                where="config: boundaries",
            )


def correlations(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Spearman's correlation of every unit of one network with every unit of another.

    Parameters
    ----------
    one, other : ndarray, shapes (H, n) and (K, n)
        What each unit did at the same n bases.

    Returns
    -------
    ndarray, shape (H, K), float64
        0 where one of the two never moves.
    """
    return _standard_ranks(one) @ _standard_ranks(other).T


def match_units(one: UnitSample, other: UnitSample, rule: MatchRule) -> pd.DataFrame:
    """Give each unit of one run a unit of another one.

    Parameters
    ----------
    one, other : UnitSample
        Of the same genome.
    rule : MatchRule

    Returns
    -------
    DataFrame
        One row per direction and pair, by the unit of `one`: `direction`, `unit`, `other_unit`, `n_bases` (shared),
        `r_forget`, `r_write` (its size), `same`. Where one run has more units, some of them have no row.

    Raises
    ------
    InputError
        If both have sampled fewer than `least_bases` bases in common.
    """
    at_one, at_other = _shared_bases(one, other)
    if len(at_one) < rule.least_bases:
        raise InputError(
            f"{len(at_one)} sampled bases in common, wanted {rule.least_bases}",
            where=f"units of {one.model_sha256[:12]}... and {other.model_sha256[:12]}...",
            cause="their traces share no contig, or are of different genomes",
            remedy="trace: contigs: all",
        )
    rows = []
    for direction, name in enumerate(DIRECTIONS):
        forget, write = (
            correlations(
                getattr(one, field)[direction][:, at_one], getattr(other, field)[direction][:, at_other]
            )
            for field in ("forget_logit", "write")
        )
        for unit, partner in zip(*linear_sum_assignment(forget, maximize=True), strict=True):
            rows.append(
                {
                    "direction": name,
                    "unit": int(unit),
                    "other_unit": int(partner),
                    "n_bases": len(at_one),
                    "r_forget": float(forget[unit, partner]),
                    "r_write": float(abs(write[unit, partner])),
                    "same": bool(forget[unit, partner] >= rule.least_r),
                }
            )
    return pd.DataFrame(rows)


def match_runs(samples: Mapping[str, UnitSample], rule: MatchRule) -> pd.DataFrame:
    """Match the units of every two runs (`match_units`); `run` and `other_run` stand in front."""
    tables = []
    for run, other in combinations(samples, 2):
        table = match_units(samples[run], samples[other], rule)
        table.insert(0, "run", run)
        table.insert(1, "other_run", other)
        tables.append(table)
    if not tables:
        raise InputError(f"{len(samples)} run, wanted two or more to match", where="boundaries")
    return pd.concat(tables, ignore_index=True)


def chosen_agreement(matches: pd.DataFrame, chosen: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Tell whether the units that runs have chosen, each by itself, are one and the same.

    Parameters
    ----------
    matches : DataFrame
        From `match_runs`.
    chosen : mapping of str to mapping of str to int
        By run and direction: the chosen unit.

    Returns
    -------
    DataFrame
        One row per direction and pair of runs: `direction`, `run`, `other_run`, `unit`, `other_unit` (the chosen
        ones), `partner` (the unit of the other run that is matched to `unit`; missing if none is), `r_forget`,
        `r_write` (of that pair), `agree`: the partner is the chosen one, and the same.
    """
    rows = []
    names = ["direction", "run", "other_run"]
    by_unit = matches.set_index([*names, "unit"])
    for key in dict.fromkeys(zip(*(matches[name] for name in names), strict=True)):
        unit, other_unit = (chosen[run][key[0]] for run in key[1:])
        row = dict(zip(names, key, strict=True)) | {"unit": unit, "other_unit": other_unit}
        if (*key, unit) in by_unit.index:
            match = by_unit.loc[(*key, unit)]
            row |= {"partner": match.other_unit, "r_forget": match.r_forget, "r_write": match.r_write}
            row |= {"agree": bool(match.same and match.other_unit == other_unit)}
        rows.append({"partner": None, "r_forget": np.nan, "r_write": np.nan, "agree": False} | row)
    columns = [*names, "unit", "other_unit", "partner", "r_forget", "r_write", "agree"]
    return pd.DataFrame(rows, columns=columns).astype({"partner": "Int64"})


def _standard_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the ranks of each row, of mean 0 and length 1; zeros where all are the same."""
    ranks = rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)


def _shared_bases(one: UnitSample, other: UnitSample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the bases that both samples hold stand in either, in the same order."""
    numbers = {contig: number for number, contig in enumerate(one.contigs.tolist())}
    of_other = np.array([numbers.get(contig, -1) for contig in other.contigs.tolist()], np.int64)[
        other.contig
    ]
    widest = 1 + max(int(each.position.max(initial=0)) for each in (one, other))
    theirs = np.where(of_other < 0, -1, of_other * widest + other.position)
    _, at_one, at_other = np.intersect1d(one.contig * widest + one.position, theirs, return_indices=True)
    return at_one, at_other
