"""Backward pass of the weight-streaming layer ``y = x W``: gradients of weights leave the wafer.

The weights pass once more, as in :mod:`wse.fabric.library.streaming_layer`. The gradients of the
outputs stay where the outputs are; column after column multicasts its own along the rows. For each
output a PE

- adds an AXPY over its tokens for each weight: the gradient of its inputs, which stays, and
- takes the dot product of its input features with the output's gradient: its share of the
  gradients of the weights, which a chain up the column sums on its way to the edge, a wavelet
  for each weight.

Cycles of an output in the steady state: the dot products, ``features`` times tokens at the rate of
reductions, which is the largest part; the AXPYs; a cycle for each weight and each gradient; half
the tokens for the multicast; and some 50 of the instructions (WSE-3).
"""

from __future__ import annotations

from functools import partial

from wse.fabric.code import Code
from wse.fabric.library.chains import Chain, Place
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Line, codes_by_role
from wse.fabric.library.moving_broadcast import Incoming, MovingBroadcast
from wse.fabric.library.streaming_layer import BELOW_EDGE, FEATURES, placed, stream_order
from wse.fabric.library.weight_stream import Weights, WeightStream
from wse.fabric.operands import Array, MemoryVector
from wse.fabric.program import Program
from wse.fabric.tables import F16, DType

GRADIENT_THREAD = 1
INCOMING_THREAD = 2


def streaming_backward(
    width: int, height: int, tokens: int, dtype: DType = F16, features: int = FEATURES
) -> Experiment:
    """``width`` x ``height - 1`` PEs with ``features`` of ``tokens`` each.

    Array ``dx`` of every PE, and ``dw`` of the edge, in the order of the weights.
    """
    program = Program(width, height)
    hidden, size = width * features, features * tokens
    stream = WeightStream(Line(program, "y"))
    colours = program.colour("gradients even"), program.colour("gradients odd")
    leaving = Chain(Line(program, "y"), range(height), colours)
    words = -(-size // (4 // dtype.size_bytes))
    broadcast = MovingBroadcast(Line(program, "x", BELOW_EDGE), "dy", words)
    x = small_integers((hidden, (height - 1) * tokens), dtype)
    dy = small_integers(x.shape, dtype, seed=1)
    w = small_integers((hidden, hidden), dtype, seed=2)
    edge = program.code("edge", y=0)
    _edge(edge, stream, leaving, edge.array("w", features * hidden, dtype, stream_order(w, width)))
    inside = partial(_below_edge, leaving)
    for code, role, place in codes_by_role(program, broadcast.role, inside):
        activations = code.array("x", size, dtype, placed(x, width, tokens))
        weights = Weights.of(code, stream, features, hidden, dtype)
        incoming = Incoming.of(
            code, broadcast, role, placed(dy, width, tokens), dtype, 2, INCOMING_THREAD
        )
        with code.main():
            _backward(code, weights, incoming, activations, leaving, place, tokens, width)
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
    dw = code.array("dw", w.length, w.dtype)
    with code.main():
        stream.send(code, w)
        code.move(dw, leaving.colours[1].stream(per_wavelet=1))


def _backward(
    code: Code,
    weights: Weights,
    incoming: Incoming,
    x: Array,
    leaving: Chain,
    place: Place,
    tokens: int,
    width: int,
) -> None:
    """All outputs; the gradients of one column's come in while those of the last are at work."""
    dx = code.array("dx", x.length, x.dtype)
    shares = code.array("dw", 2 * weights.features, x.dtype)
    dy_start, share_start = code.register("output start"), code.register("share start")
    weights.order()
    with code.loop(width + 1) as column:
        incoming.wait()
        with code.when(column < width):
            incoming.order(column)
        with code.when(column > 0), code.loop(weights.features) as feature:
            weights.take()
            code.set(dy_start, feature * tokens)
            code.set(dy_start, dy_start + incoming.start)
            dy = incoming.blocks.at(dy_start, tokens)
            _input_gradient(code, dx, weights, dy, tokens)
            code.set(share_start, weights.number % 2)
            code.set(share_start, share_start * weights.features)
            share = shares.at(share_start, weights.features)
            _weight_gradient(code, share, x, dy, tokens)
            _leave(code, leaving, place, share)


def _input_gradient(code: Code, dx: Array, weights: Weights, dy: MemoryVector, tokens: int) -> None:
    """Every feature's ``dx`` += its weight times ``dy``."""
    target = dx.at(0, tokens, row=tokens)
    factors = weights.buffer.at(weights.start, row=1)
    code.multiply_add(target, target, dy, factors, rows=weights.features)


def _weight_gradient(
    code: Code, share: MemoryVector, x: Array, dy: MemoryVector, tokens: int
) -> None:
    """Every feature's share: the sum over tokens of its ``x`` times ``dy``."""
    features = x.length // tokens
    code.move(share, 0.0)
    assert share.start_register is not None
    total = share.array.at(share.start_register, tokens, stride=0, row=1)
    code.multiply_add(total, total, x.at(0, tokens, row=tokens), dy, rows=features)


def _leave(code: Code, leaving: Chain, place: Place, share: MemoryVector) -> None:
    """Add ``share`` to what comes from below, and send it up, on a micro-thread."""
    mine = int(place in (Place.ODD, Place.ODD_TAIL))
    up, below = (leaving.colours[number].stream(per_wavelet=1) for number in (mine, 1 - mine))
    if place in (Place.ODD, Place.EVEN):
        code.add(up, below, share, thread=GRADIENT_THREAD)
    else:
        code.move(up, share, thread=GRADIENT_THREAD)
