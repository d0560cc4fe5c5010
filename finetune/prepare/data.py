"""Read the parts of the data, check each row, and write those that can be trained on.

A row that cannot is left out, counted by reason and told by its file and line, never by its text.

Set rows aside for validation where none are given.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from finetune.prepare.examples import Example, example_of, in_order, problem_of, read_columns, shown
from finetune.prepare.options import PARTS, Options
from finetune.prepare.prepared import DataPart, FinetuneError, Part
from finetune.settings import Task
from tables.rows import ColumnsError, Reject, Row, TableError
from tables.rows import shown as shown_columns
from tables.table import Table, open_table
from tables.whole_file import Outputs

LISTED = 5
"""Rows that a message tells of, at most."""


@dataclass(frozen=True)
class Source:
    """A part of the data as it was given: where, and the table that it is."""

    place: str
    table: Table


@dataclass
class ReadPart:
    """What became of a part's rows: for each that was kept its group (label, or digest of the context) and digest."""

    source: str
    groups: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=dict)
    """A label's first rows, by file and line."""
    repaired: int = 0
    duplicates: int = 0
    """Rows whose text is in train too."""
    sha256: str = ""

    def data_part(self) -> DataPart:
        """Return what settings.json says of it."""
        return DataPart(
            source=self.source, rows=len(self.groups), sha256=self.sha256, dropped=dict(sorted(self.dropped.items()))
        )


def open_data(options: Options) -> dict[Part, Source]:
    """Find the files of each part that was given, and their columns; raises FinetuneError."""
    found: dict[Part, Source] = {}
    for part in PARTS:
        for name in (f"{part}_file_path", f"{part}_mltable_path"):
            if name in options.data:
                found[part] = Source(options.data[name], _opened(name, options))
    return found


def _opened(name: str, options: Options) -> Table:
    path = Path(options.data[name])
    if not path.exists():
        raise FinetuneError(f"{name}: expected a file or a folder of files, found nothing at {path}")
    try:
        table = open_table(path)
        next(table.rows(read_columns(options.task, options.columns)), None)
    except ColumnsError as exc:
        told = f"expected columns {exc.expected}, found {shown_columns(exc.found)}; {_fix(exc, options)}"
        raise FinetuneError(f"{name}: {exc.path}: {told}") from exc
    except (TableError, OSError) as exc:
        raise FinetuneError(f"{name}: {exc}") from exc
    return table


def _fix(error: ColumnsError, options: Options) -> str:
    """Say what to do about columns that are not there."""
    if options.task == "question-answering" and {"data", "paragraphs"} & set(error.found):
        return "write SQuAD's nested paragraphs as a row a question"
    for mark in ",;\t|":
        if len(error.found) == 1 and {name.strip('"') for name in error.found[0].split(mark)} >= set(error.expected):
            return f"the fields stand between {mark!r}: name it as the delimiter of read_delimited in an MLTable"
    keys = [key for key, column in options.columns.items() if column in error.expected and column not in error.found]
    return f"set {' and '.join(keys)}"


class DataWriter:
    """Writes train.jsonl, validation.jsonl, test.jsonl and dropped.jsonl, all of them or none.

    `fits` tells a question that leaves room for its context; every one does where it is None.
    """

    def __init__(self, options: Options, fits: Callable[[str], bool] | None = None) -> None:
        self._task: Task = options.task
        self._columns = options.columns
        self._seed = options.training.seed
        self._folder = options.prepared
        self._fits = fits

    def write(self, sources: Mapping[Part, Source]) -> dict[Part, ReadPart]:
        """Read and write the parts; raises FinetuneError where they cannot be trained on, and writes nothing then."""
        names = [*PARTS, "unsplit", "dropped"]
        with Outputs({name: self._folder / f"{name}.jsonl" for name in names}) as outputs:
            split = "validation" not in sources
            parts: dict[Part, ReadPart] = {}
            for part, source in sources.items():
                output = "unsplit" if part == "train" and split else part
                parts[part] = self._read(part, source, outputs, output)
            if self._task == "text-classification":
                _check_labels(parts)
            if split:
                parts["validation"] = self._split(parts["train"], outputs)
            train = set(parts["train"].digests)
            for part in PARTS[1:]:
                if part in parts:
                    parts[part].duplicates = sum(digest in train for digest in parts[part].digests)
            outputs.publish(*parts, "dropped")
        return {part: self._summed(part, parts[part]) for part in PARTS if part in parts}

    def _summed(self, part: Part, read: ReadPart) -> ReadPart:
        with (self._folder / f"{part}.jsonl").open("rb") as file:
            read.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return read

    def _read(self, part: Part, source: Source, outputs: Outputs, output: str) -> ReadPart:
        """Read a part to its end, and write its rows to an output."""
        read = ReadPart(source.place)
        rows = source.table.rows(read_columns(self._task, self._columns))
        try:
            for row in tqdm(rows, f"reading {part}", source.table.about(), leave=False, disable=None, unit=" rows"):
                found = self._example(row)
                if isinstance(found, Reject):
                    outputs.write("dropped", {"part": part, **found.record()})
                    read.dropped[found.code] += 1
                    read.rejects += [found] if len(read.rejects) < LISTED else []
                    continue
                outputs.write(output, found.record)
                read.groups.append(found.group)
                read.digests.append(found.digest)
                read.repaired += found.repaired
                if self._task == "text-classification" and len(read.places.setdefault(found.group, [])) < LISTED:
                    read.places[found.group].append(f"{row.file}, line {row.line}")
        except TableError as exc:
            raise FinetuneError(f"{part}: {exc}") from exc
        _check_enough(part, read)
        return read

    def _example(self, row: Row | Reject) -> Example | Reject:
        found = example_of(row, self._task, self._columns) if isinstance(row, Row) else row
        if isinstance(found, Reject) or self._fits is None or self._fits(found.record["question"]):
            return found
        return Reject(
            row.file,
            row.line,
            "question_too_long",
            "expected a question that leaves more than doc_stride tokens of max_seq_length for the context, found a longer",
        )

    def _split(self, train: ReadPart, outputs: Outputs) -> ReadPart:
        """Share the rows of train out between it and validation, which is returned."""
        by = split_by_label if self._task == "text-classification" else split_by_group
        aside = by(train.groups, self._seed)
        if not aside:
            what = "two rows of one label" if self._task == "text-classification" else "two contexts or more"
            raise FinetuneError(
                f"train: expected {what}, to set some aside for validation, found none; give validation_file_path"
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
    """Raise FinetuneError for a part without rows, or with more that were dropped than kept."""
    kept, dropped = len(read.groups), read.dropped.total()
    if dropped <= kept and kept:
        return
    reasons = ", ".join(f"{count:,} {code}" for code, count in read.dropped.most_common())
    if not kept and not dropped:
        raise FinetuneError(f"{part}: expected rows in {read.source}, found none")
    raise FinetuneError(
        f"{part}: expected most rows of {read.source} to be usable, found {dropped:,} of {kept + dropped:,} that are not "
        f"({reasons}); the first: {told(read.rejects[0])}"
    )


def told(reject: Reject) -> str:
    """Say where a row is that was left out, and why."""
    return f"{reject.file}, line {reject.line}: {reject.message}"


def _check_labels(parts: Mapping[Part, ReadPart]) -> None:
    """Raise FinetuneError for labels that are no classes, and for those of validation or test that train has not."""
    train = parts["train"]
    wrong = problem_of(train.groups, len(train.groups))
    if wrong:
        raise FinetuneError(f"train: {train.source}: {wrong}")
    known = set(train.groups)
    for part in PARTS[1:]:
        if part not in parts:
            continue
        unseen = Counter(label for label in parts[part].groups if label not in known)
        if unseen:
            labels = in_order(unseen)
            places = [place for label in labels for place in parts[part].places[label]]
            more = ", …" if unseen.total() > len(places[:LISTED]) else ""
            raise FinetuneError(
                f"{part}: expected labels of train, {shown(in_order(known))}, found {shown(labels)} in {unseen.total():,} "
                f"row{'s' * (unseen.total() > 1)} ({'; '.join(places[:LISTED])}{more}); correct them, or add such rows to train"
            )


SHARE = 0.1


def split_by_label(labels: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: the same share of each label, chosen by the seed.

    A label of two rows or more has at least one on each side; that of a single row stays.
    """
    rows: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        rows.setdefault(label, []).append(index)
    draw = random.Random(seed)
    chosen: set[int] = set()
    for label in sorted(rows):
        count = len(rows[label])
        aside = min(max(1, round(count * share)), count - 1)
        chosen.update(draw.sample(rows[label], aside))
    return chosen


def split_by_group(groups: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: whole groups, chosen by the seed, up to a share of the rows.

    Where every group is larger than that, it is one of the smallest. Empty for a single group.
    """
    rows: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    if len(rows) < 2:
        return set()
    shuffled = list(rows.values())
    random.Random(seed).shuffle(shuffled)
    chosen: set[int] = set()
    for group in shuffled:
        if len(chosen) + len(group) <= len(groups) * share:
            chosen.update(group)
    return chosen or set(min(shuffled, key=len))
