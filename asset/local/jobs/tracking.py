"""Track runs in MLflow: a job is a run, and each of its steps a run below it, in a SQLite file that `asset ui` shows.

    inputs -> parameters        status, seconds -> status, metric `seconds`        the log -> an artifact

A step logs to its own run, as MLFLOW_TRACKING_URI and MLFLOW_RUN_ID are set for it. An image with mlflow-skinny alone cannot
open the file, only speak to a server; for a step in such an image, the runner logs its metrics.json.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from asset.environments import VirtualEnvironment
from asset.local.jobs.run_folder import FAILED, FINISHED, INTERRUPTED
from asset.local.jobs.summary import read_metrics
from evaluation.report.metrics_file import metric_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
STATUS = {FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
LONGEST_PARAMETER = 6000
"""In characters; MLflow refuses a longer one."""


def database(state: Path) -> Path:
    """Return the file of the store in the folder of local state."""
    return state / "mlflow.db"


def tracking_uri(state: Path) -> str:
    """Return the store's address."""
    return f"sqlite:///{database(state).resolve()}"


class Tracker:
    """Tracks a job's run in MLflow. If the store fails, it warns once, and the job goes on untracked."""

    def __init__(self, state: Path, experiment: str, warn: Callable[[str], None]) -> None:
        """Open the store in the folder of local state; set it up if there is none."""
        self._uri, self._warn, self._experiment = tracking_uri(state), warn, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = self._try(lambda: self._open(state, experiment))

    def begin(
        self, name: str, inputs: Mapping[str, str], parent: str | None = None, again: str | None = None
    ) -> str | None:
        """Start a run (below `parent`), or continue the run `again`; return its id, or None without a store."""
        return self._try(lambda: self._begin(name, inputs, parent, again))

    def end(self, run: str | None, status: str, seconds: float | None = None, log: Path | None = None) -> None:
        """End a run with its status, its duration and its log."""
        if run is not None:
            self._try(lambda: self._end(run, status, seconds, log))

    def result(self, run: str | None, folder: Path) -> None:
        """Log the metrics and the files of an evaluation's result; does nothing for another output."""
        metrics = {metric.name: metric.value for metric in read_metrics(folder) if metric.value is not None}
        if run is not None and metrics:
            self._try(lambda: self._result(run, metrics, folder))

    def variables(self, run: str | None, environment: VirtualEnvironment) -> dict[str, str]:
        """Return the environment variables that let a step log to its run; none if it cannot open the store."""
        if run is None or not can_log(environment):
            return {}
        return {
            "MLFLOW_TRACKING_URI": self._uri,
            "MLFLOW_EXPERIMENT_NAME": self._experiment,
            "MLFLOW_EXPERIMENT_ID": str(self._experiment_id),
            "MLFLOW_RUN_ID": run,
        }

    def _open(self, state: Path, experiment: str) -> str:
        from mlflow import MlflowClient

        set_up(state)
        self._client = MlflowClient(self._uri)
        known = self._client.get_experiment_by_name(experiment)
        if known is not None:
            return known.experiment_id
        return self._client.create_experiment(experiment, artifact_location=(state / "mlflow").resolve().as_uri())

    def _begin(self, name: str, inputs: Mapping[str, str], parent: str | None, again: str | None) -> str | None:
        from mlflow.entities import Param

        if self._client is None:
            return None
        if again is not None and self._is_known(again):
            self._client.update_run(again, status="RUNNING")
            return again
        tags = {} if parent is None else {"mlflow.parentRunId": parent}
        run = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        self._client.log_batch(run, params=[Param(key, value[:LONGEST_PARAMETER]) for key, value in inputs.items()])
        return run

    def _result(self, run: str, metrics: dict[str, float], folder: Path) -> None:
        if self._client is None:
            return
        for name, value in metrics.items():
            self._client.log_metric(run, metric_name(name), value)
        self._client.log_artifacts(run, str(folder))

    def _is_known(self, run: str) -> bool:
        """Return whether the store has a run; the user may have removed it."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client is not None and self._client.get_run(run) is not None
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _end(self, run: str, status: str, seconds: float | None, log: Path | None) -> None:
        if self._client is None:
            return
        if seconds is not None:
            self._client.log_metric(run, "seconds", seconds)
        if log is not None and log.is_file():
            self._client.log_artifact(run, str(log))
        self._client.set_terminated(run, STATUS[status])

    def _try(self, act: Callable[[], T]) -> T | None:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return act()
        except (MlflowException, SQLAlchemyError, OSError) as exc:
            self._client = None
            reason = str(exc).splitlines()[0]
            self._warn(f"MLflow cannot track this run ({reason}): it goes on untracked; repair or remove {self._uri}")
            return None


def can_log(environment: VirtualEnvironment) -> bool:
    """Return whether steps in an environment can open a store that is a SQLite file."""
    return environment.has("sqlalchemy")


def set_up(state: Path) -> None:
    """Make the store if there is none. It gets its name once it is whole, as nobody could open a half-made store."""
    with warnings.catch_warnings():
        # In a notebook, MLflow warns that a package for progress bars is missing.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from mlflow import MlflowClient

    # Otherwise it logs each table that it makes. This comes after the import of MLflow, which sets the levels.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if database(state).exists():
        return
    state.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="mlflow.db.", dir=state)
    os.close(descriptor)
    fresh = Path(name)
    try:
        MlflowClient(f"sqlite:///{fresh.resolve()}").search_experiments()
        os.link(fresh, database(state))
    except FileExistsError:
        pass  # another run was faster
    finally:
        fresh.unlink()
