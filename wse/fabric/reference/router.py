"""A router: one queue for each colour, five output ports, and one way in from its PE.

:meth:`Router.decide` looks and changes nothing; :meth:`Router.pass_on` carries out what was
decided. See "A. Routers decide" and "C. Transfers are carried out" in ``docs/fabric.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from wse.fabric.machine import Machine
from wse.fabric.reference.queues import Queue, Wavelet
from wse.fabric.tables import OPPOSITE, PORTS, Direction, Int32Table, RouteColumn

RAMP_PORT = 4
MESH_PORTS = range(RAMP_PORT)


class Route:
    """One colour at one router: its switch, and its filter if it has one."""

    def __init__(self, row: Int32Table) -> None:
        positions = range(row[RouteColumn.POSITIONS])
        self.receives = [int(row[RouteColumn.RECEIVE + position]) for position in positions]
        self.transmits = [int(row[RouteColumn.TRANSMIT + position]) for position in positions]
        self.ring = bool(row[RouteColumn.RING])
        self.limit = int(row[RouteColumn.FILTER_LIMIT])
        self.period = int(row[RouteColumn.FILTER_PERIOD])
        self.counter = int(row[RouteColumn.FILTER_START])
        self.position = 0

    def receives_from(self, port: int) -> bool:
        """Whether wavelets may come in at ``port`` at the current position."""
        return bool(self.receives[self.position] & 1 << port)

    def ports_of(self, wavelet: Wavelet) -> int:
        """The set of ports that ``wavelet``, the first of its queue, has still to be served at."""
        if wavelet.remaining is not None:
            return wavelet.remaining
        ports = self.transmits[self.position]
        if self.period and not wavelet.control and self.counter > self.limit:
            ports &= ~Direction.RAMP
        return ports

    def has_passed(self, wavelet: Wavelet) -> None:
        """Let a control wavelet advance the switch, and a data wavelet the filter's counter."""
        if not wavelet.control:
            if self.period:
                self.counter = (self.counter + 1) % self.period
        elif self.position + 1 < len(self.receives):
            self.position += 1
        elif self.ring:
            self.position = 0


@dataclass
class Decision:
    """What a router does in a cycle.

    ``served``: of each colour that moves, the set of ports that its first wavelet is passed to
    (empty: it vanishes). ``from_pe``: the colour whose output queue is served, or None.
    """

    served: dict[int, int] = field(default_factory=dict)
    from_pe: int | None = None

    def moves(self) -> bool:
        """Whether anything moves."""
        return bool(self.served) or self.from_pe is not None


class Router:
    """The router of PE number ``number``; ``inputs`` and ``outputs`` are the queues of the PE."""

    def __init__(
        self,
        number: int,
        machine: Machine,
        routes: Mapping[int, Route],
        inputs: Mapping[int, Queue],
        outputs: Mapping[int, Queue],
        control_tasks: Collection[int],
        colours: int,
    ) -> None:
        self.number = number
        self.machine = machine
        self.routes = routes
        self.queues = {colour: Queue(machine.router_queue_words) for colour in routes}
        self.inputs = inputs
        self.outputs = outputs
        self.control_tasks = control_tasks
        self.colours = colours
        self.neighbours: list[Router | None] = [None] * len(MESH_PORTS)
        # The highest colour was served last, so that colour 0 comes first.
        self.last_served = [colours - 1] * PORTS
        self.last_from_pe = colours - 1
        self.passed = [0] * PORTS

    def decide(self, cycle: int) -> Decision:
        """What moves in ``cycle``, by the state at its beginning."""
        decision = Decision()
        asking: dict[int, int] = {}
        for colour, queue in self.queues.items():
            head = queue.head(cycle)
            if head is not None:
                asking[colour] = self.routes[colour].ports_of(head)
                if not asking[colour]:
                    decision.served[colour] = 0
        for port in range(PORTS):
            granted = {
                colour
                for colour, ports in asking.items()
                if ports & 1 << port and self.grants(port, colour, cycle)
            }
            if granted:
                colour = self.next_after(self.last_served[port], granted)
                decision.served[colour] = decision.served.get(colour, 0) | 1 << port
        decision.from_pe = self.choose_from_pe(cycle)
        return decision

    def grants(self, port: int, colour: int, cycle: int) -> bool:
        """Whether the first wavelet of ``colour`` may pass ``port``."""
        if port == RAMP_PORT:
            head = self.queues[colour].wavelets[0]
            return self.vanishes_at_ramp(colour, head) or self.inputs[colour].has_place()
        neighbour = self.neighbours[port]
        return (
            neighbour is not None
            and not links_rest(self.machine, cycle)
            and neighbour.routes[colour].receives_from(OPPOSITE[port])
            and neighbour.queues[colour].has_place()
        )

    def vanishes_at_ramp(self, colour: int, wavelet: Wavelet) -> bool:
        """Whether the PE takes no notice: a control wavelet for which there is no task."""
        return wavelet.control and colour not in self.control_tasks

    def choose_from_pe(self, cycle: int) -> int | None:
        """The colour that the PE may send to its router, if any."""
        granted = {
            colour
            for colour, queue in self.outputs.items()
            if queue.head(cycle) is not None
            and colour in self.routes
            and self.routes[colour].receives_from(RAMP_PORT)
            and self.queues[colour].has_place()
        }
        return self.next_after(self.last_from_pe, granted) if granted else None

    def next_after(self, last: int, colours: Collection[int]) -> int:
        """The first of ``colours`` after ``last``, cyclically."""
        return min(colours, key=lambda colour: (colour - last - 1) % self.colours)

    def pass_on(self, decision: Decision, cycle: int) -> list[tuple[Router, int]]:
        """Carry out ``decision``; return the (router, colour) queues that a wavelet entered."""
        entered = []
        for colour, ports in decision.served.items():
            wavelet = self.queues[colour].wavelets[0]
            remaining = self.routes[colour].ports_of(wavelet) & ~ports
            entered += self.send(wavelet, colour, ports, cycle)
            wavelet.remaining = remaining
            if not remaining:
                self.queues[colour].leave()
                self.routes[colour].has_passed(wavelet)
        if decision.from_pe is not None:
            colour = decision.from_pe
            self.last_from_pe = colour
            wavelet = self.outputs[colour].wavelets[0]
            self.outputs[colour].leave()
            self.receive(wavelet, colour, cycle)
            entered.append((self, colour))
        return entered

    def send(
        self, wavelet: Wavelet, colour: int, ports: int, cycle: int
    ) -> list[tuple[Router, int]]:
        """Pass ``wavelet`` through ``ports``; return the queues of neighbours that it entered."""
        entered = []
        for port in range(PORTS):
            if not ports & 1 << port:
                continue
            self.last_served[port] = colour
            self.passed[port] += 1
            neighbour = self.neighbours[port] if port != RAMP_PORT else None
            if neighbour is not None:
                neighbour.receive(wavelet, colour, cycle)
                entered.append((neighbour, colour))
            elif not self.vanishes_at_ramp(colour, wavelet):
                ready = cycle + self.machine.ramp_cycles
                self.inputs[colour].enter(Wavelet(wavelet.payload, wavelet.control, ready))
        return entered

    def receive(self, wavelet: Wavelet, colour: int, cycle: int) -> None:
        """Take a wavelet in that was sent here in ``cycle``."""
        ready = cycle + self.machine.hop_cycles
        self.queues[colour].enter(Wavelet(wavelet.payload, wavelet.control, ready))


def links_rest(machine: Machine, cycle: int) -> bool:
    """Whether no wavelet may be put on a link between routers in ``cycle``."""
    every = machine.link_rest_every
    return every > 0 and cycle % every == every - 1
