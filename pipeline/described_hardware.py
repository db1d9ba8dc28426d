"""The wafers of ``conf/wafer/`` and the GPU clusters of ``conf/cluster/``, by name."""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

from omegaconf import OmegaConf

from pipeline.config import CONF_DIR
from wse.cluster.hardware import Cluster
from wse.hardware import Wafer

Described = TypeVar("Described")


@cache
def known_wafers() -> dict[str, Wafer]:
    """The wafers by the name of their file, as ``wafer=NAME`` gives them."""
    return _described("wafer", Wafer)


@cache
def known_clusters() -> dict[str, Cluster]:
    """The clusters by the name of their file, as ``partition.clusters=[NAME]`` gives them."""
    return _described("cluster", Cluster)


def _described(group: str, kind: type[Described]) -> dict[str, Described]:
    schema = OmegaConf.structured(kind)
    return {
        path.stem: cast(
            Described, OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.load(path)))
        )
        for path in sorted((CONF_DIR / group).glob("*.yaml"))
    }
