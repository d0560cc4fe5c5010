"""Predict answers to questions from their contexts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import EvaluationConfig
from evaluation.predict.predictor import Columns, Predicted, Prediction, is_unicode, short, unusable_text
from serving.answering.question_answering import Answers, Options, Question, QuestionAnswering, Span
from serving.engine.engine import OpenFolder
from serving.errors import BadRequest
from serving.settings import Settings
from tables.rows import PRINTED_MESSAGE, Reject, Row, is_printed, is_texts, read_cell

TOP = 5
"""Answers listed for each question."""


class QuestionAnsweringPredictor:
    """A model that answers each row's question with a span of its context; a long context is read in windows."""

    long_name = "windowed_rows"

    def __init__(self, model: QuestionAnswering, columns: Columns, max_answer_length: int) -> None:
        """Take a model, the columns, and how many tokens an answer can have."""
        self.long_rows = 0
        self.likelihood_seconds = 0.0
        self._model = model
        self._columns = columns
        self._options = Options(top_k=TOP, max_answer_length=max_answer_length)

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return the prediction of each row, in order; a row that cannot be used becomes a Reject."""
        checked = [unusable_text(row, self._columns.inputs) or self._truth(row) for row in rows]
        usable = [index for index, truth in enumerate(checked) if not isinstance(truth, Reject)]
        questions = {index: Question(*(rows[index].values[name] for name in self._columns.inputs)) for index in usable}
        answered, refused = self._answer(rows, questions)
        self.long_rows += answered.windowed
        answers = iter(answered)
        results: list[Predicted | Reject] = []
        for index, truth in enumerate(checked):
            reject = truth if isinstance(truth, Reject) else refused.get(index)
            results.append(reject or self._record(rows[index], truth, questions[index], next(answers)))
        return results

    def _answer(self, rows: Sequence[Row], questions: dict[int, Question]) -> tuple[Answers, dict[int, Reject]]:
        """Return the answers to the questions that the model accepts, and a Reject for each of the other rows."""
        try:
            return self._model.answer(list(questions.values()), self._options), {}
        except BadRequest:
            indexes = list(questions)
            refused = self._model.refusals(list(questions.values()), self._options, row_name=lambda _: "the row")
        rejects = {indexes[place]: rows[indexes[place]].reject(exc.code, str(exc)) for place, exc in refused.items()}
        taken = [question for index, question in questions.items() if index not in rejects]
        return self._model.answer(taken, self._options), rejects

    def _truth(self, row: Row) -> dict[str, Any] | Reject:
        column = self._columns.label
        answers = answers_of(row.values[column], row.values[self._columns.inputs[1]])
        if answers is None:
            expected = f'expected {column} to be an answer, or {{"text": [answer, …], "answer_start": [number, …]}}'
            printed = is_printed(row.values[column])
            return row.reject("invalid_label", f"{expected}, {PRINTED_MESSAGE if printed else 'found something else'}")
        if not any(text.strip() for text in answers["text"]):
            message = f"expected an answer in {column}, found none; questions without one (SQuAD 2) are not scored"
            return row.reject("no_answer", message)
        return answers

    def _record(self, row: Row, truth: dict[str, Any], question: Question, spans: Sequence[Span]) -> Predicted:
        best = spans[0]
        top = [[span.answer, short(span.score)] for span in spans]
        return Predicted(
            {self._columns.label: truth},
            {"predictions": best.answer, **row.place, **question._asdict(), "top": top},
            {**row.place, "score": short(best.score), "start": best.start, "end": best.end},
        )


def answers_of(value: Any, context: str) -> dict[str, Any] | None:  # noqa: ANN401 - a value of the user's
    """Return the right answers in SQuAD's form; None if the value has no form of answers.

    >>> answers_of("Paris", "It is Paris.")
    {'text': ['Paris'], 'answer_start': [6]}

    The forms are a text, a list of texts, SQuAD's columns as above, and the list of {"text", "answer_start"} in SQuAD's
    own files. All but the first can also be written as JSON, as in a CSV file. A text that begins with a brace is an
    answer, unless it looks like an object that Python printed. An answer without a start gets the place where the
    context first has it, or -1.
    """
    value = read_cell(value, lambda cell: isinstance(cell, dict) or is_texts(cell) or _is_answers(cell))
    if is_printed(value):
        return None
    if _is_answers(value):
        value = {key: [answer.get(key) for answer in value] for key in ("text", "answer_start")}
    texts = value.get("text") if isinstance(value, dict) else value
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) and is_unicode(text) for text in texts):
        return None
    starts = value.get("answer_start") if isinstance(value, dict) else None
    starts = starts if isinstance(starts, list) else [starts] * len(texts)
    if all(start is None for start in starts):
        starts = [context.find(text) for text in texts]
    if len(starts) != len(texts) or not all(type(start) is int for start in starts):
        return None
    return {"text": texts, "answer_start": starts}


def _is_answers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(answer, dict) for answer in value)


def _open(
    folder: Path, opened: OpenFolder, settings: Settings, columns: Columns, config: EvaluationConfig
) -> QuestionAnsweringPredictor:
    model = QuestionAnswering.load(folder, settings=settings)
    return QuestionAnsweringPredictor(model, columns, config.max_answer_length)


PREDICTION = Prediction(Columns(("question", "context"), "answers"), input_counts=(2,), open=_open)
