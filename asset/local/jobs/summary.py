"""Show the result of a run: its metrics and outputs, or why it failed and how to continue it."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from asset.findings import shown
from asset.local.jobs.errors import StepError
from asset.local.jobs.run_folder import RunFolder, RunState
from evaluation.errors import MetricsFileError
from evaluation.report.metrics_file import Metric, parse, read
from evaluation.report.number_format import interval, quantity


def read_metrics(output: Path) -> list[Metric]:
    """Return the metrics of an evaluation's result, from its metrics.json; an empty list for another output."""
    with contextlib.suppress(MetricsFileError):
        return parse(read(output / "metrics.json")).metrics
    return []


def show_finished(console: Console, state: RunState) -> None:
    """Print the metrics of a run, the paths of its outputs, and the command that serves a model among them."""
    for metrics in _metrics(state):
        console.print(_table(metrics))
    for name, path in state.outputs.items():
        for report in sorted(Path(path).glob("report.html")) if Path(path).is_dir() else []:
            console.print(Text(f"report: {shown_link(report)}", "bold"), soft_wrap=True)
        console.print(Text(f"{name}: {shown_link(Path(path))}"), soft_wrap=True)
    for path in state.outputs.values():
        if (Path(path) / "MLmodel").is_file():
            console.print(Text(f"Serve the model with\n  make serve MODEL={shown_link(Path(path))}"), soft_wrap=True)


def show_failed(console: Console, error: StepError, state: RunState, folder: RunFolder, resume: str) -> None:
    """Print which step failed and why, the last lines of its log, and how to continue."""
    if error.last_lines:
        console.print(Text(f"The last lines of {error.step}:", "bold"))
        for line in error.last_lines:
            console.print(Text("  ").append_text(Text.from_ansi(line)), soft_wrap=True)
    console.print(Text(str(error), "bold red"), soft_wrap=True)
    console.print(Text(f"The whole log: {shown(Path(state.steps[error.step].log))}"), soft_wrap=True)
    show_way_on(console, folder, resume)


def show_way_on(console: Console, folder: RunFolder, resume: str) -> None:
    """Print the folder of the run and the command that continues it."""
    console.print(
        Text(f"The run is kept in {shown(folder.path)}. Continue it from its first unfinished step with\n  {resume}"),
        soft_wrap=True,
    )


def program() -> str:
    """Return `asset`, or the path of the command if its name alone is not found."""
    path = Path(sys.argv[0])
    return shown(path) if path.name == "asset" and not shutil.which("asset") else "asset"


def resume_command(folder: RunFolder, state_folder: Path | None) -> str:
    """Return the command that continues a run."""
    return shlex.join([program(), "run", *_where(state_folder), "--resume", folder.path.name])


def ui_command(state_folder: Path | None) -> str:
    """Return the command that shows the runs."""
    return shlex.join([program(), "ui", *_where(state_folder)])


def _where(state_folder: Path | None) -> list[str]:
    return [] if state_folder is None else ["--asset-dir", str(state_folder)]


def as_json(state: RunState, folder: RunFolder, resume: str, error: StepError | None = None) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "name": state.name,
        "status": state.status,
        "folder": str(folder.path),
        "outputs": state.outputs,
        "metrics": {metric.name: metric.value for metrics in _metrics(state) for metric in metrics},
        "steps": {
            name: {"status": step.status, "exit_status": step.exit_status, "log": step.log, "outputs": step.outputs}
            for name, step in state.steps.items()
        },
        "mlflow_run_id": state.mlflow_run_id,
        "failed_step": error.step if error else None,
        "message": str(error) if error else None,
        "last_lines": error.last_lines if error else [],
        "resume": resume,
    }


def shown_link(path: Path) -> str:
    """Return the path of an output from the current folder; links are not followed."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _metrics(state: RunState) -> list[list[Metric]]:
    """Return the metrics in the run's outputs; if there are none and the run finished, those in the outputs of its steps."""
    of_steps = [path for step in state.steps.values() for path in step.outputs.values()] if state.outputs else []
    for paths in (list(state.outputs.values()), of_steps):
        results = [metrics for path in paths if (metrics := read_metrics(Path(path)))]
        if results:
            return results
    return []


def _table(metrics: list[Metric]) -> Table:
    table = Table(title=None)
    for heading in ("metric", "value", "interval", "rows"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for metric in metrics:
        between = interval(metric.low, metric.high, metric.unit)
        rows = "" if metric.rows is None else f"{metric.rows:,}"
        table.add_row(metric.name, quantity(metric.value, metric.unit), between, rows)
    return table
