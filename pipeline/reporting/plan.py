"""``partition.json`` as the report holds it: how one model would run on one wafer, simulated.

Fields are named as in the file, units included; a file may hold more than is read here.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PlanBytes:
    """Bytes of one planned step; ``None`` where the model does not fit."""

    weights_in: float | None
    gradients_out: float | None
    activations_sram_peak: float | None
    sram_capacity: float | None
    activations_offloaded: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Software release a plan stands for, and the factors on its step time it may be off by."""

    release: str | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Arrangement:
    """How the step lies on the wafer, and what of it is kept."""

    hidden_axis: str
    features_per_pe: int
    tokens_per_pe: int
    policy: str
    policy_interval: int
    sram_bytes_per_pe: dict[str, int]


@dataclass(frozen=True)
class RunCost:
    """A whole run: its tokens, hours, energy and dollars."""

    tokens: float
    hours: float
    kilowatt_hours: float
    dollars_of_energy: float
    dollars_of_systems: float


@dataclass(frozen=True)
class Gpus:
    """The GPUs that one would take instead, simulated: ``gpus`` of them, at their best design."""

    cluster: str
    era: str | int
    gpus: int
    tokens_per_second: float | None
    step_seconds: float | None = None


@dataclass(frozen=True)
class PlanPictures:
    """PNGs that the partition stage drew of a plan that fits."""

    floorplan: bytes
    roofline: bytes


@dataclass(frozen=True)
class Plan:
    """A plan; what depends on a schedule is ``None`` where a sequence does not fit."""

    model: str
    family: str
    parameters: int
    sequence_length: int
    wafer: str
    fits: bool
    global_batch: int
    micro_batch: int | None
    step_seconds: float | None
    tokens_per_second: float | None
    mfu: float | None
    bottleneck: str | None
    seconds_by_cause: dict[str, float | None] | None
    bytes: PlanBytes
    joules_per_token: float | None
    calibration: Calibration
    systems: int = 1
    sparsity: float = 0.0
    seconds_by_use: dict[str, float] | None = None
    gain_of_ten_percent: dict[str, float] | None = None
    arrangement: Arrangement | None = None
    joules_by_class: dict[str, float] | None = None
    run: RunCost | None = None
    unknown_operators: dict[str, int] = field(default_factory=dict)
    gpus: list[Gpus] = field(default_factory=list)
    would_fit: list[str] | None = None

    @property
    def step_seconds_band(self) -> tuple[float, float] | None:
        """Shortest and longest step that the calibration allows."""
        low, high = self.calibration.low, self.calibration.high
        if self.step_seconds is None or low is None or high is None:
            return None
        return self.step_seconds * low, self.step_seconds * high
