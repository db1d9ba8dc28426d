"""Seconds of a matrix product on one GPU, from its shape.

A product is cut into tiles, and the reduction of a tile may be split over several
multiprocessors; they work in waves, of which the last is partly idle. Around its reduction a
tile waits for memory, to bring its first operands and to write its result: ``STARTUP_BYTES`` per
element of the tile. No product is quicker than its matrices move through memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wse.cluster.hardware import Cluster

TILES = ((256, 128), (128, 256), (128, 128))  # those of the vendor's libraries for large products
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)
MOST_SPLIT_WAVES = 4
# A 16-bit result is written, and about as much fetched before arithmetic starts. Assumption; fitted
# with the other constants it would be 3.5.
STARTUP_BYTES = 4
# A kernel's launch, ramp and tail. Assumption, of the order that profilers show.
KERNEL_SECONDS = 4e-6
# Share of a data sheet's bandwidth that streaming kernels reach. Assumption; stream benchmarks
# of A100 report about 0.85.
HBM_SHARE = 0.8


@dataclass(frozen=True)
class Machine:
    """One GPU as its kernels find it: a cluster's GPU with the fitted constants.

    ``matrix_flops_per_second`` is that of an endless product, ``hbm_bytes_per_second`` what
    kernels reach, ``kernel_share`` the share of their bound that kernels other than products reach.
    """

    matrix_flops_per_second: float
    multiprocessors: int
    exponentials_per_second: float
    hbm_bytes_per_second: float
    kernel_share: float

    @property
    def startup_depth(self) -> float:
        """The wait of a tile, in steps of its reduction (2 FLOPs per element each)."""
        seconds_per_element = STARTUP_BYTES / self.hbm_bytes_per_second
        return seconds_per_element * self.matrix_flops_per_second / 2


def machine(cluster: Cluster, matrix_efficiency: float, kernel_share: float) -> Machine:
    """A GPU of ``cluster``; ``matrix_efficiency`` is of the largest rate of a single product."""
    share = cluster.matrix_share_of_peak * matrix_efficiency
    return Machine(
        matrix_flops_per_second=share * cluster.peak_bf16_flops_per_second,
        multiprocessors=cluster.multiprocessors,
        exponentials_per_second=cluster.exponentials_per_second,
        hbm_bytes_per_second=HBM_SHARE * cluster.hbm_bytes_per_second,
        kernel_share=kernel_share,
    )


def product_seconds(
    gpu: Machine, rows: int, columns: int, reduction: int, batches: int = 1, output_bytes: int = 2
) -> float:
    """Seconds of ``batches`` products of 16-bit [rows, reduction] with [reduction, columns]."""
    elements = rows * reduction + reduction * columns
    moved = batches * (2 * elements + output_bytes * rows * columns)
    arithmetic = min(_tiled_seconds(gpu, rows, columns, reduction, batches, tile) for tile in TILES)
    return max(arithmetic, moved / gpu.hbm_bytes_per_second) + KERNEL_SECONDS


def _tiled_seconds(
    gpu: Machine, rows: int, columns: int, reduction: int, batches: int, tile: tuple[int, int]
) -> float:
    """The quickest split of the reduction; what already makes many waves is not split."""
    tall, wide = tile
    tiles = batches * math.ceil(rows / tall) * math.ceil(columns / wide)
    splits = SPLITS if tiles < MOST_SPLIT_WAVES * gpu.multiprocessors else SPLITS[:1]
    steps = min(
        math.ceil(tiles * split / gpu.multiprocessors) * (reduction / split + gpu.startup_depth)
        for split in splits
    )
    flops_per_step = 2.0 * tall * wide * gpu.multiprocessors
    return steps * flops_per_step / gpu.matrix_flops_per_second


def pass_seconds(gpu: Machine, moved_bytes: float) -> float:
    """Seconds of a kernel that only moves bytes through memory."""
    return moved_bytes / (gpu.kernel_share * gpu.hbm_bytes_per_second) + KERNEL_SECONDS
