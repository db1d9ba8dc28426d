"""The optimizers' arithmetic, a tensor at a time: what they keep, and one update in place."""

from pipeline.optimizers.layout import state_specs, weight_dtype

__all__ = ["state_specs", "weight_dtype"]
