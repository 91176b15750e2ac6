"""The workflow as a user starts it, in a folder of its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "small.yaml"


@dataclass
class Workflow:
    """A working directory and the configuration that runs in it."""

    folder: Path
    configuration: tuple[Path, ...] = (SMALL,)

    def command(self, *arguments: str) -> list[str]:
        return [
            str(Path(sys.executable).parent / "snakemake"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder)),
            *("--workflow-profile", str(ROOT / "workflow/profiles/default")),
            *("--configfile", *map(str, self.configuration), *arguments),
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; stdout and stderr come together, as on a terminal."""
        return subprocess.run(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_env(),
        )

    @property
    def files(self) -> set[str]:
        """Every file under results/, relative to it."""
        results = self.folder / "results"
        return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def clean_env() -> dict[str, str]:
    """Leave the virtual environment out of PATH: jobs must find gatescope by themselves."""
    path = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if p != str(Path(sys.executable).parent)
    )
    return {**os.environ, "PATH": path}


def make_small(folder: Path, *overlays: Path) -> Workflow:
    """Lay out the small workflow on the planted genome."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "config/samples.tsv", folder / "samples.tsv")
    return Workflow(folder, (SMALL, *overlays))
