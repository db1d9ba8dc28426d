"""Cycles of the library's programs in closed form, for meshes too large to simulate.

Each is within 10 % of the simulated cycles over the sizes that its test runs; the collectives on
WSE-2 are exact. Numbers of the machine come from :class:`~wse.fabric.machine.Machine`; cycles of
instructions that a program spends beside its vector operations are named constants, counted in
the simulation. All results are simulated cycles, as floats.
"""

from __future__ import annotations

from wse.fabric.machine import Machine
from wse.fabric.tables import F16, F32, DType

LAUNCH_CYCLES = 10
"""From the start of a run to its first word, and from its last word to the end."""
MULTICAST_LAUNCH_CYCLES = 15
MESH_GEMM_STEP_CYCLES = 23
"""Of the instructions of a step."""
PIPELINED_SUMMA_STEP_CYCLES = 67
STREAMING_OUTPUT_CYCLES = 60
"""Of the instructions for an output of the weight-streaming layer."""
STREAMING_BACKWARD_CYCLES = 50


def cycles_per_wavelet(machine: Machine) -> float:
    """Of a link that rests in every n-th cycle."""
    every = machine.link_rest_every
    return every / (every - 1) if every else 1.0


def hop_cycles(machine: Machine) -> float:
    """Of a hop, on average: a link at rest keeps a wavelet waiting for a cycle."""
    return machine.hop_cycles * cycles_per_wavelet(machine)


def relay_cycles(machine: Machine) -> float:
    """From a PE's link to the next one's, when the PE adds to what passes: ramps, step, hop."""
    return 2 * machine.ramp_cycles + 1 + hop_cycles(machine)


def broadcast_cycles(machine: Machine, pes: int, wavelets: int) -> float:
    """A multicast along a line."""
    stream = cycles_per_wavelet(machine) * wavelets
    return stream + hop_cycles(machine) * (pes - 1) + MULTICAST_LAUNCH_CYCLES


def chain_reduce_cycles(machine: Machine, pes: int, wavelets: int) -> float:
    """A pipelined chain along a line."""
    stream = cycles_per_wavelet(machine) * wavelets
    return stream + relay_cycles(machine) * (pes - 1) + LAUNCH_CYCLES


def two_phase_reduce_cycles(machine: Machine, pes: int, wavelets: int, group: int) -> float:
    """Chains in groups of ``group`` PEs, then one over the groups' first PEs."""
    between = relay_cycles(machine) + hop_cycles(machine) * (group - 1)
    first = chain_reduce_cycles(machine, group, wavelets)
    second = cycles_per_wavelet(machine) * wavelets + between * (pes // group - 1)
    return first + second + MULTICAST_LAUNCH_CYCLES - LAUNCH_CYCLES


def axpy_cycles(machine: Machine, elements: float, dtype: DType = F16) -> float:
    """An AXPY among others of one operation with rows."""
    rate = machine.multiply_add
    milli = rate.width32_milli if dtype == F32 else rate.width16_milli
    return max(machine.vector_row_cycles, 1000 * elements / milli)


def mesh_gemm_step_cycles(machine: Machine, tile: int, fixed_cycles: int = 0) -> float:
    """A step of MeshGEMM with fp16 tiles: the product, two tiles sent and two received."""
    words = 2 * tile**2
    product = tile**2 * axpy_cycles(machine, tile)
    return product + words + MESH_GEMM_STEP_CYCLES + fixed_cycles


def pipelined_summa_step_cycles(machine: Machine, tile: int, fixed_cycles: int = 0) -> float:
    """A step of the pipelined SUMMA with fp16 tiles: the product, two tiles received."""
    product = tile**2 * axpy_cycles(machine, tile)
    return product + tile**2 + PIPELINED_SUMMA_STEP_CYCLES + fixed_cycles


def streaming_output_cycles(machine: Machine, features: int, tokens: int) -> float:
    """An output of the weight-streaming layer, fp16: AXPYs, weights, the root's partial sums."""
    axpys = features * axpy_cycles(machine, tokens)
    return axpys + features + tokens + STREAMING_OUTPUT_CYCLES


def streaming_backward_output_cycles(machine: Machine, features: int, tokens: int) -> float:
    """An output of the backward pass, fp16: dot products, AXPYs, weights in, gradients out."""
    axpys = features * axpy_cycles(machine, tokens)
    dots = features * max(
        machine.vector_row_cycles, 1000 * tokens / machine.reduction.width16_milli
    )
    return dots + axpys + 2 * features + tokens / 2 + STREAMING_BACKWARD_CYCLES
