"""Where on the wafer a plan's step lies: rectangles of PEs, and the SRAM of each by use.

PEs are counted from the upper left corner of the fabric. That the usable rectangle lies in its
middle, that slices are dealt out from the upper left, and that weights come in at the upper edge
(the left one where features lie along the height) are assumptions, which no time depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wse.memory import SramUse, sram_use
from wse.step import Setup, Step


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of PEs: its upper left corner and its size, and what its PEs do.

    ``sram_bytes_per_pe`` says by use what each holds at the fullest moment of the step; empty
    for a rectangle that others lie in.
    """

    name: str
    column: int
    row: int
    width: int
    height: int
    sram_bytes_per_pe: Mapping[str, int]

    @property
    def pes(self) -> int:
        """PEs of the rectangle."""
        return self.width * self.height

    @property
    def bytes_used(self) -> int:
        """Bytes of SRAM in use on each PE."""
        return sum(size for use, size in self.sram_bytes_per_pe.items() if use != "free")


@dataclass(frozen=True)
class Axis:
    """What is dealt out along one axis of the wafer: ``things``, ``per_pe`` on each PE.

    ``busy_pes`` hold something, the rest of ``pes`` is padding: the slots that do not divide.
    """

    what: str
    things: int
    per_pe: int
    busy_pes: int
    pes: int

    @property
    def idle_pes(self) -> int:
        """PEs along the axis that hold nothing."""
        return self.pes - self.busy_pes


@dataclass(frozen=True)
class Floorplan:
    """A step on a wafer, simulated; ``across`` runs along its width, ``down`` along its height.

    Weights stream along the axis of the tokens, partial sums run along that of the features.
    """

    model: str
    wafer: str
    sram_bytes_per_pe: int
    fullest_moment: str
    fabric: Rectangle
    usable: Rectangle
    layout: Rectangle
    padding: tuple[Rectangle, ...]
    across: Axis
    down: Axis

    @property
    def weights_stream_down(self) -> bool:
        """Whether weights come in at the upper edge; else they come in at the left one."""
        return self.down.what == "tokens"

    @property
    def busy_share(self) -> float:
        """Share of the fabric's PEs that hold features of tokens."""
        return self.layout.pes / self.fabric.pes


def floorplan(setup: Setup, planned: Step) -> Floorplan:
    """The floorplan of a planned step."""
    wafer, way = setup.wafer, planned.way
    layout = way.layout
    features = _axis("features", setup.graph.hidden, layout.hidden_pes)
    tokens = _axis("tokens", way.micro_batch * setup.graph.sequence_length, layout.token_pes)
    across, down = (features, tokens) if layout.hidden_axis == "width" else (tokens, features)
    use = sram_use(wafer, setup.graph, layout, way.policy, way.micro_batch)
    column = (wafer.fabric_width - wafer.usable_width) // 2
    row = (wafer.fabric_height - wafer.usable_height) // 2
    busy, idle = (
        _sram_bytes(use, wafer.sram_bytes_per_pe),
        _idle_bytes(use, wafer.sram_bytes_per_pe),
    )
    beside = Rectangle("padding", column + across.busy_pes, row, across.idle_pes, down.pes, idle)
    below = Rectangle("padding", column, row + down.busy_pes, across.busy_pes, down.idle_pes, idle)
    return Floorplan(
        model=setup.graph.name,
        wafer=wafer.name,
        sram_bytes_per_pe=wafer.sram_bytes_per_pe,
        fullest_moment=use.moment,
        fabric=Rectangle("fabric", 0, 0, wafer.fabric_width, wafer.fabric_height, {}),
        usable=Rectangle("usable", column, row, wafer.usable_width, wafer.usable_height, {}),
        layout=Rectangle("layout", column, row, across.busy_pes, down.busy_pes, busy),
        padding=tuple(one for one in (beside, below) if one.pes),
        across=across,
        down=down,
    )


def _axis(what: str, things: int, pes: int) -> Axis:
    per_pe = -(-things // pes)
    return Axis(what, things, per_pe, -(-things // per_pe), pes)


def _sram_bytes(use: SramUse, capacity: int) -> dict[str, int]:
    return {
        "code": use.code,
        "weight_buffers": use.weight_buffers,
        "kept_activations": use.kept_activations,
        "working_set": use.working_set,
        "free": capacity - use.total,
    }


def _idle_bytes(use: SramUse, capacity: int) -> dict[str, int]:
    """What a PE without features or tokens holds: its share of code and weights, as all do."""
    idle = {"code": use.code, "weight_buffers": use.weight_buffers}
    return idle | {"free": capacity - sum(idle.values())}
