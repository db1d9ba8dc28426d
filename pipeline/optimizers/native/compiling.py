"""How the native loops are compiled, and where the compiled code is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from wse.kept_code import KeptCode

PACKAGE = Path(__file__).parents[1]
KEPT = KeptCode("optimizers", PACKAGE, tuple(sorted(PACKAGE.rglob("*.py"))))

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
    return KEPT.compiled(function, OPTIONS)
