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

from serving.answering.models import AnswerForm, Model, RequestAnswer
from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import ClassificationHead, Logits
from serving.errors import BadRequest
from serving.model.tokenizer import PairTokenizer
from serving.requests.call import check_answer, check_passages
from serving.requests.parameters import Choice, Parameter, Whole
from serving.requests.rows import TEXT_COLUMNS, Fields, Json
from serving.requests.schema import Request, TaskInput
from serving.settings import Settings
from serving.tasks import Function, Labels, Task

LABEL_BYTES = 40
"""The size of a label in an answer, without its name."""


class Pair(NamedTuple):
    """A text, and a second text if the model compares two."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True)
class Label:
    """A label of the model, and its score for a text."""

    label: str
    score: float


class Classified(list[list[Label]]):
    """The labels of each text, best first. `truncated` counts the texts that are longer than the model, whose end is cut."""

    truncated: int = 0


def labels_wanted(request: Request) -> int | None:
    """Return how many labels a text the answer needs; None for all labels."""
    count: int | None = request.parameters.get("top_k", None if request.dialect.full else 1)
    return count


def classified_answer(request: Request, classified: Classified) -> Json:
    """Answer with the best label of each text; with a list of labels if `top_k` is set or the client expects all."""
    lists = request.dialect.full or "top_k" in request.parameters
    rows = [[{"label": label.label, "score": label.score} for label in labels] for labels in classified]
    if request.dialect.full:
        return rows  # Hugging Face's client expects a list of lists even for one text
    return request.shaped(rows if lists else [labels[0] for labels in rows])


SAMPLE_LABELS = (Label("positive", 0.98), Label("negative", 0.02))


def _example(request: Request) -> Json:
    return classified_answer(request, Classified([list(SAMPLE_LABELS[: labels_wanted(request)])]))


def _row_schema(form: AnswerForm, full: bool) -> dict[str, Json]:
    return form.several if full else {"anyOf": [form.one, form.several]}


@dataclass(frozen=True, eq=False)
class TextClassification:
    """A text classifier that is ready to answer; `load` makes it from a folder."""

    task: ClassVar[Task] = "text-classification"
    input: ClassVar[TaskInput] = TaskInput(
        Fields("text-classification", (*TEXT_COLUMNS, "sentence1"), pair=("text_pair", "sentence2")),
        {
            "top_k": Parameter(Whole(1, "max_top_k"), "Labels a text, best first; null for all.", null=True),
            "function_to_apply": Parameter(
                Choice(("softmax", "sigmoid", "none")),
                "From logits to scores; by default as the model's config.json says.",
            ),
        },
        sample="A joy to read.",
        text={"type": "string", "description": "A text to classify."},
    )
    form: ClassVar[AnswerForm] = AnswerForm(
        "label",
        {
            "label": {"type": "string", "description": "A label of the model's config.json."},
            "score": {"type": "number", "description": "By function_to_apply; a probability unless that is none."},
        },
        _row_schema,
        _example,
        counter="x-truncated-rows",
        lists=True,
    )
    tokenizer: PairTokenizer
    engine: Engine[Logits]
    labels: Labels
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling the model if needed; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        labels = Labels.from_json(opened.json)
        tokenizer = PairTokenizer(opened.parts.tokenizer, opened.config.vocab_size, opened.config.max_positions)
        engine = open_engine(opened, ClassificationHead(), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, labels, settings, opened.parts.name)

    def answer_request(self, request: Request) -> RequestAnswer:
        """Answer all rows of a request; raises a RequestError."""
        pairs = [Pair(*row) for row in request.rows]
        labels = self.classify(pairs, labels_wanted(request), request.parameters.get("function_to_apply"))
        return RequestAnswer(classified_answer(request, labels), {self.form.counter: str(labels.truncated)})

    def refused_rows(self, request: Request) -> dict[int, BadRequest]:
        """Return no errors: every row of texts can be classified."""
        return {}

    def classify(
        self, texts: Sequence[str | Pair], top_k: int | None = 1, function: Function | None = None
    ) -> Classified:
        """Return the best `top_k` labels of each text, or all labels with None.

        Scores are those of transformers' pipeline: the softmax of the logits; their sigmoid if several labels may hold
        (problem_type multi_label_classification) or there is one label; the logits themselves for a regression.
        `function` chooses another. A text longer than the model is cut, as with the pipeline's truncation=True, and
        counted.

        Raises TooLarge if there are more texts than the limit, or the answer would be too long.
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
    """Return the scores for logits [labels].

    >>> score(np.array([0, 0], np.float32), "softmax")
    array([0.5, 0.5], dtype=float32)
    """
    if function == "softmax":
        shares = np.exp(logits - logits.max())
        return np.asarray(shares / shares.sum())
    if function == "sigmoid":
        return np.asarray((1 + np.tanh(logits / 2)) / 2)  # the same as 1 / (1 + exp(-logits)), which overflows
    return logits


MODEL: type[Model] = TextClassification
