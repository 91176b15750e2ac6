"""What did the user ask the workflow for? Samples, runs, and mistakes in one line each.

Public names: `Sample`, `Run`, `explain`, `read_samples`, `plan_runs`, `network_settings`,
`training_settings`, `check_folds`.

`workflow/rules/common.smk` reads this at parse time, possibly with a Python that has nothing but
Snakemake: standard library only.
"""

import csv
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatescope.errors import InputError

#: What a sample table says in place of a path for the planted genome.
PLANTED = "planted"
#: The files that `simulate` writes, by the column they stand for.
PLANTED_FILES = {
    "genome": "genome.fa",
    "atac": "fragments.tsv.gz",
    "peaks": "peaks.narrowPeak",
    "exclusion_list": "exclusion.bed",
}

_ZERO = ":zero"


@dataclass(frozen=True)
class Sample:
    """One row of the sample table.

    Attributes
    ----------
    files : dict of str to str
        Paths by column; a column that is not filled in is not there.
    tracks : dict of str to str
        Path of each further track by its name, followed by ``:zero`` where a missing value means 0.
    tn5_shift : str
        Its own, or the configuration's.
    is_planted : bool
        True if it is the planted genome.
    """

    name: str
    files: dict[str, str]
    tracks: dict[str, str]
    tn5_shift: str
    is_planted: bool

    @property
    def track_files(self) -> list[str]:
        """Paths of the further tracks."""
        return [path.removesuffix(_ZERO) for path in self.tracks.values()]


@dataclass(frozen=True)
class Run:
    """One network to train: the entry `model` of the configuration, a fold and a seed."""

    model: str
    fold: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run in every path, such as ``sequence.f1.1``."""
        return f"{self.model}.{self.fold}.{self.seed}"


def explain(error: Any, source: str) -> InputError:
    """Turn a `jsonschema.ValidationError` into one line that names the key.

    Parameters
    ----------
    error : jsonschema.ValidationError
        The first error of a validation against a schema whose properties carry descriptions.
    source : str
        What was read: ``"config"`` or a file and line.
    """
    key = error.json_path.removeprefix("$").removeprefix(".")
    wanted = error.schema.get("description", "").rstrip(".")
    if error.validator == "additionalProperties":
        return _explain_unknown_key(error, key, source)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return InputError("is missing", where=_place(source, key, missing), remedy="see config/README.md")
    if error.validator in ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum"):
        what = error.message
    else:
        what = f"got {error.instance!r}"
    remedy = "; ".join(filter(None, [f"wanted: {wanted}", _hint(error)]))
    return InputError(what, where=_place(source, key), remedy=remedy)


def _hint(error: Any) -> str:
    """Say where a value of the wrong type may come from."""
    if error.validator != "type":
        return ""
    if error.validator_value == "string":
        return "put it in quotes"
    if isinstance(error.instance, str) and error.json_path.count(".") > 1:
        return "with --config, Snakemake hands nested values on as text: use --configfile"
    return ""


def _explain_unknown_key(error: Any, key: str, source: str) -> InputError:
    known = list(error.schema["properties"])
    unknown = next(str(name) for name in error.instance if name not in known)
    close = difflib.get_close_matches(unknown, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}"
    return InputError("unknown key", where=_place(source, key, unknown), remedy=meant)


def _place(source: str, *keys: str) -> str:
    return f"{source}: {'.'.join(filter(None, keys))}"


def read_samples(
    path: str | Path, data_dir: str | Path, tn5_shift: str, check_row: Callable[[dict[str, str], str], None]
) -> dict[str, Sample]:
    """Read the sample table.

    Parameters
    ----------
    path : path
        Tab-separated table with a header; lines that start with # and empty lines are skipped.
    data_dir : path
        Folder against which relative paths in the table are read.
    tn5_shift : str
        Shift of samples that do not state their own.
    check_row : callable
        Called with each row and its place; raises `InputError` and fills in defaults.

    Returns
    -------
    dict of str to Sample
        In file order.

    Raises
    ------
    InputError
        If the table is missing, empty, repeats a sample, or names a file that does not exist.
    """
    samples: dict[str, Sample] = {}
    for line, row in _read_rows(Path(path)):
        place = f"{path} line {line}"
        check_row(row, place)
        if row["sample"] in samples:
            raise InputError(
                f"sample {row['sample']!r} appears twice", where=place, remedy="rename one of them"
            )
        samples[row["sample"]] = _read_sample(row, Path(data_dir), tn5_shift, place)
    if not samples:
        raise InputError("no sample in the table", where=path, remedy="add a row; see config/README.md")
    return samples


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs; every row has as many fields as the header."""
    if not path.is_file():
        raise InputError(
            "sample table does not exist", where=path, remedy="set `samples` in the configuration"
        )
    lines = path.read_text().splitlines()
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = csv.reader((line for _, line in numbered), delimiter="\t")
    table = [(n, [field.strip() for field in fields]) for (n, _), fields in zip(numbered, rows, strict=True)]
    if not table:
        raise InputError("no header in the sample table", where=path, remedy="see config/README.md")
    header = table[0][1]
    for n, fields in table[1:]:
        if len(fields) > len(header):
            raise InputError(
                f"got {len(fields)} fields, wanted at most {len(header)} as in the header",
                where=f"{path} line {n}",
                cause="a stray tab",
            )
    return [(n, dict(zip(header, fields, strict=False))) for n, fields in table[1:]]


def _read_sample(row: Mapping[str, str], data_dir: Path, tn5_shift: str, place: str) -> Sample:
    is_planted = {row[column] == PLANTED for column in ("genome", "atac", "peaks")}
    if len(is_planted) > 1:
        raise InputError(
            f"{PLANTED!r} in some of genome, atac and peaks, wanted it in all or none",
            where=place,
            remedy="the planted genome goes with its own fragments and peaks",
        )
    simulated = f"results/{row['sample']}/data/simulated"
    files = {}
    for column, planted in PLANTED_FILES.items():
        if row[column] == PLANTED:
            files[column] = f"{simulated}/{planted}"
        elif row[column]:
            files[column] = _existing(row[column], data_dir, f"{place}: {column}")
    pairs = (track.split("=") for track in row["tracks"].split(",") if track)
    tracks = {}
    for name, path in pairs:
        if name in tracks or name in ("sequence", "cuts", "state"):
            raise InputError(
                f"track name {name!r} is taken", where=f"{place}: tracks", remedy="choose another"
            )
        zero = _ZERO if path.endswith(_ZERO) else ""
        tracks[name] = _existing(path.removesuffix(_ZERO), data_dir, f"{place}: tracks") + zero
    return Sample(row["sample"], files, tracks, row["tn5_shift"] or tn5_shift, is_planted.pop())


def _existing(path: str, data_dir: Path, place: str) -> str:
    full = data_dir / Path(path).expanduser()
    if not full.is_file():
        remedy = (
            "relative paths are read against the config key data_dir" if not Path(path).is_absolute() else ""
        )
        raise InputError("file does not exist", where=f"{place}: {full}", remedy=remedy)
    return str(full)


def plan_runs(config: Mapping[str, Any], samples: Mapping[str, Sample]) -> dict[str, Run]:
    """Return every combination of ``runs.models``, ``runs.folds`` and ``runs.seeds`` by run name.

    Raises
    ------
    InputError
        If a name is not defined, or a model reads a track that a sample does not have, or cuts are
        both an input and a target of a model.
    """
    runs = config["runs"]
    for key in ("models", "folds"):
        for name in runs[key]:
            if name not in config[key]:
                raise InputError(
                    f"{name!r} is not defined", where=f"config: runs.{key}", remedy=_choices(config[key])
                )
    for model in runs["models"]:
        _check_inputs(model, config["models"][model], samples)
    planned = [Run(m, f, s) for m in runs["models"] for f in runs["folds"] for s in runs["seeds"]]
    return {run.name: run for run in planned}


def _choices(names: Mapping[str, Any]) -> str:
    return f"defined are {', '.join(names)}"


def _check_inputs(name: str, model: Mapping[str, Any], samples: Mapping[str, Sample]) -> None:
    place = f"config: models.{name}.inputs"
    if "cuts" in model["inputs"] and "cuts" in model["targets"]:
        raise InputError("cuts are an input and a target", where=place, remedy="set targets to [state]")
    for sample in samples.values():
        known = ["sequence", "cuts", *sample.tracks]
        unknown = [track for track in model["inputs"] if track not in known]
        if unknown:
            remedy = f"known are {', '.join(known)}; others come from the tracks column of the sample table"
            raise InputError(f"sample {sample.name} has no track {unknown[0]!r}", where=place, remedy=remedy)
    low, high = model["half_life_bp"]
    if low > high:
        raise InputError(
            f"got [{low}, {high}], wanted the shorter first", where=f"config: models.{name}.half_life_bp"
        )


def check_folds(config: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return the folds that are used, in a form the verbs take.

    Folds that no run names may belong to another genome (an overlay adds to the defaults), so they are
    neither checked nor handed on.

    Raises
    ------
    InputError
        If a contig is in both lists of a fold, or is excluded.
    """
    used = {name: config["folds"][name] for name in config["runs"]["folds"]}
    for name, fold in used.items():
        for contig in fold["test"]:
            if contig in fold["valid"]:
                raise InputError(
                    f"contig {contig!r} is in both test and valid",
                    where=f"config: folds.{name}",
                    remedy="keep it in one of them",
                )
        for contig in (*fold["test"], *fold["valid"]):
            if contig in config["exclude_contigs"]:
                raise InputError(
                    f"contig {contig!r} is in exclude_contigs as well", where=f"config: folds.{name}"
                )
    return used


def network_settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return what defines the network `model`: its entry in the library, training apart."""
    return {key: value for key, value in config["models"][model].items() if key != "training"}


def training_settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return how `model` is trained: the common settings with its own in their place.

    Raises
    ------
    InputError
        If no window would ever be drawn.
    """
    common, own = config["training"], config["models"][model]["training"]
    sampling = {**common["sampling"], **own.get("sampling", {})}
    if not any(sampling[share] for share in ("peaks", "background", "uniform")):
        raise InputError(
            "peaks, background and uniform are all 0",
            where=f"config: training.sampling (model {model})",
            remedy="give one of them a share",
        )
    return {**common, **own, "sampling": sampling}
