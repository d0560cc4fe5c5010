"""What fine-tuning knows of a task: one description for each, found by the task's name.

A task that can be tuned has a module in this folder, called as serving.tasks.TASKS says, which holds its description as TASK.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from finetune.prepare.examples import Example, ReadPart
from finetune.settings import FeatureSettings, Part
from serving.tasks import TASKS, Task
from tables.rows import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHARE = 0.1
"""The share of the rows of train that is set aside for validation if there is no validation data."""


@dataclass(frozen=True)
class Column:
    """An input of the public component that names a column of the data.

    `inside` marks the name of a key inside the values of another column.
    """

    key: str
    about: str
    needed: bool = True
    inside: bool = False


class TuningTask(ABC):
    """A task: its data, its metrics, and the model that is trained for it."""

    name: Task
    public_name: str
    """The task's name in the public input task_name."""
    columns: tuple[Column, ...]
    own_settings: tuple[str, ...] = ()
    """Settings of finetune.settings that only this task has."""

    texts: tuple[str, ...]
    """Fields of a prepared row that are always texts."""
    classifies: bool
    """True if a row has one of a fixed set of labels; the group of an example is its label then."""
    one_example_a_row: bool
    """False if a row can become several training examples, so that the number of steps is not known from the rows."""
    special_tokens: int
    """[CLS], and [SEP] after each text."""
    split_unit: str
    """What is set aside for validation, as in "10 % of each label"."""
    split_needs: str
    """The least data from which validation rows can be set aside."""

    metrics: tuple[str, ...]
    """Names for metric_for_best_model. The loss is better if lower, the others if higher."""
    figures: Mapping[str, str]
    """The metrics that the check of the compiled model compares -> their names in evaluation.metrics."""

    model_class: str
    """The class of transformers that loads a model with the task's head."""
    targets: tuple[str, ...]
    """The model's inputs that hold the right answer."""
    adapter_type: str
    """The name of the task for peft's adapters."""
    heads: Mapping[str, tuple[str, ...]]
    """model_type -> the modules between the encoder and the answer. A base model may lack them, so they are trained whole."""
    default_length: int | None = None
    """Tokens of a row if max_seq_length is -1; None means all positions of the model."""

    @abstractmethod
    def example(self, row: Row, columns: Mapping[str, str]) -> Example:
        """Return a row of the data as an example; raises RowError."""

    @abstractmethod
    def is_prepared(self, row: Mapping[str, Any]) -> bool:
        """Return whether the fields of a prepared row beside its texts are right."""

    @abstractmethod
    def truth(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a label, or SQuAD's answers
        """Return the right answer of a prepared row."""

    @abstractmethod
    def split(self, groups: Sequence[str], seed: int) -> set[int]:
        """Return the indices of the rows that are set aside for validation; none if there are too few rows."""

    @abstractmethod
    def least_length(self, columns: Mapping[str, str]) -> int:
        """Return the smallest max_seq_length that leaves a token for each text."""

    def check_length(self, features: FeatureSettings, length: int) -> Iterator[str]:
        """Yield what is wrong between the other settings and a length of rows in tokens."""
        yield from ()

    def fit_test(self, features: FeatureSettings, length: int, tokenizer: Tokenizer) -> Callable[[Example], None]:
        """Return a test that raises RowError for an example that is too long to be trained on."""
        return lambda example: None

    def labels(self, groups: Iterable[str]) -> list[str]:
        """Return the labels of the groups of all examples, in the order of their ids; none if the task has no labels."""
        return []

    def problem_of_parts(self, parts: Mapping[Part, ReadPart]) -> str | None:
        """Say why the parts of the data do not go together; None if they do."""
        return None

    def fix_columns(self, found: Sequence[str]) -> str | None:
        """Return how to correct a file of these columns if it has a known form that is not read here."""
        return None

    def file_columns(self, columns: Mapping[str, str]) -> list[str]:
        """Return the columns of a file that are read."""
        return [columns[column.key] for column in self.columns if column.key in columns and not column.inside]


TUNED: tuple[Task, ...] = tuple(
    name for name, facts in TASKS.items() if importlib.util.find_spec(f"finetune.tasks.{facts.module}") is not None
)
"""The tasks that can be tuned: those with a module in this folder."""


def tuning_task(name: Task) -> TuningTask:
    """Return the description of a task."""
    return cast(TuningTask, importlib.import_module(f"finetune.tasks.{TASKS[name].module}").TASK)
