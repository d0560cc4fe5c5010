"""The rows that metrics are computed of, one at a time, and what comes out in the end.

Numbers of rows that are not counted yet: columns that grow, 1 or 8 bytes a number and nothing else.

The best and the worst of a stream of rows: a few are kept, the others let go at once.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from evaluation.config import EvaluationConfig
from evaluation.metrics.bootstrap import Estimate, Ratio, Statistic, estimates
from evaluation.metrics.definition import LeftOut, Metric
from evaluation.metrics.slices import Bands

Part = Literal["ground_truth", "prediction", "prediction_probabilities"]

ROUNDING = 1e-5
"""How far a probability may be out of range: float32 sums to one only about."""

SHOWN = 80
"""Characters of a value in a message."""

PUBLIC_FORM = "takes prediction_probabilities, which were not given"


class RowError(ValueError):
    """A row cannot be used; `part` is the file at fault, and the message says what was expected and found in it."""

    def __init__(self, part: Part, message: str) -> None:
        """Keep the part beside the message."""
        super().__init__(message)
        self.part = part


class Row(NamedTuple):
    """A row of the three files: what is true, what was predicted, and the whole lines.

    `line` is that of the data, and `file` which of its files it is in, where it has several.
    """

    line: int
    truth: Any
    predicted: Any
    prediction: Mapping[str, Any]
    probabilities: Mapping[str, Any] | None
    file: str | None = None

    @property
    def place(self) -> dict[str, Any]:
        """Where an example of the row is in the data, as metrics.json has it."""
        return {"line": self.line} if self.file is None else {"file": self.file, "line": self.line}


@dataclass
class Figures:
    """What was found, as metrics.json has it; `left_out` names what could not be computed, and why."""

    metrics: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    plots: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    data: dict[str, int] = field(default_factory=dict)

    def add(self, metric: Metric, estimate: Estimate) -> None:
        """Add a metric, where its value is a number that JSON can hold."""
        if math.isfinite(estimate.value):
            self.metrics.append(metric.described(*estimate))
        else:
            self.leave_out(metric.name, "is larger than a number can be")

    def add_slice(self, by: str, name: str, metric: str, estimate: Estimate) -> None:
        """Add a slice."""
        place = {"by": by, "name": name, "metric": metric}
        self.slices.append({**place, **estimate._asdict()})

    def leave_out(self, name: str, reason: str) -> None:
        """Say that a metric or a slice is not there."""
        self.left_out.append({"name": name, "reason": reason})


class Task(Protocol):
    """The metrics of a task: rows are added one at a time, and only numbers and a few examples of them are kept."""

    def add(self, row: Row) -> None:
        """Count a row; raises RowError."""

    def figures(self) -> Figures:
        """Return what was found; there must have been a row."""


class Cut(NamedTuple):
    """A kind of slice: the band of each row, and the figure to tell of each band by its values."""

    bands: Bands
    band_of: npt.NDArray[np.integer]
    metric: Metric
    values: npt.NDArray[Any]


def measure(
    found: Figures,
    metrics: Iterable[Metric],
    cuts: Sequence[Cut],
    table: Any,  # noqa: ANN401 - each task's own, which its metrics take
    config: EvaluationConfig,
    starts: npt.NDArray[np.int64],
) -> None:
    """Add to `found` the metrics of a task's table and its slices, all from the same draws of rows."""
    there: list[tuple[Metric, Statistic | Estimate]] = []
    for metric in metrics:
        try:
            there.append((metric, metric.figure(table)))
        except LeftOut as exc:
            found.leave_out(metric.name, str(exc))
    pieces = [(cut, name, Ratio(cut.values, inside)) for cut in cuts for name, inside in cut.bands.split(cut.band_of)]
    summed = [figure for _, figure in there if not isinstance(figure, Estimate)]
    computed = iter(estimates([*summed, *(ratio for _, _, ratio in pieces)], config, starts))
    for metric, figure in there:
        found.add(metric, figure if isinstance(figure, Estimate) else next(computed))
    for cut, name, _ in pieces:
        found.add_slice(cut.bands.by, name, cut.metric.name, next(computed))


def number(part: Part, row: Mapping[str, Any], key: str, least: float = 0.0, most: float = 1.0) -> float:
    """Return a number of a line; raises RowError where it is none, or out of range but for rounding."""
    value = row.get(key)
    if not _is_number(value) or not least - ROUNDING <= value <= most + ROUNDING:
        raise RowError(part, f"expected {key!r} to be a number from {least:g} to {most:g}, found {shown(value)}")
    return min(max(float(value), least), most)


def are_candidates(value: object, most: float = 1.0) -> bool:
    """Tell whether a value is [[text, number], …]; a number is from 0 to `most` and finite, or null if not known.

    >>> are_candidates([["capital", 0.61], ["heart", None]]), are_candidates([[None, 0.5]])
    (True, False)
    """
    return isinstance(value, list) and all(_is_candidate(pair, most) for pair in value)


def _is_candidate(pair: object, most: float) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    return pair[1] is None or (_is_number(pair[1]) and -ROUNDING <= pair[1] <= most + ROUNDING)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: object) -> str:
    """Return a value for a message, shortened where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def histogram(name: str, values: npt.NDArray[Any], bins: int = 10) -> dict[str, Any]:
    """Return how many of the values, from 0 to 1, are in each of the bins of equal width."""
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return {"name": name, "edges": edges.tolist(), "counts": counts.tolist()}


KINDS = {bool: "b", int: "q", float: "d"}


class Columns:
    """Columns of the same length, e.g. Columns(found=bool, rank=int, probability=float)."""

    def __init__(self, **kinds: type) -> None:
        """Name the columns and what is in them; bool holds any number from -128 to 127."""
        self._columns = {name: array(KINDS[kind]) for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._columns)

    def append(self, **values: float) -> None:
        """Add a row: a number for each column."""
        for name, column in self._columns.items():
            column.append(values[name])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        column = self._columns[name]
        return np.frombuffer(column, np.dtype(column.typecode)) if column else np.empty(0, np.dtype(column.typecode))


KEPT = 5


class Examples:
    """The rows of the highest rank so far, highest first; of rows with the same input, only one."""

    def __init__(self, kept: int = KEPT) -> None:
        """Say how many are kept."""
        self._kept = kept
        self._rows: list[tuple[tuple[float, ...], Mapping[str, Any]]] = []

    def offer(self, rank: tuple[float, ...], example: Mapping[str, Any]) -> None:
        """Keep the example if few enough rank higher; of the same rank, the first is kept."""
        if len(self._rows) == self._kept and rank <= self._rows[-1][0]:
            return
        for index, (other, kept) in enumerate(self._rows):
            if kept["input"] == example["input"] and kept["expected"] == example["expected"]:
                if rank <= other:
                    return
                del self._rows[index]
                break
        self._rows.append((rank, example))
        self._rows.sort(key=lambda row: row[0], reverse=True)
        del self._rows[self._kept :]

    def rows(self) -> list[dict[str, Any]]:
        """Return the examples, the highest rank first."""
        return [dict(example) for _, example in self._rows]
