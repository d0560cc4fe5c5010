"""Calibration: how close a model's probabilities are to how often it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.bootstrap import Floats


@dataclass(frozen=True)
class ExpectedCalibrationError:
    """The mean of |accuracy - confidence| over bins of equal width, weighted by their rows.

    A bin has the confidences above its lower edge, up to its upper edge; the first bin has 0 too. M. P. Naeini,
    G. Cooper, M. Hauskrecht (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; C. Guo et al.
    (2017), "On Calibration of Modern Neural Networks", equation 3.
    """

    confidence: Floats
    correct: npt.NDArray[Any]
    bins: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.confidence)

    def columns(self, rows: slice) -> Floats:
        """Return each row's accuracy - confidence in the column of its bin, and 1 in the last column."""
        confidence = self.confidence[rows]
        columns = np.zeros((len(confidence), self.bins + 1))
        columns[np.arange(len(confidence)), bin_of(confidence, self.bins)] = self.correct[rows] - confidence
        columns[:, -1] = 1
        return columns

    def value(self, sums: Floats) -> Floats:
        """Add up the gaps of the bins, whatever their sign."""
        error: Floats = np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]
        return error


def bin_of(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence, from 0."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")


def reliability(confidence: Floats, correct: npt.NDArray[Any], bins: int) -> list[dict[str, float | int]]:
    """Return the bins with rows: their edges, number of rows, mean confidence and accuracy.

    >>> reliability(np.array([0.2, 0.4]), np.array([0, 1]), 2)
    [{'low': 0.0, 'high': 0.5, 'rows': 2, 'confidence': 0.30000000000000004, 'accuracy': 0.5}]
    """
    edges = np.linspace(0, 1, bins + 1)
    index = bin_of(confidence, bins)
    rows = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (confidence, correct)]
    return [
        {
            "low": float(edges[n]),
            "high": float(edges[n + 1]),
            "rows": int(rows[n]),
            "confidence": float(sums[0][n] / rows[n]),
            "accuracy": float(sums[1][n] / rows[n]),
        }
        for n in np.flatnonzero(rows)
    ]
