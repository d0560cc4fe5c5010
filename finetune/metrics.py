"""What is measured on validation data: the names of finetune.settings.METRICS, shares from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score

from evaluation.metrics import squad


def cross_entropy(logits: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return each row's negative log likelihood in nats: logits [rows, labels], targets [rows] -> [rows].

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1])).round(3).tolist()
    [0.693]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]


def classification_metrics(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> dict[str, float]:
    """Return what is measured of a classifier: logits [rows, labels], labels [rows].

    The macro averages are over the labels that are true or predicted of a row, as scikit-learn takes them.
    """
    best = logits.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    found = {
        "loss": cross_entropy(logits, labels).mean(),
        "f1_macro": f1_score(labels, best, **macro),
        "mcc": matthews_corrcoef(labels, best),
        "accuracy": accuracy_score(labels, best),
        "precision_macro": precision_score(labels, best, **macro),
        "recall_macro": recall_score(labels, best, **macro),
    }
    return {name: float(value) for name, value in found.items()}


def answer_metrics(answers: Iterable[str], right: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return SQuAD v1.1's mean F1 and exact match of answers, each with all that are right; shares, not percent."""
    pairs = list(zip(answers, right, strict=True))
    return {
        "f1": float(np.mean([squad.f1(answer, wanted) for answer, wanted in pairs])),
        "exact": float(np.mean([squad.exact_match(answer, wanted) for answer, wanted in pairs])),
    }
