"""Which files there are to check."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

YAML = (".yml", ".yaml")
NAMED = ("MLmodel", "MLTable")

SKIPPED = re.compile(r"\..*|__pycache__|node_modules|runs|.*\.egg-info")
"""Folders of tools, environments and results, which are nobody's to correct. One that is named is looked into all the same."""


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the files to check among files and folders, each once, those of a folder in the order of their names."""
    found: dict[Path, None] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve())
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not SKIPPED.fullmatch(name))
        for name in sorted(names):
            if _is_checked(name, names):
                yield Path(where) / name


def _is_checked(name: str, beside: list[str]) -> bool:
    """Return whether a file of a folder is to be checked, by its name and what lies beside it."""
    if name.endswith(YAML) or name in NAMED or re.fullmatch(r"Dockerfile(\..+)?", name):
        return True
    if name == "description.md":
        return "asset.yaml" in beside
    if re.fullmatch(r"requirements.*\.txt", name):
        return "Dockerfile" in beside or "environment.yaml" in beside
    return re.fullmatch(r"evaluation[-_]config.*\.json", name) is not None
