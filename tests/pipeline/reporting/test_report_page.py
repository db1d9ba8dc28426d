"""The page tells what happened, labels every number, and needs nothing but itself."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from pipeline.errors import ReportError
from pipeline.report import run
from pipeline.reporting.humane import MISSING


@pytest.fixture(autouse=True)
def _undrawn(reported, monkeypatch):
    """Only ``reported`` has its figures rendered, which takes longer than all else of a report."""
    monkeypatch.setattr("pipeline.reporting.figures.png", lambda figure: b"undrawn")


class Page(HTMLParser):
    """Collects the text, tags and links of a page."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.links = [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.words.append(data)


def report(fake):
    run(fake.job())
    return page_of(fake)


def page_of(fake):
    return (fake.results / "report.html").read_text()


def section(html, title):
    """The part of the page below one heading."""
    return re.search(rf"<h2>{title}</h2>(.*?)(<h2>|</main>)", html, re.DOTALL).group(1)


def test_the_first_lines_say_what_ran_where_and_how_long(reported):
    text = Page(page_of(reported)).text
    assert "3 models of 1.01 M to 10.2 M parameters were trained for real measured" in text
    assert "on the corpus books (9.80 M tokens)" in text
    assert "2 cores of Imaginary CPU 3000 and 8.00 GB of memory" in text
    assert "6 models of 1.01 M to 20.6 B parameters were planned simulated for wse2" in text
    # Twelve stages of 61 s and the tokenizing of 20.5 s.
    assert "its stages took 12 min 32 s, added up" in text


def test_each_trained_model_has_its_numbers(sweep):
    sweep.train("nano_1m", 1_010_000, 5.214, tokens_per_second=9876.0, train_seconds=100.0)
    text = Page(report(sweep)).text
    assert "nano_1m 1.01 M 246 k 5.114 5.214 52.1 2.086 9.88 k 1.23 GB 1 min 40 s" in text
    assert "nano_10m 10.2 M 246 k 4.252 4.352 43.5 1.741 4.32 k 1.23 GB 1 h 3 min" in text


def test_each_plan_has_its_numbers(reported):
    text = Page(section(page_of(reported), "The ladder.s plans")).text
    assert "gpt_111m wse2 111 M yes 60 of 120 272 ms 190 ms to 435 ms 904 k" in text
    assert "31.0 GB 92.5 % weight stream 31.0 % 25.5 mJ" in text
    assert "does not fit ; what would: partition.sequence_length=512 , wafer=wse3" in text
    assert "model wafer clock I/O bandwidth nano_1m wse2 +6.25 % +3.00 %" in text
    assert "gpt_111m wse2 2.22 B 10 h 230 33 444" in text
    assert "Calibrated to: facts-1." in text


def test_what_ran_names_machine_versions_hashes_and_corpus(reported):
    text = Page(section(page_of(reported), "What ran")).text
    for words in (
        "1,530 documents, 31.6 MB",
        "10.0 M: 9.80 M for training, 200 k for validation; 3.16 bytes a token",
        "vocabulary of 4,096",
        "Linux x86_64",
        "Python 3.11.0, torch 9.8.7",
        f"nano_1m train 1 min 1 s 537 MB {reported.runs['nano_1m']['train'][:12]}",
        "books tokenize 20.5 s 537 MB",
    ):
        assert words in text


def test_the_page_needs_nothing_but_itself(reported):
    html = page_of(reported)
    page = Page(html)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html


def test_the_page_shows_the_figures_beside_it(reported):
    html = page_of(reported)
    names = ("loss_curves", "scaling_law", "record_losses", "plan_speed", "plan_causes")
    for name in names:
        content = (reported.results / "figures" / f"{name}.png").read_bytes()
        assert base64.b64encode(content).decode() in html, name
    assert (reported.results / "figures/overview.png").exists()


def test_every_table_of_results_and_every_figure_wears_a_badge(reported):
    html = page_of(reported)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)
    captions += re.findall(r'<p class="caption">(.*?)</p>', html, re.DOTALL)
    assert len(captions) == 11 + 7
    without = [words for words in captions if 'class="badge' not in words]
    assert without == ["Settings of the trained models."]
    plans = section(html, "The ladder.s plans")
    assert "badge simulated" in plans
    assert "badge measured" not in plans
    assert "badge simulated" not in section(html, "Losses")


def test_the_law_comes_with_its_interval_and_what_it_does_not_say(reported):
    text = Page(section(page_of(reported), "Scaling law")).text
    assert re.search(r"L\(N\) = 15\.\d\d · N .0\.078 over 3 sizes", text)
    assert re.search(r"extrapolated to the largest planned model, 20\.6 B parameters", text)
    assert re.search(r"95 % interval goes from \d\.\d\d to \d\.\d\d", text)
    assert "1 degree of freedom" in text
    assert "Every model saw 246 k tokens, whatever its size" in text
    assert "trained once (seed 0)" in text
    assert "3 sizes cannot tell an irreducible loss apart" in text


def test_models_of_different_tokens_are_not_said_to_have_seen_the_same(sweep):
    sweep.train("nano_10m", 10_200_000, 4.352, tokens=999_000)
    text = Page(section(report(sweep), "Scaling law")).text
    assert "The models saw 246 k to 999 k tokens, so size and data change together" in text


def test_samples_stand_side_by_side_and_are_escaped(sweep):
    path = sweep.results / "nano_3m/evaluation.json"
    hostile = r"<script>alert('x')<\/script><img src=http://x>"
    path.write_text(path.read_text().replace("os  # nano_3m", hostile))
    html = report(sweep)
    samples = section(html, "Samples")
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;img" in samples
    assert samples.count("<pre>") == 3
    assert "os  # nano_10m\nimport sys" in samples


def test_a_sweep_of_plans_alone_is_reported(fake):
    fake.plan("gpt_111m", 111_000_000)
    fake.plan("gptj_6b", 6_050_882_784, wafer="wse3")
    html = report(fake)
    assert "No model was trained in this sweep." in Page(html).text
    assert "2 models of 111 M to 6.05 B parameters were planned" in Page(html).text
    assert "badge measured" not in html[: html.index("<h2>What ran</h2>")]
    assert "Scaling law" not in html
    assert (fake.results / "figures/overview.png").exists()


def test_plans_of_which_none_fits_are_reported(fake):
    fake.unplannable("gptneox_20b", 20_554_567_680)
    text = Page(report(fake)).text
    assert "1 model of 20.6 B parameters was planned" in text
    assert "does not fit" in text


def test_one_trained_model_makes_no_law_and_the_page_says_why(fake):
    fake.train("nano_1m", 1_010_000, 5.214)
    text = Page(report(fake)).text
    assert "1 model of 1.01 M parameters was trained for real" in text
    assert "No fit is made: a line and its uncertainty need at least 3 sizes" in text
    assert "this sweep has 1." in text
    assert not (fake.results / "figures/scaling_law.png").exists()


def test_a_model_that_was_not_evaluated_is_reported_with_what_there_is(fake):
    fake.train("nano_1m", 1_010_000, 5.214)
    del fake.runs["nano_1m"]["evaluate"]
    text = Page(report(fake)).text
    assert f"nano_1m 1.01 M 246 k 5.114 5.224 {MISSING} {MISSING} 4.32 k" in text
    assert "this sweep has 0." in text


def test_the_largest_plan_of_each_wafer_is_pictured(sweep):
    sweep.plan("large_wse3", 10**11, "wse3")
    sweep.pictures("large_wse3")
    html = report(sweep)
    for planned in ("gptj_6b", "large_wse3"):
        for name in ("floorplan", "roofline"):
            drawn = (sweep.results / planned / f"plan_{name}.png").read_bytes()
            assert base64.b64encode(drawn).decode() in html
            assert (sweep.results / f"figures/{name}_{planned}.png").read_bytes() == drawn
    assert not (sweep.results / "figures/floorplan_gpt_111m.png").exists()
    assert "results/large_wse3/plan_trace.json shows the step in Perfetto" in Page(html).text


def test_figures_of_an_earlier_sweep_do_not_stay(sweep):
    report(sweep)
    for name in ("nano_1m", "nano_3m", "nano_10m"):
        del sweep.runs[name]
    report(sweep)
    assert not (sweep.results / "figures/loss_curves.png").exists()
    assert (sweep.results / "figures/plan_memory.png").exists()


def test_an_error_leaves_the_last_report_as_it_was(sweep):
    before = report(sweep)
    (sweep.results / "nano_3m/metrics.json").unlink()
    with pytest.raises(ReportError):
        run(sweep.job())
    assert (sweep.results / "report.html").read_text() == before


def test_the_same_results_give_the_same_page(fake):
    fake.train("nano_1m", 1_010_000, 5.214)
    assert report(fake) == report(fake)
