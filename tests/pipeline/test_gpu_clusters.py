"""A plan names as many GPUs as are as fast as its wafers, and refuses clusters it does not know."""

from __future__ import annotations

import pytest

from pipeline.capture.planning import shape_of
from pipeline.config import compose
from pipeline.described_hardware import known_clusters
from pipeline.gpu_clusters import equal_gpus
from pipeline.schema import Config
from wse.errors import PlanError
from wse.validation.gpu_rows import clusters


def composed(*overrides: str) -> Config:
    return compose(["model=gptj_6b", "train=none", *overrides])


def gpus(rate: float, *overrides: str) -> list[dict]:
    config = composed(*overrides)
    shape = shape_of(config.model, config.partition)
    assert shape is not None
    return equal_gpus(shape, rate, config.partition)


def test_every_cluster_and_era_reaches_the_rate_and_says_what_to_design() -> None:
    found = gpus(40_000.0)
    assert [(one["cluster"], one["era"]) for one in found] == [
        (cluster, era) for cluster in ("a100_80gb", "h100_80gb") for era in ("2022", "2024")
    ]
    for one in found:
        assert one["tokens_per_second"] >= 40_000
        assert one["design"]


def test_a_faster_wafer_never_equals_fewer_gpus() -> None:
    counts = [
        one["gpus"] for rate in (1e4, 1e5, 1e6) for one in gpus(rate, "partition.eras=[2024]")
    ]
    assert counts[0::2] == sorted(counts[0::2])
    assert counts[1::2] == sorted(counts[1::2])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("partition.clusters=[tpu]", "partition.clusters: 'tpu' is none of a100, h100"),
        ("partition.eras=['1999']", "partition.eras: '1999' is none of 2021, 2022, 2024"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_known(override: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        gpus(1e4, override)


def test_the_rows_are_predicted_for_the_clusters_that_users_plan_with() -> None:
    """The simulator reads no YAML: its copy of the clusters is that of conf/cluster/."""
    assert {one.name: one for one in known_clusters().values()} == clusters()
