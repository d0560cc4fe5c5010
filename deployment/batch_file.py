"""Score files of rows: rows are streamed, go through the model in batches of like length, and are written in their order."""

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
"""Limits of a chunk, which is in memory at once: it has enough rows to find batches of like length."""

PROGRESS_SECONDS = 10.0
SHOWN = 5
"""How many failed rows of a file the log explains; the file of failed rows has all of them."""


class FileScorer:
    """Scores files with a model."""

    def __init__(self, model: BatchModel, options: Options) -> None:
        """Take a model that is ready; `load` finds it."""
        self._model = model
        self._options = options
        # Answers with many candidates are long.
        self._chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_ANSWERS // model.answers_a_row))

    @classmethod
    def load(cls, root: Path, options: Options) -> Self:
        """Load the model that the environment names; raises ModelFolderError, SettingsError or OptionsError."""
        start = time.monotonic()
        model = BatchModel.load(root, options)
        logger.info("scoring with %s; ready after %.1f s", model.name, time.monotonic() - start)
        return cls(model, options)

    def score(self, path: Path) -> Summary:
        """Score a file, from where an earlier try of the same file and model ended; raises OSError, such as for a full disk.

        If the file cannot be read, the `error` of the summary says why.
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
        status = path.stat()
        parts = [self._model.identity, status.st_size, status.st_mtime_ns]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _Error(dict[str, Any]):
    """The error of a row that cannot be answered, as it is written."""


def _error(code: str, message: str, line: int) -> _Error:
    return _Error(code=code, message=message, line=line)


@dataclass
class Tally:
    """The progress of a file, for the log; `before` rows were done by an earlier try."""

    name: str
    rows: int
    failed: int
    before: int
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)
    shown: int = 0

    def add(self, line: int, error: _Error | None) -> None:
        """Count a row; log the first few that failed."""
        self.rows += 1
        if error is not None:
            self.failed += 1
            if self.shown < SHOWN:
                logger.warning("%s, line %d: %s: %s", self.name, line, error["code"], error["message"])
            self.shown += 1

    def tell(self) -> None:
        """Log the progress every few seconds."""
        if time.monotonic() - self.logged >= PROGRESS_SECONDS:
            self.logged = time.monotonic()
            logger.info("%s: %s", self.name, self)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        return f"{self.rows:,} rows, {self.failed:,} failed, {(self.rows - self.before) / seconds:,.0f} rows a second"


class InputFile:
    """A file of rows, and the columns with a row's texts: those that are named, or else those that a request may have."""

    def __init__(self, path: Path, task: Task, columns: Sequence[str] = ()) -> None:
        """Take a file; it is not read yet."""
        self._path = path
        self._fields = model_class(task).input.fields
        self._columns = tuple(columns)
        self._wanted = Wanted(())

    def rows(self) -> Iterator[Row | Reject]:
        """Read the rows in their order; a broken row is a Reject. Raises TableError if the file cannot be read."""
        if self._path.suffix.lower() == TEXT_SUFFIX:
            yield from self._lines()
        else:
            yield from file_kind(self._path, also=[TEXT_SUFFIX]).rows(self._path, self._choose)

    def texts(self, row: Row) -> Texts:
        """Return a row's text and the second text of a pair, or None."""
        texts = [row.values.get(name) for name in self._wanted.needed]
        texts += [value for value in (row.values.get(name) for name in self._wanted.optional) if value is not None]
        return texts[0], texts[1] if len(texts) > 1 else None

    def _lines(self) -> Iterator[Row | Reject]:
        if self._fields.needed:
            raise TableError(
                f"{self._path}: lines of text do not do for {self._fields.task}, the task of this model; write JSON lines or CSV with "
                f"{self._fields.called(dict)}"
            )
        self._wanted = Wanted((self._fields.text[0],))
        yield from read_lines(self._path, self._fields.text[0])

    def _choose(self, path: Path, columns: Sequence[str]) -> Wanted:
        self._wanted = self._named(path, columns) if self._columns else self._recognized(path, columns)
        return self._wanted

    def _named(self, path: Path, columns: Sequence[str]) -> Wanted:
        names = self._columns
        fewest, most = 2 if self._fields.needed else 1, 2 if self._fields.pair else 1
        if not fewest <= len(names) <= most:
            raise TableError(
                f"BATCH_SCORING_COLUMNS names {', '.join(names)}; name {fewest if fewest == most else '1 or 2'} columns for "
                f"{self._fields.task}, the task of this model"
            )
        if missing := [name for name in names if name not in columns]:
            message = f"{path}: there is no column {', '.join(missing)} (the columns are {shown(columns)})"
            raise TableError(f"{message}; set BATCH_SCORING_COLUMNS, or rename a column")
        return Wanted(names)

    def _recognized(self, path: Path, columns: Sequence[str]) -> Wanted:
        try:
            text, pair = find_columns(list(columns), path.name, self._fields)
        except BadRequest as exc:
            raise TableError(f"{exc}; set BATCH_SCORING_COLUMNS, or rename a column") from exc
        if self._fields.needed:
            return Wanted((text, pair))
        # Some objects may have a second text, even if the first hundred have none.
        return Wanted((text,), (pair,) if pair is not None else [name for name in self._fields.pair if name != text])
