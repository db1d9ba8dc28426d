"""How parameters are held while a model trains: the seam between the loop and the device.

The loop knows only :class:`Execution`. Both ways take the same steps
(:mod:`pipeline.streaming.engine`) with the same arithmetic, so they end bit for bit alike.
:class:`Resident` keeps all parameters on the device and saves them in checkpoints;
:class:`Streaming` keeps them in a parameter store, which is its checkpoint at every instant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.errors import DamagedCheckpointError
from pipeline.optimizers.master import join
from pipeline.streaming.engine import StepEngine
from pipeline.streaming.holders import Holder, ResidentParameters, Tensors
from pipeline.streaming.journal import Journal
from pipeline.streaming.step import StepDisplay, StepResult
from pipeline.streaming.store import ParameterStore
from pipeline.streaming.timeline import Timeline
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Progress

STOPPED = "stopped"
"""A file beside the store: the last process ended as it was asked to."""


class Execution(Protocol):
    """A way of holding parameters and optimizer state."""

    name: str
    durable: bool
    """Whether a step is safe when :meth:`step` returns."""
    layers: int
    timeline: Timeline
    folder: Path
    """Of its checkpoints or its store."""
    fill_seconds: float
    """What making the first weights took, if known."""
    resumed_after_kill: list[int]
    """The steps in which the run was taken up after its process had been killed, if known."""

    def resume(self) -> Progress | None:
        """Take up the run where it was left; None if it has not begun."""
        ...

    def step(
        self, step: int, tokens_bs: Tensor, learning_rate: float, stop: Callable[[], bool]
    ) -> StepResult:
        """Learn one global batch of shape (global_batch, sequence_length + 1)."""
        ...

    def loss(self, batches: Iterable[Tensor]) -> float:
        """Mean loss in nats per token over batches of shape (any, sequence_length + 1)."""
        ...

    def save(self, progress: Progress) -> None:
        """Make sure that the run can be resumed from ``progress``."""
        ...

    def stopped(self) -> None:
        """The process ends as it was asked to, with everything saved."""
        ...

    def kept(self) -> str:
        """What is left of the run after an error, in words."""
        ...

    def show(self, display: StepDisplay) -> None:
        """Tell ``display`` of every visit to a part."""
        ...

    def parts(self) -> Iterator[tuple[str, Tensors]]:
        """Every part's parameters by name, one part in memory at a time, for export."""
        ...

    def store_bytes(self) -> int:
        """What parameters and optimizer state take on disk between their visits."""
        ...

    def finish(self, keep_store: bool) -> None:
        """The run has ended and its results are written."""
        ...

    def close(self) -> None:
        """Give back what is held, as often as it is called; what is saved stays."""
        ...


class Resident:
    """All parameters, gradients and optimizer state on the device."""

    name = "resident"
    durable = False

    def __init__(
        self,
        engine: StepEngine,
        parameters: ResidentParameters,
        fill: Callable[[], None],
        folder: Path,
        run_hash: str,
    ) -> None:
        self._engine, self._parameters, self._fill = engine, parameters, fill
        self.layers, self.timeline = engine.model.layers, engine.timeline
        self.folder, self._run_hash = folder, run_hash
        self.resumed_after_kill: list[int] = []
        self.fill_seconds = 0.0

    def resume(self) -> Progress | None:
        """Restore the newest checkpoint that is whole; without one, make the first weights."""
        for path in reversed(checkpoint.steps(self.folder)):
            try:
                progress, state = checkpoint.read(path, self._run_hash)
            except DamagedCheckpointError as error:
                print(f"{error}; going on from the one before", flush=True)
                continue
            self._parameters.restore(state, Journal(progress.step, "update", "embedding", {}))
            return progress
        self._fill()
        return None

    def step(
        self, step: int, tokens_bs: Tensor, learning_rate: float, stop: Callable[[], bool]
    ) -> StepResult:
        """Take a whole step: what is not saved cannot be left in the middle."""
        return self._engine.step(step, tokens_bs, learning_rate)

    def loss(self, batches: Iterable[Tensor]) -> float:
        """Mean over all tokens, each batch weighted by its sequences."""
        return self._engine.validation.loss(batches)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        checkpoint.write(self.folder, progress, self._parameters.state())

    def stopped(self) -> None:
        """The checkpoint says it all."""

    def kept(self) -> str:
        """Name the last checkpoint."""
        kept = checkpoint.steps(self.folder)
        return f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was due yet"

    def show(self, display: StepDisplay) -> None:
        """Tell ``display`` of every visit to a part."""
        self._engine.display = display

    def parts(self) -> Iterator[tuple[str, Tensors]]:
        """The parameters as they are."""
        return _parts(self._parameters, list(self._engine.parts))

    def store_bytes(self) -> int:
        """There is no store."""
        return 0

    def finish(self, keep_store: bool) -> None:
        """The checkpoints stay."""

    def close(self) -> None:
        """Nothing but memory is held."""


class Streaming:
    """Parameters and optimizer state in a store; a layer or two on the device."""

    name = "streaming"
    durable = True

    def __init__(
        self,
        engine: StepEngine,
        store: ParameterStore,
        fill: Callable[[], None],
        folder: Path,
        run_hash: str,
    ) -> None:
        self._engine, self.store, self._fill = engine, store, fill
        self.layers, self.timeline = engine.model.layers, engine.timeline
        self.folder, self._run_hash = folder, run_hash
        self._holder: Holder = engine.holder
        self._progress = Progress(run_hash, 0, 0.0, torch.get_num_threads())
        self.resumed_after_kill: list[int] = []
        self.fill_seconds = 0.0

    def resume(self) -> Progress | None:
        """Fill what the store lacks, and say how many steps are behind.

        A step that was broken off, or of whose end the loop did not hear, is taken up by
        :meth:`step`.
        """
        values = self.store.journal.values
        begun = self.store.journal.step
        self.resumed_after_kill = list(values.get("resumed_after_kill", []))
        stopped = self.folder / STOPPED
        if self.store.journal.reached is not None and not stopped.exists():
            self.resumed_after_kill.append(begun)
        stopped.unlink(missing_ok=True)
        self._progress = Progress(
            self._run_hash,
            max(0, begun - 1),
            values.get("train_seconds", 0.0),
            values.get("threads", torch.get_num_threads()),
        )
        self.fill_seconds = values.get("fill_seconds", 0.0)
        self._note()
        self.timeline.bytes_read = values.get("bytes_read", 0)
        self.timeline.bytes_written = values.get("bytes_written", 0)
        started = time.perf_counter()
        self._fill()
        if not begun:
            self.fill_seconds += time.perf_counter() - started
        self._note()
        return self._progress if begun else None

    def step(
        self, step: int, tokens_bs: Tensor, learning_rate: float, stop: Callable[[], bool]
    ) -> StepResult:
        """Take a step, or what is left of it."""
        result = self._engine.step(step, tokens_bs, learning_rate, stop)
        spent = self._progress.train_seconds + result.seconds
        self._progress = replace(self._progress, train_seconds=spent)
        self._note()
        return result

    def loss(self, batches: Iterable[Tensor]) -> float:
        """Mean over all tokens, each batch weighted by its sequences."""
        return self._engine.validation.loss(batches)

    def save(self, progress: Progress) -> None:
        """Wait for the last commits; the next one says how long the run has trained."""
        self._progress = progress
        self._note()
        self._holder.wait()

    def show(self, display: StepDisplay) -> None:
        """Tell ``display`` of every visit to a part."""
        self._engine.display = display

    def kept(self) -> str:
        """Name the store."""
        return f"{self.folder} holds the weights of the last visits"

    def stopped(self) -> None:
        """Note that the process ends as asked, and is not killed."""
        (self.folder / STOPPED).touch()

    def parts(self) -> Iterator[tuple[str, Tensors]]:
        """Read the parameters, a part at a time."""
        return _parts(self._holder, list(self._engine.parts))

    def store_bytes(self) -> int:
        """All files of the store."""
        return self.store.disk_bytes()

    def finish(self, keep_store: bool) -> None:
        """Close the store; it goes unless it is what the user keeps."""
        self.close()
        if not keep_store:
            self.store.remove()

    def close(self) -> None:
        """Close the store, so that others may open it."""
        self.store.close()

    def _note(self) -> None:
        self._engine.notes.update(
            threads=self._progress.threads,
            train_seconds=self._progress.train_seconds,
            resumed_after_kill=self.resumed_after_kill,
            fill_seconds=self.fill_seconds,
        )


def _parts(holder: Holder, names: list[str]) -> Iterator[tuple[str, Tensors]]:
    """Each part's parameters; an fp32 master that is split in two is joined."""
    for part in names:
        tensors = holder.fetch(part, "weights", "state", read_only=True)
        yield part, {name: _whole(name, tensors) for name in tensors if "/" not in name}
        holder.release(part, "weights", "state")


def _whole(name: str, tensors: dict[str, Any]) -> Tensor:
    remainder = tensors.get(f"{name}/remainder")
    return tensors[name] if remainder is None else join(tensors[name], remainder)
