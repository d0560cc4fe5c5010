"""Read an Azure ML MLTable file: where a table's files are and of which kind, of the parts that we know.

    paths:
      - pattern: ./part-*.csv
    transformations:
      - read_delimited:
          delimiter: ";"

Whatever else such a file may ask for is refused, as leaving it out would evaluate on other data than it describes.
https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serving.tables.rows import TableError

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
"""A transformation -> its options and the values that change nothing here. invalid_lines: broken lines are rejected and
counted either way. `delimiter` of read_delimited is any character."""

PATHS = ("file", "folder", "pattern")


@dataclass(frozen=True)
class Described:
    """What an MLTable says: files in their order, their kind (evaluation.table.KINDS) and the delimiter of fields."""

    files: tuple[Path, ...]
    kind: str
    delimiter: str = ""


def read(path: Path) -> Described:
    """Read an MLTable file; raises TableError for what we do not know of it and for paths without a file."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise TableError(f"{path}: expected YAML that can be read, found: {exc}") from exc
    if not isinstance(found, dict) or not isinstance(found.get("paths"), list) or not found["paths"]:
        raise TableError(f"{path}: expected a list of paths and one of transformations, found no paths")
    unknown = sorted(set(map(str, found)) - {"$schema", "type", "paths", "transformations"})
    if unknown:
        raise TableError(f"{path}: expected paths and transformations, found {', '.join(unknown)} too; leave it out")
    name, options = _reader(path, found.get("transformations"))
    files = tuple(file for entry in found["paths"] for file in _files(path, entry))
    if name == "read_delimited":
        delimiter = options.get("delimiter", ",")
        return Described(files, "tsv" if delimiter == "\t" else "csv", delimiter)
    return Described(files, name.removeprefix("read_"))


def _reader(path: Path, transformations: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - YAML
    """Return the one transformation that we know, and its options."""
    expected = f"{path}: expected one transformation, of {', '.join(READERS)}"
    if not isinstance(transformations, list) or len(transformations) != 1:
        count = len(transformations) if isinstance(transformations, list) else 0
        raise TableError(f"{expected}, found {count}; prepare the data and leave other transformations out")
    only = transformations[0]
    name, options = next(iter(only.items())) if isinstance(only, dict) and len(only) == 1 else (only, {})
    if not isinstance(name, str) or name not in READERS:
        raise TableError(f"{expected}, found {name}; prepare the data and leave other transformations out")
    options = options if isinstance(options, dict) else {}
    for option, value in options.items():
        if option == "delimiter" and name == "read_delimited":
            if not isinstance(value, str) or len(value) != 1:
                raise TableError(f"{path}: expected a delimiter of one character, found {value!r}")
        elif value not in READERS[name].get(option, ()):
            known = {**READERS[name], **({"delimiter": "a character"} if name == "read_delimited" else {})}
            raise TableError(
                f"{path}: expected {name} with options of {known}, found {option}: {value!r}; leave it out"
            )
    return name, options


def _files(path: Path, entry: Any) -> list[Path]:  # noqa: ANN401 - YAML
    """Return the files that an entry of `paths` names, those of a folder or pattern in the order of their names.

    The MLTable file is none of them, though it may lie among them.
    """
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in PATHS:
        raise TableError(f"{path}: expected each of paths to be one of {', '.join(PATHS)}, found {entry!r}")
    kind, place = next(iter(entry.items()))
    if not isinstance(place, str) or "://" in place or place.startswith("azureml:"):
        raise TableError(f"{path}: expected paths beside the MLTable file, found {place}; download it there")
    if kind == "file":
        found = [path.parent / place]
    else:
        pattern = f"{glob.escape(place)}/*" if kind == "folder" else place
        below = (path.parent / name for name in sorted(glob.glob(pattern, root_dir=path.parent, recursive=True)))
        found = [
            file for file in below if file.is_file() and not file.name.startswith((".", "_")) and file.name != FILE
        ]
    if not found or not all(file.is_file() for file in found):
        raise TableError(f"{path}: expected {kind} {place} to be there, found no file")
    return found
