"""A run of a job here, as a job of Azure's: its status in Azure's words, its outputs and logs."""

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
from asset.checks.pipeline.errors import RunError
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
        """Return the run's name, which is the job's."""
        return self.folder.path.name

    @property
    def path(self) -> Path:
        """Return its folder."""
        return self.folder.path

    @property
    def log(self) -> Path:
        """Return the file with what its runner wrote: of all steps together."""
        return self.folder.runner.log

    @property
    def status(self) -> str:
        """Return how it is, in Azure's words."""
        alive = self.folder.runner.runs
        state = self.folder.read()
        if alive:
            return STARTING if state.status == run_folder.INTERRUPTED else RUNNING
        if state.status == run_folder.INTERRUPTED and not state.mlflow_run_id and not state.steps and self.log.exists():
            # Its runner ended before the first step.
            return FAILED
        return STATUS.get(state.status, FAILED)

    def outputs(self) -> dict[str, Path]:
        """Return where the job's outputs lie, those that are written."""
        return {name: Path(path) for name, path in self.folder.read().outputs.items()}

    def logs(self) -> list[Path]:
        """Return the logs: its runner's and its steps'."""
        return sorted([*self.path.glob(self.log.name), *self.path.glob("*/log.txt")])

    def cancel(self) -> None:
        """Stop it."""
        self.folder.runner.stop()

    def entity(self) -> PipelineJob:
        """Return it as a job of the SDK's."""
        state = self.folder.read()
        job = _loaded(state)
        job.name, job._status = self.name, self.status
        for name, path in state.outputs.items():
            if name in job.outputs:
                job.outputs[name].path = path
        return job


def all_runs(state: Path) -> list[LocalRun]:
    """Return the runs of a folder of local state, the newest first."""
    found = []
    for path in (state / "runs").glob(f"*/{run_folder.STATE}"):
        folder = RunFolder(path.parent)
        with contextlib.suppress(RunError):
            found.append((folder.read().started, LocalRun(folder)))
    return [run for _, run in sorted(found, key=lambda one: (one[0], one[1].name), reverse=True)]


def job_output(state: Path, path: str) -> Path | None:
    """Return where an output of a job here lies: azureml://jobs/NAME/outputs/OUTPUT; None for another path.

    Raises:
        ResourceNotFoundError: there is no such job, or it has written no such output.
    """
    match = JOB_OUTPUT.fullmatch(path)
    if match is None:
        return None
    run = next((run for run in all_runs(state) if run.name == match["job"]), None)
    if run is None:
        known = ", ".join(run.name for run in all_runs(state)[:5]) or "none"
        raise ResourceNotFoundError(f"expected one of the jobs here ({known}), found {path}; name one of those")
    outputs = run.outputs()
    if match["output"] not in outputs:
        raise ResourceNotFoundError(
            f"expected one of the outputs of job {run.name}, which is {run.status} ({', '.join(outputs) or 'none'}), found "
            f"{path}; name one, when the job has completed"
        )
    return outputs[match["output"]] / (match["below"] or "")


def _loaded(state: RunState) -> PipelineJob:
    """Return the job of a run's file; one with a name alone where that file is gone or is another by now."""
    with contextlib.suppress(MlException, ValidationError, OSError), quiet():
        job = load_job(state.job_file)
        if isinstance(job, PipelineJob):
            return job
    outputs = {name: Output(type="uri_folder", path=path) for name, path in state.outputs.items()}
    return PipelineJob(jobs={}, display_name=Path(state.job_file).stem, outputs=outputs)
