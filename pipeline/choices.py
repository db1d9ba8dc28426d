"""The settings that are one of a few words, and which words."""

from __future__ import annotations

from enum import Enum


class Family(Enum):
    """The three decoder families of :mod:`pipeline.models`."""

    gpt2 = "gpt2"
    gptj = "gptj"
    gptneox = "gptneox"


class Activation(Enum):
    """Non-linearity of the feed-forward layer, by its name in ``transformers``."""

    gelu = "gelu"
    gelu_new = "gelu_new"


class Precision(Enum):
    """Arithmetic of the matrix products in training; parameters and updates stay fp32."""

    fp32 = "fp32"
    bf16 = "bf16"


class Device(Enum):
    """What computes; ``auto`` takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Execution(Enum):
    """How training holds the parameters; ``auto`` takes resident when that fits, else streaming."""

    auto = "auto"
    resident = "resident"
    streaming = "streaming"


class Optimizer(Enum):
    """The update rules of :mod:`pipeline.optimizers`."""

    adamw = "adamw"
    adamw8bit = "adamw8bit"
    adafactor = "adafactor"


class ClipBy(Enum):
    """What ``gradient_clip`` limits: the gradient's global norm, or each tensor's update."""

    norm = "norm"
    update = "update"


class Keep(Enum):
    """What stays of the weights of a finished run."""

    model = "model"
    store = "store"
    nothing = "nothing"
