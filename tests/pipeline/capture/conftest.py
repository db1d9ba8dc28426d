"""Directories with a ``config.json``, written here: nothing is fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

Written = Callable[[str, dict[str, Any]], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes the ``config.json`` of a model into a directory of its own."""

    def write(name: str, values: dict[str, Any]) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(values))
        return directory

    return write
