"""What a GPU cluster is: its arithmetic, memory, links, power and price, in numbers.

``conf/cluster/`` describes clusters of A100 and of H100, each number with its unit and source;
a cluster of your own is one more YAML file with the same fields.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.described import check_values
from wse.errors import OnewaferError


class ClusterError(OnewaferError):
    """A description of a cluster that is incomplete or contradicts itself."""


@dataclass
class Cluster:
    """Equal servers of ``gpus_per_node`` GPUs, joined by a network.

    Sizes are in bytes, rates per second, of one GPU unless the name says otherwise; links are
    counted each way. ``matrix_share_of_peak`` is the largest share of the data sheet's peak that
    a single product reaches, ``dollars_per_gpu_hour`` the rent.
    """

    name: str
    gpus_per_node: int
    peak_bf16_flops_per_second: float
    matrix_share_of_peak: float
    multiprocessors: int
    exponentials_per_second: float
    hbm_bytes: float
    hbm_bytes_per_second: float
    nvlink_bytes_per_second: float
    network_bits_per_second_per_gpu: float
    gpu_watts: float
    server_watts: float
    dollars_per_gpu_hour: float

    @property
    def network_bytes_per_second_per_gpu(self) -> float:
        """Bytes per second, each way, of one GPU's share of its server's network."""
        return self.network_bits_per_second_per_gpu / 8


def check(cluster: Cluster) -> None:
    """Raise :class:`ClusterError` naming the field when ``cluster`` cannot be right."""
    check_values("cluster", cluster, ClusterError)
    _check_share(cluster)
    _check_power(cluster)
    _check_ratios(cluster)


def _check_share(cluster: Cluster) -> None:
    if cluster.matrix_share_of_peak > 1:
        raise ClusterError(
            f"cluster.matrix_share_of_peak: {cluster.matrix_share_of_peak:g} is more than 1, "
            "all of the peak"
        )


def _check_power(cluster: Cluster) -> None:
    gpus = cluster.gpus_per_node * cluster.gpu_watts
    if not gpus <= cluster.server_watts <= 10 * gpus:
        raise ClusterError(
            f"cluster.server_watts: {cluster.server_watts:g} is not between one and ten times "
            f"the {gpus:g} watts of its GPUs (cluster.gpus_per_node x cluster.gpu_watts)"
        )


# Memory is quicker than the links inside a server, and those than the links outside. The rest is
# wide enough for every data-centre GPU from 2017 on, too narrow for a slipped factor of 1000.
_RATIOS: tuple[tuple[str, str, float, float, str], ...] = (
    ("peak_bf16_flops_per_second", "hbm_bytes_per_second", 20, 2000, "FLOPs per byte"),
    ("peak_bf16_flops_per_second", "exponentials_per_second", 16, 2000, "FLOPs per exponential"),
    ("peak_bf16_flops_per_second", "multiprocessors", 2e11, 1e14, "FLOP/s each"),
    ("peak_bf16_flops_per_second", "gpu_watts", 5e10, 5e13, "FLOP/s per watt"),
    ("hbm_bytes_per_second", "hbm_bytes", 3, 500, "passes over HBM per second"),
    ("hbm_bytes_per_second", "nvlink_bytes_per_second", 1, 200, "bytes of HBM per byte of NVLink"),
    (
        "nvlink_bytes_per_second",
        "network_bits_per_second_per_gpu",
        1 / 8,
        500 / 8,
        "bytes of NVLink per bit of the network",
    ),
)


def _check_ratios(cluster: Cluster) -> None:
    for above, below, low, high, meaning in _RATIOS:
        value, base = getattr(cluster, above), getattr(cluster, below)
        if not low <= value / base <= high:
            raise ClusterError(
                f"cluster.{above}: {value:g} over cluster.{below}, {base:g}, makes "
                f"{value / base:.3g} {meaning}, not {low:g} to {high:g}; is a unit wrong?"
            )
