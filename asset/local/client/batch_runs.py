"""A batch job here: .asset/batch_jobs/NAME/.

request.json    the endpoint, the deployment, and what `run_batch` is called with
result.json     how it ended, and why where that was not well
process.json    which process runs it
log.txt         what that wrote
output/         what it made
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.ai.ml import Output
from azure.ai.ml.entities import BatchJob, PipelineJob

from asset.local.client.assets import NAME
from asset.local.client.errors import invalid
from asset.local.client.runs import CANCELED, FAILED, RUNNING
from asset.local.jobs.run_folder import now
from asset.local.processes import Background
from tables.whole_file import write_json

OUTPUT = "score"
"""What Azure calls the output of a batch job."""


@dataclass(frozen=True)
class LocalBatchRun:
    """A batch job in a folder of local state."""

    path: Path

    @property
    def name(self) -> str:
        """Return the job's name."""
        return self.path.name

    @property
    def request(self) -> dict[str, Any]:
        """Return what was asked for."""
        return json.loads((self.path / "request.json").read_bytes())

    @property
    def log(self) -> Path:
        """Return the file with what it wrote."""
        return self.path / "log.txt"

    @property
    def process(self) -> Background:
        """Return its process."""
        return Background(self.path / "process.json", self.log)

    @property
    def status(self) -> str:
        """Return how it is, in Azure's words."""
        runs = self.process.runs
        # Then the result, which is there before the process has ended.
        with contextlib.suppress(FileNotFoundError):
            return str(json.loads((self.path / "result.json").read_bytes())["status"])
        return RUNNING if runs else FAILED

    def start(self) -> None:
        """Start its process."""
        self.process.start([sys.executable, "-m", "asset.local.client.batch_process", str(self.path)])

    def outputs(self) -> dict[str, Path]:
        """Return where its output lies."""
        return {OUTPUT: self.path / "output"}

    def logs(self) -> list[Path]:
        """Return its log."""
        return [self.log]

    def cancel(self) -> None:
        """Stop it."""
        self.process.stop()
        if not (self.path / "result.json").exists():
            self.end(CANCELED)

    def end(self, status: str, message: str = "") -> None:
        """Note how it ended."""
        write_json(self.path / "result.json", {"status": status, "message": message, "ended": now()})

    def entity(self) -> PipelineJob:
        """Return it as the SDK's jobs are."""
        outputs = {OUTPUT: Output(type="uri_folder", path=str(self.path / "output"))}
        experiment = self.request["experiment"]
        job = PipelineJob(jobs={}, name=self.name, display_name=self.name, experiment_name=experiment, outputs=outputs)
        job._status = self.status
        return job

    def batch_job(self) -> BatchJob:
        """Return it as `invoke` of a batch endpoint does."""
        return BatchJob(id=f"azureml:{self.name}", name=self.name, type="BatchJob", status=self.status)


def new_batch_run(state: Path, name: str | None, request: dict[str, Any]) -> LocalBatchRun:
    """Make the folder of a batch job, which `start` starts; a job without a name is called by its endpoint and the time."""
    jobs = state / "batch_jobs"
    if name and not NAME.fullmatch(name):
        raise invalid(f"expected letters, digits, '.', '_' and '-' in the name of a job, found {name!r}; rename it")
    first = name or f"{request['endpoint']}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        path = jobs / (first if number == 1 else f"{first}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError as exc:
            if name:
                raise invalid(f"expected a new name for the job, found {name}, which is there; choose another") from exc
            continue
        request["run"]["output"] = str(path / "output")
        write_json(path / "request.json", request | {"started": now()})
        return LocalBatchRun(path)
    raise invalid(f"expected room for a job at {jobs / first}, found a thousand of that name; wait a second")


def all_batch_runs(state: Path) -> list[LocalBatchRun]:
    """Return the batch jobs of a folder of local state, the newest first."""
    found = [LocalBatchRun(path.parent) for path in (state / "batch_jobs").glob("*/request.json")]
    return sorted(found, key=lambda run: (run.request["started"], run.name), reverse=True)
