"""Backward pass of the weight-streaming layer ``y = x W``: gradients of weights leave the wafer.

The weights pass once more, as in :mod:`wse.fabric.library.streaming_layer`. The gradients of the
outputs stay where the outputs are; column after column multicasts its own along the rows. A PE

- adds an AXPY over its tokens for each weight, a vector operation of its own: the gradient of its
  inputs, which stays, in fp32;
- adds, for each of its input features and tokens, an AXPY over the outputs of some columns: its
  share of the gradients of the weights, in fp32, which a chain up the column sums on its way to
  the edge, a wavelet for each weight. Dot products over the tokens would go at the slower rate of
  reductions.

The blocks of as many columns come in while those before them are at work.
"""

from __future__ import annotations

from functools import partial

from wse.fabric.code import Code
from wse.fabric.library.chains import Chain, Place
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Line, codes_by_role
from wse.fabric.library.moving_broadcast import Incoming, MovingBroadcast
from wse.fabric.library.streaming_layer import (
    BELOW_EDGE,
    FEATURES,
    columns_together,
    placed,
    stream_order,
)
from wse.fabric.library.tile_product import join
from wse.fabric.library.weight_stream import Weights, WeightStream
from wse.fabric.operands import Array, Colour, MemoryVector, Register
from wse.fabric.program import Filter, Program
from wse.fabric.tables import F16, F32, RAMP, DType

GRADIENT_THREAD = 1
INCOMING_THREAD = 2


class TakingTurns(MovingBroadcast):
    """A broadcast of roots that are not in step: words of two of them may run back at once.

    A switch keeps those of the later root out until a control wavelet has followed the own ones.
    """

    def route_back(self, line: Line, position: int, filter: Filter) -> None:
        """First from the own PE, then from those behind."""
        transmit = line.backward | RAMP
        positions = [(RAMP, transmit), (line.forward, transmit)]
        x, y = (position, line.across) if line.axis == "x" else (line.across, position)
        line.program.switch(self.back, positions, x, y, filter=filter)

    def end_turn(self, code: Code, role: str) -> None:
        """Let pass what comes from behind, once the own words are sent."""
        if role == "between":
            code.send_control(self.back)


def streaming_backward(
    width: int, height: int, tokens: int, dtype: DType = F16, features: int = FEATURES
) -> Experiment:
    """``width`` x ``height - 1`` PEs with ``features`` of ``tokens`` each.

    Array ``dx`` of every PE, and ``dw`` of the edge, in the order of the weights.
    """
    program = Program(width, height)
    hidden, size = width * features, features * tokens
    columns = columns_together(width, features)
    stream = WeightStream(Line(program, "y"))
    colours = program.colour("gradients even"), program.colour("gradients odd")
    leaving = Chain(Line(program, "y"), range(height), colours)
    words = -(-size // (4 // dtype.size_bytes))
    broadcast = TakingTurns(Line(program, "x", BELOW_EDGE), "dy", words)
    x = small_integers((hidden, (height - 1) * tokens), dtype)
    dy = small_integers(x.shape, dtype, seed=1)
    w = small_integers((hidden, hidden), dtype, seed=2)
    edge = program.code("edge", y=0)
    _edge(edge, stream, leaving, edge.array("w", features * hidden, dtype, stream_order(w, width)))
    inside = partial(_below_edge, leaving)
    for code, role, place in codes_by_role(program, broadcast.role, inside):
        layer = _Layer(
            code,
            Weights.of(code, stream, columns * features**2, width // columns, dtype),
            Incoming.of(
                code,
                broadcast,
                role,
                placed(dy, width, tokens),
                dtype,
                2 * columns,
                INCOMING_THREAD,
            ),
            code.array("x", size, dtype, placed(x, width, tokens)),
            tokens,
            columns,
            broadcast,
        )
        with code.main():
            layer.run(width // columns, leaving, place)
    dx = w.astype(float) @ dy.astype(float)
    dw = x.astype(float) @ dy.T.astype(float)
    return Experiment(
        program,
        (
            Answer("dx", placed(dx, width, tokens)[1:], y=BELOW_EDGE),
            Answer("dw", stream_order(dw, width), y=0),
        ),
    )


def _below_edge(leaving: Chain, y: int) -> Place | None:
    return leaving.place(y) if y else None


def _edge(code: Code, stream: WeightStream, leaving: Chain, w: Array) -> None:
    """All weights in, all their gradients out."""
    dw = code.array("dw", w.length, F32)
    with code.main():
        stream.send(code, w)
        code.move(dw, leaving.colours[1])


class _Layer:
    """What a PE below the edge does, on groups of ``columns`` columns' outputs."""

    def __init__(
        self,
        code: Code,
        weights: Weights,
        incoming: Incoming,
        x: Array,
        tokens: int,
        columns: int,
        broadcast: TakingTurns,
    ) -> None:
        self.code, self.weights, self.incoming = code, weights, incoming
        self.broadcast = broadcast
        self.x, self.tokens, self.columns = x, tokens, columns
        self.features = x.length // tokens
        self.dx = code.array("dx", x.length, F32)
        self.shares = code.array("dw", 2 * weights.size, F32)
        self.share_start = code.register("share start")
        self.weight, self.dy = code.register("weight"), code.register("dy of column")
        self.group_start = code.register("dy of group")

    def run(self, groups: int, leaving: Chain, place: Place) -> None:
        """All groups, each one step after its gradients have begun to come in."""
        code, incoming = self.code, self.incoming
        column = code.register("column")
        self.weights.order()
        with code.loop(groups + 1) as group:
            with code.when(group > 0):
                self._begin(group)
            with code.loop(self.columns):
                join(code, INCOMING_THREAD, incoming.blocks, _received(incoming))
                with code.when(group < groups):
                    incoming.order(column)
                    with code.when(incoming.position.equals(column)):
                        self._place_own(column)
                with code.when(group > 0):
                    self._input_gradient()
                with code.when(incoming.position.equals(column)):
                    self.broadcast.end_turn(code, incoming.role)
                code.set(column, column + 1)
            with code.when(group > 0):
                self._weight_gradient(leaving, place)

    def _begin(self, group: Register) -> None:
        """The group's weights are here, and its gradients follow the own ones and each other."""
        code, size = self.code, self.x.length
        self.weights.take()
        code.set(self.weight, self.weights.start)
        code.set(self.group_start, group + 1)
        code.set(self.group_start, self.group_start % 2)
        code.set(self.group_start, self.group_start * (self.columns * size))
        code.set(self.group_start, self.group_start + size)
        code.set(self.dy, self.group_start)

    def _place_own(self, column: Register) -> None:
        """Copy the own gradients to where those of ``column`` are expected."""
        code, size, slot = self.code, self.x.length, self.incoming.coming
        code.set(slot, column % self.incoming.buffers)
        code.set(slot, slot * size)
        code.set(slot, slot + size)
        code.move(self.incoming.blocks.at(slot, size), self.incoming.blocks[:size])

    def _input_gradient(self) -> None:
        """Every feature's ``dx`` += the column's weights times ``dy``."""
        code, tokens, features = self.code, self.tokens, self.features
        target = self.dx.at(0, tokens, row=tokens)
        dy = self.incoming.blocks.at(self.dy, tokens, plane=tokens)
        factors = self.weights.buffer.at(self.weight, row=1, plane=features)
        each = features, features
        code.multiply_add(target, target, dy, factors, rows=each, mapped=True)
        code.set(self.weight, self.weight + features**2)
        code.set(self.dy, self.dy + self.x.length)

    def _weight_gradient(self, leaving: Chain, place: Place) -> None:
        """The group's share, and off with it."""
        code, tokens, features, size = self.code, self.tokens, self.features, self.weights.size
        code.set(self.share_start, self.weights.number % 2)
        code.set(self.share_start, self.share_start * size)
        share = self.shares.at(self.share_start, size)
        code.move(share, 0.0)
        outputs = self.columns * features
        total = self.shares.at(self.share_start, outputs, stride=features, row=1)
        dy = self.incoming.blocks.at(self.group_start, outputs, stride=tokens, plane=1)
        x = self.x.at(0, row=tokens, plane=1)
        code.multiply_add(total, total, dy, x, rows=(tokens, features))
        _leave(code, leaving, place, share)


def _received(incoming: Incoming) -> Colour:
    return incoming.broadcast.received(incoming.role)


def _leave(code: Code, leaving: Chain, place: Place, share: MemoryVector) -> None:
    """Add ``share`` to what comes from below, and send it up, on a micro-thread."""
    mine = int(place in (Place.ODD, Place.ODD_TAIL))
    if place in (Place.ODD, Place.EVEN):
        code.add(leaving.colours[mine], leaving.colours[1 - mine], share, thread=GRADIENT_THREAD)
    else:
        code.move(leaving.colours[mine], share, thread=GRADIENT_THREAD)
