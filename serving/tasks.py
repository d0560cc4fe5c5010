"""Which task a model folder is for, and what its labels are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.errors import ModelFolderError
from tables.regular_file import read_start

Task = Literal["fill-mask", "text-classification", "question-answering"]
Function = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task wherever it is served, evaluated or tuned.

    Each package keeps what it does for the task in a module of its own that is called `module`, such as
    serving/answering/fill_mask.py and evaluation/predict/fill_mask.py.
    """

    module: str
    model: str
    """What a message calls a model of the task."""
    heads: tuple[str, ...]
    """How the names of transformers' classes for it end; config.json's architectures are "Bert" and "DistilBert" before."""
    mlmodel_names: tuple[str, ...]
    """The task in an MLmodel: `task` of MLflow's flavor, or `task_type` of Azure ML's."""
    head_tensor: str
    """A tensor that only a model of this task has, by its canonical name (serving.model.checkpoint)."""


TASKS: dict[Task, TaskFacts] = {
    "fill-mask": TaskFacts(
        module="fill_mask",
        model="masked-language model",
        heads=("ForMaskedLM", "ForPreTraining"),
        mlmodel_names=("fill-mask",),
        head_tensor="cls.predictions.transform.dense.weight",
    ),
    "text-classification": TaskFacts(
        module="text_classification",
        model="text classifier",
        heads=("ForSequenceClassification",),
        mlmodel_names=("text-classification", "sentiment-analysis", "multiclass", "multilabel"),
        head_tensor="classifier.weight",
    ),
    "question-answering": TaskFacts(
        module="question_answering",
        model="question-answering model",
        heads=("ForQuestionAnswering",),
        mlmodel_names=("question-answering",),
        head_tensor="qa_outputs.weight",
    ),
}
"""The tasks that are served, evaluated and tuned: a new task is a new entry here, and its own modules."""

FAMILIES = ("Bert", "DistilBert")
"""How the names of transformers' classes begin for the models that are served."""

ARCHITECTURES: dict[str, Task] = {
    family + head: task
    for family in FAMILIES
    for task, facts in TASKS.items()
    for head in facts.heads
    if (family, head) != ("DistilBert", "ForPreTraining")  # transformers has no such class
}
"""config.json's architectures -> the task. A name without a head, such as BertModel, leaves the task open."""

HEADLESS = {f"{family}Model" for family in FAMILIES}

MLMODEL_NAMES: dict[str, Task] = {name: task for task, facts in TASKS.items() for name in facts.mlmodel_names}
"""The task that an MLmodel names -> our task."""

MLMODEL_BYTES = 1_000_000
"""Bytes of an MLmodel that are read; its task stands in the first thousands."""

MOST_LABELS = 1 << 20
"""Labels that a config.json may give by their number alone."""


def find_task(folder: Path, config: dict[str, Any], tensors: Iterable[str]) -> Task:
    """Return a checkpoint folder's task: config.json says it, else an MLmodel there or above, else its tensors do.

    `tensors` are canonical names (serving.model.checkpoint). Raises ModelFolderError for a task that is not served.
    """
    architectures = config.get("architectures") or []
    named = [name for name in architectures if name not in list(HEADLESS)] if isinstance(architectures, list) else []
    if named:
        return _known(named[0], ARCHITECTURES, f"{folder}/config.json: expected architectures to name one of")
    for place in (folder / "MLmodel", folder.parent / "MLmodel"):
        text = read_start(place, MLMODEL_BYTES).decode(errors="replace") if place.is_file() else ""
        said = re.search(r"(?m)^\s+task(?:_type)?:\s*['\"]?([\w-]+)", text)
        if said:
            return _known(said[1], MLMODEL_NAMES, f"{place}: expected the task to be one of")
    present = set(tensors)
    found = next((task for task, facts in reversed(TASKS.items()) if facts.head_tensor in present), None)
    if found is None:
        raise ModelFolderError(
            f"{folder}: expected the head of a model of {_listed(ARCHITECTURES)}; found neither architectures in config.json, "
            "nor a task in an MLmodel, nor the tensors of such a head"
        )
    return found


def _known(name: object, tasks: dict[str, Task], expected: str) -> Task:
    if not isinstance(name, str) or name not in tasks:
        raise ModelFolderError(f"{expected} {_listed(tasks)}, found {name}")
    return tasks[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


@dataclass(frozen=True)
class Labels:
    """A classifier's labels in the order of its logits, and what turns the logits into scores."""

    names: tuple[str, ...]
    function: Function

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> Labels:
        """Read a config.json as transformers does: without id2label, two labels; the function by problem_type.

        >>> Labels.from_json({"id2label": {"0": "bad", "1": "good"}})
        Labels(names=('bad', 'good'), function='softmax')

        Raises ModelFolderError where id2label has a gap, or problem_type is an unknown one.
        """
        given = config.get("id2label")
        if given is None:
            count = config.get("num_labels", 2)
            if type(count) is int and not 0 < count <= MOST_LABELS:
                raise ModelFolderError(f"config.json: expected num_labels from 1 to {MOST_LABELS}, found {count}")
            given = {str(index): f"LABEL_{index}" for index in range(count if type(count) is int else 2)}
        expected = [str(index) for index in range(len(given))] if isinstance(given, dict) else []
        if not expected or set(given) != set(expected):
            raise ModelFolderError("config.json: expected id2label to name every label from 0 on, found it does not")
        names = tuple(str(given[index]) for index in expected)
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
