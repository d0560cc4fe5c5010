"""How often which label was taken for which, and the figures that follow from it alone.

The figures are scikit-learn's, of the counts. For their intervals the counts are drawn again (evaluation.metrics.bootstrap),
and the same figures computed of all draws at once, which scikit-learn cannot.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.metrics import f1_score, matthews_corrcoef

from evaluation.config import EvaluationConfig
from evaluation.metrics.bootstrap import BLOCK, Estimate, Floats, percentile_interval

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Confusion:
    """The pairs of a true and a predicted label that occur, as indices into `labels`, and how often each does."""

    labels: Sequence[str]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def from_pairs(cls, pairs: Mapping[tuple[str, str], int], labels: Sequence[str]) -> Confusion:
        """Take how often each (true, predicted) occurs; the labels have all that are in it, and others perhaps."""
        index = {label: number for number, label in enumerate(labels)}
        true = np.array([index[label] for label, _ in pairs])
        predicted = np.array([index[label] for _, label in pairs])
        return cls(labels, true, predicted, np.array(list(pairs.values())))

    @property
    def rows(self) -> int:
        """How many texts there are."""
        return int(self.counts.sum())

    def matrix(self) -> list[list[int]]:
        """Return the whole matrix: a row a true label, a column a predicted one."""
        found = np.zeros((len(self.labels), len(self.labels)), np.int64)
        found[self.true, self.predicted] = self.counts
        return found.tolist()

    def macro_f1(self, config: EvaluationConfig) -> Estimate:
        """Return the mean of the labels' F1, of the labels that are true or predicted of some text."""
        value = f1_score(self.true, self.predicted, sample_weight=self.counts, average="macro")
        return self._estimate(float(value), _macro_f1, config)

    def mcc(self, config: EvaluationConfig) -> Estimate:
        """Return Matthews' correlation coefficient, of any number of labels."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A single label was found")  # it is 0 then, as it should be
            value = matthews_corrcoef(self.true, self.predicted, sample_weight=self.counts)
        return self._estimate(float(value), _mcc, config)

    def recalls(self, config: EvaluationConfig) -> dict[str, Estimate]:
        """Return for each label that is true of some text how often it was found."""
        hits, true, _ = self._margins(self.counts[None].astype(np.float64))
        drawn_hits, drawn_true = (np.concatenate(part) for part in zip(*self._drawn(_found, config), strict=True))
        with np.errstate(invalid="ignore"):
            draws = drawn_hits / drawn_true
        found = {}
        for label in np.flatnonzero(true[0]):
            value = float(hits[0, label] / true[0, label])
            found[self.labels[label]] = self._interval(value, draws[:, label], config, int(true[0, label]))
        return found

    def _estimate(
        self, value: float, figure: Callable[[Floats, Floats, Floats], Floats], config: EvaluationConfig
    ) -> Estimate:
        return self._interval(value, np.concatenate(list(self._drawn(figure, config))), config, self.rows)

    def _interval(self, value: float, draws: Floats, config: EvaluationConfig, rows: int) -> Estimate:
        low, high = percentile_interval(value, draws, config) if rows > 1 else (None, None)
        return Estimate(value, low, high, rows)

    def _drawn(self, figure: Callable[[Floats, Floats, Floats], Drawn], config: EvaluationConfig) -> Iterator[Drawn]:
        """Yield the figure of the draws, some draws at a time."""
        draw = np.random.default_rng(config.seed)
        size = max(1, BLOCK // max(len(self.counts), len(self.labels)))
        for start in range(0, config.bootstrap_samples, size):
            draws = min(size, config.bootstrap_samples - start)
            counts = draw.multinomial(self.rows, self.counts / self.rows, draws)
            yield figure(*self._margins(counts.astype(np.float64)))

    def _margins(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Return by label, of counts [draws, pairs]: those found, those true, those predicted: [draws, labels] each."""
        right = np.where(self.true == self.predicted, counts, 0.0)
        return self._by(self.true, right), self._by(self.true, counts), self._by(self.predicted, counts)

    def _by(self, label: npt.NDArray[np.int64], counts: Floats) -> Floats:
        pairs = np.arange(len(label))
        return counts @ csr_array((np.ones(len(label)), (pairs, label)), shape=(len(label), len(self.labels)))


def _found(hits: Floats, true: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    return hits, true


def _macro_f1(hits: Floats, true: Floats, predicted: Floats) -> Floats:
    there = true + predicted
    f1 = np.divide(2 * hits, there, out=np.zeros_like(hits), where=there > 0)
    macro: Floats = f1.sum(axis=-1) / (there > 0).sum(axis=-1)
    return macro


def _mcc(hits: Floats, true: Floats, predicted: Floats) -> Floats:
    """Compute equation 8 of J. Gorodkin (2004), which scikit-learn uses; 0 where only one label is true or predicted."""
    rows = true.sum(axis=-1)
    above = hits.sum(axis=-1) * rows - (true * predicted).sum(axis=-1)
    below = (rows**2 - (true**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
    return np.divide(above, np.sqrt(below), out=np.zeros_like(above), where=below > 0)
