"""The configuration: one line per mistake, defaults as in the code, a manual that names every key."""

import dataclasses
import inspect
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from gatescope.atac.peaks import peaks
from gatescope.boundaries.grammar import GrammarSettings
from gatescope.boundaries.measure import BoundarySettings, read_settings
from gatescope.boundaries.profile import ProfileShape
from gatescope.boundaries.rule import VerdictRule
from gatescope.config import (
    check_folds,
    explain,
    motif_file,
    name_ensembles,
    needs_bias,
    network_settings,
    plan_runs,
    refuse_endless,
    size_runs,
    training_settings,
)
from gatescope.data.draw import Sampling
from gatescope.data.encode import encode
from gatescope.data.preflight import RunSize
from gatescope.data.simulate import simulate
from gatescope.errors import InputError
from gatescope.genome.folds import name_folds
from gatescope.model.bpnet import BpnetSettings
from gatescope.model.network_config import NetworkConfig
from gatescope.model.plan import Training
from gatescope.model.train import train
from gatescope.samples import read_samples
from gatescope.settings import check_boundaries, check_grammar, read_section

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
OVERRIDES = "models.<name>.training"
ROWS = yaml.safe_load((ROOT / "workflow/schemas/samples.schema.yaml").read_text())
COLUMNS = "sample\tgenome\tatac\tpeaks"


def keys(schema, prefix=""):
    """Yield every dotted key of a schema; `<name>` stands for a name that the user chooses."""
    schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] | schema if "$ref" in schema else schema
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}", inner
        if f"{prefix}{name}" != OVERRIDES:
            yield from keys(inner, f"{prefix}{name}.")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys(schema["additionalProperties"], f"{prefix}<name>.")


def config(**changes):
    """Return a small configuration with its defaults filled in."""
    fold = {"test": ["chr3"], "valid": ["chr4"]}
    model = {"inputs": ["sequence"], "targets": ["cuts", "state"], "half_life_bp": [2, 9]}
    model |= {"bias": "none", "training": {}, "trunk": "recurrent", "same_size_as": ""}
    return {
        "exclude_contigs": [],
        "folds": {"f1": fold, "elsewhere": {"test": ["x"], "valid": ["x"]}},
        "models": {"a": model, "b": {**model, "inputs": ["sequence", "cuts"], "targets": ["state"]}},
        "runs": {"models": ["a", "b"], "folds": ["f1"], "seeds": [1, 2]},
        "training": {
            "epochs": 3,
            "sampling": {"scheme": "balanced", "peaks": 1, "background": 0, "uniform": 0},
            "workers": 3,
        },
    } | changes


@pytest.fixture
def sheet(tmp_path):
    """Write a sample table and read it."""
    for name in ("g.fa", "a.bed", "p.bed", "t.bw"):
        (tmp_path / name).touch()

    def read(*lines):
        (tmp_path / "samples.tsv").write_text("\n".join(lines) + "\n")
        return read_samples(tmp_path / "samples.tsv", tmp_path, "+0/-0", check_row)

    return read


def check_row(row, place):
    for column, schema in ROWS["properties"].items():
        if "default" in schema:
            row.setdefault(column, schema["default"])
    errors = list(jsonschema.Draft202012Validator(ROWS).iter_errors(row))
    if errors:
        raise explain(errors[0], place)


def test_manual_explains_every_key_with_its_default():
    manual = (ROOT / "config/README.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", manual, flags=re.MULTILINE))
    has_own_keys = {"properties", "additionalProperties"}
    leaves = {
        key: schema for key, schema in keys(SCHEMA) if key == OVERRIDES or not has_own_keys & set(schema)
    }
    documented = {key for key in rows if key not in ROWS["properties"]} | {"samples", "tn5_shift"}
    assert documented == set(leaves)
    for key, schema in leaves.items():
        said = yaml.safe_load(rows[key].strip("`")) if rows[key] != "*required*" else None
        assert str(said) == str(schema.get("default")), key
    assert set(ROWS["properties"]) <= set(rows)


def test_schema_describes_every_key_and_allows_no_other():
    for key, schema in keys(SCHEMA):
        target = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] | schema if "$ref" in schema else schema
        assert target["description"], key
        if target.get("type") == "object":
            assert target["additionalProperties"] is not True, key
            assert "additionalProperties" in target, key


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("training", (Training, train)),
        ("training.sampling", Sampling),
        ("models.<name>", NetworkConfig),
        ("grammar", GrammarSettings),
        ("boundaries", (ProfileShape, VerdictRule, BoundarySettings)),
        ("peaks", peaks),
        ("peers.bpnet_lite", BpnetSettings),
        ("planted", simulate),
        ("windows", encode),
    ],
)
def test_defaults_are_those_of_the_code(section, kind):
    defaults = {}
    for one in kind if isinstance(kind, tuple) else (kind,):
        if dataclasses.is_dataclass(one):
            defaults |= {field.name: field.default for field in dataclasses.fields(one)}
        else:
            defaults |= {name: at.default for name, at in inspect.signature(one).parameters.items()}
    for key, schema in keys(SCHEMA):
        head, _, name = key.rpartition(".")
        if head == section and name not in ("sampling", "training", "same_size_as", "motifs"):
            expected = list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name]
            assert schema["default"] == expected, key


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"trainin": {}}, "config: trainin: unknown key; did you mean 'training'?"),
        ({"zzz": {}}, "config: zzz: unknown key; known keys are samples, data_dir,"),
        (
            {"training": {"epochs": 0}},
            "config: training.epochs: 0 is less than the minimum of 1; wanted: Largest",
        ),
        ({"training": {"epochs": "ten"}}, "config: training.epochs: 'ten' is not of type 'integer'"),
        ({"training": {"epochs": "5"}}, "hands nested values on as text: use --configfile"),
        (
            {"seed": "five"},
            "config: seed: 'five' is not of type 'integer'; wanted: Seed of background windows",
        ),
        ({"duplicates": "maybe"}, "config: duplicates: 'maybe' is not one of ['auto', 'keep', 'remove']"),
        (
            {"tn5_shift": "4/-5"},
            "config: tn5_shift: got '4/-5'; wanted: Shift that the fragment ends already",
        ),
        ({"folds": {"f1": {"test": [1], "valid": ["2"]}}}, "put it in quotes"),
        ({"folds": {"f1": {"test": ["1"]}}}, "config: folds.f1.valid: is missing; see config/README.md"),
        ({"folds": {"f 1": {"test": ["1"], "valid": ["2"]}}}, "got 'f 1'; wanted: A name of letters"),
        (
            {"models": {"a": {"stem_width_bp": 4}}},
            "config: models.a.stem_width_bp: got 4; wanted: Width of that",
        ),
        (
            {"models": {"a": {"inputs": ["cuts"]}}},
            "config: models.a.inputs: got ['cuts']; wanted: sequence, and",
        ),
        (
            {"models": {"a": {"half_life_bp": [5]}}},
            "config: models.a.half_life_bp: got [5]; wanted: Shortest",
        ),
        ({"models": {"a": {"training": {"epoch": 3}}}}, "models.a.training.epoch: unknown key; did you mean"),
        ({"runs": {"models": ["a"], "folds": []}}, "config: runs.folds: got []; wanted:"),
        ({"windows": {"background_ratio": -1}}, "config: windows.background_ratio: -1 is less than"),
        (
            {"windows": {"outlier_ratio": 0.5}},
            "config: windows.outlier_ratio: got 0.5; wanted: Windows with more cuts",
        ),
    ],
)
def test_schema_errors_are_one_line_that_names_the_key(change, line):
    good = {"folds": {"f1": {"test": ["1"], "valid": ["2"]}}, "models": {"a": {}}}
    good["runs"] = {"models": ["a"], "folds": ["f1"]}
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(good)
    message = str(explain(next(validator.iter_errors(good | change)), "config"))
    assert line in message
    assert "\n" not in message


@pytest.mark.parametrize("shift", ["auto", "+0/-0", "+4/-5"])
def test_a_shift_is_declared_or_left_to_the_data(sheet, tmp_path, shift):
    good = {"folds": {"f1": {"test": ["1"], "valid": ["2"]}}, "models": {"a": {}}}
    good["runs"] = {"models": ["a"], "folds": ["f1"]}
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(good | {"tn5_shift": shift})
    samples = sheet(f"{COLUMNS}\ttn5_shift", f"one\t{tmp_path}/g.fa\ta.bed\tp.bed\t{shift}")
    assert samples["one"].tn5_shift == [shift]


def test_sample_table(sheet, tmp_path):
    samples = sheet(
        "# comment",
        f"{COLUMNS}\texclusion_list\ttracks\ttn5_shift",
        "one\tg.fa\ta.bed\tp.bed\t\th3=t.bw,dnase=t.bw:zero\t+4/-5",
        "",
        f"two\t{tmp_path}/g.fa\ta.bed\tp.bed",
        "demo\tplanted\tplanted\tplanted\tplanted",
    )
    assert list(samples) == ["one", "two", "demo"]
    one, two, demo = samples.values()
    assert one.files == {
        "genome": f"{tmp_path}/g.fa",
        "atac": [f"{tmp_path}/a.bed"],
        "peaks": f"{tmp_path}/p.bed",
    }
    assert one.tracks == {"h3": f"{tmp_path}/t.bw", "dnase": f"{tmp_path}/t.bw:zero"}
    assert one.track_files == [f"{tmp_path}/t.bw"] * 2
    assert (one.tn5_shift, two.tn5_shift, two.files["genome"]) == (["+4/-5"], ["+0/-0"], f"{tmp_path}/g.fa")
    assert demo.is_planted and not one.is_planted
    assert demo.files["exclusion_list"] == "results/demo/data/simulated/exclusion.bed"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([COLUMNS], "no sample in the table"),
        (["# only this"], "no header"),
        ([COLUMNS, "a\tg.fa"], "line 2: atac: is missing"),
        ([COLUMNS, "a\tplanted\ta.bed"], "line 2: 'planted' in some of genome, atac and peaks"),
        ([COLUMNS, "a\tg.fa\ta.bed\tplanted"], "line 2: 'planted' in some of genome, atac and peaks"),
        ([COLUMNS, "a b\tg.fa\ta.bed\tp.bed"], "line 2: sample: got 'a b'; wanted: A name of letters"),
        ([COLUMNS, "a\t\ta.bed\tp.bed"], "line 2: genome: got ''; wanted: FASTA"),
        ([COLUMNS, "a\tg.fa\ta.bed\tp.bed\tx"], "line 2: got 5 fields, wanted at most 4"),
        (
            [COLUMNS, "a\tnone.fa\ta.bed\tp.bed"],
            "none.fa: file does not exist; relative paths are read against",
        ),
        ([COLUMNS, "a\tg.fa\ta.bed\tp.bed", "a\tg.fa\ta.bed\tp.bed"], "line 3: sample 'a' appears twice"),
        ([COLUMNS, "a\tplanted\ta.bed\tp.bed"], "line 2: 'planted' in some of genome, atac and peaks"),
        (
            [COLUMNS + "\tpeeks", "a\tg.fa\ta.bed\tp.bed\tx"],
            "line 2: peeks: unknown key; did you mean 'peaks'?",
        ),
        (
            [COLUMNS + "\ttracks", "a\tg.fa\ta.bed\tp.bed\tt.bw"],
            "line 2: tracks: got 't.bw'; wanted: Further",
        ),
        (
            [COLUMNS + "\ttracks", "a\tg.fa\ta.bed\tp.bed\tcuts=t.bw"],
            "line 2: tracks: 'cuts' cannot name a track; use letters, digits, _ and -, a letter first",
        ),
        (
            [COLUMNS + "\ttracks", "a\tg.fa\ta.bed\tp.bed\ttn5_bias=t.bw"],
            "line 2: tracks: 'tn5_bias' is a track that gatescope makes itself",
        ),
        (
            [COLUMNS + "\ttracks", "a\tg.fa\ta.bed\tp.bed\th 3=t.bw"],
            "line 2: tracks: 'h 3' cannot name a track",
        ),
        (
            [COLUMNS + "\ttracks", "a\tg.fa\ta.bed\tp.bed\th3=t.bw,h3=t.bw:zero"],
            "line 2: tracks: track 'h3' appears twice",
        ),
        ([COLUMNS, 'a\t"g.fa\ta.bed\tp.bed', "b\tg.fa\ta.bed\tp.bed"], "line 2: quotes do not match"),
        ([f"{COLUMNS}\tpeaks", "a\tg.fa\ta.bed\tp.bed\tp.bed"], "line 1: column 'peaks' appears twice"),
        ([COLUMNS + "\ttn5_shift", "a\tg.fa\ta.bed\tp.bed\t4"], "line 2: tn5_shift: got '4'; wanted: Shift"),
        ([COLUMNS, "a\tg.fa\ta.bed,none.bed\tp.bed"], "none.bed: file does not exist"),
        ([COLUMNS, "a\tg.fa\ta.bed,a.bed\tp.bed"], "line 2: atac: {folder}/a.bed appears twice"),
        ([COLUMNS, "a\tg.fa\ta.bed,,g.fa\tp.bed"], "line 2: atac: got 'a.bed,,g.fa'; wanted: BAM"),
        (
            [COLUMNS + "\ttn5_shift", "a\tg.fa\ta.bed,t.bw\tp.bed\t+0/-0,+4/-5"],
            "line 2: tn5_shift: a.bed is declared as shifted by +0/-0, t.bw by +4/-5: replicates",
        ),
        (
            [COLUMNS + "\ttn5_shift", "a\tg.fa\tg.fa,a.bed,t.bw\tp.bed\tauto,+0/-0,+4/-5"],
            "line 2: tn5_shift: a.bed is declared as shifted by +0/-0, t.bw by +4/-5: replicates",
        ),
        (
            [COLUMNS + "\ttn5_shift", "a\tg.fa\ta.bed\tp.bed\t+0/-0,autos"],
            "line 2: tn5_shift: got '+0/-0,autos'; wanted: Shift",
        ),
        (
            [COLUMNS + "\ttn5_shift", "a\tg.fa\ta.bed\tp.bed\t+0/-0,+4/-5"],
            "line 2: tn5_shift: 2 shifts for 1 files",
        ),
    ],
)
def test_sample_table_mistakes(sheet, tmp_path, lines, words):
    with pytest.raises(InputError) as caught:
        sheet(*lines)
    assert words.replace("{folder}", str(tmp_path)) in str(caught.value)


@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS.removesuffix("\tpeaks")], ids=["empty", "no column"])
def test_peaks_that_are_not_there_are_called(sheet, tmp_path, columns):
    samples = sheet(columns, "one\tg.fa\ta.bed", "demo\tplanted\tplanted")
    for name, sample in samples.items():
        assert sample.calls_peaks and sample.is_planted is (name == "demo")
        assert sample.files["peaks"] == f"results/{name}/atac/peaks.narrowPeak"
    (given,) = sheet(COLUMNS, "two\tg.fa\ta.bed\tp.bed").values()
    assert not given.calls_peaks and given.files["peaks"] == f"{tmp_path}/p.bed"


def test_replicates_are_paths_separated_by_commas(sheet, tmp_path):
    (one,) = sheet(f"{COLUMNS}\ttn5_shift", "one\tg.fa\ta.bed, t.bw\tp.bed\t+4/-4,+4/-4").values()
    assert one.files["atac"] == [f"{tmp_path}/a.bed", f"{tmp_path}/t.bw"]
    assert one.tn5_shift == ["+4/-4", "+4/-4"]


def test_exclusion_lists_are_paths_separated_by_commas(sheet, tmp_path):
    samples = sheet(
        f"{COLUMNS}\texclusion_list", "a\tg.fa\ta.bed\tp.bed\tp.bed, a.bed", "b\tg.fa\ta.bed\tp.bed"
    )
    assert samples["a"].files["exclusion_list"] == [str(tmp_path / "p.bed"), str(tmp_path / "a.bed")]
    assert "exclusion_list" not in samples["b"].files
    with pytest.raises(
        InputError, match=r"line 2: exclusion_list: .*p.bed appears twice; name each file once"
    ):
        sheet(f"{COLUMNS}\texclusion_list", "a\tg.fa\ta.bed\tp.bed\tp.bed,p.bed")


def test_each_replicate_may_be_left_to_the_data(sheet):
    for shifts in ("auto,+4/-4", "+4/-4,auto", "auto,auto"):
        (one,) = sheet(f"{COLUMNS}\ttn5_shift", f"one\tg.fa\ta.bed,t.bw\tp.bed\t{shifts}").values()
        assert one.tn5_shift == shifts.split(",")


def test_a_table_from_a_spreadsheet(sheet, tmp_path):
    """It begins with a mark, and puts fields with commas in quotes."""
    table = f'\ufeff{COLUMNS}\ttracks\r\none\tg.fa\ta.bed\tp.bed\t"h3=t.bw,dnase=t.bw"\r\n'
    (tmp_path / "samples.tsv").write_text(table, encoding="utf-8", newline="")
    one = read_samples(tmp_path / "samples.tsv", tmp_path, "+0/-0", check_row)["one"]
    assert list(one.tracks) == ["h3", "dnase"]


def test_a_table_in_another_encoding_is_the_users_message(sheet, tmp_path):
    (tmp_path / "samples.tsv").write_bytes(f"# Müller\n{COLUMNS}\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"samples\.tsv: not text in UTF-8 \(byte 4\); save it"):
        read_samples(tmp_path / "samples.tsv", tmp_path, "+0/-0", check_row)


def test_the_home_folder_is_found(sheet, tmp_path, monkeypatch):
    sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed")
    monkeypatch.setenv("HOME", str(tmp_path))
    one = read_samples(tmp_path / "samples.tsv", "~", "+0/-0", check_row)["one"]
    assert one.files["genome"] == f"{tmp_path}/g.fa"


def test_a_sidecar_is_a_file_of_the_sample_where_there_is_one(sheet, tmp_path):
    row = "one\tg.fa\ta.bed\tp.bed\th3=t.bw:zero"
    (tmp_path / "t.bw.json").write_text("{}")
    (one,) = sheet(f"{COLUMNS}\ttracks", row).values()
    assert one.track_files == [f"{tmp_path}/t.bw", f"{tmp_path}/t.bw.json"]


@pytest.mark.parametrize(
    ("folds", "line"),
    [
        (5, None),
        ("a.json", None),
        (["a.json", "b.json"], None),
        ({"f1": {"test": ["a"], "valid": ["b"], "train": ["c"]}}, None),
        (2, "config: folds: 2 is less than the minimum of 3"),
        (2.5, "config: folds: 2.5 is not of type 'object', 'integer', 'string', 'array'"),
        ([], "config: folds"),
        ([3], "config: folds[0]: 3 is not of type 'string'"),
        ({"f1": {"test": ["a"]}}, "config: folds.f1.valid: is missing"),
        ({"f1": {"test": ["a"], "valid": ["b"], "val": ["b"]}}, "config: folds.f1.val: unknown key"),
    ],
)
def test_folds_are_lists_a_number_or_files(folds, line):
    values = {"folds": folds, "models": {"a": {}}, "runs": {"models": ["a"], "folds": ["f1"]}}
    errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(values))
    assert bool(errors) == (line is not None)
    if errors:
        assert str(explain(errors[0], "config")).startswith(line)


def test_folds_by_number_are_runs_before_the_genome_is_known(sheet):
    samples = sheet(COLUMNS, "a\tg.fa\ta.bed\tp.bed")
    values = config(runs={"models": ["a"], "folds": ["f2", "f4"], "seeds": [1]}, folds=name_folds(4))
    assert list(plan_runs(values, samples)) == ["a.f2.1", "a.f4.1"]
    assert check_folds(values) == {"f2": {"part": 2, "of": 4}, "f4": {"part": 4, "of": 4}}
    with pytest.raises(InputError, match="'f5' is not defined; defined are f1, f2, f3, f4"):
        plan_runs({**values, "runs": values["runs"] | {"folds": ["f5"]}}, samples)


def test_runs_are_every_combination(sheet):
    samples = sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed")
    assert list(plan_runs(config(), samples)) == ["a.f1.1", "a.f1.2", "b.f1.1", "b.f1.2"]
    assert name_ensembles(plan_runs(config(), samples).values()) == {
        "a.f1": ["a.f1.1", "a.f1.2"],
        "b.f1": ["b.f1.1", "b.f1.2"],
    }
    one_seed = plan_runs(config(runs={"models": ["a", "b"], "folds": ["f1"], "seeds": [3]}), samples)
    assert name_ensembles(one_seed.values()) == {}
    assert check_folds(config()) == {"f1": {"test": ["chr3"], "valid": ["chr4"]}}
    assert "training" not in network_settings(config(), "a")


def test_runs_alike_are_sized_together(sheet):
    """As preflight takes it; how much a network costs is in its own settings and those of training."""
    training = {"epochs": 3, "windows_per_epoch": 96, "sampling": {"scheme": "balanced", "peaks": 1}}
    small = {
        "inputs": ["sequence"],
        "targets": ["state"],
        "half_life_bp": [2, 9],
        "bias": "none",
        "trunk": "recurrent",
        "same_size_as": "",
        "hidden_units": 8,
        "layers": 1,
    }
    models = {"a": {**small, "training": {}}, "b": {**small, "layers": 2, "training": {"epochs": 7}}}
    changed = config(models=models, training=training, trace={"contigs": "held-out"})
    runs = plan_runs(changed, sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed"))
    common = {"fold": "f1", "contigs": "held-out", "windows_per_epoch": 96, "hidden_units": 8}
    assert [RunSize(**size) for size in size_runs(changed, runs.values())] == [
        RunSize(runs=2, epochs=3, layers=1, **common),
        RunSize(runs=2, epochs=7, layers=2, **common),
    ]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"windows": {"background_ratio": float("inf")}}, "config: windows.background_ratio: inf"),
        ({"models": {"a": {"half_life_bp": [2, float("nan")]}}}, "config: models.a.half_life_bp.1: nan"),
        ({"training": {"learning_rate": float("-inf")}}, "config: training.learning_rate: -inf"),
    ],
)
def test_numbers_have_to_be_finite(values, key):
    refuse_endless({"seed": 1, "samples": "inf", "training": {"learning_rate": 0.1}})
    with pytest.raises(InputError, match=re.escape(key)):
        refuse_endless({"seed": 1, **values})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flank_bp": 600}, "dip_bp 25, flank_bp 600, profile_bp 500; wanted 0 < dip_bp < flank_bp <="),
        ({"dip_bp": 250}, "dip_bp 250, flank_bp 250, profile_bp 500"),
        (
            {"dip_below": -4.0},
            "reset_below -3.3, dip_below -4.0, equivalence 0.5; wanted reset_below <= dip_below <= -equivalence < 0",
        ),
        (
            {"equivalence": 0.6},
            "dip_below -0.5, equivalence 0.6; wanted reset_below <= dip_below <= -equivalence",
        ),
        ({"interval_level": 1.0}, "interval_level 1.0; wanted between 0 and 1"),
    ],
)
def test_boundary_settings_may_not_contradict_each_other(change, words):
    """Found when the configuration is read, and in the same way when the stage runs."""
    good = {
        key: schema["default"] for key, schema in SCHEMA["properties"]["boundaries"]["properties"].items()
    }
    check_boundaries(good), read_settings(good)
    for check in (check_boundaries, read_settings):
        with pytest.raises(InputError, match=r"^config: boundaries: ") as caught:
            check(good | change)
        if check is check_boundaries:
            assert words in str(caught.value)


def test_grammar_settings_may_not_contradict_each_other():
    good = {key: schema["default"] for key, schema in SCHEMA["properties"]["grammar"]["properties"].items()}
    check_grammar(good)
    with pytest.raises(
        InputError, match=r"^config: grammar: jitter_bp 20, half_width_bp 20; wanted jitter_bp <"
    ):
        check_grammar(good | {"jitter_bp": 20})


def test_a_file_of_motifs_is_looked_for_below_data_dir(tmp_path):
    (tmp_path / "known.meme").touch()
    settings = {"data_dir": str(tmp_path), "grammar": {"motifs": "known.meme"}}
    assert motif_file(settings) == str(tmp_path / "known.meme")
    assert motif_file(settings | {"grammar": {"motifs": ""}}) == ""
    with pytest.raises(InputError, match=r"config: grammar\.motifs: .*other\.meme: file does not exist"):
        motif_file(settings | {"grammar": {"motifs": "other.meme"}})


def test_a_model_overrides_how_it_is_trained():
    own = {"epochs": 7, "sampling": {"uniform": 2}}
    settings = training_settings(config(models={"a": {"training": own}}), "a")
    assert settings == {
        "epochs": 7,
        "sampling": {"scheme": "balanced", "peaks": 1, "background": 0, "uniform": 2},
    }, "the workers do not change a network, and a parameter that changes would train it again"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"runs": {"models": ["c"], "folds": ["f1"], "seeds": [1]}},
            "runs.models: 'c' is not defined; defined are a, b",
        ),
        ({"runs": {"models": ["a"], "folds": ["f9"], "seeds": [1]}}, "runs.folds: 'f9' is not defined"),
        ({"folds": {"f1": {"test": ["1"], "valid": ["1"]}}}, "contig '1' is in both test and valid"),
        ({"exclude_contigs": ["chr3"]}, "contig 'chr3' is in exclude_contigs as well"),
        (
            {
                "folds": {"f1": {"test": ["1", "2"], "valid": ["3"]}, "g": {"test": ["2"], "valid": ["1"]}},
                "runs": {"models": ["a"], "folds": ["f1", "g"], "seeds": [1]},
            },
            "config: folds.g.test: contig '2' is tested in f1 as well",
        ),
    ],
)
def test_names_have_to_fit_each_other(sheet, changes, words):
    samples = sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed")
    with pytest.raises(InputError, match=re.escape(words)):
        plan_runs(config(**changes), samples), check_folds(config(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": ["sequence", "h3"]}, "sample one has no track 'h3'; known are sequence, cuts"),
        ({"inputs": ["sequence", "cuts"]}, "cuts are an input and a target"),
        ({"half_life_bp": [9, 2]}, "got [9, 2], wanted the shorter first"),
        (
            {"targets": ["state"], "bias": "tn5"},
            "config: models.a.bias: 'tn5', but cuts are no target of this model",
        ),
    ],
)
def test_a_model_has_to_fit_the_samples(sheet, changes, words):
    samples = sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed")
    models = config()["models"]
    models["a"] |= changes
    with pytest.raises(InputError, match=re.escape(words)):
        plan_runs(config(models=models), samples)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({}, False), ({"bias": "tn5"}, True), ({"inputs": ["sequence", "tn5_bias"]}, True)],
)
def test_the_preference_is_encoded_where_a_model_that_runs_asks_for_it(sheet, changes, wanted):
    models = config()["models"]
    models["a"] |= changes
    models["unused"] = {**models["a"], "bias": "tn5"}
    settings = config(models=models)
    plan_runs(settings, sheet(COLUMNS, "one\tg.fa\ta.bed\tp.bed"))
    assert needs_bias(settings) is wanted


def test_some_window_must_be_drawn():
    nothing = {"peaks": 0, "background": 0, "uniform": 0}
    with pytest.raises(
        InputError, match=r"training.sampling \(model a\): peaks, background and uniform are all 0"
    ):
        training_settings(config(models={"a": {"training": {"sampling": nothing}}}), "a")
    tiled = {"sampling": {**nothing, "scheme": "whole_genome"}}
    assert training_settings(config(models={"a": {"training": tiled}}), "a")["sampling"] == tiled["sampling"]


def test_a_section_becomes_its_dataclass():
    values = {"epochs": 3, "learning_rate": 1, "sampling": {"jitter_bp": 7}}
    assert read_section(Training, values, "training") == Training(
        epochs=3, learning_rate=1, sampling=Sampling(jitter_bp=7)
    )
    values = {"inputs": ["sequence", "cuts"], "targets": ["state"], "half_life_bp": [3, 9.5]}
    made = read_section(NetworkConfig, values, "models")
    assert (made.inputs, made.half_life_bp) == (("sequence", "cuts"), (3, 9.5))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Training, {"epoch": 3}, "here: unknown epoch; known are epochs, windows_per_epoch,"),
        (Training, {"epochs": "3"}, "here: epochs: '3'; wanted a whole number"),
        (Training, {"epochs": 3.0}, "here: epochs: 3.0; wanted a whole number"),
        (Training, {"epochs": True}, "here: epochs: True; wanted a whole number"),
        (Training, {"learning_rate": float("nan")}, "here: learning_rate: nan; wanted a number"),
        (Training, {"device": None}, "here: device: None; wanted text"),
        (Training, {"sampling": []}, "here: sampling: []; wanted keys and values"),
        (Training, {"sampling": {"peak": 1}}, "here: sampling: unknown peak; known are scheme, peaks,"),
        (Training, {"sampling": {"reverse_complement": 1}}, "reverse_complement: 1; wanted true or false"),
        (NetworkConfig, {"inputs": "sequence"}, "here: inputs: 'sequence'; wanted a list"),
        (NetworkConfig, {"inputs": ["sequence", 1]}, "here: inputs: 1; wanted text"),
        (NetworkConfig, {"half_life_bp": [1, 2, 3]}, "here: half_life_bp: [1, 2, 3]; wanted a list of 2"),
    ],
)
def test_a_section_that_does_not_fit(kind, values, message):
    with pytest.raises(InputError) as caught:
        read_section(kind, values, "here")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience", "learning_rate", "gradient_clip"])
def test_training_needs_more_than_nothing(name):
    with pytest.raises(InputError, match=f"training: {name}: 0; wanted"):
        Training(**{name: 0})
    with pytest.raises(InputError, match="training: device: 'tpu'; wanted one of auto, cpu, cuda"):
        Training(device="tpu")
