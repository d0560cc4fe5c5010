"""Question answering: the figures of an evaluation, with exact match and F1 as in SQuAD v1.1."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.config import EvaluationConfig
from evaluation.errors import LeftOut, RowError
from evaluation.metrics import squad
from evaluation.metrics.bootstrap import Floats, Ratio, apart
from evaluation.metrics.calibration import ExpectedCalibrationError, reliability
from evaluation.metrics.figures import Cut, Figures, TaskMetrics, histogram, measure, metric
from evaluation.metrics.rows import Columns, Examples, Row, are_candidates, shown
from evaluation.metrics.slices import ANSWER_LENGTH, ANSWER_WORDS, CONTEXT_LENGTH, CONTEXT_WORDS, length_band

SHOWN = 5
"""Answers listed for an example."""

WITHOUT_SCORE = "takes the 'score' of every row in prediction_probabilities"

LONG = 2
"""The band from which a context counts as long: a right answer from a long context is a better example."""


@dataclass(frozen=True)
class Answers:
    """What is known of the answers: exact match, 0 or 1; F1 and the score, 0 to 1; no scores unless all answers have one."""

    exact: npt.NDArray[Any]
    f1: npt.NDArray[Any]
    confidence: Floats | None
    bins: int


@metric("exact_match", "share", "higher", headline=True)
def exact_match(answers: Answers) -> Ratio:
    """Share of answers that equal an expected answer, apart from case, punctuation, articles and white space.

    Source: the official script of SQuAD v1.1; P. Rajpurkar et al. (2016), https://aclanthology.org/D16-1264.
    """
    return Ratio(answers.exact)


@metric("f1", "share", "higher", headline=True)
def f1(answers: Answers) -> Ratio:
    """Mean F1 of the words that an answer shares with the best expected answer, normalized as for exact_match.

    Source: the official script of SQuAD v1.1; P. Rajpurkar et al. (2016), https://aclanthology.org/D16-1264.
    """
    return Ratio(answers.f1)


@metric("expected_calibration_error", "share", "lower")
def expected_calibration_error(answers: Answers) -> ExpectedCalibrationError:
    """Mean gap between an answer's score, 1 at most, and how often it is an exact match, over bins of equal width.

    Source: M. P. Naeini et al. (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; C. Guo et al.
    (2017), "On Calibration of Modern Neural Networks", https://proceedings.mlr.press/v70/guo17a.html.
    """
    if answers.confidence is None:
        raise LeftOut(WITHOUT_SCORE)
    return ExpectedCalibrationError(answers.confidence, answers.exact, answers.bins)


METRICS = (exact_match, f1, expected_calibration_error)


class QuestionAnswering:
    """The tally of question answering."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Start without rows."""
        self._config = config
        self._answers = Columns(exact=bool, f1=float, answer=bool, context=bool)
        self._without_context = False
        self._scores = array("d")
        self._best, self._worst = Examples(), Examples()

    def add(self, row: Row) -> None:
        """Add a row; raises RowError."""
        expected = _answers(row.truth)
        if not isinstance(row.predicted, str):
            raise RowError("prediction", f"expected an answer, a text, found {shown(row.predicted)}")
        context = row.prediction.get("context")
        self._without_context |= not isinstance(context, str)
        words = len(context.split()) if isinstance(context, str) else 0
        band = length_band(words, CONTEXT_WORDS)
        exact, best = squad.exact_match(row.predicted, expected), squad.f1(row.predicted, expected)
        shortest = min((len(answer.split()) for answer in expected), default=0)
        self._answers.append(exact=int(exact), f1=best, answer=length_band(shortest, ANSWER_WORDS), context=band)
        top, score = _top(row.prediction.get("top")), _score(row.probabilities)
        if score is not None:
            self._scores.append(
                min(score, 1.0)
            )  # scores of the same words at several places add up, perhaps to more than 1
            self._offer(row, expected, (exact, best, band), top, score)

    def _offer(
        self, row: Row, expected: list[str], judged: tuple[float, float, int], top: list[Any], score: float
    ) -> None:
        """Keep the best examples, long contexts first, and the worst, which share no word with an answer; surest first."""
        exact, best, band = judged
        texts = (row.prediction.get("question"), row.prediction.get("context"))
        example = {
            **row.place,
            "input": "\n".join(text for text in texts if isinstance(text, str)),
            "expected": expected[0] if len(expected) == 1 else expected,
            "predicted": row.predicted,
            "top": top[:SHOWN],
            "score": score,
        }
        if exact:
            self._best.offer((float(band >= LONG), score), example)
        elif best == 0:
            self._worst.offer((score,), example)

    def figures(self) -> Figures:
        """Return the figures of at least one row."""
        figures = Figures()
        sure = np.frombuffer(self._scores) if len(self._scores) == len(self._answers) else None
        answers = Answers(self._answers["exact"], self._answers["f1"], sure, self._config.ece_bins)
        kinds = [(ANSWER_LENGTH, self._answers["answer"])]
        if not self._without_context:
            kinds.append((CONTEXT_LENGTH, self._answers["context"]))
        sliced = (exact_match, answers.exact), (f1, answers.f1)
        cuts = [Cut(bands, index, *metric_and_values) for bands, index in kinds for metric_and_values in sliced]
        measure(figures, METRICS, cuts, answers, self._config, apart(len(self._answers)))
        figures.plots["histogram"] = histogram("F1 of an answer", answers.f1)
        figures.examples = {"best": _with_right(self._best), "worst": _with_right(self._worst)}
        if self._without_context:
            figures.leave_out(f"slices by {CONTEXT_LENGTH.by}", "takes the column 'context' in the predictions")
        if sure is None:
            for name in ("reliability", "examples"):
                figures.leave_out(name, WITHOUT_SCORE)
        else:
            figures.plots["reliability"] = {"bins": reliability(sure, answers.exact, answers.bins)}
        return figures


def _top(value: object) -> list[Any]:
    """Return the best answers, [[answer, score], …]; an empty list if the line has none."""
    if value is None:
        return []
    if not isinstance(value, list) or not are_candidates(value, math.inf):
        raise RowError("prediction", f"expected 'top' to be [[answer, score], …], found {shown(value)}")
    return value


def _score(probabilities: Mapping[str, Any] | None) -> float | None:
    """Return the score of the predicted answer; None if it is not known."""
    score = None if probabilities is None else probabilities.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or score < 0:
        problem = f"expected 'score' to be a number from 0 up, found {shown(score)}"
        raise RowError("prediction_probabilities", problem)
    return float(score)


def _with_right(kept: Examples) -> list[dict[str, Any]]:
    """Return the examples, each with a flag for each of its best answers: True for an exact match."""
    examples = kept.rows()
    for example in examples:
        expected = _answers(example["expected"])
        example["right"] = [bool(squad.exact_match(answer, expected)) for answer, _ in example["top"]]
    return examples


def _answers(value: object) -> list[str]:
    """Return the right answers from SQuAD's {"text": […], "answer_start": […]}, a list of texts, or a text."""
    texts = value.get("text") if isinstance(value, dict) else value
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        expected = 'expected an answer, or {"text": [answer, …], "answer_start": [number, …]}'
        raise RowError("ground_truth", f"{expected}, found {shown(value)}")
    return texts


TASK_METRICS = TaskMetrics(QuestionAnswering, alternatives=True, input_parts=("question", "context"))
