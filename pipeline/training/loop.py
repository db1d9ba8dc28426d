"""The training loop: batches in, steps, validations, checkpoints, and a record of it all."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from pipeline.errors import Interrupted, TrainingError
from pipeline.progress import Progress as ProgressBar
from pipeline.schema import TrainConfig
from pipeline.streaming.step import StepResult, StopAsked
from pipeline.streaming.timeline import Span
from pipeline.training.batches import Batches
from pipeline.training.checkpoint import Progress
from pipeline.training.execution import Execution
from pipeline.training.history import History
from pipeline.training.interrupt import StopRequest
from pipeline.training.schedule import learning_rate
from pipeline.training.step_display import StepProgress
from pipeline.training_logger import TrainingLogger


class TrainingLoop:
    """Trains through an :class:`Execution` from the last checkpoint to the last step.

    ``folder`` holds the checkpoints and the history of this very configuration; ``validation``
    is a list of batches of shape (any, sequence_length + 1).
    """

    def __init__(
        self,
        execution: Execution,
        train: TrainConfig,
        batches: Batches,
        validation: list[torch.Tensor],
        folder: Path,
        run_hash: str,
    ) -> None:
        self.execution, self.train, self.batches = execution, train, batches
        self.validation, self.folder = validation, folder
        resumed = self.execution.resume()
        self.resumed = resumed is not None
        self.progress = self._taken_up(resumed, run_hash)
        self.history = History(folder / "history.jsonl", self.progress.step)
        self.first_step_ended: float | None = None
        self.last_spans: list[Span] = []

    def _taken_up(self, progress: Progress | None, run_hash: str) -> Progress:
        """Where the run goes on; at step 0 if it has not begun."""
        if progress is None:
            return Progress(run_hash, 0, 0.0, torch.get_num_threads())
        # The order of a sum, and so its last bit, depends on the number of threads.
        torch.set_num_threads(progress.threads)
        print(f"resuming after step {progress.step} of {self.train.steps}", flush=True)
        return progress

    def run(self, logger: TrainingLogger) -> None:
        """Train to the last step.

        Raises :class:`Interrupted` after Ctrl-C or SIGTERM, with the step saved, and
        :class:`TrainingError` for a loss or gradient that is not finite.
        """
        first, last = self.progress.step + 1, self.train.steps
        self._log_again(logger)
        with StopRequest() as stop, ProgressBar("train", total=last, done=first - 1) as bar:
            self.execution.show(StepProgress(bar, last, self.execution.layers))
            for step in range(first, last + 1):
                self._step(step, logger, bar, stop)
                if step % self.train.validate_every == 0 or step == last:
                    self._validate(step, logger, bar)
                if stop.asked and step < last:
                    self._stop(f"at step {step}", stop)
                if step % self.train.checkpoint_every == 0 or step == last:
                    self._save()
        self.history.close()

    def _log_again(self, logger: TrainingLogger) -> None:
        """Log what a killed process did not get to; the logger leaves out what it has."""
        for record in self.history.records:
            values = {f"train/{key}": value for key, value in record.items() if key != "step"}
            logger.log_step(record["step"], values)

    def _step(self, step: int, logger: TrainingLogger, bar: ProgressBar, stop: StopRequest) -> None:
        rate = learning_rate(step, self.train)
        tokens_bs = self.batches.step(step)
        try:
            result = self.execution.step(step, tokens_bs, rate, lambda: stop.asked)
        except StopAsked:
            self._stop(f"in step {step}", stop)
        seconds = result.seconds
        self.last_spans = self.execution.timeline.taken()
        self.first_step_ended = self.first_step_ended or time.perf_counter()
        if not result.applied:
            self._refuse(step, result, rate)
        tokens_per_step = self.train.global_batch * self.train.sequence_length
        metrics = {
            "loss": result.loss,
            "gradient_norm": result.gradient_norm,
            "learning_rate": rate,
            "tokens": step * tokens_per_step,
            "step_seconds": seconds,
            "tokens_per_second": tokens_per_step / seconds,
        }
        self._record(step, seconds, metrics)
        logger.log_step(step, {f"train/{key}": value for key, value in metrics.items()})
        line = f"loss {result.loss:.4f}  {tokens_per_step / seconds:,.0f} tokens/s"
        bar.update(step, line, say=step % self.train.log_every == 0 or step == self.train.steps)

    def _validate(self, step: int, logger: TrainingLogger, bar: ProgressBar) -> None:
        started = time.perf_counter()
        loss = self.execution.loss(self.validation)
        self._record(step, time.perf_counter() - started, {"validation_loss": loss})
        logger.log_step(step, {"train/validation_loss": loss})
        bar.say(f"step {step}: validation loss {loss:.4f}, perplexity {math.exp(loss):.1f}")

    def _record(self, step: int, seconds: float, metrics: dict[str, float]) -> None:
        spent = self.progress.train_seconds + seconds
        self.progress = replace(self.progress, step=step, train_seconds=spent)
        self.history.add({"step": step, **metrics})
        if self.execution.durable:
            # The store is a step further with the next commit: the record must not lag behind.
            self.history.sync()

    def _save(self) -> None:
        self.history.sync()
        self.execution.save(self.progress)

    def _stop(self, where: str, stop: StopRequest) -> NoReturn:
        self._save()
        self.execution.stopped()
        number = stop.signal_number or signal.SIGINT
        raise Interrupted(
            f"stopped by {signal.Signals(number).name} and saved {where} of {self.train.steps}; "
            "give the same command again to go on from there",
            number,
        )

    def _refuse(self, step: int, result: StepResult, rate: float) -> None:
        self.history.close()
        word = self.execution.kept()
        raise TrainingError(
            f"step {step} of {self.train.steps}: loss {result.loss}, gradient norm "
            f"{result.gradient_norm}, at learning rate {rate:.3g}, is not finite; {word}; lower "
            "train.learning_rate or train.gradient_clip, or raise train.warmup_steps"
        )
