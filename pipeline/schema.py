"""The schema of every configuration key: names, types and units.

``conf/`` holds the values and says what each key means; these classes hold the types. A key
that is not here, or a value of another type, is refused when a configuration is composed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from pipeline.choices import (
    Activation,
    ClipBy,
    Device,
    Execution,
    Family,
    Keep,
    Optimizer,
    Precision,
)
from wse.hardware import Wafer


@dataclass
class DataConfig:
    """What every text source has (``conf/data/``); ``kind`` names the reader."""

    kind: str = MISSING
    name: str = MISSING
    validation_fraction: float = 0.02
    max_bytes: int | None = None


@dataclass
class StdlibData(DataConfig):
    """The standard library of the running Python."""

    kind: str = "stdlib"


@dataclass
class TextData(DataConfig):
    """Plain text: each file is one document, a long one several.

    ``paths``: files, globs or directories.
    """

    kind: str = "text"
    paths: list[str] = MISSING


@dataclass
class JsonlData(TextData):
    """JSON lines (``.jsonl``, also ``.gz`` and ``.zst``): each line is one document."""

    kind: str = "jsonl"
    field: str = "text"


@dataclass
class ParquetData(TextData):
    """Parquet files: each row is one document."""

    kind: str = "parquet"
    field: str = "text"


@dataclass
class HfData(DataConfig):
    """A data set opened by ``datasets``: each row is one document."""

    kind: str = "hf"
    path: str = MISSING
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    field: str = "text"


@dataclass
class TokenizerConfig:
    """What every tokenizer has (``conf/tokenizer/``); ``kind`` names the way it is made."""

    kind: str = MISSING
    name: str = MISSING


@dataclass
class BpeTokenizer(TokenizerConfig):
    """A byte-level BPE trained on the corpus at hand."""

    kind: str = "bpe"
    vocabulary: int = MISSING
    minimum_frequency: int = 2
    training_bytes: int = MISSING


@dataclass
class FileTokenizer(TokenizerConfig):
    """An existing ``tokenizer.json``, or a directory that holds one."""

    kind: str = "file"
    path: str = MISSING


@dataclass
class ModelConfig:
    """The shape of one decoder (``conf/model/``); sizes count elements."""

    name: str = MISSING
    family: Family = MISSING
    layers: int = MISSING
    hidden: int = MISSING
    heads: int = MISSING
    feed_forward: int = MISSING
    vocabulary: int = MISSING
    positions: int = MISSING
    rotary_dimensions: int = 0
    rotary_base: float = 10000.0
    activation: Activation = Activation.gelu_new
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    weights: str | None = None


@dataclass
class HfModel(ModelConfig):
    """A local Hugging Face checkpoint directory, whose shape and weights are taken."""

    path: str = MISSING


@dataclass
class CapturedModel(ModelConfig):
    """A model of any other family, to be planned and not trained; it lies in ``weights``.

    Its sizes are found by capturing it; ``config_sha256`` tells its ``config.json`` from others.
    """

    family: str = "other"  # type: ignore[assignment]
    layers: int = 0
    hidden: int = 0
    heads: int = 0
    feed_forward: int = 0
    vocabulary: int = 0
    positions: int = 0
    config_sha256: str = MISSING


@dataclass
class TrainConfig:
    """One training run (``conf/train/``)."""

    steps: int = MISSING
    sequence_length: int = MISSING
    global_batch: int = MISSING
    micro_batch: int = MISSING
    learning_rate: float = MISSING
    minimum_learning_rate: float = MISSING
    warmup_steps: int = MISSING
    weight_decay: float = MISSING
    beta1: float = MISSING
    beta2: float = MISSING
    epsilon: float = MISSING
    optimizer: Optimizer = Optimizer.adamw
    gradient_clip: float | None = None
    clip_by: ClipBy = ClipBy.norm
    precision: Precision = MISSING
    seed: int = MISSING
    validate_every: int = MISSING
    validation_sequences: int = MISSING
    checkpoint_every: int = MISSING
    log_every: int = MISSING
    execution: Execution = Execution.auto
    keep: Keep = Keep.model
    record: bool = False


@dataclass
class DeviceConfig:
    """What training may use of the machine (``conf/device/``); ``memory`` is like ``8GiB``.

    No part of a run's hash: it changes how a run is done, not what it learns.
    """

    kind: Device = Device.auto
    memory: str | None = None


@dataclass
class EvaluateConfig:
    """Evaluation of a trained model (``conf/evaluate/``)."""

    batch: int = MISSING
    prompts: list[str] = MISSING
    sample_tokens: int = MISSING
    temperature: float = MISSING
    top_k: int = MISSING
    seed: int = MISSING


@dataclass
class PricesConfig:
    """Prices that a plan's dollars are made of: inputs, not results."""

    dollars_per_kwh: float = MISSING
    power_usage_effectiveness: float = MISSING
    years_of_service: float = MISSING


@dataclass
class PartitionConfig:
    """What the plan of a training step assumes (``conf/partition/``)."""

    global_batch: int = MISSING
    sequence_length: int | None = None
    systems: int = 1
    release: str | None = None
    sparsity: float = 0.0
    run_tokens: float | None = None
    clusters: list[str] = field(default_factory=list)
    eras: list[str] = field(default_factory=list)
    prices: PricesConfig = field(default_factory=PricesConfig)


@dataclass
class FabricConfig:
    """An experiment on the simulated fabric (``conf/fabric/``); null is the program's own."""

    program: str = MISSING
    width: int = MISSING
    height: int = MISSING
    dtype: str | None = None
    size: int | None = None
    max_cycles: int = MISSING


@dataclass
class TrackingConfig:
    """Where runs are logged (``conf/tracking/``)."""

    enabled: bool = True
    experiment: str = MISSING
    sweep: str = MISSING


@dataclass
class Config:
    """The whole configuration, as ``conf/config.yaml`` composes it."""

    run: str | None = None
    results: str = MISSING
    data: DataConfig = MISSING
    tokenizer: TokenizerConfig = MISSING
    model: ModelConfig = MISSING
    wafer: Wafer = MISSING
    partition: PartitionConfig = MISSING
    train: TrainConfig | None = None
    device: DeviceConfig = field(default_factory=DeviceConfig)
    evaluate: EvaluateConfig = MISSING
    fabric: FabricConfig | None = None
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


GROUP_SCHEMAS: dict[str, dict[str, type]] = {
    "data": {
        "stdlib": StdlibData,
        "text": TextData,
        "jsonl": JsonlData,
        "parquet": ParquetData,
        "hf": HfData,
    },
    "tokenizer": {"bpe": BpeTokenizer, "file": FileTokenizer},
    "model": {"decoder": ModelConfig, "hf": HfModel},
}
