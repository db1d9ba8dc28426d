"""Who may import whom: the walls between the rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at its head or within a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def importers_of(package: str) -> set[str]:
    files = [*(REPOSITORY / "pipeline").rglob("*.py"), *(REPOSITORY / "wse").rglob("*.py")]
    return {
        str(path.relative_to(REPOSITORY))
        for path in files
        if any(name == package or name.startswith(f"{package}.") for name in imports_of(path))
    }


def test_the_simulator_knows_nothing_of_the_pipeline_and_its_libraries():
    for package in ("torch", "hydra", "omegaconf", "mlflow", "snakemake", "pipeline"):
        assert not {path for path in importers_of(package) if path.startswith("wse/")}, package


def test_mlflow_is_imported_in_one_module():
    assert importers_of("mlflow") == {"pipeline/tracking.py"}


def test_importing_the_stages_does_not_import_mlflow():
    code = (
        "import sys, pipeline.train, pipeline.evaluate, pipeline.partition, pipeline.report; "
        "print('mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
