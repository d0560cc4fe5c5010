"""Figures of predictions on the validation rows, with intervals, under the names of metric_for_best_model.

Definitions and intervals are those of evaluation.metrics, so a figure means the same as in an evaluation.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sklearn.metrics import f1_score, matthews_corrcoef

from evaluation.config import EvaluationConfig
from evaluation.metrics.question_answering import QuestionAnswering
from evaluation.metrics.rows import Row
from evaluation.metrics.text_classification import TextClassification
from finetune.tasks.task import TuningTask


class Figure(NamedTuple):
    """A figure on the validation rows and its 95 % interval; a single row has no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def figures(task: TuningTask, truths: Sequence[Any], predictions: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of at least one row; the lists are in the same order."""
    config = EvaluationConfig()
    measured = TextClassification(config) if task.classifies else QuestionAnswering(config)
    for line, (truth, predicted) in enumerate(zip(truths, predictions, strict=True), 1):
        measured.add(Row(line, truth, predicted, {}, None))
    found = {metric["name"]: metric for metric in measured.figures().metrics}
    return {
        name: Figure(found[theirs]["value"], found[theirs]["low"], found[theirs]["high"])
        for name, theirs in task.figures.items()
        if theirs in found
    }


def one_row(task: TuningTask, name: str, truths: Sequence[Any], before: Sequence[str], after: Sequence[str]) -> float:
    """Return how far a figure can fall if one row's prediction changes from `before` to `after`.

    This is one row's share of all rows; for macro F1 and MCC it is more if the row has a rare label.
    """
    share = 1 / len(truths)
    if not task.classifies or name == "accuracy":
        return share
    pairs = Counter(zip(truths, before, strict=True))
    value = _of_pairs(name, pairs)
    moves = {move for move in zip(truths, before, after, strict=True) if move[1] != move[2]}
    falls = [value - _of_pairs(name, _moved(pairs, *move)) for move in moves]
    return max([share, *falls])


def _moved(pairs: Counter[tuple[str, str]], truth: str, before: str, after: str) -> Counter[tuple[str, str]]:
    moved = pairs.copy()
    moved[truth, before] -= 1
    moved[truth, after] += 1
    return +moved


def _of_pairs(name: str, pairs: Counter[tuple[str, str]]) -> float:
    true, predicted = zip(*pairs, strict=True)
    weights = list(pairs.values())
    if name == "f1_macro":
        return float(f1_score(true, predicted, sample_weight=weights, average="macro"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found")  # it is 0 then
        return float(matthews_corrcoef(true, predicted, sample_weight=weights))
