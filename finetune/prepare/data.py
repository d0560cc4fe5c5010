"""Read the parts of the data, check each row, and write the rows that can be trained on.

A row that cannot be trained on is left out, counted by reason and named by its file and line, never by its text. If there
is no validation data, rows of train are set aside for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from finetune.errors import FinetuneError, RowError
from finetune.prepare.examples import Example, ReadPart
from finetune.prepare.options import PARTS, Options
from finetune.settings import Part
from finetune.tasks.task import SHARE
from tables.disk import Outputs
from tables.rows import ColumnsError, Reject, Row, TableError, shown
from tables.table import Table, open_table

LISTED = 5
"""Rows that are listed of each part, at most."""


@dataclass(frozen=True)
class Source:
    """The data that was given for a part: its path, and the table there."""

    place: str
    table: Table


def open_data(options: Options) -> dict[Part, Source]:
    """Find the files of each part that was given, and check their columns; raises FinetuneError."""
    sources: dict[Part, Source] = {}
    for part in PARTS:
        for name in (f"{part}_file_path", f"{part}_mltable_path"):
            if name in options.data:
                sources[part] = Source(options.data[name], _opened(name, options))
    return sources


def _opened(name: str, options: Options) -> Table:
    path = Path(options.data[name])
    if not path.exists():
        raise FinetuneError(f"{name}: expected a file or a folder of files, found nothing at {path}")
    try:
        table = open_table(path)
        next(table.rows(options.task.file_columns(options.columns)), None)
    except ColumnsError as exc:
        problem = f"expected columns {exc.expected}, found {shown(exc.found)}; {_fix(exc, options)}"
        raise FinetuneError(f"{name}: {exc.path}: {problem}") from exc
    except (TableError, OSError) as exc:
        raise FinetuneError(f"{name}: {exc}") from exc
    return table


def _fix(error: ColumnsError, options: Options) -> str:
    """Return how to correct columns that are missing."""
    of_task = options.task.fix_columns(error.found)
    if of_task:
        return of_task
    for mark in ",;\t|":
        if len(error.found) == 1 and {name.strip('"') for name in error.found[0].split(mark)} >= set(error.expected):
            return f"the fields stand between {mark!r}: name it as the delimiter of read_delimited in an MLTable"
    keys = [key for key, column in options.columns.items() if column in error.expected and column not in error.found]
    return f"set {' and '.join(keys)}"


class DataWriter:
    """Writes train.jsonl, validation.jsonl, test.jsonl and dropped.jsonl, all of them or none.

    `check` raises RowError for an example that is too long.
    """

    def __init__(self, options: Options, check: Callable[[Example], None]) -> None:
        self._task = options.task
        self._columns = options.columns
        self._seed = options.training.seed
        self._folder = options.prepared
        self._check = check

    def write(self, sources: Mapping[Part, Source]) -> dict[Part, ReadPart]:
        """Read and write the parts; raises FinetuneError, and writes nothing, if they cannot be trained on."""
        names = [*PARTS, "unsplit", "dropped"]
        with Outputs({name: self._folder / f"{name}.jsonl" for name in names}) as outputs:
            split = "validation" not in sources
            parts: dict[Part, ReadPart] = {}
            for part, source in sources.items():
                output = "unsplit" if part == "train" and split else part
                parts[part] = self._read(part, source, outputs, output)
            problem = self._task.problem_of_parts(parts)
            if problem:
                raise FinetuneError(problem)
            if split:
                parts["validation"] = self._split(parts["train"], outputs)
            train = set(parts["train"].digests)
            for part in PARTS[1:]:
                if part in parts:
                    parts[part].duplicates = sum(digest in train for digest in parts[part].digests)
            outputs.publish(*parts, "dropped")
        for part, read in parts.items():
            with (self._folder / f"{part}.jsonl").open("rb") as file:
                read.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {part: parts[part] for part in PARTS if part in parts}

    def _read(self, part: Part, source: Source, outputs: Outputs, output: str) -> ReadPart:
        """Read a part to its end, and write its rows to an output."""
        read = ReadPart(source.place)
        rows = source.table.rows(self._task.file_columns(self._columns))
        try:
            for row in tqdm(rows, f"reading {part}", source.table.about(), leave=False, disable=None, unit=" rows"):
                example = self._example(row)
                if isinstance(example, Reject):
                    outputs.write("dropped", {"part": part, **example.record()})
                    read.dropped[example.code] += 1
                    read.rejects += [example] if len(read.rejects) < LISTED else []
                    continue
                outputs.write(output, example.record)
                read.add(example)
                if self._task.classifies and len(read.places.setdefault(example.group, [])) < LISTED:
                    read.places[example.group].append(f"{row.file}, line {row.line}")
        except TableError as exc:
            raise FinetuneError(f"{part}: {exc}") from exc
        _check_enough(part, read)
        return read

    def _example(self, row: Row | Reject) -> Example | Reject:
        if isinstance(row, Reject):
            return row
        try:
            example = self._task.example(row, self._columns)
            self._check(example)
        except RowError as exc:
            return row.reject(exc.code, str(exc))
        return example

    def _split(self, train: ReadPart, outputs: Outputs) -> ReadPart:
        """Divide the rows of train between train and validation; returns validation."""
        aside = self._task.split(train.groups, self._seed)
        if not aside:
            raise FinetuneError(
                f"train: expected {self._task.split_needs}, to set some aside for validation, found none; give "
                "validation_file_path"
            )
        for index, line in enumerate(outputs.lines("unsplit")):
            outputs.write_line("validation" if index in aside else "train", line)
        validation = ReadPart(f"{SHARE:.0%} of {train.source}, seed {self._seed}")
        pairs = list(zip(train.groups, train.digests, strict=True))
        train.groups, train.digests = [], []
        for index, (group, digest) in enumerate(pairs):
            side = validation if index in aside else train
            side.groups.append(group)
            side.digests.append(digest)
        return validation


def _check_enough(part: Part, read: ReadPart) -> None:
    """Raise FinetuneError for a part without rows, or with more rows left out than kept."""
    kept, dropped = len(read.groups), read.dropped.total()
    if dropped <= kept and kept:
        return
    reasons = ", ".join(f"{count:,} {code}" for code, count in read.dropped.most_common())
    if not kept and not dropped:
        raise FinetuneError(f"{part}: expected rows in {read.source}, found none")
    raise FinetuneError(
        f"{part}: expected most rows of {read.source} to be usable, found {dropped:,} of {kept + dropped:,} that are not "
        f"({reasons}); the first: {described(read.rejects[0])}"
    )


def described(reject: Reject) -> str:
    """Return the place of a row that was left out, and the reason."""
    return f"{reject.file}, line {reject.line}: {reject.message}"
