"""metrics.json, checked: what an evaluation found, in the form that the report is made of.

Null and absent mean the same everywhere, and what is not known here is left alone, so that a file of a later version
can still be read. What is there must be of the right kind: the error names the place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator


class MetricsFileError(Exception):
    """What was read is no metrics.json; the message says what was expected, what was found and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, found: Any) -> Any:  # noqa: ANN401 - it may be anything that JSON can hold
        return {key: value for key, value in found.items() if value is not None} if isinstance(found, dict) else found


class Metric(_Part):
    """One figure; `value`, `low` and `high` are in `unit`, and a share is from 0 to 1."""

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
    """A metric over some of the rows: those called `name` where they are divided `by` something."""

    by: str
    name: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0


class Bin(_Part):
    """The answers whose probability was from `low` to `high`: their mean probability and the share that was right."""

    low: float
    high: float
    rows: int
    confidence: float | None = None
    accuracy: float | None = None


class Reliability(_Part):
    """The bins of a reliability diagram."""

    bins: list[Bin] = []


class Confusion(_Part):
    """How often a label (row) was given which label (column)."""

    labels: list[str] = []
    counts: list[list[int]] = []

    @model_validator(mode="after")
    def _is_square(self) -> Confusion:
        size = len(self.labels)
        if len(self.counts) != size or any(len(row) != size for row in self.counts):
            raise ValueError(f"expected {size} rows of {size} counts, one for each label")
        return self


class Histogram(_Part):
    """How many rows have a score between one edge and the next."""

    name: str = "score"
    edges: list[float] = []
    counts: list[int] = []

    @model_validator(mode="after")
    def _has_an_edge_more_than_counts(self) -> Histogram:
        if self.counts and len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"expected {len(self.counts) + 1} edges for {len(self.counts)} counts")
        return self


class Plots(_Part):
    """What is drawn; a task has only some of them."""

    reliability: Reliability | None = None
    confusion: Confusion | None = None
    histogram: Histogram | None = None


def _a_list_a_mask(found: Any) -> Any:  # noqa: ANN401
    """Return candidates as a list for each mask; a text with one mask has them in no list of their own."""
    several = isinstance(found, list) and all(isinstance(item, list) and _holds_lists(item) for item in found)
    return [item for item in found if item] if several else [found]


def _holds_lists(item: list[Any]) -> bool:
    return all(isinstance(inner, list) for inner in item)


def _flags_a_mask(found: Any) -> Any:  # noqa: ANN401
    """Return what is told of each candidate as a list for each mask, as the candidates are."""
    nested = isinstance(found, list) and all(isinstance(item, list) for item in found)
    return [item for item in found if item] if nested else [found]


class Example(_Part):
    """One row and what the model said of it; `top` holds (word, probability) pairs, best first, for each mask.

    `right` says of each of them whether the evaluation took it for right; without it, that is not known. Of a text with
    several masks an example may be about one of them, `mask`, counted from 1. `file` is there where the data has several.
    """

    file: str | None = None
    line: int | None = None
    mask: int | None = None
    input: Any = ""
    expected: Any = None
    predicted: Any = None
    top: Annotated[list[list[tuple[str, float | None]]], BeforeValidator(_a_list_a_mask)] = []
    right: Annotated[list[list[bool]], BeforeValidator(_flags_a_mask)] = []
    score: float | None = None

    @model_validator(mode="after")
    def _tells_of_each_candidate(self) -> Example:
        if self.right and [len(flags) for flags in self.right] != [len(words) for words in self.top]:
            raise ValueError("expected 'right' to be true or false for each of 'top'")
        return self


class Examples(_Part):
    """The rows with the best scores and those with the worst."""

    best: list[Example] = []
    worst: list[Example] = []


class Data(_Part):
    """How many rows were scored, how many could not be, and whatever else was counted."""

    model_config = ConfigDict(frozen=True, extra="allow")

    rows: int | None = None
    rejected: int | None = None


class LeftOut(_Part):
    """What could not be computed, and why."""

    name: str
    reason: str = ""


class MetricsFile(_Part):
    """All of a metrics.json."""

    task: str
    metrics: list[Metric]
    model: dict[str, Any] = {}
    data: Data = Data()
    settings: dict[str, Any] = {}
    left_out: list[LeftOut] = []
    slices: list[Slice] = []
    plots: Plots = Plots()
    examples: Examples = Examples()


def parse(found: object) -> MetricsFile:
    """Check what JSON gave; raises MetricsFileError, naming the first place that is not as it should be."""
    # Half a surrogate pair can stand in JSON, and nowhere else.
    clean = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    try:
        return MetricsFile.model_validate(clean)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        problem = f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise MetricsFileError(f"expected metrics.json as compute_metrics writes it, found {problem}") from exc


def read(path: Path) -> object:
    """Return what JSON a file holds; raises MetricsFileError where it cannot be read or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise MetricsFileError(f"expected a file that can be read, found: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise MetricsFileError(f"expected JSON, found: {exc}; give the metrics.json of an evaluation") from exc
