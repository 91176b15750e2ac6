"""Fixtures that several test folders share."""

import copy
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

# before anything imports torch: an LSTM with more threads than free cores is 20 to 50 times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

from gatescope.cli import main
from tiny_data import TinyInputs, make_tiny_inputs


@pytest.fixture(scope="session")
def drawn_inputs(tmp_path_factory) -> TinyInputs:
    """The good set of tiny inputs, drawn and written once; not to be changed."""
    return make_tiny_inputs(tmp_path_factory.mktemp("drawn") / "inputs")


@pytest.fixture
def tiny_inputs(tmp_path, drawn_inputs) -> TinyInputs:
    """A good set of tiny inputs in a folder of its own."""
    shutil.copytree(drawn_inputs.folder, tmp_path / "inputs")
    return copy.deepcopy(replace(drawn_inputs, folder=tmp_path / "inputs"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real yeast ATAC-seq."""
    folder = os.environ.get("GATESCOPE_DATA")
    if not folder:
        pytest.skip("GATESCOPE_DATA is not set: no yeast data")
    return Path(folder)


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    status: int
    stderr: str
    stdout: str

    @property
    def messages(self) -> list[str]:
        """Lines that report an error, as against progress."""
        return [line for line in self.stderr.splitlines() if ": error: " in line]


@pytest.fixture
def run_cli(capsys) -> Callable[..., Outcome]:
    """Run `gatescope VERB ...` in this process, and put logging back as it was."""

    def run(*arguments: object) -> Outcome:
        root, log = logging.getLogger(), logging.getLogger("gatescope")
        before = list(root.handlers), root.level, log.level
        try:
            with pytest.raises(SystemExit) as exit:
                main([str(argument) for argument in arguments])
        finally:
            root.handlers[:], level, log_level = before
            root.setLevel(level)
            log.setLevel(log_level)
        printed = capsys.readouterr()
        return Outcome(exit.value.code or 0, printed.err, printed.out)

    return run
