"""A machine whose every rate is given, so that a forecast can be checked by hand."""

from __future__ import annotations

from itertools import product

from pipeline.machine_speed.speed import AttentionRate, DiskSpeed, MachineSpeed, ProductRate

PRECISIONS = ("bf16", "fp32")
RULES = [
    f"{rule}/{precision}"
    for rule in ("adamw", "adamw8bit", "adafactor")
    for precision in PRECISIONS
]
PASSES = ("layer_norm", "layer_norm_backward", "add", "fresh")
PASSES_BY_PRECISION = ("cast", "gelu", "gelu_backward", "column_sum", "logit")


def disk_of(
    read: float = 1e9, write: float = 1e9, delay: float = 0.0, sync: float = 0.0
) -> DiskSpeed:
    """A disk as fast in both directions at once as in one."""
    return DiskSpeed(read, write, read, write, sync, sync, delay)


def speed_of(
    gigaflops: float = 400.0,
    pass_nanoseconds: float = 0.0,
    update_nanoseconds: float = 0.0,
    disk: DiskSpeed | None = None,
) -> MachineSpeed:
    """A machine on which all products are equally fast, and attention takes no time."""
    shapes = product((128, 2048), (256, 4096), (256, 4096))
    products = tuple(ProductRate(*shape, gigaflops, gigaflops, gigaflops) for shape in shapes)
    passes = [*PASSES, *(f"{name}_{p}" for name in PASSES_BY_PRECISION for p in PRECISIONS)]
    return MachineSpeed(
        key={},
        thorough=True,
        products=dict.fromkeys(PRECISIONS, products),
        attention=dict.fromkeys(PRECISIONS, (AttentionRate(512, 64, 1e12, 1e12),)),
        pass_nanoseconds=dict.fromkeys(passes, pass_nanoseconds),
        operation_seconds=0.0,
        update_nanoseconds=dict.fromkeys(RULES, update_nanoseconds),
        norm_nanoseconds=0.0,
        initial_nanoseconds=4.0,
        copy_bytes_per_second=2e10,
        disk=disk or disk_of(),
    )
