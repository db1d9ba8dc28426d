"""Seconds of traffic between GPUs: within a server over NVLink, beyond it over the network.

A gather or a reduction of a buffer runs as a ring: every GPU sends all but its own share once
over NVLink, and the GPUs of a server that belong to the group together bring in what other
servers hold. An all-reduce is a reduction and a gather.
"""

from __future__ import annotations

from wse.cluster.hardware import Cluster

# Shares of the data sheet's bandwidth that collectives reach, and the seconds each takes on top.
# Assumptions; benchmarks of collectives on DGX A100 report about 230 of 300 GB/s.
NVLINK_SHARE = 0.75
NETWORK_SHARE = 0.8
COLLECTIVE_SECONDS = 20e-6


def gather_seconds(
    cluster: Cluster, members: int, members_per_node: int, buffer_bytes: float
) -> float:
    """Seconds to gather (or to reduce and scatter) a buffer among ``members`` GPUs."""
    if members == 1:
        return 0.0
    inside = buffer_bytes * (1 - 1 / members) / (NVLINK_SHARE * cluster.nvlink_bytes_per_second)
    if members_per_node == 1:
        inside = 0.0
    outside = 0.0
    if members > members_per_node:
        foreign = buffer_bytes * (1 - members_per_node / members)
        outside = foreign / (members_per_node * _network_rate(cluster))
    return max(inside, outside) + COLLECTIVE_SECONDS


def transfer_seconds(cluster: Cluster, transferred_bytes: float, leaves_node: bool) -> float:
    """Seconds to send bytes from one GPU to another."""
    inside = NVLINK_SHARE * cluster.nvlink_bytes_per_second
    rate = _network_rate(cluster) if leaves_node else inside
    return transferred_bytes / rate + COLLECTIVE_SECONDS


def _network_rate(cluster: Cluster) -> float:
    return NETWORK_SHARE * cluster.network_bytes_per_second_per_gpu
