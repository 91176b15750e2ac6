"""The command line: one message per mistake, in one place, with the right exit status."""

import errno
import logging
import subprocess
import sys
import warnings

import pytest

from gatescope import __version__, cli, flags, verbs
from gatescope.errors import InputError

HEAVY = ("torch", "lightning", "pandas", "numpy", "matplotlib", "snakemake")


def spoiled(path, kind):
    """Stand in for a verb: say something, then fail in the way asked for."""
    logging.getLogger("gatescope.spoiled").info("found 7 peaks")
    logging.getLogger("lightning.pytorch").info("Tip: buy more")
    if kind == "mistake":
        raise InputError("wrong", where=path, remedy="mend\nit")
    if kind == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    if kind == "folder":
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if kind == "file":
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
    if kind == "lost":
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
    if kind == "bug":
        raise ZeroDivisionError("by zero")
    if kind == "stop":
        raise KeyboardInterrupt


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `gatescope spoiled ...` in this process; return exit status, stdout and stderr."""
    options = (
        flags.file("--path", "a path", default="x.bed"),
        flags.option("--kind", "how to fail", default=""),
    )
    monkeypatch.setitem(verbs.VERBS, "spoiled", verbs.Verb(__name__, "fail", options))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(warnings, "filters", warnings.filters[:])

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return ended.value.code, *capsys.readouterr()

    yield call
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def test_progress_goes_to_terminal_and_log(run, tmp_path):
    status, stdout, stderr = run("spoiled", "--log", str(tmp_path / "logs" / "a.log"))
    assert (status, stdout, stderr) == (0, "", "gatescope spoiled: found 7 peaks\n")
    assert (tmp_path / "logs" / "a.log").read_text().endswith(" found 7 peaks\n")


def test_mistake_without_a_log_is_one_line_on_the_terminal(run):
    status, _, stderr = run("spoiled", "--kind", "mistake")
    assert status == 2
    assert stderr.splitlines()[1:] == ["gatescope spoiled: error: x.bed: wrong; mend it"]


def test_mistake_with_a_log_is_in_the_log_only(run, tmp_path):
    status, _, stderr = run("spoiled", "--kind", "mistake", "--log", str(tmp_path / "a.log"))
    assert (status, "error" in stderr) == (2, False)
    assert (tmp_path / "a.log").read_text().count("gatescope spoiled: error: x.bed: wrong; mend it\n") == 1


def test_debug_shows_where_a_mistake_was_noticed(run, monkeypatch):
    monkeypatch.setenv("GATESCOPE_DEBUG", "1")
    status, _, stderr = run("spoiled", "--kind", "mistake")
    assert status == 2
    assert "Traceback" in stderr


def test_full_disk_is_one_line(run):
    status, _, stderr = run("spoiled", "--kind", "disk")
    assert status == 2
    assert stderr.endswith("gatescope spoiled: error: x.bed: No space left on device\n")


@pytest.mark.parametrize("kind", ["folder", "below a file"])
def test_a_log_that_cannot_be_written_is_one_line_on_the_terminal(run, tmp_path, kind):
    (tmp_path / "file").touch()
    log_file = tmp_path if kind == "folder" else tmp_path / "file/logs/a.log"
    status, _, stderr = run("spoiled", "--log", str(log_file))
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith(f"gatescope spoiled: error: {log_file}: log cannot be written")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_output_of_the_wrong_kind_is_one_line(run, kind):
    status, _, stderr = run("spoiled", "--kind", kind)
    assert status == 2
    assert "gatescope spoiled: error: x.bed: " in stderr and "Traceback" not in stderr


@pytest.mark.parametrize("kind", ["bug", "lost"])
def test_bug_keeps_its_traceback(run, tmp_path, kind):
    status, _, stderr = run("spoiled", "--kind", kind, "--log", str(tmp_path / "a.log"))
    assert (status, "Traceback" in stderr) == (1, False)
    assert "please report it" in (tmp_path / "a.log").read_text()
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_interrupt_is_no_bug(run):
    status, _, stderr = run("spoiled", "--kind", "stop")
    assert (status, "Traceback" in stderr) == (130, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "VERB"),
        (("fly",), "invalid choice: 'fly'"),
        (("cuts", "--genome"), "expected one argument"),
        (("cuts", "--atac"), "expected at least one argument"),
        (("simulate", "--output", "x", "--seed", "one"), "--seed: invalid integer value: 'one'"),
        (("simulate", "--output", "x", "--seed", "-1"), "--seed: -1 is less than 0"),
        (("train", "--threads", "0"), "--threads: 0 is less than 1"),
        (("preflight", "--runs", "3"), "wanted a JSON list"),
        (("verdict", "--output", "x"), "required: --verdicts"),
        (("train", "--network", "{"), "not JSON"),
        (("train", "--network", "[1]"), "wanted a JSON object"),
        (("encode", "--tracks", "h3k27ac"), "wanted NAME=PATH"),
        (("encode", "--tracks", "a=1.bw", "a=2.bw"), "given twice"),
        (("train", "--twin", "evil"), "invalid choice: 'evil'"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments, words):
    status, stdout, stderr = run(*arguments)
    assert (status, stdout, stderr.count("\n")) == (2, "", 1)
    assert words in stderr
    assert stderr.startswith("gatescope") and "error:" in stderr and "--help" in stderr


def test_named_paths_and_absent_inputs():
    arguments = [
        *("encode", "--genome", "g.fa", "--cuts", "c.bw", "--peaks", "p.bed", "--folds", '{"f1": {}}'),
        *("--window-bp", "100", "--background-ratio", "1", "--max-unknown-fraction", "0", "--seed", "1"),
        *("--output", "o", "--exclusion-list", "--exclude-contigs", "--tracks"),
    ]
    values = cli.build_parser().parse_args(arguments)
    assert (values.exclusion_list, values.exclude_contigs, values.tracks) == ([], [], {})
    values = cli.build_parser().parse_args([*arguments, "a=x y.bw", "b=z.bw:zero"])
    assert {name: str(path) for name, path in values.tracks.items()} == {"a": "x y.bw", "b": "z.bw:zero"}
    assert values.folds == {"f1": {}}


def test_version(run):
    assert run("--version") == (0, f"gatescope {__version__}\n", "")


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_every_verb_explains_itself(run, verb):
    status, stdout, _ = run(verb, "--help")
    assert status == 0
    for flag, settings in verbs.VERBS[verb].options:
        assert flag in stdout
        assert settings["help"]


def test_help_loads_nothing_heavy():
    code = f"""
import sys
from gatescope.cli import main
try:
    main(["--help"])
except SystemExit:
    print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(f"    {verb}" in done.stdout for verb in verbs.VERBS)
