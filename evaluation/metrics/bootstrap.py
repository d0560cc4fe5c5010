"""Bootstrap percentile intervals: rows are drawn again, with replacement, and each figure is computed from each draw.

B. Efron, R. Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.

A figure is a function of sums over rows, so a draw only needs the sums. All figures of an evaluation share the draws,
which are made block by block: given the blocks before, the number of a draw's rows in a block is binomial, and each row
of the block is equally likely. This equals drawing from all rows and takes the memory of one block.
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
"""Counts held at once, draws x rows: 4 MB, which fit the CPU's cache. Larger blocks take twice as long."""


class Statistic(Protocol):
    """A figure computed from sums over rows."""

    @property
    def rows(self) -> int:
        """The number of rows that the figure covers."""

    def columns(self, rows: slice) -> Floats:
        """Return the numbers of these rows that are summed: [rows, columns]."""

    def value(self, sums: Floats) -> Floats:
        """Return the figures [...] for sums [..., columns]; NaN for a figure that is not defined."""


@dataclass(frozen=True)
class Ratio:
    """The sum of the values divided by the sum of the weights, passed through `finish` if there is one.

    With weights of 0 and 1 it is the mean of the values with weight 1; values with weight 0 may be anything.
    """

    values: npt.NDArray[Any]
    weights: npt.NDArray[Any] | None = None
    finish: Callable[[Floats], Floats] | None = None

    @property
    def rows(self) -> int:
        """The number of rows with a weight above 0."""
        return len(self.values) if self.weights is None else int(np.count_nonzero(self.weights))

    def columns(self, rows: slice) -> Floats:
        """Return the values and the weights."""
        values = self.values[rows].astype(np.float64)
        weights = np.ones(len(values)) if self.weights is None else self.weights[rows].astype(np.float64)
        return np.stack([np.where(weights > 0, values, 0.0), weights], axis=1)

    def value(self, sums: Floats) -> Floats:
        """Divide the sums."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = sums[..., 0] / sums[..., 1]
            return ratio if self.finish is None else self.finish(ratio)


class Estimate(NamedTuple):
    """A figure with its interval; None if there is only one row, or if most draws have no row that counts."""

    value: float
    low: float | None
    high: float | None
    rows: int


def apart(rows: int) -> npt.NDArray[np.int64]:
    """Return the `starts` of rows that are groups of their own."""
    return np.arange(rows + 1)


def estimates(
    statistics: Sequence[Statistic], config: EvaluationConfig, starts: npt.NDArray[np.int64]
) -> list[Estimate]:
    """Return each statistic with its interval.

    Rows of one group, such as the masks of one text, are drawn together. `starts` [groups + 1] has the first row of each
    group and the end of the last. There is at least one group, and no group is empty.
    """
    if not statistics:
        return []
    plain, drawn = _sums(statistics, config, starts)
    results, end = [], 0
    for statistic in statistics:
        start, end = end, end + statistic.columns(slice(0, 0)).shape[1]
        value = float(statistic.value(plain[start:end]))
        units = min(statistic.rows, len(starts) - 1)  # draws of a single row are all the same
        draws = statistic.value(drawn[:, start:end]) if units > 1 else np.empty(0)
        results.append(Estimate(value, *percentile_interval(value, draws, config), statistic.rows))
    return results


def percentile_interval(value: float, draws: Floats, config: EvaluationConfig) -> tuple[float | None, float | None]:
    """Return the interval of the middle `confidence` of the draws' figures, widened to include the value itself.

    Drawing makes a figure that is never below zero larger, such as a calibration error, so the value can lie outside.
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
    """Return the sums of all statistics' columns: over all groups, and over the groups of each draw."""
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
    """Draw `taken` [draws] of `size` rows, and return how often each row is drawn: [draws, size]."""
    chosen = draw.integers(0, size, int(taken.sum()), np.uint16).astype(np.int64)  # a block has at most 5,000 rows
    chosen += np.repeat(np.arange(len(taken)) * size, taken)
    return np.bincount(chosen, minlength=len(taken) * size).reshape(len(taken), size).astype(np.float64)
