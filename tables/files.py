"""Read one file of rows, row by row and in constant memory: JSON lines, CSV, TSV, parquet, or lines of text.

A broken row becomes a Reject, and those after it are read. What is wrong with the whole file is a TableError.

Which columns are read is up to the caller, who is shown those that there are: `choose` returns what it wants of them, or
raises a TableError.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from serving.requests.rows import kind_of
from tables.regular_file import open_regular
from tables.rows import Reject, Row, TableError

SAMPLE = 100
"""JSON objects that are looked at for columns before one that is in none of them is called missing."""

FIELD_CHARACTERS = 1 << 20
"""The longest field of a CSV file. A quote that nobody closes takes up what follows; this is where that ends."""

LINE_BYTES = 1 << 22
"""The longest line of a file. Where nothing ends a line, this is where reading it into memory does."""

ARRAY_BYTES = 1 << 28
"""The largest .json file that is one array: in memory it takes several times as much."""

PARQUET_ROWS = 1024
"""Rows of a parquet file that are in memory at once, beside what its pages need."""


class Wanted(NamedTuple):
    """The columns that are wanted of a file: those that every row needs, and those that an object may lack."""

    needed: Sequence[str]
    optional: Sequence[str] = ()

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [*self.needed, *self.optional]


Choose: TypeAlias = Callable[[Path, Sequence[str]], Wanted]
"""A file and its columns -> those that are wanted."""


def read_json_lines(path: Path, choose: Choose) -> Iterator[Row | Reject]:
    """Read a JSON object a line, UTF-8; blank lines are left out.

    A .json file may be one array of objects too, or {"data": array}: each object's line is then its number, from 1. The
    columns are those of the first 100 objects.
    """
    with _opened(path) as file:
        rows = _of_array(path) if path.suffix.lower() == ".json" else None
        rows = _objects(file, path.name) if rows is None else rows
        wanted = None
        while wanted is None and (sample := list(itertools.islice(rows, SAMPLE))):
            found = dict.fromkeys(name for row in sample if isinstance(row, Row) for name in row.values)
            if any(isinstance(row, Row) for row in sample):
                wanted = choose(path, list(found))
            yield from _of_columns(sample, wanted)
        yield from _of_columns(rows, wanted)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines, of one that is too long its start alone: one byte more than it may have."""
    while line := file.readline(LINE_BYTES + 1):
        yield line
        while len(line) > LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES + 1)


def _too_long(line: bytes, name: str, number: int) -> Reject | None:
    if len(line) <= LINE_BYTES:
        return None
    return Reject(
        name, number, "line_too_long", f"expected at most {LINE_BYTES:,} bytes in a line, found more; split it"
    )


def _objects(file: BinaryIO, name: str) -> Iterator[Row | Reject]:
    for number, line in enumerate(_lines(file), 1):
        if long := _too_long(line, name, number):
            yield long
            continue
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
        first = next((line for line in _lines(file) if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
        try:
            found = json.loads(first.decode("utf-8-sig"))
            alone = isinstance(found, list) or (isinstance(found, dict) and list(found) == ["data"])
        except (ValueError, RecursionError):
            alone = True  # the text may go on in the next line
        if not alone:
            return None
        file.seek(0)
        if path.stat().st_size > ARRAY_BYTES:
            found_bytes = (
                f"expected JSON lines, or one array of at most {ARRAY_BYTES:,} bytes, found {path.stat().st_size:,}"
            )
            raise TableError(f"{path}: {found_bytes}; write an object a line")
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


def _of_columns(rows: Iterable[Row | Reject], wanted: Wanted | None) -> Iterator[Row | Reject]:
    for row in rows:
        if isinstance(row, Reject) or wanted is None:
            yield row
            continue
        missing = [name for name in wanted.needed if name not in row.values]
        if missing:
            expected = f"expected columns {list(wanted.needed)}, found no {', '.join(missing)}"
            yield row.reject("missing_column", expected)
        else:
            yield Row(row.file, row.line, {name: row.values.get(name) for name in wanted.all})


def read_lines(path: Path, column: str) -> Iterator[Row | Reject]:
    """Read a text a line, UTF-8, as rows of one column; an empty line is an empty text."""
    with _opened(path) as file:
        for number, line in enumerate(_lines(file), 1):
            if long := _too_long(line, path.name, number):
                yield long
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as exc:
                message = f"expected UTF-8, found {exc.reason}; convert the file"
                yield Reject(path.name, number, "invalid_encoding", message)
            else:
                yield Row(path.name, number, {column: text})


def read_delimited(path: Path, choose: Choose, delimiter: str) -> Iterator[Row | Reject]:
    """Read a file with a header, UTF-8; a field in double quotes may have line breaks, and "" is one quote in it."""
    csv.field_size_limit(FIELD_CHARACTERS)
    with _opened(path) as file:
        records = _records(_Lines(_lines(file)), delimiter, path.name)
        header = next(records, None)
        if header is None:
            return
        if isinstance(header, Reject):
            raise TableError(f"{path}: expected a header with the columns' names, found: {header.message}")
        names = header[1]
        columns = chosen(path, choose, names)
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


def read_parquet(path: Path, choose: Choose) -> Iterator[Row | Reject]:
    """Read a parquet file, the wanted columns of it; raises TableError where it is broken, or there is no pyarrow."""
    try:
        import pyarrow  # 40 MB that the other kinds do without
        import pyarrow.parquet
    except ImportError as exc:
        found = f"{path}: expected pyarrow to be there to read it with, found it is not"
        raise TableError(f"{found}; install pyarrow, or convert the file to JSON lines or CSV") from exc

    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = chosen(path, choose, file.schema_arrow.names)
            for batch in file.iter_batches(PARQUET_ROWS, columns=columns):
                for values in _parquet_values(batch):
                    row += 1
                    if isinstance(values, UnicodeDecodeError):
                        message = "expected UTF-8 in every text, found other bytes; convert the file"
                        yield Reject(path.name, row, "invalid_encoding", message)
                    elif isinstance(values, Exception):
                        message = f"expected values that Python has, found another: {values}; write it as a text"
                        yield Reject(path.name, row, "invalid_value", message)
                    else:
                        yield Row(path.name, row, values)
    except (OSError, pyarrow.ArrowException) as exc:
        raise TableError(f"{path}: expected a parquet file, found after row {row}: {exc}") from exc


def _parquet_values(batch: Any) -> Iterator[dict[str, Any] | Exception]:  # noqa: ANN401 - pyarrow comes without types
    """Yield the rows of a RecordBatch; what is wrong with one that has a text that is no UTF-8, or a date beyond all years."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError) as exc:
        if batch.num_rows == 1:
            yield exc
        else:
            for row in range(batch.num_rows):
                yield from _parquet_values(batch.slice(row, 1))


def chosen(path: Path, choose: Choose, found: Sequence[str]) -> list[str]:
    """Return the wanted columns of those that a table has; raises TableError where it has one of them twice."""
    wanted = choose(path, found)
    names = [*wanted.needed, *(name for name in wanted.optional if name in found)]
    twice = [name for name in names if list(found).count(name) > 1]
    if twice:
        raise TableError(f"{path}: expected each column once, found {', '.join(twice)} several times; rename one")
    return names


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as exc:
        raise TableError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
