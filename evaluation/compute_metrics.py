r"""Compute a task's metrics from predictions and what is true: metrics.json and report.html.

    python -m evaluation.compute_metrics --task fill-mask --ground-truth ground_truth.jsonl \
        --prediction predictions.jsonl --prediction-probabilities prediction_probabilities.jsonl --output evaluation_result

reads what evaluation.model_prediction writes. Predictions of other makers will do, one column in each file and no
probabilities, for the metrics that can be computed of these; what was left out is told, with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.config import KEYS, ConfigError, EvaluationConfig, read_config
from evaluation.metrics.fill_mask import FillMask
from evaluation.metrics.question_answering import QuestionAnswering
from evaluation.metrics.result_rows import DataError, ResultFiles, find_file, read_lines
from evaluation.metrics.rows import Figures, RowError, Task
from evaluation.metrics.text_classification import TextClassification
from evaluation.report.metrics_file import MetricsFileError
from evaluation.report.number_format import interval, quantity
from evaluation.tracking import TrackingError, track
from tables.whole_file import write_whole

TASKS: dict[str, type[FillMask | TextClassification | QuestionAnswering]] = {
    "fill-mask": FillMask,
    "text-classification": TextClassification,
    "question-answering": QuestionAnswering,
}
INPUTS = ("ground_truth", "prediction", "prediction_probabilities", "performance_metadata", "rejects")
SETTINGS = ("bootstrap_samples", "confidence", "seed", "ece_bins")


def compute(task: str, files: ResultFiles, config: EvaluationConfig) -> Figures:
    """Return the figures of a task; raises DataError where the files cannot be used."""
    measured: Task = TASKS[task](config)
    rows = 0
    for row, place in files.rows():
        rows += 1
        try:
            measured.add(row)
        except RowError as exc:
            raise place.error(exc) from exc
    try:
        found = measured.figures()
    except RowError as exc:
        raise DataError(f"{getattr(files, exc.part)}: {exc}") from exc
    found.data = {"rows": rows, **found.data}
    return found


def summary(metadata: Path | None, task: str) -> dict[str, Any] | None:
    """Return the last line of performance_metadata, which tells of the model and the run; None without one."""
    found = None
    for _, line in read_lines(metadata) if metadata else ():
        if line.get("summary") is True:
            found = {key: value for key, value in line.items() if key != "summary"}
    if found and found.get("task", task) != task:
        raise DataError(f"{metadata}: expected a run of {task}, found one of {found['task']}; set task to it")
    return found


def document(
    task: str, found: Figures, config: EvaluationConfig, model: Mapping[str, Any] | None, rejects: Path | None
) -> dict[str, Any]:
    """Return what metrics.json holds; `rejected` is None where nothing says how many rows were."""
    rejected = (model or {}).get("rows_rejected") if rejects is None else sum(1 for _ in read_lines(rejects))
    return {
        "task": task,
        "model": model,
        "data": {**found.data, "rejected": rejected},
        "settings": {key: value for key, value in asdict(config).items() if key in SETTINGS},
        "metrics": found.metrics,
        "left_out": found.left_out,
        "slices": found.slices,
        "plots": found.plots,
        "examples": found.examples,
    }


def write(metrics: Mapping[str, Any], output: Path) -> tuple[Path, Path]:
    """Write report.html and then metrics.json into a folder, each whole or not at all; returns their paths.

    Both are made before either is written, so that what cannot be told leaves nothing behind. Raises DataError.
    """
    text, page = _json(metrics), _page(metrics)
    report, figures = output / "report.html", output / "metrics.json"
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(report, page)
        write_whole(figures, text)
    except OSError as exc:
        raise DataError(f"{output}: expected a folder to write to, found: {exc.strerror}") from exc
    return figures, report


def _page(metrics: Mapping[str, Any]) -> str:
    from evaluation.report.page import render  # what it draws with takes a second, which bad input need not wait for

    try:
        return render(metrics)
    except MetricsFileError as exc:
        raise DataError(f"{exc}; correct what predictions or performance_metadata say of it") from exc


def _json(metrics: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(metrics, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    except ValueError as exc:
        expected = "expected numbers that metrics.json can hold"
        raise DataError(f"{expected}, found: {exc}; look for NaN or Infinity in performance_metadata") from exc
    # Half a surrogate pair can stand in JSON as an escape, and in UTF-8 not at all.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def table(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that a person reads in the end: the headline metrics with their intervals."""
    rows, rejected = metrics["data"]["rows"], metrics["data"]["rejected"]
    model = metrics["model"] or {}
    of = " ".join(f"{model[key]}" for key in ("model", "precision", "device") if model.get(key))
    yield f"{metrics['task']}{f', {of}' if of else ''}: {rows:,} rows{f', {rejected:,} rejected' if rejected else ''}"
    yield f"{'':30}{'':>12}   {100 * metrics['settings']['confidence']:g} % interval"
    for metric in metrics["metrics"]:
        if metric["headline"]:
            value = quantity(metric["value"], metric["unit"])
            between = interval(metric["low"], metric["high"], metric["unit"])
            yield f"{metric['name']:30}{value:>12}   {between}".rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line where the input cannot be used."""
    args = _parser().parse_args(argv)
    try:
        config = read_config(args.evaluation_config, args.evaluation_config_params)
        if config.ignored:
            sys.stderr.write(f"compute_metrics: {', '.join(config.ignored)} of the configuration means nothing here\n")
        metrics = _metrics(args, config)
        for left_out in metrics["left_out"]:
            sys.stderr.write(f"compute_metrics: left out {left_out['name']}: {left_out['reason']}\n")
        files = write(metrics, args.output)
        sys.stdout.write(
            "".join(f"{line}\n" for line in (*table(metrics), f"wrote {files[0].name} and {files[1].name}"))
        )
        track(metrics["metrics"], files)
    except (ConfigError, DataError, TrackingError) as exc:
        sys.stderr.write(f"compute_metrics: {exc}\n")
        return 1
    except OSError as exc:
        place = exc.filename or "standard output"
        sys.stderr.write(f"compute_metrics: {place}: expected a file that can be used, found: {exc.strerror}\n")
        return 1
    return 0


def _metrics(args: argparse.Namespace, config: EvaluationConfig) -> dict[str, Any]:
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


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m evaluation.compute_metrics", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--ground-truth", type=Path, required=True, help="JSON lines, or a folder with one such file")
    parser.add_argument("--ground-truth-column-name", help="the only column, where there is only one")
    parser.add_argument("--prediction", type=Path, required=True, help="as --ground-truth, in the same order")
    parser.add_argument("--prediction-column-name", help="the only column beside those that model_prediction adds")
    parser.add_argument("--prediction-probabilities", type=Path, help="as model_prediction writes them")
    parser.add_argument("--performance-metadata", type=Path, help="as model_prediction writes it")
    parser.add_argument("--rejects", type=Path, help="as model_prediction writes them; they are counted")
    parser.add_argument("--evaluation-config", type=Path, help=f"JSON file with any of {', '.join(KEYS)}")
    parser.add_argument("--evaluation-config-params", help="the same as JSON text, over the file")
    parser.add_argument("--output", type=Path, required=True, help="folder for metrics.json and report.html")
    return parser


if __name__ == "__main__":
    sys.exit(main())
