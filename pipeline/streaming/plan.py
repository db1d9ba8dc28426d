"""What a run will take of memory and disk, decided before it starts.

Streaming: the parameters' store gets what the budget leaves after everything that a step needs
besides. Where that is too little to read one layer and write another while a third computes, the
inputs of the lowest layers go to the disk; where there is room, the topmost layers keep their
activations from the forward to the backward pass and are not computed again. Activations come
before weights: a gigabyte of them saves more seconds of computing than one of weights saves of
reading, which goes on beside the computing anyway.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.choices import ClipBy
from pipeline.models.shape import parameter_count
from pipeline.progress import byte_count
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.layout import part_layouts
from pipeline.streaming.refusal import gibibytes, refusal
from pipeline.streaming.sizes import (
    StoreMemory,
    exported_bytes,
    spilled_bytes,
    streaming_disk_bytes,
)
from pipeline.streaming.working_memory import BASE_BYTES, Terms, WorkingMemory

SLACK_SHARE = 0.03
"""Of the budget, left unused where there is more than the least."""


@dataclass(frozen=True)
class ResidentPlan:
    """A run whose parameters stay in memory; sizes in bytes, ``memory_bytes`` a predicted peak."""

    model: str
    parameters: int
    optimizer: str
    clipping: str
    bytes_per_parameter: float
    memory_budget_bytes: int
    memory_bytes: int
    kept_layers: int
    exported_bytes: int
    terms: Terms

    def lines(self) -> list[str]:
        """What a user should know before the run starts."""
        again = self.kept_layers == 0
        kept = "is computed again" if again else f"of {self.kept_layers} layers is kept"
        return [
            f"parameters in memory: {_memory_words(self)}",
            f"{_optimizer_words(self)}; the forward pass {kept} for the backward pass",
        ]


@dataclass(frozen=True)
class StreamingPlan:
    """A run whose parameters are in a store on the disk; sizes in bytes.

    ``memory_bytes`` is the predicted peak of resident memory, of which the store's buffers take
    ``store_memory_bytes``; ``terms`` names all of it. The topmost ``kept_layers`` keep their
    activations from the forward to the backward pass; the inputs of the lowest
    ``spilled_layers`` go to disk. ``disk_bytes`` is the store with all beside it, during the run,
    ``exported_bytes`` the model written at its end.
    """

    model: str
    parameters: int
    optimizer: str
    clipping: str
    bytes_per_parameter: float
    memory_budget_bytes: int
    memory_bytes: int
    store_memory_bytes: int
    kept_layers: int
    spilled_layers: int
    spilled_bytes: int
    disk_bytes: int
    exported_bytes: int
    terms: Terms

    def lines(self) -> list[str]:
        """What a user should know before the run starts."""
        size = byte_count(self.exported_bytes)
        model = f", then {size} for the model" if self.exported_bytes else ""
        return [
            f"streaming: {_memory_words(self)}, {gibibytes(self.store_memory_bytes)} of it for "
            f"parameters; {byte_count(self.disk_bytes)} of disk{model}",
            f"{_optimizer_words(self)}; {self._activation_words()}",
        ]

    def _activation_words(self) -> str:
        if self.spilled_layers:
            return (
                f"inputs of the lowest {self.spilled_layers} layers go to disk, "
                f"{byte_count(self.spilled_bytes)} a step"
            )
        if self.kept_layers:
            return f"the topmost {self.kept_layers} layers are not computed again"
        return "each layer is computed again in the backward pass"


def _memory_words(plan: ResidentPlan | StreamingPlan) -> str:
    return (
        f"at most {gibibytes(plan.memory_bytes)} of memory (predicted; the budget is "
        f"{gibibytes(plan.memory_budget_bytes)})"
    )


def _optimizer_words(plan: ResidentPlan | StreamingPlan) -> str:
    return (
        f"{plan.optimizer} takes {plan.bytes_per_parameter:.2f} bytes a parameter, clips "
        f"{plan.clipping}"
    )


def plan_streaming(model: ModelConfig, train: TrainConfig, budget_bytes: int) -> StreamingPlan:
    """The plan within ``budget_bytes`` of resident memory.

    Raises :class:`~pipeline.errors.BudgetError` if there is none, saying what would fit.
    """
    memory = _spilling_no_more_than_needed(model, train, budget_bytes)
    if _streaming_need(memory, least=True) > budget_bytes:
        needed = minimum_streaming_bytes(model, train)
        raise refusal("streaming", model, train, budget_bytes, needed, minimum_streaming_bytes)
    if memory.spilled_layers == 0:
        memory = _keeping(memory, lambda kept: _streaming_need(kept, least=False) <= budget_bytes)
    terms = memory.largest()
    store = StoreMemory(memory.layouts, memory)
    # What the allocator keeps between two uses is in no term.
    slack = int(SLACK_SHARE * budget_bytes)
    room = max(store.least_bytes, budget_bytes - BASE_BYTES - sum(terms.values()) - slack)
    store_bytes = min(room, store.most_bytes)
    terms = {"program": BASE_BYTES, "parameters in memory": store_bytes, **terms}
    return StreamingPlan(
        model=model.name,
        parameters=parameter_count(model),
        optimizer=train.optimizer.value,
        clipping=clipping_words(train),
        bytes_per_parameter=_planes_bytes(memory) / parameter_count(model),
        memory_budget_bytes=budget_bytes,
        memory_bytes=sum(terms.values()),
        store_memory_bytes=store_bytes,
        kept_layers=memory.kept_layers,
        spilled_layers=memory.spilled_layers,
        spilled_bytes=sum(spilled_bytes(memory).values()),
        disk_bytes=streaming_disk_bytes(memory.layouts, memory),
        exported_bytes=exported_bytes(model, train),
        terms=terms,
    )


def plan_resident(model: ModelConfig, train: TrainConfig, budget_bytes: int) -> ResidentPlan:
    """The plan with all parameters in memory.

    Raises :class:`~pipeline.errors.BudgetError` if there is none, saying what would fit.
    """
    memory = WorkingMemory(model, train, part_layouts(model, train))
    if _resident_need(memory) > budget_bytes:
        needed = minimum_resident_bytes(model, train)
        raise refusal("resident", model, train, budget_bytes, needed, minimum_resident_bytes)
    memory = _keeping(memory, lambda kept: _resident_need(kept) <= budget_bytes)
    terms = {
        "program": BASE_BYTES,
        "parameters in memory": _planes_bytes(memory),
        **memory.largest(),
    }
    return ResidentPlan(
        model=model.name,
        parameters=parameter_count(model),
        optimizer=train.optimizer.value,
        clipping=clipping_words(train),
        bytes_per_parameter=_planes_bytes(memory) / parameter_count(model),
        memory_budget_bytes=budget_bytes,
        memory_bytes=sum(terms.values()),
        kept_layers=memory.kept_layers,
        exported_bytes=exported_bytes(model, train),
        terms=terms,
    )


def minimum_streaming_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """The smallest budget that a streamed run fits in."""
    layouts = part_layouts(model, train)
    memory = WorkingMemory(model, train, layouts, spilled_layers=model.layers)
    return _streaming_need(memory, least=True)


def minimum_resident_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """The smallest budget that a resident run fits in."""
    return _resident_need(WorkingMemory(model, train, part_layouts(model, train)))


def clipping_words(train: TrainConfig) -> str:
    """What ``train.clip_by`` and ``train.gradient_clip`` come to, and what it costs."""
    if train.gradient_clip is None:
        return "nothing"
    if train.clip_by is ClipBy.update:
        return f"each tensor's update at {train.gradient_clip:g}"
    return f"the gradient's global norm at {train.gradient_clip:g}, with all gradients kept first"


def _streaming_need(memory: WorkingMemory, least: bool) -> int:
    store = StoreMemory(memory.layouts, memory)
    buffers = store.least_bytes if least else store.overlapping_bytes
    return BASE_BYTES + sum(memory.largest().values()) + buffers


def _resident_need(memory: WorkingMemory) -> int:
    return BASE_BYTES + sum(memory.largest().values()) + _planes_bytes(memory)


def _planes_bytes(memory: WorkingMemory) -> int:
    return sum(
        layout.nbytes(plane) for layout in memory.layouts.values() for plane in layout.planes
    )


def _spilling_no_more_than_needed(
    model: ModelConfig, train: TrainConfig, budget_bytes: int
) -> WorkingMemory:
    """Spill as few layers as let transfers overlap; if none do, as few as let the run go at all."""
    whole = WorkingMemory(model, train, part_layouts(model, train))
    all_spilled = replace(whole, spilled_layers=model.layers)
    # Even with all of them spilled, transfers may find no memory to overlap in.
    least = _streaming_need(all_spilled, least=False) > budget_bytes

    def fits(spilled: int) -> bool:
        memory = replace(whole, spilled_layers=spilled)
        return _streaming_need(memory, least) <= budget_bytes

    return replace(whole, spilled_layers=bisect_left(range(model.layers), True, key=fits))


def _keeping(memory: WorkingMemory, fits: Callable[[WorkingMemory], bool]) -> WorkingMemory:
    """Keep the activations of as many layers as fit."""
    layers = range(1, memory.model.layers + 1)
    too_many = bisect_left(layers, True, key=lambda n: not fits(replace(memory, kept_layers=n)))
    return replace(memory, kept_layers=too_many)
