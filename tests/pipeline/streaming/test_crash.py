"""Streaming trainings that are killed end, bit for bit, where an unbroken one ends.

Real processes, real SIGKILLs, at instants that a seed draws::

    pytest tests/pipeline/streaming/test_crash.py                              20 random kills
    pytest tests/pipeline/streaming/test_crash.py --kills 100 --kill-seed 7    the long mode

A kill counts only if it ended the process: one that had ended by itself exits with 0. Besides,
trainings kill themselves at changes of the disk drawn from all that an unbroken one makes.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.streaming.processes import KILLED, Launcher, Training
from tests.pipeline.streaming.runs import assert_same_end, history, left_behind, metrics, small

pytestmark = pytest.mark.slow

# Enough parts and steps for a run of a second, most of it spent between two changes of the disk.
LONGER = ["train.execution=streaming", "train.steps=8", "model.layers=4", "train.log_every=1"]
SCENARIOS = {
    "gpt2-adamw-norm": small("gpt2", "adamw", *LONGER),
    "gptj-adamw8bit-update": small(
        "gptj", "adamw8bit", *LONGER, "train.clip_by=update", "train.precision=bf16"
    ),
    "gptneox-adafactor-norm": small(
        "gptneox", "adafactor", *LONGER, "train.micro_batch=4", "train.precision=bf16"
    ),
    "gpt2-adafactor-update": small("gpt2", "adafactor", *LONGER, "train.clip_by=update"),
    "gptneox-adamw-unclipped": small(
        "gptneox", "adamw", *LONGER, "train.gradient_clip=null", "train.precision=bf16"
    ),
}
CHANGES_KILLED_AT = 8
"""How many changes of the disk the tests draw for each scenario that is killed at them."""


@dataclass(frozen=True)
class Scene:
    """A configuration, the folder of its results, and an unbroken run of it."""

    launcher: Launcher
    overrides: list[str]
    results: Path
    seconds: float

    @property
    def whole(self) -> Path:
        """The unbroken run's folder."""
        return self.results / "whole"

    def start(self, run: str, **options: int | None) -> Training:
        """Start, or start again, a run of this configuration."""
        return self.launcher.start(*self.overrides, f"run={run}", **options)  # type: ignore[arg-type]

    def store(self, run: str) -> Path | None:
        """The folder of a run's parameter store, if it is there."""
        return next(self.results.glob(f"{run}/checkpoints/*/store"), None)

    def assert_ended_like_the_unbroken(self, run: str) -> None:
        """Numbers, weights and the files that are left are the same."""
        folder = self.results / run
        assert_same_end(folder, self.whole)
        assert left_behind(folder) == left_behind(self.whole)
        assert metrics(folder)["steps"] == metrics(self.whole)["steps"]


@pytest.fixture
def scene(overrides: list[str], tmp_path: Path, launcher: Launcher) -> Callable[[str], Scene]:
    """Makes the scene of a scenario."""

    def make(scenario: str) -> Scene:
        arguments = [*overrides, *SCENARIOS[scenario]]
        launcher.finish(*arguments, "run=warm", "train.steps=1")  # makes tokens, compiles
        whole = launcher.finish(*arguments, "run=whole")
        return Scene(launcher, arguments, tmp_path / "results", whole.seconds())

    return make


def share(kills: int, scenario: str) -> int:
    """How many of the kills fall to a scenario; together they are all."""
    return len(range(list(SCENARIOS).index(scenario), kills, len(SCENARIOS)))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kills_at_random_instants(scene, pytestconfig, scenario):
    made = scene(scenario)
    kills = share(pytestconfig.getoption("--kills"), scenario)
    generator = random.Random(f"{pytestconfig.getoption('--kill-seed')} {scenario}")
    done = runs = 0
    while done < kills:
        runs += 1
        assert runs <= 2 * kills + 5, f"only {done} of {kills} kills hit a process at work"
        done += kill_until_it_ends(made, f"broken{runs}", generator, most=kills - done)
        made.assert_ended_like_the_unbroken(f"broken{runs}")
    assert done == kills


def kill_until_it_ends(scene: Scene, run: str, generator: random.Random, most: int) -> int:
    """Start a run again and again, at most ``most`` times killed; how many kills hit."""
    hits = 0
    while True:
        training = scene.start(run)
        if hits < most:
            instant = generator.uniform(0, scene.seconds)
            training.until(lambda: training.seconds() >= instant)  # noqa: B023
            training.send(signal.SIGKILL)
        code = training.wait()
        assert code in (0, KILLED), training.error
        assert training.error == ""
        if code == 0:
            return hits
        hits += 1


@pytest.mark.parametrize(
    "scenario",
    [pytest.param("gpt2-adamw-norm", marks=pytest.mark.long), "gptj-adamw8bit-update"],
)
def test_kills_at_changes_of_the_disk(scene, pytestconfig, scenario):
    made = scene(scenario)
    changes = made.launcher.changes(*made.overrides, "run=counted")
    made.assert_ended_like_the_unbroken("counted")
    generator = random.Random(f"{pytestconfig.getoption('--kill-seed')} {scenario} changes")
    instants = sorted(generator.sample(range(2, changes - 1), CHANGES_KILLED_AT - 2))
    # The last ones take the store away and leave the results: what is lost then is lost for good.
    for instant in [1, *instants, changes - 1, changes]:
        run = f"broken{instant}"
        training = made.start(run, kill_at=instant)
        code = training.wait()
        assert code == KILLED, f"change {instant} of {changes}: {training.error}"
        again = made.start(run)
        assert again.wait() == 0, f"change {instant} of {changes}: {again.error}"
        made.assert_ended_like_the_unbroken(run)


def kill_when(training: Training, condition: Callable[[], bool]) -> bool:
    """Kill a training at the instant that a condition holds; whether the kill hit it."""
    training.until(condition, every_seconds=0)
    training.send(signal.SIGKILL)
    code = training.wait()
    assert code in (0, KILLED), training.error
    return code == KILLED


def is_filled(scene: Scene, run: str) -> bool:
    """Whether the store has at least a file of weights."""
    store = scene.store(run)
    return store is not None and any(store.rglob("*weights*"))


@pytest.mark.parametrize("scenario", ["gpt2-adamw-norm", "gptneox-adafactor-norm"])
@pytest.mark.parametrize("stage", ["start", "fill", "export", "removal"])
def test_kills_outside_the_steps(scene, scenario, stage):
    made, run = scene(scenario), "broken"
    conditions: dict[str, Callable[[], bool]] = {
        "start": lambda: made.store(run) is not None,
        "fill": lambda: is_filled(made, run),
        "export": lambda: any((made.results / run).glob(".model*")),
        "removal": lambda: (made.results / run / "model").exists(),
    }
    hit = kill_when(made.start(run), conditions[stage])
    if stage in ("start", "fill"):
        assert hit
        assert not (made.results / run / "history.jsonl").exists()
    again = made.start(run)
    assert again.wait() == 0, again.error
    made.assert_ended_like_the_unbroken(run)


# A request to stop


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")]
)
@pytest.mark.parametrize("scenario", ["gpt2-adamw-norm", "gptneox-adamw-unclipped"])
def test_ctrl_c_and_sigterm_save_and_say_so(scene, scenario, number, word):
    made = scene(scenario)
    training = made.start("stopped")
    assert training.until(lambda: "train  3 of 8" in training.out)
    training.send(number)
    assert training.wait() == 128 + number, training.error
    (line,) = training.error.splitlines()
    said = re.match(rf"onewafer train: stopped by {word} and saved (at|in) step (\d) of 8; ", line)
    assert said is not None, line
    assert "give the same command again" in line
    behind = int(said[2]) - (said[1] == "in")
    assert 3 <= behind < 8
    again = made.start("stopped")
    assert again.wait() == 0, again.error
    assert "train  1 of 8" not in again.out
    # A step whose end the store has is taken up once more: there is nothing left of it to do.
    resumed = re.search(r"^resuming after step (\d) of 8$", again.out, re.M)
    assert resumed is not None
    assert int(resumed[1]) in (behind - 1, behind)
    made.assert_ended_like_the_unbroken("stopped")


def test_a_finished_run_started_again_trains_nothing_and_keeps_its_result(scene):
    made = scene("gpt2-adafactor-update")
    training = made.launcher.finish(*made.overrides, "run=once")
    before = left_behind(made.results / "once")
    modified = (made.results / "once" / "history.jsonl").read_bytes()
    training = made.launcher.finish(*made.overrides, "run=once")
    assert "train  1 of 8" not in training.out
    assert left_behind(made.results / "once") == before
    assert (made.results / "once" / "history.jsonl").read_bytes() == modified
    made.assert_ended_like_the_unbroken("once")


def test_a_kept_store_goes_on_from_where_it_ends(scene):
    made = scene("gpt2-adafactor-update")
    kept = [*made.overrides, "train.keep=store", "run=kept"]
    made.launcher.finish(*kept)
    assert made.store("kept") is not None
    again = made.launcher.finish(*kept)
    assert "train  1 of 8" not in again.out
    assert history(made.results / "kept") == history(made.whole)
