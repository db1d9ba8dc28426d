"""Random programs for small meshes, and random machines to run them on.

A program's PEs receive what the routes bring them and send what they have to, in a random order,
by all means that there are: vector operations on the main thread and on micro-threads, tasks
started by wavelets, relays from colour to colour, loops. Most programs end; some deadlock, collide
or reach outside an array. ``Random(n)`` makes the n-th.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np

from tests.wse.fabric.code_writer import CodeWriter
from tests.wse.fabric.flows import Flow, Pe, random_flow
from wse.fabric import I32, WSE2, WSE3, Machine, Program, Rate
from wse.fabric.code import Code


def random_machine(random: Random) -> Machine:
    """A machine whose times and queues are anything that a machine may have."""
    base = random.choice([WSE2, WSE3])
    if random.random() < 0.3:
        return base
    hop = random.randrange(1, 4)
    small = {name: random.randrange(1, 4) for name in ("scalar_cycles", "loop_cycles")}
    return replace(
        base,
        name="random",
        hop_cycles=hop,
        ramp_cycles=random.randrange(max(1, hop - 1), 5),
        link_rest_every=random.choice([0, 0, 2, 3, 9]),
        router_queue_words=random.randrange(1, 5),
        input_queue_words=random.randrange(1, 5),
        output_queue_words=random.randrange(1, 5),
        vector_steps_per_cycle=random.randrange(1, 4),
        descriptor_load_cycles=random.randrange(3),
        vector_start_cycles=random.randrange(1, 4),
        vector_finish_cycles=random.randrange(3),
        vector_row_cycles=random.randrange(4),
        vector_map_cycles=random.randrange(4),
        sram_banks=random.choice([1, 2, 8]),
        sram_bank_bytes=random.choice([2, 4]),
        sram_conflict_milli=random.choice([1000, 1500, 1940]),
        task_start_cycles=random.randrange(1, 6),
        branch_taken_cycles=random.randrange(1, 7),
        branch_not_taken_cycles=random.randrange(1, 4),
        **small,
        **{name: _random_rate(random) for name in ("move", "arithmetic", "multiply_add", "mixed")},
        reduction=_random_rate(random),
    )


def _random_rate(random: Random) -> Rate:
    width16, width32 = (random.choice([333, 500, 1000, 1460, 2440, 4000]) for _ in range(2))
    return Rate(width16, width32)


def random_program(random: Random, machine: Machine) -> tuple[Program, list[Flow]]:
    """A program that ``machine`` accepts, and what flows in it."""
    program = Program(random.randrange(1, 5), random.randrange(1, 4))
    both = machine.switch_changes_both
    count = random.randrange(1, 6)
    flows = [random_flow(random, program, f"c{number}", both) for number in range(count)]
    roles: dict[str, tuple[Code, Pe]] = {}
    for pe in product(range(program.width), range(program.height)):
        role = _role(flows, pe)
        if role in roles:
            program.place(roles[role][0], *pe)
        elif role or random.random() < 0.3:
            roles[role] = program.code(f"code {len(roles)}", *pe), pe
    for code, pe in roles.values():
        receives = [(flow, flow.arriving(pe)) for flow in flows if flow.reaches(pe)]
        sends = [flow for flow in flows if pe in (flow.source, flow.second_source)]
        CodeWriter(random, code, receives, sends).write()
    return program, flows


def _role(flows: list[Flow], pe: Pe) -> str:
    """What a PE has to do, in words: PEs that have the same to do share their code."""
    receives = [f"{f.colour.name}: {f.arriving(pe)}" for f in flows if f.reaches(pe)]
    sends = [f.colour.name for f in flows if pe in (f.source, f.second_source)]
    return f"receives {receives}, sends {sends}" if receives or sends else ""


def counting_program(random: Random, machine: Machine) -> tuple[Program, list[Flow]]:
    """A program whose sources send 0, 1, ... on each colour, and whose PEs keep what they get.

    The array ``c0 received`` of a PE holds what came on colour ``c0``; wavelets that are control
    count, but are not kept.
    """
    program = Program(random.randrange(1, 5), random.randrange(1, 4))
    both = machine.switch_changes_both
    flows = [random_flow(random, program, f"c{n}", both) for n in range(random.randrange(1, 6))]
    for pe in product(range(program.width), range(program.height)):
        code = program.code(f"code {pe}", *pe)
        with code.main():
            for thread, flow in enumerate(flow for flow in flows if flow.reaches(pe)):
                count = flow.arriving(pe).count(False)
                kept = code.array(f"{flow.colour.name} received", max(count, 1), I32)
                code.move(kept.at(0, count), flow.colour.stream(I32), thread=thread)
            for flow in flows:
                if flow.source == pe:
                    _count_on(code, flow)
    return program, flows


def _count_on(code: Code, flow: Flow) -> None:
    numbers = code.array(
        f"{flow.colour.name} numbers", len(flow.wavelets), I32, np.arange(len(flow.wavelets))
    )
    for number, is_control in enumerate(flow.wavelets):
        if is_control:
            code.send_control(flow.colour, number)
        else:
            code.move(flow.colour.stream(I32), numbers[number])
