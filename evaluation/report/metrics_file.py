"""metrics.json: the results of an evaluation, read, checked, and logged to MLflow.

Null and a missing key mean the same, and unknown keys are ignored, so that a file of a later version can be read. Known
keys must have values of the right type; the error names the place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from evaluation.errors import MetricsFileError, TrackingError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, part: Any) -> Any:  # noqa: ANN401 - any JSON
        return {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else part


class Metric(_Part):
    """A metric; `value`, `low` and `high` are in `unit`, and a share is from 0 to 1."""

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    unit: str = "number"
    better: str = "higher"
    headline: bool = False
    definition: str = ""
    source: str = ""


class Slice(_Part):
    """A metric of some rows: the rows called `name` when all are divided `by` a property."""

    by: str
    name: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0


class Bin(_Part):
    """The answers with a probability from `low` to `high`: their mean probability and the share that was right."""

    low: float
    high: float
    rows: int
    confidence: float | None = None
    accuracy: float | None = None


class Reliability(_Part):
    """The bins of a reliability diagram."""

    bins: list[Bin] = []


class Confusion(_Part):
    """How often each label (column) was predicted for each true label (row)."""

    labels: list[str] = []
    counts: list[list[int]] = []

    @model_validator(mode="after")
    def _is_square(self) -> Confusion:
        size = len(self.labels)
        if len(self.counts) != size or any(len(row) != size for row in self.counts):
            raise ValueError(f"expected {size} rows of {size} counts, one for each label")
        return self


class Histogram(_Part):
    """How many rows have a score between two neighboring edges."""

    name: str = "score"
    edges: list[float] = []
    counts: list[int] = []

    @model_validator(mode="after")
    def _has_an_edge_more_than_counts(self) -> Histogram:
        if self.counts and len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"expected {len(self.counts) + 1} edges for {len(self.counts)} counts")
        return self


class Plots(_Part):
    """The plots of the report; a task has only some of them."""

    reliability: Reliability | None = None
    confusion: Confusion | None = None
    histogram: Histogram | None = None


def _is_lists(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, list) for item in value)


def _candidates_by_mask(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a list of candidates for each mask; the file has a plain list of candidates if there is one mask."""
    several = _is_lists(value) and all(_is_lists(item) for item in value)
    return [item for item in value if item] if several else [value]


def _flags_by_mask(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a list of flags for each mask; the file has a plain list of flags if there is one mask."""
    return [item for item in value if item] if _is_lists(value) else [value]


class Example(_Part):
    """A row and its prediction; `top` has (word, probability) pairs for each mask, best first.

    `right` has a flag for each pair: true if the evaluation counted it as right. `mask`, from 1, names the mask of an
    example if the text has several masks. `file` names the file if the data has several files.
    """

    file: str | None = None
    line: int | None = None
    mask: int | None = None
    input: Any = ""
    expected: Any = None
    predicted: Any = None
    top: Annotated[list[list[tuple[str, float | None]]], BeforeValidator(_candidates_by_mask)] = []
    right: Annotated[list[list[bool]], BeforeValidator(_flags_by_mask)] = []
    score: float | None = None

    @model_validator(mode="after")
    def _has_a_flag_for_each_candidate(self) -> Example:
        if self.right and [len(flags) for flags in self.right] != [len(words) for words in self.top]:
            raise ValueError("expected 'right' to be true or false for each of 'top'")
        return self


class Examples(_Part):
    """The best and the worst rows."""

    best: list[Example] = []
    worst: list[Example] = []


class Data(_Part):
    """How many rows were scored and rejected, and other counts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    rows: int | None = None
    rejected: int | None = None


class LeftOut(_Part):
    """A figure that could not be computed, and the reason."""

    name: str
    reason: str = ""


class MetricsFile(_Part):
    """A metrics.json."""

    task: str
    metrics: list[Metric]
    model: dict[str, Any] = {}
    data: Data = Data()
    settings: dict[str, Any] = {}
    left_out: list[LeftOut] = []
    slices: list[Slice] = []
    plots: Plots = Plots()
    examples: Examples = Examples()


def parse(content: object) -> MetricsFile:
    """Check the content of a metrics.json; raises MetricsFileError, naming the first wrong place."""
    # JSON can hold lone surrogates, and no other text can.
    clean = json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
    try:
        return MetricsFile.model_validate(clean)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        problem = f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise MetricsFileError(f"expected metrics.json as compute_metrics writes it, found {problem}") from exc


def read(path: Path) -> object:
    """Return the JSON of a file; raises MetricsFileError if it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise MetricsFileError(f"expected a file that can be read, found: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise MetricsFileError(f"expected JSON, found: {exc}; give the metrics.json of an evaluation") from exc


def track(metrics: Sequence[Mapping[str, Any]], files: Iterable[Path]) -> bool:
    """Log the values of metrics, and files, to MLflow if MLFLOW_TRACKING_URI is set; returns True if it is.

    On Azure ML it always is. The run is the run of MLFLOW_RUN_ID, which stays open, or else a new run. Raises
    TrackingError.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    import mlflow  # it takes two seconds, and is not needed without a server

    try:
        run = os.environ.get("MLFLOW_RUN_ID")
        if run:
            _log(mlflow.MlflowClient(), run, metrics, files)
        else:
            with mlflow.start_run(run_name="compute_metrics") as own:
                _log(mlflow.MlflowClient(), own.info.run_id, metrics, files)
    except Exception as exc:  # MLflow also raises the errors of its store and of its HTTP library
        raise TrackingError(f"MLflow did not accept the results: {exc}") from exc
    return True


def metric_name(name: str) -> str:
    """Return a metric's name in the characters that MLflow allows.

    >>> metric_name("accuracy@1")
    'accuracy_at_1'
    """
    return name.replace("@", "_at_")


def _log(client: Any, run: str, metrics: Sequence[Mapping[str, Any]], files: Iterable[Path]) -> None:  # noqa: ANN401
    for metric in metrics:
        client.log_metric(run, metric_name(metric["name"]), metric["value"])
    for file in files:
        client.log_artifact(run, str(file))
