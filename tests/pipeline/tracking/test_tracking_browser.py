"""``make ui`` in a real browser: the table of runs, one run, a chart."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pipeline import tracking
from pipeline.cli import job_by_hand
from pipeline.config import compose

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_SECONDS = 60  # for the server, and for what it shows, on a slow machine
MANIFEST = {
    "corpus": "text-bpe_512-0123abcd",
    "inputs_sha256": "ab" * 32,
    "tokenizer_sha256": "cd" * 32,
    "splits": {"train": {"tokens": 900, "bytes": 3600, "documents": 9}},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no Chromium on this machine: install chromium to test the MLflow UI in a browser",
    ),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short trainings of one sweep."""
    results = tmp_path_factory.mktemp("ui") / "results"
    for name, rate in (("small", 3e-4), ("smaller", 6e-4)):
        overrides = [f"run={name}", f"train.learning_rate={rate}", "tracking.sweep=two_sizes"]
        job = job_by_hand(compose([*overrides, f"results={results}"]), "train")
        with tracking.training_logger(job, "resident", "cpu", MANIFEST) as logger:
            for step in range(1, 31):
                logger.log_step(step, {"train/loss": 1 + 5 / step})
    return results


@pytest.fixture(scope="module")
def server(results: Path) -> Iterator[str]:
    """The address of the server, started as the Makefile starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{results}/mlflow.db"],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert process.poll() is None, "mlflow ui ended before it answered"
            assert time.monotonic() < deadline, "mlflow ui does not answer"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    """The table of runs, reached as a person does who has never been there."""
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with browser.new_context(viewport={"width": 1800, "height": 1000}) as context:
        context.set_default_timeout(WAIT_SECONDS * 1000)
        page = context.new_page()
        page.goto(server)
        page.get_by_role("button", name="Model training").click()
        page.get_by_role("link", name="onewafer").click()
        yield page


def open_sweep(page: Page) -> None:
    """Unfold the sweep in the table of runs."""
    page.get_by_role("row").filter(has_text="two_sizes").get_by_role("button").click()


def open_run(page: Page, name: str) -> None:
    open_sweep(page)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_the_table_shows_the_runs_below_their_sweep(page: Page) -> None:
    expect(page.get_by_role("link", name="two_sizes")).to_be_visible()
    expect(page.get_by_text("3 matching runs")).to_be_visible()
    open_sweep(page)
    for name in ("small", "smaller"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text("text-bpe_512-0123abcd")).to_have_count(2)


def test_a_run_shows_its_parameters_metrics_and_tags(page: Page) -> None:
    open_run(page, "smaller")
    learning_rate = page.get_by_role("row").filter(has_text="train.learning_rate")
    expect(page.get_by_role("row").filter(has_text="train/loss")).to_contain_text("1.1666")
    learning_rate.scroll_into_view_if_needed()
    expect(learning_rate).to_contain_text("0.0006")
    expect(page.get_by_text("numbers: measured")).to_be_visible()
    expect(page.get_by_role("link", name="two_sizes")).to_be_visible()


def test_the_loss_is_drawn_as_a_curve(page: Page) -> None:
    open_run(page, "small")
    page.get_by_role("tab", name="Model metrics").click()
    expect(page.get_by_text("small (train/loss)")).to_be_visible()
    curve = page.locator(".js-plotly-plot path.js-line").first
    expect(curve).to_be_visible()
    expect(curve).to_have_attribute("d", re.compile(r"^M[^L]+(L[^L]+){10}"))
    box = curve.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 100
