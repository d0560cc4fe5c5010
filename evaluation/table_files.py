"""Read one file of test data, row by row and in constant memory: JSON lines, CSV, TSV or parquet.

A broken row becomes a Reject, and those after it are read. What is wrong with the whole file is a TableError.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from evaluation.rows import ColumnsError, Reject, Row, TableError
from serving.rows import kind_of

SAMPLE = 100
"""JSON objects that are looked at for columns before one that is in none of them is called missing."""

FIELD_CHARACTERS = 1 << 20
"""The longest field of a CSV file. A quote that nobody closes takes up what follows; this is where that ends."""

PARQUET_ROWS = 1024
"""Rows of a parquet file that are in memory at once, beside what its pages need."""


def read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[Row | Reject]:
    """Read a JSON object a line, UTF-8; blank lines are left out.

    A .json file may be one array of objects too, or {"data": array}: each object's line is then its number, from 1.
    Raises TableError where none of the first 100 objects has a column.
    """
    with _opened(path) as file:
        rows = _of_array(path) if path.suffix.lower() == ".json" else None
        rows = _objects(file, path.name) if rows is None else rows
        sample = list(itertools.islice(rows, SAMPLE))
        found = dict.fromkeys(name for row in sample if isinstance(row, Row) for name in row.values)
        if any(isinstance(row, Row) for row in sample):
            check_columns(path, columns, list(found))
        for row in itertools.chain(sample, rows):
            yield _of_columns(row, columns) if isinstance(row, Row) else row


def _objects(file: Iterable[bytes], name: str) -> Iterator[Row | Reject]:
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            found = json.loads(text) if text else None
        except UnicodeDecodeError as exc:
            yield Reject(name, number, "invalid_encoding", f"expected UTF-8, found {exc.reason}; convert the file")
            continue
        except (ValueError, RecursionError) as exc:
            yield Reject(name, number, "invalid_json", f"expected one JSON object a line, found: {exc}")
            continue
        if isinstance(found, dict):
            yield Row(name, number, found)
        elif text:
            message = f'expected a JSON object, found {kind_of(found)}; write {{"column": "value"}}'
            yield Reject(name, number, "not_an_object", message)


def _of_array(path: Path) -> Iterator[Row | Reject] | None:
    """Return the objects of a file that is one JSON text, or None for one that is JSON lines, or broken ones."""
    with _opened(path) as file:
        first = next((line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
        try:
            found = json.loads(first.decode("utf-8-sig"))
            alone = isinstance(found, list) or (isinstance(found, dict) and list(found) == ["data"])
        except (ValueError, RecursionError):
            alone = True  # the text may go on in the next line
        if not alone:
            return None
        file.seek(0)
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None
    if isinstance(found, dict):
        found = found.get("data")
    return _elements(found, path.name) if isinstance(found, list) else None


def _elements(found: list[Any], name: str) -> Iterator[Row | Reject]:
    for number, element in enumerate(found, 1):
        if isinstance(element, dict):
            yield Row(name, number, element)
        else:
            yield Reject(name, number, "not_an_object", f"expected a JSON object, found {kind_of(element)}")


def _of_columns(row: Row, columns: Sequence[str]) -> Row | Reject:
    missing = [name for name in columns if name not in row.values]
    if missing:
        return row.reject("missing_column", f"expected columns {list(columns)}, found no {', '.join(missing)}")
    return Row(row.file, row.line, {name: row.values[name] for name in columns})


def read_delimited(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[Row | Reject]:
    """Read a file with a header, UTF-8; a field in double quotes may have line breaks, and "" is one quote in it.

    Raises TableError where a column is missing.
    """
    csv.field_size_limit(FIELD_CHARACTERS)
    with _opened(path) as file:
        records = _records(_Lines(file), delimiter, path.name)
        header = next(records, None)
        if header is None:
            return
        if isinstance(header, Reject):
            raise TableError(f"{path}: expected a header with the columns' names, found: {header.message}")
        names = header[1]
        check_columns(path, columns, names)
        for record in records:
            if isinstance(record, Reject):
                yield record
            elif len(record[1]) != len(names):
                message = f"expected {len(names)} fields as in the header, found {len(record[1])}; quote what has a "
                message += f"{delimiter!r} in it"
                yield Reject(path.name, record[0], "wrong_number_of_fields", message)
            else:
                values = dict(zip(names, record[1], strict=True))
                yield Row(path.name, record[0], {name: values[name] for name in columns})


class _Lines:
    """A file's lines for the csv module, which takes as many as a record has; those of a broken one are read again."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._lines = enumerate(file, 1)
        self._again: deque[tuple[int, bytes]] = deque()
        self._taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append((number, line))
        # What is no UTF-8 is kept as it is, so that the record that it is in can be told.
        return line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")

    def start(self) -> None:
        """Begin a record."""
        self._taken.clear()

    @property
    def number(self) -> int:
        """The line that the record begins in."""
        return self._taken[0][0]

    def give_back(self) -> None:
        """Give back all lines of a record but its first: a quote that was never closed has taken them."""
        self._again.extendleft(reversed(self._taken[1:]))


def _records(lines: _Lines, delimiter: str, name: str) -> Iterator[tuple[int, list[str]] | Reject]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            message = f'expected fields, or fields in double quotes with "" for each quote in them, found: {exc}'
            yield Reject(name, lines.number, "invalid_row", message)
            lines.give_back()
            continue
        if not fields:
            continue
        try:
            "".join(fields).encode()
        except UnicodeEncodeError:
            yield Reject(name, lines.number, "invalid_encoding", "expected UTF-8, found other bytes; convert the file")
        else:
            yield lines.number, fields


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row | Reject]:
    """Read a parquet file, only these columns of it; raises TableError where one is missing or the file is broken."""
    import pyarrow  # 40 MB that the other kinds do without
    import pyarrow.parquet

    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(columns)):
                for values in _parquet_values(batch):
                    row += 1
                    if values is None:
                        message = "expected UTF-8 in every text, found other bytes; convert the file"
                        yield Reject(path.name, row, "invalid_encoding", message)
                    else:
                        yield Row(path.name, row, values)
    except (OSError, pyarrow.ArrowException) as exc:
        raise TableError(f"{path}: expected a parquet file, found after row {row}: {exc}") from exc


def _parquet_values(batch: Any) -> Iterator[dict[str, Any] | None]:  # noqa: ANN401 - pyarrow comes without types
    """Yield the rows of a RecordBatch; None for one with a text that is no UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield None
        else:
            for row in range(batch.num_rows):
                yield from _parquet_values(batch.slice(row, 1))


def check_columns(path: Path, expected: Sequence[str], found: Sequence[str]) -> None:
    """Raise TableError where the file has not every column, or has one of them twice."""
    if [name for name in expected if name not in found]:
        raise ColumnsError(path, expected, found, "set input_column_names and label_column_name")
    twice = [name for name in expected if found.count(name) > 1]
    if twice:
        raise TableError(f"{path}: expected each column once, found {', '.join(twice)} several times; rename one")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise TableError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
