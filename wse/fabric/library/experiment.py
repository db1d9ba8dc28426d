"""A program of the library with its inputs in place and the numbers that it must leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wse.fabric.errors import FabricError, ProgramError
from wse.fabric.program import ALL, Program
from wse.fabric.tables import DType


class WrongResultError(FabricError):
    """A program left other numbers than numpy computes."""


class HasArrays(Protocol):
    """What :meth:`Experiment.check` asks of a run's result."""

    def array(self, name: str, x: int | slice = ALL, y: int | slice = ALL) -> NDArray:
        """An array of the region's PEs, [height, width, length]."""


@dataclass(frozen=True)
class Answer:
    """What an array of a region of PEs must hold after the run: [height, width, length]."""

    array: str
    values: NDArray
    x: int | slice = field(default_factory=lambda: ALL)
    y: int | slice = field(default_factory=lambda: ALL)


@dataclass(frozen=True)
class Experiment:
    """A program, ready to run, and its answers."""

    program: Program
    answers: tuple[Answer, ...]

    def check(self, result: HasArrays) -> None:
        """Raise :class:`WrongResultError` unless every answer is exactly right."""
        for answer in self.answers:
            found = result.array(answer.array, _region(answer.x), _region(answer.y))
            expected = np.broadcast_to(answer.values, found.shape)
            wrong = np.argwhere(found != expected)
            if len(wrong):
                first = tuple(wrong[0])
                raise WrongResultError(
                    f"array {answer.array}: element {first[2]} of the PE in row {first[0]} and "
                    f"column {first[1]} of the answer's region is {found[first]}, "
                    f"not {expected[first]}; {len(wrong)} of {found.size} differ"
                )


def _region(index: int | slice) -> slice:
    return slice(index, index + 1) if isinstance(index, int) else index


def small_integers(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> NDArray:
    """Whole numbers from -2 to 2: their sums of products are exact, also in fp16."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype.numpy)


def tiles(matrix: NDArray, rows: int, columns: int, order: str = "C") -> NDArray:
    """A matrix cut into ``rows`` x ``columns`` equal tiles: [rows, columns, elements].

    The elements of a tile lie row by row (``order`` "C") or column by column ("F").
    """
    height, width = matrix.shape
    if height % rows or width % columns:
        raise ProgramError(f"a {height} x {width} matrix does not fill {rows} x {columns} PEs")
    blocks = matrix.reshape(rows, height // rows, columns, width // columns)
    inner = (0, 2, 1, 3) if order == "C" else (0, 2, 3, 1)
    return np.ascontiguousarray(blocks.transpose(inner)).reshape(rows, columns, -1)
