"""The tutorial's code runs, block after block, as a reader would type it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[3] / "docs" / "fabric_tutorial.md"


def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), str(TUTORIAL), "exec"), names)
    printed = capsys.readouterr().out
    assert "PE (1, 0) waits in" in printed
    assert "wavelets went east" in printed
