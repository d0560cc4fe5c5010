"""Read an Azure ML MLTable file: which files make up a table, and how they are written.

    paths:
      - pattern: ./part-*.csv
    transformations:
      - read_delimited:
          delimiter: ";"

Anything else in an MLTable file is refused, as ignoring it would read other data than the file describes.
https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
"""

from __future__ import annotations

import glob
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tables.disk import read_text
from tables.files import JSON_LINES, PARQUET, FileKind
from tables.rows import TableError

FILE = "MLTable"

READERS: dict[str, dict[str, tuple[object, ...]]] = {
    "read_json_lines": {
        "encoding": ("utf8", "utf-8"),
        "invalid_lines": ("error", "drop"),
        "include_path_column": (False,),
    },
    "read_delimited": {
        "encoding": ("utf8", "utf-8", "ascii"),
        "header": ("all_files_same_headers", "all_files_different_headers"),
        "support_multi_line": (True, False),
        "empty_as_string": (True, False),
        "include_path_column": (False,),
    },
    "read_parquet": {"include_path_column": (False,)},
}
"""A transformation -> its options, and the values of each that change nothing here: with either value of invalid_lines,
broken lines are rejected and counted. The option `delimiter` of read_delimited may be any character."""

PATHS = ("file", "folder", "pattern")


class MLTableError(TableError):
    """An MLTable file asks for something that is not supported; `keys` lead to that part of the file."""

    def __init__(self, path: Path, keys: tuple[object, ...], message: str, fix: str) -> None:
        super().__init__(f"{path}: {message}; {fix}")
        self.keys, self.message, self.fix = tuple(map(str, keys)), message, fix


@dataclass(frozen=True)
class Described:
    """The files of an MLTable in their order, and how they are written."""

    files: tuple[Path, ...]
    kind: FileKind


def read(path: Path) -> Described:
    """Read an MLTable file; raises MLTableError for a part that is not supported and for paths without a file."""
    try:
        content = yaml.safe_load(read_text(path, "utf-8-sig"))
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as exc:
        raise MLTableError(path, (), f"expected YAML that can be read, found: {exc}", "correct it") from exc
    if not isinstance(content, dict) or not isinstance(content.get("paths"), list) or not content["paths"]:
        message = "expected a list of paths and one of transformations, found no paths"
        raise MLTableError(path, ("paths",), message, "write `paths: [{file: NAME}]`")
    unknown = sorted(set(map(str, content)) - {"$schema", "type", "paths", "transformations"})
    if unknown:
        message = f"expected paths and transformations, found {', '.join(unknown)} too"
        raise MLTableError(path, (unknown[0],), message, "leave it out")
    name, options = _reader(path, content.get("transformations"))
    files = tuple(file for index, entry in enumerate(content["paths"]) for file in _files(path, index, entry))
    if name == "read_delimited":
        return Described(files, FileKind("delimited", options.get("delimiter", ",")))
    return Described(files, PARQUET if name == "read_parquet" else JSON_LINES)


def _shown(value: Any) -> str:  # noqa: ANN401 - YAML
    """Shorten a value for a message: aliases in it may stand for millions of parts."""
    return value[:200] if isinstance(value, str) else reprlib.repr(value)


def _reader(path: Path, transformations: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - YAML
    """Return the name of the one transformation, and its options."""
    keys, fix = ("transformations",), "prepare the data and leave other transformations out"
    expected = f"expected one transformation, of {', '.join(READERS)}"
    if not isinstance(transformations, list) or len(transformations) != 1:
        count = len(transformations) if isinstance(transformations, list) else 0
        raise MLTableError(path, keys, f"{expected}, found {count}", fix)
    only = transformations[0]
    name, options = next(iter(only.items())) if isinstance(only, dict) and len(only) == 1 else (only, {})
    if not isinstance(name, str) or name not in READERS:
        raise MLTableError(path, (*keys, 0), f"{expected}, found {_shown(name)}", fix)
    options = options if isinstance(options, dict) else {}
    for option, value in options.items():
        place = (*keys, 0, name, option)
        if option == "delimiter" and name == "read_delimited":
            if not isinstance(value, str) or len(value) != 1:
                message = f"expected a delimiter of one character, found {reprlib.repr(value)}"
                raise MLTableError(path, place, message, "prepare the data with one")
        elif value not in READERS[name].get(option, ()):
            known = {**READERS[name], **({"delimiter": "a character"} if name == "read_delimited" else {})}
            message = f"expected {name} with options of {known}, found {option}: {reprlib.repr(value)}"
            raise MLTableError(path, place, message, "leave it out")
    return name, options


def _files(path: Path, index: int, entry: Any) -> list[Path]:  # noqa: ANN401 - YAML
    """Return the files that an entry of `paths` names, ordered by name, without the MLTable file itself."""
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in PATHS:
        message = f"expected each of paths to be one of {', '.join(PATHS)}, found {reprlib.repr(entry)}"
        raise MLTableError(path, ("paths", index), message, "write `- file: NAME`")
    kind, place = next(iter(entry.items()))
    if not isinstance(place, str) or "://" in place or place.startswith("azureml:"):
        message = f"expected paths beside the MLTable file, found {_shown(place)}"
        raise MLTableError(path, ("paths", index), message, "download it there")
    if kind == "file":
        files = [path.parent / place]
    else:
        pattern = f"{glob.escape(place)}/*" if kind == "folder" else place
        below = (path.parent / name for name in sorted(glob.glob(pattern, root_dir=path.parent, recursive=True)))
        files = [
            file for file in below if file.is_file() and not file.name.startswith((".", "_")) and file.name != FILE
        ]
    if not files or not all(file.is_file() for file in files):
        message = f"expected {kind} {place} to be there, found no file"
        raise MLTableError(path, ("paths", index), message, "correct the path")
    return files
