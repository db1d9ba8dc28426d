"""Writes the random code of one kind of PE: what it receives, sends and computes, in some order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby, pairwise
from random import Random
from typing import Any

import numpy as np

from tests.wse.fabric.flows import Flow
from wse.fabric import F16, F32, I16, I32, DType
from wse.fabric.code import Code, Task
from wse.fabric.operands import Array, Destination, MemoryVector, Register, Source, Stream

LENGTH = 32  # elements of each array
THREADS = 8
Job = Callable[..., None]
"""Writes an instruction or a few; takes the options of a vector operation."""


class CodeWriter:
    """Writes the tasks of ``code``.

    ``receives``: flows, and of each wavelet that arrives whether it is control. ``sends``: flows.
    """

    def __init__(
        self,
        random: Random,
        code: Code,
        receives: list[tuple[Flow, list[bool]]],
        sends: list[Flow],
    ) -> None:
        self.random, self.code = random, code
        self.receives, self.sends = receives, sends
        self.arrays = {dtype: self._array(dtype) for dtype in DType}
        self.registers = {
            dtype: code.register(f"r{dtype.name}", dtype, self._number(dtype)) for dtype in DType
        }
        self.bodies: dict[Task, list[Job]] = {}
        self.next_thread = random.randrange(THREADS)
        # Without care the main thread may wait for what it should first send itself.
        self.careful = random.random() < 0.8

    def write(self) -> None:
        """Write all tasks: chains of jobs, shuffled into ``main`` and into tasks of their own."""
        main = self._task("main", start=True)
        chains = [self._receiving(flow, seen) for flow, seen in self.receives]
        chains += [self._sending(flow) for flow in self.sends]
        chains += [[self._compute] for _ in range(self.random.randrange(3))]
        early: list[list[Job]] = []
        late: list[list[Job]] = []
        for chain in filter(None, chains):
            self._place(chain, early, late)
        self.bodies[main] += [*self._merged(early), *self._merged(late)]
        for task, jobs in self.bodies.items():
            with task:
                for job in jobs:
                    job()

    # Where jobs go.

    def _place(self, chain: list[Job], early: list[list[Job]], late: list[list[Job]]) -> None:
        """Put a chain into ``main``, or into tasks."""
        ways = ["thread", "synchronous", "local", "unblocked", "tasks"]
        way = self.random.choice(ways)
        if self.careful and self.random.random() < 0.95:
            way = "thread" if len(chain) == 1 or self.random.random() < 0.1 else "tasks"
        if way == "synchronous" or chain == [self._compute]:
            late.append(chain)
        elif way == "thread":
            # On threads of their own the jobs still share a queue, and wait for each other.
            same = [self._thread()] * len(chain)
            threads = same if self.random.random() < 0.7 else [self._thread() for _ in chain]
            early.append([partial(job, thread=t) for job, t in zip(chain, threads, strict=True)])
        elif way == "tasks":
            early.append([self._one_after_the_other(chain)])
        else:
            task = self._task(f"local {len(self.bodies)}", blocked=way == "unblocked")
            self.bodies[task] += chain
            early.append([partial(self.code.activate, task)])
            if way == "unblocked":
                late.append([partial(self.code.unblock, task)])

    def _one_after_the_other(self, chain: list[Job]) -> Job:
        """The first job of ``chain``; each starts, when it completes, a task with the next."""
        thread = self._thread()
        following: dict[str, Task] = {}
        for job in reversed(chain[1:]):
            task = self._task(f"local {len(self.bodies)}", blocked=self.random.random() < 0.2)
            self.bodies[task].append(partial(job, thread=thread, **following))
            following = {"activate": task, "unblock": task}
        return partial(chain[0], thread=thread, **following)

    def _merged(self, chains: list[list[Job]]) -> list[Job]:
        """All jobs in a random order that keeps that of each chain."""
        left = [list(chain) for chain in chains]
        merged = []
        while any(left):
            merged.append(self.random.choice([chain for chain in left if chain]).pop(0))
        return merged

    def _task(self, name: str, start: bool = False, blocked: bool = False) -> Task:
        task = self.code.task(name, start, blocked)
        self.bodies[task] = []
        return task

    def _thread(self) -> int:
        if self.careful or self.random.random() < 0.8:
            self.next_thread = (self.next_thread + 1) % THREADS
        return self.next_thread

    # What jobs do.

    def _receiving(self, flow: Flow, seen: list[bool]) -> list[Job]:
        """Jobs that receive ``seen`` wavelets, or none if tasks of the wavelets do."""
        by_task = not any(not control for control in seen) or self.random.random() < 0.3
        controls = self.random.random() < (0.4 if by_task else 0.1)
        if by_task:
            register = self.registers[flow.dtype]
            task = self.code.data_task(flow.colour, register)
            self.bodies[task] = self._small_body(flow.dtype)
        if controls:
            task = self.code.control_task(
                flow.colour, self.random.choice([None, self.registers[I32]])
            )
            self.bodies[task] = self._small_body(I32)
        if by_task:
            return []
        # Control wavelets without a task vanish; with one, no operation may be waiting for more.
        runs = [len(list(run)) for control, run in groupby(seen) if not control]
        runs = runs if controls else [sum(runs)]
        return [
            partial(self._transfer, flow, part, False) for run in runs for part in self._parts(run)
        ]

    def _sending(self, flow: Flow) -> list[Job]:
        """Jobs that send the flow's wavelets."""
        jobs: list[Job] = []
        for control, run in groupby(flow.wavelets):
            count = len(list(run))
            if control:
                payload = self.random.randrange(1000)
                jobs += [partial(self.code.send_control, flow.colour, payload)] * count
            else:
                jobs += [partial(self._transfer, flow, part, True) for part in self._parts(count)]
        return jobs

    def _parts(self, count: int) -> list[int]:
        """``count`` as a sum of one to three parts."""
        cuts = sorted(self.random.randrange(1, count) for _ in range(2)) if count > 1 else []
        ends = sorted({0, count, *cuts[: self.random.randrange(3)]})
        return [end - begin for begin, end in pairwise(ends)]

    def _transfer(self, flow: Flow, wavelets: int, sends: bool, **options: Any) -> None:
        """Move ``wavelets`` of a flow by one operation, or by a loop of them."""
        repeats = 1
        if wavelets % 2 == 0 and "activate" not in options:
            repeats = self.random.choice([1, 1, 1, 2])
        length = wavelets // repeats * flow.per_wavelet
        if flow.per_wavelet == 2 and self.random.random() < 0.3:
            length -= 1  # the last wavelet is half full
        if repeats == 1:
            self._operation(flow, length, sends, **options)
        else:
            with self.code.loop(repeats):
                self._operation(flow, length, sends, **options)

    def _operation(self, flow: Flow, length: int, sends: bool, **options: Any) -> None:
        stream: Stream = flow.stream
        if sends:
            self._write(stream, self._memory(flow.dtype, length), flow.dtype, length, **options)
        else:
            to_register = self.random.random() < 0.15
            kept: Destination = self._memory(flow.dtype, length)
            kept = self.registers[flow.dtype] if to_register else kept
            self._write(kept, stream, flow.dtype, length, **options)

    def _small_body(self, dtype: DType) -> list[Job]:
        """What a task of a wavelet does with it."""
        register, place = self.registers[dtype], self.arrays[dtype][self.random.randrange(LENGTH)]
        jobs: list[Job] = [partial(self.code.add, place, place, register), self._compute]
        return self.random.sample(jobs, self.random.randrange(3))

    def _compute(self, **_: Any) -> None:
        """Something that only changes the PE itself."""
        dtype, length = self.random.choice(list(DType)), self.random.randrange(LENGTH + 1)
        match self.random.randrange(6):
            case 0:
                self._write(self._memory(dtype, length), self._memory(dtype, length), dtype, length)
            case 1:
                self.code.work(
                    self.random.choice([0, 1, 7, self._constant(self.random.randrange(-2, 9))])
                )
            case 2:
                self._tile(dtype)
            case 3:
                with self.code.loop(self.random.randrange(1, 4)) as number:
                    array = self.arrays[dtype]
                    self._write(array.at(number + 1), array.at(number), dtype, 1)
            case 4:
                number = self.registers[I32]
                divisor = self.random.choice([11, -7, 0])
                change = self.random.choice([number + 3, number - 5, number * 7, number % divisor])
                self.code.set(number, change)
            case _:
                with self.code.when(self.registers[I32] < self.random.randrange(-5, 10)):
                    self._write(self.registers[dtype], self.arrays[dtype][0], dtype, 1)

    def _tile(self, dtype: DType) -> None:
        """An operation of planes and rows."""
        draw = self.random.randrange
        sizes = planes, rows, length = draw(1, 4), draw(1, 4), draw(4)

        def block() -> MemoryVector:
            plane, row, stride = (self.random.choice([-1, 0, 1, 3]) for _ in sizes)
            spans = (plane * (planes - 1), row * (rows - 1), stride * max(length - 1, 0))
            least, most = (sum(pick(span, 0) for span in spans) for pick in (min, max))
            start = draw(-least, LENGTH - most)
            return self.arrays[dtype].at(start, length, stride, row=row, plane=plane)

        mapped = self.random.random() < 0.5
        blocks = (block() for _ in range(4))
        self.code.multiply_add(*blocks, rows=(planes, rows), mapped=mapped)

    # Operations and operands.

    def _write(
        self, destination: Destination, a: Source, dtype: DType, length: int, **options: Any
    ) -> None:
        """A random operation with one source given; the others are drawn."""
        code, options = self.code, {"length": self._length(length, destination, a), **options}
        if options["length"] is not length:
            destination, a = (self._of_length(end, options["length"]) for end in (destination, a))
        if self.random.random() < 0.2:
            options["loads"] = self.random.randrange(3)
        others = [self._other(dtype, options["length"]) for _ in range(2)]
        method = self.random.choice(
            [
                code.move,
                code.add,
                code.subtract,
                code.multiply,
                code.maximum,
                code.minimum,
                code.multiply_add,
            ]
        )
        count = {"move": 1, "multiply_add": 3}.get(method.__name__, 2)
        sources = [a, *others][:count]
        self.random.shuffle(sources)
        method(destination, *sources, **options)

    def _length(self, length: int, *ends: Destination | Source) -> int | Register:
        """``length``, or a register that holds it."""
        if self.random.random() > 0.1:
            return length
        return self._constant(length)

    def _of_length(self, end: Any, length: int | Register) -> Any:
        """The same operand with its length in a register."""
        if isinstance(end, MemoryVector) and end.length is not None:
            return end.array.at(end.start, length, end.stride)
        return end

    def _other(self, dtype: DType, length: int | Register) -> Source:
        """A source of the same kind: memory, a register, or a constant."""
        other = self.random.choice([F16, F32] if dtype.is_float else [I16, I32])
        match self.random.randrange(4):
            case 0:
                return self.registers[other]
            case 1:
                return self._number(other)
            case 2:
                return self.arrays[other][self.random.randrange(LENGTH)]
            case _:
                return self.arrays[other].at(0, length)

    def _memory(self, dtype: DType, length: int) -> MemoryVector:
        """``length`` elements of an array, in any direction; now and then out of it."""
        array, stride = self.arrays[dtype], self.random.choice([1, 1, 1, 2, -1, -2, 0])
        if length == 0 or abs(stride) * (length - 1) >= LENGTH:
            stride = 1
        reach = stride * max(length - 1, 0)
        start = self.random.randrange(max(0, -reach), LENGTH - max(0, reach))
        if self.random.random() < 0.004:
            return array.at(self._constant(LENGTH), length)
        return array.at(start, length, stride)

    def _array(self, dtype: DType) -> Array:
        values = [self._number(dtype) for _ in range(LENGTH)]
        return self.code.array(f"a{dtype.name}", LENGTH, dtype, np.array(values))

    def _constant(self, value: int) -> Register:
        """A register that holds ``value``."""
        return self.code.register(f"constant {len(self.code.registers)}", I32, value)

    def _number(self, dtype: DType) -> float | int:
        if dtype.is_float:
            return self.random.choice([0.0, -1.0, 1e-6, 3e4, self.random.uniform(-4, 4)])
        return self.random.randrange(-300, 300)
