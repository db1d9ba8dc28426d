"""A results folder as the stages leave it, filled with made-up numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline import report
from pipeline.job import Job
from pipeline.reporting.plan_files import FLOORPLAN, ROOFLINE
from pipeline.schema import TrackingConfig
from pipeline.slices import ReportSlice
from pipeline.streaming.timeline import Span
from pipeline.streaming.trace import write_chrome_trace

STEPS, TOKENS_PER_STEP = 60, 4096
SPANS = [
    Span("read", "layers.0 weights", 50.0, 53.0, 6e9),
    Span("compute", "forward layers.0", 51.0, 59.0, 3.2e12),
    Span("update", "layers.0", 59.0, 59.5, 5e8),
    Span("write", "layers.0 weights", 59.5, 60.0, 5e8),
]


@dataclass
class FakeResults:
    """Writes a sweep's results one run at a time; ``job()`` is what the report is given."""

    results: Path
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    corpora: list[str] = field(default_factory=list)

    def job(self) -> Job[ReportSlice]:
        config = ReportSlice(sweep="fake", runs=self.runs, corpora=self.corpora)
        return Job("report", "0" * 64, "fake", self.results, config, TrackingConfig())

    def plan(
        self, run: str, /, parameters: int = 10**9, wafer: str = "wse2", **changes: Any
    ) -> None:
        step_seconds = 2e-9 * parameters + 0.05
        plan = {
            "model": run,
            "family": "gpt2",
            "parameters": parameters,
            "layers": 10,
            "hidden": 768,
            "sequence_length": 2048,
            "wafer": wafer,
            "mode": "weight_streaming",
            "systems": 1,
            "sparsity": 0.0,
            "fits": True,
            "micro_batch": 60,
            "gradient_accumulation": 2,
            "global_batch": 120,
            "step_seconds": step_seconds,
            "tokens_per_second": 120 * 2048 / step_seconds,
            "samples_per_second": 120 / step_seconds,
            "model_flops_per_step": 1e15,
            "mfu": 0.31,
            "bottleneck": "weight_stream",
            "joules_per_step": 23e3 * step_seconds,
            "joules_per_token": 23e3 * step_seconds / 120 / 2048,
            "seconds_by_cause": {
                "compute": 0.6 * step_seconds,
                "weight_stream": 0.3 * step_seconds,
                "gradient_stream": 0.2 * step_seconds,
                "fabric": 0.05 * step_seconds,
                "fixed": 0.03 * step_seconds,
                "update": 0.02 * step_seconds,
            },
            "seconds_by_use": {"useful": 0.7 * step_seconds, "weights": 0.3 * step_seconds},
            "gain_of_ten_percent": {"clock": 0.0625, "io_bandwidth": 0.03},
            "bytes": {
                "weights_in": 8.0 * parameters,
                "gradients_out": 4.0 * parameters,
                "activations_sram_peak": 3.1e10,
                "sram_capacity": 3.35e10,
            },
            "run": {
                "tokens": 20.0 * parameters,
                "hours": 10.0,
                "kilowatt_hours": 230.0,
                "dollars_of_energy": 33.0,
                "dollars_of_systems": 444.0,
            },
            "calibration": {"release": "facts-1", "low": 0.7, "high": 1.6},
        }
        self.planned(run, {**plan, **changes})

    def planned(self, run: str, plan: dict[str, Any]) -> None:
        """What the partition stage writes."""
        self._json(f"{run}/partition.json", plan)
        self._stage(run, "partition", {})

    def unplannable(self, run: str, parameters: int) -> None:
        """A plan that does not fit: what depends on a schedule is null."""
        nothing = dict.fromkeys(
            (
                "micro_batch",
                "gradient_accumulation",
                "step_seconds",
                "tokens_per_second",
                "samples_per_second",
                "mfu",
                "bottleneck",
                "seconds_by_cause",
                "seconds_by_use",
                "gain_of_ten_percent",
                "joules_per_step",
                "joules_per_token",
                "run",
            )
        )
        size = {
            "weights_in": 8.0 * parameters,
            "gradients_out": 4.0 * parameters,
            "activations_sram_peak": 9.9e10,
            "sram_capacity": 3.35e10,
        }
        change = ["partition.sequence_length=512", "wafer=wse3"]
        changes = {**nothing, "bytes": size, "fits": False, "would_fit": change}
        self.plan(run, parameters, **changes)

    def gpus(self, run: str, parameters: int) -> None:
        """A plan that names the GPUs of two eras that it was compared with."""
        gpus = [
            {"cluster": "dgx_a100", "era": "2020", "gpus": count, "tokens_per_second": rate}
            for count, rate in ((8, 4e3), (64, 28e3))
        ]
        newer = {"cluster": "dgx_h100", "era": "2023", "gpus": 32, "tokens_per_second": 32e3}
        more = {"step_seconds": 1.0, "configuration": "tensor 8", "design": "sharded"}
        self.plan(run, parameters, gpus=[{**one, **more} for one in [*gpus, newer]])

    def pictures(self, run: str) -> None:
        """The pictures of a plan, as the partition stage draws them."""
        for name, shade in ((FLOORPLAN, 120), (ROOFLINE, 60)):
            Image.new("L", (40, 30), shade).save(self.results / run / name)

    def train(
        self,
        run: str,
        parameters: int,
        loss: float,
        corpus: str = "books",
        settings: dict[str, Any] | None = None,
        **metrics: Any,
    ) -> None:
        self.plan(run, parameters)
        settings = {
            "steps": STEPS,
            "sequence_length": 256,
            "global_batch": 16,
            "learning_rate": 2e-3,
            "seed": 0,
            "precision": "fp32",
            **(settings or {}),
        }
        self._stage(run, "train", {"train": settings, "corpus": corpus})
        tokens = STEPS * TOKENS_PER_STEP
        values = {
            "run": run,
            "model": run,
            "family": "gpt2",
            "parameters": parameters,
            "config_hash": self.runs[run]["train"],
            "execution": "resident",
            "device": "cpu",
            "precision": "fp32",
            "steps": STEPS,
            "tokens": tokens,
            "loss_first": 8.3,
            "loss_last": loss - 0.1,
            "validation_loss": loss + 0.01,
            "tokens_per_second": 4321.0,
            "step_seconds_median": 0.95,
            "peak_rss_bytes": 1_230_000_000,
            "train_seconds": 3780.0,
            "measured": True,
            "versions": {"torch": "9.8.7"},
            "machine": {
                "cpu": "Imaginary CPU 3000",
                "cores": 2,
                "memory_bytes": 8_000_000_000,
                "system": "Linux x86_64",
                "python": "3.11.0",
            },
        }
        self._json(f"{run}/metrics.json", {**values, **metrics})
        self._text(f"{run}/history.jsonl", "".join(_history(loss)))
        self._evaluate(run, parameters, loss)
        if corpus not in self.corpora:
            self._corpus(corpus)

    def stream(self, run: str, parameters: int, loss: float, **metrics: Any) -> None:
        """A streamed training, with the trace of a step of 10 s."""
        values = {
            "execution": "streaming",
            "step_seconds_median": 10.0,
            "peak_rss_bytes": 7_900_000_000,
            "memory_budget_bytes": 8_589_934_592,
            "store_bytes": 2 * parameters,
            "bytes_read": STEPS * 4 * parameters,
            "bytes_written": STEPS * 2 * parameters,
            "floor_seconds": {"compute": 8.0, "transfer": 5, "update": 1.0},
            "predicted_step_seconds": 9.5,
            "scheduled_step_seconds": 8.0,
            "plan": {"kept_layers": 2},
        }
        self.train(run, parameters, loss, **{**values, **metrics})
        write_chrome_trace(SPANS, self.results / run / "timeline.json", f"a step of {run}")

    def record(self, run: str, parameters: int, skipped: str | None = None) -> None:
        """A record run of this sweep: streamed, kept as a card and not evaluated; or skipped."""
        settings = {"record": True, "optimizer": "adafactor"}
        if skipped is None:
            self.stream(run, parameters, 9.0)
            self.card(run, parameters)
            status = {"status": "trained", "card": f"records/{run}.json"}
        else:
            self.plan(run, parameters)
            status = {"status": "skipped", "reason": skipped}
        values = {"steps": 5, "sequence_length": 512, "global_batch": 1, "learning_rate": 0.01}
        training = {**values, "seed": 0, **settings}
        self._stage(run, "train", {"train": training, "corpus": "books"})
        self.runs[run].pop("evaluate", None)
        self._json(f"{run}/record.json", {"config_hash": self.runs[run]["train"], **status})

    def card(self, name: str, parameters: int) -> None:
        """A record card, as a checkout has it."""
        card = {
            "name": name,
            "model": name,
            "parameters": parameters,
            "steps": 5,
            "losses": [10.9, 10.2, 9.8, 9.5, 9.123],
            "tokens_per_step": 512,
            "tokens_per_second": 3.9,
            "step_seconds_median": 132.0,
            "floor_seconds": {"compute": 120.0, "transfer": 90.0, "update": 20.0},
            "seconds_to_first_step": 400.0,
            "peak_rss_bytes": 8_100_000_000,
            "memory_budget_bytes": 8_589_934_592,
            "store_bytes": 2 * parameters,
            "bytes_read": 20 * parameters,
            "bytes_written": 10 * parameters,
            "resumed_after_kill": [2],
            "machine": {
                "cpu": "Record CPU 1",
                "cores": 2,
                "memory_bytes": 25_000_000_000,
                "disk": "ext4, 252 GB",
            },
            "versions": {"torch": "9.8.7"},
            "commit": "c0ffee" + "0" * 34 + "+changes",
            "command": "snakemake --cores all --config sweep=records memory=8GiB",
            "simulated": {"wse1": None, "wse2": 1.24},
            "measured": True,
            "date": "2026-01-02",
        }
        self._json(f"records/{name}.json", card)

    def _evaluate(self, run: str, parameters: int, loss: float) -> None:
        self._stage(run, "evaluate", {})
        samples = [{"prompt": "import ", "continuation": f"os  # {run}\nimport sys"}]
        self._json(
            f"{run}/evaluation.json",
            {
                "run": run,
                "model": run,
                "parameters": parameters,
                "validation_loss": loss,
                "perplexity": 10 * loss,
                "bits_per_byte": loss / 2.5,
                "tokens": 50_000,
                "bytes": 160_000,
                "samples": samples,
                "seconds": 12.5,
                "device": "cpu",
                "config_hash": self.runs[run]["train"],
                "measured": True,
            },
        )

    def _corpus(self, corpus: str) -> None:
        self.corpora.append(corpus)
        splits = {
            "train": {"tokens": 9_800_000, "bytes": 31_000_000, "documents": 1500, "shards": []},
            "validation": {"tokens": 200_000, "bytes": 640_000, "documents": 30, "shards": []},
        }
        self._json(
            f"corpus/{corpus}/manifest.json",
            {
                "format": 1,
                "corpus": corpus,
                "dtype": "uint16",
                "vocabulary": 4096,
                "end_of_text": 0,
                "tokenizer_sha256": "0" * 64,
                "inputs_sha256": "1" * 64,
                "splits": splits,
                "seconds": 20.0,
                "tokens_per_second": 500_000.0,
                "measured": True,
            },
        )
        self._text(f"corpus/{corpus}/benchmarks/tokenize.tsv", _benchmark(20.5))

    def _stage(self, run: str, stage: str, config: dict[str, Any]) -> None:
        digest = hashlib.sha256(f"{run}/{stage}".encode()).hexdigest()
        self.runs.setdefault(run, {})[stage] = digest
        frozen = {"stage": stage, "version": 1, "hash": digest, "run": run, "config": config}
        self._text(f"{run}/config/{stage}.yaml", yaml.safe_dump(frozen))
        self._text(f"{run}/benchmarks/{stage}.tsv", _benchmark(61.0))

    def _json(self, name: str, value: dict[str, Any]) -> None:
        self._text(name, json.dumps(value))

    def _text(self, name: str, text: str) -> None:
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _history(loss: float) -> list[str]:
    """A loss that falls from 8.3 to ``loss``, shaking a little, validated every 20 steps."""
    lines = []
    for step in range(1, STEPS + 1):
        here = loss + (8.3 - loss) * 0.92**step + 0.1 * (-1) ** step
        values = {
            "step": step,
            "loss": here,
            "gradient_norm": 1.0,
            "learning_rate": 1e-3,
            "tokens": step * TOKENS_PER_STEP,
            "step_seconds": 0.95,
            "tokens_per_second": 4321.0,
        }
        lines.append(json.dumps(values) + "\n")
        if step % 20 == 0:
            lines.append(json.dumps({"step": step, "validation_loss": here}) + "\n")
    return lines


def _benchmark(seconds: float) -> str:
    """A benchmark file as Snakemake writes it."""
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    return f"{head}\n{seconds:.4f}\t0:00:00\t512.00\t900.0\t500.0\t501.0\t0.0\t0.0\t99.0\t58.0\n"


@pytest.fixture
def fake(tmp_path: Path) -> FakeResults:
    """An empty results folder to be filled."""
    return FakeResults(tmp_path / "results")


@pytest.fixture
def sweep(fake: FakeResults) -> FakeResults:
    """Three trained models and three plans, one of which does not fit."""
    return fill(fake)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> FakeResults:
    """The same sweep with its report, for tests that only look at it."""
    filled = fill(FakeResults(tmp_path_factory.mktemp("reported") / "results"))
    report.run(filled.job())
    return filled


def fill(fake: FakeResults) -> FakeResults:
    """Write three trained models and three plans, one of which does not fit, and a record card."""
    fake.card("record_gptj_6b", 6_050_882_784)
    fake.train("nano_1m", 1_010_000, 5.214)
    fake.train("nano_3m", 3_020_000, 4.731)
    fake.train("nano_10m", 10_200_000, 4.352)
    fake.plan("gpt_111m", 111_000_000)
    fake.gpus("gptj_6b", 6_050_882_784)
    fake.pictures("gpt_111m")
    fake.pictures("gptj_6b")
    fake.unplannable("gptneox_20b", 20_554_567_680)
    return fake
