"""Classify texts, and pairs of them: labels with their scores.

TextClassification.load(folder).classify(["A joy to read."])
-> [[Label(label="positive", score=0.98)]]     (a text, its labels)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import ClassificationHead, Logits
from serving.model.tokenizer import PairTokenizer
from serving.requests.call import check_answer, check_passages
from serving.settings import Settings
from serving.tasks import Function, Labels, Task

LABEL_BYTES = 40
"""What a label takes in an answer, its name aside."""


class Pair(NamedTuple):
    """A text, and the second of the pair where the model compares two."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True)
class Label:
    """A label of the model's, and its score for a text."""

    label: str
    score: float


class Classified(list[list[Label]]):
    """The labels of each text, best first. `truncated` counts texts longer than the model, whose end it has not read."""

    truncated: int = 0


@dataclass(frozen=True, eq=False)
class TextClassification:
    """A text classifier that is ready to answer; `load` makes it from a folder."""

    task: ClassVar[Task] = "text-classification"
    tokenizer: PairTokenizer
    engine: Engine[Logits]
    labels: Labels
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling it where that was not done yet; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        labels = Labels.from_json(opened.json)
        tokenizer = PairTokenizer(opened.parts.tokenizer, opened.config.vocab_size, opened.config.max_positions)
        engine = open_engine(opened, ClassificationHead(), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, labels, settings, opened.parts.name)

    def classify(
        self, texts: Sequence[str | Pair], top_k: int | None = 1, function: Function | None = None
    ) -> Classified:
        """Return the best `top_k` labels of each text, or all with None.

        Scores are what transformers' pipeline gives: the softmax of the logits; the sigmoid where several labels may
        hold (problem_type multi_label_classification) or there is one; the logits of a regression; or `function`.
        A text longer than the model is cut, as with the pipeline's truncation=True, and counted.

        Raises TooLarge where there are more texts than model inputs allowed, or the answer would be too long.
        """
        rows = [text if isinstance(text, Pair) else Pair(text) for text in texts]
        check_passages(len(rows), self.settings)
        names = sorted(map(len, self.labels.names), reverse=True)[:top_k]
        check_answer(len(rows) * (sum(names) + LABEL_BYTES * len(names)), self.settings)
        encoded = iter(self.tokenizer.ids([text for row in rows for text in row if text is not None]))
        fitted = [
            self.tokenizer.fitted(next(encoded), None if row.text_pair is None else next(encoded)) for row in rows
        ]
        logits = self.engine.run([passage for passage, _ in fitted])
        classified = Classified(self._labels(row, top_k, function or self.labels.function) for row in logits)
        classified.truncated = sum(cut for _, cut in fitted)
        return classified

    def _labels(self, logits: Logits, top_k: int | None, function: Function) -> list[Label]:
        scores = score(logits, function).tolist()
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_k]
        return [Label(self.labels.names[index], scores[index]) for index in best]


def score(logits: Logits, function: Function) -> Logits:
    """Turn logits [labels] into scores.

    >>> score(np.array([0, 0], np.float32), "softmax")
    array([0.5, 0.5], dtype=float32)
    """
    if function == "softmax":
        shares = np.exp(logits - logits.max())
        return np.asarray(shares / shares.sum())
    if function == "sigmoid":
        return np.asarray((1 + np.tanh(logits / 2)) / 2)  # the same as 1 / (1 + exp(-logits)), which overflows
    return logits
