"""Read the texts of a request from the lists, tables and frames that clients put them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from serving.errors import BadRequest

Json: TypeAlias = Any
"""A value as json.loads returns it: nothing is known of it yet."""

TEXT_COLUMNS = ("input_string", "text", "inputs", "prompt")
"""Names under which a table's texts are looked for where it has several columns."""


def one_text(data: Json, _name: str) -> list[Json]:
    """Read a text that stands alone."""
    return [data]


def list_of_texts(data: list[Json], name: str) -> list[Json]:
    """Read a list of texts, or of records with a column of texts; raises BadRequest."""
    if data and all(isinstance(row, dict) for row in data):
        column = _text_column(list(data[0]), name)
        return [row.get(column) for row in data]
    return data


def table(data: Json, name: str) -> list[Json]:
    """Read a list, a {"columns", "index", "data"} frame, or a {column: list} object; raises BadRequest."""
    if not isinstance(data, dict):
        return list_of_texts(data, name)
    if "columns" in data:
        return _frame(data, name)
    columns = {column: values for column, values in data.items() if column != "parameters"}
    values = columns[_text_column(list(columns), name)]
    if not isinstance(values, list):
        raise BadRequest("invalid_rows", f"expected {name}'s column to be a list of texts, found {kind_of(values)}")
    return values


def _frame(data: Mapping[str, Json], name: str) -> list[Json]:
    columns, rows = data["columns"], data.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise BadRequest("invalid_rows", f"expected {name} to have columns and data, both lists, found {listed(data)}")
    place = columns.index(_text_column(columns, name))
    if len(columns) == 1 and not any(isinstance(row, list) for row in rows):
        return rows  # a frame of one column is often written without the inner lists
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            found = f"{len(row)} values" if isinstance(row, list) else kind_of(row)
            raise BadRequest(
                "invalid_rows", f"expected {name}.data[{index}] to have {len(columns)} values, found {found}", index
            )
    return [row[place] for row in rows]


def _text_column(columns: list[Json], name: str) -> Json:
    if len(columns) == 1:
        return columns[0]
    found = next((column for column in TEXT_COLUMNS if column in columns), None)
    if found is None:
        expected = f"one column, or one called {' or '.join(TEXT_COLUMNS)}"
        raise BadRequest("invalid_rows", f"expected {name} to have {expected}, found {listed(columns) or 'none'}")
    return found


def kind_of(value: Json) -> str:
    """Name what was found by its JSON type, never by its content: messages end up in logs."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


def listed(names: Iterable[Json]) -> str:
    """List keys of the client's for a message; a few, and not at length."""
    shown = list(dict.fromkeys(str(name)[:40] for name in names))
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")
