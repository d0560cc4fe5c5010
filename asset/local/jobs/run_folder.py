"""The folder of a run: .asset/runs/evaluate-model-fill-mask-20261121-183000/.

run.json                the state (class RunState), replaced as a whole at each change
lock                    held by the runner
runner.json             which process the runner is, or was last
runner.log              what it wrote, if the Python client started it
<step>/log.txt          the output of the step's processes
<step>/work             the folder in which a step without code runs
<step>/outputs/<name>   the outputs of a finished step; until then they are in <step>/outputs.unfinished
outputs/<name>          the outputs of the job: links to outputs of steps
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from asset.local.jobs.errors import RunError
from asset.local.processes import Background
from tables.disk import ANYONE, write_json

STATE = "run.json"
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
RESERVED = {"outputs", "lock", "runner.json", "runner.log", STATE}
"""Names that a step cannot have, as they are parts of the folder."""


@dataclass
class StepState:
    """The record of a step. Times are ISO 8601 in UTC, paths are absolute."""

    status: str = RUNNING
    fingerprint: dict[str, str] = field(default_factory=dict)
    command: str = ""
    environment: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    started: str = ""
    ended: str | None = None
    exit_status: int | None = None
    mlflow_run_id: str | None = None
    made_for: dict[str, str] = field(default_factory=dict)
    """Hashes of its command, environment and inputs: with others, its outputs of mode rw_mount are not kept."""


@dataclass
class RunState:
    """The record of a run: the job file with its settings, and each step that was begun."""

    name: str
    job_file: str
    settings: list[str]
    started: str
    status: str = RUNNING
    ended: str | None = None
    mlflow_run_id: str | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


def now() -> str:
    """Return the time in UTC: 2026-11-21T18:30:00.250+00:00."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, runs: Path, stem: str) -> RunFolder:
        """Make a new folder, named by the stem of the job file and the time."""
        stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "job"
        name = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            path = runs / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return cls(path)
        raise RunError(f"there are a thousand runs {name} in {runs}; wait a second")

    @property
    def state(self) -> Path:
        """Return the folder of local state; this folder is in its runs/."""
        return self.path.parent.parent

    def read(self) -> RunState:
        """Return the state.

        Raises:
            RunError: the state is missing or damaged.
        """
        try:
            raw: dict[str, Any] = json.loads((self.path / STATE).read_bytes())
            steps = {name: StepState(**step) for name, step in raw.pop("steps").items()}
            return RunState(**raw, steps=steps)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise RunError(
                f"the state of the run in {self.path / STATE} cannot be read: {exc}; start a new run with `asset run -f`"
            ) from exc

    def write(self, state: RunState) -> None:
        """Replace the state; a reader sees the old state or the new, also after a crash."""
        write_json(self.path / STATE, asdict(state), mode=ANYONE)

    @property
    def runner(self) -> Background:
        """Return the process that runs the steps, or that ran them last."""
        return Background(self.path / "runner.json", self.path / "runner.log")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. The lock is released when the process ends, however it ends.

        Raises:
            RunError: another process holds it.
        """
        lock = FileLock(self.path / "lock", blocking=False)
        try:
            lock.acquire()
        except Timeout as exc:
            raise RunError(
                f"run {self.path.name} is in use by process {self.runner.pid or '(not known yet)'}; wait for it, or stop it"
            ) from exc
        try:
            self.runner.record_this_process()
            yield
        finally:
            lock.release()

    def step(self, name: str) -> StepFolder:
        """Return the folder of a step."""
        return StepFolder(self.path / name)

    def output(self, step: str, name: str) -> Path:
        """Return the path of an output of a finished step."""
        return self.step(step).outputs / name

    def unlink_outputs(self) -> None:
        """Remove the links in outputs/, but not their targets."""
        for link in (self.path / "outputs").glob("*"):
            link.unlink()

    def link_output(self, name: str, target: Path) -> Path:
        """Make outputs/<name> a link to an output of a step; it stays valid if the run's folder is moved."""
        link = self.path / "outputs" / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent))
        return link


@dataclass(frozen=True)
class StepFolder:
    """The folder of one step."""

    path: Path

    @property
    def log(self) -> Path:
        """Return the file with the output of the step's processes."""
        return self.path / "log.txt"

    @property
    def outputs(self) -> Path:
        """Return the folder of finished outputs."""
        return self.path / "outputs"

    @property
    def unfinished(self) -> Path:
        """Return the folder that the step writes its outputs to."""
        return self.path / "outputs.unfinished"

    @property
    def work(self) -> Path:
        """Return the folder in which a step without code runs."""
        return self.path / "work"

    def begun(self, names: Iterable[str]) -> list[str]:
        """Return those of the named outputs that an unfinished try has written to."""
        tried = self.unfinished if self.unfinished.exists() else self.outputs
        return [name for name in names if (tried / name).is_file() or any((tried / name).glob("*"))]

    def clear(self, kept: Iterable[str] = ()) -> None:
        """Remove what an earlier try wrote, except the log and the outputs to keep, and make the folders to write to.

        At each moment, the kept outputs are whole in one of the two folders of outputs.
        """
        kept = set(kept)
        if kept and self.outputs.exists() and not self.unfinished.exists():
            # The runner was killed after `finish` and before it wrote that down.
            self.outputs.rename(self.unfinished)
        self.unfinished.mkdir(parents=True, exist_ok=True)
        for path in (self.outputs, self.work, *(path for path in self.unfinished.iterdir() if path.name not in kept)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self.work.mkdir()

    def finish(self) -> None:
        """Rename the folder of unfinished outputs: from then on, they are finished."""
        self.unfinished.rename(self.outputs)


def all_runs(runs: Path) -> list[tuple[RunFolder, RunState]]:
    """Return the runs of a folder whose state can be read, in the order in which they were started."""
    known = []
    for path in runs.glob(f"*/{STATE}"):
        folder = RunFolder(path.parent)
        with contextlib.suppress(RunError):
            known.append((folder, folder.read()))
    return sorted(known, key=lambda run: (run[1].started, run[0].path.name))


def find_run(runs: Path, name: str | None, job_file: Path | None = None) -> RunFolder:
    """Return the run of this name, or the last run (of this job file) that was started.

    Raises:
        RunError: there is no such run.
    """
    known = all_runs(runs)
    fitting = [
        folder
        for folder, state in known
        if name in (None, folder.path.name) and job_file in (None, Path(state.job_file))
    ]
    if not fitting:
        wanted = f"run {name}" if name else "run" + (f" of {job_file.name}" if job_file else "")
        names = ", ".join(folder.path.name for folder, _ in known[-5:]) or "none"
        raise RunError(f"there is no {wanted} in {runs} (the last runs: {names}); start a run with `asset run -f`")
    return fitting[-1]
