"""Write the rows of an input file, in parts that are there whole or not at all.

    OUTPUT/a.csv.answers.jsonl      all rows, in their order
    OUTPUT/a.csv.failed.jsonl       the rows that could not be answered, if there are any
    OUTPUT/a.csv.summary.json       the numbers of rows; it is written last, and says that the file is done
    OUTPUT/.unfinished/a.csv/HASH/  the parts of a file that is not done; HASH is of the input file and the model

A part is a file that is written under another name, is brought to the disk, and is then named FIRST-LAST-FAILED: the
numbers of its first and last row, and how many of its rows failed. So the names of the parts that a killed process leaves
say how many rows are done, and each row is in one part or in none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tables.disk import sync, whole_file

FAILED = re.compile(rb'\{"row": \d+, "error": ')
"""The start of the line of a row that could not be answered."""

MOUNTED = re.compile(r"/wd/INPUT_[^/]+/(?P<name>.+)$")
"""A path in an input as Azure ML mounts it."""

HIDDEN = ".unfinished"


@dataclass(frozen=True)
class Summary:
    """The summary of an input file. `error` says why it could not be read; `made_from` is a hash of the file and the model."""

    file: str
    rows: int
    failed: int
    model: str
    made_from: str
    error: str | None = None

    @property
    def line(self) -> str:
        """Return the summary as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


class Kept(NamedTuple):
    """A finished part: the numbers of its first and last row, how many of its rows failed, and the file."""

    first: int
    last: int
    failed: int
    path: Path


class Part:
    """An unfinished part, with the rows from `first` on."""

    def __init__(self, folder: Path, first: int) -> None:
        """Begin a part in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f".{uuid.uuid4().hex}.partial"
        self._file: BinaryIO = self._path.open("xb")
        self.first, self.rows, self.failed = first, 0, 0

    def write(self, answer: dict[str, object]) -> None:
        """Add a row; its keys are `row`, then `answer` or `error`, then others."""
        self._file.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self.rows += 1
        self.failed += "error" in answer

    def keep(self) -> None:
        """Finish the part; a part without rows is dropped."""
        if not self.rows:
            self.drop()
            return
        sync(self._file)
        self._file.close()
        self._path.replace(self._path.with_name(f"{self.first:012d}-{self.first + self.rows - 1:012d}-{self.failed}"))

    def drop(self) -> None:
        """Remove the part."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class FileOutput:
    """The outputs of one input file."""

    def __init__(self, output: Path, name: str, made_from: str) -> None:
        """Take the folder of outputs, the name of the file there (see `name_of`), and a hash of the file and the model."""
        self._output, self._made_from = output, made_from
        self._hidden = output / HIDDEN / name
        self._parts = self._hidden / made_from[:16]
        self.answers, self.failed, self.summary = (
            output / f"{name}.{kind}" for kind in ("answers.jsonl", "failed.jsonl", "summary.json")
        )

    def finished(self) -> Summary | None:
        """Return the summary if the same file was done by the same model, or else None."""
        try:
            summary = Summary(**json.loads(self.summary.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        if summary.made_from != self._made_from or summary.error is not None or not self.answers.is_file():
            return None
        self._clear()
        return summary

    def done(self) -> tuple[int, int]:
        """Return how many rows the parts have, and how many of these failed."""
        parts = self._kept()
        return (parts[-1].last, sum(part.failed for part in parts)) if parts else (0, 0)

    def part(self, first: int) -> Part:
        """Begin the part whose first row has this number; the first row of the file is 1."""
        return Part(self._parts, first)

    def finish(self, summary: Summary) -> None:
        """Join the parts to the file of answers, write the file of failed rows, and write the summary."""
        if self.done() != (summary.rows, summary.failed):
            raise RuntimeError(
                f"{self.done()[0]} of {summary.rows} rows of {summary.file} are in parts; score it again"
            )
        parts = [part.path for part in self._kept()]
        # The summary of an earlier content of the file does not call it done any more.
        self.summary.unlink(missing_ok=True)
        if summary.failed:
            with self._whole(self.failed) as file:
                for part in parts:
                    with part.open("rb") as rows:
                        file.writelines(row for row in rows if FAILED.match(row))
        else:
            self.failed.unlink(missing_ok=True)
        with self._whole(self.answers) as file:
            for part in parts:
                with part.open("rb") as rows:
                    shutil.copyfileobj(rows, file)
        self._close(summary)

    def give_up(self, summary: Summary) -> None:
        """Write the summary of a file that cannot be read, and remove its answers."""
        self.answers.unlink(missing_ok=True)
        self.failed.unlink(missing_ok=True)
        self._close(summary)

    def _close(self, summary: Summary) -> None:
        with self._whole(self.summary) as file:
            file.write((json.dumps(asdict(summary), ensure_ascii=False, indent=2) + "\n").encode())
        self._clear()

    def _whole(self, place: Path) -> contextlib.AbstractContextManager[BinaryIO]:
        """Write a file whole; what a kill leaves of it is removed with the parts."""
        self._parts.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        return whole_file(place, unfinished=self._parts)

    def _clear(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        for folder in self._hidden.parents:
            if folder == self._output:
                break
            with contextlib.suppress(OSError):  # it has the parts of another file
                folder.rmdir()

    def _kept(self) -> list[Kept]:
        """Return the parts that make up the longest run of rows from the first on.

        There is one chain of parts, unless two processes scored the file at the same time and cut it differently.
        """
        names = os.listdir(self._parts) if self._parts.is_dir() else []
        # The first row of a part -> the last row that a chain from there reaches, and the part that begins it.
        best: dict[int, tuple[int, Kept]] = {}
        for name in sorted((name for name in names if not name.startswith(".")), reverse=True):
            first, last, failed = map(int, name.split("-"))
            part = Kept(first, last, failed, self._parts / name)
            reach = best[part.last + 1][0] if part.last + 1 in best else part.last
            best[part.first] = max(best.get(part.first, (0, part)), (reach, part))
        chain: list[Kept] = []
        while (following := chain[-1].last + 1 if chain else 1) in best:
            chain.append(best[following][1])
        return chain


def name_of(path: Path, folder: Path | None) -> str:
    """Return the name of a file's outputs: its path below the folder of inputs, which is unique.

    /mnt/azureml/cr/j/0/cap/data-capability/wd/INPUT_asset/a/b.csv -> a/b.csv. A file elsewhere gets its name and a hash of its folder.
    """
    if folder is not None and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    mounted = MOUNTED.search(path.as_posix())
    if mounted:
        return mounted["name"]
    return f"{path.name}-{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
