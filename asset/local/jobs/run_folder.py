"""The folder of a run: .asset/runs/evaluate-model-fill-mask-20261121-183000/.

run.json                the state (class RunState), replaced as a whole at each change
lock                    held by the runner
runner.json             which process the runner is, or was last
runner.log              what it wrote, if the Python client started it
<step>/log.txt          what the step wrote
<step>/work             where it runs, of a step without code
<step>/outputs/<name>   its outputs; while it runs, they are in <step>/outputs.unfinished
outputs/<name>          the job's outputs, links to those of steps
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

from asset.checks.pipeline.errors import RunError
from asset.local.processes import Background
from tables.whole_file import ANYONE, write_json

STATE = "run.json"
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
RESERVED = {"outputs", "lock", "runner.json", "runner.log", STATE}
"""What a step of a job cannot be called here."""


@dataclass
class StepState:
    """What is known of a step. Times are ISO 8601 in UTC, paths absolute."""

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
    """What its outputs of mode rw_mount are kept for: hashes of its command, environment and inputs."""


@dataclass
class RunState:
    """What is known of a run: the job as it was asked for, and each step that was begun."""

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
        """Make a new folder, named by the job file's stem and the time."""
        stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "job"
        name = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            path = runs / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return cls(path)
        raise RunError(f"expected room for a run at {runs / name}, found a thousand of that name; wait a second")

    @property
    def state(self) -> Path:
        """Return the folder of local state, in whose runs/ this is."""
        return self.path.parent.parent

    def read(self) -> RunState:
        """Return the state.

        Raises:
            RunError: there is none that can be read.
        """
        try:
            raw: dict[str, Any] = json.loads((self.path / STATE).read_bytes())
            steps = {name: StepState(**step) for name, step in raw.pop("steps").items()}
            return RunState(**raw, steps=steps)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise RunError(
                f"expected the state of a run in {self.path / STATE}, found: {exc}; start a new one with `asset run -f`"
            ) from exc

    def write(self, state: RunState) -> None:
        """Replace the state: whoever reads sees the old one or the new one, also after a crash."""
        write_json(self.path / STATE, asdict(state), mode=ANYONE)

    @property
    def runner(self) -> Background:
        """Return the process that runs the steps, or ran them last."""
        return Background(self.path / "runner.json", self.path / "runner.log")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. The lock goes with the process, however that ends.

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

    def unlink_outputs(self) -> None:
        """Remove the links in outputs/, not what they lead to."""
        for link in (self.path / "outputs").glob("*"):
            link.unlink()

    def link_output(self, name: str, target: Path) -> Path:
        """Make outputs/<name> a link to a step's output, which moves along with the run's folder."""
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
        """Return the file with what the step wrote."""
        return self.path / "log.txt"

    @property
    def outputs(self) -> Path:
        """Return the folder of finished outputs."""
        return self.path / "outputs"

    @property
    def unfinished(self) -> Path:
        """Return the folder that the step writes to."""
        return self.path / "outputs.unfinished"

    @property
    def work(self) -> Path:
        """Return the folder that a step without code runs in: what it writes there is beside our files."""
        return self.path / "work"

    def begun(self, names: Iterable[str]) -> list[str]:
        """Return which of these outputs an unfinished try has written to."""
        tried = self.unfinished if self.unfinished.exists() else self.outputs
        return [name for name in names if (tried / name).is_file() or any((tried / name).glob("*"))]

    def clear(self, kept: Iterable[str] = ()) -> None:
        """Remove what an earlier try wrote, but for outputs to keep, and make the folders to write to.

        The log is kept. What is kept is at each moment in one of the two folders, whole.
        """
        kept = set(kept)
        if kept and self.outputs.exists() and not self.unfinished.exists():
            # Its runner was killed between calling the outputs finished and writing that down.
            self.outputs.rename(self.unfinished)
        self.unfinished.mkdir(parents=True, exist_ok=True)
        for path in (self.outputs, self.work, *(one for one in self.unfinished.iterdir() if one.name not in kept)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self.work.mkdir()

    def finish(self) -> None:
        """Call what was written finished, in one act."""
        self.unfinished.rename(self.outputs)


def find_run(runs: Path, name: str | None, job_file: Path | None = None) -> RunFolder:
    """Return the run of this name, or the one that was started last (of this job file).

    Raises:
        RunError: there is none.
    """
    found = []
    for path in runs.glob(f"*/{STATE}"):
        with contextlib.suppress(RunError):
            found.append((RunFolder(path.parent), RunFolder(path.parent).read()))
    found.sort(key=lambda one: (one[1].started, one[0].path.name))
    fitting = [
        folder
        for folder, state in found
        if name in (None, folder.path.name) and job_file in (None, Path(state.job_file))
    ]
    if not fitting:
        asked = f"the run {name}" if name else "a run" + (f" of {job_file.name}" if job_file else "")
        known = ", ".join(folder.path.name for folder, _ in found[-5:]) or "none"
        raise RunError(
            f"expected {asked} in {runs}, found {known}; name one of those, or start one with `asset run -f`"
        )
    return fitting[-1]
