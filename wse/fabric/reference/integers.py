"""What the main thread does with integers: the arithmetic of SET and the conditions of BRANCH."""

from __future__ import annotations

from wse.fabric.tables import Arithmetic, Comparison


def integer_result(arithmetic: Arithmetic, a: int, b: int) -> int:
    """The result of SET, before it is wrapped."""
    match arithmetic:
        case Arithmetic.ADD:
            return a + b
        case Arithmetic.SUBTRACT:
            return a - b
        case Arithmetic.MULTIPLY:
            return a * b
        case Arithmetic.MODULO:
            return a % b if b else 0


def holds(comparison: Comparison, a: int, b: int) -> bool:
    """Whether the condition of a BRANCH holds."""
    match comparison:
        case Comparison.LESS:
            return a < b
        case Comparison.LESS_EQUAL:
            return a <= b
        case Comparison.EQUAL:
            return a == b
        case Comparison.NOT_EQUAL:
            return a != b
        case Comparison.GREATER_EQUAL:
            return a >= b
        case Comparison.GREATER:
            return a > b
