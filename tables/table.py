"""A table: a file, a folder of files of one kind, or an MLTable folder.

    open_table(Path("cloze.csv")).rows(["input_string", "title"])
    -> Row(file="cloze.csv", line=2, values={"input_string": "Paris is the [MASK] of France.", "title": "capital"}), …

Files are in UTF-8, with or without a byte order mark: JSON lines (.jsonl, .json), .csv and .tsv with a header, .parquet.
They are streamed, so that a table may be larger than memory; only a .json file that is one array, or {"data": array},
is read at once. Broken rows come as Rejects, in their place.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import mltable
from tables.files import KINDS, FileKind, Wanted, file_kind
from tables.rows import ColumnsError, Reject, Row, TableError


@dataclass(frozen=True)
class Table:
    """Files of one kind, to be read in their order.

    In a table of several files, each row names its file relative to `folder`, as two folders may have files of one name.
    """

    files: tuple[Path, ...]
    kind: FileKind
    folder: Path = Path()

    def rows(self, columns: Sequence[str]) -> Iterator[Row | Reject]:
        """Read these columns of all rows; raises TableError if a file lacks a column or cannot be read.

        The first row of each file is read before any row is yielded, so that a fault of the last file is found at once and
        not after hours of work.
        """
        choose = functools.partial(_named, columns)
        for file in self.files:
            next(self.kind.rows(file, choose), None)
        for file in self.files:
            rows = self.kind.rows(file, choose)
            if len(self.files) > 1:
                name = Path(os.path.relpath(file, self.folder)).as_posix()
                yield from (row.of_several(name) for row in rows)
            else:
                yield from rows

    def about(self) -> int:
        """Return about how many rows there are, for a progress bar."""
        return sum(map(self.kind.about, self.files))


def _named(columns: Sequence[str], file: Path, found: Sequence[str]) -> Wanted:
    """Choose the named columns; raises ColumnsError if the file lacks one of them."""
    if [name for name in columns if name not in found]:
        raise ColumnsError(file, columns, found, "set input_column_names and label_column_name")
    return Wanted(columns)


def open_table(path: Path) -> Table:
    """Find the files of a table; raises TableError if there are none, if their kinds differ, or if one cannot be read."""
    if not path.exists():
        raise TableError(f"{path}: expected a file or folder of test data, found nothing there")
    if path.name == mltable.FILE or (path / mltable.FILE).is_file():
        described = mltable.read(path if path.is_file() else path / mltable.FILE)
        return Table(described.files, described.kind, path.parent if path.is_file() else path)
    files = _data_files(path) if path.is_dir() else [path]
    kinds = {kind.name: kind for kind in map(file_kind, files)}
    if len(kinds) > 1:
        raise TableError(f"{path}: expected files of one kind, found {', '.join(sorted(kinds))}; give one of them")
    return Table(tuple(files), kinds.popitem()[1], path)


def _data_files(folder: Path) -> list[Path]:
    """Return a folder's files of data, ordered by name; a README or a hidden file beside them is left out."""
    inside = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_")))
    files = [path for path in inside if path.suffix.lower() in KINDS]
    if not files:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise TableError(f"{folder}: expected files that end in {', '.join(KINDS)}, found {names}")
    return files
