"""What a fabric is, in numbers: latencies, rates, queues and limits of WSE-2 and WSE-3.

Where a number comes from stands beside it. *Assumption* means that no source says so; the rules
that the numbers enter are in ``docs/fabric.md``. WSE-3 exists twice, because the vendor's
simulator and the silicon were measured to differ: ``WSE3`` is the silicon.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from wse.fabric.errors import MachineError


@dataclass(frozen=True)
class Rate:
    """Elements a cycle of a class of vector operations, in thousandths, by width in bits."""

    width16_milli: int
    width32_milli: int


@dataclass(frozen=True)
class Machine:
    """One generation of the fabric. Times are in cycles; a word is one 32-bit wavelet."""

    name: str

    # The mesh.
    hop_cycles: int
    ramp_cycles: int
    link_rest_every: int  # a link rests in every n-th cycle; 0: never
    router_queue_words: int  # not published
    input_queue_words: int
    output_queue_words: int
    colours: int
    input_queues: int
    output_queues: int
    switch_positions: int
    switch_changes_both: bool  # may a position change receive and transmit set

    # The processing element.
    sram_bytes: int
    reserved_sram_bytes: int
    sram_banks: int
    sram_bank_bytes: int  # of one bank, before the next one's
    sram_conflict_milli: int  # time of an operation whose sources conflict, 1000: no longer
    micro_threads: int
    vector_steps_per_cycle: int  # steps of fabric streams; not published
    descriptor_load_cycles: int
    vector_start_cycles: int
    vector_finish_cycles: int
    vector_row_cycles: int  # of an operation of rows, one row at least
    vector_map_cycles: int  # beside its elements, a row that is an operation of its own
    scalar_cycles: int
    branch_taken_cycles: int
    branch_not_taken_cycles: int
    loop_cycles: int
    task_start_cycles: int

    move: Rate
    arithmetic: Rate
    multiply_add: Rate
    mixed: Rate  # fp16 factors, fp32 sum
    reduction: Rate  # every element waits for the one before

    def __post_init__(self) -> None:
        """Raise :class:`MachineError` naming the field that cannot be."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Rate):
                if min(value.width16_milli, value.width32_milli) < 1:
                    raise MachineError(f"machine.{field.name}: a rate of {value} moves nothing")
            elif (
                isinstance(value, int) and value < _LEAST.get(field.name, 1) and value is not False
            ):
                raise MachineError(f"machine.{field.name}: {value} is too small")
        if self.link_rest_every == 1:
            raise MachineError(
                "machine.link_rest_every: links that rest in every cycle carry nothing"
            )
        if self.ramp_cycles + 1 < self.hop_cycles:
            raise MachineError(
                f"machine.ramp_cycles: {self.ramp_cycles} is less than hop_cycles - 1, "
                f"{self.hop_cycles - 1}; the ramp ends in a router's port"
            )

    @property
    def usable_sram_bytes(self) -> int:
        """SRAM of a PE for a program's arrays and registers."""
        return self.sram_bytes - self.reserved_sram_bytes


_LEAST = dict.fromkeys(
    (
        "link_rest_every",
        "reserved_sram_bytes",
        "descriptor_load_cycles",
        "vector_finish_cycles",
        "vector_row_cycles",
        "vector_map_cycles",
    ),
    0,
)

# Sources: SDK: the vendor's public documents; HPDC: "Near-Optimal Wafer-Scale Reduce" (2024);
# FABRICA: its tables of WSE-3, each item marked silicon or simulator.
WSE3_SIMULATOR = Machine(
    name="wse3_simulator",
    hop_cycles=2,  # FABRICA, silicon and simulator
    ramp_cycles=2,  # FABRICA: 7 cycles to the link, 3 from the last wavelet to completion
    link_rest_every=0,  # FABRICA, simulator: 1.0 cycle a wavelet
    router_queue_words=4,  # assumption
    input_queue_words=8,  # SDK: queues hold eight words
    output_queue_words=8,  # SDK
    colours=24,  # SDK
    input_queues=8,  # SDK
    output_queues=8,  # SDK
    switch_positions=4,  # SDK
    switch_changes_both=True,  # SDK
    sram_bytes=49152,  # SDK
    reserved_sram_bytes=4176,  # FABRICA: the smallest kernel
    sram_banks=8,  # published
    sram_bank_bytes=2,  # FABRICA: bits 3 to 1 of an address
    sram_conflict_milli=1000,  # assumption: the rates are those of vectors as they lie
    micro_threads=8,  # SDK
    vector_steps_per_cycle=1,  # assumption
    descriptor_load_cycles=1,  # FABRICA: "3 DSR loads + 1 instruction"
    vector_start_cycles=2,  # FABRICA: a send reaches the link after 7, next dispatch 6 + n / rate
    vector_finish_cycles=1,  # FABRICA: next dispatch 6 + n / rate
    vector_row_cycles=6,  # FABRICA: next dispatch 6 + n / rate
    vector_map_cycles=7,  # FABRICA, simulator: 256 mapped operations of 16 elements in 2840
    scalar_cycles=1,  # FABRICA: one issue a cycle
    branch_taken_cycles=6,  # FABRICA
    branch_not_taken_cycles=3,  # FABRICA
    loop_cycles=8,  # FABRICA: 256 loops of a 16-element operation in 4617; its table says 9 to 10
    task_start_cycles=5,  # FABRICA: 16.1 cycles a store-and-forward relay, of which 11 are named
    move=Rate(8000, 4000),  # FABRICA, simulator
    arithmetic=Rate(4000, 2000),  # FABRICA, simulator: fp16 3.96; fp32 an assumption
    multiply_add=Rate(4000, 500),  # FABRICA, simulator
    mixed=Rate(2000, 2000),  # assumption: half of the fp16 rate
    reduction=Rate(500, 500),  # FABRICA, simulator: 2.0 cycles an fp16 element; fp32 assumed equal
)

WSE3 = replace(
    WSE3_SIMULATOR,
    name="wse3",
    link_rest_every=9,  # FABRICA, silicon: 1.125 cycles a wavelet
    move=Rate(4820, 2440),  # FABRICA, silicon
    arithmetic=Rate(2920, 1460),  # assumption: as multiply_add fp16; half of it for fp32
    multiply_add=Rate(2920, 500),  # FABRICA, silicon
    mixed=Rate(1460, 1460),  # assumption: half of the fp16 rate
)

WSE2 = replace(
    WSE3_SIMULATOR,
    name="wse2",
    hop_cycles=1,  # SDK and HPDC
    ramp_cycles=2,  # HPDC: T_R = 2
    input_queue_words=4,  # assumption; SDK: two of the queues hold six 16-bit words
    output_queue_words=4,  # assumption
    switch_changes_both=False,  # SDK
    move=Rate(4000, 2000),  # assumption: half of WSE-3
    arithmetic=Rate(4000, 1000),  # SDK: one fp32 element a cycle; fp16 as multiply_add
    multiply_add=Rate(4000, 1000),  # published: 4 fp16, 1 fp32 multiply-add a cycle
    mixed=Rate(2000, 2000),  # assumption: half of the fp16 rate
)

MACHINES = {machine.name: machine for machine in (WSE2, WSE3, WSE3_SIMULATOR)}
"""The machines by name."""
