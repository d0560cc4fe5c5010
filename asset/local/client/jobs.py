"""Jobs of the client of this machine: each is a pipeline job that `asset run` runs, in a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Job, PipelineJob
from azure.core.exceptions import ResourceNotFoundError

from asset.azure_sdk import quiet
from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.local.client.assets import NAME
from asset.local.client.batch_runs import LocalBatchRun, all_batch_runs
from asset.local.client.errors import failed_job, invalid, translated
from asset.local.client.job_file import JobWriter, require_pipeline
from asset.local.client.operations import Operations, begin, logger
from asset.local.client.runs import COMPLETED, ENDED, LocalRun, all_runs
from asset.local.jobs.plan import plan_job
from asset.local.jobs.run_folder import INTERRUPTED, RunFolder, RunState, now
from asset.local.jobs.runner import require_commands, require_environments

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

POLL_SECONDS = 0.1


class LocalJobs(Operations):
    """Jobs: pipeline jobs, and the jobs of batch endpoints."""

    named = "jobs"

    def __init__(self, state: Path, writer: JobWriter) -> None:
        super().__init__(state)
        self._writer = writer

    def create_or_update(
        self,
        job: Job,
        *,
        description: str | None = None,
        compute: str | None = None,
        tags: dict[str, str] | None = None,
        experiment_name: str | None = None,
        skip_validation: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> PipelineJob:
        """Check a pipeline job and start it. It runs on when this process ends; its compute is for Azure alone."""
        self._refuse("create_or_update", skip_validation=skip_validation, **kwargs)
        job = require_pipeline(job)
        if compute:
            logger.warning("compute=%s has no effect: the job runs on this machine", compute)
        changed = {"description": description, "tags": tags, "experiment_name": experiment_name}
        folder = self._new_folder(job)
        files = self._state / "jobs" / folder.path.name
        try:
            with translated():
                file = self._writer.file_of(job, files, {key: value for key, value in changed.items() if value})
                own = OwnModel.read()
                plan = plan_job(*checked_job(file, [], own), own)
                require_environments(plan)
                require_commands(plan)
        except BaseException:
            shutil.rmtree(folder.path)
            shutil.rmtree(files, ignore_errors=True)
            raise
        for warning in plan.warnings:
            logger.warning("%s", warning)
        folder.write(RunState(folder.path.name, str(file), [], now(), INTERRUPTED))
        command = ("run", "--asset-dir", str(self._state), "--resume", folder.path.name)
        folder.runner.start([sys.executable, "-m", "asset.cli.main", *command])
        return self.get(folder.path.name)

    def get(self, name: str) -> PipelineJob:
        """Return a job, also of `asset run`, with its status and the paths of the outputs that it has written."""
        return self._run(name).entity()

    def list(
        self,
        *,
        parent_job_name: str | None = None,
        list_view_type: ListViewType = ListViewType.ACTIVE_ONLY,
        **kwargs: Any,  # noqa: ANN401
    ) -> Iterator[PipelineJob]:
        """Yield the jobs of this machine, the newest first."""
        self._refuse("list", **kwargs)
        self._refuse_archived("list", list_view_type)
        if parent_job_name:
            # A batch job has one step, so it is its own child. A step of a pipeline job is not a job here.
            run = self._run(parent_job_name)
            return iter([run.entity()] if isinstance(run, LocalBatchRun) else [])
        return (run.entity() for run in self._runs())

    def stream(self, name: str) -> None:
        """Print a job's log until the job ends; raises JobException if it failed or was stopped."""
        run = self._run(name)
        _follow(run.log, lambda: run.status in ENDED)
        status = run.status
        if status != COMPLETED:
            raise failed_job(f"job {name} ended as {status}; all of its logs are in {run.path}")

    def download(
        self,
        name: str,
        *,
        download_path: os.PathLike[str] | str = ".",
        output_name: str | None = None,
        all: bool = False,  # noqa: A002  as MLClient calls it
    ) -> None:
        """Copy a job's output into download_path/named-outputs/NAME, or its logs into download_path/artifacts, or all."""
        run = self._run(name)
        if run.status not in ENDED:
            raise failed_job(f"This job is in state {run.status}. Download is allowed only in states {sorted(ENDED)}")
        target, outputs = Path(download_path), run.outputs()
        if output_name and output_name not in outputs:
            raise invalid(
                f"job {name} has no output {output_name}; name one of its outputs ({', '.join(outputs) or 'none'})"
            )
        names = [output_name] if output_name else list(outputs) if all else []
        for name_of_output in names:
            _copy(outputs[name_of_output], target / "named-outputs" / name_of_output)
        if not output_name:
            for log in run.logs():
                _copy(log, target / "artifacts" / log.relative_to(run.path).parent)

    def begin_cancel(self, name: str, **kwargs: Any) -> LROPoller[None]:  # noqa: ANN401
        """Stop a job; its finished steps are kept, and `asset run --resume` continues it."""
        self._refuse("begin_cancel", **kwargs)
        return begin(self._run(name).cancel)

    def begin_delete(self, name: str, **kwargs: Any) -> LROPoller[None]:  # noqa: ANN401
        """Remove a job that has ended, with its folder."""
        self._refuse("begin_delete", **kwargs)
        run = self._run(name)

        def delete() -> None:
            if run.status not in ENDED:
                raise failed_job(f"job {name} is {run.status}; stop it with begin_cancel first")
            shutil.rmtree(run.path)
            shutil.rmtree(self._state / "jobs" / name, ignore_errors=True)

        return begin(delete)

    def validate(self, job: Job, *, raise_on_failure: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the findings of the SDK about a job, without a workspace."""
        self._refuse("validate", **kwargs)
        with quiet():
            return require_pipeline(job)._validate(raise_error=raise_on_failure)

    def _runs(self) -> list[LocalRun | LocalBatchRun]:
        return [*all_runs(self._state), *all_batch_runs(self._state)]

    def _run(self, name: str) -> LocalRun | LocalBatchRun:
        run = next((run for run in self._runs() if run.name == name), None)
        if run is None:
            known = ", ".join(run.name for run in self._runs()[:5]) or "none"
            raise ResourceNotFoundError(f"there is no job {name} on this machine; name one of the last jobs ({known})")
        return run

    def _new_folder(self, job: PipelineJob) -> RunFolder:
        runs = self._state / "runs"
        if not job.name:
            source = Path(str(job._source_path)).stem if job._source_path else None
            return RunFolder.create(runs, source or job.display_name or "job")
        if not NAME.fullmatch(job.name):
            raise invalid(f"{job.name!r} is not a valid name of a job; use letters, digits, '.', '_' and '-'")
        try:
            (runs / job.name).mkdir(parents=True)
        except FileExistsError as exc:
            raise invalid(f"there is a job {job.name} already; choose another name") from exc
        return RunFolder(runs / job.name)


def _follow(log: Path, ended: Callable[[], bool]) -> None:
    """Print a log that grows, until its process has ended."""
    while not log.is_file() and not ended():
        time.sleep(POLL_SECONDS)
    if not log.is_file():
        return
    with open(log, encoding="utf-8", errors="replace") as text:
        last = False
        while True:
            if piece := text.read():
                sys.stdout.write(piece)
                sys.stdout.flush()
            elif last:
                return
            else:
                # After the end, the log is read once more.
                last = ended()
                time.sleep(0 if last else POLL_SECONDS)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or the content of a folder, into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
