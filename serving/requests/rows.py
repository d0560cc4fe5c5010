"""Read the texts of a request from the lists, tables and frames that clients send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from serving.errors import BadCode, BadRequest
from serving.tasks import Task
from tables.rows import kind_of

Json: TypeAlias = Any
"""A value as json.loads returns it, not checked yet."""

Row: TypeAlias = tuple[Json, Json]
"""A row's text, and the second text of a pair, or None."""


@dataclass(frozen=True)
class Fields:
    """The columns of a task's rows: the names for the text, and for the second text of a pair.

    `pair` is empty if rows have one text. If both are `needed`, a text alone is not a row.
    """

    task: Task
    text: tuple[str, ...]
    pair: tuple[str, ...] = ()
    needed: bool = False

    @property
    def parts(self) -> tuple[str, str]:
        """What follows a row's name in a message about its text, and about the second text of a pair."""
        return (f".{self.text[0]}" if self.needed else "", f".{self.pair[0]}" if self.pair else "")

    def called(self, kind: type) -> str:
        """Describe a value of this type for a message about the task, such as `a list of texts`."""
        both = f"{self.text[0]} and {self.pair[0]}" if self.needed else ""
        if kind is list:
            return f"a list of objects with {both}" if self.needed else "a list of texts"
        if kind is dict:
            return f"an object with {both}" if self.needed else "an object with the texts in a column"
        return "a text"


TEXT_COLUMNS = ("input_string", "text", "inputs", "prompt")
"""Names for the column of a single text; if a table has one column only, it may have any name."""


def one_row(data: Json, name: str, fields: Fields) -> list[Row]:
    """Read a single text or a single record; raises BadRequest."""
    return _records([data], name, fields) if isinstance(data, dict) else [(data, None)]


def list_of_rows(data: list[Json], name: str, fields: Fields) -> list[Row]:
    """Read a list of texts or of records; raises BadRequest."""
    if data and all(isinstance(row, dict) for row in data):
        return _records(data, name, fields)
    if fields.needed:
        for index, row in enumerate(data):
            _check_record(row, f"{name}[{index}]", fields, index)
    return [(row, None) for row in data]


def table(data: Json, name: str, fields: Fields) -> list[Row]:
    """Read a list, a {"columns", "index", "data"} frame, or a {column: list} object; raises BadRequest."""
    if not isinstance(data, dict):
        return list_of_rows(data, name, fields)
    if "columns" in data:
        return _frame(data, name, fields)
    columns = {column: values for column, values in data.items() if column != "parameters"}
    text, pair = find_columns(list(columns), name, fields)
    chosen = [columns[column] for column in (text, pair) if column is not None]
    for values in chosen:
        if not isinstance(values, list):
            raise BadRequest("invalid_rows", f"expected {name}'s column to be a list of texts, found {kind_of(values)}")
    if len({len(values) for values in chosen}) > 1:
        found = " and ".join(str(len(values)) for values in chosen)
        raise BadRequest(
            "invalid_rows", f"expected {name}'s columns {text} and {pair} to be as long, found {found} rows"
        )
    return list(zip(*chosen, strict=True)) if pair is not None else [(value, None) for value in chosen[0]]


def is_record(data: Mapping[str, Json], fields: Fields) -> bool:
    """Return whether an object is a single row, and not columns of rows."""
    values = [data[column] for column in (*fields.text, *fields.pair) if column in data]
    return bool(values) and not any(isinstance(value, list) for value in values)


def _records(data: list[dict[str, Json]], name: str, fields: Fields) -> list[Row]:
    text, pair = find_columns(list(dict.fromkeys(column for row in data for column in row)), name, fields)
    return [(row.get(text), None if pair is None else row.get(pair)) for row in data]


def _check_record(row: Json, name: str, fields: Fields, index: int | None = None) -> None:
    """Raise BadRequest for a row that is not an object, if the task needs objects."""
    if isinstance(row, dict):
        return
    code: BadCode = "wrong_task" if isinstance(row, str) else "invalid_rows"
    expected = f"expected {name} to be {fields.called(dict)}, as this model's task is {fields.task}"
    raise BadRequest(code, f"{expected}, found {kind_of(row)}", index)


def _frame(data: Mapping[str, Json], name: str, fields: Fields) -> list[Row]:
    columns, rows = data["columns"], data.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise BadRequest("invalid_rows", f"expected {name} to have columns and data, both lists, found {listed(data)}")
    text, pair = find_columns(columns, name, fields)
    if len(columns) == 1 and not any(isinstance(row, list) for row in rows):
        return [(row, None) for row in rows]  # a frame of one column is often written without the inner lists
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            found = f"{len(row)} values" if isinstance(row, list) else kind_of(row)
            raise BadRequest(
                "invalid_rows", f"expected {name}.data[{index}] to have {len(columns)} values, found {found}", index
            )
    first, second = columns.index(text), None if pair is None else columns.index(pair)
    return [(row[first], None if second is None else row[second]) for row in rows]


def find_columns(columns: list[Json], name: str, fields: Fields) -> tuple[Json, Json]:
    """Return the columns of the text and of the second text of a pair, or None for the second; raises BadRequest."""
    text = next((column for column in fields.text if column in columns), None)
    pair = next((column for column in fields.pair if column in columns), None)
    if text is None and not fields.needed and "question" in columns and "context" in columns:
        raise BadRequest("wrong_task", f"{name} has a question and a context, but this model's task is {fields.task}")
    if fields.needed and (text is None or pair is None):
        expected = (
            f"expected {name} to have {fields.text[0]} and {fields.pair[0]}, as this model's task is {fields.task}"
        )
        other = text is None and pair is None and any(column in columns for column in TEXT_COLUMNS)
        raise BadRequest("wrong_task" if other else "invalid_rows", f"{expected}, found {listed(columns) or 'none'}")
    if text is None and len(columns) == 1:
        return columns[0], None
    if text is None:
        expected = f"one column, or one called {' or '.join(fields.text)}"
        raise BadRequest("invalid_rows", f"expected {name} to have {expected}, found {listed(columns) or 'none'}")
    return text, pair


def listed(names: Iterable[Json]) -> str:
    """List the first few of the client's keys for a message, each shortened."""
    shown = list(dict.fromkeys(str(name)[:40] for name in names))
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")
