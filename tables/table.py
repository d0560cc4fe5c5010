"""Read test data: a file, a folder of files of one kind, or an MLTable folder.

    open_table(Path("cloze.csv")).rows(["input_string", "title"])
    -> Row(file="cloze.csv", line=2, values={"input_string": "Paris is the [MASK] of France.", "title": "capital"}), …

Files are UTF-8, with a byte order mark or without: JSON lines (.jsonl, .json), .csv and .tsv with a header, .parquet.
They are streamed, so that a table may be larger than memory; only a .json file that is one array, or {"data": array},
is read at once. Rows that are broken come as Rejects, in their place.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tables import mltable
from tables.files import Wanted, read_delimited, read_json_lines, read_parquet
from tables.rows import ColumnsError, Reject, Row, TableError

KINDS = {".jsonl": "json_lines", ".json": "json_lines", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
"""A file's suffix -> its kind."""

DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """Files of one kind, to be read in their order; `delimiter` stands between the fields of delimited ones.

    Rows of several files name theirs as it is seen from the `folder`, as names may be the same in two folders.
    """

    files: tuple[Path, ...]
    kind: str
    delimiter: str = ""
    folder: Path = Path()

    def rows(self, columns: Sequence[str]) -> Iterator[Row | Reject]:
        """Read the rows, with these columns only; raises TableError where a file has not got them or cannot be read.

        Each file's first row is read before any is given: a fault in the last one would else come after hours of work.
        """
        for file in self.files:
            with closing(self._file_rows(file, columns)) as rows:
                next(rows, None)
        for file in self.files:
            rows = self._file_rows(file, columns)
            if len(self.files) > 1:
                name = Path(os.path.relpath(file, self.folder)).as_posix()
                yield from (row.of_several(name) for row in rows)
            else:
                yield from rows

    def _file_rows(self, file: Path, columns: Sequence[str]) -> Generator[Row | Reject]:
        choose = functools.partial(_named, columns)
        if self.kind == "json_lines":
            yield from read_json_lines(file, choose)
        elif self.kind == "parquet":
            yield from read_parquet(file, choose)
        else:
            yield from read_delimited(file, choose, self.delimiter)

    def about(self) -> int:
        """Return about how many rows there are, for a progress bar: the lines, or what parquet files say."""
        if self.kind == "parquet":
            return sum(map(_parquet_rows, self.files))
        return max(0, sum(map(_lines, self.files)) - (len(self.files) if self.kind != "json_lines" else 0))


def _named(columns: Sequence[str], file: Path, found: Sequence[str]) -> Wanted:
    """Want the columns that are named; raises ColumnsError where a file has not every one."""
    if [name for name in columns if name not in found]:
        raise ColumnsError(file, columns, found, "set input_column_names and label_column_name")
    return Wanted(columns)


def open_table(path: Path) -> Table:
    """Find the files of a table; raises TableError where there are none, of several kinds, or not ours to read."""
    if not path.exists():
        raise TableError(f"{path}: expected a file or folder of test data, found nothing there")
    if path.name == mltable.FILE or (path / mltable.FILE).is_file():
        described = mltable.read(path if path.is_file() else path / mltable.FILE)
        return Table(described.files, described.kind, described.delimiter, path.parent if path.is_file() else path)
    files = _data_files(path) if path.is_dir() else [path]
    kinds = sorted({KINDS.get(file.suffix.lower(), f"{file.suffix or file.name!r}") for file in files})
    if len(kinds) > 1:
        raise TableError(f"{path}: expected files of one kind, found {', '.join(kinds)}; give one of them")
    if kinds[0] not in KINDS.values():
        raise TableError(f"{path}: expected a file that ends in {', '.join(KINDS)}, found {path.name}; rename it")
    return Table(tuple(files), kinds[0], DELIMITERS.get(kinds[0], ""), path)


def _data_files(folder: Path) -> list[Path]:
    """Return a folder's files of data in the order of their names; a README or a hidden file beside them is no data."""
    inside = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_")))
    files = [path for path in inside if path.suffix.lower() in KINDS]
    if not files:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise TableError(f"{folder}: expected files that end in {', '.join(KINDS)}, found {names}")
    return files


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError as exc:
        raise TableError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc


def _parquet_rows(path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except (OSError, pyarrow.ArrowException) as exc:
        raise TableError(f"{path}: expected a parquet file, found: {exc}") from exc
