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

TASKS: dict[str, Task] = {
    "BertForMaskedLM": "fill-mask",
    "BertForPreTraining": "fill-mask",
    "BertForSequenceClassification": "text-classification",
    "BertForQuestionAnswering": "question-answering",
    "DistilBertForMaskedLM": "fill-mask",
    "DistilBertForSequenceClassification": "text-classification",
    "DistilBertForQuestionAnswering": "question-answering",
}
"""config.json's architectures -> the task. One without a head of its own, as BertModel, leaves the question open."""

HEADLESS = {"BertModel", "DistilBertModel"}

ML_TASKS: dict[str, Task] = {
    "fill-mask": "fill-mask",
    "text-classification": "text-classification",
    "sentiment-analysis": "text-classification",
    "multiclass": "text-classification",
    "multilabel": "text-classification",
    "question-answering": "question-answering",
}
"""An MLmodel's `task` (MLflow's flavor) or `task_type` (Azure ML's) -> the task."""

MLMODEL_BYTES = 1_000_000
"""Of an MLmodel that are read; its task stands in the first thousands."""

MOST_LABELS = 1 << 20
"""Labels that a config.json may give by their number alone."""

HEADS: dict[str, Task] = {
    "qa_outputs.weight": "question-answering",
    "classifier.weight": "text-classification",
    "cls.predictions.transform.dense.weight": "fill-mask",
}
"""A tensor that only a model of this task has, by its canonical name."""


def find_task(folder: Path, config: dict[str, Any], tensors: Iterable[str]) -> Task:
    """Return a checkpoint folder's task: config.json says it, else an MLmodel there or above, else its tensors do.

    `tensors` are canonical names (serving.model.checkpoint). Raises ModelFolderError for a task that is not served.
    """
    architectures = config.get("architectures") or []
    named = [name for name in architectures if name not in list(HEADLESS)] if isinstance(architectures, list) else []
    if named:
        return _known(named[0], TASKS, f"{folder}/config.json: expected architectures to name one of")
    for place in (folder / "MLmodel", folder.parent / "MLmodel"):
        text = read_start(place, MLMODEL_BYTES).decode(errors="replace") if place.is_file() else ""
        said = re.search(r"(?m)^\s+task(?:_type)?:\s*['\"]?([\w-]+)", text)
        if said:
            return _known(said[1], ML_TASKS, f"{place}: expected the task to be one of")
    present = set(tensors)
    found = next((task for tensor, task in HEADS.items() if tensor in present), None)
    if found is None:
        raise ModelFolderError(
            f"{folder}: expected the head of a model of {_listed(TASKS)}; found neither architectures in config.json, "
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
