"""A copy of the project, so that a test may edit conf/ and run Snakemake for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PARTS = ("Snakefile", "environment.yaml", "rules", "profiles", "conf", "pipeline", "wse")
TINY = (
    "model=nano_100k, model.layers=2, model.hidden=32, model.heads=2, model.feed_forward=64, "
    "train=smoke, train.steps=12, evaluate.sample_tokens=4, data=text, 'data.paths=[books]', "
    "data.validation_fraction=0.2, tokenizer=bpe_512"
)
# For tests of what is not in MLflow: to import it takes longer than all else that a stage does.
UNTRACKED = "tracking.enabled=false"
SWEEP = f"""\
small: [{TINY}]
other: [{TINY}, train.seed=1]
gptj_6b: [model=gptj_6b, train=none]
"""


@dataclass(frozen=True)
class Project:
    """A project folder of its own, with a sweep named ``test``."""

    folder: Path

    @property
    def sweep(self) -> Path:
        """The sweep's file."""
        return self.folder / "conf/sweep/test.yaml"

    def command(self, *arguments: str) -> list[str]:
        """A Snakemake command line for the sweep."""
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
        return [*snakemake, "--config", "sweep=test", *arguments]

    def environment(self) -> dict[str, str]:
        """Without the variables by which one pytest or Snakemake run would reach another."""
        return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on the sweep and return what it printed, both streams together."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def planned_jobs(self) -> dict[str, int]:
        """How many jobs of each rule a dry run would start, all and the total left out."""
        out = self.snakemake("--dry-run").stdout
        if "Nothing to be done" in out:
            return {}
        table = out[out.rindex("Job stats:") :]
        jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
        return {rule: count for rule, count in jobs.items() if rule not in ("all", "total")}


def new_project(folder: Path) -> Project:
    """Copy the project into ``folder`` and give it a small corpus and the sweep ``test``."""
    folder.mkdir()
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    (folder / "books").mkdir()
    for number in range(60):
        text = " ".join(f"{number} streams layer {number * i % 7} of the wafer" for i in range(40))
        (folder / "books" / f"{number:02d}.txt").write_text(text)
    project = Project(folder)
    project.sweep.write_text(SWEEP)
    return project


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], Project]:
    """Makes a project in a folder that is not there yet."""
    return new_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose sweep has run to its end; tests that change it copy it."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project")
    project.snakemake()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, file times and Snakemake's memory included."""
    shutil.copytree(finished.folder, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project in which nothing has run, and that logs nothing to MLflow."""
    project = new_project(tmp_path / "project")
    project.sweep.write_text(SWEEP.replace("]\n", f", {UNTRACKED}]\n"))
    return project
