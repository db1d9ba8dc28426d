"""Every published row beside what the model makes of it, by group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wse.calibrate import RELEASE, fit, setup_of, simulated
from wse.calibration import calibrated_wafer, committed
from wse.choice import best_step
from wse.cluster.calibrate import left_out_errors, step_of
from wse.cluster.calibration import committed as clusters_committed
from wse.mapping import layouts
from wse.memory import largest_micro_batch, policies
from wse.transformer import training_graph
from wse.validation import TrainingRow, micro_batch_rows, training_rows
from wse.validation.gpu_rows import gpu_rows


@dataclass(frozen=True)
class Comparison:
    """A published number and the simulated one; ``use`` says whether a constant was fitted to it.

    ``left_out`` is the error of the row when it is predicted from a fit to the others.
    """

    group: str
    name: str
    unit: str
    published: float
    simulated: float
    use: str  # fitted, one row (its release has no other), or not fitted
    left_out: float | None = None

    @property
    def error(self) -> float:
        """Relative error of the simulated number."""
        return self.simulated / self.published - 1


UNEXPLAINED = (
    "BERT at a batch of 8192 ran slower per sample than at 2048; nothing in the model does that. "
    "How it was split is not published.",
    "Two rates of a tiny fully connected network (5.0 and 16.2 ms a step, published) give no "
    "depth: they are the fixed cost of two to five layers here, and are not used.",
    "Older releases run slower by up to a third at the same policy: their one row each sets the "
    "achieved rate, and nothing is left to check it.",
    "Small batches may wait for a fixed cost of each layer or for a slower link: a link alone "
    "explains these rows worse, a mix of both they cannot tell.",
)
"""What the rows show and the model does not explain, in sentences."""


def wafer_comparisons() -> list[Comparison]:
    """Training rates and micro-batches of wafers."""
    return [*_rates(), *_micro_batches()]


def _rates() -> Iterable[Comparison]:
    wafer, constants = calibrated_wafer(), committed().releases
    rows = training_rows()
    fitted = [row for row in rows if row.fitted]
    for row in rows:
        made = simulated(row, wafer, constants[RELEASE if row.fitted else row.release])
        left_out = None
        if row.fitted:
            others = fit([other for other in fitted if other is not row], wafer)
            found = best_step(setup_of(row, wafer, others), row.global_batch // row.systems)
            left_out = found.seconds / row.step_seconds - 1 if found else None
        use = "fitted" if row.fitted else "one row"
        yield Comparison(
            _group(row), row.id, "s a step", row.step_seconds, made.seconds, use, left_out
        )


def _group(row: TrainingRow) -> str:
    if not row.fitted:
        return "CS-2, older releases"
    return "CS-2, BERT" if row.shape.family == "bert" else "CS-2, GPT"


def _micro_batches() -> Iterable[Comparison]:
    wafer = calibrated_wafer()
    for row in micro_batch_rows():
        graph = training_graph(row.shape)
        largest = max(
            largest_micro_batch(wafer, graph, layout, policy)
            for layout in layouts(wafer)
            for policy in policies(graph, row.release)
        )
        name = f"{row.shape.name}, {row.release}"
        yield Comparison(
            "CS-2, largest micro-batch", name, "sequences", row.micro_batch, largest, "not fitted"
        )


def gpu_comparisons() -> list[Comparison]:
    """Training steps of GPU clusters, each in its published layout."""
    rows, constants = gpu_rows(), clusters_committed()
    left_out = left_out_errors(rows, constants)
    return [
        Comparison(
            f"A100, {row.group}",
            row.id,
            "s a step",
            row.step_seconds,
            step_of(row, constants).seconds,
            "fitted",
            without,
        )
        for row, without in zip(rows, left_out, strict=True)
    ]


def mean_error(rows: Iterable[Comparison], left_out: bool = False) -> float | None:
    """Mean of the absolute errors; None without any."""
    errors = [row.left_out if left_out else row.error for row in rows]
    known = [abs(one) for one in errors if one is not None]
    return sum(known) / len(known) if known else None


def lines(rows: Iterable[Comparison]) -> list[str]:
    """The table as text: each group's rows, and its mean errors."""
    found: dict[str, list[Comparison]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    made = []
    for group, members in found.items():
        made += ["", f"{group} ({members[0].unit})", _HEADER, *map(_line, members), _mean(members)]
    return made[1:]


_HEADER = (
    f"  {'row':36} {'published':>10} {'simulated':>10} {'error':>8} {'left out':>9}  constants"
)


def _line(row: Comparison) -> str:
    left_out = f"{row.left_out:+9.1%}" if row.left_out is not None else f"{'-':>9}"
    return (
        f"  {row.name:36} {row.published:10.4g} {row.simulated:10.4g} {row.error:+8.1%} {left_out}"
        f"  {row.use}"
    )


def _mean(members: list[Comparison]) -> str:
    bias = sum(row.error for row in members) / len(members)
    left_out = mean_error(members, left_out=True)
    words = f"  mean of |error| {mean_error(members):.1%}, bias {bias:+.1%}"
    return words + (f", left out {left_out:.1%}" if left_out is not None else "")
