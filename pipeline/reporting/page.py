"""The page: what the template is given, and the words that depend on the numbers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.reporting import humane
from pipeline.reporting.comparison import STORED_BYTES, compare
from pipeline.reporting.figures import suffix_of
from pipeline.reporting.plan_screen import RESOURCES
from pipeline.reporting.results import Machine, Results, StageCost, Training
from pipeline.reporting.scaling import (
    CONFIDENCE,
    SIZES_FOR_A_FIT,
    SIZES_FOR_IRREDUCIBLE_LOSS,
    ScalingLaw,
)
from pipeline.reporting.timeline_plot import lane_uses

TEMPLATE = "template.html.jinja"
COMPUTE_OPTIMAL_TOKENS = 20  # tokens a parameter; Hoffmann et al. 2022, arXiv 2203.15556


@dataclass(frozen=True)
class StageRow:
    """One stage of one run or corpus, as the page lists it."""

    name: str
    stage: str
    cost: StageCost
    hash: str | None


def render(
    results: Results, points: list[Training], law: ScalingLaw | None, figures: Mapping[str, bytes]
) -> str:
    """Write the page as self-contained HTML.

    ``points``: the runs that ``law`` was fitted to. ``figures``: PNGs and SVGs by name.
    """
    stages = stage_rows(results)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "size", "energy", "percent", "fixed", "duration", "change"):
        environment.filters[name] = getattr(humane, name)
    return environment.get_template(TEMPLATE).render(
        results=results,
        trained=results.trained,
        plans=results.plans,
        experiments=results.experiments,
        figures={name: _data_uri(content) for name, content in figures.items()},
        law=law,
        caveats=caveats(points, law) if law else [],
        extrapolation=_extrapolation(results, law) if law else None,
        confidence=f"{100 * CONFIDENCE:.0f} %",
        sizes_for_a_fit=SIZES_FOR_A_FIT,
        points=points,
        resources=RESOURCES,
        streamed=results.streamed,
        lanes={training.run: lane_uses(training.timeline) for training in results.streamed},
        skipped={run.name: run.skipped for run in results.runs if run.skipped},
        comparisons=compare(results.trained),
        stored_bytes=STORED_BYTES,
        samples=samples_by_prompt(results.trained),
        machines=machines(results.trained),
        versions=versions(results.trained),
        stages=stages,
        seconds=sum(row.cost.seconds or 0.0 for row in stages),
    )


def caveats(points: list[Training], law: ScalingLaw) -> list[str]:
    """What the law does not say, in sentences that fit these runs."""
    metrics = [point.metrics for point in points]
    ratios = [m.tokens / m.parameters for m in metrics]
    tokens = _span([m.tokens for m in metrics])
    optimum = (
        f"that is {_span(ratios)} tokens a parameter, where about {COMPUTE_OPTIMAL_TOKENS} make "
        "the best of a given amount of computing (published: Hoffmann et al., 2022)."
    )
    seeds = sorted({point.settings.seed for point in points})
    seed_words = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    rates = sorted({point.settings.learning_rate for point in points})
    rate_words = " or ".join(f"{rate:g}" for rate in rates)
    return [
        f"Every model saw {tokens} tokens, whatever its size; {optimum}"
        if len({m.tokens for m in metrics}) == 1
        else f"The models saw {tokens} tokens, so size and data change together; {optimum}",
        f"Each size was trained once ({seed_words}), with a peak learning rate of {rate_words} "
        "that was not tuned for it: how much a second run would differ is not measured.",
        "The irreducible loss is one of the fitted numbers, and the least certain of them."
        if len(law.theta) > 2
        else f"{len(points)} sizes cannot tell an irreducible loss apart (it is fitted from "
        f"{SIZES_FOR_IRREDUCIBLE_LOSS} sizes on), so this line falls for ever; text does not "
        "allow that, and a real curve bends.",
        f"It holds for the corpus {points[0].corpus}, its tokenizer and this kind of model only.",
    ]


def _extrapolation(results: Results, law: ScalingLaw) -> dict[str, float] | None:
    """The law at the largest planned model, if that lies beyond the largest trained one."""
    largest = max((plan.parameters for plan in results.plans), default=0)
    if largest <= law.sizes.max():
        return None
    size = np.array([float(largest)])
    low, high = law.band(size)
    return {"parameters": largest, "loss": law.loss(size)[0], "low": low[0], "high": high[0]}


def samples_by_prompt(trained: list[Training]) -> dict[str, dict[str, str]]:
    """Continuations by prompt, then by run."""
    prompts: dict[str, dict[str, str]] = {}
    for training in trained:
        for sample in training.evaluation.samples if training.evaluation else []:
            prompts.setdefault(sample.prompt, {})[training.run] = sample.continuation
    return prompts


def machines(trained: list[Training]) -> list[tuple[Machine, list[str]]]:
    """Each machine with the names of the runs that it trained."""
    found: dict[Machine, list[str]] = {}
    for training in trained:
        found.setdefault(training.metrics.machine, []).append(training.run)
    return list(found.items())


def versions(trained: list[Training]) -> dict[str, str]:
    """Version of each package; several where runs were trained with different ones."""
    found: dict[str, list[str]] = {}
    for training in trained:
        for package, version in training.metrics.versions.items():
            if version not in found.setdefault(package, []):
                found[package].append(version)
    return {package: ", ".join(found[package]) for package in sorted(found)}


def stage_rows(results: Results) -> list[StageRow]:
    """Every stage of every corpus and run."""
    corpora = [StageRow(c.corpus, "tokenize", c.cost, None) for c in results.corpora]
    return corpora + [
        StageRow(run.name, stage, run.costs[stage], run.hashes[stage])
        for run in results.runs
        for stage in run.hashes
    ]


def _span(values: list[float] | list[int]) -> str:
    """One number, or the smallest to the largest."""
    ends = [humane.count(min(values)), humane.count(max(values))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _data_uri(content: bytes) -> str:
    kind = {".png": "png", ".svg": "svg+xml"}[suffix_of(content)]
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
