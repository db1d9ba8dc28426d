"""The writer beside a training: keeps what fails, sends no more than MLflow takes."""

from __future__ import annotations

import math
import time

import pytest

from pipeline import metric_writer
from pipeline.metric_writer import MetricWriter, Point


def test_the_writer_keeps_what_fails_and_leaves_out_what_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metric_writer, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(metric_writer, "RETRY_SECONDS", 0.01)
    sent: list[Point] = []
    errors: list[Exception] = []

    def send(points: list[Point]) -> None:
        if len(errors) < 2:
            raise OSError("database is locked")
        sent.extend(points)

    writer = MetricWriter(send, {"loss": 2}, errors.append)
    for step in (1, 2, 3, 3, 4):
        writer.add(step, {"loss": float(step), "rate": math.inf})
    deadline = time.monotonic() + 10
    while len(errors) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.close() == 0
    assert [point.step for point in sent if point.name == "loss"] == [3, 4]
    rates = [point for point in sent if point.name == "rate"]
    assert [point.step for point in rates] == [1, 2, 3, 4]
    assert all(math.isnan(point.value) for point in rates)


def test_the_writer_sends_no_more_than_mlflow_takes() -> None:
    sizes: list[int] = []
    writer = MetricWriter(lambda points: sizes.append(len(points)), {}, lambda error: None)
    for step in range(1250):
        writer.add(step, {"loss": 0.0, "rate": 0.0})
    assert (writer.close(), sum(sizes)) == (0, 2500)
    assert max(sizes) <= 1000
