"""In which arithmetic a model is evaluated.

The checkpoint decides, not the way its weights are held, so that the numbers do not depend on the
machine's memory: matrices stored as bf16 are multiplied as bf16, as they were in training and are
by transformers; all others as fp32. Vectors, residuals, softmax and loss are fp32 always.
"""

from __future__ import annotations

import torch
from torch import Tensor


def multiplied_as(stored: torch.dtype) -> torch.dtype:
    """The type of the matrix products of a model whose matrices are stored so."""
    return torch.bfloat16 if stored is torch.bfloat16 else torch.float32


def products(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """The context in which matrices are multiplied as ``dtype``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)


def computed(stored: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A parameter as it is computed with; bf16 is exact in either type."""
    return stored.to(device, dtype if stored.ndim > 1 else torch.float32).contiguous()
