"""Question answering: how far the answers are those that were expected, as SQuAD v1.1 counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from evaluation.config import EvaluationConfig
from evaluation.metrics import squad
from evaluation.metrics.bootstrap import Ratio, apart
from evaluation.metrics.columns import Columns
from evaluation.metrics.definition import metric
from evaluation.metrics.examples import Examples
from evaluation.metrics.rows import PUBLIC_FORM, Cut, Figures, Row, RowError, histogram, measure, shown
from evaluation.metrics.slices import ANSWER_LENGTH, ANSWER_WORDS, CONTEXT_LENGTH, CONTEXT_WORDS, length_band

LONG = 2
"""The band of contexts from which on an answer that was found is worth showing."""


@dataclass(frozen=True)
class Answers:
    """What is known of each answer: its exact match, 0 or 1, and its F1, 0 to 1."""

    exact: npt.NDArray[Any]
    f1: npt.NDArray[Any]


@metric("exact_match", "share", "higher", headline=True)
def exact_match(answers: Answers) -> Ratio:
    """Share of answers that are one of those expected, but for case, punctuation, articles and white space.

    Source: the official script of SQuAD v1.1; P. Rajpurkar et al. (2016), https://aclanthology.org/D16-1264.
    """
    return Ratio(answers.exact)


@metric("f1", "share", "higher", headline=True)
def f1(answers: Answers) -> Ratio:
    """Mean F1 of the words that an answer shares with one expected, the best of those; normalized as for exact_match.

    Source: the official script of SQuAD v1.1; P. Rajpurkar et al. (2016), https://aclanthology.org/D16-1264.
    """
    return Ratio(answers.f1)


METRICS = (exact_match, f1)


class QuestionAnswering:
    """The metrics of question answering."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Start with no row."""
        self._config = config
        self._answers = Columns(exact=bool, f1=float, answer=bool, context=bool)
        self._without_context = False
        self._without_score = False
        self._best, self._worst = Examples(), Examples()

    def add(self, row: Row) -> None:
        """Count a row; raises RowError."""
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
        self._offer(row, expected, (exact, best, band))

    def _offer(self, row: Row, expected: list[str], found: tuple[float, float, int]) -> None:
        """Keep what is right, long contexts first; and what shares no word with an answer; the surest first."""
        score = None if row.probabilities is None else row.probabilities.get("score")
        if score is None:
            self._without_score = True
            return
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or score < 0:
            problem = f"expected 'score' to be a number from 0 up, found {shown(score)}"
            raise RowError("prediction_probabilities", problem)
        exact, best, band = found
        texts = (row.prediction.get("question"), row.prediction.get("context"))
        example = {
            "line": row.line,
            "input": "\n".join(text for text in texts if isinstance(text, str)),
            "expected": expected[0] if len(expected) == 1 else expected,
            "predicted": row.predicted,
            "top": [],
            "score": score,
        }
        if exact:
            self._best.offer((float(band >= LONG), score), example)
        elif best == 0:
            self._worst.offer((score,), example)

    def figures(self) -> Figures:
        """Return what was found; there must have been a row."""
        found = Figures()
        answers = Answers(self._answers["exact"], self._answers["f1"])
        kinds = [(ANSWER_LENGTH, self._answers["answer"])]
        if not self._without_context:
            kinds.append((CONTEXT_LENGTH, self._answers["context"]))
        figures = (exact_match, answers.exact), (f1, answers.f1)
        cuts = [Cut(bands, index, *figure) for bands, index in kinds for figure in figures]
        measure(found, METRICS, cuts, answers, self._config, apart(len(self._answers)))
        found.plots["histogram"] = histogram("F1 of an answer", answers.f1)
        found.examples = {"best": self._best.rows(), "worst": self._worst.rows()}
        if self._without_context:
            found.leave_out(f"slices by {CONTEXT_LENGTH.by}", "takes the column 'context' in the predictions")
        if self._without_score:
            found.leave_out("examples", PUBLIC_FORM)
        return found


def _answers(value: object) -> list[str]:
    """Return the answers that are right, of SQuAD's {"text": […], "answer_start": […]}, a list of texts or one text."""
    texts = value.get("text") if isinstance(value, dict) else value
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        expected = 'expected an answer, or {"text": [answer, …], "answer_start": [number, …]}'
        raise RowError("ground_truth", f"{expected}, found {shown(value)}")
    return texts
