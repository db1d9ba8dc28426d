"""How the engine is compiled, and where the compiled code is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from wse.kept_code import KeptCode

FABRIC = Path(__file__).parents[1]
SOURCES = (*sorted((FABRIC / "engine").glob("*.py")), FABRIC / "tables.py")
KEPT = KeptCode("fabric", FABRIC, SOURCES)
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


@inlined
def lowest_bit(mask: Any) -> Any:
    """The position of the lowest bit of a mask that is not 0."""
    return np.int64(trailing_zeros(mask))  # type: ignore[call-arg]


def kept(function: Callable[..., Any]) -> Any:
    """For the outermost loop, with all that it calls: kept on disk."""
    return KEPT.compiled(function, OPTIONS)
