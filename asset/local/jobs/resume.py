"""Decide what runs again when a run is resumed.

`asset run --resume` looks at the steps of the job in their order:

- A step is kept if it had finished, its outputs are still there, all steps that it takes outputs from are kept, and its
  command, environment, inputs and code have not changed. It does not run.
- Every other step runs, and with it every step that takes one of its outputs.
- A step that had begun and not finished finds what it wrote to its outputs of mode rw_mount, such as checkpoints, unless its
  command, environment or inputs have changed. A change of its code alone does not matter here. All that it wrote elsewhere is
  removed first.

Each of command, environment, inputs and code is compared by a hash:

- A file counts by its name, size and time of change, as for `make`: a million rows are not read to see that they are the same.
- An input that is an output of another step counts by the hashes of that step. For unfinished work it counts by its content:
  if the other step ran again and wrote the same, the work goes on.
- Hidden files do not count, as tools keep their caches there (such as a model's compiled graphs). Nor do the folder of local
  state and the folders outputs/ and logs/ at the top of the code: they change with every run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from asset.local.jobs.plan import Plan, Step, StepOutput
from asset.local.jobs.run_folder import FINISHED, RunFolder, StepState

WRITTEN = ("outputs", "logs")
"""Folders at the top of the code that Azure gives a job to write to."""

Hashes = dict[str, str]
"""A hash for each of command, environment, inputs and code."""


class Resumption:
    """What is kept of an earlier try of a run; the steps are looked at in the order of the plan."""

    def __init__(
        self, plan: Plan, folder: RunFolder, earlier: dict[str, StepState], note: Callable[[str], None]
    ) -> None:
        """Take the plan, the run's folder, the steps as the earlier try left them, and a function that shows a line."""
        self.hashes: dict[str, Hashes] = {}
        """Of each step that was looked at."""
        self._plan, self._folder, self._earlier, self._note = plan, folder, dict(earlier), note
        self._kept: set[str] = set()

    def keeps(self, step: Step) -> bool:
        """Return whether a step is kept, and say why."""
        hashes = self.hashes[step.name] = step_hashes(step, self.hashes, self._folder.state)
        before = self._earlier.get(step.name)
        if before is None or before.status != FINISHED:
            return False
        if different := _changed(before.fingerprint, hashes):
            reason = f"its {' and '.join(different)} changed"
        elif step.needs - self._kept:
            reason = f"{', '.join(sorted(step.needs - self._kept))} ran again"
        elif not self._has_outputs(step, before):
            reason = "an output of it is gone"
        else:
            self._note(f"{step.name}: kept, it finished at {before.ended}")
            self._kept.add(step.name)
            return True
        self._note(f"{step.name}: runs again, as {reason}")
        return False

    def unfinished_hashes(self, step: Step) -> Hashes:
        """Return the hashes that decide whether a step's unfinished work is kept; none if it has no mounted output."""
        if not step.mounted:
            return {}
        outputs = {name: value for name, value in step.inputs.items() if isinstance(value, StepOutput)}
        contents = {
            name: _hash_of_contents(self._folder.output(output.step, output.name)) for name, output in outputs.items()
        }
        others = {name: _described(value, {}) for name, value in step.inputs.items() if name not in outputs}
        kept = {name: self.hashes[step.name][name] for name in ("command", "environment")}
        return {**kept, "inputs": _hash([contents, others])}

    def kept_outputs(self, step: Step, hashes: Hashes) -> list[str]:
        """Return the mounted outputs that a step finds as it left them, and say so; `hashes` are its `unfinished_hashes`."""
        before = self._earlier.get(step.name)
        if before is None or before.status == FINISHED:
            return []
        written = self._folder.step(step.name).begun(step.mounted)
        if not written:
            return []
        names, different = " and ".join(written), _changed(before.made_for, hashes)
        if not different:
            self._note(f"{step.name}: goes on with what it had written to {names}")
            return written
        reason = f"its {' and '.join(different)} changed"
        self._note(f"{step.name}: starts anew, as {reason}; what it had written to {names} is removed")
        return []

    def _has_outputs(self, step: Step, record: StepState) -> bool:
        """Return whether all that a step wrote is there, and all that is taken from it was written."""
        written = all(Path(path).exists() for path in record.outputs.values())
        return written and self._plan.taken(step.name) <= set(record.outputs)


def step_hashes(step: Step, made_by: dict[str, Hashes], state: Path) -> Hashes:
    """Return the hashes of a step.

    Args:
        step: the step.
        made_by: the hashes of the steps that it takes outputs from.
        state: the folder of local state, which does not count as code.
    """
    described: dict[str, object] = {
        "command": [step.command, step.outputs, step.processes, step.variables],
        "environment": [step.environment.name, _hash_of_times([step.environment.folder / ".installed"])],
        "inputs": {name: _described(value, made_by) for name, value in step.inputs.items()},
        "code": None if step.folder is None else [str(step.folder), _hash_of_times(_code(step.folder, state))],
    }
    return {name: _hash(part) for name, part in described.items()}


def _changed(before: Hashes, after: Hashes) -> list[str]:
    return [name for name, part in after.items() if before.get(name) != part]


def _described(value: str | Path | StepOutput, made_by: dict[str, Hashes]) -> object:
    """Return an input as JSON that changes with it."""
    if isinstance(value, StepOutput):
        return [made_by[value.step], value.name]
    if isinstance(value, Path):
        return [str(value), _hash_of_times(_files(value, lambda _: False) if value.is_dir() else [value])]
    return value


def _code(folder: Path, state: Path) -> Iterator[Path]:
    """Yield the files that Azure would upload: all that .amlignore, or else .gitignore, does not exclude."""
    from asset.azure_sdk import quiet

    with quiet():
        from azure.ai.ml._utils._asset_utils import get_ignore_file

    ignore = get_ignore_file(folder)
    excluded = {state.resolve(), *(folder / name for name in WRITTEN)}
    return _files(folder, lambda path: path.name == "__pycache__" or path in excluded or ignore.is_file_excluded(path))


def _files(folder: Path, excluded: Callable[[Path], bool]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith(".") or excluded(path):
            continue
        if entry.is_dir(follow_symlinks=False):
            # A pattern such as `tests/` is about what is in the folder.
            if not excluded(path / "x"):
                yield from _files(path, excluded)
        else:
            yield path


def _hash(part: object) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _hash_of_contents(path: Path) -> str:
    """Return a hash of a file, or of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path)}\0{file.is_file()}\n".encode())
        if file.is_file():
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _hash_of_times(paths: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and times of files; a missing file counts too."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0none\n".encode())
    return digest.hexdigest()
