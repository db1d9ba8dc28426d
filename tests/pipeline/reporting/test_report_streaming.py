"""Streamed runs, record runs and compared optimizers, as the page tells of them."""

from __future__ import annotations

import re
from html import unescape
from math import prod

import pytest

from pipeline.choices import Optimizer, Precision
from pipeline.errors import ReportError
from pipeline.optimizers import state_specs, weight_dtype
from pipeline.report import run
from pipeline.reporting.comparison import STORED_BYTES, compare
from pipeline.reporting.page import render
from pipeline.reporting.reading import read_results

REASON = "model=gpt_30b: needs 66.0 GB of disk, 50.0 GB are free"


def words(fake, title=None):
    """The text of the page, or of the part below one heading, with plain signs for others."""
    html = render(read_results(fake.job()), [], None, {})
    html = html.replace("\N{EN DASH}", "-").replace("\N{MULTIPLICATION SIGN}", "x")
    if title:
        html = re.search(rf"<h2>{title}</h2>(.*?)(<h2>|</main>)", html, re.DOTALL).group(1)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_a_streamed_run_stands_against_floor_forecast_and_budget(fake):
    fake.stream("gpt3_xl", 1_300_000_000, 4.0)
    text = words(fake, "Streamed training")
    assert "gpt3_xl 10 s 8 s compute 1.25 9.50 s 1.05 8 s 1.25 7.90 GB of 8.59 GB 2.60 GB" in text
    assert "2.60 GB 5.20 GB 2.60 GB" in text
    assert "compute 8 s 80.0 % 3.20 TFLOP 400 GFLOP/s" in text


def test_each_streamed_run_has_the_picture_of_a_step(fake):
    fake.stream("gpt3_xl", 1_300_000_000, 4.0)
    run(fake.job())
    assert (fake.results / "figures/timeline_gpt3_xl.png").stat().st_size > 1000
    html = (fake.results / "report.html").read_text()
    assert 'alt="What was read, computed, updated and written when' in html


def test_a_streamed_run_without_forecast_floor_or_trace_is_reported(fake):
    unknown = ("floor_seconds", "predicted_step_seconds", "scheduled_step_seconds")
    nothing = dict.fromkeys((*unknown, "memory_budget_bytes"))
    fake.stream("gpt3_xl", 1_300_000_000, 4.0, **nothing)
    (fake.results / "gpt3_xl/timeline.json").unlink()
    assert "gpt3_xl 10 s - - - - 7.90 GB 2.60 GB" in words(fake, "Streamed training")


def test_a_damaged_trace_is_named(fake):
    fake.stream("gpt3_xl", 1_300_000_000, 4.0)
    (fake.results / "gpt3_xl/timeline.json").write_text("[1]")
    with pytest.raises(ReportError, match=r"gpt3_xl/timeline.json: it is not the trace of a step"):
        read_results(fake.job())


def test_resident_runs_alone_have_no_section_of_streaming(fake):
    fake.train("nano_1m", 1_010_000, 5.2)
    text = words(fake)
    assert "Streamed training" not in text
    assert "Record runs" not in text
    assert "Optimizers compared" not in text


def test_record_runs_are_reported_with_what_was_skipped(fake):
    fake.record("gptneox_20b", 20_554_567_680)
    fake.record("gpt_30b", 29_974_418_432, skipped=REASON)
    text = words(fake, "Record runs")
    assert "gptneox_20b 2026-01-02 20.6 B 5 of 512 10.90 to 9.12 3.90" in text
    assert "2 min 12 s 2 min x 1.10 8.10 GB of 8.59 GB 41.1 GB 411 GB 206 GB 1" in text
    assert "- wse1 1.24 s wse2 Record CPU 1 2 cores, 25.0 GB, ext4, 252 GB" in text
    assert "sweep=records memory=8GiB at c0ffee000000+changes" in text
    assert f"gpt_30b was skipped on this machine: {REASON}." in text
    results = read_results(fake.job())
    assert [training.run for training in results.trained] == ["gptneox_20b"]
    assert results.trained[0].evaluation is None


def test_cards_of_a_checkout_are_shown_by_every_sweep_the_smallest_first(fake):
    fake.card("record_gptneox_20b", 20_554_567_680)
    fake.card("record_gpt3_xl", 1_300_000_000)
    fake.plan("gpt_111m", 111_000_000)
    text = words(fake, "Record runs")
    assert text.index("record_gpt3_xl 2026") < text.index("record_gptneox_20b 2026")
    assert "skipped" not in text


def test_a_damaged_card_is_named(fake):
    fake.card("record_gpt3_xl", 1_300_000_000)
    path = fake.results / "records/record_gpt3_xl.json"
    path.write_text(path.read_text().replace('"losses"', '"loss"'))
    with pytest.raises(ReportError, match=r"records/record_gpt3_xl.json: losses: "):
        read_results(fake.job())


def two_optimizers(fake):
    """Three seeds of AdamW and of Adafactor, which ends one percent higher on average."""
    for seed, factor in enumerate((1.00, 1.01, 1.02)):
        loss = 5.0 + 0.1 * seed
        fake.train(f"adamw_{seed}", 1_010_000, loss, settings={"seed": seed}, model="nano_1m")
        settings = {"seed": seed, "optimizer": "adafactor", "learning_rate": 0.05}
        changes = {"model": "nano_1m", "precision": "bf16"}
        name = f"two_bytes_{seed}"
        fake.train(name, 1_010_000, loss * factor, settings=settings, **changes)


def test_optimizers_are_compared_over_their_seeds(fake):
    two_optimizers(fake)
    fake.train("nano_3m", 3_020_000, 4.7)
    text = words(fake, "Optimizers compared")
    assert "nano_1m adamw fp32 12 0.002 3 5.1000 0.1000 - -" in text
    assert "adafactor bf16 2 0.05 3 5.1517 0.1520 +1.01 % +0.00 % to +2.00 %" in text
    assert "nano_3m" not in text


def test_runs_of_other_lengths_or_texts_are_not_compared(fake):
    two_optimizers(fake)
    for number in range(3):
        fake.train(
            f"two_bytes_{number}",
            1_010_000,
            4.0,
            settings={"optimizer": "adafactor"},
            corpus="code",
        )
    assert compare(read_results(fake.job()).trained) == []


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_the_bytes_that_are_told_are_those_of_the_store(optimizer):
    shape = (4096, 4096)
    for precision in Precision:
        tensors = [
            (weight_dtype(optimizer, precision, shape), shape),
            *state_specs(optimizer, precision, shape).values(),
        ]
        stored = sum(dtype.itemsize * prod(size) for dtype, size in tensors)
        assert stored / 4096**2 == pytest.approx(STORED_BYTES[optimizer.value], rel=0.02)
