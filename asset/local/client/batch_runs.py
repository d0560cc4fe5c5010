"""A batch job on this machine: its folder .asset/batch_jobs/NAME/, and the process that runs it.

request.json    the endpoint, the deployment, the settings, the input and the output
result.json     the status at the end, and why the job failed
process.json    which process runs it: python -m asset.local.client.batch_runs FOLDER
log.txt         the output of that process
output/         the files that it wrote
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

from asset.local.batch.run import run_batch
from asset.local.batch.settings import BatchSettings
from asset.local.client.assets import NAME
from asset.local.client.errors import invalid
from asset.local.client.runs import CANCELED, COMPLETED, FAILED, RUNNING
from asset.local.jobs.run_folder import now
from asset.local.processes import Background
from asset.screen import interrupt_on_signals
from tables.disk import write_json

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
        """Return the content of request.json."""
        return json.loads((self.path / "request.json").read_bytes())

    @property
    def log(self) -> Path:
        """Return the file with the output of the job's process."""
        return self.path / "log.txt"

    @property
    def process(self) -> Background:
        """Return the process that runs the job."""
        return Background(self.path / "process.json", self.log)

    @property
    def status(self) -> str:
        """Return the job's status in Azure's words."""
        # Before the result is looked for, as it is written before the process ends.
        runs = self.process.runs
        with contextlib.suppress(FileNotFoundError):
            return str(json.loads((self.path / "result.json").read_bytes())["status"])
        return RUNNING if runs else FAILED

    def start(self) -> None:
        """Start the job's process, which calls `run`."""
        self.process.start([sys.executable, "-m", "asset.local.client.batch_runs", str(self.path)])

    def run(self) -> int:
        """Score the job's input in this process; return the exit status."""
        interrupt_on_signals()
        try:
            request = self.request
            settings = BatchSettings.from_json(request["settings"])
            run_batch(Path(request["input"]), Path(request["output"]), settings)
        except KeyboardInterrupt:
            self.end(CANCELED)
            return 130
        except Exception as exc:  # noqa: BLE001  whatever it is, the job has failed, and its log says why
            sys.stderr.write(f"{exc}\n")
            self.end(FAILED, str(exc))
            return 1
        self.end(COMPLETED)
        return 0

    def outputs(self) -> dict[str, Path]:
        """Return the path of the job's one output."""
        return {OUTPUT: self.path / "output"}

    def logs(self) -> list[Path]:
        """Return the paths of the job's logs."""
        return [self.log]

    def cancel(self) -> None:
        """Stop the job."""
        self.process.stop()
        if not (self.path / "result.json").exists():
            self.end(CANCELED)

    def end(self, status: str, message: str = "") -> None:
        """Write down how the job ended."""
        write_json(self.path / "result.json", {"status": status, "message": message, "ended": now()})

    def entity(self) -> PipelineJob:
        """Return the job as jobs.get does."""
        outputs = {OUTPUT: Output(type="uri_folder", path=str(self.path / "output"))}
        experiment = self.request["experiment"]
        job = PipelineJob(jobs={}, name=self.name, display_name=self.name, experiment_name=experiment, outputs=outputs)
        job._status = self.status
        return job

    def batch_job(self) -> BatchJob:
        """Return the job as batch_endpoints.invoke does."""
        return BatchJob(id=f"azureml:{self.name}", name=self.name, type="BatchJob", status=self.status)


def new_batch_run(state: Path, name: str | None, request: dict[str, Any]) -> LocalBatchRun:
    """Make the folder of a batch job; `start` starts the job. Without a name, it is named by its endpoint and the time."""
    jobs = state / "batch_jobs"
    if name and not NAME.fullmatch(name):
        raise invalid(f"{name!r} is not a valid name of a job; use letters, digits, '.', '_' and '-'")
    first = name or f"{request['endpoint']}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        path = jobs / (first if number == 1 else f"{first}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError as exc:
            if name:
                raise invalid(f"there is a job {name} already; choose another name") from exc
            continue
        write_json(path / "request.json", request | {"output": str(path / "output"), "started": now()})
        return LocalBatchRun(path)
    raise invalid(f"there are a thousand jobs {first} in {jobs}; wait a second")


def all_batch_runs(state: Path) -> list[LocalBatchRun]:
    """Return the batch jobs of a folder of local state, the newest first."""
    runs = [LocalBatchRun(path.parent) for path in (state / "batch_jobs").glob("*/request.json")]
    return sorted(runs, key=lambda run: (run.request["started"], run.name), reverse=True)


if __name__ == "__main__":
    sys.exit(LocalBatchRun(Path(sys.argv[1])).run())
