"""Read the files that model_prediction writes, and those of the public component: JSON lines, side by side.

A row is one line of ground_truth, one of predictions and, where it is given, one of prediction_probabilities. They are
read line by line, so that their size does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.metrics.rows import Part, Row, RowError, shown
from tables.rows import shown as shown_columns

KNOWN = frozenset({"line", "file", "input_string", "top", "right", "text", "text_pair", "question", "context"})
"""Columns beside those that are compared."""


class DataError(Exception):
    """The files cannot be evaluated; the message says what was expected, what was found and what to do."""


class _Line(NamedTuple):
    """A line of a file: its number, from 1, and what is in it."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a row was read: for each part the file and its line."""

    lines: Mapping[Part, tuple[Path, int]]

    def error(self, problem: RowError) -> DataError:
        """Return the error of a row with its file and line."""
        file, number = self.lines[problem.part]
        return DataError(f"{file}, line {number}: {problem}")


@dataclass(frozen=True)
class ResultFiles:
    """The files of an evaluation, and the columns in them; a column that is None is found where there is only one."""

    ground_truth: Path
    prediction: Path
    prediction_probabilities: Path | None = None
    ground_truth_column: str | None = None
    prediction_column: str | None = None

    def rows(self) -> Iterator[tuple[Row, Place]]:
        """Yield the rows; raises DataError where a file cannot be read, or has another number of rows than the others."""
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
            lines = {part: next(reader, None) for part, reader in readers.items()}
            there = {part: line for part, line in lines.items() if line is not None}
            if len(there) < len(files):
                _check_counts(files, {part: count + (part in there) + _left(readers[part]) for part in files})
                return
            count += 1
            if count == 1:
                columns = {part: _column(files[part], there[part], column) for part, column in columns.items()}
            place = Place({part: (files[part], line.number) for part, line in there.items()})
            yield _row(there, columns, place, count), place


def find_file(path: Path) -> Path:
    """Return the file of JSON lines that a path is, or that is the only one in a folder; raises DataError."""
    try:
        if not path.is_dir():
            return path
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith((".", "_")))
    except OSError as exc:
        place = exc.filename or path
        raise DataError(f"{place}: expected a file or folder that can be read, found: {exc.strerror}") from exc
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"{path}: expected one file of JSON lines in the folder, found {found}; name the file")
    return files[0]


def read_lines(file: Path) -> Iterator[_Line]:
    """Yield the objects of a file of JSON lines, blank lines left out; raises DataError, naming the line."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _Line(number, _object(line, f"{file}, line {number}"))
    except OSError as exc:
        raise DataError(f"{file}: expected a file that can be read, found: {exc.strerror}") from exc


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise DataError(f"{where}: expected UTF-8 text, found {exc.reason} at byte {exc.start}; convert it") from exc
    except (ValueError, RecursionError) as exc:
        raise DataError(f"{where}: expected a JSON object, found: {exc}") from exc
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected a JSON object, found {shown(found)}; write one object a line")
    return found


def _left(reader: Iterator[_Line]) -> int:
    return sum(1 for _ in reader)


def _check_counts(files: Mapping[Part, Path], counts: Mapping[Part, int]) -> None:
    for part, file in files.items():
        if counts[part] != counts["ground_truth"]:
            raise DataError(
                f"expected as many rows in {part} as in ground_truth, found {counts[part]:,} in {file} and "
                f"{counts['ground_truth']:,} in {files['ground_truth']}; take them from the same run"
            )
    if not counts["ground_truth"]:
        raise DataError(f"{files['ground_truth']}: expected a row a line, found no row")


def _column(file: Path, line: _Line, name: str | None) -> str:
    """Return the column that is compared: the one that is named, else the only one that is not known for another use."""
    found = sorted(line.values)
    if name:
        return name
    others = found if len(found) == 1 else [column for column in found if column not in KNOWN]
    if len(others) != 1:
        raise DataError(
            f"{file}, line {line.number}: expected one column, found {shown_columns(found)}; "
            "name it with ground_truth_column_name or prediction_column_name"
        )
    return others[0]


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
    """Refuse probabilities that tell another place in the data, line or file, than the prediction."""
    for key in ("line", "file"):
        expected = prediction.get(key)
        if probabilities.get(key, expected) != expected:
            problem = f"expected the row of {key} {expected}, as in prediction, found {probabilities[key]}"
            raise place.error(RowError("prediction_probabilities", f"{problem}; take both files from the same run"))
