"""How a layer lies on the fabric: hidden features along one axis, tokens along the other.

Features and tokens are dealt out in equal slices, so a size that is not a multiple of its axis
leaves PEs idle: 768 features on 750 PEs take two slices, and half of the slots stay empty. The
weights of a PE's features stream past it along the token axis; partial sums run along the axis of
the features. This layout is an assumption (no source describes it for training); that the
calibration rows show the loss to padding supports it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.hardware import Wafer


@dataclass(frozen=True)
class Layout:
    """PEs along the axis of the hidden features, and along the axis of the tokens.

    ``hidden_axis`` says which way the features lie: along the wafer's width or its height.
    """

    hidden_pes: int
    token_pes: int
    hidden_axis: str

    def slices(self, features: int) -> int:
        """Features that each PE holds of a vector of ``features``."""
        return -(-features // self.hidden_pes)

    def tokens_per_pe(self, tokens: int) -> int:
        """Tokens that each PE holds of ``tokens``."""
        return -(-tokens // self.token_pes)

    def idle_share(self, features: int, tokens: int) -> float:
        """Share of the slots of all PEs that hold no feature of any token."""
        features_held = self.slices(features) * self.hidden_pes
        tokens_held = self.tokens_per_pe(tokens) * self.token_pes
        return 1 - features * tokens / (features_held * tokens_held)


def layouts(wafer: Wafer) -> tuple[Layout, Layout]:
    """The two ways to lay the axes; a plan takes the quicker one."""
    return (
        Layout(wafer.usable_width, wafer.usable_height, "width"),
        Layout(wafer.usable_height, wafer.usable_width, "height"),
    )
