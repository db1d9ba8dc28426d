"""The running Python's standard library as text: on every machine, without a download.

Two documents a module: its source, and its documentation strings on their own. Left out are
tests and their data, which hold little prose and the odd broken file, and what the build of
this interpreter generated.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.errors import CorpusError

SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
SKIPPED_PREFIXES = ("config-", "_sysconfigdata")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def read_stdlib() -> Iterator[tuple[str, str, str | None]]:
    """Each document's text, its place, and the text that it follows to train or validation.

    Documentation strings follow their module's source: it holds them too, and validation must
    not see what training has seen.
    """
    root = Path(sysconfig.get_path("stdlib"))
    for path in _modules(root):
        where = path.relative_to(root).as_posix()
        source = _source(path)
        if not source:
            continue
        yield source, where, None
        strings = documentation(source)
        if strings:
            name = where.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            # The title also keeps apart modules with the same documentation.
            yield f"{name}\n\n{strings}\n", f"{where}: documentation", source


def _modules(root: Path) -> Iterator[Path]:
    """The library's source files in a fixed order."""
    found = False
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED_FOLDERS and not name.startswith(SKIPPED_PREFIXES)
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(SKIPPED_PREFIXES):
                found = True
                yield Path(folder, name)
    if not found:
        raise CorpusError(
            f"data.kind: this Python keeps no source of its standard library in {root}; "
            "use another Python, or data=text with files of your own"
        )


def _source(path: Path) -> str:
    """The text of a module by Python's own rule for its encoding; empty if it breaks the rule."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""


# Kept for the second pass: parsing takes longer than tokenizing does.
@cache
def documentation(source: str) -> str:
    """The documentation strings of a module, its classes and functions, a blank line between.

    Empty if there are none, or if ``source`` is not Python.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    strings = (
        ast.get_docstring(node) for node in _statements(tree) if isinstance(node, DOCUMENTED)
    )
    return "\n\n".join(string for string in strings if string)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """``node`` and the statements within it, in the order of the source."""
    yield node
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        for statement in getattr(node, block, ()):
            yield from _statements(statement)
