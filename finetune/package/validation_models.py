"""A tuned model that predicts validation rows: through transformers, and through the engine of serving/.

Both read the same tokens: a classifier reads as much of a text as the model takes; question answering reads the same windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from evaluation.predict.predictor import settings_for
from finetune.prepare.prepared import Settings
from serving.answering.question_answering import MAX_SEQ_LEN, Options, QuestionAnswering
from serving.answering.text_classification import Pair, TextClassification
from serving.errors import BadRequest

BATCH = 16
"""Rows of like length that transformers gets at once."""

NO_ANSWER = ""
"""The prediction for a question that leaves no room for its context; score.py refuses this question."""


class Model(Protocol):
    """A model that predicts a label, or an answer, for each row."""

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the predictions for the rows, in their order."""


class CompiledClassifier:
    """A classifier on the engine."""

    def __init__(self, folder: Path, precision: str, cache: Path) -> None:
        """Compile a model folder into `cache`; raises ModelFolderError."""
        self._model = TextClassification.load(
            folder, settings=replace(settings_for("cpu", precision, None), cache_dir=cache)
        )

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the best label of each row."""
        found = self._model.classify([Pair(row["text"], row.get("text_pair")) for row in rows])
        return [labels[0].label for labels in found]


class CompiledReader:
    """A question answerer on the engine."""

    def __init__(self, folder: Path, precision: str, cache: Path, settings: Settings) -> None:
        """Compile a model folder into `cache`; raises ModelFolderError."""
        serving = replace(settings_for("cpu", precision, None), cache_dir=cache)
        self._model = QuestionAnswering.load(folder, settings=serving)
        self._options = windows(settings, self._model.tokenizer.max_length)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the best answer of each row."""
        questions = [(row["question"], row["context"]) for row in rows]
        try:
            return [spans[0].answer for spans in self._model.answer(questions, self._options)]
        except BadRequest:
            refused = self._model.refusals(questions, self._options)
        asked = [question for index, question in enumerate(questions) if index not in refused]
        found = iter(self._model.answer(asked, self._options))
        return [NO_ANSWER if index in refused else next(found)[0].answer for index in range(len(rows))]


class TransformersClassifier:
    """A classifier as transformers' pipeline runs it, on the CPU in fp32."""

    def __init__(self, folder: Path) -> None:
        """Load a model folder."""
        from transformers import pipeline

        self._pipeline = pipeline("text-classification", str(folder), device="cpu", dtype="float32")

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the best label of each row; rows of like length go together."""
        texts = [{name: row[name] for name in ("text", "text_pair") if row.get(name)} for row in rows]
        order = sorted(range(len(texts)), key=lambda index: sum(map(len, texts[index].values())))
        batch = min(BATCH, len(texts))
        found = self._pipeline([texts[index] for index in order], truncation=True, batch_size=batch)
        labels = {index: answer["label"] for index, answer in zip(order, found, strict=True)}
        return [labels[index] for index in range(len(texts))]


class TransformersReader:
    """A question answerer as transformers runs it, on the CPU in fp32."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Load a model folder."""
        from finetune.package.question_answering_pyfunc import Reader

        self._reader = Reader(folder)
        self._options = windows(settings, self._reader.model.config.max_position_embeddings)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the best answer of each row."""
        return [self._answer(row["question"], row["context"]) for row in rows]

    def _answer(self, question: str, context: str) -> str:
        options = self._options
        sizes = (options.max_answer_length, options.max_seq_len, options.doc_stride)
        try:
            return str(self._reader.answer(question, context, *sizes)["answer"])
        except ValueError:
            return NO_ANSWER


def windows(settings: Settings, positions: int) -> Options:
    """Return the window settings: those of training, limited by the model's positions."""
    features = settings.features
    length = min(features.max_seq_length if features.max_seq_length > 0 else MAX_SEQ_LEN, positions)
    stride = min(features.doc_stride, length // 2)
    return Options(max_answer_length=features.max_answer_length_in_tokens, max_seq_len=length, doc_stride=stride)
