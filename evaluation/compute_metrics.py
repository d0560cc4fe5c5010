r"""Compute the metrics of a task from predictions and truths, and write metrics.json and report.html.

    python -m evaluation.compute_metrics --task fill-mask --ground-truth ground_truth.jsonl \
        --prediction predictions.jsonl --prediction-probabilities prediction_probabilities.jsonl --output evaluation_result

reads the files of evaluation.model_prediction. Predictions of any other program work too, with one column in each file
and no probabilities: metrics that need more are left out, and the reason is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.command import Arguments, add_config, add_task, make_parser, run_command
from evaluation.config import EvaluationConfig, read_config
from evaluation.errors import EvaluationError, MetricsFileError, RowError
from evaluation.metrics.figures import Figures, metrics_of
from evaluation.metrics.rows import ResultFiles, find_file, read_lines
from evaluation.report.metrics_file import track
from evaluation.report.number_format import interval, quantity
from serving.tasks import Task
from tables.disk import write_whole

INPUTS = ("ground_truth", "prediction", "prediction_probabilities", "performance_metadata", "rejects")
SETTINGS = ("bootstrap_samples", "confidence", "seed", "ece_bins")
"""The settings that the figures depend on."""


def compute(task: Task, files: ResultFiles, config: EvaluationConfig) -> Figures:
    """Return the figures of a task; raises EvaluationError if the files cannot be used."""
    tally = metrics_of(task).tally(config)
    rows = 0
    for row, place in files.rows():
        rows += 1
        try:
            tally.add(row)
        except RowError as exc:
            raise place.error(exc) from exc
    try:
        figures = tally.figures()
    except RowError as exc:
        raise EvaluationError(f"{getattr(files, exc.part)}: {exc}") from exc
    figures.data = {"rows": rows, **figures.data}
    return figures


def summary(metadata: Path | None, task: str) -> dict[str, Any] | None:
    """Return the summary line of performance_metadata, which describes the model and the run; None without a file."""
    summary = None
    for _, line in read_lines(metadata) if metadata else ():
        if line.get("summary") is True:
            summary = {key: value for key, value in line.items() if key != "summary"}
    if summary and summary.get("task", task) != task:
        raise EvaluationError(
            f"{metadata}: expected a run of {task}, found a run of {summary['task']}; set task to {summary['task']}"
        )
    return summary


def document(
    task: str, figures: Figures, config: EvaluationConfig, model: Mapping[str, Any] | None, rejects: Path | None
) -> dict[str, Any]:
    """Return the content of metrics.json; `rejected` is None if no input says how many rows were rejected."""
    rejected = (model or {}).get("rows_rejected") if rejects is None else sum(1 for _ in read_lines(rejects))
    return {
        "task": task,
        "model": model,
        "data": {**figures.data, "rejected": rejected},
        "settings": {key: getattr(config, key) for key in SETTINGS},
        "metrics": figures.metrics,
        "left_out": figures.left_out,
        "slices": figures.slices,
        "plots": figures.plots,
        "examples": figures.examples,
    }


def write(metrics: Mapping[str, Any], output: Path) -> tuple[Path, Path]:
    """Write report.html and then metrics.json into a folder, each completely or not at all; returns their paths.

    Both texts are made before a file is written, so that bad content leaves no file behind. Raises EvaluationError.
    """
    text, page = _json(metrics), _page(metrics)
    report, figures = output / "report.html", output / "metrics.json"
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(report, page)
        write_whole(figures, text)
    except OSError as exc:
        raise EvaluationError(f"{output}: expected a folder to write to, found: {exc.strerror}") from exc
    return figures, report


def _page(metrics: Mapping[str, Any]) -> str:
    from evaluation.report.page import (
        render,  # matplotlib takes a second, which a message on bad input need not wait for
    )

    try:
        return render(metrics)
    except MetricsFileError as exc:
        raise EvaluationError(f"{exc}; correct it in predictions or performance_metadata") from exc


def _json(metrics: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(metrics, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    except ValueError as exc:
        expected = "expected numbers that metrics.json can hold"
        raise EvaluationError(f"{expected}, found: {exc}; look for NaN or Infinity in performance_metadata") from exc
    # A lone surrogate can be escaped in JSON, and cannot be written in UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def table(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines to print: the headline metrics with their intervals."""
    rows, rejected = metrics["data"]["rows"], metrics["data"]["rejected"]
    model = metrics["model"] or {}
    name = " ".join(f"{model[key]}" for key in ("model", "precision", "device") if model.get(key))
    yield f"{metrics['task']}{f', {name}' if name else ''}: {rows:,} rows{f', {rejected:,} rejected' if rejected else ''}"
    yield f"{'':30}{'':>12}   {100 * metrics['settings']['confidence']:g} % interval"
    for metric in metrics["metrics"]:
        if metric["headline"]:
            value = quantity(metric["value"], metric["unit"])
            between = interval(metric["low"], metric["high"], metric["unit"])
            yield f"{metric['name']:30}{value:>12}   {between}".rstrip()


def run(args: Arguments) -> None:
    """Compute, write, print and log the metrics."""
    config = read_config(args.evaluation_config, args.evaluation_config_params)
    if config.ignored:
        sys.stderr.write(f"compute_metrics: {', '.join(config.ignored)} in the configuration has no effect here\n")
    metrics = _metrics(args, config)
    for left_out in metrics["left_out"]:
        sys.stderr.write(f"compute_metrics: left out {left_out['name']}: {left_out['reason']}\n")
    files = write(metrics, args.output)
    sys.stdout.write("".join(f"{line}\n" for line in (*table(metrics), f"wrote {files[0].name} and {files[1].name}")))
    track(metrics["metrics"], files)


def _metrics(args: Arguments, config: EvaluationConfig) -> dict[str, Any]:
    inputs = {name: path and find_file(path) for name, path in vars(args).items() if name in INPUTS}
    files = ResultFiles(
        inputs["ground_truth"],
        inputs["prediction"],
        inputs["prediction_probabilities"],
        args.ground_truth_column_name,
        args.prediction_column_name,
    )
    model = summary(inputs["performance_metadata"], args.task)
    return document(args.task, compute(args.task, files, config), config, model, inputs["rejects"])


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = make_parser("evaluation.compute_metrics", __doc__)
    add_task(options)
    options.add_argument("--ground-truth", type=Path, required=True, help="JSON lines, or a folder with one such file")
    options.add_argument(
        "--ground-truth-column-name", help="the column of the truth; needed if there are several columns"
    )
    options.add_argument("--prediction", type=Path, required=True, help="JSON lines in the order of --ground-truth")
    options.add_argument(
        "--prediction-column-name",
        help="the column of the prediction; needed if there are several beside the columns of model_prediction",
    )
    options.add_argument("--prediction-probabilities", type=Path, help="this output of model_prediction")
    options.add_argument("--performance-metadata", type=Path, help="this output of model_prediction")
    options.add_argument("--rejects", type=Path, help="this output of model_prediction; its rows are counted")
    add_config(options)
    options.add_argument("--output", type=Path, required=True, help="the folder for metrics.json and report.html")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command("compute_metrics", run, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
