"""Predict the labels of texts, and of pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import EvaluationConfig
from evaluation.errors import EvaluationError
from evaluation.predict.predictor import Columns, Predicted, Prediction, short, unusable_text
from serving.answering.text_classification import Label, Pair, TextClassification
from serving.engine.engine import OpenFolder
from serving.settings import Settings
from tables.rows import Reject, Row, kind_of

SHOWN = 10
"""Labels that a message lists."""


class TextClassificationPredictor:
    """A classifier that gives each label of a row its probability; a text longer than the model is cut at its end."""

    long_name = "truncated_rows"

    def __init__(self, model: TextClassification, columns: Columns) -> None:
        """Take a model and the columns; raises EvaluationError unless exactly one of the labels is right for a text.

        The metrics compare one right label with one predicted label. A regression has no labels, and in a multi-label
        model several labels can be right at once.
        """
        if model.labels.function == "none":
            raise EvaluationError(
                "expected a classifier, found problem_type regression in config.json, which is not evaluated"
            )
        if model.labels.function != "softmax":
            count = len(model.labels.names)
            found = (
                "1 label" if count == 1 else f"{count} labels, several of which may hold (multi_label_classification)"
            )
            raise EvaluationError(
                f"expected a classifier that chooses one of at least two labels, found one of {found} in config.json, "
                "which is not evaluated; choose a model for single_label_classification"
            )
        self.long_rows = 0
        self.likelihood_seconds = 0.0
        self._model = model
        self._columns = columns
        self._names = frozenset(model.labels.names)
        # Labels can be numbers themselves, such as stars from 1 to 5: then a number is a name and never an index.
        self._by_number = all(_number(name) in (None, index) for index, name in enumerate(model.labels.names))

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return the prediction of each row, in order; a row that cannot be used becomes a Reject."""
        checked = [unusable_text(row, self._columns.inputs) or self._truth(row) for row in rows]
        usable = [row for row, truth in zip(rows, checked, strict=True) if not isinstance(truth, Reject)]
        pairs = [Pair(*(row.values[column] for column in self._columns.inputs)) for row in usable]
        classified = self._model.classify(pairs, top_k=None)
        self.long_rows += classified.truncated
        answers = iter(zip(pairs, classified, strict=True))
        return [
            truth if isinstance(truth, Reject) else self._record(row, truth, *next(answers))
            for row, truth in zip(rows, checked, strict=True)
        ]

    def _truth(self, row: Row) -> str | Reject:
        """Return the model's name for the label of a row, which is a name or an index.

        A number is looked up as a name first, so that a label means the same in CSV, which only has texts, and in JSON.
        """
        value, names = row.values[self._columns.label], self._model.labels.names
        number = _number(value)
        if (isinstance(value, str) or number is not None) and str(value) in self._names:
            return str(value)
        if number is not None and self._by_number and 0 <= number < len(names):
            return names[number]
        if number is None and not isinstance(value, str):
            message = f"expected {self._columns.label} to be a label or its number, found {kind_of(value)}"
            return row.reject("invalid_label", message)
        listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        numbered = " or the number of one" if self._by_number else ""
        message = f"expected {self._columns.label} to be one of the model's labels ({listed}){numbered}, "
        message += f"found {str(value)[:40]!r}"
        return row.reject("unknown_label", message)

    def _record(self, row: Row, truth: str, pair: Pair, labels: Sequence[Label]) -> Predicted:
        texts = {"text": pair.text} if pair.text_pair is None else pair._asdict()
        by_name = {label.label: short(label.score) for label in labels}
        return Predicted(
            {self._columns.label: truth},
            {"predictions": labels[0].label, **row.place, **texts},
            {**row.place, "probabilities": {name: by_name[name] for name in self._model.labels.names}},
        )


def _number(value: Any) -> int | None:  # noqa: ANN401 - a value of the user's
    """Return a label that is a number, or the text of a number as in CSV; None for any other label."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _open(
    folder: Path, opened: OpenFolder, settings: Settings, columns: Columns, config: EvaluationConfig
) -> TextClassificationPredictor:
    return TextClassificationPredictor(TextClassification.load(folder, settings=settings), columns)


PREDICTION = Prediction(Columns(("text",), "label"), input_counts=(1, 2), open=_open)
