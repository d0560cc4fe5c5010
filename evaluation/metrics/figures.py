"""The figures of an evaluation: what a metric is, how a task's metrics are computed, and what metrics.json gets of them.

A metric is a function whose docstring is its definition and its source:

    @metric("accuracy", "share", "higher")
    def accuracy(texts):
        '''Share of texts whose best label is the true one.

        Source: scikit-learn, accuracy_score.
        '''
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from evaluation.config import EvaluationConfig
from evaluation.errors import LeftOut
from evaluation.metrics.bootstrap import Estimate, Ratio, Statistic, estimates
from evaluation.metrics.rows import Row
from evaluation.metrics.slices import Bands
from serving.tasks import TASKS, Task

Unit = Literal["share", "nats", "perplexity", "number"]
Better = Literal["higher", "lower"]
Figure = Callable[[Any], Statistic | Estimate]

NO_PROBABILITIES = "takes prediction_probabilities, which were not given"
"""The reason why a metric is left out if only predictions were given."""


@dataclass(frozen=True)
class Metric:
    """A metric's description for metrics.json, and the function that computes it from a task's rows.

    The function returns a Statistic, whose interval is computed later, or an Estimate, which has an interval. It raises
    LeftOut if the rows lack what the metric needs.
    """

    name: str
    unit: Unit
    better: Better
    headline: bool
    definition: str
    source: str
    figure: Figure

    def described(self, value: float, low: float | None, high: float | None, rows: int) -> dict[str, Any]:
        """Return the metric's entry of metrics.json."""
        return {
            "name": self.name,
            "value": value,
            "low": low,
            "high": high,
            "rows": rows,
            "unit": self.unit,
            "better": self.better,
            "headline": self.headline,
            "definition": self.definition,
            "source": self.source,
        }


def metric(name: str, unit: Unit, better: Better, headline: bool = False) -> Callable[[Figure], Metric]:
    """Make a metric of a function; its docstring is the definition up to "Source:", and the source after it."""

    def make(function: Figure) -> Metric:
        definition, _, source = (inspect.getdoc(function) or "").partition("Source:")
        return Metric(name, unit, better, headline, _one_line(definition), _one_line(source), function)

    return make


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass
class Figures:
    """The results of an evaluation in the form of metrics.json; `left_out` has the missing figures and the reasons."""

    metrics: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    plots: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    data: dict[str, int] = field(default_factory=dict)

    def add(self, metric: Metric, estimate: Estimate) -> None:
        """Add a metric, or leave it out if its value is not a number in JSON."""
        if math.isfinite(estimate.value):
            self.metrics.append(metric.described(*estimate))
        else:
            self.leave_out(metric.name, "is larger than a number can be")

    def add_slice(self, by: str, name: str, metric: str, estimate: Estimate) -> None:
        """Add the value of a metric for the rows of a slice."""
        place = {"by": by, "name": name, "metric": metric}
        self.slices.append({**place, **estimate._asdict()})

    def leave_out(self, name: str, reason: str) -> None:
        """Record that a metric, a slice or a plot is missing."""
        self.left_out.append({"name": name, "reason": reason})


class Tally(Protocol):
    """Collects the rows of a task one at a time, and keeps only numbers and a few examples of them."""

    def add(self, row: Row) -> None:
        """Add a row; raises RowError."""

    def figures(self) -> Figures:
        """Return the figures of at least one row; raises RowError if the rows do not fit together."""


@dataclass(frozen=True)
class TaskMetrics:
    """How a task is evaluated; evaluation/metrics/<module of the task>.py has one, called TASK_METRICS."""

    tally: Callable[[EvaluationConfig], Tally]
    alternatives: bool = False
    """True if a list of expected answers has alternatives, each of which is right; else each mask has its own answer."""
    input_parts: tuple[str, ...] = ()
    """The names of an example's texts, if its input is several texts on lines of their own."""


def metrics_of(task: Task) -> TaskMetrics:
    """Return how a task is evaluated."""
    module = importlib.import_module(f"evaluation.metrics.{TASKS[task].module}")
    metrics: TaskMetrics = module.TASK_METRICS
    return metrics


class Cut(NamedTuple):
    """A division of the rows into slices: the band of each row, and the metric of each band with its values."""

    bands: Bands
    band_of: npt.NDArray[np.integer]
    metric: Metric
    values: npt.NDArray[Any]


def measure(
    figures: Figures,
    metrics: Iterable[Metric],
    cuts: Sequence[Cut],
    table: Any,  # noqa: ANN401 - each task's own, which its metrics take
    config: EvaluationConfig,
    starts: npt.NDArray[np.int64],
) -> None:
    """Add a task's metrics and slices to the figures; all intervals come from the same draws of rows."""
    known: list[tuple[Metric, Statistic | Estimate]] = []
    for metric in metrics:
        try:
            known.append((metric, metric.figure(table)))
        except LeftOut as exc:
            figures.leave_out(metric.name, str(exc))
    slices = [(cut, name, Ratio(cut.values, inside)) for cut in cuts for name, inside in cut.bands.split(cut.band_of)]
    statistics = [figure for _, figure in known if not isinstance(figure, Estimate)]
    computed = iter(estimates([*statistics, *(ratio for _, _, ratio in slices)], config, starts))
    for metric, figure in known:
        figures.add(metric, figure if isinstance(figure, Estimate) else next(computed))
    for cut, name, _ in slices:
        figures.add_slice(cut.bands.by, name, cut.metric.name, next(computed))


def histogram(name: str, values: npt.NDArray[Any], bins: int = 10) -> dict[str, Any]:
    """Count the values, from 0 to 1, in bins of equal width."""
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return {"name": name, "edges": edges.tolist(), "counts": counts.tolist()}
