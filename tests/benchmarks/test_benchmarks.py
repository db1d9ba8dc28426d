from __future__ import annotations

import subprocess
import sys
import time

import pytest

from benchmarks import comparison, plan_speed
from benchmarks.comparison import Measured
from benchmarks.memory_limit import MemoryLimit, NoMemoryLimit
from benchmarks.peers.measuring import disk_bytes, peak_rss_bytes
from benchmarks.processes import Failed, run
from benchmarks.streaming_speed import least_streamed_bytes
from pipeline.config import compose
from pipeline.streaming.plan import plan_streaming

MEBIBYTE = 2**20


def measured(step_seconds: list[float], tokens: int = 100) -> Measured:
    return Measured(step_seconds, tokens, 10**9, 0.0, 0.0, [])


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_side_says_what_it_printed_and_read() -> None:
    written = run(python("print('first'); print('second')"), timeout_seconds=20)
    assert written.lines == ["first", "second"]
    assert len(written.traffic) == 2


def test_a_side_that_ends_badly_gives_its_last_word() -> None:
    with pytest.raises(Failed, match="exit code 3: why"):
        run(python("print('why'); raise SystemExit(3)"), timeout_seconds=20)


def test_a_side_that_hangs_is_killed() -> None:
    started = time.monotonic()
    with pytest.raises(Failed, match="more than 1 s"):
        run(python("import time; time.sleep(60)"), timeout_seconds=1)
    assert time.monotonic() - started < 30


def test_a_side_over_its_limit_is_killed_and_the_group_goes() -> None:
    try:
        with MemoryLimit(100 * MEBIBYTE) as limit:
            folder = limit.folder
    except NoMemoryLimit:
        pytest.skip("no cgroup can be made here")
    assert not folder.exists()
    with pytest.raises(Failed, match="no memory was left"):
        run(python("x = bytearray(300 * 2**20)"), 20, limit_bytes=100 * MEBIBYTE)
    assert not folder.exists()
    kept = run(python("x = bytearray(50 * 2**20); print(1)"), 20, limit_bytes=100 * MEBIBYTE)
    assert kept.group_peak_bytes is not None
    assert 50 * MEBIBYTE < kept.group_peak_bytes <= 100 * MEBIBYTE


def test_sides_take_turns_and_a_failed_one_is_left_out() -> None:
    order = []

    def side(name: str) -> Measured:
        order.append(name)
        if name == "broken":
            raise Failed("no disk")
        return measured([1.0])

    names = ("ours", "theirs", "broken")
    runs, problems = comparison.in_turn({n: lambda n=n: side(n) for n in names}, rounds=2)
    assert order == ["ours", "theirs", "broken", "theirs", "ours"]
    assert problems == {"broken": "no disk"}
    assert comparison.ratio(runs, "ours", "broken") is None


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    runs = {
        "ours": [measured([1.0, 1.0, 9.0]), measured([2.0]), measured([1.0])],
        "theirs": [measured([2.0]), measured([2.0]), measured([4.0])],
    }
    assert comparison.ratio(runs, "ours", "theirs") == 2.0


def test_a_peer_counts_its_own_memory_and_traffic() -> None:
    assert peak_rss_bytes() > 10 * MEBIBYTE
    assert all(count >= 0 for count in disk_bytes())


def test_the_least_streamed_budget_is_the_least_that_spills_nothing() -> None:
    config = compose(["model=cerebras_gpt_111m", "train=streamed"])
    assert config.train is not None
    least = least_streamed_bytes(config)
    assert plan_streaming(config.model, config.train, least).spilled_layers == 0
    below = plan_streaming(config.model, config.train, least - MEBIBYTE)
    assert below.spilled_layers > 0


def test_the_plan_that_is_timed_is_that_of_the_record_of_2022() -> None:
    asked = plan_speed.request()
    assert asked.graph.parameters == 20_554_567_680
    assert (asked.wafer.name, asked.global_batch) == ("wse2", 120)


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        plan_speed.run("-c", "raise SystemExit(1)")
