"""The measured rates of a machine, as a file keeps them and a forecast asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
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
    """Attention at one length of sequence, in 1e9 operations of full, not causal, attention."""

    tokens: int
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
        rate = self._grids[precision, orientation](tokens, outputs, inputs)
        return 2.0 * tokens * outputs * inputs / (1e9 * rate)

    def attention_seconds(self, precision: str, tokens: int, hidden: int, backward: bool) -> float:
        """Time of the two products and the softmax of one sequence, all heads."""
        rates = self.attention[precision]
        position = [math.log(rate.tokens) for rate in rates]
        values = [math.log(rate.backward if backward else rate.forward) for rate in rates]
        rate = math.exp(interpolated(position, values, math.log(tokens)))
        return (2.5 if backward else 1.0) * 4.0 * tokens**2 * hidden / (1e9 * rate)

    @cached_property
    def _grids(self) -> dict[tuple[str, Orientation], RateGrid]:
        orientations: tuple[Orientation, ...] = ("forward", "input_gradient", "weight_gradient")
        return {
            (precision, orientation): RateGrid.of(rates, orientation)
            for precision, rates in self.products.items()
            for orientation in orientations
        }


@dataclass(frozen=True)
class RateGrid:
    """Rates over tokens, size and aspect of the matrix; linear in their logarithms between.

    Size is the square root of outputs x inputs, aspect outputs / inputs. Beyond the grid, its
    border holds. A point that was too slow to measure has the rate of its nearest neighbour.
    """

    axes: tuple[tuple[float, ...], ...]
    values: dict[tuple[float, ...], float]

    @classmethod
    def of(cls, rates: Sequence[ProductRate], orientation: Orientation) -> RateGrid:
        """The grid of one orientation; all values are logarithms."""
        measured = {
            _position(rate.tokens, rate.outputs, rate.inputs): math.log(getattr(rate, orientation))
            for rate in rates
        }
        axes = tuple(tuple(sorted({point[axis] for point in measured})) for axis in range(3))
        values = {
            point: measured[min(measured, key=lambda other, point=point: math.dist(other, point))]  # type: ignore[misc]
            for point in product(*axes)
        }
        return cls(axes, values)

    def __call__(self, tokens: int, outputs: int, inputs: int) -> float:
        """The rate at a point."""
        return math.exp(self._along((), _position(tokens, outputs, inputs)))

    def _along(self, fixed: tuple[float, ...], point: tuple[float, ...]) -> float:
        """Interpolate over the axes that follow those already ``fixed`` to a grid line."""
        axis = len(fixed)
        if axis == len(self.axes):
            return self.values[fixed]
        inner: Callable[[float], float] = lambda line: self._along((*fixed, line), point)  # noqa: E731
        low, high, share = bracket(self.axes[axis], point[axis])
        below = inner(self.axes[axis][low])
        return below if share == 0 else below + share * (inner(self.axes[axis][high]) - below)


def _position(tokens: int, outputs: int, inputs: int) -> tuple[float, float, float]:
    """Rounded, so that measured points share their grid lines."""
    size, aspect = math.log(outputs * inputs) / 2, math.log(outputs / inputs)
    return round(math.log(tokens), 6), round(size, 6), round(aspect, 6)


def bracket(line: Sequence[float], value: float) -> tuple[int, int, float]:
    """Indices of the two neighbours of ``value`` on a sorted line, and its share between them."""
    if value <= line[0]:
        return 0, 0, 0.0
    for index, (low, high) in enumerate(pairwise(line)):
        if value < high:
            return index, index + 1, (value - low) / (high - low)
    return len(line) - 1, len(line) - 1, 0.0


def interpolated(line: Sequence[float], values: Sequence[float], value: float) -> float:
    """Linear between the points, constant beyond them."""
    low, high, share = bracket(line, value)
    return values[low] + share * (values[high] - values[low])
