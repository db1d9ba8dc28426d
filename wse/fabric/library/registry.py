"""The programs by name, as ``python -m wse.fabric PROGRAM`` knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wse.fabric.errors import CapacityError
from wse.fabric.library import (
    all_reduce,
    broadcast,
    gemv,
    mesh_gemm,
    reduce,
    relay,
    scatter_gather,
    stencil,
    streaming_backward,
    streaming_layer,
    summa,
)
from wse.fabric.library.experiment import Experiment
from wse.fabric.tables import F16, F32, DType


@dataclass(frozen=True)
class Entry:
    """A program: what it does, and how to build it.

    ``size`` is its default size, in the words of ``size_means``.
    """

    summary: str
    build: Callable[[int, int, int, DType], Experiment]
    size_means: str
    size: int
    dtype: DType

    def make(
        self, width: int, height: int, dtype: DType | None = None, size: int | None = None
    ) -> Experiment:
        """The program for a mesh; a ProgramError if the mesh or the size cannot be."""
        size = self.size if size is None else size
        elements = size**2 if self.size_means == TILE else size
        if not 0 < elements <= MAXIMUM_ELEMENTS:
            raise CapacityError(f"{size} {self.size_means}: more than the SRAM of a PE, or nothing")
        return self.build(width, height, size, self.dtype if dtype is None else dtype)


MAXIMUM_ELEMENTS = 49152
"""No PE has more bytes; checked before the inputs of a whole mesh are made."""
ELEMENTS = "elements a PE"
TILE = "rows and columns of a tile"
TOKENS = "tokens a PE"

PROGRAMS = {
    "broadcast": Entry("one array to every PE", broadcast.broadcast, ELEMENTS, 64, F32),
    "chain_reduce": Entry("sum into one PE, along chains", reduce.chain_reduce, ELEMENTS, 64, F32),
    "two_phase_reduce": Entry(
        "sum into one PE, in groups", reduce.two_phase_reduce, ELEMENTS, 64, F32
    ),
    "tree_reduce": Entry(
        "sum into one PE, along binary trees", reduce.tree_reduce, ELEMENTS, 64, F32
    ),
    "chain_all_reduce": Entry(
        "sum of each row in all its PEs, along chains",
        all_reduce.chain_all_reduce,
        ELEMENTS,
        64,
        F32,
    ),
    "two_tree_all_reduce": Entry(
        "sum of each row in all its PEs, by two trees",
        all_reduce.two_tree_all_reduce,
        ELEMENTS,
        64,
        F32,
    ),
    "relay": Entry("a message from PE to PE, stored and sent on", relay.relay, ELEMENTS, 64, F32),
    "scatter": Entry("each PE of a row its part", scatter_gather.scatter, ELEMENTS, 16, F32),
    "gather": Entry("each row's parts in its first PE", scatter_gather.gather, ELEMENTS, 16, F32),
    "chain_gemv": Entry("matrix times vector, summed along chains", gemv.chain_gemv, TILE, 12, F16),
    "two_tree_gemv": Entry(
        "matrix times vector, summed by two trees", gemv.two_tree_gemv, TILE, 12, F16
    ),
    "mesh_gemm": Entry(
        "matrix times matrix, tiles shifted on rings", mesh_gemm.mesh_gemm, TILE, 12, F16
    ),
    "pipelined_summa": Entry(
        "matrix times matrix, tiles broadcast while computing",
        summa.pipelined_summa,
        TILE,
        12,
        F16,
    ),
    "collectives_summa": Entry(
        "matrix times matrix, broadcast, then compute", summa.collectives_summa, TILE, 12, F32
    ),
    "stencil": Entry("7-point stencil, z in memory", stencil.stencil, "points along z", 32, F32),
    "streaming_layer": Entry(
        "weights stream past activations, forward",
        streaming_layer.streaming_layer,
        TOKENS,
        32,
        F16,
    ),
    "streaming_backward": Entry(
        "weights stream past activations, gradients leave",
        streaming_backward.streaming_backward,
        TOKENS,
        32,
        F16,
    ),
}
"""The programs by name."""
