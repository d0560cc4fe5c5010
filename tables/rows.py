"""Rows of data, the reasons why a row cannot be used, and the values in its cells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


class TableError(Exception):
    """The data cannot be read at all; the message says why and what to do."""


def shown(columns: Sequence[str]) -> list[str]:
    """Shorten the names of a file's columns for a message: a file that is not a table may have a whole line of them.

    >>> shown(["a", "b" * 100])
    ['a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…']
    """
    names = [name if len(name) <= 40 else f"{name[:40]}…" for name in columns[:30]]
    return [*names, "…"] if len(columns) > 30 else names


class ColumnsError(TableError):
    """A file lacks some of the expected columns, whose names are settings of the caller."""

    def __init__(self, path: Path, expected: Sequence[str], found: Sequence[str], fix: str) -> None:
        """Keep the file, the expected columns, the columns that the file has, and how to name others."""
        super().__init__(f"{path}: expected columns {list(expected)}, found {shown(found)}; {fix}")
        self.path = path
        self.expected = list(expected)
        self.found = list(found)


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column, its file, and its line in the file, from 1; in parquet the number of the row.

    `several` is true if the table has several files.
    """

    file: str
    line: int
    values: dict[str, Any]
    several: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """Return the row's place for an output file: its line, and its file if the table has several.

        >>> Row("b/data.csv", 3, {}, several=True).place
        {'line': 3, 'file': 'b/data.csv'}
        """
        return {"line": self.line, "file": self.file} if self.several else {"line": self.line}

    def of_several(self, file: str) -> Row:
        """Return the row with the name of its file in a table of several files."""
        return replace(self, file=file, several=True)

    def reject(self, code: str, message: str) -> Reject:
        """Return the reason why this row cannot be used."""
        return Reject(self.file, self.line, code, message)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be used: its place, a code for programs, and a message for people without the row's text."""

    file: str
    line: int
    code: str
    message: str

    def of_several(self, file: str) -> Reject:
        """Return the reject with the name of its file in a table of several files."""
        return replace(self, file=file)

    def record(self) -> dict[str, Any]:
        """Return the record for a file of rejects.

        >>> Reject("a.csv", 7, "missing_mask", "expected a mask").record()
        {'file': 'a.csv', 'line': 7, 'code': 'missing_mask', 'message': 'expected a mask'}
        """
        return asdict(self)


def chunks(rows: Iterable[Row | Reject], most_rows: int, most_characters: int) -> Iterator[list[Row | Reject]]:
    """Yield rows in lists of at most `most_rows` rows and about `most_characters` of text."""
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


def kind_of(value: Any) -> str:  # noqa: ANN401 - a value of the user's
    """Name a value's JSON type for a message, never its content: messages end up in logs.

    >>> kind_of([1]), kind_of(None)
    ('a list', 'null')
    """
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


PRINTED = re.compile(r"""\s*(?:\{.*?(['"])text\1\s*:|\[\s*['"].*\]\s*$)""", re.DOTALL)
"""Matches the text of a printed list of texts, or of a printed object with answers."""


def read_cell(value: Any, accepted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - a value of the user's
    """Parse a text as JSON and return the result if it is accepted; return any other value unchanged.

    A cell of CSV holds only text, so lists and objects are written in it as JSON.

    >>> read_cell('["capital"]', is_texts), read_cell("1990", is_texts)
    (['capital'], '1990')
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if accepted(parsed) else value


def is_texts(value: object) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_printed(value: object) -> bool:
    """Return whether a value that `read_cell` returned is a list or object that Python or pandas printed.

    They print {'text': array(['Paris'])} and ['Paris'], which are not JSON. Taken for a word or an answer, such a text
    would never match, and nobody would notice.

    >>> is_printed("['Paris']"), is_printed("[sic]")
    (True, False)
    """
    return isinstance(value, str) and PRINTED.match(value) is not None


PRINTED_MESSAGE = "found the text of a list or an object that is not JSON; write it as JSON does"
"""The end of a message about a value for which `is_printed` is true."""
