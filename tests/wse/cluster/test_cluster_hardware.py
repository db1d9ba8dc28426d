from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wse.cluster.hardware import Cluster, ClusterError, check
from wse.validation.gpu_rows import clusters

CONF = Path(__file__).resolve().parents[3] / "conf" / "cluster"


def _described(file: str) -> Cluster:
    described = OmegaConf.merge(OmegaConf.structured(Cluster), OmegaConf.load(CONF / file))
    made = OmegaConf.to_object(described)
    assert isinstance(made, Cluster)
    return made


def test_conf_describes_the_clusters_that_programs_without_configuration_read() -> None:
    described = [_described(path.name) for path in sorted(CONF.glob("*.yaml"))]
    assert {one.name: one for one in described} == clusters()
    for one in described:
        check(one)


def test_every_number_of_conf_has_its_unit_or_source_beside_it() -> None:
    for path in CONF.glob("*.yaml"):
        for line in path.read_text().splitlines():
            if ":" in line and not line.startswith(("#", "name", "matrix_share", "exponentials")):
                assert "#" in line, f"{path.name}: {line}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peak_bf16_flops_per_second", 312.0),  # TFLOP/s
        ("hbm_bytes", 80.0),  # GB
        ("hbm_bytes_per_second", 2039.0),  # GB/s
        ("nvlink_bytes_per_second", 2400.0e9),  # bits
        ("network_bits_per_second_per_gpu", 200.0),  # Gb/s
        ("gpu_watts", 0.4),  # kW
        ("server_watts", 6.5),  # kW
        ("exponentials_per_second", 2.44),
        ("multiprocessors", 0),
        ("gpus_per_node", -8),
        ("matrix_share_of_peak", 86),
        ("dollars_per_gpu_hour", math.nan),
        ("hbm_bytes", math.inf),
        ("hbm_bytes_per_second", math.nan),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_field(
    a100: Cluster, field: str, value: float
) -> None:
    with pytest.raises(ClusterError, match=r"cluster\.\w+: .*") as refusal:
        check(dataclasses.replace(a100, **{field: value}))
    assert f"cluster.{field}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["", "???"])
def test_a_cluster_has_a_name(a100: Cluster, name: str) -> None:
    with pytest.raises(ClusterError, match=r"cluster\.name"):
        check(dataclasses.replace(a100, name=name))
