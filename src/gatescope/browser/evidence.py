"""What is there to report? The files of a sample, read whole; what is missing is an error, not a blank.

Public names: `Record`, `Row`, `ScoredRun`, `RunEvidence`, `SampleEvidence`, `read_evidence`, `read_record`,
`read_rows`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.errors import InputError
from gatescope.files import read_json
from gatescope.model.reach_alarms import COLUMNS

#: A row of a table, by column.
Row = dict[str, Any]

_AGAIN = "run the workflow to the end with this version of gatescope"
_CURVE = ("epoch", "train_loss", "valid_loss")
_DESIGNS = (
    "rank",
    "direction",
    "unit",
    "word",
    "length_bp",
    "half_life_bp",
    "predicted_retention",
    "measured_retention",
)
_UNITS = (
    *("direction", "unit", "bias_half_life_bp", "half_life_median_bp", "share_below_0.1", "share_above_0.9"),
    "hidden_sd",
)
_SCORES = (
    *("predictor", "bin_bp", "n_bins", "base_rate"),
    *(metric + end for metric in ("pearson", "spearman", "auroc", "auprc") for end in ("", "_low", "_high")),
)


class Record(Mapping[str, Any]):
    """A JSON object that knows its file: a missing key is the user's message, not a KeyError.

    Objects inside it are Records as well.

    Parameters
    ----------
    content : mapping
    where : Path or str
        File, and the place in it.
    """

    def __init__(self, content: Mapping[str, Any], where: Path | str) -> None:
        self._content = content
        self._where = where

    def __getitem__(self, key: str) -> Any:
        if key not in self._content:
            raise InputError(f"no entry {key!r}", where=self._where, remedy=_AGAIN)
        value = self._content[key]
        return Record(value, f"{self._where}: {key}") if isinstance(value, Mapping) else value

    def __contains__(self, key: object) -> bool:
        return key in self._content  # asked of what need not be there

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


@dataclass(frozen=True)
class ScoredRun:
    """Hold what the files say about one run whatever its network, an attribute per file."""

    name: str
    model: Record
    curve: pd.DataFrame
    scores: list[Row]
    contigs: list[Row]
    evaluation: Record


@dataclass(frozen=True)
class RunEvidence(ScoredRun):
    """Hold what they say about a run with gates as well; `profile` is the path of the figure."""

    gradient_reach: pd.DataFrame
    verdict: Record
    summary: Record
    units: pd.DataFrame
    untrained_units: pd.DataFrame
    designs: list[Row]
    profile: Path


@dataclass(frozen=True)
class SampleEvidence:
    """Hold what the files say about the sample and all its runs; `preference` and `funnel` are paths of figures.

    `peers` are the runs without gates.
    """

    preflight: Record
    bias: Record
    preference: Path
    meta: Record
    funnel: Path
    verdict: Record
    runs: tuple[RunEvidence, ...]
    peers: tuple[ScoredRun, ...] = ()


def read_evidence(results: Path, runs: Sequence[str], peers: Sequence[str] = ()) -> SampleEvidence:
    """Read every file that the report quotes.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    runs, peers : sequence of str
        Runs with and without gates.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, or lacks a column.
    """
    return SampleEvidence(
        preflight=read_record(results / "data" / "preflight.json"),
        bias=read_record(results / "atac" / "tn5_bias.json"),
        preference=results / "atac" / "tn5_bias.svg",
        meta=read_record(results / "data" / "encoded" / "meta.json"),
        funnel=results / "data" / "regions_funnel.svg",
        verdict=read_record(results / "boundaries" / "verdict.json"),
        runs=tuple(_read_run(results, run) for run in runs),
        peers=tuple(ScoredRun(**_read_scores(results, run)) for run in peers),
    )


def _read_run(results: Path, run: str) -> RunEvidence:
    """Read the files of one run with gates."""
    boundaries = results / "boundaries" / run
    return RunEvidence(
        **_read_scores(results, run),
        gradient_reach=_table(results / "model" / run / "gradient_reach.tsv", "\t", COLUMNS),
        verdict=read_record(boundaries / "verdict.json"),
        summary=read_record(results / "trace" / run / "summary.json"),
        units=_table(results / "trace" / run / "units.tsv", "\t", _UNITS),
        untrained_units=_table(results / "trace" / f"{run}.random" / "units.tsv", "\t", _UNITS),
        designs=_rows(_table(results / "design" / run / "designs.tsv", "\t", _DESIGNS)),
        profile=boundaries / "profile.svg",
    )


def _read_scores(results: Path, run: str) -> dict[str, Any]:
    """Read the fields of `ScoredRun`."""
    model = results / "model" / run
    return {
        "name": run,
        "model": read_record(model / "model.json"),
        "curve": _table(model / "training.csv", ",", _CURVE),
        "scores": _rows(_table(model / "evaluation.tsv", "\t", _SCORES)),
        "contigs": _rows(_table(model / "evaluation_contigs.tsv", "\t", ("contig", *_SCORES))),
        "evaluation": read_record(model / "evaluation.json"),
    }


def read_record(path: Path) -> Record:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file is missing or holds anything else.
    """
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise InputError("not a JSON object", where=path, remedy=_AGAIN)
    return Record(content, path)


def _table(path: Path, separator: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table and check that it has the columns."""
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy=_AGAIN)
    try:
        table = pd.read_csv(path, sep=separator, keep_default_na=False, na_values=["nan"])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"not a table ({error})", where=path, remedy=_AGAIN) from error
    missing = [column for column in columns if column not in table]
    if missing or table.empty:
        what = f"no column {', '.join(missing)}" if missing else "no rows"
        raise InputError(what, where=path, remedy=_AGAIN)
    return table


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read a tab-separated table that has these columns.

    Raises
    ------
    InputError
        If the file is missing, is no table, has no rows or lacks a column.
    """
    return _rows(_table(path, "\t", columns))


def _rows(table: pd.DataFrame) -> list[Row]:
    return [
        dict(zip(table.columns, values, strict=True)) for values in table.itertuples(index=False, name=None)
    ]
