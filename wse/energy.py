"""The energy of a step by class, within the published power of a whole running system.

A CS-2 was measured between its power at rest and its peak. The power at rest flows all the time;
each class of work adds its share of the rise to the peak, in proportion to how busy its resource
is. How the rise divides into classes is not published: the shares are an assumption.
"""

from __future__ import annotations

from wse.kernels import HALVES_PER_WORD
from wse.memory import ACTIVATION_BYTES
from wse.step import Setup, Step, link_words_per_cycle, step_costs

SHARES = {"compute": 0.45, "sram": 0.35, "fabric": 0.15, "io": 0.05}

# An AXPY reads an fp16 activation, and reads and writes an fp32 sum.
SRAM_BYTES_PER_MULTIPLY_ADD = ACTIVATION_BYTES + 2 * ACTIVATION_BYTES * HALVES_PER_WORD


def step_joules(setup: Setup, step: Step) -> dict[str, float]:
    """Joules that one system takes for ``step``: at rest (``idle``), and above it by class."""
    wafer = setup.wafer
    cost, _ = step_costs(setup, step.way)
    cycles = wafer.clock_hz * step.seconds
    multiply_adds = cost.multiply_adds / cycles  # per cycle of a PE
    sram_bytes_per_cycle = wafer.sram_bytes_per_second / wafer.cores / wafer.clock_hz
    moved = step.bytes.weights_in + step.bytes.gradients_out + 2 * step.bytes.activations_each_way
    busy = {
        "compute": multiply_adds / wafer.mixed_fmac_per_cycle_per_pe,
        "sram": multiply_adds * SRAM_BYTES_PER_MULTIPLY_ADD / sram_bytes_per_cycle,
        "fabric": cost.link_words / (cycles * link_words_per_cycle(wafer)),
        "io": moved / (2 * wafer.io_bytes_per_second * step.seconds),
    }
    rise = (wafer.system_watts_peak - wafer.system_watts_idle) * step.seconds
    above = {name: SHARES[name] * rise * min(1.0, share) for name, share in busy.items()}
    return {"idle": wafer.system_watts_idle * step.seconds} | above
