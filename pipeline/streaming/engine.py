"""One training step through the parts of the model, wherever their parameters are held.

Forward: the embedding, then the layers in order, keeping each layer's input. Then the head, with
the loss and its gradients at once. Backward: the layers in reverse, each computed again, updated
and committed before the next; the embedding last. All micro-batches pass a part at one visit.

Where the gradient's global norm is clipped, no part can be updated before the last gradient is
there: the backward pass then commits gradients alone, and a third pass updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.activations import Activations
from pipeline.streaming.holders import Holder
from pipeline.streaming.journal import Journal
from pipeline.streaming.kept_graph import KeptGraph
from pipeline.streaming.layout import (
    EMBEDDING,
    HEAD,
    TIED,
    PartLayout,
    gradients_are_fp32,
    gradients_are_spooled,
    head_is_tied,
    part_names,
)
from pipeline.streaming.learning import Learner
from pipeline.streaming.parts import Parts, Tensors, embedding_gradients
from pipeline.streaming.step import NotFinite, Run, StepDisplay, StepResult, StopAsked
from pipeline.streaming.timeline import Timeline
from pipeline.streaming.validation import Validation


class StepEngine:
    """Takes steps through a :class:`~pipeline.streaming.holders.Holder`.

    ``kept_layers`` of the topmost layers are not computed again in the backward pass: their
    activations stay. The inputs of the ``spilled_layers`` lowest layers go to disk.
    ``notes`` is put in every journal.
    """

    def __init__(
        self,
        holder: Holder,
        layouts: dict[str, PartLayout],
        model: ModelConfig,
        train: TrainConfig,
        device: torch.device,
        timeline: Timeline,
        kept_layers: int = 0,
        spilled_layers: int = 0,
        display: StepDisplay | None = None,
    ) -> None:
        self.holder, self.model, self.train, self.timeline = holder, model, train, timeline
        self.display = display
        self.notes: dict[str, Any] = {}
        self._layouts, self._device = layouts, device
        self._spilled_layers = spilled_layers
        self._modules = Parts(model, train, device)
        self.validation = Validation(holder, self._modules, device)
        self._learner = Learner(holder, layouts, train, timeline)
        self.parts = part_names(model)
        self._kept_names = set(self.parts[1:-1][model.layers - kept_layers :])
        self._kept: dict[str, KeptGraph] = {}
        self._tied = head_is_tied(model)
        self._spooled = gradients_are_spooled(train)

    def step(
        self,
        step: int,
        tokens_bs: Tensor,
        learning_rate: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> StepResult:
        """Learn one global batch (global_batch, sequence_length + 1), from where it was left.

        Raises :class:`StopAsked` after a visit at which ``stop`` is true, and
        :class:`TrainingError` if a part's weights are the same after the first step.
        """
        self.timeline.begin_step()
        journal = self.holder.journal
        if journal.step != step:
            journal = Journal(step, "backward", None, {"loss": 0.0, "squares": 0.0})
        run = self._run(journal, tokens_bs, learning_rate)
        self._stop = stop
        try:
            if journal.phase == "backward" and journal.reached != EMBEDDING:
                self._forward_and_backward(run, journal.reached)
            if self._spooled:
                done = journal.reached if journal.phase == "update" else None
                self._update_all(run, done)
        except NotFinite:
            return self._result(run, applied=False)
        finally:
            self._kept.clear()
        self._learner.refuse_unchanged(run)
        return self._result(run, applied=True)

    def _run(self, journal: Journal, tokens_bs: Tensor, learning_rate: float) -> Run:
        micro_batches = tokens_bs.to(self._device).split(self.train.micro_batch)
        kept = ("loss", "squares", "unchanged")
        values = {key: journal.values[key] for key in kept if key in journal.values}
        return Run(
            journal.step,
            learning_rate,
            [tokens[:, :-1] for tokens in micro_batches],
            [tokens[:, 1:] for tokens in micro_batches],
            journal.values.get("seconds", 0.0),
            values | self.notes,
            self.timeline,
        )

    def _result(self, run: Run, applied: bool) -> StepResult:
        norm = math.sqrt(run.values["squares"])
        return StepResult(run.values["loss"], norm, applied, run.seconds)

    # Passes

    def _forward_and_backward(self, run: Run, reached: str | None) -> None:
        order = list(reversed(self.parts))
        left = order if reached is None else order[order.index(reached) + 1 :]
        gradients = self._boundary(run) if reached is not None else []
        activations = Activations(self.holder, self._spilled_layers)
        if left[0] != EMBEDDING:
            self._forward(run, left[0], activations)
        for part, after in zip_longest(left, left[1:]):
            self._visit(run, "backward", part)
            if part == HEAD:
                gradients = self._head(run, activations, after)
            elif part == EMBEDDING:
                self._embedding(run, gradients)
            else:
                gradients = self._layer(run, part, activations, gradients, after)
            self._stop_if_asked()

    def _boundary(self, run: Run) -> list[Tensor]:
        """What the step left when it was broken off: gradients at the boundary of two parts."""
        if self._tied:
            run.carried = self.holder.tensors("carried")[TIED].to(self._device)
        stored = self.holder.tensors("boundary")
        return [stored[str(number)].to(self._device) for number in range(len(stored))]

    def _forward(self, run: Run, until: str, activations: Activations) -> None:
        """Compute the inputs of every layer below the part ``until``, and its own."""
        names = self.parts[: self.parts.index(until)]
        inputs: list[Tensor] = []
        for part, after in zip(names, [*names[1:], until], strict=True):
            self._visit(run, "forward", part)
            weights = self._fetch(part, "weights", read_only=True)
            self.holder.prefetch(after, "weights")
            with self.timeline.span("compute", f"forward {part}", self._flops(part, run, 1)):
                if part == EMBEDDING:
                    inputs = self._modules.embed(weights, run.tokens)
                elif part in self._kept_names:
                    inputs, self._kept[part] = self._modules.forward_kept(part, weights, inputs)
                else:
                    activations.put(part, inputs)
                    inputs = self._modules.forward(part, weights, inputs)
            weights = {}  # a view would keep a buffer that the holder wants to give back
            self.holder.release(part, "weights")
            self._stop_if_asked()
        activations.put(until, inputs)

    def _head(self, run: Run, activations: Activations, after: str | None) -> list[Tensor]:
        weights = self._fetch(HEAD, *self._planes_of_update())
        tied_vd = self._fetch(EMBEDDING, "weights", read_only=True)[TIED] if self._tied else None
        self._prefetch_backward(after, activations)
        with self.timeline.span("compute", f"backward {HEAD}", self._flops(HEAD, run, 3)):
            loss, gradients, named = self._modules.head_backward(
                weights, tied_vd, activations.take(HEAD), run.targets
            )
        run.values["loss"] = loss.item()
        if not math.isfinite(run.values["loss"]):
            raise NotFinite
        if self._tied:
            self.holder.release(EMBEDDING, "weights")
            run.carried = named.pop(TIED)
        kept = None if run.carried is None else {TIED: run.carried}
        self._learner.learn(run, HEAD, weights, named, gradients, {"carried": kept})
        return gradients

    def _layer(
        self,
        run: Run,
        part: str,
        activations: Activations,
        gradients: list[Tensor],
        after: str | None,
    ) -> list[Tensor]:
        kept = self._kept.pop(part, None)
        weights = self._fetch(part, *self._planes_of_update())
        self._prefetch_backward(after, activations)
        passes = 2 if kept else 3
        with self.timeline.span("compute", f"backward {part}", self._flops(part, run, passes)):
            if kept is not None:
                gradients, named = self._modules.backward_kept(part, weights, kept, gradients)
            else:
                inputs = activations.take(part)
                gradients, named = self._modules.backward(part, weights, inputs, gradients)
        self._learner.learn(run, part, weights, named, gradients, {})
        return gradients

    def _embedding(self, run: Run, gradients: list[Tensor]) -> None:
        weights = self._fetch(EMBEDDING, *self._planes_of_update())
        with self.timeline.span("compute", f"backward {EMBEDDING}"):
            fp32 = gradients_are_fp32(self.train)
            named = embedding_gradients(weights, run.tokens, gradients, fp32, run.carried)
            run.carried = None
        self._learner.learn(run, EMBEDDING, weights, named, [], {"carried": None})

    def _update_all(self, run: Run, done: str | None) -> None:
        """With every gradient spooled, clip by their global norm and update part by part."""
        norm = math.sqrt(run.values["squares"])
        limit = self.train.gradient_clip or math.inf
        scale = min(1.0, limit / (norm + 1e-6))
        order = list(reversed(self.parts))
        left = order if done is None else order[order.index(done) + 1 :]
        for part, after in zip_longest(left, left[1:]):
            self._visit(run, "update", part)
            tensors = self._fetch(part, "weights", "state")
            named = self._fetch(part, "gradient", read_only=True)
            if after is not None:
                self.holder.prefetch(after, "weights", "state", "gradient")
            self._learner.update(run, part, tensors, named, scale)
            self.holder.release(part, "gradient")
            self.holder.commit(part, ("weights", "state"), run.journal("update", part))
            self._stop_if_asked()

    # Small things

    def _planes_of_update(self) -> tuple[Any, ...]:
        """What the backward pass reads of a part: its state only where it updates at once."""
        return ("weights",) if self._spooled else ("weights", "state")

    def _prefetch_backward(self, part: str | None, activations: Activations) -> None:
        if part is not None:
            self.holder.prefetch(part, *self._planes_of_update())
            activations.prefetch(part)

    def _fetch(self, part: str, *planes: Any, read_only: bool = False) -> Tensors:
        with self.timeline.span("wait", part):
            return self.holder.fetch(part, *planes, read_only=read_only)

    def _flops(self, part: str, run: Run, passes: int) -> float:
        """Floating-point operations of a visit's matrix products: 2 per weight and token."""
        if part == EMBEDDING:
            return 0.0
        tokens = sum(tokens_bt.numel() for tokens_bt in run.tokens)
        tied = self.model.vocabulary * self.model.hidden if part == HEAD and self._tied else 0
        return 2.0 * (self._layouts[part].parameters + tied) * tokens * passes

    def _visit(self, run: Run, phase: str, part: str) -> None:
        if self.display is not None:
            visits = len(self.parts) * (3 if self._spooled else 2) - 1
            self.display.visit(run.step, phase, part, run.visits_done, visits, self.timeline)
        run.visits_done += 1

    def _stop_if_asked(self) -> None:
        if self._stop():
            self.holder.wait()
            raise StopAsked
