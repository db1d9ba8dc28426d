"""A layer's product as weight streaming does it: activations stay, weights pass through.

``y = x W``: the PE in column c holds ``features`` input features (part c of x) of ``tokens``
tokens, and as many output features. The top row stands for the wafer's edge, where the weights
enter. A PE adds an AXPY over its tokens for each weight. The partial sums of an output run along
the row from both ends, two tokens in a wavelet, every PE adding its own, to the column that keeps
this output; micro-thread 1 passes them on while the AXPYs of the next output run.

Cycles of an output in the steady state: ``features`` times the larger of the least row and
tokens / rate; a cycle for each weight; a cycle for each wavelet of partial sums that the root of
the output takes from its two sides, ``tokens`` in all; and some 60 of the instructions (WSE-3). A
PE that only passes sums on has half as many wavelets, but waits for the root.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Line, Role, codes_by_role
from wse.fabric.library.moving_reduce import MovingReduce
from wse.fabric.library.weight_stream import Weights, WeightStream
from wse.fabric.operands import Array, MemoryVector
from wse.fabric.program import Program
from wse.fabric.tables import F16, DType

FEATURES = 4
"""Of a PE, by default."""
BELOW_EDGE = slice(1, None)


def streaming_layer(
    width: int, height: int, tokens: int, dtype: DType = F16, features: int = FEATURES
) -> Experiment:
    """``width`` x ``height - 1`` PEs with ``features`` of ``tokens`` each: array ``y``."""
    program = Program(width, height)
    stream, sums = WeightStream(Line(program, "y")), MovingReduce(Line(program, "x", BELOW_EDGE))
    hidden = width * features
    x = small_integers((hidden, (height - 1) * tokens), dtype)
    w = small_integers((hidden, hidden), dtype, seed=1)
    edge = program.code("edge", y=0)
    with edge.main():
        stream.send(edge, edge.array("w", features * hidden, dtype, stream_order(w, width)))
    for code, role, _ in codes_by_role(program, sums.role, below_edge):
        activations = code.array("x", features * tokens, dtype, placed(x, width, tokens))
        weights = Weights.of(code, stream, features, hidden, dtype)
        with code.main():
            _forward(code, role, sums, weights, activations, tokens, width)
    y = w.T.astype(float) @ x.astype(float)
    return Experiment(program, (Answer("y", placed(y, width, tokens)[1:], y=BELOW_EDGE),))


def _forward(
    code: Code,
    role: Role,
    sums: MovingReduce,
    weights: Weights,
    activations: Array,
    tokens: int,
    width: int,
) -> None:
    """All outputs, column by column."""
    y = code.array("y", activations.length, activations.dtype)
    partial = code.array("partial sums", 2 * tokens, activations.dtype)
    position = code.register("position", values=np.arange(width))
    start, target = code.register("partial start"), code.register("target")
    weights.order()
    with code.loop(width) as column, code.loop(weights.features) as feature:
        weights.take()
        code.set(start, weights.number % 2)
        code.set(start, start * tokens)
        own = partial.at(start, tokens)
        _weigh(code, own, activations, weights, tokens)
        sums.pass_on(code, role, column, position, own)
        with code.when(position.equals(column)):
            code.set(target, feature * tokens)
            sums.collect(code, role, own, y.at(target, tokens))


def _weigh(
    code: Code, own: MemoryVector, activations: Array, weights: Weights, tokens: int
) -> None:
    """``own`` = the sum of the features' tokens, each feature times its weight."""
    first = weights.buffer.at(weights.start)
    code.multiply(own, activations[:tokens], first)
    if weights.features > 1:
        others = activations.at(tokens, tokens, row=tokens)
        factors = weights.buffer.at(weights.start + 1, row=1)
        code.multiply_add(own, own, others, factors, rows=weights.features - 1)


def below_edge(y: int) -> str | None:
    """The role of a row: none at the edge."""
    return "inside" if y else None


def stream_order(w: NDArray, width: int) -> NDArray:
    """Weights [in, out] as each column of PEs receives them: output after output, [width, N]."""
    inputs, outputs = w.shape
    return w.reshape(width, inputs // width, outputs).transpose(0, 2, 1).reshape(width, -1)


def placed(matrix: NDArray, width: int, tokens: int) -> NDArray:
    """[features, tokens] of the whole mesh as [height, width, elements of a PE], zeros at the edge.

    A PE's elements are its first feature's tokens, its second one's, and so on.
    """
    features = matrix.shape[0] // width
    blocks = matrix.reshape(width, features, -1, tokens).transpose(2, 0, 1, 3)
    pes = blocks.reshape(-1, width, features * tokens)
    return np.concatenate([np.zeros_like(pes[:1]), pes])
