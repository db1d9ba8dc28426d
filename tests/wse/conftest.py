"""The wafers of conf/wafer/ and the shapes of the ladder, for the simulator's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wse.hardware import Wafer
from wse.transformer import Shape

WAFER_FOLDER = Path(__file__).resolve().parents[2] / "conf" / "wafer"


def _load(path: Path) -> Wafer:
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Wafer), OmegaConf.load(path)))


@pytest.fixture(scope="session")
def wafers() -> dict[str, Wafer]:
    return {path.stem: _load(path) for path in sorted(WAFER_FOLDER.glob("*.yaml"))}


@pytest.fixture(scope="session")
def wse2(wafers: dict[str, Wafer]) -> Wafer:
    return wafers["wse2"]


@pytest.fixture(scope="session")
def ladder() -> dict[str, Shape]:
    """Shapes as published; sequences of 2048 tokens."""
    sizes = {
        "cerebras_gpt_111m": ("gpt2", 10, 768, 12, 50257),
        "cerebras_gpt_256m": ("gpt2", 14, 1088, 17, 50257),
        "cerebras_gpt_590m": ("gpt2", 18, 1536, 12, 50257),
        "cerebras_gpt_1p3b": ("gpt2", 24, 2048, 16, 50257),
        "cerebras_gpt_2p7b": ("gpt2", 32, 2560, 32, 50257),
        "cerebras_gpt_6p7b": ("gpt2", 32, 4096, 32, 50257),
        "cerebras_gpt_13b": ("gpt2", 40, 5120, 40, 50257),
        "gptj_6b": ("gptj", 28, 4096, 16, 50400),
        "gptneox_20b": ("gptneox", 44, 6144, 64, 50432),
    }
    return {
        name: Shape(name, family, layers, hidden, heads, 4 * hidden, vocabulary, 2048, 2048)
        for name, (family, layers, hidden, heads, vocabulary) in sizes.items()
    }
