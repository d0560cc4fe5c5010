"""What a metric is: one function a metric, whose docstring is its definition and its source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from evaluation.metrics.bootstrap import Estimate, Statistic

Unit = Literal["share", "nats", "perplexity", "number"]
Better = Literal["higher", "lower"]
Figure = Callable[[Any], Statistic | Estimate]


class LeftOut(Exception):
    """A metric or a slice that cannot be computed from these files; the message says why."""


@dataclass(frozen=True)
class Metric:
    """A metric: how metrics.json tells of it, and the function that computes it from a task's rows.

    The function returns a Statistic, of which the interval is yet to be found, or an Estimate, which has one. It raises
    LeftOut where the rows lack what it takes.
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
    """Make a metric of a function: the part of its docstring after "Source:" is the source, that before the definition.

    @metric("accuracy", "share", "higher")
    def accuracy(texts):
        '''Share of texts whose best label is the true one.

        Source: scikit-learn, accuracy_score.
        '''
    """

    def make(function: Figure) -> Metric:
        definition, _, source = (inspect.getdoc(function) or "").partition("Source:")
        return Metric(name, unit, better, headline, _one_line(definition), _one_line(source), function)

    return make


def _one_line(text: str) -> str:
    return " ".join(text.split())
