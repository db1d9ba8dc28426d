"""The optimizers' arithmetic, a tensor at a time: what they keep, and one update in place."""

from pipeline.optimizers.layout import state_specs, weight_dtype
from pipeline.optimizers.master import join, split
from pipeline.optimizers.settings import UpdateSettings
from pipeline.optimizers.update import sum_of_squares, update

__all__ = [
    "UpdateSettings",
    "join",
    "split",
    "state_specs",
    "sum_of_squares",
    "update",
    "weight_dtype",
]
