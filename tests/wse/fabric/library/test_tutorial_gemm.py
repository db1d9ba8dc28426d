"""The chapter on a matrix product runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHAPTER = Path(__file__).resolve().parents[4] / "docs" / "fabric_tutorial_gemm.md"


def test_the_chapter_runs_and_prints_the_cycles_that_it_tells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = CHAPTER.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(blocks), str(CHAPTER), "exec"), {})
    plain, pipelined, rings = re.findall(r"(\d+) cycles a step", capsys.readouterr().out)
    assert f"It prints {plain} cycles a step" in text
    assert f"These are {pipelined} and {rings} cycles a step" in text
