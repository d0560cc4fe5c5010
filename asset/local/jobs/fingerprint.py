"""Whether a step would do again what it did: its command, environment, inputs and code, a hash of each.

Files count by name, size and time of change, as `make` does it: a million rows are not read to see that they are the
same. Hidden files do not count: tools keep their caches there (a model's compiled graphs, for one). Nor do the folder of
local state and what steps write to the top of their code: they run in it, and it would change with every run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from asset.local.jobs.plan import Step, StepOutput

WRITTEN = ("outputs", "logs")
"""Folders at the top of the code that Azure gives a job to write to."""

Parts = dict[str, str]
"""A hash for each of command, environment, inputs and code."""


def fingerprint(step: Step, made_by: dict[str, Parts], state: Path) -> Parts:
    """Return the hashes of a step, given those of the steps that it takes outputs from; `state` is local state."""
    described: dict[str, object] = {
        "command": [step.command, step.outputs, step.processes, step.variables],
        "environment": [step.environment.name, _times([step.environment.folder / ".installed"])],
        "inputs": {name: _input(value, made_by) for name, value in step.inputs.items()},
        "code": None if step.folder is None else [str(step.folder), _times(_code(step.folder, state))],
    }
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for name, part in described.items()
    }


def made_for(step: Step, parts: Parts, written: Callable[[StepOutput], Path]) -> Parts:
    """Return what a step's unfinished work is for: its command, environment and inputs, whatever its code is.

    What other steps wrote counts by its content: the same again is the same, and another is another.
    """
    outputs = {name: _contents(written(value)) for name, value in step.inputs.items() if isinstance(value, StepOutput)}
    others = {name: _input(value, {}) for name, value in step.inputs.items() if name not in outputs}
    inputs = hashlib.sha256(json.dumps([outputs, others], sort_keys=True).encode()).hexdigest()
    return {"command": parts["command"], "environment": parts["environment"], "inputs": inputs}


def changed(before: Parts, after: Parts) -> list[str]:
    """Return what is not as it was."""
    return [name for name, part in after.items() if before.get(name) != part]


def _input(value: str | Path | StepOutput, made_by: dict[str, Parts]) -> object:
    if isinstance(value, StepOutput):
        return [made_by[value.step], value.name]
    if isinstance(value, Path):
        return [str(value), _times(_files(value, lambda _: False) if value.is_dir() else [value])]
    return value


def _code(folder: Path, state: Path) -> Iterator[Path]:
    """Yield the files that Azure would take along: all that .amlignore (or else .gitignore) does not name."""
    from asset.azure_sdk import quiet

    with quiet():
        from azure.ai.ml._utils._asset_utils import get_ignore_file

    ignore = get_ignore_file(folder)
    left_out = {state.resolve(), *(folder / name for name in WRITTEN)}
    return _files(folder, lambda path: path.name == "__pycache__" or path in left_out or ignore.is_file_excluded(path))


def _files(folder: Path, left_out: Callable[[Path], bool]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith(".") or left_out(path):
            continue
        if entry.is_dir(follow_symlinks=False):
            # A pattern such as `tests/` speaks of what is in the folder.
            if not left_out(path / "x"):
                yield from _files(path, left_out)
        else:
            yield path


def _contents(path: Path) -> str:
    """Return a hash of a file, or of the names and contents of all that is in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path)}\0{file.is_file()}\n".encode())
        if file.is_file():
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _times(paths: Iterator[Path] | list[Path]) -> str:
    """Return a hash of the names, sizes and times of files; one that is not there counts as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            found = path.stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0none\n".encode())
    return digest.hexdigest()
