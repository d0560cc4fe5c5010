"""Predict answers to questions from their contexts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from evaluation.predict.predictor import Columns, Predicted, is_unicode, short, unusable_text
from serving.answering.question_answering import Answers, Options, Question, QuestionAnswering, Span
from serving.errors import BadRequest
from serving.settings import Settings
from tables.rows import PRINTED_MESSAGE, Reject, Row, is_printed, is_texts, read_cell

TOP = 5
"""Answers that are listed for each question."""


class QuestionAnsweringPredictor:
    """A model that answers each row's question with a span of its context; a long context is read in windows."""

    long_name = "windowed_rows"

    def __init__(self, model: QuestionAnswering, columns: Columns, max_answer_length: int) -> None:
        """Take a model, the columns, and the tokens of the longest answer."""
        self.long_rows = 0
        self.likelihood_seconds = 0.0
        self._model = model
        self._columns = columns
        self._options = Options(top_k=TOP, max_answer_length=max_answer_length)

    @classmethod
    def open(cls, folder: Path, settings: Settings, columns: Columns, max_answer_length: int) -> Self:
        """Open a model folder; raises ModelFolderError."""
        return cls(QuestionAnswering.load(folder, settings=settings), columns, max_answer_length)

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return what is said of each row, in their order; a row that cannot be used is a Reject."""
        checked = [unusable_text(row, self._columns.inputs) or self._truth(row) for row in rows]
        usable = [index for index, truth in enumerate(checked) if not isinstance(truth, Reject)]
        questions = {index: Question(*(rows[index].values[name] for name in self._columns.inputs)) for index in usable}
        found, refused = self._answer(rows, questions)
        self.long_rows += found.windowed
        answers = iter(found)
        results: list[Predicted | Reject] = []
        for index, truth in enumerate(checked):
            reject = truth if isinstance(truth, Reject) else refused.get(index)
            results.append(reject or self._record(rows[index], truth, questions[index], next(answers)))
        return results

    def _answer(self, rows: Sequence[Row], questions: dict[int, Question]) -> tuple[Answers, dict[int, Reject]]:
        """Return the answers to the questions that the model takes, and rejects for the rows of the others."""
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
    """Return the right answers in SQuAD's columns; None where the value is no such thing.

    >>> answers_of("Paris", "It is Paris.")
    {'text': ['Paris'], 'answer_start': [6]}

    Taken are a text; SQuAD's columns as here; a list of texts; and the list of {"text", "answer_start"} of SQuAD's own
    files; all but the first also written as JSON, as in a CSV file. A text that begins with a brace is an answer, unless
    it looks as if Python had printed one of these. Without starts, they are where the answers are first found, or -1.
    """
    value = read_cell(value, lambda found: isinstance(found, dict) or is_texts(found) or _is_answers(found))
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
