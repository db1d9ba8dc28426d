"""The simulator stands alone: it loads nothing of the training pipeline, and quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# numba itself loads yaml where it is installed, so that yaml cannot be told apart here.
FORBIDDEN = ("torch", "hydra", "omegaconf", "mlflow", "snakemake", "pipeline", "pandas")
CODE = """
import importlib, pkgutil, sys
import wse
for module in pkgutil.walk_packages(wse.__path__, "wse."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def test_every_module_imports_without_the_pipeline() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "wse" in loaded
    assert loaded.isdisjoint(FORBIDDEN)
