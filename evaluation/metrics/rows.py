"""The rows of an evaluation: read from the files of predictions and truths, checked, and kept as numbers and examples.

A row is one line of ground_truth, one of predictions and, if that file is given, one of prediction_probabilities. The
files are JSON lines as model_prediction or the public component writes them. They are read line by line, so that their
size does not matter.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.errors import EvaluationError, Part, RowError
from tables.rows import shown as shown_columns

KNOWN_COLUMNS = frozenset({"line", "file", "input_string", "top", "right", "text", "text_pair", "question", "context"})
"""Columns that model_prediction writes beside the column that is compared."""

ROUNDING = 1e-5
"""How far a probability may be out of range: 32-bit probabilities add up to 1 only approximately."""

SHOWN = 80
"""Characters of a value in a message."""

KEPT_EXAMPLES = 5


class Row(NamedTuple):
    """A row of the three files: the truth, the prediction, and the whole lines of the other columns.

    `line` is the line in the data, and `file` the file of the data if there are several.
    """

    line: int
    truth: Any
    predicted: Any
    prediction: Mapping[str, Any]
    probabilities: Mapping[str, Any] | None
    file: str | None = None

    @property
    def place(self) -> dict[str, Any]:
        """The place of the row in the data, as an example in metrics.json has it."""
        return {"line": self.line} if self.file is None else {"file": self.file, "line": self.line}


# Reading


class _Line(NamedTuple):
    """A line of a file: its number, from 1, and its values by column."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a row was read: the file and the line of each part."""

    lines: Mapping[Part, tuple[Path, int]]

    def error(self, problem: RowError) -> EvaluationError:
        """Return the error with the file and the line of the row."""
        file, number = self.lines[problem.part]
        return EvaluationError(f"{file}, line {number}: {problem}")


@dataclass(frozen=True)
class ResultFiles:
    """The files of an evaluation, and the columns to compare; None stands for the only column of a file."""

    ground_truth: Path
    prediction: Path
    prediction_probabilities: Path | None = None
    ground_truth_column: str | None = None
    prediction_column: str | None = None

    def rows(self) -> Iterator[tuple[Row, Place]]:
        """Yield the rows; raises EvaluationError if a file cannot be read or the files differ in length."""
        files: dict[Part, Path] = {"ground_truth": self.ground_truth, "prediction": self.prediction}
        if self.prediction_probabilities is not None:
            files["prediction_probabilities"] = self.prediction_probabilities
        readers = {part: read_lines(file) for part, file in files.items()}
        columns: dict[Part, str | None] = {
            "ground_truth": self.ground_truth_column,
            "prediction": self.prediction_column,
        }
        count = 0
        while True:
            lines = {part: line for part, reader in readers.items() if (line := next(reader, None)) is not None}
            if len(lines) < len(files):
                _check_counts(files, {part: count + (part in lines) + _left(readers[part]) for part in files})
                return
            count += 1
            if count == 1:
                columns = {part: _column(files[part], lines[part], column) for part, column in columns.items()}
            place = Place({part: (files[part], line.number) for part, line in lines.items()})
            yield _row(lines, columns, place, count), place


def find_file(path: Path) -> Path:
    """Return a file, or the only file of a folder; raises EvaluationError."""
    try:
        if not path.is_dir():
            return path
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith((".", "_")))
    except OSError as exc:
        place = exc.filename or path
        raise EvaluationError(f"{place}: expected a file or folder that can be read, found: {exc.strerror}") from exc
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise EvaluationError(f"{path}: expected one file of JSON lines in the folder, found {names}; name the file")
    return files[0]


def read_lines(file: Path) -> Iterator[_Line]:
    """Yield the objects of a file of JSON lines without blank lines; raises EvaluationError with the line."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _Line(number, _object(line, f"{file}, line {number}"))
    except OSError as exc:
        raise EvaluationError(f"{file}: expected a file that can be read, found: {exc.strerror}") from exc


def _object(line: bytes, place: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        problem = f"found {exc.reason} at byte {exc.start}"
        raise EvaluationError(f"{place}: expected UTF-8 text, {problem}; convert it") from exc
    except (ValueError, RecursionError) as exc:
        raise EvaluationError(f"{place}: expected a JSON object, found: {exc}") from exc
    if not isinstance(values, dict):
        raise EvaluationError(f"{place}: expected a JSON object, found {shown(values)}; write one object a line")
    return values


def _left(reader: Iterator[_Line]) -> int:
    return sum(1 for _ in reader)


def _check_counts(files: Mapping[Part, Path], counts: Mapping[Part, int]) -> None:
    for part, file in files.items():
        if counts[part] != counts["ground_truth"]:
            raise EvaluationError(
                f"expected as many rows in {part} as in ground_truth, found {counts[part]:,} in {file} and "
                f"{counts['ground_truth']:,} in {files['ground_truth']}; take them from the same run"
            )
    if not counts["ground_truth"]:
        raise EvaluationError(f"{files['ground_truth']}: expected a row a line, found no row")


def _column(file: Path, line: _Line, name: str | None) -> str:
    """Return the column to compare: the named column, else the only column, or the only unknown column."""
    if name:
        return name
    columns = sorted(line.values)
    unknown = columns if len(columns) == 1 else [column for column in columns if column not in KNOWN_COLUMNS]
    if len(unknown) != 1:
        raise EvaluationError(
            f"{file}, line {line.number}: expected one column, found {shown_columns(columns)}; "
            "name it with ground_truth_column_name or prediction_column_name"
        )
    return unknown[0]


def _row(lines: Mapping[Part, _Line], columns: Mapping[Part, str | None], place: Place, count: int) -> Row:
    compared = []
    for part, column in columns.items():
        values = lines[part].values
        if column not in values:
            problem = f"expected column {column!r}, found {sorted(values)}; every line needs it"
            raise place.error(RowError(part, problem))
        compared.append(values[column])
    prediction = lines["prediction"].values
    number, file = prediction.get("line"), prediction.get("file")
    probabilities = lines.get("prediction_probabilities")
    if probabilities is not None:
        _check_same_row(prediction, probabilities.values, place)
    return Row(
        number if isinstance(number, int) else count,
        compared[0],
        compared[1],
        prediction,
        None if probabilities is None else probabilities.values,
        file if isinstance(file, str) else None,
    )


def _check_same_row(prediction: Mapping[str, Any], probabilities: Mapping[str, Any], place: Place) -> None:
    """Refuse probabilities of another row: their line or file in the data differs from the prediction's."""
    for key in ("line", "file"):
        expected = prediction.get(key)
        if probabilities.get(key, expected) != expected:
            problem = f"expected the row of {key} {expected}, as in prediction, found {probabilities[key]}"
            raise place.error(RowError("prediction_probabilities", f"{problem}; take both files from the same run"))


# Checking


def number(part: Part, row: Mapping[str, Any], key: str, least: float = 0.0, most: float = 1.0) -> float:
    """Return a number of a line, with rounding errors cut off; raises RowError if it is out of range."""
    value = row.get(key)
    if not _is_number(value) or not least - ROUNDING <= value <= most + ROUNDING:
        raise RowError(part, f"expected {key!r} to be a number from {least:g} to {most:g}, found {shown(value)}")
    return min(max(float(value), least), most)


def are_candidates(value: object, most: float = 1.0) -> bool:
    """Return True if a value is [[text, number], …]; a number is from 0 to `most`, or null if it is not known.

    >>> are_candidates([["capital", 0.61], ["heart", None]]), are_candidates([[None, 0.5]])
    (True, False)
    """
    return isinstance(value, list) and all(_is_candidate(pair, most) for pair in value)


def _is_candidate(pair: object, most: float) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    return pair[1] is None or (_is_number(pair[1]) and -ROUNDING <= pair[1] <= most + ROUNDING)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: object) -> str:
    """Write a value for a message, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# Keeping

_TYPE_CODES = {bool: "b", int: "q", float: "d"}


class Columns:
    """Columns of numbers that grow row by row, 1 or 8 bytes a number: Columns(found=bool, rank=int, share=float)."""

    def __init__(self, **kinds: type) -> None:
        """Name the columns and their types; bool holds any number from -128 to 127."""
        self._columns = {name: array(_TYPE_CODES[kind]) for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._columns)

    def append(self, **values: float) -> None:
        """Add a row: a number for each column."""
        for name, column in self._columns.items():
            column.append(values[name])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        column = self._columns[name]
        return np.frombuffer(column, np.dtype(column.typecode)) if column else np.empty(0, np.dtype(column.typecode))


class Examples:
    """The rows of the highest ranks so far, highest first; only one of several rows with the same input is kept."""

    def __init__(self, kept: int = KEPT_EXAMPLES) -> None:
        """Take how many to keep."""
        self._kept = kept
        self._rows: list[tuple[tuple[float, ...], Mapping[str, Any]]] = []

    def offer(self, rank: tuple[float, ...], example: Mapping[str, Any]) -> None:
        """Keep the example if few enough rank higher; among equal ranks the first is kept."""
        if len(self._rows) == self._kept and rank <= self._rows[-1][0]:
            return
        for index, (other, kept) in enumerate(self._rows):
            if kept["input"] == example["input"] and kept["expected"] == example["expected"]:
                if rank <= other:
                    return
                del self._rows[index]
                break
        self._rows.append((rank, example))
        self._rows.sort(key=lambda row: row[0], reverse=True)
        del self._rows[self._kept :]

    def rows(self) -> list[dict[str, Any]]:
        """Return the examples, the highest rank first."""
        return [dict(example) for _, example in self._rows]
