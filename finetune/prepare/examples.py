"""Turn rows of the user's into the examples that training reads, or say why a row is none.

A classifier's labels: texts, whatever a file has in their place.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from finetune.settings import Task
from tables.rows import PRINTED_MESSAGE, Reject, Row, is_printed, kind_of, read_cell

NO_ANSWER = "no_answer"
"""The code of a question that has no answer in its context, as SQuAD 2 has them."""

DECIMAL = re.compile(r"\d{1,18}")
"""A start that is written as text. No context is longer, and Python reads no number of thousands of digits."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it is written; `group` is its label, or a digest of its context; `digest` tells rows of the same text."""

    record: dict[str, Any]
    group: str
    digest: bytes
    repaired: bool = False


class RowError(ValueError):
    """A row is no example; `code` is for programs, the message for people, without the row's text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def example_of(row: Row, task: Task, columns: Mapping[str, str]) -> Example | Reject:
    """Return a row as an example, or why it is none."""
    make = _labelled if task == "text-classification" else _question
    try:
        return make(row, columns)
    except (RowError, LabelError) as exc:
        return row.reject(exc.code, str(exc))


def read_columns(task: Task, columns: Mapping[str, str]) -> list[str]:
    """Return the columns of a file that are read."""
    inside = ("answer_start_key", "answer_text_key")
    return [column for key, column in columns.items() if task == "text-classification" or key not in inside]


def _labelled(row: Row, columns: Mapping[str, str]) -> Example:
    """Read a row of {"text", "text_pair" (where there are pairs), "label"}."""
    texts = {"text": _text(row, columns["sentence1_key"])}
    if "sentence2_key" in columns:
        texts["text_pair"] = _text(row, columns["sentence2_key"])
    label = label_of(row.values[columns["label_key"]])
    return Example({**texts, "label": label}, label, digest_of(*texts.values()))


def _question(row: Row, columns: Mapping[str, str]) -> Example:
    """Read a row of {"id", "question", "context", "answers": {"text": [...], "answer_start": [...]}}."""
    question, context = _text(row, columns["question_key"]), _text(row, columns["context_key"])
    texts, starts = _answers(row.values[columns["answers_key"]], columns)
    places = [_place(context, text, start) for text, start in zip(texts, starts, strict=True)]
    record = {
        "id": f"{row.file}:{row.line}",
        "question": question,
        "context": context,
        "answers": {"text": texts, "answer_start": places},
    }
    return Example(record, digest_of(context).hex(), digest_of(question, context), places != starts)


def _text(row: Row, column: str) -> str:
    value = row.values[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError("missing_text", f"expected a text in column {column!r}, found none")
    if not isinstance(value, str):
        raise RowError("not_a_text", f"expected a text in column {column!r}, found {kind_of(value)}")
    if not value.strip():
        raise RowError("empty_text", f"expected a text in column {column!r}, found an empty one")
    return _encoded(value, column)


def _encoded(text: str, column: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        found = "half of a surrogate pair"
        raise RowError("invalid_encoding", f"expected whole characters in column {column!r}, found {found}") from exc
    return text


def digest_of(*texts: str) -> bytes:
    """Return 16 bytes that are the same for the same texts alone."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        found.update(len(data).to_bytes(8, "little") + data)
    return found.digest()


def _answers(value: Any, columns: Mapping[str, str]) -> tuple[list[str], list[int]]:  # noqa: ANN401 - a value of the user's
    """Return the texts and the starts of a row's answers, as many of each, one or more."""
    text_key, start_key = columns["answer_text_key"], columns["answer_start_key"]
    value = read_cell(value, lambda found: isinstance(found, (dict, list)))
    expected = f'expected answers as {{"{text_key}": […], "{start_key}": […]}}'
    if is_printed(value):
        raise RowError("invalid_answers", f"{expected}, {PRINTED_MESSAGE}")
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise RowError(NO_ANSWER, "expected an answer, found none")
    if isinstance(value, list) and all(isinstance(answer, dict) for answer in value):
        value = {key: [answer.get(key) for answer in value] for key in (text_key, start_key) if key in value[0]}
    if not isinstance(value, dict):
        raise RowError("invalid_answers", f"{expected}, found {kind_of(value)}")
    missing = [f"{name} {key!r}" for name, key in (("text", text_key), ("start", start_key)) if key not in value]
    if missing:
        raise RowError(
            "invalid_answers",
            f"{expected}, found no {' and no '.join(missing)}; set answer_text_key and answer_start_key",
        )
    texts, starts = (found if isinstance(found, list) else [found] for found in (value[text_key], value[start_key]))
    if len(texts) != len(starts):
        raise RowError("invalid_answers", f"expected as many texts as starts, found {len(texts)} and {len(starts)}")
    if not texts or all(text in (None, "") for text in texts):
        raise RowError(NO_ANSWER, "expected an answer, found none")
    return [_answer(text) for text in texts], [_start(start) for start in starts]


def _answer(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        found = "an empty one" if isinstance(text, str) else kind_of(text)
        raise RowError("invalid_answers", f"expected a text as each answer, found {found}")
    return _encoded(text, "answers")


def _start(start: object) -> int:
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if isinstance(start, str) and DECIMAL.fullmatch(start.strip()):
        start = int(start)
    if isinstance(start, bool) or not isinstance(start, int):
        raise RowError("invalid_answers", f"expected an integer as each answer's start, found {kind_of(start)}")
    return start


def _place(context: str, text: str, start: int) -> int:
    """Return where an answer is in its context: at its start, or else where it is found, if that is one place alone.

    A start counts characters, that is Unicode code points, as SQuAD does; one that counts bytes or UTF-16 is off.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    found = context.find(text)
    if found < 0:
        raise RowError("answer_not_in_context", "expected the answer's text in its context, found it nowhere")
    if context.find(text, found + 1) >= 0:
        problem = f"expected the answer at character {start}, found it in several other places"
        raise RowError("answer_not_at_start", f"{problem}; count in Unicode code points from 0")
    return found


INTEGER = re.compile(r"-?\d{1,600}", re.ASCII)
"""Python reads no number of thousands of digits; a label of so many is ordered as a text."""

LONGEST = 500
"""Letters of a label; a column of texts may have megabytes, and each label is shown, and is in every answer."""

MANY = 20
"""More labels than this are held to have at least two rows each on average; a column of names or figures has not."""


class LabelError(ValueError):
    """A value is no label; `code` is for programs, the message for people, without the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def label_of(value: object) -> str:
    """Return a value as a label; raises LabelError for what is none.

    An integer is the same label as its digits, as CSV has no other; true and false are written as JSON does. A float
    that is whole is an integer, which is what tables with gaps make of one.

    >>> label_of(" Sports "), label_of(1), label_of(1.0), label_of("1"), label_of(True)
    ('Sports', '1', '1', '1', 'true')
    """
    if isinstance(value, str):
        label = value.strip()
        if not label:
            raise LabelError("missing_label", "expected a label, found an empty text")
        if not _is_utf8(label):
            raise LabelError("invalid_encoding", "expected a label of whole characters, found half of a surrogate pair")
        if len(label) > LONGEST:
            found = f"expected a label of at most {LONGEST} letters, found {len(label):,}"
            raise LabelError("invalid_label", f"{found}; is another column meant?")
        return label
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        raise LabelError("missing_label", "expected a label, found none")
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    found = "a number with a fraction" if isinstance(value, (float, Decimal)) else f"a {type(value).__name__}"
    fix = "; a figure to be predicted is no class" if isinstance(value, (float, Decimal)) else ""
    raise LabelError("invalid_label", f"expected a text, an integer, true or false as a label, found {found}{fix}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_order(labels: Iterable[str]) -> list[str]:
    """Return different labels in the order of their ids: as numbers where all are integers, else as texts.

    >>> in_order(["10", "9"]), in_order(["b", "a", "b"])
    (['9', '10'], ['a', 'b'])
    """
    different = set(labels)
    if all(map(INTEGER.fullmatch, different)):
        return sorted(different, key=lambda label: (int(label), label))
    return sorted(different)


def problem_of(labels: Iterable[str], rows: int) -> str | None:
    """Say why these are no classes to train on, or None."""
    different = in_order(labels)
    if len(different) < 2:
        only = f"only {shown(different)}" if different else "none"
        return f"expected two classes or more, found {only}; check label_key, or add rows of another class"
    if len(different) > MANY and 2 * len(different) > rows:
        return (
            f"expected classes, found {len(different):,} different labels in {rows:,} rows; label_key seems to name "
            "another column than the label's"
        )
    return None


def shown(labels: Iterable[str]) -> str:
    """List labels for a message; a few, and not at length.

    >>> shown(["a", "b"])
    "'a', 'b'"
    """
    listed = [repr(label if len(label) <= 40 else f"{label[:39]}…") for label in labels]
    return ", ".join(listed[:10]) + (", …" if len(listed) > 10 else "")
