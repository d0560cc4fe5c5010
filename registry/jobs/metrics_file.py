"""The metrics.json that an evaluation leaves in its result."""

from __future__ import annotations

import contextlib
from pathlib import Path

from evaluation.report.metrics_file import Metric, MetricsFileError, parse, read


def read_metrics(output: Path) -> list[Metric]:
    """Return the metrics of an output that is an evaluation's result; an empty list for any other."""
    with contextlib.suppress(MetricsFileError):
        return parse(read(output / "metrics.json")).metrics
    return []
