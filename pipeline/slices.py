"""What each stage reads of the configuration: its slice, frozen into a file of its own."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema import (
    DataConfig,
    DeviceConfig,
    EvaluateConfig,
    FabricConfig,
    ModelConfig,
    PartitionConfig,
    TokenizerConfig,
    TrainConfig,
)
from wse.hardware import Wafer


@dataclass
class TokenizeSlice:
    """What the tokenize stage reads."""

    data: DataConfig
    tokenizer: TokenizerConfig


@dataclass
class PartitionSlice:
    """What the partition stage reads; ``trained`` says whether the run trains afterwards."""

    model: ModelConfig
    wafer: Wafer
    partition: PartitionConfig
    trained: bool


@dataclass
class FabricSlice:
    """What the fabric stage reads; ``wafer`` names the generation."""

    fabric: FabricConfig
    wafer: str


@dataclass
class TrainSlice:
    """What the train stage reads; ``corpus`` names the tokens."""

    model: ModelConfig
    train: TrainConfig
    device: DeviceConfig
    corpus: str


@dataclass
class EvaluateSlice:
    """What the evaluate stage reads; ``train_hash`` names the trained model."""

    evaluate: EvaluateConfig
    corpus: str
    train_hash: str


@dataclass
class ReportSlice:
    """What the report reads: each run's hash by stage, and the corpora they learned.

    A run without a ``train`` stage is planned only.
    """

    sweep: str
    runs: dict[str, dict[str, str]]
    corpora: list[str]
