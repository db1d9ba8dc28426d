"""What a plan of a training step says: one value, with units in its names, for partition.json.

All numbers of a plan are simulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wse.cost import RunCost
from wse.schedule import CAUSES


@dataclass(frozen=True)
class PlanBytes:
    """Bytes over the links of one system in a step; its SRAM taken and usable, without code."""

    weights_in: int | None
    gradients_out: int | None
    activations_sram_peak: int
    sram_capacity: int
    activations_offloaded: int | None = None


@dataclass(frozen=True)
class PlanCalibration:
    """The software release that a plan stands for; its band, as factors on ``step_seconds``."""

    release: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Arrangement:
    """How the step lies on a wafer: which axis carries the hidden features, what is kept.

    ``sram_bytes_per_pe`` are those of the fullest moment, by what they hold.
    """

    hidden_axis: str
    hidden_pes: int
    token_pes: int
    features_per_pe: int
    tokens_per_pe: int
    policy: str
    policy_interval: int
    sram_bytes_per_pe: Mapping[str, int]
    fullest_moment: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``partition.json`` holds; ``None`` where a step that does not fit has no number.

    Rates and joules are those of all systems together, ``bytes`` those of one; if the step does
    not fit, ``activations_sram_peak`` is that of a single sequence. ``seconds_by_cause`` and
    ``seconds_by_use`` each add up to ``step_seconds``. ``mfu`` is ``model_flops_per_step`` per
    second over the published dense fp16 peak. ``gain_of_ten_percent`` says how much higher the
    rate is with a tenth more of each resource. ``would_fit`` lists settings of which each alone
    makes a sequence fit.
    """

    model: str
    family: str
    parameters: int
    layers: int
    hidden: int
    sequence_length: int
    wafer: str
    mode: str = "weight_streaming"
    systems: int
    sparsity: float
    fits: bool
    micro_batch: int | None = None
    gradient_accumulation: int | None = None
    global_batch: int
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    samples_per_second: float | None = None
    model_flops_per_step: float
    mfu: float | None = None
    bottleneck: str | None = None
    seconds_by_cause: Mapping[str, float | None] = field(
        default_factory=lambda: dict.fromkeys(CAUSES)
    )
    seconds_by_use: Mapping[str, float] | None = None
    gain_of_ten_percent: Mapping[str, float] | None = None
    arrangement: Arrangement | None = None
    bytes: PlanBytes
    joules_per_step: float | None = None
    joules_per_token: float | None = None
    joules_by_class: Mapping[str, float] | None = None
    run: RunCost | None = None
    calibration: PlanCalibration
    unknown_operators: Mapping[str, int] = field(default_factory=dict)
    would_fit: list[str] = field(default_factory=list)
    simulated: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        return dataclasses.asdict(self)
