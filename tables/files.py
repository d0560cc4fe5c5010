"""Read one file of rows, row by row and in constant memory: JSON lines, CSV, TSV, parquet, or lines of text.

KINDS says how a file with each suffix is read. A broken row becomes a Reject, and the rows after it are still read. A fault
of the whole file raises TableError.

The caller chooses the columns: `choose` gets the file's columns and returns the columns to read, or raises TableError.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from tables.disk import open_regular
from tables.rows import Reject, Row, TableError, kind_of

SAMPLE = 100
"""JSON objects whose keys make up a file's columns."""

FIELD_CHARACTERS = 1 << 20
"""The longest field of a CSV file. A quote that is never closed takes in the rows that follow, up to this length."""

LINE_BYTES = 1 << 22
"""The longest line of a file; no more of a line is read into memory."""

ARRAY_BYTES = 1 << 28
"""The largest .json file that is one array: in memory the array takes several times as much."""

PARQUET_ROWS = 1024
"""Rows of a parquet file that are in memory at once, beside its pages."""


class Wanted(NamedTuple):
    """The columns to read from a file: those that every row needs, and those that a row may lack."""

    needed: Sequence[str]
    optional: Sequence[str] = ()

    @property
    def all(self) -> list[str]:
        """Return the needed and the optional columns."""
        return [*self.needed, *self.optional]


Choose: TypeAlias = Callable[[Path, Sequence[str]], Wanted]
"""A file and its columns -> the columns to read."""


def read_json_lines(path: Path, choose: Choose) -> Iterator[Row | Reject]:
    """Read one JSON object a line, in UTF-8; blank lines are skipped.

    A .json file may also be one array of objects, or {"data": array}: each object's line is then its number, from 1. The
    file's columns are the keys of the first 100 objects.
    """
    with _opened(path) as file:
        rows = _array_rows(path) if path.suffix.lower() == ".json" else None
        rows = _objects(file, path.name) if rows is None else rows
        wanted = None
        while wanted is None and (sample := list(itertools.islice(rows, SAMPLE))):
            columns = dict.fromkeys(name for row in sample if isinstance(row, Row) for name in row.values)
            if any(isinstance(row, Row) for row in sample):
                wanted = choose(path, list(columns))
            yield from _only_wanted(sample, wanted)
        yield from _only_wanted(rows, wanted)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of a line that is too long, its first LINE_BYTES + 1 bytes."""
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
            value = json.loads(text) if text else None
        except UnicodeDecodeError as exc:
            yield Reject(name, number, "invalid_encoding", f"expected UTF-8, found {exc.reason}; convert the file")
            continue
        except (ValueError, RecursionError) as exc:
            yield Reject(name, number, "invalid_json", f"expected one JSON object a line, found: {exc}")
            continue
        if isinstance(value, dict):
            yield Row(name, number, value)
        elif text:
            message = f'expected a JSON object, found {kind_of(value)}; write {{"column": "value"}}'
            yield Reject(name, number, "not_an_object", message)


def _array_rows(path: Path) -> Iterator[Row | Reject] | None:
    """Return the objects of a file that is one JSON array; None for JSON lines, also broken ones."""
    with _opened(path) as file:
        if not _may_be_array(file):
            return None
        file.seek(0)
        size = path.stat().st_size
        if size > ARRAY_BYTES:
            raise TableError(
                f"{path}: expected JSON lines, or one array of at most {ARRAY_BYTES:,} bytes, found {size:,}; "
                "write an object a line"
            )
        try:
            content = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None
    if isinstance(content, dict):
        content = content.get("data")
    return _elements(content, path.name) if isinstance(content, list) else None


def _may_be_array(file: BinaryIO) -> bool:
    """Decide from a file's first line if the file can be one JSON array, or {"data": array}."""
    first = next((line for line in _lines(file) if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    try:
        value = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return True  # the array may go on in the next line
    return isinstance(value, list) or (isinstance(value, dict) and list(value) == ["data"])


def _elements(array: list[Any], name: str) -> Iterator[Row | Reject]:
    for number, element in enumerate(array, 1):
        if isinstance(element, dict):
            yield Row(name, number, element)
        else:
            yield Reject(name, number, "not_an_object", f"expected a JSON object, found {kind_of(element)}")


def _only_wanted(rows: Iterable[Row | Reject], wanted: Wanted | None) -> Iterator[Row | Reject]:
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
    """Read the lines of a text file, in UTF-8, as rows of one column; an empty line is an empty text."""
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
    """Read a file with a header, in UTF-8; a field in double quotes may have line breaks, and "" stands for a quote."""
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
    """Hands a file's lines to the csv module, and hands those of a broken record out again."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._lines = enumerate(file, 1)
        self._again: deque[tuple[int, bytes]] = deque()
        self._taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append((number, line))
        # Bytes that are not UTF-8 stay in the text, so that the record with them can be rejected.
        return line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")

    def start(self) -> None:
        """Forget the lines of the last record, as a new one begins."""
        self._taken.clear()

    @property
    def number(self) -> int:
        """Return the number of the record's first line."""
        return self._taken[0][0]

    def give_back(self) -> None:
        """Give back all lines of a record except the first: a quote that is never closed has taken them in."""
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
    """Read the chosen columns of a parquet file; raises TableError if it is broken or pyarrow is not installed."""
    try:
        import pyarrow  # 40 MB that the other kinds do not need
        import pyarrow.parquet
    except ImportError as exc:
        fix = "install pyarrow, or convert the file to JSON lines or CSV"
        raise TableError(f"{path}: pyarrow is needed to read parquet and is not installed; {fix}") from exc

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
                        message = f"a value does not fit Python's types: {values}; write it as a text"
                        yield Reject(path.name, row, "invalid_value", message)
                    else:
                        yield Row(path.name, row, values)
    except (OSError, pyarrow.ArrowException) as exc:
        raise TableError(f"{path}: expected a parquet file, found after row {row}: {exc}") from exc


def _parquet_values(batch: Any) -> Iterator[dict[str, Any] | Exception]:  # noqa: ANN401 - pyarrow comes without types
    """Yield the rows of a RecordBatch; the error of a row with text that is not UTF-8, or a date beyond year 9999."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError) as exc:
        if batch.num_rows == 1:
            yield exc
        else:
            for row in range(batch.num_rows):
                yield from _parquet_values(batch.slice(row, 1))


def chosen(path: Path, choose: Choose, columns: Sequence[str]) -> list[str]:
    """Return the columns to read, of those that the file has; raises TableError if a column to read is there twice."""
    wanted = choose(path, columns)
    names = [*wanted.needed, *(name for name in wanted.optional if name in columns)]
    twice = [name for name in names if list(columns).count(name) > 1]
    if twice:
        raise TableError(f"{path}: expected each column once, found {', '.join(twice)} several times; rename one")
    return names


@dataclass(frozen=True)
class FileKind:
    """How the rows of a file are written; `delimiter` stands between the fields of a delimited file."""

    name: str
    delimiter: str = ""

    def rows(self, path: Path, choose: Choose) -> Iterator[Row | Reject]:
        """Read the rows of a file; raises TableError if the file cannot be read."""
        if self.delimiter:
            return read_delimited(path, choose, self.delimiter)
        return read_parquet(path, choose) if self == PARQUET else read_json_lines(path, choose)

    def about(self, path: Path) -> int:
        """Return about how many rows a file has: its lines, or the number that a parquet file states."""
        if self == PARQUET:
            return _parquet_count(path)
        return max(0, _line_count(path) - bool(self.delimiter))


JSON_LINES = FileKind("json_lines")
PARQUET = FileKind("parquet")
KINDS = {
    ".jsonl": JSON_LINES,
    ".json": JSON_LINES,
    ".csv": FileKind("csv", ","),
    ".tsv": FileKind("tsv", "\t"),
    ".parquet": PARQUET,
}
"""A file's suffix -> how its rows are written."""

TEXT_SUFFIX = ".txt"
"""The suffix of a file of plain lines, which have no columns: callers that take such files use read_lines."""


def file_kind(path: Path, also: Sequence[str] = ()) -> FileKind:
    """Return how a file is written; raises TableError for a suffix that is not in KINDS, naming those in `also` too."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        suffixes = ", ".join([*KINDS, *also])
        raise TableError(f"{path}: expected a file that ends in {suffixes}, found {path.name}; rename it")
    return kind


def _line_count(path: Path) -> int:
    with _opened(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _parquet_count(path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except (OSError, pyarrow.ArrowException) as exc:
        raise TableError(f"{path}: expected a parquet file, found: {exc}") from exc


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as exc:
        raise TableError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
