"""Where the rows of an input file are written, in parts of which each is there whole or not at all.

    OUTPUT/a.csv.answers.jsonl      all rows, in their order
    OUTPUT/a.csv.failed.jsonl       those of them that could not be answered, where there are any
    OUTPUT/a.csv.summary.json       how many; it is written last, and says that the file is done
    OUTPUT/.unfinished/a.csv/HASH/  the parts of a file that is not done; HASH is of the input file and the model

A part is a file of its own that is written under another name, is on the disk, and then gets its own, FIRST-LAST-FAILED
(the numbers of its first and last row, and of the rows that failed). So the parts are their own journal: what a killed
process leaves behind says how many rows are done, and a row is in one part or in none.
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

from tables.whole_file import sync, whole_file

FAILED = re.compile(rb'\{"row": \d+, "error": ')
"""How the line of a row begins that could not be answered."""

MOUNTED = re.compile(r"/wd/INPUT_[^/]+/(?P<name>.+)$")
"""How Azure ML mounts an input, and what is below it."""

HIDDEN = ".unfinished"


@dataclass(frozen=True)
class Summary:
    """What became of an input file; `error` says why it could not be read. `made_from` is a hash of it and the model."""

    file: str
    rows: int
    failed: int
    model: str
    made_from: str
    error: str | None = None

    @property
    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


class Kept(NamedTuple):
    """A part in its place: the numbers of its first and last row, how many of its rows failed, and the file."""

    first: int
    last: int
    failed: int
    path: Path


class Part:
    """A part that is being written: rows from `first` on."""

    def __init__(self, folder: Path, first: int) -> None:
        """Begin a part in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f".{uuid.uuid4().hex}.partial"
        self._file: BinaryIO = self._path.open("xb")
        self.first, self.rows, self.failed = first, 0, 0

    def write(self, answer: dict[str, object]) -> None:
        """Add a row; its keys are `row`, then `answer` or `error`, then what else there is."""
        self._file.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self.rows += 1
        self.failed += "error" in answer

    def keep(self) -> None:
        """Put it in its place, once it is on the disk; one without rows is left out."""
        if not self.rows:
            self.drop()
            return
        sync(self._file)
        self._file.close()
        self._path.replace(self._path.with_name(f"{self.first:012d}-{self.first + self.rows - 1:012d}-{self.failed}"))

    def drop(self) -> None:
        """Leave it out."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class FileOutput:
    """The outputs of one input file."""

    def __init__(self, output: Path, name: str, made_from: str) -> None:
        """Take the folder of outputs, the file's name there (`name_of`), and a hash of the file and the model."""
        self._output, self._made_from = output, made_from
        self._hidden = output / HIDDEN / name
        self._parts = self._hidden / made_from[:16]
        self.answers, self.failed, self.summary = (
            output / f"{name}.{kind}" for kind in ("answers.jsonl", "failed.jsonl", "summary.json")
        )

    def finished(self) -> Summary | None:
        """Return the summary of a file that is done, of the same content and by the same model; else None."""
        try:
            found = Summary(**json.loads(self.summary.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        if found.made_from != self._made_from or found.error is not None or not self.answers.is_file():
            return None
        self._clear()
        return found

    def done(self) -> tuple[int, int]:
        """Return how many rows are in parts, and how many of them failed."""
        parts = self._kept()
        return (parts[-1].last, sum(part.failed for part in parts)) if parts else (0, 0)

    def part(self, first: int) -> Part:
        """Begin the part whose first row has this number, from 1."""
        return Part(self._parts, first)

    def finish(self, summary: Summary) -> None:
        """Put the parts together in the place of the answers, list those that failed, and say that the file is done."""
        if self.done() != (summary.rows, summary.failed):
            raise RuntimeError(
                f"expected {summary.rows} rows of {summary.file}, found {self.done()[0]}; score it again"
            )
        parts = [part.path for part in self._kept()]
        # What is there of another content says no longer that it is done.
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
        """Say that the file cannot be read, and leave nothing of it."""
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
            with contextlib.suppress(OSError):  # another file's parts are in it
                folder.rmdir()

    def _kept(self) -> list[Kept]:
        """Return the parts that make up the longest run of rows from the first on.

        There is one chain of parts, unless two processes worked on the file at once and cut it differently.
        """
        names = os.listdir(self._parts) if self._parts.is_dir() else []
        # The first row of a part -> how far one can get from there, and by which part.
        best: dict[int, tuple[int, Kept]] = {}
        for name in sorted((name for name in names if not name.startswith(".")), reverse=True):
            first, last, failed = map(int, name.split("-"))
            part = Kept(first, last, failed, self._parts / name)
            reach = best[part.last + 1][0] if part.last + 1 in best else part.last
            best[part.first] = max(best.get(part.first, (0, part)), (reach, part))
        found: list[Kept] = []
        while (following := found[-1].last + 1 if found else 1) in best:
            found.append(best[following][1])
        return found


def name_of(path: Path, folder: Path | None) -> str:
    """Return what the outputs of a file are called: its path below the folder of inputs, as the names there are unique.

    /mnt/azureml/cr/j/0/cap/data-capability/wd/INPUT_asset/a/b.csv -> a/b.csv. Elsewhere a hash of its folder is added.
    """
    if folder is not None and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    mounted = MOUNTED.search(path.as_posix())
    if mounted:
        return mounted["name"]
    return f"{path.name}-{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
