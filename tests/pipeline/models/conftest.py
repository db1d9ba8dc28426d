"""Small models for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from pipeline.choices import Family
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.families import TRAITS
from pipeline.schema import ModelConfig


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_model() -> Callable[..., ModelConfig]:
    """A model of a family, with any field replaced."""

    def make(family: Family, **fields: object) -> ModelConfig:
        shape = {"layers": 2, "hidden": 24, "heads": 3, "feed_forward": 40, "vocabulary": 61}
        rotary = 4 if TRAITS[family].rotary else 0
        model = {"name": "small", "positions": 16, "rotary_dimensions": rotary, **shape, **fields}
        return ModelConfig(family=family, **model)  # type: ignore[arg-type]

    return make


@pytest.fixture
def random_decoder() -> Callable[..., Decoder]:
    """A decoder in which every parameter, LayerNorms and biases too, is drawn anew."""

    def make(model: ModelConfig, seed: int = 0) -> Decoder:
        decoder = allocate(model)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter.normal_(std=0.3, generator=generator)
        return decoder

    return make
