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
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tables.regular_file import read_text
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
"""A transformation -> its options and the values that change nothing here. invalid_lines: broken lines are rejected and
counted either way. `delimiter` of read_delimited is any character."""

PATHS = ("file", "folder", "pattern")


class MLTableError(TableError):
    """An MLTable file asks for what is not known here; `keys` lead to the part of it that does."""

    def __init__(self, path: Path, keys: tuple[object, ...], message: str, fix: str) -> None:
        super().__init__(f"{path}: {message}; {fix}")
        self.keys, self.message, self.fix = tuple(map(str, keys)), message, fix


@dataclass(frozen=True)
class Described:
    """What an MLTable says: files in their order, their kind (tables.table.KINDS) and the delimiter of fields."""

    files: tuple[Path, ...]
    kind: str
    delimiter: str = ""


def read(path: Path) -> Described:
    """Read an MLTable file; raises MLTableError for what we do not know of it and for paths without a file."""
    try:
        found = yaml.safe_load(read_text(path, "utf-8-sig"))
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as exc:
        raise MLTableError(path, (), f"expected YAML that can be read, found: {exc}", "correct it") from exc
    if not isinstance(found, dict) or not isinstance(found.get("paths"), list) or not found["paths"]:
        message = "expected a list of paths and one of transformations, found no paths"
        raise MLTableError(path, ("paths",), message, "write `paths: [{file: NAME}]`")
    unknown = sorted(set(map(str, found)) - {"$schema", "type", "paths", "transformations"})
    if unknown:
        message = f"expected paths and transformations, found {', '.join(unknown)} too"
        raise MLTableError(path, (unknown[0],), message, "leave it out")
    name, options = _reader(path, found.get("transformations"))
    files = tuple(file for index, entry in enumerate(found["paths"]) for file in _files(path, index, entry))
    if name == "read_delimited":
        delimiter = options.get("delimiter", ",")
        return Described(files, "tsv" if delimiter == "\t" else "csv", delimiter)
    return Described(files, name.removeprefix("read_"))


def _shown(value: Any) -> str:  # noqa: ANN401 - YAML
    """Show a value in a message: aliases in it may stand for millions of parts."""
    return value[:200] if isinstance(value, str) else reprlib.repr(value)


def _reader(path: Path, transformations: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - YAML
    """Return the one transformation that we know, and its options."""
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
    """Return the files that an entry of `paths` names, those of a folder or pattern in the order of their names.

    The MLTable file is none of them, though it may lie among them.
    """
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in PATHS:
        message = f"expected each of paths to be one of {', '.join(PATHS)}, found {reprlib.repr(entry)}"
        raise MLTableError(path, ("paths", index), message, "write `- file: NAME`")
    kind, place = next(iter(entry.items()))
    if not isinstance(place, str) or "://" in place or place.startswith("azureml:"):
        message = f"expected paths beside the MLTable file, found {_shown(place)}"
        raise MLTableError(path, ("paths", index), message, "download it there")
    if kind == "file":
        found = [path.parent / place]
    else:
        pattern = f"{glob.escape(place)}/*" if kind == "folder" else place
        below = (path.parent / name for name in sorted(glob.glob(pattern, root_dir=path.parent, recursive=True)))
        found = [
            file for file in below if file.is_file() and not file.name.startswith((".", "_")) and file.name != FILE
        ]
    if not found or not all(file.is_file() for file in found):
        message = f"expected {kind} {place} to be there, found no file"
        raise MLTableError(path, ("paths", index), message, "name one that is there")
    return found
