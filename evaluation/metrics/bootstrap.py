"""Bootstrap percentile intervals: the rows are drawn again, with replacement, and each figure computed from each draw.

B. Efron, R. Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.

A figure here is a function of sums over rows, so a draw needs the sums only. All figures of an evaluation share the
draws. They are made block by block: how many of a draw's rows fall into a block is binomial given those before it, and
within the block each row is as likely. That is the same as drawing from all rows, and takes memory for one block only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from evaluation.config import EvaluationConfig

Floats = npt.NDArray[np.float64]

BLOCK = 500_000
"""Counts held at once, draws x rows: 4 MB, which stays in the CPU's cache. Larger blocks take twice as long."""


class Statistic(Protocol):
    """A figure that is computed from sums over rows."""

    @property
    def rows(self) -> int:
        """How many rows the figure is about."""

    def columns(self, rows: slice) -> Floats:
        """Return what is summed, of these rows: [rows, columns]."""

    def value(self, sums: Floats) -> Floats:
        """Return the figure for sums [..., columns]: [...], not-a-number where there is none."""


@dataclass(frozen=True)
class Ratio:
    """The sum of `values` over that of `weights`, which `finish` makes the figure of; a mean where the weights are 0 or 1.

    Where a weight is 0 the value does not count, whatever it is.
    """

    values: npt.NDArray[Any]
    weights: npt.NDArray[Any] | None = None
    finish: Callable[[Floats], Floats] | None = None

    @property
    def rows(self) -> int:
        """How many rows have a weight."""
        return len(self.values) if self.weights is None else int(np.count_nonzero(self.weights))

    def columns(self, rows: slice) -> Floats:
        """Return values and weights."""
        values = self.values[rows].astype(np.float64)
        weights = np.ones(len(values)) if self.weights is None else self.weights[rows].astype(np.float64)
        return np.stack([np.where(weights > 0, values, 0.0), weights], axis=1)

    def value(self, sums: Floats) -> Floats:
        """Divide."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = sums[..., 0] / sums[..., 1]
            return ratio if self.finish is None else self.finish(ratio)


class Estimate(NamedTuple):
    """A figure with its interval, which is None where it makes no sense: of one row, or of none in most draws."""

    value: float
    low: float | None
    high: float | None
    rows: int


def apart(rows: int) -> npt.NDArray[np.int64]:
    """Return the `starts` of rows that do not belong together."""
    return np.arange(rows + 1)


def estimates(
    statistics: Sequence[Statistic], config: EvaluationConfig, starts: npt.NDArray[np.int64]
) -> list[Estimate]:
    """Return each statistic with its interval.

    Rows that belong together, as the masks of one text, are drawn together: `starts` [groups + 1] is where each group
    starts, and the end of the last. None is empty, and there is one at least.
    """
    if not statistics:
        return []
    plain, drawn = _sums(statistics, config, starts)
    found, end = [], 0
    for statistic in statistics:
        start, end = end, end + statistic.columns(slice(0, 0)).shape[1]
        value = float(statistic.value(plain[start:end]))
        units = min(statistic.rows, len(starts) - 1)  # one row, drawn again and again, is always the same
        draws = statistic.value(drawn[:, start:end]) if units > 1 else np.empty(0)
        found.append(Estimate(value, *percentile_interval(value, draws, config), statistic.rows))
    return found


def percentile_interval(value: float, draws: Floats, config: EvaluationConfig) -> tuple[float | None, float | None]:
    """Return the middle `confidence` of the figures of the draws, widened to hold the value itself.

    A figure that is never below zero, as a calibration error, gets larger by drawing, and may lie outside otherwise.
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) < config.bootstrap_samples / 2:
        return None, None
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _sums(
    statistics: Sequence[Statistic], config: EvaluationConfig, starts: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the sums of all statistics' columns: over all groups, and over those of each draw."""
    draw = np.random.default_rng(config.seed)
    groups = len(starts) - 1
    left = np.full(config.bootstrap_samples, groups)
    plain: Any = 0.0
    drawn: Any = 0.0
    for block in _blocks(groups, max(1, BLOCK // config.bootstrap_samples)):
        rows = slice(starts[block.start], starts[block.stop])
        columns = np.hstack([statistic.columns(rows) for statistic in statistics])
        columns = np.add.reduceat(columns, starts[block] - starts[block.start], axis=0)
        size = block.stop - block.start
        taken = draw.binomial(left, size / (groups - block.start))
        left -= taken
        plain = plain + columns.sum(axis=0)
        drawn = drawn + _counts(draw, taken, size) @ columns
    return plain, drawn


def _blocks(groups: int, size: int) -> Iterator[slice]:
    for start in range(0, groups, size):
        yield slice(start, min(start + size, groups))


def _counts(draw: np.random.Generator, taken: npt.NDArray[np.int64], size: int) -> Floats:
    """Return how often each of `size` rows is drawn where `taken` [draws] rows are: [draws, size]."""
    chosen = draw.integers(0, size, int(taken.sum()), np.uint16).astype(np.int64)  # a block has 5,000 rows at most
    chosen += np.repeat(np.arange(len(taken)) * size, taken)
    return np.bincount(chosen, minlength=len(taken) * size).reshape(len(taken), size).astype(np.float64)
