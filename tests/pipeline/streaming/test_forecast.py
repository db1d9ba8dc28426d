"""A forecast is what a hand computes from given rates, and obeys the laws of any machine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import compose
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.capacity import Room, answer, capacity, gpt, largest, plan_for
from pipeline.streaming.forecast import Forecast, forecast
from pipeline.streaming.plan import plan_resident, plan_streaming
from pipeline.streaming.simulation import Simulation
from pipeline.streaming.visits import Visit
from tests.pipeline.machine_speed.speeds import disk_of, speed_of

GIB = 2**30


@cache
def configured(overrides: tuple[str, ...]) -> tuple[ModelConfig, TrainConfig]:
    config = compose(["train=streamed", "train.keep=nothing", *overrides])
    assert config.train is not None
    return config.model, config.train


def foretold(budget: float, *overrides: str, **rates) -> Forecast:
    shape, train = configured(overrides)
    plan = replace(plan_streaming(shape, train, int(budget * GIB)), kept_layers=0)
    return forecast(shape, train, plan, speed_of(**rates))


def planes(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, "weights") for name in names)


def visit(part: str, after: str | None, seconds: float, commit: bool = False) -> Visit:
    keys = planes(part)
    asked = planes(after) if after else ()
    return Visit(part, seconds, fetched=keys, asked=asked, committed=keys if commit else ())


def simulated(memory: int, visits: list[Visit], read: float = 100.0, write: float = 50.0) -> float:
    sizes = {key: 100 for v in visits for key in v.fetched}
    return Simulation(sizes, memory, disk_of(read, write)).run(visits)


def test_reading_ahead_hides_behind_computing() -> None:
    visits = [visit("a", "b", 3.0), visit("b", "c", 3.0), visit("c", None, 3.0)]
    # Of three reads of a second each, only the first is waited for.
    assert simulated(1000, visits) == pytest.approx(1 + 9)
    # Three seconds a read: each of the later ones takes the rest of its time from nobody.
    assert simulated(1000, visits, read=20) == pytest.approx(5 + 5 + 5 + 3)


def test_without_memory_for_two_nothing_overlaps() -> None:
    visits = [visit("a", "b", 3.0), visit("b", "c", 3.0), visit("c", None, 3.0)]
    assert simulated(100, visits) == pytest.approx(3 * (1 + 3))


def test_a_write_blocks_memory_until_it_is_on_the_disk() -> None:
    visits = [visit("a", "b", 3.0, commit=True), visit("b", None, 3.0, commit=True)]
    assert simulated(200, visits) == pytest.approx(1 + 3 + 3)
    # Room for one alone: b is read when a, which takes two seconds, is written.
    assert simulated(100, visits) == pytest.approx(1 + 3 + 2 + 1 + 3)


def test_what_is_in_memory_is_not_read_again_and_the_oldest_goes_first() -> None:
    simulation = Simulation({(n, "weights"): 100 for n in "abc"}, 300, disk_of(100, 50))
    upward = [visit("a", "b", 1.0), visit("b", "c", 1.0), visit("c", None, 1.0)]
    simulation.run(upward)
    assert simulation.bytes_read == 300
    simulation.run(upward)
    assert simulation.bytes_read == 300
    small = Simulation({(n, "weights"): 100 for n in "abc"}, 200, disk_of(100, 50))
    small.run([*upward, visit("b", None, 1.0), visit("a", None, 1.0)])
    assert small.bytes_read == 400  # b was still there, a was not


def test_a_layer_takes_its_products_over_their_rate() -> None:
    shape, _ = configured(("model=gptneox_20b",))
    found = foretold(8, "model=gptneox_20b", gigaflops=400)
    tokens, layer = 512, 12 * shape.hidden**2
    head = shape.vocabulary * shape.hidden
    # Forward twice, two products backward; the head once in each direction.
    operations = 2 * tokens * (44 * 4 * layer + 3 * head)
    assert found.floor_seconds.compute == pytest.approx(operations / 400e9, rel=1e-3)
    assert found.binds == "compute"
    assert found.step_seconds == pytest.approx(found.floor_seconds.compute, rel=0.02)
    assert found.tokens_per_second == pytest.approx(512 / found.step_seconds)


def test_the_update_takes_its_time_for_each_parameter() -> None:
    shape, _ = configured(("model=gpt3_xl",))
    found = foretold(4, "model=gpt3_xl", update_nanoseconds=2.0)
    assert found.floor_seconds.update == pytest.approx(2e-9 * parameter_count(shape), rel=1e-3)


def test_a_slow_disk_binds_with_two_reads_and_a_write_of_all_weights() -> None:
    shape, _ = configured(("model=gptneox_20b",))
    found = foretold(5.5, "model=gptneox_20b", gigaflops=1e6, disk=disk_of(1e9, 1e9))
    weights = 2 * parameter_count(shape)
    assert found.binds == "disk"
    # What fits into memory is read once less.
    assert 1.6 * weights < found.bytes_read < 2 * weights
    assert found.bytes_written == pytest.approx(weights, rel=0.02)
    # Writes overlap the second reads.
    assert found.step_seconds == pytest.approx(found.bytes_read / 1e9, rel=0.1)
    assert found.floor_seconds.transfer <= found.step_seconds * 1.001


def test_a_small_model_is_read_from_memory_alone() -> None:
    assert foretold(8, "model=cerebras_gpt_111m").bytes_read == 0


def test_the_first_step_waits_for_the_store_to_be_filled() -> None:
    found = foretold(8, "model=gptneox_20b", disk=disk_of(1e12, 1e9))
    assert found.seconds_to_first_step > found.step_seconds + 41


def test_a_resident_run_moves_nothing() -> None:
    shape, train = configured(("model=gpt3_xl",))
    found = forecast(shape, train, plan_resident(shape, train, 16 * GIB), speed_of())
    assert found.bytes_read == found.bytes_written == 0
    floor = found.floor_seconds
    assert found.step_seconds == pytest.approx(floor.compute + floor.update)


OVERRIDES = st.sampled_from(
    [
        ("model=gptj_6b", "train.sequence_length=128"),
        ("model=gpt3_xl", "train.optimizer=adamw"),
        ("model=gpt3_xl", "train.clip_by=norm", "train.global_batch=4"),
    ]
)


# Memory holds other planes in every other step here.
@example(("model=gpt3_xl", "train.optimizer=adamw"), 12.0, 1e8, 1.107e9, 2.0)
@settings(max_examples=25, deadline=None)
@given(OVERRIDES, st.floats(4, 12), st.floats(1e8, 1e10), st.floats(1e8, 1e10), st.floats(1, 8))
def test_more_bandwidth_or_a_faster_processor_is_never_slower(
    overrides: tuple[str, ...], budget: float, read: float, write: float, factor: float
) -> None:
    slow = foretold(budget, *overrides, disk=disk_of(read, write, sync=0.01)).step_seconds
    reads = foretold(budget, *overrides, disk=disk_of(read * factor, write, sync=0.01))
    writes = foretold(budget, *overrides, disk=disk_of(read, write * factor, sync=0.01))
    computes = foretold(
        budget, *overrides, gigaflops=400 * factor, disk=disk_of(read, write, sync=0.01)
    )
    # What is in memory when may shift by some planes where times change; hence the hair.
    for fast in (reads, writes, computes):
        assert fast.step_seconds <= slow * 1.05


@settings(max_examples=15, deadline=None)
@given(OVERRIDES, st.floats(4, 10), st.floats(1, 2.5))
def test_more_memory_is_never_slower(
    overrides: tuple[str, ...], budget: float, factor: float
) -> None:
    rates = {"disk": disk_of(5e8, 5e8), "gigaflops": 400.0}
    less, more = (foretold(b, *overrides, **rates) for b in (budget, budget * factor))
    assert more.step_seconds <= less.step_seconds * 1.02


def test_answers_say_what_there_is_too_little_of() -> None:
    shape, train = configured(("model=gptneox_20b",))
    speed = speed_of()
    fits = answer(shape, train, Room(8 * GIB, 60 * 10**9), speed)
    assert (fits.trains, fits.execution, fits.binds) == (True, "streaming", "compute")
    assert answer(shape, train, Room(2 * GIB, 60 * 10**9), speed).limit == "memory"
    no_disk = answer(shape, train, Room(8 * GIB, 40 * 10**9), speed)
    assert (no_disk.trains, no_disk.limit, no_disk.step_seconds) == (False, "disk", None)


def test_the_largest_shape_fits_and_the_next_does_not() -> None:
    _, train = configured(())
    room = Room(8 * GIB, 60 * 10**9)
    found = capacity([], train, room, speed_of())["largest_shapes"]["adafactor"]
    heads = found["hidden"] // 128
    assert not isinstance(plan_for(gpt(heads), train, room), str)
    assert plan_for(gpt(heads + 1), train, room) == "disk"
    assert largest(gpt, lambda _: False) is None


@given(st.integers(0, 256))
def test_bisection_finds_the_last_that_fits(last: int) -> None:
    found = largest(gpt, lambda model: model.heads <= last)
    assert (found.heads if found else 0) == last


def test_shapes_have_the_proportions_of_the_ladder() -> None:
    for heads, layers, parameters in ((16, 24, 1.3e9), (40, 40, 13e9), (96, 96, 175e9)):
        assert gpt(heads).layers == pytest.approx(layers, rel=0.17)
        assert parameter_count(gpt(heads)) == pytest.approx(parameters, rel=0.17)
