"""The tasks that models are for: the facts about each, and which task and labels a model folder has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.errors import ModelFolderError
from tables.disk import read_start

Task = Literal["fill-mask", "text-classification", "question-answering"]
Function = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class HeadFacts:
    """The layers that only models of one task have, after the encoder; named as in serving.model.checkpoint.

    tokens: which tokens the head reads: the masks, the first token of each row ([CLS]), or every token.
    weight, bias: the tensors of the last layer.
    size: how many numbers the last layer gives a token: a fixed number, or one for each word or label.
    dense: a linear layer before the last one; the model's activation and the layer normalization `norm` follow it, or the
        pooler's activation if there is no `norm`.
    outputs: the names of the results: one name for all numbers, or a name for each.
    pairs: whether a row may be a pair of texts, whose tokens differ by their segment.
    """

    tokens: Literal["masks", "first", "all"]
    weight: str
    bias: str
    size: int | Literal["vocabulary", "labels"]
    dense: str = ""
    norm: str = ""
    outputs: tuple[str, ...] = ("logits",)
    pairs: bool = False

    @property
    def layer(self) -> str:
        """The name of the last layer."""
        return self.weight.removesuffix(".weight")


@dataclass(frozen=True)
class TaskFacts:
    """The facts about a task that serving, evaluation and fine-tuning share.

    Each package keeps its own code for the task in a module called `module`, such as serving/answering/fill_mask.py and
    evaluation/predict/fill_mask.py.
    """

    module: str
    model: str
    """How messages call a model of the task."""
    heads: tuple[str, ...]
    """How the names of transformers' classes for the task end; in config.json, "Bert" or "DistilBert" stands before."""
    mlmodel_names: tuple[str, ...]
    """The task in an MLmodel: `task` of MLflow's flavor, or `task_type` of Azure ML's."""
    head_tensor: str
    """A tensor that only models of this task have, by its canonical name (serving.model.checkpoint)."""
    head: HeadFacts
    columns: tuple[str, ...]
    """The columns of a row in the input frame of an MLflow model."""
    answer: dict[str | None, str]
    """The columns of an answer and their MLflow types; None for an answer without a name."""
    pair_column: str | None = None
    """The column of a second text, if a row may be a pair."""
    pipeline: dict[str, Any] | None = None
    """The options with which MLflow runs transformers' pipeline; None if transformers 5 has no pipeline for the task."""


TASKS: dict[Task, TaskFacts] = {
    "fill-mask": TaskFacts(
        module="fill_mask",
        model="masked-language model",
        heads=("ForMaskedLM", "ForPreTraining"),
        mlmodel_names=("fill-mask",),
        head_tensor="cls.predictions.transform.dense.weight",
        head=HeadFacts(
            tokens="masks",
            weight="cls.predictions.decoder.weight",
            bias="cls.predictions.bias",
            size="vocabulary",
            dense="cls.predictions.transform.dense",
            norm="cls.predictions.transform.LayerNorm",
        ),
        columns=("input_string",),
        answer={None: "string"},
        # A pipeline cannot read windows around a mask, as score.py does, so it cuts a text longer than the model.
        pipeline={"tokenizer_kwargs": {"truncation": True}},
    ),
    "text-classification": TaskFacts(
        module="text_classification",
        model="text classifier",
        heads=("ForSequenceClassification",),
        mlmodel_names=("text-classification", "sentiment-analysis", "multiclass", "multilabel"),
        head_tensor="classifier.weight",
        head=HeadFacts(
            tokens="first",
            weight="classifier.weight",
            bias="classifier.bias",
            size="labels",
            dense="pooler.dense",
            pairs=True,
        ),
        columns=("text",),
        pair_column="text_pair",
        answer={"label": "string", "score": "double"},
        pipeline={"truncation": True},
    ),
    "question-answering": TaskFacts(
        module="question_answering",
        model="question-answering model",
        heads=("ForQuestionAnswering",),
        mlmodel_names=("question-answering",),
        head_tensor="qa_outputs.weight",
        head=HeadFacts(
            tokens="all",
            weight="qa_outputs.weight",
            bias="qa_outputs.bias",
            size=2,
            outputs=("start_logits", "end_logits"),
            pairs=True,
        ),
        columns=("question", "context"),
        answer={"answer": "string", "score": "double", "start": "long", "end": "long"},
    ),
}
"""The tasks that are served, evaluated and tuned. A new task is a new entry here, and its own modules."""

FAMILIES = ("Bert", "DistilBert")
"""How the names of transformers' classes for the supported models begin."""

ARCHITECTURES: dict[str, Task] = {
    family + head: task
    for family in FAMILIES
    for task, facts in TASKS.items()
    for head in facts.heads
    if (family, head) != ("DistilBert", "ForPreTraining")  # transformers has no such class
}
"""A name in config.json's architectures -> the task. A name without a head, such as BertModel, says nothing of the task."""

HEADLESS = {f"{family}Model" for family in FAMILIES}

MLMODEL_NAMES: dict[str, Task] = {name: task for task, facts in TASKS.items() for name in facts.mlmodel_names}
"""A task as an MLmodel names it -> our name."""

MLMODEL_BYTES = 1_000_000
"""How much of an MLmodel is read; its task is in the first few thousand bytes."""

MOST_LABELS = 1 << 20
"""The largest num_labels of a config.json that does not name its labels."""


def find_task(folder: Path, config: dict[str, Any], tensors: Iterable[str]) -> Task:
    """Return the task of a checkpoint folder.

    config.json's architectures decide, else an MLmodel in the folder or above it, else the names of the tensors
    (`tensors`, as serving.model.checkpoint calls them). Raises ModelFolderError for a task that is not supported.
    """
    architectures = config.get("architectures") or []
    named = [name for name in architectures if name not in list(HEADLESS)] if isinstance(architectures, list) else []
    if named:
        return _known(named[0], ARCHITECTURES, f"{folder}/config.json: expected architectures to name one of")
    for place in (folder / "MLmodel", folder.parent / "MLmodel"):
        text = read_start(place, MLMODEL_BYTES).decode(errors="replace") if place.is_file() else ""
        match = re.search(r"(?m)^\s+task(?:_type)?:\s*['\"]?([\w-]+)", text)
        if match:
            return _known(match[1], MLMODEL_NAMES, f"{place}: expected the task to be one of")
    present = set(tensors)
    task = next((task for task, facts in reversed(TASKS.items()) if facts.head_tensor in present), None)
    if task is None:
        raise ModelFolderError(
            f"{folder}: expected the head of a model of {_listed(ARCHITECTURES)}; found neither architectures in config.json, "
            "nor a task in an MLmodel, nor the tensors of such a head"
        )
    return task


def _known(name: object, tasks: dict[str, Task], expected: str) -> Task:
    if not isinstance(name, str) or name not in tasks:
        raise ModelFolderError(f"{expected} {_listed(tasks)}, found {name}")
    return tasks[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


@dataclass(frozen=True)
class Labels:
    """The names of a classifier's labels in the order of its logits, and the function from logits to scores."""

    names: tuple[str, ...]
    function: Function

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> Labels:
        """Read the labels from a config.json as transformers does: two labels if id2label is missing.

        problem_type decides the function.

        >>> Labels.from_json({"id2label": {"0": "bad", "1": "good"}})
        Labels(names=('bad', 'good'), function='softmax')

        Raises ModelFolderError if id2label has a gap or problem_type is unknown.
        """
        id2label = config.get("id2label")
        if id2label is None:
            count = config.get("num_labels", 2)
            if type(count) is int and not 0 < count <= MOST_LABELS:
                raise ModelFolderError(f"config.json: expected num_labels from 1 to {MOST_LABELS}, found {count}")
            id2label = {str(index): f"LABEL_{index}" for index in range(count if type(count) is int else 2)}
        expected = [str(index) for index in range(len(id2label))] if isinstance(id2label, dict) else []
        if not expected or set(id2label) != set(expected):
            raise ModelFolderError("config.json: id2label has to name every label from 0 on, without a gap")
        names = tuple(str(id2label[index]) for index in expected)
        problem = config.get("problem_type")
        if problem == "regression":
            return cls(names, "none")
        if problem not in (None, "single_label_classification", "multi_label_classification"):
            raise ModelFolderError(
                "config.json: expected problem_type regression, single_label_classification or "
                f"multi_label_classification, found {problem!r}"
            )
        sigmoid = problem == "multi_label_classification" or len(names) == 1
        return cls(names, "sigmoid" if sigmoid else "softmax")
