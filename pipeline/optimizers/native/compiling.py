"""How the native loops are compiled, and where the compiled code is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

PACKAGE = Path(__file__).parents[1]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}
"""Division by zero is infinite, not an exception, which LLVM could not do in vectors; and it may
sum in lanes, but not assume that nothing is NaN."""


def inlined(function: Callable[..., Any]) -> Any:
    """For what the loops call: compiled into them."""
    return numba.njit(**OPTIONS)(function)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first use. The code is kept on disk where there is a folder to write."""
    config: Any = numba.config
    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(_folder(before))
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no such folder, or no home: compiled anew in each process
        return inlined(function)
    finally:
        config.CACHE_DIR = before


def _folder(chosen: str) -> Path:
    """Of this package's sources as they are now.

    Numba itself looks only whether a function's own file has changed, not those that it calls.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    beside = PACKAGE / "__pycache__"
    home = beside if os.access(beside, os.W_OK) else Path.home() / ".cache" / "onewafer"
    return Path(chosen or home) / f"optimizers-{digest.hexdigest()}"
