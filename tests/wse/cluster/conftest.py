"""The clusters of the rows, and shapes of published models."""

from __future__ import annotations

import pytest

from wse.cluster.hardware import Cluster
from wse.transformer import Shape
from wse.validation.gpu_rows import clusters


@pytest.fixture(scope="session")
def a100() -> Cluster:
    return clusters()["a100_80gb"]


@pytest.fixture(scope="session")
def h100() -> Cluster:
    return clusters()["h100_80gb"]


@pytest.fixture(scope="session")
def gpt_22b() -> Shape:
    return Shape("22B", "gpt2", 48, 6144, 64, 4 * 6144, 51200, 2048, 2048)


@pytest.fixture(scope="session")
def gpt_175b() -> Shape:
    return Shape("175B", "gpt2", 96, 12288, 96, 4 * 12288, 51200, 2048, 2048)


@pytest.fixture(scope="session")
def gpt_7b() -> Shape:
    return Shape("7b", "gpt2", 32, 4096, 32, 4 * 4096, 50368, 2048, 2048)
