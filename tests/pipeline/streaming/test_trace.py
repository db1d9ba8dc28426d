"""The trace of a step opens as a Chrome trace, says how fast things went, and reads back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.streaming.timeline import Span
from pipeline.streaming.trace import read_chrome_trace, rows, write_chrome_trace

SPANS = [
    Span("read", "layers.0 weights", 100.0, 100.5, 1e9),
    Span("read", "layers.1 weights", 100.25, 100.75, 1e9),
    Span("read", "layers.2 weights", 100.5, 101.0, 1e9),
    Span("compute", "forward layers.0", 100.5, 102.5, 8e11),
    Span("update", "layers.0", 102.5, 102.75, 5e7),
    Span("write", "layers.0 weights", 102.75, 103.0, 5e8),
    Span("wait", "layers.1 weights", 102.0, 102.0, 0),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_chrome_trace(SPANS, tmp_path / "trace.json", "step 3 of nano")
    return tmp_path / "trace.json"


def events(path: Path, phase: str) -> list[dict[str, Any]]:
    return [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == phase]


def test_each_lane_is_a_named_thread_and_overlaps_get_a_second_one(path: Path) -> None:
    names = {e["tid"]: e["args"]["name"] for e in events(path, "M") if e["name"] == "thread_name"}
    assert list(names.values()) == ["read", "read 2", "compute", "update", "write", "wait"]
    [process] = [e["args"]["name"] for e in events(path, "M") if e["name"] == "process_name"]
    assert process == "step 3 of nano"
    for event in events(path, "X"):
        assert names[event["tid"]].split()[0] == event["cat"]


def test_times_are_microseconds_from_the_first_span(path: Path) -> None:
    [compute] = [e for e in events(path, "X") if e["cat"] == "compute"]
    assert (compute["ts"], compute["dur"]) == (500_000, 2_000_000)
    assert min(e["ts"] for e in events(path, "X")) == 0


def test_amounts_come_with_their_rates(path: Path) -> None:
    found = {e["name"]: e["args"] for e in events(path, "X") if e["cat"] in ("compute", "write")}
    assert found["forward layers.0"] == {
        "floating_point_operations": 8e11,
        "floating_point_operations_per_second": 4e11,
    }
    assert found["layers.0 weights"] == {"bytes": 5e8, "bytes_per_second": 2e9}


def test_it_reads_back(path: Path) -> None:
    found = sorted(read_chrome_trace(path), key=lambda s: (s.lane, s.name))
    for made, read in zip(sorted(SPANS, key=lambda s: (s.lane, s.name)), found, strict=True):
        assert (made.lane, made.name, made.amount) == (read.lane, read.name, read.amount)
        assert read.start_seconds == pytest.approx(made.start_seconds - 100)
        assert read.end_seconds == pytest.approx(made.end_seconds - 100)


def test_a_step_without_spans_is_a_valid_trace(tmp_path: Path) -> None:
    write_chrome_trace([], tmp_path / "trace.json", "nothing")
    assert read_chrome_trace(tmp_path / "trace.json") == []


def test_no_row_holds_spans_that_overlap() -> None:
    for row in rows(SPANS[:3]):
        for before, after in pairwise(row):
            assert before.end_seconds <= after.start_seconds
    assert len(rows(SPANS[:3])) == 2
