"""A result that is missing or damaged is named, with the command that makes it."""

from __future__ import annotations

import json

import pytest

from pipeline.config import compose
from pipeline.errors import ReportError
from pipeline.partition import plan_model
from pipeline.reporting.reading import read_results
from pipeline.reporting.scaling import comparable, fit_trained

COMMAND = "snakemake --cores all --config sweep=fake"
FILES = [
    "nano_1m/partition.json",
    "nano_1m/metrics.json",
    "nano_1m/history.jsonl",
    "nano_1m/evaluation.json",
    "nano_1m/config/train.yaml",
    "corpus/books/manifest.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_the_command_that_makes_it(sweep, name):
    (sweep.results / name).unlink()
    with pytest.raises(ReportError, match=f"{name}: missing.*{COMMAND}"):
        read_results(sweep.job())


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named_with_the_remedy(sweep, name):
    path = sweep.results / name
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    with pytest.raises(ReportError, match=f"{name}: .*delete it and make it anew.*{COMMAND}"):
        read_results(sweep.job())


def test_a_wrong_type_is_named_with_its_key_and_value(sweep):
    _change(sweep.results / "gptj_6b/partition.json", parameters="6B")
    with pytest.raises(ReportError, match=r"gptj_6b/partition.json: parameters: .*not '6B'"):
        read_results(sweep.job())


@pytest.mark.parametrize("overrides", [[], ["model.positions=131072"], ["partition.systems=4"]])
def test_what_the_partition_stage_writes_is_read(fake, overrides):
    config = compose(["model=gptneox_20b", "train=none", *overrides])
    made = plan_model(config.model, config.wafer, config.partition)
    fake.planned("real", made)
    [plan] = read_results(fake.job()).plans
    assert (plan.model, plan.fits) == ("gptneox_20b", made["fits"])
    assert (plan.step_seconds, plan.systems) == (made["step_seconds"], made["systems"])
    assert plan.seconds_by_use == made["seconds_by_use"]
    if plan.fits:
        assert plan.arrangement.sram_bytes_per_pe == made["arrangement"]["sram_bytes_per_pe"]


def test_a_missing_key_is_named(sweep):
    path = sweep.results / "nano_3m/evaluation.json"
    content = json.loads(path.read_text())
    del content["bits_per_byte"]
    path.write_text(json.dumps(content))
    with pytest.raises(ReportError, match=r"nano_3m/evaluation.json: bits_per_byte: "):
        read_results(sweep.job())


@pytest.mark.parametrize("name", ["metrics.json", "evaluation.json"])
def test_a_result_of_another_configuration_is_refused(sweep, name):
    _change(sweep.results / "nano_3m" / name, config_hash="f" * 64)
    with pytest.raises(ReportError, match=f"nano_3m/{name}: it comes from configuration ffff"):
        read_results(sweep.job())


def test_a_history_names_the_damaged_line(sweep):
    path = sweep.results / "nano_1m/history.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace('"loss": ', '"loss": "none", "was": ')
    path.write_text("\n".join(lines))
    with pytest.raises(ReportError, match=r"history.jsonl: line 5: loss: "):
        read_results(sweep.job())


def test_an_empty_history_is_refused(sweep):
    (sweep.results / "nano_1m/history.jsonl").write_text("")
    with pytest.raises(ReportError, match=r"history.jsonl: it holds no training step"):
        read_results(sweep.job())


def test_a_stage_that_ran_by_hand_has_no_cost(sweep):
    (sweep.results / "nano_1m/benchmarks/train.tsv").unlink()
    run = read_results(sweep.job()).runs[0]
    assert run.costs["train"].seconds is None
    assert run.costs["evaluate"].seconds == 61.0
    assert run.costs["evaluate"].peak_bytes == 512 * 1024**2


def test_a_stage_too_short_to_be_sampled_has_no_peak(sweep):
    path = sweep.results / "nano_1m/benchmarks/partition.tsv"
    path.write_text("s\th:m:s\tmax_rss\n0.4\t0:00:00\tNA\n")
    cost = read_results(sweep.job()).runs[0].costs["partition"]
    assert (cost.seconds, cost.peak_bytes) == (0.4, None)


def test_a_damaged_benchmark_is_refused(sweep):
    (sweep.results / "nano_1m/benchmarks/train.tsv").write_text("s\tmax_rss\nsoon\t1\n")
    with pytest.raises(ReportError, match=r"benchmarks/train.tsv: it is not a benchmark file"):
        read_results(sweep.job())


def test_history_lies_against_tokens(sweep):
    history = read_results(sweep.job()).trained[0].history
    assert len(history.losses) == 60
    assert history.tokens[-1] == 60 * 4096
    assert list(history.validation_tokens) == [20 * 4096, 40 * 4096, 60 * 4096]


def test_only_runs_of_one_corpus_and_the_best_of_each_size_are_compared(sweep):
    sweep.train("nano_3m_hot", 3_020_000, 4.9)
    sweep.train("nano_6m_code", 6_000_000, 2.0, corpus="code")
    points = comparable(read_results(sweep.job()).trained)
    assert [point.run for point in points] == ["nano_1m", "nano_3m", "nano_10m"]
    assert list(fit_trained(points).losses) == [5.214, 4.731, 4.352]


def _change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
