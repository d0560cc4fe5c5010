"""A run on this machine as a job of Azure: its status in Azure's words, its outputs and logs."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from azure.ai.ml import Output, load_job
from azure.ai.ml.entities import PipelineJob
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import ResourceNotFoundError
from marshmallow import ValidationError

from asset.azure_sdk import quiet
from asset.local.jobs import run_folder
from asset.local.jobs.run_folder import RunFolder, RunState

STARTING, RUNNING, COMPLETED, FAILED, CANCELED = "Starting", "Running", "Completed", "Failed", "Canceled"
ENDED = {COMPLETED, FAILED, CANCELED}
STATUS = {run_folder.FINISHED: COMPLETED, run_folder.FAILED: FAILED, run_folder.INTERRUPTED: CANCELED}
JOB_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[\w.-]+)/outputs/(?P<output>\w+)/?(?:paths/(?P<below>.+))?")


@dataclass(frozen=True)
class LocalRun:
    """A run in a folder of local state."""

    folder: RunFolder

    @property
    def name(self) -> str:
        """Return the name of the run, which is the name of the job."""
        return self.folder.path.name

    @property
    def path(self) -> Path:
        """Return the folder of the run."""
        return self.folder.path

    @property
    def log(self) -> Path:
        """Return the log of the runner, with the output of all steps."""
        return self.folder.runner.log

    @property
    def status(self) -> str:
        """Return the status in Azure's words."""
        # Before the state is read, as the runner writes it before it ends.
        alive = self.folder.runner.runs
        state = self.folder.read()
        if alive:
            return STARTING if state.status == run_folder.INTERRUPTED else RUNNING
        if state.status == run_folder.INTERRUPTED and not state.mlflow_run_id and not state.steps and self.log.exists():
            # The runner ended before the first step.
            return FAILED
        return STATUS.get(state.status, FAILED)

    def outputs(self) -> dict[str, Path]:
        """Return the paths of the job's outputs that were written."""
        return {name: Path(path) for name, path in self.folder.read().outputs.items()}

    def logs(self) -> list[Path]:
        """Return the logs of the runner and of the steps."""
        return sorted([*self.path.glob(self.log.name), *self.path.glob("*/log.txt")])

    def cancel(self) -> None:
        """Stop the run."""
        self.folder.runner.stop()

    def entity(self) -> PipelineJob:
        """Return the run as a job of the Azure SDK."""
        state = self.folder.read()
        job = _loaded(state)
        job.name, job._status = self.name, self.status
        for name, path in state.outputs.items():
            if name in job.outputs:
                job.outputs[name].path = path
        return job


def all_runs(state: Path) -> list[LocalRun]:
    """Return the runs of a folder of local state, the newest first."""
    return [LocalRun(folder) for folder, _ in reversed(run_folder.all_runs(state / "runs"))]


def job_output(state: Path, path: str) -> Path | None:
    """Return the path of azureml://jobs/NAME/outputs/OUTPUT on this machine; None for another kind of path.

    Raises:
        ResourceNotFoundError: there is no such job, or it has not written this output.
    """
    match = JOB_OUTPUT.fullmatch(path)
    if match is None:
        return None
    run = next((run for run in all_runs(state) if run.name == match["job"]), None)
    if run is None:
        known = ", ".join(run.name for run in all_runs(state)[:5]) or "none"
        raise ResourceNotFoundError(
            f"there is no job {match['job']} on this machine (the last jobs: {known}); correct {path}"
        )
    outputs = run.outputs()
    if match["output"] not in outputs:
        raise ResourceNotFoundError(
            f"job {run.name} has no output {match['output']} (it is {run.status}; its outputs: {', '.join(outputs) or 'none'}); "
            f"correct {path}, or wait until the job has completed"
        )
    return outputs[match["output"]] / (match["below"] or "")


def _loaded(state: RunState) -> PipelineJob:
    """Return the job of a run's file; if the file is gone or is no job any more, a job with name and outputs alone."""
    with contextlib.suppress(MlException, ValidationError, OSError), quiet():
        job = load_job(state.job_file)
        if isinstance(job, PipelineJob):
            return job
    outputs = {name: Output(type="uri_folder", path=path) for name, path in state.outputs.items()}
    return PipelineJob(jobs={}, display_name=Path(state.job_file).stem, outputs=outputs)
