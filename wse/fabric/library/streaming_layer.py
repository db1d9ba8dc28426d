"""A layer's product as weight streaming does it: activations stay, weights pass through.

``y = x W``: the PE in column c holds ``features`` input features (part c of x) of ``tokens``
tokens, and as many output features. The top row stands for the wafer's edge, where the weights
enter. A PE adds an AXPY over its tokens for each weight, a vector operation of its own, into sums
of fp32. The partial sums of a column's outputs run around a ring of the row's PEs, two tokens in a
wavelet, every PE adding its own, to the one that keeps them; micro-thread 1 passes them on while
the next column's AXPYs run. A PE with one feature has nothing to sum up itself: it multiplies and
adds as the sums pass.

Cycles of a column's outputs on a PE: for each weight the issue of its operation, tokens / rate,
and the cycle that takes it in; a cycle for each wavelet of partial sums; and a constant of the
instructions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Line, codes_by_role
from wse.fabric.library.moving_reduce import MovingReduce
from wse.fabric.library.weight_stream import Weights, WeightStream
from wse.fabric.operands import Array, Expression, Register
from wse.fabric.program import Program
from wse.fabric.tables import F16, F32, Arithmetic, DType

FEATURES = 4
"""Of a PE, by default."""
OUTPUTS_TOGETHER = 12
"""Whose weights are taken at once, at least: the rate of a multiply-add of fp32 sums on WSE-2
times its least row."""
BELOW_EDGE = slice(1, None)


def streaming_layer(
    width: int, height: int, tokens: int, dtype: DType = F16, features: int = FEATURES
) -> Experiment:
    """``width`` x ``height - 1`` PEs with ``features`` of ``tokens`` each: array ``y``."""
    program = Program(width, height)
    stream = WeightStream(Line(program, "y"))
    sums = MovingReduce(Line(program, "x", BELOW_EDGE), dtype)
    hidden, columns = width * features, columns_together(width, features)
    x = small_integers((hidden, (height - 1) * tokens), dtype)
    w = small_integers((hidden, hidden), dtype, seed=1)
    edge = program.code("edge", y=0)
    with edge.main():
        ordered = stream_order(w, width, sums.turns)
        stream.send(edge, edge.array("w", features * hidden, dtype, ordered))
    for code, role, _ in codes_by_role(program, sums.role, below_edge):
        activations = code.array("x", features * tokens, dtype, placed(x, width, tokens))
        weights = Weights.of(code, stream, columns * features**2, width // columns, dtype)
        layer = _Layer(code, role, sums, weights, activations, tokens, features)
        with code.main():
            layer.run(width, columns)
    y = w.T.astype(float) @ x.astype(float)
    return Experiment(program, (Answer("y", placed(y, width, tokens)[1:], y=BELOW_EDGE),))


class _Layer:
    """What a PE below the edge does."""

    def __init__(
        self,
        code: Code,
        role: tuple[int, int],
        sums: MovingReduce,
        weights: Weights,
        x: Array,
        tokens: int,
        features: int,
    ) -> None:
        self.code, self.role, self.sums, self.weights = code, role, sums, weights
        self.x, self.tokens, self.features = x, tokens, features
        self.y = code.array("y", x.length, x.dtype)
        self.turn, self.weight = sums.turn(code), code.register("weight")

    def run(self, width: int, columns: int) -> None:
        """All columns' outputs; the weights of ``columns`` of them are taken at once."""
        code, size = self.code, self.x.length
        partial = code.array("partial sums", 2 * size, F32) if self.features > 1 else None
        self.weights.order()
        with code.loop(width // columns):
            self.weights.take()
            code.set(self.weight, self.weights.start)
            with code.loop(columns):
                if partial is None:
                    factors = self.x.whole(), self.weights.buffer.at(self.weight)
                    self.sums.add_product(code, self.role, self.turn, factors, self.y)
                else:
                    self._sum_and_add(partial)
                code.set(self.weight, self.weight + self.features**2)
                self.sums.next(code, self.turn)
        if partial is not None:
            self.sums.wait(code, self.role, self.y)

    def _sum_and_add(self, partial: Array) -> None:
        """Sum up the own features in one half of ``partial``; the other may still be needed."""
        code, size = self.code, self.x.length
        start = code.register("partial start")
        self._weigh(partial, start)
        self.sums.add(code, self.role, self.turn, partial.at(start, size), self.y)
        code.set(start, Expression(Arithmetic.SUBTRACT, size, start))

    def _weigh(self, partial: Array, start: Register) -> None:
        """The outputs' sums: every feature's tokens times its weight, the first one's set."""
        tokens, features, factors = self.tokens, self.features, self.weights.buffer
        sums = partial.at(start, tokens, row=tokens)
        first = factors.at(self.weight, row=features)
        self.code.multiply_add(sums, 0.0, self.x[:tokens], first, rows=features, mapped=True)
        others = self.x.at(tokens, tokens, plane=tokens)
        weights = factors.at(self.weight + 1, row=features, plane=1)
        each = features - 1, features
        self.code.multiply_add(sums, sums, others, weights, rows=each, mapped=True)


def columns_together(width: int, features: int) -> int:
    """The fewest columns, an equal share of all, with outputs enough to work on together."""
    found = (n for n in range(1, width) if width % n == 0 and n * features >= OUTPUTS_TOGETHER)
    return next(found, width)


def below_edge(y: int) -> str | None:
    """The role of a row: none at the edge."""
    return "inside" if y else None


def stream_order(w: NDArray, width: int, columns: Sequence[int] | None = None) -> NDArray:
    """Weights [in, out] as each column of PEs receives them: output after output, [width, N].

    ``columns`` is the order of the columns that keep the outputs; by default from the west.
    """
    order = list(range(width) if columns is None else columns)
    blocks = w.reshape(width, w.shape[0] // width, width, -1)[:, :, order]
    return blocks.transpose(0, 2, 3, 1).reshape(width, -1)


def placed(matrix: NDArray, width: int, tokens: int) -> NDArray:
    """[features, tokens] of the whole mesh as [height, width, elements of a PE], zeros at the edge.

    A PE's elements are its first feature's tokens, its second one's, and so on.
    """
    features = matrix.shape[0] // width
    blocks = matrix.reshape(width, features, -1, tokens).transpose(2, 0, 1, 3)
    pes = blocks.reshape(-1, width, features * tokens)
    return np.concatenate([np.zeros_like(pes[:1]), pes])
