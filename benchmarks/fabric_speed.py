"""Speed of the fabric's simulator, in PE-cycles a second: PEs of the mesh times cycles simulated.

    python -m benchmarks.fabric_speed --rounds 1

Four traffics: a matrix product with PE programs running; routers alone, every inner link of the
mesh full both ways; one multicast over the whole of a wafer; and the first again as independent
experiments, a process a core. Each is *measured* here as the best of the rounds, without loading
the engine or building the program. Beside them are the speeds of other simulators, with where
they come from.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from pipeline import machine
from wse.fabric import EAST, NORTH, RAMP, SOUTH, WEST, WSE2, WSE3, Machine, Program
from wse.fabric.library.registry import PROGRAMS
from wse.fabric.run import Result, run

YARDSTICKS = (
    ("BookSim2", "routers alone", "0.07 to 5 million node-cycles/s", "measured elsewhere"),
    ("MuchiSim", "tiles with programs", "0.16 million node-cycles/s", "measured elsewhere"),
    (
        "the vendor's simulator",
        "tiles with programs, five threads",
        "0.3 to 1.4 million tile-cycles/s",
        "published, its own logs",
    ),
)
GEMM_SIDE, GEMM_TILE = 64, 12
ROUTING_SIDE, ROUTING_WORDS = 64, 8000
WAFER_WIDTH, WAFER_HEIGHT, WAFER_WORDS = 750, 994, 16


@dataclass(frozen=True)
class Measured:
    """The best run of a traffic: PEs, cycles, and the seconds that simulating them took."""

    pes: int
    cycles: int
    seconds: float

    @property
    def pe_cycles_per_second(self) -> float:
        """PEs times cycles, per second."""
        return self.pes * self.cycles / self.seconds


def gemm() -> tuple[Program, Machine]:
    """A product of matrices whose tiles go round on rings; every PE computes in every step."""
    experiment = PROGRAMS["mesh_gemm"].make(GEMM_SIDE, GEMM_SIDE, size=GEMM_TILE)
    return experiment.program, WSE3


def routing() -> tuple[Program, Machine]:
    """Streams from edge to opposite edge, all four ways at once; PEs inside have no program."""
    program = Program(ROUTING_SIDE, ROUTING_SIDE)
    inside, last = slice(1, -1), ROUTING_SIDE - 1
    east, west = program.colour("east"), program.colour("west")
    south, north = program.colour("south"), program.colour("north")
    for colour, forward, back, near in ((east, EAST, WEST, 0), (west, WEST, EAST, last)):
        program.route(colour, back, forward, y=inside)
        program.route(colour, RAMP, forward, x=near, y=inside)
        program.route(colour, back, RAMP, x=last - near, y=inside)
    for colour, forward, back, near in ((south, SOUTH, NORTH, 0), (north, NORTH, SOUTH, last)):
        program.route(colour, back, forward, x=inside)
        program.route(colour, RAMP, forward, x=inside, y=near)
        program.route(colour, back, RAMP, x=inside, y=last - near)
    edges = (
        ("west edge", 0, inside, east, west),
        ("east edge", last, inside, west, east),
        ("north edge", inside, 0, south, north),
        ("south edge", inside, last, north, south),
    )
    for name, x, y, sent, received in edges:
        code = program.code(name, x=x, y=y)
        kept = code.array("kept", 1)
        with code.main():
            code.move(sent, 1.0, length=ROUTING_WORDS, thread=0)
            code.move(kept[0], received, length=ROUTING_WORDS, thread=1)
    return program, WSE2


def multicast() -> tuple[Program, Machine]:
    """One PE's array to every PE of a WSE-2 that a program can use."""
    experiment = PROGRAMS["broadcast"].make(WAFER_WIDTH, WAFER_HEIGHT, size=WAFER_WORDS)
    return experiment.program, WSE2


def best_of(make: Callable[[], tuple[Program, Machine]], rounds: int) -> Measured:
    """Simulate a traffic ``rounds`` times; keep the quickest."""
    program, on = make()
    run(Program(1, 1), on)  # loads the engine
    results: list[Result] = [run(program, on) for _ in range(rounds)]
    quickest = min(results, key=lambda result: result.wall_seconds)
    return Measured(program.width * program.height, quickest.cycles, quickest.wall_seconds)


def gemm_until(begin: float) -> Measured:
    """One matrix product, begun at the time ``begin`` so that all processes compute at once."""
    program, on = gemm()
    run(Program(1, 1), on)
    time.sleep(max(0.0, begin - time.time()))
    result = run(program, on)
    return Measured(program.width * program.height, result.cycles, result.wall_seconds)


def on_all_cores(cores: int) -> list[Measured]:
    """The matrix product once on each core, at the same time."""
    begin = time.time() + 20.0  # by then every process has built its program
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return list(pool.map(gemm_until, [begin] * cores))


def line(name: str, traffic: str, measured: Measured) -> str:
    """One traffic's speed."""
    return (
        f"{name:<22} {traffic:<46} {measured.cycles:>9,} cycles {measured.seconds:8.2f} s "
        f"{measured.pe_cycles_per_second / 1e6:8.1f} million PE-cycles/s"
    )


def measure(rounds: int, cores: int) -> None:
    """Print each speed as soon as it is known."""
    gemm_words = f"{GEMM_SIDE} x {GEMM_SIDE} PEs of wse3, tiles of {GEMM_TILE}, fp16"
    routing_words = f"{ROUTING_SIDE} x {ROUTING_SIDE} PEs of wse2, all inner links full"
    wafer_words = f"{WAFER_WIDTH} x {WAFER_HEIGHT} PEs of wse2, {WAFER_WORDS} words"
    print(line("matrix product", gemm_words, best_of(gemm, rounds)), flush=True)
    print(line("routers alone", routing_words, best_of(routing, rounds)), flush=True)
    print(line("multicast", wafer_words, best_of(multicast, rounds)), flush=True)
    speed = sum(one.pe_cycles_per_second for one in on_all_cores(cores)) / 1e6
    print(f"{cores} matrix product(s) at once, each in a process: {speed:.1f} million PE-cycles/s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="of each (default 1)")
    about = machine.describe()
    parser.add_argument("--cores", type=int, default=about["cores"], help="processes (default all)")
    arguments = parser.parse_args()
    print(f"measured on {about['cpu']}, {about['cores']} cores, Python {about['python']}")
    measure(arguments.rounds, arguments.cores)
    print("\nother simulators, on other machines:")
    for name, traffic, speed, origin in YARDSTICKS:
        print(f"{name:<22} {traffic:<46} {speed} ({origin})")


if __name__ == "__main__":
    main()
