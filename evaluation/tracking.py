"""Log an evaluation to MLflow, where there is a tracking server: on Azure ML there always is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class TrackingError(Exception):
    """MLflow did not take the figures; the message says what it said."""


def track(metrics: Sequence[Mapping[str, Any]], files: Iterable[Path]) -> bool:
    """Log the metrics' values and the files, where MLFLOW_TRACKING_URI is set; tell whether it was.

    They go to the run that MLFLOW_RUN_ID names, which stays open, else to one of their own. Raises TrackingError.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    import mlflow  # it takes two seconds, and is not needed without a server

    try:
        run = os.environ.get("MLFLOW_RUN_ID")
        if run:
            _log(mlflow.MlflowClient(), run, metrics, files)
        else:
            with mlflow.start_run(run_name="compute_metrics") as own:
                _log(mlflow.MlflowClient(), own.info.run_id, metrics, files)
    except Exception as exc:  # MLflow raises those of its store and of its HTTP library too
        raise TrackingError(f"MLflow did not take them: {exc}") from exc
    return True


def metric_name(name: str) -> str:
    """Return a metric's name as MLflow takes it.

    >>> metric_name("accuracy@1")
    'accuracy_at_1'
    """
    return name.replace("@", "_at_")


def _log(client: Any, run: str, metrics: Sequence[Mapping[str, Any]], files: Iterable[Path]) -> None:  # noqa: ANN401
    for metric in metrics:
        client.log_metric(run, metric_name(metric["name"]), metric["value"])
    for file in files:
        client.log_artifact(run, str(file))
