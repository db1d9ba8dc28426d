"""What the weight-streaming layer and its kin take on WSE-2, brought to a few constants.

    python -m wse.fabric.ground            run, and print every run beside its closed form
    python -m wse.fabric.ground --write    also renew wse/streaming_constants.json

The file keeps the constants, the machine that they hold for, and every run: program, mesh, sizes,
and cycles simulated and in closed form. ``programs`` is a digest of all instructions: it changes
with the programs, and with nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from wse.fabric.assemble import assemble
from wse.fabric.library import closed_forms
from wse.fabric.library.broadcast import broadcast
from wse.fabric.library.experiment import Experiment
from wse.fabric.library.reduce import chain_reduce
from wse.fabric.library.streaming_backward import streaming_backward
from wse.fabric.library.streaming_layer import streaming_layer
from wse.fabric.library.summa import pipelined_summa
from wse.fabric.machine import WSE2, Machine
from wse.fabric.program import Program
from wse.fabric.run import run
from wse.fabric.tables import F16
from wse.kernels import KernelCost, Product
from wse.streaming_constants import FILE, FabricConstants

STREAMED = "streaming_layer", "streaming_backward"


@dataclass(frozen=True)
class Point:
    """A program on a mesh; ``size`` is tokens a PE, the side of a tile, or words.

    ``features`` are those of a PE, of the streamed programs.
    """

    program: str
    width: int
    height: int
    size: int
    features: int = 1

    def experiment(self) -> Experiment:
        """The program with its inputs."""
        if self.program in STREAMED:
            made = {"streaming_layer": streaming_layer, "streaming_backward": streaming_backward}
            build = made[self.program]
            return build(self.width, self.height, self.size, features=self.features)
        if self.program == "pipelined_summa":
            return pipelined_summa(self.width, self.height, self.size, fixed_cycles=0)
        build_small = {"chain_reduce": chain_reduce, "broadcast": broadcast}[self.program]
        return build_small(self.width, self.height, self.size)

    def closed_form(self, machine: Machine, fabric: FabricConstants) -> float:
        """Cycles by its formula."""
        if self.program in STREAMED:
            return self._kernels(fabric)
        if self.program == "pipelined_summa":
            step = closed_forms.pipelined_summa_step_cycles(machine, self.size)
            return self.width * step + self.size**2  # before the first step its tiles come
        if self.program == "chain_reduce":
            return closed_forms.chain_reduce_cycles(machine, self.width, self.size)
        way = self.width + self.height - 1
        return closed_forms.broadcast_cycles(machine, way, self.size)

    def _kernels(self, fabric: FabricConstants) -> float:
        """Of the wafer model, and what its mesh takes besides."""
        product = Product(self.features, self.width * self.features, self.size, fabric)
        if self.program == "streaming_layer":
            costs = [product.forward()]
            mesh = fabric.forward_column_cycles, fabric.forward_row_cycles
        else:
            costs = [product.input_gradient(), product.weight_gradient()]
            mesh = fabric.backward_column_cycles, fabric.backward_row_cycles
        rows = self.height - 1  # one stands for the edge
        return sum(_cycles(cost, fabric) for cost in costs) + self.width * mesh[0] + rows * mesh[1]


def _cycles(cost: KernelCost, fabric: FabricConstants) -> float:
    return max(cost.compute_cycles(fabric.multiply_adds_per_cycle), cost.link_words)


# Width, height, tokens, features: what layers of 256M to 20B parameters, and BERT, put on a PE.
_LAYERS = (
    *((24, 3, tokens, 4) for tokens in (8, 16, 32, 64, 128)),
    *((width, 3, 64, 4) for width in (12, 48, 96)),
    *((24, height, 64, 4) for height in (12, 24, 48)),
    *((24, 3, 128, features) for features in (1, 2, 3)),
    *((48, 3, 128, features) for features in (1, 2)),
    *((24, 3, 512, features) for features in (1, 2)),
    (24, 3, 96, 6),
    (24, 3, 96, 8),
    (32, 3, 124, 9),
    (24, 3, 64, 12),
)
_TILES = ((4, 6), (8, 6), (16, 6), (32, 6), (8, 12), (16, 12), (32, 12), (8, 24), (16, 24), (8, 40))
_LINES = ((8, 64), (32, 64), (128, 64), (512, 64), (32, 1024), (512, 4096))
_MESHES = ((8, 1, 64), (128, 1, 64), (512, 1, 1024), (16, 16, 64), (64, 64, 512))

GRID = (
    *(Point(program, *sizes) for program in STREAMED for sizes in _LAYERS),
    *(Point("pipelined_summa", width, width, tile) for width, tile in _TILES),
    *(Point("chain_reduce", length, 1, words) for length, words in _LINES),
    *(Point("broadcast", width, height, words) for width, height, words in _MESHES),
)
"""Every run."""


def simulate(point: Point, machine: Machine = WSE2) -> int:
    """Cycles of a run whose results are right."""
    experiment = point.experiment()
    result = run(experiment.program, machine)
    experiment.check(result)
    return result.cycles


def constants(cycles: dict[Point, int], machine: Machine = WSE2) -> FabricConstants:
    """What the machine says, and what the runs show beside it, by columns and rows of PEs."""
    known = FabricConstants(
        multiply_adds_per_cycle=machine.mixed.width32_milli / 1000,
        issue_cycles=machine.vector_map_cycles,
        wavelet_cycles=1 / machine.vector_steps_per_cycle,
        clear_cycles=1000 / machine.move.width32_milli,
        forward_column_cycles=0.0,
        backward_column_cycles=0.0,
        forward_row_cycles=0.0,
        backward_row_cycles=0.0,
        addition_cycles=addition_cycles(machine),
    )
    rows = {program: _a_row(program, cycles) for program in STREAMED}
    known = replace(
        known,
        forward_row_cycles=rows["streaming_layer"],
        backward_row_cycles=rows["streaming_backward"],
    )
    return replace(
        known,
        forward_column_cycles=_a_column("streaming_layer", cycles, machine, known),
        backward_column_cycles=_a_column("streaming_backward", cycles, machine, known),
    )


def _a_row(program: str, cycles: dict[Point, int]) -> float:
    """Cycles that a row of PEs adds: from a low and a high mesh, which differ in nothing else."""
    low, high = (Point(program, 24, height, 64, 4) for height in (3, 48))
    return round((cycles[high] - cycles[low]) / (high.height - low.height), 2)


def _a_column(
    program: str, cycles: dict[Point, int], machine: Machine, known: FabricConstants
) -> float:
    """Cycles of a column of PEs that nothing else explains: least squares of relative errors."""
    points = [point for point in cycles if point.program == program]
    counts = np.array([cycles[point] for point in points], float)
    rest = (counts - [point.closed_form(machine, known) for point in points]) / counts
    columns = np.array([point.width for point in points]) / counts
    return round(float(columns @ rest / (columns @ columns)), 2)


def addition_cycles(machine: Machine) -> float:
    """Cycles an element of a sum of two fp16 vectors: from a short and a long one."""
    return (_addition(2048, machine) - _addition(1024, machine)) / 1024


def _addition(length: int, machine: Machine) -> int:
    program = Program(1, 1)
    code = program.code("one")
    x, y = code.array("x", length, F16), code.array("y", length, F16)
    with code.main():
        code.add(y, y, x)
    return run(program, machine).cycles


def digest(points: Iterable[Point], machine: Machine = WSE2) -> str:
    """A name for the programs: of their instructions, vectors, operands and routes."""
    made = hashlib.sha256()
    for point in points:
        program = assemble(point.experiment().program, machine)
        for table in (program.instructions, program.vectors, program.operands, program.routes):
            made.update(np.ascontiguousarray(table).tobytes())
    return made.hexdigest()[:16]


def measured(machine: Machine = WSE2) -> dict[str, Any]:
    """All that the file keeps."""
    cycles = {point: simulate(point, machine) for point in GRID}
    made = constants(cycles, machine)
    runs = [
        asdict(point) | {"cycles": count, "closed_form": round(point.closed_form(machine, made))}
        for point, count in cycles.items()
    ]
    return {
        "constants": asdict(made),
        "programs": digest(GRID, machine),
        "machine": asdict(machine),
        "runs": runs,
    }


def report(made: dict[str, Any]) -> str:
    """The constants, and every run beside its closed form."""
    lines = [f"{name:24} {value:8g}" for name, value in made["constants"].items()]
    lines += [
        "",
        f"{'program':20} {'mesh':>8} {'size':>5} {'features':>8} {'cycles':>8} {'error':>7}",
    ]
    for one in made["runs"]:
        error = one["closed_form"] / one["cycles"] - 1
        lines.append(
            f"{one['program']:20} {one['width']:>4} x{one['height']:>2} {one['size']:>5} "
            f"{one['features']:>8} {one['cycles']:>8} {error:+7.1%}"
        )
    worst = max(abs(one["closed_form"] / one["cycles"] - 1) for one in made["runs"])
    return "\n".join([*lines, "", f"largest error of a closed form: {worst:.1%}"])


def main() -> None:
    """Run, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m wse.fabric.ground", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help=f"renew {FILE.name}")
    arguments = parser.parse_args()
    made = measured()
    print(report(made))
    if arguments.write:
        FILE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
