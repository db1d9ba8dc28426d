"""The measured rates of a machine, as a file keeps them and a forecast asks for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import pairwise, product
from typing import Any, Literal

Orientation = Literal["forward", "input_gradient", "weight_gradient"]
"""The three products of a linear layer: x W^T, g W and g^T x."""


@dataclass(frozen=True)
class ProductRate:
    """Floating-point operations a second of a linear layer's three products, in 1e9."""

    tokens: int
    outputs: int
    inputs: int
    forward: float
    input_gradient: float
    weight_gradient: float


@dataclass(frozen=True)
class AttentionRate:
    """Attention at one length and size of head, in 1e9 operations of full, not causal, attention.

    A softmax takes the same for a small head as for a large one, so small heads are slower.
    """

    tokens: int
    head_size: int
    forward: float
    backward: float


@dataclass(frozen=True)
class DiskSpeed:
    """Of the disk that holds a folder, past the page cache, with checksums; bytes a second.

    A commit takes ``sync_seconds`` for each file besides, and ``manifest_seconds`` for replacing
    the manifest. ``compute_seconds_per_byte`` is by how much a byte moved delays products that
    are computed meanwhile.
    """

    read: float
    write: float
    read_beside_write: float
    write_beside_read: float
    sync_seconds: float
    manifest_seconds: float
    compute_seconds_per_byte: float


@dataclass(frozen=True)
class MachineSpeed:
    """Everything measured, on the machine and for the versions that ``key`` names.

    ``pass_nanoseconds`` is per element of each kind of pass over memory, ``update_nanoseconds``
    per parameter of each optimizer.
    """

    key: dict[str, Any]
    thorough: bool
    products: dict[str, tuple[ProductRate, ...]]  # by precision
    attention: dict[str, tuple[AttentionRate, ...]]  # by precision
    pass_nanoseconds: dict[str, float]
    operation_seconds: float  # of an operation on a few values
    update_nanoseconds: dict[str, float]
    norm_nanoseconds: float  # per element of a sum of squares
    initial_nanoseconds: float  # per parameter, of initial weights, by one core
    copy_bytes_per_second: float  # read and written together
    disk: DiskSpeed

    def to_json(self) -> dict[str, Any]:
        """As plain values; :meth:`from_json` is the inverse."""
        return {"measured": True, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> MachineSpeed:
        """Raises KeyError or TypeError for anything but what :meth:`to_json` gives."""
        values = {key: value for key, value in stored.items() if key != "measured"}
        values["products"] = {
            precision: tuple(ProductRate(**rate) for rate in rates)
            for precision, rates in values["products"].items()
        }
        values["attention"] = {
            precision: tuple(AttentionRate(**rate) for rate in rates)
            for precision, rates in values["attention"].items()
        }
        values["disk"] = DiskSpeed(**values["disk"])
        return cls(**values)

    def product_seconds(
        self, precision: str, orientation: Orientation, tokens: int, outputs: int, inputs: int
    ) -> float:
        """Time of one product of a linear layer of ``outputs`` x ``inputs`` over ``tokens``."""
        rate = self._grids[precision, orientation](_position(tokens, outputs, inputs))
        return 2.0 * tokens * outputs * inputs / (1e9 * rate)

    def attention_seconds(
        self, precision: str, tokens: int, hidden: int, heads: int, backward: bool
    ) -> float:
        """Time of the products and the softmax of one sequence: two forward, five backward."""
        rate = self._attention_grids[precision, backward](_logs(tokens, hidden // heads))
        return (10.0 if backward else 4.0) * tokens**2 * hidden / (1e9 * rate)

    @cached_property
    def _grids(self) -> dict[tuple[str, Orientation], RateGrid]:
        orientations: tuple[Orientation, ...] = ("forward", "input_gradient", "weight_gradient")
        return {
            (precision, orientation): RateGrid.of(
                {
                    _position(rate.tokens, rate.outputs, rate.inputs): getattr(rate, orientation)
                    for rate in rates
                }
            )
            for precision, rates in self.products.items()
            for orientation in orientations
        }

    @cached_property
    def _attention_grids(self) -> dict[tuple[str, bool], RateGrid]:
        return {
            (precision, backward): RateGrid.of(
                {
                    _logs(rate.tokens, rate.head_size): rate.backward if backward else rate.forward
                    for rate in rates
                }
            )
            for precision, rates in self.attention.items()
            for backward in (False, True)
        }


Point = tuple[float, ...]


@dataclass(frozen=True)
class RateGrid:
    """Rates over the logarithms of sizes; their own logarithms are linear between measured points.

    Beyond the grid, its border holds. A point that was too slow to measure has the rate of its
    nearest neighbour.
    """

    axes: tuple[Point, ...]
    values: dict[Point, float]

    @classmethod
    def of(cls, measured: Mapping[Point, float]) -> RateGrid:
        """The grid through measured rates, at least one."""
        dimensions = range(len(next(iter(measured))))
        axes = tuple(tuple(sorted({point[axis] for point in measured})) for axis in dimensions)
        values = {}
        for point in product(*axes):
            nearest = min(measured, key=partial(math.dist, point))
            values[point] = math.log(measured[nearest])
        return cls(axes, values)

    def __call__(self, point: Point) -> float:
        """The rate at a point."""
        return math.exp(self._along((), point))

    def _along(self, fixed: Point, point: Point) -> float:
        """Interpolate over the axes that follow those already ``fixed`` to a grid line."""
        axis = len(fixed)
        if axis == len(self.axes):
            return self.values[fixed]
        line = self.axes[axis]
        low, high, share = bracket(line, point[axis])
        below = self._along((*fixed, line[low]), point)
        if share == 0:
            return below
        return below + share * (self._along((*fixed, line[high]), point) - below)


def _position(tokens: int, outputs: int, inputs: int) -> Point:
    """Tokens, and size and aspect of the matrix: the roots of outputs x and / inputs."""
    return _logs(tokens, (outputs * inputs) ** 0.5, (outputs / inputs) ** 0.5)


def _logs(*sizes: float) -> Point:
    """Rounded, so that measured points share their grid lines."""
    return tuple(round(math.log(size), 2) for size in sizes)


def bracket(line: Sequence[float], value: float) -> tuple[int, int, float]:
    """Indices of the two neighbours of ``value`` on a sorted line, and its share between them."""
    if value <= line[0]:
        return 0, 0, 0.0
    for index, (low, high) in enumerate(pairwise(line)):
        if value < high:
            return index, index + 1, (value - low) / (high - low)
    return len(line) - 1, len(line) - 1, 0.0
