"""The text that every machine has: the sources of Python's standard library."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpus.sources import documents
from pipeline.corpus.stdlib import documentation
from pipeline.errors import CorpusError
from pipeline.schema import StdlibData
from tests.pipeline.corpus.sources import texts, write


def test_stdlib_is_large_ordered_and_free_of_tests() -> None:
    first = list(documents(StdlibData(name="s")))
    assert sum(len(document.text.encode()) for document in first) > 10e6
    assert first == list(documents(StdlibData(name="s")))
    places = [document.where for document in first]
    assert "json/decoder.py" in places
    assert not any(
        part in ("test", "tests", "site-packages", "idle_test")
        for place in places
        for part in place.split("/")
    )


def test_stdlib_documentation_is_a_document_that_follows_its_source() -> None:
    found = {document.where: document for document in documents(StdlibData(name="s"))}
    source, strings = found["json/__init__.py"], found["json/__init__.py: documentation"]
    assert strings.text.startswith("json\n\nJSON (JavaScript Object Notation)")
    assert "Serialize ``obj`` to a JSON formatted ``str``." in strings.text
    assert "import" in source.text
    assert strings.follows == source.text
    assert source.follows is None


def test_documentation_strings_come_in_order_and_unindented() -> None:
    source = '''"""Module."""
try:
    def f():
        """One.

        More:
            indented
        """
        class Inner: "Inner."
except Exception:
    async def g(): "Two."
x = "no documentation"
'''
    assert documentation(source) == "Module.\n\nOne.\n\nMore:\n    indented\n\nInner.\n\nTwo."
    assert documentation("x = 1") == ""
    assert documentation("this is no Python") == ""


def test_stdlib_takes_python_s_own_encodings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "latin.py", "# coding: latin-1\n# é\n".encode("latin-1"))
    write(tmp_path / "broken.py", b"# \xff\n")
    write(tmp_path / "test/test_x.py", "x = 1\n")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert texts(StdlibData(name="s")) == ["# coding: latin-1\n# é\n"]


def test_a_python_without_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "python311.zip"))
    with pytest.raises(CorpusError, match=r"python311.zip; use another Python, or data=text"):
        texts(StdlibData(name="s"))
