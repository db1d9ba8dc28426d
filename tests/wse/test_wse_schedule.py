"""Laws of the timeline, over passes drawn at random and by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wse.schedule import CAUSES, Event, Pass, Run, timeline

spans = st.sampled_from([0.0, 0.001, 0.1, 1.0, 1.5]) | st.floats(0.0, 3.0)


@st.composite
def a_pass(draw: st.DrawFn) -> Pass:
    wafer, out = draw(spans), draw(spans)
    return Pass(
        layer=draw(st.sampled_from("abc")),
        phase=draw(st.sampled_from(["forward", "backward"])),
        in_seconds=draw(spans),
        wafer_seconds=wafer,
        fabric_seconds=draw(st.floats(0.0, wafer)),
        fixed_seconds=draw(spans),
        out_seconds=out,
        update_seconds=draw(spans) if out else 0.0,  # the update of what came out
    )


runs = st.lists(
    st.tuples(st.lists(a_pass(), min_size=1, max_size=3), st.integers(0, 40)), max_size=3
)
counts = st.integers(1, 8)


@given(runs, counts)
def test_the_shortcut_over_equal_passes_is_exact(drawn: list[Run], count: int) -> None:
    short, whole = timeline(drawn, count), timeline(drawn, count, record=True)
    assert short.events == []
    for cause in CAUSES:
        exact = pytest.approx(whole.seconds_by_cause[cause], rel=1e-9, abs=1e-9)
        assert short.seconds_by_cause[cause] == exact


@given(
    runs,
    counts,
    st.sampled_from(["in", "wafer", "out", "update", "fixed"]),
    st.floats(0.0, 1.0),
)
def test_nothing_that_is_quicker_makes_a_step_slower(
    drawn: list[Run], count: int, what: str, factor: float
) -> None:
    def quicker(one: Pass) -> Pass:
        name = f"{what}_seconds"
        changes = {name: factor * getattr(one, name)}
        if what == "wafer":
            changes["fabric_seconds"] = factor * one.fabric_seconds
        return replace(one, **changes)

    fast = [([quicker(one) for one in passes], repeated) for passes, repeated in drawn]
    seconds = timeline(drawn, count).seconds
    assert timeline(fast, count).seconds <= seconds * (1 + 1e-9) + 1e-9


@given(runs, counts)
def test_causes_add_up_to_the_end_of_the_last_event(drawn: list[Run], count: int) -> None:
    made = timeline(drawn, count, record=True)
    end = max((event.end for event in made.events), default=0.0)
    assert made.seconds == pytest.approx(end, rel=1e-9, abs=1e-9)
    assert min(made.seconds_by_cause.values()) >= -1e-9


def _by_resource(events: list[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.resource].append(event)
    return found


@given(runs, counts)
def test_a_resource_does_one_thing_at_a_time(drawn: list[Run], count: int) -> None:
    for events in _by_resource(timeline(drawn, count, record=True).events).values():
        for earlier, later in pairwise(events):
            assert earlier.begin < earlier.end <= later.begin + 1e-9


@given(runs, counts)
def test_a_step_lasts_as_long_as_each_resource_is_busy(drawn: list[Run], count: int) -> None:
    seconds = timeline(drawn, count).seconds
    each = [one for passes, repeated in drawn for one in passes * repeated]
    for busy in (
        count * sum(one.in_seconds for one in each),
        count * sum(one.wafer_seconds + one.fixed_seconds for one in each),
        count * sum(one.out_seconds for one in each),
        sum(one.update_seconds for one in each),
    ):
        assert busy <= seconds * (1 + 1e-9) + 1e-9


@given(runs, counts)
def test_every_pass_passes_in_every_micro_batch(drawn: list[Run], count: int) -> None:
    found = _by_resource(timeline(drawn, count, record=True).events)
    each = [one for passes, repeated in drawn for one in passes * repeated]
    assert len(found["link in"]) <= count * len(each)
    taken = sum(event.end - event.begin for event in found["link in"])
    assert taken == pytest.approx(count * sum(one.in_seconds for one in each), rel=1e-9, abs=1e-9)
    updated = sum(event.end - event.begin for event in found["update"])
    assert updated == pytest.approx(sum(one.update_seconds for one in each), rel=1e-9, abs=1e-9)
    assert {event.micro_batch for event in found["update"]} <= {count - 1}


def _pass(**seconds: float) -> Pass:
    given_seconds = {"in": 0.0, "wafer": 0.0, "fabric": 0.0, "fixed": 0.0} | seconds
    return Pass("one", "backward", **{f"{name}_seconds": s for name, s in given_seconds.items()})


@pytest.mark.parametrize(
    ("one", "repeated", "causes"),
    [
        # Arithmetic hides the weights of every pass; it begins as the first word arrives.
        ({"in": 1, "wafer": 3}, 4, {"compute": 12}),
        ({"in": 3, "wafer": 1}, 4, {"compute": 4, "weight_stream": 8}),
        ({"in": 1, "wafer": 3, "fabric": 2}, 2, {"compute": 2, "fabric": 4}),
        ({"wafer": 1, "fixed": 0.5}, 2, {"compute": 2, "fixed": 1}),
        # Two passes may wait to go out: of 4 x 3 seconds out, the passes themselves hide 4.
        ({"wafer": 1, "out": 3}, 4, {"compute": 4, "gradient_stream": 8}),
        ({"wafer": 1, "out": 1, "update": 2}, 3, {"compute": 3, "update": 4}),
    ],
)
def test_steps_by_hand(one: dict[str, float], repeated: int, causes: dict[str, float]) -> None:
    made = timeline([([_pass(**one)], repeated)], 1, record=True)
    assert {name: s for name, s in made.seconds_by_cause.items() if s} == pytest.approx(causes)


def test_only_the_last_micro_batch_is_followed_by_updates() -> None:
    one = _pass(wafer=1, out=1, update=10)
    assert timeline([([one], 1)], 5).seconds == 5 + 10


def test_weights_arrive_no_more_than_one_pass_ahead() -> None:
    made = timeline([([_pass(**{"in": 1, "wafer": 5})], 4)], 1, record=True)
    begins = [event.begin for event in made.events if event.resource == "link in"]
    assert begins == [0, 1, 5, 10]  # from the third on, a buffer has to become free
