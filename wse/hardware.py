"""What a wafer-scale system is: its fabric, memory, arithmetic, links and power, in numbers.

A :class:`Wafer` is one system: the wafer, its external links and the parameter store behind
them. ``conf/wafer/`` describes WSE-1, WSE-2 and WSE-3, each number with its unit and source;
a wafer of your own is one more YAML file with the same fields.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.described import check_values
from wse.errors import WaferError

# Marketed totals are rounded, and some count cores that a program cannot use: they agree with
# the numbers per PE within this fraction. A slip of a unit is a factor of 8 or 1000.
TOLERANCE = 0.2

LINK_BYTES = 4  # one wavelet of 32 bits per link per cycle, on every wafer so far
MESH_LINKS = 4  # north, south, east, west; the fifth port of a router leads to its own PE
# Two reads and a write per cycle: of 32 bits each in the SDK's documents, of 64 bits each in
# Lie, IEEE Micro 2023. The published totals lie in this range.
SRAM_BYTES_PER_CYCLE = (12, 24)


@dataclass
class Wafer:
    """One wafer-scale system; sizes in bytes, rates per second, a PE is one core of the fabric.

    ``cores`` and the totals (``sram_bytes``, ``sram_bytes_per_second``,
    ``fabric_bytes_per_second``, ``peak_fp16_flops_per_second``) are the published ones;
    ``usable_width`` x ``usable_height`` PEs are those a program gets, and plans use them.
    ``mixed_fmac_per_cycle_per_pe`` are multiply-adds of fp16 factors with an fp32 sum. The
    parameter store (MemoryX) reads and writes at ``parameter_store_bytes_per_second`` in its
    update; the tree that joins systems (SwarmX) leaves ``tree_efficiency_per_level`` of the rate
    for each of its levels.
    """

    name: str
    clock_hz: float
    cores: int
    fabric_width: int
    fabric_height: int
    usable_width: int
    usable_height: int
    sram_bytes_per_pe: int
    code_bytes_per_pe: int
    sram_bytes: float
    sram_bytes_per_second: float
    fabric_bytes_per_second: float
    fp16_fmac_per_cycle_per_pe: int
    mixed_fmac_per_cycle_per_pe: float
    peak_fp16_flops_per_second: float
    io_links: int
    io_link_bits_per_second: float
    io_bytes_per_second: float
    system_watts_idle: float
    system_watts_peak: float
    parameter_store_bytes: float
    parameter_store_bytes_per_second: float
    max_systems: int
    tree_efficiency_per_level: float
    system_dollars: float

    @property
    def usable_pes(self) -> int:
        """PEs that a program gets."""
        return self.usable_width * self.usable_height

    @property
    def usable_sram_bytes(self) -> int:
        """SRAM of the PEs that a program gets, less what code takes."""
        return self.usable_pes * (self.sram_bytes_per_pe - self.code_bytes_per_pe)

    @property
    def usable_fp16_flops_per_second(self) -> float:
        """Peak of the PEs that a program gets; one multiply-add is two FLOPs."""
        return 2.0 * self.usable_pes * self.fp16_fmac_per_cycle_per_pe * self.clock_hz


def check(wafer: Wafer) -> None:
    """Raise :class:`WaferError` naming the field when ``wafer`` is incomplete or contradictory."""
    check_values("wafer", wafer, WaferError, may_be_zero=("code_bytes_per_pe",))
    _check_sizes(wafer)
    _check_totals(wafer)
    _check_sram_rate(wafer)


def _check_sizes(wafer: Wafer) -> None:
    pairs = (
        ("usable_width", "fabric_width"),
        ("usable_height", "fabric_height"),
        ("code_bytes_per_pe", "sram_bytes_per_pe"),
        ("system_watts_idle", "system_watts_peak"),
        ("mixed_fmac_per_cycle_per_pe", "fp16_fmac_per_cycle_per_pe"),
    )
    for part, whole in pairs:
        small, large = getattr(wafer, part), getattr(wafer, whole)
        if small > large:
            raise WaferError(f"wafer.{part}: {small:g} is more than wafer.{whole}, {large:g}")
    if wafer.tree_efficiency_per_level > 1:
        raise WaferError(
            f"wafer.tree_efficiency_per_level: {wafer.tree_efficiency_per_level} is more than 1; "
            "it is the share of the rate that is left"
        )
    if wafer.code_bytes_per_pe == wafer.sram_bytes_per_pe:
        raise WaferError("wafer.code_bytes_per_pe: code fills the SRAM; leave room for data")


def _check_totals(wafer: Wafer) -> None:
    """Hold each published total against what the parts of the machine make of it."""
    clocked = wafer.cores * wafer.clock_hz
    totals = {
        "cores": (wafer.fabric_width * wafer.fabric_height, "fabric_width x fabric_height"),
        "sram_bytes": (wafer.cores * wafer.sram_bytes_per_pe, "cores x sram_bytes_per_pe"),
        "peak_fp16_flops_per_second": (
            clocked * wafer.fp16_fmac_per_cycle_per_pe * 2,
            "cores x fp16_fmac_per_cycle_per_pe x 2 x clock_hz",
        ),
        "fabric_bytes_per_second": (
            clocked * MESH_LINKS * 2 * LINK_BYTES,
            f"cores x {MESH_LINKS} links x 2 directions x {LINK_BYTES} bytes x clock_hz",
        ),
        "io_bytes_per_second": (
            wafer.io_links * wafer.io_link_bits_per_second / 8,
            "io_links x io_link_bits_per_second / 8",
        ),
    }
    for name, (made, how) in totals.items():
        stated = getattr(wafer, name)
        if abs(stated / made - 1) > TOLERANCE:
            raise WaferError(
                f"wafer.{name}: {stated:g} contradicts {how} = {made:.4g} by more than "
                f"{TOLERANCE:.0%}; correct one of them (a factor of 8 or 1000 is a slipped unit)"
            )


def _check_sram_rate(wafer: Wafer) -> None:
    low, high = (wafer.cores * wafer.clock_hz * count for count in SRAM_BYTES_PER_CYCLE)
    stated = wafer.sram_bytes_per_second
    if not low * (1 - TOLERANCE) <= stated <= high * (1 + TOLERANCE):
        raise WaferError(
            f"wafer.sram_bytes_per_second: {stated:g} is not {SRAM_BYTES_PER_CYCLE[0]} to "
            f"{SRAM_BYTES_PER_CYCLE[1]} bytes per PE and cycle, {low:.3g} to {high:.3g}; "
            "is the unit bytes per second?"
        )
