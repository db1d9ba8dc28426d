"""How a layer lies on the fabric: hidden features along one axis, tokens along the other.

Features and tokens are dealt out in equal slices, so a size that is not a multiple of its axis
leaves PEs idle: 768 features on 750 PEs take two slices, and half of the slots stay empty. A
matrix wider than the hidden size is processed as blocks of hidden x hidden features. This
layout is an assumption (no source describes it for training); the calibration supports it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.hardware import Wafer


@dataclass(frozen=True)
class Layout:
    """PEs along the axis of the hidden features, and along the axis of the tokens."""

    hidden_pes: int
    token_pes: int

    def slices(self, features: int) -> int:
        """Features that each PE holds of a vector of ``features``."""
        return -(-features // self.hidden_pes)

    def tokens_per_pe(self, tokens: int) -> int:
        """Tokens that each PE holds of ``tokens``."""
        return -(-tokens // self.token_pes)


def layouts(wafer: Wafer) -> tuple[Layout, Layout]:
    """The two ways to lay the axes; a plan takes the better one."""
    return (
        Layout(wafer.usable_width, wafer.usable_height),
        Layout(wafer.usable_height, wafer.usable_width),
    )
