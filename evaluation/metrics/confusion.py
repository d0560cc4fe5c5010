"""The confusion matrix: how often each label was predicted for each true label, and the figures that follow from it.

scikit-learn computes the figures from the counts. For their intervals the counts are drawn again, as in
evaluation.metrics.bootstrap, and the figures of all draws are computed at once here, which scikit-learn cannot do.
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
    """The pairs of a true and a predicted label, as indices into `labels`, and how often each pair occurs."""

    labels: Sequence[str]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def from_pairs(cls, pairs: Mapping[tuple[str, str], int], labels: Sequence[str]) -> Confusion:
        """Make the matrix from the count of each (true, predicted); `labels` has at least the labels of the pairs."""
        index = {label: number for number, label in enumerate(labels)}
        true = np.array([index[label] for label, _ in pairs])
        predicted = np.array([index[label] for _, label in pairs])
        return cls(labels, true, predicted, np.array(list(pairs.values())))

    @property
    def rows(self) -> int:
        """The number of texts."""
        return int(self.counts.sum())

    def matrix(self) -> list[list[int]]:
        """Return the matrix: a row for each true label, a column for each predicted label."""
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        matrix[self.true, self.predicted] = self.counts
        return matrix.tolist()

    def macro_f1(self, config: EvaluationConfig) -> Estimate:
        """Return the mean F1 of the labels that are true or predicted for a text."""
        value = f1_score(self.true, self.predicted, sample_weight=self.counts, average="macro")
        return self._estimate(float(value), _macro_f1, config)

    def mcc(self, config: EvaluationConfig) -> Estimate:
        """Return Matthews' correlation coefficient for any number of labels."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A single label was found")  # the coefficient is 0 then, which is right
            value = matthews_corrcoef(self.true, self.predicted, sample_weight=self.counts)
        return self._estimate(float(value), _mcc, config)

    def recalls(self, config: EvaluationConfig) -> dict[str, Estimate]:
        """Return the recall of each label that is true of a text."""
        hits, true, _ = self._margins(self.counts[None].astype(np.float64))
        drawn_hits, drawn_true = (
            np.concatenate(part) for part in zip(*self._drawn(_hits_and_true, config), strict=True)
        )
        with np.errstate(invalid="ignore"):
            draws = drawn_hits / drawn_true
        recalls = {}
        for label in np.flatnonzero(true[0]):
            value = float(hits[0, label] / true[0, label])
            recalls[self.labels[label]] = self._interval(value, draws[:, label], config, int(true[0, label]))
        return recalls

    def _estimate(
        self, value: float, figure: Callable[[Floats, Floats, Floats], Floats], config: EvaluationConfig
    ) -> Estimate:
        return self._interval(value, np.concatenate(list(self._drawn(figure, config))), config, self.rows)

    def _interval(self, value: float, draws: Floats, config: EvaluationConfig, rows: int) -> Estimate:
        low, high = percentile_interval(value, draws, config) if rows > 1 else (None, None)
        return Estimate(value, low, high, rows)

    def _drawn(self, figure: Callable[[Floats, Floats, Floats], Drawn], config: EvaluationConfig) -> Iterator[Drawn]:
        """Yield the figure for all draws, some draws at a time."""
        draw = np.random.default_rng(config.seed)
        size = max(1, BLOCK // max(len(self.counts), len(self.labels)))
        for start in range(0, config.bootstrap_samples, size):
            draws = min(size, config.bootstrap_samples - start)
            counts = draw.multinomial(self.rows, self.counts / self.rows, draws)
            yield figure(*self._margins(counts.astype(np.float64)))

    def _margins(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Sum counts [draws, pairs] to [draws, labels]: texts predicted right, texts with the label, texts predicted."""
        right = np.where(self.true == self.predicted, counts, 0.0)
        return self._sum(self.true, right), self._sum(self.true, counts), self._sum(self.predicted, counts)

    def _sum(self, label: npt.NDArray[np.int64], counts: Floats) -> Floats:
        pairs = np.arange(len(label))
        return counts @ csr_array((np.ones(len(label)), (pairs, label)), shape=(len(label), len(self.labels)))


def _hits_and_true(hits: Floats, true: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    return hits, true


def _macro_f1(hits: Floats, true: Floats, predicted: Floats) -> Floats:
    total = true + predicted
    f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
    macro: Floats = f1.sum(axis=-1) / (total > 0).sum(axis=-1)
    return macro


def _mcc(hits: Floats, true: Floats, predicted: Floats) -> Floats:
    """Compute equation 8 of J. Gorodkin (2004), as scikit-learn does; 0 if only one label is true or predicted."""
    rows = true.sum(axis=-1)
    numerator = hits.sum(axis=-1) * rows - (true * predicted).sum(axis=-1)
    product = (rows**2 - (true**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
    return np.divide(numerator, np.sqrt(product), out=np.zeros_like(numerator), where=product > 0)
