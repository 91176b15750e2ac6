"""Spoilt .2bit genomes, fold files and configurations: refused with a message, or read as what they say."""

import contextlib
import itertools
import json
import struct

import jsonschema
import numpy as np
import yaml
from hypothesis import given, settings

from gatescope.config import check_folds, explain, plan_runs, refuse_endless, training_settings
from gatescope.errors import InputError
from gatescope.genome.fasta import Genome
from gatescope.genome.folds import name_folds, read_folds
from gatescope.genome.twobit import is_twobit
from gatescope.samples import Sample
from gatescope.settings import check_boundaries
from oracles import slow_readers as slow
from oracles.twobit_reader import read_twobit
from test_fuzz.spoil import AMOUNTS, CHANGES, fuzz, spoil
from test_fuzz.test_binary_files import FORKS, in_a_process
from test_genome.test_twobit_genome import pack

LENGTHS = {"chr2": 900, "chr10": 700, "chr1": 800}


def codes(letters: str) -> list[int]:
    return [slow.CODES.get(letter.upper(), 4) for letter in letters]


def is_beyond(path) -> bool:
    """Tell whether a block, of lower case say, reaches beyond its contig: the bitwise reader has no rule for that."""
    try:
        return not read_twobit(path)
    except IndexError:
        return True


@AMOUNTS
@FORKS
def test_twobit(tmp_path, examples):
    """A C library reads it; what it makes of a spoilt file is what a bitwise reader makes of it."""
    rng = np.random.default_rng(0)
    contigs = {"chr1": "NNacgtNTTGCA", "2": "A", "x|y.1": "".join(rng.choice(list("ACGTnacgt"), 150))}
    content, path = pack(contigs), tmp_path / "spoilt.2bit"

    def is_same():
        genome = Genome(path)
        found = {name: genome.codes(name).tolist() for name in genome.lengths}
        if is_twobit(path):
            with contextlib.suppress(AssertionError, struct.error, UnicodeDecodeError):
                return is_beyond(path) or found == {
                    name: codes(letters) for name, letters in read_twobit(path).items()
                }
            return False
        return found == slow.fasta(path.read_bytes())

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(CHANGES)
    def run(changes):
        path.write_bytes(spoil(content, changes))
        assert in_a_process(is_same) in (0, 2)

    path.write_bytes(content)
    assert is_twobit(path) and is_same()
    run()


@AMOUNTS
def test_fold_file(tmp_path, examples):
    path = tmp_path / "f1.json"

    def check(content):
        path.write_bytes(content)
        (fold,) = read_folds(name_folds("f1.json", tmp_path), LENGTHS).values()
        told = json.loads(content.decode("utf-8-sig"))
        assert fold.parts() == {**told, "train": [name for name in told["train"] if name in LENGTHS]}

    good = {"train": ["chr10", "chrUn"], "valid": ["chr1"], "test": ["chr2"]}
    fuzz(check, json.dumps(good).encode(), examples)


FOLDS = {"f1": {"test": ["chr2"], "valid": ["chr1"]}, "f2": {"test": ["chr1"], "valid": ["chr2"]}}
OVERLAY = {
    "samples": "config/samples.tsv",
    "exclude_contigs": ["chrM"],
    "tn5_shift": "+4/-5",
    "folds": FOLDS,
    "windows": {"window_bp": 512, "background_ratio": 1.5, "near_duplicates": "drop"},
    "models": {"a": {"inputs": ["sequence"], "hidden_units": 8, "training": {"epochs": 2}}, "b": {}},
    "training": {"epochs": 4, "sampling": {"scheme": "balanced", "peaks": 0.5}},
    "runs": {"models": ["a", "b"], "folds": ["f1", "f2"], "seeds": [1, 2]},
    "boundaries": {"dip_bp": 50, "flank_bp": 400, "profile_bp": 500},
}


def with_defaults(schema):
    """Return a validator that fills in defaults, as Snakemake's does (from the manual of jsonschema)."""
    plain = jsonschema.Draft202012Validator

    def fill(validator, properties, instance, schema):
        for name, inner in properties.items():
            if "default" in inner:
                instance.setdefault(name, inner["default"])
        yield from plain.VALIDATORS["properties"](validator, properties, instance, schema)

    return jsonschema.validators.extend(plain, {"properties": fill})(schema)


def read_config(config, validator):
    """Check a configuration as `workflow/rules/common.smk` does; return the names of its runs."""
    with contextlib.suppress(StopIteration):
        raise explain(next(validator.iter_errors(config)), "config")
    refuse_endless(config)
    check_boundaries(config["boundaries"])
    planned = config | {"folds": name_folds(config["folds"], "nowhere")}
    runs = plan_runs(planned, {"s": Sample("s", {}, {}, {}, ["auto"], False, False)})
    for run in runs.values():
        training_settings(config, run.model)
    check_folds(planned)
    return list(runs)


@AMOUNTS
def test_configuration(request, examples):
    schema = yaml.safe_load((request.config.rootpath / "workflow/schemas/config.schema.yaml").read_text())
    validator = with_defaults(schema)

    def check(content):
        try:
            config = yaml.safe_load(content)
        except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:  # Snakemake's to report
            raise InputError("no YAML", where="config") from error
        if not isinstance(config, dict):
            raise InputError("no keys and values", where="config")
        found = read_config(config, validator)
        asked = yaml.safe_load(content)["runs"]
        parts = (asked["models"], asked["folds"], asked.get("seeds", [1]))
        assert found == [".".join(map(str, each)) for each in itertools.product(*parts)]

    fuzz(check, yaml.safe_dump(OVERLAY).encode(), examples)
