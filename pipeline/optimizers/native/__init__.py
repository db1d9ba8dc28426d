"""The update rules as native loops over chunks of a tensor, on the CPU's cores."""

from pipeline.optimizers.native.rules import adafactor, adamw, sum_of_squares

__all__ = ["adafactor", "adamw", "sum_of_squares"]
