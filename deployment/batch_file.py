"""Score files: rows are streamed, go through the model in batches of like length, and are written in their order.

Read a file of rows as the rows of a task.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from deployment.batch_model import BatchModel
from deployment.batch_options import Options
from deployment.batch_output import FileOutput, Part, Summary, name_of
from serving.answering.models import model_class
from serving.errors import BadRequest
from serving.requests.rows import Row as Texts
from serving.requests.rows import find_columns
from serving.tasks import Task
from tables.files import TEXT_SUFFIX, Wanted, file_kind, read_lines
from tables.rows import Reject, Row, TableError, chunks, shown

logger = logging.getLogger("deployment.batch_file")

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 1 << 19
CHUNK_ANSWERS = 1 << 14
"""What is in memory at once: rows enough to find batches of like length, and their answers."""

PROGRESS_SECONDS = 10.0
SHOWN = 5
"""Rows that the log says of why they failed, of each file; the file of failed rows has all."""


class FileScorer:
    """A model, and what is to be done with it."""

    def __init__(self, model: BatchModel, options: Options) -> None:
        """Put them together; `load` finds the model."""
        self._model = model
        self._options = options
        # Answers of many candidates are long.
        self._chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_ANSWERS // model.answers_a_row))

    @classmethod
    def load(cls, root: Path, options: Options) -> Self:
        """Load the model that the environment names; raises ModelFolderError, SettingsError or OptionsError."""
        start = time.monotonic()
        model = BatchModel.load(root, options)
        logger.info("scoring with %s; ready after %.1f s", model.name, time.monotonic() - start)
        return cls(model, options)

    def score(self, path: Path) -> Summary:
        """Score a file, from where an earlier try of the same file and model left it; raises OSError, as for a full disk.

        A file that cannot be read is told by the summary's `error`, and the others go on.
        """
        name = name_of(path, self._options.input_folder)
        made_from = self._made_from(path)
        output = FileOutput(self._options.output, name, made_from)
        summary = output.finished()
        if summary is not None:
            logger.info("%s: scored before, %d rows", name, summary.rows)
            return summary
        file = InputFile(path, self._model.task, self._options.columns)
        try:
            tally = self._rows(file, name, output)
        except TableError as exc:
            logger.error("%s: cannot be scored: %s", name, exc)
            summary = Summary(name, 0, 0, self._model.name, made_from, str(exc))
            output.give_up(summary)
            return summary
        summary = Summary(name, tally.rows, tally.failed, self._model.name, made_from)
        output.finish(summary)
        logger.info("%s: done, %s", name, tally)
        return summary

    def _rows(self, file: InputFile, name: str, output: FileOutput) -> Tally:
        done, failed = output.done()
        tally = Tally(name, done, failed, before=done)
        if done:
            logger.info("%s: going on after row %d", name, done)
        rows = itertools.islice(file.rows(), done, None)
        part, kept = output.part(done + 1), time.monotonic()
        try:
            for chunk in chunks(rows, self._chunk_rows, CHUNK_CHARACTERS):
                self._score(file, chunk, part, tally)
                if time.monotonic() - kept >= self._options.part_seconds:
                    part.keep()
                    part, kept = output.part(tally.rows + 1), time.monotonic()
            part.keep()
        except BaseException:
            part.drop()
            raise
        return tally

    def _score(self, file: InputFile, chunk: list[Row | Reject], part: Part, tally: Tally) -> None:
        answers = iter(self._model.answers([file.texts(row) for row in chunk if isinstance(row, Row)]))
        for row in chunk:
            result = _error(row.code, str(row.message), row.line) if isinstance(row, Reject) else next(answers)
            if isinstance(result, BadRequest):
                result = _error(result.code, str(result), row.line)
            failed = isinstance(result, _Error)
            tally.add(row.line, result if failed else None)
            part.write({"row": tally.rows, "error" if failed else "answer": result, "file": tally.name})
        tally.tell()

    def _made_from(self, path: Path) -> str:
        found = path.stat()
        parts = [self._model.identity, found.st_size, found.st_mtime_ns]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _Error(dict[str, Any]):
    """What is written of a row that could not be answered."""


def _error(code: str, message: str, line: int) -> _Error:
    return _Error(code=code, message=message, line=line)


@dataclass
class Tally:
    """How far a file is, for the log; `before` rows were done by an earlier try."""

    name: str
    rows: int
    failed: int
    before: int
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    shown: int = 0

    def add(self, line: int, error: _Error | None) -> None:
        """Count a row, and tell of the first few that failed."""
        self.rows += 1
        if error is not None:
            self.failed += 1
            if self.shown < SHOWN:
                logger.warning("%s, line %d: %s: %s", self.name, line, error["code"], error["message"])
            self.shown += 1

    def tell(self) -> None:
        """Say how far it is, every now and then."""
        if time.monotonic() - self.told >= PROGRESS_SECONDS:
            self.told = time.monotonic()
            logger.info("%s: %s", self.name, self)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        return f"{self.rows:,} rows, {self.failed:,} failed, {(self.rows - self.before) / seconds:,.0f} rows a second"


class InputFile:
    """A file of rows, and where a row's texts are in it: the columns that are named, else those of a request."""

    def __init__(self, path: Path, task: Task, columns: Sequence[str] = ()) -> None:
        """Take a file; nothing is read yet."""
        self._path = path
        self._fields = model_class(task).input.fields
        self._columns = tuple(columns)
        self._wanted = Wanted(())

    def rows(self) -> Iterator[Row | Reject]:
        """Read the rows in their order; a broken one is a Reject. Raises TableError where the file cannot be read."""
        if self._path.suffix.lower() == TEXT_SUFFIX:
            yield from self._lines()
        else:
            yield from file_kind(self._path, also=[TEXT_SUFFIX]).rows(self._path, self._choose)

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
