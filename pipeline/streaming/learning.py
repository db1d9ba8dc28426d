"""A part learns: from its gradients at once, or from spooled ones when their norm is known."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import xxhash
from torch import Tensor

from pipeline.choices import ClipBy
from pipeline.errors import TrainingError
from pipeline.optimizers.settings import UpdateSettings
from pipeline.optimizers.update import sum_of_squares, update
from pipeline.schema import TrainConfig
from pipeline.streaming.holders import Holder
from pipeline.streaming.layout import PartLayout, gradients_are_spooled
from pipeline.streaming.parts import Tensors
from pipeline.streaming.step import NotFinite, Run
from pipeline.streaming.timeline import Timeline


class Learner:
    """Updates parts and commits them to a :class:`~pipeline.streaming.holders.Holder`."""

    def __init__(
        self,
        holder: Holder,
        layouts: dict[str, PartLayout],
        train: TrainConfig,
        timeline: Timeline,
    ) -> None:
        self.holder, self.train, self.timeline = holder, train, timeline
        self._layouts, self._spooled = layouts, gradients_are_spooled(train)

    def learn(
        self,
        run: Run,
        part: str,
        weights: Tensors,
        named: Tensors,
        gradients: list[Tensor],
        kept: dict[str, Tensors | None],
    ) -> None:
        """Update the part, or spool its gradients; commit with what a resumed step needs."""
        squares = sum(sum_of_squares(gradient) for gradient in named.values())
        if not math.isfinite(squares):
            raise NotFinite
        run.values["squares"] += squares
        sets = kept | {"boundary": {str(i): gradient for i, gradient in enumerate(gradients)}}
        if not gradients:
            sets["boundary"] = None
        if self._spooled:
            self.holder.release(part, "weights")
            spool = self.holder.blank(part, "gradient")
            for name, gradient in named.items():
                spool[name].copy_(gradient)
            self.holder.commit(part, ("gradient",), run.journal("backward", part), sets)
            return
        self.update(run, part, weights, named, gradient_scale=1.0)
        self.holder.commit(part, ("weights", "state"), run.journal("backward", part), sets)

    def update(
        self, run: Run, part: str, tensors: Tensors, named: Tensors, gradient_scale: float
    ) -> None:
        """Update the held tensors of a part by its gradients ``named``, scaled."""
        settings = self._settings(run, gradient_scale)
        before = _digest(tensors, named) if run.step == 1 else None
        with self.timeline.span("update", part, self._layouts[part].parameters):
            for name, gradient in named.items():
                prefix = f"{name}/"
                state = {
                    key.removeprefix(prefix): tensor
                    for key, tensor in tensors.items()
                    if key.startswith(prefix)
                }
                update(name, tensors[name], state, gradient, settings)
        if before is not None and before == _digest(tensors, named):
            run.values["unchanged"] = [*run.unchanged, part]

    def _settings(self, run: Run, gradient_scale: float) -> UpdateSettings:
        train = self.train
        return UpdateSettings(
            optimizer=train.optimizer,
            step=run.step,
            learning_rate=run.learning_rate,
            beta1=train.beta1,
            beta2=train.beta2,
            epsilon=train.epsilon,
            weight_decay=train.weight_decay,
            update_clip=train.gradient_clip if train.clip_by is ClipBy.update else None,
            gradient_scale=gradient_scale,
            seed=train.seed,
        )

    def refuse_unchanged(self, run: Run) -> None:
        """Nothing trains in silence: weights that the first step did not change stop the run."""
        if run.unchanged:
            raise TrainingError(
                f"step {run.step}: the weights of {', '.join(run.unchanged)} are the same after "
                "the step as before it, so nothing would be learned; raise train.learning_rate, "
                f"{run.learning_rate:.3g} at this step"
            )


def _digest(tensors: Tensors, names: Iterable[str]) -> str:
    """A checksum of the named tensors."""
    digest = xxhash.xxh3_128()
    for name in names:
        digest.update(tensors[name].contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()
