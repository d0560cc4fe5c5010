"""Read a file of rows as the rows of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from serving.errors import BadRequest
from serving.model.tasks import Task
from serving.requests.rows import FIELDS, find_columns
from serving.requests.rows import Row as Texts
from tables.files import Wanted, read_delimited, read_json_lines, read_lines, read_parquet
from tables.rows import Reject, Row, TableError, shown

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")


class InputFile:
    """A file of rows, and where a row's texts are in it: the columns that are named, else those of a request."""

    def __init__(self, path: Path, task: Task, columns: Sequence[str] = ()) -> None:
        """Take a file; nothing is read yet."""
        self._path = path
        self._fields = FIELDS[task]
        self._columns = tuple(columns)
        self._wanted = Wanted(())

    def rows(self) -> Iterator[Row | Reject]:
        """Read the rows in their order; a broken one is a Reject. Raises TableError where the file cannot be read."""
        kind = self._path.suffix.lower()
        if kind in (".jsonl", ".json"):
            yield from read_json_lines(self._path, self._choose)
        elif kind in (".csv", ".tsv"):
            yield from read_delimited(self._path, self._choose, "\t" if kind == ".tsv" else ",")
        elif kind == ".parquet":
            yield from read_parquet(self._path, self._choose)
        elif kind == ".txt":
            yield from self._lines()
        else:
            raise TableError(
                f"{self._path}: expected a file that ends in {', '.join(SUFFIXES)}, found {self._path.name}; rename it"
            )

    def texts(self, row: Row) -> Texts:
        """Return a row's text, and the second of a pair; None where there is none."""
        found = [row.values.get(name) for name in self._wanted.needed]
        found += [value for value in (row.values.get(name) for name in self._wanted.optional) if value is not None]
        return found[0], found[1] if len(found) > 1 else None

    def _lines(self) -> Iterator[Row | Reject]:
        if self._fields.needed:
            raise TableError(
                f"{self._path}: expected {self._fields.called(dict)}, as this model's task is {self._fields.task}, found "
                "lines of text; write them as JSON lines or CSV"
            )
        self._wanted = Wanted((self._fields.text[0],))
        yield from read_lines(self._path, self._fields.text[0])

    def _choose(self, path: Path, found: Sequence[str]) -> Wanted:
        self._wanted = self._named(path, found) if self._columns else self._found(path, found)
        return self._wanted

    def _named(self, path: Path, found: Sequence[str]) -> Wanted:
        names = self._columns
        fewest, most = 2 if self._fields.needed else 1, 2 if self._fields.pair else 1
        if not fewest <= len(names) <= most:
            raise TableError(
                f"expected BATCH_SCORING_COLUMNS to name {fewest if fewest == most else '1 or 2'} columns, as this model's "
                f"task is {self._fields.task}, found {', '.join(names)}; correct it"
            )
        if [name for name in names if name not in found]:
            expected = f"{path}: expected columns {list(names)}, found {shown(found)}"
            raise TableError(f"{expected}; set BATCH_SCORING_COLUMNS, or rename a column")
        return Wanted(names)

    def _found(self, path: Path, found: Sequence[str]) -> Wanted:
        try:
            text, pair = find_columns(list(found), path.name, self._fields)
        except BadRequest as exc:
            raise TableError(f"{exc}; set BATCH_SCORING_COLUMNS, or rename a column") from exc
        if self._fields.needed:
            return Wanted((text, pair))
        # An object may lack the second of a pair, or have it where the first hundred have not.
        return Wanted((text,), (pair,) if pair is not None else [name for name in self._fields.pair if name != text])
