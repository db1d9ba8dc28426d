"""How the engine is compiled, and where the compiled code is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

FABRIC = Path(__file__).parents[1]
# Division by zero is infinite, as on the machine; sums are not reordered: bits must agree.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}

# Of functions that no Python calls.
INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inlined(function: Callable[..., Any]) -> Any:
    """For the small parts: compiled into what calls them, whatever their size."""
    return numba.njit(forceinline=True, **INNER, **OPTIONS)(function)


def compiled(function: Callable[..., Any]) -> Any:
    """For the large parts: compiled once, called as functions."""
    return numba.njit(**INNER, **OPTIONS)(function)


@inlined
def wide(number: Any) -> Any:
    """A number of a table with 64 bits, so that no function is compiled for each width."""
    return np.int64(number)


def kept(function: Callable[..., Any]) -> Any:
    """For the outermost loop: the code is kept on disk where there is a folder to write."""
    config: Any = numba.config
    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(_folder(before))
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no such folder, or no home: compiled anew in each process
        return compiled(function)
    finally:
        config.CACHE_DIR = before


def _folder(chosen: str) -> Path:
    """Of the engine's sources as they are now: numba looks at no file but the function's own."""
    digest = hashlib.blake2b(digest_size=8)
    for path in [*sorted((FABRIC / "engine").glob("*.py")), FABRIC / "tables.py"]:
        digest.update(path.read_bytes())
    beside = FABRIC / "__pycache__"
    home = beside if os.access(beside, os.W_OK) else Path.home() / ".cache" / "onewafer"
    return Path(chosen or home) / f"fabric-{digest.hexdigest()}"
