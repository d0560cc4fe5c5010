"""metrics.json of a fine-tuning run, in the form of an evaluation's: figures of training and of the compiled model.

`asset run` shows it as a table at the end. Names of figures: `accuracy` is the tuned model's with transformers,
`accuracy_compiled_int8` the compiled model's; `latency_…` is the milliseconds of one row, and `speedup_…` the ratio to
transformers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from evaluation.report.metrics_file import Metric
from finetune.package.compiled_check import CompiledCheck
from finetune.package.mlflow_folder import model_name
from finetune.package.tuned_model import Training
from finetune.prepare.prepared import Settings
from tables.disk import write_whole

UNITS = {
    "loss": "nats",
    "accuracy": "share",
    "f1_macro": "share",
    "mcc": "number",
    "precision_macro": "share",
    "recall_macro": "share",
    "f1": "share",
    "exact": "share",
}
"""The unit of each figure of finetune.tasks."""


def of_model(settings: Settings, training: Training, check: CompiledCheck | None) -> list[Metric]:
    """Return the figures of the tuned model: from the check with transformers in fp32, with intervals.

    Figures that the check does not have come from training: the best checkpoint, in the precision of training.
    """
    rows = settings.data["validation"].rows
    checked = check.transformers.figures if check else {}
    found = []
    for name in settings.tuning.metrics:
        value = training.best.metrics.get(name, math.nan)
        if name in checked:
            found.append(
                _metric(name, *checked[name], rows, UNITS[name], "of the tuned model, by transformers in fp32")
            )
        elif math.isfinite(value):
            described = "of the best checkpoint, as training measured it"
            found.append(_metric(name, value, None, None, rows, UNITS[name], described))
    return found


def of_check(check: CompiledCheck) -> list[Metric]:
    """Return the figures of the compiled model, and the time that a row takes it and transformers."""
    compiled = {f"compiled_{precision}": found for precision, found in check.compiled.items()}
    metrics = [
        _metric(f"{name}_{who}", *figure, check.rows, UNITS[name], "of all validation rows")
        for who, found in compiled.items()
        for name, figure in found.figures.items()
    ]
    if not check.timed_rows:
        return metrics
    described = f"the median time of one row by itself, on {check.threads} threads"
    for who, found in {"transformers_fp32": check.transformers, **compiled}.items():
        metrics.append(_metric(f"latency_{who}", found.milliseconds, None, None, check.timed_rows, "ms", described))
    for precision in check.compiled:
        times = check.speedup(precision)
        metrics.append(
            _metric(
                f"speedup_compiled_{precision}", times, None, None, check.timed_rows, "×", "over transformers in fp32"
            )
        )
    return metrics


def document(settings: Settings, metrics: list[Metric], check: CompiledCheck | None) -> dict[str, Any]:
    """Return the content of metrics.json."""
    left_out = [{"name": "int8", "reason": note} for note in check.notes] if check else []
    if check is None:
        left_out = [{"name": "the compiled model", "reason": "apply_ort is off"}]
    left_out += [{"name": "apply_ort", "reason": failure} for failure in (check.failures if check else [])]
    return {
        "task": settings.task,
        "model": {"model": model_name(settings), "base_model": settings.base.name},
        "data": {"rows": settings.data["validation"].rows, "rejected": None},
        "settings": {**settings.features.model_dump(), **settings.training.model_dump()},
        "metrics": [metric.model_dump() for metric in metrics],
        "left_out": left_out,
    }


def write(content: dict[str, Any], folder: Path) -> Path:
    """Write metrics.json into a folder, whole; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "metrics.json"
    write_whole(file, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    return file


def _metric(
    name: str, value: float, low: float | None, high: float | None, rows: int, unit: str, definition: str
) -> Metric:
    better = "lower" if name.startswith(("loss", "latency")) else "higher"
    return Metric(
        name=name,
        value=value,
        low=low,
        high=high,
        rows=rows,
        unit=unit,
        better=better,
        headline=True,
        definition=definition,
    )
