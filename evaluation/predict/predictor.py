"""What predicting has in common for all tasks: what comes out of a row, and which columns a row is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from serving.tasks import Task
from tables.rows import Reject, Row, kind_of


class OptionError(Exception):
    """An option cannot be what it is; the message says what was expected, what was found and what to do."""


class Predicted(NamedTuple):
    """A row's line in each of the outputs, before it is written as JSON."""

    ground_truth: dict[str, Any]
    prediction: dict[str, Any]
    probabilities: dict[str, Any]


class Predictor(Protocol):
    """A model of one task, and how its rows are read and its answers written.

    `long_rows` counts the rows so far that were longer than the model, and `long_name` says what became of them:
    windowed_rows or truncated_rows. `likelihood_seconds` went into scoring whole texts, beside predicting.
    """

    long_name: str
    long_rows: int
    likelihood_seconds: float

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return what is said of each row, in their order; a row that cannot be used is a Reject."""


@dataclass(frozen=True)
class Columns:
    """The columns that a row's texts and its label are in."""

    inputs: tuple[str, ...]
    label: str

    @property
    def all(self) -> list[str]:
        """All of them, as a table is asked for them."""
        return list(dict.fromkeys([*self.inputs, self.label]))


DEFAULTS: dict[Task, Columns] = {
    "fill-mask": Columns(("input_string",), "title"),
    "text-classification": Columns(("text",), "label"),
    "question-answering": Columns(("question", "context"), "answers"),
}
"""The columns where none are named."""

COUNTS: dict[Task, tuple[int, ...]] = {"fill-mask": (1,), "text-classification": (1, 2), "question-answering": (2,)}
"""How many input columns a task takes."""


def columns_of(task: Task, input_column_names: str | None, label_column_name: str | None) -> Columns:
    """Read the columns' names as the component gets them, those of the inputs with commas; raises OptionError.

    >>> columns_of("question-answering", "question, context", None)
    Columns(inputs=('question', 'context'), label='answers')
    """
    default = DEFAULTS[task]
    names = tuple(name.strip() for name in (input_column_names or "").split(",") if name.strip()) or default.inputs
    if len(names) not in COUNTS[task] or len(set(names)) < len(names):
        expected = " or ".join(map(str, COUNTS[task]))
        raise OptionError(
            f"expected input_column_names to be {expected} different names for {task}, found {', '.join(names)}; "
            f"write them with commas, as {','.join(default.inputs)}"
        )
    return Columns(names, (label_column_name or "").strip() or default.label)


def unusable_text(row: Row, columns: Sequence[str]) -> Reject | None:
    """Say what keeps a row's inputs from being texts with a word in them; None where they are."""
    for column in columns:
        text = row.values[column]
        if not isinstance(text, str):
            return row.reject("not_text", f"expected {column} to be a text, found {kind_of(text)}")
        if not text.strip():
            return row.reject("empty_text", f"expected {column} to have a word, found an empty text")
        if not is_unicode(text):
            return row.reject("not_text", f"expected {column} to be Unicode, found half of a surrogate pair in it")
    return None


def is_unicode(text: str) -> bool:
    r"""Tell whether a text is one: JSON can write half of a surrogate pair (\ud800), which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(number: float) -> float:
    """Return a number with the seven digits that a 32-bit float has.

    >>> short(0.30000001192092896)
    0.3
    """
    return float(f"{number:.7g}")
