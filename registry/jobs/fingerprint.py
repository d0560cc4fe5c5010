"""Whether a step would do again what it did: its command, environment, inputs and code, in one hash.

Files count by name, size and time of change, as `make` does it: a million rows are not read to see that they are the
same. Hidden files do not count: tools keep their caches there (a model's compiled graphs, for one).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from registry.jobs.plan import Step, StepOutput


def fingerprint(step: Step, made_by: dict[str, str]) -> str:
    """Return the hash of a step, given those of the steps that it takes outputs from."""
    described = {
        "command": step.command,
        "environment": [step.environment.name, _times([step.environment.folder / ".installed"])],
        "inputs": {name: _input(value, made_by) for name, value in step.inputs.items()},
        "outputs": step.outputs,
        "processes": step.processes,
        "variables": step.variables,
        "code": None if step.folder is None else [str(step.folder), _times(_code(step.folder))],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _input(value: str | Path | StepOutput, made_by: dict[str, str]) -> object:
    if isinstance(value, StepOutput):
        return [made_by[value.step], value.name]
    if isinstance(value, Path):
        return [str(value), _times(_files(value, lambda _: False) if value.is_dir() else [value])]
    return value


def _code(folder: Path) -> Iterator[Path]:
    """Yield the files that Azure would take along: all that .amlignore (or else .gitignore) does not name."""
    from registry.jobs.sdk import quiet

    with quiet():
        from azure.ai.ml._utils._asset_utils import get_ignore_file

    ignore = get_ignore_file(folder)
    return _files(folder, lambda path: path.name == "__pycache__" or ignore.is_file_excluded(path))


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
