"""The GPUs that one would take instead of a wafer: how many, and what a person would design.

The clusters are those of ``conf/cluster/``; the model of them is :mod:`wse.cluster`. Every number
is simulated.
"""

from __future__ import annotations

from typing import Any

from pipeline.described_hardware import known_clusters
from pipeline.schema import PartitionConfig
from wse.cluster.eras import ERAS
from wse.cluster.hardware import Cluster
from wse.cluster.plan import gpus_to_match
from wse.errors import PlanError
from wse.transformer import Shape


def equal_gpus(
    shape: Shape, tokens_per_second: float, partition: PartitionConfig
) -> list[dict[str, Any]]:
    """The fewest GPUs that train ``shape`` at this rate, for each cluster and era of the plan.

    Empty where no number of GPUs reaches the rate. Raises :class:`PlanError` for a name that is
    not in ``conf/cluster/``, or an era that is not known.
    """
    for era in partition.eras:
        if era not in ERAS:
            raise PlanError(f"partition.eras: {era!r} is none of {', '.join(ERAS)}")
    found = []
    for name in partition.clusters:
        cluster = _cluster(name)
        for era in partition.eras:
            made = gpus_to_match(shape, cluster, tokens_per_second, partition.global_batch, era)
            if made is not None:
                values = made.to_dict()
                found.append({key: values[key] for key in _KEPT})
    return found


_KEPT = (
    "cluster",
    "era",
    "gpus",
    "tokens_per_second",
    "step_seconds",
    "step_seconds_low",
    "step_seconds_high",
    "mfu",
    "joules_per_token",
    "configuration",
    "design",
)


def _cluster(name: str) -> Cluster:
    known = known_clusters()
    if name not in known:
        raise PlanError(f"partition.clusters: {name!r} is none of {', '.join(known)}")
    return known[name]
