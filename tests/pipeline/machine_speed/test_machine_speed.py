"""Rates are measured within their time, survive their file, and are interpolated between points."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StoreError, TrainingError
from pipeline.machine_speed import disk, measure
from pipeline.machine_speed.products import measure_products
from pipeline.machine_speed.speed import MachineSpeed, RateGrid
from tests.pipeline.machine_speed.speeds import speed_of


def rate_at(tokens: float, size: float) -> float:
    return RateGrid.of(MEASURED)((math.log(tokens), math.log(size)))


MEASURED = {
    (math.log(tokens), math.log(size)): float(tokens)
    for tokens in (128, 512)
    for size in (1024, 4096)
}


def test_a_measured_point_is_given_back_and_the_middle_lies_between() -> None:
    assert rate_at(128, 1024) == pytest.approx(128)
    # Half-way in the logarithm of tokens, half-way in that of the rate.
    assert rate_at(256, 2048) == pytest.approx(256)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_rate_never_leaves_the_measured_range(tokens: int, size: int) -> None:
    assert 127.9 <= rate_at(tokens, size) <= 512.1


def test_a_point_that_was_left_out_takes_its_neighbours_rate() -> None:
    rates = dict(MEASURED)
    del rates[math.log(512), math.log(4096)]
    found = RateGrid.of(rates)((math.log(512), math.log(4096)))
    assert found in (pytest.approx(128), pytest.approx(512))


def test_times_of_products_and_attention_are_operations_over_rates() -> None:
    speed = speed_of(gigaflops=100)
    assert speed.product_seconds("bf16", "forward", 500, 1000, 2000) == pytest.approx(0.02)
    assert speed.attention_seconds("bf16", 512, 1024, 16, backward=True) < 1e-9


def test_what_is_measured_survives_its_file() -> None:
    speed = speed_of()
    stored = json.loads(json.dumps(speed.to_json()))
    assert stored["measured"] is True
    assert MachineSpeed.from_json(stored) == speed


def test_products_are_measured_cheap_ones_first_and_no_longer_than_given() -> None:
    rates = measure_products("bf16", seconds=0.2, room_bytes=1e9)
    assert rates
    cost = [rate.tokens * rate.outputs * rate.inputs for rate in rates]
    assert cost == sorted(cost)
    assert all(min(r.forward, r.input_gradient, r.weight_gradient) > 0 for r in rates)


def test_the_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    measured = disk.measure_disk(tmp_path, 0.5)
    assert min(measured.read, measured.write) > 0
    assert min(measured.read_beside_write, measured.write_beside_read) > 0
    assert measured.sync_seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_a_failing_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match="Input/output error"):
        disk.measure_disk(tmp_path, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 100, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(StoreError, match=rf"{tmp_path}: 0 MB are free"):
        disk.measure_disk(tmp_path, 0.5)


def test_rates_are_measured_once_for_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = speed_of()
    stored = {**known.to_json(), "key": measure.machine_key(tmp_path)}
    (tmp_path / measure.FILE_NAME).write_text(json.dumps(stored))
    started: list[list[str]] = []

    def run(words: list[str], **_: object) -> object:
        started.append(words)
        return type("Done", (), {"returncode": 1, "stderr": "a disk without room\n"})()

    monkeypatch.setattr(measure.subprocess, "run", run)
    found = measure.machine_speed(tmp_path, measure.QUICK_SECONDS)
    assert found.products == known.products
    assert not started
    with pytest.raises(TrainingError, match="a disk without room"):
        measure.machine_speed(tmp_path, measure.QUICK_SECONDS, fresh=True)
    # Rates of a quick look serve training, but not a thorough question; nor do another machine's.
    for change in ({"thorough": False}, {"key": {**stored["key"], "cpu": "another"}}):
        (tmp_path / measure.FILE_NAME).write_text(json.dumps(stored | change))
        with pytest.raises(TrainingError):
            measure.machine_speed(tmp_path, measure.THOROUGH_SECONDS)
    assert len(started) == 3
