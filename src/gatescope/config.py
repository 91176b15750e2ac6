"""What did the user ask the workflow for? Runs, and mistakes in one line each.

Public names: `Run`, `explain`, `refuse_endless`, `plan_runs`, `name_ensembles`, `has_gates`, `needs_bias`,
`size_runs`, `network_settings`, `training_settings`, `check_folds`, `genes_file`, `motif_file`.

`workflow/rules/common.smk` reads this at parse time, possibly with a Python that has nothing but
Snakemake: standard library only.
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatescope.errors import InputError
from gatescope.network_size import channels_of_size, count_weights
from gatescope.samples import BIAS_TRACK, Sample


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


def refuse_endless(values: Any, key: str = "config") -> None:
    """Raise `InputError` for the first number that is infinite or NaN: a JSON schema lets them pass.

    Parameters
    ----------
    values : any
        The configuration, or a part of it.
    key : str
        What the part is called in messages.
    """
    if isinstance(values, float) and not math.isfinite(values):
        raise InputError(f"{values} is no number to work with", where=key, remedy="give a finite number")
    inner = (
        values.items()
        if isinstance(values, Mapping)
        else enumerate(values if isinstance(values, list) else ())
    )
    for name, value in inner:
        refuse_endless(value, f"{key}: {name}" if key == "config" else f"{key}.{name}")


def plan_runs(config: Mapping[str, Any], samples: Mapping[str, Sample]) -> dict[str, Run]:
    """Return every combination of ``runs.models``, ``runs.folds`` and ``runs.seeds`` by run name.

    Raises
    ------
    InputError
        If a name is not defined, or a model reads a track that a sample does not have, or cuts are
        both an input and a target of a model, or no model has gates, or one cannot be made as large as another.
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
        _check_trunk(model, config["models"][model])
        network_settings(config, model)
    if not any(has_gates(config, model) for model in runs["models"]):
        raise InputError(
            f"no gates in {', '.join(runs['models'])}, and gates are what this workflow is about",
            where="config: runs.models",
            remedy="name a model of trunk: recurrent as well",
        )
    planned = [Run(m, f, s) for m in runs["models"] for f in runs["folds"] for s in runs["seeds"]]
    return {run.name: run for run in planned}


def name_ensembles(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return the runs of every model and fold that has two seeds or more, as ``sequence.f1`` -> names of runs."""
    members: dict[str, list[str]] = {}
    for run in runs:
        members.setdefault(f"{run.model}.{run.fold}", []).append(run.name)
    return {name: seeds for name, seeds in members.items() if len(seeds) > 1}


def _choices(names: Mapping[str, Any]) -> str:
    return f"defined are {', '.join(names)}"


def _check_inputs(name: str, model: Mapping[str, Any], samples: Mapping[str, Sample]) -> None:
    place = f"config: models.{name}.inputs"
    if "cuts" in model["inputs"] and "cuts" in model["targets"]:
        raise InputError("cuts are an input and a target", where=place, remedy="set targets to [state]")
    for sample in samples.values():
        known = ["sequence", "cuts", BIAS_TRACK, *sample.tracks]
        unknown = [track for track in model["inputs"] if track not in known]
        if unknown:
            remedy = f"known are {', '.join(known)}; others come from the tracks column of the sample table"
            raise InputError(f"sample {sample.name} has no track {unknown[0]!r}", where=place, remedy=remedy)
    if model["bias"] != "none" and "cuts" not in model["targets"]:
        raise InputError(
            f"{model['bias']!r}, but cuts are no target of this model",
            where=f"config: models.{name}.bias",
            remedy="add cuts to targets, or set none",
        )
    low, high = model["half_life_bp"]
    if low > high:
        raise InputError(
            f"got [{low}, {high}], wanted the shorter first", where=f"config: models.{name}.half_life_bp"
        )


def _check_trunk(name: str, model: Mapping[str, Any]) -> None:
    """Refuse what dilated convolutions do not go with."""
    for key, wanted in (("stem", "conv"), ("strands", "free")):
        if model["trunk"] == "dilated" and model[key] != wanted:
            raise InputError(
                f"{model[key]!r} does not go with trunk: dilated",
                where=f"config: models.{name}.{key}",
                remedy=f"set {wanted}",
            )


def has_gates(config: Mapping[str, Any], model: str) -> bool:
    """Tell whether a model has a recurrence: others are trained and scored, and there it ends."""
    return config["models"][model]["trunk"] == "recurrent"


def needs_bias(config: Mapping[str, Any]) -> bool:
    """Tell whether a model that is trained reads the track of Tn5's preference, or counts with it."""
    models = [config["models"][name] for name in config["runs"]["models"]]
    return any(model["bias"] != "none" or BIAS_TRACK in model["inputs"] for model in models)


def check_folds(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the folds that are used, in a form the verbs take; they have names already (`genome.folds.name_folds`).

    Folds that no run names may belong to another genome (an overlay adds to the defaults), so they are
    neither checked nor handed on.

    Raises
    ------
    InputError
        If a contig is in both lists of a fold, is excluded, or is tested in two folds. Contigs that are dealt out are
        known later.
    """
    used = {name: config["folds"][name] for name in config["runs"]["folds"]}
    tested: dict[str, str] = {}
    for name, fold in used.items():
        test, valid = fold.get("test", ()), fold.get("valid", ())
        if twice := [contig for contig in test if contig in tested]:
            raise InputError(
                f"contig {twice[0]!r} is tested in {tested[twice[0]]} as well",
                where=f"config: folds.{name}.test",
                cause="the results of all folds in runs.folds are pooled, and each base may count once",
                remedy="test it in one fold only, or name one of the two in runs.folds",
            )
        tested |= dict.fromkeys(test, name)
        for contig in test:
            if contig in valid:
                raise InputError(
                    f"contig {contig!r} is in both test and valid",
                    where=f"config: folds.{name}",
                    remedy="keep it in one of them",
                )
        for contig in (*test, *valid):
            if contig in config["exclude_contigs"]:
                raise InputError(
                    f"contig {contig!r} is in exclude_contigs as well", where=f"config: folds.{name}"
                )
    return used


def size_runs(config: Mapping[str, Any], runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return what the cost of the runs depends on, runs alike together, as `gatescope.data.preflight` takes it."""
    sizes = Counter()
    for run in runs:
        network, training = network_settings(config, run.model), training_settings(config, run.model)
        size = {"fold": run.fold, "contigs": config["trace"]["contigs"]}
        size |= {key: training[key] for key in ("epochs", "windows_per_epoch")}
        if has_gates(config, run.model):
            size |= {key: network[key] for key in ("hidden_units", "layers")}
        else:
            size |= {"dilated_layers": network["trunk_layers"], "channels": network["stem_channels"]}
        sizes[tuple(size.items())] += 1
    return [{"runs": n, **dict(size)} for size, n in sizes.items()]


def genes_file(config: Mapping[str, Any]) -> str:
    """Return the path of the genes that figures show, "" for none.

    Raises
    ------
    InputError
        If there is no such file.
    """
    return _optional_file(config, "trace", "genes")


def motif_file(config: Mapping[str, Any]) -> str:
    """Return the path of the known motifs that found ones are compared with, "" for none.

    Raises
    ------
    InputError
        If there is no such file.
    """
    return _optional_file(config, "grammar", "motifs")


def _optional_file(config: Mapping[str, Any], section: str, key: str) -> str:
    """Return the path of a file that a section may name, "" where it names none."""
    if not config[section][key]:
        return ""
    path = Path(config["data_dir"]).expanduser() / Path(config[section][key]).expanduser()
    if not path.is_file():
        raise InputError(
            "file does not exist",
            where=f"config: {section}.{key}: {path}",
            remedy="a relative path is read against the config key data_dir",
        )
    return str(path)


def network_settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return what defines the network `model`: its entry in the library, training apart, its size worked out.

    Raises
    ------
    InputError
        If it cannot be made as large as the model that its `same_size_as` names.
    """
    network = {key: value for key, value in config["models"][model].items() if key != "training"}
    other = network.pop("same_size_as")
    if not other:
        return network
    place = f"config: models.{model}.same_size_as"
    if other not in config["models"]:
        raise InputError(f"{other!r} is not defined", where=place, remedy=_choices(config["models"]))
    if network["trunk"] != "dilated" or config["models"][other]["trunk"] != "recurrent":
        raise InputError(
            f"{model} is of trunk {network['trunk']}, {other} of trunk {config['models'][other]['trunk']}",
            where=place,
            remedy="give a model of trunk: dilated the name of one of trunk: recurrent",
        )
    return network | {
        "stem_channels": channels_of_size(network, count_weights(config["models"][other]), place)
    }


def training_settings(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return how `model` is trained: the common settings with its own in their place.

    `workers` is not among them: a network does not depend on it.

    Raises
    ------
    InputError
        If no window would ever be drawn.
    """
    common, own = dict(config["training"]), config["models"][model]["training"]
    common.pop("workers", None)
    sampling = {**common["sampling"], **own.get("sampling", {})}
    is_mixed = sampling["scheme"] != "whole_genome"
    if is_mixed and not any(sampling[share] for share in ("peaks", "background", "uniform")):
        raise InputError(
            "peaks, background and uniform are all 0",
            where=f"config: training.sampling (model {model})",
            remedy="give one of them a share",
        )
    return {**common, **own, "sampling": sampling}
