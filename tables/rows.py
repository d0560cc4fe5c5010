"""Rows of data, and what is said of those that cannot be used.

Read what a cell of CSV holds where it may be a list or an object: as JSON, or not at all.

A table of plain text has no lists, so that those who write one choose how. JSON is read; what Python prints is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


class TableError(Exception):
    """The data cannot be read at all; the message says what was expected, what was found and what to do."""


def shown(columns: Sequence[str]) -> list[str]:
    """Return the names of a file's columns for a message, and not at length: a file that is none has a whole line of them.

    >>> shown(["a", "b" * 100])
    ['a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…']
    """
    names = [name if len(name) <= 40 else f"{name[:40]}…" for name in columns[:30]]
    return [*names, "…"] if len(columns) > 30 else names


class ColumnsError(TableError):
    """A file has not got the columns that are asked for, whose names are settings of the caller's."""

    def __init__(self, path: Path, expected: Sequence[str], found: Sequence[str], fix: str) -> None:
        """Take the file, the columns that are asked for and those that there are, and how to name others."""
        super().__init__(f"{path}: expected columns {list(expected)}, found {shown(found)}; {fix}")
        self.path = path
        self.expected = list(expected)
        self.found = list(found)


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column, the file that it is in, and its line there, from 1; in parquet its row, from 1.

    `several` says that the table has other files too.
    """

    file: str
    line: int
    values: dict[str, Any]
    several: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """Return what the outputs say of where the row is: its line, and the file where there are several.

        >>> Row("b/data.csv", 3, {}, several=True).place
        {'line': 3, 'file': 'b/data.csv'}
        """
        return {"line": self.line, "file": self.file} if self.several else {"line": self.line}

    def of_several(self, file: str) -> Row:
        """Return the row as one of a file, so called, among others."""
        return replace(self, file=file, several=True)

    def reject(self, code: str, message: str) -> Reject:
        """Say why this row cannot be used."""
        return Reject(self.file, self.line, code, message)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be used: where it is, a code for programs, and a message for people without the row's text."""

    file: str
    line: int
    code: str
    message: str

    def of_several(self, file: str) -> Reject:
        """Return the row as one of a file, so called, among others."""
        return replace(self, file=file)

    def record(self) -> dict[str, Any]:
        """Return what is written into a file of rejects.

        >>> Reject("a.csv", 7, "missing_mask", "expected a mask").record()
        {'file': 'a.csv', 'line': 7, 'code': 'missing_mask', 'message': 'expected a mask'}
        """
        return asdict(self)


def chunks(rows: Iterable[Row | Reject], most_rows: int, most_characters: int) -> Iterator[list[Row | Reject]]:
    """Yield rows in lists of at most `most_rows`, or about `most_characters` of text."""
    chunk: list[Row | Reject] = []
    size = 0
    for row in rows:
        chunk.append(row)
        if isinstance(row, Row):
            size += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if len(chunk) >= most_rows or size >= most_characters:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


PRINTED = re.compile(r"""\s*(?:\{.*?(['"])text\1\s*:|\[\s*['"].*\]\s*$)""", re.DOTALL)
"""How the text of a list of texts, or of an object of answers, looks."""


def read_cell(value: Any, accepted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - a value of the user's
    """Return what a text says as JSON where that is accepted, and any other value as it is.

    >>> read_cell('["capital"]', is_texts), read_cell("1990", is_texts)
    (['capital'], '1990')
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if accepted(found) else value


def is_texts(value: object) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_printed(value: object) -> bool:
    """Tell whether a value that `read_cell` returned is the text of a list or object all the same.

    Python and pandas print {'text': array(['Paris'])} and ['Paris'], which is no JSON. Taken for a word or an answer it
    would never be found, and nobody would be told.

    >>> is_printed("['Paris']"), is_printed("[sic]")
    (True, False)
    """
    return isinstance(value, str) and PRINTED.match(value) is not None


PRINTED_MESSAGE = "found the text of a list or an object that is not JSON; write it as JSON does"
"""The end of a message about a value that `is_printed`."""
